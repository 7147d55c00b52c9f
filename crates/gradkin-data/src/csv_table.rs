//! Tables with a header row: numeric columns become the features of `[n, c]`
//! examples, one column may be the label. A column is numeric when its first
//! value is; a later value that is not a number is then an error, so that one
//! typing mistake cannot quietly remove a feature.

use std::io::Read;

use crate::array::{Array, ArrayData};
use crate::bytes::{BoundedLines, Source};
use crate::error::{DataError, Result};
use crate::labels::{LabelKind, Labels};

const FORMAT: &str = "CSV";
const LABEL_NAMES: [&str; 5] = ["label", "labels", "y", "target", "class"];

/// What to do about gaps in a table (an empty cell, `NA`, `N/A`, `NaN`, `null`, `none`, `?`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// Refuse the table, naming the first gap.
    #[default]
    Error,
    /// Leave rows with a gap out.
    Drop,
    /// Put the mean of the column's other values there. A missing label is still refused.
    Mean,
}

/// How a table is to be read. The default takes every numeric column as a feature.
#[derive(Debug, Clone, Default)]
pub struct TableOptions {
    /// The column that holds the labels.
    pub label: Option<String>,
    /// How the label column is to be understood.
    pub label_kind: LabelKind,
    /// The only columns to take as features, if any are named; they must be numeric.
    pub keep: Vec<String>,
    /// Columns to leave out.
    pub drop: Vec<String>,
    /// What to do about gaps.
    pub missing: Missing,
    /// The character between cells; by default whichever of `,`, `;` and tab the header has most of.
    pub delimiter: Option<u8>,
}

/// A table as it was read.
pub(crate) struct TableData {
    pub(crate) features: Array,
    pub(crate) labels: Option<Labels>,
    /// The features' column names.
    pub(crate) names: Vec<String>,
    /// The row (from 0) each example came from, where rows were left out.
    pub(crate) ids: Option<Vec<usize>>,
    /// What was left out, for people.
    pub(crate) notes: Vec<String>,
}

pub(crate) fn read(source: Source, options: &TableOptions) -> Result<TableData> {
    let mut columns = Columns::new(Rows::open(source, options.delimiter)?, options)?;
    columns.read_rows()?;
    columns.finish(options)
}

/// Reads one column as labels: `column`, or the only one, or one called like a label.
pub(crate) fn read_labels(source: Source, column: Option<&str>) -> Result<Labels> {
    let rows = Rows::open(source, None)?;
    let chosen = match (column, rows.header.as_slice()) {
        (Some(column), _) => column.to_owned(),
        (None, [only]) => only.clone(),
        (None, all) => {
            let named = all.iter().find(|h| LABEL_NAMES.contains(&h.to_lowercase().as_str()));
            named.cloned().ok_or_else(|| {
                let problem = format!("several columns could hold the labels ({})", all.join(", "));
                DataError::table(&rows.path, problem, "say which one")
            })?
        }
    };
    let drop = rows.header.iter().filter(|h| **h != chosen).cloned().collect();
    let options = TableOptions { label: Some(chosen), drop, ..TableOptions::default() };
    let mut columns = Columns::new(rows, &options)?;
    columns.read_rows()?;
    let path = &columns.rows.path;
    columns.labels(&options, None)?.ok_or_else(|| DataError::empty(path, "it has no labels"))
}

/// A table whose header has been read.
struct Rows<'a> {
    reader: csv::Reader<BoundedLines<Box<dyn std::io::BufRead + 'a>>>,
    path: String,
    header: Vec<String>,
}

