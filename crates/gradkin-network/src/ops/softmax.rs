//! Softmax and LogSoftmax. Up to opset 12 they run over all axes from `axis` on, later over one.

use candle_core::Tensor;

use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::OpResult;
use crate::tensor::functions;
use crate::tensor::rows::Cut;
use crate::tensor::{axis_of, softmax_back, sum_along};

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("Softmax", |s| Softmax::build(s, false)), ("LogSoftmax", |s| Softmax::build(s, true))];

/// p = e^x / Σ e^x over rows of `[outer, size, inner]`, or its logarithm.
#[derive(Debug)]
struct Softmax {
    log: bool,
    outer: usize,
    size: usize,
    inner: usize,
}

impl Softmax {
    fn build(setup: &Setup, log: bool) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let flatten = setup.opset < 13;
        let axis = setup.attributes.int("axis", if flatten { 1 } else { -1 })?;
        // The old form may name the axis behind the last one, which leaves rows of one.
        let axis = if flatten && axis == shape.len() as i64 {
            shape.len()
        } else {
            axis_of(axis, shape.len())?
        };
        let outer = shape[..axis].iter().product();
        let (size, inner) = if flatten {
            (shape[axis..].iter().product(), 1)
        } else {
            (shape[axis], shape[axis + 1..].iter().product())
        };
        Ok(Box::new(Self { log, outer, size, inner }))
    }

    /// `[L, *]` → `[L·outer, size, inner]`.
    fn rows(&self, x: &Tensor) -> OpResult<Tensor> {
        let lead = x.dims()[0] * self.outer;
        Ok(x.contiguous()?.reshape((lead, self.size, self.inner))?)
    }
}

impl Operator for Softmax {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        if !self.log
            && self.inner == 1
            && let Some(y) = functions::softmax(x, self.size)?
        {
            return Ok(y.into());
        }
        let rows = self.rows(x)?;
        let shifted = rows.broadcast_sub(&rows.max_keepdim(1)?)?;
        let exp = functions::exp(&shifted)?;
        let total = sum_along(&exp, 1)?;
        let y = if self.log {
            shifted.broadcast_sub(&total.log()?)?
        } else {
            exp.broadcast_div(&total)?
        };
        Ok(y.reshape(x.shape())?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let cotangent = sweep.cotangent()?;
        let y = &sweep.outputs[0];
        let back = if self.log {
            // dx = δ − p Σ δ
            let total = sum_along(&self.rows(cotangent)?, 1)?;
            let rows = self.rows(cotangent)?;
            let total = total.broadcast_as(rows.shape())?.reshape(cotangent.shape())?;
            (cotangent - sweep.times(&total, &functions::exp(y)?)?)?
        } else {
            // dx = p (δ − Σ p δ)
            if self.inner == 1
                && let Some(cut) = Cut::alone(self.outer, self.size, &[cotangent, y])
            {
                let back = softmax_back(cotangent, sweep.meets(y), cut)?;
                return Ok(vec![Some(back)]);
            }
            let weighted = sweep.times(cotangent, y)?;
            let rows = self.rows(&weighted)?;
            let total = sum_along(&rows, 1)?.broadcast_as(rows.shape())?;
            let total = total.reshape(cotangent.shape())?;
            (weighted - sweep.times(&total, y)?)?
        };
        Ok(vec![Some(back)])
    }
}
