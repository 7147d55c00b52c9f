//! The k most similar examples of each query, from exact similarities, without ever holding them all.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Mutex;

use gradkin_network::Precision;

use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::kernel::{Similarity, Tile, Undefined};
use crate::number::Number;
use crate::progress::Watch;
use crate::similarity::Reduction;

/// An example and how similar it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// Index into the data.
    pub example: usize,
    /// Its similarity to the query.
    pub similarity: f64,
}

/// The nearest examples of every query.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbors {
    /// Per query, most similar first; of equals, the one that comes first in the data. Empty for an
    /// undefined query.
    pub lists: Vec<Vec<Neighbor>>,
    /// Queries that have no similarity.
    pub undefined_queries: Undefined,
    /// Examples of the data that have no similarity; they are nobody's neighbour.
    pub undefined_examples: Undefined,
}

impl Similarity<'_> {
    /// The `k` most similar examples of `data` for each of `queries`, or for each example of `data`
    /// itself, which then is left out of its own list.
    ///
    /// # Errors
    /// Where matrices are asked for (they have no order), where the examples do not fit the network,
    /// and where `watch` returns false.
    pub fn neighbors(
        &self,
        data: &dyn Examples,
        queries: Option<&dyn Examples>,
        k: usize,
        watch: Watch,
    ) -> Result<Neighbors> {
        if self.settings().reduction == Reduction::Matrix {
            return Err(Error::Usage(
                "neighbours need one number per pair; use --reduce trace or rotation".into(),
            ));
        }
        if k == 0 {
            return Err(Error::Usage("k must be at least 1".into()));
        }
        match self.network().precision() {
            Precision::F32 => self.neighbors_in::<f32>(data, queries, k, watch),
            Precision::F64 => self.neighbors_in::<f64>(data, queries, k, watch),
        }
    }

    fn neighbors_in<T: Number>(
        &self,
        data: &dyn Examples,
        queries: Option<&dyn Examples>,
        k: usize,
        watch: Watch,
    ) -> Result<Neighbors> {
        let rows = queries.unwrap_or(data);
        let with_self = queries.is_none();
        let best: Vec<Mutex<Best>> = (0..rows.len()).map(|_| Mutex::new(Best::new(k))).collect();
        let visit = |tile: &Tile<T>| {
            tile.meet(&|query, found| {
                offer(&best[query], found.filter(|(j, _)| !(with_self && *j == query)));
            });
            Ok(())
        };
        let columns = queries.map(|_| data);
        let budget = self.settings().memory;
        let (undefined_queries, undefined_examples) =
            self.visit(rows, columns, budget, watch, &visit)?;
        let lists = best.into_iter().map(|b| b.into_inner().map(Best::sorted).unwrap_or_default());
        Ok(Neighbors { lists: lists.collect(), undefined_queries, undefined_examples })
    }
}

fn offer(best: &Mutex<Best>, found: impl Iterator<Item = (usize, f64)>) {
    let Ok(mut best) = best.lock() else { return };
    found.for_each(|(example, similarity)| best.offer(Neighbor { example, similarity }));
}

/// The k best so far, the worst of them on top.
pub(crate) struct Best {
    k: usize,
    heap: BinaryHeap<Worst>,
}

/// Ordered so that the greatest is the one to drop: least similar, then latest in the data.
#[derive(PartialEq)]
struct Worst(Neighbor);

impl Eq for Worst {}

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_value = other.0.similarity.total_cmp(&self.0.similarity);
        by_value.then(self.0.example.cmp(&other.0.example))
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Best {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    pub(crate) fn offer(&mut self, neighbor: Neighbor) {
        let candidate = Worst(neighbor);
        if self.heap.len() < self.k {
            self.heap.push(candidate);
        } else if self.heap.peek().is_some_and(|worst| candidate < *worst) {
            self.heap.pop();
            self.heap.push(candidate);
        }
    }

    pub(crate) fn sorted(self) -> Vec<Neighbor> {
        self.heap.into_sorted_vec().into_iter().map(|worst| worst.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_in_order_and_ties_go_to_the_first() {
        let mut best = Best::new(3);
        for (example, similarity) in [(5, 0.1), (2, 0.9), (7, 0.9), (1, 0.5), (0, 0.5)] {
            best.offer(Neighbor { example, similarity });
        }
        let order: Vec<usize> = best.sorted().iter().map(|n| n.example).collect();
        assert_eq!(order, [2, 7, 0]);
    }
}
