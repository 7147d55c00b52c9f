//! What the network is shown and what it is to answer, for a whole scene or a patch of it.

use geo::Translate;
use rand::{Rng, RngExt};

use super::outline::near;
use super::{OutlineStyle, Polygon, Raster, Scene, Shift, Turn, draw_outlines};

/// Where patches are looked for before we give up.
const TRIES: usize = 50;

/// An image, outlines drawn over it out of place, and the displacement that would mend them.
///
/// A building is in truth at t. Its label is at t + noise, for labels are themselves out of line. The
/// outline is drawn at t + noise + start, and the network is taught to move it by −start, to the label.
/// What it ought to do is to move it by −(noise + start), to the truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The image: `[3, height, width]`, or one channel for a grey one.
    pub image: Raster,
    /// Area, edge, vertex of the drawn outlines: `[3, height, width]`.
    pub outline: Raster,
    /// Displacement from the drawn outlines to the labels, what is taught: `[2, height, width]`, x before
    /// y, in pixels; 0 off the mask.
    pub target: Raster,
    /// Displacement from the drawn outlines to the truth, for measuring only; as `target`.
    pub truth: Raster,
    /// 1 at pixels on or near a drawn outline, 0 elsewhere: `[1, height, width]`.
    pub mask: Raster,
}

impl Sample {
    /// A whole scene, with one `noise` and one `start` for each building in its order; a missing one is
    /// no displacement.
    pub fn draw(scene: &Scene, noise: &[Shift], start: &[Shift], style: &OutlineStyle) -> Self {
        let [_, height, width] = scene.image.shape();
        let shift = |shifts: &[Shift], i: usize| shifts.get(i).copied().unwrap_or_default();
        let polygons: Vec<Polygon<f64>> = (scene.buildings.iter().enumerate())
            .map(|(i, building)| {
                let by = shift(noise, i) + shift(start, i);
                building.polygon.translate(by.x, by.y)
            })
            .collect();

        let mut sample = Self {
            image: scene.image.clone(),
            outline: draw_outlines(&polygons, height, width, style),
            target: Raster::zeros(2, height, width),
            truth: Raster::zeros(2, height, width),
            mask: Raster::zeros(1, height, width),
        };
        for (index, building) in owners(&polygons, (height, width), style.margin) {
            let (start, noise) = (shift(start, building), shift(noise, building));
            sample.mask.values_mut()[index] = 1.0;
            for (raster, by) in [(&mut sample.target, start), (&mut sample.truth, start + noise)] {
                raster.channel_mut(0)[index] = -by.x as f32;
                raster.channel_mut(1)[index] = -by.y as f32;
            }
        }
        sample
    }

    /// A square part; none if it reaches past the border.
    pub fn cut(&self, top: usize, left: usize, size: usize) -> Option<Self> {
        let cut = |raster: &Raster| raster.cut(top, left, size, size);
        Some(Self {
            image: cut(&self.image)?,
            outline: cut(&self.outline)?,
            target: cut(&self.target)?,
            truth: cut(&self.truth)?,
            mask: cut(&self.mask)?,
        })
    }

    /// All of it turned.
    pub fn turned(&self, turn: Turn) -> Self {
        Self {
            image: turn.raster(&self.image),
            outline: turn.raster(&self.outline),
            target: turn.field(&self.target),
            truth: turn.field(&self.truth),
            mask: turn.raster(&self.mask),
        }
    }

    /// A square part somewhere, of which at least the share `covered` is on or near an outline; none if
    /// none was found in a number of tries.
    pub fn random_patch(&self, size: usize, covered: f64, random: &mut impl Rng) -> Option<Self> {
        let [_, height, width] = self.mask.shape();
        let (rows, columns) = (height.checked_sub(size)?, width.checked_sub(size)?);
        let least = covered * (size * size) as f64;
        (0..TRIES).find_map(|_| {
            let (top, left) = (random.random_range(0..=rows), random.random_range(0..=columns));
            let mask = self.mask.cut(top, left, size, size)?;
            let enough = mask.values().iter().map(|v| f64::from(*v)).sum::<f64>() >= least;
            if enough { self.cut(top, left, size) } else { None }
        })
    }
}

