//! Operators that move entries without changing them, and those that ask for shapes.

use candle_core::{DType, Device, Tensor};

use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::onnx::Width;
use crate::tensor::{axis_of, broadcast_shape, checked_count, example_shape, lead_shape, sum_to};

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Identity", |_| Ok(Box::new(Identity))),
    ("Dropout", Dropout::build),
    ("Reshape", reshape),
    ("Flatten", flatten),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Transpose", Transpose::build),
    ("Expand", Expand::build),
    ("Tile", Tile::build),
    ("Concat", Concat::build),
    ("Split", Split::build),
    ("Cast", Cast::build),
    ("CastLike", Cast::like),
    ("Shape", Shape::build),
    ("Size", |s| {
        Ok(Box::new(Shape {
            numbers: vec![s.shape(0)?.iter().product::<usize>() as i64],
            scalar: true,
        }))
    }),
    ("ConstantOfShape", ConstantOfShape::build),
    ("Range", range),
];

/// The input itself.
#[derive(Debug)]
struct Identity;

impl Operator for Identity {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        Ok(required(inputs, 0)?.clone().into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let mut result = vec![None; sweep.inputs.len()];
        result[0] = Some(sweep.cotangent()?.clone());
        Ok(result)
    }

    fn moves_entries(&self) -> bool {
        true
    }
}

/// The input itself, as at inference, and a mask that keeps everything.
#[derive(Debug)]
struct Dropout {
    mask: bool,
}

impl Dropout {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let training = setup.constant_floats(2)?.is_some_and(|on| on.first() != Some(&0.0));
        if training && setup.constant_floats(1)?.is_none_or(|ratio| ratio.first() != Some(&0.0)) {
            fail!(
                "training_mode is on: the model was exported in training mode; export it with model.eval()"
            );
        }
        Ok(Box::new(Self { mask: setup.outputs > 1 }))
    }
}

impl Operator for Dropout {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let mut outputs = vec![x.clone()];
        if self.mask {
            outputs.push(Tensor::ones(x.shape(), DType::U8, x.device())?);
        }
        Ok(Forward { outputs, saved: Vec::new() })
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let mut result = vec![None; sweep.inputs.len()];
        result[0] = Some(sweep.cotangent()?.clone());
        Ok(result)
    }

    fn ignores(&self, operand: usize) -> bool {
        operand > 0
    }

    fn moves_entries(&self) -> bool {
        true
    }
}

/// The same entries under another shape: Reshape, Flatten, Squeeze, Unsqueeze.
#[derive(Debug)]
struct Reshape {
    out: Vec<usize>,
}

impl Operator for Reshape {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        Ok(x.reshape(lead_shape(x.dims()[0], &self.out))?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let cotangent = sweep.cotangent()?;
        let mut result = vec![None; sweep.inputs.len()];
        result[0] = Some(cotangent.reshape(lead_shape(cotangent.dims()[0], sweep.shape(0)?))?);
        Ok(result)
    }

    fn moves_entries(&self) -> bool {
        true
    }
}

fn reshape(setup: &Setup) -> OpResult<Box<dyn Operator>> {
    let shape = setup.shape(0)?;
    let target = match setup.attributes.ints("shape")? {
        Some(target) => target,
        None => setup.constant_ints(1)?.unwrap_or_default(),
    };
    let zero_is_zero = setup.attributes.int("allowzero", 0)? != 0;
    let count: usize = shape.iter().product();
    let mut out = Vec::with_capacity(target.len());
    let mut free = None;
    for (axis, size) in target.iter().enumerate() {
        out.push(match *size {
            -1 if free.is_none() => {
                free = Some(axis);
                1
            }
            0 if !zero_is_zero => match shape.get(axis) {
                Some(size) => *size,
                None => fail!("target {target:?} copies axis {axis}, which {shape:?} has not"),
            },
            size if size >= 0 => size as usize,
            _ => fail!("target {target:?} is no shape"),
        });
    }
    let rest = checked_count(&out)?;
    if let Some(axis) = free {
        out[axis] = count.checked_div(rest).unwrap_or(0);
    }
    if checked_count(&out)? != count {
        fail!(
            "{count} elements of shape {shape:?} do not fit the target {target:?}; if the file was \
             exported with a batch of its own, export it with a dynamic batch axis or a batch of 1"
        );
    }
    Ok(Box::new(Reshape { out }))
}

