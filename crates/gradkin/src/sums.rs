//! Sums over a set in linear time: S = Σ_j Ĵ_j once, then ⟨Ĵ_i, S⟩ for each example.
//!
//! S is an array of the parameters' own size, d times. The inner product with it needs no array per
//! example either: a sum of outer products meets it as Σ_t δ_tᵀ S a_t. The sum over j of all
//! similarities of example i, the paper's soft neighbour count N_S (section 3), so costs two sweeps
//! instead of N.

use std::ops::Range;
use std::sync::Mutex;

use gradkin_network::Precision;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::features::{Arrays, Recipe, Side, Swept};
use crate::kernel::{Similarity, Undefined};
use crate::number::{Into, Number, dot, product_ab, product_abt};
use crate::progress::{Counter, Stage, Watch};
use crate::similarity::Reduction;

/// Soft neighbour counts of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftCounts {
    /// N_S(i) = Σ_j k(i, j), i itself included; zero for undefined examples.
    pub counts: Vec<f64>,
    /// Examples of the set that have no similarity and were left out of every sum.
    pub undefined: Undefined,
}

impl Similarity<'_> {
    /// N_S(i) = Σ_j k(i, j) over a whole set, in two passes and one copy of the parameters per
    /// output. The reduction must be the trace.
    ///
    /// # Errors
    /// Where another reduction is set, where the examples do not fit the network, and where `watch`
    /// returns false.
    pub fn soft_counts(&self, examples: &dyn Examples, watch: Watch) -> Result<SoftCounts> {
        if self.settings().reduction != Reduction::Trace {
            return Err(Error::Usage("sums in linear time need --reduce trace".into()));
        }
        match self.network().precision() {
            Precision::F32 => self.soft_counts_in::<f32>(examples, watch),
            Precision::F64 => self.soft_counts_in::<f64>(examples, watch),
        }
    }

    fn soft_counts_in<T: Number>(
        &self,
        examples: &dyn Examples,
        watch: Watch,
    ) -> Result<SoftCounts> {
        let recipe = self.recipe(1.0)?;
        let counter = Counter::new(watch, Stage::Sweep, 2 * examples.len() as u64);
        let total = gather::<T>(&recipe, examples, &counter)?;
        let (layout, ..) = recipe.layout();
        let states = chunks(&recipe, examples.len())
            .into_par_iter()
            .map(|range| {
                let swept = Swept::<T>::new(&recipe, examples, &layout, Side::Row, range.clone())?;
                let counts: Vec<(f64, usize, bool)> = (0..range.len())
                    .map(|b| {
                        let (rank, finite) = swept.state(b);
                        let count = if finite { total.against(&layout, &swept, b) } else { 0.0 };
                        (count, rank, finite)
                    })
                    .collect();
                counter.add(range.len() as u64)?;
                Ok(counts)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut result = SoftCounts { counts: Vec::new(), undefined: Undefined::default() };
        for (i, (count, rank, finite)) in states.into_iter().flatten().enumerate() {
            result.counts.push(count);
            if !finite {
                result.undefined.not_finite.push(i);
            } else if rank == 0 {
                result.undefined.rank_zero.push(i);
            }
        }
        Ok(result)
    }
}

fn chunks(recipe: &Recipe, count: usize) -> Vec<Range<usize>> {
    let step = recipe.micro_batch();
    (0..count).step_by(step).map(|start| start..(start + step).min(count)).collect()
}

/// Σ_j Ĵ_j, one array per component: `[d, groups·p·q]` with δ's index before a's, in double
/// precision.
struct Total {
    width: usize,
    arrays: Vec<Vec<f64>>,
}

fn gather<T: Number>(recipe: &Recipe, examples: &dyn Examples, counter: &Counter) -> Result<Total> {
    let width = recipe.width();
    let (layout, ..) = recipe.layout();
    let sizes = recipe.plan.iter().map(|planned| width * planned.shape.weights());
    let total = Mutex::new(Total { width, arrays: sizes.map(|n| vec![0.0; n]).collect() });
    chunks(recipe, examples.len()).into_par_iter().try_for_each(|range| -> Result<()> {
        let swept = Swept::<T>::new(recipe, examples, &layout, Side::Column, range.clone())?;
        if let Ok(mut total) = total.lock() {
            for b in (0..range.len()).filter(|b| swept.state(*b).1) {
                total.add(&layout, &swept, b);
            }
        }
        counter.add(range.len() as u64)
    })?;
    total.into_inner().map_err(|_| Error::Usage("a thread failed while summing".into()))
}

impl Total {
    /// Add one example's Ĵ.
    fn add<T: Number>(&mut self, layout: &[Arrays], swept: &Swept<T>, b: usize) {
        let d = self.width;
        for (component, arrays) in layout.iter().enumerate() {
            let delta = swept.mapped(component, b, d);
            let total = &mut self.arrays[component];
            match arrays {
                Arrays::Dense { .. } => {
                    total.iter_mut().zip(delta.iter()).for_each(|(s, x)| *s += x.to_f64());
                }
                Arrays::Factored { groups, positions, input, cotangent } => {
                    let (t, p, q) = (*positions, *input, *cotangent);
                    let mut block = vec![T::default(); q * p];
                    for c in 0..d {
                        for g in 0..groups.len() {
                            let a = &swept.input(component, b)[g * t * p..(g + 1) * t * p];
                            let at = (c * groups.len() + g) * t * q;
                            let turned = transpose(&delta[at..at + t * q], t, q);
                            product_ab((q, p, t), &turned, a, &mut block);
                            let at = (c * groups.len() + g) * q * p;
                            let target = &mut total[at..at + q * p];
                            target.iter_mut().zip(&block).for_each(|(s, x)| *s += x.to_f64());
                        }
                    }
                }
                Arrays::Rows { positions, width, .. } => {
                    let table = total.len() / d;
                    for c in 0..d {
                        for (t, row) in swept.index(component, b).iter().enumerate() {
                            let from = &delta[(c * positions + t) * width..][..*width];
                            let at = c * table + *row as usize * width;
                            let target = &mut total[at..at + width];
                            target.iter_mut().zip(from).for_each(|(s, x)| *s += x.to_f64());
                        }
                    }
                }
            }
        }
    }

    /// ⟨Ĵ, S⟩ of one example: Σ_c Σ_t δ_tᵀ S_c a_t by every component.
    fn against<T: Number>(&self, layout: &[Arrays], swept: &Swept<T>, b: usize) -> f64 {
        let d = self.width;
        let mut sum = 0.0;
        for (component, arrays) in layout.iter().enumerate() {
            let delta = swept.mapped(component, b, d);
            let total = &self.arrays[component];
            sum += match arrays {
                Arrays::Dense { .. } => {
                    total.iter().zip(delta.iter()).map(|(s, x)| s * x.to_f64()).sum::<f64>()
                }
                Arrays::Factored { groups, positions, input, cotangent } => {
                    let (t, p, q) = (*positions, *input, *cotangent);
                    let mut part = 0.0;
                    for (g, c) in (0..groups.len()).flat_map(|g| (0..d).map(move |c| (g, c))) {
                        let a = &swept.input(component, b)[g * t * p..(g + 1) * t * p];
                        let a: Vec<f64> = a.iter().map(|x| x.to_f64()).collect();
                        let block = (c * groups.len() + g) * q * p;
                        let mut reached = vec![0.0; t * q];
                        let s = &total[block..block + q * p];
                        product_abt((t, q, p), &a, s, &mut reached, Into::Replace);
                        let at = (c * groups.len() + g) * t * q;
                        let own: Vec<f64> =
                            delta[at..at + t * q].iter().map(|x| x.to_f64()).collect();
                        part += dot(&reached, &own);
                    }
                    part
                }
                Arrays::Rows { positions, width, .. } => {
                    let table = total.len() / d;
                    let mut part = 0.0;
                    for c in 0..d {
                        for (t, row) in swept.index(component, b).iter().enumerate() {
                            let own = &delta[(c * positions + t) * width..][..*width];
                            let s = &total[c * table + *row as usize * width..][..*width];
                            part += own.iter().zip(s).map(|(x, s)| x.to_f64() * s).sum::<f64>();
                        }
                    }
                    part
                }
            };
        }
        sum
    }
}

/// `[rows, columns]` → `[columns, rows]`.
fn transpose<T: Number>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| x[r * columns + c])).collect()
}
