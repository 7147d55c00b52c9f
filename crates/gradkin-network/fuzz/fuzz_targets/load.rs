//! Any bytes at all: an error or a network that runs, within the bounds of memory and time that
//! `run.sh` sets.

#![no_main]

#[path = "../../tests/support/mutate.rs"]
mod mutate;
#[path = "../../tests/support/trial.rs"]
mod trial;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(network) = trial::load(bytes) {
        trial::redraw(bytes);
        let _ = trial::run(&network);
    }
});

// Half of the time bytes change, half of the time models do.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = mutate::Random(seed.into());
    if random.below(2) == 0
        && let Some(model) = mutate::mutated(&data[..size], &mut random)
        && model.len() <= max_size
    {
        data[..model.len()].copy_from_slice(&model);
        return model.len();
    }
    fuzzer_mutate(data, size, max_size)
});
