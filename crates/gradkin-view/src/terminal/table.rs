//! A table in columns: numbers to the right, words to the left, a rule under the header.

use super::{Charset, clean, padded, right_aligned, shortened, width};

/// Between two columns.
const GAP: usize = 2;
/// No column of words is made narrower than this.
const LEAST: usize = 4;

/// A table at most `columns` wide. A column whose entries are all numbers (or empty, or a dash) is
/// set to the right; columns of words are shortened where there is not enough room, and if that is
/// not enough, the last columns give way to one of "…".
///
/// ```
/// use gradkin_view::terminal::{Charset, table};
///
/// let rows = [["17", "seven", "0.95"], ["204", "one", "-0.5"]];
/// let rows = rows.map(|row| row.map(String::from).to_vec());
/// assert_eq!(table(&["example", "label", "similarity"], &rows, 80, Charset::Ascii), "\
/// example  label  similarity
/// -------  -----  ----------
///      17  seven        0.95
///     204  one          -0.5
/// ");
/// ```
pub fn table(header: &[&str], rows: &[Vec<String>], columns: usize, charset: Charset) -> String {
    let mut table: Vec<Column> =
        (0..header.len()).map(|i| Column::new(header[i], rows, i)).collect();
    fit(&mut table, columns, charset);
    let rule = table.iter().map(|column| charset.pick("─", "-").repeat(column.width));
    let mut lines = vec![line(&table, 0, charset), rule.collect::<Vec<_>>().join(&" ".repeat(GAP))];
    lines.extend((0..rows.len()).map(|row| line(&table, row + 1, charset)));
    lines.into_iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

struct Column {
    /// The header and the entries.
    entries: Vec<String>,
    width: usize,
    numbers: bool,
}

impl Column {
    fn new(header: &str, rows: &[Vec<String>], i: usize) -> Self {
        let cells = rows.iter().map(|row| row.get(i).map_or(String::new(), |cell| clean(cell)));
        let cells: Vec<String> = cells.collect();
        let numbers = !cells.is_empty() && cells.iter().all(|cell| is_number(cell));
        let entries: Vec<String> = std::iter::once(clean(header)).chain(cells).collect();
        let width = entries.iter().map(|entry| width(entry)).max().unwrap_or(0);
        Self { entries, width, numbers }
    }

    /// The narrowest it may become.
    fn least(&self) -> usize {
        if self.numbers { self.width } else { self.width.min(LEAST) }
    }
}

fn is_number(cell: &str) -> bool {
    let cell = cell.trim();
    let plain = cell.trim_end_matches('%').trim_end().replace('−', "-");
    ["", "-", "–", "—"].contains(&cell) || plain.parse::<f64>().is_ok()
}

fn total(columns: &[Column], width: impl Fn(&Column) -> usize) -> usize {
    columns.iter().map(width).sum::<usize>() + GAP * columns.len().saturating_sub(1)
}

/// Narrows the widest columns of words, or drops columns from the end, until the table fits.
fn fit(table: &mut Vec<Column>, columns: usize, charset: Charset) {
    let mark = charset.pick("…", "~");
    while table.len() > 1 && total(table, Column::least) > columns {
        table.truncate(table.len().saturating_sub(2).max(1));
        let entries = vec![mark.to_owned(); table.first().map_or(0, |first| first.entries.len())];
        table.push(Column { entries, width: 1, numbers: false });
        if table.len() == 2 {
            break;
        }
    }
    while total(table, |column| column.width) > columns {
        let words = table.iter_mut().filter(|column| column.width > column.least());
        let Some(widest) = words.max_by_key(|column| column.width) else { break };
        widest.width -= 1;
    }
}

fn line(table: &[Column], row: usize, charset: Charset) -> String {
    let cells = table.iter().map(|column| {
        let text = shortened(&column.entries[row], column.width, charset);
        if column.numbers {
            right_aligned(&text, column.width)
        } else {
            padded(&text, column.width)
        }
    });
    cells.collect::<Vec<_>>().join(&" ".repeat(GAP))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn only_columns_of_numbers_are_set_to_the_right() {
        let rows = rows(&[&["1", "−2.5e3", "7"], &["-", "90 %", "x"], &["22"]]);
        let text = table(&["n", "share", "mixed"], &rows, 80, Charset::Unicode);
        assert_eq!(
            text,
            " n   share  mixed\n──  ──────  ─────\n 1  −2.5e3  7\n -    90 %  x\n22\n"
        );
    }

    #[test]
    fn words_are_shortened_before_numbers() {
        let rows = rows(&[&["12345678", "a long file name.png", "0.95"]]);
        let text = table(&["id", "file", "score"], &rows, 26, Charset::Unicode);
        assert!(text.lines().all(|line| width(line) <= 26), "{text}");
        assert!(text.contains("12345678  a long f…   0.95"), "{text}");
    }

    #[test]
    fn columns_without_room_are_marked_as_left_out() {
        let rows = rows(&[&["12345678", "2.25", "0.95", "1.5"]]);
        let text = table(&["id", "a", "b", "c"], &rows, 18, Charset::Ascii);
        assert_eq!(text, "      id     a  ~\n--------  ----  -\n12345678  2.25  ~\n");
        let narrow = table(&["id", "a"], &rows, 3, Charset::Ascii);
        assert!(narrow.contains("12345678  ~"), "{narrow}");
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(table(&["id"], &[], 80, Charset::Ascii), "id\n--\n");
        assert_eq!(table(&[], &[], 80, Charset::Ascii), "\n\n");
    }
}
