//! ScatterElements and ScatterND: entries of the data replaced by, or joined with, updates.

use candle_core::{DType, Device, Tensor};

use super::picking::{Along, Tuples, integers, pick};
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::{axis_of, example_shape, lead_shape};

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Scatter", Scatter::elements),
    ("ScatterElements", Scatter::elements),
    ("ScatterND", Scatter::tuples),
];

/// What becomes of an entry that updates name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reduction {
    /// The last update stands.
    Replace,
    Add,
    Multiply,
    Smallest,
    Largest,
}

#[derive(Debug)]
enum Places {
    Elements(Along),
    Tuples(Tuples),
}

/// y = x, but y[at] = x[at] ∘ updates.
#[derive(Debug)]
struct Scatter {
    reduction: Reduction,
    places: Places,
    /// Entries of one example of the data.
    count: usize,
}

impl Scatter {
    fn elements(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let (data, index) = (setup.shape(0)?, setup.shape(1)?);
        let axis = axis_of(setup.attributes.int("axis", 0)?, data.len())?;
        if setup.shape(2)? != index {
            fail!("indices of shape {index:?} and updates of shape {:?}", setup.shape(2)?);
        }
        Self::joined(setup, Places::Elements(Along::new(data, index, axis)?))
    }

    fn tuples(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let (data, index) = (setup.shape(0)?, setup.shape(1)?);
        let tuples = Tuples::new(data, index, 0)?;
        let length = index.last().copied().unwrap_or(0);
        let mut wanted = index[..index.len() - 1].to_vec();
        wanted.extend(&data[length..]);
        if setup.shape(2)? != wanted {
            fail!("updates of shape {:?} where {wanted:?} is needed", setup.shape(2)?);
        }
        Self::joined(setup, Places::Tuples(tuples))
    }

    fn joined(setup: &Setup, places: Places) -> OpResult<Box<dyn Operator>> {
        let reduction = match setup.attributes.text("reduction", "none")? {
            "none" => Reduction::Replace,
            "add" => Reduction::Add,
            "mul" => Reduction::Multiply,
            "min" => Reduction::Smallest,
            "max" => Reduction::Largest,
            other => fail!("reduction `{other}` is unknown"),
        };
        let count = setup.shape(0)?.iter().product();
        Ok(Box::new(Self { reduction, places, count }))
    }

    /// The position of every entry of the updates: `[1 or L, t]`.
    fn at(&self, index: &Tensor) -> OpResult<Tensor> {
        match &self.places {
            Places::Elements(along) => along.at(index),
            Places::Tuples(tuples) => {
                let rows = tuples.at(index)?;
                let (lead, count) = rows.dims2()?;
                let within = Tensor::arange(0i64, tuples.width as i64, &Device::Cpu)?;
                let first = (rows.unsqueeze(2)? * tuples.width as f64)?;
                Ok(first.broadcast_add(&within)?.reshape((lead, count * tuples.width))?)
            }
        }
    }

    /// All three as `[L, n]`, `[L, t]` and `[L, t]`, L being the largest of their leads.
    fn flat(&self, x: &Tensor, at: &Tensor, updates: &Tensor) -> OpResult<[Tensor; 3]> {
        let lead = [x, at, updates].iter().map(|t| t.dims()[0]).max().unwrap_or(1);
        let flat = |t: &Tensor| -> OpResult<Tensor> {
            let own = t.dims()[0];
            let flat = t.contiguous()?.reshape((own, t.elem_count() / own.max(1)))?;
            Ok(flat.broadcast_as((lead, flat.dims()[1]))?.contiguous()?)
        };
        Ok([flat(x)?, flat(at)?, flat(updates)?])
    }

    /// The result for flat operands, and its slopes.
    fn step(&self, x: &Tensor, at: &Tensor, updates: &Tensor) -> OpResult<Step<Tensor>> {
        let (shape, kind) = (x.shape().clone(), x.dtype());
        let at: Vec<i64> = at.flatten_all()?.to_vec1()?;
        let (y, data, updates) = if kind.is_float() {
            let step = Step::run(self.reduction, x.dims()[0], &reals(x)?, &at, &reals(updates)?);
            (Tensor::from_vec(step.y, shape, &Device::Cpu)?, step.data, step.updates)
        } else {
            let (values, updates) = (integers(x)?, integers(updates)?);
            let step = Step::run(self.reduction, x.dims()[0], &values, &at, &updates);
            (Tensor::from_vec(step.y, shape, &Device::Cpu)?, step.data, step.updates)
        };
        Ok(Step { y: y.to_dtype(kind)?, data, updates })
    }
}

