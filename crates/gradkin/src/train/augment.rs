//! Changes that leave an example what it is: shifts, turns, flips, crops, noise.

use rand::rngs::ChaCha12Rng;
use rand::{Rng, RngExt, SeedableRng};

use crate::error::{Error, Result};

/// One random change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Move the image by up to so many pixels along each axis.
    Shift(f64),
    /// Turn it about its centre by up to so many degrees.
    Turn(f64),
    /// Mirror it left to right, every other time.
    Flip,
    /// Cut out a part of at least this share of its sides, and bring it back to size.
    Crop(f64),
    /// Add normal noise of this deviation to every number.
    Noise(f64),
}

/// Changes that are made one after another.
///
/// ```
/// use gradkin::train::{Augmentation, Change};
/// let changes: Augmentation = "shift:2,turn:10,noise:0.05".parse()?;
/// assert_eq!(changes.changes()[0], Change::Shift(2.0));
/// # Ok::<(), gradkin::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Augmentation {
    changes: Vec<Change>,
}

impl std::str::FromStr for Augmentation {
    type Err = Error;

    /// Changes apart by commas: `shift:PIXELS`, `turn:DEGREES`, `flip`, `crop:SHARE`, `noise:DEVIATION`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |part: &str| {
            Error::Usage(format!(
                "`{part}` is no change; use shift:PIXELS, turn:DEGREES, flip, crop:SHARE (0 to 1) or \
                 noise:DEVIATION"
            ))
        };
        let change = |part: &str| {
            let (name, number) = part.split_once(':').unwrap_or((part, ""));
            let amount = number.parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
            match (name.trim(), amount) {
                ("flip", None) if number.is_empty() => Ok(Change::Flip),
                ("shift", Some(pixels)) => Ok(Change::Shift(pixels)),
                ("turn", Some(degrees)) => Ok(Change::Turn(degrees)),
                ("crop", Some(share)) if share <= 1.0 => Ok(Change::Crop(share)),
                ("noise", Some(deviation)) => Ok(Change::Noise(deviation)),
                _ => Err(wrong(part)),
            }
        };
        let changes = text.split(',').map(change).collect::<Result<Vec<_>>>()?;
        Ok(Self { changes })
    }
}

impl Augmentation {
    /// Changes in the order in which they are made.
    pub fn new(changes: Vec<Change>) -> Self {
        Self { changes }
    }

    /// The changes.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether the examples have to be images.
    pub fn needs_images(&self) -> bool {
        self.changes.iter().any(|change| !matches!(change, Change::Noise(_)))
    }

    /// Change examples of `shape`, rows one after another; the last two axes are height and width.
    /// What lies outside an image repeats its border.
    pub(crate) fn apply(&self, rows: &mut [f64], shape: &[usize], seed: u64) -> Result<()> {
        let (height, width) = match shape {
            [.., height, width] if shape.len() >= 2 => (*height, *width),
            _ if self.needs_images() => {
                return Err(Error::Usage(format!(
                    "examples of shape {shape:?} are no images to shift, turn, flip or crop; only \
                     noise:DEVIATION is left"
                )));
            }
            _ => (1, shape.iter().product()),
        };
        let size: usize = shape.iter().product();
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        for row in rows.chunks_exact_mut(size.max(1)) {
            if self.needs_images() {
                let map = self.map(height as f64, width as f64, &mut random);
                for plane in row.chunks_exact_mut(height * width) {
                    let moved = resample(plane, (height, width), &map);
                    plane.copy_from_slice(&moved);
                }
            }
            for change in &self.changes {
                if let Change::Noise(deviation) = change {
                    row.iter_mut().for_each(|x| *x += deviation * normal(&mut random));
                }
            }
        }
        Ok(())
    }

