//! CumSum: running sums along an axis.

use candle_core::Tensor;

use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::axis_of;

pub(super) const OPERATORS: &[(&str, Build)] = &[("CumSum", CumSum::build)];

/// y_i = Σ_{j ≤ i} x_j; without x_i where `exclusive`, from the end where `reverse`.
#[derive(Debug)]
struct CumSum {
    axis: usize,
    exclusive: bool,
    reverse: bool,
}

impl CumSum {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let Some(&[axis]) = setup.constant_ints(1)?.as_deref() else {
            fail!("the axis must be one number")
        };
        let axis = axis_of(axis, setup.shape(0)?.len())? + 1;
        let exclusive = setup.attributes.int("exclusive", 0)? != 0;
        let reverse = setup.attributes.int("reverse", 0)? != 0;
        Ok(Box::new(Self { axis, exclusive, reverse }))
    }

    fn sums(&self, x: &Tensor, from_end: bool) -> OpResult<Tensor> {
        let size = x.dims()[self.axis];
        if size == 0 {
            return Ok(x.clone());
        }
        let mut total = x.narrow(self.axis, 0, 1)?.zeros_like()?;
        let mut parts = Vec::with_capacity(size);
        for step in 0..size {
            let at = if from_end { size - 1 - step } else { step };
            let next = (&total + x.narrow(self.axis, at, 1)?)?;
            parts.push(if self.exclusive { total } else { next.clone() });
            total = next;
        }
        if from_end {
            parts.reverse();
        }
        Ok(Tensor::cat(&parts, self.axis)?)
    }
}

impl Operator for CumSum {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        Ok(self.sums(required(inputs, 0)?, self.reverse)?.into())
    }

    /// The transpose runs from the other end.
    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.sums(sweep.cotangent()?, !self.reverse)?), None])
    }
}