fn reals(t: &Tensor) -> candle_core::Result<Vec<f64>> {
    t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// A number type that updates can be joined in.
trait Number: Copy + PartialOrd {
    fn times(self, other: Self) -> Self;
    fn plus(self, other: Self) -> Self;
    fn real(self) -> f64;
}

impl Number for f64 {
    fn times(self, other: Self) -> Self {
        self * other
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn real(self) -> f64 {
        self
    }
}

impl Number for i64 {
    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }

    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn real(self) -> f64 {
        self as f64
    }
}

/// The result and its slopes: ∂y/∂x at each entry, and ∂y[at]/∂update for each update.
struct Step<Y> {
    y: Y,
    data: Vec<f64>,
    updates: Vec<f64>,
}

impl<T: Number> Step<Vec<T>> {
    fn run(how: Reduction, lead: usize, x: &[T], at: &[i64], updates: &[T]) -> Self {
        let (n, t) = (x.len() / lead.max(1), at.len() / lead.max(1));
        let place = |k: usize| k / t.max(1) * n + at[k] as usize;
        let mut y = x.to_vec();
        // Which factor an entry comes from: none for the data, else the update's number.
        let mut from: Vec<Option<usize>> = vec![None; y.len()];
        for (k, update) in updates.iter().enumerate() {
            let (old, p) = (y[place(k)], place(k));
            let (value, taken) = match how {
                Reduction::Replace => (*update, true),
                Reduction::Add => (old.plus(*update), false),
                Reduction::Multiply => (old.times(*update), false),
                Reduction::Smallest => (if *update < old { *update } else { old }, *update < old),
                Reduction::Largest => (if *update > old { *update } else { old }, *update > old),
            };
            y[p] = value;
            if taken {
                from[p] = Some(k);
            }
        }
        let chosen = |k: usize| f64::from(from[place(k)] == Some(k));
        let (data, updates) = match how {
            Reduction::Add => (vec![1.0; y.len()], vec![1.0; updates.len()]),
            Reduction::Multiply => product_slopes(x, updates, place),
            _ => (
                from.iter().map(|from| f64::from(from.is_none())).collect(),
                (0..updates.len()).map(chosen).collect(),
            ),
        };
        Self { y, data, updates }
    }
}

/// The slopes of a product by its factors: the product of the others, also where some are zero.
fn product_slopes<T: Number>(
    x: &[T],
    updates: &[T],
    place: impl Fn(usize) -> usize,
) -> (Vec<f64>, Vec<f64>) {
    let mut product = vec![1.0; x.len()];
    let mut zeros = vec![0usize; x.len()];
    let mut join = |p: usize, factor: f64| match factor == 0.0 {
        true => zeros[p] += 1,
        false => product[p] *= factor,
    };
    x.iter().enumerate().for_each(|(p, x)| join(p, x.real()));
    updates.iter().enumerate().for_each(|(k, u)| join(place(k), u.real()));
    let slope = |p: usize, factor: f64| match (factor == 0.0, zeros[p]) {
        (false, 0) => product[p] / factor,
        (true, 1) => product[p],
        _ => 0.0,
    };
    let data = x.iter().enumerate().map(|(p, x)| slope(p, x.real())).collect();
    (data, updates.iter().enumerate().map(|(k, u)| slope(place(k), u.real())).collect())
}

impl Operator for Scatter {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let at = self.at(required(inputs, 1)?)?;
        let [flat, at_all, updates] = self.flat(x, &at, required(inputs, 2)?)?;
        let shape = lead_shape(flat.dims()[0], example_shape(x));
        if self.reduction == Reduction::Add {
            let y = if at_all.elem_count() == 0 {
                flat
            } else {
                flat.scatter_add(&at_all, &updates, 1)?
            };
            return Ok(Forward { outputs: vec![y.reshape(shape)?], saved: vec![at] });
        }
        let step = self.step(&flat, &at_all, &updates)?;
        Ok(Forward { outputs: vec![step.y.reshape(shape)?], saved: vec![at] })
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let (cotangent, at) = (sweep.cotangent()?, &sweep.saved[0]);
        let rows = sweep.batch * sweep.width;
        let [x, at_all, updates] = self.flat(sweep.input(0)?, at, sweep.input(2)?)?;
        let step = self.step(&x, &at_all, &updates)?;
        let slope = |values: Vec<f64>, like: &Tensor| -> OpResult<Tensor> {
            Ok(Tensor::from_vec(values, like.shape(), &Device::Cpu)?.to_dtype(cotangent.dtype())?)
        };
        let flat = cotangent.contiguous()?.reshape((rows, self.count))?;
        let mut result = vec![None; sweep.inputs.len()];
        if sweep.wants(0) {
            let back = sweep.times(&flat, &slope(step.data, &x)?)?;
            result[0] = Some(back.reshape(lead_shape(rows, sweep.shape(0)?))?);
        }
        if sweep.wants(2) {
            let by_row = at.dims()[0] > 1;
            let at = if by_row { repeat(sweep, at)? } else { at.clone() };
            let back = sweep.times(&pick(&flat, &at, 1)?, &slope(step.updates, &updates)?)?;
            result[2] = Some(back.reshape(lead_shape(rows, sweep.shape(2)?))?);
        }
        Ok(result)
    }
}

/// `[B, *]` → `[B·d, *]`, each example's row once per output.
pub(super) fn repeat(sweep: &Reverse, x: &Tensor) -> OpResult<Tensor> {
    let mut shape = vec![sweep.batch, sweep.width];
    shape.extend(example_shape(x));
    let full = lead_shape(sweep.batch * sweep.width, example_shape(x));
    Ok(x.unsqueeze(1)?.broadcast_as(shape)?.contiguous()?.reshape(full)?)
}
