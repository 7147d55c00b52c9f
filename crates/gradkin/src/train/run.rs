//! Epochs: the order of the examples, the learning rate, validation and when to stop.

use rand::rngs::ChaCha12Rng;
use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::objective::Tally;
use super::schedule::Schedule;
use super::set::TrainingSet;
use super::trainer::{State, StepReport, Trainer};
use crate::error::{Error, Result};

/// The order in which examples come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shuffle {
    /// Equal seeds give equal orders.
    pub seed: u64,
}

impl Shuffle {
    /// The order of one epoch.
    pub fn order(self, count: usize, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut self.random(epoch as u64));
        order
    }

    /// What a set that changes its examples seeds its generator with.
    pub fn draw(self, step: u64) -> u64 {
        self.random(step ^ (1 << 63)).next_u64()
    }

    fn random(self, stream: u64) -> ChaCha12Rng {
        let mut random = ChaCha12Rng::seed_from_u64(self.seed);
        random.set_stream(stream);
        random
    }
}

/// A training run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Passes over the set.
    pub epochs: usize,
    /// Examples per step.
    pub batch: usize,
    /// The learning rate at its highest.
    pub rate: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// Steps at the beginning over which it rises.
    pub warmup: u64,
    /// The order of the examples.
    pub shuffle: Shuffle,
    /// Stop after so many epochs in which the validation loss was not the lowest yet, and go back to
    /// the lowest.
    pub patience: Option<usize>,
}

/// How one epoch went.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// Epochs done, one for the first.
    pub number: usize,
    /// Loss and metric over the training batches, each before its step.
    pub training: Tally,
    /// Loss and metric over the validation set after the epoch.
    pub validation: Option<Tally>,
    /// The mean over steps of 1 − k̄, where similarity is enforced.
    pub dissimilarity: Option<f64>,
    /// Whether the validation loss is the lowest yet.
    pub best: bool,
}

/// What early stopping remembers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    /// The epoch with the lowest validation loss.
    pub best: Option<Best>,
    /// Epochs since then.
    pub waited: usize,
}

/// The network at its lowest validation loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// That loss.
    pub loss: f64,
    /// Values of the parameters.
    pub values: Vec<Vec<f64>>,
    /// Running statistics, by name.
    pub statistics: BTreeMap<String, Vec<f64>>,
}

/// What a run tells while it goes on, and hears whether to go on.
pub trait Watcher {
    /// After each step: steps done, of how many.
    fn step(&mut self, trainer: &Trainer, report: &StepReport, step: u64, total: u64)
    -> Result<()>;

    /// After each epoch; with `memory` the run can be gone on with later.
    fn epoch(&mut self, trainer: &Trainer, epoch: &Epoch, memory: &Memory) -> Result<()>;
}

impl Run {
    /// Steps to an epoch over `count` examples.
    pub fn steps_per_epoch(&self, count: usize) -> u64 {
        count.div_ceil(self.batch.max(1)) as u64
    }

    /// Train from where the trainer stands: the first step taken is the one after
    /// [`Trainer::steps`], so that a resumed run goes on as if it had not been interrupted.
    ///
    /// # Errors
    /// Whatever a step or the watcher gives.
    pub fn run(
        &self,
        trainer: &mut Trainer,
        set: &dyn TrainingSet,
        validation: Option<&dyn TrainingSet>,
        memory: &mut Memory,
        watcher: &mut dyn Watcher,
    ) -> Result<()> {
        if set.is_empty() {
            return Err(Error::Usage("there are no examples to train with".into()));
        }
        let per_epoch = self.steps_per_epoch(set.len());
        let total = per_epoch * self.epochs as u64;
        let first = (trainer.steps() / per_epoch) as usize;
        for epoch in first..self.epochs {
            let order = self.shuffle.order(set.len(), epoch);
            let mut training = Tally::default();
            let (mut sum, mut counted) = (0.0, 0u64);
            let skip = trainer.steps() - epoch as u64 * per_epoch;
            for rows in order.chunks(self.batch.max(1)).skip(skip as usize) {
                let step = trainer.steps();
                let batch = set.batch(rows, self.shuffle.draw(step))?;
                let factor = self.schedule.factor(step, total, per_epoch, self.warmup);
                let report = trainer.step(&batch, self.rate * factor)?;
                training.add(&report.tally);
                if let Some(value) = report.dissimilarity {
                    sum += value;
                    counted += 1;
                }
                watcher.step(trainer, &report, trainer.steps(), total)?;
            }
            let validation = match validation {
                Some(set) => Some(trainer.evaluate(set, EVALUATED)?),
                None => None,
            };
            let lowest = memory.best.as_ref().map_or(f64::INFINITY, |best| best.loss);
            let loss = validation.map(|tally| tally.mean_loss());
            let is_best = loss.is_some_and(|loss| loss < lowest);
            if let (Some(loss), true, Some(_)) = (loss, is_best, self.patience) {
                let state = trainer.state();
                let (values, statistics) = (state.values, state.statistics);
                *memory = Memory { best: Some(Best { loss, values, statistics }), waited: 0 };
            } else {
                memory.waited += 1;
            }
            let report = Epoch {
                number: epoch + 1,
                training,
                validation,
                dissimilarity: (counted > 0).then(|| sum / counted as f64),
                best: is_best,
            };
            watcher.epoch(trainer, &report, memory)?;
            if validation.is_some() && self.patience.is_some_and(|most| memory.waited >= most) {
                break;
            }
        }
        if let Some(best) = &memory.best {
            let (values, statistics) = (best.values.clone(), best.statistics.clone());
            trainer.resume(&State { values, statistics, ..trainer.state() })?;
        }
        Ok(())
    }
}

/// Examples evaluated at once; small, for nothing is gained by more and memory grows with it.
const EVALUATED: usize = 64;
