//! What is computed in linear time, or as pairs stream by, against the plain formula on written-out
//! kernels: METHOD sections 2 and 3.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{
    Data, Ending, Failure, Random, Sizes, convolutional, embedding, folders, images, open,
    relative, tokens,
};
use faer::{Mat, Side};
use gradkin::network::{InputData, Network, Precision};
use gradkin::{
    Averages, Examples, Form, Kind, Labels, PairSettings, Quantity, Reduction, Sample, Settings,
    Similarity, State,
};

fn settings(kind: Kind, reduction: Reduction) -> Settings {
    Settings { kind, reduction, ..Settings::default() }
}

fn go_on(_: gradkin::Progress) -> bool {
    true
}

/// A stretch of a set as a set of its own.
struct Part<'a>(&'a dyn Examples, Range<usize>);

impl Examples for Part<'_> {
    fn len(&self) -> usize {
        self.1.len()
    }

    fn batch(&self, range: Range<usize>) -> Result<Vec<InputData>, Failure> {
        self.0.batch(self.1.start + range.start..self.1.start + range.end)
    }

    fn labels(&self) -> Option<&Labels> {
        None
    }
}

/// A network with examples to try everything on.
struct Case {
    name: String,
    network: Network,
    data: Data,
}

/// Every reference network, and random ones with one output, several, and an output that ends in
/// LogSoftmax, whose K has rank d − 1 and a null direction of its own at every example.
fn cases(precision: Precision) -> Vec<Case> {
    let mut cases: Vec<Case> = folders()
        .into_iter()
        .map(|folder| {
            let (network, data) = open(&folder, precision).unwrap();
            Case { name: folder.file_name().unwrap().to_string_lossy().into(), network, data }
        })
        .collect();
    if precision == Precision::F64 {
        for (seed, outputs) in [(1, 1), (2, 2), (3, 4), (4, 5)] {
            let sizes = Sizes { seed, channels: 2, hidden: 5, outputs };
            for ending in [Ending::Plain, Ending::LogSoftmax] {
                if outputs == 1 && ending == Ending::LogSoftmax {
                    continue;
                }
                let network = convolutional(sizes, ending);
                let name = format!("random {seed} {ending:?}");
                cases.push(Case { name, network, data: images(9, seed) });
            }
        }
        let sizes = Sizes { seed: 5, channels: 9, hidden: 3, outputs: 2 };
        for tied in [false, true] {
            let (network, data) = (embedding(sizes, 4, tied), tokens(8, 4, 9, 5));
            cases.push(Case { name: format!("embedding, tied: {tied}"), network, data });
        }
    }
    cases
}

fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F64 => 1e-9,
        Precision::F32 => 1e-4,
    }
}

fn kernel(
    network: &Network,
    rows: &dyn Examples,
    columns: Option<&dyn Examples>,
    settings: &Settings,
) -> (Vec<f64>, usize) {
    let similarity = Similarity::new(network, settings.clone()).unwrap();
    let kernel = similarity.kernel(rows, columns, &go_on).unwrap();
    (kernel.values.to_f64(), similarity.outputs().unwrap())
}

/// Soft counts, whole and by class, of the set itself and of other queries, are row sums.
fn counts_are_row_sums(precision: Precision) {
    for case in cases(precision) {
        let n = case.data.len();
        let (set, queries) = (Part(&case.data, 0..n / 2 + 1), Part(&case.data, n / 2..n));
        let classes: Vec<usize> = (0..set.len()).map(|i| i * 7 % 3).collect();
        let classes = Quantity::Classes { ids: &classes, count: 3 };
        for kind in [Kind::Correlation, Kind::Inner, Kind::Influence] {
            let settings = settings(kind, Reduction::Trace);
            let similarity = Similarity::new(&case.network, settings.clone()).unwrap();
            for queries in [None, Some(&queries as &dyn Examples)] {
                let rows = queries.unwrap_or(&set);
                let (k, _) = kernel(&case.network, rows, Some(&set), &settings);
                let sums: Vec<f64> = k.chunks(set.len()).map(|row| row.iter().sum()).collect();
                let found = similarity.soft_counts(&set, queries, Some(classes), &go_on).unwrap();
                let whole = similarity.soft_counts(&set, queries, None, &go_on).unwrap();
                let by_class: Vec<f64> = k
                    .chunks(set.len())
                    .flat_map(|row| {
                        let of =
                            |c: usize| row.iter().enumerate().filter(move |(i, _)| i * 7 % 3 == c);
                        (0..3).map(move |c| of(c).map(|(_, k)| k).sum::<f64>())
                    })
                    .collect();
                for (found, wanted) in
                    [(&whole.counts, &sums), (&found.counts, &sums), (&found.by_class, &by_class)]
                {
                    let error = relative(found, wanted);
                    assert!(error <= tolerance(precision), "{} {kind:?}: {error:e}", case.name);
                }
            }
        }
    }
}

