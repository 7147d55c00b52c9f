//! The ground seen from above while it is being painted: colours in linear light, and the textures
//! everything on it shares.

use geo::{Coord, MapCoords, Polygon};
use rand::rngs::ChaCha12Rng;

use super::noise;
use crate::registration::coverage::{Coverage, fill};

/// Red, green, blue; 1 is white paper in the sun.
pub(super) type Colour = [f32; 3];

pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) metres_per_pixel: f64,
    pub(super) pixels: Vec<Colour>,
    /// Texture with features of some ten metres.
    pub(super) coarse: Vec<f32>,
    /// Texture with features of some metres.
    pub(super) medium: Vec<f32>,
    /// Texture with features of less than a metre.
    pub(super) fine: Vec<f32>,
    /// How much of each pixel is built on or a street, where no tree stands.
    pub(super) taken: Vec<f32>,
}

impl Canvas {
    pub(super) fn new(
        width: usize,
        height: usize,
        metres_per_pixel: f64,
        random: &mut ChaCha12Rng,
    ) -> Self {
        let mut texture = |metres: f64, layers: usize| {
            noise::layered(width, height, metres / metres_per_pixel, layers, random)
        };
        Self {
            width,
            height,
            metres_per_pixel,
            pixels: vec![[0.0; 3]; width * height],
            coarse: texture(30.0, 3),
            medium: texture(5.0, 2),
            fine: texture(1.1, 2),
            taken: vec![0.0; width * height],
        }
    }

    /// The ground point of a pixel's centre.
    pub(super) fn ground(&self, index: usize) -> Coord<f64> {
        let (x, y) = (index % self.width, index / self.width);
        Coord { x: x as f64 + 0.5, y: y as f64 + 0.5 } * self.metres_per_pixel
    }

    /// The pixel that a ground point lies in, if it is in the picture.
    pub(super) fn pixel(&self, ground: Coord<f64>) -> Option<usize> {
        let at = ground / self.metres_per_pixel;
        let inside = |v: f64, size: usize| v >= 0.0 && v < size as f64;
        (inside(at.x, self.width) && inside(at.y, self.height))
            .then(|| at.y as usize * self.width + at.x as usize)
    }

    /// Whether anything within `reach` metres of a ground point may be in the picture.
    pub(super) fn sees(&self, ground: Coord<f64>, reach: f64) -> bool {
        let inside =
            |v: f64, size: usize| v > -reach && v < size as f64 * self.metres_per_pixel + reach;
        inside(ground.x, self.width) && inside(ground.y, self.height)
    }

    /// Calls with every pixel that a polygon on the ground covers: its index, and the covered share.
    pub(super) fn covered(&self, ground: &Polygon<f64>, visit: impl FnMut(usize, f32)) {
        if let Some(coverage) = Coverage::of(&self.in_pixels(ground)) {
            coverage.on(self.width, self.height, visit);
        }
    }

    /// Fills a plane of this picture's size with the share that a polygon on the ground covers.
    pub(super) fn mark(&self, ground: &Polygon<f64>, plane: &mut [f32]) {
        fill(&self.in_pixels(ground), plane, self.width);
    }

    /// An empty plane of this picture's size.
    pub(super) fn plane(&self) -> Vec<f32> {
        vec![0.0; self.pixels.len()]
    }

    /// Paints a polygon on the ground. The colour may differ from pixel to pixel.
    pub(super) fn paint(
        &mut self,
        ground: &Polygon<f64>,
        opacity: f32,
        colour: impl Fn(&Self, usize) -> Colour,
    ) {
        let mut shares = Vec::new();
        self.covered(ground, |index, share| shares.push((index, share)));
        for (index, share) in shares {
            self.blend(index, colour(self, index), share * opacity);
        }
    }

    /// Paints where a plane is marked.
    pub(super) fn paint_plane(&mut self, plane: &[f32], colour: impl Fn(&Self, usize) -> Colour) {
        for (index, share) in plane.iter().enumerate() {
            if *share > 0.0 {
                self.blend(index, colour(self, index), *share);
            }
        }
    }

    /// Darkens where a plane is marked, to `sky` of the light; what is left is a little bluer.
    pub(super) fn shade(&mut self, plane: &[f32], sky: f32) {
        for (pixel, share) in self.pixels.iter_mut().zip(plane) {
            let lost = share * (1.0 - sky);
            for (value, tint) in pixel.iter_mut().zip([1.04, 1.0, 0.9]) {
                *value *= 1.0 - (lost * tint).min(0.95);
            }
        }
    }

    pub(super) fn blend(&mut self, index: usize, colour: Colour, share: f32) {
        for (old, new) in self.pixels[index].iter_mut().zip(colour) {
            *old += (new - *old) * share;
        }
    }

    fn in_pixels(&self, ground: &Polygon<f64>) -> Polygon<f64> {
        ground.map_coords(|c| c / self.metres_per_pixel)
    }
}

/// A colour made lighter or darker.
pub(super) fn scaled(colour: Colour, by: f32) -> Colour {
    colour.map(|value| value * by)
}

/// A colour between two.
pub(super) fn mixed(one: Colour, other: Colour, share: f32) -> Colour {
    let share = share.clamp(0.0, 1.0);
    std::array::from_fn(|i| one[i] + (other[i] - one[i]) * share)
}
