//! LpPool and GlobalLpPool: p-norms of windows and of whole planes.

use candle_core::Tensor;

use super::pooling::Geometry;
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::{WindowSum, lead_shape, sum_axes};

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("LpPool", LpPool::build), ("GlobalLpPool", GlobalLpPool::build)];

/// The order of a norm, a whole number from one on.
#[derive(Debug, Clone, Copy)]
struct Norm(f64);

impl Norm {
    fn read(setup: &Setup) -> OpResult<Self> {
        match setup.attributes.int("p", 2)? {
            p @ 1.. => Ok(Self(p as f64)),
            p => fail!("p = {p} is no norm"),
        }
    }

    /// |x|^p
    fn power(self, x: &Tensor) -> OpResult<Tensor> {
        Ok(if self.0 == 2.0 { x.sqr()? } else { x.abs()?.powf(self.0)? })
    }

    /// s^(1/p)
    fn root(self, sum: &Tensor) -> OpResult<Tensor> {
        Ok(if self.0 == 2.0 { sum.sqrt()? } else { sum.powf(1.0 / self.0)? })
    }

    /// y^(1−p), the slope of the root by the sum times p; zero where y is.
    fn root_slope(self, y: &Tensor) -> OpResult<Tensor> {
        let zero = y.eq(0.0)?;
        let safe = zero.where_cond(&y.ones_like()?, y)?;
        Ok(zero.where_cond(&y.zeros_like()?, &safe.powf(1.0 - self.0)?)?)
    }

    /// |x|^(p−1) sign x, the slope of the power by x over p.
    fn power_slope(self, x: &Tensor) -> OpResult<Tensor> {
        Ok(if self.0 == 2.0 { x.clone() } else { (x.abs()?.powf(self.0 - 1.0)? * x.sign()?)? })
    }
}

/// y = (Σ |x|^p)^(1/p) over every window.
#[derive(Debug)]
struct LpPool {
    geometry: Geometry,
    sum: WindowSum,
    norm: Norm,
}

impl LpPool {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let (geometry, norm) = (Geometry::read(setup)?, Norm::read(setup)?);
        let sum = WindowSum::new(&geometry.window);
        Ok(Box::new(Self { geometry, sum, norm }))
    }
}

impl Operator for LpPool {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let planes = self.geometry.planes(&self.norm.power(x)?)?;
        let norms = self.norm.root(&self.sum.apply(&planes)?)?;
        Ok(self.geometry.finish(&norms, x.dims()[0])?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let rows = sweep.batch * sweep.width;
        let slope = self.norm.root_slope(&sweep.outputs[0])?;
        let share = sweep.times(sweep.cotangent()?, &slope)?;
        let shape = (rows * self.geometry.planes, 1, self.geometry.window.out_count());
        let back = self.sum.spread(&share.reshape(shape)?)?;
        let back = back.reshape(lead_shape(rows, sweep.shape(0)?))?;
        Ok(vec![Some(sweep.times(&back, &self.norm.power_slope(sweep.input(0)?)?)?)])
    }
}

/// y = (Σ |x|^p)^(1/p) over all spatial axes.
#[derive(Debug)]
struct GlobalLpPool {
    norm: Norm,
    axes: Vec<usize>,
}

impl GlobalLpPool {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let rank = setup.shape(0)?.len();
        if rank < 3 {
            fail!("a global pool needs at least three axes but got {:?}", setup.shape(0)?);
        }
        Ok(Box::new(Self { norm: Norm::read(setup)?, axes: (3..=rank).collect() }))
    }
}

impl Operator for GlobalLpPool {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let sum = sum_axes(&self.norm.power(required(inputs, 0)?)?, &self.axes)?;
        Ok(self.norm.root(&sum)?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let rows = sweep.batch * sweep.width;
        let slope = self.norm.root_slope(&sweep.outputs[0])?;
        let share = sweep.times(sweep.cotangent()?, &slope)?;
        let share = share.broadcast_as(lead_shape(rows, sweep.shape(0)?))?.contiguous()?;
        Ok(vec![Some(sweep.times(&share, &self.norm.power_slope(sweep.input(0)?)?)?)])
    }
}
