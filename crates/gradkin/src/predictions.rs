//! What the network says of each example.

use gradkin_network::candle_core::DType;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::features::Part;
use crate::kernel::Similarity;
use crate::output::softmax;
use crate::plan::Purpose;
use crate::progress::{Counter, Stage, Watch};

/// What the numbers of an output mean, going by the network's last operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Scores, or anything else: what the last operator is says nothing.
    Logits,
    /// It ends in a LogSoftmax.
    LogProbabilities,
    /// It ends in a Softmax.
    Probabilities,
}

/// The chosen outputs of every example, before they are combined into one number.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// `[N, width]`.
    pub values: Vec<f64>,
    /// Numbers per example.
    pub width: usize,
    /// What they mean.
    pub scale: Scale,
}

impl Predictions {
    /// The numbers of example `i`.
    pub fn of(&self, i: usize) -> &[f64] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    /// Class probabilities `[N, width]`: the softmax of logits, the exponential of log-probabilities,
    /// probabilities themselves.
    pub fn probabilities(&self) -> Vec<f64> {
        let each = self.values.chunks_exact(self.width.max(1));
        match self.scale {
            Scale::Probabilities => self.values.clone(),
            _ => each.flat_map(softmax).collect(),
        }
    }

    /// The class with the highest number, the first of equals, per example.
    pub fn classes(&self) -> Vec<usize> {
        let each = self.values.chunks_exact(self.width.max(1));
        each.map(crate::output::largest).collect()
    }
}

impl Similarity<'_> {
    /// What the network (the last of several checkpoints) puts out for every example, as far as it is
    /// chosen.
    ///
    /// # Errors
    /// Where the examples do not fit the network and where `watch` returns false.
    pub fn predictions(&self, examples: &dyn Examples, watch: Watch) -> Result<Predictions> {
        let recipe = self.recipe(Purpose::Sums(1))?;
        let Some(Part { sweep, output }) = recipe.parts.last() else {
            return Err(Error::Usage("there is no network".into()));
        };
        let counter = Counter::new(watch, Stage::Sweep, examples.len() as u64);
        let step = recipe.micro_batch();
        let starts: Vec<usize> = (0..examples.len()).step_by(step).collect();
        let values = starts
            .into_par_iter()
            .map(|start| {
                let count = step.min(examples.len() - start);
                let inputs = examples.batch(start..start + count).map_err(Error::Examples)?;
                let pass = sweep.forward(inputs, count)?;
                let values = sweep.output(&pass)?.flatten_all()?.to_dtype(DType::F64)?;
                counter.add(count as u64)?;
                Ok(output.chosen(&values.to_vec1()?))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Predictions { values: values.concat(), width: output.classes(), scale: output.scale() })
    }
}
