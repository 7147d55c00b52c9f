//! Several figures in a grid, with one legend for all.

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, DrawingBackend, WHITE};

use super::chart::{self, Outcome, Panel, Scene, UNIT, heading, legend, px};
use super::{Figure, LEAST, Series, Style, bitmap, check_size};
use crate::error::{Result, ViewError};
use crate::picture::Rendered;
use crate::text::Fonts;

/// The room that a title and a legend of a few lines take at most, before panels are counted.
const HEAD: u32 = 90;

/// Figures side by side. A series has the same colour and marker wherever its name stands, and the
/// legend says each name once.
///
/// ```
/// use gradkin_view::{Figure, Panels, Series, Style};
///
/// let panel = |title: &str, power: i32| Figure {
///     title: title.to_owned(),
///     series: vec![Series {
///         name: "loss".to_owned(),
///         points: (1..20).map(|k| (f64::from(k), f64::from(k).powi(power))).collect(),
///         style: Style::Line,
///     }],
///     ..Figure::default()
/// };
/// let panels = Panels {
///     title: "Two trainings".to_owned(),
///     columns: 2,
///     panels: vec![panel("fast", -2), panel("slow", -1)],
/// };
/// let svg = panels.svg(800, 400)?;
/// assert_eq!(svg.matches("loss").count(), 1);
/// # Ok::<(), gradkin_view::ViewError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Panels {
    /// Above all; may be empty.
    pub title: String,
    /// How many panels stand side by side; zero is taken as one.
    pub columns: usize,
    /// Row by row. Each has its own title, labels and axes.
    pub panels: Vec<Figure>,
}

impl Panels {
    /// As the text of an SVG file of `width` × `height` pixels.
    pub fn svg(&self, width: u32, height: u32) -> Result<String> {
        chart::svg(&self.grid(width, height)?, width, height)
    }

    /// As pixels.
    pub fn render(&self, width: u32, height: u32) -> Result<Rendered> {
        bitmap::render(&self.grid(width, height)?, width, height)
    }

    /// As the bytes of a PNG file of `width` × `height` pixels.
    pub fn png(&self, width: u32, height: u32) -> Result<Vec<u8>> {
        self.render(width, height)?.png()
    }

    fn columns(&self) -> usize {
        self.columns.clamp(1, self.panels.len().max(1))
    }

    fn grid(&self, width: u32, height: u32) -> Result<Grid<'_>> {
        let rows = self.panels.len().div_ceil(self.columns());
        let remedy = "add a panel";
        if rows == 0 {
            return Err(ViewError::Empty { what: "figure of panels", remedy });
        }
        let times = |count: usize, least: u32| {
            u32::try_from(count).unwrap_or(u32::MAX).saturating_mul(least)
        };
        let least = (times(self.columns(), LEAST.0), times(rows, LEAST.1).saturating_add(HEAD));
        check_size((width, height), least)?;
        let names = self.names();
        let called: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let size = (width as usize / self.columns(), height as usize / rows);
        let panel = |figure| -> Result<Panel> {
            let figure: &Figure = figure;
            let axes = figure.axes((size.0 / 100, size.1 / 70))?;
            Ok(Panel { figure, axes, tones: figure.tones(&called) })
        };
        let panels = self.panels.iter().map(panel).collect::<Result<_>>()?;
        Ok(Grid { all: self, panels, names })
    }

    /// Every name of a series once, in the order in which they appear.
    fn names(&self) -> Vec<(&str, Style)> {
        let mut names: Vec<(&str, Style)> = Vec::new();
        let series = self.panels.iter().flat_map(|panel| &panel.series);
        for Series { name, style, .. } in series.filter(|series| !series.name.is_empty()) {
            if !names.iter().any(|(known, _)| known == name) {
                names.push((name, *style));
            }
        }
        names
    }
}

/// Panels ready to be drawn.
struct Grid<'a> {
    all: &'a Panels,
    panels: Vec<Panel<'a>>,
    names: Vec<(&'a str, Style)>,
}

impl Grid<'_> {
    /// The left margin of each column, which its panels share so that their axes are in line.
    fn margins(&self, fonts: &Fonts) -> Vec<i32> {
        let mut margins = vec![0; self.all.columns()];
        for (panel, column) in self.panels.iter().zip((0..margins.len()).cycle()) {
            margins[column] = panel.margin(fonts).max(margins[column]);
        }
        margins
    }
}

