//! Plots along the streets, and the buildings on them.

use geo::{Coord, Intersects, MapCoords, Polygon};
use rand::RngExt;
use rand::rngs::ChaCha12Rng;
use rand_distr::{Distribution, StandardNormal};

use super::canvas::Colour;
use super::footprint::{Footprint, Shape};
use super::frame::Frame;
use super::town::{Block, Town, Use};

/// Open ground that every building keeps around itself, in metres.
const APART: f64 = 1.2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoofKind {
    Flat,
    Gabled,
    Hipped,
}

/// A building and how it looks.
pub(super) struct House {
    pub(super) frame: Frame,
    pub(super) footprint: Footprint,
    pub(super) roof: RoofKind,
    /// Rise of the roof per metre.
    pub(super) pitch: f64,
    /// Height of the walls.
    pub(super) height: f64,
    pub(super) colour: Colour,
}

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

impl House {
    /// The outline on the ground, in units of which a metre has `scale`.
    pub(super) fn outline(&self, scale: f64) -> Polygon<f64> {
        self.frame.place(&self.footprint.outline).map_coords(|c| c * scale)
    }

    /// The smallest rectangle along the building's axes, with some ground around it.
    fn claim(&self) -> Polygon<f64> {
        let corners = self.footprint.outline.exterior().coords();
        let (x, y) =
            corners.fold((0.0f64, 0.0f64), |(x, y), c| (x.max(c.x.abs()), y.max(c.y.abs())));
        self.frame.rectangle((-x - APART, -y - APART), (x + APART, y + APART))
    }
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
        keep_apart(&mut plots[first..]);
    }
    plots
}

/// Takes out buildings that stand in one built earlier.
fn keep_apart(plots: &mut [Plot]) {
    let mut claimed: Vec<Polygon<f64>> = Vec::new();
    for plot in plots {
        plot.houses.retain(|house| {
            let claim = house.claim();
            let free = !claimed.iter().any(|other| other.intersects(&claim));
            if free {
                claimed.push(claim);
            }
            free
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
        let margin = if i < 2 { 1.0 } else { depth + 1.0 };
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
        let back = random.random_range(1.5..5.0);
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Home,
    Shed,
    Block,
    Hall,
}

fn build(
    street: &Frame,
    (x, y): (f64, f64),
    shape: Shape,
    (width, depth): (f64, f64),
    style: Style,
    random: &mut ChaCha12Rng,
) -> House {
    let turn: f64 = StandardNormal.sample(random);
    let looseness = if style == Style::Home || style == Style::Shed { 0.035 } else { 0.01 };
    let (flat, hipped, low, high) = match style {
        Style::Home => (0.12, 0.3, 3.0, 6.5),
        Style::Shed => (0.5, 0.0, 2.2, 3.0),
        Style::Block => (0.4, 0.25, 8.0, 15.0),
        Style::Hall => (0.85, 0.05, 5.0, 10.0),
    };
    let roof = match random.random_range(0.0..1.0) {
        x if x < flat => RoofKind::Flat,
        x if x < flat + hipped => RoofKind::Hipped,
        _ => RoofKind::Gabled,
    };
    House {
        frame: street.at(x, y).rotated(turn * looseness),
        footprint: Footprint::draw(shape, width, depth, random),
        roof,
        pitch: if style == Style::Hall { 0.15 } else { random.random_range(0.35..0.9) },
        height: random.random_range(low..high),
        colour: roof_colour(roof, random),
    }
}

const TILED: [Colour; 7] = [
    [0.42, 0.17, 0.10],
    [0.33, 0.13, 0.08],
    [0.24, 0.15, 0.11],
    [0.17, 0.15, 0.14],
    [0.11, 0.11, 0.12],
    [0.26, 0.26, 0.27],
    [0.34, 0.29, 0.24],
];

const FLAT: [Colour; 6] = [
    [0.45, 0.43, 0.40],
    [0.6, 0.6, 0.59],
    [0.13, 0.13, 0.14],
    [0.28, 0.28, 0.29],
    [0.25, 0.29, 0.26],
    [0.36, 0.31, 0.27],
];

fn roof_colour(roof: RoofKind, random: &mut ChaCha12Rng) -> Colour {
    let palette: &[Colour] = if roof == RoofKind::Flat { &FLAT } else { &TILED };
    let base = palette[random.random_range(0..palette.len())];
    let bright = random.random_range(0.75..1.25);
    base.map(|value| value * bright * random.random_range(0.94..1.06))
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
