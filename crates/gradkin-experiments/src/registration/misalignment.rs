//! By how much outlines are off: neighbours alike, as when a whole sheet was georeferenced badly, and
//! every building a little on its own.

use std::f64::consts::TAU;

use geo::{Centroid, Coord};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use super::{Scene, Shift};

/// Waves that the smooth part is made of; with so many, its values are close to normal.
const WAVES: usize = 48;

/// What displacements look like.
///
/// The displacement of a building is that of its group, a smooth random field taken at the group's
/// centre, plus noise of its own. Both have known deviations, per axis and before clipping.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Misalignment {
    /// Deviation of the smooth field, in pixels along each axis.
    pub group_deviation: f64,
    /// Deviation of the noise of single buildings, in pixels along each axis.
    pub building_deviation: f64,
    /// Distance over which the smooth field changes, in pixels.
    pub length: f64,
    /// No component is larger, in pixels.
    pub limit: f64,
}

impl Default for Misalignment {
    fn default() -> Self {
        Self { group_deviation: 1.5, building_deviation: 0.75, length: 200.0, limit: 4.0 }
    }
}

impl Misalignment {
    /// No displacement at all.
    pub fn none() -> Self {
        Self { group_deviation: 0.0, building_deviation: 0.0, ..Self::default() }
    }

    /// A displacement for each building of a scene, in its order. The seed is apart from the scene's,
    /// so a scene can be misaligned in many ways.
    pub fn draw(&self, scene: &Scene, seed: u64) -> Vec<Shift> {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let field = SmoothField::draw(self.length, &mut random);
        // Not `clamp`, which panics where the limit is negative.
        let limit = |value: f64| value.min(self.limit).max(-self.limit);
        let centres = group_centres(scene);
        let buildings = scene.buildings.iter();
        buildings
            .map(|building| {
                let centre = centres.get(building.group).copied().unwrap_or_default();
                let smooth = field.at(centre) * self.group_deviation;
                let own = normal_pair(&mut random) * self.building_deviation;
                Coord { x: limit(smooth.x + own.x), y: limit(smooth.y + own.y) }
            })
            .collect()
    }
}

fn normal_pair(random: &mut ChaCha12Rng) -> Coord<f64> {
    Coord { x: StandardNormal.sample(random), y: StandardNormal.sample(random) }
}

/// The mean of the buildings' centres, by group.
fn group_centres(scene: &Scene) -> Vec<Coord<f64>> {
    let groups = scene.buildings.iter().map(|b| b.group + 1).max().unwrap_or(0);
    let mut sums = vec![(Coord::default(), 0.0); groups];
    for building in &scene.buildings {
        if let Some(centre) = building.polygon.centroid() {
            let (sum, count) = &mut sums[building.group];
            *sum = *sum + centre.0;
            *count += 1.0;
        }
    }
    sums.into_iter().map(|(sum, count)| sum / f64::max(count, 1.0)).collect()
}

/// A sum of waves of random direction and phase: √(2/n) Σ cos(k·x + φ) has mean 0 and variance 1 over
/// the phases, and with normal k the correlation exp(−|x − x'|² / 2 length²).
struct SmoothField {
    waves: Vec<(Coord<f64>, f64, f64)>,
}

impl SmoothField {
    fn draw(length: f64, random: &mut ChaCha12Rng) -> Self {
        let wave = |_| {
            let direction = normal_pair(random) / length.max(1e-9);
            (direction, random.random_range(0.0..TAU), random.random_range(0.0..TAU))
        };
        Self { waves: (0..WAVES).map(wave).collect() }
    }

    fn at(&self, place: Coord<f64>) -> Coord<f64> {
        let mut sum = Coord::<f64>::default();
        for (direction, phase_x, phase_y) in &self.waves {
            let angle = direction.x * place.x + direction.y * place.y;
            sum = sum + Coord { x: (angle + phase_x).cos(), y: (angle + phase_y).cos() };
        }
        sum * (2.0 / self.waves.len() as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::coverage::polygon;
    use crate::registration::{Building, Raster};

    /// Groups of two buildings each, side by side, `apart` pixels from group to group.
    fn pairs(groups: usize, apart: f64) -> Scene {
        let square = |x: f64| polygon([(x, 0.0), (x + 9.0, 0.0), (x + 9.0, 9.0), (x, 9.0)]);
        let building = |i: usize| Building {
            id: i,
            group: i / 2,
            polygon: square((i / 2) as f64 * apart + (i % 2) as f64 * 12.0),
        };
        Scene {
            image: Raster::zeros(1, 1, 1),
            metres_per_pixel: 0.5,
            buildings: (0..2 * groups).map(building).collect(),
        }
    }

    fn deviation(values: impl Iterator<Item = f64>) -> f64 {
        let values: Vec<f64> = values.collect();
        (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn deviations_are_those_asked_for() {
        let kind = Misalignment {
            group_deviation: 1.5,
            building_deviation: 0.5,
            length: 100.0,
            limit: f64::INFINITY,
        };
        let scene = pairs(40, 300.0);
        let draws: Vec<Vec<Shift>> = (0..100).map(|seed| kind.draw(&scene, seed)).collect();
        for axis in [|s: &Shift| s.x, |s: &Shift| s.y] {
            let all = deviation(draws.iter().flatten().map(axis));
            assert!((all - (1.5f64 * 1.5 + 0.25).sqrt()).abs() < 0.06, "{all}");
            let within = draws.iter().flat_map(|d| d.chunks(2).map(|p| axis(&p[0]) - axis(&p[1])));
            let within = deviation(within) / 2f64.sqrt();
            assert!((within - 0.5).abs() < 0.03, "{within}");
        }
    }

    #[test]
    fn near_groups_move_alike_and_far_ones_do_not() {
        let kind = Misalignment { building_deviation: 0.0, length: 100.0, ..Default::default() };
        let correlation = |apart: f64| {
            let scene = pairs(2, apart);
            let draws: Vec<Vec<Shift>> = (0..400).map(|seed| kind.draw(&scene, seed)).collect();
            let both: f64 = draws.iter().map(|d| d[0].x * d[2].x + d[0].y * d[2].y).sum();
            let one: f64 = draws.iter().map(|d| d[0].x * d[0].x + d[0].y * d[0].y).sum();
            both / one
        };
        assert!((correlation(20.0) - 0.98).abs() < 0.03, "{}", correlation(20.0));
        assert!((correlation(100.0) - 0.61).abs() < 0.12, "{}", correlation(100.0));
        assert!(correlation(600.0).abs() < 0.15, "{}", correlation(600.0));
    }

    #[test]
    fn seeds_decide_and_limits_hold() {
        let scene = pairs(30, 50.0);
        let wild = Misalignment { group_deviation: 6.0, ..Default::default() };
        let drawn = wild.draw(&scene, 3);
        assert_eq!(drawn, wild.draw(&scene, 3));
        assert_ne!(drawn, wild.draw(&scene, 4));
        let largest = drawn.iter().flat_map(|s| [s.x.abs(), s.y.abs()]).fold(0.0, f64::max);
        assert_eq!(largest, 4.0);
        assert!(Misalignment::none().draw(&scene, 3).iter().all(|s| *s == Shift::default()));
    }
}
