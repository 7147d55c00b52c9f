//! A figure as text. One series is drawn in braille, eight dots to a character; several are told
//! apart by a letter or sign for each.

use super::{Charset, clean, right_aligned, shortened, width};
use crate::axis::Axis;
use crate::error::Result;
use crate::figure::{Figure, Series, Style};

const SIGNS: [char; 6] = ['●', '▲', '■', '×', '○', '◆'];
const LETTERS: [char; 6] = ['o', 'x', '+', '*', '#', '%'];
/// The bits of a braille character's dots, by row and column.
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// The characters between the axes.
struct Field {
    columns: usize,
    cells: Vec<char>,
    /// Dots per character, across and down.
    dots: (usize, usize),
}

impl Field {
    fn new(columns: usize, lines: usize, dots: (usize, usize)) -> Self {
        Self { columns, cells: vec![' '; columns * lines], dots }
    }

    /// The dot at a place from 0 to 1 on both axes, counted from the upper left.
    fn dot(&self, x: f64, y: f64) -> (i64, i64) {
        let across = (self.columns * self.dots.0 - 1) as f64;
        let down = (self.cells.len() / self.columns * self.dots.1 - 1) as f64;
        ((x * across).round() as i64, ((1.0 - y) * down).round() as i64)
    }

    fn mark(&mut self, (x, y): (i64, i64), sign: char) {
        let (x, y) = (x as usize, y as usize);
        let cell = &mut self.cells[y / self.dots.1 * self.columns + x / self.dots.0];
        if self.dots == (1, 1) {
            *cell = sign;
        } else {
            let bits = if *cell == ' ' { 0x2800 } else { *cell as u32 };
            *cell = char::from_u32(bits | DOTS[y % 4][x % 2]).unwrap_or(*cell);
        }
    }

    /// Marks every dot, or every other pair of dots, between two.
    fn line(&mut self, from: (i64, i64), to: (i64, i64), sign: char, dashed: bool) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).max(1);
        for i in 0..=steps {
            let at = |a: i64, b: i64| a + ((b - a) as f64 * i as f64 / steps as f64).round() as i64;
            let dot = (at(from.0, to.0), at(from.1, to.1));
            if !dashed || (dot.0 + dot.1).rem_euclid(4) < 2 {
                self.mark(dot, sign);
            }
        }
    }

    fn series(&mut self, figure: &Figure, series: &Series, axes: &(Axis, Axis), sign: char) {
        for run in figure.runs(series) {
            let dots: Vec<(i64, i64)> =
                run.iter().map(|&(x, y)| self.dot(axes.0.place(x), axes.1.place(y))).collect();
            if matches!(series.style, Style::Points | Style::Band) || dots.len() == 1 {
                dots.iter().for_each(|&dot| self.mark(dot, sign));
            } else {
                let dashed = series.style == Style::Dashed;
                dots.windows(2).for_each(|pair| self.line(pair[0], pair[1], sign, dashed));
            }
        }
    }
}

/// The figure, `columns` wide, with `lines` lines between the axes.
pub(crate) fn plot(
    figure: &Figure,
    columns: usize,
    lines: usize,
    charset: Charset,
) -> Result<String> {
    let lines = lines.clamp(3, 1000);
    let axes = figure.axes((columns.clamp(20, 1000) / 14, lines / 3))?;
    let labels: Vec<String> = axes.1.ticks.iter().map(|&tick| axes.1.label(tick)).collect();
    let margin = labels.iter().map(|label| width(label)).max().unwrap_or(0);
    let room = columns.clamp(20, 1000).saturating_sub(margin + 2).max(8);
    let braille = charset == Charset::Unicode && figure.series.len() == 1;
    let mut field = Field::new(room, lines, if braille { (2, 4) } else { (1, 1) });
    let signs = charset.pick(SIGNS, LETTERS);
    let edge = charset.pick('·', '.');
    let sign = |(series, tone): (&Series, &usize)| match series.style {
        Style::Band => edge,
        _ => signs[tone % signs.len()],
    };
    let tones = figure.tones(&[]);
    let series: Vec<(&Series, char)> =
        figure.series.iter().zip(&tones).map(|pair| (pair.0, sign(pair))).collect();
    let band = |entry: &&(&Series, char)| entry.0.style == Style::Band;
    let (below, above) = (series.iter().filter(band), series.iter().filter(|entry| !band(entry)));
    for (series, sign) in below.chain(above) {
        field.series(figure, series, &axes, *sign);
    }

    let mut text = Vec::new();
    text.extend((!figure.title.is_empty()).then(|| clean(&figure.title)));
    if figure.series.len() > 1 {
        let named = |s: &&Series| s.style != Style::Band || !s.name.is_empty();
        let names = series.iter().filter(|(series, _)| named(series));
        let names = names.map(|(series, sign)| format!("{sign} {}", clean(&series.name)));
        text.push(names.collect::<Vec<_>>().join("   "));
    }
    text.extend((!figure.y_label.is_empty()).then(|| clean(&figure.y_label)));
    let rows: Vec<usize> = axes.1.ticks.iter().map(|&tick| row(&axes.1, tick, lines)).collect();
    for (line, cells) in field.cells.chunks(room).enumerate() {
        let label = rows.iter().position(|&row| row == line).map_or("", |tick| &labels[tick]);
        let rule = match label {
            "" => charset.pick('│', '|'),
            _ => charset.pick('┤', '+'),
        };
        let cells: String = cells.iter().collect();
        text.push(format!("{} {rule}{}", right_aligned(label, margin), cells.trim_end()));
    }
    text.extend(floor(&axes.0, margin, room, charset));
    if !figure.x_label.is_empty() {
        let label = clean(&figure.x_label);
        let indent = margin + 2 + room.saturating_sub(width(&label)) / 2;
        text.push(format!("{}{label}", " ".repeat(indent)));
    }
    let limit = margin + 2 + room;
    Ok(text.iter().map(|line| shortened(line.trim_end(), limit, charset) + "\n").collect())
}

