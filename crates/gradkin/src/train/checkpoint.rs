//! A training run on disk: everything that goes on from one step to the next, in one safetensors file
//! that other programs read as weights.

use std::collections::BTreeMap;
use std::path::Path;

use gradkin_network::Precision;
use gradkin_network::weights::{self, Array, TRAINING, Values};

use super::run::{Best, Memory};
use super::trainer::{State, Trainer};
use crate::error::{Error, Result};

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Parameters, optimizer, running statistics, steps.
    pub state: State,
    /// What early stopping remembers.
    pub memory: Memory,
    /// How the run was started, as whoever started it wrote it down.
    pub settings: String,
}

const LISTS: [&str; 2] = ["first", "second"];

impl Checkpoint {
    /// Write the file, whole or not at all. Parameters lie in it under their own names, so that it can
    /// be given wherever weights of the network are taken.
    pub fn write(&self, trainer: &Trainer, path: impl AsRef<Path>) -> Result<()> {
        let network = trainer.network();
        let single = network.precision() == Precision::F32;
        let array = |shape: &[usize], values: &[f64]| Array {
            shape: shape.to_vec(),
            values: if single {
                Values::F32(values.iter().map(|v| *v as f32).collect())
            } else {
                Values::F64(values.to_vec())
            },
        };
        let whole = |values: &[f64]| Array {
            shape: vec![values.len()],
            values: Values::F64(values.to_vec()),
        };
        let mut tensors = BTreeMap::new();
        for (k, parameter) in network.parameters().iter().enumerate() {
            let (name, shape) = (&parameter.name, parameter.shape.as_slice());
            tensors.insert(name.clone(), array(shape, &self.state.values[k]));
            for (list, values) in LISTS.iter().zip([&self.state.first, &self.state.second]) {
                tensors.insert(format!("{TRAINING}{list}.{name}"), array(shape, &values[k]));
            }
            if let Some(best) = &self.memory.best {
                let own = array(shape, &best.values[k]);
                tensors.insert(format!("{TRAINING}best.{name}"), own);
            }
        }
        for (name, values) in &self.state.statistics {
            tensors.insert(name.clone(), whole(values));
        }
        let mut texts = BTreeMap::from([
            ("steps".to_owned(), self.state.steps.to_string()),
            ("waited".to_owned(), self.memory.waited.to_string()),
            ("settings".to_owned(), self.settings.clone()),
        ]);
        if let Some(best) = &self.memory.best {
            texts.insert("best_loss".into(), format!("{:?}", best.loss));
            for (name, values) in &best.statistics {
                tensors.insert(format!("{TRAINING}best.{name}"), whole(values));
            }
        }
        Ok(weights::write(path, &tensors, &texts)?)
    }

    /// Read the file back for the same network.
    ///
    /// # Errors
    /// Where the file is no checkpoint of this network.
    pub fn read(trainer: &Trainer, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (tensors, texts) = weights::read(path)?;
        let missing = |what: &str| {
            Error::Usage(format!(
                "{} is no checkpoint of {}: it has no {what}; train from the start, or give the \
                 checkpoint that belongs to this network",
                path.display(),
                trainer.network().source()
            ))
        };
        let get = |name: &str, count: usize| -> Result<Vec<f64>> {
            let array = tensors.get(name).ok_or_else(|| missing(&format!("`{name}`")))?;
            let values: Vec<f64> = match &array.values {
                Values::F32(values) => values.iter().map(|v| f64::from(*v)).collect(),
                Values::F64(values) => values.clone(),
            };
            if values.len() != count {
                return Err(missing(&format!("`{name}` of {count} numbers")));
            }
            Ok(values)
        };
        let text = |name: &str| texts.get(name).ok_or_else(|| missing(&format!("`{name}`")));
        let number = |name: &str| {
            let text = text(name)?;
            text.parse().map_err(|_| missing(&format!("number in `{name}`")))
        };
        let now = trainer.state();
        let parameters = trainer.network().parameters();
        let all = |prefix: &str| -> Result<Vec<Vec<f64>>> {
            parameters.iter().map(|p| get(&format!("{prefix}{}", p.name), p.len())).collect()
        };
        let statistics = |prefix: &str| -> Result<BTreeMap<String, Vec<f64>>> {
            let each = now.statistics.iter();
            each.map(|(name, v)| Ok((name.clone(), get(&format!("{prefix}{name}"), v.len())?)))
                .collect()
        };
        let best = match texts.get("best_loss") {
            None => None,
            Some(loss) => Some(Best {
                loss: loss.parse().map_err(|_| missing("number in `best_loss`"))?,
                values: all(&format!("{TRAINING}best."))?,
                statistics: statistics(&format!("{TRAINING}best."))?,
            }),
        };
        Ok(Self {
            state: State {
                steps: number("steps")?,
                values: all("")?,
                first: all(&format!("{TRAINING}first."))?,
                second: all(&format!("{TRAINING}second."))?,
                statistics: statistics("")?,
            },
            memory: Memory { best, waited: number("waited")? as usize },
            settings: text("settings")?.clone(),
        })
    }
}
