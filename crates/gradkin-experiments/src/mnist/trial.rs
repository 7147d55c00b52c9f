//! One network, trained from one seed for a few steps, with the similarity term or without.

use std::time::Instant;

use gradkin::network::build::{Convolution, GraphBuilder, Pooling};
use gradkin::network::{Model, Network, NetworkError, Options};
use gradkin::train::{
    Batch, Enforcement, Objective, Targets, Trainer, TrainerSettings, TrainingSet,
};
use gradkin::{OutputChoice, Select};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::pictures::Pictures;
use crate::Error;

/// How the examples of a step are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// Two pictures of one class, as the authors have it.
    Pair,
    /// So many pictures at random; those of one class form a group.
    Batch(usize),
}

/// What all trials of a comparison share.
#[derive(Debug)]
pub(super) struct Contest<'a> {
    pub(super) training: &'a Pictures,
    pub(super) validation: &'a Pictures,
    pub(super) draw: Draw,
    pub(super) rate: f64,
    /// Steps after which accuracy is measured, ascending; the last ends the trial.
    pub(super) grid: &'a [usize],
}

/// What a trial found.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    /// Accuracy at each step of the grid.
    pub(super) accuracy: Vec<f64>,
    /// Median milliseconds per training step.
    pub(super) step_ms: f64,
    /// Mean of 1 − k̄ over the steps, where similarity was enforced.
    pub(super) dissimilarity: Option<f64>,
}

/// The paper's network, for pictures of any shape.
pub(super) fn network_file(shape: [usize; 3]) -> Result<Vec<u8>, NetworkError> {
    let mut graph = GraphBuilder::new("paper_cnn");
    let mut x = graph.input("image", &shape)?;
    for (layer, channels) in [(1, 32), (2, 64)] {
        x = graph.conv(&format!("conv{layer}"), x, Convolution::new(channels, 5))?;
        x = graph.prelu(&format!("prelu{layer}"), x, 1)?;
        x = graph.average_pool(x, Pooling::new(2))?;
    }
    x = graph.flatten(x)?;
    x = graph.linear("fc1", x, 256, true)?;
    x = graph.prelu("prelu3", x, 1)?;
    x = graph.linear("fc2", x, 10, true)?;
    graph.output("logits", x)?;
    graph.finish()
}

impl Contest<'_> {
    /// Train with weight `lambda` of the term. Equal seeds draw equal weights and equal examples,
    /// whatever `lambda` is.
    pub(super) fn trial(&self, lambda: f64, seed: u64) -> Result<Trial, Error> {
        let mut model = Model::from_bytes(&network_file(self.training.shape)?, "paper_cnn")?;
        model.draw_weights(seed)?;
        let network = Network::new(&model, &Options::default())?;
        let output = OutputChoice { select: Select::Contrast, ..OutputChoice::default() };
        let settings = TrainerSettings {
            objective: Objective::CrossEntropy,
            enforcement: (lambda != 0.0).then_some(Enforcement { lambda, output }),
            threads: 1,
            ..TrainerSettings::default()
        };
        let mut trainer = Trainer::new(&network, settings)?;
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let places = self.training.by_class();
        let (mut accuracy, mut times, mut unlike) = (Vec::new(), Vec::new(), Vec::new());
        for step in 1..=self.grid.last().copied().unwrap_or(0) {
            let batch = self.batch(&places, &mut random)?;
            let start = Instant::now();
            let report = trainer.step(&batch, self.rate)?;
            times.push(1e3 * start.elapsed().as_secs_f64());
            unlike.extend(report.dissimilarity);
            if self.grid.contains(&step) {
                let tally = trainer.evaluate(self.validation, 64)?;
                accuracy.push(tally.mean_metric(Objective::CrossEntropy));
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(Trial {
            accuracy,
            step_ms: times.get(times.len() / 2).copied().unwrap_or(f64::NAN),
            dissimilarity: (!unlike.is_empty()).then(|| crate::spread::mean(&unlike)),
        })
    }

    fn batch(&self, places: &[Vec<usize>], random: &mut ChaCha12Rng) -> Result<Batch, Error> {
        let count = self.training.len();
        let rows: Vec<usize> = match self.draw {
            Draw::Pair => {
                let first = random.random_range(0..count);
                let like = &places[self.training.classes[first]];
                vec![first, other_than(first, like, random)]
            }
            Draw::Batch(size) => (0..size).map(|_| random.random_range(0..count)).collect(),
        };
        let mut batch = self.training.batch(&rows, 0)?;
        batch.groups = groups(&batch.targets);
        Ok(batch)
    }
}

/// Another of the same class; the same where there is none.
fn other_than(first: usize, like: &[usize], random: &mut ChaCha12Rng) -> usize {
    if like.len() < 2 {
        return first;
    }
    let other = like[random.random_range(0..like.len() - 1)];
    if other == first { like[like.len() - 1] } else { other }
}

/// Rows of one class together.
fn groups(targets: &Targets) -> Vec<Vec<usize>> {
    let Targets::Classes(classes) = targets else { return Vec::new() };
    let most = classes.iter().copied().max().unwrap_or(0);
    (0..=most)
        .map(|class| (0..classes.len()).filter(|row| classes[*row] == class).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn pairs_are_two_of_one_class() {
        let pictures = Pictures::made_up(60, [1, 28, 28], 3);
        let places = pictures.by_class();
        let contest = Contest {
            training: &pictures,
            validation: &pictures,
            draw: Draw::Pair,
            rate: 1e-3,
            grid: &[1],
        };
        let mut random = ChaCha12Rng::seed_from_u64(5);
        for _ in 0..50 {
            let batch = contest.batch(&places, &mut random).unwrap();
            let Targets::Classes(classes) = &batch.targets else { unreachable!() };
            assert_eq!(classes[0], classes[1]);
            assert_eq!(batch.groups[classes[0]], [0, 1]);
        }
    }
}
