//! A figure drawn through plotters, the same way for vectors and pixels.
//!
//! plotters places things at whole pixels; so everything is drawn [`UNIT`] times as large as asked,
//! and the result is scaled down: by the header of an SVG, by averaging a bitmap.

use std::ops::Range;
use std::sync::OnceLock;

use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use super::{Figure, Series, Style};
use crate::axis::Axis;
use crate::canvas::{Color as Tone, HAIRLINE, INK, MUTED};
use crate::error::{Result, ViewError};
use crate::terminal::clean;
use crate::text::{Fonts, REGULAR, SEMIBOLD, Type, Weight};

/// How many of plotters' pixels make one of ours.
pub(super) const UNIT: u32 = 4;
/// plotters writes a font's size as `size / 1.24` ems.
pub(super) const SIZE_PER_EM: f64 = 1.24;
/// The embedded font, and what a browser without Inter takes instead.
const FAMILY: &str = "Inter, Helvetica, Arial, sans-serif";
/// Okabe and Ito's colours, told apart by every kind of colour vision; without their yellow, which
/// is too light for lines on white.
const COLORS: [Tone; 6] = [
    [0x00, 0x72, 0xB2],
    [0xD5, 0x5E, 0x00],
    [0x00, 0x9E, 0x73],
    [0xCC, 0x79, 0xA7],
    [0x56, 0xB4, 0xE9],
    [0xE6, 0x9F, 0x00],
];
/// More points than this are drawn smaller and fainter.
const MANY: usize = 300;

/// The type of names and numbers.
const LABEL: Type = Type { weight: Weight::Regular, em: 12.0, color: INK };

type Outcome<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;
type Plot<'a, DB> = ChartContext<'a, DB, Cartesian2d<Scale, Scale>>;

/// An axis as plotters wants it.
#[derive(Clone)]
struct Scale(Axis);

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let length = f64::from(limit.1 - limit.0);
        limit.0 + (self.0.place(*value) * length).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.0.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.0.low..self.0.high
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        label(&self.0, *value)
    }
}

/// Tells plotters the embedded font, once.
pub(super) fn register() -> Result<()> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        register_font(FAMILY, FontStyle::Normal, REGULAR).is_ok()
            && register_font(FAMILY, FontStyle::Bold, SEMIBOLD).is_ok()
    });
    if *done { Ok(()) } else { Err(ViewError::Font) }
}

pub(super) fn svg(figure: &Figure, axes: &(Axis, Axis), width: u32, height: u32) -> Result<String> {
    register()?;
    let mut text = String::new();
    let (wide, high) = (width * UNIT, height * UNIT);
    let area = SVGBackend::with_string(&mut text, (wide, high)).into_drawing_area();
    draw(&area, figure, axes, &Fonts::load()?).map_err(|e| ViewError::Draw(e.to_string()))?;
    drop(area);
    let drawn = format!("width=\"{wide}\" height=\"{high}\"");
    Ok(text.replacen(&drawn, &format!("width=\"{width}\" height=\"{height}\""), 1))
}

/// Draws a figure that fills the area.
pub(super) fn draw<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    figure: &Figure,
    axes: &(Axis, Axis),
    fonts: &Fonts,
) -> Outcome<DB> {
    area.fill(&WHITE)?;
    let labels = axes.1.ticks.iter().map(|&tick| label(&axes.1, tick));
    let widest = labels.map(|label| width(fonts, &label)).max().unwrap_or(0);
    let left = 16 + widest + if figure.y_label.is_empty() { 12 } else { 30 };
    let right = (area.dim_in_pixel().0 / UNIT) as i32 - 28;
    let mut top = 16;
    if !figure.title.is_empty() {
        let kind = Type { weight: Weight::SemiBold, em: 16.0, color: INK };
        let title = fonts.shortened(&clean(&figure.title), kind, (right - left) as f32);
        let style = font(16.0, FontStyle::Bold, INK).pos(Pos::new(HPos::Left, VPos::Top));
        area.draw(&Text::new(title, (px(left), px(top)), style))?;
        top += 28;
    }
    let (names, below) = legend(figure, fonts, (left, right), top);
    for name in &names {
        name.draw(area)?;
    }
    let mut plot = ChartBuilder::on(area)
        .margin_top(px(below + 4))
        .margin_right(px(28))
        .margin_left(px(16))
        .margin_bottom(px(12))
        .x_label_area_size(px(if figure.x_label.is_empty() { 28 } else { 48 }))
        .y_label_area_size(px(left - 16))
        .build_cartesian_2d(Scale(axes.0.clone()), Scale(axes.1.clone()))?;
    mesh(&mut plot, figure)?;
    for (index, series) in figure.series.iter().enumerate() {
        draw_series(area, &mut plot, series, index)?;
    }
    area.present()
}

