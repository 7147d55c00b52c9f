//! Pairs computed by the device's operations, here on the CPU, equal those of the host.

#![allow(clippy::print_stdout)]

use std::sync::atomic::{AtomicU64, Ordering};

use gradkin_network::{Model, Network, Options, Precision};

use crate::{
    Error, Examples, Form, Kernel, Kind, Progress, Reduction, Settings, Similarity, Stage, Storage,
};

#[path = "../../tests/common/mod.rs"]
mod common;

use common::{
    Builder, Data, Ending, Sizes, convolutional, embedding, folders, images, open, tokens,
};

const KINDS: [Kind; 3] = [Kind::Inner, Kind::Correlation, Kind::Influence];
const REDUCTIONS: [Reduction; 3] = [Reduction::Trace, Reduction::Matrix, Reduction::Rotation];
const FORMS: [Option<Form>; 5] =
    [None, Some(Form::Dense), Some(Form::Factored), Some(Form::Rows), Some(Form::Deferred)];

/// What is compared, and what with.
struct Case<'c> {
    name: &'c str,
    network: &'c Network,
    rows: &'c Data,
    columns: Option<&'c Data>,
    settings: Settings,
}

fn settings(kind: Kind, reduction: Reduction, form: Option<Form>) -> Settings {
    Settings { kind, reduction, form, ..Settings::default() }
}

/// At most so many of the examples, from one on.
fn part(data: &Data, from: usize, most: usize) -> Data {
    let each: usize = data.shape[1..].iter().product();
    let mut shape = data.shape.clone();
    shape[0] = most.min(data.shape[0] - from);
    let values = data.values[from * each..(from + shape[0]) * each].to_vec();
    Data { shape, values, integer: data.integer, labels: None }
}

impl Case<'_> {
    fn columns(&self) -> Option<&dyn Examples> {
        self.columns.map(|columns| columns as &dyn Examples)
    }

    fn kernel(&self, resident: bool, memory: usize) -> crate::Result<Kernel> {
        let settings = Settings { memory, ..self.settings.clone() };
        let mut similarity = Similarity::new(self.network, settings)?;
        similarity.resident = resident;
        similarity.kernel(self.rows, self.columns(), &|_| true)
    }

    /// The smallest budget that does, to within a half.
    fn least_memory(&self) -> usize {
        let mut memory = 1 << 12;
        let stopped = |memory: usize| {
            let settings = Settings { memory, ..self.settings.clone() };
            let mut similarity = Similarity::new(self.network, settings).unwrap();
            similarity.resident = true;
            similarity.kernel(self.rows, self.columns(), &|_| false)
        };
        while !matches!(stopped(memory), Err(Error::Cancelled)) {
            memory += memory / 2;
        }
        memory
    }

    /// The largest gap between both ways, in units of the largest entry.
    fn gap(&self, memory: usize) -> f64 {
        let host = self.kernel(false, Settings::default().memory).unwrap();
        let resident = self.kernel(true, memory).unwrap();
        let what = format!("{} {:?}", self.name, self.settings);
        assert_eq!(resident.shape, host.shape, "{what}");
        assert_eq!(resident.undefined_rows, host.undefined_rows, "{what}");
        assert_eq!(resident.undefined_columns, host.undefined_columns, "{what}");
        let (host, resident) = (host.values.to_f64(), resident.values.to_f64());
        let largest = host.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
        assert!(host.iter().any(|x| *x != 0.0 && *x != largest), "{what}: nothing to compare");
        let gaps = host.iter().zip(&resident).map(|(x, y)| (x - y).abs());
        let gap = gaps.fold(0.0, f64::max) / largest;
        let bound = if self.network.precision() == Precision::F64 { 1e-9 } else { 1e-4 };
        assert!(gap <= bound, "{what}: {gap:e}");
        gap
    }
}

/// Every kind and reduction in every form, of a set with itself and of two, in one block and in many.
fn check_all(name: &str, network: &Network, rows: &Data, columns: &Data) {
    let mut worst: f64 = 0.0;
    let mut cases = 0;
    for (kind, reduction) in KINDS.iter().flat_map(|k| REDUCTIONS.iter().map(move |r| (*k, *r))) {
        for form in FORMS {
            for columns in [None, Some(columns)] {
                let settings = settings(kind, reduction, form);
                let case = Case { name, network, rows, columns, settings };
                for memory in [Settings::default().memory, case.least_memory()] {
                    worst = worst.max(case.gap(memory));
                    cases += 1;
                }
            }
        }
    }
    println!("{name}: {cases} cases, largest gap {worst:e}");
}