#[test]
fn counts_are_row_sums_in_double_precision() {
    counts_are_row_sums(Precision::F64);
}

#[test]
fn counts_are_row_sums_in_single_precision() {
    counts_are_row_sums(Precision::F32);
}

/// M⁺ by way of the eigenvectors of MᵀM, and the condition of M.
/// A set that counts how many examples are asked for.
struct Counted<'a>(&'a Data, AtomicUsize);

impl Examples for Counted<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn batch(&self, range: Range<usize>) -> Result<Vec<InputData>, Failure> {
        self.1.fetch_add(range.len(), Ordering::Relaxed);
        self.0.batch(range)
    }

    fn labels(&self) -> Option<&Labels> {
        None
    }
}

/// With memory to keep what the first sweep finds there is no second sweep, and nothing else changes.
fn sweeping_twice_changes_nothing(precision: Precision) {
    let mut streamed = 0;
    for case in cases(precision) {
        let n = case.data.len();
        let ids: Vec<usize> = (0..n).map(|i| i * 7 % 3).collect();
        let classes = Quantity::Classes { ids: &ids, count: 3 };
        let weights: usize = case.network.parameters().iter().map(|p| p.len()).sum();
        for kind in [Kind::Correlation, Kind::Inner] {
            let plenty = settings(kind, Reduction::Trace);
            let similarity = Similarity::new(&case.network, plenty.clone()).unwrap();
            let memory = 4 * similarity.outputs().unwrap() * weights * size_of::<f64>();
            let scant = Settings { memory, ..plenty };
            let scant = Similarity::new(&case.network, scant).unwrap();
            let run = |similarity: &Similarity| {
                let set = Counted(&case.data, AtomicUsize::new(0));
                let counts = similarity.soft_counts(&set, None, Some(classes), &go_on).unwrap();
                let asked = set.1.into_inner();
                let averages = similarity.averages(&case.data, None, &[classes], &go_on).unwrap();
                (asked, counts, averages)
            };
            let ((once, counts, averages), (asked, other_counts, other_averages)) =
                (run(&similarity), run(&scant));
            assert_eq!(once, n, "{}", case.name);
            streamed += usize::from(asked == 2 * n);
            let close = |a: &[f64], b: &[f64]| {
                let error = relative(a, b);
                assert!(error <= tolerance(precision), "{} {kind:?}: {error:e}", case.name);
            };
            close(&counts.counts, &other_counts.counts);
            close(&counts.by_class, &other_counts.by_class);
            close(&averages.totals, &other_averages.totals);
        }
    }
    assert!(streamed > 1, "{streamed} sets were swept twice");
}

#[test]
fn sweeping_twice_changes_nothing_in_double_precision() {
    sweeping_twice_changes_nothing(Precision::F64);
}

#[test]
fn sweeping_twice_changes_nothing_in_single_precision() {
    sweeping_twice_changes_nothing(Precision::F32);
}

#[test]
fn classes_that_do_not_fit_together_are_counted_in_turns() {
    for case in cases(Precision::F64) {
        let n = case.data.len();
        let (set, queries) = (Part(&case.data, 0..n - 1), Part(&case.data, n / 2..n));
        let ids: Vec<usize> = (0..n - 1).map(|i| i * 7 % 5).collect();
        let classes = Quantity::Classes { ids: &ids, count: 5 };
        let weights: usize = case.network.parameters().iter().map(|p| p.len()).sum();
        let plenty = settings(Kind::Correlation, Reduction::Trace);
        let similarity = Similarity::new(&case.network, plenty.clone()).unwrap();
        let block = similarity.outputs().unwrap() * weights * size_of::<f64>();
        for queries in [None, Some(&queries as &dyn Examples)] {
            let all = similarity.soft_counts(&set, queries, Some(classes), &go_on).unwrap();
            for memory in [block, 2 * block] {
                let scant = Settings { memory, ..plenty.clone() };
                let scant = Similarity::new(&case.network, scant).unwrap();
                let found = scant.soft_counts(&set, queries, Some(classes), &go_on).unwrap();
                assert!(relative(&found.by_class, &all.by_class) < 1e-9, "{}", case.name);
                assert!(relative(&found.counts, &all.counts) < 1e-9, "{}", case.name);
                assert_eq!(found.undefined, all.undefined);
                assert_eq!(found.undefined_queries, all.undefined_queries);
            }
        }
    }
}

