//! Outlines as the network's second input: what is covered, where walls run, where corners are.

use geo::{Coord, Line, LineString, Polygon};

use super::Raster;
use super::coverage::{Coverage, fill};

/// Channels of drawn outlines: area, edge, vertex.
pub(crate) const CHANNELS: usize = 3;

/// How outlines are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlineStyle {
    /// Breadth of edges, in pixels.
    pub edge_width: f64,
    /// Radius of vertices, in pixels.
    pub vertex_radius: f64,
    /// Pixels this far from a building still count as its own when displacements are learnt.
    pub margin: f64,
    /// Only 0 and 1, with the border where a pixel is half covered. A shift by less than a pixel is
    /// then seen from a few pixels only.
    pub crisp: bool,
}

impl Default for OutlineStyle {
    fn default() -> Self {
        Self { edge_width: 1.5, vertex_radius: 1.5, margin: 2.0, crisp: false }
    }
}

/// Polygons as three channels: area, edge, vertex, each from 0 to 1. Holes are no area; their edges
/// and vertices are drawn.
pub fn draw_outlines<'a>(
    polygons: impl IntoIterator<Item = &'a Polygon<f64>>,
    height: usize,
    width: usize,
    style: &OutlineStyle,
) -> Raster {
    let mut raster = Raster::zeros(CHANNELS, height, width);
    for polygon in polygons {
        fill(polygon, raster.channel_mut(0), width);
        for ring in rings(polygon) {
            for line in ring.lines() {
                let half = style.edge_width / 2.0;
                widen(line, half, raster.channel_mut(1), width);
                widen(
                    Line::new(line.start, line.start),
                    style.vertex_radius,
                    raster.channel_mut(2),
                    width,
                );
            }
        }
    }
    if style.crisp {
        raster.values_mut().iter_mut().for_each(|v| *v = if *v >= 0.5 { 1.0 } else { 0.0 });
    }
    raster
}

/// Calls with every pixel within `margin` of a polygon: its index, and how far its centre is away, 0
/// where the polygon covers half of it.
pub(crate) fn near(
    polygon: &Polygon<f64>,
    (height, width): (usize, usize),
    margin: f64,
    mut visit: impl FnMut(usize, f64),
) {
    let mut nearest = vec![];
    for line in rings(polygon).flat_map(LineString::lines) {
        around(line, margin, (height, width), |index, distance| nearest.push((index, distance)));
    }
    if let Some(coverage) = Coverage::of(polygon) {
        coverage.on(width, height, |index, share| {
            if share >= 0.5 {
                nearest.push((index, 0.0));
            }
        });
    }
    nearest.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    nearest.dedup_by_key(|pixel| pixel.0);
    nearest.into_iter().for_each(|(index, distance)| visit(index, distance));
}

pub(crate) fn rings(polygon: &Polygon<f64>) -> impl Iterator<Item = &LineString<f64>> {
    std::iter::once(polygon.exterior()).chain(polygon.interiors())
}

/// Draws a line with round ends. The share that a line covers of a pixel is taken from the distance of
/// the pixel's centre, exact for a line along the pixels.
pub(crate) fn widen(line: Line<f64>, radius: f64, plane: &mut [f32], width: usize) {
    let height = plane.len() / width.max(1);
    around(line, radius + 0.5, (height, width), |index, distance| {
        let reach = (radius + 0.5 - distance).clamp(0.0, f64::min(1.0, 2.0 * radius));
        plane[index] = plane[index].max(reach as f32);
    });
}

/// Calls with every pixel whose centre is within `reach` of a line, and its distance.
fn around(
    line: Line<f64>,
    reach: f64,
    (height, width): (usize, usize),
    mut visit: impl FnMut(usize, f64),
) {
    // Casts from float to integer saturate, so a range off the picture comes out empty.
    let range = |a: f64, b: f64, size: usize| {
        let (low, high) = (a.min(b) - reach - 0.5, a.max(b) + reach + 0.5);
        (low.floor().max(0.0) as usize)..(high.ceil().max(0.0) as usize).min(size)
    };
    let columns = range(line.start.x, line.end.x, width);
    for row in range(line.start.y, line.end.y, height) {
        for column in columns.clone() {
            let centre = Coord { x: column as f64 + 0.5, y: row as f64 + 0.5 };
            let distance = distance(centre, line);
            if distance <= reach {
                visit(row * width + column, distance);
            }
        }
    }
}

