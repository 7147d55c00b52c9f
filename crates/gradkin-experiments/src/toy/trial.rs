//! One network, trained on one frequency from one seed, and how many neighbours it sees around every
//! sample.

use std::time::Instant;

use gradkin::network::build::GraphBuilder;
use gradkin::network::{Model, Network, NetworkError, Options};
use gradkin::train::{Objective, Shuffle, Tally, Trainer, TrainerSettings, TrainingSet};
use gradkin::{InMemory, PairSettings, Settings, Similarity};

use super::ToySettings;
use super::task::Task;
use crate::Error;

/// Neighbour counts of every sample, each divided by the number of samples: densities.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    pub(super) soft: Vec<f64>,
    /// One list per threshold.
    pub(super) hard: Vec<Vec<f64>>,
    /// One list per exponent.
    pub(super) power: Vec<Vec<f64>>,
    /// The largest gap between soft counts from all pairs and in linear time, as a share of N.
    pub(super) gap: f64,
}

/// What a trial found.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub(super) frequency: u32,
    pub(super) seed: u64,
    /// Root of the mean squared error over all samples after training.
    pub(super) error: f64,
    /// (epoch, mean loss during that epoch), some dozens of them.
    pub(super) losses: Vec<(f64, f64)>,
    /// Before training.
    pub(super) fresh: Counts,
    /// After training.
    pub(super) trained: Counts,
    /// Milliseconds per step in the fastest epoch, which others on the machine disturbed least.
    pub(super) step_ms: f64,
    /// The same in the median epoch.
    pub(super) usual_ms: f64,
}

/// The paper's network: 2 → 64, five times 64 → 64, → 1, ReLU between.
pub(super) fn network_file() -> Result<Vec<u8>, NetworkError> {
    let mut graph = GraphBuilder::new("toy");
    let mut x = graph.input("point", &[2])?;
    for layer in 1..=6 {
        x = graph.linear(&format!("fc{layer}"), x, 64, true)?;
        x = graph.relu(x)?;
    }
    x = graph.linear("fc7", x, 1, true)?;
    graph.output("value", x)?;
    graph.finish()
}

/// Train, and count before and after. `tick` is called after each epoch.
pub(super) fn run(
    task: &Task,
    seed: u64,
    settings: &ToySettings,
    tick: &dyn Fn() -> Result<(), Error>,
) -> Result<Trial, Error> {
    let mut model = Model::from_bytes(&network_file()?, "toy")?;
    model.draw_weights(seed)?;
    let network = Network::new(&model, &Options::default())?;
    let fresh = counts(&network, task, settings)?;
    let given =
        TrainerSettings { objective: Objective::Squared, threads: 1, ..TrainerSettings::default() };
    let mut trainer = Trainer::new(&network, given)?;
    let (mut losses, mut times) = (Vec::new(), Vec::with_capacity(settings.epochs));
    let kept_every = (settings.epochs / 50).max(1);
    for epoch in 0..settings.epochs {
        let start = Instant::now();
        let (loss, steps) = train_epoch(&mut trainer, task, Shuffle { seed }, epoch, settings)?;
        times.push(1e3 * start.elapsed().as_secs_f64() / steps as f64);
        if (epoch + 1) % kept_every == 0 {
            losses.push(((epoch + 1) as f64, loss));
        }
        tick()?;
    }
    let error = trainer.evaluate(task, 256)?.mean_metric(Objective::Squared);
    trainer.write_into(&mut model)?;
    let trained = Network::new(&model, &Options::default())?;
    let trained = counts(&trained, task, settings)?;
    times.sort_by(f64::total_cmp);
    let at = |place: usize| times.get(place).copied().unwrap_or(f64::NAN);
    Ok(Trial {
        frequency: task.frequency,
        seed,
        error,
        losses,
        fresh,
        trained,
        step_ms: at(0),
        usual_ms: at(times.len() / 2),
    })
}

/// The epoch's mean loss and its number of steps.
fn train_epoch(
    trainer: &mut Trainer,
    task: &Task,
    shuffle: Shuffle,
    epoch: usize,
    settings: &ToySettings,
) -> Result<(f64, usize), Error> {
    let (mut loss, mut weight, mut steps) = (0.0, 0.0, 0);
    for rows in shuffle.order(task.len(), epoch).chunks(settings.batch) {
        let Tally { loss: more, weight: of, .. } =
            trainer.step(&task.batch(rows, 0)?, settings.rate)?.tally;
        loss += more;
        weight += of;
        steps += 1;
    }
    Ok((loss / weight, steps.max(1)))
}

fn counts(network: &Network, task: &Task, settings: &ToySettings) -> Result<Counts, Error> {
    let similarity = Similarity::new(network, Settings::default())?;
    let examples = InMemory::new(task.wide_inputs(), 2);
    let wanted = PairSettings {
        hard: settings.thresholds.clone(),
        power: settings.exponents.clone(),
        ..PairSettings::default()
    };
    let pairs = similarity.pair_statistics(&examples, None, &wanted, &|_| true)?;
    let linear = similarity.soft_counts(&examples, None, None, &|_| true)?;
    let share = |counts: Vec<f64>| -> Vec<f64> {
        counts.into_iter().map(|count| count / task.len() as f64).collect()
    };
    let each = |lists: Vec<Vec<f64>>| lists.into_iter().map(share).collect();
    let soft = share(pairs.soft);
    let gaps = soft.iter().zip(share(linear.counts)).map(|(a, b)| (a - b).abs());
    Ok(Counts {
        gap: gaps.fold(0.0, f64::max),
        soft,
        hard: each(pairs.hard),
        power: each(pairs.power),
    })
}