const SIZES: Sizes = Sizes { seed: 5, channels: 3, hidden: 4, outputs: 3 };

#[test]
fn convolutions_and_tied_weights() {
    let network = convolutional(SIZES, Ending::Plain);
    check_all("convolutional", &network, &images(9, 1), &images(5, 2));
}

/// K(x, x) is singular where outputs add up to a constant.
#[test]
fn singular_kernels() {
    let network = convolutional(SIZES, Ending::LogSoftmax);
    check_all("log-probabilities", &network, &images(9, 1), &images(5, 2));
}

#[test]
fn embeddings() {
    for tied in [false, true] {
        let sizes = Sizes { outputs: if tied { 6 } else { 3 }, channels: 6, ..SIZES };
        let network = embedding(sizes, 4, tied);
        let name = if tied { "tied embedding" } else { "embedding" };
        check_all(name, &network, &tokens(9, 4, 6, 1), &tokens(5, 4, 6, 2));
    }
}

#[test]
fn groups_of_convolutions() {
    let (mut b, mut r) = (Builder::default(), common::Random(8));
    let x = b.input("x", &[4, 5, 5], false);
    let w = b.weight("c.weight", &[6, 2, 3, 3], &r.list(6 * 18, 0.4));
    let v = b.weight("c.bias", &[6], &r.list(6, 0.5));
    let y = b.node("Conv", &[&x, &w, &v], &[("kernel_shape", &[3, 3]), ("group", &[2])]);
    let y = b.node("Tanh", &[&y], &[]);
    let y = b.node("Flatten", &[&y], &[("axis", &[1])]);
    let w = b.weight("f", &[54, 3], &r.list(54 * 3, 0.3));
    let y = b.node("MatMul", &[&y, &w], &[]);
    let model = Model::from_bytes(&b.finish(&y), "groups").unwrap();
    for precision in [Precision::F32, Precision::F64] {
        let options = Options { precision, ..Options::default() };
        let network = Network::new(&model, &options).unwrap();
        let data = |count: usize, seed| {
            Data::new(vec![count, 4, 5, 5], common::Random(seed).list(count * 100, 1.0))
        };
        check_all(&format!("groups {precision:?}"), &network, &data(9, 1), &data(5, 2));
    }
}

/// Every network that there is a reference for, in both precisions; forms, sets and budgets in turn.
#[test]
fn reference_networks() {
    let (mut cases, mut turn) = (0, 0);
    for (folder, precision) in folders()
        .iter()
        .flat_map(|folder| [Precision::F32, Precision::F64].map(|precision| (folder, precision)))
    {
        let (network, data) = open(folder, precision).unwrap();
        let most = data.len().min(7);
        let (rows, columns) = (part(&data, 0, most), part(&data, most / 2, most / 2));
        let name = folder.file_name().unwrap().to_string_lossy();
        let weights: usize = network.parameters().iter().map(|p| p.len()).sum();
        // Factors of many positions make large networks slow.
        let forms = if weights > 100_000 { &FORMS[..2] } else { &FORMS };
        let mut worst: f64 = 0.0;
        for (kind, reduction) in KINDS.iter().flat_map(|k| REDUCTIONS.iter().map(move |r| (*k, *r)))
        {
            turn += 1;
            let settings = settings(kind, reduction, forms[turn % forms.len()]);
            let columns = Some(&columns).filter(|_| turn % 2 == 0);
            let case = Case { name: &name, network: &network, rows: &rows, columns, settings };
            let memory = match turn % 3 {
                0 => case.least_memory(),
                _ => Settings::default().memory,
            };
            worst = worst.max(case.gap(memory));
            cases += 1;
        }
        println!("{name} {precision:?}: largest gap {worst:e}");
    }
    println!("{cases} cases");
}

