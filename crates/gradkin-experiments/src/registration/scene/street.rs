//! Streets, pavements and what is painted on them.

use rand::RngExt;
use rand::rngs::ChaCha12Rng;

use super::District;
use super::canvas::{Canvas, Colour, mixed, scaled};
use super::frame::{Frame, unit};
use super::ground::{ASPHALT, CONCRETE};
use super::town::{PAVEMENT, Road, Town};

const PAINT: Colour = [0.62, 0.62, 0.6];

pub(super) fn paint(canvas: &mut Canvas, town: &Town, random: &mut ChaCha12Rng) {
    let (mut pavement, mut asphalt) = (canvas.plane(), canvas.plane());
    for road in &town.roads {
        ribbon(canvas, road, (0.0, road.width / 2.0), &mut asphalt);
        if town.district != District::Country {
            ribbon(canvas, road, (0.0, road.width / 2.0 + PAVEMENT), &mut pavement);
        }
    }
    let (light, dark) = (random.random_range(0.7..1.0), random.random_range(0.75..1.5));
    canvas.paint_plane(&pavement, |canvas, index| {
        let worn = 0.2 * canvas.medium[index] + 0.12 * canvas.fine[index];
        scaled(mixed(ASPHALT, CONCRETE, 0.6), light * (1.0 + worn))
    });
    canvas.paint_plane(&asphalt, |canvas, index| {
        let worn = 0.3 * canvas.coarse[index] + 0.14 * canvas.medium[index];
        scaled(ASPHALT, dark * (1.0 + worn + 0.1 * canvas.fine[index]))
    });
    if random.random_bool(0.75) {
        markings(canvas, town);
    }
    for (taken, share) in canvas.taken.iter_mut().zip(&asphalt) {
        *taken = taken.max(*share);
    }
}

/// Fills a plane along a road, from one distance off its middle to another, on both sides.
fn ribbon(canvas: &Canvas, road: &Road, (from, to): (f64, f64), plane: &mut [f32]) {
    for piece in road.line.windows(2) {
        if !canvas.sees(piece[0].origin, 20.0) {
            continue;
        }
        let sides: &[(f64, f64)] =
            if from == 0.0 { &[(-to, to)] } else { &[(-to, -from), (from, to)] };
        for (low, high) in sides {
            let (frame, length) = span(piece);
            // A little longer than it is, or seams show where pieces meet.
            canvas.mark(&frame.rectangle((-0.4, *low), (length + 0.4, *high)), plane);
        }
    }
}

fn markings(canvas: &mut Canvas, town: &Town) {
    let mut lines = canvas.plane();
    for road in town.roads.iter().filter(|road| road.width > 6.0) {
        if road.width > 9.0 {
            let edge = road.width / 2.0 - 0.5;
            ribbon(canvas, road, (edge - 0.15, edge), &mut lines);
        }
        let dashes = road.line.windows(2).step_by(2);
        for piece in dashes.filter(|piece| canvas.sees(piece[0].origin, 10.0)) {
            let (frame, length) = span(piece);
            canvas.mark(&frame.rectangle((0.5, -0.1), (length - 0.5, 0.1)), &mut lines);
        }
    }
    canvas.paint_plane(&lines, |canvas, index| scaled(PAINT, 0.85 + 0.5 * canvas.fine[index]));
}

/// The straight piece between two frames of a road.
fn span(piece: &[Frame]) -> (Frame, f64) {
    let way = piece[1].origin - piece[0].origin;
    (Frame { origin: piece[0].origin, along: unit(way) }, way.x.hypot(way.y))
}
