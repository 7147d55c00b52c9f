//! What the arithmetic of a training step would cost at the speed of bare matrix products.

use std::time::Instant;

use gradkin::network::candle_core::{self, Device, Tensor};
use gradkin::network::{NetworkError, product};

use crate::Error;

/// Weights of the network's matrices, 2·64 + 5·64·64 + 64.
const WEIGHTS: f64 = 20_672.0;

/// A step's arithmetic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// Floating-point operations per step: forward, and twice as much backward.
    pub(super) operations: f64,
    /// Operations per second of a 64 × 64 product at this batch, at its fastest.
    pub(super) rate: f64,
}

impl Cost {
    /// Milliseconds that a step would take at the rate of products.
    pub(super) fn least_ms(&self) -> f64 {
        1e3 * self.operations / self.rate
    }
}

pub(super) fn measure(batch: usize) -> Result<Cost, Error> {
    let rate = product_rate(batch).map_err(NetworkError::from)?;
    Ok(Cost { operations: 2.0 * 3.0 * WEIGHTS * batch as f64, rate })
}

fn product_rate(batch: usize) -> candle_core::Result<f64> {
    const REPEATS: usize = 50;
    const ROUNDS: usize = 40;
    let a = Tensor::rand(-1f32, 1.0, (batch, 64), &Device::Cpu)?;
    let b = Tensor::rand(-1f32, 1.0, (64, 64), &Device::Cpu)?;
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..REPEATS {
            std::hint::black_box(product(&a, &b)?);
        }
        least = least.min(start.elapsed().as_secs_f64() / REPEATS as f64);
    }
    Ok(2.0 * (batch * 64 * 64) as f64 / least)
}