impl<'a> Rows<'a> {
    fn open(mut source: Source<'a>, delimiter: Option<u8>) -> Result<Self> {
        let path = source.name().to_owned();
        let delimiter = match delimiter {
            Some(delimiter) => delimiter,
            None => likely_delimiter(source.peek()?),
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .trim(csv::Trim::All)
            .from_reader(BoundedLines::new(source.into_reader()));
        let header = reader.headers().map_err(|e| csv_error(&path, &e))?;
        let header = header.iter().map(str::to_owned).collect();
        Ok(Self { reader, path, header })
    }

    /// Reads the next row; whether there was one.
    fn next(&mut self, record: &mut csv::StringRecord) -> Result<bool> {
        self.reader.read_record(record).map_err(|e| csv_error(&self.path, &e))
    }
}

fn likely_delimiter(start: &[u8]) -> u8 {
    let line = start.split(|&b| b == b'\n').next().unwrap_or(start);
    let count = |d: u8| line.iter().filter(|&&b| b == d).count();
    // The last of several equal maxima wins, so the comma stands last.
    [b'\t', b';', b','].into_iter().max_by_key(|&d| count(d)).unwrap_or(b',')
}

fn csv_error(name: &str, error: &csv::Error) -> DataError {
    DataError::malformed(name, FORMAT, error.to_string())
}

fn is_gap(cell: &str) -> bool {
    const GAPS: [&str; 7] = ["", "na", "n/a", "nan", "null", "none", "?"];
    cell.len() <= 4 && GAPS.iter().any(|gap| cell.eq_ignore_ascii_case(gap))
}

/// One column while rows arrive. Gaps are NaN, or empty text.
enum Column {
    /// Left out by request.
    Dropped,
    /// Not numeric, left out.
    Text,
    /// A feature, perhaps: numbers or gaps so far.
    Numbers(Vec<f64>),
    /// The labels.
    Label(Vec<String>),
}

struct Columns<'a> {
    rows: Rows<'a>,
    columns: Vec<Column>,
    /// Whether the features were named, so that text is a mistake.
    named: bool,
    count: usize,
}

impl<'a> Columns<'a> {
    fn new(rows: Rows<'a>, options: &TableOptions) -> Result<Self> {
        check_header(&rows.path, &rows.header, options)?;
        let columns = rows.header.iter().map(|name| Self::role(name, options)).collect();
        Ok(Self { rows, columns, named: !options.keep.is_empty(), count: 0 })
    }

    fn role(name: &String, options: &TableOptions) -> Column {
        if options.label.as_ref() == Some(name) {
            Column::Label(Vec::new())
        } else if options.drop.contains(name)
            || (!options.keep.is_empty() && !options.keep.contains(name))
        {
            Column::Dropped
        } else {
            Column::Numbers(Vec::new())
        }
    }

    fn read_rows(&mut self) -> Result<()> {
        let mut record = csv::StringRecord::new();
        while self.rows.next(&mut record)? {
            self.count += 1;
            for (at, cell) in record.iter().enumerate() {
                self.read_cell(at, cell)?;
            }
        }
        if self.count == 0 {
            return Err(DataError::empty(&self.rows.path, "there is nothing below its header row"));
        }
        Ok(())
    }

    fn read_cell(&mut self, at: usize, cell: &str) -> Result<()> {
        match &mut self.columns[at] {
            Column::Dropped | Column::Text => {}
            Column::Label(texts) => {
                texts.push(if is_gap(cell) { String::new() } else { cell.to_owned() });
            }
            Column::Numbers(values) if is_gap(cell) => values.push(f64::NAN),
            Column::Numbers(values) => match cell.parse::<f64>() {
                Ok(x) if x.is_finite() => values.push(x),
                Err(_) if !self.named && values.iter().all(|x| x.is_nan()) => {
                    self.columns[at] = Column::Text;
                }
                _ => return Err(self.not_a_number(at, cell)),
            },
        }
        Ok(())
    }

    fn not_a_number(&self, at: usize, cell: &str) -> DataError {
        let column = &self.rows.header[at];
        let problem = format!(
            "row {} has {cell:?} in column {column:?}, where a finite number is wanted",
            self.count
        );
        let remedy = format!("mend the cell, or leave the column out with --drop {column}");
        DataError::table(&self.rows.path, problem, remedy)
    }

    fn finish(self, options: &TableOptions) -> Result<TableData> {
        let ids = self.kept_rows(options.missing)?;
        let labels = self.labels(options, ids.as_deref())?;
        let mut notes = self.notes(ids.as_deref());
        let (names, columns) = self.features(options.missing, &mut notes)?;
        let (width, rows) = (names.len(), ids.as_ref().map_or(self.count, Vec::len));
        let mut values = Vec::with_capacity(rows * width);
        for example in 0..rows {
            let row = ids.as_ref().map_or(example, |ids| ids[example]);
            values.extend(columns.iter().map(|(column, gap)| fill(column[row], *gap)));
        }
        let features = Array::new(vec![rows, width], ArrayData::F64(values))?;
        Ok(TableData { features, labels, names, ids, notes })
    }

