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
use crate::features::{Arrays, Features, Map, Recipe, Side, Written, encode_alone};
use crate::kernel::readable;
use crate::number::{Into, Number, add_product_ab, product_ab, product_abt, product_atb};
use crate::progress::Counter;
use crate::similarity::Kind;

/// How examples enter a sum.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column<'a> {
    /// With J̃ itself: d rows.
    Whole,
    /// With J̃, in the d rows of the example's group, if that is among `count` groups from `first`.
    Groups { ids: &'a [usize], first: usize, count: usize },
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
    /// Maps of the set's examples, where they are kept.
    maps: Vec<Map>,
    /// Features of the set's examples, chunk by chunk, where they are kept.
    kept: Vec<Features<T>>,
}

/// What is kept of a set's examples for when they meet the sums themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing: all is to be found again.
    Nothing,
    /// Maps, d² numbers an example: the second sweep needs no self-products.
    Maps,
    /// Everything: there is no second sweep.
    Features,
}

impl Keep {
    /// As much as fits an eighth of the budget. The two sides of influence have nothing in common.
    pub(crate) fn most<T: Number>(
        recipe: &Recipe,
        (set, queries): (&dyn Examples, Option<&dyn Examples>),
        budget: usize,
    ) -> Self {
        let fits = |bytes: usize| set.len().saturating_mul(bytes) <= budget / 8;
        let d = recipe.width();
        match queries {
            Some(_) => Self::Nothing,
            None if recipe.kind == Kind::Influence => Self::Nothing,
            None if fits(recipe.numbers() * size_of::<T>()) => Self::Features,
            // Self-products are wanted themselves, or are not needed beside maps.
            None if fits(d * d * size_of::<f64>()) && !recipe.keep_own => Self::Maps,
            None => Self::Nothing,
        }
    }

    /// Whether written-out gradients may be passed on at once instead of laid down: nothing wants them
    /// again.
    pub(crate) fn passes_written(self) -> bool {
        self != Self::Features
    }
}

/// What a chunk of examples needs room for: its features, and products of them.
struct Buffers<T> {
    features: Features<T>,
    share: Vec<T>,
    mixed: Vec<T>,
}