fn distance(place: Coord<f64>, line: Line<f64>) -> f64 {
    let (along, to) = (line.end - line.start, place - line.start);
    let length = along.x * along.x + along.y * along.y;
    let share = if length > 0.0 { (to.x * along.x + to.y * along.y) / length } else { 0.0 };
    let off = to - along * share.clamp(0.0, 1.0);
    off.x.hypot(off.y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::coverage::polygon;
    use geo::{Area, Translate};

    fn court() -> Polygon<f64> {
        let mut court = polygon([(6.0, 6.0), (26.0, 6.0), (26.0, 22.0), (6.0, 22.0)]);
        court.interiors_push(LineString::from(vec![
            (12.0, 11.0),
            (20.0, 11.0),
            (20.0, 17.0),
            (12.0, 17.0),
        ]));
        court
    }

    fn sum(values: &[f32]) -> f64 {
        values.iter().map(|v| f64::from(*v)).sum()
    }

    #[test]
    fn holes_are_no_area_but_have_edges() {
        let drawn = draw_outlines([&court()], 32, 32, &OutlineStyle::default());
        assert!((sum(drawn.channel(0)) - court().unsigned_area()).abs() < 1e-2);
        assert_eq!(drawn.at(0, 14, 15), 0.0);
        assert!(drawn.at(1, 11, 15) > 0.5 && drawn.at(1, 6, 15) > 0.5);
        assert_eq!(drawn.at(1, 14, 15), 0.0);
        assert!(drawn.at(2, 11, 12) > 0.5 && drawn.at(2, 22, 26) > 0.5);
        assert_eq!(drawn.at(2, 6, 15), 0.0);
    }

    #[test]
    fn edges_have_their_breadth_and_vertices_their_size() {
        let style = OutlineStyle { edge_width: 2.0, ..Default::default() };
        let drawn = draw_outlines([&court()], 32, 32, &style);
        let across: f32 = (0..9).map(|row| drawn.at(1, row, 15)).sum();
        assert!((across - 2.0).abs() < 1e-3, "{across}");
        let disc = std::f64::consts::PI * style.vertex_radius * style.vertex_radius;
        let mean = sum(drawn.channel(2)) / 8.0;
        assert!((mean - disc).abs() < 0.1 * disc, "{mean} for {disc}");
    }

    #[test]
    fn every_channel_follows_a_small_shift() {
        let centre = |plane: &[f32]| {
            let moment: f64 =
                plane.iter().enumerate().map(|(i, v)| f64::from(*v) * (i % 32) as f64).sum();
            moment / sum(plane)
        };
        let style = OutlineStyle::default();
        let still = draw_outlines([&court()], 32, 32, &style);
        let moved = draw_outlines([&court().translate(0.3, 0.0)], 32, 32, &style);
        for channel in 0..CHANNELS {
            let shift = centre(moved.channel(channel)) - centre(still.channel(channel));
            // A pixel counts from its centre wherever in it the line runs.
            assert!((shift - 0.3).abs() < 0.08, "channel {channel}: {shift}");
        }
    }

    #[test]
    fn crisp_outlines_are_of_zeros_and_ones() {
        let style = OutlineStyle { crisp: true, ..Default::default() };
        let drawn = draw_outlines([&court().translate(0.4, 0.2)], 32, 32, &style);
        assert!(drawn.values().iter().all(|v| *v == 0.0 || *v == 1.0));
        assert_eq!(sum(drawn.channel(0)), court().unsigned_area());
    }

    #[test]
    fn nearness_is_measured_from_the_border() {
        let mut distances = vec![f64::INFINITY; 32 * 32];
        near(&court(), (32, 32), 2.0, |index, distance| distances[index] = distance);
        let at = |row: usize, column: usize| distances[row * 32 + column];
        assert_eq!(at(8, 8), 0.0);
        assert_eq!(at(5, 15), 0.5);
        assert_eq!(at(4, 15), 1.5);
        assert_eq!(at(3, 15), f64::INFINITY);
        assert_eq!(at(12, 15), 1.5);
        assert_eq!(at(13, 15), f64::INFINITY);
    }

    #[test]
    fn outlines_off_the_picture_are_left_out() {
        let off = court().translate(-100.0, 300.0);
        assert_eq!(sum(draw_outlines([&off], 32, 32, &OutlineStyle::default()).values()), 0.0);
    }
}
