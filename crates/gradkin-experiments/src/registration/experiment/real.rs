//! A real image with its buildings: displaced, and aligned by the network that was trained on generated
//! scenes.

use std::path::Path;

use gradkin::network::Model;

use super::alignment::align;
use super::evened::evened;
use super::network::resized;
use super::settings::Settings;
use crate::Error;
use crate::registration::Shift;
use crate::registration::align::Errors;
use crate::registration::tile::{self, TileOptions};

/// The size of a pixel on the ground; generated scenes have 0.3 to 0.5 metres.
pub(super) const METRES_PER_PIXEL: f64 = 0.4;

/// The side of the windows that the network looks at.
const WINDOW: usize = 256;

/// Distances from the labels that came with the image, in pixels.
pub(super) struct Real {
    /// Buildings on the image.
    pub(super) buildings: usize,
    /// Of displaced outlines.
    pub(super) before: Errors,
    /// Of the same, aligned.
    pub(super) after: Errors,
    /// Of the labels that came with the image, aligned as they are.
    pub(super) left_alone: Errors,
    /// The mean of the displacements of those.
    pub(super) common: Shift,
    /// Of the same labels, less that mean.
    pub(super) scattered: Errors,
    /// Between where outlines go that were displaced and where they go that were not.
    pub(super) apart: Errors,
}

/// Reads the tile of a folder, displaces its outlines and aligns them; none if the folder's files cannot
/// be used, with the reason.
pub(super) fn aligned(
    folder: &Path,
    model: &Model,
    settings: &Settings,
    seed: u64,
) -> Result<Result<Real, String>, Error> {
    let options = TileOptions { metres_per_pixel: Some(METRES_PER_PIXEL), ..Default::default() };
    let image = folder.join("sample_geotiff.tif");
    let labels = folder.join("geotiff_labels.geojson");
    let mut scene = match tile::read(&image, &labels, &options) {
        Ok(scene) => scene,
        Err(error) => return Ok(Err(error.to_string())),
    };
    scene.image = evened(&scene.image);
    let network = resized(model, settings.widths, WINDOW)?;
    let noise = settings.noise.draw(&scene, seed);
    let aligned = |from: &[Shift]| -> Result<Vec<Shift>, Error> {
        let looks = align(&network, &scene, from, settings)?;
        Ok(looks.into_iter().last().unwrap_or_else(|| from.to_vec()))
    };
    let after = aligned(&noise)?;
    let left_alone = aligned(&vec![Shift::default(); noise.len()])?;
    let sum = left_alone.iter().fold(Shift::default(), |sum, shift| sum + *shift);
    let common = sum / left_alone.len().max(1) as f64;
    let less = |all: &[Shift], of: &dyn Fn(usize) -> Shift| -> Vec<Shift> {
        all.iter().enumerate().map(|(i, shift)| *shift - of(i)).collect()
    };
    Ok(Ok(Real {
        buildings: scene.buildings.len(),
        common,
        scattered: Errors::of(&less(&left_alone, &|_| common)),
        apart: Errors::of(&less(&after, &|i| left_alone[i])),
        after: Errors::of(&after),
        left_alone: Errors::of(&left_alone),
        before: Errors::of(&noise),
    }))
}