impl Scene for Grid<'_> {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        fonts: &Fonts,
    ) -> Outcome<DB> {
        area.fill(&WHITE)?;
        let margins = self.margins(fonts);
        let right = (area.dim_in_pixel().0 / UNIT) as i32 - 28;
        let ends = (margins.first().copied().unwrap_or(16), right);
        let top = heading(area, fonts, &self.all.title, 16.0, ends, 16)?;
        let names = self.names.iter().enumerate().map(|(k, (name, style))| (*name, k, *style));
        let below = legend(area, fonts, names, ends, top)?;
        let rows = self.panels.len().div_ceil(margins.len());
        // A legend of very many names may leave no room; the panels keep half of the height.
        let below = below.min((area.dim_in_pixel().1 / UNIT / 2) as i32);
        let (_, lower) = area.split_vertically(px(below));
        let cells = lower.split_evenly((rows, margins.len()));
        for ((panel, cell), left) in self.panels.iter().zip(&cells).zip(margins.iter().cycle()) {
            let right = (cell.dim_in_pixel().0 / UNIT) as i32 - 28;
            let top = heading(cell, fonts, &panel.figure.title, 13.0, (*left, right), 8)?;
            panel.plot(cell, *left, top)?;
        }
        area.present()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scaling;

    fn curve(name: &str, rate: f64) -> [Series; 2] {
        let x: Vec<f64> = (1..60).map(f64::from).collect();
        let mean: Vec<f64> = x.iter().map(|x| (-x * rate).exp() + 0.01).collect();
        let of = |factor: f64| mean.iter().map(|y| y * factor).collect::<Vec<f64>>();
        let points = x.iter().copied().zip(mean.iter().copied()).collect();
        let line = Series { name: name.to_owned(), points, style: Style::Line };
        [Series::band(&x, &of(0.7), &of(1.4)), line]
    }

    fn panels(count: usize) -> Panels {
        let panel = |k: usize| Figure {
            title: format!("panel {k}"),
            x_label: "step".to_owned(),
            y_label: "loss".to_owned(),
            // The order of names differs from panel to panel; colours must not.
            series: match k % 2 {
                0 => [curve("plain", 0.05), curve("enforced", 0.1)].concat(),
                _ => [curve("enforced", 0.2), curve("plain", 0.05)].concat(),
            },
            y_scaling: if k < 2 { Scaling::Linear } else { Scaling::Logarithmic },
            ..Figure::default()
        };
        let title = "All seeds".to_owned();
        Panels { title, columns: 2, panels: (0..count).map(panel).collect() }
    }

    #[test]
    fn one_legend_and_every_title() {
        let svg = panels(3).svg(800, 600).unwrap();
        for word in ["All seeds", "panel 0", "panel 2", "plain", "enforced"] {
            assert_eq!(svg.matches(word).count(), 1, "{word}");
        }
        assert_eq!(svg.matches("<polygon").count(), 6);
        assert!(svg.contains("width=\"800\" height=\"600\""));
    }

    #[test]
    fn a_name_has_one_colour() {
        let panels = panels(2);
        let grid = panels.grid(800, 600).unwrap();
        assert_eq!(grid.panels[0].tones, [0, 0, 1, 1]);
        assert_eq!(grid.panels[1].tones, [1, 1, 0, 0]);
    }

    #[test]
    fn png_is_the_same_each_time_and_senseless_sizes_are_refused() {
        let panels = panels(4);
        let first = panels.render(600, 500).unwrap();
        assert_eq!((first.width, first.height), (600, 500));
        assert_eq!(first, panels.render(600, 500).unwrap());
        assert!(matches!(panels.png(400, 500), Err(ViewError::TooSmall { .. })));
        assert!(matches!(panels.png(600, 300), Err(ViewError::TooSmall { .. })));
        assert!(matches!(Panels::default().svg(800, 600), Err(ViewError::Empty { .. })));
        let broken = Panels { panels: vec![Figure::default()], ..Panels::default() };
        assert!(matches!(broken.svg(800, 600), Err(ViewError::Empty { .. })));
    }
}
