//! Operators that pick entries at positions the data may choose: GatherElements, GatherND, TopK,
//! ReverseSequence.
//!
//! Each comes down to one list of positions per example: y[i] = x[at[i]], over rows of `width`
//! entries. The transpose adds the cotangents back at those positions.

use candle_core::{DType, Device, Tensor};

use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::{add_rows, axis_of, checked_count, lead_shape};

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("GatherElements", GatherElements::build),
    ("GatherND", GatherND::build),
    ("TopK", TopK::build),
    ("ReverseSequence", ReverseSequence::build),
];

/// Rows of `width` entries at positions `at` `[1 or L, t]` of each example: `[L, t·width]`.
pub(super) fn pick(x: &Tensor, at: &Tensor, width: usize) -> OpResult<Tensor> {
    let (lead, (own, count)) = (x.dims()[0], at.dims2()?);
    let rows = x.elem_count() / (lead * width).max(1);
    let all = lead.max(own);
    if count * width * all == 0 {
        return Ok(Tensor::zeros((all, count * width), x.dtype(), x.device())?);
    }
    let x = x.contiguous()?.reshape((lead, rows, width))?;
    let picked = if own == 1 {
        x.index_select(&at.flatten_all()?.contiguous()?, 1)?
    } else {
        let at = at.unsqueeze(2)?.broadcast_as((own, count, width))?.contiguous()?;
        x.broadcast_as((own, rows, width))?.contiguous()?.gather(&at, 1)?
    };
    Ok(picked.reshape((all, count * width))?)
}

/// The transpose of [`pick`]: cotangents `[B·d, t·width]` added into `[B·d, rows·width]`.
pub(super) fn unpick(
    sweep: &Reverse,
    cotangent: &Tensor,
    at: &Tensor,
    width: usize,
    rows: usize,
) -> OpResult<Tensor> {
    let (batch, d) = (sweep.batch, sweep.width);
    let (own, count) = at.dims2()?;
    let cotangent = cotangent.contiguous()?.reshape((batch * d, count, width))?;
    if count * width == 0 {
        return Ok(Tensor::zeros((batch * d, rows * width), cotangent.dtype(), &Device::Cpu)?);
    }
    let at = if own == 1 {
        at.flatten_all()?
    } else {
        at.unsqueeze(1)?.broadcast_as((batch, d, count))?.reshape((batch * d, count))?
    };
    Ok(add_rows(&cotangent, &at, rows)?.reshape((batch * d, rows * width))?)
}

/// How far apart neighbours along each axis lie in row-major order.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Every coordinate of a shape in row-major order, as the dot product with `weights`.
pub(super) fn offsets(shape: &[usize], weights: &[usize]) -> Vec<usize> {
    let mut list = vec![0];
    if shape.contains(&0) {
        return Vec::new();
    }
    for (size, weight) in shape.iter().zip(weights) {
        list = list.iter().flat_map(|at| (0..*size).map(move |i| at + i * weight)).collect();
    }
    list
}

/// The whole numbers of a tensor `[L, *]` with its lead.
pub(super) fn integers(x: &Tensor) -> OpResult<Vec<i64>> {
    Ok(x.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?)
}

/// An index that may count from the end.
pub(super) fn wrapped(index: i64, size: usize) -> OpResult<usize> {
    let at = if index < 0 { index.saturating_add(size as i64) } else { index };
    match usize::try_from(at) {
        Ok(at) if at < size => Ok(at),
        _ => fail!("index {index} is outside the {size} entries it chooses from"),
    }
}

/// Positions `[lead, t]` as a tensor.
pub(super) fn positions(at: &[usize], lead: usize) -> OpResult<Tensor> {
    let at: Vec<i64> = at.iter().map(|at| *at as i64).collect();
    let count = at.len() / lead.max(1);
    Ok(Tensor::from_vec(at, (lead, count), &Device::Cpu)?)
}

/// Where single entries lie along one axis: position of index j is `base[j] + index[j] · stride`.
#[derive(Debug)]
pub(super) struct Along {
    base: Vec<usize>,
    stride: usize,
    size: usize,
}

impl Along {
    /// For indices of shape `index` into data of shape `data`.
    pub(super) fn new(data: &[usize], index: &[usize], axis: usize) -> OpResult<Self> {
        let fits =
            data.len() == index.len() && (0..data.len()).all(|a| a == axis || index[a] <= data[a]);
        if !fits {
            fail!(
                "indices of shape {index:?} do not go with data of shape {data:?} and axis {axis}"
            );
        }
        checked_count(index)?;
        let mut weights = strides(data);
        let stride = std::mem::take(&mut weights[axis]);
        Ok(Self { base: offsets(index, &weights), stride, size: data[axis] })
    }

