//! Plots along the streets, and what is built on them.

use geo::{Contains, Coord, Intersects, Polygon};
use rand::RngExt;
use rand::rngs::ChaCha12Rng;

use super::footprint::Shape;
use super::frame::Frame;
use super::house::{House, Style, build};
use super::town::{Block, Town, Use};

/// A piece of land with what is built on it.
pub(super) struct Plot {
    /// Which block it is part of.
    pub(super) block: usize,
    /// At the middle of the side to the street, looking along it; the land lies at positive y.
    pub(super) frame: Frame,
    pub(super) width: f64,
    pub(super) depth: f64,
    pub(super) purpose: Use,
    pub(super) houses: Vec<House>,
}

/// Every plot of a town that may show in the picture.
pub(super) fn place(town: &Town, random: &mut ChaCha12Rng) -> Vec<Plot> {
    let mut plots = Vec::new();
    for (number, block) in town.blocks.iter().enumerate() {
        let first = plots.len();
        match block.purpose {
            Use::Houses | Use::Rows => along_streets(town, number, block, &mut plots, random),
            Use::Courts | Use::Halls => in_cells(town, number, block, &mut plots, random),
            Use::Park | Use::Field | Use::Wood => {}
        }
        keep_sound(&town.patch(block.low, block.high), &mut plots[first..]);
    }
    plots
}

/// Takes out buildings that stand in one built earlier, or reach out of their bent block.
fn keep_sound(block: &Polygon<f64>, plots: &mut [Plot]) {
    let mut claimed: Vec<Polygon<f64>> = Vec::new();
    for plot in plots {
        plot.houses.retain(|house| {
            let claim = house.claim();
            let sound = house.outline(1.0).exterior().coords().all(|corner| block.contains(corner))
                && !claimed.iter().any(|other| other.intersects(&claim));
            if sound {
                claimed.push(claim);
            }
            sound
        });
    }
}

/// Plots side by side along the four sides of a block.
fn along_streets(
    town: &Town,
    number: usize,
    block: &Block,
    plots: &mut Vec<Plot>,
    random: &mut ChaCha12Rng,
) {
    let size = block.high - block.low;
    let depth = (size.x.min(size.y) / 2.0).min(38.0);
    if depth < 10.0 {
        return;
    }
    let corner = |x: f64, y: f64| Coord { x, y };
    let sides = [
        (block.low, corner(1.0, 0.0), size.x),
        (block.high, corner(-1.0, 0.0), size.x),
        (corner(block.high.x, block.low.y), corner(0.0, 1.0), size.y),
        (corner(block.low.x, block.high.y), corner(0.0, -1.0), size.y),
    ];
    for (i, (start, direction, length)) in sides.into_iter().enumerate() {
        // The first two sides take the corners, the others what is left between them.
        let margin = if i < 2 { 2.0 } else { depth + 1.0 };
        let mut at = margin;
        while at + 12.0 < length - margin {
            let width = plot_width(block.purpose, random).min(length - margin - at);
            let frame = town.frame(start + direction * (at + width / 2.0), direction);
            at += width;
            if !town.shows(frame.origin, 90.0) || random.random_bool(0.05) {
                continue;
            }
            let houses = houses(block.purpose, &frame, width, depth, random);
            plots.push(Plot { block: number, frame, width, depth, purpose: block.purpose, houses });
        }
    }
}

fn plot_width(purpose: Use, random: &mut ChaCha12Rng) -> f64 {
    match purpose {
        Use::Rows => random.random_range(22.0..58.0),
        _ => random.random_range(14.0..22.0),
    }
}

/// What stands on a plot by the street.
fn houses(
    purpose: Use,
    frame: &Frame,
    width: f64,
    depth: f64,
    random: &mut ChaCha12Rng,
) -> Vec<House> {
    if purpose == Use::Rows {
        let (long, deep): (f64, f64) =
            (width - random.random_range(2.0..7.0), random.random_range(9.0..12.5));
        let back = random.random_range(2.5..5.0);
        let shape =
            draw_shape(&[(Shape::Rectangle, 0.7), (Shape::L, 0.2), (Shape::U, 0.1)], random);
        let deep =
            if shape == Shape::Rectangle { deep } else { (1.7 * deep).min(depth - back - 1.0) };
        return vec![build(
            frame,
            (0.0, back + deep / 2.0),
            shape,
            (long, deep),
            Style::Block,
            random,
        )];
    }
    let wide = (width * random.random_range(0.5..0.78)).clamp(7.5, 17.0);
    let deep = random.random_range(7.5..12.0);
    let shape = draw_shape(
        &[(Shape::Rectangle, 0.5), (Shape::L, 0.27), (Shape::T, 0.15), (Shape::U, 0.08)],
        random,
    );
    let deep = if shape == Shape::Rectangle { deep } else { 1.3 * deep };
    let spare = ((width - wide) / 2.0 - 1.0).max(0.1);
    let x = random.random_range(-spare..spare);
    let back = random.random_range(3.5..8.0f64).min((depth - deep - 1.0).max(1.0));
    let mut houses =
        vec![build(frame, (x, back + deep / 2.0), shape, (wide, deep), Style::Home, random)];
    let behind = depth - back - deep;
    if behind > 9.0 && random.random_bool(0.35) {
        let (w, d) = (random.random_range(3.0..6.5), random.random_range(3.0..6.0));
        let side = if random.random_bool(0.5) { -1.0 } else { 1.0 };
        let place =
            (side * (width / 2.0 - w / 2.0 - 1.0), depth - d / 2.0 - random.random_range(1.0..3.0));
        houses.push(build(frame, place, Shape::Rectangle, (w, d), Style::Shed, random));
    }
    houses
}

