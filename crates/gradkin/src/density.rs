//! Soft neighbour counts N_S in linear time (METHOD section 2; the paper's section 3).

use gradkin_network::Precision;

use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::gather::{Column, Keep, Met, Wanted, blocks_that_fit, gather, meet};
use crate::kernel::{Similarity, Undefined, check_labels};
use crate::number::Number;
use crate::plan::Purpose;
use crate::progress::{Counter, Stage, Watch};
use crate::quantity::Quantity;
use crate::similarity::{Kind, Reduction};

/// Soft neighbour counts.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftCounts {
    /// N_S(i) = Σ_j k(i, j) over the set, for each query. An example that belongs to the set counts
    /// itself. Zero for undefined queries.
    pub counts: Vec<f64>,
    /// The same over the examples of each class, `[queries, classes]`; empty where no classes were
    /// given.
    pub by_class: Vec<f64>,
    /// Queries that have no similarity.
    pub undefined_queries: Undefined,
    /// Examples of the set that have no similarity and are in no count.
    pub undefined: Undefined,
}

impl Similarity<'_> {
    /// N_S(i) = Σ_j k(i, j) over a set, for each of `queries` or for the set's own examples, and the
    /// same class by class where `classes` (of the set) are given.
    ///
    /// Takes two sweeps over the data and one array of the parameters' size per output (and class);
    /// one sweep where the set meets itself and all its factors fit an eighth of the memory budget.
    /// Where sums of all classes do not fit the budget, as many as fit are taken at a time.
    /// The reduction must be the trace.
    ///
    /// # Errors
    /// Where another reduction is set, where the examples or the classes do not fit, where the sums
    /// do not fit the memory budget, and where `watch` returns false.
    pub fn soft_counts(
        &self,
        set: &dyn Examples,
        queries: Option<&dyn Examples>,
        classes: Option<Quantity>,
        watch: Watch,
    ) -> Result<SoftCounts> {
        if self.settings().reduction != Reduction::Trace {
            return Err(Error::Usage("sums in linear time need --reduce trace".into()));
        }
        match self.network().precision() {
            Precision::F32 => self.soft_counts_in::<f32>(set, queries, classes, watch),
            Precision::F64 => self.soft_counts_in::<f64>(set, queries, classes, watch),
        }
    }

    fn soft_counts_in<T: Number>(
        &self,
        set: &dyn Examples,
        queries: Option<&dyn Examples>,
        classes: Option<Quantity>,
        watch: Watch,
    ) -> Result<SoftCounts> {
        let d = self.outputs()?;
        if let Some(Quantity::Numbers { .. }) = classes {
            return Err(Error::Usage("counts by class need class labels".into()));
        }
        if let Some(classes) = classes {
            classes.check(set.len(), set.name())?;
        }
        let groups = classes.map_or(1, |c| c.width()).max(1);
        let mut recipe = self.recipe(Purpose::Sums(d * groups))?;
        (recipe.positions_first, recipe.maps_beside) = (true, true);
        let others = queries.unwrap_or(set);
        [set, others].into_iter().try_for_each(|set| check_labels(&recipe, set))?;
        let budget = self.settings().memory;
        let keep = Keep::most::<T>(&recipe, (set, queries), budget);
        recipe.passes_written = keep.passes_written();
        // As many classes at a time as the budget holds sums for, each time with sweeps of their own.
        let held = blocks_that_fit(&recipe, budget).min(groups);
        let rounds = groups.div_ceil(held);
        let total = ((set.len() + others.len()) * rounds) as u64;
        let counter = Counter::new(watch, Stage::Sweep, total);
        let whose = (others, queries.is_none());
        let mut found: Vec<(Vec<f64>, usize, bool)> = Vec::new();
        let (mut rank_zero, mut not_finite) = (Vec::new(), Vec::new());
        for first in (0..groups).step_by(held) {
            let count = held.min(groups - first);
            let column = match classes {
                Some(Quantity::Classes { ids, .. }) => Column::Groups { ids, first, count },
                _ => Column::Whole,
            };
            let sums = gather::<T>(&recipe, set, &[column], (budget, keep), &counter)?;
            let make = |_: usize, met: Met| (met.product.to_vec(), met.rank, met.finite);
            let more = meet(&recipe, &sums, whose, Wanted::Traces, &counter, &make)?;
            if found.is_empty() {
                found = more;
            } else {
                found.iter_mut().zip(more).for_each(|(own, more)| own.0.extend(more.0));
            }
            (rank_zero, not_finite) = (sums.rank_zero, sums.not_finite);
        }
        let mut result = SoftCounts {
            counts: Vec::with_capacity(found.len()),
            by_class: Vec::new(),
            undefined_queries: Undefined::default(),
            undefined: Undefined { rank_zero, not_finite },
        };
        let zero_counts = self.settings().kind != Kind::Inner;
        for (i, (by_class, rank, finite)) in found.into_iter().enumerate() {
            result.counts.push(by_class.iter().sum());
            if classes.is_some() {
                result.by_class.extend(by_class);
            }
            result.undefined_queries.note_one(i, rank, finite, zero_counts);
        }
        if !zero_counts {
            result.undefined.rank_zero.clear();
        }
        Ok(result)
    }
}
