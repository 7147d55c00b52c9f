//! What the page says of similarities between patches: neighbours as pictures, and how well they foretell
//! the error that is left.

use gradkin::Neighbor;
use gradkin_data::write::Table;
use gradkin_view::{Cell, ContactSheet, Figure, Panels, PictureRef, Row, Series, Style, ViewError};
use image::RgbImage;

use super::centred::CentredPatches;
use super::correlation::{pearson, spearman};
use super::outcome::number;
use super::similarity::{Measures, length};
use crate::{Error, Report};

/// Patches whose neighbours are shown.
const SHOWN: usize = 5;

/// Measures of each patch that go against each other, in pixels where they are distances.
pub(super) struct Foretold {
    /// √2 σ D: the length to expect of what is left of the noise.
    pub(super) expected: Vec<Option<f64>>,
    /// The same with k^C for weights.
    pub(super) expected_trace: Vec<Option<f64>>,
    /// ‖E_k[noise]‖: the length of what is left of it in the kernel average.
    pub(super) averaged: Vec<Option<f64>>,
    /// ‖f − truth‖.
    pub(super) error: Vec<Option<f64>>,
    /// ‖f − E_k[f]‖.
    pub(super) consistency: Vec<Option<f64>>,
    /// N_S.
    pub(super) soft: Vec<Option<f64>>,
    /// N_S with the best rotation.
    pub(super) soft_rotation: Vec<Option<f64>>,
}

impl Foretold {
    /// From what was measured, with noise of deviation σ along each axis.
    pub(super) fn new(patches: &CentredPatches, measures: &Measures, sigma: f64) -> Self {
        let scaled = |factors: &[Option<f64>]| {
            factors.iter().map(|d| d.map(|d| 2f64.sqrt() * sigma * d)).collect()
        };
        let truths = patches.0.iter().map(|patch| patch.truth);
        let errors = measures.predicted.iter().zip(truths);
        let all = |values: &[f64]| values.iter().copied().map(Some).collect();
        Self {
            expected: scaled(&measures.denoising),
            expected_trace: scaled(&measures.denoising_trace),
            averaged: measures.averaged_noise.iter().map(|noise| noise.map(length)).collect(),
            error: errors.map(|(found, right)| Some(length(*found - right))).collect(),
            consistency: measures.consistency.clone(),
            soft: all(&measures.soft),
            soft_rotation: all(&measures.soft_rotation),
        }
    }
}

/// σ: the deviation of the labels' noise along an axis, over the patches.
pub(super) fn deviation(patches: &CentredPatches) -> f64 {
    let squares: f64 = patches.0.iter().map(|patch| length(patch.noise()).powi(2)).sum();
    (squares / (2 * patches.0.len().max(1)) as f64).sqrt()
}

/// Pairs of numbers that are both there.
fn pairs(x: &[Option<f64>], y: &[Option<f64>]) -> (Vec<f64>, Vec<f64>) {
    x.iter().zip(y).filter_map(|(x, y)| x.zip(*y)).unzip()
}

/// What is not independent noise: drawn outlines lie off the truth by noise and start together, so that
/// patches of one displacement are alike in noise too.
pub(super) fn tell_share(report: &mut Report, patches: &CentredPatches, foretold: &Foretold) {
    let (mut common, mut square) = (0.0, 0.0);
    for patch in &patches.0 {
        let (noise, truth) = (patch.noise(), patch.truth);
        common -= noise.x * truth.x + noise.y * truth.y;
        square += length(truth).powi(2);
    }
    let share = common / square;
    let lengths: Vec<Option<f64>> =
        patches.0.iter().map(|patch| Some(length(patch.truth))).collect();
    let (lengths, errors) = pairs(&lengths, &foretold.error);
    let along = pearson(&lengths, &errors).unwrap_or(f64::NAN);
    report.text(format!(
        "D takes the noise of the labels for independent of the inputs. It is not: an outline is drawn \
         off its label, so that where it lies off the truth tells something of the noise. Over these \
         patches {:.0} % of the displacement that would be right is noise on average, and a network \
         that learns from such labels falls short by as much: its errors go with the length of that \
         displacement (Pearson {along:.2}). That part is common to similar patches; their average does \
         not take it off, and D does not foretell it. It is why labels are corrected in rounds, and why \
         the network looks at an outline more than once.",
        100.0 * share,
    ));
    report.number("share_of_noise", share);
    report.number("pearson_length_error", along);
}

