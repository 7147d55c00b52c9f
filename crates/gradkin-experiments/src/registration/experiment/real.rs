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
    scene.image = evened(&scene.image.grey());
    let network = resized(model, settings.widths, WINDOW)?;
    let noise = settings.noise.draw(&scene, seed);
    let aligned = |from: &[Shift]| -> Result<Errors, Error> {
        let after = align(&network, &scene, from, settings)?;
        Ok(Errors::of(after.last().map_or(from, Vec::as_slice)))
    };
    Ok(Ok(Real {
        buildings: scene.buildings.len(),
        after: aligned(&noise)?,
        left_alone: aligned(&vec![Shift::default(); noise.len()])?,
        before: Errors::of(&noise),
    }))
}
