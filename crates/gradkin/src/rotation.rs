//! max Tr(R K) over rotations R ∈ SO(d).
//!
//! With singular values s₁ ≥ … ≥ s_d of K the maximum over O(d) is Σ s; over SO(d) the smallest
//! changes sign where det K < 0. For d = 2 that is √(‖K‖_F² + 2 det K).

/// The maximum over SO(d) for one d×d matrix, row by row.
pub(crate) fn best_rotation(kernel: &[f64], width: usize) -> f64 {
    match width {
        1 => kernel[0],
        2 => {
            let norm: f64 = kernel.iter().map(|k| k * k).sum();
            let det = kernel[0] * kernel[3] - kernel[1] * kernel[2];
            (norm + 2.0 * det).max(0.0).sqrt()
        }
        _ => {
            let matrix = faer::Mat::from_fn(width, width, |i, j| kernel[i * width + j]);
            let Ok(values) = matrix.singular_values() else { return f64::NAN };
            let total: f64 = values.iter().sum();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            if matrix.determinant() < 0.0 { total - 2.0 * least } else { total }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The maximum over many rotations of the plane, by trying them.
    #[test]
    fn the_plane_by_brute_force() {
        for k in [[1.0, 2.0, -0.5, 0.3], [0.2, -1.0, 1.0, 0.1], [1.0, 0.0, 0.0, -1.0]] {
            let tried = (0..100_000)
                .map(|i| {
                    let (s, c) = (f64::from(i) * std::f64::consts::TAU / 1e5).sin_cos();
                    c * (k[0] + k[3]) + s * (k[2] - k[1])
                })
                .fold(f64::NEG_INFINITY, f64::max);
            assert!((best_rotation(&k, 2) - tried).abs() < 1e-6, "{k:?}");
        }
    }

    #[test]
    fn space_agrees_with_the_plane_inside_it() {
        let k = [0.4, -0.9, 0.0, 0.3, 0.7, 0.0, 0.0, 0.0, 5.0];
        let plane = best_rotation(&[0.4, -0.9, 0.3, 0.7], 2);
        assert!((best_rotation(&k, 3) - (plane + 5.0)).abs() < 1e-9);
        // A reflection is no rotation: diag(1, 1, −1) reaches 1, not 3.
        let mirror = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0];
        assert!((best_rotation(&mirror, 3) - 1.0).abs() < 1e-9);
    }
}
