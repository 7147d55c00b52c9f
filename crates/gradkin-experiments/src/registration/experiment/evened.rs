//! Images as a network sees them: brightness and contrast are made even from place to place, for neither how
//! bright a day was nor how dark a roof is says where its outline lies. (Local contrast normalisation; Jarrett
//! et al., 2009.)

use crate::registration::Raster;

/// Means and deviations are taken over squares that reach so many pixels to each side, about a house.
const REACH: usize = 16;
/// Where an image is flat, its noise is not drawn up to the contrast of the rest: deviations are at least this
/// share of that of the whole image.
const FLATTEST: f32 = 0.35;
/// Nothing is further from the mean than so many deviations.
const LARGEST: f32 = 3.0;

/// Channels of an evened image: brightness, and two of colour.
pub(super) const CHANNELS: usize = 3;
/// Added to the brightness that colours are divided by, so that noise in the dark is no colour.
const DARK: f32 = 0.1;
/// Smaller deviations of brightness and of colour are not drawn up, for they are noise.
const LEAST_BRIGHTNESS: f32 = 1e-3;
const LEAST_COLOUR: f32 = 0.03;

/// Brightness, greenness and redness, each with a mean of about zero and a deviation of about one everywhere,
/// of an image with values from 0 to 1. A grey image has no colour: zeros.
pub(super) fn evened(image: &Raster) -> Raster {
    let [channels, height, width] = image.shape();
    let brightness = image.grey();
    let mut evened = Raster::zeros(CHANNELS, height, width);
    even(brightness.channel(0), width, LEAST_BRIGHTNESS, evened.channel_mut(0));
    if channels == 3 {
        let [red, green, blue] = [0, 1, 2].map(|channel| image.channel(channel));
        let colour = |of: fn(f32, f32, f32) -> f32| -> Vec<f32> {
            (red.iter().zip(green).zip(blue))
                .map(|((r, g), b)| of(*r, *g, *b) / (r + g + b + DARK))
                .collect()
        };
        even(&colour(|r, g, b| g - (r + b) / 2.0), width, LEAST_COLOUR, evened.channel_mut(1));
        even(&colour(|r, _, b| r - b), width, LEAST_COLOUR, evened.channel_mut(2));
    }
    evened
}

/// One channel, its deviations at least `floor`.
fn even(values: &[f32], width: usize, floor: f32, evened: &mut [f32]) {
    let mean = values.iter().sum::<f32>() / values.len().max(1) as f32;
    // Around the mean, so that squares do not cancel.
    let centred: Vec<f32> = values.iter().map(|value| value - mean).collect();
    let squares: Vec<f32> = centred.iter().map(|value| value * value).collect();
    let whole = (squares.iter().sum::<f32>() / squares.len().max(1) as f32).sqrt();
    let least = (FLATTEST * whole).max(floor);
    let [means, squares] = [&centred, &squares].map(|plane| local_means(plane, width));
    let around = centred.iter().zip(means.iter().zip(&squares));
    for (to, (value, (mean, square))) in evened.iter_mut().zip(around) {
        let deviation = (square - mean * mean).max(0.0).sqrt().max(least);
        *to = ((value - mean) / deviation).clamp(-LARGEST, LARGEST);
    }
}

/// The mean around every pixel, over as much of the square as is in the picture.
fn local_means(plane: &[f32], width: usize) -> Vec<f32> {
    let along_rows: Vec<f32> =
        plane.chunks_exact(width.max(1)).flat_map(|row| line_means(row.iter().copied())).collect();
    let mut means = vec![0.0; plane.len()];
    let height = plane.len() / width.max(1);
    for column in 0..width {
        let line = line_means((0..height).map(|row| along_rows[row * width + column]));
        for (row, mean) in line.into_iter().enumerate() {
            means[row * width + column] = mean;
        }
    }
    means
}

fn line_means(line: impl Iterator<Item = f32>) -> Vec<f32> {
    let sums: Vec<f64> = std::iter::once(0.0)
        .chain(line.scan(0.0, |sum, value| {
            *sum += f64::from(value);
            Some(*sum)
        }))
        .collect();
    let last = sums.len() - 1;
    (0..last)
        .map(|at| {
            let (from, to) = (at.saturating_sub(REACH), (at + REACH + 1).min(last));
            ((sums[to] - sums[from]) / (to - from) as f64) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(gain: f32, lift: f32) -> Raster {
        let value = |i: usize| {
            let (x, y) = ((i % 90) as f32, (i / 90) as f32);
            let strength = if x < 45.0 { 1.0 } else { 2.0 };
            lift + gain * (x / 90.0 + strength * (0.9 * x).sin() * (0.7 * y).cos())
        };
        Raster::from_values([1, 80, 90], (0..80 * 90).map(value).collect()).unwrap()
    }

    #[test]
    fn brightness_and_contrast_of_the_day_do_not_matter() {
        let [dull, bright] = [waves(0.1, 0.2), waves(0.3, 0.5)].map(|image| evened(&image));
        let furthest = dull.values().iter().zip(bright.values()).map(|(a, b)| (a - b).abs());
        assert!(furthest.fold(0.0, f32::max) < 1e-3);
    }

    #[test]
    fn contrast_is_one_everywhere() {
        let evened = evened(&waves(0.1, 0.4));
        for left in [5, 60] {
            let part = evened.cut(10, left, 60, 25).unwrap();
            let square = part.values().iter().map(|v| v * v).sum::<f32>() / (60.0 * 25.0);
            assert!((square.sqrt() - 1.0).abs() < 0.15, "{left}: {square}");
        }
        let flat = Raster::from_values([1, 20, 20], vec![0.3; 400]).unwrap();
        assert!(super::evened(&flat).values().iter().all(|v| v.abs() < 1e-3));
    }
}
