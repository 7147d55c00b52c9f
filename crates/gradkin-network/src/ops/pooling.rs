//! MaxPool and AveragePool. The global pools are reductions.

use candle_core::{DType, Tensor};

use super::second::{Ascended, Second};
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::{
    Window, WindowSum, checked_count, lead_shape, max_windows, spread_max, with_rank,
};

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("MaxPool", MaxPool::build), ("AveragePool", AveragePool::build)];

/// The window of a pool, and the shape of its input as `[images·channels, 1, *spatial]`.
#[derive(Debug)]
pub(super) struct Geometry {
    pub(super) window: Window,
    /// Planes of one example.
    pub(super) planes: usize,
    out_shape: Vec<usize>,
}

impl Geometry {
    pub(super) fn read(setup: &Setup) -> OpResult<Self> {
        let x = setup.shape(0)?;
        if x.len() < 3 {
            fail!("pooling needs at least three axes but got shape {x:?}");
        }
        let window = Window::read(setup.attributes, &x[2..], None)?;
        if window
            .axes
            .iter()
            .any(|a| a.before >= a.kernel * a.dilation || a.after >= a.kernel * a.dilation)
        {
            fail!("the padding is wider than the kernel");
        }
        // The windows written out, which every pool goes through.
        checked_count(&[x[0], x[1], window.kernel_count(), window.out_count()])?;
        let mut out_shape = x[..2].to_vec();
        out_shape.extend(window.out_shape());
        Ok(Self { window, planes: x[0] * x[1], out_shape })
    }

    pub(super) fn planes(&self, x: &Tensor) -> OpResult<Tensor> {
        let mut shape = vec![x.dims()[0] * self.planes, 1];
        shape.extend(self.window.in_shape());
        Ok(x.contiguous()?.reshape(shape)?)
    }

    pub(super) fn finish(&self, pooled: &Tensor, lead: usize) -> OpResult<Tensor> {
        Ok(pooled.reshape(lead_shape(lead, &self.out_shape))?)
    }
}

/// The largest element of every window, and where in the example it was.
#[derive(Debug)]
struct MaxPool {
    geometry: Geometry,
    /// Whether the second output is asked for.
    indices: bool,
    /// Whether positions count the first spatial axis fastest.
    column_major: bool,
}

impl MaxPool {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        Ok(Box::new(Self {
            geometry: Geometry::read(setup)?,
            indices: setup.outputs > 1,
            column_major: setup.attributes.int("storage_order", 0)? != 0,
        }))
    }

    /// Positions within planes `[L, planes, out]` as positions within the example.
    fn positions(&self, at: &Tensor) -> OpResult<Tensor> {
        let mut at = at.to_dtype(DType::I64)?;
        if self.column_major {
            at = self.columns_first(&at)?;
        }
        let planes = self.geometry.planes as i64;
        let first = Tensor::arange(0i64, planes, at.device())?.reshape((1, planes as usize, 1))?;
        let first = (first * self.geometry.window.in_count() as f64)?;
        self.geometry.finish(&at.broadcast_add(&first)?, at.dims()[0])
    }

    fn columns_first(&self, at: &Tensor) -> OpResult<Tensor> {
        let shape = self.geometry.window.in_shape();
        let moved = |at: i64| {
            let (mut rest, mut stride) = (at, self.geometry.window.in_count() as i64);
            let mut moved = 0;
            for size in shape.iter().rev().map(|size| *size as i64) {
                stride /= size.max(1);
                moved += rest % size.max(1) * stride;
                rest /= size.max(1);
            }
            moved
        };
        let values = at.flatten_all()?.to_vec1::<i64>()?;
        let values: Vec<i64> = values.into_iter().map(moved).collect();
        Ok(Tensor::from_vec(values, at.shape(), at.device())?)
    }
}

