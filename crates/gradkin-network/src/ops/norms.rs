//! Normalisations without parameters: LpNormalization, LRN, MeanVarianceNormalization.

use candle_core::Tensor;

use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::{axis_of, sum_axes};

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("LpNormalization", LpNormalization::build),
    ("LRN", Response::build),
    ("MeanVarianceNormalization", MeanVariance::build),
];

/// A tensor with ones where it is zero, so that it can divide.
fn nonzero(x: &Tensor) -> OpResult<Tensor> {
    Ok(x.eq(0.0)?.where_cond(&x.ones_like()?, x)?)
}

/// y = x / ‖x‖_p along an axis, p one or two; zero where the norm is.
#[derive(Debug)]
struct LpNormalization {
    axis: usize,
    squared: bool,
}

impl LpNormalization {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let axis = axis_of(setup.attributes.int("axis", -1)?, setup.shape(0)?.len())? + 1;
        let squared = match setup.attributes.int("p", 2)? {
            1 => false,
            2 => true,
            other => fail!("p = {other}; only the norms 1 and 2 are defined"),
        };
        Ok(Box::new(Self { axis, squared }))
    }

    fn norm(&self, x: &Tensor) -> OpResult<Tensor> {
        let norm = if self.squared {
            sum_axes(&x.sqr()?, &[self.axis])?.sqrt()?
        } else {
            sum_axes(&x.abs()?, &[self.axis])?
        };
        nonzero(&norm)
    }
}

impl Operator for LpNormalization {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        Ok(x.broadcast_div(&self.norm(x)?)?.into())
    }

    /// dx = (δ − g Σ δ y) / ‖x‖ with g = y for p = 2 and sign x for p = 1.
    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let (x, y) = (sweep.input(0)?, &sweep.outputs[0]);
        let cotangent = sweep.cotangent()?;
        let along = sum_axes(&sweep.times(cotangent, y)?, &[self.axis])?;
        let along = along.broadcast_as(cotangent.shape())?.contiguous()?;
        let slope = if self.squared { y.clone() } else { x.sign()? };
        let centred = (cotangent - sweep.times(&along, &slope)?)?;
        Ok(vec![Some(sweep.times(&centred, &self.norm(x)?.recip()?)?)])
    }
}

/// y = x · s^−β with s = bias + α/size · Σ x² over neighbouring channels.
#[derive(Debug)]
struct Response {
    alpha: f64,
    beta: f64,
    bias: f64,
    /// How many channels before and behind count.
    reach: (usize, usize),
}

impl Response {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let size = setup.attributes.int("size", 0)?;
        if shape.len() < 2 || size < 1 {
            fail!("a size of {size} and shape {shape:?}");
        }
        let most = shape[1].saturating_sub(1);
        let reach = |n: i64| usize::try_from(n).unwrap_or(0).min(most);
        Ok(Box::new(Self {
            alpha: setup.attributes.float("alpha", 1e-4)? / size as f64,
            beta: setup.attributes.float("beta", 0.75)?,
            bias: setup.attributes.float("bias", 1.0)?,
            reach: (reach((size - 1) / 2), reach(size / 2)),
        }))
    }

    /// Each channel's sum over its neighbours, `before` in front and `behind` after it.
    fn window(x: &Tensor, (before, behind): (usize, usize)) -> OpResult<Tensor> {
        let size = x.dims()[2];
        let mut total = x.clone();
        for step in 1..=before.max(behind) {
            if step <= behind {
                let shifted = x.narrow(2, step, size - step)?.pad_with_zeros(2, 0, step)?;
                total = (total + shifted)?;
            }
            if step <= before {
                let shifted = x.narrow(2, 0, size - step)?.pad_with_zeros(2, step, 0)?;
                total = (total + shifted)?;
            }
        }
        Ok(total)
    }

    fn scale(&self, x: &Tensor) -> OpResult<Tensor> {
        Ok(Self::window(&x.sqr()?, self.reach)?.affine(self.alpha, self.bias)?)
    }
}

impl Operator for Response {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        Ok((x * self.scale(x)?.powf(-self.beta)?)?.into())
    }

    /// dx = δ s^−β − 2 α/size β · x · Wᵀ(δ x s^(−β−1)), W the sum over neighbours.
    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let (x, cotangent) = (sweep.input(0)?, sweep.cotangent()?);
        let scale = self.scale(x)?;
        let direct = sweep.times(cotangent, &scale.powf(-self.beta)?)?;
        let through = sweep.times(cotangent, &(x * scale.powf(-self.beta - 1.0)?)?)?;
        let through = Self::window(&through, (self.reach.1, self.reach.0))?;
        let through = sweep.times(&through, &(x * (-2.0 * self.alpha * self.beta))?)?;
        Ok(vec![Some((direct + through)?)])
    }
}

/// y = (x − mean) / (deviation + 10⁻⁹) over axes.
#[derive(Debug)]
struct MeanVariance {
    axes: Vec<usize>,
    count: f64,
}

impl MeanVariance {
    const EPSILON: f64 = 1e-9;

    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let axes = setup.attributes.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
        let mut axes =
            axes.iter().map(|a| axis_of(*a, shape.len())).collect::<OpResult<Vec<_>>>()?;
        axes.sort_unstable();
        axes.dedup();
        let count = axes.iter().map(|axis| shape[*axis]).product::<usize>() as f64;
        axes.iter_mut().for_each(|axis| *axis += 1);
        Ok(Box::new(Self { axes, count }))
    }

    fn mean(&self, x: &Tensor) -> OpResult<Tensor> {
        Ok((sum_axes(x, &self.axes)? / self.count)?)
    }

    /// The centred input and the deviation.
    fn moments(&self, x: &Tensor) -> OpResult<(Tensor, Tensor)> {
        let centred = x.broadcast_sub(&self.mean(x)?)?;
        let deviation = self.mean(&centred.sqr()?)?.sqrt()?;
        Ok((centred, deviation))
    }
}

impl Operator for MeanVariance {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let (centred, deviation) = self.moments(required(inputs, 0)?)?;
        Ok(centred.broadcast_div(&(deviation + Self::EPSILON)?)?.into())
    }

    /// dx = g (δ − mean δ) − g² c / s · mean(δ c) with c centred, s the deviation, g = 1 / (s + ε).
    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let (centred, deviation) = self.moments(sweep.input(0)?)?;
        let cotangent = sweep.cotangent()?;
        let inverse = (&deviation + Self::EPSILON)?.recip()?;
        let flat = sweep.times(&cotangent.broadcast_sub(&self.mean(cotangent)?)?, &inverse)?;
        let along = self.mean(&sweep.times(cotangent, &centred)?)?;
        let along = along.broadcast_as(cotangent.shape())?.contiguous()?;
        let curve = centred.broadcast_div(&nonzero(&deviation)?)?;
        let curve = sweep.times(&along, &curve.broadcast_mul(&inverse.sqr()?)?)?;
        Ok(vec![Some((flat - curve)?)])
    }
}
