//! Small helpers over candle tensors that all carry a leading axis of examples.
//!
//! A *value* has shape `[L, *s]`: `s` is its shape for one example, `L` the number of examples, or
//! one where the value does not depend on the example (a constant, a weight). A *cotangent* has
//! shape `[B·d, *s]`, row `b·d + c` belonging to example `b` and output `c`. Linear operators
//! treat both alike; that is why the two axes travel as one.

pub(crate) mod bends;
pub(crate) mod channels;
mod convolve;
mod depthwise;
pub(crate) mod functions;
mod index;
mod limit;
mod multiply;
mod normal;
mod portable;
mod product;
pub(crate) mod rows;
mod scratch;
mod softmax;
mod stripes;
mod sum;
mod unfold;
mod weight_gradient;
mod window;
mod window_sum;

pub(crate) use convolve::{FoldedProduct, SummedGradient, UnfoldedProduct, both_products};
pub(crate) use depthwise::Depthwise;
pub(crate) use index::{add_rows, max_windows, spread_max};
pub(crate) use limit::{checked_count, countable, within};
pub use multiply::{multiply, multiply_lower};
pub(crate) use normal::{Normal, Normalized};
pub use product::product;
pub(crate) use product::{shared_product, sum_of_products, sum_rows};
pub(crate) use softmax::softmax_back;
pub(crate) use sum::sum_along;
pub(crate) use unfold::{Fold, Unfold, Unfoldable};
pub(crate) use weight_gradient::WeightGradient;
pub(crate) use window::{Axis, Padding, Window, sizes as window_sizes};
pub(crate) use window_sum::WindowSum;

use candle_core::Tensor;

use crate::error::{OpResult, fail};

/// The shape behind the leading axis.
pub(crate) fn example_shape(x: &Tensor) -> &[usize] {
    &x.dims()[1..]
}

/// Put axes of one in front of the example shape until it has `rank` axes.
pub(crate) fn with_rank(x: &Tensor, rank: usize) -> OpResult<Tensor> {
    let have = x.rank() - 1;
    if have >= rank {
        return Ok(x.clone());
    }
    let mut shape = vec![x.dims()[0]];
    shape.resize(1 + rank - have, 1);
    shape.extend(example_shape(x));
    Ok(x.reshape(shape)?)
}

/// The leading axis followed by `shape`.
pub(crate) fn lead_shape(lead: usize, shape: &[usize]) -> Vec<usize> {
    let mut full = Vec::with_capacity(shape.len() + 1);
    full.push(lead);
    full.extend_from_slice(shape);
    full
}

/// The shape two example shapes broadcast to, by NumPy's rule.
pub(crate) fn broadcast_shape(a: &[usize], b: &[usize]) -> OpResult<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(i) => shape[i],
        None => 1,
    };
    let mut out = Vec::with_capacity(rank);
    for axis in 0..rank {
        out.push(match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => fail!("shapes {a:?} and {b:?} do not broadcast"),
        });
    }
    checked_count(&out)?;
    Ok(out)
}

/// Broadcast a value to an example shape and a leading axis.
pub(crate) fn expand_to(x: &Tensor, lead: usize, shape: &[usize]) -> OpResult<Tensor> {
    Ok(with_rank(x, shape.len())?.broadcast_as(lead_shape(lead, shape))?)
}

/// Sum a cotangent over the axes along which `shape` was broadcast; the leading axis stays.
pub(crate) fn sum_to(cotangent: &Tensor, shape: &[usize]) -> OpResult<Tensor> {
    let out = example_shape(cotangent).to_vec();
    if out == shape {
        return Ok(cotangent.clone());
    }
    let missing = out.len() - shape.len();
    let axes: Vec<usize> = (0..out.len())
        .filter(|axis| *axis < missing || (shape[axis - missing] == 1 && out[*axis] != 1))
        .map(|axis| axis + 1)
        .collect();
    let summed = sum_axes(cotangent, &axes)?;
    Ok(summed.reshape(lead_shape(cotangent.dims()[0], shape))?)
}

/// Sum over whole axes, keeping them as axes of one.
///
/// Runs of neighbouring axes are merged first.
pub(crate) fn sum_axes(x: &Tensor, axes: &[usize]) -> OpResult<Tensor> {
    let mut result = x.clone();
    let mut axes = axes.to_vec();
    axes.sort_unstable();
    while let Some(last) = axes.pop() {
        let mut first = last;
        while axes.last().is_some_and(|axis| axis + 1 == first) {
            first = axes.pop().unwrap_or(first);
        }
        let dims = result.dims().to_vec();
        let merged: usize = dims[first..=last].iter().product();
        if merged == 1 {
            continue;
        }
        let mut flat = dims[..first].to_vec();
        flat.push(merged);
        flat.extend(&dims[last + 1..]);
        let mut kept = dims.clone();
        kept[first..=last].fill(1);
        result = sum_along(&result.contiguous()?.reshape(flat)?, first)?.reshape(kept)?;
    }
    Ok(result)
}

/// An ONNX axis, which may count from the end, as an axis of a shape with `rank` axes.
pub(crate) fn axis_of(axis: i64, rank: usize) -> OpResult<usize> {
    let signed = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(signed) {
        Ok(axis) if axis < rank => Ok(axis),
        _ => fail!("axis {axis} is outside a tensor with {rank} axes"),
    }
}

/// Multiply matrices in the last two axes; leading axes must be equal.
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> OpResult<Tensor> {
    Ok(product(a, b)?)
}