/// Buffers that threads hand on to each other.
struct Pool<T>(Mutex<Vec<Buffers<T>>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Number> Pool<T> {
    fn take(&self, recipe: &Recipe) -> Buffers<T> {
        let used = self.0.lock().ok().and_then(|mut pool| pool.pop());
        used.unwrap_or_else(|| Buffers {
            features: Features::empty(recipe, 0),
            share: Vec::new(),
            mixed: Vec::new(),
        })
    }

    fn put(&self, buffers: Buffers<T>) {
        if let Ok(mut pool) = self.0.lock() {
            pool.push(buffers);
        }
    }
}

/// One row of S in one block of one component, which several threads add to.
type Row = Mutex<Vec<f64>>;

/// Sum over a whole set, within a memory budget.
pub(crate) fn gather<T: Number>(
    recipe: &Recipe,
    examples: &dyn Examples,
    columns: &[Column],
    (budget, keep): (usize, Keep),
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
            let mut buffers = pool.take(recipe);
            let Buffers { features, share, .. } = &mut buffers;
            let mut take = |written: Written<T>| {
                let Arrays::Dense { len, .. } = layout[written.component] else { return };
                let whole = range.start + written.members.start;
                let members = whole..whole + written.members.len();
                let mut row = 0;
                for column in columns {
                    for part in column.parts(written.maps, &members, d) {
                        let rows = &totals[written.component][0][row + part.first..];
                        part.add_written(written.gradients, len, d, share, rows);
                    }
                    row += column.rows(d);
                }
            };
            let whose = (Side::Column, None);
            encode_alone(recipe, examples, range.clone(), whose, features, &mut take)?;
            let mut row = 0;
            for column in columns {
                let parts = column.parts(&buffers.features.maps, &range, d);
                for (arrays, totals) in layout.iter().zip(&totals) {
                    parts.iter().for_each(|part| add(&mut buffers, arrays, part, d, totals, row));
                }
                row += column.rows(d);
            }
            counter.add(range.len() as u64)?;
            let features = &mut buffers.features;
            let norms = norms(&features.own, d);
            let (ranks, finite) = (features.ranks.clone(), features.finite.clone());
            let (mut maps, mut kept) = (Vec::new(), None);
            match keep {
                Keep::Nothing => {}
                Keep::Maps => maps = std::mem::take(&mut features.maps),
                Keep::Features => {
                    kept = Some(std::mem::replace(features, Features::empty(recipe, 0)));
                }
            }
            pool.put(buffers);
            Ok((range.start, ranks, finite, norms, maps, kept))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut sums = Sums {
        rows,
        arrays: totals.into_iter().map(|blocks| blocks.into_iter().map(joined).collect()).collect(),
        not_finite: Vec::new(),
        rank_zero: Vec::new(),
        norms: 0.0,
        maps: Vec::new(),
        kept: Vec::new(),
    };
    for (start, ranks, finite, norms, maps, kept) in states {
        sums.maps.extend(maps);
        sums.kept.extend(kept);
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

/// How many blocks of d rows of S fit the budget; at least one is always tried.
pub(crate) fn blocks_that_fit(recipe: &Recipe, budget: usize) -> usize {
    let weights: usize = recipe.plan.iter().map(|planned| planned.shape.weights()).sum();
    let bytes = weights.saturating_mul(recipe.width() * size_of::<f64>());
    (budget / bytes.max(1)).max(1)
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

/// Trace of the d×d block of `[d, rows]` that starts at `first`.
pub(crate) fn trace(product: &[f64], d: usize, rows: usize, first: usize) -> f64 {
    (0..d).map(|c| product[c * rows + first + c]).sum()
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

/// A share of a chunk in some rows of a column: of each member's Jacobian, taken as `[units, …]`, the
/// rows get `weights` times it.
struct Part<T> {
    /// The first row within the column.
    first: usize,
    /// Rows of the share.
    rows: usize,
    /// Into how many units each Jacobian falls: its d rows, or one unit of them all, which then fills
    /// d rows of S at once.
    units: usize,
    /// Which examples of the chunk.
    members: Vec<usize>,
    /// `[rows, members·units]`.
    weights: Vec<T>,
}

impl Column<'_> {
    /// How a chunk's examples enter the column.
    fn parts<T: Number>(&self, maps: &[Map], range: &Range<usize>, d: usize) -> Vec<Part<T>> {
        let all = || (0..range.len()).collect::<Vec<usize>>();
        let whole = |first: usize, members: Vec<usize>| {
            let weights = beside(maps, &members, d);
            Part { first, rows: d, units: d, members, weights }
        };
        match self {
            Self::Whole => vec![whole(0, all())],
            Self::Groups { ids, first, count } => {
                let mut members = vec![Vec::new(); *count];
                for b in all() {
                    let group = ids[range.start + b].checked_sub(*first);
                    if let Some(members) = group.and_then(|group| members.get_mut(group)) {
                        members.push(b);
                    }
                }
                let groups = members.into_iter().enumerate().filter(|(_, m)| !m.is_empty());
                groups.map(|(group, members)| whole(group * d, members)).collect()
            }
            Self::Scaled { values, width } => {
                let own = |(w, b): (usize, usize)| values[(range.start + b) * width + w];
                let each = (0..*width).flat_map(|w| all().into_iter().map(move |b| (w, b)));
                let weights = each.map(own).map(T::from_f64).collect();
                vec![Part { first: 0, rows: *width, units: 1, members: all(), weights }]
            }
            Self::Combined { values } => {
                let own = &values[range.start * d..range.end * d];
                let weights = own.iter().map(|x| T::from_f64(*x)).collect();
                vec![Part { first: 0, rows: 1, units: d, members: all(), weights }]
            }
        }
    }

    /// Whether maps may wait until Jacobians are summed: they then are the weights.
    pub(crate) fn takes_maps(&self) -> bool {
        matches!(self, Self::Whole | Self::Groups { .. })
    }
}

/// The maps that members' Jacobians are still to be multiplied with, side by side: `[d, members·d]`.
fn beside<T: Number>(maps: &[Map], members: &[usize], d: usize) -> Vec<T> {
    let width = members.len() * d;
    let mut weights = vec![T::default(); d * width];
    for (at, b) in members.iter().enumerate() {
        let map = match maps.get(*b) {
            Some(None) => continue,
            Some(Some((_, map))) => map.as_deref(),
            None => None,
        };
        for (c, e) in (0..d).flat_map(|c| (0..d).map(move |e| (c, e))) {
            let weight = map.map_or(f64::from(u8::from(c == e)), |map| map[c * d + e]);
            weights[c * width + at * d + e] = T::from_f64(weight);
        }
    }
    weights
}

/// Add a chunk's share to the rows of one column from `first`, for one component.
fn add<T: Number>(
    buffers: &mut Buffers<T>,
    arrays: &Arrays,
    part: &Part<T>,
    d: usize,
    totals: &[Vec<Row>],
    first: usize,
) {
    let first = first + part.first;
    match arrays {
        Arrays::Dense { array, len } => {
            let gradients = &buffers.features.arrays[*array];
            if !gradients.is_empty() {
                part.add_written(gradients, *len, d, &mut buffers.share, &totals[0][first..]);
            }
        }
        Arrays::Factored { groups, positions, input, cotangent, .. } => {
            let shape = (*positions, *input, *cotangent);
            for ([a, delta], totals) in groups.iter().zip(totals) {
                let features = &buffers.features;
                let factor = (&features.arrays[*a][..], &features.arrays[*delta][..]);
                let scratch = (&mut buffers.mixed, &mut buffers.share);
                part.factored(factor, shape, d, scratch, &mut |row, share| {
                    add_rows(share, input * cotangent, totals, first + row);
                });
            }
        }
        Arrays::Rows { index, array, positions, width } => {
            let features = &buffers.features;
            let own = (&features.indices[*index][..], &features.arrays[*array][..]);
            part.table(own, (*positions, *width), d, &totals[0], first);
        }
    }
}

/// Add rows of `len` numbers to rows of S from `first`.
fn add_rows<T: Number>(share: &[T], len: usize, totals: &[Row], first: usize) {
    for (share, total) in share.chunks_exact(len.max(1)).zip(&totals[first..]) {
        let Ok(mut total) = total.lock() else { return };
        total.iter_mut().zip(share).for_each(|(s, x)| *s += x.to_f64());
    }
}

impl<T: Number> Part<T> {
    /// Add Σ_b w_b · J_b for written-out gradients to rows of S.
    fn add_written(&self, gradients: &[T], len: usize, d: usize, share: &mut Vec<T>, rows: &[Row]) {
        self.dense(gradients, d / self.units * len, share);
        add_rows(share, len, rows, 0);
    }

    /// Σ_b w_b · J_b for gradients of `[units, unit]`: `[rows, unit]`.
    fn dense(&self, gradients: &[T], unit: usize, share: &mut Vec<T>) {
        let (rows, each) = (self.rows, self.units * unit);
        share.resize(rows * unit, T::default());
        let stride = self.members.len() * self.units;
        if stride * unit == gradients.len() {
            return product_ab((rows, unit, stride), &self.weights, (gradients, unit), share);
        }
        share.fill(T::default());
        for (at, b) in self.members.iter().enumerate() {
            let weights =
                &self.weights[at * self.units..(rows - 1) * stride + (at + 1) * self.units];
            let own = &gradients[b * each..(b + 1) * each];
            add_product_ab((rows, unit, self.units), (weights, stride), own, share);
        }
    }

    /// What row `row` of S (of those that this part fills) takes of output `e` of member `at`.
    fn weight(&self, row: usize, at: usize, e: usize, d: usize) -> T {
        let stride = self.members.len() * self.units;
        if self.units == d {
            return self.weights[row * stride + at * d + e];
        }
        if row % d == e { self.weights[row / d * stride + at] } else { T::default() }
    }

    /// Rows of S that this part fills.
    fn filled(&self, d: usize) -> usize {
        self.rows * d / self.units
    }

    /// The same for sums of outer products, each row of `[δ, a]` handed to `take`.
    fn factored(
        &self,
        (a, delta): (&[T], &[T]),
        (t, p, q): (usize, usize, usize),
        d: usize,
        (mixed, share): (&mut Vec<T>, &mut Vec<T>),
        take: &mut dyn FnMut(usize, &[T]),
    ) {
        let gathered: Vec<T>;
        let right = if self.members.len() * t * p == a.len() {
            a
        } else {
            let own = self.members.iter().flat_map(|b| &a[b * t * p..(b + 1) * t * p]);
            gathered = own.copied().collect();
            &gathered
        };
        // So many rows at a time as make a product that is worth its reading of a.
        let filled = self.filled(d);
        let step = WIDE.div_ceil(q).min(filled);
        for first in (0..filled).step_by(step) {
            let width = step.min(filled - first) * q;
            mixed.clear();
            mixed.resize(self.members.len() * t * width, T::default());
            for (at, b) in self.members.iter().enumerate() {
                let to = &mut mixed[at * t * width..(at + 1) * t * width];
                let from = &delta[b * t * d * q..(b + 1) * t * d * q];
                for (row, e) in (0..width / q).flat_map(|row| (0..d).map(move |e| (row, e))) {
                    let weight = self.weight(first + row, at, e, d);
                    if weight != T::default() {
                        let rows = to[row * q..].chunks_mut(width);
                        add_output(from, rows, (e, d, q), weight);
                    }
                }
            }
            share.resize(width * p, T::default());
            product_atb((width, p, self.members.len() * t), (mixed, width), (right, p), share);
            for (row, share) in share.chunks_exact(q * p).enumerate() {
                take(first + row, share);
            }
        }
    }

    /// The same for rows of a table, added to S as they come.
    fn table(
        &self,
        (index, delta): (&[i64], &[T]),
        (positions, width): (usize, usize),
        d: usize,
        totals: &[Row],
        first: usize,
    ) {
        for (row, total) in totals[first..first + self.filled(d)].iter().enumerate() {
            let Ok(mut total) = total.lock() else { return };
            for (at, b) in self.members.iter().enumerate() {
                for e in 0..d {
                    let weight = self.weight(row, at, e, d).to_f64();
                    if weight == 0.0 {
                        continue;
                    }
                    for t in 0..positions {
                        let table = index[b * positions + t] as usize;
                        let from = &delta[((b * d + e) * positions + t) * width..][..width];
                        let to = &mut total[table * width..(table + 1) * width];
                        to.iter_mut().zip(from).for_each(|(s, x)| *s += weight * x.to_f64());
                    }
                }
            }
        }
    }
}

/// Columns of a product that use the processor well.
const WIDE: usize = 96;

/// Add `weight` times output e of δ `[T, d, q]` to the first q of each row.
fn add_output<'t, T: Number>(
    from: &[T],
    to: impl Iterator<Item = &'t mut [T]>,
    (e, d, q): (usize, usize, usize),
    weight: T,
) {
    for (to, from) in to.zip(from.chunks_exact(d * q)) {
        to.iter_mut().zip(&from[e * q..(e + 1) * q]).for_each(|(s, x)| *s += weight * *x);
    }
}

/// Which products of Jacobians with S are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// J̃ Sᵀ: `[d, rows]`.
    All,
    /// The trace of each of its d×d blocks: `[rows / d]`.
    Traces,
}

/// What an example's Jacobian gives with S.
pub(crate) struct Met<'m> {
    /// What was wanted.
    pub(crate) product: &'m [f64],
    /// K̃(x, x), where the recipe keeps it.
    pub(crate) own: &'m [f64],
    pub(crate) rank: usize,
    pub(crate) finite: bool,
}

/// Meet S with every example of a set, and make something of each; in the order of the set. Where it
/// is the set that was summed, what was kept of it need not be found again.
pub(crate) fn meet<T: Number, R: Send>(
    recipe: &Recipe,
    sums: &Sums<T>,
    (examples, same_set): (&dyn Examples, bool),
    wanted: Wanted,
    counter: &Counter,
    make: &(dyn Fn(usize, Met) -> R + Sync),
) -> Result<Vec<R>> {
    let (layout, ..) = recipe.layout();
    let d = recipe.width();
    let known = same_set.then_some(sums.maps.as_slice()).filter(|maps| !maps.is_empty());
    let kept: &[Features<T>] = if same_set { &sums.kept } else { &[] };
    let pool = Pool::<T>::default();
    let made = chunks(recipe, examples.len())
        .into_par_iter()
        .enumerate()
        .map(|(chunk, range)| {
            let mut buffers = pool.take(recipe);
            let Buffers { features, share, mixed } = &mut buffers;
            let kept = kept.get(chunk);
            // Maps that are still to be taken mix what different outputs have with one row of S.
            let mixes = recipe.maps_beside && known.is_none() && recipe.kind != Kind::Inner;
            let sizes = sums.sizes(d, wanted == Wanted::Traces && !mixes);
            let mut products = vec![0.0; range.len() * sizes.units * sizes.rows];
            let features = match kept {
                Some(kept) => kept,
                None => {
                    let mut take = |written: Written<T>| {
                        let each = sizes.units * sizes.rows;
                        let Range { start, end } = written.members;
                        let products = &mut products[start * each..end * each];
                        let own = &sums.arrays[written.component][0];
                        sizes.add_written(written.gradients, own, mixed, products);
                    };
                    let whose = (Side::Row, known);
                    encode_alone(recipe, examples, range.clone(), whose, features, &mut take)?;
                    &*features
                }
            };
            sums.against(&layout, features, (share, mixed), sizes, &mut products);
            if mixes {
                products = sums.mixed(products, &features.maps, d, wanted);
            }
            let each = products.len() / range.len();
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
            pool.put(buffers);
            counter.add(range.len() as u64)?;
            Ok(made)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(made.into_iter().flatten().collect())
}

/// How Jacobians meet S: as `units` rows each, d of them or, for the trace, one long row of all d, whose
/// product with as long rows of S is the trace.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    d: usize,
    units: usize,
    rows: usize,
    /// Whether it is for the trace, also where d is 1.
    traced: bool,
}

impl Sizes {
    /// Add products of written-out gradients with S.
    fn add_written<T: Number>(
        &self,
        gradients: &[T],
        sums: &[T],
        scratch: &mut Vec<T>,
        result: &mut [f64],
    ) {
        scratch.resize(result.len(), T::default());
        let count = result.len() / self.rows.max(1);
        let unit = gradients.len() / count.max(1);
        product_abt((count, self.rows, unit), gradients, sums, scratch, Into::Replace);
        result.iter_mut().zip(&*scratch).for_each(|(r, x)| *r += x.to_f64());
    }
}

impl<T: Number> Sums<T> {
    fn sizes(&self, d: usize, traced: bool) -> Sizes {
        let (units, rows) = if traced { (1, self.rows / d) } else { (d, self.rows) };
        Sizes { d, units, rows, traced }
    }

    /// Products `[B, d, rows]` with Jacobians as they came, multiplied with their maps, and of those what
    /// is wanted.
    fn mixed(&self, mut products: Vec<f64>, maps: &[Map], d: usize, wanted: Wanted) -> Vec<f64> {
        let mut own = vec![0.0; d * self.rows];
        for (product, map) in products.chunks_exact_mut(d * self.rows).zip(maps) {
            if let Some((_, Some(map))) = map {
                product_ab((d, self.rows, d), map, (product, self.rows), &mut own);
                product.copy_from_slice(&own);
            }
        }
        if wanted == Wanted::All {
            return products;
        }
        let traces = |product: &[f64]| -> Vec<f64> {
            (0..self.rows / d).map(|g| trace(product, d, self.rows, g * d)).collect()
        };
        products.chunks_exact(d * self.rows).flat_map(traces).collect()
    }

    /// Add J Sᵀ of every example of a chunk as it stands.
    fn against(
        &self,
        layout: &[Arrays],
        features: &Features<T>,
        (share, mixed): (&mut Vec<T>, &mut Vec<T>),
        sizes: Sizes,
        result: &mut [f64],
    ) {
        let Sizes { d, units, traced, .. } = sizes;
        for (arrays, sums) in layout.iter().zip(&self.arrays) {
            match arrays {
                Arrays::Dense { array, .. } => {
                    let own = &features.arrays[*array];
                    if !own.is_empty() {
                        sizes.add_written(own, &sums[0], mixed, result);
                    }
                }
                Arrays::Factored { groups, positions, input, cotangent, .. } => {
                    let shape = (*positions, *input, *cotangent);
                    for ([a, delta], sums) in groups.iter().zip(sums) {
                        let own = (&features.arrays[*a][..], &features.arrays[*delta][..]);
                        let sizes = (features.count, units, d / units);
                        self.factored(sums, own, shape, sizes, (share, mixed), result);
                    }
                }
                Arrays::Rows { index, array, positions, width } => {
                    let own = (&features.indices[*index][..], &features.arrays[*array][..]);
                    let sizes = (features.count, d, *positions, *width);
                    self.table(&sums[0], own, sizes, traced, result);
                }
            }
        }
    }

    /// Σ_t δ_tᵀ S a_t for every example, unit of `together` outputs, and as many rows, as many at a
    /// time as stay in cache.
    fn factored(
        &self,
        sums: &[T],
        (a, delta): (&[T], &[T]),
        (t, p, q): (usize, usize, usize),
        (count, units, together): (usize, usize, usize),
        (reached, part): (&mut Vec<T>, &mut Vec<T>),
        result: &mut [f64],
    ) {
        const HELD: usize = 4 << 20;
        let (q, all) = (q * together, self.rows / together);
        let slab = (HELD / (count * t * q).max(1)).clamp(1, all);
        for first in (0..all).step_by(slab) {
            let rows = slab.min(all - first);
            reached.resize(count * t * rows * q, T::default());
            part.resize(units * rows, T::default());
            let sums = &sums[first * q * p..(first + rows) * q * p];
            product_abt((count * t, rows * q, p), a, sums, reached, Into::Replace);
            for b in 0..count {
                for at in 0..t {
                    let delta = &delta[(b * t + at) * units * q..][..units * q];
                    let reached = &reached[(b * t + at) * rows * q..][..rows * q];
                    let into = if at == 0 { Into::Replace } else { Into::Add };
                    product_abt((units, rows, q), delta, reached, part, into);
                }
                for (c, part) in part.chunks_exact(rows).enumerate() {
                    let target = &mut result[(b * units + c) * all + first..][..rows];
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
        traced: bool,
        result: &mut [f64],
    ) {
        let table = sums.len() / self.rows.max(1);
        for (b, c, t) in (0..count)
            .flat_map(|b| (0..d).flat_map(move |c| (0..positions).map(move |t| (b, c, t))))
        {
            let own = &delta[((b * d + c) * positions + t) * width..][..width];
            let at = index[b * positions + t] as usize * width;
            let rows = (0..self.rows).filter(|row| !traced || row % d == c);
            for row in rows {
                let sum = &sums[row * table + at..][..width];
                let part: f64 = own.iter().zip(sum).map(|(x, s)| x.to_f64() * s.to_f64()).sum();
                let into =
                    if traced { (b * self.rows + row) / d } else { (b * d + c) * self.rows + row };
                result[into] += part;
            }
        }
    }
}
