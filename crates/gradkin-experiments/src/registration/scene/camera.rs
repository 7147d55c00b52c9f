//! From light on the ground to a picture: haze, vignette, optics, tone and noise.

use rand::RngExt;
use rand::rngs::ChaCha12Rng;
use rand_distr::{Distribution, StandardNormal};

use super::canvas::Canvas;
use crate::registration::Raster;

/// What this flight's camera does, drawn anew for each scene.
struct Camera {
    exposure: f32,
    balance: [f32; 3],
    haze: f32,
    gamma: f32,
    vignette: f32,
    blur: f32,
    noise: f32,
}

pub(super) fn take(canvas: Canvas, random: &mut ChaCha12Rng) -> Raster {
    let camera = Camera::draw(random);
    let mut picture = Raster::zeros(3, canvas.height, canvas.width);
    for channel in 0..3 {
        let plane = picture.channel_mut(channel);
        for (value, pixel) in plane.iter_mut().zip(&canvas.pixels) {
            *value = pixel[channel];
        }
        blur(plane, canvas.width, camera.blur);
        for (index, value) in plane.iter_mut().enumerate() {
            let light = *value * camera.exposure * camera.balance[channel];
            let light = light * camera.falloff(index, canvas.width, canvas.height) + camera.haze;
            *value = light.max(0.0).powf(camera.gamma);
        }
    }
    add_noise(&mut picture, camera.noise, random);
    picture
}

impl Camera {
    fn draw(random: &mut ChaCha12Rng) -> Self {
        let warm = random.random_range(-0.06..0.06);
        Self {
            exposure: random.random_range(0.95..1.6),
            balance: [1.0 + warm, 1.0, 1.0 - warm],
            haze: random.random_range(0.0..0.04),
            gamma: random.random_range(0.5..0.8),
            vignette: random.random_range(0.0..0.25),
            blur: random.random_range(0.5..0.85),
            noise: random.random_range(0.006..0.02),
        }
    }

    /// Loss of light towards the corners.
    fn falloff(&self, index: usize, width: usize, height: usize) -> f32 {
        let off = |v: usize, size: usize| (v as f32 + 0.5) / size as f32 - 0.5;
        let (x, y) = (off(index % width, width), off(index / width, height));
        1.0 - self.vignette * 2.0 * (x * x + y * y)
    }
}

/// Noise of single pixels, most of it alike in all channels as grain is.
fn add_noise(picture: &mut Raster, strength: f32, random: &mut ChaCha12Rng) {
    let [channels, height, width] = picture.shape();
    let mut grain =
        || -> Vec<f32> { (0..height * width).map(|_| StandardNormal.sample(random)).collect() };
    let common = grain();
    for channel in 0..channels {
        let own = grain();
        let plane = picture.channel_mut(channel).iter_mut();
        for (value, (common, own)) in plane.zip(common.iter().zip(own)) {
            *value = (*value + strength * (0.8 * common + 0.6 * own)).clamp(0.0, 1.0);
        }
    }
}

/// Gaussian blur, rows and then columns; beyond the border the last pixel goes on.
fn blur(plane: &mut [f32], width: usize, deviation: f32) {
    let reach = (3.0 * deviation).ceil() as usize;
    let weight = |i: usize| (-((i as f32).powi(2)) / (2.0 * deviation * deviation)).exp();
    let sum: f32 = 1.0 + 2.0 * (1..=reach).map(weight).sum::<f32>();
    let weights: Vec<f32> = (0..=reach).map(|i| weight(i) / sum).collect();
    let height = plane.len() / width.max(1);
    let mut line = Vec::new();
    for row in plane.chunks_mut(width.max(1)) {
        line.clear();
        line.extend_from_slice(row);
        for (x, value) in row.iter_mut().enumerate() {
            *value = (1..=reach).fold(weights[0] * line[x], |sum, i| {
                sum + weights[i] * (line[x.saturating_sub(i)] + line[(x + i).min(width - 1)])
            });
        }
    }
    let before = plane.to_vec();
    for y in 0..height {
        let row = &mut plane[y * width..(y + 1) * width];
        row.iter_mut().for_each(|value| *value *= weights[0]);
        for (i, weight) in weights.iter().enumerate().skip(1) {
            let (above, below) = (y.saturating_sub(i) * width, (y + i).min(height - 1) * width);
            let sides = before[above..above + width].iter().zip(&before[below..below + width]);
            for (value, (above, below)) in row.iter_mut().zip(sides) {
                *value += weight * (above + below);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blur_keeps_light_and_widens_a_point_by_its_deviation() {
        let size = 41;
        let mut plane = vec![0.0; size * size];
        plane[20 * size + 20] = 1.0;
        blur(&mut plane, size, 1.2);
        let sum: f32 = plane.iter().sum();
        let spread: f32 =
            (plane.iter().enumerate()).map(|(i, v)| v * ((i % size) as f32 - 20.0).powi(2)).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        assert!((spread.sqrt() - 1.2).abs() < 0.03, "{spread}");
        let mut flat = vec![0.7; 12];
        blur(&mut flat, 4, 0.8);
        assert!(flat.iter().all(|v| (v - 0.7).abs() < 1e-6));
    }
}
