//! Similarity enforced in training on MNIST (METHOD.md section 5; the paper's section 6).
//!
//! Each step shows the network two pictures of one class; a term λ (1 − k^C) asks it to see them as
//! alike, or, with λ below zero as in the authors' public code, as unlike. Beyond the paper: batches in
//! which the pictures of each class form a group, and CIFAR-10.

mod comparison;
mod page;
mod pictures;
mod trial;

use crate::report::Report;
use crate::{Error, Setup, Summary};
use comparison::Comparison;
use pictures::{Pictures, Pixels};
use trial::Contest;
pub use trial::Draw;

/// How large the experiment is.
#[derive(Debug, Clone, PartialEq)]
pub struct MnistSettings {
    /// Runs per λ, each from its own seed; the same seeds for every λ.
    pub runs: usize,
    /// Weights λ of the term, beside zero.
    pub lambdas: Vec<f64>,
    /// Steps after which accuracy is measured, ascending.
    pub grid: Vec<usize>,
    /// Test pictures that accuracy is measured on.
    pub validation: usize,
    /// Adam's learning rate.
    pub rate: f64,
    /// Whether pixels are brought to mean 0 and deviation 1, in place of 0…1.
    pub standardized: bool,
    /// Runs per λ with batches of 32, and with CIFAR-10.
    pub further_runs: usize,
    /// Weights λ there.
    pub further_lambdas: Vec<f64>,
    /// Steps after which accuracy is measured with batches.
    pub further_grid: Vec<usize>,
}

impl MnistSettings {
    /// The authors' settings, with trials of 128 steps, at whose end their curves are level.
    pub fn paper() -> Self {
        Self {
            runs: 60,
            lambdas: vec![-1.0, -0.3, 0.3, 1.0, 3.0],
            grid: vec![5, 10, 20, 30, 40, 50, 60, 80, 100, 128],
            validation: 1000,
            rate: 1e-3,
            standardized: true,
            further_runs: 12,
            further_lambdas: vec![-0.3, 0.3, 1.0],
            further_grid: vec![10, 20, 40, 60],
        }
    }

    /// A look at the whole.
    pub fn quick() -> Self {
        Self {
            runs: 3,
            lambdas: vec![0.3],
            grid: vec![5, 10, 20, 30],
            validation: 200,
            further_runs: 0,
            ..Self::paper()
        }
    }
}

/// Run the experiment with the authors' settings, or small ones where the setup is quick.
///
/// # Errors
/// Where data is missing (a quick setup makes pictures up instead), a training fails, the report cannot
/// be written, or the watcher stops it.
pub fn run(setup: &Setup) -> Result<Summary, Error> {
    let settings = if setup.quick { MnistSettings::quick() } else { MnistSettings::paper() };
    run_with(setup, &settings)
}

/// Run the experiment with any settings.
///
/// # Errors
/// As [`run`].
pub fn run_with(setup: &Setup, settings: &MnistSettings) -> Result<Summary, Error> {
    let mut report = page::begin(setup, settings)?;
    let sets = digits(setup, settings, &mut report)?;
    let paper = sets.contest(Draw::Pair, settings.rate, &settings.grid);
    let stage = "training in pairs, runs";
    let pairs = Comparison::run(setup, stage, &paper, &settings.lambdas, settings.runs)?;
    page::pairs(&mut report, &pairs)?;
    if settings.further_runs > 0 {
        further(setup, settings, &sets, &mut report)?;
    }
    report.finish()
}

/// Batches of 32 and another data set.
fn further(
    setup: &Setup,
    settings: &MnistSettings,
    sets: &Sets,
    report: &mut Report,
) -> Result<(), Error> {
    let (lambdas, runs) = (&settings.further_lambdas, settings.further_runs);
    let batches = sets.contest(Draw::Batch(32), settings.rate, &settings.further_grid);
    let batches = Comparison::run(setup, "training in batches, runs", &batches, lambdas, runs)?;
    page::further(report, page::BATCHES, &batches)?;
    let Some(file) = setup.data("cifar10/train_0_999.bin.gz") else {
        report.left_out("CIFAR-10, whose file `data/cifar10/train_0_999.bin.gz` is not there");
        return Ok(());
    };
    let pixels = Pixels { mean: 0.473, deviation: 0.251 };
    let all = Pictures::open(&file, None, [3, 32, 32], pixels)?;
    let sets = Sets { training: all.part(0..700), validation: all.part(700..1000) };
    let cifar = sets.contest(Draw::Pair, settings.rate, &settings.grid);
    let cifar = Comparison::run(setup, "training on CIFAR-10, runs", &cifar, lambdas, runs)?;
    page::further(report, page::CIFAR, &cifar)
}

/// Pictures to train with and to measure accuracy on.
struct Sets {
    training: Pictures,
    validation: Pictures,
}

impl Sets {
    fn contest<'a>(&'a self, draw: Draw, rate: f64, grid: &'a [usize]) -> Contest<'a> {
        Contest { training: &self.training, validation: &self.validation, draw, rate, grid }
    }
}

/// MNIST, or in a quick setup without it made-up pictures.
fn digits(setup: &Setup, settings: &MnistSettings, report: &mut Report) -> Result<Sets, Error> {
    const SHAPE: [usize; 3] = [1, 28, 28];
    let Some(folder) = setup.data("mnist") else {
        if !setup.quick {
            return Err(Error::Missing {
                what: "MNIST".to_owned(),
                remedy: "put its four files into `data/mnist` of the shared folder, or ask for a \
                         quick run, which makes pictures up"
                    .to_owned(),
            });
        }
        report.left_out("MNIST, which is not there; striped pictures are made up in its place");
        let made_up = Pictures::made_up(1000 + settings.validation, SHAPE, setup.seed);
        let training = made_up.part(settings.validation..made_up.classes.len());
        return Ok(Sets { training, validation: made_up.part(0..settings.validation) });
    };
    let pixels = match settings.standardized {
        true => Pixels { mean: 0.1307, deviation: 0.3081 },
        false => Pixels { mean: 0.0, deviation: 1.0 },
    };
    let open = |part: &str| {
        let images = folder.join(format!("{part}-images-idx3-ubyte.gz"));
        let labels = folder.join(format!("{part}-labels-idx1-ubyte.gz"));
        Pictures::open(&images, Some(&labels), SHAPE, pixels)
    };
    let validation = open("t10k")?.part(0..settings.validation);
    Ok(Sets { training: open("train")?, validation })
}
