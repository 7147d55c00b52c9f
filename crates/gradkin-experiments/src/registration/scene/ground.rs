//! What lies flat: grass, soil, fields, yards, ways to houses.

use geo::{Coord, Polygon};
use rand::RngExt;
use rand::rngs::ChaCha12Rng;

use super::canvas::{Canvas, Colour, mixed, scaled};
use super::plot::Plot;
use super::street;
use super::town::{PAVEMENT, Town, Use};

const GRASS: Colour = [0.105, 0.15, 0.06];
const DRY_GRASS: Colour = [0.23, 0.21, 0.11];
const SOIL: Colour = [0.30, 0.22, 0.145];
pub(super) const ASPHALT: Colour = [0.155, 0.155, 0.16];
pub(super) const CONCRETE: Colour = [0.40, 0.385, 0.35];
const CROPS: [Colour; 5] = [
    [0.12, 0.19, 0.06],
    [0.34, 0.29, 0.14],
    [0.26, 0.19, 0.12],
    [0.18, 0.21, 0.08],
    [0.40, 0.35, 0.2],
];

pub(super) fn paint(canvas: &mut Canvas, town: &Town, plots: &[Plot], random: &mut ChaCha12Rng) {
    meadow(canvas, random);
    for block in &town.blocks {
        let patch = town.patch(block.low, block.high);
        match block.purpose {
            Use::Field => field(canvas, &patch, random),
            Use::Halls | Use::Courts => yard(canvas, &patch, block.purpose, random),
            _ => {}
        }
    }
    for plot in plots {
        garden(canvas, plot, random);
    }
    street::paint(canvas, town, random);
    for plot in plots {
        drive(canvas, plot, random);
    }
}

/// Grass everywhere, drier in places, worn to the soil in few.
fn meadow(canvas: &mut Canvas, random: &mut ChaCha12Rng) {
    let dryness = random.random_range(-0.3..0.75);
    let bright = random.random_range(0.8..1.25);
    for index in 0..canvas.pixels.len() {
        let (coarse, medium, fine) =
            (canvas.coarse[index], canvas.medium[index], canvas.fine[index]);
        let grass = mixed(GRASS, DRY_GRASS, dryness + 1.1 * coarse + 0.6 * medium);
        let soil = ((medium + 0.8 * coarse - 0.52) * 5.0).clamp(0.0, 0.8);
        let colour = mixed(grass, SOIL, soil);
        canvas.pixels[index] = scaled(colour, bright * (1.0 + 0.3 * medium + 0.38 * fine));
    }
}

/// Crops in rows.
fn field(canvas: &mut Canvas, patch: &Polygon<f64>, random: &mut ChaCha12Rng) {
    let crop = CROPS[random.random_range(0..CROPS.len())];
    let angle = random.random_range(0.0..std::f64::consts::PI);
    let across = Coord { x: angle.cos(), y: angle.sin() };
    let number = std::f64::consts::TAU / random.random_range(1.5..5.0);
    let strength = random.random_range(0.0..0.13);
    canvas.paint(patch, 1.0, |canvas, index| {
        let at = canvas.ground(index);
        let row = strength * ((at.x * across.x + at.y * across.y) * number).sin() as f32;
        let rough = 0.25 * canvas.coarse[index] + 0.15 * canvas.medium[index];
        scaled(crop, 1.0 + row + rough + 0.2 * canvas.fine[index])
    });
}

/// Asphalt or concrete around halls, mostly green courts.
fn yard(canvas: &mut Canvas, patch: &Polygon<f64>, purpose: Use, random: &mut ChaCha12Rng) {
    if purpose == Use::Courts && random.random_bool(0.6) {
        return;
    }
    let base = if random.random_bool(0.65) { ASPHALT } else { CONCRETE };
    let base = scaled(base, random.random_range(0.8..1.3));
    canvas.paint(patch, 1.0, |canvas, index| {
        let worn = 0.22 * canvas.coarse[index] + 0.2 * canvas.medium[index];
        scaled(base, 1.0 + worn + 0.14 * canvas.fine[index])
    });
}

/// Every garden is kept in its own way.
fn garden(canvas: &mut Canvas, plot: &Plot, random: &mut ChaCha12Rng) {
    if plot.purpose == Use::Halls || !canvas.sees(plot.frame.origin, plot.depth + plot.width) {
        return;
    }
    let half = plot.width / 2.0;
    let land = plot.frame.rectangle((-half, 0.0), (half, plot.depth));
    let opacity = random.random_range(0.2..0.75);
    let dry = random.random_range(0.0..0.9);
    let bright = random.random_range(0.75..1.3);
    let base = if random.random_bool(0.08) { SOIL } else { mixed(GRASS, DRY_GRASS, dry) };
    canvas.paint(&land, opacity, |canvas, index| {
        let rough = 0.35 * canvas.medium[index] + 0.35 * canvas.fine[index];
        scaled(base, bright * (1.0 + rough))
    });
    if random.random_bool(0.4) {
        let x = random.random_range(-half..half);
        let (wide, deep) = (random.random_range(2.0..6.0), random.random_range(2.0..5.0));
        let y = plot.depth * random.random_range(0.5..0.85);
        let bed = plot.frame.rectangle((x, y), (x + wide, y + deep));
        let base = if random.random_bool(0.5) { SOIL } else { scaled(CONCRETE, 0.9) };
        canvas.paint(&bed, 0.8, |canvas, index| scaled(base, 1.0 + 0.4 * canvas.fine[index]));
    }
}

/// A way from the street to the house, or past it.
fn drive(canvas: &mut Canvas, plot: &Plot, random: &mut ChaCha12Rng) {
    if plot.purpose != Use::Houses || !canvas.sees(plot.frame.origin, plot.depth) {
        return;
    }
    let side = if random.random_bool(0.5) { -1.0 } else { 1.0 };
    let x = side * (plot.width / 2.0 - 2.2);
    let end = random.random_range(6.0..0.7 * plot.depth.max(10.0));
    let half = random.random_range(1.3..2.0);
    let way = plot.frame.rectangle((x - half, -PAVEMENT), (x + half, end));
    let base = scaled(
        mixed(ASPHALT, CONCRETE, random.random_range(0.0..1.3)),
        random.random_range(0.8..1.25),
    );
    canvas.paint(&way, 0.9, |canvas, index| {
        scaled(base, 1.0 + 0.15 * canvas.medium[index] + 0.12 * canvas.fine[index])
    });
    if random.random_bool(0.25) {
        let y = plot.depth * 0.72;
        let (wide, deep) = (random.random_range(2.0..3.2), random.random_range(1.5..2.2));
        let pool =
            plot.frame.rectangle((-side * 4.0 - wide, y - deep), (-side * 4.0 + wide, y + deep));
        let rim = plot.frame.rectangle(
            (-side * 4.0 - wide - 1.0, y - deep - 1.0),
            (-side * 4.0 + wide + 1.0, y + deep + 1.0),
        );
        if random.random_bool(0.4) {
            canvas
                .paint(&rim, 0.9, |canvas, index| scaled(CONCRETE, 1.1 + 0.2 * canvas.fine[index]));
            canvas.paint(&pool, 1.0, |canvas, index| {
                scaled([0.1, 0.4, 0.47], 1.0 + 0.3 * canvas.fine[index])
            });
        }
    }
}