fn mesh<DB: DrawingBackend>(plot: &mut Plot<'_, DB>, figure: &Figure) -> Outcome<DB> {
    plot.configure_mesh()
        .bold_line_style(color(HAIRLINE).mix(0.7).stroke_width(UNIT))
        .light_line_style(TRANSPARENT)
        .axis_style(color(MUTED).stroke_width(UNIT))
        .set_all_tick_mark_size(px(5))
        .label_style(font(12.0, FontStyle::Normal, MUTED))
        .axis_desc_style(font(13.0, FontStyle::Normal, INK))
        .x_desc(clean(&figure.x_label))
        .y_desc(clean(&figure.y_label))
        .draw()
}

fn draw_series<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    plot: &mut Plot<'_, DB>,
    series: &Series,
    index: usize,
) -> Outcome<DB> {
    let line = color(tone(index)).stroke_width(2 * UNIT);
    for run in series.runs() {
        match series.style {
            Style::Line => plot.draw_series(LineSeries::new(run, line)).map(drop)?,
            Style::Dashed => {
                let dashes = DashedLineSeries::new(run, px(7), px(5), line);
                plot.draw_series(dashes).map(drop)?;
            }
            Style::Points => {
                let many = series.points.len() > MANY;
                let (size, opacity) = if many { (2.5, 0.5) } else { (4.0, 0.8) };
                let style = color(tone(index)).mix(opacity).filled();
                for point in run {
                    mark(area, plot.backend_coord(&point), index, size, style)?;
                }
            }
        }
    }
    Ok(())
}

/// A series' name in the legend, and where its sample begins.
struct Name {
    text: String,
    index: usize,
    style: Style,
    at: (i32, i32),
}

impl Name {
    /// From the left end of the sample to that of the name.
    fn indent(style: Style) -> i32 {
        if style == Style::Points { 16 } else { 28 }
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Outcome<DB> {
        let (x, y) = self.at;
        let tone = color(tone(self.index));
        let line = tone.stroke_width(2 * UNIT);
        let dash = |from, to| PathElement::new([(px(x + from), px(y)), (px(x + to), px(y))], line);
        match self.style {
            Style::Points => mark(area, (px(x + 5), px(y)), self.index, 4.0, tone.filled())?,
            Style::Line => area.draw(&dash(0, 21))?,
            Style::Dashed => {
                area.draw(&dash(0, 8))?;
                area.draw(&dash(13, 21))?;
            }
        }
        let style = font(12.0, FontStyle::Normal, INK).pos(Pos::new(HPos::Left, VPos::Center));
        let at = (px(x + Self::indent(self.style)), px(y));
        area.draw(&Text::new(self.text.clone(), at, style))
    }
}

/// The names of the series, in lines between two ends, and where the legend ends.
fn legend(figure: &Figure, fonts: &Fonts, ends: (i32, i32), top: i32) -> (Vec<Name>, i32) {
    let (mut names, mut x, mut y) = (Vec::new(), ends.0, top + 8);
    for (index, series) in figure.series.iter().enumerate().filter(|(_, s)| !s.name.is_empty()) {
        let indent = Name::indent(series.style);
        let room = (ends.1 - ends.0 - indent) as f32;
        let text = fonts.shortened(&clean(&series.name), LABEL, room);
        let length = indent + width(fonts, &text);
        if x > ends.0 && x + length > ends.1 {
            (x, y) = (ends.0, y + 20);
        }
        names.push(Name { text, index, style: series.style, at: (x, y) });
        x += length + 22;
    }
    let below = if names.is_empty() { top } else { y + 16 };
    (names, below)
}

/// Draws the marker of the series with this number: disc, triangle, square or cross.
fn mark<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    at: (i32, i32),
    index: usize,
    size: f64,
    style: ShapeStyle,
) -> Outcome<DB> {
    let size = (size * f64::from(UNIT)).round() as i32;
    match index % 4 {
        0 => area.draw(&Circle::new(at, size, style)),
        1 => area.draw(&TriangleMarker::new(at, size * 5 / 4, style)),
        2 => {
            let half = size * 7 / 8;
            let corners = [(at.0 - half, at.1 - half), (at.0 + half, at.1 + half)];
            area.draw(&Rectangle::new(corners, style))
        }
        _ => area.draw(&Cross::new(at, size, style.stroke_width(2 * UNIT))),
    }
}

fn tone(index: usize) -> Tone {
    COLORS[index % COLORS.len()]
}

fn color(tone: Tone) -> RGBColor {
    RGBColor(tone[0], tone[1], tone[2])
}

fn px(length: i32) -> i32 {
    length * UNIT as i32
}

fn font(em: f64, style: FontStyle, tone: Tone) -> TextStyle<'static> {
    let size = em * f64::from(UNIT) * SIZE_PER_EM;
    (FAMILY, size, style).with_color(color(tone)).into_text_style(&(1, 1))
}

/// A tick's label with a true minus sign.
fn label(axis: &Axis, tick: f64) -> String {
    axis.label(tick).replace('-', "−")
}

/// How wide a label is, in our pixels.
fn width(fonts: &Fonts, label: &str) -> i32 {
    fonts.width(label, LABEL).ceil() as i32
}
