//! Training: the gradient of the similarity term against central differences, optimizers against
//! numbers worked out by PyTorch, and runs that go on where they stopped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use gradkin::network::{InputData, Model, Network, Options, Precision};
use gradkin::train::{
    Batch, Enforcement, Objective, Optimizer, State, Targets, Trainer, TrainerSettings,
};
use gradkin::{Class, Loss, OutputChoice, Select, Settings, Similarity, Values};

fn folder(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let reference = tests.join("reference").join(name);
    if reference.exists() { reference } else { tests.join("networks").join(name) }
}

fn network(name: &str) -> Network {
    let model = Model::open(folder(name).join("model.onnx")).unwrap();
    Network::new(&model, &Options { precision: Precision::F64, ..Options::default() }).unwrap()
}

/// Test data of a network; where there are fewer examples than asked for, they come again, changed.
fn inputs(network: &Network, name: &str, batch: usize) -> Vec<InputData> {
    let bytes = std::fs::read(folder(name).join("input.npy")).unwrap();
    let count = batch * network.inputs()[0].shape.iter().product::<usize>();
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    vec![if network.inputs()[0].integer {
        let values = npy.into_vec::<i64>().unwrap();
        let last = values.len() - 1;
        InputData::I64(
            (0..count).map(|i| values[if i > last { i * 7 % last } else { i }]).collect(),
        )
    } else {
        let values: Vec<f64> = match npyz::NpyFile::new(&bytes[..]).unwrap().into_vec::<f32>() {
            Ok(values) => values.into_iter().map(f64::from).collect(),
            Err(_) => npy.into_vec::<f64>().unwrap(),
        };
        let again = |i: usize| values[i % values.len()] * 0.9_f64.powi((i / values.len()) as i32);
        InputData::F64((0..count).map(again).collect())
    }]
}

/// A trainer that takes plain gradient steps, so that a step shows the gradient.
fn plain(network: &Network, objective: Objective, enforcement: Enforcement) -> Trainer<'_> {
    let settings = TrainerSettings {
        objective,
        optimizer: Optimizer::Sgd { momentum: 0.0, nesterov: false },
        enforcement: Some(enforcement),
        threads: 1,
        ..TrainerSettings::default()
    };
    Trainer::new(network, settings).unwrap()
}

/// λ (1 − k̄) + loss as the parameters move along a direction, against the gradient of a step.
fn check(name: &str, batch: &Batch, objective: Objective, output: OutputChoice, threads: usize) {
    let network = network(name);
    // Large, so that the term rules the gradient.
    let lambda = 3.0;
    let enforcement = Enforcement { lambda, output };
    let mut trainer = plain(&network, objective, enforcement.clone());
    let start = trainer.state();
    let settings = TrainerSettings { threads, ..trainer.settings().clone() };
    let mut threaded = Trainer::new(&network, settings).unwrap();
    threaded.step(batch, 1.0).unwrap();
    let moved = threaded.state();
    let gradient: Vec<Vec<f64>> = start
        .values
        .iter()
        .zip(&moved.values)
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).collect())
        .collect();
    let mut value = |state: &State| -> f64 {
        trainer.resume(state).unwrap();
        let report = trainer.step(batch, 0.0).unwrap();
        report.tally.mean_loss() + lambda * report.dissimilarity.unwrap()
    };
    for round in 0..3 {
        let along: Vec<Vec<f64>> = start
            .values
            .iter()
            .enumerate()
            .map(|(p, v)| {
                let phase = (p * 3 + round) as f64;
                (0..v.len()).map(|i| (0.7 * i as f64 + phase).sin()).collect()
            })
            .collect();
        let at = |step: f64| State {
            values: start
                .values
                .iter()
                .zip(&along)
                .map(|(v, d)| v.iter().zip(d).map(|(v, d)| v + step * d).collect())
                .collect(),
            ..start.clone()
        };
        let slope: f64 = gradient
            .iter()
            .zip(&along)
            .flat_map(|(g, d)| g.iter().zip(d))
            .map(|(g, d)| g * d)
            .sum();
        // Small, for a ReLU's kink within the step spoils the difference.
        let step = 1e-7;
        let difference = (value(&at(step)) - value(&at(-step))) / (2.0 * step);
        let error = (slope - difference).abs() / difference.abs().max(1e-2);
        assert!(error < 1e-5, "{name}: {slope} against {difference}, relative {error:e}");
    }
}

/// Groups of two, three and one, and an example in none.
fn batch(name: &str, targets: Targets) -> Batch {
    let network = network(name);
    Batch {
        inputs: inputs(&network, name, 7),
        targets,
        weights: None,
        size: 7,
        groups: vec![vec![4, 0], vec![1, 5, 3], vec![6]],
    }
}

fn numbers(name: &str) -> Targets {
    let network = network(name);
    let width: usize = network.outputs()[0].1.iter().product();
    Targets::Numbers((0..7 * width).map(|i| (i as f64).cos()).collect())
}

