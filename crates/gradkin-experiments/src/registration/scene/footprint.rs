//! The shapes that buildings have, made of rectangular wings.

use geo::{Coord, LineString, MapCoords, Polygon};
use rand::RngExt;
use rand::rngs::ChaCha12Rng;

/// A rectangle of a footprint, in the building's own coordinates. Wings may overlap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wing {
    pub(super) low: Coord<f64>,
    pub(super) high: Coord<f64>,
}

/// An outline about the origin, and wings that together cover just that.
#[derive(Debug, Clone)]
pub(super) struct Footprint {
    pub(super) outline: Polygon<f64>,
    pub(super) wings: Vec<Wing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Rectangle,
    L,
    T,
    U,
    Court,
}

impl Footprint {
    /// A shape as wide and deep as given, its proportions drawn, mirrored or not.
    pub(super) fn draw(shape: Shape, width: f64, depth: f64, random: &mut ChaCha12Rng) -> Self {
        let (w, d) = (width, depth);
        let mut share = |low: f64, high: f64| random.random_range(low..high);
        let (corners, wings) = match shape {
            Shape::Rectangle => {
                (vec![(0.0, 0.0), (w, 0.0), (w, d), (0.0, d)], vec![(0.0, 0.0, w, d)])
            }
            Shape::L => {
                let (x, y) = (w * share(0.35, 0.6), d * share(0.4, 0.7));
                let corners = vec![(0.0, 0.0), (w, 0.0), (w, y), (x, y), (x, d), (0.0, d)];
                (corners, vec![(0.0, 0.0, w, y), (0.0, 0.0, x, d)])
            }
            Shape::T => {
                let (left, right) = (w * share(0.15, 0.4), w * share(0.6, 0.85));
                let y = d * share(0.45, 0.7);
                let stem = [(w, y), (right, y), (right, d), (left, d), (left, y), (0.0, y)];
                let corners = [(0.0, 0.0), (w, 0.0)].into_iter().chain(stem).collect();
                (corners, vec![(0.0, 0.0, w, y), (left, 0.0, right, d)])
            }
            Shape::U => {
                let (left, right) = (w * share(0.2, 0.35), w * share(0.65, 0.8));
                let (y, shorter) = (d * share(0.3, 0.5), d * share(0.8, 1.0));
                let legs =
                    [(w, d), (right, d), (right, y), (left, y), (left, shorter), (0.0, shorter)];
                let corners = [(0.0, 0.0), (w, 0.0)].into_iter().chain(legs).collect();
                (corners, vec![(0.0, 0.0, w, y), (0.0, 0.0, left, shorter), (right, 0.0, w, d)])
            }
            Shape::Court => {
                let thick = w.min(d) * share(0.2, 0.32);
                let corners = vec![(0.0, 0.0), (w, 0.0), (w, d), (0.0, d)];
                let far = (w - thick, d - thick);
                let wings = vec![
                    (0.0, 0.0, w, thick),
                    (0.0, far.1, w, d),
                    (0.0, 0.0, thick, d),
                    (far.0, 0.0, w, d),
                ];
                let hole = vec![(thick, thick), (thick, far.1), far, (far.0, thick)];
                return Self::of(corners, Some(hole), wings, (w, d), random);
            }
        };
        Self::of(corners, None, wings, (w, d), random)
    }

    /// How far the outline reaches from the origin.
    pub(super) fn reach(&self) -> f64 {
        self.outline.exterior().coords().map(|c| c.x.hypot(c.y)).fold(0.0, f64::max)
    }

    fn of(
        corners: Vec<(f64, f64)>,
        hole: Option<Vec<(f64, f64)>>,
        wings: Vec<(f64, f64, f64, f64)>,
        (width, depth): (f64, f64),
        random: &mut ChaCha12Rng,
    ) -> Self {
        let mut sign = || if random.random_bool(0.5) { -1.0 } else { 1.0 };
        let (flip_x, flip_y) = (sign(), sign());
        let move_in = |c: Coord<f64>| Coord {
            x: flip_x * (c.x - width / 2.0),
            y: flip_y * (c.y - depth / 2.0),
        };
        let holes = hole.map(LineString::from).into_iter().collect();
        let wing = |(left, top, right, bottom): (f64, f64, f64, f64)| {
            let one = move_in(Coord { x: left, y: top });
            let other = move_in(Coord { x: right, y: bottom });
            Wing {
                low: Coord { x: one.x.min(other.x), y: one.y.min(other.y) },
                high: Coord { x: one.x.max(other.x), y: one.y.max(other.y) },
            }
        };
        Self {
            outline: Polygon::new(corners.into(), holes).map_coords(move_in),
            wings: wings.into_iter().map(wing).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geo::{Area, BooleanOps, BoundingRect, MultiPolygon, Rect, Validation, unary_union};
    use rand::SeedableRng;

    #[test]
    fn wings_cover_just_the_outline() {
        let mut random = ChaCha12Rng::seed_from_u64(2);
        for shape in [Shape::Rectangle, Shape::L, Shape::T, Shape::U, Shape::Court] {
            for _ in 0..20 {
                let print = Footprint::draw(shape, 20.0, 12.0, &mut random);
                assert!(print.outline.is_valid(), "{shape:?}");
                let wings: Vec<_> =
                    print.wings.iter().map(|w| Rect::new(w.low, w.high).to_polygon()).collect();
                let union = unary_union(&wings);
                let outline = MultiPolygon::from(print.outline.clone());
                let odd = union.xor(&outline).unsigned_area();
                assert!(odd < 1e-6, "{shape:?}: {odd}");
                let bounds = print.outline.bounding_rect().unwrap();
                assert!(
                    (bounds.width() - 20.0).abs() < 1e-9 && (bounds.height() - 12.0).abs() < 1e-9
                );
                assert!((print.outline.interiors().len() == 1) == (shape == Shape::Court));
            }
        }
    }
}
