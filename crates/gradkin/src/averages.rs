//! Kernel averages E_k[a](j) = (Σ_i K(j, i))⁻¹ Σ_i K(j, i) a_i in linear time (METHOD section 3; the
//! paper's section 4).
//!
//! Σ_i K(j, i) = J_j (Σ_i J_i)ᵀ and Σ_i K(j, i) a_i = J_j (Σ_i J_iᵀ a_i): two sweeps, whatever the
//! number of examples. With the trace for a reduction, weights are numbers k(j, i) and what is averaged
//! may have any width; with matrices it must have one number for each of the d outputs.

use faer::Mat;
use gradkin_network::Precision;

use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::gather::{Column, Keep, Met, Wanted, gather, meet, trace};
use crate::kernel::{Similarity, Undefined, check_labels};
use crate::number::Number;
use crate::plan::Purpose;
use crate::progress::{Counter, Stage, Watch};
use crate::quantity::Quantity;
use crate::similarity::{Kind, Reduction};

/// Whether an average can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It can.
    Fine,
    /// The weights nearly cancel, or their sum has no inverse: its condition is above
    /// [`Averages::WORST_CONDITION`]. Values are zero and mean nothing.
    Unstable,
    /// The query has no similarity. Values are zero and mean nothing.
    Undefined,
}

/// The average of one quantity at every query.
#[derive(Debug, Clone, PartialEq)]
pub struct Average {
    /// Numbers per query.
    pub width: usize,
    /// The kernel average E_k of the quantity, `[queries, width]`.
    pub values: Vec<f64>,
    /// The same without the query itself, where queries are the set's own examples; empty else.
    pub without_self: Vec<f64>,
}

/// Kernel averages of several quantities.
#[derive(Debug, Clone, PartialEq)]
pub struct Averages {
    /// One per quantity, in their order.
    pub averages: Vec<Average>,
    /// Σ_i k(j, i), or the trace of Σ_i K(j, i), per query.
    pub totals: Vec<f64>,
    /// How ill conditioned the division is, per query. For weights that are numbers, an upper bound
    /// of Σ|k| / |Σk|, by which the average can amplify noise: Σ_i ‖J_j‖‖J_i‖ / |Σ_i k(j, i)|. For
    /// matrices the ratio of the largest to the smallest singular value of Σ_i K(j, i) that is not
    /// numerically zero. Infinite where the state is not fine for want of any inverse.
    pub conditions: Vec<f64>,
    /// Whether each average can be relied on.
    pub states: Vec<State>,
    /// The same for averages without the query itself; empty where there are none.
    pub states_without_self: Vec<State>,
    /// Queries that have no similarity.
    pub undefined_queries: Undefined,
    /// Examples of the set that have no similarity and are in no average.
    pub undefined: Undefined,
}

impl Averages {
    /// The condition above which an average is called unstable.
    pub const WORST_CONDITION: f64 = 1e4;
}

/// Singular values below this share of the largest count as zero.
pub(crate) fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-5,
        Precision::F64 => 1e-11,
    }
}