fn select(select: Select) -> OutputChoice {
    OutputChoice { select, ..OutputChoice::default() }
}

#[test]
fn term_of_a_perceptron() {
    let batch = batch("toy_mlp", numbers("toy_mlp"));
    check("toy_mlp", &batch, Objective::Squared, select(Select::All), 1);
    check("toy_mlp", &batch, Objective::Huber { delta: 0.3 }, select(Select::All), 2);
}

#[test]
fn term_of_convolutions_and_pooling() {
    let classes = Targets::Classes(vec![0, 1, 2, 1, 0, 1, 9]);
    let batch = batch("paper_cnn", classes);
    for select_ in [
        Select::Contrast,
        Select::LogProbability(Class::Given),
        Select::LogProbability(Class::Predicted),
        Select::Loss(Loss::CrossEntropy),
        Select::Loss(Loss::Squared),
        Select::Sum,
        Select::List(vec![2, 7]),
    ] {
        check("paper_cnn", &batch, Objective::CrossEntropy, select(select_), 2);
    }
}

#[test]
fn term_of_attention() {
    for name in ["transformer", "vision_transformer"] {
        let batch = batch(name, numbers(name));
        check(name, &batch, Objective::Squared, select(Select::Sum), 1);
    }
}

/// The loss takes the batch's statistics and the term the running ones.
#[test]
fn term_of_batch_normalization() {
    let batch = batch("resnet_bn", numbers("resnet_bn"));
    check("resnet_bn", &batch, Objective::Squared, select(Select::All), 2);
}

#[test]
fn term_of_a_dense_prediction() {
    let batch = batch("unet", numbers("unet"));
    check("unet", &batch, Objective::Absolute, select(Select::All), 2);
}

#[test]
fn term_of_other_families() {
    for name in [
        "dense_groupnorm",
        "inverted_residual",
        "gru_tokens",
        "lstm_tokens",
        "tied",
        "segmentation",
    ] {
        let batch = batch(name, numbers(name));
        check(name, &batch, Objective::Squared, select(Select::Sum), 1);
    }
}

/// The term's value is that of the similarities that the rest of gradkin computes.
#[test]
fn value_is_that_of_the_kernel() {
    let name = "paper_cnn";
    let network = network(name);
    let batch = batch(name, Targets::Classes(vec![0, 1, 2, 1, 0, 1, 9]));
    let output = select(Select::Sum);
    let settings = Settings { output: output.clone(), ..Settings::default() };
    let similarity = Similarity::new(&network, settings).unwrap();
    let InputData::F64(values) = batch.inputs[0].clone() else { panic!("whole numbers") };
    let examples = gradkin::InMemory::new(values.clone(), values.len() / 7);
    let kernel = similarity.kernel(&examples, None, &|_| true).unwrap();
    let Values::F64(kernel) = kernel.values else { panic!("single precision") };
    let k = |i: usize, j: usize| kernel[i * 7 + j];
    let pair = 1.0 - k(4, 0);
    let triple = 1.0 - (k(1, 5) + k(1, 3) + k(5, 3)) / 3.0;
    let mut trainer = plain(&network, Objective::CrossEntropy, Enforcement { lambda: 1.0, output });
    let value = trainer.step(&batch, 0.0).unwrap().dissimilarity.unwrap();
    assert!((value - (pair + triple) / 2.0).abs() < 1e-9, "{value} {pair} {triple}");
}

/// What training has made of the network, written into the model, is what the trainer computes.
#[test]
fn trained_values_go_back_into_the_model() {
    for name in ["paper_cnn", "resnet_bn", "tied"] {
        let mut model = Model::open(folder(name).join("model.onnx")).unwrap();
        let network = network(name);
        let batch = batch(name, numbers(name));
        let settings = TrainerSettings { objective: Objective::Squared, ..Default::default() };
        let mut trainer = Trainer::new(&network, settings).unwrap();
        for _ in 0..3 {
            trainer.step(&batch, 1e-3).unwrap();
        }
        let wanted = trainer.predict(batch.inputs.clone(), 7).unwrap();
        trainer.write_into(&mut model).unwrap();
        let options = Options { precision: Precision::F64, ..Options::default() };
        let network = Network::new(&model, &options).unwrap();
        let again = Trainer::new(&network, TrainerSettings::default()).unwrap();
        let found = again.predict(batch.inputs.clone(), 7).unwrap();
        // Files of single precision round what was trained in double.
        let gap: f64 = wanted.iter().zip(&found).map(|(a, b)| (a - b).powi(2)).sum();
        let scale: f64 = wanted.iter().map(|a| a * a).sum();
        assert!(gap.sqrt() <= 1e-6 * scale.sqrt(), "{name}: {}", (gap / scale).sqrt());
    }
}