/// Tiles of the device, and those that threads finish, are many in one block.
#[test]
fn blocks_of_many_tiles() {
    let network = convolutional(SIZES, Ending::Plain);
    let (rows, columns) = (images(80, 1), images(70, 2));
    for (kind, reduction) in KINDS.iter().flat_map(|k| REDUCTIONS.iter().map(move |r| (*k, *r))) {
        for columns in [None, Some(&columns)] {
            let settings = settings(kind, reduction, None);
            let case = Case { name: "", network: &network, rows: &rows, columns, settings };
            let results = 80 * 80 * 8 * if reduction == Reduction::Matrix { 9 } else { 1 };
            for memory in [1 << 19, 1 << 20, 1 << 22, 1 << 30] {
                case.gap(results + memory);
            }
        }
    }
}

/// What the least budget is for: blocks that are swept more than once.
#[test]
fn small_budgets_sweep_again() {
    let network = convolutional(SIZES, Ending::Plain);
    let rows = images(9, 1);
    for form in [Form::Dense, Form::Factored] {
        let settings = settings(Kind::Correlation, Reduction::Trace, Some(form));
        let case = Case { name: "", network: &network, rows: &rows, columns: None, settings };
        let settings = Settings { memory: case.least_memory(), ..case.settings.clone() };
        let mut similarity = Similarity::new(&network, settings).unwrap();
        similarity.resident = true;
        let [swept, met] = [Stage::Sweep, Stage::Pairs].map(|stage| {
            let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
            let watch = |progress: Progress| {
                if progress.stage == stage {
                    done.fetch_max(progress.done, Ordering::Relaxed);
                    total.store(progress.total, Ordering::Relaxed);
                }
                true
            };
            similarity.kernel(&rows, None, &watch).unwrap();
            assert_eq!(done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
            total.into_inner()
        });
        assert!(swept > 9, "{form:?} {swept}");
        assert_eq!(met, 45);
    }
}

/// An example that no parameter moves, and one whose gradients overflow.
#[test]
fn undefined_examples() {
    let model = common::dead();
    let network = Network::new(&model, &Options::default()).unwrap();
    let values = [1.0, 2.0, -1.0, -1.0, 2.0, 1.0, f64::MAX, f64::MAX, 0.5, -0.2];
    let data = Data::new(vec![5, 2], values.to_vec());
    let others = part(&data, 1, 3);
    check_all("undefined", &network, &data, &others);
    for kind in KINDS {
        let mut similarity =
            Similarity::new(&network, settings(kind, Reduction::Trace, None)).unwrap();
        similarity.resident = true;
        let kernel = similarity.kernel(&data, None, &|_| true).unwrap();
        let dead: &[usize] = if kind == Kind::Inner { &[] } else { &[1] };
        assert_eq!(kernel.undefined_rows.rank_zero, dead);
        assert_eq!(kernel.undefined_rows.not_finite, [3]);
        assert!(kernel.values.to_f64().iter().all(|k| k.is_finite()));
    }
}

/// Checkpoints stand side by side in one Jacobian, and what uses pairs takes the same way.
#[test]
fn checkpoints_and_neighbors() {
    let networks = [3, 4].map(|seed| convolutional(Sizes { seed, ..SIZES }, Ending::Plain));
    let networks: Vec<&Network> = networks.iter().collect();
    let data = images(12, 1);
    let [host, resident] = [false, true].map(|resident| {
        let mut similarity = Similarity::over_checkpoints(&networks, Settings::default()).unwrap();
        similarity.resident = resident;
        similarity.neighbors(&data, None, 4, &|_| true).unwrap()
    });
    for (host, resident) in host.lists.iter().zip(&resident.lists) {
        assert_eq!(host.len(), resident.len());
        for (host, resident) in host.iter().zip(resident) {
            assert_eq!(host.example, resident.example);
            assert!((host.similarity - resident.similarity).abs() < 1e-9);
        }
    }
}

#[test]
fn sixteen_bits_are_refused() {
    let network = convolutional(SIZES, Ending::Plain);
    let settings = Settings { storage: Storage::F16, ..Settings::default() };
    let mut similarity = Similarity::new(&network, settings).unwrap();
    similarity.resident = true;
    let refused = similarity.kernel(&images(3, 1), None, &|_| true);
    assert!(matches!(refused, Err(Error::Usage(message)) if message.contains("--storage")));
}
