//! K(x, x) of every example of a micro-batch, in double precision where the device has it.

use gradkin_network::Factor;
use gradkin_network::candle_core::{DType, Result, Tensor};

/// Numbers of products of positions that are held at once.
const MOST_NUMBERS: usize = 16 << 20;

/// The widest form that the device has.
pub(super) fn wide(tensor: &Tensor) -> Result<Tensor> {
    match tensor.device().is_metal() {
        true => Ok(tensor.clone()),
        false => tensor.to_dtype(DType::F64),
    }
}

/// A component's part of K(x, x): `[B, d, d]`.
pub(super) fn self_kernel(factor: &Factor) -> Result<Tensor> {
    match factor {
        Factor::Dense(gradient) => {
            let gradient = wide(&gradient.contiguous()?)?;
            gradient.matmul(&gradient.t()?)
        }
        Factor::Outer { input, cotangent, .. } => {
            let inner = |first: usize, count: usize| {
                let a = wide(&input.narrow(0, first, count)?.contiguous()?)?.flatten(0, 1)?;
                a.matmul(&a.t()?)
            };
            in_steps(cotangent, inner)
        }
        Factor::Rows { index, cotangent, .. } => {
            let inner = |first: usize, count: usize| {
                let index = index.narrow(0, first, count)?;
                wide(&index.unsqueeze(2)?.broadcast_eq(&index.unsqueeze(1)?)?)
            };
            in_steps(&cotangent.unsqueeze(2)?, inner)
        }
    }
}

/// Σ_{t,u} (a_t·a_u)(δ_t·δ_u) for δ `[B, d, G, T, q]`, so many examples at a time as their products of
/// positions fit. `inner(first, count)` gives a_t·a_u of some: `[count·G, T, T]`.
fn in_steps(cotangent: &Tensor, inner: impl Fn(usize, usize) -> Result<Tensor>) -> Result<Tensor> {
    let (batch, _, groups, positions, _) = cotangent.dims5()?;
    let step = (MOST_NUMBERS / (groups * positions * positions).max(1)).clamp(1, batch.max(1));
    let mut kernels = Vec::with_capacity(batch.div_ceil(step));
    for first in (0..batch).step_by(step) {
        let count = step.min(batch - first);
        let delta = wide(&cotangent.narrow(0, first, count)?.contiguous()?)?;
        kernels.push(reached(&inner(first, count)?, &delta)?);
    }
    Tensor::cat(&kernels, 0)
}

/// Σ_t δ_t · (Σ_u (a_t·a_u) δ_u).
fn reached(inner: &Tensor, delta: &Tensor) -> Result<Tensor> {
    let (batch, d, groups, positions, width) = delta.dims5()?;
    let rows = delta.permute((0, 2, 3, 1, 4))?.contiguous()?;
    let rows = rows.reshape((batch * groups, positions, d * width))?;
    let reached = inner.matmul(&rows)?.reshape((batch, groups, positions, d, width))?;
    let reached = reached.permute((0, 3, 1, 2, 4))?.contiguous()?.reshape((batch, d, ()))?;
    delta.reshape((batch, d, ()))?.matmul(&reached.t()?)
}