    pub(super) fn at(&self, index: &Tensor) -> OpResult<Tensor> {
        let values = integers(index)?;
        let base = self.base.iter().cycle();
        let at = values
            .iter()
            .zip(base)
            .map(|(index, base)| Ok(base + wrapped(*index, self.size)? * self.stride));
        positions(&at.collect::<OpResult<Vec<_>>>()?, index.dims()[0])
    }
}

/// y[i, j] = x[index[i, j], j], and alike along other axes.
#[derive(Debug)]
struct GatherElements {
    along: Along,
    out: Vec<usize>,
    fixed: bool,
}

impl GatherElements {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let (data, index) = (setup.shape(0)?, setup.shape(1)?);
        let axis = axis_of(setup.attributes.int("axis", 0)?, data.len())?;
        let along = Along::new(data, index, axis)?;
        let fixed = setup.operand(1)?.constant.is_some();
        Ok(Box::new(Self { along, out: index.to_vec(), fixed }))
    }
}

impl Operator for GatherElements {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let at = self.along.at(required(inputs, 1)?)?;
        let y = pick(required(inputs, 0)?, &at, 1)?;
        let y = y.reshape(lead_shape(y.dims()[0], &self.out))?;
        Ok(Forward { outputs: vec![y], saved: vec![at] })
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        reverse_pick(sweep, 1)
    }

    fn moves_entries(&self) -> bool {
        self.fixed
    }
}

/// The cotangent of input 0 of an operator that saved its positions.
fn reverse_pick(sweep: &Reverse, width: usize) -> OpResult<Vec<Option<Tensor>>> {
    let shape = sweep.shape(0)?;
    let rows = shape.iter().product::<usize>() / width.max(1);
    let mut result = vec![None; sweep.inputs.len()];
    if sweep.wants(0) {
        let back = unpick(sweep, sweep.cotangent()?, &sweep.saved[0], width, rows)?;
        result[0] = Some(back.reshape(lead_shape(sweep.batch * sweep.width, shape))?);
    }
    Ok(result)
}

/// How tuples of indices name rows of `width` entries.
#[derive(Debug)]
pub(super) struct Tuples {
    /// Position of the first row that each tuple may name (it grows along batch axes).
    base: Vec<usize>,
    /// Sizes and strides, in rows, of the axes that a tuple names.
    axes: Vec<(usize, usize)>,
    pub(super) width: usize,
}

impl Tuples {
    /// For indices of shape `[…, k]` into data, the first `batch` axes of both being one.
    pub(super) fn new(data: &[usize], index: &[usize], batch: usize) -> OpResult<Self> {
        let Some((length, outer)) = index.split_last() else { fail!("the indices have no axis") };
        let named = batch.saturating_add(*length);
        if named > data.len() || batch > outer.len() || data[..batch] != outer[..batch] {
            fail!("indices of shape {index:?} do not go with data of shape {data:?}");
        }
        checked_count(index)?;
        let width: usize = data[named..].iter().product();
        let strides = strides(&data[..named]);
        let mut weights = strides[..batch].to_vec();
        weights.resize(outer.len(), 0);
        let axes = (batch..named).map(|axis| (data[axis], strides[axis])).collect();
        Ok(Self { base: offsets(outer, &weights), axes, width })
    }

    /// The rows named: `[L, tuples]`.
    pub(super) fn at(&self, index: &Tensor) -> OpResult<Tensor> {
        let (values, lead) = (integers(index)?, index.dims()[0]);
        let length = self.axes.len();
        let mut at = Vec::with_capacity(lead * self.base.len());
        for tuple in 0..lead * self.base.len() {
            let mut row = self.base[tuple % self.base.len()];
            for (index, (size, stride)) in values[tuple * length..].iter().zip(&self.axes) {
                row += wrapped(*index, *size)? * stride;
            }
            at.push(row);
        }
        positions(&at, lead)
    }
}

/// Rows of the data named by tuples of indices.
#[derive(Debug)]
struct GatherND {
    tuples: Tuples,
    out: Vec<usize>,
    fixed: bool,
}

impl GatherND {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let (data, index) = (setup.shape(0)?, setup.shape(1)?);
        let batch = usize::try_from(setup.attributes.int("batch_dims", 0)?).unwrap_or(usize::MAX);
        let tuples = Tuples::new(data, index, batch)?;
        let mut out = index[..index.len() - 1].to_vec();
        out.extend(&data[batch + tuples.axes.len()..]);
        checked_count(&out)?;
        let fixed = setup.operand(1)?.constant.is_some();
        Ok(Box::new(Self { tuples, out, fixed }))
    }
}

impl Operator for GatherND {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let at = self.tuples.at(required(inputs, 1)?)?;
        let y = pick(required(inputs, 0)?, &at, self.tuples.width)?;
        let y = y.reshape(lead_shape(y.dims()[0], &self.out))?;
        Ok(Forward { outputs: vec![y], saved: vec![at] })
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        reverse_pick(sweep, self.tuples.width)
    }

    fn moves_entries(&self) -> bool {
        self.fixed
    }
}

