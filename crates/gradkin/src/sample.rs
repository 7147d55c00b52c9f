//! A random part of a set.

use std::ops::Range;

use gradkin_network::InputData;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

use crate::examples::{Examples, Labels};

/// Some examples of a set, in ascending order.
pub(crate) struct Subset<'a> {
    set: &'a dyn Examples,
    pub(crate) indices: Vec<usize>,
    labels: Option<Labels>,
}

impl<'a> Subset<'a> {
    /// `size` examples drawn without replacement; equal seeds draw equally.
    pub(crate) fn draw(set: &'a dyn Examples, size: usize, seed: u64) -> Self {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let size = size.min(set.len());
        let mut indices = rand::seq::index::sample(&mut random, set.len(), size).into_vec();
        indices.sort_unstable();
        let labels = set.labels().map(|labels| match labels {
            Labels::Classes(ids) => Labels::Classes(indices.iter().map(|i| ids[*i]).collect()),
            Labels::Targets { values, width } => Labels::Targets {
                values: indices
                    .iter()
                    .flat_map(|i| &values[i * width..(i + 1) * width])
                    .copied()
                    .collect(),
                width: *width,
            },
        });
        Self { set, indices, labels }
    }
}

impl Examples for Subset<'_> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn batch(
        &self,
        range: Range<usize>,
    ) -> Result<Vec<InputData>, Box<dyn std::error::Error + Send + Sync>> {
        let mut all: Vec<InputData> = Vec::new();
        for i in &self.indices[range] {
            let one = self.set.batch(*i..i + 1)?;
            if all.is_empty() {
                all = one;
                continue;
            }
            for (all, one) in all.iter_mut().zip(one) {
                match (all, one) {
                    (InputData::F32(all), InputData::F32(one)) => all.extend(one),
                    (InputData::F64(all), InputData::F64(one)) => all.extend(one),
                    (InputData::I64(all), InputData::I64(one)) => all.extend(one),
                    _ => return Err("the examples change their type from one to the next".into()),
                }
            }
        }
        Ok(all)
    }

    fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    fn name(&self) -> &str {
        self.set.name()
    }
}
