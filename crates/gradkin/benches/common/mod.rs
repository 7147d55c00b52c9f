//! The networks and inputs that the benchmarks share.

#![allow(dead_code, missing_docs, unreachable_pub)]

use std::path::Path;

use gradkin::InMemory;
use gradkin::network::{Factor, Model, Network, NetworkError, Options, Sink};

/// Starts the benchmark over with the tensor library kept to the calling thread, as the program is: its
/// own threads wait by spinning, which takes the time of those that sweep.
pub fn alone() {
    const THREADS: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(THREADS).is_some() {
        return;
    }
    let own = std::env::current_exe().expect("the benchmark's own file");
    let mut again = std::process::Command::new(own);
    let status = again.args(std::env::args_os().skip(1)).env(THREADS, "1").status();
    std::process::exit(status.expect("a second start").code().unwrap_or(1));
}

/// A number from the environment.
pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Takes factors and forgets them.
pub struct Nowhere;

impl Sink for Nowhere {
    fn accept(&mut self, _: usize, factor: Factor) -> Result<(), NetworkError> {
        std::hint::black_box(factor);
        Ok(())
    }
}

/// A network of `tests/reference`.
pub fn network(name: &str) -> Network {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference");
    let model = Model::open(tests.join(name).join("model.onnx")).expect("the reference networks");
    Network::new(&model, &Options::default()).expect("a network that gradkin knows")
}

/// Examples of roughly normal numbers.
pub fn examples(network: &Network, count: usize) -> InMemory {
    let size: usize = network.inputs()[0].shape.iter().product();
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let values = (0..count * size).map(|_| (0..4).map(|_| uniform()).sum::<f64>() - 2.0).collect();
    InMemory::new(values, size)
}
