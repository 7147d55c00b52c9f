//! What an example's neighbourhood says: the nearest with the same label and with others, sums of squared
//! similarities, and how far the network is from its own average there.

use gradkin::{Averages, Examples, PairSettings, PairStatistics, Sample, State, Undefined};

use super::findings::{Column, Nearest};
use super::given::Given;
use crate::args::LabelsArgs;
use crate::exit::Outcome;
use crate::job::Job;
use crate::printer::Printer;

/// Up to this many examples all pairs are met, which then costs little more than the sweeps.
const MET_IN_FULL: usize = 5_000;
/// Beyond it, each example meets so many others: factors are then known to a few per cent.
const SAMPLE: Sample = Sample { size: 200, seed: 0 };

/// Meet all pairs, or a sample of them where there are many and nobody asks for the nearest.
pub(super) fn pairs(
    args: &LabelsArgs,
    given: &Given,
    job: &mut Job,
    printer: &Printer,
) -> Outcome<PairStatistics> {
    let sampled = args.nearest == 0 && job.data.len() > MET_IN_FULL;
    let sample = sampled.then_some(SAMPLE);
    job.record.note("sample", sample.map(|sample| sample.size));
    let settings = PairSettings {
        quantity: Some(given.quantity()),
        nearest: args.nearest,
        sample,
        ..PairSettings::default()
    };
    job.compute(printer, |similarity, watch| {
        similarity.pair_statistics(&job.data, None, &settings, watch)
    })
}

/// The nearest of each example, where they were looked for and labels are classes.
pub(super) fn nearest(pairs: &PairStatistics) -> Option<Nearest> {
    let found = pairs.agreeing.iter().chain(&pairs.disagreeing).any(|list| !list.is_empty());
    found.then(|| Nearest {
        agreeing: pairs.agreeing.clone(),
        disagreeing: pairs.disagreeing.clone(),
    })
}

/// D_j = √(Σ_i k²) / |Σ_i k| of each example from the exact sums, and where the squares are estimates,
/// its standard error.
pub(super) fn denoising_factors(
    sums: &[f64],
    undefined: &Undefined,
    pairs: &PairStatistics,
) -> Vec<Column> {
    let number =
        |i: usize, value: f64| (!undefined.contains(i) && value.is_finite()).then_some(value);
    let sums = sums.iter().map(|sum| sum.abs());
    let factors: Vec<f64> =
        pairs.squares.iter().zip(sums).map(|(squares, sum)| squares.sqrt() / sum).collect();
    let column = factors.iter().enumerate().map(|(i, factor)| number(i, *factor)).collect();
    let mut columns = vec![("denoising_factor", column)];
    if let Some(errors) = &pairs.errors {
        // Half the relative error of what the root is taken of.
        let error = |i: usize| 0.5 * factors[i] * errors.squares[i] / pairs.squares[i];
        let column = (0..factors.len()).map(|i| number(i, error(i))).collect();
        columns.push(("denoising_factor_error", column));
    }
    columns
}

/// ‖f(x_j) − E_k(f)(j)‖: how far what the network puts out is from its average over the neighbours,
/// quantity number `at` of the averages.
pub(super) fn consistency(averages: &Averages, at: usize, outputs: &[f64]) -> Vec<Option<f64>> {
    let average = &averages.averages[at];
    let rows = average.values.chunks(average.width).zip(outputs.chunks(average.width));
    let distance = |(a, b): (&[f64], &[f64])| {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    };
    let own = rows.map(distance).zip(&averages.states);
    own.map(|(distance, state)| (*state == State::Fine).then_some(distance)).collect()
}
