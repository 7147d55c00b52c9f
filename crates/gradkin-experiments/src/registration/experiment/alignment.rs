//! Outlines moved to where a trained network sees their buildings.

use gradkin::network::{InputData, Network, OutputData};

use super::neighbours::drawn_together;
use super::network::FIELD;
use super::settings::Settings;
use crate::Error;
use crate::registration::align::{Reading, shifts};
use crate::registration::{Raster, Scene, Shift, Turn, draw_outlines};

/// What a network sees beyond the part of a window that is used, in pixels.
const MARGIN: usize = 32;

/// The field that a network predicts for outlines over an evened image, window by window of the size that
/// the network is built for. The image is at least as large.
fn field(
    network: &Network,
    image: &Raster,
    outlines: &Raster,
    turn: Turn,
) -> Result<Raster, Error> {
    let [_, height, width] = image.shape();
    let side = network.inputs()[0].shape.last().copied().unwrap_or_default();
    let mut field = Raster::zeros(2, height, width);
    for top in starts(height, side) {
        for left in starts(width, side) {
            let part = |raster: &Raster| raster.cut(top, left, side, side);
            let Some((image, outlines)) = part(image).zip(part(outlines)) else {
                return Err(Error::Missing {
                    what: format!("a window of {side} × {side} pixels in {width} × {height}"),
                    remedy: "build the network for smaller pictures".into(),
                });
            };
            let found =
                turn.back().field(&window(network, &turn.raster(&image), &turn.raster(&outlines))?);
            // What an earlier window saw near its end, this one sees better.
            let inner = |start: usize| if start == 0 { 0 } else { MARGIN };
            for channel in 0..2 {
                for row in inner(top)..side {
                    let from = inner(left)..side;
                    let to = (top + row) * width + left + from.start;
                    let values = &found.channel(channel)[row * side..(row + 1) * side][from];
                    field.channel_mut(channel)[to..to + values.len()].copy_from_slice(values);
                }
            }
        }
    }
    Ok(field)
}

/// Where windows start along an axis, overlapping by twice the margin.
fn starts(length: usize, side: usize) -> Vec<usize> {
    let last = length.saturating_sub(side);
    let step = side.saturating_sub(2 * MARGIN).max(1);
    let mut starts: Vec<usize> = (0..last).step_by(step).collect();
    starts.push(last);
    starts
}

fn window(network: &Network, image: &Raster, outlines: &Raster) -> Result<Raster, Error> {
    let inputs = [image, outlines].map(|raster| InputData::F32(raster.values().to_vec())).to_vec();
    let outputs = network.evaluate(inputs, 1)?;
    let [_, height, width] = image.shape();
    let values = outputs.into_iter().find(|output| output.name == FIELD).map(|output| output.data);
    let field = match values {
        Some(OutputData::F32(values)) => Raster::from_values([2, height, width], values),
        _ => None,
    };
    field.ok_or_else(|| Error::Missing {
        what: format!("a field of {width} × {height} displacements"),
        remedy: "build the network for the size of the window".into(),
    })
}

/// The mean of the fields with the picture turned in so many of the eight ways.
fn mean_field(
    network: &Network,
    image: &Raster,
    outlines: &Raster,
    turns: usize,
) -> Result<Raster, Error> {
    let mut mean = Raster::zeros(2, image.height(), image.width());
    let turns = Turn::all().into_iter().take(turns);
    let share = 1.0 / turns.len() as f32;
    for turn in turns {
        let field = field(network, image, outlines, turn)?;
        mean.values_mut().iter_mut().zip(field.values()).for_each(|(m, f)| *m += share * f);
    }
    Ok(mean)
}

/// Where the outlines of a scene go that lie off the truth by `from`: as far off as they are then, after
/// each of the looks. The network looks at outlines where the look before has put them.
pub(super) fn align(
    network: &Network,
    scene: &Scene,
    from: &[Shift],
    settings: &Settings,
) -> Result<Vec<Vec<Shift>>, Error> {
    let mut off = from.to_vec();
    let mut after = Vec::with_capacity(settings.passes);
    for _ in 0..settings.passes {
        let outlines = scene.outlines(&off);
        let [_, height, width] = scene.image.shape();
        let drawn = draw_outlines(&outlines, height, width, &settings.style);
        let field = mean_field(network, &scene.image, &drawn, settings.turns.max(1))?;
        let found = shifts(&field, &outlines, Reading::Mean);
        let moved = off.iter().zip(found).zip(from);
        let moved: Vec<Shift> =
            moved.map(|((off, found), from)| *off + found.unwrap_or_default() - *from).collect();
        let moved = match settings.own {
            Some(weight) => {
                let (pairs, size) = ((&outlines[..], &moved[..]), [height, width]);
                drawn_together(pairs, size, &settings.noise, weight)
            }
            None => moved,
        };
        off = from.iter().zip(moved).map(|(from, moved)| *from + moved).collect();
        after.push(off.clone());
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::align::Errors;
    use crate::registration::coverage::polygon;
    use crate::registration::experiment::evened::evened;
    use crate::registration::experiment::network;
    use crate::registration::{Building, OutlineStyle};

    /// A bright roof on dark ground.
    fn scene() -> Scene {
        let roof = polygon([(22.0, 24.0), (42.0, 24.0), (42.0, 40.0), (22.0, 40.0)]);
        let area = draw_outlines([&roof], 64, 64, &OutlineStyle::default());
        let image = area.cut(0, 0, 64, 64).map(|all| all.channel(0).to_vec());
        let image = Raster::from_values([1, 64, 64], image.unwrap()).unwrap();
        let buildings = vec![Building { id: 0, group: 0, polygon: roof }];
        Scene { image: evened(&image), metres_per_pixel: 0.4, buildings }
    }

    #[test]
    fn before_any_training_votes_point_the_right_way() {
        let settings = Settings { passes: 1, ..Settings::full() };
        let model = network::draw(settings.widths, 64, 3).unwrap();
        let network = network::resized(&model, settings.widths, 64).unwrap();
        for (x, y) in [(3.0, 0.0), (-3.0, 0.0), (0.0, 3.0), (0.0, -3.0)] {
            let after = align(&network, &scene(), &[Shift { x, y }], &settings).unwrap();
            let left = Errors::of(&after[0]).mean().unwrap();
            assert!(left < 2.5, "{x}, {y}: {:?}", after[0]);
        }
    }

    #[test]
    fn windows_reach_from_end_to_end() {
        assert_eq!(starts(160, 160), [0]);
        assert_eq!(starts(300, 160), [0, 96, 140]);
        assert_eq!(starts(352, 160), [0, 96, 192]);
    }
}