/// The table of correlations and the figures.
pub(super) fn tell(report: &mut Report, foretold: &Foretold, sigma: f64) -> Result<(), Error> {
    let typical = |values: &[Option<f64>]| {
        let mut values: Vec<f64> = values.iter().copied().flatten().collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let count = foretold.error.len();
    let known = foretold.expected.iter().flatten().count();
    report.text(format!(
        "{count} patches of the scenes learned from, no two of one scene, with the network after the \
         first round, which has seen the labels as they were given. Their noise has deviation σ = \
         {sigma:.2} px along each axis. Median over patches: N_S = {:.0} with the trace and {:.0} with \
         the best rotation, of {count}; expected rest of the noise √2 σ D = {:.2} px with matrices and \
         {:.2} px with the trace (D is defined for {known}); actual rest of the noise in the kernel \
         average {:.2} px; error of the prediction {:.2} px; ‖f − E_k[f]‖ = {:.2} px.",
        typical(&foretold.soft),
        typical(&foretold.soft_rotation),
        typical(&foretold.expected),
        typical(&foretold.expected_trace),
        typical(&foretold.averaged),
        typical(&foretold.error),
        typical(&foretold.consistency),
    ));
    let (error, noise) = (("error", &foretold.error), ("rest of the noise", &foretold.averaged));
    let compared = [
        ("expected_noise", "√2 σ D, matrices", &foretold.expected, noise),
        ("expected_error", "√2 σ D, matrices", &foretold.expected, error),
        ("expected_trace_error", "√2 σ D, trace", &foretold.expected_trace, error),
        ("consistency_error", "‖f − E_k[f]‖", &foretold.consistency, error),
        ("count_error", "N_S, trace", &foretold.soft, error),
        ("count_rotation_error", "N_S, rotation", &foretold.soft_rotation, error),
    ];
    let mut rows = Vec::new();
    for (name, what, x, (against, y)) in compared {
        let (x, y) = pairs(x, y);
        let (linear, ranked) = (pearson(&x, &y), spearman(&x, &y));
        rows.push(vec![what.to_owned(), against.to_owned(), number(linear), number(ranked)]);
        report.number(format!("pearson_{name}"), linear.unwrap_or(f64::NAN));
        report.number(format!("rank_{name}"), ranked.unwrap_or(f64::NAN));
    }
    report.rows(&["foretells", "what", "Pearson", "rank correlation"], &rows);
    report.number("expected_rest", typical(&foretold.expected));
    report.number("actual_rest", typical(&foretold.averaged));
    report.number("error_of_patches", typical(&foretold.error));
    let caption = "What the denoising factor foretells, without true labels, against what is found \
                   with them. Each point is a patch; on the dashed line both are equal.";
    report.figure("foretold", caption, &scatter(foretold), (900, 760))
}

fn scatter(foretold: &Foretold) -> Panels {
    let panel = |title: &str, labels: [&str; 2], x: &[Option<f64>], y: &[Option<f64>], line| {
        let (x, y) = pairs(x, y);
        let top = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let end = top(&x).min(top(&y));
        let points = x.into_iter().zip(y).collect();
        let name = |name: &str| name.to_owned();
        let mut series = vec![Series { name: name("patch"), points, style: Style::Points }];
        if line {
            let points = vec![(0.0, 0.0), (end, end)];
            series.push(Series { name: name("equal"), points, style: Style::Dashed });
        }
        let [x_label, y_label] = labels.map(str::to_owned);
        Figure { title: title.to_owned(), x_label, y_label, series, ..Figure::default() }
    };
    let Foretold { expected, averaged, error, consistency, soft, .. } = foretold;
    let rest = "expected rest √2 σ D (px)";
    Panels {
        title: "Foretold and found".to_owned(),
        columns: 2,
        panels: vec![
            panel(
                "Rest of the noise",
                [rest, "rest in the average (px)"],
                expected,
                averaged,
                true,
            ),
            panel("Error", [rest, "error of the prediction (px)"], expected, error, true),
            panel(
                "Consistency",
                ["‖f − E_k[f]‖ (px)", "error of the prediction (px)"],
                consistency,
                error,
                true,
            ),
            panel(
                "Neighbours",
                ["neighbour count N_S", "error of the prediction (px)"],
                soft,
                error,
                false,
            ),
        ],
    }
}

/// A sheet of patches and their nearest.
pub(super) fn sheet(
    report: &mut Report,
    (name, title): (&str, &str),
    patches: &CentredPatches,
    nearest: &[Vec<Neighbor>],
) -> Result<(), Error> {
    let pictures: Vec<RgbImage> = patches.0.iter().map(|patch| patch.picture(2)).collect();
    let picture = |i: usize| -> Result<PictureRef<'_>, ViewError> {
        let own = &pictures[i];
        PictureRef::new(own.width() as usize, own.height() as usize, own.as_raw())
    };
    let moved = |i: usize| {
        let target = patches.0[i].truth;
        format!("{:+.1}, {:+.1} px", target.x, target.y)
    };
    let mut sheet = ContactSheet::new(title).headings("patch", "most similar");
    let every = (patches.0.len() / SHOWN).max(1);
    for i in (0..patches.0.len()).step_by(every).take(SHOWN) {
        let cell = |neighbor: &Neighbor| -> Result<Cell<'_>, ViewError> {
            let value = format!("{:.2}", neighbor.similarity);
            Ok(Cell::new(picture(neighbor.example)?, [value, moved(neighbor.example)]))
        };
        let neighbors = nearest[i].iter().map(cell).collect::<Result<Vec<_>, ViewError>>()?;
        let query = Cell::new(picture(i)?, [format!("#{i}"), moved(i)]);
        sheet = sheet.row(Row { query, neighbors });
    }
    let caption = format!(
        "{title}. Under each patch its similarity and the displacement that would put the outline in \
         the middle right."
    );
    report.picture(name, &caption, &sheet.png()?)
}

