//! What becomes of a tile's products: reduced to what is wanted of a pair, then handed to the visitor.

use std::ops::Range;

use crate::error::Result;
use crate::features::Side;
use crate::kernel::Tile;
use crate::number::{Number, mirror};
use crate::progress::Counter;
use crate::rotation::best_rotation;
use crate::similarity::Reduction;

/// Where the examples of a block start in their set, and which of them have a similarity.
#[derive(Clone, Copy)]
pub(crate) struct Standing<'f> {
    pub(crate) start: usize,
    /// Rank of K(x, x) per example.
    pub(crate) ranks: &'f [usize],
    /// Whether all gradients of an example are finite.
    pub(crate) finite: &'f [bool],
}

/// What all tiles of a run have in common once their products are known.
pub(crate) struct Finish<'j, T> {
    /// d.
    pub(crate) outputs: usize,
    pub(crate) reduction: Reduction,
    pub(crate) symmetric: bool,
    /// Whether examples of rank zero have no similarity.
    pub(crate) zero_counts: bool,
    pub(crate) pairs: &'j Counter<'j>,
    pub(crate) visit: &'j (dyn Fn(&Tile<T>) -> Result<()> + Sync),
}

impl<T: Number> Finish<'_, T> {
    /// Whether one number per pair is all that products are wanted for.
    pub(crate) fn trace(&self) -> bool {
        self.reduction == Reduction::Trace
    }

    /// Rows that one example takes in a tile.
    pub(crate) fn rows(&self) -> usize {
        if self.trace() { 1 } else { self.outputs }
    }

    /// Reduce a tile's products `[|i|·rows, |j|·rows]` to what is wanted of a pair, and hand them on. Of
    /// the `same` block twice, a tile on the diagonal may hold its lower triangle only.
    pub(crate) fn tile(
        &self,
        mut values: Vec<T>,
        (left, i): (Standing, Range<usize>),
        (right, j): (Standing, Range<usize>),
        same: bool,
    ) -> Result<()> {
        let outputs = self.outputs;
        if same && i == j {
            mirror(&mut values, i.len() * self.rows());
        }
        let mut each = 1;
        if self.reduction != Reduction::Trace {
            values = pair_major(&values, i.len(), j.len(), outputs);
            each = outputs * outputs;
        }
        if self.reduction == Reduction::Rotation {
            values = rotations(&values, outputs);
            each = 1;
        }
        let undefined = |example: usize, side: Side| {
            let standing = if side == Side::Row { left } else { right };
            let at = example - standing.start;
            !standing.finite[at] || (self.zero_counts && standing.ranks[at] == 0)
        };
        (self.visit)(&Tile {
            rows: left.start + i.start..left.start + i.end,
            columns: right.start + j.start..right.start + j.end,
            values: &values,
            each,
            mirrored: self.symmetric && !(same && i == j),
            undefined: &undefined,
        })
    }
}

/// `[ni·d, nj·d]` → `[ni, nj, d, d]`.
fn pair_major<T: Number>(values: &[T], ni: usize, nj: usize, d: usize) -> Vec<T> {
    let mut result = vec![T::default(); values.len()];
    for i in 0..ni {
        for c in 0..d {
            let row = &values[(i * d + c) * nj * d..][..nj * d];
            for j in 0..nj {
                let to = ((i * nj + j) * d + c) * d;
                result[to..to + d].copy_from_slice(&row[j * d..(j + 1) * d]);
            }
        }
    }
    result
}

/// Each pair's matrix reduced to the best rotation; ranks were divided out when it was whitened.
fn rotations<T: Number>(values: &[T], d: usize) -> Vec<T> {
    let reduce = |matrix: &[T]| {
        let matrix: Vec<f64> = matrix.iter().map(|x| x.to_f64()).collect();
        T::from_f64(best_rotation(&matrix, d))
    };
    values.chunks_exact(d * d).map(reduce).collect()
}
