//! Buildings from above: the shadows they cast, and roofs whose faces are lit as they slope.

use geo::{Coord, Line, Polygon, Translate};
use rand::RngExt;
use rand::rngs::ChaCha12Rng;

use super::canvas::{Canvas, scaled};
use super::clutter::block;
use super::footprint::Wing;
use super::frame::Frame;
use super::house::{House, RoofKind};
use super::light::Light;
use super::plot::Plot;

pub(super) fn paint(canvas: &mut Canvas, plots: &[Plot], light: &Light, random: &mut ChaCha12Rng) {
    let houses = plots.iter().flat_map(|plot| &plot.houses);
    let houses: Vec<&House> = houses
        .filter(|house| canvas.sees(house.frame.origin, house.footprint.reach() + 30.0))
        .collect();
    let mut shadow = canvas.plane();
    for house in &houses {
        cast(canvas, house, light, &mut shadow);
    }
    canvas.shade(&shadow, light.sky);
    for house in houses {
        roof(canvas, house, light, random);
        match house.roof {
            RoofKind::Flat => on_flat(canvas, house, light, random),
            _ => on_sloped(canvas, house, light, random),
        }
    }
}

/// What a prism over the footprint keeps from the sun: the outline moved, and what each wall sweeps.
fn cast(canvas: &Canvas, house: &House, light: &Light, shadow: &mut [f32]) {
    let rise = if house.roof == RoofKind::Flat { 0.0 } else { 1.2 * house.pitch };
    let by = light.cast(house.height + rise);
    let outline = house.outline(1.0);
    canvas.mark(&outline.translate(by.x, by.y), shadow);
    let rings = std::iter::once(outline.exterior()).chain(outline.interiors());
    for Line { start, end } in rings.flat_map(|ring| ring.lines()) {
        let corners = vec![start, end, end + by, start + by];
        canvas.mark(&Polygon::new(corners.into(), Vec::new()), shadow);
    }
}

fn roof(canvas: &mut Canvas, house: &House, light: &Light, random: &mut ChaCha12Rng) {
    let outline = house.outline(1.0);
    let patchy = random.random_range(0.05..0.3);
    let rim = random.random_range(0.75..1.5);
    canvas.paint(&outline, 1.0, |canvas, index| {
        let at = house.frame.local(canvas.ground(index));
        let face = face(&house.footprint.wings, house.roof, at);
        let lit = match house.roof {
            RoofKind::Flat if face.height < 0.45 => rim,
            RoofKind::Flat => 1.0,
            _ => light.on(house.frame.turned(face.uphill * house.pitch)),
        };
        let rough = patchy * canvas.medium[index] + 0.16 * canvas.fine[index];
        scaled(house.colour, lit * (1.0 + rough))
    });
    let mut taken = std::mem::take(&mut canvas.taken);
    canvas.mark(&outline, &mut taken);
    canvas.taken = taken;
}

/// A place on a roof that rises by one metre per metre.
struct Face {
    height: f64,
    uphill: Coord<f64>,
}

/// The highest of the wings' roofs, which makes valleys where wings meet. On a flat roof the height is
/// the distance to the rim.
fn face(wings: &[Wing], roof: RoofKind, at: Coord<f64>) -> Face {
    let of = |wing: &Wing| {
        let (left, right) = (at.x - wing.low.x, wing.high.x - at.x);
        let (top, bottom) = (at.y - wing.low.y, wing.high.y - at.y);
        let uphill = |x: f64, y: f64| Coord { x, y };
        let across_x =
            if left < right { (left, uphill(1.0, 0.0)) } else { (right, uphill(-1.0, 0.0)) };
        let across_y =
            if top < bottom { (top, uphill(0.0, 1.0)) } else { (bottom, uphill(0.0, -1.0)) };
        let size = wing.high - wing.low;
        let (height, uphill) = match roof {
            RoofKind::Gabled if size.x >= size.y && across_x.0 >= 0.0 => across_y,
            RoofKind::Gabled if size.x < size.y && across_y.0 >= 0.0 => across_x,
            _ if across_x.0 < across_y.0 => across_x,
            _ => across_y,
        };
        Face { height, uphill }
    };
    let lowest = Face { height: f64::NEG_INFINITY, uphill: Coord::default() };
    wings
        .iter()
        .map(of)
        .fold(lowest, |best, face| if face.height > best.height { face } else { best })
}