/// Every patch with all that was measured.
pub(super) fn table(patches: &CentredPatches, foretold: &Foretold) -> Result<Table, Error> {
    let each = |f: fn(&super::centred::Centred) -> f64| {
        patches.0.iter().map(|patch| f(patch) as f32).collect::<Vec<f32>>()
    };
    let mut table = Table::new();
    let scene: Vec<u32> = patches.0.iter().map(|patch| patch.place.0 as u32).collect();
    let building: Vec<u32> = patches.0.iter().map(|patch| patch.place.1 as u32).collect();
    table.push("scene", scene)?;
    table.push("building", building)?;
    table.push("truth_x", each(|patch| patch.truth.x))?;
    table.push("truth_y", each(|patch| patch.truth.y))?;
    table.push("noise_x", each(|patch| patch.noise().x))?;
    table.push("noise_y", each(|patch| patch.noise().y))?;
    let columns = [
        ("expected_rest", &foretold.expected),
        ("expected_rest_trace", &foretold.expected_trace),
        ("averaged_noise", &foretold.averaged),
        ("error", &foretold.error),
        ("consistency", &foretold.consistency),
        ("soft_count", &foretold.soft),
        ("soft_count_rotation", &foretold.soft_rotation),
    ];
    for (name, values) in columns {
        let values: Vec<Option<f32>> = values.iter().map(|v| v.map(|v| v as f32)).collect();
        table.push(name, values)?;
    }
    Ok(table)
}
