//! How much of each pixel a polygon covers, exactly: what makes a shift by a tenth of a pixel visible.

use ab_glyph_rasterizer::{Rasterizer, point};
use geo::{BoundingRect, Coord, CoordsIter, LineString, Polygon, Winding};

/// The covered share of the pixels in a box around a polygon. The box may lie partly or wholly off
/// the picture.
pub(crate) struct Coverage {
    left: i64,
    top: i64,
    width: usize,
    height: usize,
    shares: Vec<f32>,
}

/// A polygon that reaches over more pixels than this on a side is nothing that we draw.
const LARGEST_SIDE: f64 = 20_000.0;

impl Coverage {
    /// None of a polygon without extent, or with a corner that is not finite.
    pub(crate) fn of(polygon: &Polygon<f64>) -> Option<Self> {
        let bounds = polygon.bounding_rect()?;
        let (min, max) = (bounds.min(), bounds.max());
        let (left, top) = (min.x.floor() - 1.0, min.y.floor() - 1.0);
        let (width, height) = (max.x.ceil() + 1.0 - left, max.y.ceil() + 1.0 - top);
        let finite = polygon.coords_iter().all(|c| c.x.is_finite() && c.y.is_finite());
        if !finite || width > LARGEST_SIDE || height > LARGEST_SIDE {
            return None;
        }
        let (width, height) = (width as usize, height as usize);

        let mut rasterizer = Rasterizer::new(width, height);
        let mut ring = |ring: &LineString<f64>, clockwise: bool| {
            let same = ring.is_cw() == clockwise;
            let place = |c: Coord<f64>| point((c.x - left) as f32, (c.y - top) as f32);
            for line in ring.lines() {
                let (from, to) = (place(line.start), place(line.end));
                if same {
                    rasterizer.draw_line(from, to);
                } else {
                    rasterizer.draw_line(to, from);
                }
            }
        };
        ring(polygon.exterior(), true);
        for hole in polygon.interiors() {
            ring(hole, false);
        }
        let mut shares = vec![0.0; width * height];
        rasterizer.for_each_pixel(|index, share| shares[index] = share.min(1.0));
        Some(Self { left: left as i64, top: top as i64, width, height, shares })
    }

    /// Calls with the index and the covered share of every pixel of a picture that is covered at all.
    pub(crate) fn on(&self, width: usize, height: usize, mut visit: impl FnMut(usize, f32)) {
        for row in 0..self.height {
            let Ok(y) = usize::try_from(self.top + row as i64) else { continue };
            if y >= height {
                break;
            }
            let shares = &self.shares[row * self.width..(row + 1) * self.width];
            for (column, share) in shares.iter().enumerate() {
                let Ok(x) = usize::try_from(self.left + column as i64) else { continue };
                // Rounding leaves crumbs beside an edge.
                if x < width && *share > 1e-4 {
                    visit(y * width + x, *share);
                }
            }
        }
    }
}

/// Pixels of a polygon that are in a picture of this size.
pub(crate) fn area_in(polygon: &Polygon<f64>, height: usize, width: usize) -> f64 {
    let mut area = 0.0;
    if let Some(coverage) = Coverage::of(polygon) {
        coverage.on(width, height, |_, share| area += f64::from(share));
    }
    area
}

/// Fills with the covered share wherever it is larger than what is there.
pub(crate) fn fill(polygon: &Polygon<f64>, plane: &mut [f32], width: usize) {
    let height = plane.len() / width.max(1);
    if let Some(coverage) = Coverage::of(polygon) {
        coverage.on(width, height, |index, share| plane[index] = plane[index].max(share));
    }
}

/// A polygon without holes.
#[cfg(test)]
pub(crate) fn polygon(corners: impl IntoIterator<Item = (f64, f64)>) -> Polygon<f64> {
    Polygon::new(corners.into_iter().collect(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use geo::{Area, Centroid, Translate};
    use proptest::prelude::*;

    /// Sum of the shares, and their centre.
    fn measure(polygon: &Polygon<f64>, size: usize) -> (f64, f64, f64) {
        let mut plane = vec![0.0; size * size];
        fill(polygon, &mut plane, size);
        let (mut sum, mut x, mut y) = (0.0, 0.0, 0.0);
        for (index, share) in plane.iter().enumerate() {
            sum += f64::from(*share);
            x += f64::from(*share) * ((index % size) as f64 + 0.5);
            y += f64::from(*share) * ((index / size) as f64 + 0.5);
        }
        (sum, x / sum, y / sum)
    }

    fn ring_with_hole() -> Polygon<f64> {
        let hole = [(14.2, 15.1), (22.9, 13.0), (24.0, 20.5), (15.0, 22.0)];
        let mut ring = polygon([(8.3, 9.1), (30.7, 6.2), (33.4, 27.5), (9.9, 29.0)]);
        ring.interiors_push(LineString::from(hole.to_vec()));
        ring
    }

    proptest! {
        #[test]
        fn shares_add_up_to_the_area_and_move_with_it(
            x in -3.0..3.0f64, y in -3.0..3.0f64, turned in any::<bool>(), hole_turned in any::<bool>(),
        ) {
            let whole = ring_with_hole();
            let (mut outer, mut holes) = whole.into_inner();
            if turned { outer.0.reverse(); }
            if hole_turned { holes[0].0.reverse(); }
            let moved = Polygon::new(outer, holes).translate(x, y);
            let (area, column, row) = measure(&moved, 48);
            let centre = moved.centroid().unwrap();
            prop_assert!((area - moved.unsigned_area()).abs() < 0.02, "{area}");
            prop_assert!((column - centre.x()).abs() < 0.02, "{column} for {centre:?}");
            prop_assert!((row - centre.y()).abs() < 0.02, "{row} for {centre:?}");
        }
    }

    #[test]
    fn what_lies_off_the_picture_is_left_out() {
        let square = polygon([(-2.0, -2.0), (3.0, -2.0), (3.0, 3.0), (-2.0, 3.0)]);
        let (area, ..) = measure(&square, 8);
        assert!((area - 9.0).abs() < 1e-3, "{area}");
        let (area, ..) = measure(&square.translate(-50.0, 0.0), 8);
        assert_eq!(area, 0.0);
        let (area, ..) = measure(&square.translate(6.0, 6.0), 8);
        assert!((area - 16.0).abs() < 1e-3, "{area}");
    }

    #[test]
    fn what_is_not_finite_is_not_drawn() {
        assert!(Coverage::of(&polygon([(0.0, 0.0), (f64::NAN, 1.0), (2.0, 2.0)])).is_none());
        assert!(Coverage::of(&polygon([(0.0, 0.0), (f64::INFINITY, 1.0), (2.0, 2.0)])).is_none());
        assert!(Coverage::of(&polygon([])).is_none());
    }
}
