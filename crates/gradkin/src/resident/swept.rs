//! A micro-batch swept on the device, and what is done to it before it is laid down: examples that are
//! not finite are cleared, the others multiplied with their maps.

use std::ops::Range;

use gradkin_network::candle_core::{DType, Device, Tensor};
use gradkin_network::{Factor, InputData, NetworkError, Sink};
use rayon::prelude::*;

use super::add;
use super::own::{self_kernel, wide};
use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::features::{LARGEST, Map, Part, Recipe, Side};
use crate::number::{Number, doubles};
use crate::plan::{Form, Planned};

/// Every component's factor in its planned form, as it came.
pub(super) struct Swept {
    factors: Vec<Factor>,
    count: usize,
}

/// Keeps each factor on the device; those of which gradients are wanted, written out.
struct Kept<'k> {
    plan: &'k [Planned],
    factors: Vec<Option<Factor>>,
}

impl Sink for Kept<'_> {
    fn accept(&mut self, component: usize, factor: Factor) -> Result<(), NetworkError> {
        let factor = match self.writes_out(component) {
            true => Factor::Dense(factor.to_dense()?),
            false => factor,
        };
        self.factors[component] = Some(factor);
        Ok(())
    }

    fn writes_out(&self, component: usize) -> bool {
        !matches!(self.plan[component].form, Form::Factored | Form::Rows)
    }
}

/// A factor came in another form than its component's.
pub(super) fn mismatch() -> Error {
    Error::Usage("a component's factor came in another form than the planned one".into())
}

impl Swept {
    /// Sweep the examples of a range, given what enters the network.
    pub(super) fn new(
        recipe: &Recipe,
        examples: &dyn Examples,
        inputs: Vec<InputData>,
        range: Range<usize>,
    ) -> Result<Self> {
        let count = range.len();
        let mut factors = Vec::with_capacity(recipe.plan.len());
        for Part { sweep, output } in &recipe.parts {
            let pass = sweep.forward(inputs.clone(), count)?;
            let seeds = output.seeds(sweep, &pass, examples.labels(), range.start)?;
            let plan = &recipe.plan[factors.len()..][..sweep.components().len()];
            let mut kept = Kept { plan, factors: vec![None; plan.len()] };
            sweep.reverse(&pass, &seeds, &mut kept)?;
            for factor in kept.factors {
                factors.push(factor.ok_or_else(mismatch)?);
            }
        }
        Ok(Self { factors, count })
    }

    pub(super) fn factors(&self) -> &[Factor] {
        &self.factors
    }

    /// The device that the factors lie on, and their type.
    pub(super) fn place(&self) -> Option<(DType, Device)> {
        let [
            Factor::Dense(of)
            | Factor::Outer { cotangent: of, .. }
            | Factor::Rows { cotangent: of, .. },
            ..,
        ] = self.factors.as_slice()
        else {
            return None;
        };
        Some((of.dtype(), of.device().clone()))
    }

    /// The maps of all examples on a side.
    pub(super) fn maps(&self, recipe: &Recipe, side: Side) -> Result<Vec<Map>> {
        let d = recipe.width();
        if recipe.goes_without_kernels() && self.surely_finite()? {
            return Ok(vec![Some((d, None)); self.count]);
        }
        let mut sum = None;
        for factor in &self.factors {
            sum = Some(add(sum, self_kernel(factor)?)?);
        }
        let kernels = sum.map(|sum| doubles(&sum)).transpose()?.unwrap_or_default();
        Ok(kernels.par_chunks_exact(d * d).map(|kernel| recipe.map(kernel, side)).collect())
    }

    /// Whether no gradient can be infinite or NaN. Sums bound the largest entries, and unlike maxima they
    /// pass NaN on.
    fn surely_finite(&self) -> Result<bool> {
        let total = |x: &Tensor| -> Result<Tensor> {
            Ok(wide(&x.contiguous()?.reshape((self.count, ()))?.abs()?.sum(1)?)?)
        };
        let mut sum = None;
        for factor in &self.factors {
            let bound = match factor {
                Factor::Dense(gradient) => total(gradient)?,
                Factor::Outer { input, cotangent, .. } => (total(input)? * total(cotangent)?)?,
                Factor::Rows { cotangent, .. } => total(cotangent)?,
            };
            sum = Some(add(sum, bound)?);
        }
        let bounds = sum.map(|sum| doubles(&sum)).transpose()?.unwrap_or_default();
        Ok(bounds.iter().all(|bound| *bound < LARGEST))
    }

    /// Zeros where an example is not finite, and every other Jacobian multiplied with its map.
    pub(super) fn apply<T: Number>(&mut self, maps: &[Map], width: usize) -> Result<()> {
        if maps.iter().any(|map| matches!(map, Some((_, Some(_))))) {
            let device = self.place().map_or(Device::Cpu, |(_, device)| device);
            let maps = stacked::<T>(maps, width, &device)?;
            for factor in &mut self.factors {
                let delta = cotangent(factor);
                *delta = mapped(delta, &maps)?;
            }
        }
        if maps.iter().any(Option::is_none) {
            let finite: Vec<u8> = maps.iter().map(|map| map.is_some().into()).collect();
            for factor in &mut self.factors {
                let delta = cotangent(factor);
                *delta = cleared(delta, &finite)?;
                if let Factor::Outer { input, .. } = factor {
                    *input = cleared(input, &finite)?;
                }
            }
        }
        Ok(())
    }
}

/// The part of a factor that holds outputs.
fn cotangent(factor: &mut Factor) -> &mut Tensor {
    match factor {
        Factor::Dense(gradient) => gradient,
        Factor::Outer { cotangent, .. } | Factor::Rows { cotangent, .. } => cotangent,
    }
}

/// Maps as `[B, d, d]`.
fn stacked<T: Number>(maps: &[Map], d: usize, device: &Device) -> Result<Tensor> {
    let mut values = Vec::with_capacity(maps.len() * d * d);
    for map in maps {
        match map {
            Some((_, Some(map))) => values.extend(map.iter().map(|m| T::from_f64(*m))),
            _ => values.resize(values.len() + d * d, T::default()),
        }
    }
    Ok(Tensor::from_vec(values, (maps.len(), d, d), device)?)
}

/// δ `[B, d, *]` with its outputs turned by `[B, d, d]`.
fn mapped(delta: &Tensor, maps: &Tensor) -> Result<Tensor> {
    let (batch, d, _) = maps.dims3()?;
    let flat = delta.contiguous()?.reshape((batch, d, ()))?;
    Ok(maps.matmul(&flat)?.reshape(delta.shape())?)
}

/// `[B, *]` with zeros for every example without a flag.
fn cleared(of: &Tensor, flags: &[u8]) -> Result<Tensor> {
    let mut shape = vec![1; of.rank()];
    shape[0] = flags.len();
    let flags = Tensor::from_slice(flags, shape, of.device())?;
    let of = of.contiguous()?;
    Ok(flags.broadcast_as(of.shape())?.contiguous()?.where_cond(&of, &of.zeros_like()?)?)
}