fn pseudo_inverse(m: &Mat<f64>, tolerance: f64) -> (Mat<f64>, f64) {
    let d = m.nrows();
    let gram = m.transpose() * m;
    let eigen = gram.self_adjoint_eigen(Side::Lower).unwrap();
    let (v, s) = (eigen.U(), eigen.S());
    let top = (0..d).map(|i| s[i]).fold(0.0, f64::max);
    let kept: Vec<usize> = (0..d).filter(|i| s[*i] > tolerance * tolerance * top).collect();
    let least = kept.iter().map(|i| s[*i]).fold(f64::INFINITY, f64::min);
    let inverse = Mat::from_fn(d, d, |a, b| {
        kept.iter().map(|i| v[(a, *i)] * v[(b, *i)] / s[*i]).sum::<f64>()
    });
    (inverse * m.transpose(), (top / least).sqrt())
}

/// E_k by the definition with d×d weights, without example `without`; and the condition.
fn average_by_matrices(
    row: &[f64],
    d: usize,
    a: &[f64],
    without: Option<usize>,
    tolerance: f64,
) -> (Vec<f64>, f64) {
    let (mut sum, mut weighted) = (Mat::<f64>::zeros(d, d), Mat::<f64>::zeros(d, 1));
    for (i, k) in row.chunks(d * d).enumerate().filter(|(i, _)| Some(*i) != without) {
        let k = Mat::from_fn(d, d, |x, y| k[x * d + y]);
        weighted += &k * Mat::from_fn(d, 1, |c, _| a[i * d + c]);
        sum += k;
    }
    let (inverse, condition) = pseudo_inverse(&sum, tolerance);
    let average = inverse * weighted;
    ((0..d).map(|c| average[(c, 0)]).collect(), condition)
}

/// Kernel averages with matrices for weights, with and without the example itself.
fn averages_by_matrices(precision: Precision) {
    // Rounding reaches an average multiplied by the condition of its sum. And a single-precision sum
    // does not tell singular values below its rounding from zero.
    let (zero, worst) = match precision {
        Precision::F64 => (1e-7, 1e3),
        Precision::F32 => (1e-4, 50.0),
    };
    let mut compared = 0;
    for case in cases(precision) {
        let n = case.data.len();
        for kind in [Kind::Inner, Kind::Correlation] {
            let settings = settings(kind, Reduction::Matrix);
            let (k, d) = kernel(&case.network, &case.data, None, &settings);
            let a = Random(9).list(n * d, 1.0);
            let quantity = Quantity::Numbers { values: &a, width: d };
            let similarity = Similarity::new(&case.network, settings).unwrap();
            let found =
                similarity.averages(&case.data, None, &[quantity, quantity], &go_on).unwrap();
            let [first, second] = &found.averages[..] else { panic!("two averages") };
            assert!(relative(&first.without_self, &second.without_self) <= tolerance(precision));
            for (j, row) in k.chunks(n * d * d).enumerate() {
                for (without, values, state) in [
                    (None, &found.averages[0].values, found.states[j]),
                    (Some(j), &found.averages[0].without_self, found.states_without_self[j]),
                ] {
                    let (wanted, condition) = average_by_matrices(row, d, &a, without, zero);
                    if condition > worst {
                        continue;
                    }
                    assert_eq!(state, State::Fine, "{} {kind:?} {condition:e}", case.name);
                    let error = relative(&values[j * d..(j + 1) * d], &wanted);
                    let name = &case.name;
                    assert!(error <= tolerance(precision), "{name} {kind:?} {j}: {error:e}");
                    compared += 1;
                }
                let off =
                    (found.conditions[j] / average_by_matrices(row, d, &a, None, zero).1).ln();
                assert!(off.abs() < 0.1 || found.conditions[j] > worst, "{}", case.name);
            }
        }
    }
    println!("{compared} averages compared in {precision:?}");
    assert!(compared > 100, "too many sums are ill conditioned to say anything");
}