/// The pixels on or near a polygon, each with the polygon that is nearest.
fn owners(polygons: &[Polygon<f64>], size: (usize, usize), margin: f64) -> Vec<(usize, usize)> {
    let mut owner = vec![(f64::INFINITY, 0); size.0 * size.1];
    for (number, polygon) in polygons.iter().enumerate() {
        near(polygon, size, margin, |index, distance| {
            if distance < owner[index].0 {
                owner[index] = (distance, number);
            }
        });
    }
    let owned = owner.into_iter().enumerate().filter(|(_, (distance, _))| distance.is_finite());
    owned.map(|(index, (_, number))| (index, number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::Building;
    use crate::registration::coverage::polygon;
    use geo::Coord;
    use rand::SeedableRng;
    use rand::rngs::ChaCha12Rng;

    fn square(left: f64, top: f64, size: f64) -> Polygon<f64> {
        let (right, bottom) = (left + size, top + size);
        polygon([(left, top), (right, top), (right, bottom), (left, bottom)])
    }

    /// Two squares of 10 pixels, 3 pixels apart.
    fn scene() -> Scene {
        let building =
            |id: usize, left: f64| Building { id, group: 0, polygon: square(left, 10.0, 10.0) };
        Scene {
            image: Raster::zeros(3, 40, 48),
            metres_per_pixel: 0.5,
            buildings: vec![building(0, 10.0), building(1, 23.0)],
        }
    }

    const NOISE: [Shift; 2] = [Coord { x: 0.5, y: -1.0 }, Coord { x: 0.0, y: 0.25 }];
    const START: [Shift; 2] = [Coord { x: 1.0, y: 2.0 }, Coord { x: 1.0, y: -3.0 }];

    #[test]
    fn fields_lead_from_the_drawn_outline_to_label_and_truth() {
        let sample = Sample::draw(&scene(), &NOISE, &START, &OutlineStyle::default());
        for (building, (row, column)) in [(15, 16), (12, 29)].into_iter().enumerate() {
            let field = |raster: &Raster| [raster.at(0, row, column), raster.at(1, row, column)];
            let (start, noise) = (START[building], NOISE[building]);
            assert_eq!(field(&sample.target), [-start.x as f32, -start.y as f32]);
            let both = start + noise;
            assert_eq!(field(&sample.truth), [-both.x as f32, -both.y as f32]);
            assert_eq!(sample.mask.at(0, row, column), 1.0);
            assert_eq!(sample.outline.at(0, row, column), 1.0);
        }
        assert_eq!(sample.mask.at(0, 35, 16), 0.0);
        assert_eq!(sample.target.at(0, 35, 16), 0.0);
    }

    #[test]
    fn pixels_between_two_buildings_belong_to_the_nearer() {
        let still = Sample::draw(&scene(), &[], &START, &OutlineStyle::default());
        let moved = |column: usize| still.target.at(1, 12, column);
        assert_eq!(moved(22), -2.0, "a pixel to the right of the left one");
        assert_eq!(moved(23), 3.0, "a pixel to the left of the right one");
    }

    #[test]
    fn a_patch_is_the_same_as_its_place_in_the_whole() {
        let whole = Sample::draw(&scene(), &NOISE, &START, &OutlineStyle::default());
        let patch = whole.random_patch(16, 0.5, &mut ChaCha12Rng::seed_from_u64(1)).unwrap();
        assert_eq!(patch.image.shape(), [3, 16, 16]);
        assert_eq!(patch.truth.shape(), [2, 16, 16]);
        assert!(patch.mask.values().iter().sum::<f32>() >= 128.0);
        let again = whole.random_patch(16, 0.5, &mut ChaCha12Rng::seed_from_u64(1)).unwrap();
        assert_eq!(patch, again);
        assert_eq!(whole.cut(3, 5, 16).unwrap().outline.at(0, 9, 12), whole.outline.at(0, 12, 17));
        assert!(whole.random_patch(41, 0.0, &mut ChaCha12Rng::seed_from_u64(1)).is_none());
        assert!(whole.random_patch(16, 1.1, &mut ChaCha12Rng::seed_from_u64(1)).is_none());
    }
}
