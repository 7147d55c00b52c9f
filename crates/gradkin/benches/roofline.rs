//! How near is each job to what the machine gives? First what it gives: the rate of f32 matrix
//! products and of copying, on one thread and on all. Then each job with the least arithmetic that it
//! needs, counted from the shapes of the network's factors, the time that it takes, and its rate beside
//! that of plain products on as many threads. A table in Markdown is printed; docs/performance.md shows
//! one.
//!
//! Networks and images are those of `tests/reference` and, where the data beside the checkout are there,
//! of `$GRADKIN_SHARED` or `../shared`. `GRADKIN_JOBS` runs only jobs whose names contain it,
//! `GRADKIN_ROUNDS` takes the median of so many runs (3).

// A benchmark that cannot run should say so at once.
#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

mod common;

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use gradkin::network::{FactorShape, Model, Network, Options, Sweep};
use gradkin::{Examples, Form, InMemory, OutputChoice, Select, Settings, Similarity, Stage};
use rayon::prelude::*;

/// The program's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Median of some runs, in seconds.
fn seconds(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..common::number("GRADKIN_ROUNDS", 3))
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn on_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads").install(run)
}

/// GFLOP/s of products of 1024 × 1024 matrices, one on each thread at a time.
fn product_rate(threads: usize) -> f64 {
    const SIDE: usize = 1024;
    const EACH: usize = 24;
    let matrix = |seed: usize| -> Vec<f32> {
        (0..SIDE * SIDE).map(|i| ((i * seed) % 17) as f32 - 8.0).collect()
    };
    let (a, b) = (matrix(3), matrix(5));
    let time = on_threads(threads, || {
        seconds(|| {
            (0..threads).into_par_iter().for_each(|_| {
                let mut c = vec![0f32; SIDE * SIDE];
                for _ in 0..EACH {
                    let a = MatRef::from_row_major_slice(&a, SIDE, SIDE);
                    let b = MatRef::from_row_major_slice(&b, SIDE, SIDE).transpose();
                    let c = MatMut::from_row_major_slice_mut(&mut c, SIDE, SIDE);
                    matmul(c, Accum::Replace, a, b, 1.0, Par::Seq);
                }
                black_box(c);
            });
        })
    });
    2.0 * (SIDE * SIDE * SIDE * EACH * threads) as f64 / time / 1e9
}

/// GB/s read and written while arrays far larger than all caches are copied.
fn bandwidth(threads: usize) -> f64 {
    const LEN: usize = 32 << 20;
    let mut arrays: Vec<[Vec<f32>; 2]> =
        (0..threads).map(|_| [vec![1.0; LEN], vec![0.0; LEN]]).collect();
    let time = on_threads(threads, || {
        seconds(|| {
            arrays.par_iter_mut().for_each(|[from, to]| {
                to.copy_from_slice(from);
                black_box(to);
            });
        })
    });
    2.0 * (LEN * size_of::<f32>() * threads) as f64 / time / 1e9
}

/// Multiply-adds of one example's forward pass and of the way back of one cotangent. Counted are the
/// products with weights; the first layer sends nothing back.
fn work(sweep: &Sweep) -> (f64, f64) {
    let each: Vec<f64> = (sweep.components().iter())
        .filter_map(|component| match component.shape {
            FactorShape::Outer { positions, .. } => {
                Some((positions * component.shape.weights()) as f64)
            }
            _ => None,
        })
        .collect();
    let all: f64 = each.iter().sum();
    (all, all - each.first().copied().unwrap_or(0.0))
}

struct Table {
    wanted: String,
    threads: Vec<usize>,
    rates: Vec<f64>,
}

impl Table {
    /// Time a job on one thread and on all.
    fn job(&self, name: &str, least: f64, mut run: impl FnMut() + Send) {
        if !name.contains(&self.wanted) {
            return;
        }
        for at in 0..self.threads.len() {
            let time = on_threads(self.threads[at], || seconds(&mut run));
            self.row(name, least, at, time);
        }
    }