fn flatten(setup: &Setup) -> OpResult<Box<dyn Operator>> {
    let shape = setup.shape(0)?;
    let axis = setup.attributes.int("axis", 1)?;
    let axis = if axis == shape.len() as i64 { shape.len() } else { axis_of(axis, shape.len())? };
    let out = vec![shape[..axis].iter().product(), shape[axis..].iter().product()];
    Ok(Box::new(Reshape { out }))
}

fn squeeze(setup: &Setup) -> OpResult<Box<dyn Operator>> {
    let shape = setup.shape(0)?;
    let drop: Vec<usize> = match setup.axes(1)? {
        Some(axes) => axes.iter().map(|a| axis_of(*a, shape.len())).collect::<OpResult<_>>()?,
        None => (0..shape.len()).filter(|a| shape[*a] == 1).collect(),
    };
    if let Some(axis) = drop.iter().find(|a| shape[**a] != 1) {
        fail!("axis {axis} of shape {shape:?} is not one and cannot be squeezed");
    }
    let out = (0..shape.len()).filter(|a| !drop.contains(a)).map(|a| shape[a]).collect();
    Ok(Box::new(Reshape { out }))
}

fn unsqueeze(setup: &Setup) -> OpResult<Box<dyn Operator>> {
    let shape = setup.shape(0)?;
    let Some(axes) = setup.axes(1)? else { fail!("the axes are missing") };
    let rank = shape.len() + axes.len();
    let new: Vec<usize> = axes.iter().map(|a| axis_of(*a, rank)).collect::<OpResult<_>>()?;
    let mut rest = shape.iter();
    let mut out = Vec::with_capacity(rank);
    for axis in 0..rank {
        match new.contains(&axis) {
            true => out.push(1),
            false => match rest.next() {
                Some(size) => out.push(*size),
                None => fail!("axes {axes:?} name one axis twice"),
            },
        }
    }
    if rest.next().is_some() {
        fail!("axes {axes:?} name one axis twice");
    }
    Ok(Box::new(Reshape { out }))
}

/// Axes in another order.
#[derive(Debug)]
struct Transpose {
    /// Permutation with the leading axis in front.
    order: Vec<usize>,
    inverse: Vec<usize>,
}

impl Transpose {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let rank = setup.shape(0)?.len();
        let perm = match setup.attributes.ints("perm")? {
            Some(perm) => perm,
            None => (0..rank as i64).rev().collect(),
        };
        let mut order = vec![0];
        let mut inverse = vec![0; rank + 1];
        for (to, from) in perm.iter().enumerate() {
            let from = axis_of(*from, rank)? + 1;
            if order.contains(&from) || to >= rank {
                fail!("perm {perm:?} is no permutation of {rank} axes");
            }
            order.push(from);
            inverse[from] = to + 1;
        }
        if order.len() != rank + 1 {
            fail!("perm {perm:?} is no permutation of {rank} axes");
        }
        Ok(Box::new(Self { order, inverse }))
    }
}

impl Operator for Transpose {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        Ok(required(inputs, 0)?.permute(self.order.as_slice())?.contiguous()?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        Ok(vec![Some(sweep.cotangent()?.permute(self.inverse.as_slice())?.contiguous()?)])
    }

    fn moves_entries(&self) -> bool {
        true
    }
}

/// Broadcast to a shape.
#[derive(Debug)]
struct Expand {
    out: Vec<usize>,
}