#[test]
fn averages_by_matrices_in_double_precision() {
    averages_by_matrices(Precision::F64);
}

#[test]
fn averages_by_matrices_in_single_precision() {
    averages_by_matrices(Precision::F32);
}

/// Kernel averages with numbers for weights: labels of any width, classes, other queries, without
/// the example itself.
fn averages_by_numbers(precision: Precision) {
    let mut compared = 0;
    for case in cases(precision) {
        let n = case.data.len();
        let set = Part(&case.data, 0..n - 2);
        let m = set.len();
        let ids: Vec<usize> = (0..m).map(|i| i * 5 % 4 % 3).collect();
        let numbers = Random(3).list(m * 2, 1.0);
        let classes = Quantity::Classes { ids: &ids, count: 3 };
        let numbers_of = Quantity::Numbers { values: &numbers, width: 2 };
        let one_hot: Vec<f64> =
            ids.iter().flat_map(|id| (0..3).map(move |c| f64::from(u8::from(*id == c)))).collect();
        for kind in [Kind::Inner, Kind::Correlation] {
            let settings = settings(kind, Reduction::Trace);
            let similarity = Similarity::new(&case.network, settings.clone()).unwrap();
            let own = similarity.averages(&set, None, &[classes, numbers_of], &go_on).unwrap();
            let all = similarity
                .averages(&set, Some(&case.data), &[classes, numbers_of], &go_on)
                .unwrap();
            let (k, _) = kernel(&case.network, &case.data, Some(&set), &settings);
            for (j, row) in k.chunks(m).enumerate() {
                for (at, (a, width)) in [(&one_hot, 3), (&numbers, 2)].into_iter().enumerate() {
                    let wanted = |without: Option<usize>| -> Vec<f64> {
                        let row = || row.iter().enumerate().filter(|(i, _)| Some(*i) != without);
                        let total: f64 = row().map(|(_, k)| k).sum();
                        let sum = |c: usize| row().map(|(i, k)| k * a[i * width + c]).sum::<f64>();
                        (0..width).map(|c| sum(c) / total).collect()
                    };
                    let mut check = |found: &Averages, values: &[f64], state: State, without| {
                        let bound = if precision == Precision::F64 { 1e4 } else { 50.0 };
                        if found.conditions[j] > bound || state != State::Fine {
                            return;
                        }
                        let error = relative(&values[j * width..(j + 1) * width], &wanted(without));
                        assert!(error <= tolerance(precision), "{} {kind:?}: {error:e}", case.name);
                        compared += 1;
                    };
                    check(&all, &all.averages[at].values, all.states[j], None);
                    if j < m {
                        check(&own, &own.averages[at].values, own.states[j], None);
                        let state = own.states_without_self[j];
                        check(&own, &own.averages[at].without_self, state, Some(j));
                    }
                }
                // The condition is a bound of Σ|k| / |Σk|.
                let exact =
                    row.iter().map(|k| k.abs()).sum::<f64>() / row.iter().sum::<f64>().abs();
                assert!(all.conditions[j] >= exact * 0.999, "{} {exact}", case.name);
            }
        }
    }
    println!("{compared} averages compared in {precision:?}");
    assert!(compared > 200, "too many sums cancel to say anything");
}

#[test]
fn averages_by_numbers_in_double_precision() {
    averages_by_numbers(Precision::F64);
}

#[test]
fn averages_by_numbers_in_single_precision() {
    averages_by_numbers(Precision::F32);
}