    /// The rows without gaps, where rows with gaps are to be left out and there are some.
    fn kept_rows(&self, missing: Missing) -> Result<Option<Vec<usize>>> {
        if missing != Missing::Drop {
            return Ok(None);
        }
        let whole = |row: &usize| {
            self.columns.iter().all(|column| match column {
                Column::Numbers(values) => !values[*row].is_nan(),
                Column::Label(texts) => !texts[*row].is_empty(),
                Column::Dropped | Column::Text => true,
            })
        };
        let kept: Vec<usize> = (0..self.count).filter(whole).collect();
        if kept.is_empty() {
            let reason = "every row has a gap; fill them with --missing mean";
            return Err(DataError::empty(&self.rows.path, reason));
        }
        Ok((kept.len() < self.count).then_some(kept))
    }

    fn labels(&self, options: &TableOptions, ids: Option<&[usize]>) -> Result<Option<Labels>> {
        let found =
            self.columns.iter().zip(&self.rows.header).find_map(|(column, name)| match column {
                Column::Label(texts) => Some((texts, name)),
                _ => None,
            });
        let Some((texts, name)) = found else { return Ok(None) };
        let texts: Vec<String> = match ids {
            Some(ids) => ids.iter().map(|&row| texts[row].clone()).collect(),
            None => texts.clone(),
        };
        if let Some(row) = texts.iter().position(String::is_empty) {
            let problem = format!("row {} has no label in column {name:?}", row + 1);
            let remedy = "leave such rows out with --missing drop";
            return Err(DataError::table(&self.rows.path, problem, remedy));
        }
        let name = format!("{}, column {name:?}", self.rows.path);
        Labels::from_texts(texts, options.label_kind, &name).map(Some)
    }

    fn gap(&self, row: usize, column: &str) -> DataError {
        DataError::Missing { path: self.rows.path.clone(), row: row + 1, column: column.into() }
    }

    fn notes(&self, ids: Option<&[usize]>) -> Vec<String> {
        let text = self.columns.iter().zip(&self.rows.header);
        let text = text
            .filter(|(column, _)| matches!(column, Column::Text))
            .map(|(_, name)| format!("column {name:?} holds text and was left out"));
        let dropped = ids.map(|ids| {
            format!("{} of {} rows have gaps and were left out", self.count - ids.len(), self.count)
        });
        text.chain(dropped).collect()
    }

    /// The numeric columns, each with what to put into its gaps.
    fn features(
        &self,
        missing: Missing,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<String>, Vec<Feature<'_>>)> {
        let (mut names, mut features) = (Vec::new(), Vec::new());
        for (column, name) in self.columns.iter().zip(&self.rows.header) {
            let Column::Numbers(values) = column else { continue };
            let gaps = values.iter().filter(|x| x.is_nan()).count();
            if gaps == values.len() || (gaps > 0 && missing == Missing::Error) {
                let row = values.iter().position(|x| x.is_nan()).unwrap_or(0);
                return Err(self.gap(row, name));
            }
            if gaps > 0 && missing == Missing::Mean {
                notes.push(format!("{gaps} gaps in column {name:?} were filled with its mean"));
            }
            names.push(name.clone());
            features.push((values.as_slice(), mean(values)));
        }
        if names.is_empty() {
            let remedy = "name numeric columns, or turn text into numbers first";
            return Err(DataError::table(
                &self.rows.path,
                "no column is a numeric feature",
                remedy,
            ));
        }
        Ok((names, features))
    }
}

/// A feature's values, and what to put into its gaps.
type Feature<'a> = (&'a [f64], f64);

fn fill(value: f64, gap: f64) -> f64 {
    if value.is_nan() { gap } else { value }
}

fn mean(values: &[f64]) -> f64 {
    let known = values.iter().filter(|x| !x.is_nan());
    let count = known.clone().count() as f64;
    known.map(|x| x / count).sum()
}

fn check_header(path: &str, header: &[String], options: &TableOptions) -> Result<()> {
    if header.is_empty() {
        return Err(DataError::empty(path, "the file has no header row"));
    }
    if header.iter().all(|name| name.parse::<f64>().is_ok()) {
        let problem = "its first row is all numbers, where column names are wanted";
        return Err(DataError::table(path, problem, "put a header row on top"));
    }
    if let Some(twice) = header.iter().enumerate().find(|(i, name)| header[..*i].contains(name)) {
        let problem = format!("two columns are called {:?}", twice.1);
        return Err(DataError::table(path, problem, "rename one"));
    }
    let named = options.label.iter().chain(&options.keep).chain(&options.drop);
    for name in named {
        if !header.contains(name) {
            let problem = format!("there is no column {name:?}");
            let remedy = format!("its columns are {}", header.join(", "));
            return Err(DataError::table(path, problem, remedy));
        }
    }
    Ok(())
}

