//! The page of the toy experiment.

use gradkin_data::write::Table;
use gradkin_view::{Figure, Panels, Scaling, Series, Style};

use super::cost::Cost;
use super::task::Task;
use super::trial::{Counts, Trial};
use super::{PAPER_EPOCHS, ToySettings};
use crate::report::Report;
use crate::spread::{Spread, mean, rank_correlation};
use crate::{Error, Setup};

/// Samples that are drawn as one point.
const BINS: usize = 128;

pub(super) fn begin(setup: &Setup, settings: &ToySettings) -> Result<Report, Error> {
    let mut report = Report::begin(&setup.folder, "Density on a toy function")?;
    report.setting("frequencies", list(&settings.frequencies));
    report.setting("samples", settings.samples);
    report.setting("networks per frequency", settings.runs);
    report.setting("first seed", setup.seed);
    report.setting("epochs", settings.epochs);
    report.setting("batch", settings.batch);
    report.setting("optimizer", format!("Adam, learning rate {}", settings.rate));
    report.setting("loss", "squared error");
    report.setting("network", "2 → 64, ReLU, five times 64 → 64, ReLU, → 1; all parameters count");
    report.setting("similarity", "correlation k^C");
    report.setting("hard thresholds", list(&settings.thresholds));
    report.setting("powers", list(&settings.exponents));
    report.setting("threads", setup.threads);
    Ok(report)
}

/// The threshold that figures show.
fn strong(settings: &ToySettings) -> usize {
    settings.thresholds.iter().position(|t| *t == 0.9).unwrap_or(0)
}

pub(super) fn fill(
    report: &mut Report,
    settings: &ToySettings,
    tasks: &[Task],
    trials: &[Trial],
    cost: &Cost,
) -> Result<(), Error> {
    introduction(report, settings);
    let strong = strong(settings);
    let runs = settings.runs as usize;
    let groups: Vec<Group> = tasks
        .iter()
        .zip(trials.chunks(runs.max(1)))
        .map(|(task, trials)| Group::new(task, trials, strong))
        .collect();
    findings(report, settings, &groups);
    report.heading("Counts against frequency");
    let caption = "Mean share of samples that count as neighbours, median and range over networks.";
    report.figure("frequency", caption, &by_frequency(settings, &groups), (760, 480))?;
    report.heading("Counts along the circle");
    let caption = "Density N/2048 around each sample, median and range over networks; the target is \
                   drawn between 0 and 1.";
    let caption = caption.replace("2048", &settings.samples.to_string());
    report.figure("position", &caption, &by_position(settings, &groups), (1000, 720))?;
    report.heading("Counts against curvature");
    let caption = "Density against the target's curvature |y''|/(1+y'²)^{3/2}, in tenths of the \
                   samples from the straightest to the most curved.";
    report.figure("curvature", caption, &by_curvature(settings, &groups, strong), (1000, 460))?;
    report.heading("Training");
    let caption = "Mean squared error during training, median and range over networks.";
    report.figure("training", caption, &losses(&groups), (760, 420))?;
    speed(report, trials, cost);
    report.table("runs", runs_table(&groups)?, "one row per network")?;
    let what = "densities along the circle, median and range over networks, means of neighbouring \
                samples";
    report.table("counts", counts_table(settings, &groups)?, what)
}

/// The networks of one frequency.
struct Group<'a> {
    task: &'a Task,
    trials: &'a [Trial],
    soft: Curved,
    /// At the threshold that the page shows.
    hard: Curved,
}

/// How counts go with the target's curvature, per trial.
struct Curved {
    /// Rank correlation.
    correlations: Vec<f64>,
    /// Mean count of the straightest quarter by that of the most curved.
    ratios: Vec<f64>,
}

impl Curved {
    fn new(task: &Task, trials: &[Trial], of: impl Fn(&Counts) -> &[f64]) -> Self {
        let curvatures = task.curvatures();
        let order = sorted_places(&curvatures);
        let quarter = order.len() / 4;
        let (straight, curved) = (&order[..quarter], &order[order.len() - quarter..]);
        let counts = || trials.iter().map(|trial| of(&trial.trained));
        Self {
            correlations: counts().map(|own| rank_correlation(own, &curvatures)).collect(),
            ratios: counts().map(|own| mean_at(own, straight) / mean_at(own, curved)).collect(),
        }
    }