    fn row(&self, name: &str, least: f64, at: usize, seconds: f64) {
        let rate = least / seconds;
        println!(
            "| {name} | {} | {least:.1} | {seconds:.3} s | {rate:.0} | {:.0} % |",
            self.threads[at],
            100.0 * rate / self.rates[at]
        );
    }

    /// Forward alone, and forward and back from `select`, in batches of `batch` on each thread.
    fn sweeps(&self, label: &str, network: &Network, count: usize, batch: usize) {
        let sweep = Sweep::new(network, None, None).expect("an output");
        let examples = common::examples(network, count);
        let (forward, back) = work(&sweep);
        let outputs: usize = sweep.output_shape().iter().product();
        let starts: Vec<usize> = (0..count).step_by(batch).collect();
        let pass = |start: usize| {
            let size = batch.min(count - start);
            let inputs = examples.batch(start..start + size).expect("examples");
            sweep.forward(inputs, size).expect("a forward pass")
        };
        let giga = 2e-9 * count as f64;
        let name = format!("{label}, {count} examples: forward");
        self.job(&name, giga * forward, || {
            starts.par_iter().for_each(|start| {
                black_box(pass(*start));
            });
        });
        for width in [1, outputs] {
            let name = format!("{label}, {count} examples: forward and back, d = {width}");
            self.job(&name, giga * (forward + width as f64 * back), || {
                starts.par_iter().for_each(|start| {
                    let pass = pass(*start);
                    let seeds = sweep.identity(pass.batch()).expect("cotangents");
                    let seeds = seeds.narrow(1, 0, width).expect("fewer");
                    sweep.reverse(&pass, &seeds, &mut common::Nowhere).expect("a reverse sweep");
                });
            });
        }
    }

    /// An exact correlation matrix, its sweeps, and its products.
    fn kernel(&self, label: &str, network: &Network, count: usize, select: Select) {
        let (similarity, examples) = parts(network, count, select);
        let Least { sweeps, products, again } = least_of_pairs(&similarity, count);
        let name = format!("{label}: correlations of {count}");
        if !name.contains(&self.wanted) {
            return;
        }
        for at in 0..self.threads.len() {
            let swept = Mutex::new(0.0);
            let mut shares = Vec::new();
            let time = on_threads(self.threads[at], || {
                seconds(|| {
                    let start = Instant::now();
                    let watch = |progress: gradkin::Progress| {
                        if progress.stage == Stage::Sweep && progress.done == progress.total {
                            *swept.lock().expect("a lock") = start.elapsed().as_secs_f64();
                        }
                        true
                    };
                    black_box(similarity.kernel(&examples, None, &watch).expect("a kernel"));
                    let sweeps = *swept.lock().expect("a lock");
                    shares.push((sweeps, start.elapsed().as_secs_f64() - sweeps));
                })
            });
            shares.sort_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1)));
            let (sweeping, multiplying) = shares[shares.len() / 2];
            self.row(&name, sweeps + products, at, time);
            self.row(&format!("{name}, the sweeps"), sweeps, at, sweeping);
            self.row(&format!("{name}, the products"), products, at, multiplying);
            // Gradients that are written out late are written by products too, in the same time.
            let done = format!("{name}, the products, late writing counted");
            self.row(&done, products + again, at, multiplying);
        }
    }
}

impl Table {
    /// The ten nearest of every example, once and on all threads, for it takes minutes.
    fn neighbors(&self, label: &str, network: &Network, count: usize, select: Select) {
        let name = format!("{label}: neighbours of {count}");
        if !name.contains(&self.wanted) {
            return;
        }
        let (similarity, examples) = parts(network, count, select);
        let Least { sweeps, products, .. } = least_of_pairs(&similarity, count);
        let last = self.threads.len() - 1;
        let time = on_threads(self.threads[last], || {
            let start = Instant::now();
            black_box(similarity.neighbors(&examples, None, 10, &|_| true).expect("neighbours"));
            start.elapsed().as_secs_f64()
        });
        self.row(&name, sweeps + products, last, time);
    }
}