impl Similarity<'_> {
    /// E_k of several quantities of a set, at each of `queries` or at the set's own examples.
    ///
    /// # Errors
    /// With `Reduction::Rotation`; where a quantity does not fit the set, or with matrices the number
    /// of outputs; where the sums do not fit the memory budget; where `watch` returns false.
    pub fn averages(
        &self,
        set: &dyn Examples,
        queries: Option<&dyn Examples>,
        quantities: &[Quantity],
        watch: Watch,
    ) -> Result<Averages> {
        let d = self.outputs()?;
        for quantity in quantities {
            quantity.check(set.len(), set.name())?;
            if self.settings().reduction == Reduction::Matrix && quantity.width() != d {
                return Err(Error::Usage(format!(
                    "with matrices for weights, what is averaged needs one number for each of the {d} \
                     outputs, not {}; use --reduce trace",
                    quantity.width()
                )));
            }
        }
        match (self.settings().reduction, self.network().precision()) {
            (Reduction::Rotation, _) => Err(Error::Usage(
                "averages need --reduce trace or none: the best rotation differs from pair to pair"
                    .into(),
            )),
            (_, Precision::F32) => self.averages_in::<f32>(set, queries, quantities, watch),
            (_, Precision::F64) => self.averages_in::<f64>(set, queries, quantities, watch),
        }
    }

    fn averages_in<T: Number>(
        &self,
        set: &dyn Examples,
        queries: Option<&dyn Examples>,
        quantities: &[Quantity],
        watch: Watch,
    ) -> Result<Averages> {
        let d = self.outputs()?;
        let matrices = self.settings().reduction == Reduction::Matrix;
        let written: Vec<Vec<f64>> = quantities
            .iter()
            .map(|q| if matrices { q.numbers(set.len()) } else { Vec::new() })
            .collect();
        let mut columns = vec![Column::Whole];
        columns.extend(quantities.iter().zip(&written).map(|(quantity, written)| {
            match (matrices, *quantity) {
                (true, _) => Column::Combined { values: written },
                (false, Quantity::Classes { ids, count }) => {
                    Column::Groups { ids, first: 0, count }
                }
                (false, Quantity::Numbers { values, width }) => Column::Scaled { values, width },
            }
        }));
        let rows: usize = columns.iter().map(|c| c.rows(d)).sum();
        let mut recipe = self.recipe(Purpose::Sums(rows))?;
        (recipe.positions_first, recipe.keep_own) = (true, true);
        recipe.maps_beside = columns.iter().all(Column::takes_maps);
        let others = queries.unwrap_or(set);
        [set, others].into_iter().try_for_each(|set| check_labels(&recipe, set))?;
        let total = (set.len() + others.len()) as u64;
        let counter = Counter::new(watch, Stage::Sweep, total);
        let budget = self.settings().memory;
        let keep = Keep::most::<T>(&recipe, (set, queries), budget);
        recipe.passes_written = keep.passes_written();
        let sums = gather::<T>(&recipe, set, &columns, (budget, keep), &counter)?;
        let tolerance = tolerance(self.network().precision());
        let count = set.len() - sums.not_finite.len() - sums.rank_zero.len();
        let weigh = Weigh { d, rows, matrices, quantities, norms: sums.norms, count, tolerance };
        let with_self = queries.is_none();
        let make = |i: usize, met: Met| {
            let own = with_self.then_some(i);
            (
                weigh.average(&met, None),
                own.map(|i| weigh.average(&met, Some(i))),
                met.rank,
                met.finite,
            )
        };
        let wanted = if matrices { Wanted::All } else { Wanted::Traces };
        let whose = (others, with_self);
        let found = meet(&recipe, &sums, whose, wanted, &counter, &make)?;
        let empty = |q: &Quantity| Average {
            width: q.width(),
            values: Vec::new(),
            without_self: Vec::new(),
        };
        let mut result = Averages {
            averages: quantities.iter().map(empty).collect(),
            totals: Vec::new(),
            conditions: Vec::new(),
            states: Vec::new(),
            states_without_self: Vec::new(),
            undefined_queries: Undefined::default(),
            undefined: Undefined { rank_zero: sums.rank_zero, not_finite: sums.not_finite },
        };
        for (i, (whole, without, rank, finite)) in found.into_iter().enumerate() {
            result.undefined_queries.note_one(i, rank, finite, true);
            for (average, values) in result.averages.iter_mut().zip(whole.values) {
                average.values.extend(values);
            }
            result.totals.push(whole.total);
            result.conditions.push(whole.condition);
            result.states.push(whole.state);
            if let Some(without) = without {
                for (average, values) in result.averages.iter_mut().zip(without.values) {
                    average.without_self.extend(values);
                }
                result.states_without_self.push(without.state);
            }
        }
        if self.settings().kind == Kind::Inner {
            result.undefined.rank_zero.clear();
        }
        Ok(result)
    }
}

/// How products with sums become averages.
struct Weigh<'a> {
    d: usize,
    rows: usize,
    matrices: bool,
    quantities: &'a [Quantity<'a>],
    /// Σ_i ‖J̃_i‖.
    norms: f64,
    /// How many examples the sums hold.
    count: usize,
    tolerance: f64,
}

struct Weighed {
    values: Vec<Vec<f64>>,
    total: f64,
    condition: f64,
    state: State,
}

