//! What stands about and is no building: cars and hedges.

use geo::{ConvexHull, Coord, MultiPolygon, Polygon, Translate};
use rand::RngExt;
use rand::rngs::ChaCha12Rng;

use super::canvas::{Canvas, Colour, scaled};
use super::frame::Frame;
use super::light::Light;
use super::plot::Plot;
use super::town::{Town, Use};

const BODIES: [Colour; 8] = [
    [0.72, 0.72, 0.73],
    [0.66, 0.66, 0.65],
    [0.05, 0.05, 0.055],
    [0.32, 0.33, 0.35],
    [0.25, 0.06, 0.05],
    [0.08, 0.11, 0.2],
    [0.5, 0.5, 0.48],
    [0.16, 0.17, 0.17],
];

pub(super) fn paint(
    canvas: &mut Canvas,
    town: &Town,
    plots: &[Plot],
    light: &Light,
    random: &mut ChaCha12Rng,
) {
    for plot in plots.iter().filter(|plot| canvas.sees(plot.frame.origin, 60.0)).collect::<Vec<_>>()
    {
        match plot.purpose {
            Use::Houses => hedges(canvas, plot, light, random),
            Use::Halls => car_park(canvas, plot, light, random),
            _ => {}
        }
    }
    for road in &town.roads {
        for frame in
            road.line.iter().filter(|frame| canvas.sees(frame.origin, 5.0)).collect::<Vec<_>>()
        {
            if random.random_bool(0.13) {
                let side = if random.random_bool(0.5) { -1.0 } else { 1.0 };
                car(canvas, &frame.at(0.0, side * (road.width / 2.0 - 1.2)), light, random);
            }
        }
    }
}

/// Around a garden, some sides of it.
fn hedges(canvas: &mut Canvas, plot: &Plot, light: &Light, random: &mut ChaCha12Rng) {
    let (half, deep, thick) = (plot.width / 2.0, plot.depth, random.random_range(0.35..0.8));
    let sides = [((-half, 1.0), (-half + thick, deep)), ((-half, deep - thick), (half, deep))];
    for (low, high) in sides {
        if random.random_bool(0.45) {
            let green = scaled([0.06, 0.085, 0.035], random.random_range(0.7..1.8));
            let hedge = plot.frame.rectangle(low, high);
            block(canvas, &hedge, random.random_range(1.0..2.2), light, |canvas, index| {
                scaled(green, 1.0 + 0.8 * canvas.fine[index] + 0.4 * canvas.medium[index])
            });
        }
    }
}

/// Rows of cars beside a hall; what stands under a roof is painted over later.
fn car_park(canvas: &mut Canvas, plot: &Plot, light: &Light, random: &mut ChaCha12Rng) {
    if random.random_bool(0.3) {
        return;
    }
    let full = random.random_range(0.15..0.8);
    for y in [4.0, 15.0] {
        let mut x = -plot.width / 2.0 + 4.0;
        while x < plot.width / 2.0 - 4.0 {
            let place = plot.frame.at(x, y);
            let line = plot.frame.rectangle((x - 1.35, y - 2.5), (x - 1.22, y + 2.5));
            canvas.paint(&line, 0.7, |_, _| [0.55; 3]);
            if random.random_bool(full) {
                car(canvas, &place.rotated(std::f64::consts::FRAC_PI_2), light, random);
            }
            x += 2.6;
        }
    }
}

fn car(canvas: &mut Canvas, frame: &Frame, light: &Light, random: &mut ChaCha12Rng) {
    let frame = frame.at(random.random_range(-0.3..0.3), random.random_range(-0.15..0.15));
    let (half, side) = (random.random_range(1.9..2.5), random.random_range(0.82..0.98));
    let body = scaled(BODIES[random.random_range(0..BODIES.len())], random.random_range(0.8..1.2));
    let hull = frame.rectangle((-half, -side), (half, side));
    block(canvas, &hull, 1.4, light, |_, _| body);
    for (from, to) in [(-0.75 * half, -0.45 * half), (0.25 * half, 0.55 * half)] {
        let glass = frame.rectangle((from, -0.8 * side), (to, 0.8 * side));
        canvas.paint(&glass, 0.85, |_, _| [0.04, 0.05, 0.06]);
    }
}

/// A convex body with straight sides and its shadow.
pub(super) fn block(
    canvas: &mut Canvas,
    top: &Polygon<f64>,
    height: f64,
    light: &Light,
    colour: impl Fn(&Canvas, usize) -> Colour,
) {
    let Coord { x, y } = light.cast(height);
    let shadow = MultiPolygon::new(vec![top.clone(), top.translate(x, y)]).convex_hull();
    let mut dark = Vec::new();
    canvas.covered(&shadow, |index, share| dark.push((index, share * (1.0 - light.sky))));
    for (index, share) in dark {
        canvas.pixels[index] = scaled(canvas.pixels[index], 1.0 - share);
    }
    canvas.paint(top, 1.0, colour);
}
