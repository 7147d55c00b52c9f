//! Σ_j k(i, j)^α for whole α in linear time, from random features of the power kernel.
//!
//! A sketch's entries u_l(x) are independent draws with mean product E[u_l(x) u_l(y)] = k(x, y). The
//! product of entries of α independent sketches so has the mean product k(x, y)^α (random features of
//! a polynomial kernel), and Σ_j k(i, j)^α is the mean over l of φ_l(i) Σ_j φ_l(j). The m terms of that
//! mean are independent given the data, which gives the standard error.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::kernel::Similarity;
use crate::progress::Watch;

/// Estimates of Σ_j k(i, j)^α.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerSums {
    /// Per example: Σ_j k(i, j)^α, i itself included. Equal to the positive-power count N_α where no
    /// similarity is negative; for even α never less than it.
    pub estimates: Vec<f64>,
    /// Standard errors of the estimates.
    pub errors: Vec<f64>,
}

impl Similarity<'_> {
    /// Estimates of Σ_j k(i, j)^α over a set for a whole exponent, from α sketches of `size` numbers
    /// per example: α sweeps over the data and α·N·size numbers, no pairs. Equal seeds give equal
    /// estimates. For the trace reduction and symmetric kinds only.
    ///
    /// # Errors
    /// Where the exponent is 0, where `size` is below 2, and as [`Similarity::sketches`].
    pub fn power_sums(
        &self,
        set: &dyn Examples,
        exponent: u32,
        size: usize,
        seed: u64,
        watch: Watch,
    ) -> Result<PowerSums> {
        if exponent == 0 || size < 2 {
            return Err(Error::Usage(
                "power sums need an exponent of at least 1 and sketches of at least 2 numbers"
                    .into(),
            ));
        }
        let mut features: Vec<f64> = Vec::new();
        for factor in 0..exponent {
            let own = seed.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(factor) + 1);
            let sketch = self.sketches(set, size, own, watch)?;
            match features.is_empty() {
                true => features = sketch,
                false => features.iter_mut().zip(&sketch).for_each(|(f, s)| *f *= s),
            }
        }
        // Sketches carry m^−½ each, so that their plain inner product is the estimate; here the mean
        // over l is taken once whatever the exponent.
        let m = size as f64;
        let scale = m.powf(f64::from(exponent));
        let mut sums = vec![0.0; size];
        for row in features.chunks_exact(size) {
            sums.iter_mut().zip(row).for_each(|(s, x)| *s += x);
        }
        let found: Vec<(f64, f64)> = features
            .par_chunks_exact(size)
            .map(|row| {
                let terms = || row.iter().zip(&sums).map(|(x, s)| x * s * scale);
                let mean = terms().sum::<f64>() / m;
                let variance = terms().map(|t| (t - mean) * (t - mean)).sum::<f64>() / (m - 1.0);
                (mean, (variance / m).sqrt())
            })
            .collect();
        let (estimates, errors) = found.into_iter().unzip();
        Ok(PowerSums { estimates, errors })
    }
}
