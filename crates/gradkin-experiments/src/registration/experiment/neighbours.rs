//! Neighbours' labels are off alike, so that what the network sees of one building says something of the
//! next. It is the deviation of the labels' noise that is known and used here, nothing of the truth.

use geo::Centroid;

use crate::registration::coverage::area_in;
use crate::registration::{Coord, Misalignment, Polygon, Shift};

/// Noise of single buildings is taken to be no larger than so many deviations.
const LARGEST: f64 = 2.0;
/// A building of which so many pixels are in the picture counts half of one that is seen well: of a corner
/// at the border the network sees too little.
const HALF_SEEN: f64 = 16.0;

/// Displacements of outlines in a picture of `height` and `width`, each drawn towards the median of those
/// around it: its own, which counts for at most `weight`, holds noise of its label, and an error of the
/// network, that the neighbourhood's has not.
pub(super) fn drawn_together(
    (outlines, shifts): (&[Polygon<f64>], &[Shift]),
    [height, width]: [usize; 2],
    noise: &Misalignment,
    weight: f64,
) -> Vec<Shift> {
    let centres: Vec<Coord<f64>> = (outlines.iter())
        .map(|outline| outline.centroid().map_or(Coord::default(), |centre| centre.0))
        .collect();
    let seen: Vec<f64> = outlines.iter().map(|outline| seen(outline, height, width)).collect();
    let near = |one: Coord<f64>, other: Coord<f64>| {
        // Over half of the length that it changes over, noise hardly changes.
        let (off, reach) = (other - one, noise.length / 2.0);
        (-(off.x * off.x + off.y * off.y) / (2.0 * reach * reach)).exp()
    };
    let largest = LARGEST * noise.building_deviation;
    let pairs = shifts.iter().zip(&centres).zip(&seen);
    pairs
        .map(|((own, centre), own_seen)| {
            let others = centres.iter().zip(&seen);
            let weights = others.map(|(other, seen)| near(*centre, *other) * seen);
            let weighted: Vec<(Shift, f64)> = shifts.iter().copied().zip(weights).collect();
            let drawn = |axis: fn(&Shift) -> f64| {
                let around =
                    median(weighted.iter().map(|(shift, weight)| (axis(shift), *weight)).collect());
                around + weight * own_seen * (axis(own) - around).clamp(-largest, largest)
            };
            Shift { x: drawn(|shift| shift.x), y: drawn(|shift| shift.y) }
        })
        .collect()
}

/// How well a picture shows an outline, from 0 to 1.
fn seen(outline: &Polygon<f64>, height: usize, width: usize) -> f64 {
    let area = area_in(outline, height, width);
    area / (area + HALF_SEEN)
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
    use crate::registration::coverage::polygon;

    /// Houses side by side, 36 pixels each.
    fn row(count: usize) -> Vec<Polygon<f64>> {
        let house = |x: f64| polygon([(x, 0.0), (x + 6.0, 0.0), (x + 6.0, 6.0), (x, 6.0)]);
        (0..count).map(|i| house(8.0 * i as f64)).collect()
    }

    const WELL_SEEN: f64 = 36.0 / (36.0 + HALF_SEEN);

    #[test]
    fn one_that_strays_is_drawn_to_its_neighbours_and_moves_none_of_them() {
        let noise = Misalignment { building_deviation: 0.5, ..Misalignment::default() };
        let mut shifts = vec![Shift { x: 1.0, y: -2.0 }; 5];
        shifts[2] = Shift { x: 9.0, y: -2.0 };
        let drawn = drawn_together((&row(5), &shifts), [8, 40], &noise, 0.5);
        assert!((drawn[2].x - (1.0 + 0.5 * WELL_SEEN)).abs() < 1e-6 && drawn[2].y == -2.0);
        assert_eq!((drawn[0], drawn[4]), (shifts[0], shifts[4]));
    }

    #[test]
    fn one_out_of_sight_goes_where_its_neighbours_go() {
        let mut shifts = vec![Shift { x: 1.0, y: -2.0 }; 5];
        shifts[4] = Shift { x: 3.0, y: 0.0 };
        let drawn = drawn_together((&row(5), &shifts), [8, 30], &Misalignment::default(), 1.0);
        assert_eq!(drawn, vec![shifts[0]; 5]);
    }

    #[test]
    fn one_alone_stays_where_it_is() {
        let shifts = [Shift { x: 3.0, y: 0.5 }];
        let noise = Misalignment::default();
        assert_eq!(drawn_together((&row(1), &shifts), [8, 8], &noise, 0.5), shifts);
    }

    #[test]
    fn two_that_share_the_median_meet_midway() {
        assert_eq!(median(vec![(1.0, 1.0), (2.0, 1.0)]), 1.5);
        assert_eq!(median(vec![(1.0, 1.0), (2.0, 5.0), (7.0, 1.0)]), 2.0);
    }
}
