//! One sun for everything.

use std::f64::consts::TAU;

use geo::Coord;
use rand::RngExt;
use rand::rngs::ChaCha12Rng;

/// The sun, and how much light comes from the rest of the sky.
#[derive(Debug, Clone, Copy)]
pub(super) struct Light {
    /// Unit vector on the ground away from the sun, where shadows fall.
    pub(super) away: Coord<f64>,
    /// Length of the shadow of something one metre high.
    pub(super) reach: f64,
    /// The share of light that is left in shadow.
    pub(super) sky: f32,
}

impl Light {
    pub(super) fn draw(random: &mut ChaCha12Rng) -> Self {
        let (y, x) = random.random_range(0.0..TAU).sin_cos();
        let elevation: f64 = random.random_range(30f64..64.0).to_radians();
        let sky = random.random_range(0.16..0.45);
        Self { away: Coord { x, y }, reach: 1.0 / elevation.tan(), sky }
    }

    /// Where the shadow of the top of something falls, from its foot.
    pub(super) fn cast(&self, height: f64) -> Coord<f64> {
        self.away * (height * self.reach)
    }

    /// The light on a face that rises by `slope` per metre (a vector on the ground, uphill), as a
    /// multiple of that on level ground.
    pub(super) fn on(&self, slope: Coord<f64>) -> f32 {
        // The normal is (−slope, 1) and the sun stands at (−away · reach, 1), both up to a factor.
        let facing = 1.0 + (slope.x * self.away.x + slope.y * self.away.y) * self.reach;
        let tilt = (1.0 + slope.x * slope.x + slope.y * slope.y).sqrt();
        self.sky + (1.0 - self.sky) * (facing.max(0.0) / tilt) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_ground_is_the_measure_and_faces_to_the_sun_are_brighter() {
        let light = Light { away: Coord { x: 1.0, y: 0.0 }, reach: 1.0, sky: 0.3 };
        let on = |x: f64| light.on(Coord { x, y: 0.0 });
        assert_eq!(on(0.0), 1.0);
        // Uphill away from the sun is a face turned to it.
        assert!(on(0.5) > 1.1 && on(-0.5) < 0.7, "{} {}", on(0.5), on(-0.5));
        assert!((on(-3.0) - 0.3).abs() < 1e-6);
    }
}