impl Weigh<'_> {
    /// The averages of one query, without example `own` of the set where there is one.
    fn average(&self, met: &Met, own: Option<usize>) -> Weighed {
        if met.rank == 0 || !met.finite {
            let (condition, state) = (f64::INFINITY, State::Undefined);
            return Weighed { values: self.zeros(), total: 0.0, condition, state };
        }
        let found =
            if self.matrices { self.by_matrices(met, own) } else { self.by_numbers(met, own) };
        let (total, condition, values) = found;
        match values {
            Some(values) if condition <= Averages::WORST_CONDITION => {
                Weighed { values, total, condition, state: State::Fine }
            }
            _ => Weighed { values: self.zeros(), total, condition, state: State::Unstable },
        }
    }

    fn zeros(&self) -> Vec<Vec<f64>> {
        self.quantities.iter().map(|q| vec![0.0; q.width()]).collect()
    }

    fn by_numbers(&self, met: &Met, own: Option<usize>) -> (f64, f64, Option<Vec<Vec<f64>>>) {
        let d = self.d;
        let own_trace = trace(met.own, d, d, 0);
        let own_weight = if own.is_some() { own_trace } else { 0.0 };
        let total = met.product[0] - own_weight;
        let norm = own_trace.max(0.0).sqrt();
        let norms = self.norms - if own.is_some() { norm } else { 0.0 };
        let condition = norm * norms / total.abs();
        // What is left of a sum of which nearly all was taken off is rounding.
        let rounding = self.tolerance * own_weight.abs();
        let alone = own.is_some() && self.count < 2;
        if alone || total.abs() <= rounding || !condition.is_finite() {
            return (total, f64::INFINITY, None);
        }
        let mut first = 1;
        let values = self.quantities.iter().map(|quantity| {
            let width = quantity.width();
            let at = first;
            first += width;
            let value = |c: usize| {
                let sum = met.product[at + c];
                (sum - own.map_or(0.0, |i| own_weight * quantity.get(i, c))) / total
            };
            (0..width).map(value).collect()
        });
        (total, condition, Some(values.collect()))
    }

    fn by_matrices(&self, met: &Met, own: Option<usize>) -> (f64, f64, Option<Vec<Vec<f64>>>) {
        let d = self.d;
        let own_entry = |a: usize, b: usize| if own.is_some() { met.own[a * d + b] } else { 0.0 };
        if own.is_some() && self.count < 2 {
            return (0.0, f64::INFINITY, None);
        }
        let sum = Mat::from_fn(d, d, |a, b| met.product[a * self.rows + b] - own_entry(a, b));
        let total = (0..d).map(|c| sum[(c, c)]).sum();
        let Ok(svd) = sum.svd() else { return (total, f64::INFINITY, None) };
        let (u, s, v) = (svd.U(), svd.S(), svd.V());
        let top = (0..d).map(|k| s[k]).fold(0.0, f64::max);
        // What is left of a sum of which nearly all was taken off is rounding.
        let own_size = (0..d * d).map(|at| own_entry(at / d, at % d).abs()).fold(0.0, f64::max);
        let zero = self.tolerance * top.max(own_size);
        let kept: Vec<usize> = (0..d).filter(|k| s[*k] > 0.0 && s[*k] > zero).collect();
        let Some(least) = kept.iter().map(|k| s[*k]).min_by(f64::total_cmp) else {
            return (total, f64::INFINITY, None);
        };
        let values = self.quantities.iter().enumerate().map(|(at, quantity)| {
            let own_part = |a: usize| match own {
                Some(i) => (0..d).map(|b| met.own[a * d + b] * quantity.get(i, b)).sum(),
                None => 0.0,
            };
            let weighted: Vec<f64> =
                (0..d).map(|a| met.product[a * self.rows + d + at] - own_part(a)).collect();
            let along = |k: &usize| (0..d).map(|a| u[(a, *k)] * weighted[a]).sum::<f64>() / s[*k];
            let along: Vec<f64> = kept.iter().map(along).collect();
            let value = |c: usize| kept.iter().zip(&along).map(|(k, x)| v[(c, *k)] * x).sum();
            (0..d).map(value).collect()
        });
        (total, top / least, Some(values.collect()))
    }
}
