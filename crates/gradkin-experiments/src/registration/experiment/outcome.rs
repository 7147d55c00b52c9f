//! What the page says of errors: how far outlines are off before and after each round.

use geo::Area;
use gradkin_data::write::Table;
use gradkin_view::{Figure, Panels, Series, Style};

use super::labelled::Labelled;
use super::rounds::Curve;
use super::similarity::length;
use crate::registration::align::Errors;
use crate::registration::coverage::area_in;
use crate::registration::{Polygon, Scene, Shift, picture};
use crate::{Error, Report};

/// Where labels are at one time: as they were given, or after a round.
pub(super) struct Standing {
    /// For the page.
    pub(super) name: String,
    /// How far the labels that the network learns from are off.
    pub(super) training: Errors,
    /// How far those of scenes are off that it has not seen.
    pub(super) held_out: Errors,
    /// The same, building by building.
    pub(super) shifts: Vec<Vec<Shift>>,
    /// How far those are off after each of the network's looks; empty for labels as given.
    pub(super) looks: Vec<Errors>,
}

impl Standing {
    pub(super) fn of(
        name: String,
        training: &[Labelled],
        held_out: &[Labelled],
        looks: Vec<Errors>,
    ) -> Self {
        let errors = |scenes: &[Labelled]| {
            Errors::merge(scenes.iter().map(|labelled| Errors::of(&labelled.labels)))
        };
        Self {
            name,
            training: errors(training),
            held_out: errors(held_out),
            shifts: held_out.iter().map(|labelled| labelled.labels.clone()).collect(),
            looks,
        }
    }
}

/// The median of errors, zero without any.
pub(super) fn median(errors: &Errors) -> f64 {
    errors.median().unwrap_or_default()
}

/// The table and the figures of the errors.
pub(super) fn tell(
    report: &mut Report,
    standings: &[Standing],
    curves: &[Curve],
) -> Result<(), Error> {
    let (Some(given), Some(last)) = (standings.first(), standings.last()) else { return Ok(()) };
    let share = median(&last.held_out) / median(&given.held_out);
    report.heading("Errors before and after each round");
    report.text(format!(
        "On scenes that were held out, labels are off by {:.2} px (median of {} buildings) before and \
         {:.2} px after the last round, {:.0} % of it. The aim was a quarter: {}.",
        median(&given.held_out),
        given.held_out.distances().len(),
        median(&last.held_out),
        100.0 * share,
        if share < 0.25 { "met" } else { "missed" },
    ));
    let sets = [
        ("held out", (|s| &s.held_out) as fn(&Standing) -> &Errors),
        ("learned from", |s| &s.training),
    ];
    let mut rows = Vec::new();
    for (set, errors) in &sets {
        rows.extend(standings.iter().map(|standing| row(set, &standing.name, errors(standing))));
    }
    report
        .rows(&["scenes", "labels", "10 %", "median", "mean", "90 %", "99 %", "under 1 px"], &rows);
    report.text("Distances from the truth in pixels.");
    tell_looks(report, standings);
    let panels = sets.map(|(set, errors)| shares(set, standings, errors));
    let panels = Panels {
        title: "How far buildings are from where the image shows them".to_owned(),
        columns: 2,
        panels: panels.to_vec(),
    };
    let caption = "Share of buildings whose outline is nearer to the truth than a distance.";
    report.figure("errors", caption, &panels, (900, 420))?;
    let caption = "Loss during training: distance from the labels that are taught, outlines drawn \
                   anew at every step.";
    report.figure("training", caption, &losses(curves), (720, 420))?;
    report.number("median_error_before", median(&given.held_out));
    report.number("median_error_after", median(&last.held_out));
    report.number("median_ratio", share);
    Ok(())
}

/// The median on held-out scenes, look by look.
fn tell_looks(report: &mut Report, standings: &[Standing]) {
    let most = standings.iter().map(|standing| standing.looks.len()).max().unwrap_or(0);
    let names: Vec<String> = (1..=most).map(|look| format!("look {look}")).collect();
    let heads: Vec<&str> =
        std::iter::once("network").chain(names.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<String>> = (standings.iter().filter(|s| !s.looks.is_empty()))
        .map(|standing| {
            let medians = standing.looks.iter().map(|errors| format!("{:.2}", median(errors)));
            std::iter::once(standing.name.clone()).chain(medians).collect()
        })
        .collect();
    report.rows(&heads, &rows);
    report.text("The median on held-out scenes, in pixels, after each look at the outlines.");
}

/// A number for a table, a dash where there is none.
pub(super) fn number(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.2}"))
}

fn row(set: &str, name: &str, errors: &Errors) -> Vec<String> {
    let quantile = |q: f64| number(errors.quantile(q));
    let under = errors.share_under(1.0).map_or("–".to_owned(), |s| format!("{:.0} %", 100.0 * s));
    let mut cells = vec![set.to_owned(), name.to_owned()];
    cells.extend([quantile(0.1), quantile(0.5), number(errors.mean())]);
    cells.extend([quantile(0.9), quantile(0.99), under]);
    cells
}

