//! What does one forward and reverse sweep cost per example, and what does the reverse add to the
//! forward?

// A benchmark that cannot run should say so at once.
#![allow(clippy::expect_used, missing_docs)]

mod common;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gradkin::Examples;
use gradkin::network::{Collected, Sweep};

fn sweeps(criterion: &mut Criterion) {
    for (name, batch) in [("toy_mlp", 64), ("paper_cnn", 16), ("resnet_bn", 16), ("unet", 16)] {
        let network = common::network(name);
        let examples = common::examples(&network, batch);
        let sweep = Sweep::new(&network, None, None).expect("an output");
        let mut group = criterion.benchmark_group(format!("sweep/{name}"));
        group.throughput(Throughput::Elements(batch as u64)).sample_size(20);
        group.bench_function("forward", |bencher| {
            bencher.iter(|| {
                let inputs = examples.batch(0..batch).expect("examples");
                black_box(sweep.forward(inputs, batch).expect("a pass"))
            });
        });
        group.bench_function("forward and reverse, all outputs", |bencher| {
            bencher.iter(|| {
                let inputs = examples.batch(0..batch).expect("examples");
                let pass = sweep.forward(inputs, batch).expect("a pass");
                let seeds = sweep.identity(batch).expect("cotangents");
                let mut factors = Collected::default();
                sweep.reverse(&pass, &seeds, &mut factors).expect("factors");
                black_box(factors)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, sweeps);
criterion_main!(benches);
