//! Patches with a building in the middle, one of each scene, to compare by their gradients.
//!
//! No two are of one scene, so that the noise of their labels is independent: the smooth part of it is
//! common to a scene.

use std::ops::Range;

use geo::{Centroid, MapCoords};
use gradkin::Examples;
use gradkin::network::InputData;
use image::RgbImage;
use rand::rngs::ChaCha12Rng;
use rand::{Rng, SeedableRng};

use super::labelled::Labelled;
use super::network::MIDDLE;
use super::settings::Settings;
use crate::registration::{Polygon, Raster, Sample, Shift, picture};

/// What there is to know of a patch.
#[derive(Debug, Clone)]
pub(super) struct Centred {
    /// The scene's place in its list, and the building's in the scene.
    pub(super) place: (usize, usize),
    /// The image and the outlines as the network sees them.
    image: Raster,
    outline: Raster,
    /// The image as it was taken.
    taken: Raster,
    /// The outlines in pixels of the patch, as drawn.
    drawn: Vec<Polygon<f64>>,
    /// Taught in the middle: from the drawn outline to the label.
    pub(super) target: Shift,
    /// Right in the middle: from the drawn outline to the truth.
    pub(super) truth: Shift,
}

impl Centred {
    /// By how much the label is off.
    pub(super) fn noise(&self) -> Shift {
        self.target - self.truth
    }

    /// The patch with its outlines, larger by a whole number.
    pub(super) fn picture(&self, times: u32) -> RgbImage {
        picture::overlay(&picture::plain(&self.taken), times, &[(&self.drawn, picture::MOVED)])
    }
}

/// A list of patches.
#[derive(Debug, Clone)]
pub(super) struct CentredPatches(pub(super) Vec<Centred>);

impl CentredPatches {
    /// Up to `count` patches, the labels as they were given and outlines drawn off them.
    pub(super) fn draw(scenes: &[Labelled], count: usize, settings: &Settings, seed: u64) -> Self {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let patches = scenes.iter().enumerate().filter_map(|(number, labelled)| {
            let start = settings.start.draw(&labelled.scene, random.next_u64());
            patch(labelled, number, &start, settings)
        });
        Self(patches.take(count).collect())
    }
}

/// A patch around the building whose outline fills most of the middle; none if all are at the border.
fn patch(
    labelled: &Labelled,
    number: usize,
    start: &[Shift],
    settings: &Settings,
) -> Option<Centred> {
    let size = settings.patch_side;
    let Labelled { scene, taken, noise, .. } = labelled;
    let drawn: Vec<Shift> = noise.iter().zip(start).map(|(noise, start)| *noise + *start).collect();
    let outlines = scene.outlines(&drawn);
    let whole = Sample::draw(scene, noise, start, &settings.style);
    let found = outlines.iter().enumerate().filter_map(|(building, outline)| {
        let centre = outline.centroid()?;
        let corner = |at: f64| {
            let corner = at.round() - size as f64 / 2.0;
            (corner >= 0.0).then_some(corner as usize)
        };
        let (top, left) = (corner(centre.y())?, corner(centre.x())?);
        let sample = whole.cut(top, left, size)?;
        let right = -(noise[building] + start[building]);
        Some((covered(&sample, right), building, top, left, sample))
    });
    let best = found.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let (share, building, top, left, sample) = best;
    if share < 0.5 {
        return None;
    }
    let back = |c: Shift| c - Shift { x: left as f64, y: top as f64 };
    Some(Centred {
        place: (number, building),
        drawn: outlines.iter().map(|outline| outline.map_coords(back)).collect(),
        taken: taken.cut(top, left, size, size)?,
        image: sample.image,
        outline: sample.outline,
        target: -start[building],
        truth: -(noise[building] + start[building]),
    })
}

/// The share of the middle whose displacement is that of the building.
fn covered(sample: &Sample, right: Shift) -> f64 {
    let size = sample.mask.height();
    let middle = (size - MIDDLE) / 2..(size + MIDDLE) / 2;
    let own = |row: usize, column: usize| {
        let (x, y) = (sample.truth.at(0, row, column), sample.truth.at(1, row, column));
        sample.mask.at(0, row, column) > 0.0 && (x, y) == (right.x as f32, right.y as f32)
    };
    let pixels = middle.clone().flat_map(|row| middle.clone().map(move |column| (row, column)));
    let count = pixels.filter(|(row, column)| own(*row, *column)).count();
    count as f64 / (MIDDLE * MIDDLE) as f64
}

impl Examples for CentredPatches {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn batch(
        &self,
        range: Range<usize>,
    ) -> Result<Vec<InputData>, Box<dyn std::error::Error + Send + Sync>> {
        let patches = self.0.get(range).ok_or("there are fewer patches")?;
        let images = patches.iter().flat_map(|patch| patch.image.values()).copied().collect();
        let outlines =
            patches.iter().flat_map(|patch| patch.outline.values().iter().copied()).collect();
        Ok(vec![InputData::F32(images), InputData::F32(outlines)])
    }

    fn name(&self) -> &str {
        "the patches"
    }
}
