//! How similarity stands while a network is trained, on a fixed set of examples.

use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::examples::{Examples, Labels};
use crate::kernel::{Settings, Similarity, Values};

/// Examples that are compared every so often.
pub struct Probe<'a> {
    examples: &'a dyn Examples,
    classes: Option<Vec<usize>>,
    settings: Settings,
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probed {
    /// The mean of k^C over pairs of one class; `None` without classes or such pairs.
    pub within: Option<f64>,
    /// The mean over pairs of different classes, or over all pairs where there are no classes.
    pub between: Option<f64>,
    /// The mean soft neighbour count N_S over the number of examples, each example's own one included.
    pub density: f64,
}

impl<'a> Probe<'a> {
    /// A probe that compares `examples` as `settings` say.
    ///
    /// # Errors
    /// Where there are fewer than two examples.
    pub fn new(
        examples: &'a dyn Examples,
        labels: Option<&Labels>,
        settings: Settings,
    ) -> Result<Self> {
        if examples.len() < 2 {
            return Err(Error::Usage("a probe takes two examples or more".into()));
        }
        let classes = match labels {
            Some(Labels::Classes(ids)) => Some(ids.clone()),
            _ => None,
        };
        Ok(Self { examples, classes, settings })
    }

    /// Compare the examples as the network sees them now.
    pub fn measure(&self, trainer: &Trainer) -> Result<Probed> {
        let similarity = Similarity::new(trainer.network(), self.settings.clone())?;
        let similarity = similarity.at(trainer.point().clone());
        let kernel = similarity.kernel(self.examples, None, &|_| true)?;
        let k: Vec<f64> = match kernel.values {
            Values::F32(values) => values.into_iter().map(f64::from).collect(),
            Values::F64(values) => values,
        };
        let count = self.examples.len();
        let class = |i: usize| self.classes.as_ref().map(|classes| classes[i]);
        let (mut within, mut between) = ((0.0, 0u64), (0.0, 0u64));
        for i in 0..count {
            for j in 0..i {
                let one_class = class(i).is_some() && class(i) == class(j);
                let sum = if one_class { &mut within } else { &mut between };
                *sum = (sum.0 + k[i * count + j], sum.1 + 1);
            }
        }
        let mean = |(sum, pairs): (f64, u64)| (pairs > 0).then(|| sum / pairs as f64);
        Ok(Probed {
            within: mean(within),
            between: mean(between),
            density: k.iter().sum::<f64>() / (count * count) as f64,
        })
    }
}
