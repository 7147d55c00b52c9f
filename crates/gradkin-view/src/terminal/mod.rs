//! What a terminal can show: histograms, plots, tables and pictures, as text.
//!
//! Nothing is printed here; the caller says how wide the terminal is and whether it knows more than
//! ASCII. Text that comes from data (labels, names) is stripped of control characters, so that no
//! data set can steer a terminal.

mod histogram;
mod picture;
mod plot;
mod table;

use unicode_width::UnicodeWidthStr;

pub use histogram::{Histogram, histogram};
pub use picture::{beside, picture};
pub(crate) use plot::plot;
pub use table::table;

/// Which characters may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Charset {
    /// Blocks, braille and box lines.
    #[default]
    Unicode,
    /// Only the characters of ASCII, but for the caller's own words.
    Ascii,
}

impl Charset {
    fn pick<T>(self, unicode: T, ascii: T) -> T {
        match self {
            Self::Unicode => unicode,
            Self::Ascii => ascii,
        }
    }
}

/// The text with every control character replaced by a space.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// How many columns a text takes.
fn width(text: &str) -> usize {
    text.width()
}

/// The text, or its beginning and a mark of omission, in at most `limit` columns.
fn shortened(text: &str, limit: usize, charset: Charset) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mark = charset.pick("…", "~");
    let mut kept = String::new();
    for letter in text.chars() {
        kept.push(letter);
        if width(&kept) + 1 > limit {
            kept.pop();
            break;
        }
    }
    if limit == 0 { String::new() } else { kept + mark }
}

/// The text with spaces after it, up to `columns`.
fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The text with spaces before it, up to `columns`.
fn right_aligned(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_count_twice() {
        assert_eq!(width("日本"), 4);
        assert_eq!(shortened("日本語", 5, Charset::Unicode), "日本…");
        assert_eq!(shortened("日本語", 4, Charset::Unicode), "日…");
        assert_eq!(shortened("abc", 0, Charset::Ascii), "");
        assert_eq!(padded("日", 4), "日  ");
        assert_eq!(right_aligned("7", 3), "  7");
    }

    #[test]
    fn data_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n\u{9b}c"), "a [31mb  c");
    }
}
