//! Bilinear resizing of pictures of any value range: a triangle filter, widened
//! when shrinking so that no pixel is skipped, as Pillow's `BILINEAR` is, but in
//! 64-bit floats and without rounding between the two passes.

/// Resizes `[height, width, channels]` values to `to` (height, width).
pub(crate) fn bilinear(values: &[f64], from: [usize; 3], to: (usize, usize)) -> Vec<f64> {
    let [height, width, channels] = from;
    let wide = if width == to.1 {
        values.to_vec()
    } else {
        along(values, [height, width, channels], to.1)
    };
    if height == to.0 { wide } else { along(&wide, [1, height, to.1 * channels], to.0) }
}

/// Resizes the middle axis of `[outer, length, inner]` values to `to`.
fn along(values: &[f64], [outer, length, inner]: [usize; 3], to: usize) -> Vec<f64> {
    let mut out = vec![0.0; outer * to * inner];
    for place in 0..to {
        let (first, weights) = weights(place, length, to);
        for block in 0..outer {
            let target = &mut out[(block * to + place) * inner..][..inner];
            for (offset, weight) in weights.iter().enumerate() {
                let source = &values[(block * length + first + offset) * inner..][..inner];
                target.iter_mut().zip(source).for_each(|(t, s)| *t += weight * s);
            }
        }
    }
    out
}

/// The first source index that reaches `place`, and the weights from there on; they sum to 1.
fn weights(place: usize, length: usize, to: usize) -> (usize, Vec<f64>) {
    let step = length as f64 / to as f64;
    let reach = step.max(1.0);
    let centre = (place as f64 + 0.5) * step;
    let first = (centre - reach + 0.5).max(0.0) as usize;
    let last = ((centre + reach + 0.5) as usize).min(length);
    let height = |i: usize| (1.0 - ((i as f64 + 0.5 - centre) / reach).abs()).max(0.0);
    let heights: Vec<f64> = (first..last).map(height).collect();
    let sum: f64 = heights.iter().sum();
    (first, heights.into_iter().map(|h| h / sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stays_constant() {
        for (from, to) in [((3, 5), (7, 2)), ((1, 1), (4, 4)), ((9, 2), (1, 1))] {
            let out = bilinear(&vec![0.7; from.0 * from.1 * 2], [from.0, from.1, 2], to);
            assert_eq!(out.len(), to.0 * to.1 * 2);
            assert!(out.iter().all(|x| (x - 0.7).abs() < 1e-12));
        }
    }

    #[test]
    fn halving_a_ramp_weights_like_a_triangle() {
        let out = bilinear(&[0.0, 1.0, 2.0, 3.0], [1, 4, 1], (1, 2));
        // Weights 3, 3, 1 over 7 at the left border.
        assert!((out[0] - 5.0 / 7.0).abs() < 1e-12, "{out:?}");
        assert!((out[0] + out[1] - 3.0).abs() < 1e-12);
    }
}
