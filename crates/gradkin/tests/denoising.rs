//! Does similarity alone, without a clean label, tell how far label noise is averaged away? Checked on
//! networks trained to a stationary point on labels whose noise is known (`tests/denoising`, METHOD
//! section 3; the paper's section 4).

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::path::PathBuf;

use common::{Data, Random, read, relative};
use gradkin::network::{Model, Network, Options, Precision};
use gradkin::{Averages, Kind, Quantity, Reduction, Settings, Similarity, State};

/// A network, the labels that it was trained on, those without noise, and its own predictions.
struct Case {
    name: &'static str,
    /// Deviation of the labels' noise.
    noise: f64,
    network: Network,
    data: Data,
    noisy: Vec<f64>,
    clean: Vec<f64>,
    width: usize,
}

fn cases() -> Vec<Case> {
    [("a", 0.3), ("b", 0.1), ("c", 1.0)]
        .map(|(name, noise)| {
            let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/denoising");
            let folder = tests.join(name);
            let (shape, values) = read(&folder.join("x.npy")).unwrap();
            let model = Model::open(folder.join("model.onnx")).unwrap();
            let options = Options { precision: Precision::F64, ..Options::default() };
            let network = Network::new(&model, &options).unwrap();
            let (labels, noisy) = read(&folder.join("noisy.npy")).unwrap();
            let (_, clean) = read(&folder.join("clean.npy")).unwrap();
            let width = labels.get(1).copied().unwrap_or(1);
            let data = Data { shape, values, integer: false, labels: None };
            Case { name, noise, network, data, noisy, clean, width }
        })
        .into()
}

impl Case {
    fn similarity(&self) -> Similarity<'_> {
        let (kind, reduction) = (Kind::Inner, Reduction::Matrix);
        let settings = Settings { kind, reduction, ..Settings::default() };
        Similarity::new(&self.network, settings).unwrap()
    }

    fn averages(&self, lists: &[&[f64]]) -> Averages {
        let width = self.width;
        let quantities: Vec<Quantity> =
            lists.iter().map(|values| Quantity::Numbers { values, width }).collect();
        self.similarity().averages(&self.data, None, &quantities, &|_| true).unwrap()
    }
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let product = |x: &[f64], mx: f64, y: &[f64], my: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
    };
    product(a, ma, b, mb) / (product(a, ma, a, ma) * product(b, mb, b, mb)).sqrt()
}

/// Slope of the line through the origin that takes a to b.
fn slope(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / dot(a, a)
}

/// At a stationary point the average of the predictions is the average of the labels.
#[test]
fn predictions_and_labels_have_one_average() {
    for case in cases() {
        let predictions = case.similarity().predictions(&case.data, &|_| true).unwrap().values;
        let found = case.averages(&[&predictions, &case.noisy, &case.clean]);
        let of = |at: usize| -> Vec<f64> {
            let rows = found.averages[at].values.chunks(case.width).zip(&found.states);
            rows.filter(|(_, state)| **state == State::Fine)
                .flat_map(|(row, _)| row)
                .copied()
                .collect()
        };
        let (predicted, noisy, clean) = (of(0), of(1), of(2));
        assert!(predicted.len() > 200, "{}: too many sums cancel", case.name);
        let error = relative(&predicted, &noisy);
        println!("{}: E_k[f] and E_k[ŷ] differ by {error:e}", case.name);
        assert!(error < 1e-3, "{}: {error:e}", case.name);
        // It is no accident: the clean labels' average is another.
        assert!(relative(&clean, &noisy) > 10.0 * error, "{}", case.name);
    }
}

/// σ·D_j is the error that noise leaves in the average: of fresh noise to the accuracy of two thousand
/// draws, and of the noise that the network itself was trained on in size.
#[test]
fn the_denoising_factor_predicts_the_error() {
    const DRAWS: usize = 2000;
    for case in cases() {
        let similarity = case.similarity();
        let factors = similarity.denoising(&case.data, None, &|_| true).unwrap();
        let mut random = Random(17);
        let fresh: Vec<Vec<f64>> =
            (0..DRAWS).map(|_| random.list(case.noisy.len(), case.noise)).collect();
        let own: Vec<f64> = case.noisy.iter().zip(&case.clean).map(|(n, c)| n - c).collect();
        let mut lists: Vec<&[f64]> = fresh.iter().map(Vec::as_slice).collect();
        lists.push(&own);
        let found = case.averages(&lists);
        let kept: Vec<usize> = (0..factors.factors.len())
            .filter(|j| factors.states[*j] == State::Fine && found.states[*j] == State::Fine)
            // Next to cancellation a factor is huge and says so; the rest is what is compared.
            .filter(|j| factors.factors[*j] < 1.0)
            .collect();
        assert!(kept.len() > 150, "{}: {} factors are below one", case.name, kept.len());
        let predicted: Vec<f64> = kept.iter().map(|j| case.noise * factors.factors[*j]).collect();
        let square = |list: usize, j: usize| {
            let row = &found.averages[list].values[j * case.width..(j + 1) * case.width];
            row.iter().map(|e| e * e).sum::<f64>() / case.width as f64
        };
        let of_fresh = |j: &usize| {
            ((0..DRAWS).map(|draw| square(draw, *j)).sum::<f64>() / DRAWS as f64).sqrt()
        };
        let measured: Vec<f64> = kept.iter().map(of_fresh).collect();
        let own: Vec<f64> = kept.iter().map(|j| square(DRAWS, *j).sqrt()).collect();
        let fresh = (correlation(&predicted, &measured), slope(&predicted, &measured));
        // One draw is one smooth function of the inputs: where it happens to be small says nothing of
        // where it was to be expected small, so that only its size is compared.
        let trained = slope(&predicted, &own);
        let name = case.name;
        println!(
            "{name}: correlation and slope, fresh {fresh:.3?}; slope, trained on {trained:.3}"
        );
        assert!(fresh.0 > 0.95 && (fresh.1 - 1.0).abs() < 0.05, "{name}: {fresh:?}");
        assert!((0.2..2.0).contains(&trained), "{name}: {trained:?}");
    }
}