    /// All moves of one image as one affine map from new to old pixels, x before y.
    fn map(&self, height: f64, width: f64, random: &mut ChaCha12Rng) -> [f64; 6] {
        let mut symmetric = |most: f64| most * (2.0 * random.random::<f64>() - 1.0);
        let (cx, cy) = ((width - 1.0) / 2.0, (height - 1.0) / 2.0);
        let mut map = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        for change in &self.changes {
            let about_centre = |a: f64, b: f64, c: f64, d: f64, x: f64, y: f64| {
                [a, b, cx - a * cx - b * cy + x, c, d, cy - c * cx - d * cy + y]
            };
            let next = match change {
                Change::Shift(most) => {
                    about_centre(1.0, 0.0, 0.0, 1.0, symmetric(*most), symmetric(*most))
                }
                Change::Turn(degrees) => {
                    let (sin, cos) = symmetric(*degrees).to_radians().sin_cos();
                    about_centre(cos, -sin, sin, cos, 0.0, 0.0)
                }
                Change::Flip if symmetric(1.0) < 0.0 => about_centre(-1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
                Change::Crop(least) => {
                    let share = 1.0 - (1.0 - least) * symmetric(1.0).abs();
                    let (x, y) = ((1.0 - share) * cx, (1.0 - share) * cy);
                    about_centre(share, 0.0, 0.0, share, symmetric(x), symmetric(y))
                }
                Change::Flip | Change::Noise(_) => continue,
            };
            map = after(&map, &next);
        }
        map
    }
}

/// The map that takes a point first through `next` and then through `map`.
fn after(map: &[f64; 6], next: &[f64; 6]) -> [f64; 6] {
    let [a, b, x, c, d, y] = *map;
    let [p, q, u, r, s, v] = *next;
    [
        a * p + b * r,
        a * q + b * s,
        a * u + b * v + x,
        c * p + d * r,
        c * q + d * s,
        c * u + d * v + y,
    ]
}

/// A plane seen through a map, between pixels by bilinear interpolation.
fn resample(plane: &[f64], (height, width): (usize, usize), map: &[f64; 6]) -> Vec<f64> {
    let [a, b, x0, c, d, y0] = *map;
    let clamped = |v: f64, size: usize| v.clamp(0.0, (size - 1) as f64);
    let mut moved = Vec::with_capacity(plane.len());
    for row in 0..height {
        for column in 0..width {
            let (x, y) = (column as f64, row as f64);
            let sx = clamped(a * x + b * y + x0, width);
            let sy = clamped(c * x + d * y + y0, height);
            let (left, top) = (sx.floor() as usize, sy.floor() as usize);
            let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
            let (fx, fy) = (sx - left as f64, sy - top as f64);
            let at = |r: usize, c: usize| plane[r * width + c];
            let upper = at(top, left) * (1.0 - fx) + at(top, right) * fx;
            let lower = at(bottom, left) * (1.0 - fx) + at(bottom, right) * fx;
            moved.push(upper * (1.0 - fy) + lower * fy);
        }
    }
    moved
}

/// A standard normal number (Box and Muller, 1958).
fn normal(random: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn changed(spec: &str, seed: u64) -> Vec<f64> {
        let mut image: Vec<f64> = (0..25).map(f64::from).collect();
        let changes: Augmentation = spec.parse().unwrap();
        changes.apply(&mut image, &[1, 5, 5], seed).unwrap();
        image
    }

    #[test]
    fn flips_mirror_and_come_half_the_time() {
        let mirrored: Vec<f64> =
            (0..5).flat_map(|r| (0..5).rev().map(move |c| f64::from(5 * r + c))).collect();
        let count = (0..200).filter(|seed| changed("flip", *seed) == mirrored).count();
        let plain: Vec<f64> = (0..25).map(f64::from).collect();
        let same = (0..200).filter(|seed| changed("flip", *seed) == plain).count();
        assert_eq!(count + same, 200);
        assert!((70..130).contains(&count), "{count}");
    }

    /// On a plane x + 5y, interpolation is exact away from the border.
    #[test]
    fn shifts_move_by_at_most_their_pixels() {
        for seed in 0..50 {
            let image = changed("shift:1", seed);
            let moved = image[12] - 12.0;
            assert!(moved.abs() <= 6.0, "{moved}");
            assert!((image[13] - image[12] - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn turns_keep_the_centre_and_noise_has_its_deviation() {
        assert!((changed("turn:45", 3)[12] - 12.0).abs() < 1e-9);
        let mut rows = vec![0.0; 40_000];
        let changes: Augmentation = "noise:0.5".parse().unwrap();
        changes.apply(&mut rows, &[40_000], 1).unwrap();
        let variance = rows.iter().map(|x| x * x).sum::<f64>() / 40_000.0;
        assert!((variance.sqrt() - 0.5).abs() < 0.01, "{variance}");
    }

    #[test]
    fn wrong_words_are_named() {
        for spec in ["tilt:3", "shift", "crop:2", "noise:-1", "flip:2", ""] {
            let message = spec.parse::<Augmentation>().unwrap_err().to_string();
            assert!(message.contains("shift:PIXELS"), "{message}");
        }
        let changes: Augmentation = "turn:3".parse().unwrap();
        assert!(changes.apply(&mut [0.0; 4], &[4], 0).is_err());
    }
}