impl Expand {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let target = setup.constant_ints(1)?.unwrap_or_default();
        let mut wanted = Vec::with_capacity(target.len());
        for size in &target {
            match usize::try_from(*size) {
                Ok(size) => wanted.push(size),
                Err(_) => fail!("target {target:?} is no shape"),
            }
        }
        checked_count(&wanted)?;
        let out = broadcast_shape(setup.shape(0)?, &wanted)?;
        Ok(Box::new(Self { out }))
    }
}

impl Operator for Expand {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        Ok(crate::tensor::expand_to(x, x.dims()[0], &self.out)?.contiguous()?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        Ok(vec![Some(sum_to(sweep.cotangent()?, sweep.shape(0)?)?), None])
    }

    fn moves_entries(&self) -> bool {
        true
    }
}

/// Repeat along each axis.
#[derive(Debug)]
struct Tile {
    repeats: Vec<usize>,
}

impl Tile {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let repeats = setup.constant_ints(1)?.unwrap_or_default();
        if repeats.len() != shape.len() || repeats.iter().any(|r| *r < 0) {
            fail!("repeats {repeats:?} do not fit shape {shape:?}");
        }
        let repeats: Vec<usize> = repeats.iter().map(|r| *r as usize).collect();
        let out: Vec<usize> =
            shape.iter().zip(&repeats).map(|(s, r)| s.saturating_mul(*r)).collect();
        checked_count(&out)?;
        Ok(Box::new(Self { repeats }))
    }

    /// Interleaved with the repeats: `[L, r0, s0, r1, s1, …]`.
    fn split(&self, lead: usize, shape: &[usize], repeats: bool) -> Vec<usize> {
        let mut full = vec![lead];
        for (size, repeat) in shape.iter().zip(&self.repeats) {
            full.extend([if repeats { *repeat } else { 1 }, *size]);
        }
        full
    }
}

impl Operator for Tile {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let (lead, shape) = (x.dims()[0], example_shape(x));
        let spread = x.reshape(self.split(lead, shape, false))?;
        let spread = spread.broadcast_as(self.split(lead, shape, true))?;
        let out: Vec<usize> = shape.iter().zip(&self.repeats).map(|(s, r)| s * r).collect();
        Ok(spread.reshape(lead_shape(lead, &out))?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let cotangent = sweep.cotangent()?;
        let (rows, shape) = (cotangent.dims()[0], sweep.shape(0)?);
        let split = cotangent.reshape(self.split(rows, shape, true))?;
        let flat = self.split(rows, shape, false);
        let summed = sum_to(&split, &flat[1..])?;
        Ok(vec![Some(summed.reshape(lead_shape(rows, shape))?), None])
    }

    fn moves_entries(&self) -> bool {
        true
    }
}

/// Join along an axis.
#[derive(Debug)]
struct Concat {
    axis: usize,
    sizes: Vec<usize>,
}

impl Concat {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let first = setup.shape(0)?;
        let axis = axis_of(setup.attributes.int("axis", 1)?, first.len())?;
        let mut sizes = Vec::with_capacity(setup.operands.len());
        for k in 0..setup.operands.len() {
            let shape = setup.shape(k)?;
            let fits = shape.len() == first.len()
                && (0..shape.len()).all(|a| a == axis || shape[a] == first[a]);
            if !fits {
                fail!("shapes {first:?} and {shape:?} do not join along axis {axis}");
            }
            sizes.push(shape[axis]);
        }
        let mut out = first.to_vec();
        out[axis] = sizes.iter().fold(0, |sum: usize, size| sum.saturating_add(*size));
        checked_count(&out)?;
        Ok(Box::new(Self { axis: axis + 1, sizes }))
    }
}

impl Operator for Concat {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let lead = inputs.iter().flatten().map(|x| x.dims()[0]).max().unwrap_or(1);
        let mut parts = Vec::with_capacity(inputs.len());
        for k in 0..inputs.len() {
            let x = required(inputs, k)?;
            let shape = lead_shape(lead, example_shape(x));
            parts.push(x.broadcast_as(shape)?.contiguous()?);
        }
        Ok(Tensor::cat(&parts, self.axis)?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let cotangent = sweep.cotangent()?;
        let mut start = 0;
        let mut result = Vec::with_capacity(self.sizes.len());
        for (k, size) in self.sizes.iter().enumerate() {
            let part = sweep.wants(k).then(|| cotangent.narrow(self.axis, start, *size));
            result.push(part.transpose()?.map(|p| p.contiguous()).transpose()?);
            start += size;
        }
        Ok(result)
    }

