//! Points and lines over two axes, as SVG, as PNG, or as text for a terminal.

mod bitmap;
mod chart;
mod panels;

pub use panels::Panels;

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
    /// The area between pairs of points, low and high in turn, as [`Series::band`] makes it. It has
    /// the colour of the series that follows it, and lies under all that are no bands.
    Band,
}

/// How an axis runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scaling {
    /// Equal distances are equal differences.
    #[default]
    Linear,
    /// Equal distances are equal ratios; numbers that are not above zero are not drawn.
    Logarithmic,
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
///     ..Figure::default()
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
    /// How the horizontal axis runs.
    pub x_scaling: Scaling,
    /// How the vertical axis runs.
    pub y_scaling: Scaling,
}

impl Figure {
    /// As the text of an SVG file of `width` × `height` pixels.
    pub fn svg(&self, width: u32, height: u32) -> Result<String> {
        chart::svg(&self.panel(width, height)?, width, height)
    }

    /// As pixels.
    pub fn render(&self, width: u32, height: u32) -> Result<Rendered> {
        bitmap::render(&self.panel(width, height)?, width, height)
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
        let points = || self.series.iter().flat_map(|series| self.runs(series)).flatten();
        let fit = |scaling, values: &mut dyn Iterator<Item = f64>, count| match scaling {
            Scaling::Linear => Axis::fit(values, count),
            Scaling::Logarithmic => Axis::fit_powers(values, count),
        };
        let x = fit(self.x_scaling, &mut points().map(|point| point.0), ticks.0);
        let y = fit(self.y_scaling, &mut points().map(|point| point.1), ticks.1);
        let remedy = "add a series with at least one point of finite numbers, above zero for a \
                      logarithmic axis";
        x.zip(y).ok_or(ViewError::Empty { what: "figure", remedy })
    }

