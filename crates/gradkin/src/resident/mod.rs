//! Exact pairs computed on the device that the network lives on, by operations of the tensor library.
//!
//! Features never come back to the host. What does are K(x, x), d×d numbers an example, to be taken apart
//! into ranks and maps, and tiles of products that are finished as any others are. The device runs one
//! operation after another, so micro-batches and tiles are large and follow each other, while the host
//! finishes the tile before.

mod features;
mod held;
mod own;
mod products;
mod swept;
#[cfg(test)]
mod tests;

use std::ops::Range;

use gradkin_network::candle_core::Tensor;
use rayon::prelude::*;

use crate::blocks::{Needs, pairs, tiles, tiles_of};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::features::{Recipe, Side};
use crate::finish::{Finish, Standing};
use crate::number::{Number, numbers};
use crate::progress::Counter;
use crate::storage::Storage;
use features::{Features, in_progress, micro_batch};
use products::Products;

/// Numbers of an intermediate product that are held at once, at most.
const MOST_NUMBERS: usize = 64 << 20;

/// Numbers of a tile that is brought to the host, at most.
const MOST_RESULTS: usize = 16 << 20;

/// Where features stay on the device, what they and the work on them take of a budget.
pub(crate) fn needs(recipe: &Recipe, budget: usize, bytes: usize) -> Result<Needs> {
    if recipe.storage != Storage::Full {
        return Err(Error::Usage(
            "gradients are kept in 16 bits on the CPU only; leave --storage away".into(),
        ));
    }
    Ok(Needs {
        budget,
        each: recipe.bytes(bytes).max(1),
        sweeps: in_progress(recipe, budget, bytes) * bytes,
        beside: 0,
        spare: budget / 5,
    })
}

/// Pairs computed on the device.
pub(crate) struct Resident<'r, T> {
    pub(crate) recipe: &'r Recipe<'r>,
    pub(crate) sweeps: &'r Counter<'r>,
    pub(crate) finish: Finish<'r, T>,
    /// Bytes for everything.
    pub(crate) budget: usize,
    /// Bytes for products in the making.
    pub(crate) spare: usize,
}

/// The products of a tile on the host, and between which examples of two blocks.
struct Made<T> {
    values: Vec<T>,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<T: Number> Engine for Resident<'_, T> {
    type Features = Features;

    fn empty(&self) -> Features {
        Features::default()
    }

    fn encode(
        &self,
        examples: &dyn Examples,
        range: Range<usize>,
        side: Side,
        features: &mut Features,
    ) -> Result<()> {
        // The device may have no room for two blocks in this one's place.
        *features = Features::default();
        let micro = micro_batch(self.recipe, self.budget, size_of::<T>());
        *features = Features::encode::<T>(self.recipe, examples, range, side, micro, self.sweeps)?;
        Ok(())
    }

    fn standing<'f>(&self, features: &'f Features, start: usize) -> Standing<'f> {
        Standing { start, ranks: &features.ranks, finite: &features.finite }
    }

    fn block(&self, left: (&Features, usize), right: (&Features, usize)) -> Result<()> {
        let same = std::ptr::eq(left.0, right.0);
        let standings = [left, right].map(|(features, start)| self.standing(features, start));
        let products = self.products();
        let finish = |made: Option<Made<T>>| match made {
            Some(made) => self.finish(made, standings, same),
            None => Ok(()),
        };
        let mut waiting = None;
        for (rows, columns) in self.tiles(left.0.count(), right.0.count(), same) {
            let make = || -> Result<Made<T>> {
                let tile = products.tile((left.0, rows.clone()), (right.0, columns.clone()))?;
                Ok(Made { values: numbers(&tile)?, rows, columns })
            };
            let before = waiting.take();
            let (finished, made) = rayon::join(|| finish(before), make);
            finished?;
            waiting = Some(made?);
        }
        finish(waiting)
    }
}

impl<T: Number> Resident<'_, T> {
    fn products(&self) -> Products {
        // Both factors' products, the product of these, and sums that are on their way.
        let most = (self.spare / 4 / size_of::<T>()).clamp(1, MOST_NUMBERS);
        Products { rows: self.finish.rows(), most }
    }

    /// Tiles whose results fit what is held at once; of the same block, those of the upper triangle.
    fn tiles(&self, n: usize, m: usize, same: bool) -> Vec<(Range<usize>, Range<usize>)> {
        let Products { rows, most } = self.products();
        let side = ((most.min(MOST_RESULTS) as f64).sqrt() as usize / rows).max(1);
        tiles_of(0..n, 0..m, side, same)
    }

    /// Finish a tile, cut into smaller ones that threads take one by one.
    fn finish(&self, made: Made<T>, [left, right]: [Standing; 2], same: bool) -> Result<()> {
        let rows = self.finish.rows();
        let width = made.columns.len() * rows;
        let same_tile = same && made.rows == made.columns;
        let cut = |i: &Range<usize>, j: &Range<usize>| -> Vec<T> {
            let lines = (i.start - made.rows.start) * rows..(i.end - made.rows.start) * rows;
            let columns =
                (j.start - made.columns.start) * rows..(j.end - made.columns.start) * rows;
            let line = |at: usize| &made.values[at * width..][columns.clone()];
            lines.flat_map(|at| line(at).iter().copied()).collect()
        };
        let tiles = tiles(made.rows.clone(), made.columns.clone(), same_tile);
        tiles.into_par_iter().try_for_each(|(i, j)| {
            let count = pairs(&i, &j, same) as u64;
            self.finish.tile(cut(&i, &j), (left, i), (right, j), same)?;
            self.finish.pairs.add(count)
        })
    }
}

/// A sum in the making.
fn add(sum: Option<Tensor>, more: Tensor) -> Result<Tensor> {
    Ok(match sum {
        Some(sum) => (sum + more)?,
        None => more,
    })
}
