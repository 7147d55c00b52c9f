//! The page of the experiment on MNIST.

use gradkin_data::write::Table;
use gradkin_view::{Figure, Series, Style};

use super::MnistSettings;
use super::comparison::{Arm, Comparison};
use crate::report::Report;
use crate::{Error, Setup};

/// The steps in which the paper sees a gain.
const EARLY: usize = 60;

const PAPER_RUNS: usize = 60;
const PAPER_STEPS: usize = 512;

/// A comparison beyond the paper's.
pub(super) struct Beyond {
    name: &'static str,
    heading: &'static str,
    text: &'static str,
}

/// Batches of 32 with groups.
pub(super) const BATCHES: Beyond = Beyond {
    name: "batches",
    heading: "Beyond the paper: batches of 32 with groups",
    text: "Each step takes 32 pictures at random; those of one class form a group, and the term is \
           the mean over groups of 1 − k̄, k̄ the mean similarity of a group's pairs.",
};

/// Another data set.
pub(super) const CIFAR: Beyond = Beyond {
    name: "cifar10",
    heading: "Beyond the paper: CIFAR-10",
    text: "The same network (for 3×32×32), in pairs as above, on the first 1,000 training pictures \
           of CIFAR-10: 700 to train with, 300 to measure accuracy on.",
};

pub(super) fn begin(setup: &Setup, settings: &MnistSettings) -> Result<Report, Error> {
    let mut report = Report::begin(&setup.folder, "Similarity enforced in training on MNIST")?;
    report.setting("runs per λ", settings.runs);
    report.setting("weights λ", list(&settings.lambdas));
    report.setting("first seed", setup.seed);
    report.setting("steps per run", settings.grid.last().copied().unwrap_or(0));
    report.setting("accuracy measured on", format!("{} test pictures", settings.validation));
    report.setting("accuracy measured after steps", list(&settings.grid));
    report.setting("optimizer", format!("Adam, learning rate {}", settings.rate));
    report.setting("loss", "cross-entropy, mean over the step's pictures");
    report.setting("batch", "one pair of pictures of one class");
    report.setting(
        "network",
        "conv 1→32 5×5, PReLU, average pool 2, conv 32→64 5×5, PReLU, average pool 2, 1024→256, \
         PReLU, 256→10; drawn as PyTorch does",
    );
    report.setting("compared scalar", "Σ_c m_c log p_c, m = 1 for the class and −1/9 for others");
    let pixels = match settings.standardized {
        true => "(x/255 − 0.1307) / 0.3081",
        false => "x/255",
    };
    report.setting("pixels", pixels);
    if settings.further_runs > 0 {
        report.setting("runs per λ beyond the paper", settings.further_runs);
    }
    report.setting("threads", setup.threads);
    report.text(
        "Each step shows the network two pictures of one class. Beside the cross-entropy it minimises \
         λ (1 − k^C), k^C the correlation of the two pictures' parameter gradients: λ > 0 makes the \
         network see them as alike. The authors' text speaks of enforcing similarity so, but their \
         public code adds the cosine to the loss, which is λ < 0 here: both signs are shown.",
    );
    report.text(
        "What the paper reports, read off its figure: mean accuracy of about 36 % after 20 steps \
         against 26 % without, about 60 % against 53 % after 50 steps, and level by 125.",
    );
    let (runs, steps) = (settings.runs, settings.grid.last().copied().unwrap_or(0));
    let sizes = [(runs, PAPER_RUNS, "runs per λ"), (steps, PAPER_STEPS, "steps per run")];
    let smaller: Vec<String> = (sizes.into_iter().filter(|(own, paper, _)| own < paper))
        .map(|(own, paper, what)| format!("{own} {what} instead of {paper}"))
        .collect();
    if !smaller.is_empty() {
        report.text(format!(
            "**Smaller than the paper's**: {}, and accuracy is not measured after every step.",
            smaller.join(", ")
        ));
    }
    report.text(
        "Every λ has the same seeds, that is the same initial weights and the same pictures in the \
         same order. So runs are compared in pairs; the standard error of a gain is that of the \
         differences, and smaller than that of the two means.",
    );
    Ok(report)
}

pub(super) fn pairs(report: &mut Report, comparison: &Comparison) -> Result<(), Error> {
    report.heading("What was found");
    verdict(report, comparison);
    beside_the_paper(report, comparison);
    let rows: Vec<Vec<String>> =
        comparison.arms.iter().map(|arm| summary_row(comparison, arm)).collect();
    let header = [
        "term",
        "accuracy after 20 steps",
        "after 50",
        "at the end",
        "mean gain up to 60 steps",
        "steps to 50 %",
        "steps to 70 %",
        "1 − k^C while training",
        "ms per step",
        "seconds to 50 %",
    ];
    report.rows(&header, &rows);
    report.text(format!(
        "Means over {} runs ± standard error, accuracies in percent and gains in percentage points. \
         Steps are those at which the mean curve crosses, interpolated between measurements. \
         Milliseconds are those of the median training step on one thread of a machine that others \
         used too: their ratio says more than they do. Seconds are steps times milliseconds, measuring \
         accuracy left aside.",
        comparison.baseline().trials.len()
    ));
    numbers(report, comparison, "");
    let caption = "Mean accuracy on test pictures, with its standard error.";
    report.figure("accuracy", caption, &accuracy(comparison, "Accuracy"), (820, 500))?;
    let caption = "Gain in accuracy over the run without the term from the same seed, mean and standard \
                   error.";
    report.figure("gain", caption, &gain(comparison, "Gain in pairs of runs"), (820, 460))?;
    report.table("curves", table(comparison)?, "mean accuracy and gain by λ and step")
}