    fn is_linear(&self) -> bool {
        true
    }
}

/// More parts than any network splits an axis into.
const MOST_PARTS: usize = 1 << 20;

/// Cut along an axis.
#[derive(Debug)]
struct Split {
    axis: usize,
    sizes: Vec<usize>,
}

impl Split {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let axis = axis_of(setup.attributes.int("axis", 0)?, shape.len())?;
        let given = match setup.attributes.ints("split")? {
            Some(sizes) => Some(sizes),
            None => setup.constant_ints(1)?,
        };
        let sizes: Vec<usize> = match given {
            Some(sizes) => {
                sizes.iter().map(|s| usize::try_from(*s).unwrap_or(usize::MAX)).collect()
            }
            None => {
                let count = setup.attributes.int("num_outputs", setup.outputs as i64)?;
                let count = usize::try_from(count).unwrap_or(0).max(1);
                if count > MOST_PARTS {
                    fail!("{count} parts of axis {axis} of shape {shape:?}");
                }
                let each = shape[axis].div_ceil(count);
                (0..count).map(|i| each.min(shape[axis].saturating_sub(i * each))).collect()
            }
        };
        let total = sizes.iter().try_fold(0usize, |t, s| t.checked_add(*s));
        if total != Some(shape[axis]) {
            fail!("parts of {sizes:?} do not make up axis {axis} of shape {shape:?}");
        }
        Ok(Box::new(Self { axis: axis + 1, sizes }))
    }
}

impl Operator for Split {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let mut start = 0;
        let mut outputs = Vec::with_capacity(self.sizes.len());
        for size in &self.sizes {
            outputs.push(x.narrow(self.axis, start, *size)?.contiguous()?);
            start += size;
        }
        Ok(Forward { outputs, saved: Vec::new() })
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let rows = sweep.batch * sweep.width;
        let mut parts = Vec::with_capacity(self.sizes.len());
        for (k, size) in self.sizes.iter().enumerate() {
            let mut shape = lead_shape(rows, sweep.shape(0)?);
            shape[self.axis] = *size;
            parts.push(match sweep.cotangent_of(k)? {
                Some(cotangent) => cotangent.clone(),
                None => {
                    let like = sweep.input(0)?;
                    Tensor::zeros(shape, like.dtype(), like.device())?
                }
            });
        }
        Ok(vec![Some(Tensor::cat(&parts, self.axis)?), None])
    }

    fn moves_entries(&self) -> bool {
        true
    }
}

/// Another element type. All float types become the run's own, all integers 64 bits wide.
#[derive(Debug)]
struct Cast {
    to: Target,
    /// CastLike: input 1 lends its type only.
    like: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Target {
    Float(DType),
    Integer(Width),
    Boolean,
}

impl Cast {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let code = setup.attributes.int("to", 1)?;
        let to = match (code, Width::of_code(code)) {
            (1 | 10 | 11 | 16, _) => Target::Float(setup.float),
            (9, _) => Target::Boolean,
            (_, Some(width)) => Target::Integer(width),
            _ => fail!("element type {code} is not supported"),
        };
        Ok(Box::new(Self { to, like: false }))
    }

    fn like(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let to = match setup.operand(1)?.dtype {
            DType::U8 => Target::Boolean,
            DType::I64 => Target::Integer(Width::Signed(64)),
            float => Target::Float(float),
        };
        Ok(Box::new(Self { to, like: true }))
    }
}

fn integers(x: &Tensor, width: Width) -> OpResult<Tensor> {
    let whole = x.to_dtype(DType::I64)?;
    if matches!(width, Width::Signed(64) | Width::Unsigned(64)) {
        return Ok(whole);
    }
    let values = whole.flatten_all()?.to_vec1::<i64>()?;
    let values: Vec<i64> = values.into_iter().map(|x| width.wrap(x)).collect();
    Ok(Tensor::from_vec(values, x.shape(), x.device())?)
}

