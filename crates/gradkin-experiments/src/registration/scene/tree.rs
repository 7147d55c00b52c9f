//! Trees: crowns of leafy clumps lit from one side, and their shadows on whatever lies below.

use std::f64::consts::TAU;

use geo::{Coord, Polygon};
use rand::RngExt;
use rand::rngs::ChaCha12Rng;

use super::District;
use super::canvas::{Canvas, Colour, scaled};
use super::light::Light;
use super::plot::Plot;
use super::town::{PAVEMENT, Town, Use};

struct Tree {
    foot: Coord<f64>,
    radius: f64,
    height: f64,
    colour: Colour,
    clumps: Vec<Clump>,
}

/// A ball of leaves, by its place in the crown.
struct Clump {
    at: Coord<f64>,
    radius: f64,
    lift: f64,
}

pub(super) fn paint(
    canvas: &mut Canvas,
    town: &Town,
    plots: &[Plot],
    light: &Light,
    density: f64,
    random: &mut ChaCha12Rng,
) {
    let mood = Mood::draw(random);
    let mut trees = Vec::new();
    for place in places(canvas, town, plots, density, random) {
        let tree = Tree::draw(place, &mood, random);
        if canvas.sees(tree.foot, 20.0) && free(canvas, &tree) {
            trees.push(tree);
        }
    }
    let mut shadow = canvas.plane();
    for tree in &trees {
        cast(canvas, tree, light, &mut shadow);
    }
    canvas.shade(&shadow, light.sky);
    // A low crown is under a high one.
    trees.sort_by(|a, b| a.height.total_cmp(&b.height));
    for tree in &trees {
        crown(canvas, tree, light);
    }
}

/// What the trees of a place have in common.
struct Mood {
    green: Colour,
    spread: f32,
    largest: f64,
}

impl Mood {
    fn draw(random: &mut ChaCha12Rng) -> Self {
        let greens =
            [[0.06, 0.1, 0.03], [0.085, 0.11, 0.045], [0.045, 0.075, 0.035], [0.12, 0.115, 0.06]];
        let green = greens[random.random_range(0..greens.len())];
        Self {
            green: scaled(green, random.random_range(0.8..1.3)),
            spread: random.random_range(0.1..0.45),
            largest: random.random_range(3.0..6.0),
        }
    }
}

impl Tree {
    fn draw(foot: Coord<f64>, mood: &Mood, random: &mut ChaCha12Rng) -> Self {
        let radius = random.random_range(1.0..mood.largest);
        let bright = 1.0 + mood.spread * random.random_range(-1.0..1.0f32);
        let colour = mood.green.map(|v| v * bright * random.random_range(0.88..1.12));
        let count = (3.0 + 2.2 * radius) as usize;
        let clump = |_| {
            let (angle, off) =
                (random.random_range(0.0..TAU), random.random_range(0.0..1.0f64).sqrt());
            let off = 0.68 * off;
            Clump {
                at: Coord { x: angle.cos(), y: angle.sin() } * (off * radius),
                radius: radius * random.random_range(0.28..0.5),
                lift: radius * (1.0 - off * off) * random.random_range(0.6..0.9),
            }
        };
        let clumps = (0..count).map(clump).collect();
        Self { foot, radius, height: radius * random.random_range(1.3..2.6) + 1.0, colour, clumps }
    }
}

/// Where trees may stand: here and there in gardens, in rows along streets, close together in woods.
fn places(
    canvas: &Canvas,
    town: &Town,
    plots: &[Plot],
    density: f64,
    random: &mut ChaCha12Rng,
) -> Vec<Coord<f64>> {
    let mut places = Vec::new();
    let leafy = random.random_range(0.2..2.2) * density;
    for plot in plots.iter().filter(|plot| canvas.sees(plot.frame.origin, 50.0)) {
        let per_area = match plot.purpose {
            Use::Houses => 0.012,
            Use::Rows | Use::Courts => 0.006,
            _ => 0.0012,
        };
        let count =
            (plot.width * plot.depth * per_area * leafy * random.random_range(0.2..1.8)).round();
        places.extend((0..count as usize).map(|_| {
            let x = (random.random_range(-0.5..0.5)) * plot.width;
            let y = random.random_range(0.02..1.0) * plot.depth;
            plot.frame.ground(Coord { x, y })
        }));
    }
    for block in &town.blocks {
        let apart = match block.purpose {
            Use::Wood => 3.6,
            Use::Park => 11.0,
            _ => continue,
        };
        let size = block.high - block.low;
        let count = (size.x * size.y / (apart * apart) * density.min(2.0)) as usize;
        places.extend((0..count).map(|_| {
            let off = Coord { x: random.random_range(0.0..1.0), y: random.random_range(0.0..1.0) };
            let at = block.low + Coord { x: off.x * size.x, y: off.y * size.y };
            town.frame(at, Coord { x: 1.0, y: 0.0 }).origin
        }));
    }
    if town.district != District::Country {
        along_streets(canvas, town, density, random, &mut places);
    }
    places
}

