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

/// How much of a band's colour covers what is behind it.
const BAND: f64 = 0.22;

/// The type of names and numbers.
const LABEL: Type = Type { weight: Weight::Regular, em: 12.0, color: INK };

pub(super) type Outcome<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;
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

/// Something that fills a whole picture.
pub(super) trait Scene {
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, fonts: &Fonts)
    -> Outcome<DB>;
}

pub(super) fn svg(scene: &impl Scene, width: u32, height: u32) -> Result<String> {
    register()?;
    let mut text = String::new();
    let (wide, high) = (width * UNIT, height * UNIT);
    let area = SVGBackend::with_string(&mut text, (wide, high)).into_drawing_area();
    scene.draw(&area, &Fonts::load()?).map_err(|e| ViewError::Draw(e.to_string()))?;
    drop(area);
    let drawn = format!("width=\"{wide}\" height=\"{high}\"");
    Ok(text.replacen(&drawn, &format!("width=\"{width}\" height=\"{height}\""), 1))
}

/// A figure with the axes and the colours that it is drawn with.
pub(super) struct Panel<'a> {
    pub(super) figure: &'a Figure,
    pub(super) axes: (Axis, Axis),
    /// The number of each series' colour and marker.
    pub(super) tones: Vec<usize>,
}

impl Scene for Panel<'_> {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        fonts: &Fonts,
    ) -> Outcome<DB> {
        area.fill(&WHITE)?;
        let left = self.margin(fonts);
        let right = (area.dim_in_pixel().0 / UNIT) as i32 - 28;
        let top = heading(area, fonts, &self.figure.title, 16.0, (left, right), 16)?;
        let named = self.figure.series.iter().zip(&self.tones);
        let named = named.map(|(series, tone)| (series.name.as_str(), *tone, series.style));
        let below = legend(area, fonts, named, (left, right), top)?;
        self.plot(area, left, below)?;
        area.present()
    }
}

impl Panel<'_> {
    /// The room for the vertical axis and its labels.
    pub(super) fn margin(&self, fonts: &Fonts) -> i32 {
        let labels = self.axes.1.ticks.iter().map(|&tick| label(&self.axes.1, tick));
        let widest = labels.map(|label| width(fonts, &label)).max().unwrap_or(0);
        16 + widest + if self.figure.y_label.is_empty() { 12 } else { 30 }
    }

    /// Axes and series in what is left of an area behind its margins.
    pub(super) fn plot<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        left: i32,
        top: i32,
    ) -> Outcome<DB> {
        let figure = self.figure;
        let mut plot = ChartBuilder::on(area)
            .margin_top(px(top + 4))
            .margin_right(px(28))
            .margin_left(px(16))
            .margin_bottom(px(12))
            .x_label_area_size(px(if figure.x_label.is_empty() { 28 } else { 48 }))
            .y_label_area_size(px(left - 16))
            .build_cartesian_2d(Scale(self.axes.0.clone()), Scale(self.axes.1.clone()))?;
        mesh(&mut plot, figure)?;
        let band = |series: &Series| series.style == Style::Band;
        let all = || figure.series.iter().zip(&self.tones);
        let (below, above) = (all().filter(|(s, _)| band(s)), all().filter(|(s, _)| !band(s)));
        for (series, &tone) in below.chain(above) {
            draw_series(area, &mut plot, figure, series, tone)?;
        }
        Ok(())
    }
}

/// Writes a title, if there is one; gives where it ends.
pub(super) fn heading<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    fonts: &Fonts,
    title: &str,
    em: f32,
    (left, right): (i32, i32),
    top: i32,
) -> Result<i32, DrawingAreaErrorKind<DB::ErrorType>> {
    if title.is_empty() {
        return Ok(top);
    }
    let kind = Type { weight: Weight::SemiBold, em, color: INK };
    let title = fonts.shortened(&clean(title), kind, (right - left) as f32);
    let style = font(f64::from(em), FontStyle::Bold, INK).pos(Pos::new(HPos::Left, VPos::Top));
    area.draw(&Text::new(title, (px(left), px(top)), style))?;
    Ok(top + em as i32 + 12)
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
    figure: &Figure,
    series: &Series,
    index: usize,
) -> Outcome<DB> {
    let line = color(tone(index)).stroke_width(2 * UNIT);
    let origin = area.get_base_pixel();
    for run in figure.runs(series) {
        match series.style {
            Style::Line => plot.draw_series(LineSeries::new(run, line)).map(drop)?,
            Style::Dashed => {
                let dashes = DashedLineSeries::new(run, px(7), px(5), line);
                plot.draw_series(dashes).map(drop)?;
            }
            Style::Band => {
                let low = run.iter().step_by(2);
                let high = run.iter().skip(1).step_by(2).rev();
                let outline: Vec<(f64, f64)> = low.chain(high).copied().collect();
                let style = color(tone(index)).mix(BAND).filled();
                plot.draw_series([Polygon::new(outline, style)]).map(drop)?;
            }
            Style::Points => {
                let many = series.points.len() > MANY;
                let (size, opacity) = if many { (2.5, 0.5) } else { (4.0, 0.8) };
                let style = color(tone(index)).mix(opacity).filled();
                for point in run {
                    let (x, y) = plot.backend_coord(&point);
                    mark(area, (x - origin.0, y - origin.1), index, size, style)?;
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
            Style::Band => {
                let corners = [(px(x), px(y - 6)), (px(x + 21), px(y + 6))];
                area.draw(&Rectangle::new(corners, tone.mix(BAND).filled()))?;
            }
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

/// Writes the names of series, in lines between two ends; gives where the legend ends.
pub(super) fn legend<'a, DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    fonts: &Fonts,
    series: impl Iterator<Item = (&'a str, usize, Style)>,
    ends: (i32, i32),
    top: i32,
) -> Result<i32, DrawingAreaErrorKind<DB::ErrorType>> {
    let (mut below, mut x, mut y) = (top, ends.0, top + 8);
    for (name, index, style) in series.filter(|(name, ..)| !name.is_empty()) {
        let indent = Name::indent(style);
        let room = (ends.1 - ends.0 - indent) as f32;
        let text = fonts.shortened(&clean(name), LABEL, room);
        let length = indent + width(fonts, &text);
        if x > ends.0 && x + length > ends.1 {
            (x, y) = (ends.0, y + 20);
        }
        Name { text, index, style, at: (x, y) }.draw(area)?;
        x += length + 22;
        below = y + 16;
    }
    Ok(below)
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

pub(super) fn px(length: i32) -> i32 {
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
