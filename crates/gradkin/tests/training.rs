//! Training: the gradient of the similarity term against central differences, and runs that go on
//! where they stopped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use gradkin::network::{InputData, Model, Network, Options, Precision};
use gradkin::train::{
    Batch, Enforcement, Epoch, Grouped, Grouping, Labelled, Memory, Objective, Optimizer, Probe,
    Run, Schedule, Shuffle, State, Targets, Trainer, TrainerSettings, TrainingSet, Watcher,
};
use gradkin::{Class, InMemory, Labels, Loss, OutputChoice, Select, Settings, Similarity, Values};

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

/// Made-up points in two classes that a line tells apart.
fn points(count: usize) -> (InMemory, Labels) {
    let value = |i: usize| ((i as f64 * 0.618).fract() - 0.5) * 4.0;
    let rows: Vec<f64> = (0..count).flat_map(|i| [value(i), value(i * i + 3)]).collect();
    let classes = rows.chunks(2).map(|x| usize::from(x[0] + 0.5 * x[1] > 0.0)).collect();
    (InMemory::new(rows, 2), Labels::Classes(classes))
}

/// A small network with normalisation, made on the spot.
fn small(seed: u64) -> (Model, Vec<u8>) {
    use gradkin::network::build::GraphBuilder;
    let mut graph = GraphBuilder::new("small");
    let x = graph.input("x", &[2]).unwrap();
    let x = graph.linear("hidden", x, 16, true).unwrap();
    let x = graph.batch_norm("norm", x).unwrap();
    let x = graph.tanh(x).unwrap();
    let x = graph.linear("out", x, 2, true).unwrap();
    graph.output("y", x).unwrap();
    let bytes = graph.finish().unwrap();
    let mut model = Model::from_bytes(&bytes, "small").unwrap();
    model.draw_weights(seed).unwrap();
    (model, bytes)
}

struct Silent {
    losses: Vec<f64>,
    stop_at: Option<u64>,
    kept: Option<gradkin::train::Checkpoint>,
}

impl Watcher for Silent {
    fn step(
        &mut self,
        _: &Trainer,
        report: &gradkin::train::StepReport,
        step: u64,
        _: u64,
    ) -> gradkin::Result<()> {
        self.losses.push(report.tally.mean_loss());
        if self.stop_at == Some(step) { Err(gradkin::Error::Cancelled) } else { Ok(()) }
    }

    fn epoch(&mut self, trainer: &Trainer, _: &Epoch, memory: &Memory) -> gradkin::Result<()> {
        let (state, memory) = (trainer.state(), memory.clone());
        let settings = "the test's".into();
        self.kept = Some(gradkin::train::Checkpoint { state, memory, settings });
        Ok(())
    }
}

fn run() -> Run {
    Run {
        epochs: 6,
        batch: 16,
        rate: 0.05,
        schedule: Schedule::Cosine,
        warmup: 3,
        shuffle: Shuffle { seed: 11 },
        patience: Some(10),
    }
}

/// Every optimizer learns the line, with and without the term, and every loss falls.
#[test]
fn training_learns() {
    let (examples, labels) = points(300);
    let set = Labelled::new(&examples, &labels, None).unwrap();
    let grouped = Grouped::new(&set, Grouping::Classes).unwrap();
    let (model, _) = small(5);
    let network = Network::new(&model, &Options::default()).unwrap();
    let adam = Optimizer::adam();
    let adamw = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let sgd = Optimizer::Sgd { momentum: 0.9, nesterov: true };
    for (optimizer, lambda) in [(adam, 0.0), (adamw, 0.1), (sgd, 0.05)] {
        let enforcement = Some(Enforcement { lambda, output: select(Select::Contrast) });
        let settings = TrainerSettings { optimizer, enforcement, ..Default::default() };
        let mut trainer = Trainer::new(&network, settings).unwrap();
        let mut watcher = Silent { losses: Vec::new(), stop_at: None, kept: None };
        let before = trainer.evaluate(&set, 64).unwrap();
        let mut memory = Memory::default();
        run().run(&mut trainer, &grouped, Some(&set), &mut memory, &mut watcher).unwrap();
        let after = trainer.evaluate(&set, 64).unwrap();
        assert!(after.mean_loss() < 0.3 * before.mean_loss(), "{optimizer:?}");
        assert!(after.mean_metric(Objective::CrossEntropy) > 0.95, "{optimizer:?}");
        assert_eq!(watcher.losses.len(), 6 * 19);
    }
}