/// Whether `start` may be the beginning of a table: text with a delimiter in its first line.
pub(crate) fn looks_like(start: &[u8]) -> bool {
    let mut line = Vec::new();
    let _ = start.take(4096).read_to_end(&mut line);
    let first = line.split(|&b| b == b'\n').next().unwrap_or_default();
    !first.is_empty() && !first.contains(&0) && first.iter().any(|b| b",;\t".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a,b,where,y\n1,2,sea,0.5\n3,NA,hill,1.5\n5,6,sea,2.5\n";

    fn read_text(text: &str, options: &TableOptions) -> Result<TableData> {
        read(Source::memory(text.as_bytes()), options)
    }

    fn labelled(missing: Missing) -> TableOptions {
        TableOptions { label: Some("y".into()), missing, ..TableOptions::default() }
    }

    fn say(text: &str, options: &TableOptions) -> String {
        read_text(text, options).err().unwrap().to_string()
    }

    #[test]
    fn gaps_are_named_dropped_or_filled() {
        let error = say(TEXT, &labelled(Missing::Error));
        assert!(error.contains("row 2 has no value in column \"b\""), "{error}");
        let dropped = read_text(TEXT, &labelled(Missing::Drop)).unwrap();
        assert_eq!(dropped.features.data(), &ArrayData::F64(vec![1.0, 2.0, 5.0, 6.0]));
        assert_eq!(dropped.labels, Some(Labels::Targets { values: vec![0.5, 2.5], width: 1 }));
        assert_eq!(dropped.ids, Some(vec![0, 2]));
        let filled = read_text(TEXT, &labelled(Missing::Mean)).unwrap();
        assert_eq!(filled.features.data(), &ArrayData::F64(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!(filled.names, ["a", "b"]);
        assert!(filled.notes[0].contains("\"where\" holds text"));
    }

    #[test]
    fn text_labels_are_classes() {
        let options = TableOptions {
            label: Some("where".into()),
            drop: vec!["b".into()],
            ..TableOptions::default()
        };
        let table = read_text(TEXT, &options).unwrap();
        let names = Some(vec!["hill".to_string(), "sea".to_string()]);
        assert_eq!(table.labels, Some(Labels::Classes { ids: vec![1, 0, 1], names }));
        assert_eq!(table.names, ["a", "y"]);
    }

    #[test]
    fn mistakes_are_named() {
        let plain = TableOptions::default();
        assert!(say("a,b\n1,2\n1,x\n", &plain).contains("row 2 has \"x\" in column \"b\""));
        assert!(say("a,b\n1,inf\n", &plain).contains("finite"));
        assert!(say("a,b\n1\n", &plain).contains("line: 2"));
        assert!(say("a,a\n1,2\n", &plain).contains("two columns"));
        assert!(say("1,2\n3,4\n", &plain).contains("header row on top"));
        assert!(say("a,b\n", &plain).contains("below its header"));
        assert!(say("", &plain).contains("no header row"));
        assert!(say("a\nx\n", &plain).contains("no column is a numeric feature"));
        let absent = TableOptions { drop: vec!["z".into()], ..TableOptions::default() };
        assert!(say(TEXT, &absent).contains("its columns are a, b, where, y"));
        let keep = TableOptions { keep: vec!["where".into()], ..TableOptions::default() };
        assert!(say(TEXT, &keep).contains("row 1 has \"sea\""));
    }

    #[test]
    fn delimiters_and_labels_alone() {
        let table = read_text("a;b\n1;2,\n", &TableOptions::default());
        assert!(table.is_ok_and(|t| t.names == ["a"]));
        let labels = |text: &str, column| read_labels(Source::memory(text.as_bytes()), column);
        let ids = Labels::Classes { ids: vec![4, 5], names: None };
        assert_eq!(labels("id\tlabel\nx\t4\ny\t5\n", None).unwrap(), ids);
        assert_eq!(labels("what\n4\n5\n", None).unwrap(), ids);
        assert_eq!(labels("p,q\n1,4\n2,5\n", Some("q")).unwrap(), ids);
        assert!(labels("p,q\n1,4\n", None).unwrap_err().to_string().contains("say which"));
    }
}
