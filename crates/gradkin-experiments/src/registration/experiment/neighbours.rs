//! Neighbours' labels are off alike, so that what the network sees of one building says something of the
//! next. It is the deviation of the labels' noise that is known and used here, nothing of the truth.

use geo::Centroid;

use crate::registration::{Coord, Misalignment, Scene, Shift};

/// How far a building's own displacement counts against that of its neighbourhood: its own holds noise of
/// its label, and an error of the network, that the neighbourhood's has not. A guess, not tuned.
const OWN: f64 = 0.5;
/// Noise of single buildings is taken to be no larger than so many deviations.
const LARGEST: f64 = 2.0;

/// Displacements of a scene's buildings, each drawn towards the median of those around it.
pub(super) fn drawn_together(scene: &Scene, shifts: &[Shift], noise: &Misalignment) -> Vec<Shift> {
    let centres: Vec<Coord<f64>> = (scene.buildings.iter())
        .map(|building| building.polygon.centroid().map_or(Coord::default(), |centre| centre.0))
        .collect();
    let near = |one: Coord<f64>, other: Coord<f64>| {
        // Over half of the length that it changes over, noise hardly changes.
        let (off, reach) = (other - one, noise.length / 2.0);
        (-(off.x * off.x + off.y * off.y) / (2.0 * reach * reach)).exp()
    };
    let largest = LARGEST * noise.building_deviation;
    let drawn = |own: f64, around: f64| around + OWN * (own - around).min(largest).max(-largest);
    let pairs = shifts.iter().zip(&centres);
    pairs
        .map(|(own, centre)| {
            let weights = centres.iter().map(|other| near(*centre, *other));
            let weighted: Vec<(Shift, f64)> = shifts.iter().copied().zip(weights).collect();
            let around = |axis: fn(&Shift) -> f64| {
                median(weighted.iter().map(|(shift, weight)| (axis(shift), *weight)).collect())
            };
            Shift { x: drawn(own.x, around(|s| s.x)), y: drawn(own.y, around(|s| s.y)) }
        })
        .collect()
}

/// The weighted median; midway where two values share it.
fn median(mut values: Vec<(f64, f64)>) -> f64 {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    // Sums of weights are off by rounding.
    let [low, high] = [half * (1.0 - 1e-9), half * (1.0 + 1e-9)].map(|reached| {
        let mut below = 0.0;
        let found = values.iter().find(|(_, weight)| {
            below += weight;
            below >= reached
        });
        found.or(values.last()).map_or(0.0, |(value, _)| *value)
    });
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::{Building, Raster, coverage::polygon};

    fn row(count: usize) -> Scene {
        let house = |x: f64| polygon([(x, 0.0), (x + 6.0, 0.0), (x + 6.0, 6.0), (x, 6.0)]);
        let building = |id| Building { id, group: 0, polygon: house(8.0 * id as f64) };
        Scene {
            image: Raster::zeros(1, 8, 8 * count),
            metres_per_pixel: 0.4,
            buildings: (0..count).map(building).collect(),
        }
    }

    #[test]
    fn one_that_strays_is_drawn_to_its_neighbours_and_moves_none_of_them() {
        let noise = Misalignment { building_deviation: 0.5, ..Misalignment::default() };
        let mut shifts = vec![Shift { x: 1.0, y: -2.0 }; 5];
        shifts[2] = Shift { x: 9.0, y: -2.0 };
        let drawn = drawn_together(&row(5), &shifts, &noise);
        assert_eq!(drawn[2], Shift { x: 1.5, y: -2.0 });
        assert_eq!((drawn[0], drawn[4]), (shifts[0], shifts[4]));
    }

    #[test]
    fn one_alone_stays_where_it_is() {
        let shifts = [Shift { x: 3.0, y: 0.5 }];
        assert_eq!(drawn_together(&row(1), &shifts, &Misalignment::default()), shifts);
    }

    #[test]
    fn two_that_share_the_median_meet_midway() {
        assert_eq!(median(vec![(1.0, 1.0), (2.0, 1.0)]), 1.5);
        assert_eq!(median(vec![(1.0, 1.0), (2.0, 5.0), (7.0, 1.0)]), 2.0);
    }
}