/// Hard and power counts, squares, weighted labels and nearest of each sort, from the kernel.
#[test]
fn pair_statistics_are_what_they_say() {
    for case in cases(Precision::F64) {
        let n = case.data.len();
        let settings = settings(Kind::Correlation, Reduction::Trace);
        let (k, _) = kernel(&case.network, &case.data, None, &settings);
        let ids: Vec<usize> = (0..n).map(|i| i % 2).collect();
        let (hard, power) = (vec![-0.5, 0.1, 0.9], vec![1.0, 2.0, 2.5]);
        let quantity = Some(Quantity::Classes { ids: &ids, count: 2 });
        let nearest = 2;
        let wish = PairSettings {
            hard: hard.clone(),
            power: power.clone(),
            quantity,
            nearest,
            ..PairSettings::default()
        };
        let similarity = Similarity::new(&case.network, settings.clone()).unwrap();
        let found = similarity.pair_statistics(&case.data, None, &wish, &go_on).unwrap();
        let by_row = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
            k.chunks(n).map(|row| row.iter().map(|k| f(*k)).sum()).collect()
        };
        let close = |found: &[f64], wanted: &[f64]| {
            assert!(relative(found, wanted) < 1e-9, "{}: {found:?} {wanted:?}", case.name);
        };
        close(&found.soft, &by_row(&|k| k));
        close(&found.squares, &by_row(&|k| k * k));
        close(&found.own, &vec![1.0; n]);
        for (at, tau) in hard.iter().enumerate() {
            assert_eq!(found.hard[at], by_row(&|k| f64::from(u8::from(k >= *tau))));
        }
        let factors: Vec<f64> = found.denoising_factors().into_iter().map(Option::unwrap).collect();
        let (soft, squares) = (by_row(&|k| k), by_row(&|k| k * k));
        let wanted = soft.iter().zip(&squares).map(|(s, q)| q.sqrt() / s.abs());
        close(&factors, &wanted.collect::<Vec<_>>());
        for (at, alpha) in power.iter().enumerate() {
            close(&found.power[at], &by_row(&|k| k.max(0.0).powf(*alpha)));
            let averaged = found.averaged(at, *alpha, quantity);
            for (i, row) in k.chunks(n).enumerate() {
                let weight = |j: usize| row[j].max(0.0).powf(*alpha);
                let others = || (0..n).filter(|j| *j != i);
                let total: f64 = others().map(weight).sum();
                let first: f64 = others().filter(|j| ids[*j] == 0).map(weight).sum();
                if total > 1e-6 {
                    let found = averaged[i].as_ref().unwrap();
                    assert!((found[0] - first / total).abs() < 1e-9, "{}", case.name);
                    assert!((found[0] + found[1] - 1.0).abs() < 1e-9);
                }
            }
        }
        for (i, row) in k.chunks(n).enumerate() {
            let sorted = |same: bool| {
                let mut list: Vec<usize> =
                    (0..n).filter(|j| *j != i && (ids[*j] == ids[i]) == same).collect();
                list.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
                list.into_iter().take(nearest).map(|j| row[j]).collect::<Vec<f64>>()
            };
            let similar = |list: &[gradkin::Neighbor]| -> Vec<f64> {
                list.iter().map(|n| n.similarity).collect()
            };
            close(&similar(&found.agreeing[i]), &sorted(true));
            close(&similar(&found.disagreeing[i]), &sorted(false));
        }
    }
}

/// D_j² = Σ A Aᵀ with A = (Σ K)⁻¹ K(j, i).
#[test]
fn denoising_covariances_are_what_they_say() {
    let mut compared = 0;
    for case in cases(Precision::F64) {
        let n = case.data.len();
        let settings = settings(Kind::Inner, Reduction::Matrix);
        let (k, d) = kernel(&case.network, &case.data, None, &settings);
        let similarity = Similarity::new(&case.network, settings).unwrap();
        let found = similarity.denoising(&case.data, None, &go_on).unwrap();
        for (j, row) in k.chunks(n * d * d).enumerate() {
            let block = |i: usize| Mat::from_fn(d, d, |a, b| row[(i * d + a) * d + b]);
            let sum = (0..n).fold(Mat::zeros(d, d), |sum: Mat<f64>, i| sum + block(i));
            let (inverse, condition) = pseudo_inverse(&sum, 1e-7);
            if condition > 1e3 {
                continue;
            }
            let covariance = (0..n).fold(Mat::zeros(d, d), |sum: Mat<f64>, i| {
                let weight = &inverse * block(i);
                sum + &weight * weight.transpose()
            });
            let wanted: Vec<f64> = (0..d * d).map(|at| covariance[(at / d, at % d)]).collect();
            let error = relative(&found.covariances[j * d * d..(j + 1) * d * d], &wanted);
            assert!(error < 1e-9, "{} {j}: {error:e}", case.name);
            let trace: f64 = (0..d).map(|c| covariance[(c, c)]).sum();
            assert!((found.factors[j] - (trace / d as f64).sqrt()).abs() < 1e-9 * found.factors[j]);
            compared += 1;
        }
    }
    assert!(compared > 30, "too many sums are ill conditioned to say anything");
}