/// The k largest (or smallest) entries along an axis, and where they were.
#[derive(Debug)]
struct TopK {
    largest: bool,
    shape: Vec<usize>,
    axis: usize,
    k: usize,
}

impl TopK {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?.to_vec();
        let axis = axis_of(setup.attributes.int("axis", -1)?, shape.len())?;
        let k = match setup.constant_ints(1)? {
            Some(k) => k.first().copied().unwrap_or(0),
            None => setup.attributes.int("k", 0)?,
        };
        let k = match usize::try_from(k) {
            Ok(k) if k <= shape[axis] => k,
            _ => fail!("k = {k} entries of axis {axis} of shape {shape:?}"),
        };
        let largest = setup.attributes.int("largest", 1)? != 0;
        Ok(Box::new(Self { largest, shape, axis, k }))
    }

    /// Positions of the chosen entries within an example, and along the axis: `[L, *out]` each.
    fn choose<T: PartialOrd + Copy>(&self, values: &[T]) -> (Vec<usize>, Vec<usize>) {
        let size = self.shape[self.axis];
        let inner: usize = self.shape[self.axis + 1..].iter().product();
        let outer: usize = self.shape[..self.axis].iter().product();
        let mut at = Vec::new();
        let mut along = Vec::new();
        for (block, values) in values.chunks_exact((size * inner).max(1)).enumerate() {
            let columns = (0..inner).map(|i| self.best(values, i, inner)).collect::<Vec<_>>();
            for rank in 0..self.k {
                for (i, column) in columns.iter().enumerate() {
                    along.push(column[rank]);
                    at.push(((block % outer.max(1)) * size + column[rank]) * inner + i);
                }
            }
        }
        (at, along)
    }

    /// Indices of column `i` in order; of equals the first comes first, NaN counts as largest.
    fn best<T: PartialOrd + Copy>(&self, values: &[T], i: usize, inner: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.shape[self.axis]).collect();
        let at = |k: usize| values[k * inner + i];
        let nan = |x: T| x.partial_cmp(&x).is_none();
        order.sort_by(|a, b| {
            let (a, b) = if self.largest { (*b, *a) } else { (*a, *b) };
            at(a).partial_cmp(&at(b)).unwrap_or_else(|| nan(at(a)).cmp(&nan(at(b))))
        });
        order
    }
}

impl Operator for TopK {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let lead = x.dims()[0];
        let flat = x.flatten_all()?;
        let (at, along) = if x.dtype().is_float() {
            self.choose(&flat.to_dtype(DType::F64)?.to_vec1::<f64>()?)
        } else {
            self.choose(&integers(x)?)
        };
        let mut out = self.shape.clone();
        out[self.axis] = self.k;
        let at = positions(&at, lead)?;
        let values = pick(x, &at, 1)?.reshape(lead_shape(lead, &out))?;
        let along = positions(&along, lead)?.reshape(lead_shape(lead, &out))?;
        Ok(Forward { outputs: vec![values, along], saved: vec![at] })
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        reverse_pick(sweep, 1)
    }
}

/// The first entries of each sequence in reverse order.
#[derive(Debug)]
struct ReverseSequence {
    shape: Vec<usize>,
    batch: usize,
    time: usize,
}

impl ReverseSequence {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?.to_vec();
        let batch = axis_of(setup.attributes.int("batch_axis", 1)?, shape.len())?;
        let time = axis_of(setup.attributes.int("time_axis", 0)?, shape.len())?;
        if batch == time || setup.shape(1)? != [shape[batch]] {
            fail!("lengths of shape {:?} do not go with shape {shape:?}", setup.shape(1)?);
        }
        Ok(Box::new(Self { shape, batch, time }))
    }

    fn at(&self, lengths: &Tensor) -> OpResult<Tensor> {
        let strides = strides(&self.shape);
        let (size, sequences) = (self.shape[self.time], self.shape[self.batch]);
        let count: usize = self.shape.iter().product();
        let mut at = Vec::new();
        for lengths in integers(lengths)?.chunks_exact(sequences.max(1)) {
            for position in 0..count {
                let step = position / strides[self.time] % size;
                let length = lengths[position / strides[self.batch] % sequences];
                let length = usize::try_from(length).unwrap_or(0).min(size);
                let source = if step < length { length - 1 - step } else { step };
                at.push(position - step * strides[self.time] + source * strides[self.time]);
            }
        }
        positions(&at, lengths.dims()[0])
    }
}

impl Operator for ReverseSequence {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let at = self.at(required(inputs, 1)?)?;
        let y = pick(required(inputs, 0)?, &at, 1)?;
        let y = y.reshape(lead_shape(y.dims()[0], &self.shape))?;
        Ok(Forward { outputs: vec![y], saved: vec![at] })
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        reverse_pick(sweep, 1)
    }
}