/// Large buildings that fill a block, or a part of it each.
fn in_cells(
    town: &Town,
    number: usize,
    block: &Block,
    plots: &mut Vec<Plot>,
    random: &mut ChaCha12Rng,
) {
    let size = block.high - block.low;
    let largest = if block.purpose == Use::Courts { 62.0 } else { 75.0 };
    let cells = |length: f64| (length / largest).ceil().max(1.0);
    let (columns, rows) = (cells(size.x), cells(size.y));
    let cell = Coord { x: size.x / columns, y: size.y / rows };
    for row in 0..rows as usize {
        for column in 0..columns as usize {
            let front = Coord { x: (column as f64 + 0.5) * cell.x, y: row as f64 * cell.y };
            let frame = town.frame(block.low + front, Coord { x: 1.0, y: 0.0 });
            if !town.shows(frame.origin, 150.0) {
                continue;
            }
            let (width, depth) = (cell.x, cell.y);
            let houses = large(block.purpose, &frame, width, depth, random);
            plots.push(Plot { block: number, frame, width, depth, purpose: block.purpose, houses });
        }
    }
}

fn large(
    purpose: Use,
    frame: &Frame,
    width: f64,
    depth: f64,
    random: &mut ChaCha12Rng,
) -> Vec<House> {
    let middle = (0.0, depth / 2.0);
    if purpose == Use::Courts {
        let margin = random.random_range(5.0..11.0);
        let (wide, deep) = (width - margin, depth - margin);
        if wide.min(deep) < 18.0 {
            return Vec::new();
        }
        let shape = draw_shape(&[(Shape::Court, 0.6), (Shape::U, 0.25), (Shape::L, 0.15)], random);
        return vec![build(frame, middle, shape, (wide, deep), Style::Block, random)];
    }
    let shapes = [(Shape::Rectangle, 0.6), (Shape::L, 0.2), (Shape::T, 0.1), (Shape::U, 0.1)];
    let shape = draw_shape(&shapes, random);
    let (wide, deep) =
        (width * random.random_range(0.4..0.8), depth * random.random_range(0.35..0.7));
    let mut off = |spare: f64| random.random_range(-0.3..0.3) * spare;
    let place = (off(width - wide), middle.1 + off(depth - deep));
    let mut houses = vec![build(frame, place, shape, (wide, deep), Style::Hall, random)];
    if random.random_bool(0.4) {
        let place = (width * random.random_range(-0.4..0.4), depth * random.random_range(0.1..0.9));
        let size = (random.random_range(6.0..14.0), random.random_range(5.0..11.0));
        houses.push(build(frame, place, Shape::Rectangle, size, Style::Hall, random));
    }
    houses
}

fn draw_shape(shares: &[(Shape, f64)], random: &mut ChaCha12Rng) -> Shape {
    let mut left = random.random_range(0.0..1.0);
    for (shape, share) in shares {
        left -= share;
        if left < 0.0 {
            return *shape;
        }
    }
    Shape::Rectangle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::scene::District;
    use geo::{Distance, Euclidean, Point};
    use rand::SeedableRng;

    #[test]
    fn nothing_is_built_on_a_street() {
        let districts = [District::Suburb, District::City, District::Industry, District::Country];
        let mut houses = 0;
        for (seed, district) in districts.into_iter().cycle().take(20).enumerate() {
            let mut random = ChaCha12Rng::seed_from_u64(seed as u64);
            let town = Town::draw([100.0, 100.0], district, &mut random);
            let plots = place(&town, &mut random);
            for house in plots.iter().flat_map(|plot| &plot.houses) {
                houses += 1;
                let outline = house.outline(1.0);
                for road in &town.roads {
                    for frame in &road.line {
                        let away = Euclidean.distance(&Point(frame.origin), &outline);
                        assert!(away > road.width / 2.0 - 0.5, "{district:?} {seed}: {away} m");
                    }
                }
            }
        }
        assert!(houses > 400, "{houses}");
    }
}
