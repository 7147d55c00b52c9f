//! Density on a toy function (METHOD.md section 5; the paper's section 5): how many neighbours a
//! trained network sees around each point, where the points themselves are spread evenly.
//!
//! The paper expects counts to fall as the function's frequency and curvature rise: density is that
//! of the function, not of the inputs.

mod cost;
mod page;
mod task;
mod trial;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::parallel::each;
use crate::{Error, Setup, Summary};
use task::Task;
use trial::Trial;

/// How large the experiment is.
#[derive(Debug, Clone, PartialEq)]
pub struct ToySettings {
    /// Frequencies f of the target sin(2πfα).
    pub frequencies: Vec<u32>,
    /// Points on the circle.
    pub samples: usize,
    /// Networks per frequency, each from its own seed.
    pub runs: u64,
    /// Passes over the points.
    pub epochs: usize,
    /// Points per step.
    pub batch: usize,
    /// Adam's learning rate.
    pub rate: f64,
    /// Thresholds τ of hard counts.
    pub thresholds: Vec<f64>,
    /// Exponents of positive-power counts.
    pub exponents: Vec<f64>,
}

impl ToySettings {
    /// The authors' settings.
    pub fn paper() -> Self {
        Self {
            frequencies: vec![1, 2, 4, 8],
            samples: 2048,
            runs: 5,
            epochs: PAPER_EPOCHS,
            batch: 64,
            rate: 1e-4,
            thresholds: vec![0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99],
            exponents: vec![2.0, 3.0, 4.0],
        }
    }

    /// A look at the whole: two frequencies, two seeds, a larger learning rate and few epochs.
    pub fn quick() -> Self {
        let frequencies = vec![1, 4];
        Self { frequencies, samples: 512, runs: 2, epochs: 150, rate: 1e-3, ..Self::paper() }
    }
}

const PAPER_EPOCHS: usize = 5000;

/// Run the experiment with the authors' settings, or small ones where the setup is quick.
///
/// # Errors
/// Where a training fails, the report cannot be written, or the watcher stops it.
pub fn run(setup: &Setup) -> Result<Summary, Error> {
    let settings = if setup.quick { ToySettings::quick() } else { ToySettings::paper() };
    run_with(setup, &settings)
}

/// Run the experiment with any settings.
///
/// # Errors
/// As [`run`].
pub fn run_with(setup: &Setup, settings: &ToySettings) -> Result<Summary, Error> {
    let mut report = page::begin(setup, settings)?;
    let tasks: Vec<Task> =
        settings.frequencies.iter().map(|f| Task::new(*f, settings.samples)).collect();
    let cost = cost::measure(settings.batch)?;
    let trials = train_all(setup, settings, &tasks)?;
    page::fill(&mut report, settings, &tasks, &trials, &cost)?;
    report.finish()
}

/// Every frequency from every seed, frequency by frequency.
fn train_all(setup: &Setup, settings: &ToySettings, tasks: &[Task]) -> Result<Vec<Trial>, Error> {
    let runs = settings.runs as usize;
    let total = (tasks.len() * runs * settings.epochs) as u64;
    let done = AtomicU64::new(0);
    let tick = || {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        setup.advance("training the toy networks, epochs", done, total)
    };
    each(setup.threads, tasks.len() * runs, |number| {
        let (task, run) = (&tasks[number / runs], number % runs);
        trial::run(task, setup.seed.wrapping_add(run as u64), settings, &tick)
    })
}