    /// The points of a series, cut where they cannot be drawn.
    pub(crate) fn runs(&self, series: &Series) -> Vec<Vec<(f64, f64)>> {
        let fits =
            |value: f64, scaling| value.is_finite() && (scaling == Scaling::Linear || value > 0.0);
        let drawn =
            |point: &(f64, f64)| fits(point.0, self.x_scaling) && fits(point.1, self.y_scaling);
        // A band whose lower edge is below a logarithmic axis goes down to its end.
        let pair = |low: &(f64, f64), high: &(f64, f64)| {
            drawn(high) && low.0 == high.0 && low.1.is_finite()
        };
        let each = if series.style == Style::Band { 2 } else { 1 };
        let mut runs = vec![Vec::new()];
        for unit in series.points.chunks(each) {
            let whole = match (series.style, unit) {
                (Style::Band, [low, high]) => pair(low, high),
                (Style::Band, _) => false,
                _ => unit.iter().all(drawn),
            };
            match runs.last_mut() {
                Some(run) if whole => run.extend_from_slice(unit),
                _ => runs.push(Vec::new()),
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }

    fn panel(&self, width: u32, height: u32) -> Result<chart::Panel<'_>> {
        check_size((width, height), LEAST)?;
        let axes = self.axes((width as usize / 100, height as usize / 70))?;
        Ok(chart::Panel { figure: self, axes, tones: self.tones(&[]) })
    }

    /// The number of each series' colour: its place among `names` if it is one of them, else its
    /// place among the others. A band takes that of the series that follows it.
    pub(crate) fn tones(&self, names: &[&str]) -> Vec<usize> {
        let mut others = names.len()..;
        let mut tone = |series: &Series| {
            let place = names.iter().position(|name| *name == series.name);
            place.or_else(|| others.next()).unwrap_or_default()
        };
        let lines = self.series.iter().filter(|series| series.style != Style::Band);
        let lines: Vec<usize> = lines.map(&mut tone).collect();
        let mut next = lines.iter();
        let mut tones = Vec::with_capacity(self.series.len());
        for series in &self.series {
            let following = next.as_slice().first().copied();
            tones.push(match series.style {
                Style::Band => following.unwrap_or_else(|| tone(series)),
                _ => next.next().copied().unwrap_or_default(),
            });
        }
        tones
    }
}

/// Errors: a picture that has no room for its labels, or is too large for memory.
fn check_size((width, height): (u32, u32), (least_width, least_height): (u32, u32)) -> Result<()> {
    if width < least_width || height < least_height {
        return Err(ViewError::TooSmall { width, height, least_width, least_height });
    }
    let (columns, rows) = (width as usize, height as usize);
    if columns.saturating_mul(rows) > LIMIT * 1_000_000 {
        return Err(ViewError::TooLarge {
            what: "figure",
            width: columns,
            height: rows,
            limit: LIMIT,
            remedy: "ask for a smaller picture, or for SVG and a size in the page",
        });
    }
    Ok(())
}

impl Series {
    /// The area between two curves, such as the spread over several runs. Put it before the line
    /// that it belongs to, whose colour it takes. Where one of the three numbers is not finite the
    /// band is broken; what is beyond the shortest of the three lists is left out.
    ///
    /// ```
    /// use gradkin_view::{Figure, Series, Style};
    ///
    /// let steps = [1.0, 2.0, 3.0];
    /// let (low, mean, high) = ([0.9, 0.4, 0.2], [1.0, 0.5, 0.3], [1.1, 0.7, 0.4]);
    /// let points = steps.into_iter().zip(mean).collect();
    /// let mean = Series { name: "loss".to_owned(), points, style: Style::Line };
    /// let figure = Figure { series: vec![Series::band(&steps, &low, &high), mean], ..Figure::default() };
    /// assert!(figure.svg(400, 300)?.contains("<polygon"));
    /// # Ok::<(), gradkin_view::ViewError>(())
    /// ```
    pub fn band(x: &[f64], low: &[f64], high: &[f64]) -> Self {
        let pairs = x.iter().zip(low).zip(high);
        let points = pairs.flat_map(|((x, low), high)| [(*x, *low), (*x, *high)]).collect();
        Self { name: String::new(), points, style: Style::Band }
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
            ..Figure::default()
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

    #[test]
    fn a_band_is_cut_where_it_cannot_be_drawn() {
        let x: Vec<f64> = (0..6).map(f64::from).collect();
        let band = Series::band(&x, &[0.0, 1.0, f64::NAN, 1.0, -1.0, 2.0], &[3.0; 5]);
        assert_eq!(band.points.len(), 10);
        let line = Series { points: vec![(1.0, 2.0)], style: Style::Line, ..Series::default() };
        let series = vec![band.clone(), line.clone(), line];
        let mut figure = Figure { series, ..Figure::default() };
        let lengths = |figure: &Figure| {
            figure.runs(&figure.series[0]).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&figure), [4, 4]);
        assert_eq!(figure.tones(&[]), [0, 0, 1]);
        figure.y_scaling = Scaling::Logarithmic;
        // Its lower edge may lie below the axis, its place on the horizontal axis may not.
        assert_eq!(lengths(&figure), [4, 4]);
        figure.x_scaling = Scaling::Logarithmic;
        assert_eq!(lengths(&figure), [2, 4]);
        assert!(figure.svg(300, 200).unwrap().contains("<polygon"));
        assert!(figure.png(300, 200).is_ok());
        assert!(figure.text(40, 8, Charset::Ascii).is_ok());
    }

    #[test]
    fn a_band_is_translucent() {
        let low = Series::band(&[0.0, 1.0], &[0.0, 0.0], &[1.0, 1.0]);
        let figure = Figure { series: vec![low], ..Figure::default() };
        let picture = figure.render(300, 200).unwrap();
        let at = 3 * (70 * 300 + 100);
        // The first colour, 0072B2, at a fifth over white.
        let expected = [0xC7u8, 0xE0, 0xEE];
        let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) < 6;
        let found = &picture.rgb[at..at + 3];
        assert!(found.iter().zip(&expected).all(near), "{found:?}");
    }

    #[test]
    fn logarithmic_axes_leave_out_what_has_no_logarithm() {
        let points = vec![(1.0, 1e-3), (10.0, 0.0), (100.0, 10.0), (-5.0, 1.0)];
        let mut figure = figure(points);
        figure.x_scaling = Scaling::Logarithmic;
        figure.y_scaling = Scaling::Logarithmic;
        assert_eq!(figure.runs(&figure.series[1]).len(), 2);
        let svg = figure.svg(600, 400).unwrap();
        assert!(svg.contains("0.001") && svg.contains("100"), "{svg}");
        figure.series.iter_mut().for_each(|series| series.points = vec![(0.0, 1.0)]);
        assert!(matches!(figure.svg(600, 400), Err(ViewError::Empty { .. })));
    }
}
