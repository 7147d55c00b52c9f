//! Value noise: random numbers on a grid with smooth passages between, what grounds and roofs are
//! textured with.

use rand::RngExt;
use rand::rngs::ChaCha12Rng;

/// A plane of noise, values from −1 to 1 with a feature every `period` pixels.
pub(super) fn plane(
    width: usize,
    height: usize,
    period: f64,
    random: &mut ChaCha12Rng,
) -> Vec<f32> {
    let columns = (width as f64 / period).ceil() as usize + 2;
    let rows = (height as f64 / period).ceil() as usize + 2;
    let lattice: Vec<f32> = (0..rows * columns).map(|_| random.random_range(-1.0..1.0)).collect();
    let across: Vec<(usize, f32)> = (0..width).map(|x| place(x as f64 / period)).collect();
    let mut plane = Vec::with_capacity(width * height);
    for y in 0..height {
        let (row, down) = place(y as f64 / period);
        let (above, below) = (&lattice[row * columns..], &lattice[(row + 1) * columns..]);
        plane.extend(across.iter().map(|(column, right)| {
            let mix = |line: &[f32]| line[*column] + (line[column + 1] - line[*column]) * right;
            let (above, below) = (mix(above), mix(below));
            above + (below - above) * down
        }));
    }
    plane
}

/// Planes of shorter and shorter period, each half as strong as the one before; values from −1 to 1,
/// seldom near them.
pub(super) fn layered(
    width: usize,
    height: usize,
    period: f64,
    layers: usize,
    random: &mut ChaCha12Rng,
) -> Vec<f32> {
    let mut sum = vec![0.0; width * height];
    let (mut period, mut strength) = (period, 0.5);
    for _ in 0..layers {
        for (sum, value) in sum.iter_mut().zip(plane(width, height, period.max(1.0), random)) {
            *sum += strength * value;
        }
        (period, strength) = (period / 2.3, strength / 2.0);
    }
    sum
}

/// The grid point before, and the smoothed share of the way to the next.
fn place(at: f64) -> (usize, f32) {
    let part = at.fract() as f32;
    (at as usize, part * part * (3.0 - 2.0 * part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn noise_is_bounded_centred_and_smooth() {
        let noise = plane(200, 150, 9.0, &mut ChaCha12Rng::seed_from_u64(5));
        assert!(noise.iter().all(|v| v.abs() <= 1.0));
        let mean = noise.iter().sum::<f32>() / noise.len() as f32;
        assert!(mean.abs() < 0.1, "{mean}");
        let steps = noise.chunks(200).flat_map(|row| row.windows(2).map(|p| (p[1] - p[0]).abs()));
        let largest = steps.fold(0.0, f32::max);
        assert!((0.1..0.4).contains(&largest), "{largest}");
    }
}