fn along_streets(
    canvas: &Canvas,
    town: &Town,
    density: f64,
    random: &mut ChaCha12Rng,
    places: &mut Vec<Coord<f64>>,
) {
    for road in &town.roads {
        if !random.random_bool(0.3) {
            continue;
        }
        let usual = (random.random_range(0.2..0.7) * density).min(1.0);
        for frame in road.line.iter().step_by(2).filter(|frame| canvas.sees(frame.origin, 10.0)) {
            for side in [-1.0, 1.0] {
                if random.random_bool(usual) {
                    let y = side * (road.width / 2.0 + PAVEMENT + 0.3);
                    places.push(frame.ground(Coord { x: random.random_range(-1.0..1.0), y }));
                }
            }
        }
    }
}

/// A crown may reach over an eave, but no tree grows through a roof or a street.
fn free(canvas: &Canvas, tree: &Tree) -> bool {
    let taken = |at: Coord<f64>| canvas.pixel(at).is_some_and(|index| canvas.taken[index] > 0.5);
    let covered = (0..8).filter(|k| {
        let angle = f64::from(*k) * TAU / 8.0;
        taken(tree.foot + Coord { x: angle.cos(), y: angle.sin() } * (0.75 * tree.radius))
    });
    !taken(tree.foot) && covered.count() <= 2
}

fn cast(canvas: &Canvas, tree: &Tree, light: &Light, shadow: &mut [f32]) {
    let by = light.cast(0.75 * tree.height);
    for clump in &tree.clumps {
        let middle = tree.foot + by + clump.at;
        let ring = (0..9).map(|k| {
            let angle = f64::from(k) * TAU / 9.0;
            middle + Coord { x: angle.cos(), y: angle.sin() } * clump.radius
        });
        canvas.mark(&Polygon::new(ring.collect(), Vec::new()), shadow);
    }
}

fn crown(canvas: &mut Canvas, tree: &Tree, light: &Light) {
    let scale = canvas.metres_per_pixel;
    let side = |centre: f64, size: usize| {
        let (low, high) = ((centre - tree.radius) / scale, (centre + tree.radius) / scale + 1.0);
        (low.max(0.0) as usize)..(high.max(0.0) as usize).min(size)
    };
    let columns = side(tree.foot.x, canvas.width);
    for row in side(tree.foot.y, canvas.height) {
        for column in columns.clone() {
            let index = row * canvas.width + column;
            if let Some((lit, share)) = leaves(tree, canvas.ground(index) - tree.foot, scale, light)
            {
                let rough = 1.0 + 0.55 * canvas.fine[index] + 0.2 * canvas.medium[index];
                canvas.blend(index, scaled(tree.colour, lit * rough), share);
            }
        }
    }
}

/// The light on the topmost clump at a place, and how much of the pixel it covers.
fn leaves(tree: &Tree, at: Coord<f64>, pixel: f64, light: &Light) -> Option<(f32, f32)> {
    let mut best: Option<(f64, f32, f32)> = None;
    for clump in &tree.clumps {
        let off = at - clump.at;
        let distance = off.x.hypot(off.y);
        let share = ((clump.radius - distance) / pixel + 0.5).clamp(0.0, 1.0) as f32;
        let rise = (clump.radius * clump.radius - distance * distance).max(0.0).sqrt();
        let height = clump.lift + rise;
        if share > 0.0 && best.is_none_or(|(top, ..)| height > top) {
            // Steeper than this a leafy ball does not get.
            let slope = off * (-1.0 / rise.max(0.45 * clump.radius));
            let depth = 0.7 + 0.3 * (height / (1.3 * tree.radius)).min(1.0) as f32;
            best = Some((height, light.on(slope) * depth, share));
        }
    }
    best.map(|(_, lit, share)| (lit, share))
}