fn shares(set: &str, standings: &[Standing], errors: fn(&Standing) -> &Errors) -> Figure {
    let series = standings.iter().map(|standing| {
        let distances = errors(standing).distances();
        let each = 100.0 / distances.len().max(1) as f64;
        let every = (distances.len() / 200).max(1);
        let shown = distances.iter().enumerate().filter(|(i, d)| i % every == 0 && **d <= 5.0);
        let points = shown.map(|(i, distance)| (*distance, (i + 1) as f64 * each)).collect();
        Series { name: standing.name.clone(), points, style: Style::Line }
    });
    Figure {
        title: format!("Scenes {set}"),
        x_label: "distance from the truth (px)".to_owned(),
        y_label: "buildings nearer than that (%)".to_owned(),
        series: series.collect(),
        ..Figure::default()
    }
}

fn losses(curves: &[Curve]) -> Figure {
    let series = curves.iter().enumerate().map(|(round, curve)| Series {
        name: format!("round {}", round + 1),
        points: curve.clone(),
        style: Style::Line,
    });
    Figure {
        title: "Training".to_owned(),
        x_label: "step of the round".to_owned(),
        y_label: "root mean square distance from the label (px)".to_owned(),
        series: series.collect(),
        ..Figure::default()
    }
}

/// The held-out scenes' buildings, with their errors before and after each round.
pub(super) fn table(visible: &[Vec<f64>], standings: &[Standing]) -> Result<Table, Error> {
    let buildings = || {
        let scenes = visible.iter().enumerate();
        scenes.flat_map(|(s, visible)| (0..visible.len()).map(move |b| (s, b)))
    };
    let share = buildings().map(|(s, b)| visible[s][b] as f32).collect::<Vec<f32>>();
    let mut table = Table::new();
    table.push("scene", buildings().map(|(s, _)| s as u32).collect::<Vec<u32>>())?;
    table.push("building", buildings().map(|(_, b)| b as u32).collect::<Vec<u32>>())?;
    table.push("visible", share)?;
    for (number, standing) in standings.iter().enumerate() {
        let off = |(s, b): (usize, usize)| standing.shifts[s][b];
        let column = |part: &str| format!("{part}_{number}");
        table.push(column("x"), buildings().map(|at| off(at).x as f32).collect::<Vec<f32>>())?;
        table.push(column("y"), buildings().map(|at| off(at).y as f32).collect::<Vec<f32>>())?;
        let errors = buildings().map(|at| length(off(at)) as f32).collect::<Vec<f32>>();
        table.push(column("error"), errors)?;
    }
    Ok(table)
}

/// The share of each building that is in its picture, scene by scene, as its outline is drawn in truth.
pub(super) fn visible(scenes: &[Labelled]) -> Vec<Vec<f64>> {
    let of_scene = |labelled: &Labelled| {
        let [_, height, width] = labelled.scene.image.shape();
        let outlines = labelled.scene.buildings.iter().map(|building| &building.polygon);
        let share = |outline: &Polygon<f64>| {
            area_in(outline, height, width) / outline.unsigned_area().max(1e-9)
        };
        outlines.map(share).collect()
    };
    scenes.iter().map(of_scene).collect()
}

/// How much the border of a picture matters: of a building cut by it, a network sees a part only.
pub(super) fn tell_visible(report: &mut Report, visible: &[Vec<f64>], standings: &[Standing]) {
    let classes =
        [("all of it", 0.99..f64::INFINITY), ("half or more", 0.5..0.99), ("less", 0.0..0.5)];
    let mut heads = vec!["in the picture", "buildings"];
    heads.extend(standings.iter().map(|standing| standing.name.as_str()));
    let mut rows = Vec::new();
    for (name, class) in classes {
        let medians: Vec<Errors> = (standings.iter())
            .map(|standing| {
                let all = visible.iter().flatten().zip(standing.shifts.iter().flatten());
                let of_class = all.filter(|(share, _)| class.contains(*share));
                Errors::of(&of_class.map(|(_, shift)| *shift).collect::<Vec<Shift>>())
            })
            .collect();
        let count = medians.first().map_or(0, |errors| errors.distances().len());
        let mut cells = vec![name.to_owned(), count.to_string()];
        cells.extend(medians.iter().map(|errors| number(errors.median())));
        rows.push(cells);
    }
    report.rows(&heads, &rows);
    report.text(
        "The median on held-out scenes, in pixels, by how much of a building is in the picture.",
    );
}

/// The scene with most buildings, as its labels were given and as they are now.
pub(super) fn show(report: &mut Report, held_out: &[Labelled]) -> Result<(), Error> {
    let Some(labelled) = held_out.iter().max_by_key(|labelled| labelled.noise.len()) else {
        return Ok(());
    };
    let scene = Scene { image: labelled.taken.clone(), ..labelled.scene.clone() };
    let [before, after] =
        [&labelled.noise, &labelled.labels].map(|shifts| picture::scene(&scene, shifts, 3));
    let both = picture::beside(&[before, after]);
    let (width, height) = (both.width() as usize, both.height() as usize);
    let rgb = both.into_raw();
    let png = gradkin_view::Rendered { width, height, rgb }.png()?;
    let caption = "A held-out scene: labels as they were given (left) and aligned after the last \
                   round (right) in red, the truth in green.";
    report.picture("scene", caption, &png)
}