fn parts(network: &Network, count: usize, select: Select) -> (Similarity<'_>, InMemory) {
    let output = OutputChoice { select, ..OutputChoice::default() };
    let settings = Settings { output, memory: 8 << 30, ..Settings::default() };
    (Similarity::new(network, settings).expect("settings"), common::examples(network, count))
}

/// GFLOP of a job of pairs.
struct Least {
    /// Sweeps of all examples into the planned forms, every gradient that is taken whole written once.
    sweeps: f64,
    /// Products of all pairs.
    products: f64,
    /// Writing gradients once more where pairs are taken.
    again: f64,
}

fn least_of_pairs(similarity: &Similarity, count: usize) -> Least {
    let sweep = Sweep::new(similarity.network(), None, None).expect("an output");
    let (forward, back) = work(&sweep);
    let d = similarity.outputs().expect("outputs") as f64;
    let plan = similarity.plan(count / 2).expect("a plan");
    let written = |forms: &[Form]| -> f64 {
        let whole = plan.iter().filter(|planned| forms.contains(&planned.form));
        let each = whole.map(|planned| match planned.shape {
            FactorShape::Outer { positions, .. } => {
                d * (positions * planned.shape.weights()) as f64
            }
            _ => 0.0,
        });
        each.sum()
    };
    let pair: f64 = (plan.iter())
        .map(|planned| match (planned.shape, planned.form) {
            (FactorShape::Outer { groups, positions, input, cotangent, .. }, Form::Factored) => {
                (groups * positions * positions) as f64 * (input as f64 + d * cotangent as f64)
            }
            (shape, _) => d * shape.weights() as f64,
        })
        .sum();
    let n = count as f64;
    Least {
        sweeps: 2e-9 * n * (forward + d * back + written(&[Form::Dense, Form::Deferred])),
        products: 1e-9 * n * (n + 1.0) * pair,
        again: 2e-9 * n * written(&[Form::Deferred]),
    }
}

/// A network of the data beside the checkout.
fn shared_network(path: &str) -> Option<Network> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("GRADKIN_SHARED").map_or(beside, PathBuf::from);
    let Ok(model) = Model::open(shared.join("data/models").join(path)) else {
        println!("\nLEFT OUT: {path}, for want of the data beside the checkout\n");
        return None;
    };
    Some(Network::new(&model, &Options::default()).expect("a network that gradkin knows"))
}

fn main() {
    common::alone();
    let all = common::number("GRADKIN_THREADS", rayon::current_num_threads());
    let threads = if all > 1 { vec![1, all] } else { vec![1] };
    let rates: Vec<f64> = threads.iter().map(|t| product_rate(*t)).collect();
    for (threads, rate) in threads.iter().zip(&rates) {
        let copied = bandwidth(*threads);
        println!("{threads} threads: f32 products {rate:.0} GFLOP/s, copying {copied:.1} GB/s");
    }
    println!("\n| job | threads | least GFLOP | time | GFLOP/s | of the products' rate |");
    println!("|---|---|---|---|---|---|");
    let wanted = std::env::var("GRADKIN_JOBS").unwrap_or_default();
    let table = Table { wanted, threads, rates };
    let paper = common::network("paper_cnn");
    table.sweeps("paper_cnn", &paper, 512, 16);
    if let Some(resnet) = shared_network("cifar10/resnet20.onnx") {
        table.sweeps("resnet20", &resnet, 64, 8);
        table.kernel("resnet20, all outputs", &resnet, 1000, Select::All);
    }
    if let Some(mnist) = shared_network("mnist/mnist_cnn.onnx") {
        table.neighbors("mnist_cnn, one output", &mnist, 10_000, Select::Sum);
    }
    table.kernel("paper_cnn, one output", &paper, 1000, Select::Sum);
    table.kernel("paper_cnn, all outputs", &paper, 1000, Select::All);
}
