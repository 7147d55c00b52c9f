//! Which examples of a batch are to be alike.

use std::collections::BTreeMap;

use gradkin_network::InputData;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::augment::Augmentation;
use super::set::{Batch, Targets, TrainingSet, append};
use crate::error::{Error, Result};

/// Which examples the network is to see as the same.
#[derive(Debug, Clone, PartialEq)]
pub enum Grouping {
    /// Those of one class, as far as a batch holds several.
    Classes,
    /// Given pairs: each example of a batch with a partner, drawn where it has several.
    Pairs(Vec<[usize; 2]>),
    /// Each example with a changed copy of itself; `shape` is that of an example of the first input.
    Augmented {
        /// How the copy is changed.
        changes: Augmentation,
        /// Shape of one example.
        shape: Vec<usize>,
    },
}

/// A training set whose batches say which of their examples are to be alike.
///
/// Partners and changed copies are rows of their own, which do not count in the loss.
pub struct Grouped<'a> {
    set: &'a dyn TrainingSet,
    grouping: Grouping,
    partners: BTreeMap<usize, Vec<usize>>,
}

impl<'a> Grouped<'a> {
    /// A set with groups.
    ///
    /// # Errors
    /// Where a pair names an example that does not exist, or one example twice.
    pub fn new(set: &'a dyn TrainingSet, grouping: Grouping) -> Result<Self> {
        let mut partners: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        if let Grouping::Pairs(pairs) = &grouping {
            for (number, [a, b]) in pairs.iter().enumerate() {
                if a == b || *a.max(b) >= set.len() {
                    return Err(Error::Usage(format!(
                        "pair {number} is {a} and {b}; pairs take two different examples of 0 to {}",
                        set.len().saturating_sub(1)
                    )));
                }
                partners.entry(*a).or_default().push(*b);
                partners.entry(*b).or_default().push(*a);
            }
            if pairs.is_empty() {
                return Err(Error::Usage("there are no pairs to make alike".into()));
            }
        }
        Ok(Self { set, grouping, partners })
    }

    /// The batch with further rows that do not count in the loss.
    fn extended(&self, mut batch: Batch, more: Batch) -> Result<Batch> {
        let per_example = match (&batch.weights, &batch.targets) {
            (Some(weights), _) => weights.len() / batch.size.max(1),
            (None, Targets::Classes(_) | Targets::Numbers(_)) => 1,
        };
        let mut weights = batch.weights.take().unwrap_or_else(|| vec![1.0; batch.size]);
        weights.resize(weights.len() + per_example * more.size, 0.0);
        for (all, more) in batch.inputs.iter_mut().zip(more.inputs) {
            append(all, more)?;
        }
        match (&mut batch.targets, more.targets) {
            (Targets::Classes(all), Targets::Classes(more)) => all.extend(more),
            (Targets::Numbers(all), Targets::Numbers(more)) => all.extend(more),
            _ => {
                return Err(Error::Examples("the targets change their kind".into()));
            }
        }
        batch.weights = Some(weights);
        batch.size += more.size;
        Ok(batch)
    }

    fn with_partners(&self, batch: Batch, indices: &[usize], draw: u64) -> Result<Batch> {
        let mut random = ChaCha12Rng::seed_from_u64(draw);
        let mut extra = Vec::new();
        let mut groups = Vec::new();
        let mut taken = vec![false; indices.len()];
        for (row, index) in indices.iter().enumerate() {
            let Some(partners) = self.partners.get(index).filter(|_| !taken[row]) else { continue };
            let partner = partners[random.random_range(0..partners.len())];
            // A partner that the batch holds already is not read again.
            let there = indices.iter().position(|other| *other == partner);
            match there.filter(|there| !taken[*there]) {
                Some(there) => {
                    taken[there] = true;
                    groups.push(vec![row, there]);
                }
                None => {
                    groups.push(vec![row, indices.len() + extra.len()]);
                    extra.push(partner);
                }
            }
            taken[row] = true;
        }
        let mut batch = if extra.is_empty() {
            batch
        } else {
            let more = self.set.batch(&extra, draw)?;
            self.extended(batch, more)?
        };
        batch.groups = groups;
        Ok(batch)
    }

    fn with_copies(
        &self,
        batch: Batch,
        changes: &Augmentation,
        shape: &[usize],
        draw: u64,
    ) -> Result<Batch> {
        let size = batch.size;
        let mut copies = batch.clone();
        let changed = |values: Vec<f64>| -> Result<Vec<f64>> {
            let mut values = values;
            changes.apply(&mut values, shape, draw)?;
            Ok(values)
        };
        if let Some(input) = copies.inputs.first_mut() {
            *input = match std::mem::replace(input, InputData::F32(Vec::new())) {
                InputData::F32(v) => {
                    let values = changed(v.into_iter().map(f64::from).collect())?;
                    InputData::F32(values.into_iter().map(|x| x as f32).collect())
                }
                InputData::F64(v) => InputData::F64(changed(v)?),
                InputData::I64(_) => {
                    return Err(Error::Usage(
                        "whole numbers such as tokens cannot be augmented".into(),
                    ));
                }
            };
        }
        let mut batch = self.extended(batch, copies)?;
        batch.groups = (0..size).map(|row| vec![row, size + row]).collect();
        Ok(batch)
    }
}

impl TrainingSet for Grouped<'_> {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn batch(&self, indices: &[usize], draw: u64) -> Result<Batch> {
        let mut batch = self.set.batch(indices, draw)?;
        match &self.grouping {
            Grouping::Classes => {
                let Targets::Classes(classes) = &batch.targets else {
                    return Err(Error::Usage(
                        "examples of one class are to be alike, but the labels are numbers".into(),
                    ));
                };
                let mut by_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
                for (row, class) in classes.iter().enumerate() {
                    by_class.entry(*class).or_default().push(row);
                }
                batch.groups = by_class.into_values().filter(|rows| rows.len() > 1).collect();
                Ok(batch)
            }
            Grouping::Pairs(_) => self.with_partners(batch, indices, draw),
            Grouping::Augmented { changes, shape } => self.with_copies(batch, changes, shape, draw),
        }
    }
}
