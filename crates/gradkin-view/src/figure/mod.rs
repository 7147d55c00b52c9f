//! Points and lines over two axes, as SVG, as PNG, or as text for a terminal.

mod bitmap;
mod chart;

use crate::axis::Axis;
use crate::error::{Result, ViewError};
use crate::picture::Rendered;
use crate::terminal::{self, Charset};

/// The smallest figure that has room for its labels.
const LEAST: (u32, u32) = (240, 180);
/// The largest figure, in millions of pixels.
const LIMIT: usize = 16;

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// A marker at each point; its shape and colour tell the series.
    #[default]
    Points,
    /// A line through the points in their order, broken where a number is not finite.
    Line,
    /// The same, dashed: for a reference or a fit.
    Dashed,
}

/// Points that belong together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// What the legend calls it; a series without a name is not in the legend.
    pub name: String,
    /// Pairs (x, y). Those with a number that is not finite are not drawn.
    pub points: Vec<(f64, f64)>,
    /// How they are drawn.
    pub style: Style,
}

/// Series over two axes.
///
/// ```
/// use gradkin_view::{Figure, Series, Style};
///
/// let points = (0..50).map(|i| (f64::from(i), f64::from(i).sqrt())).collect();
/// let figure = Figure {
///     title: "Training".to_owned(),
///     x_label: "epoch".to_owned(),
///     y_label: "density".to_owned(),
///     series: vec![Series { name: "mean".to_owned(), points, style: Style::Line }],
/// };
/// assert!(figure.svg(640, 400)?.starts_with("<svg"));
/// # Ok::<(), gradkin_view::ViewError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figure {
    /// Above the plot; may be empty.
    pub title: String,
    /// What runs from left to right.
    pub x_label: String,
    /// What runs from bottom to top.
    pub y_label: String,
    /// Drawn in this order, later ones on top.
    pub series: Vec<Series>,
}

impl Figure {
    /// As the text of an SVG file of `width` × `height` pixels.
    pub fn svg(&self, width: u32, height: u32) -> Result<String> {
        let axes = self.checked(width, height)?;
        chart::svg(self, &axes, width, height)
    }

    /// As pixels.
    pub fn render(&self, width: u32, height: u32) -> Result<Rendered> {
        let axes = self.checked(width, height)?;
        bitmap::render(self, &axes, width, height)
    }

    /// As the bytes of a PNG file of `width` × `height` pixels.
    pub fn png(&self, width: u32, height: u32) -> Result<Vec<u8>> {
        self.render(width, height)?.png()
    }

    /// As text, `columns` wide, with `lines` lines between the axes.
    pub fn text(&self, columns: usize, lines: usize, charset: Charset) -> Result<String> {
        terminal::plot(self, columns, lines, charset)
    }

    /// Horizontal and vertical axis with about so many ticks.
    pub(crate) fn axes(&self, ticks: (usize, usize)) -> Result<(Axis, Axis)> {
        let points = || self.series.iter().flat_map(Series::runs).flatten();
        let x = Axis::fit(points().map(|point| point.0), ticks.0);
        let y = Axis::fit(points().map(|point| point.1), ticks.1);
        let remedy = "add a series with at least one point of finite numbers";
        x.zip(y).ok_or(ViewError::Empty { what: "figure", remedy })
    }

    fn checked(&self, width: u32, height: u32) -> Result<(Axis, Axis)> {
        if width < LEAST.0 || height < LEAST.1 {
            let (least_width, least_height) = LEAST;
            return Err(ViewError::TooSmall { width, height, least_width, least_height });
        }
        let (columns, rows) = (width as usize, height as usize);
        if columns.saturating_mul(rows) > LIMIT * 1_000_000 {
            let remedy = "ask for a smaller picture, or for SVG and a size in the page";
            return Err(ViewError::TooLarge {
                what: "figure",
                width: columns,
                height: rows,
                limit: LIMIT,
                remedy,
            });
        }
        self.axes((columns / 100, rows / 70))
    }
}

impl Series {
    /// The points, cut where a number is not finite.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Vec<(f64, f64)>> {
        let finite = |point: &(f64, f64)| point.0.is_finite() && point.1.is_finite();
        let runs = self.points.split(move |point| !finite(point));
        runs.filter(|run| !run.is_empty()).map(<[_]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(points: Vec<(f64, f64)>) -> Figure {
        let style =
            |style, name: &str| Series { name: name.to_owned(), points: points.clone(), style };
        Figure {
            title: "A <title> & more".to_owned(),
            x_label: "examples".to_owned(),
            y_label: "density".to_owned(),
            series: vec![
                style(Style::Points, "found"),
                style(Style::Line, ""),
                style(Style::Dashed, "x"),
            ],
        }
    }

    #[test]
    fn svg_holds_every_word_escaped() {
        let svg = figure(vec![(0.0, 1.0), (3.0, 2.0)]).svg(600, 400).unwrap();
        for word in ["A &lt;title&gt; &amp; more", "examples", "density", "found", "Inter"] {
            assert!(svg.contains(word), "{word} is missing:\n{svg}");
        }
        assert!(svg.contains("width=\"600\" height=\"400\""));
    }

    #[test]
    fn png_has_the_size_and_is_the_same_each_time() {
        let figure = figure(vec![(0.0, 1.0), (3.0, 2.0), (f64::NAN, 1.0), (4.0, 4.0)]);
        let first = figure.render(300, 200).unwrap();
        assert_eq!((first.width, first.height), (300, 200));
        assert_eq!(first, figure.render(300, 200).unwrap());
        let dark = first.rgb.chunks_exact(3).filter(|pixel| pixel.iter().all(|&v| v < 100)).count();
        assert!(dark > 200, "{dark} dark pixels: no text");
    }

    #[test]
    fn nothing_to_draw_and_senseless_sizes_are_refused() {
        let empty = figure(vec![(f64::NAN, 0.0)]);
        assert!(matches!(empty.svg(600, 400), Err(ViewError::Empty { .. })));
        let figure = figure(vec![(1.0, 1.0)]);
        assert!(matches!(figure.png(100, 100), Err(ViewError::TooSmall { .. })));
        assert!(matches!(figure.png(u32::MAX, 400), Err(ViewError::TooLarge { .. })));
    }

    #[test]
    fn many_and_long_names_are_drawn() {
        let points = vec![(0.0, 1.0), (1.0, 2.0)];
        let series = (0..40).map(|i| Series {
            name: format!("series {i} {}\u{7}", "long ".repeat(i)),
            points: points.clone(),
            style: Style::default(),
        });
        let figure =
            Figure { title: "t".repeat(900), series: series.collect(), ..Figure::default() };
        let svg = figure.svg(240, 180).unwrap();
        assert!(!svg.contains('\u{7}'));
        assert!(figure.png(240, 180).is_ok());
    }

    #[test]
    fn extreme_numbers_are_drawn() {
        for points in [
            vec![(0.0, 0.0)],
            vec![(1e300, -1e300), (-1e300, 1e300)],
            vec![(1e16, 1e16 + 2.0), (1e16 + 2.0, 1e16)],
            vec![(5e-324, 1.0), (0.0, f64::INFINITY), (1.0, 1.0)],
        ] {
            assert!(figure(points.clone()).svg(300, 200).is_ok(), "{points:?}");
            assert!(figure(points.clone()).png(300, 200).is_ok(), "{points:?}");
        }
    }
}
