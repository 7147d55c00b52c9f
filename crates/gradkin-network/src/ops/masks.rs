//! Operators that place zeros and ones: Trilu, OneHot, NonZero, EyeLike.

use candle_core::{DType, Device, Tensor};

use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::{axis_of, checked_count, example_shape, expand_to, lead_shape, sum_axes};

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Trilu", Trilu::build),
    ("OneHot", OneHot::build),
    ("NonZero", non_zero),
    ("EyeLike", eye_like),
];

/// The part of each matrix on one side of a diagonal; zeros elsewhere.
#[derive(Debug)]
struct Trilu {
    /// One where entries stay, `[rows, columns]`.
    mask: Tensor,
}

impl Trilu {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let [.., rows, columns] = *shape else { fail!("shape {shape:?} holds no matrix") };
        let upper = setup.attributes.int("upper", 1)? != 0;
        let k = setup.constant_ints(1)?.and_then(|k| k.first().copied()).unwrap_or(0);
        let stays = |at: usize| {
            let beyond = (at % columns) as i64 - (at / columns) as i64;
            u8::from(if upper { beyond >= k } else { beyond <= k })
        };
        let mask = (0..rows * columns).map(stays).collect();
        Ok(Box::new(Self { mask: Tensor::from_vec::<_, u8>(mask, (rows, columns), &Device::Cpu)? }))
    }

    fn cut(&self, x: &Tensor) -> OpResult<Tensor> {
        let mask = self.mask.broadcast_as(x.shape())?.contiguous()?;
        Ok(mask.where_cond(&x.contiguous()?, &x.zeros_like()?)?)
    }
}

impl Operator for Trilu {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        Ok(self.cut(required(inputs, 0)?)?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let mut result = vec![None; sweep.inputs.len()];
        result[0] = Some(self.cut(sweep.cotangent()?)?);
        Ok(result)
    }
}

/// `off` everywhere but `on` at each index: y = off + h · (on − off).
#[derive(Debug)]
struct OneHot {
    depth: usize,
    /// The new axis, counted without the leading one.
    axis: usize,
    out: Vec<usize>,
}

impl OneHot {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let indices = setup.shape(0)?;
        let axis = axis_of(setup.attributes.int("axis", -1)?, indices.len() + 1)?;
        let depth = setup.constant_ints(1)?.and_then(|d| d.first().copied()).unwrap_or(0);
        let Ok(depth) = usize::try_from(depth) else { fail!("a depth of {depth}") };
        if setup.shape(2)? != [2] {
            fail!("the values off and on have shape {:?}, not [2]", setup.shape(2)?);
        }
        let mut out = indices.to_vec();
        out.insert(axis, depth);
        checked_count(&out)?;
        Ok(Box::new(Self { depth, axis, out }))
    }

    /// h: one at each index, `[L, *out]`.
    fn hot(&self, indices: &Tensor) -> OpResult<Tensor> {
        let indices = indices.to_dtype(DType::I64)?;
        // Negative indices count from the end.
        let behind = (indices.lt(0i64)?.to_dtype(DType::I64)? * self.depth as f64)?;
        let indices = (indices + behind)?.unsqueeze(self.axis + 1)?;
        let mut shape = vec![1; self.out.len() + 1];
        shape[self.axis + 1] = self.depth;
        let range: Vec<i64> = (0..self.depth as i64).collect();
        Ok(indices.broadcast_eq(&Tensor::from_vec(range, shape, &Device::Cpu)?)?)
    }

    /// Value k of `[L, 2]`, broadcast to the output.
    fn value(&self, values: &Tensor, k: usize, lead: usize) -> OpResult<Tensor> {
        let value = values.narrow(1, k, 1)?.contiguous()?;
        let value = value.reshape(lead_shape(value.dims()[0], &vec![1; self.out.len()]))?;
        Ok(expand_to(&value, lead, &self.out)?.contiguous()?)
    }
}

impl Operator for OneHot {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let hot = self.hot(required(inputs, 0)?)?;
        let values = required(inputs, 2)?;
        let lead = hot.dims()[0].max(values.dims()[0]);
        let hot = expand_to(&hot, lead, &self.out)?.contiguous()?;
        let (off, on) = (self.value(values, 0, lead)?, self.value(values, 1, lead)?);
        Ok(hot.where_cond(&on, &off)?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let mut result = vec![None, None, None];
        if sweep.wants(2) {
            let cotangent = sweep.cotangent()?;
            let hot = self.hot(sweep.input(0)?)?.to_dtype(cotangent.dtype())?;
            let axes: Vec<usize> = (1..=self.out.len()).collect();
            let rows = sweep.batch * sweep.width;
            let all = sum_axes(cotangent, &axes)?.reshape((rows, 1))?;
            let on = sum_axes(&sweep.times(cotangent, &hot)?, &axes)?.reshape((rows, 1))?;
            result[2] = Some(Tensor::cat(&[(all - &on)?, on], 1)?);
        }
        Ok(result)
    }
}

/// A tensor known when the graph is built.
#[derive(Debug)]
struct Known {
    value: Tensor,
    shape_only: bool,
}

impl Operator for Known {
    fn forward(&self, _inputs: &Inputs) -> OpResult<Forward> {
        Ok(self.value.clone().into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        Ok(vec![None; sweep.inputs.len()])
    }

    fn reads_shape_only(&self) -> bool {
        self.shape_only
    }
}

/// The coordinates of the entries of a constant that are not zero: `[rank, count]`.
fn non_zero(setup: &Setup) -> OpResult<Box<dyn Operator>> {
    let x = setup.constant(0)?;
    let shape = example_shape(x);
    let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let found: Vec<usize> = (0..values.len()).filter(|at| values[*at] != 0.0).collect();
    let strides = super::picking::strides(shape);
    let axes = shape.iter().zip(&strides);
    let coordinates: Vec<i64> = axes
        .flat_map(|(size, stride)| found.iter().map(move |at| (at / stride % size) as i64))
        .collect();
    let value = Tensor::from_vec(coordinates, (1, shape.len(), found.len()), &Device::Cpu)?;
    Ok(Box::new(Known { value, shape_only: false }))
}

/// Ones on a diagonal of a matrix with the input's shape.
fn eye_like(setup: &Setup) -> OpResult<Box<dyn Operator>> {
    let shape = setup.shape(0)?;
    let [rows, columns] = *shape else { fail!("shape {shape:?} is no matrix") };
    let k = setup.attributes.int("k", 0)?;
    let kind = match setup.attributes.int("dtype", 0)? {
        0 => setup.operand(0)?.dtype,
        1 | 10 | 11 | 16 => setup.float,
        9 => DType::U8,
        2..=7 | 12 | 13 => DType::I64,
        other => fail!("element type {other} is not supported"),
    };
    let on = |at: usize| i64::from((at % columns) as i64 - (at / columns) as i64 == k);
    let values: Vec<i64> = (0..rows * columns).map(on).collect();
    let value = Tensor::from_vec(values, (1, rows, columns), &Device::Cpu)?.to_dtype(kind)?;
    Ok(Box::new(Known { value, shape_only: true }))
}
