//! What does a kernel cost in each form, parameter by parameter, and does the planner choose well?
//!
//! The network is the paper's; each benchmark takes the kernel of 128 examples by one parameter alone.
//! Sweeping is part of each time, so that the forms of one parameter compare fairly.

// A benchmark that cannot run should say so at once.
#![allow(clippy::expect_used, missing_docs)]

mod common;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gradkin::{Form, Settings, Similarity};

const EXAMPLES: usize = 128;

fn forms(criterion: &mut Criterion) {
    let network = common::network("paper_cnn");
    let examples = common::examples(&network, EXAMPLES);
    let count = network.parameters().len();
    for (chosen, parameter) in network.parameters().iter().enumerate() {
        if parameter.shape.len() < 2 || parameter.len() < 100 {
            continue;
        }
        let mut group = criterion.benchmark_group(format!("forms/{}", parameter.name));
        group.sample_size(10);
        for form in [Form::Dense, Form::Factored] {
            // 576 positions squared for every pair would take minutes.
            if form == Form::Factored && parameter.name == "0.weight" {
                continue;
            }
            let parameters = Some((0..count).map(|p| p == chosen).collect());
            let settings = Settings { form: Some(form), parameters, ..Settings::default() };
            let similarity = Similarity::new(&network, settings).expect("settings that fit");
            group.bench_function(form.to_string(), |bencher| {
                bencher.iter(|| {
                    black_box(similarity.kernel(&examples, None, &|_| true).expect("a kernel"))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, forms);
criterion_main!(benches);
