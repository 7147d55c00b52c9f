//! Counts for people: their distribution, the lowest and the highest, and what they say of the fit.

use gradkin::{Examples, Kind};

use super::calibration::Distribution;
use super::counts::{Count, Counts};
use crate::examples::numbered;
use crate::job::Job;
use crate::quantiles::{self, Sorted};
use crate::results::Report;
use crate::{show, text};

/// How many of the lowest and of the highest are listed.
const LISTED: usize = 5;

pub(super) fn report(counts: &Counts, order: &[usize], job: &Job, width: usize) -> Report {
    let mut report = Report::default();
    let shares: Vec<f64> = order.iter().map(|i| counts.share(counts.soft()[*i])).collect();
    report.heading("soft_share of the examples");
    let histogram = show::histogram(&shares, None, width);
    report.lines(histogram.lines().map(str::to_owned));
    report.heading("lowest");
    report.columns(&listed(counts, order.iter().take(LISTED), job));
    report.heading("highest");
    report.columns(&listed(counts, order.iter().rev().take(LISTED), job));
    report.summary.push(counted_against(counts, job));
    report.summary.extend(distribution(counts, order));
    if job.kind() == Kind::Correlation {
        let calibration = Distribution {
            counts: Sorted::new(order.iter().map(|i| counts.soft()[*i])),
            against: counts.against,
            other: job.has_other().then(|| job.other_or_data().name()),
        };
        report.summary.extend(calibration.sentences());
    }
    report
}

fn counted_against(counts: &Counts, job: &Job) -> String {
    let set = job.other_or_data();
    let itself = if job.has_other() { "" } else { ", each counting itself" };
    format!(
        "counted against {} of {}{itself}; counts divided by that number:",
        text::counted(counts.against, "example"),
        set.name()
    )
}

/// Quantiles of each kind of count, as shares.
fn distribution(counts: &Counts, order: &[usize]) -> Vec<String> {
    let mut head = vec![String::new()];
    head.extend(quantiles::SHOWN.iter().map(|(_, name)| (*name).to_owned()));
    let mut rows = vec![head];
    for count in &counts.all {
        let sorted = Sorted::new(order.iter().map(|i| count.values[*i]));
        let quantile = |(probability, _): &(f64, &str)| {
            shown(counts, counts.share(sorted.quantile(*probability)))
        };
        let cells = quantiles::SHOWN.iter().map(quantile);
        rows.push([count.name.clone()].into_iter().chain(cells).collect());
    }
    let mut align = vec![text::Align::Right; quantiles::SHOWN.len() + 1];
    align[0] = text::Align::Left;
    text::columns(&rows, &align)
}

fn shown(counts: &Counts, share: f64) -> String {
    if counts.normalised { text::share(share) } else { text::significant(share) }
}

/// Some examples with their counts.
fn listed<'a>(
    counts: &Counts,
    examples: impl Iterator<Item = &'a usize>,
    job: &Job,
) -> Vec<Vec<String>> {
    let mut head = vec!["example".to_owned()];
    head.extend(counts.all.iter().map(|count| count.name.clone()));
    let mut rows = vec![head];
    rows.extend(examples.map(|example| {
        let cell = |count: &Count| {
            let value = count.values[*example];
            format!("{} ({})", text::significant(value), shown(counts, counts.share(value)))
        };
        let name = numbered(job.data.data(), *example);
        [name].into_iter().chain(counts.all.iter().map(cell)).collect()
    }));
    rows
}
