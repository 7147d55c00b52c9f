//! What do sums over a set cost beside the sweeps that they cannot do without? One plain forward and
//! reverse sweep over all images at all outputs, against the soft neighbour counts of the same images,
//! in turns, in one run; the ratio is printed. Counts once more with the memory to keep the images'
//! factors, which saves the second sweep.
//!
//! Takes the paper's network and random images, or `GRADKIN_MODEL=model.onnx` and as many random
//! images of its input's shape as `GRADKIN_EXAMPLES` says, or the first of those in
//! `GRADKIN_IMAGES=images.npy`, float32 and normalised as the network wants them.

// A benchmark that cannot run should say so at once.
#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

mod common;

use std::time::Instant;

use gradkin::network::{Model, Network, Options, Sweep};
use gradkin::{Examples, InMemory, Settings, Similarity};
use rayon::prelude::*;

/// The program's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One forward pass and one reverse sweep of all outputs over all examples, spread over threads as
/// gradkin spreads them.
fn plain_sweep(network: &Network, examples: &InMemory) {
    let sweep = Sweep::new(network, None, None).expect("an output");
    let outputs: usize = sweep.output_shape().iter().product();
    let batch = ((2 << 20) / sweep.working_set(outputs).max(1)).clamp(1, 128);
    let starts: Vec<usize> = (0..examples.len()).step_by(batch).collect();
    starts.into_par_iter().for_each(|start| {
        let count = batch.min(examples.len() - start);
        let inputs = examples.batch(start..start + count).expect("examples");
        let pass = sweep.forward(inputs, count).expect("a forward pass");
        let seeds = sweep.identity(count).expect("cotangents");
        sweep.reverse(&pass, &seeds, &mut common::Nowhere).expect("a reverse sweep");
    });
}

/// The first images of a file.
fn stored(network: &Network, path: &str, count: usize) -> InMemory {
    let file = std::fs::File::open(path).expect("the file of GRADKIN_IMAGES");
    let array = npyz::NpyFile::new(std::io::BufReader::new(file)).expect("an .npy file");
    let size: usize = network.inputs()[0].shape.iter().product();
    let numbers = array.data::<f32>().expect("float32").take(count * size);
    let values: Vec<f64> = numbers.map(|x| f64::from(x.expect("a number"))).collect();
    InMemory::new(values, size)
}

fn main() {
    common::alone();
    let count = common::number("GRADKIN_EXAMPLES", 1000);
    let network = match std::env::var("GRADKIN_MODEL") {
        Ok(path) => {
            let model = Model::open(&path).expect("the model of GRADKIN_MODEL");
            Network::new(&model, &Options::default()).expect("a network that gradkin knows")
        }
        Err(_) => common::network("paper_cnn"),
    };
    let examples = match std::env::var("GRADKIN_IMAGES") {
        Ok(path) => stored(&network, &path, count),
        Err(_) => common::examples(&network, count),
    };
    let rounds = common::number("GRADKIN_ROUNDS", 5);
    let similarity = |memory: usize| {
        let settings = Settings { memory, ..Settings::default() };
        Similarity::new(&network, settings).expect("settings that fit")
    };
    // Little enough that factors are not kept.
    let (streaming, keeping) = (similarity(512 << 20), similarity(64 << 30));
    let timed = |similarity: &Similarity| {
        let start = Instant::now();
        similarity.soft_counts(&examples, None, None, &|_| true).expect("counts");
        start.elapsed().as_secs_f64()
    };
    let mut ratios = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        let start = Instant::now();
        plain_sweep(&network, &examples);
        let sweep = start.elapsed().as_secs_f64();
        let times = [timed(&streaming), timed(&keeping)];
        println!(
            "round {round}: plain sweep {sweep:.2} s, soft counts {:.2} s, keeping factors {:.2} s",
            times[0], times[1]
        );
        ratios.iter_mut().zip(times).for_each(|(ratios, time)| ratios.push(time / sweep));
    }
    ratios.iter_mut().for_each(|ratios| ratios.sort_by(f64::total_cmp));
    println!(
        "{}, {count} examples, {} outputs: soft counts take {:.2} times as long as one plain \
         forward and reverse sweep, {:.2} times where factors are kept (medians of {rounds} rounds; \
         least {:.2} and {:.2})",
        network.source(),
        streaming.outputs().expect("outputs"),
        ratios[0][rounds / 2],
        ratios[1][rounds / 2],
        ratios[0][0],
        ratios[1][0],
    );
}
