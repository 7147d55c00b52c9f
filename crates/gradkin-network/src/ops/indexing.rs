//! Operators that pick entries: Slice, Gather (an embedding's table is a parameter), Pad.

use candle_core::{DType, Device, Tensor};

use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::factor::{Factor, FactorShape};
use crate::tensor::{add_rows, axis_of, checked_count, example_shape, lead_shape};

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("Slice", Slice::build), ("Gather", Gather::build), ("Pad", Pad::build)];

/// Which entries of one axis are taken, in order.
#[derive(Debug)]
struct Cut {
    /// Axis with the leading one in front.
    axis: usize,
    size: usize,
    start: usize,
    count: usize,
    step: i64,
}

impl Cut {
    fn is_run(&self) -> bool {
        self.step == 1
    }

    fn index(&self, device: &Device) -> OpResult<Tensor> {
        let at: Vec<i64> =
            (0..self.count as i64).map(|i| self.start as i64 + i * self.step).collect();
        Ok(Tensor::from_slice(&at, at.len(), device)?)
    }

    fn take(&self, x: &Tensor) -> OpResult<Tensor> {
        if self.count * x.elem_count() == 0 {
            return empty(x, self.axis, self.count);
        }
        Ok(if self.is_run() {
            x.narrow(self.axis, self.start, self.count)?.contiguous()?
        } else {
            x.contiguous()?.index_select(&self.index(x.device())?, self.axis)?
        })
    }

    /// The transpose of [`Self::take`].
    fn put(&self, cotangent: &Tensor) -> OpResult<Tensor> {
        if self.is_run() {
            let after = self.size - self.start - self.count;
            return Ok(cotangent.pad_with_zeros(self.axis, self.start, after)?);
        }
        let mut shape = cotangent.dims().to_vec();
        shape[self.axis] = self.size;
        let device = cotangent.device();
        let zeros = Tensor::zeros(shape, cotangent.dtype(), device)?;
        Ok(zeros.index_add(&self.index(device)?, &cotangent.contiguous()?, self.axis)?)
    }
}

/// No entries, of the shape that `count` of one axis have. Candle panics where an empty view starts
/// behind the first element.
fn empty(x: &Tensor, axis: usize, count: usize) -> OpResult<Tensor> {
    let mut shape = x.dims().to_vec();
    shape[axis] = count;
    Ok(Tensor::zeros(shape, x.dtype(), x.device())?)
}

/// A range with a step along some axes.
#[derive(Debug)]
struct Slice {
    cuts: Vec<Cut>,
}

impl Slice {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let list = |name: &str, k: usize| -> OpResult<Option<Vec<i64>>> {
            match setup.attributes.ints(name)? {
                Some(values) => Ok(Some(values)),
                None => setup.constant_ints(k),
            }
        };
        let starts = list("starts", 1)?.unwrap_or_default();
        let ends = list("ends", 2)?.unwrap_or_default();
        let axes = list("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = list("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()].iter().any(|n| *n != starts.len()) {
            fail!("starts, ends, axes and steps have different lengths");
        }
        let mut cuts = Vec::with_capacity(starts.len());
        for i in 0..starts.len() {
            let axis = axis_of(axes[i], shape.len())?;
            cuts.push(cut(axis, shape[axis], starts[i], ends[i], steps[i])?);
        }
        cuts.retain(|cut| !(cut.is_run() && cut.start == 0 && cut.count == cut.size));
        Ok(Box::new(Self { cuts }))
    }
}

fn cut(axis: usize, size: usize, start: i64, end: i64, step: i64) -> OpResult<Cut> {
    if step == 0 {
        fail!("a step of 0 takes nothing");
    }
    let n = size as i64;
    let wrap = |at: i64| if at < 0 { at.saturating_add(n) } else { at };
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let start = wrap(start).clamp(low.max(0), high.max(0));
    let end = wrap(end).clamp(low, high);
    let span = if step > 0 { end - start } else { start - end };
    let count = if size == 0 { 0 } else { span.max(0) as u64 }.div_ceil(step.unsigned_abs());
    Ok(Cut { axis: axis + 1, size, start: start as usize, count: count as usize, step })
}

