//! Groups of examples that the network cannot tell apart: k^C at or above a threshold, exactly.

use std::sync::Mutex;

use gradkin_network::Precision;

use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::features::Side;
use crate::kernel::{Similarity, Tile, Undefined};
use crate::neighbors::Neighbor;
use crate::number::Number;
use crate::progress::Watch;
use crate::similarity::{Kind, Reduction};

/// Near duplicates of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct Duplicates {
    /// Groups of two or more examples, each ascending, in the order of their first example. Two
    /// examples are in one group where a chain of similarities at or above the threshold joins them.
    pub groups: Vec<Vec<usize>>,
    /// The group of each example, if it is in one.
    pub group_of: Vec<Option<usize>>,
    /// The most similar other example of each; `None` for undefined examples, and where there is no
    /// other.
    pub nearest: Vec<Option<Neighbor>>,
    /// Examples that have no similarity and are nobody's duplicate.
    pub undefined: Undefined,
}

impl Similarity<'_> {
    /// Groups of examples whose correlations are `threshold` or above.
    ///
    /// # Errors
    /// Where the kind is not the correlation or the reduction is matrices; where the threshold is not
    /// within −1 … 1; where the examples do not fit the network; where `watch` returns false.
    pub fn duplicates(
        &self,
        set: &dyn Examples,
        threshold: f64,
        watch: Watch,
    ) -> Result<Duplicates> {
        let settings = self.settings();
        if settings.kind != Kind::Correlation || settings.reduction == Reduction::Matrix {
            return Err(Error::Usage(
                "duplicates are found by correlations of one number per pair; use --kind correlation \
                 and --reduce trace or rotation"
                    .into(),
            ));
        }
        if !(-1.0..=1.0).contains(&threshold) {
            return Err(Error::Usage(format!(
                "the threshold {threshold} is no similarity, which is -1 to 1"
            )));
        }
        match self.network().precision() {
            Precision::F32 => self.duplicates_in::<f32>(set, threshold, watch),
            Precision::F64 => self.duplicates_in::<f64>(set, threshold, watch),
        }
    }

    fn duplicates_in<T: Number>(
        &self,
        set: &dyn Examples,
        threshold: f64,
        watch: Watch,
    ) -> Result<Duplicates> {
        let n = set.len();
        let joined = Mutex::new(Joined::new(n));
        let nearest: Vec<Mutex<Option<Neighbor>>> = (0..n).map(|_| Mutex::new(None)).collect();
        let visit = |tile: &Tile<T>| {
            let width = tile.columns.len();
            let mut close = Vec::new();
            let mut columns: Vec<Option<Neighbor>> = vec![None; width];
            for (row, i) in tile.rows.clone().enumerate() {
                if (tile.undefined)(i, Side::Row) {
                    continue;
                }
                let mut own = None;
                for (col, j) in tile.columns.clone().enumerate() {
                    if i == j || (tile.undefined)(j, Side::Column) {
                        continue;
                    }
                    let similarity = tile.values[row * width + col].to_f64();
                    closer(&mut own, Neighbor { example: j, similarity });
                    closer(&mut columns[col], Neighbor { example: i, similarity });
                    if similarity >= threshold {
                        close.push((i, j));
                    }
                }
                note(&nearest[i], own);
            }
            for (j, found) in tile.columns.clone().zip(columns) {
                note(&nearest[j], found);
            }
            if let Ok(mut joined) = joined.lock() {
                close.into_iter().for_each(|(i, j)| joined.join(i, j));
            }
            Ok(())
        };
        let budget = self.settings().memory;
        let (undefined, _) = self.visit(set, None, budget, watch, &visit)?;
        let joined = joined.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (groups, group_of) = joined.groups();
        let nearest = nearest.into_iter().map(|n| n.into_inner().unwrap_or_default()).collect();
        Ok(Duplicates { groups, group_of, nearest, undefined })
    }
}

/// Keep the more similar of two; of equals, the one that comes first in the data.
fn closer(best: &mut Option<Neighbor>, found: Neighbor) {
    let better = best.is_none_or(|best| {
        let order = found.similarity.total_cmp(&best.similarity);
        order.then(best.example.cmp(&found.example)).is_gt()
    });
    if better {
        *best = Some(found);
    }
}

fn note(best: &Mutex<Option<Neighbor>>, found: Option<Neighbor>) {
    if let (Some(found), Ok(mut best)) = (found, best.lock()) {
        closer(&mut best, found);
    }
}

/// Sets that grow together (union by lowest index, with path halving).
struct Joined {
    parents: Vec<usize>,
}

impl Joined {
    fn new(n: usize) -> Self {
        Self { parents: (0..n).collect() }
    }

    fn root(&mut self, mut i: usize) -> usize {
        while self.parents[i] != i {
            self.parents[i] = self.parents[self.parents[i]];
            i = self.parents[i];
        }
        i
    }

    fn join(&mut self, i: usize, j: usize) {
        let (i, j) = (self.root(i), self.root(j));
        self.parents[i.max(j)] = i.min(j);
    }

    fn groups(mut self) -> (Vec<Vec<usize>>, Vec<Option<usize>>) {
        let n = self.parents.len();
        let roots: Vec<usize> = (0..n).map(|i| self.root(i)).collect();
        let mut sizes = vec![0; n];
        roots.iter().for_each(|root| sizes[*root] += 1);
        let mut number = vec![None; n];
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (i, root) in roots.iter().enumerate().filter(|(_, root)| sizes[**root] > 1) {
            let at = *number[*root].get_or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[at].push(i);
        }
        let group_of = roots.iter().map(|root| number[*root]).collect();
        (groups, group_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_become_one_group() {
        let mut joined = Joined::new(6);
        joined.join(4, 2);
        joined.join(2, 5);
        joined.join(0, 1);
        let (groups, group_of) = joined.groups();
        assert_eq!(groups, [vec![0, 1], vec![2, 4, 5]]);
        assert_eq!(group_of, [Some(0), Some(0), Some(1), None, Some(1), Some(1)]);
    }
}