    fn correlation(&self) -> Spread {
        Spread::of(self.correlations.iter().copied())
    }

    fn ratio(&self) -> Spread {
        Spread::of(self.ratios.iter().copied())
    }
}

impl<'a> Group<'a> {
    fn new(task: &'a Task, trials: &'a [Trial], strong: usize) -> Self {
        let soft = Curved::new(task, trials, |counts| &counts.soft);
        let hard = Curved::new(task, trials, |counts| &counts.hard[strong]);
        Self { task, trials, soft, hard }
    }

    /// Over trials, of one number each.
    fn over(&self, number: impl Fn(&Trial) -> f64) -> Spread {
        Spread::of(self.trials.iter().map(number))
    }

    /// Mean density over samples.
    fn density(&self, of: impl Fn(&Counts) -> &[f64]) -> Spread {
        self.over(|trial| mean(of(&trial.trained)))
    }
}

fn introduction(report: &mut Report, settings: &ToySettings) {
    report.text(format!(
        "A network learns y = sin(2πfα) from points (cos 2πα, sin 2πα), spread evenly over α ∈ [0, 1] \
         ({} of them). How many neighbours does it see around each point? Similarity is the \
         correlation of parameter gradients; counts are divided by the number of samples, so that 1 \
         means that every sample is a neighbour.",
        settings.samples
    ));
    report.text(
        "What the paper leads to expect: although the inputs are spread evenly, counts fall as the \
         frequency and the curvature of the function rise. Density as the network sees it is that of \
         the function, not that of the inputs.",
    );
    if settings.epochs < PAPER_EPOCHS {
        report.text(format!(
            "**Fewer epochs than the paper's**: {} instead of {PAPER_EPOCHS}, at a learning rate of \
             {}. Everything else is as the authors have it, except what the settings below say.",
            settings.epochs, settings.rate
        ));
    }
}

fn findings(report: &mut Report, settings: &ToySettings, groups: &[Group]) {
    report.heading("What was found");
    let strong = strong(settings);
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|group| {
            vec![
                group.task.frequency.to_string(),
                group.over(|trial| trial.error).text(4),
                group.over(|trial| mean(&trial.fresh.soft)).text(3),
                group.density(|counts| &counts.soft).text(3),
                group.density(|counts| &counts.hard[strong]).text(3),
                group.density(|counts| &counts.power[0]).text(3),
                group.soft.correlation().text(2),
                group.hard.correlation().text(2),
                group.soft.ratio().text(2),
                group.hard.ratio().text(2),
            ]
        })
        .collect();
    let hard = format!("hard, τ = {}", settings.thresholds[strong]);
    let power = format!("power {}", settings.exponents[0]);
    let header = [
        "f",
        "rmse",
        "soft, untrained",
        "soft",
        &hard,
        &power,
        "soft with curvature",
        "hard with curvature",
        "soft, straight / curved",
        "hard, straight / curved",
    ];
    report.rows(&header, &rows);
    report.text(format!(
        "Median [lowest … highest] over {} networks per frequency. \"With curvature\" is the rank \
         correlation (Spearman) of counts with curvature, sample by sample; \"straight / curved\" \
         divides the mean count of the straightest quarter of the samples by that of the most curved \
         quarter; hard counts there have τ = {}.",
        settings.runs, settings.thresholds[strong]
    ));
    for group in groups {
        let f = group.task.frequency;
        report.number(format!("density f={f}"), group.density(|counts| &counts.soft).median);
        report.number(format!("rmse f={f}"), group.over(|trial| trial.error).median);
        report.number(format!("correlation f={f}"), group.soft.correlation().median);
        report.number(format!("hard correlation f={f}"), group.hard.correlation().median);
        report.number(format!("ratio f={f}"), group.soft.ratio().median);
        report.number(format!("hard ratio f={f}"), group.hard.ratio().median);
    }
    verdict_on_frequency(report, settings, groups, strong);
    verdict_on_curvature(report, groups);
    let gaps = groups.iter().flat_map(|group| group.trials).map(|trial| trial.trained.gap);
    let gap = gaps.fold(0.0, f64::max);
    report.number("gap of soft counts", gap);
    report.text(format!(
        "Soft counts from all pairs and in linear time differ by at most {gap:.1e} of the samples."
    ));
}

