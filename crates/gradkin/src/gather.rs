//! Weighted sums of Jacobians over a set, S = Σ_j A_j J̃_j, and products of other Jacobians with them.
//!
//! S has the parameters' own size, once per row of A. Meeting it needs no array per example either:
//! where a gradient is a sum of outer products, ⟨Σ_t δ_t ⊗ a_t, S⟩ = Σ_t δ_tᵀ S a_t. What would take N²
//! inner products so takes two sweeps over the data.
//!
//! Sums are kept in double precision; only the share of one chunk of examples is added up in the
//! network's own precision.

use std::ops::Range;
use std::sync::Mutex;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::features::{Arrays, Features, Map, Recipe, Side, encode_alone};
use crate::kernel::readable;
use crate::number::{Into, Number, product_abt, product_atb};
use crate::progress::Counter;

/// How examples enter a sum.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column<'a> {
    /// With J̃ itself: d rows.
    Whole,
    /// With J̃, in the d rows of the example's group.
    Groups { ids: &'a [usize], count: usize },
    /// With J̃ times each of `width` numbers of its own: d rows for each number.
    Scaled { values: &'a [f64], width: usize },
    /// With J̃ᵀ a for a vector a of its own of d numbers: one row.
    Combined { values: &'a [f64] },
}

impl Column<'_> {
    pub(crate) fn rows(&self, d: usize) -> usize {
        match self {
            Self::Whole => d,
            Self::Groups { count, .. } => d * count,
            Self::Scaled { width, .. } => d * width,
            Self::Combined { .. } => 1,
        }
    }
}

/// S by component and block of the weight, ready to be met: `[rows·δ, a]`, `[rows, len]` or
/// `[rows, table]`.
pub(crate) struct Sums<T> {
    rows: usize,
    arrays: Vec<Vec<Vec<T>>>,
    /// Examples whose gradients are not finite, and those of rank zero: they are in no sum.
    pub(crate) not_finite: Vec<usize>,
    pub(crate) rank_zero: Vec<usize>,
    /// Σ_j ‖J̃_j‖ (Frobenius), where the recipe keeps self-products.
    pub(crate) norms: f64,
    /// Maps of the set's examples, where the recipe keeps them.
    maps: Vec<Map>,
}

/// Buffers that threads hand on to each other.
struct Pool<T>(Mutex<Vec<Features<T>>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Number> Pool<T> {
    fn take(&self, recipe: &Recipe) -> Features<T> {
        let used = self.0.lock().ok().and_then(|mut pool| pool.pop());
        used.unwrap_or_else(|| Features::empty(recipe, 0))
    }

    fn put(&self, features: Features<T>) {
        if let Ok(mut pool) = self.0.lock() {
            pool.push(features);
        }
    }
}

/// One row of S in one block of one component, which several threads add to.
type Row = Mutex<Vec<f64>>;

/// Sum over a whole set.
pub(crate) fn gather<T: Number>(
    recipe: &Recipe,
    examples: &dyn Examples,
    columns: &[Column],
    budget: usize,
    counter: &Counter,
) -> Result<Sums<T>> {
    let (layout, ..) = recipe.layout();
    let d = recipe.width();
    let rows: usize = columns.iter().map(|column| column.rows(d)).sum();
    let weights: usize = recipe.plan.iter().map(|planned| planned.shape.weights()).sum();
    check_room(rows, weights, budget)?;
    let totals: Vec<Vec<Vec<Row>>> = layout
        .iter()
        .zip(&recipe.plan)
        .map(|(arrays, planned)| {
            let blocks = blocks(arrays);
            let len = planned.shape.weights() / blocks;
            let row = |_| Mutex::new(vec![0.0; len]);
            (0..blocks).map(|_| (0..rows).map(row).collect()).collect()
        })
        .collect();
    let pool = Pool::<T>::default();
    let states = chunks(recipe, examples.len())
        .into_par_iter()
        .map(|range| {
            let mut features = pool.take(recipe);
            encode_alone(recipe, examples, range.clone(), Side::Column, None, &mut features)?;
            let mut row = 0;
            for column in columns {
                for (arrays, totals) in layout.iter().zip(&totals) {
                    add(&features, &range, arrays, column, d, totals, row);
                }
                row += column.rows(d);
            }
            counter.add(range.len() as u64)?;
            let norms = norms(&features.own, d);
            let (ranks, finite) = (features.ranks.clone(), features.finite.clone());
            let maps = std::mem::take(&mut features.maps);
            pool.put(features);
            Ok((range.start, ranks, finite, norms, maps))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut sums = Sums {
        rows,
        arrays: totals.into_iter().map(|blocks| blocks.into_iter().map(joined).collect()).collect(),
        not_finite: Vec::new(),
        rank_zero: Vec::new(),
        norms: 0.0,
        maps: Vec::new(),
    };
    for (start, ranks, finite, norms, maps) in states {
        sums.maps.extend(maps);
        for (b, (rank, finite)) in ranks.into_iter().zip(finite).enumerate() {
            match (finite, rank) {
                (false, _) => sums.not_finite.push(start + b),
                (true, 0) => sums.rank_zero.push(start + b),
                _ => {}
            }
        }
        sums.norms += norms;
    }
    Ok(sums)
}

/// Blocks of a weight that never meet.
fn blocks(arrays: &Arrays) -> usize {
    match arrays {
        Arrays::Factored { groups, .. } => groups.len(),
        _ => 1,
    }
}

/// Σ ‖J̃‖ over examples, from their K̃(x, x).
fn norms(own: &[f64], d: usize) -> f64 {
    let trace = |k: &[f64]| (0..d).map(|c| k[c * d + c]).sum::<f64>();
    own.chunks_exact(d * d).map(|k| trace(k).max(0.0).sqrt()).sum()
}

fn joined<T: Number>(rows: Vec<Row>) -> Vec<T> {
    let mut all = Vec::new();
    for row in rows {
        all.extend(row.into_inner().unwrap_or_default().into_iter().map(T::from_f64));
    }
    all
}

fn check_room(rows: usize, weights: usize, budget: usize) -> Result<()> {
    let bytes = rows.saturating_mul(weights).saturating_mul(size_of::<f64>());
    if bytes <= budget {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{rows} sums over {weights} parameters take {}, more than the memory budget of {}; raise \
         --memory, or ask for fewer classes, outputs (--outputs) or parameters (--params)",
        readable(bytes),
        readable(budget)
    )))
}

/// Chunks that are large enough for efficient products and small enough to hold.
fn chunks(recipe: &Recipe, count: usize) -> Vec<Range<usize>> {
    const NUMBERS: usize = 4 << 20;
    let micro = recipe.micro_batch();
    let held = (NUMBERS / recipe.numbers().max(1)).clamp(1, 512);
    let even = count.div_ceil(2 * rayon::current_num_threads()).max(1);
    let step = held.min(even).next_multiple_of(micro.min(held));
    (0..count).step_by(step).map(|start| start..(start + step).min(count)).collect()
}

/// Add a chunk's share to the rows of one column, for one component.
fn add<T: Number>(
    features: &Features<T>,
    range: &Range<usize>,
    arrays: &Arrays,
    column: &Column,
    d: usize,
    totals: &[Vec<Row>],
    first: usize,
) {
    let all: Vec<usize> = (0..range.len()).collect();
    match column {
        Column::Whole => {
            for c in 0..d {
                let weight = |_: usize, e: usize| if c == e { 1.0 } else { 0.0 };
                add_row(features, arrays, d, &all, &weight, totals, first + c);
            }
        }
        Column::Groups { ids, count } => {
            let mut members = vec![Vec::new(); *count];
            all.iter().for_each(|b| members[ids[range.start + b]].push(*b));
            for (group, members) in members.iter().enumerate().filter(|(_, m)| !m.is_empty()) {
                for c in 0..d {
                    let weight = |_: usize, e: usize| if c == e { 1.0 } else { 0.0 };
                    let row = first + group * d + c;
                    add_row(features, arrays, d, members, &weight, totals, row);
                }
            }
        }
        Column::Scaled { values, width } => {
            for (w, c) in (0..*width).flat_map(|w| (0..d).map(move |c| (w, c))) {
                let own = |b: usize| values[(range.start + b) * width + w];
                let weight = |b: usize, e: usize| if c == e { own(b) } else { 0.0 };
                add_row(features, arrays, d, &all, &weight, totals, first + w * d + c);
            }
        }
        Column::Combined { values } => {
            let weight = |b: usize, e: usize| values[(range.start + b) * d + e];
            add_row(features, arrays, d, &all, &weight, totals, first);
        }
    }
}

/// Add Σ_b Σ_e weight(b, e)·(row e of J̃_b) to one row of S.
fn add_row<T: Number>(
    features: &Features<T>,
    arrays: &Arrays,
    d: usize,
    members: &[usize],
    weight: &dyn Fn(usize, usize) -> f64,
    totals: &[Vec<Row>],
    row: usize,
) {
    let terms = || {
        members
            .iter()
            .flat_map(|b| (0..d).map(move |e| (*b, e, weight(*b, e))))
            .filter(|(.., weight)| *weight != 0.0)
    };
    match arrays {
        Arrays::Dense { array, len } => {
            let Ok(mut total) = totals[0][row].lock() else { return };
            for (b, e, weight) in terms() {
                let from = &features.arrays[*array][(b * d + e) * len..][..*len];
                total.iter_mut().zip(from).for_each(|(s, x)| *s += weight * x.to_f64());
            }
        }
        Arrays::Factored { groups, positions, input, cotangent } => {
            let (t, p, q) = (*positions, *input, *cotangent);
            let mut share = vec![T::default(); q * p];
            for ([a, delta], totals) in groups.iter().zip(totals) {
                let (a, delta) = (&features.arrays[*a], &features.arrays[*delta]);
                let mut left = vec![T::default(); members.len() * t * q];
                for (at, b) in members.iter().enumerate() {
                    for e in 0..d {
                        let weight = weight(*b, e);
                        if weight != 0.0 {
                            let from = &delta[b * t * d * q..][..t * d * q];
                            let to = &mut left[at * t * q..][..t * q];
                            add_output(from, to, (e, d, q), T::from_f64(weight));
                        }
                    }
                }
                let whole = members.len() * t * p == a.len();
                let gathered: Vec<T>;
                let right = match whole {
                    true => a.as_slice(),
                    false => {
                        let own = members.iter().flat_map(|b| &a[b * t * p..(b + 1) * t * p]);
                        gathered = own.copied().collect();
                        &gathered
                    }
                };
                product_atb((q, p, members.len() * t), &left, right, &mut share);
                let Ok(mut total) = totals[row].lock() else { return };
                total.iter_mut().zip(&share).for_each(|(s, x)| *s += x.to_f64());
            }
        }
        Arrays::Rows { index, array, positions, width } => {
            let Ok(mut total) = totals[0][row].lock() else { return };
            for (b, e, weight) in terms() {
                for t in 0..*positions {
                    let table = features.indices[*index][b * positions + t] as usize;
                    let from = ((b * d + e) * positions + t) * width;
                    let from = &features.arrays[*array][from..from + width];
                    let to = &mut total[table * width..(table + 1) * width];
                    to.iter_mut().zip(from).for_each(|(s, x)| *s += weight * x.to_f64());
                }
            }
        }
    }
}

/// Add `weight` times output e of δ `[T, d, q]` to `[T, q]`.
fn add_output<T: Number>(from: &[T], to: &mut [T], (e, d, q): (usize, usize, usize), weight: T) {
    for (to, from) in to.chunks_exact_mut(q).zip(from.chunks_exact(d * q)) {
        to.iter_mut().zip(&from[e * q..(e + 1) * q]).for_each(|(s, x)| *s += weight * *x);
    }
}

/// What an example's Jacobian gives with S.
pub(crate) struct Met<'m> {
    /// J̃ Sᵀ: `[d, rows]`.
    pub(crate) product: &'m [f64],
    /// K̃(x, x), where the recipe keeps it.
    pub(crate) own: &'m [f64],
    pub(crate) rank: usize,
    pub(crate) finite: bool,
}

/// Meet S with every example of a set, and make something of each; in the order of the set. Where it
/// is the set that was summed, maps need not be found again.
pub(crate) fn meet<T: Number, R: Send>(
    recipe: &Recipe,
    sums: &Sums<T>,
    examples: &dyn Examples,
    same_set: bool,
    counter: &Counter,
    make: &(dyn Fn(usize, Met) -> R + Sync),
) -> Result<Vec<R>> {
    let (layout, ..) = recipe.layout();
    let d = recipe.width();
    let known = same_set.then_some(sums.maps.as_slice()).filter(|maps| !maps.is_empty());
    let pool = Pool::<T>::default();
    let made = chunks(recipe, examples.len())
        .into_par_iter()
        .map(|range| {
            let mut features = pool.take(recipe);
            encode_alone(recipe, examples, range.clone(), Side::Row, known, &mut features)?;
            let products = sums.against(&layout, &features, d);
            let each = d * sums.rows;
            let own = features.own.len() / range.len();
            let made: Vec<R> = (0..range.len())
                .map(|b| {
                    let met = Met {
                        product: &products[b * each..(b + 1) * each],
                        own: &features.own[b * own..(b + 1) * own],
                        rank: features.ranks[b],
                        finite: features.finite[b],
                    };
                    make(range.start + b, met)
                })
                .collect();
            pool.put(features);
            counter.add(range.len() as u64)?;
            Ok(made)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(made.into_iter().flatten().collect())
}

impl<T: Number> Sums<T> {
    /// J̃ Sᵀ of every example of a chunk: `[B, d, rows]`.
    fn against(&self, layout: &[Arrays], features: &Features<T>, d: usize) -> Vec<f64> {
        let mut result = vec![0.0; features.count * d * self.rows];
        for (arrays, sums) in layout.iter().zip(&self.arrays) {
            match arrays {
                Arrays::Dense { array, len } => {
                    let mut part = vec![T::default(); result.len()];
                    let shape = (features.count * d, self.rows, *len);
                    let own = &features.arrays[*array];
                    product_abt(shape, own, &sums[0], &mut part, Into::Replace);
                    result.iter_mut().zip(&part).for_each(|(r, x)| *r += x.to_f64());
                }
                Arrays::Factored { groups, positions, input, cotangent } => {
                    let shape = (*positions, *input, *cotangent);
                    for ([a, delta], sums) in groups.iter().zip(sums) {
                        let own = (&features.arrays[*a][..], &features.arrays[*delta][..]);
                        self.factored(sums, own, shape, (features.count, d), &mut result);
                    }
                }
                Arrays::Rows { index, array, positions, width } => {
                    let own = (&features.indices[*index][..], &features.arrays[*array][..]);
                    let sizes = (features.count, d, *positions, *width);
                    self.table(&sums[0], own, sizes, &mut result);
                }
            }
        }
        result
    }

    /// Σ_t δ_tᵀ S a_t for every example, output and row, as many rows at a time as stay in cache.
    fn factored(
        &self,
        sums: &[T],
        (a, delta): (&[T], &[T]),
        (t, p, q): (usize, usize, usize),
        (count, d): (usize, usize),
        result: &mut [f64],
    ) {
        const HELD: usize = 4 << 20;
        let slab = (HELD / (count * t * q).max(1)).clamp(1, self.rows);
        let mut reached = Vec::new();
        let mut part = Vec::new();
        for first in (0..self.rows).step_by(slab) {
            let rows = slab.min(self.rows - first);
            reached.resize(count * t * rows * q, T::default());
            part.resize(d * rows, T::default());
            let sums = &sums[first * q * p..(first + rows) * q * p];
            product_abt((count * t, rows * q, p), a, sums, &mut reached, Into::Replace);
            for b in 0..count {
                for at in 0..t {
                    let delta = &delta[(b * t + at) * d * q..][..d * q];
                    let reached = &reached[(b * t + at) * rows * q..][..rows * q];
                    let into = if at == 0 { Into::Replace } else { Into::Add };
                    product_abt((d, rows, q), delta, reached, &mut part, into);
                }
                for (c, part) in part.chunks_exact(rows).enumerate() {
                    let target = &mut result[(b * d + c) * self.rows + first..][..rows];
                    target.iter_mut().zip(part).for_each(|(r, x)| *r += x.to_f64());
                }
            }
        }
    }

    fn table(
        &self,
        sums: &[T],
        (index, delta): (&[i64], &[T]),
        (count, d, positions, width): (usize, usize, usize, usize),
        result: &mut [f64],
    ) {
        let table = sums.len() / self.rows.max(1);
        for (b, c, t) in (0..count)
            .flat_map(|b| (0..d).flat_map(move |c| (0..positions).map(move |t| (b, c, t))))
        {
            let own = &delta[((b * d + c) * positions + t) * width..][..width];
            let at = index[b * positions + t] as usize * width;
            for row in 0..self.rows {
                let sum = &sums[row * table + at..][..width];
                let part: f64 = own.iter().zip(sum).map(|(x, s)| x.to_f64() * s.to_f64()).sum();
                result[(b * d + c) * self.rows + row] += part;
            }
        }
    }
}
