//! Aerial scenes from a seed: streets, buildings with roofs and shadows, trees, grounds, and the true
//! outline of every building.
//!
//! First everything is placed, in metres; then it is painted from the ground up, each thing lit by one
//! sun; last a camera looks at it.

mod camera;
mod canvas;
mod clutter;
mod footprint;
mod frame;
mod ground;
mod house;
mod light;
mod noise;
mod plot;
mod roof;
mod street;
mod town;
mod tree;

use geo::{BoundingRect, Polygon, Translate};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use self::canvas::Canvas;
use self::light::Light;
use self::plot::Plot;
use self::town::Town;
use super::{Raster, Shift};

/// A building of a scene.
#[derive(Debug, Clone, PartialEq)]
pub struct Building {
    /// Its place in the list of the scene it was drawn for or read from.
    pub id: usize,
    /// Buildings near each other, a block of a town, have the same one. Groups are numbered from 0.
    pub group: usize,
    /// The true outline, in pixels.
    pub polygon: Polygon<f64>,
}

/// An aerial image and the buildings in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// `[3, height, width]`, or one channel for a grey image; values from 0 to 1.
    pub image: Raster,
    /// The side of a pixel on the ground.
    pub metres_per_pixel: f64,
    /// Every building that is at least partly in the image.
    pub buildings: Vec<Building>,
}

/// What kind of place a scene shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum District {
    /// Detached houses in gardens.
    Suburb,
    /// Rows of houses and blocks around courts.
    City,
    /// Halls with flat roofs and car parks.
    Industry,
    /// Few houses between fields and woods.
    Country,
}

/// What scene to generate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SceneOptions {
    /// Columns of the image.
    pub width: usize,
    /// Rows of the image.
    pub height: usize,
    /// The side of a pixel on the ground, from 0.1 to 2; by default drawn between 0.3 and 0.5.
    pub metres_per_pixel: Option<f64>,
    /// By default drawn, suburbs most often.
    pub district: Option<District>,
    /// How many trees, as a multiple of what is usual for the district, up to 10.
    pub trees: f64,
}

impl Default for SceneOptions {
    fn default() -> Self {
        Self { width: 256, height: 256, metres_per_pixel: None, district: None, trees: 1.0 }
    }
}

impl Scene {
    /// The same options and seed give the same scene.
    pub fn generate(options: &SceneOptions, seed: u64) -> Self {
        let random = &mut ChaCha12Rng::seed_from_u64(seed);
        let drawn = random.random_range(0.3..0.5);
        let metres_per_pixel = options.metres_per_pixel.unwrap_or(drawn).clamp(0.1, 2.0);
        let district = District::draw(random);
        let district = options.district.unwrap_or(district);

        let extent = [options.width, options.height].map(|side| side as f64 * metres_per_pixel);
        let town = Town::draw(extent, district, random);
        let plots = plot::place(&town, random);
        let light = Light::draw(random);

        let trees = if options.trees.is_nan() { 1.0 } else { options.trees.clamp(0.0, 10.0) };

        let mut canvas = Canvas::new(options.width, options.height, metres_per_pixel, random);
        ground::paint(&mut canvas, &town, &plots, random);
        clutter::paint(&mut canvas, &town, &plots, &light, random);
        roof::paint(&mut canvas, &plots, &light, random);
        tree::paint(&mut canvas, &town, &plots, &light, trees, random);
        let image = camera::take(canvas, random);

        Self { image, metres_per_pixel, buildings: buildings(&plots, options, metres_per_pixel) }
    }

    /// The buildings' outlines, each moved by its shift; a missing shift moves nothing.
    pub fn outlines(&self, shifts: &[Shift]) -> Vec<Polygon<f64>> {
        let moved = self.buildings.iter().enumerate().map(|(i, building)| {
            let by = shifts.get(i).copied().unwrap_or_default();
            building.polygon.translate(by.x, by.y)
        });
        moved.collect()
    }
}

impl District {
    fn draw(random: &mut ChaCha12Rng) -> Self {
        match random.random_range(0.0..1.0) {
            x if x < 0.5 => Self::Suburb,
            x if x < 0.75 => Self::City,
            x if x < 0.88 => Self::Industry,
            _ => Self::Country,
        }
    }
}

/// What lies in the image, in pixels, with groups renumbered so that none is empty.
fn buildings(plots: &[Plot], options: &SceneOptions, metres_per_pixel: f64) -> Vec<Building> {
    let mut buildings: Vec<Building> = Vec::new();
    let mut groups: Vec<usize> = Vec::new();
    let houses = plots.iter().flat_map(|plot| plot.houses.iter().map(move |h| (plot.block, h)));
    for (block, house) in houses {
        let polygon = house.outline(1.0 / metres_per_pixel);
        if !in_picture(&polygon, options.width, options.height) {
            continue;
        }
        let group = groups.iter().position(|known| *known == block).unwrap_or_else(|| {
            groups.push(block);
            groups.len() - 1
        });
        buildings.push(Building { id: buildings.len(), group, polygon });
    }
    buildings
}

/// At least a pixel of the bounding box must show.
fn in_picture(polygon: &Polygon<f64>, width: usize, height: usize) -> bool {
    polygon.bounding_rect().is_some_and(|bounds| {
        let (min, max) = (bounds.min(), bounds.max());
        min.x < width as f64 - 1.0 && max.x > 1.0 && min.y < height as f64 - 1.0 && max.y > 1.0
    })
}
