//! Doubtful labels for people.

use super::findings::{Findings, LabelValues};
use super::given::Given;
use crate::examples::numbered;
use crate::job::Job;
use crate::quantiles::Sorted;
use crate::results::Report;
use crate::show::Doubt;
use crate::text;

/// How many of the most doubtful are listed.
const LISTED: usize = 10;
/// Neighbours of each kind beside a doubtful example on the sheet.
const BESIDE: usize = 4;

pub(super) fn report(findings: &Findings, given: &Given, job: &Job) -> Report {
    let mut report = Report { summary: findings.summary.clone(), ..Report::default() };
    let ranked = findings.ranked();
    if ranked.is_empty() {
        return report;
    }
    report.heading("most doubtful");
    let head = ["example", "label_score", "suggested", "predicted"].map(str::to_owned).to_vec();
    let mut rows = vec![head];
    rows.extend(ranked.iter().take(LISTED).map(|i| {
        vec![
            numbered(job.data.data(), *i),
            text::significant(findings.score[*i].unwrap_or_default()),
            shown(&findings.suggested, given, *i),
            shown(&findings.predicted, given, *i),
        ]
    }));
    report.columns(&rows);
    report
}

/// A label in few letters; a dash where there is none.
fn shown(labels: &LabelValues, given: &Given, example: usize) -> String {
    match labels {
        LabelValues::Classes(classes) => match classes[example] {
            Some(class) => text::clean(&given.classes().1[class]),
            None => "-".into(),
        },
        LabelValues::Numbers(rows) => match &rows[example] {
            Some(row) => row.iter().map(|v| text::significant(*v)).collect::<Vec<_>>().join(", "),
            None => "-".into(),
        },
    }
}

/// How far noise is averaged away, in words.
pub(super) fn noise_reduction(denoising: &[Option<f64>]) -> Option<String> {
    let sorted = Sorted::new(denoising.iter().flatten().copied());
    let median = sorted.quantile(0.5);
    (sorted.len() > 0 && median > 0.0).then(|| {
        format!(
            "expected noise reduction: independent noise in labels reaches their averages as {} of its \
             deviation (median; 5 % to 95 %: {} to {})",
            text::share(median),
            text::share(sorted.quantile(0.05)),
            text::share(sorted.quantile(0.95))
        )
    })
}

/// The most doubtful examples, for a sheet.
pub(super) fn doubts(findings: &Findings, given: &Given, count: usize) -> Vec<Doubt> {
    let doubt = |example: usize| {
        let lines = vec![
            format!("suggested {}", shown(&findings.suggested, given, example)),
            format!("score {}", text::significant(findings.score[example].unwrap_or_default())),
        ];
        let beside = findings.nearest.iter().flat_map(|nearest| {
            let agreeing = nearest.agreeing[example].iter().take(BESIDE).map(|near| (near, false));
            let others = nearest.disagreeing[example].iter().take(BESIDE).map(|near| (near, true));
            agreeing.chain(others)
        });
        let beside = beside.map(|(near, differs)| (near.example, near.similarity, differs));
        Doubt { example, lines, beside: beside.collect() }
    };
    findings.ranked().into_iter().take(count).map(doubt).collect()
}
