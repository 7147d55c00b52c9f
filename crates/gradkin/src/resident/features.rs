//! A block of examples encoded on the device: swept in micro-batches, each brought into its place.

use std::ops::Range;

use super::MOST_NUMBERS;
use super::held::{Frame, Held};
use super::swept::Swept;
use crate::blocks::even_steps;
use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::features::{Recipe, Side};
use crate::number::Number;
use crate::progress::Counter;
use crate::similarity::Reduction;

/// Examples ready for inner products.
#[derive(Default)]
pub(crate) struct Features {
    /// One per component.
    pub(super) held: Vec<Held>,
    /// Rank of K(x, x) per example.
    pub(super) ranks: Vec<usize>,
    /// Whether all gradients of an example are finite.
    pub(super) finite: Vec<bool>,
}

/// Numbers that an example takes while it is swept: values and cotangents, factors as they come, as they
/// are mapped, and in double precision for K(x, x).
fn swept_numbers(recipe: &Recipe) -> usize {
    let sets = recipe.parts.iter().map(|part| part.sweep.working_set(recipe.width()));
    (sets.max().unwrap_or(1) + 4 * recipe.numbers()).max(1)
}

/// Examples to sweep at once: a device wants many, and they may take a fourth of the budget.
pub(super) fn micro_batch(recipe: &Recipe, budget: usize, bytes: usize) -> usize {
    let most = MOST_NUMBERS.min(budget / 4 / bytes);
    (most / swept_numbers(recipe)).clamp(1, 512)
}

/// Numbers that a sweep holds at once.
pub(super) fn in_progress(recipe: &Recipe, budget: usize, bytes: usize) -> usize {
    micro_batch(recipe, budget, bytes) * swept_numbers(recipe)
}

impl Features {
    /// Sweep a range of examples, `micro` at a time, while the next ones are read.
    pub(super) fn encode<T: Number>(
        recipe: &Recipe,
        examples: &dyn Examples,
        range: Range<usize>,
        side: Side,
        micro: usize,
        counter: &Counter,
    ) -> Result<Self> {
        let outputs = recipe.width();
        let rows = if recipe.reduction == Reduction::Trace { 1 } else { outputs };
        let frame = Frame { outputs, rows };
        let mut features = Self::default();
        let read = |members: Range<usize>| examples.batch(members).map_err(Error::Examples);
        let mut batches = even_steps(range.clone(), micro).peekable();
        let mut ahead = batches.peek().cloned().map(read).transpose()?;
        while let (Some(members), Some(inputs)) = (batches.next(), ahead.take()) {
            let next = batches.peek().cloned();
            let count = members.len();
            let sweep = || -> Result<()> {
                let mut swept = Swept::new(recipe, examples, inputs, members.clone())?;
                let maps = swept.maps(recipe, side)?;
                swept.apply::<T>(&maps, outputs)?;
                features.lay(recipe, &swept, frame, (range.len(), members.start - range.start))?;
                features.ranks.extend(maps.iter().map(|map| map.as_ref().map_or(0, |(r, _)| *r)));
                features.finite.extend(maps.iter().map(Option::is_some));
                Ok(())
            };
            let (swept, read) = rayon::join(sweep, || next.map(read).transpose());
            swept?;
            ahead = read?;
            counter.add(count as u64)?;
        }
        Ok(features)
    }

    /// Lay a micro-batch down at an example of `count`; the first makes room for all.
    fn lay(
        &mut self,
        recipe: &Recipe,
        swept: &Swept,
        frame: Frame,
        (count, at): (usize, usize),
    ) -> Result<()> {
        if let Some((dtype, device)) = swept.place().filter(|_| self.held.is_empty()) {
            let zeros = |planned| Held::zeros(planned, frame, count, (dtype, &device));
            self.held = recipe.plan.iter().map(zeros).collect::<Result<_>>()?;
        }
        let pieces = self.held.iter().zip(swept.factors());
        pieces.into_iter().try_for_each(|(held, factor)| held.place(factor, frame, at))
    }

    /// How many examples there are.
    pub(super) fn count(&self) -> usize {
        self.finite.len()
    }
}
