//! Properties of the similarity that follow from its definition (METHOD, section 1), over random
//! small networks in double precision, and everything the library computes cleverly against the
//! plain formula on written-out kernels.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Data, Ending, Sizes, convolutional, embedding, images, relative, tokens};
use faer::{Mat, Side};
use gradkin::network::Network;
use gradkin::{
    Class, Examples, Form, Kind, Labels, Loss, Metric, OutputChoice, Reduction, Select, Settings,
    Similarity,
};
use proptest::prelude::*;

fn kernel(network: &Network, data: &Data, settings: Settings) -> Vec<f64> {
    let similarity = Similarity::new(network, settings).unwrap();
    let kernel = similarity.kernel(data, None, &|_| true).unwrap();
    assert!(kernel.undefined_rows.is_empty());
    kernel.values.to_f64()
}

fn settings(kind: Kind, reduction: Reduction) -> Settings {
    Settings { kind, reduction, ..Settings::default() }
}

/// All parameters but those of the ending.
fn without_ending(network: &Network) -> Option<Vec<bool>> {
    Some(network.parameters().iter().map(|p| p.name != "ending").collect())
}

fn sizes() -> impl Strategy<Value = Sizes> {
    (any::<u64>(), 1usize..4, 2usize..6, 1usize..5)
        .prop_map(|(seed, channels, hidden, outputs)| Sizes { seed, channels, hidden, outputs })
}

/// The d×d block of two examples in a written-out kernel.
fn block(kernel: &[f64], n: usize, d: usize, i: usize, j: usize) -> Mat<f64> {
    Mat::from_fn(d, d, |a, b| kernel[((i * n + j) * d + a) * d + b])
}

/// K^power by eigen-decomposition, eigenvalues below `tolerance` of the largest left out, and the rank.
fn power(k: &Mat<f64>, power: f64, tolerance: f64) -> (Mat<f64>, usize) {
    let eigen = k.self_adjoint_eigen(Side::Lower).unwrap();
    let (u, s) = (eigen.U(), eigen.S());
    let d = k.nrows();
    let top = (0..d).map(|i| s[i]).fold(0.0, f64::max);
    let kept: Vec<usize> = (0..d).filter(|i| s[*i] > tolerance * top).collect();
    let entry =
        |a: usize, b: usize| kept.iter().map(|i| u[(a, *i)] * s[*i].powf(power) * u[(b, *i)]).sum();
    (Mat::from_fn(d, d, entry), kept.len())
}

/// All correlation matrices and ranks, by the definition.
fn plain_correlation(inner: &[f64], n: usize, d: usize) -> (Vec<Vec<Mat<f64>>>, Vec<usize>) {
    let roots: Vec<(Mat<f64>, usize)> =
        (0..n).map(|i| power(&block(inner, n, d, i, i), -0.5, 1e-10)).collect();
    let matrices = (0..n)
        .map(|i| (0..n).map(|j| &roots[i].0 * block(inner, n, d, i, j) * &roots[j].0).collect())
        .collect();
    (matrices, roots.iter().map(|r| r.1).collect())
}

fn trace(m: &Mat<f64>) -> f64 {
    (0..m.nrows()).map(|i| m[(i, i)]).sum()
}

