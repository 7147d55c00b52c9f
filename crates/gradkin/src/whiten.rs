//! Eigen-decompositions of K(x, x): its rank, pseudo-inverse and pseudo-inverse square root.
//!
//! K(x, x) may be singular: log-probabilities sum to a constant, dead units reach nothing. Eigenvalues
//! below a tolerance relative to the largest count as zero; the rank r is what remains.

use faer::Side;

/// K(x, x) taken apart: K = Σ λ u uᵀ over eigenvalues that count.
#[derive(Debug, Clone)]
pub(crate) struct Spectrum {
    /// λ and u of every eigenvalue that counts.
    parts: Vec<(f64, Vec<f64>)>,
    width: usize,
}

impl Spectrum {
    /// Take a symmetric d×d matrix apart; `None` where it holds something that is not finite.
    pub(crate) fn new(kernel: &[f64], width: usize, tolerance: f64) -> Option<Self> {
        if kernel.iter().any(|k| !k.is_finite()) {
            return None;
        }
        if width == 1 {
            let parts = if kernel[0] > 0.0 { vec![(kernel[0], vec![1.0])] } else { Vec::new() };
            return Some(Self { parts, width });
        }
        let matrix = faer::Mat::from_fn(width, width, |i, j| kernel[i * width + j]);
        let eigen = matrix.self_adjoint_eigen(Side::Lower).ok()?;
        let (vectors, values) = (eigen.U(), eigen.S());
        let top = (0..width).map(|k| values[k]).fold(0.0, f64::max);
        let counts = |k: &usize| values[*k] > 0.0 && values[*k] > top * tolerance;
        let parts = (0..width)
            .filter(counts)
            .map(|k| (values[k], (0..width).map(|i| vectors[(i, k)]).collect()))
            .collect();
        Some(Self { parts, width })
    }

    pub(crate) fn rank(&self) -> usize {
        self.parts.len()
    }

    /// K^power on the space where K does not vanish, times `scale`, row by row.
    pub(crate) fn power(&self, power: f64, scale: f64) -> Vec<f64> {
        let n = self.width;
        let mut result = vec![0.0; n * n];
        for (value, vector) in &self.parts {
            let weight = value.powf(power) * scale;
            for i in 0..n {
                for j in 0..n {
                    result[i * n + j] += weight * vector[i] * vector[j];
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_root_leaves_the_projector() {
        // K = 4 u uᵀ with u = (0.6, 0.8): rank one.
        let k = [4.0 * 0.36, 4.0 * 0.48, 4.0 * 0.48, 4.0 * 0.64];
        let spectrum = Spectrum::new(&k, 2, 1e-9).unwrap();
        assert_eq!(spectrum.rank(), 1);
        let root = spectrum.power(-0.5, 1.0);
        for (found, wanted) in root.iter().zip([0.18, 0.24, 0.24, 0.32]) {
            assert!((found - wanted).abs() < 1e-12);
        }
        assert_eq!(Spectrum::new(&[0.0; 4], 2, 1e-9).unwrap().rank(), 0);
        assert!(Spectrum::new(&[f64::NAN; 4], 2, 1e-9).is_none());
    }
}