pub(super) fn further(
    report: &mut Report,
    beyond: Beyond,
    comparison: &Comparison,
) -> Result<(), Error> {
    report.heading(beyond.heading);
    report.text(beyond.text);
    verdict(report, comparison);
    let middle = comparison.grid.len() / 2;
    let rows: Vec<Vec<String>> = comparison
        .arms
        .iter()
        .map(|arm| {
            let curve = comparison.curve(arm);
            vec![
                arm.name(),
                percent(curve[middle]),
                percent(curve[curve.len() - 1]),
                gain_text(comparison, arm),
                format!("{:.2}", arm.step_ms()),
            ]
        })
        .collect();
    let after = format!("accuracy after {} steps", comparison.grid[middle]);
    let header = ["term", &after, "at the end", "mean gain up to 60 steps", "ms per step"];
    report.rows(&header, &rows);
    numbers(report, comparison, &format!("{} ", beyond.name));
    let caption = format!(
        "Mean accuracy over {} runs, with its standard error.",
        comparison.baseline().trials.len()
    );
    let name = format!("accuracy-{}", beyond.name);
    report.figure(&name, &caption, &accuracy(comparison, beyond.heading), (820, 460))?;
    report.table(&format!("curves-{}", beyond.name), table(comparison)?, beyond.heading)
}

/// Whether any λ helps, over the steps in which the paper sees a gain.
fn verdict(report: &mut Report, comparison: &Comparison) {
    let others = &comparison.arms[1..];
    let gain = |arm: &&Arm| comparison.early_gain(arm, EARLY).0;
    let Some(best) = others.iter().max_by(|a, b| gain(a).total_cmp(&gain(b))) else { return };
    let (mean, error) = comparison.early_gain(best, EARLY);
    let (all, ahead) = comparison.ahead(best, EARLY);
    let verdict = if mean > error && ahead == all {
        format!(
            "**The term helps with {}**: the mean curve lies above that without the term by more than \
             one standard error at all {all} measurements in the first {EARLY} steps",
            best.name()
        )
    } else if mean > error {
        format!(
            "**The term helps in the mean with {}, but not throughout**: the gain exceeds one standard \
             error at {ahead} of {all} measurements in the first {EARLY} steps",
            best.name()
        )
    } else {
        format!(
            "**The term does not help.** No λ gains more than its standard error over the first \
             {EARLY} steps; the best is {}",
            best.name()
        )
    };
    let sign = if mean > error && best.lambda < 0.0 {
        " This is the sign of the authors' public code, not that of their text: pictures of one class \
         are made less alike."
    } else if mean > error {
        " This is the sign of the authors' text: pictures of one class are made alike."
    } else {
        ""
    };
    let worst: Vec<String> = others
        .iter()
        .filter(|arm| {
            let (mean, error) = comparison.early_gain(arm, EARLY);
            mean < -error
        })
        .map(Arm::name)
        .collect();
    let harm = match worst.as_slice() {
        [] => String::new(),
        worst => format!(" The term does harm with {}.", worst.join(", ")),
    };
    report.text(format!(
        "{verdict}. Its mean gain over them is {:+.1} ± {:.1} percentage points.{sign}{harm}",
        100.0 * mean,
        100.0 * error
    ));
}

/// The λ whose accuracies come nearest to those that the paper's figure shows with the term.
fn beside_the_paper(report: &mut Report, comparison: &Comparison) {
    const SHOWN: [(usize, f64); 2] = [(20, 0.36), (50, 0.60)];
    let places: Option<Vec<usize>> =
        SHOWN.iter().map(|(step, _)| comparison.grid.iter().position(|own| own == step)).collect();
    let Some(places) = places else { return };
    let at = |arm: &Arm| -> Vec<f64> {
        let curve = comparison.curve(arm);
        places.iter().map(|place| curve[*place].0).collect()
    };
    let gap = |arm: &&Arm| -> f64 {
        at(arm).iter().zip(SHOWN).map(|(own, (_, shown))| (own - shown).powi(2)).sum()
    };
    let others = comparison.arms[1..].iter();
    let Some(nearest) = others.min_by(|a, b| gap(a).total_cmp(&gap(b))) else { return };
    let (with, without) = (at(nearest), at(comparison.baseline()));
    report.text(format!(
        "Nearest to the paper's 36 % after 20 steps and 60 % after 50 comes {}, with {:.1} % and \
         {:.1} %; without the term it is {:.1} % and {:.1} % here, 26 % and 53 % in the paper.",
        nearest.name(),
        100.0 * with[0],
        100.0 * with[1],
        100.0 * without[0],
        100.0 * without[1]
    ));
}