const N: usize = 5;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// (a) An example is as similar to itself as can be, and its matrix is the projector of its rank.
    #[test]
    fn self_similarity_is_one(sizes in sizes(), log in any::<bool>()) {
        let ending = if log && sizes.outputs > 1 { Ending::LogSoftmax } else { Ending::Plain };
        let network = convolutional(sizes, ending);
        let data = images(N, sizes.seed);
        let k = kernel(&network, &data, settings(Kind::Correlation, Reduction::Trace));
        let d = sizes.outputs;
        for i in 0..N {
            prop_assert!((k[i * N + i] - 1.0).abs() < 1e-9, "{}", k[i * N + i]);
            for j in 0..N {
                prop_assert!(k[i * N + j].abs() <= 1.0 + 1e-9);
                prop_assert!((k[i * N + j] - k[j * N + i]).abs() < 1e-9);
            }
        }
        let matrices = kernel(&network, &data, settings(Kind::Correlation, Reduction::Matrix));
        for i in 0..N {
            let own = block(&matrices, N, d, i, i);
            let twice = &own * &own;
            prop_assert!((&twice - &own).norm_l2() < 1e-8);
            let rank = if ending == Ending::LogSoftmax { d - 1 } else { d };
            prop_assert!((trace(&own) - rank as f64).abs() < 1e-8);
        }
    }

    /// (d) The whole kernel is symmetric and positive semi-definite.
    #[test]
    fn the_kernel_is_positive(sizes in sizes()) {
        let network = convolutional(sizes, Ending::Plain);
        let d = sizes.outputs;
        let k = kernel(&network, &images(N, sizes.seed), settings(Kind::Inner, Reduction::Matrix));
        let whole = Mat::from_fn(N * d, N * d, |r, c| k[((r / d * N + c / d) * d + r % d) * d + c % d]);
        let scale = whole.norm_l2();
        prop_assert!((&whole - whole.transpose()).norm_l2() < 1e-12 * scale);
        let eigen = whole.self_adjoint_eigen(Side::Lower).unwrap();
        let least = (0..N * d).map(|i| eigen.S()[i]).fold(f64::INFINITY, f64::min);
        prop_assert!(least > -1e-10 * scale, "{least} of {scale}");
    }

    /// (e) Rescaling the outputs changes no correlation, turning them none of the traces.
    #[test]
    fn output_scale_and_basis_do_not_matter(sizes in sizes(), factor in 0.1f64..10.0, angle in 0.0f64..6.0) {
        let data = images(N, sizes.seed);
        let run = |ending| {
            let network = convolutional(sizes, ending);
            let parameters = without_ending(&network);
            let settings = Settings { parameters, ..settings(Kind::Correlation, Reduction::Trace) };
            kernel(&network, &data, settings)
        };
        let plain = run(Ending::Plain);
        prop_assert!(relative(&run(Ending::Scaled(factor)), &plain) < 1e-9);
        prop_assert!(relative(&run(Ending::Turned(angle)), &plain) < 1e-6);
    }

    /// Every form of inner product agrees with the written-out one, parameter by parameter.
    #[test]
    fn forms_agree_for_every_parameter(sizes in sizes(), matrix in any::<bool>()) {
        let reduction = if matrix { Reduction::Matrix } else { Reduction::Trace };
        let network = convolutional(sizes, Ending::Plain);
        for chosen in 0..network.parameters().len() {
            let run = |form| {
                let parameters = Some((0..network.parameters().len()).map(|p| p == chosen).collect());
                let settings = Settings { parameters, form: Some(form), ..settings(Kind::Inner, reduction) };
                kernel(&network, &images(N, sizes.seed), settings)
            };
            let dense = run(Form::Dense);
            prop_assert!(relative(&run(Form::Factored), &dense) < 1e-12);
            prop_assert!(relative(&run(Form::Deferred), &dense) < 1e-12);
        }
    }

    /// The same for a table of embeddings, tied to the last layer or not.
    #[test]
    fn forms_agree_for_embeddings(seed in any::<u64>(), positions in 1usize..5, matrix in any::<bool>(), tied in any::<bool>()) {
        let sizes = Sizes { seed, channels: 7, hidden: 3, outputs: 2 };
        let reduction = if matrix { Reduction::Matrix } else { Reduction::Trace };
        let network = embedding(sizes, positions, tied);
        let data = tokens(N, positions, 7, seed);
        let run = |form| {
            kernel(&network, &data, Settings { form: Some(form), ..settings(Kind::Inner, reduction) })
        };
        let dense = run(Form::Dense);
        prop_assert!(relative(&run(Form::Rows), &dense) < 1e-12);
        prop_assert!(relative(&run(Form::Factored), &dense) < 1e-12);
    }

    /// Whitening once and one inner product give the trace of K(x,x)^-1/2 K(x,x') K(x',x')^-1/2,
    /// singular K included; likewise influence and the best rotation.
    #[test]
    fn reductions_follow_the_definition(sizes in sizes(), log in any::<bool>()) {
        let ending = if log && sizes.outputs > 1 { Ending::LogSoftmax } else { Ending::Plain };
        let network = convolutional(sizes, ending);
        let data = images(N, sizes.seed);
        let d = sizes.outputs;
        let inner = kernel(&network, &data, settings(Kind::Inner, Reduction::Matrix));
        let (matrices, ranks) = plain_correlation(&inner, N, d);
        let traces = kernel(&network, &data, settings(Kind::Correlation, Reduction::Trace));
        let turned = kernel(&network, &data, settings(Kind::Correlation, Reduction::Rotation));
        let influence = kernel(&network, &data, settings(Kind::Influence, Reduction::Matrix));
        for i in 0..N {
            for j in 0..N {
                let r = ((ranks[i] * ranks[j]) as f64).sqrt();
                prop_assert!((traces[i * N + j] - trace(&matrices[i][j]) / r).abs() < 1e-6);
                let values = matrices[i][j].singular_values().unwrap();
                let total: f64 = values.iter().sum();
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let flipped = matrices[i][j].determinant() < 0.0;
                // A single output knows no rotation but the identity.
                let best = match d {
                    1 => matrices[i][j][(0, 0)],
                    _ if flipped => total - 2.0 * least,
                    _ => total,
                };
                prop_assert!((turned[i * N + j] - best / r).abs() < 1e-6);
                let (inverse, _) = power(&block(&inner, N, d, j, j), -1.0, 1e-10);
                let wanted = block(&inner, N, d, i, j) * inverse;
                let found = block(&influence, N, d, i, j);
                prop_assert!((&found - &wanted).norm_l2() < 1e-5 * (1.0 + wanted.norm_l2()));
            }
        }
    }

    /// Sums in linear time equal the sums of all pairs.
    #[test]
    fn soft_counts_are_row_sums(sizes in sizes(), log in any::<bool>(), form in prop_oneof![Just(None), Just(Some(Form::Dense)), Just(Some(Form::Factored))]) {
        let ending = if log && sizes.outputs > 1 { Ending::LogSoftmax } else { Ending::Plain };
        let network = convolutional(sizes, ending);
        let data = images(N, sizes.seed);
        let settings = Settings { form, ..settings(Kind::Correlation, Reduction::Trace) };
        let all = kernel(&network, &data, settings.clone());
        let sums: Vec<f64> = all.chunks(N).map(|row| row.iter().sum()).collect();
        let similarity = Similarity::new(&network, settings).unwrap();
        let counts = similarity.soft_counts(&data, None, None, &|_| true).unwrap();
        prop_assert!(relative(&counts.counts, &sums) < 1e-9);
    }

    /// A budget too small for all features gives the same kernel by sweeping again.
    #[test]
    fn blocks_do_not_change_the_result(sizes in sizes(), influence in any::<bool>()) {
        let network = convolutional(sizes, Ending::Plain);
        let data = images(9, sizes.seed);
        let kind = if influence { Kind::Influence } else { Kind::Correlation };
        let whole = kernel(&network, &data, settings(kind, Reduction::Trace));
        let weights: usize = network.parameters().iter().map(|p| p.len()).sum();
        let memory = 81 * 8 + 3 * 8 * weights * sizes.outputs;
        let settings = Settings { memory, form: Some(Form::Dense), ..settings(kind, Reduction::Trace) };
        prop_assert!(relative(&kernel(&network, &data, settings), &whole) < 1e-9);
    }

    /// Neighbours are the sorted kernel, the example itself left out.
    #[test]
    fn neighbors_are_the_sorted_kernel(sizes in sizes(), k in 1usize..8) {
        let network = convolutional(sizes, Ending::Plain);
        let data = images(7, sizes.seed);
        let all = kernel(&network, &data, settings(Kind::Correlation, Reduction::Trace));
        let similarity = Similarity::new(&network, Settings::default()).unwrap();
        let found = similarity.neighbors(&data, None, k, &|_| true).unwrap();
        for (i, list) in found.lists.iter().enumerate() {
            let mut order: Vec<usize> = (0..7).filter(|j| *j != i).collect();
            order.sort_by(|a, b| all[i * 7 + b].total_cmp(&all[i * 7 + a]));
            order.truncate(k);
            prop_assert_eq!(list.iter().map(|n| n.example).collect::<Vec<_>>(), order);
        }
        let other = images(3, sizes.seed + 1);
        let asked = similarity.neighbors(&data, Some(&other), k, &|_| true).unwrap();
        let cross = similarity.kernel(&other, Some(&data), &|_| true).unwrap().values.to_f64();
        for (i, list) in asked.lists.iter().enumerate() {
            let best = cross[i * 7..(i + 1) * 7].iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!((list[0].similarity - best).abs() < 1e-12);
        }
    }

    /// Scalar outputs are the right combinations of the full kernel: K_scalar = uᵀ K u'.
    #[test]
    fn scalar_outputs_combine_the_full_kernel(sizes in sizes()) {
        let network = convolutional(sizes, Ending::Plain);
        let mut data = images(N, sizes.seed);
        let d = sizes.outputs;
        let classes: Vec<usize> = (0..N).map(|i| (i * 7 + 1) % d).collect();
        data.labels = Some(Labels::Classes(classes.clone()));
        let inner = kernel(&network, &data, settings(Kind::Inner, Reduction::Matrix));
        let outputs = outputs(&network, &data);
        let probabilities = |i: usize| -> Vec<f64> {
            let z = &outputs[i * d..(i + 1) * d];
            let exp: Vec<f64> = z.iter().map(|z| z.exp()).collect();
            let total: f64 = exp.iter().sum();
            exp.iter().map(|e| e / total).collect()
        };
        let one_hot = |i: usize, c: usize| if classes[i] == c { 1.0 } else { 0.0 };
        let predicted = |i: usize| {
            let z = &outputs[i * d..(i + 1) * d];
            (0..d).fold(0, |best, c| if z[c] > z[best] { c } else { best })
        };
        type Weights<'a> = Box<dyn Fn(usize, usize) -> f64 + 'a>;
        let cases: Vec<(Select, Weights)> = vec![
            (Select::Sum, Box::new(|_, _| 1.0)),
            (Select::Mean, Box::new(|_, _| 1.0 / d as f64)),
            (Select::LogProbability(Class::Given), Box::new(|i, c| one_hot(i, c) - probabilities(i)[c])),
            (Select::LogProbability(Class::Predicted), Box::new(|i, c| {
                (if predicted(i) == c { 1.0 } else { 0.0 }) - probabilities(i)[c]
            })),
            (Select::Loss(Loss::CrossEntropy), Box::new(|i, c| probabilities(i)[c] - one_hot(i, c))),
            (Select::Loss(Loss::Squared), Box::new(|i, c| outputs[i * d + c] - one_hot(i, c))),
            (Select::List(vec![d - 1]), Box::new(|_, c| if c == d - 1 { 1.0 } else { 0.0 })),
        ];
        for (select, weights) in cases {
            let output = OutputChoice { select: select.clone(), ..OutputChoice::default() };
            let settings = Settings { output, ..settings(Kind::Inner, Reduction::Trace) };
            let found = kernel(&network, &data, settings);
            let mut wanted = vec![0.0; N * N];
            for (i, j) in (0..N).flat_map(|i| (0..N).map(move |j| (i, j))) {
                let k = block(&inner, N, d, i, j);
                wanted[i * N + j] = (0..d)
                    .flat_map(|a| (0..d).map(move |b| (a, b)))
                    .map(|(a, b)| weights(i, a) * k[(a, b)] * weights(j, b))
                    .sum();
            }
            let scale: f64 = inner.iter().map(|k| k * k).sum::<f64>().sqrt();
            let gap = found.iter().zip(&wanted).map(|(f, w)| (f - w).abs()).fold(0.0, f64::max);
            prop_assert!(gap < 1e-11 * scale, "{select:?}: {gap}");
        }
    }

    /// The Fisher metric is M^1/2 K M'^1/2 with M = diag(p) - p pᵀ, whatever scale the network puts out.
    #[test]
    fn the_fisher_metric_follows_its_definition(seed in any::<u64>()) {
        let sizes = Sizes { seed, channels: 2, hidden: 4, outputs: 3 };
        let network = convolutional(sizes, Ending::Plain);
        let data = images(N, seed);
        let inner = kernel(&network, &data, settings(Kind::Inner, Reduction::Matrix));
        let z = outputs(&network, &data);
        let roots: Vec<Mat<f64>> = (0..N).map(|i| {
            let exp: Vec<f64> = z[i * 3..i * 3 + 3].iter().map(|z| z.exp()).collect();
            let total: f64 = exp.iter().sum();
            let p: Vec<f64> = exp.iter().map(|e| e / total).collect();
            let m = Mat::from_fn(3, 3, |a, b| if a == b { p[a] - p[a] * p[a] } else { -p[a] * p[b] });
            power(&m, 0.5, 1e-12).0
        }).collect();
        let output = OutputChoice { metric: Metric::Fisher, ..OutputChoice::default() };
        let found = kernel(&network, &data, Settings { output: output.clone(), ..settings(Kind::Inner, Reduction::Matrix) });
        for (i, j) in (0..N).flat_map(|i| (0..N).map(move |j| (i, j))) {
            let wanted = &roots[i] * block(&inner, N, 3, i, j) * &roots[j];
            prop_assert!((&block(&found, N, 3, i, j) - &wanted).norm_l2() < 1e-9 * (1.0 + wanted.norm_l2()));
        }
    }
}

