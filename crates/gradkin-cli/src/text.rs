//! Text for people: aligned columns, large numbers, lists that stop in time.

/// Which side a column is aligned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of cells as lines with aligned columns, two spaces apart; a short row ends early.
pub(crate) fn columns(rows: &[Vec<String>], align: &[Align]) -> Vec<String> {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..align.len()).map(|c| width(c).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(align).zip(&widths).map(|((cell, align), width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        // Names come from files, and must not steer the terminal.
        cells.collect::<Vec<_>>().join("  ").trim_end().replace(char::is_control, " ")
    };
    rows.iter().map(line).collect()
}

/// The text on one line and without control characters, so that no name in a file can steer a
/// terminal.
pub(crate) fn clean(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A count with thousands apart: `1,234,567`.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A large number in three digits: `1.23e9` as `1.23 G`.
pub(crate) fn short(number: f64) -> String {
    const UNITS: [(f64, &str); 5] = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match UNITS.iter().find(|(size, _)| number >= *size) {
        Some((size, unit)) => format!("{} {unit}", three_digits(number / size)),
        None => format!("{number:.0}"),
    }
}

/// Bytes in powers of 1024: `1.5 GiB`.
pub(crate) fn bytes(count: f64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let size = |shift: u32| (1u64 << shift) as f64;
    match UNITS.iter().find(|(shift, _)| count >= size(*shift)) {
        Some((shift, unit)) => format!("{} {unit}", three_digits(count / size(*shift))),
        None => format!("{count:.0} bytes"),
    }
}

fn three_digits(number: f64) -> String {
    let decimals = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
    format!("{number:.decimals$}")
}

/// `part` of `whole` as a percentage.
pub(crate) fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Three digits of a number, or all of a whole one: `0.0123`, `12.3`, `7`, `1,234`, `1.23e-7`.
pub(crate) fn significant(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return format!("{number}");
    }
    let magnitude = number.abs().log10().floor() as i32;
    if !(-4..9).contains(&magnitude) {
        return format!("{number:.2e}");
    }
    if magnitude >= 3 {
        let sign = if number < 0.0 { "-" } else { "" };
        return format!("{sign}{}", count(number.abs().round() as usize));
    }
    let decimals = if number.fract() == 0.0 { 0 } else { (2 - magnitude).max(0) as usize };
    format!("{number:.decimals$}")
}

/// A part of the whole in per cent, in three digits.
pub(crate) fn share(part: f64) -> String {
    format!("{} %", significant(100.0 * part))
}

/// A shape: `[1, 28, 28]`.
pub(crate) fn shape(lengths: &[usize]) -> String {
    format!("{lengths:?}")
}

/// The first few of a list, and how many more there are.
pub(crate) fn first_few<T: ToString>(list: &[T]) -> String {
    const SHOWN: usize = 8;
    let mut text: Vec<String> = list.iter().take(SHOWN).map(T::to_string).collect();
    if list.len() > SHOWN {
        text.push(format!("… ({} in all)", list.len()));
    }
    text.join(", ")
}

/// `1 example`, `2 examples`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// At most `count` numbers below `below`, evenly spread.
pub(crate) fn spread(below: usize, count: usize) -> Vec<usize> {
    let count = count.min(below);
    (0..count).map(|i| i * below / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(short(1.234e9), "1.23 G");
        assert_eq!(short(12.0), "12");
        assert_eq!(bytes(1536.0), "1.50 KiB");
        assert_eq!(percent(1, 8), "12.5 %");
        assert_eq!(counted(1, "example"), "1 example");
        let shown = [0.0, 0.012345, -12.34, 7.0, 1234.5, 1.234e-7].map(significant);
        assert_eq!(shown, ["0", "0.0123", "-12.3", "7", "1,235", "1.23e-7"]);
        assert_eq!((share(0.5), share(0.123)), ("50 %".into(), "12.3 %".into()));
    }

    #[test]
    fn lists_stop_in_time() {
        assert_eq!(first_few(&[1, 2]), "1, 2");
        let long: Vec<usize> = (0..20).collect();
        assert_eq!(first_few(&long), "0, 1, 2, 3, 4, 5, 6, 7, … (20 in all)");
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
        assert_eq!(spread(2, 4), [0, 1]);
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n c"), "a [31mb c");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".to_string(), "10".into()], vec!["bcd".into(), "5".into()]];
        assert_eq!(columns(&rows, &[Align::Left, Align::Right]), ["a    10", "bcd   5"]);
    }
}