impl Operator for MaxPool {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let planes = self.geometry.planes(x)?;
        let at = max_windows(&planes, &self.geometry.window)?;
        let flat = planes.reshape((planes.dims()[0], 1, self.geometry.window.in_count()))?;
        let y = self.geometry.finish(&flat.gather(&at, 2)?, x.dims()[0])?;
        let at =
            at.reshape((x.dims()[0], self.geometry.planes, self.geometry.window.out_count()))?;
        let mut outputs = vec![y];
        if self.indices {
            outputs.push(self.positions(&at)?);
        }
        Ok(Forward { outputs, saved: vec![at] })
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let rows = sweep.batch * sweep.width;
        let (planes, out) = (self.geometry.planes, self.geometry.window.out_count());
        let cotangent = sweep.cotangent()?.reshape((rows, planes, out))?;
        let at = with_rank(&sweep.saved[0], 2)?.broadcast_as((sweep.batch, planes, out))?;
        let back = spread_max(&cotangent, &at, self.geometry.window.in_count())?;
        Ok(vec![Some(back.reshape(lead_shape(rows, sweep.shape(0)?))?)])
    }

    /// Cotangents were sent to where the maxima are; their derivatives are fetched from there.
    fn second(&self, second: &Second) -> OpResult<Option<Ascended>> {
        let Some(adjoint) = second.adjoint(0) else {
            return Ok(Some(Ascended::through(None, 1)));
        };
        let (batch, width) = (second.reverse.batch, second.reverse.width);
        let (planes, out) = (self.geometry.planes, self.geometry.window.out_count());
        let at = with_rank(&second.reverse.saved[0], 2)?.unsqueeze(1)?;
        let at = at.broadcast_as((batch, width, planes, out))?.contiguous()?;
        let size = self.geometry.window.in_count();
        let adjoint = adjoint.contiguous()?.reshape((batch, width, planes, size))?;
        let picked = self.geometry.finish(&adjoint.gather(&at, 3)?, batch * width)?;
        Ok(Some(Ascended::through(Some(picked), 1)))
    }
}

/// The mean of every window, padding counted or not.
#[derive(Debug)]
struct AveragePool {
    geometry: Geometry,
    sum: WindowSum,
    /// One over the number of elements that count, per window.
    weights: Vec<f64>,
}

impl AveragePool {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let geometry = Geometry::read(setup)?;
        let padding = setup.attributes.int("count_include_pad", 0)? != 0;
        let mut weights = vec![1.0];
        for axis in &geometry.window.axes {
            let counted = |o: usize| {
                let padded = axis.size + axis.before + axis.after;
                let inside = |k: &usize| {
                    let at = o * axis.stride + k * axis.dilation;
                    // A last window that ceil_mode lets hang over counts only what lies on
                    // data or declared padding.
                    if padding { at < padded } else { axis.position(o, *k).is_some() }
                };
                (0..axis.kernel).filter(inside).count().max(1) as f64
            };
            weights =
                weights.iter().flat_map(|w| (0..axis.out).map(move |o| w / counted(o))).collect();
        }
        let sum = WindowSum::new(&geometry.window);
        Ok(Box::new(Self { geometry, sum, weights }))
    }

    fn weights(&self, like: &Tensor) -> OpResult<Tensor> {
        let weights = Tensor::from_slice(&self.weights, (1, 1, self.weights.len()), like.device())?;
        Ok(weights.to_dtype(like.dtype())?)
    }
}

impl Operator for AveragePool {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let sum = self.sum.apply(&self.geometry.planes(x)?)?;
        let mean = sum.broadcast_mul(&self.weights(x)?)?;
        Ok(self.geometry.finish(&mean, x.dims()[0])?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let rows = sweep.batch * sweep.width;
        let shape = (rows * self.geometry.planes, 1, self.geometry.window.out_count());
        let cotangent = sweep.cotangent()?.reshape(shape)?;
        let back = self.sum.spread(&cotangent.broadcast_mul(&self.weights(&cotangent)?)?)?;
        Ok(vec![Some(back.reshape(lead_shape(rows, sweep.shape(0)?))?)])
    }

    fn is_linear(&self) -> bool {
        true
    }
}