/// Boxes of machinery and skylights.
fn on_flat(canvas: &mut Canvas, house: &House, light: &Light, random: &mut ChaCha12Rng) {
    for wing in &house.footprint.wings {
        let size = wing.high - wing.low;
        let count = (size.x * size.y / 90.0).min(12.0) * random.random_range(0.0..1.0);
        for _ in 0..count.round() as usize {
            let half = Coord { x: random.random_range(0.4..1.6), y: random.random_range(0.4..1.4) };
            let (low, high) = (wing.low + half * 1.5, wing.high - half * 1.5);
            if low.x >= high.x || low.y >= high.y {
                continue;
            }
            let (x, y) = (random.random_range(low.x..high.x), random.random_range(low.y..high.y));
            let top = house.frame.rectangle((x - half.x, y - half.y), (x + half.x, y + half.y));
            let grey = random.random_range(0.08..0.7);
            block(canvas, &top, random.random_range(0.3..1.6), light, |_, _| [grey; 3]);
        }
    }
}

/// Chimneys, dormers, skylights and solar panels.
fn on_sloped(canvas: &mut Canvas, house: &House, light: &Light, random: &mut ChaCha12Rng) {
    let Some(wing) = house.footprint.wings.first().copied() else { return };
    let size = wing.high - wing.low;
    let middle = (wing.low + wing.high) / 2.0;
    // Turned so that x runs along the ridge.
    let frame = house.frame.at(middle.x, middle.y);
    let (frame, long, deep) = if size.x >= size.y {
        (frame, size.x / 2.0, size.y / 2.0)
    } else {
        (frame.rotated(std::f64::consts::FRAC_PI_2), size.y / 2.0, size.x / 2.0)
    };
    if long < 3.0 || deep < 2.5 {
        return;
    }
    for _ in 0..random.random_range(0..3) {
        let (x, y) = (random.random_range(-0.8..0.8) * long, random.random_range(-0.5..0.5) * deep);
        let top = frame.rectangle((x - 0.4, y - 0.4), (x + 0.4, y + 0.4));
        let grey = random.random_range(0.1..0.4);
        block(canvas, &top, random.random_range(0.8..1.8), light, |_, _| {
            [1.1 * grey, grey, 0.9 * grey]
        });
    }
    if random.random_bool(0.25) {
        dormers(canvas, house, (&frame, long, deep), light, random);
    }
    if random.random_bool(0.12) {
        let side = if random.random_bool(0.5) { -1.0 } else { 1.0 };
        let (x, half) =
            (random.random_range(-0.4..0.4) * long, random.random_range(0.2..0.45) * long);
        let (from, to) = (side * 0.2 * deep, side * 0.8 * deep);
        let panel = frame.rectangle((x - half, from.min(to)), (x + half, from.max(to)));
        canvas.paint(&panel, 0.95, |_, _| [0.035, 0.045, 0.09]);
    }
}

fn dormers(
    canvas: &mut Canvas,
    house: &House,
    (frame, long, deep): (&Frame, f64, f64),
    light: &Light,
    random: &mut ChaCha12Rng,
) {
    let apart = random.random_range(3.2..6.0);
    let tone = random.random_range(0.7..1.35);
    let glass = random.random_bool(0.4);
    for side in [-1.0, 1.0] {
        let mut x = -long + apart / 2.0 + 0.5;
        while x < long - 1.5 {
            let (near, far) = (side * 0.35 * deep, side * 0.72 * deep);
            let top = frame.rectangle((x - 0.6, near.min(far)), (x + 0.6, near.max(far)));
            if glass {
                canvas.paint(&top, 0.9, |_, _| [0.06, 0.075, 0.09]);
            } else {
                block(canvas, &top, 0.9, light, |_, _| scaled(house.colour, tone));
            }
            x += apart;
        }
    }
}
