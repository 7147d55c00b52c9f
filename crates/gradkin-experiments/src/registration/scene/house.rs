//! Buildings: where they stand, how high, under which roof.

use geo::{MapCoords, Polygon};
use rand::RngExt;
use rand::rngs::ChaCha12Rng;
use rand_distr::{Distribution, StandardNormal};

use super::canvas::Colour;
use super::footprint::{Footprint, Shape};
use super::frame::Frame;

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

impl House {
    /// The outline on the ground, in units of which a metre has `scale`.
    pub(super) fn outline(&self, scale: f64) -> Polygon<f64> {
        self.frame.place(&self.footprint.outline).map_coords(|c| c * scale)
    }

    /// The smallest rectangle along the building's axes, with some ground around it.
    pub(super) fn claim(&self) -> Polygon<f64> {
        let corners = self.footprint.outline.exterior().coords();
        let (x, y) =
            corners.fold((0.0f64, 0.0f64), |(x, y), c| (x.max(c.x.abs()), y.max(c.y.abs())));
        self.frame.rectangle((-x - APART, -y - APART), (x + APART, y + APART))
    }
}

/// What a building is for, which decides height and roof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Home,
    Shed,
    Block,
    Hall,
}

/// A building whose middle is at local coordinates of a frame that looks along the street.
pub(super) fn build(
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