/// A run that was stopped and gone on with from its checkpoint on disk is the run that was not stopped,
/// bit by bit; running statistics, momentum, schedule and order included.
#[test]
fn a_resumed_run_is_the_same_run() {
    let (examples, labels) = points(200);
    let set = Labelled::new(&examples, &labels, None).unwrap();
    let (model, _) = small(6);
    let network = Network::new(&model, &Options::default()).unwrap();
    let settings = TrainerSettings { threads: 1, ..Default::default() };
    let silent = |stop_at| Silent { losses: Vec::new(), stop_at, kept: None };
    let mut whole = Trainer::new(&network, settings.clone()).unwrap();
    let mut memory = Memory::default();
    run().run(&mut whole, &set, Some(&set), &mut memory, &mut silent(None)).unwrap();

    let mut first = Trainer::new(&network, settings.clone()).unwrap();
    let mut watcher = silent(Some(45));
    let stopped = run().run(&mut first, &set, Some(&set), &mut Memory::default(), &mut watcher);
    assert!(matches!(stopped, Err(gradkin::Error::Cancelled)));
    let path = std::env::temp_dir().join(format!("gradkin-{}.safetensors", std::process::id()));
    watcher.kept.unwrap().write(&first, &path).unwrap();

    let mut second = Trainer::new(&network, settings).unwrap();
    let checkpoint = gradkin::train::Checkpoint::read(&second, &path).unwrap();
    assert_eq!(checkpoint.settings, "the test's");
    assert_eq!(checkpoint.state.steps, 39);
    second.resume(&checkpoint.state).unwrap();
    let mut memory = checkpoint.memory;
    run().run(&mut second, &set, Some(&set), &mut memory, &mut silent(None)).unwrap();
    assert_eq!(whole.state(), second.state());

    let other = self::network("toy_mlp");
    let settings = TrainerSettings { objective: Objective::Squared, ..Default::default() };
    let other = Trainer::new(&other, settings).unwrap();
    let message = gradkin::train::Checkpoint::read(&other, &path).unwrap_err().to_string();
    assert!(message.contains("no checkpoint of"), "{message}");
    std::fs::remove_file(path).unwrap();
}

/// Pairs and copies come as further rows that the loss does not see.
#[test]
fn partners_and_copies_do_not_count_in_the_loss() {
    let (examples, labels) = points(10);
    let set = Labelled::new(&examples, &labels, None).unwrap();
    let plain_batch = set.batch(&[1, 4, 7], 0).unwrap();
    let pairs = Grouping::Pairs(vec![[1, 7], [4, 9]]);
    let paired = Grouped::new(&set, pairs).unwrap().batch(&[1, 4, 7], 3).unwrap();
    assert_eq!(paired.size, 4);
    assert_eq!(paired.groups, [vec![0, 2], vec![1, 3]]);
    let changes = "noise:0.1".parse().unwrap();
    let augmented = Grouping::Augmented { changes, shape: vec![2] };
    let copied = Grouped::new(&set, augmented).unwrap().batch(&[1, 4, 7], 3).unwrap();
    assert_eq!(copied.groups, [vec![0, 3], vec![1, 4], vec![2, 5]]);
    // Without batch statistics, which every row enters.
    let network = Network::new(&small(1).0, &Options::default()).unwrap();
    let trainer = Trainer::new(&network, TrainerSettings::default()).unwrap();
    struct One(Batch);
    impl TrainingSet for One {
        fn len(&self) -> usize {
            self.0.size
        }
        fn batch(&self, _: &[usize], _: u64) -> gradkin::Result<Batch> {
            Ok(self.0.clone())
        }
    }
    let loss = |batch: Batch| trainer.evaluate(&One(batch), 100).unwrap().mean_loss();
    let wanted = loss(plain_batch);
    assert!((loss(paired) - wanted).abs() < 1e-12);
    assert!((loss(copied) - wanted).abs() < 1e-12);
    assert!(Grouped::new(&set, Grouping::Pairs(vec![[3, 3]])).is_err());
    assert!(Grouped::new(&set, Grouping::Pairs(vec![[3, 10]])).is_err());
}

/// A probe sees what the similarity of the written-back network is.
#[test]
fn a_probe_sees_the_network_as_it_is_now() {
    let (examples, labels) = points(30);
    let set = Labelled::new(&examples, &labels, None).unwrap();
    let (mut model, _) = small(9);
    let network = Network::new(&model, &Options::default()).unwrap();
    let mut trainer = Trainer::new(&network, TrainerSettings::default()).unwrap();
    for _ in 0..20 {
        trainer.step(&set.batch(&(0..30).collect::<Vec<_>>(), 0).unwrap(), 0.05).unwrap();
    }
    let probe = Probe::new(&examples, Some(&labels), Settings::default()).unwrap();
    let probed = probe.measure(&trainer).unwrap();
    trainer.write_into(&mut model).unwrap();
    let trained = Network::new(&model, &Options::default()).unwrap();
    let similarity = Similarity::new(&trained, Settings::default()).unwrap();
    let counts = similarity.soft_counts(&examples, None, None, &|_| true).unwrap();
    let mean = counts.counts.iter().sum::<f64>() / 900.0;
    assert!((probed.density - mean).abs() < 1e-5, "{} {mean}", probed.density);
    assert!(probed.within.unwrap() > probed.between.unwrap());
}