impl Operator for Cast {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        Ok(match self.to {
            Target::Float(dtype) => x.to_dtype(dtype)?,
            Target::Integer(width) => integers(x, width)?,
            Target::Boolean => x.ne(&x.zeros_like()?)?,
        }
        .into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let mut result = vec![None; sweep.inputs.len()];
        if matches!(self.to, Target::Float(_)) {
            result[0] = Some(sweep.cotangent()?.clone());
        }
        Ok(result)
    }

    fn ignores(&self, operand: usize) -> bool {
        self.like && operand == 1
    }

    /// Float to float is the identity here; the graph hands entry numbers through untouched.
    fn moves_entries(&self) -> bool {
        matches!(self.to, Target::Float(_))
    }
}

/// The shape of the input, or its size, for one example.
#[derive(Debug)]
struct Shape {
    numbers: Vec<i64>,
    scalar: bool,
}

impl Shape {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let rank = shape.len() as i64;
        let bound = |name: &str, default: i64| -> OpResult<usize> {
            let at = setup.attributes.int(name, default)?;
            Ok((if at < 0 { at + rank } else { at }).clamp(0, rank) as usize)
        };
        let (start, end) = (bound("start", 0)?, bound("end", rank)?);
        let numbers = shape[start.min(end)..end].iter().map(|s| *s as i64).collect();
        Ok(Box::new(Self { numbers, scalar: false }))
    }
}

impl Operator for Shape {
    fn forward(&self, _inputs: &Inputs) -> OpResult<Forward> {
        let shape = if self.scalar { vec![1] } else { vec![1, self.numbers.len()] };
        Ok(Tensor::from_slice(&self.numbers, shape, &Device::Cpu)?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        Ok(vec![None; sweep.inputs.len()])
    }

    fn reads_shape_only(&self) -> bool {
        true
    }
}

/// A constant tensor of a given shape.
#[derive(Debug)]
struct ConstantOfShape {
    value: Tensor,
}

impl ConstantOfShape {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let wanted = setup.constant_ints(0)?.unwrap_or_default();
        let mut shape = vec![1];
        for size in &wanted {
            match usize::try_from(*size) {
                Ok(size) => shape.push(size),
                Err(_) => fail!("{wanted:?} is no shape"),
            }
        }
        checked_count(&shape)?;
        let value = match setup.attributes.tensor("value")? {
            Some(constant) => constant.to_tensor(setup.float, false)?.flatten_all()?,
            None => Tensor::zeros(1, setup.float, &Device::Cpu)?,
        };
        if value.elem_count() != 1 {
            fail!("the value must be one number");
        }
        Ok(Box::new(Self { value: value.broadcast_as(shape)?.contiguous()? }))
    }
}

impl Operator for ConstantOfShape {
    fn forward(&self, _inputs: &Inputs) -> OpResult<Forward> {
        Ok(self.value.clone().into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        Ok(vec![None; sweep.inputs.len()])
    }
}

fn range(setup: &Setup) -> OpResult<Box<dyn Operator>> {
    let number = |k: usize| -> OpResult<f64> {
        match setup.constant_floats(k)?.as_deref() {
            Some([number]) => Ok(*number),
            _ => fail!("input {k} must be one number"),
        }
    };
    let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
    let count = ((limit - start) / step).ceil().max(0.0);
    if !count.is_finite() {
        fail!("a range from {start} to {limit} in steps of {step} has no end");
    }
    checked_count(&[count as usize])?;
    let values: Vec<f64> = (0..count as usize).map(|i| start + step * i as f64).collect();
    let value = Tensor::from_slice(&values, (1, values.len()), &Device::Cpu)?;
    Ok(Box::new(ConstantOfShape { value: value.to_dtype(setup.operand(0)?.dtype)? }))
}