/// Estimates from a sample and from random features lie within a few of the standard errors that they
/// state, and those errors are no excuse.
#[test]
fn estimates_keep_to_their_standard_errors() {
    let network =
        convolutional(Sizes { seed: 8, channels: 2, hidden: 5, outputs: 3 }, Ending::Plain);
    let data = images(120, 8);
    let settings = settings(Kind::Correlation, Reduction::Trace);
    let similarity = Similarity::new(&network, settings).unwrap();
    let wish = |sample| PairSettings {
        hard: vec![0.5],
        power: vec![2.0, 3.0],
        sample,
        ..PairSettings::default()
    };
    let exact = similarity.pair_statistics(&data, None, &wish(None), &go_on).unwrap();
    let sample = Some(Sample { size: 60, seed: 4 });
    let found = similarity.pair_statistics(&data, None, &wish(sample), &go_on).unwrap();
    let errors = found.errors.as_ref().unwrap();
    let mut all = vec![
        (&found.soft, &exact.soft, &errors.soft),
        (&found.squares, &exact.squares, &errors.squares),
        (&found.hard[0], &exact.hard[0], &errors.hard[0]),
        (&found.power[0], &exact.power[0], &errors.power[0]),
        (&found.power[1], &exact.power[1], &errors.power[1]),
    ];
    let squares = similarity.power_sums(&data, 2, 3000, 1, &go_on).unwrap();
    let cubes = similarity.power_sums(&data, 3, 3000, 1, &go_on).unwrap();
    let k = similarity.kernel(&data, None, &go_on).unwrap().values.to_f64();
    let plain_cubes: Vec<f64> = k.chunks(120).map(|r| r.iter().map(|k| k.powi(3)).sum()).collect();
    all.push((&squares.estimates, &exact.squares, &squares.errors));
    all.push((&cubes.estimates, &plain_cubes, &cubes.errors));
    for (at, (found, exact, errors)) in all.into_iter().enumerate() {
        let off: Vec<f64> =
            found.iter().zip(exact).zip(errors).map(|((f, e), s)| (f - e) / s.max(1e-9)).collect();
        let mean_square = off.iter().map(|o| o * o).sum::<f64>() / off.len() as f64;
        // Examples share their sample, so that the mean square itself varies; a missing factor would
        // show all the same.
        assert!(mean_square < 6.0, "{at}: errors are {mean_square} times what they claim, squared");
        let relative: f64 =
            errors.iter().zip(exact).map(|(s, e)| s / e).sum::<f64>() / exact.len() as f64;
        assert!(relative < 0.6, "{at}: a standard error of {relative} says nothing");
    }
}

/// Groups are the connected parts of the graph of similarities at or above the threshold.
#[test]
fn duplicates_are_connected_parts() {
    let network =
        convolutional(Sizes { seed: 3, channels: 2, hidden: 5, outputs: 2 }, Ending::Plain);
    let mut data = images(12, 3);
    // Example 7 is example 2 again, and 11 nearly is 5.
    let (source, copy) = (data.values[72..108].to_vec(), 7 * 36);
    data.values[copy..copy + 36].copy_from_slice(&source);
    let near: Vec<f64> = data.values[180..216].iter().map(|v| v + 1e-4).collect();
    data.values[396..432].copy_from_slice(&near);
    let similarity = Similarity::new(&network, Settings::default()).unwrap();
    let found = similarity.duplicates(&data, 0.9999, &go_on).unwrap();
    assert_eq!(found.groups, [vec![2, 7], vec![5, 11]]);
    assert_eq!(found.group_of[7], Some(0));
    let nearest = found.nearest[7].unwrap();
    assert!(nearest.example == 2 && (nearest.similarity - 1.0).abs() < 1e-12);
    let (k, _) = kernel(&network, &data, None, &Settings::default());
    for (i, row) in k.chunks(12).enumerate() {
        let best = (0..12).filter(|j| *j != i).map(|j| row[j]).fold(f64::MIN, f64::max);
        assert!((found.nearest[i].unwrap().similarity - best).abs() < 1e-12);
    }
    assert!(similarity.duplicates(&data, 1.5, &go_on).is_err());
}