fn outputs(network: &Network, data: &Data) -> Vec<f64> {
    let sweep = gradkin::network::Sweep::new(network, None, None).unwrap();
    let pass = sweep.forward(data.batch(0..data.len()).unwrap(), data.len()).unwrap();
    sweep.output(&pass).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
}

/// Sketches are unbiased and as exact as their size says.
#[test]
fn sketches_estimate_the_kernel() {
    let sizes = Sizes { seed: 11, channels: 3, hidden: 5, outputs: 3 };
    let network = convolutional(sizes, Ending::Plain);
    let data = images(6, 11);
    for form in [None, Some(Form::Dense), Some(Form::Factored), Some(Form::Deferred)] {
        let settings = Settings { form, ..settings(Kind::Correlation, Reduction::Trace) };
        let exact = kernel(&network, &data, settings.clone());
        let similarity = Similarity::new(&network, settings).unwrap();
        const SIZE: usize = 20_000;
        let sketches = similarity.sketches(&data, SIZE, 3, &|_| true).unwrap();
        let row = |i: usize| &sketches[i * SIZE..(i + 1) * SIZE];
        for (i, j) in (0..6).flat_map(|i| (0..6).map(move |j| (i, j))) {
            let estimate: f64 = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum();
            // Five standard errors of √(3/m).
            let bound = 5.0 * (3.0 / SIZE as f64).sqrt();
            assert!((estimate - exact[i * 6 + j]).abs() < bound, "{estimate} {}", exact[i * 6 + j]);
        }
    }
    // Embeddings take their own path.
    let network = embedding(Sizes { seed: 5, channels: 9, hidden: 3, outputs: 2 }, 3, false);
    let data = tokens(5, 3, 9, 5);
    let settings =
        Settings { form: Some(Form::Rows), ..settings(Kind::Correlation, Reduction::Trace) };
    let exact = kernel(&network, &data, settings.clone());
    let similarity = Similarity::new(&network, settings).unwrap();
    let counts = similarity.soft_counts(&data, None, None, &|_| true).unwrap().counts;
    let sums: Vec<f64> = exact.chunks(5).map(|row| row.iter().sum()).collect();
    assert!(relative(&counts, &sums) < 1e-9);
    let sketches = similarity.sketches(&data, 20_000, 3, &|_| true).unwrap();
    let estimate: f64 =
        sketches[..20_000].iter().zip(&sketches[20_000..]).map(|(a, b)| a * b).sum();
    assert!((estimate - exact[1]).abs() < 0.06, "{estimate} {}", exact[1]);
}

