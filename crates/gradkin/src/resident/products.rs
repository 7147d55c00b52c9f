//! Inner products between two blocks of examples on the device, component by component.

use std::ops::Range;

use gradkin_network::candle_core::Tensor;

use super::features::Features;
use super::held::Held;
use super::{add, swept::mismatch};
use crate::blocks::even_steps;
use crate::error::Result;

/// What does not change from tile to tile.
pub(super) struct Products {
    /// Rows that one example takes in a tile.
    pub(super) rows: usize,
    /// Numbers of an intermediate product that are held at once.
    pub(super) most: usize,
}

/// Some examples of a block.
type Members<'f, F> = (&'f F, Range<usize>);

impl Products {
    /// The tile between some examples of two blocks: `[ni·rows, nj·rows]`.
    pub(super) fn tile(
        &self,
        (left, i): Members<Features>,
        (right, j): Members<Features>,
    ) -> Result<Tensor> {
        let mut sum = None;
        for (left, right) in left.held.iter().zip(&right.held) {
            sum = Some(add(sum, self.component((left, i.clone()), (right, j.clone()))?)?);
        }
        sum.ok_or_else(mismatch)
    }

    fn component(&self, (left, i): Members<Held>, (right, j): Members<Held>) -> Result<Tensor> {
        match (left, right) {
            (Held::Dense(left), Held::Dense(right)) => {
                let rows = |of: &Tensor, examples: Range<usize>| -> Result<Tensor> {
                    Ok(of.narrow(0, examples.start, examples.len())?.flatten(0, 1)?)
                };
                Ok(rows(left, i)?.matmul(&rows(right, j)?.t()?)?)
            }
            (
                Held::Factored { input: a, delta },
                Held::Factored { input: other_a, delta: other },
            ) => self.factored((delta, i), (other, j), |i, j| {
                Ok(positions(a, i)?.matmul(&positions(other_a, j)?.t()?)?)
            }),
            (Held::Rows { index, delta }, Held::Rows { index: other_index, delta: other }) => self
                .factored((delta, i), (other, j), |i, j| {
                    let (of_left, of_right) = (positions(index, i)?, positions(other_index, j)?);
                    let equal = of_left.unsqueeze(2)?.broadcast_eq(&of_right.unsqueeze(1)?)?;
                    Ok(equal.to_dtype(delta.dtype())?)
                }),
            _ => Err(mismatch()),
        }
    }

    /// Σ_g Σ_{t,u} (a_t·a'_u)(δ_t·δ'_u) in pieces whose intermediate products fit. `inner` gives a·a' of
    /// some examples: `[G, ni·T, nj·T]`.
    fn factored(
        &self,
        (left, i): Members<Tensor>,
        (right, j): Members<Tensor>,
        inner: impl Fn(Range<usize>, Range<usize>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (groups, _, rows, positions, _) = left.dims5()?;
        let pair = groups * (rows * positions).pow(2);
        let side = ((self.most / pair.max(1)) as f64).sqrt().max(1.0) as usize;
        let mut lines = Vec::new();
        for i in even_steps(i, side) {
            let mut line = Vec::new();
            for j in even_steps(j.clone(), side) {
                let inner = inner(i.clone(), j.clone())?;
                line.push(combined(&inner, (left, i.clone()), (right, j))?);
            }
            lines.push(joined(line, 1)?);
        }
        joined(lines, 0)
    }
}

/// Examples of an array `[G, N, *, k]` with all that stands between folded: `[G, rows, k]`, contiguous.
fn folded(array: &Tensor, examples: Range<usize>) -> Result<Tensor> {
    let last = array.rank() - 2;
    let some = array.narrow(1, examples.start, examples.len())?.contiguous()?;
    Ok(some.flatten(1, last)?)
}

/// Positions of some examples: of a `[G, N, T, p]`, or of row numbers `[1, N, T]`.
fn positions(array: &Tensor, examples: Range<usize>) -> Result<Tensor> {
    match array.rank() {
        3 => Ok(folded(&array.unsqueeze(3)?, examples)?.squeeze(2)?),
        _ => folded(array, examples),
    }
}

/// out[(i,c),(j,e)] = Σ_g Σ_{t,u} inner[g,(i,t),(j,u)] · (δ_{g,i,c,t} · δ'_{g,j,e,u}).
fn combined(
    inner: &Tensor,
    (left, i): Members<Tensor>,
    (right, j): Members<Tensor>,
) -> Result<Tensor> {
    let (groups, _, rows, positions, _) = left.dims5()?;
    let (ni, nj) = (i.len(), j.len());
    let outer = folded(left, i)?.matmul(&folded(right, j)?.t()?)?;
    let product = if rows == 1 {
        (inner * outer)?
    } else {
        let inner = inner.reshape(&[groups, ni, 1, positions, nj, 1, positions])?;
        outer.reshape(&[groups, ni, rows, positions, nj, rows, positions])?.broadcast_mul(&inner)?
    };
    // The last axis first: what is left for the other, which is strided, is then small.
    let product = match positions {
        1 => product,
        _ => {
            let product = product.reshape((groups * ni * rows, positions, nj * rows, positions))?;
            product.sum(3)?.sum(1)?
        }
    };
    let product = product.reshape((groups, ni * rows, nj * rows))?;
    Ok(if groups == 1 { product.squeeze(0)? } else { product.sum(0)? })
}

/// Pieces side by side along an axis.
fn joined(mut pieces: Vec<Tensor>, axis: usize) -> Result<Tensor> {
    match pieces.len() {
        1 => Ok(pieces.remove(0)),
        _ => Ok(Tensor::cat(&pieces, axis)?),
    }
}