impl Operator for Slice {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let mut y = required(inputs, 0)?.clone();
        for cut in &self.cuts {
            y = cut.take(&y)?;
        }
        Ok(y.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let mut back = sweep.cotangent()?.clone();
        for cut in self.cuts.iter().rev() {
            back = cut.put(&back)?;
        }
        let mut result = vec![None; sweep.inputs.len()];
        result[0] = Some(back);
        Ok(result)
    }

    fn moves_entries(&self) -> bool {
        true
    }
}

/// Entries of one axis at given indices: an embedding, or the choice of a token.
///
/// Viewed as `[L, outer, size, inner]` picked along `size`.
#[derive(Debug)]
struct Gather {
    outer: usize,
    size: usize,
    inner: usize,
    /// Number of indices for one example.
    count: usize,
    out: Vec<usize>,
    table: bool,
    /// The indices where they are the same for every example.
    fixed: Option<Tensor>,
}

impl Gather {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let (data, index) = (setup.shape(0)?, setup.shape(1)?);
        let axis = axis_of(setup.attributes.int("axis", 0)?, data.len())?;
        if setup.operand(1)?.dtype.is_float() {
            fail!("the indices must be whole numbers");
        }
        let mut out = data[..axis].to_vec();
        out.extend(index);
        out.extend(&data[axis + 1..]);
        checked_count(&out)?;
        let size = data[axis];
        let fixed = match &setup.operand(1)?.constant {
            Some(index) => Some(wrapped(index, size)?.flatten_all()?),
            None => None,
        };
        Ok(Box::new(Self {
            outer: data[..axis].iter().product(),
            size,
            inner: data[axis + 1..].iter().product(),
            count: index.iter().product(),
            out,
            table: axis == 0 && setup.operand(0)?.shared && !setup.operand(1)?.shared,
            fixed,
        }))
    }

    /// Indices `[L, count]` that vary with the example.
    fn varying(&self, index: &Tensor) -> OpResult<Tensor> {
        let lead = index.dims()[0];
        wrapped(&index.reshape((lead, self.count))?, self.size)
    }
}

/// Negative indices count from the end; those outside are the data's fault and named.
fn wrapped(index: &Tensor, size: usize) -> OpResult<Tensor> {
    let index = index.to_dtype(DType::I64)?;
    let mut values = index.flatten_all()?.to_vec1::<i64>()?;
    for value in &mut values {
        let at = if *value < 0 { *value + size as i64 } else { *value };
        if at < 0 || at >= size as i64 {
            fail!("index {value} is outside the {size} entries it chooses from");
        }
        *value = at;
    }
    Ok(Tensor::from_vec(values, index.shape(), index.device())?)
}

impl Operator for Gather {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let (data, index) = (required(inputs, 0)?, required(inputs, 1)?);
        let lead = data.dims()[0].max(index.dims()[0]);
        let y = if let Some(index) = &self.fixed {
            let view =
                data.contiguous()?.reshape((data.dims()[0] * self.outer, self.size, self.inner))?;
            view.index_select(&index.to_device(data.device())?, 1)?
        } else if data.dims()[0] == 1 && self.outer == 1 {
            let index = self.varying(index)?.flatten_all()?;
            data.reshape((self.size, self.inner))?.contiguous()?.index_select(&index, 0)?
        } else {
            let view = data.reshape((data.dims()[0], self.outer, self.size, self.inner))?;
            let view =
                view.broadcast_as((lead, self.outer, self.size, self.inner))?.contiguous()?;
            let index = self.varying(index)?.broadcast_as((lead, self.count))?;
            let index = index.reshape((lead, 1, self.count, 1))?;
            let index = index.broadcast_as((lead, self.outer, self.count, self.inner))?;
            view.gather(&index.contiguous()?, 2)?
        };
        Ok(y.reshape(lead_shape(lead, &self.out))?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        if !sweep.wants(0) {
            return Ok(vec![None, None]);
        }
        let rows = sweep.batch * sweep.width;
        let cotangent = sweep.cotangent()?.reshape((rows * self.outer, self.count, self.inner))?;
        let back = match &self.fixed {
            Some(index) => add_rows(&cotangent, &index.to_device(cotangent.device())?, self.size)?,
            None => {
                let index = self.varying(sweep.input(1)?)?;
                let (b, d, o) = (sweep.batch, sweep.width, self.outer);
                let index = index.reshape((index.dims()[0], 1, self.count))?;
                let index = index.broadcast_as((b, d * o, self.count))?;
                add_rows(&cotangent, &index.reshape((b * d * o, self.count))?, self.size)?
            }
        };
        Ok(vec![Some(back.reshape(lead_shape(rows, sweep.shape(0)?))?), None])
    }

