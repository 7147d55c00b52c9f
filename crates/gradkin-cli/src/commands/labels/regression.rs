//! Labels that are numbers: how far each is from what its neighbours' labels let expect, measured by how
//! far the others are.
//!
//! The average over neighbours is a broad one, of examples with quite other targets too. What it is off
//! by on the network's own predictions is therefore put back (METHOD section 3): with averages ȳ of labels
//! and f̄ of predictions over the others, expected is ȳ(j) + f(x_j) − f̄(j), which is the prediction and
//! the average of the neighbours' errors.

use gradkin::{Averages, PairStatistics, Predictions, Quantity, State};

use super::findings::{Findings, LabelValues};
use super::given::Given;
use super::neighborhood::{consistency, denoising_factors};
use crate::exit::Outcome;
use crate::job::Job;
use crate::printer::Printer;
use crate::quantiles::Sorted;
use crate::text;

/// A label this many robust standard deviations away from what is expected is doubted.
const DOUBTED_FROM: f64 = 3.0;
/// From a median absolute deviation to the standard deviation of a normal distribution.
const NORMAL: f64 = 1.4826;

pub(super) fn find(
    given: &Given,
    predictions: &Predictions,
    pairs: &PairStatistics,
    job: &Job,
    printer: &Printer,
) -> Outcome<Findings> {
    let (values, width) = given.targets();
    let n = values.len() / width;
    let lengths: Vec<f64> = values.chunks(width).map(|y| y.iter().map(|y| y * y).sum()).collect();
    let quantities = [
        given.quantity(),
        Quantity::Numbers { values: &predictions.values, width },
        Quantity::Numbers { values: &lengths, width: 1 },
    ];
    let averages =
        job.compute(printer, |s, watch| s.averages(&job.data, None, &quantities, watch))?;
    let without = rows(&averages.averages[0].without_self, &averages.states_without_self, width);
    let expected = expected(&averages, predictions, width);
    let distances = distances(values, &expected, width);
    let score = |z: &Option<f64>| z.map(score);
    let issue: Vec<Option<bool>> = distances.iter().map(|z| z.map(|z| z > DOUBTED_FROM)).collect();
    let suggested = (0..n).map(|i| match issue[i] {
        Some(true) => expected[i].clone(),
        Some(false) => Some(values[i * width..(i + 1) * width].to_vec()),
        None => None,
    });
    let predicted = predictions.values.chunks(width).map(|row| Some(row.to_vec())).collect();
    let mut numbers = denoising_factors(&averages.totals, &averages.undefined_queries, pairs);
    let denoising = numbers.first().map(|(_, factors)| factors.clone()).unwrap_or_default();
    numbers.push(("consistency", consistency(&averages, 1, &predictions.values)));
    numbers.push(("spread", spread(&averages, width)));
    Ok(Findings {
        predicted: LabelValues::Numbers(predicted),
        suggested: LabelValues::Numbers(suggested.collect()),
        averaged: LabelValues::Numbers(rows(&averages.averages[0].values, &averages.states, width)),
        score: distances.iter().map(score).collect(),
        summary: summary(&issue, &denoising),
        issue,
        numbers,
        averaged_without_self: LabelValues::Numbers(without),
        nearest: None,
        undefined: averages.undefined_queries,
    })
}

/// From 1 (as expected) to 0; one half where doubt begins.
fn score(z: f64) -> f64 {
    1.0 / (1.0 + (z / DOUBTED_FROM).powi(2))
}

/// Rows that can be relied on.
fn rows(values: &[f64], states: &[State], width: usize) -> Vec<Option<Vec<f64>>> {
    let row = |(row, state): (&[f64], &State)| (*state == State::Fine).then(|| row.to_vec());
    values.chunks(width).zip(states).map(row).collect()
}

/// What the neighbours' labels let expect of each example.
fn expected(averages: &Averages, predictions: &Predictions, width: usize) -> Vec<Option<Vec<f64>>> {
    let states = &averages.states_without_self;
    let [labels, predicted] =
        [0, 1].map(|at| rows(&averages.averages[at].without_self, states, width));
    let own = predictions.values.chunks(width).zip(labels.into_iter().zip(predicted));
    let shifted = |(own, (labels, predicted)): (&[f64], _)| {
        let (labels, predicted): (Option<Vec<f64>>, Option<Vec<f64>>) = (labels, predicted);
        let terms = labels?.into_iter().zip(predicted?).zip(own);
        Some(terms.map(|((label, predicted), own)| label + own - predicted).collect())
    };
    own.map(shifted).collect()
}

/// ‖given − expected‖ in robust standard deviations of each target, over √width.
fn distances(values: &[f64], expected: &[Option<Vec<f64>>], width: usize) -> Vec<Option<f64>> {
    let residual = |i: usize, c: usize| {
        expected[i].as_ref().map(|expected| values[i * width + c] - expected[c])
    };
    let scale = |c: usize| {
        let all = (0..expected.len()).filter_map(|i| residual(i, c)).map(f64::abs);
        (NORMAL * Sorted::new(all).quantile(0.5)).max(f64::MIN_POSITIVE)
    };
    let scales: Vec<f64> = (0..width).map(scale).collect();
    let distance = |i: usize| {
        let squares = (0..width).map(|c| residual(i, c).map(|r| (r / scales[c]).powi(2)));
        let sum: Option<f64> = squares.sum();
        sum.map(|sum| (sum / width as f64).sqrt())
    };
    (0..expected.len()).map(distance).collect()
}

/// The standard deviation of the labels over the neighbours: the root of the mean square less the square
/// of the mean. Weights of both signs can bring that below zero, where there is none.
fn spread(averages: &Averages, width: usize) -> Vec<Option<f64>> {
    let means = averages.averages[0].values.chunks(width);
    let rows = means.zip(&averages.averages[2].values).zip(&averages.states);
    let spread = |((mean, square), state): ((&[f64], &f64), &State)| {
        let variance = square - mean.iter().map(|y| y * y).sum::<f64>();
        (*state == State::Fine && variance >= 0.0).then(|| variance.sqrt())
    };
    rows.map(spread).collect()
}

fn summary(issue: &[Option<bool>], denoising: &[Option<f64>]) -> Vec<String> {
    let known = issue.iter().flatten().count();
    let doubted = issue.iter().flatten().filter(|issue| **issue).count();
    let mut lines = vec![format!(
        "{} of {} are doubted ({}): more than {DOUBTED_FROM} robust standard deviations from what \
         their neighbours' labels let expect",
        text::count(doubted),
        text::counted(known, "label"),
        text::percent(doubted, known)
    )];
    lines.extend(super::report::noise_reduction(denoising));
    lines
}