fn verdict_on_frequency(
    report: &mut Report,
    settings: &ToySettings,
    groups: &[Group],
    strong: usize,
) {
    let path = |of: &dyn Fn(&Counts) -> &[f64]| -> (String, bool) {
        let medians: Vec<f64> = groups.iter().map(|group| group.density(of).median).collect();
        let text: Vec<String> = medians.iter().map(|m| format!("{m:.3}")).collect();
        (text.join(", "), medians.windows(2).all(|pair| pair[1] < pair[0]))
    };
    let (soft, falls) = path(&|counts| &counts.soft);
    let (hard, hard_falls) = path(&|counts| &counts.hard[strong]);
    let verdict = match (falls, hard_falls) {
        (true, true) => "Counts fall with frequency, as expected",
        (true, false) => {
            "Soft counts fall with frequency, as expected; hard ones do not throughout"
        }
        (false, true) => {
            "Hard counts fall with frequency, as expected; soft ones do not throughout"
        }
        (false, false) => "Counts do not fall with frequency throughout, against expectation",
    };
    report.text(format!(
        "{verdict}: over f = {}, mean soft densities are {soft}, and hard ones at τ = {} are {hard}.",
        list(&settings.frequencies),
        settings.thresholds[strong]
    ));
}

fn verdict_on_curvature(report: &mut Report, groups: &[Group]) {
    let verdict = |name: &str, of: fn(&Group) -> f64| {
        let found: Vec<f64> = groups.iter().map(of).collect();
        let falling = found.iter().filter(|c| **c < 0.0).count();
        let list: Vec<String> = found.iter().map(|c| format!("{c:.2}")).collect();
        let at = match falling {
            all if all == groups.len() => "at every frequency".to_owned(),
            falling => format!("at {falling} of {} frequencies only", groups.len()),
        };
        format!(
            "{name} counts fall as curvature rises {at} (rank correlations {})",
            list.join(", ")
        )
    };
    let soft = verdict("soft", |group| group.soft.correlation().median);
    let hard = verdict("hard", |group| group.hard.correlation().median);
    report.text(format!(
        "Within one frequency, {soft}; {hard}. Soft counts add up similarities from all around the \
         circle; hard ones see what is near, and so resolve shorter waves."
    ));
}

fn speed(report: &mut Report, trials: &[Trial], cost: &Cost) {
    report.heading("What a step costs");
    let least = trials.iter().map(|trial| trial.step_ms).fold(f64::INFINITY, f64::min);
    let usual = Spread::of(trials.iter().map(|trial| trial.usual_ms)).median;
    report.number("step ms", least);
    report.text(format!(
        "A training step took {least:.3} ms in the fastest epoch and {usual:.3} ms in the median one, \
         on one thread of a machine that others used too. Its arithmetic, {:.1} million operations \
         (forward, and twice as much backward), would take {:.3} ms at the {:.0} billion operations \
         per second that a 64 × 64 product reaches here in single precision: the step takes {:.1} \
         times as long. What remains is small tensors: activations and their masks, biases, copies \
         of parameters, Adam.",
        cost.operations / 1e6,
        cost.least_ms(),
        cost.rate / 1e9,
        least / cost.least_ms()
    ));
}

fn by_frequency(settings: &ToySettings, groups: &[Group]) -> Figure {
    let mut series = Vec::new();
    let mut draw = |name: String, of: &dyn Fn(&Counts) -> &[f64]| {
        let x: Vec<f64> = groups.iter().map(|group| f64::from(group.task.frequency)).collect();
        let spreads: Vec<Spread> = groups.iter().map(|group| group.density(of)).collect();
        banded(&mut series, name, &x, &spreads, Style::Line);
    };
    draw("soft".to_owned(), &|counts| &counts.soft);
    for wanted in [0.5, 0.9, 0.99] {
        if let Some(at) = settings.thresholds.iter().position(|t| *t == wanted) {
            draw(format!("hard, τ = {wanted}"), &move |counts| &counts.hard[at]);
        }
    }
    for wanted in [2.0, 4.0] {
        if let Some(at) = settings.exponents.iter().position(|t| *t == wanted) {
            draw(format!("power {wanted}"), &move |counts| &counts.power[at]);
        }
    }
    Figure {
        title: "Mean density by frequency".to_owned(),
        x_label: "frequency f".to_owned(),
        y_label: "mean density".to_owned(),
        series,
        x_scaling: Scaling::Logarithmic,
        y_scaling: Scaling::Logarithmic,
    }
}