    fn factor_shape(&self, operand: usize) -> Option<FactorShape> {
        (operand == 0 && self.table).then_some(FactorShape::Rows {
            positions: self.count,
            rows: self.size,
            width: self.inner,
        })
    }

    fn factor(&self, _operand: usize, sweep: &Reverse) -> OpResult<Factor> {
        let index = self.varying(sweep.input(1)?)?.broadcast_as((sweep.batch, self.count))?;
        let shape = (sweep.batch, sweep.width, self.count, self.inner);
        let cotangent = sweep.cotangent()?.reshape(shape)?;
        Ok(Factor::Rows { index: index.contiguous()?, cotangent, rows: self.size })
    }

    /// With fixed indices the output holds entries of the input.
    fn moves_entries(&self) -> bool {
        self.fixed.is_some()
    }
}

/// How the border is filled.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Border {
    Constant(f64),
    Edge,
    Reflect,
    Wrap,
}

/// Entries added (or, with negative pads, taken away) at both ends of each axis.
#[derive(Debug)]
struct Pad {
    border: Border,
    /// Axis with the leading one in front, its size, and the pads before and behind.
    axes: Vec<(usize, usize, i64, i64)>,
}

impl Pad {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let pads = match setup.attributes.ints("pads")? {
            Some(pads) => pads,
            None => setup.constant_ints(1)?.unwrap_or_default(),
        };
        let axes = match setup.constant_ints(3)? {
            Some(axes) => axes.iter().map(|a| axis_of(*a, shape.len())).collect::<OpResult<_>>()?,
            None => (0..shape.len()).collect::<Vec<_>>(),
        };
        if pads.len() != 2 * axes.len() {
            fail!("{} pads do not fit {} axes", pads.len(), axes.len());
        }
        let value = match setup.constant_floats(2)? {
            Some(values) => values.first().copied().unwrap_or(0.0),
            None => setup.attributes.float("value", 0.0)?,
        };
        let border = match setup.attributes.text("mode", "constant")? {
            "constant" => Border::Constant(value),
            "edge" => Border::Edge,
            "reflect" => Border::Reflect,
            "wrap" => Border::Wrap,
            other => fail!("mode `{other}` is unknown"),
        };
        let mut plan = Vec::with_capacity(axes.len());
        let mut out = shape.to_vec();
        for (i, axis) in axes.iter().enumerate() {
            let (before, after) = (pads[i], pads[i + axes.len()]);
            let total =
                (shape[*axis] as i64).checked_add(before).and_then(|n| n.checked_add(after));
            let Some(total) = total.filter(|n| *n >= 0) else {
                fail!("pads {pads:?} leave nothing of shape {shape:?}");
            };
            out[*axis] = total as usize;
            if (before, after) != (0, 0) {
                plan.push((axis + 1, shape[*axis], before, after));
            }
        }
        checked_count(&out)?;
        Ok(Box::new(Self { border, axes: plan }))
    }

    /// For each entry of the padded axis the entry it repeats, if any.
    fn sources(&self, size: usize, before: i64, after: i64) -> Vec<Option<usize>> {
        let n = size as i64;
        (-before..n + after)
            .map(|at| {
                let inside = (0..n).contains(&at);
                match self.border {
                    _ if inside => Some(at as usize),
                    _ if n == 0 => None,
                    Border::Constant(_) => None,
                    Border::Edge => Some(at.clamp(0, n - 1) as usize),
                    Border::Wrap => Some(at.rem_euclid(n) as usize),
                    Border::Reflect if n == 1 => Some(0),
                    Border::Reflect => {
                        let at = at.rem_euclid(2 * (n - 1));
                        Some(at.min(2 * (n - 1) - at) as usize)
                    }
                }
            })
            .collect()
    }

    fn index(sources: &[Option<usize>], device: &Device) -> OpResult<Tensor> {
        let at: Vec<i64> = sources.iter().map(|s| s.unwrap_or(0) as i64).collect();
        Ok(Tensor::from_slice(&at, at.len(), device)?)
    }

    /// Negative pads of a constant border are cuts, positive ones zeros around.
    fn constant(x: &Tensor, axis: usize, before: i64, after: i64) -> OpResult<Tensor> {
        let size = x.dims()[axis];
        let (cut_before, cut_after) = ((-before).max(0) as usize, (-after).max(0) as usize);
        let kept = size.saturating_sub(cut_before + cut_after);
        let x = match kept * x.elem_count() {
            0 => empty(x, axis, kept)?,
            _ => x.narrow(axis, cut_before, kept)?.contiguous()?,
        };
        Ok(x.pad_with_zeros(axis, before.max(0) as usize, after.max(0) as usize)?)
    }
}

