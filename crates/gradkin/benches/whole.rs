//! How long does the whole job take: the exact correlation matrix of 1000 examples, one output and
//! all ten, with the paper's network?

// A benchmark that cannot run should say so at once.
#![allow(clippy::expect_used, missing_docs)]

mod common;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gradkin::{OutputChoice, Select, Settings, Similarity};

const EXAMPLES: usize = 1000;

fn whole(criterion: &mut Criterion) {
    let network = common::network("paper_cnn");
    let examples = common::examples(&network, EXAMPLES);
    let mut group = criterion.benchmark_group("whole/paper_cnn, 1000 examples");
    group.sample_size(10).throughput(Throughput::Elements((EXAMPLES * EXAMPLES) as u64));
    for (name, select) in [("sum of outputs", Select::Sum), ("all outputs by trace", Select::All)] {
        let output = OutputChoice { select, ..OutputChoice::default() };
        let settings = Settings { output, ..Settings::default() };
        let similarity = Similarity::new(&network, settings).expect("settings that fit");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                black_box(similarity.kernel(&examples, None, &|_| true).expect("a kernel"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, whole);
criterion_main!(benches);
