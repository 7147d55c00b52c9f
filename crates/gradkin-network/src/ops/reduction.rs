//! Reductions over axes, the global pools, and the arguments of extrema.

use candle_core::{DType, Result, Tensor};

use super::activation::mask;
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::functions::exp;
use crate::tensor::{axis_of, lead_shape, sum_axes};

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("ReduceMean", |s| Reduce::build(s, Kind::Mean)),
    ("ReduceSum", |s| Reduce::build(s, Kind::Sum)),
    ("ReduceMax", |s| Reduce::build(s, Kind::Max)),
    ("ReduceMin", |s| Reduce::build(s, Kind::Min)),
    ("ReduceSumSquare", |s| Reduce::build(s, Kind::SumSquare)),
    ("ReduceL1", |s| Reduce::build(s, Kind::L1)),
    ("ReduceL2", |s| Reduce::build(s, Kind::L2)),
    ("ReduceLogSum", |s| Reduce::build(s, Kind::LogSum)),
    ("ReduceLogSumExp", |s| Reduce::build(s, Kind::LogSumExp)),
    ("ReduceProd", |s| Reduce::build(s, Kind::Prod)),
    ("GlobalAveragePool", |s| Reduce::global(s, Kind::Mean)),
    ("GlobalMaxPool", |s| Reduce::global(s, Kind::Max)),
    ("ArgMax", |s| Argument::build(s, true)),
    ("ArgMin", |s| Argument::build(s, false)),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Mean,
    Sum,
    Max,
    Min,
    SumSquare,
    L1,
    L2,
    LogSum,
    LogSumExp,
    Prod,
}

/// Fold whole axes into one number each.
#[derive(Debug)]
struct Reduce {
    kind: Kind,
    /// Axes counted with the leading axis in front.
    axes: Vec<usize>,
    /// The input shape with the folded axes at one.
    kept: Vec<usize>,
    out: Vec<usize>,
    count: usize,
}

impl Reduce {
    fn build(setup: &Setup, kind: Kind) -> OpResult<Box<dyn Operator>> {
        let rank = setup.shape(0)?.len();
        let axes = setup.axes(1)?.unwrap_or_default();
        let nothing = setup.attributes.int("noop_with_empty_axes", 0)? != 0;
        let axes = match axes.is_empty() {
            false => axes.iter().map(|a| axis_of(*a, rank)).collect::<OpResult<Vec<_>>>()?,
            true if nothing => Vec::new(),
            true => (0..rank).collect(),
        };
        Self::over(setup, kind, axes, setup.attributes.int("keepdims", 1)? != 0)
    }

    fn global(setup: &Setup, kind: Kind) -> OpResult<Box<dyn Operator>> {
        let rank = setup.shape(0)?.len();
        if rank < 3 {
            fail!("a global pool needs at least three axes but got {:?}", setup.shape(0)?);
        }
        Self::over(setup, kind, (2..rank).collect(), true)
    }

