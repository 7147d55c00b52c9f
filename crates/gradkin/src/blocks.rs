//! How the pairs of two sets are cut: blocks whose features fit the memory budget, squares of a block
//! whose products are kept at once, tiles that threads take one by one.

use std::ops::Range;

use rayon::prelude::*;

use crate::deferred::{Deferred, Part};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::features::{Arrays, Features, Recipe, Side, encode};
use crate::finish::{Finish, Standing};
use crate::kernel::readable;
use crate::number::Number;
use crate::plan::SQUARE;
use crate::products::Products;
use crate::progress::Counter;

/// The bytes that there are, and what takes them.
pub(crate) struct Needs {
    pub(crate) budget: usize,
    /// An example's features.
    pub(crate) each: usize,
    /// Sweeps in progress.
    pub(crate) sweeps: usize,
    /// What else there is beside features while pairs are taken.
    pub(crate) beside: usize,
    /// Products and slices in the making.
    pub(crate) spare: usize,
}

impl Needs {
    /// Where features lie in the host's memory, in numbers of so many bytes.
    pub(crate) fn of(recipe: &Recipe, budget: usize, bytes: usize) -> Self {
        let spare = (budget / 5).clamp(1 << 20, 512 << 20);
        // Slices and the products of squares, which come to what sweeps leave behind them.
        let slices = if recipe.defers() { spare } else { 0 };
        // Numbers in 16 bits are widened in pieces, and for the sweep that finds them.
        let widened = if recipe.storage.half().is_some() { spare / 2 } else { 0 };
        Self {
            budget,
            each: recipe.bytes(bytes).max(1),
            sweeps: recipe.in_progress() * bytes,
            beside: slices + widened,
            spare,
        }
    }
}

/// How two sets are cut so that two blocks fit the budget.
pub(crate) struct Blocks {
    n: usize,
    m: usize,
    symmetric: bool,
    row_step: usize,
    column_step: usize,
    /// Bytes for products and slices in the making.
    pub(crate) spare: usize,
}

impl Blocks {
    pub(crate) fn new(n: usize, m: usize, symmetric: bool, needs: Needs) -> Result<Self> {
        let Needs { budget, each, sweeps, beside, spare } = needs;
        let room_beside = |kept: usize| budget.saturating_sub(kept + beside) / each;
        // So much at least is left for sweeps in progress, tiles and what was freed, which the allocator gives
        // back up to a second later (measured: of a fifth, one run in twenty went beyond its limit).
        let kept = (sweeps + budget / 10).clamp(budget / 10 * 3, budget / 3 * 2);
        // A slow run is better than none where two examples fit only if sweeps go beyond the budget.
        let least = room_beside(budget / 5).min(2);
        let room = room_beside(kept).max(least);
        let whole = if symmetric { n } else { n + m };
        if room >= whole {
            return Ok(Self { n, m, symmetric, row_step: n, column_step: m.max(1), spare });
        }
        // Many rows held while the columns stream by: rows are swept once, columns once per block.
        let column_step = (room / 8).clamp(1, m);
        let row_step = room.saturating_sub(column_step).min(n);
        if row_step == 0 {
            return Err(Error::Usage(format!(
                "one example takes {} and two do not fit the {} that are left of the memory budget; \
                 raise --memory, or choose fewer parameters (--params) or outputs (--outputs)",
                readable(each),
                readable(budget)
            )));
        }
        Ok(Self { n, m, symmetric, row_step, column_step, spare })
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Range<usize>> {
        steps(0..self.n, self.row_step)
    }

    /// Column blocks that a row block still has to meet.
    pub(crate) fn columns(
        &self,
        rows: &Range<usize>,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let start = if self.symmetric { rows.end } else { 0 };
        steps(start..self.m, self.column_step)
    }

    /// How many examples are swept in all.
    pub(crate) fn sweeps(&self) -> u64 {
        let columns = |i: Range<usize>| self.columns(&i).map(|j| j.len() as u64).sum::<u64>();
        self.rows().map(|i| i.len() as u64 + columns(i)).sum()
    }
}

fn steps(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(step.max(1)).map(move |start| start..(start + step).min(end))
}

/// Pairs computed in the host's memory by all threads.
pub(crate) struct Job<'j, T> {
    pub(crate) recipe: &'j Recipe<'j>,
    pub(crate) layout: Vec<Arrays>,
    pub(crate) sweeps: &'j Counter<'j>,
    pub(crate) finish: Finish<'j, T>,
    /// Bytes that are left for products and slices in the making.
    pub(crate) spare: usize,
}

/// A block of encoded examples, and where in its set it starts.
pub(crate) type Block<'b, T> = (&'b Features<T>, usize);

