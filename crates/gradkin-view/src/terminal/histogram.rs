//! How often values fall into each of some equal ranges, as horizontal bars.

use super::{Charset, right_aligned, shortened, width};
use crate::axis::Axis;

/// Parts of a block, in eighths.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// What a histogram looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// About how many bars, at most 1000; their ends are round numbers.
    pub bins: usize,
    /// The smallest and largest value counted; from the values themselves if `None`.
    pub range: Option<(f64, f64)>,
    /// Columns of the terminal.
    pub columns: usize,
    /// Which characters may be used.
    pub charset: Charset,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { bins: 10, range: None, columns: 80, charset: Charset::Unicode }
    }
}

/// One line per range: its ends, a bar, and the count. Each range holds its lower end, the last one
/// both. A last line tells how many values were not counted: not finite or out of the range.
///
/// ```
/// use gradkin_view::terminal::{Charset, Histogram, histogram};
///
/// let settings = Histogram { bins: 2, columns: 28, charset: Charset::Ascii, range: None };
/// let text = histogram(&[0.0, 0.1, 0.2, 0.7, 1.0, f64::NAN], &settings);
/// assert_eq!(text, "\
/// 0.0 - 0.5  ############### 3
/// 0.5 - 1.0  ##########      2
/// (1 value not shown)
/// ");
/// ```
pub fn histogram(values: &[f64], settings: &Histogram) -> String {
    let (low, high) = settings.range.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    let shown = |value: &f64| value.is_finite() && (low..=high).contains(value);
    let ends = settings.range.map(|(low, high)| [low, high]);
    let inside = values.iter().copied().filter(shown);
    let Some(axis) =
        Axis::fit(inside.chain(ends.into_iter().flatten()), settings.bins.clamp(1, 1000))
    else {
        return left_out(values.len());
    };
    let counts = count(values.iter().copied().filter(shown), &axis);
    let mut text = bars(&axis, &counts, settings);
    text.push_str(&left_out(values.len() - counts.iter().sum::<usize>()));
    text
}

/// How many values lie in each range between ticks.
fn count(values: impl Iterator<Item = f64>, axis: &Axis) -> Vec<usize> {
    let mut counts = vec![0; axis.ticks.len() - 1];
    let last = counts.len() - 1;
    for value in values {
        let bin = axis.ticks.partition_point(|&tick| tick <= value).saturating_sub(1);
        counts[bin.min(last)] += 1;
    }
    counts
}

fn bars(axis: &Axis, counts: &[usize], settings: &Histogram) -> String {
    let charset = settings.charset;
    let labels: Vec<String> = axis.ticks.iter().map(|&tick| axis.label(tick)).collect();
    let ends = labels.iter().map(|label| width(label)).max().unwrap_or(0);
    let largest = counts.iter().copied().max().unwrap_or(0);
    let digits = largest.to_string().len();
    let room = settings.columns.saturating_sub(2 * ends + 3 + 2 + 1 + digits).max(1);
    let lines = counts.iter().zip(labels.windows(2)).map(|(&count, ends_of)| {
        let bar = bar(count, largest, room, charset);
        let (from, to) = (right_aligned(&ends_of[0], ends), right_aligned(&ends_of[1], ends));
        let dash = charset.pick('–', '-');
        let bar = super::padded(&bar, room);
        let line = format!("{from} {dash} {to}  {bar} {count:>digits$}");
        shortened(&line, settings.columns.max(1), charset) + "\n"
    });
    lines.collect()
}

/// A bar whose length is to `room` as `count` to `largest`; a count above 0 is never invisible.
fn bar(count: usize, largest: usize, room: usize, charset: Charset) -> String {
    let parts = charset.pick(8, 1);
    let exact = count as f64 * (room * parts) as f64 / largest.max(1) as f64;
    let length = (exact.round() as usize).max(usize::from(count > 0));
    match charset {
        Charset::Ascii => "#".repeat(length),
        Charset::Unicode => "█".repeat(length / 8) + EIGHTHS[length % 8],
    }
}

fn left_out(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => "(1 value not shown)\n".to_owned(),
        _ => format!("({count} values not shown)\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_wide_as_asked_and_counts_add_up() {
        let values: Vec<f64> = (0..1000).map(|i| (f64::from(i) * 0.37).sin()).collect();
        for charset in [Charset::Unicode, Charset::Ascii] {
            let settings = Histogram { columns: 60, charset, ..Histogram::default() };
            let text = histogram(&values, &settings);
            let counts = text.lines().map(|line| {
                assert_eq!(width(line), 60, "{line}");
                line.split_whitespace().last().unwrap().parse::<usize>().unwrap()
            });
            assert_eq!(counts.sum::<usize>(), 1000);
            assert_eq!(text.is_ascii(), charset == Charset::Ascii);
        }
    }

    #[test]
    fn a_range_leaves_values_out_and_says_so() {
        let settings = Histogram { range: Some((0.0, 1.0)), bins: 2, ..Histogram::default() };
        let text = histogram(&[-1.0, 0.0, 0.5, 1.0, 2.0], &settings);
        assert!(text.ends_with("(2 values not shown)\n"), "{text}");
        assert!(text.lines().nth(1).unwrap().ends_with(" 2"), "{text}");
    }

    #[test]
    fn nothing_and_nonsense_are_survived() {
        assert_eq!(histogram(&[], &Histogram::default()), "");
        assert_eq!(histogram(&[f64::NAN], &Histogram::default()), "(1 value not shown)\n");
        let settings = Histogram { bins: 0, columns: 0, ..Histogram::default() };
        assert!(!histogram(&[3.0, 3.0], &settings).is_empty());
        let settings = Histogram { bins: usize::MAX, ..Histogram::default() };
        assert!(histogram(&[3.0, 4.0], &settings).lines().count() <= 1001);
    }
}
