//! QuantizeLinear and DequantizeLinear: floats as whole numbers on a grid, q = round(x / s) + z, and
//! back, x ≈ (q − z) · s.
//!
//! The scale s and zero point z hold for the whole tensor, for one index of an axis, or for blocks
//! along an axis. Stored weights that are quantised are dequantised once while the graph is built.
//! They are no parameters: a whole number has no gradient. Rounding is flat almost everywhere, so a
//! gradient by parameters before a QuantizeLinear would be nought by rounding alone, and is refused.

use candle_core::{DType, Device, Tensor};

use super::arithmetic::round_half_even;
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::onnx::Width;
use crate::tensor::{axis_of, lead_shape, sum_axes};

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("QuantizeLinear", Quantize::build), ("DequantizeLinear", Dequantize::build)];

/// How scale and zero point spread over the tensor.
#[derive(Debug)]
enum Spread {
    /// One for all.
    Whole,
    /// One per index of an axis, which counts without the leading one.
    Axis(usize),
    /// One per block of indices along an axis: which block each index falls into.
    Blocks { axis: usize, index: Tensor },
}

/// The grid of a tensor.
#[derive(Debug)]
struct Grid {
    rank: usize,
    spread: Spread,
}

impl Grid {
    fn new(setup: &Setup) -> OpResult<Self> {
        let (x, scale) = (setup.shape(0)?, setup.shape(1)?);
        if setup.has(2) && setup.shape(2)? != scale {
            fail!("the zero point has shape {:?} but the scale {scale:?}", setup.shape(2)?);
        }
        let block = setup.attributes.int("block_size", 0)?;
        let rank = x.len();
        let spread = if scale.is_empty() || (scale == [1] && block == 0) {
            Spread::Whole
        } else {
            let axis = axis_of(setup.attributes.int("axis", 1)?, rank)?;
            if block == 0 {
                if scale != [x[axis]] {
                    fail!("a scale of shape {scale:?} does not fit axis {axis} of {x:?}");
                }
                Spread::Axis(axis)
            } else {
                Self::blocks(x, scale, axis, block)?
            }
        };
        Ok(Self { rank, spread })
    }

    fn blocks(x: &[usize], scale: &[usize], axis: usize, block: i64) -> OpResult<Spread> {
        let Some(size) = usize::try_from(block).ok().filter(|size| *size > 0) else {
            fail!("a block of {block} is impossible");
        };
        let mut wanted = x.to_vec();
        wanted[axis] = x[axis].div_ceil(size);
        if scale != wanted {
            fail!(
                "blocks of {size} along axis {axis} of {x:?} need scales of shape {wanted:?}, not {scale:?}"
            );
        }
        let index: Vec<u32> = (0..x[axis]).map(|at| (at / size) as u32).collect();
        Ok(Spread::Blocks { axis, index: Tensor::from_vec(index, x[axis], &Device::Cpu)? })
    }

    /// A scale or zero point in a shape that broadcasts to the tensor's.
    fn over(&self, grid: &Tensor) -> OpResult<Tensor> {
        let lead = grid.dims()[0];
        let mut shape = vec![1; self.rank];
        Ok(match &self.spread {
            Spread::Whole => grid.reshape(lead_shape(lead, &shape))?,
            Spread::Axis(axis) => {
                shape[*axis] = grid.dims()[1];
                grid.reshape(lead_shape(lead, &shape))?
            }
            Spread::Blocks { axis, index } => grid.contiguous()?.index_select(index, axis + 1)?,
        })
    }

    /// The other way: what a cotangent `[N, *x]` gives for the scale, of shape `[N, *scale]`.
    fn gathered(&self, cotangent: &Tensor, scale: &[usize]) -> OpResult<Tensor> {
        let kept = match &self.spread {
            Spread::Whole => None,
            Spread::Axis(axis) => Some(*axis),
            Spread::Blocks { axis, index } => {
                let shape = lead_shape(cotangent.dims()[0], scale);
                let zeros = Tensor::zeros(shape, cotangent.dtype(), cotangent.device())?;
                return Ok(zeros.index_add(index, &cotangent.contiguous()?, axis + 1)?);
            }
        };
        let axes: Vec<usize> =
            (0..self.rank).filter(|axis| Some(*axis) != kept).map(|axis| axis + 1).collect();
        Ok(sum_axes(cotangent, &axes)?.reshape(lead_shape(cotangent.dims()[0], scale))?)
    }
}

/// Floats to whole numbers, halves to the even one, cut to the range of the integer type.
#[derive(Debug)]
struct Quantize {
    grid: Grid,
    range: (f64, f64),
}

impl Quantize {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let asked = setup.attributes.int("output_dtype", 0)?;
        let width = if setup.has(2) {
            // The result has the type of the zero point. Only stored tensors and what was cast have
            // a known one.
            setup.operand(2)?.width
        } else if asked == 0 {
            Some(Width::Unsigned(8))
        } else {
            Width::of_code(asked)
        };
        let Some(width) = width else {
            fail!(
                "the zero point must be a constant of an integer type, or output_dtype ({asked}) one"
            );
        };
        Ok(Box::new(Self { grid: Grid::new(setup)?, range: width.range() }))
    }
}

impl Operator for Quantize {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let (x, scale) = (required(inputs, 0)?, required(inputs, 1)?);
        let scale = self.grid.over(&scale.to_dtype(x.dtype())?)?;
        let steps = round_half_even(&x.broadcast_div(&scale)?)?;
        let steps = match inputs.get(2).copied().flatten() {
            Some(zero) => steps.broadcast_add(&self.grid.over(&zero.to_dtype(x.dtype())?)?)?,
            None => steps,
        };
        Ok(steps.clamp(self.range.0, self.range.1)?.to_dtype(DType::I64)?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        Ok(vec![None; sweep.inputs.len()])
    }

    fn refuses_gradient(&self) -> Option<&'static str> {
        Some(
            "rounding is flat almost everywhere, so that no gradient by the parameters before this \
             node comes through it; export the network before its activations are quantised, or \
             choose parameters that come after the node",
        )
    }
}

/// Whole numbers to floats.
#[derive(Debug)]
struct Dequantize {
    grid: Grid,
    float: DType,
}

impl Dequantize {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        if setup.operand(0)?.dtype.is_float() {
            fail!("the operator takes whole numbers, but its first input holds floats");
        }
        Ok(Box::new(Self { grid: Grid::new(setup)?, float: setup.float }))
    }

    /// q − z
    fn steps(&self, inputs: &Inputs) -> OpResult<Tensor> {
        let q = required(inputs, 0)?.to_dtype(self.float)?;
        Ok(match inputs.get(2).copied().flatten() {
            Some(zero) => q.broadcast_sub(&self.grid.over(&zero.to_dtype(self.float)?)?)?,
            None => q,
        })
    }
}

impl Operator for Dequantize {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let scale = required(inputs, 1)?.to_dtype(self.float)?;
        Ok(self.steps(inputs)?.broadcast_mul(&self.grid.over(&scale)?)?.into())
    }

    /// Only a scale that is computed from parameters has a gradient: δ · (q − z), summed.
    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let mut result = vec![None; sweep.inputs.len()];
        if sweep.wants(1) {
            let share = sweep.times(sweep.cotangent()?, &self.steps(sweep.inputs)?)?;
            result[1] = Some(self.grid.gathered(&share, sweep.shape(1)?)?);
        }
        Ok(result)
    }
}
