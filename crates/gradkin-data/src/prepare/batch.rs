//! Batches: a range of examples, prepared, in the number type that is asked for.

use std::ops::Range;

use super::plan::Plan;
use crate::array::{BEYOND_EXACT, BEYOND_F32, NOT_WHOLE, element_count, position, whole};
use crate::dataset::{Dataset, Storage};
use crate::error::{DataError, Result, show_shape};

const OVERFLOWS: &str = "is not finite after --scale, --mean and --std";

/// A data set ready to be cut into batches. Made by [`Dataset::prepare`].
#[derive(Debug, Clone)]
pub struct Prepared {
    dataset: Dataset,
    plans: Vec<Plan>,
}

impl Prepared {
    pub(super) fn new(dataset: Dataset, plans: Vec<Plan>) -> Self {
        Self { dataset, plans }
    }

    /// The data set the batches are cut from.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.dataset.len()
    }

    /// Whether there are no examples; only an empty view has none.
    pub fn is_empty(&self) -> bool {
        self.dataset.is_empty()
    }

    /// The shape of one example of each of the network's inputs, every length known.
    pub fn shapes(&self) -> Vec<&[usize]> {
        self.plans.iter().map(|plan| plan.shape.as_slice()).collect()
    }

    /// The same preparation of another view, for instance a shuffled or shortened one.
    ///
    /// An error if an example does not exist.
    pub fn subset(&self, examples: &[usize]) -> Result<Self> {
        Ok(Self { dataset: self.dataset.subset(examples)?, plans: self.plans.clone() })
    }

    /// Where the examples at `range` stand in the file; see [`Dataset::id`].
    ///
    /// # Panics
    /// If `range` goes beyond the examples.
    pub fn ids(&self, range: Range<usize>) -> Vec<usize> {
        range.map(|i| self.dataset.id(i)).collect()
    }

    /// The examples at `range` for the network's input `input`, `[n, *shape]` row-major.
    ///
    /// Errors: a value that is NaN, infinite, or beyond the range of `f32`; a
    /// picture that can no longer be read; no such examples or input.
    pub fn batch_f32(&self, input: usize, range: Range<usize>) -> Result<Vec<f32>> {
        self.batch(input, range, narrow)
    }

    /// Like [`batch_f32`](Self::batch_f32), in double precision.
    pub fn batch_f64(&self, input: usize, range: Range<usize>) -> Result<Vec<f64>> {
        self.batch(input, range, Ok)
    }

    /// Like [`batch_f32`](Self::batch_f32), as integers; a value that is not a
    /// whole number is an error.
    pub fn batch_i64(&self, input: usize, range: Range<usize>) -> Result<Vec<i64>> {
        let plan = self.check(input, &range)?;
        if !plan.integer {
            return self.batch(input, range, |x| whole(x).map_err(|_| NOT_WHOLE));
        }
        let mut out = self.reserve(plan, &range)?;
        for i in range {
            self.storage(plan).with_row(self.dataset.row(i), |data, offset, shape| {
                for flat in 0..shape.iter().product() {
                    let value = data.i64_at(offset + flat);
                    out.push(value.map_err(|x| self.wrong(plan, i, flat, shape, x, NOT_WHOLE))?);
                }
                Ok(())
            })?;
        }
        Ok(out)
    }

    fn batch<T>(
        &self,
        input: usize,
        range: Range<usize>,
        convert: impl Fn(f64) -> Result<T, &'static str>,
    ) -> Result<Vec<T>> {
        let plan = self.check(input, &range)?;
        let mut out = self.reserve(plan, &range)?;
        for i in range {
            for (flat, x) in self.example(plan, i)?.into_iter().enumerate() {
                let converted = if x.is_finite() { convert(x) } else { Err(OVERFLOWS) };
                out.push(converted.map_err(|why| self.wrong(plan, i, flat, &plan.shape, x, why))?);
            }
        }
        Ok(out)
    }

    /// Example `i`, prepared.
    fn example(&self, plan: &Plan, i: usize) -> Result<Vec<f64>> {
        self.storage(plan).with_row(self.dataset.row(i), |data, offset, shape| {
            let count = shape.iter().product();
            let mut values = Vec::with_capacity(count);
            for flat in 0..count {
                let value = data.f64_at(offset + flat);
                let x = value.map_err(|x| self.wrong(plan, i, flat, shape, x, BEYOND_EXACT))?;
                if !x.is_finite() {
                    return Err(self.not_finite(plan, i, flat, shape, x));
                }
                values.push(x);
            }
            if plan.integer {
                return Ok(values);
            }
            let mut values = plan.arrange(values, shape);
            plan.affine.apply(&mut values);
            Ok(values)
        })
    }

    fn check(&self, input: usize, range: &Range<usize>) -> Result<&Plan> {
        if range.end > self.len() {
            let reason = format!(
                "examples {} to {} are asked for, but {} has {}",
                range.start,
                range.end,
                self.dataset.source,
                self.len()
            );
            return Err(DataError::setting("batch", reason));
        }
        self.plans.get(input).ok_or_else(|| {
            let reason = format!("input {input} is asked for, but there are {}", self.plans.len());
            DataError::setting("batch", reason)
        })
    }

    fn reserve<T>(&self, plan: &Plan, range: &Range<usize>) -> Result<Vec<T>> {
        let mut out = Vec::new();
        let count = element_count(&[&[range.len()], plan.shape.as_slice()].concat());
        match count.map(|count| out.try_reserve_exact(count)) {
            Some(Ok(())) => Ok(out),
            _ => {
                let shape = show_shape(&plan.shape);
                let reason = format!("{} examples of shape {shape} exceed memory", range.len());
                Err(DataError::setting("batch", reason))
            }
        }
    }

    fn storage(&self, plan: &Plan) -> &Storage {
        &self.dataset.inputs[plan.input].storage
    }

    /// The file example `i` is in, and its number in it.
    fn place(&self, plan: &Plan, i: usize) -> (String, usize) {
        let path = match self.storage(plan) {
            Storage::Images(folder) => folder.path(self.dataset.row(i)).display().to_string(),
            Storage::Memory(_) => self.dataset.inputs[plan.input].title(&self.dataset.source),
        };
        (path, self.dataset.id(i))
    }

    fn wrong(
        &self,
        plan: &Plan,
        i: usize,
        flat: usize,
        shape: &[usize],
        value: impl ToString,
        reason: &'static str,
    ) -> DataError {
        let (path, example) = self.place(plan, i);
        let position = position(flat, shape);
        DataError::OutOfRange { path, example, position, value: value.to_string(), reason }
    }

    fn not_finite(
        &self,
        plan: &Plan,
        i: usize,
        flat: usize,
        shape: &[usize],
        value: f64,
    ) -> DataError {
        let (path, example) = self.place(plan, i);
        DataError::NotFinite { path, example, position: position(flat, shape), value }
    }
}

fn narrow(x: f64) -> Result<f32, &'static str> {
    let narrow = x as f32;
    if narrow.is_finite() { Ok(narrow) } else { Err(BEYOND_F32) }
}