/// An example that no parameter can move is undefined: reported, never a number.
#[test]
fn dead_examples_are_undefined() {
    let model = common::dead();
    let network = Network::new(&model, &Default::default()).unwrap();
    let data = Data::new(vec![4, 2], vec![1.0, 2.0, -1.0, -1.0, 2.0, 1.0, f64::MAX, f64::MAX]);
    for kind in [Kind::Correlation, Kind::Influence] {
        let similarity = Similarity::new(&network, settings(kind, Reduction::Trace)).unwrap();
        let kernel = similarity.kernel(&data, None, &|_| true).unwrap();
        assert_eq!(kernel.undefined_rows.rank_zero, [1]);
        assert_eq!(kernel.undefined_rows.not_finite, [3]);
        let (defined, rows, _) = kernel.defined();
        assert_eq!(
            (defined.shape.as_slice(), rows.as_slice()),
            ([2, 2].as_slice(), [0, 2].as_slice())
        );
        assert!(kernel.values.to_f64().iter().all(|k| k.is_finite()));
    }
    let similarity = Similarity::new(&network, Settings::default()).unwrap();
    let neighbors = similarity.neighbors(&data, None, 3, &|_| true).unwrap();
    assert!(neighbors.lists[1].is_empty() && neighbors.lists[3].is_empty());
    assert_eq!(neighbors.lists[0].iter().map(|n| n.example).collect::<Vec<_>>(), [2]);
}

/// The watcher can stop the work.
#[test]
fn watching_can_stop() {
    let sizes = Sizes { seed: 2, channels: 2, hidden: 3, outputs: 2 };
    let network = convolutional(sizes, Ending::Plain);
    let similarity = Similarity::new(&network, Settings::default()).unwrap();
    let stopped = similarity.kernel(&images(4, 2), None, &|_| false);
    assert!(matches!(stopped, Err(gradkin::Error::Cancelled)));
}