impl Operator for Pad {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let mut y = x.clone();
        if let Border::Constant(value) = self.border {
            // Zeros around x − value, and the value added back, put the value around x.
            let filled = value != 0.0;
            if filled && !value.is_finite() {
                return self.infinite(x, value);
            }
            if filled {
                y = y.affine(1.0, -value)?;
            }
            for (axis, _, before, after) in &self.axes {
                y = Self::constant(&y, *axis, *before, *after)?;
            }
            return Ok(if filled { y.affine(1.0, value)? } else { y }.into());
        }
        for (axis, size, before, after) in &self.axes {
            let index = Self::index(&self.sources(*size, *before, *after), y.device())?;
            y = y.contiguous()?.index_select(&index, *axis)?;
        }
        Ok(y.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let mut back = sweep.cotangent()?.clone();
        for (axis, size, before, after) in self.axes.iter().rev() {
            back = if matches!(self.border, Border::Constant(_)) {
                Self::constant(&back, *axis, -before, -after)?
            } else {
                let device = back.device();
                let index = Self::index(&self.sources(*size, *before, *after), device)?;
                let mut shape = back.dims().to_vec();
                shape[*axis] = *size;
                let zeros = Tensor::zeros(shape, back.dtype(), device)?;
                zeros.index_add(&index, &back.contiguous()?, *axis)?
            };
        }
        debug_assert_eq!(example_shape(&back), sweep.shape(0)?);
        let mut result = vec![None; sweep.inputs.len()];
        result[0] = Some(back);
        Ok(result)
    }
}

impl Pad {
    /// A border of ±∞ (a max pool's) cannot be shifted in and out; it is chosen by a mask.
    fn infinite(&self, x: &Tensor, value: f64) -> OpResult<Forward> {
        let mut y = x.clone();
        let mut inside = x.ones_like()?;
        for (axis, _, before, after) in &self.axes {
            y = Self::constant(&y, *axis, *before, *after)?;
            inside = Self::constant(&inside, *axis, *before, *after)?;
        }
        let border = Tensor::full(value, y.shape(), y.device())?.to_dtype(y.dtype())?;
        Ok(inside.ne(0.0)?.where_cond(&y, &border)?.into())
    }
}