/// Predictions are the network's outputs, as probabilities where that is asked for.
#[test]
fn predictions_are_outputs() {
    let sizes = Sizes { seed: 6, channels: 2, hidden: 4, outputs: 3 };
    let (plain, log) =
        (convolutional(sizes, Ending::Plain), convolutional(sizes, Ending::LogSoftmax));
    let data = images(5, 6);
    let of = |network: &Network| {
        Similarity::new(network, Settings::default()).unwrap().predictions(&data, &go_on).unwrap()
    };
    let (plain, log) = (of(&plain), of(&log));
    assert_eq!(
        (plain.scale, log.scale),
        (gradkin::Scale::Logits, gradkin::Scale::LogProbabilities)
    );
    assert!(relative(&plain.probabilities(), &log.probabilities()) < 1e-12);
    assert_eq!(plain.classes(), log.classes());
    let sum: f64 = plain.probabilities()[..3].iter().sum();
    assert!((sum - 1.0).abs() < 1e-12);
}

/// A sum over checkpoints is the sum of their kernels; its correlation with itself is one.
#[test]
fn checkpoints_add_up() {
    let at =
        |seed| convolutional(Sizes { seed, channels: 2, hidden: 4, outputs: 3 }, Ending::Plain);
    let (first, second) = (at(1), at(2));
    let data = images(7, 1);
    for form in [None, Some(Form::Dense), Some(Form::Factored)] {
        let settings = Settings { form, ..settings(Kind::Inner, Reduction::Matrix) };
        let both = Similarity::over_checkpoints(&[&first, &second], settings.clone()).unwrap();
        let both = both.kernel(&data, None, &go_on).unwrap().values.to_f64();
        let (a, _) = kernel(&first, &data, None, &settings);
        let (b, _) = kernel(&second, &data, None, &settings);
        let sum: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        assert!(relative(&both, &sum) < 1e-12);
    }
    let both = Similarity::over_checkpoints(&[&first, &second], Settings::default()).unwrap();
    let k = both.kernel(&data, None, &go_on).unwrap().values.to_f64();
    assert!((0..7).all(|i| (k[i * 7 + i] - 1.0).abs() < 1e-12));
    let counts = both.soft_counts(&data, None, None, &go_on).unwrap().counts;
    let sums: Vec<f64> = k.chunks(7).map(|row| row.iter().sum()).collect();
    assert!(relative(&counts, &sums) < 1e-9);
    let other = convolutional(Sizes { seed: 1, channels: 2, hidden: 5, outputs: 3 }, Ending::Plain);
    assert!(Similarity::over_checkpoints(&[&first, &other], Settings::default()).is_err());
}

/// What makes no sense is refused with a reason.
#[test]
fn mistakes_are_refused() {
    let network =
        convolutional(Sizes { seed: 6, channels: 2, hidden: 4, outputs: 3 }, Ending::Plain);
    let data = images(5, 6);
    let similarity = Similarity::new(&network, Settings::default()).unwrap();
    let message = |result: Result<(), gradkin::Error>| result.unwrap_err().to_string();
    let pairs = |wish: PairSettings| {
        message(similarity.pair_statistics(&data, None, &wish, &go_on).map(|_| ()))
    };
    let text = pairs(PairSettings { hard: vec![1.5], ..PairSettings::default() });
    assert!(text.contains("1.5 is no similarity"), "{text}");
    let text = pairs(PairSettings { power: vec![0.0], ..PairSettings::default() });
    assert!(text.contains("not a positive number"), "{text}");
    let ids = [0, 1, 2, 3, 0];
    let quantity = Some(Quantity::Classes { ids: &ids, count: 3 });
    let text = pairs(PairSettings { quantity, ..PairSettings::default() });
    assert!(text.contains("example 3 has label 3"), "{text}");
    let average =
        |quantity| message(similarity.averages(&data, None, &[quantity], &go_on).map(|_| ()));
    let text = average(Quantity::Numbers { values: &[1.0, f64::NAN, 0.0, 0.0, 0.0], width: 1 });
    assert!(text.contains("example 1 is NaN"), "{text}");
    let text = average(Quantity::Numbers { values: &[1.0; 4], width: 1 });
    assert!(text.contains("4 labels for 5 examples"), "{text}");
    let small = Settings { memory: 1000, ..Settings::default() };
    let small = Similarity::new(&network, small).unwrap();
    let text = message(small.soft_counts(&data, None, None, &go_on).map(|_| ()));
    assert!(text.contains("memory budget"), "{text}");
}
