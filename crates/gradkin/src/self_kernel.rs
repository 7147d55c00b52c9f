//! K(x, x) of each example, in double precision, by whichever way its factors make shortest.

use std::collections::BTreeMap;

use crate::features::{Arrays, Raw};
use crate::number::{Into, Number, add_product_aat, mirror, product_ab, product_abt, product_atb};

/// Numbers in double precision that are multiplied at once where K(x, x) is taken of whole gradients.
const BLOCK: usize = 4096;

/// Add a component's part of K(x, x) for example `b` of the micro-batch, in double precision.
pub(crate) fn add_self_kernel<T: Number>(
    raw: &Raw<T>,
    arrays: &Arrays,
    b: usize,
    d: usize,
    kernel: &mut [f64],
) {
    match arrays {
        Arrays::Dense { len, .. } => {
            add_written(&raw.delta[b * d * len..(b + 1) * d * len], d, kernel);
        }
        Arrays::Factored { positions, input, cotangent, windows: Some(windows), .. } => {
            let (t, p, q) = (*positions, *input, *cotangent);
            let (image, delta) = (windows.numbers(), d * q * t);
            let mut columns = vec![T::default(); p * t];
            let image = &raw.input[b * image..(b + 1) * image];
            windows.unfold(image, 0..windows.channels(), &mut columns);
            let delta = &raw.delta[b * delta..(b + 1) * delta];
            if pairs_of_positions_are_less((t, p, q), d) {
                let a = turned(&columns, t).collect::<Vec<f64>>();
                let delta =
                    delta.chunks(q * t).flat_map(|own| turned(own, t)).collect::<Vec<f64>>();
                return add_by_positions((t, p, q), &a, &delta, d, kernel);
            }
            let mut written = vec![T::default(); d * q * p];
            product_abt((d * q, p, t), delta, &columns, &mut written, Into::Replace);
            add_written(&written, d, kernel);
        }
        Arrays::Factored { groups, positions, input, cotangent, deferred, .. } => {
            let (g_count, t, p, q) = (groups.len(), *positions, *input, *cotangent);
            let a = |g: usize| &raw.input[(b * g_count + g) * t * p..][..t * p];
            let delta =
                |c: usize, g: usize| &raw.delta[((b * d + c) * g_count + g) * t * q..][..t * q];
            if !deferred || pairs_of_positions_are_less((t, p, q), d) {
                for g in 0..g_count {
                    let delta: Vec<f64> =
                        (0..d).flat_map(|c| delta(c, g)).map(|x| x.to_f64()).collect();
                    add_by_positions((t, p, q), &wide(a(g)), &delta, d, kernel);
                }
                return;
            }
            let mut written = vec![T::default(); d * q * p];
            for g in 0..g_count {
                for (c, written) in written.chunks_exact_mut(q * p).enumerate() {
                    product_atb((q, p, t), (delta(c, g), q), (a(g), p), written);
                }
                add_written(&written, d, kernel);
            }
        }
        Arrays::Rows { positions, width, .. } => {
            // Positions that name the same row of the table add up before they meet.
            let index = &raw.index[b * positions..(b + 1) * positions];
            let mut rows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
            for (t, row) in index.iter().enumerate() {
                let sum = rows.entry(*row).or_insert_with(|| vec![0.0; d * width]);
                for c in 0..d {
                    let at = ((b * d + c) * positions + t) * width;
                    let from = &raw.delta[at..at + width];
                    let to = &mut sum[c * width..(c + 1) * width];
                    to.iter_mut().zip(from).for_each(|(s, x)| *s += x.to_f64());
                }
            }
            for sum in rows.values() {
                product_abt((d, d, *width), sum, sum, kernel, Into::Add);
            }
        }
    }
}

/// Whether K(x, x) by pairs of an example's own positions is less work than its gradient: in double precision, which
/// counts twice, but of one output each pair once.
fn pairs_of_positions_are_less((t, p, q): (usize, usize, usize), d: usize) -> bool {
    let share = if d == 1 { 1 } else { 2 };
    share * t * (p + d * q) < d * p * q
}