impl<T: Number> Engine for Job<'_, T> {
    type Features = Features<T>;

    fn empty(&self) -> Features<T> {
        Features::empty(self.recipe, 0)
    }

    fn encode(
        &self,
        examples: &dyn Examples,
        range: Range<usize>,
        side: Side,
        features: &mut Features<T>,
    ) -> Result<()> {
        encode(self.recipe, examples, range, side, self.sweeps, features)
    }

    fn standing<'f>(&self, features: &'f Features<T>, start: usize) -> Standing<'f> {
        Standing { start, ranks: &features.ranks, finite: &features.finite }
    }

    fn block(&self, left: Block<T>, right: Block<T>) -> Result<()> {
        let same = std::ptr::eq(left.0, right.0);
        let deferred = Deferred::new(&self.layout, self.recipe.width(), self.finish.trace());
        if deferred.is_empty() {
            let (i, j) = (0..left.0.count, 0..right.0.count);
            return tiles(i, j, same).into_par_iter().try_for_each(|(i, j)| {
                let values = self.products().tile(left.0, i.clone(), right.0, j.clone());
                let count = pairs(&i, &j, same) as u64;
                self.finish(values, (left, i), (right, j), same)?;
                self.finish.pairs.add(count)
            });
        }
        let side = self.square_side();
        for i in even_steps(0..left.0.count, side) {
            for j in even_steps(0..right.0.count, side) {
                if !same || j.start >= i.start {
                    self.square(&deferred, (left, i.clone()), (right, j), same)?;
                }
            }
        }
        Ok(())
    }
}

impl<T: Number> Job<'_, T> {
    /// The pairs of a square of a block, with gradients that are written out for it.
    fn square(
        &self,
        deferred: &Deferred,
        (left, i): (Block<T>, Range<usize>),
        (right, j): (Block<T>, Range<usize>),
        same: bool,
    ) -> Result<()> {
        let same_examples = same && i == j;
        let tiles = tiles(i.clone(), j.clone(), same);
        let pairs: usize = tiles.iter().map(|(i, j)| pairs(i, j, same)).sum();
        let mut parts: Vec<Part> = (tiles.into_par_iter())
            .map(|(rows, columns)| {
                let tile = self.products().tile(left.0, rows.clone(), right.0, columns.clone());
                Part { rows, columns, values: tile.into_iter().map(T::to_f64).collect() }
            })
            .collect();
        let counted = std::cell::Cell::new(0);
        let done = |share: f64| {
            let now = (share * pairs as f64) as usize;
            self.finish.pairs.add((now - counted.replace(now)) as u64)
        };
        let room = self.spare / 2 / size_of::<T>();
        let sides = ((left.0, i), (right.0, j));
        deferred.add(sides.0, sides.1, same_examples, room, &mut parts, &done)?;
        self.finish.pairs.add((pairs - counted.get()) as u64)?;
        parts.into_par_iter().try_for_each(|part| {
            let values = part.values.into_iter().map(T::from_f64).collect();
            self.finish(values, (left, part.rows), (right, part.columns), same)
        })
    }

    /// A side of squares whose products take a fourth of what is left.
    fn square_side(&self) -> usize {
        let pair = self.products().rows().pow(2) * size_of::<f64>();
        let most = (self.spare / 4 / pair) as f64;
        (most.sqrt() as usize).clamp(32, SQUARE)
    }

    fn products(&self) -> Products<'_> {
        let trace = self.finish.trace();
        Products { layout: &self.layout, outputs: self.recipe.width(), trace }
    }

    fn finish(
        &self,
        values: Vec<T>,
        (left, i): (Block<T>, Range<usize>),
        (right, j): (Block<T>, Range<usize>),
        same: bool,
    ) -> Result<()> {
        let [left, right] = [left, right].map(|(features, start)| self.standing(features, start));
        self.finish.tile(values, (left, i), (right, j), same)
    }
}

/// Ranges of tiles; of the same block, those that reach the upper triangle.
pub(crate) fn tiles(
    rows: Range<usize>,
    columns: Range<usize>,
    same: bool,
) -> Vec<(Range<usize>, Range<usize>)> {
    let side = tile_side(rows.len(), columns.len());
    tiles_of(rows, columns, side, same)
}

/// The same with sides of at most so many examples.
pub(crate) fn tiles_of(
    rows: Range<usize>,
    columns: Range<usize>,
    side: usize,
    same: bool,
) -> Vec<(Range<usize>, Range<usize>)> {
    let mut tiles = Vec::new();
    for i in even_steps(rows, side) {
        for j in even_steps(columns.clone(), side) {
            if !same || j.start >= i.start {
                tiles.push((i.clone(), j));
            }
        }
    }
    tiles
}

/// Pairs that a tile stands for, one on the diagonal of the same block once.
pub(crate) fn pairs(i: &Range<usize>, j: &Range<usize>, same: bool) -> usize {
    if same && i == j { i.len() * (i.len() + 1) / 2 } else { i.len() * j.len() }
}

/// As few steps of at most so many as can be, all of about one length.
pub(crate) fn even_steps(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let steps_needed = range.len().div_ceil(most.max(1)).max(1);
    let step = range.len().div_ceil(steps_needed);
    steps(range, step)
}

/// Tiles large enough for efficient products, small enough to share among threads.
fn tile_side(n: usize, m: usize) -> usize {
    const TILES_PER_THREAD: usize = 6;
    let tiles = TILES_PER_THREAD * rayon::current_num_threads();
    let even = ((n as f64 * m as f64 / tiles as f64).sqrt() as usize).max(1);
    even.clamp(32, 512)
}
