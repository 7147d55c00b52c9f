//! What does a training step cost, and what does the similarity term add? Plain steps and steps that
//! make examples of one class alike, at equal batch, in turns, in one run; medians over the turns are
//! printed, milliseconds per step and the ratio of both.
//!
//! Takes the paper's network and random images in ten classes, or `GRADKIN_MODEL=model.onnx`;
//! `GRADKIN_BATCH` examples per step (64), `GRADKIN_THREADS` threads (all).

// A benchmark that cannot run should say so at once.
#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

mod common;

use std::time::Instant;

use gradkin::network::{Model, Network, Options};
use gradkin::train::{
    Batch, Enforcement, Labelled, Objective, Targets, Trainer, TrainerSettings, TrainingSet,
};
use gradkin::{Labels, OutputChoice, Select};

/// The program's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 9;

/// Rows of one class together, by class.
fn by_class(classes: &[usize]) -> Vec<Vec<usize>> {
    let most = classes.iter().copied().max().unwrap_or(0);
    (0..=most)
        .map(|class| (0..classes.len()).filter(|row| classes[*row] == class).collect())
        .collect()
}

/// Milliseconds per step over about half a second.
fn steps(trainer: &mut Trainer, batch: &Batch) -> f64 {
    trainer.step(batch, 1e-6).expect("a step");
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed().as_secs_f64() < 0.5 {
        trainer.step(batch, 1e-6).expect("a step");
        count += 1;
    }
    1e3 * start.elapsed().as_secs_f64() / f64::from(count)
}

fn main() {
    common::alone();
    let network = match std::env::var("GRADKIN_MODEL") {
        Ok(path) => {
            let model = Model::open(&path).expect("the model of GRADKIN_MODEL");
            Network::new(&model, &Options::default()).expect("a network that gradkin knows")
        }
        Err(_) => common::network("paper_cnn"),
    };
    let size = common::number("GRADKIN_BATCH", 64);
    let threads = common::number("GRADKIN_THREADS", rayon::current_num_threads());
    let examples = common::examples(&network, size);
    let width: usize = network.outputs()[0].1.iter().product();
    let (labels, objective, select) = if width > 1 {
        let classes = (0..size).map(|i| i * 7 % width).collect();
        (Labels::Classes(classes), Objective::CrossEntropy, Select::Contrast)
    } else {
        let values = (0..size).map(|i| (i as f64).sin()).collect();
        (Labels::Targets { values, width }, Objective::Squared, Select::All)
    };
    let set = Labelled::new(&examples, &labels, None).expect("labels that fit");
    let rows: Vec<usize> = (0..size).collect();
    let mut batch = set.batch(&rows, 0).expect("a batch");
    batch.groups = match &batch.targets {
        Targets::Classes(classes) => by_class(classes),
        Targets::Numbers(_) => rows.chunks(2).map(<[usize]>::to_vec).collect(),
    };
    let settings = TrainerSettings { objective, threads, ..TrainerSettings::default() };
    let mut plain = Trainer::new(&network, settings.clone()).expect("settings that fit");
    let output = OutputChoice { select, ..OutputChoice::default() };
    let enforcement = Some(Enforcement { lambda: 0.1, output });
    let settings = TrainerSettings { enforcement, ..settings };
    let mut enforced = Trainer::new(&network, settings).expect("settings that fit");
    let (mut plain_steps, mut enforced_steps, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (a, b) = (steps(&mut plain, &batch), steps(&mut enforced, &batch));
        println!("turn {round}: plain {a:.3} ms, enforced {b:.3} ms, ratio {:.2}", b / a);
        plain_steps.push(a);
        enforced_steps.push(b);
        ratios.push(b / a);
    }
    let [step, with_term, ratio] = [plain_steps, enforced_steps, ratios].map(median);
    println!(
        "{}: {size} examples, {threads} threads: plain step {step:.3} ms, with similarity \
         enforced {with_term:.3} ms, ratio {ratio:.2}",
        network.source()
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