/// Add Σ_{t,u} (a_t · a_u) (δ_t · δ_u) of a `[t, p]` and δ `[d, t, q]`.
fn add_by_positions(
    (t, p, q): (usize, usize, usize),
    a: &[f64],
    delta: &[f64],
    d: usize,
    kernel: &mut [f64],
) {
    let mut inner = vec![0.0; t * t];
    add_product_aat((t, p), a, &mut inner);
    if d == 1 {
        // Both are symmetric, so that what stands below their diagonals counts twice.
        let mut outer = vec![0.0; t * t];
        add_product_aat((t, q), delta, &mut outer);
        for (row, (inner, outer)) in inner.chunks(t).zip(outer.chunks(t)).enumerate() {
            let below = inner[..row].iter().zip(&outer[..row]).map(|(x, y)| x * y);
            kernel[0] += 2.0 * below.sum::<f64>() + inner[row] * outer[row];
        }
        return;
    }
    // Σ_t δ_t · (Σ_u (a_t · a_u) δ_u).
    mirror(&mut inner, t);
    let mut reached = vec![0.0; d * t * q];
    for (from, to) in delta.chunks(t * q).zip(reached.chunks_mut(t * q)) {
        product_ab((t, q, t), &inner, (from, q), to);
    }
    product_abt((d, d, t * q), delta, &reached, kernel, Into::Add);
}

/// Rows of so many numbers as columns, in double precision.
fn turned<T: Number>(rows: &[T], width: usize) -> impl Iterator<Item = f64> {
    (0..width).flat_map(move |t| rows.iter().skip(t).step_by(width)).map(|x| x.to_f64())
}

/// Add the products of an example's written-out gradients `[d, len]`, in double precision.
fn add_written<T: Number>(rows: &[T], d: usize, kernel: &mut [f64]) {
    let len = rows.len() / d.max(1);
    // So many columns at a time as stay in the first-level cache.
    let step = (BLOCK / d.max(1)).max(64);
    let mut block = Vec::with_capacity(d * step.min(len));
    for first in (0..len).step_by(step) {
        let width = step.min(len - first);
        block.clear();
        for row in rows.chunks_exact(len) {
            block.extend(row[first..first + width].iter().map(|x| x.to_f64()));
        }
        product_abt((d, d, width), &block, &block, kernel, Into::Add);
    }
}

fn wide<T: Number>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deferred::tests::windows;

    fn random(count: usize) -> Vec<f64> {
        (0..count).map(|i| ((i * 7919 + 13) as f64).sin()).collect()
    }

    /// Gradients written out entry by entry, of factors with so many positions that these are met in pairs and
    /// of others; the second of three examples.
    #[test]
    fn every_way_gives_the_products_of_gradients() {
        let images = windows();
        let p = 12;
        for (q, d, groups, deferred, windows) in [
            (40, 1, 1, true, Some(&images)),
            (4, 3, 1, true, Some(&images)),
            (40, 1, 2, true, None),
            (40, 3, 2, true, None),
            (4, 1, 1, true, None),
            (4, 3, 2, true, None),
            (4, 1, 2, false, None),
            (4, 3, 1, false, None),
        ] {
            let t = windows.map_or(5, |windows| windows.positions());
            let fewer = pairs_of_positions_are_less((t, p, q), d);
            assert_eq!(fewer, q > 4, "{q} {d}");
            let width = windows.map_or(groups * t * p, |windows| windows.numbers());
            let raw = Raw {
                delta: random(3 * d * groups * t * q),
                input: random(3 * width),
                index: Vec::new(),
            };
            let arrays = Arrays::Factored {
                groups: vec![[0, 1]; groups],
                positions: t,
                input: p,
                cotangent: q,
                deferred,
                windows: windows.cloned(),
            };
            let mut found = vec![1.0; d * d];
            add_self_kernel(&raw, &arrays, 1, d, &mut found);

            let input = &raw.input[width..2 * width];
            let mut columns = vec![0.0; t * p];
            if let Some(windows) = windows {
                windows.unfold(input, 0..windows.channels(), &mut columns);
            }
            let entry = |c: usize, g: usize, row: usize, column: usize| -> f64 {
                let delta = &raw.delta[(d + c) * groups * t * q..];
                let product = |t_: usize| match windows {
                    Some(_) => delta[row * t + t_] * columns[column * t + t_],
                    None => delta[(g * t + t_) * q + row] * input[(g * t + t_) * p + column],
                };
                (0..t).map(product).sum()
            };
            for (c, e) in (0..d).flat_map(|c| (0..d).map(move |e| (c, e))) {
                let mut wanted = 1.0;
                for g in 0..groups {
                    for (row, column) in (0..q).flat_map(|row| (0..p).map(move |k| (row, k))) {
                        wanted += entry(c, g, row, column) * entry(e, g, row, column);
                    }
                }
                let gap = (found[c * d + e] - wanted).abs() / wanted.abs().max(1.0);
                assert!(gap < 1e-12, "{q} {d} {c} {e}: {} {wanted}", found[c * d + e]);
            }
        }
    }
}