fn summary_row(comparison: &Comparison, arm: &Arm) -> Vec<String> {
    let curve = comparison.curve(arm);
    let at = |step: usize| {
        let place = comparison.grid.iter().position(|own| *own == step);
        place.map_or("—".to_owned(), |place| percent(curve[place]))
    };
    let steps = |wanted: f64| comparison.steps_to(arm, wanted);
    let text = |steps: Option<f64>| steps.map_or("not reached".to_owned(), |s| format!("{s:.0}"));
    let seconds = steps(0.5).map(|steps| 1e-3 * steps * arm.step_ms());
    vec![
        arm.name(),
        at(20),
        at(50),
        percent(curve[curve.len() - 1]),
        gain_text(comparison, arm),
        text(steps(0.5)),
        text(steps(0.7)),
        arm.dissimilarity().map_or("—".to_owned(), |unlike| format!("{unlike:.2}")),
        format!("{:.2}", arm.step_ms()),
        seconds.map_or("—".to_owned(), |seconds| format!("{seconds:.2}")),
    ]
}

fn numbers(report: &mut Report, comparison: &Comparison, prefix: &str) {
    for arm in &comparison.arms {
        let curve = comparison.curve(arm);
        let name = format!("{prefix}λ={}", arm.lambda);
        report.number(format!("accuracy {name}"), curve[curve.len() - 1].0);
        let (mean, error) = comparison.early_gain(arm, EARLY);
        report.number(format!("early gain {name}"), mean);
        report.number(format!("its error {name}"), error);
        report.number(format!("step ms {name}"), arm.step_ms());
        if let Some(dissimilarity) = arm.dissimilarity() {
            report.number(format!("dissimilarity {name}"), dissimilarity);
        }
    }
}

fn gain_text(comparison: &Comparison, arm: &Arm) -> String {
    if arm.lambda == 0.0 {
        return "—".to_owned();
    }
    let (mean, error) = comparison.early_gain(arm, EARLY);
    format!("{:+.1} ± {:.1}", 100.0 * mean, 100.0 * error)
}

fn percent((mean, error): (f64, f64)) -> String {
    format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * error)
}

fn accuracy(comparison: &Comparison, title: &str) -> Figure {
    let mut series = Vec::new();
    for arm in &comparison.arms {
        let style = if arm.lambda == 0.0 { Style::Dashed } else { Style::Line };
        banded(&mut series, comparison, arm.name(), &comparison.curve(arm), style);
    }
    Figure {
        title: title.to_owned(),
        x_label: "step".to_owned(),
        y_label: "accuracy, %".to_owned(),
        series,
        ..Figure::default()
    }
}

fn gain(comparison: &Comparison, title: &str) -> Figure {
    let mut series = Vec::new();
    for arm in &comparison.arms {
        let style = if arm.lambda == 0.0 { Style::Dashed } else { Style::Line };
        banded(&mut series, comparison, arm.name(), &comparison.gains(arm), style);
    }
    Figure {
        title: title.to_owned(),
        x_label: "step".to_owned(),
        y_label: "gain, percentage points".to_owned(),
        series,
        ..Figure::default()
    }
}

/// Means in percent, and a band of one standard error on either side.
fn banded(
    series: &mut Vec<Series>,
    comparison: &Comparison,
    name: String,
    curve: &[(f64, f64)],
    style: Style,
) {
    let x: Vec<f64> = comparison.grid.iter().map(|step| *step as f64).collect();
    let shifted = |sign: f64| -> Vec<f64> {
        curve.iter().map(|(mean, error)| 100.0 * (mean + sign * error)).collect()
    };
    series.push(Series::band(&x, &shifted(-1.0), &shifted(1.0)));
    let points = x.iter().zip(shifted(0.0)).map(|(x, y)| (*x, y)).collect();
    series.push(Series { name, points, style });
}

fn table(comparison: &Comparison) -> Result<Table, Error> {
    let steps = comparison.grid.len();
    let mut table = Table::new();
    let lambdas = comparison.arms.iter().flat_map(|arm| vec![arm.lambda; steps]);
    table.push("lambda", lambdas.collect::<Vec<f64>>())?;
    let grid: Vec<i64> = comparison.grid.iter().map(|step| *step as i64).collect();
    table.push("step", vec![grid; comparison.arms.len()].concat())?;
    let curves: Vec<(f64, f64)> =
        comparison.arms.iter().flat_map(|arm| comparison.curve(arm)).collect();
    let gains: Vec<(f64, f64)> =
        comparison.arms.iter().flat_map(|arm| comparison.gains(arm)).collect();
    for (name, pairs) in [("accuracy", &curves), ("gain", &gains)] {
        table.push(name, pairs.iter().map(|pair| pair.0).collect::<Vec<f64>>())?;
        table
            .push(format!("{name}_error"), pairs.iter().map(|pair| pair.1).collect::<Vec<f64>>())?;
    }
    Ok(table)
}

fn list(values: &[impl std::fmt::Display]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
