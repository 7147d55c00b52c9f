//! Moving buildings by a predicted displacement, and measuring what is left.

use geo::Polygon;

use super::coverage::Coverage;
use super::{Raster, Shift};

/// A building of which less than this many pixels are in the picture cannot be placed.
const LEAST_AREA: f64 = 1.0;

/// How one displacement is read from those at a building's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// The mean, each pixel counting by the share of it that the building covers.
    #[default]
    Mean,
    /// The median of each component, with the same shares as weights.
    Median,
}

/// The displacement of each drawn outline by a field `[2, height, width]`, x before y in pixels; none
/// where the outline is not in the picture. Holes are left out.
pub fn shifts(field: &Raster, outlines: &[Polygon<f64>], reading: Reading) -> Vec<Option<Shift>> {
    outlines.iter().map(|outline| shift(field, outline, reading)).collect()
}

fn shift(field: &Raster, outline: &Polygon<f64>, reading: Reading) -> Option<Shift> {
    let [channels, height, width] = field.shape();
    if channels < 2 {
        return None;
    }
    let mut pixels = Vec::new();
    Coverage::of(outline)?.on(width, height, |index, share| pixels.push((index, f64::from(share))));
    if pixels.iter().map(|(_, share)| share).sum::<f64>() < LEAST_AREA {
        return None;
    }
    let read = |channel: usize| {
        let plane = field.channel(channel);
        let values = pixels.iter().map(|(index, share)| (f64::from(plane[*index]), *share));
        match reading {
            Reading::Mean => mean(values),
            Reading::Median => median(values.collect()),
        }
    };
    Some(Shift { x: read(0), y: read(1) })
}

fn mean(values: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, weights) = values.fold((0.0, 0.0), |(s, w), (v, share)| (s + v * share, w + share));
    sum / weights
}

fn median(mut values: Vec<(f64, f64)>) -> f64 {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = values.iter().map(|(_, share)| share).sum::<f64>() / 2.0;
    let mut below = 0.0;
    for (value, share) in &values {
        below += share;
        if below >= half {
            return *value;
        }
    }
    values.last().map_or(0.0, |(value, _)| *value)
}

/// How far buildings are from where they should be, in pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Errors {
    /// Ascending.
    distances: Vec<f64>,
    unplaced: usize,
}

impl Errors {
    /// Between displacements that were read and those that would have been right, building by building.
    pub fn between(found: &[Option<Shift>], right: &[Shift]) -> Self {
        let pairs = found.iter().zip(right);
        let distance = |(found, right): (&Option<Shift>, &Shift)| {
            found.map(|found| (found - *right).x.hypot((found - *right).y))
        };
        let mut distances: Vec<f64> = pairs.filter_map(distance).collect();
        distances.sort_by(f64::total_cmp);
        let unplaced = found.len() - distances.len();
        Self { distances, unplaced }
    }

    /// Of displacements themselves: the error of an outline that is left where it is.
    pub fn of(shifts: &[Shift]) -> Self {
        let found: Vec<Option<Shift>> = shifts.iter().copied().map(Some).collect();
        Self::between(&found, &vec![Shift::default(); shifts.len()])
    }

    /// Those of several scenes together.
    pub fn merge(all: impl IntoIterator<Item = Self>) -> Self {
        let mut merged = Self { distances: Vec::new(), unplaced: 0 };
        for errors in all {
            merged.distances.extend(errors.distances);
            merged.unplaced += errors.unplaced;
        }
        merged.distances.sort_by(f64::total_cmp);
        merged
    }

    /// Every distance, ascending.
    pub fn distances(&self) -> &[f64] {
        &self.distances
    }

    /// Buildings without a displacement, which no number here counts.
    pub fn unplaced(&self) -> usize {
        self.unplaced
    }

    /// None without buildings.
    pub fn mean(&self) -> Option<f64> {
        let count = self.distances.len();
        (count > 0).then(|| self.distances.iter().sum::<f64>() / count as f64)
    }

