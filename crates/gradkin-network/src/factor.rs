//! What the reverse sweep hands out for one parameter: its gradient for every example and output,
//! in the form in which the network produced it.
//!
//! A gradient is rarely worth writing down. For a linear map, a convolution or an embedding it is a
//! short sum of outer products Σ_t δ_t ⊗ a_t; only biases, scales and the like come as plain arrays.

use candle_core::{Device, Tensor};

/// Which side of Σ_t δ_t ⊗ a_t indexes the rows of the stored weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The weight is stored `[a, δ]`, as in `x · W`.
    InputFirst,
    /// The weight is stored `[δ, a]`, as in `W · x` and in convolutions.
    CotangentFirst,
}

/// The shape of a [`Factor`], known before anything is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactorShape {
    /// The gradient itself: `len` numbers per example and output.
    Dense {
        /// Number of weights.
        len: usize,
    },
    /// Σ_t δ_t ⊗ a_t in each of `groups` blocks of the weight.
    Outer {
        /// Blocks of the weight that never meet (the groups of a convolution).
        groups: usize,
        /// Terms of the sum: time steps, pixels, or one.
        positions: usize,
        /// Length of a.
        input: usize,
        /// Length of δ.
        cotangent: usize,
        /// Which of the two indexes the rows of the stored weight.
        order: Order,
    },
    /// Σ_t e_{index t} ⊗ δ_t: rows of a table of embeddings.
    Rows {
        /// Number of look-ups per example.
        positions: usize,
        /// Rows of the table.
        rows: usize,
        /// Length of a row.
        width: usize,
    },
}

impl FactorShape {
    /// Number of weights that the factor covers.
    pub fn weights(&self) -> usize {
        match *self {
            Self::Dense { len } => len,
            Self::Outer { groups, input, cotangent, .. } => groups * input * cotangent,
            Self::Rows { rows, width, .. } => rows * width,
        }
    }

    /// Terms of the sum per example; one for a gradient written out.
    pub fn positions(&self) -> usize {
        match *self {
            Self::Dense { .. } => 1,
            Self::Outer { positions, .. } | Self::Rows { positions, .. } => positions,
        }
    }

    /// Numbers per example that the factor itself holds for `outputs` outputs.
    pub fn numbers(&self, outputs: usize) -> usize {
        match *self {
            Self::Dense { len } => outputs * len,
            Self::Outer { groups, positions, input, cotangent, .. } => {
                groups * positions * (input + outputs * cotangent)
            }
            Self::Rows { positions, width, .. } => positions * (1 + outputs * width),
        }
    }
}

/// The gradients of one piece of a parameter for a batch of `B` examples and `d` outputs.
#[derive(Debug, Clone)]
pub enum Factor {
    /// `[B, d, len]`.
    Dense(Tensor),
    /// Gradient of group g: Σ_t δ_t ⊗ a_t. The tensors may be strided views.
    Outer {
        /// a: `[B, groups, positions, input]`.
        input: Tensor,
        /// δ: `[B, d, groups, positions, cotangent]`.
        cotangent: Tensor,
        /// Which of the two indexes the rows of the stored weight.
        order: Order,
    },
    /// Row `index[b, t]` of the table receives δ_t.
    Rows {
        /// `[B, positions]`, i64.
        index: Tensor,
        /// δ: `[B, d, positions, width]`.
        cotangent: Tensor,
        /// Rows of the table.
        rows: usize,
    },
}

impl Factor {
    /// The same in the memory of a device.
    pub(crate) fn to_device(&self, device: &Device) -> candle_core::Result<Self> {
        Ok(match self {
            Self::Dense(gradient) => Self::Dense(gradient.to_device(device)?),
            Self::Outer { input, cotangent, order } => {
                let (input, cotangent) = (input.to_device(device)?, cotangent.to_device(device)?);
                Self::Outer { input, cotangent, order: *order }
            }
            Self::Rows { index, cotangent, rows } => {
                let (index, cotangent) = (index.to_device(device)?, cotangent.to_device(device)?);
                Self::Rows { index, cotangent, rows: *rows }
            }
        })
    }

    /// The same, written out.
    pub(crate) fn written(&self) -> candle_core::Result<Self> {
        Ok(Self::Dense(self.to_dense()?))
    }

    /// The gradient written out: `[B, d, weights]`, weights in their stored order.
    pub fn to_dense(&self) -> candle_core::Result<Tensor> {
        match self {
            Self::Dense(gradient) => Ok(gradient.clone()),
            Self::Outer { input, cotangent, order } => {
                let (batch, outputs, groups, positions, rows) = cotangent.dims5()?;
                let columns = input.dims()[3];
                // [B, G, d·q, T] × [B, G, T, p]: one product serves all outputs.
                let left = cotangent.permute((0, 2, 1, 4, 3))?;
                let left = left.reshape((batch, groups, outputs * rows, positions))?;
                let product = crate::tensor::product(&left, input)?;
                let product = product.reshape((batch, groups, outputs, rows, columns))?;
                let stored = match order {
                    Order::CotangentFirst => product.transpose(1, 2)?,
                    Order::InputFirst => product.permute((0, 2, 1, 4, 3))?,
                };
                stored.reshape((batch, outputs, groups * rows * columns))
            }
            Self::Rows { index, cotangent, rows } => {
                let (batch, outputs, positions, width) = cotangent.dims4()?;
                let flat = cotangent.reshape((batch * outputs, positions, width))?;
                let index = index.unsqueeze(1)?.broadcast_as((batch, outputs, positions))?;
                let index = index.reshape((batch * outputs, positions))?;
                let table = crate::tensor::add_rows(&flat, &index, *rows)?;
                table.reshape((batch, outputs, rows * width))
            }
        }
    }
}
