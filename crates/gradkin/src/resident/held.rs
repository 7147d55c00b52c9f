//! How a component's features lie on the device: in arrays of all examples of a block, so that a range
//! of examples is a slice and one matrix product serves many pairs.

use gradkin_network::candle_core::{DType, Device, Tensor};
use gradkin_network::{Factor, FactorShape};

use super::swept::mismatch;
use crate::error::Result;
use crate::plan::{Form, Planned};

/// A component's features. `rows` is one where traces are wanted, whose outputs then stand side by side in
/// `k` and `q`; it is d where matrices are.
pub(super) enum Held {
    /// Gradients `[N, rows, k]`.
    Dense(Tensor),
    /// a `[G, N, T, p]` and δ `[G, N, rows, T, q]`.
    Factored { input: Tensor, delta: Tensor },
    /// Row numbers `[1, N, T]` and δ `[1, N, rows, T, q]`.
    Rows { index: Tensor, delta: Tensor },
}

/// What decides the shapes of arrays, beside the components.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// d.
    pub(super) outputs: usize,
    pub(super) rows: usize,
}

impl Frame {
    /// Outputs that stand side by side.
    fn beside(self) -> usize {
        self.outputs / self.rows
    }
}

impl Held {
    /// Room for so many examples.
    pub(super) fn zeros(
        planned: &Planned,
        frame: Frame,
        count: usize,
        (dtype, device): (DType, &Device),
    ) -> Result<Self> {
        let (rows, beside) = (frame.rows, frame.beside());
        let floats = |shape: &[usize]| Tensor::zeros(shape, dtype, device);
        let delta = |groups: usize, positions: usize, width: usize| {
            floats(&[groups, count, rows, positions, beside * width])
        };
        Ok(match (planned.shape, planned.form) {
            (FactorShape::Outer { groups, positions, input, cotangent, .. }, Form::Factored) => {
                Self::Factored {
                    input: floats(&[groups, count, positions, input])?,
                    delta: delta(groups, positions, cotangent)?,
                }
            }
            (FactorShape::Rows { positions, width, .. }, Form::Rows) => Self::Rows {
                index: Tensor::zeros((1, count, positions), DType::I64, device)?,
                delta: delta(1, positions, width)?,
            },
            (shape, _) => Self::Dense(floats(&[count, rows, beside * shape.weights()])?),
        })
    }

    /// Lay a micro-batch down whose first example is number `at` of the block.
    pub(super) fn place(&self, factor: &Factor, frame: Frame, at: usize) -> Result<()> {
        match (self, factor) {
            (Self::Dense(all), Factor::Dense(gradient)) => {
                let (_, rows, k) = all.dims3()?;
                let gradient = gradient.contiguous()?.reshape(((), rows, k))?;
                all.slice_set(&gradient, 0, at)?;
            }
            (Self::Factored { input, delta }, Factor::Outer { input: a, cotangent, .. }) => {
                input.slice_set(&a.transpose(0, 1)?.contiguous()?, 1, at)?;
                delta.slice_set(&arranged(cotangent, frame)?, 1, at)?;
            }
            (Self::Rows { index, delta }, Factor::Rows { index: rows, cotangent, .. }) => {
                index.slice_set(&rows.contiguous()?.unsqueeze(0)?, 1, at)?;
                delta.slice_set(&arranged(&cotangent.unsqueeze(2)?, frame)?, 1, at)?;
            }
            _ => return Err(mismatch()),
        }
        Ok(())
    }
}

/// δ `[B, d, G, T, q]` as `[G, B, rows, T, d/rows·q]`.
fn arranged(cotangent: &Tensor, frame: Frame) -> Result<Tensor> {
    let (batch, outputs, groups, positions, width) = cotangent.dims5()?;
    if frame.rows == 1 {
        let delta = cotangent.permute((2, 0, 3, 1, 4))?.contiguous()?;
        return Ok(delta.reshape((groups, batch, 1, positions, outputs * width))?);
    }
    Ok(cotangent.permute((2, 0, 1, 3, 4))?.contiguous()?)
}