    /// Over these axes.
    fn over(
        setup: &Setup,
        kind: Kind,
        mut axes: Vec<usize>,
        keep: bool,
    ) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        axes.sort_unstable();
        axes.dedup();
        let count: usize = axes.iter().map(|a| shape[*a]).product();
        if count == 0 && kind == Kind::Mean {
            fail!("nothing to reduce in shape {shape:?}");
        }
        let mut kept = shape.to_vec();
        axes.iter().for_each(|a| kept[*a] = 1);
        let out = if keep {
            kept.clone()
        } else {
            (0..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a]).collect()
        };
        let axes = axes.iter().map(|a| a + 1).collect();
        Ok(Box::new(Self { kind, axes, kept, out, count }))
    }

    /// Folded over no entries each kind gives its neutral element; those of Max and Min are the
    /// ends of the number line.
    fn nothing(&self, x: &Tensor) -> OpResult<Tensor> {
        let float = x.dtype().is_float();
        let value = match (self.kind, float) {
            (Kind::Max | Kind::LogSum | Kind::LogSumExp, true) => f64::NEG_INFINITY,
            (Kind::Min, true) => f64::INFINITY,
            (Kind::Max, false) if x.dtype() == DType::I64 => i64::MIN as f64,
            (Kind::Min, false) if x.dtype() == DType::I64 => i64::MAX as f64,
            (Kind::Min, false) | (Kind::Prod, _) => 1.0,
            _ => 0.0,
        };
        let shape = lead_shape(x.dims()[0], &self.kept);
        Ok(Tensor::full(value, shape, x.device())?.to_dtype(x.dtype())?)
    }

    fn fold(&self, x: &Tensor) -> OpResult<Tensor> {
        if self.count == 0 {
            return self.nothing(x);
        }
        let sum = |x: &Tensor| sum_axes(x, &self.axes);
        Ok(match self.kind {
            Kind::Sum => sum(x)?,
            Kind::Mean => (sum(x)? / self.count.max(1) as f64)?,
            Kind::SumSquare => sum(&x.mul(x)?)?,
            Kind::L1 => sum(&x.abs()?)?,
            Kind::L2 => sum(&x.mul(x)?)?.sqrt()?,
            Kind::LogSum => sum(x)?.log()?,
            Kind::Max => self.extremum(x, Tensor::max_keepdim)?,
            Kind::Min => self.extremum(x, Tensor::min_keepdim)?,
            Kind::LogSumExp => {
                let top = self.extremum(x, Tensor::max_keepdim)?;
                (sum(&exp(&x.broadcast_sub(&top)?)?)?.log()? + top)?
            }
            Kind::Prod => self.product(x)?,
        })
    }

    fn extremum(&self, x: &Tensor, fold: fn(&Tensor, usize) -> Result<Tensor>) -> OpResult<Tensor> {
        let mut y = x.contiguous()?;
        for axis in &self.axes {
            y = fold(&y, *axis)?;
        }
        Ok(y)
    }

    fn product(&self, x: &Tensor) -> OpResult<Tensor> {
        let mut y = x.clone();
        for axis in &self.axes {
            let mut total = y.narrow(*axis, 0, 1)?.contiguous()?;
            for i in 1..y.dims()[*axis] {
                total = (total * y.narrow(*axis, i, 1)?)?;
            }
            y = total;
        }
        Ok(y)
    }

    /// ∂y/∂x as a tensor that broadcasts to x, from x and y with the folded axes kept; `None` is one.
    fn slope(&self, x: &Tensor, y: &Tensor) -> Result<Option<Tensor>> {
        Ok(match self.kind {
            Kind::Sum | Kind::Mean => None,
            Kind::SumSquare => Some((x * 2.0)?),
            Kind::L1 => Some(x.sign()?),
            Kind::L2 => {
                // At the origin the norm has a kink; zero is its subgradient.
                let safe = y.eq(0.0)?.where_cond(&y.ones_like()?, y)?;
                Some(x.broadcast_div(&safe)?)
            }
            Kind::LogSum => Some(exp(&y.neg()?)?),
            Kind::LogSumExp => Some(exp(&x.broadcast_sub(y)?)?),
            Kind::Max | Kind::Min => {
                // Ties share the cotangent, as in PyTorch's amax and amin.
                let here = mask(&x.broadcast_sub(y)?, |gap| gap.eq(0.0))?;
                let ties = sum_axes(&here, &self.axes).map_err(candle_core::Error::wrap)?;
                Some(here.broadcast_div(&ties)?)
            }
            Kind::Prod => {
                // The product of the other factors: zero where one of them is.
                let own = mask(x, |x| x.eq(0.0))?;
                let safe = (x + &own)?;
                let zeros = sum_axes(&own, &self.axes).map_err(candle_core::Error::wrap)?;
                let whole = self.product(&safe).map_err(candle_core::Error::wrap)?;
                let alone = mask(&zeros.broadcast_sub(&own)?, |others| others.eq(0.0))?;
                Some((whole.broadcast_div(&safe)? * alone)?)
            }
        })
    }
}

impl Operator for Reduce {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        if self.kind == Kind::Mean && !x.dtype().is_float() {
            let mean = self.fold(&x.to_dtype(DType::F64)?)?.floor()?.to_dtype(x.dtype())?;
            return Ok(mean.reshape(lead_shape(x.dims()[0], &self.out))?.into());
        }
        Ok(self.fold(x)?.reshape(lead_shape(x.dims()[0], &self.out))?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let x = sweep.input(0)?;
        let cotangent = sweep.cotangent()?;
        let rows = sweep.batch * sweep.width;
        let mut cotangent = cotangent.reshape(lead_shape(rows, &self.kept))?;
        if self.kind == Kind::Mean {
            cotangent = (cotangent / self.count as f64)?;
        }
        let full = cotangent.broadcast_as(lead_shape(rows, sweep.shape(0)?))?.contiguous()?;
        let y = sweep.outputs[0].reshape(lead_shape(x.dims()[0], &self.kept))?;
        let back = match self.slope(x, &y)? {
            Some(slope) => sweep.times(&full, &slope)?,
            None => full,
        };
        let mut result = vec![None; sweep.inputs.len()];
        result[0] = Some(back);
        Ok(result)
    }

    fn is_linear(&self) -> bool {
        matches!(self.kind, Kind::Sum | Kind::Mean)
    }
}

/// ArgMax and ArgMin: positions, through which no gradient flows.
#[derive(Debug)]
struct Argument {
    largest: bool,
    axis: usize,
    out: Vec<usize>,
    last: bool,
}

impl Argument {
    fn build(setup: &Setup, largest: bool) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let axis = axis_of(setup.attributes.int("axis", 0)?, shape.len())?;
        let mut out = shape.to_vec();
        if setup.attributes.int("keepdims", 1)? != 0 {
            out[axis] = 1;
        } else {
            out.remove(axis);
        }
        let last = setup.attributes.int("select_last_index", 0)? != 0;
        if shape[axis] == 0 {
            fail!("axis {axis} of shape {shape:?} is empty");
        }
        Ok(Box::new(Self { largest, axis: axis + 1, out, last }))
    }
}

impl Operator for Argument {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let size = x.dims()[self.axis];
        let x = if self.last { x.flip(&[self.axis])? } else { x.clone() };
        let at = if self.largest { x.argmax(self.axis)? } else { x.argmin(self.axis)? };
        let mut at = at.to_dtype(DType::I64)?;
        if self.last {
            at = at.affine(-1.0, (size - 1) as f64)?;
        }
        Ok(at.reshape(lead_shape(x.dims()[0], &self.out))?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        Ok(vec![None; sweep.inputs.len()])
    }
}
