//! Streets and the blocks between them: an uneven grid, turned and bent.

use std::f64::consts::TAU;

use geo::{Coord, LineString, Polygon};
use rand::RngExt;
use rand::rngs::ChaCha12Rng;

use super::District;
use super::frame::{Frame, unit};

/// How far beyond the picture the town goes on, in metres, so that whatever reaches in is there.
const BEYOND: f64 = 60.0;

/// A street's line is drawn in steps of this many metres.
const STEP: f64 = 5.0;

/// Breadth of the pavement on each side of a street, in metres.
pub(super) const PAVEMENT: f64 = 2.0;

/// What a block is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Houses,
    Rows,
    Courts,
    Halls,
    Park,
    Field,
    Wood,
}

/// A street: its middle line as frames that look along it.
pub(super) struct Road {
    pub(super) line: Vec<Frame>,
    pub(super) width: f64,
}

/// A rectangle of the grid without its streets.
pub(super) struct Block {
    pub(super) low: Coord<f64>,
    pub(super) high: Coord<f64>,
    pub(super) purpose: Use,
}

pub(super) struct Town {
    /// Width and height of the picture, in metres.
    pub(super) extent: [f64; 2],
    pub(super) district: District,
    bend: Bend,
    pub(super) roads: Vec<Road>,
    pub(super) blocks: Vec<Block>,
}

/// From the grid to the ground: turned, and moved by a few long waves.
struct Bend {
    centre: Coord<f64>,
    along: Coord<f64>,
    waves: Vec<Wave>,
}

struct Wave {
    number: Coord<f64>,
    phase: f64,
    by: Coord<f64>,
}

impl Town {
    pub(super) fn draw(extent: [f64; 2], district: District, random: &mut ChaCha12Rng) -> Self {
        let reach = extent[0].hypot(extent[1]) / 2.0 + BEYOND;
        let bend = Bend::draw(extent, random);
        let (columns, rows) = (lines(reach, district, random), lines(reach, district, random));
        let mut town = Self { extent, district, bend, roads: Vec::new(), blocks: Vec::new() };
        for (at, width) in &columns {
            town.add_road(reach, *width, |t| Coord { x: *at, y: t });
        }
        for (at, width) in &rows {
            town.add_road(reach, *width, |t| Coord { x: t, y: *at });
        }
        for column in columns.windows(2) {
            for row in rows.windows(2) {
                let kerb = |line: &(f64, f64)| line.1 / 2.0 + PAVEMENT;
                town.blocks.push(Block {
                    low: Coord { x: column[0].0 + kerb(&column[0]), y: row[0].0 + kerb(&row[0]) },
                    high: Coord { x: column[1].0 - kerb(&column[1]), y: row[1].0 - kerb(&row[1]) },
                    purpose: purpose(district, random),
                });
            }
        }
        town
    }

    /// A place in the grid, looking along a direction of the grid.
    pub(super) fn frame(&self, at: Coord<f64>, direction: Coord<f64>) -> Frame {
        let ahead = self.bend.ground(at + direction * 0.5);
        let behind = self.bend.ground(at - direction * 0.5);
        Frame { origin: self.bend.ground(at), along: unit(ahead - behind) }
    }

    /// A rectangle of the grid on the ground, its sides bent.
    pub(super) fn patch(&self, low: Coord<f64>, high: Coord<f64>) -> Polygon<f64> {
        let corners = [low, Coord { x: high.x, y: low.y }, high, Coord { x: low.x, y: high.y }];
        let mut ring = Vec::new();
        for (i, from) in corners.iter().enumerate() {
            let side = corners[(i + 1) % 4] - *from;
            let steps = ((side.x.abs() + side.y.abs()) / STEP).ceil().max(1.0) as usize;
            let points = (0..steps).map(|k| *from + side * (k as f64 / steps as f64));
            ring.extend(points.map(|at| self.bend.ground(at)));
        }
        Polygon::new(LineString::from(ring), Vec::new())
    }

    /// Whether something that reaches so far from a ground point may show in the picture.
    pub(super) fn shows(&self, at: Coord<f64>, reach: f64) -> bool {
        let inside = |v: f64, size: f64| v > -reach && v < size + reach;
        inside(at.x, self.extent[0]) && inside(at.y, self.extent[1])
    }

    fn add_road(&mut self, reach: f64, width: f64, at: impl Fn(f64) -> Coord<f64>) {
        let steps = (2.0 * reach / STEP) as usize;
        let place = |k: usize| k as f64 * STEP - reach;
        let line = (0..=steps).map(|k| {
            let direction = at(place(k) + 1.0) - at(place(k));
            self.frame(at(place(k)), direction)
        });
        let line: Vec<Frame> = line.collect();
        self.roads.push(Road { line, width });
    }
}

impl Bend {
    fn draw(extent: [f64; 2], random: &mut ChaCha12Rng) -> Self {
        let centre = Coord { x: extent[0] / 2.0, y: extent[1] / 2.0 };
        let direction = |angle: f64| Coord { x: angle.cos(), y: angle.sin() };
        let along = direction(random.random_range(0.0..TAU));
        let wave = |_| {
            let length = random.random_range(150.0..420.0);
            Wave {
                number: direction(random.random_range(0.0..TAU)) * (TAU / length),
                phase: random.random_range(0.0..TAU),
                // In proportion to its length, or streets would buckle.
                by: direction(random.random_range(0.0..TAU))
                    * (length * random.random_range(0.0..0.035)),
            }
        };
        let waves = (0..3).map(wave).collect();
        Self { centre, along, waves }
    }

    fn ground(&self, at: Coord<f64>) -> Coord<f64> {
        let mut ground = Frame { origin: self.centre, along: self.along }.ground(at);
        for wave in &self.waves {
            let angle = wave.number.x * at.x + wave.number.y * at.y + wave.phase;
            ground = ground + wave.by * angle.sin();
        }
        ground
    }
}

/// Where parallel streets lie, and how wide they are.
fn lines(reach: f64, district: District, random: &mut ChaCha12Rng) -> Vec<(f64, f64)> {
    let apart = match district {
        District::Suburb => 52.0..92.0,
        District::City => 48.0..85.0,
        District::Industry => 75.0..130.0,
        District::Country => 70.0..150.0,
    };
    let mut lines = Vec::new();
    let mut at = -reach - random.random_range(apart.clone());
    while at < reach + apart.end {
        let wide = random.random_bool(0.2);
        lines.push((
            at,
            if wide { random.random_range(9.0..14.0) } else { random.random_range(4.5..7.5) },
        ));
        at += random.random_range(apart.clone());
    }
    lines
}

fn purpose(district: District, random: &mut ChaCha12Rng) -> Use {
    use Use::{Courts, Field, Halls, Houses, Park, Rows, Wood};
    let shares: &[(Use, f64)] = match district {
        District::Suburb => &[(Houses, 0.84), (Rows, 0.08), (Park, 0.05), (Wood, 0.03)],
        District::City => {
            &[(Rows, 0.45), (Courts, 0.35), (Houses, 0.1), (Halls, 0.05), (Park, 0.05)]
        }
        District::Industry => &[(Halls, 0.75), (Rows, 0.1), (Houses, 0.08), (Field, 0.07)],
        District::Country => &[(Houses, 0.55), (Field, 0.22), (Wood, 0.15), (Halls, 0.08)],
    };
    let mut left = random.random_range(0.0..1.0);
    for (purpose, share) in shares {
        left -= share;
        if left < 0.0 {
            return *purpose;
        }
    }
    Park
}
