//! Labels that are classes: the neighbours' vote and the network's word against what was given.

use gradkin::{
    Kind, LabelEvidence, LabelOpinions, PairStatistics, Predictions, Quantity, Reduction, Scale,
    Settings, Similarity, SoftCounts,
};

use super::findings::{Findings, LabelValues};
use super::given::Given;
use super::neighborhood::{consistency, denoising_factors, nearest};
use crate::exit::Outcome;
use crate::job::Job;
use crate::printer::Printer;
use crate::{interrupt, text};

/// How many pairs of classes are named.
const PAIRS_NAMED: usize = 3;

pub(super) fn find(
    given: &Given,
    predictions: &Predictions,
    pairs: &PairStatistics,
    job: &Job,
    printer: &Printer,
) -> Outcome<Findings> {
    let (ids, names) = given.classes();
    let (n, c) = (ids.len(), names.len());
    warn_of_probabilities(predictions, printer);
    let probabilities = predictions.probabilities();
    let classes = Some(given.quantity());
    let counts = job.compute(printer, |s, watch| s.soft_counts(&job.data, None, classes, watch))?;
    let averages = job.compute(printer, |similarity, watch| {
        by_matrices(similarity)?.averages(&job.data, None, &[predicted(&probabilities, c)], watch)
    })?;
    let undefined = &counts.undefined_queries;
    let defined: Vec<usize> = (0..n).filter(|i| !undefined.contains(*i)).collect();
    if defined.is_empty() {
        return Err(super::nothing_to_check(job));
    }
    let opinion = opinions(ids, c, &counts.by_class, &probabilities, &defined)?;
    let mut at = vec![None; n];
    defined.iter().enumerate().for_each(|(row, example)| at[*example] = Some(row));
    let of = |values: &'_ [f64], i: usize| {
        at[i].map(|row: usize| values[row * c..(row + 1) * c].to_vec())
    };
    let posterior = |i: usize| of(&opinion.posterior, i);
    let voted = |votes: &[f64]| {
        LabelValues::Classes((0..n).map(|i| of(votes, i).map(|row| largest(&row))).collect())
    };
    let suggested: Vec<Option<usize>> =
        (0..n).map(|i| posterior(i).map(|row| largest(&row))).collect();
    let issue = (0..n).map(|i| suggested[i].map(|class| class != ids[i]));
    let mut numbers = denoising_factors(&counts.counts, undefined, pairs);
    let denoising = numbers.first().map(|(_, factors)| factors.clone()).unwrap_or_default();
    numbers.push(("consistency", consistency(&averages, 0, &probabilities)));
    numbers.push(("spread", spread(&counts, c)));
    Ok(Findings {
        predicted: LabelValues::Classes(predictions.classes().into_iter().map(Some).collect()),
        averaged: voted(&opinion.votes_with_self),
        averaged_without_self: voted(&opinion.votes),
        score: (0..n).map(|i| posterior(i).map(|row| row[ids[i]])).collect(),
        issue: issue.collect(),
        summary: summary(&opinion, names, defined.len(), &suggested, ids, &denoising),
        suggested: LabelValues::Classes(suggested),
        numbers,
        nearest: nearest(pairs),
        undefined: counts.undefined_queries,
    })
}

/// Outputs that are probabilities, though no Softmax was found that makes them, are no logits.
fn warn_of_probabilities(predictions: &Predictions, printer: &Printer) {
    const ROUNDING: f64 = 1e-3;
    let sums_to_one = |row: &[f64]| {
        row.iter().all(|p| *p >= 0.0) && (row.iter().sum::<f64>() - 1.0).abs() < ROUNDING
    };
    let mut rows = predictions.values.chunks(predictions.width.max(1));
    if predictions.scale == Scale::Logits && rows.all(sums_to_one) {
        printer.warning(
            "the outputs look like probabilities and are taken for logits; name the value that enters \
             the network's Softmax with --output-name",
        );
    }
}

/// The kernel of METHOD's section 3: plain inner products, one matrix for each pair of logits. Its
/// averages take one sum for each logit and each quantity, not one for each pair of them.
fn by_matrices<'n>(similarity: &Similarity<'n>) -> gradkin::Result<Similarity<'n>> {
    let settings = Settings {
        kind: Kind::Inner,
        reduction: Reduction::Matrix,
        ..similarity.settings().clone()
    };
    Similarity::over_checkpoints(similarity.checkpoints(), settings)
}

fn predicted(probabilities: &[f64], classes: usize) -> Quantity<'_> {
    Quantity::Numbers { values: probabilities, width: classes }
}

/// Of the examples that have a similarity.
fn opinions(
    ids: &[usize],
    classes: usize,
    sums: &[f64],
    probabilities: &[f64],
    defined: &[usize],
) -> Outcome<LabelOpinions> {
    let rows = |values: &[f64]| -> Vec<f64> {
        defined.iter().flat_map(|i| &values[i * classes..(i + 1) * classes]).copied().collect()
    };
    let (sums, probabilities) = (rows(sums), rows(probabilities));
    let given: Vec<usize> = defined.iter().map(|i| ids[*i]).collect();
    let evidence =
        LabelEvidence { classes, sums: &sums, probabilities: &probabilities, given: &given };
    Ok(evidence.opinions(&|| !interrupt::requested())?)
}

fn largest(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// The standard deviation of the labels over the neighbours: of one-hot vectors, √(1 − Σ_c ȳ_c²) with
/// ȳ_c the share of class c in all similarity. `None` where similarities of both signs cancel.
fn spread(counts: &SoftCounts, classes: usize) -> Vec<Option<f64>> {
    let spread = |(row, total): (&[f64], &f64)| {
        let squares: f64 = row.iter().map(|sum| (sum / total) * (sum / total)).sum();
        (*total > 0.0 && squares <= 1.0).then(|| (1.0 - squares).sqrt())
    };
    counts.by_class.chunks(classes).zip(&counts.counts).map(spread).collect()
}

fn summary(
    opinion: &LabelOpinions,
    names: &[String],
    defined: usize,
    suggested: &[Option<usize>],
    ids: &[usize],
    denoising: &[Option<f64>],
) -> Vec<String> {
    let c = names.len();
    let right: f64 = (0..c).map(|t| opinion.counts[t * c + t]).sum();
    let doubted = suggested.iter().zip(ids).filter(|(s, id)| s.is_some_and(|s| s != **id)).count();
    let mut lines = vec![format!(
        "expected share of wrong labels: {}; {} of {} are doubted ({})",
        text::share(1.0 - right / defined.max(1) as f64),
        text::count(doubted),
        text::counted(defined, "label"),
        text::percent(doubted, defined)
    )];
    let mut pairs: Vec<(usize, f64)> = opinion.counts.iter().copied().enumerate().collect();
    pairs.retain(|(at, count)| at / c != at % c && *count >= 0.5);
    pairs.sort_by(|a, b| b.1.total_cmp(&a.1));
    if !pairs.is_empty() {
        let named = pairs.iter().take(PAIRS_NAMED).map(|(at, count)| {
            let (t, g) = (text::clean(&names[at / c]), text::clean(&names[at % c]));
            format!("{t} given as {g} (about {count:.0})")
        });
        let named: Vec<String> = named.collect();
        lines.push(format!("most confused: {}", named.join(", ")));
    }
    lines.extend(super::report::noise_reduction(denoising));
    lines
}