fn by_position(settings: &ToySettings, groups: &[Group]) -> Panels {
    let strong = strong(settings);
    let panel = |group: &Group| {
        let mut series = Vec::new();
        let x = binned(&group.task.positions);
        let mut draw = |name: &str, of: &dyn Fn(&Counts) -> &[f64]| {
            let spreads = along(group, of);
            banded(&mut series, name.to_owned(), &x, &spreads, Style::Line);
        };
        draw("soft", &|counts| &counts.soft);
        draw(&format!("hard, τ = {}", settings.thresholds[strong]), &|c| &c.hard[strong]);
        draw(&format!("power {}", settings.exponents[0]), &|c| &c.power[0]);
        let target = group.task.positions.iter().zip(group.task.targets());
        let points = target.map(|(a, y)| (*a, 0.5 * (y + 1.0))).collect();
        series.push(Series { name: "target".to_owned(), points, style: Style::Dashed });
        Figure {
            title: format!("f = {}", group.task.frequency),
            x_label: "α".to_owned(),
            y_label: "density".to_owned(),
            series,
            ..Figure::default()
        }
    };
    Panels {
        title: "Density along the circle".to_owned(),
        columns: 2,
        panels: groups.iter().map(panel).collect(),
    }
}

fn by_curvature(settings: &ToySettings, groups: &[Group], strong: usize) -> Panels {
    const TENTHS: usize = 10;
    let panel = |title: String, of: &dyn Fn(&Counts) -> &[f64]| {
        let mut series = Vec::new();
        for group in groups {
            let curvatures = group.task.curvatures();
            let order = sorted_places(&curvatures);
            let parts: Vec<&[usize]> = order.chunks(order.len().div_ceil(TENTHS).max(1)).collect();
            let x: Vec<f64> = parts.iter().map(|part| mean_at(&curvatures, part)).collect();
            let spreads: Vec<Spread> = parts
                .iter()
                .map(|part| group.over(|trial| mean_at(of(&trial.trained), part)))
                .collect();
            banded(&mut series, format!("f = {}", group.task.frequency), &x, &spreads, Style::Line);
        }
        Figure {
            title,
            x_label: "curvature of the target".to_owned(),
            y_label: "density".to_owned(),
            series,
            x_scaling: Scaling::Logarithmic,
            y_scaling: Scaling::Linear,
        }
    };
    Panels {
        title: "Density by curvature".to_owned(),
        columns: 2,
        panels: vec![
            panel("soft".to_owned(), &|counts| &counts.soft),
            panel(format!("hard, τ = {}", settings.thresholds[strong]), &|c| &c.hard[strong]),
        ],
    }
}

fn losses(groups: &[Group]) -> Figure {
    let mut series = Vec::new();
    for group in groups {
        let Some(first) = group.trials.first() else { continue };
        let x: Vec<f64> = first.losses.iter().map(|(epoch, _)| *epoch).collect();
        let spreads: Vec<Spread> =
            (0..x.len()).map(|k| group.over(|trial| trial.losses[k].1)).collect();
        banded(&mut series, format!("f = {}", group.task.frequency), &x, &spreads, Style::Line);
    }
    Figure {
        title: "Training".to_owned(),
        x_label: "epoch".to_owned(),
        y_label: "mean squared error".to_owned(),
        series,
        x_scaling: Scaling::Linear,
        y_scaling: Scaling::Logarithmic,
    }
}

/// A band from lowest to highest, and the medians on it.
fn banded(series: &mut Vec<Series>, name: String, x: &[f64], spreads: &[Spread], style: Style) {
    let low: Vec<f64> = spreads.iter().map(|spread| spread.low).collect();
    let high: Vec<f64> = spreads.iter().map(|spread| spread.high).collect();
    series.push(Series::band(x, &low, &high));
    let points = x.iter().zip(spreads).map(|(x, spread)| (*x, spread.median)).collect();
    series.push(Series { name, points, style });
}