/// The line that a tick of the vertical axis stands in.
fn row(axis: &Axis, tick: f64, lines: usize) -> usize {
    ((1.0 - axis.place(tick)) * (lines - 1) as f64).round() as usize
}

/// The horizontal axis and the labels under its ticks, as many as there is room for.
fn floor(axis: &Axis, margin: usize, room: usize, charset: Charset) -> [String; 2] {
    let (line, tick, corner) = charset.pick(('─', '┬', '└'), ('-', '+', '+'));
    let mut rule = vec![line; room];
    let (start, mut labels) = (margin + 2, String::new());
    for &value in &axis.ticks {
        let at = (axis.place(value) * (room - 1) as f64).round() as usize;
        let label = axis.label(value);
        let left = (start + at).saturating_sub(width(&label) / 2);
        let left = left.min((start + room).saturating_sub(width(&label)));
        if labels.is_empty() || left > labels.len() + 1 {
            rule[at] = tick;
            labels.push_str(&" ".repeat(left.saturating_sub(labels.len())));
            labels.push_str(&label);
        }
    }
    let rule: String = rule.into_iter().collect();
    [format!("{} {corner}{rule}", " ".repeat(margin)), labels]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(series: usize, style: Style) -> Figure {
        let points = (0..=20).map(|i| (f64::from(i), f64::from(i * i))).collect();
        let one = match style {
            Style::Band => {
                let x: Vec<f64> = (0..=20).map(f64::from).collect();
                Series::band(&x, &x, &x.iter().map(|x| x * x).collect::<Vec<f64>>())
            }
            _ => Series { name: "square".to_owned(), points, style },
        };
        Figure {
            title: "Squares\u{7}".to_owned(),
            x_label: "number".to_owned(),
            y_label: "square".to_owned(),
            series: vec![one; series],
            ..Figure::default()
        }
    }

    #[test]
    fn plots_keep_to_their_width_and_charset() {
        for style in [Style::Points, Style::Line, Style::Dashed, Style::Band] {
            for series in [1, 2, 9] {
                for (columns, lines) in [(60, 12), (0, 0), (30, 5)] {
                    let figure = figure(series, style);
                    let text = figure.text(columns, lines, Charset::Ascii).unwrap();
                    assert!(text.is_ascii() && !text.contains('\u{7}'), "{text}");
                    let text = figure.text(columns, lines, Charset::Unicode).unwrap();
                    let widest = text.lines().map(width).max().unwrap();
                    assert!(widest <= columns.max(20), "{widest}\n{text}");
                }
            }
        }
    }

    #[test]
    fn a_line_runs_from_corner_to_corner() {
        let series = Series {
            name: String::new(),
            points: vec![(0.0, 0.0), (1.0, 1.0)],
            style: Style::Line,
        };
        let figure = Figure { series: vec![series], ..Figure::default() };
        let text = figure.text(24, 5, Charset::Ascii).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].ends_with('o') && lines[4].contains("|o") | lines[4].contains("+o"),
            "{text}"
        );
        assert_eq!(lines.len(), 7);
    }
}
