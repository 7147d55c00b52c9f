//! A table of results: named columns of one length, with gaps where a value does
//! not exist, and the settings that made it.

use std::path::Path;

use crate::error::{DataError, Result, show};
use crate::write::AtomicFile;

/// The values of a column. Where a column has gaps, the value there is a placeholder.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// 64-bit integers.
    I64(Vec<i64>),
    /// 32-bit unsigned integers.
    U32(Vec<u32>),
    /// Single-precision floats.
    F32(Vec<f32>),
    /// Double-precision floats.
    F64(Vec<f64>),
    /// Text.
    Text(Vec<String>),
    /// Yes or no.
    Bool(Vec<bool>),
}

impl Values {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::I64(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::Text(v) => v.len(),
            Self::Bool(v) => v.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Values and, if some may be absent, which are present. Made from a vector of
/// values or of options.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnData {
    pub(super) values: Values,
    pub(super) present: Option<Vec<bool>>,
}

impl ColumnData {
    /// The values; a placeholder where one is absent.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Whether row `row` has a value.
    pub fn is_present(&self, row: usize) -> bool {
        match &self.present {
            Some(present) => present.get(row).copied().unwrap_or(false),
            None => row < self.values.len(),
        }
    }
}

impl From<Values> for ColumnData {
    fn from(values: Values) -> Self {
        Self { values, present: None }
    }
}

macro_rules! column {
    ($type:ty, $variant:ident) => {
        impl From<Vec<$type>> for ColumnData {
            fn from(values: Vec<$type>) -> Self {
                Self { values: Values::$variant(values), present: None }
            }
        }

        impl From<Vec<Option<$type>>> for ColumnData {
            fn from(values: Vec<Option<$type>>) -> Self {
                let present = Some(values.iter().map(Option::is_some).collect());
                let values = values.into_iter().map(Option::unwrap_or_default).collect();
                Self { values: Values::$variant(values), present }
            }
        }
    };
}

column!(i64, I64);
column!(u32, U32);
column!(f32, F32);
column!(f64, F64);
column!(String, Text);
column!(bool, Bool);

/// A table to be written as Parquet, CSV or JSON.
///
/// ```
/// use gradkin_data::write::Table;
/// let mut table = Table::new();
/// table.push("id", vec![7_i64, 8])?;
/// table.push("label_score", vec![Some(0.25_f32), None])?;
/// let mut csv = Vec::new();
/// table.write_csv(&mut csv).unwrap();
/// assert_eq!(csv, b"id,label_score\n7,0.25\n8,\n");
/// # Ok::<(), gradkin_data::DataError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub(super) columns: Vec<(String, ColumnData)>,
    pub(super) metadata: Vec<(String, String)>,
}

impl Table {
    /// A table without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column on the right; an error if its length is not the other
    /// columns', or its name is empty or taken.
    pub fn push(&mut self, name: impl Into<String>, data: impl Into<ColumnData>) -> Result<()> {
        let (name, data) = (name.into(), data.into());
        let refuse =
            |problem: String| Err(DataError::table("result table", problem, "mend the caller"));
        if name.is_empty() || self.column(&name).is_some() {
            return refuse(format!("a column's name is empty or taken: {name:?}"));
        }
        if !self.columns.is_empty() && data.values.len() != self.rows() {
            let (found, rows) = (data.values.len(), self.rows());
            return refuse(format!("column {name:?} has {found} rows, the others {rows}"));
        }
        self.columns.push((name, data));
        Ok(())
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, data)| data.values.len())
    }

    /// The columns' names, from the left.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&ColumnData> {
        self.columns.iter().find(|(other, _)| other == name).map(|(_, data)| data)
    }

    /// Notes a setting that made the table. Parquet keeps it in the file; CSV and
    /// JSON have no place for it.
    pub fn set_metadata(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        self.metadata.retain(|(other, _)| *other != key);
        self.metadata.push((key, value));
    }

    /// Writes the table to `path`, in the format its extension names: `.parquet`,
    /// `.csv`, `.json` (one array of records) or `.jsonl` (a record per line).
    ///
    /// Errors: another extension, a path that cannot be written, a full disk.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let format = Format::of(path)?;
        let mut file = AtomicFile::create(path)?;
        let written = match format {
            Format::Parquet => self.write_parquet(&mut file),
            Format::Csv => self.write_csv(&mut file),
            Format::Json => self.write_json(&mut file),
            Format::JsonLines => self.write_json_lines(&mut file),
        };
        written.map_err(|e| DataError::io("write", path, e))?;
        file.persist()
    }

    /// Finds out, before the work, whether a table could be written to `path`.
    ///
    /// Errors: an extension that names no format, or as [`AtomicFile::check_writable`].
    pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
        Format::of(path.as_ref())?;
        AtomicFile::check_writable(path)
    }
}

enum Format {
    Parquet,
    Csv,
    Json,
    JsonLines,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        Ok(match extension.as_str() {
            "parquet" => Self::Parquet,
            "csv" => Self::Csv,
            "json" => Self::Json,
            "jsonl" => Self::JsonLines,
            _ => {
                let reason = "a table's name ends in .parquet, .csv, .json or .jsonl";
                return Err(DataError::Unwritable { path: show(path), reason: reason.into() });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_must_agree() {
        let mut table = Table::new();
        table.push("a", vec![1_i64, 2]).unwrap();
        let error = table.push("b", vec![true]).unwrap_err().to_string();
        assert!(error.contains("column \"b\" has 1 rows, the others 2"), "{error}");
        assert!(table.push("a", vec![true, false]).is_err());
        assert!(table.push("", vec![true, false]).is_err());
        assert_eq!((table.rows(), table.names()), (2, vec!["a"]));
    }

    #[test]
    fn extensions_choose_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let error = Table::new().write(folder.path().join("x.txt")).unwrap_err().to_string();
        assert!(error.contains(".parquet, .csv, .json or .jsonl"), "{error}");
        for name in ["x.parquet", "x.csv", "x.json", "x.JSONL"] {
            let path = folder.path().join(name);
            Table::check_writable(&path).unwrap();
            let mut table = Table::new();
            table.push("a", vec![0.5_f64]).unwrap();
            table.write(&path).unwrap();
            assert!(path.metadata().unwrap().len() > 0);
        }
    }
}