/// Over trials, of the density in each bin along the circle.
fn along(group: &Group, of: &dyn Fn(&Counts) -> &[f64]) -> Vec<Spread> {
    let lines: Vec<Vec<f64>> =
        group.trials.iter().map(|trial| binned(of(&trial.trained))).collect();
    let bins = lines.first().map_or(0, Vec::len);
    (0..bins).map(|bin| Spread::of(lines.iter().map(|line| line[bin]))).collect()
}

fn runs_table(groups: &[Group]) -> Result<Table, Error> {
    let all = || groups.iter().flat_map(|group| group.trials);
    let column = |number: &dyn Fn(&Trial) -> f64| all().map(number).collect::<Vec<f64>>();
    let mut table = Table::new();
    table.push("frequency", all().map(|t| i64::from(t.frequency)).collect::<Vec<i64>>())?;
    table.push("seed", all().map(|t| t.seed as i64).collect::<Vec<i64>>())?;
    table.push("rmse", column(&|t| t.error))?;
    table.push("soft_untrained", column(&|t| mean(&t.fresh.soft)))?;
    table.push("soft", column(&|t| mean(&t.trained.soft)))?;
    let soft: Vec<&Curved> = groups.iter().map(|group| &group.soft).collect();
    let hard: Vec<&Curved> = groups.iter().map(|group| &group.hard).collect();
    for (name, all) in [("soft", soft), ("hard", hard)] {
        let correlations = all.iter().flat_map(|curved| curved.correlations.clone());
        table.push(format!("{name}_with_curvature"), correlations.collect::<Vec<f64>>())?;
        let ratios = all.iter().flat_map(|curved| curved.ratios.clone());
        table.push(format!("{name}_straight_by_curved"), ratios.collect::<Vec<f64>>())?;
    }
    table.push("step_ms_fastest", column(&|t| t.step_ms))?;
    table.push("step_ms_median", column(&|t| t.usual_ms))?;
    Ok(table)
}

fn counts_table(settings: &ToySettings, groups: &[Group]) -> Result<Table, Error> {
    let mut table = Table::new();
    let positions: Vec<Vec<f64>> = groups.iter().map(|g| binned(&g.task.positions)).collect();
    let frequencies = groups.iter().zip(&positions);
    let frequencies = frequencies.flat_map(|(g, p)| vec![i64::from(g.task.frequency); p.len()]);
    table.push("frequency", frequencies.collect::<Vec<i64>>())?;
    table.push("position", positions.concat())?;
    let curvatures = groups.iter().flat_map(|group| binned(&group.task.curvatures()));
    table.push("curvature", curvatures.collect::<Vec<f64>>())?;
    let mut add = |name: &str, of: &dyn Fn(&Counts) -> &[f64]| -> Result<(), Error> {
        let spreads: Vec<Spread> = groups.iter().flat_map(|group| along(group, of)).collect();
        let part = |pick: fn(&Spread) -> f64| -> Vec<f32> {
            spreads.iter().map(|spread| pick(spread) as f32).collect()
        };
        table.push(name, part(|spread| spread.median))?;
        table.push(format!("{name}_lowest"), part(|spread| spread.low))?;
        table.push(format!("{name}_highest"), part(|spread| spread.high))?;
        Ok(())
    };
    add("soft", &|counts| &counts.soft)?;
    for (at, threshold) in settings.thresholds.iter().enumerate() {
        add(&format!("hard_{threshold}"), &move |counts| &counts.hard[at])?;
    }
    for (at, exponent) in settings.exponents.iter().enumerate() {
        add(&format!("power_{exponent}"), &move |counts| &counts.power[at])?;
    }
    Ok(table)
}

/// Means of neighbouring samples.
fn binned(values: &[f64]) -> Vec<f64> {
    values.chunks(values.len().div_ceil(BINS).max(1)).map(mean).collect()
}

fn sorted_places(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|i, j| values[*i].total_cmp(&values[*j]));
    order
}

fn mean_at(values: &[f64], places: &[usize]) -> f64 {
    places.iter().map(|i| values[*i]).sum::<f64>() / places.len() as f64
}

fn list(values: &[impl std::fmt::Display]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