    /// None without buildings.
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// The distance that a share `q` of buildings does not exceed, between neighbours in proportion;
    /// none without buildings.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.distances.len().checked_sub(1)?;
        let place = q.clamp(0.0, 1.0) * last as f64;
        let (low, part) = (place.floor() as usize, place.fract());
        let high = (low + 1).min(last);
        Some(self.distances[low] * (1.0 - part) + self.distances[high] * part)
    }

    /// The share of buildings nearer than a limit; none without buildings.
    pub fn share_under(&self, limit: f64) -> Option<f64> {
        let count = self.distances.len();
        let under = self.distances.partition_point(|distance| *distance < limit);
        (count > 0).then(|| under as f64 / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::{
        Building, Misalignment, OutlineStyle, Sample, Scene, coverage::polygon,
    };
    use geo::Translate;

    fn square(left: f64, top: f64) -> Polygon<f64> {
        polygon([(left, top), (left + 8.0, top), (left + 8.0, top + 8.0), (left, top + 8.0)])
    }

    #[test]
    fn the_truth_of_a_sample_leads_back_to_the_truth() {
        let building = |id: usize| Building {
            id,
            group: id / 3,
            polygon: square(10.0 + 18.0 * (id % 3) as f64, 10.0 + 20.0 * (id / 3) as f64),
        };
        let scene = Scene {
            image: Raster::zeros(1, 70, 70),
            metres_per_pixel: 0.4,
            buildings: (0..9).map(building).collect(),
        };
        let noise = Misalignment::default().draw(&scene, 1);
        let start = Misalignment::default().draw(&scene, 2);
        let sample = Sample::draw(&scene, &noise, &start, &OutlineStyle::default());
        let right: Vec<Shift> = noise.iter().zip(&start).map(|(n, s)| -(*n + *s)).collect();
        let drawn: Vec<Polygon<f64>> = (scene.buildings.iter().zip(&right))
            .map(|(building, by)| building.polygon.translate(-by.x, -by.y))
            .collect();
        for reading in [Reading::Mean, Reading::Median] {
            let errors = Errors::between(&shifts(&sample.truth, &drawn, reading), &right);
            assert_eq!(errors.unplaced(), 0);
            assert!(errors.quantile(1.0).unwrap() < 1e-5, "{errors:?}");
            let taught = Errors::between(&shifts(&sample.target, &drawn, reading), &right);
            let off = Errors::of(&noise);
            assert!((taught.mean().unwrap() - off.mean().unwrap()).abs() < 1e-5);
        }
    }

    #[test]
    fn the_median_withstands_a_few_wild_pixels() {
        let mut field = Raster::zeros(2, 20, 20);
        field.channel_mut(0).fill(1.5);
        field.channel_mut(0)[6 * 20 + 6] = 900.0;
        let read = |reading| shifts(&field, &[square(4.0, 4.0)], reading)[0].unwrap().x;
        assert_eq!(read(Reading::Median), 1.5);
        assert!(read(Reading::Mean) > 10.0);
    }

    #[test]
    fn what_is_not_in_the_picture_is_not_placed() {
        let found = shifts(&Raster::zeros(2, 20, 20), &[square(50.0, 4.0)], Reading::Mean);
        assert_eq!(found, [None]);
        let errors = Errors::between(&found, &[Shift::default()]);
        assert_eq!((errors.unplaced(), errors.mean(), errors.median()), (1, None, None));
        assert_eq!(errors.share_under(1.0), None);
    }

    #[test]
    fn statistics_are_those_of_the_distances() {
        let shifts: Vec<Shift> = [3.0, 0.5, 1.0, 2.0].map(|x| Shift { x, y: 0.0 }).to_vec();
        let errors = Errors::merge([Errors::of(&shifts[..1]), Errors::of(&shifts[1..])]);
        assert_eq!(errors.distances(), [0.5, 1.0, 2.0, 3.0]);
        assert_eq!(errors.median(), Some(1.5));
        assert_eq!(errors.mean(), Some(1.625));
        assert_eq!(errors.share_under(1.0), Some(0.25));
        assert_eq!((errors.quantile(0.0), errors.quantile(1.0)), (Some(0.5), Some(3.0)));
    }
}
