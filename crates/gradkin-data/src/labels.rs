//! What is given about each example beside its inputs: a class, or numbers to
//! be predicted. Labels come with the data, or from a file of their own.

use std::collections::BTreeMap;
use std::path::Path;

use crate::array::{Array, ArrayData, NOT_WHOLE, whole};
use crate::bytes::Source;
use crate::error::{DataError, Result, show, show_shape};
use crate::{csv_table, idx, npy, npz};

/// The labels of a data set, one (or `width`) per example.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// One class per example.
    Classes {
        /// The class of each example; with names, an index into them.
        ids: Vec<i64>,
        /// The name of each class, where the data has names.
        names: Option<Vec<String>>,
    },
    /// Real numbers to be predicted.
    Targets {
        /// `width` numbers per example, example by example.
        values: Vec<f64>,
        /// How many numbers each example has.
        width: usize,
    },
}

/// How a table's label column is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabelKind {
    /// Text and whole numbers are classes, other numbers are targets.
    #[default]
    Auto,
    /// Classes: whole numbers as they are, text numbered in sorted order.
    Classes,
    /// Numbers to be predicted.
    Targets,
}

impl Labels {
    /// Reads labels from a file of their own: `.npy`, `.npz` (its member
    /// `column`, or `labels`, `label` or `y`), IDX, a table's `column` (needed where the
    /// table has several and none is called `label`, `labels` or `y`), or text
    /// with one label per line; each also gzipped.
    ///
    /// Errors: an unreadable or damaged file, no such column, no labels.
    pub fn open(path: impl AsRef<Path>, column: Option<&str>) -> Result<Self> {
        let path = path.as_ref();
        let name = show(path);
        let mut source = Source::open(path)?;
        let length = source.left();
        let start = source.peek()?;
        let labels = if start.starts_with(npy::MAGIC) {
            Self::from_array(npy::read(&mut source)?, &name)?
        } else if start.starts_with(npz::MAGIC) {
            Self::from_archive(path, column)?
        } else if idx::looks_like(start, length) {
            Self::from_array(idx::read(&mut source)?, &name)?
        } else if is_table(path) {
            csv_table::read_labels(source, column)?
        } else {
            Self::from_lines(&mut source)?
        };
        if labels.is_empty() {
            return Err(DataError::empty(&name, "it has no labels"));
        }
        Ok(labels)
    }

    /// Integers of shape `[n]` or `[n, 1]` as classes, anything else of shape
    /// `[n]` or `[n, width]` as targets. `name` is used in error messages.
    pub fn from_array(array: Array, name: &str) -> Result<Self> {
        let width = match *array.shape() {
            [_] => 1,
            [_, width] => width,
            _ => {
                let found = format!("an array of shape {}", show_shape(array.shape()));
                let remedy = "labels are one number per example, shape [n], or a row, [n, width]";
                return Err(DataError::unsupported(name, found, remedy));
            }
        };
        if width == 1 && array.data().is_integer() {
            return Ok(Self::Classes { ids: array.to_i64()?, names: None });
        }
        let values = array.to_f64()?;
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return Err(DataError::NotFinite {
                path: name.into(),
                example: at / width,
                position: show_shape(&[at % width]),
                value: values[at],
            });
        }
        Ok(Self::Targets { values, width })
    }

    fn from_archive(path: &Path, member: Option<&str>) -> Result<Self> {
        let mut members = npz::read(path, member)?;
        let labels = match members.labels.take() {
            None if members.inputs.len() == 1 => members.inputs.pop().map(|(_, array)| array),
            labels => labels,
        };
        let labels = labels.ok_or_else(|| {
            let remedy = "name the member that holds the labels `labels`";
            DataError::unsupported(&show(path), "no member called labels, label or y", remedy)
        })?;
        Self::from_array(labels, &show(path))
    }

    fn from_lines(source: &mut Source) -> Result<Self> {
        let bytes = source.rest()?;
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            let reason = "it is neither .npy, .npz, IDX nor UTF-8 text with one label per line";
            DataError::malformed(source.name(), "label", reason)
        })?;
        let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        if let Some(gap) = lines.iter().position(String::is_empty) {
            let reason = format!("line {} is empty; every example needs a label", gap + 1);
            return Err(DataError::malformed(source.name(), "label", reason));
        }
        Self::from_texts(lines, LabelKind::Auto, source.name())
    }

    /// Labels as they were written, understood as `kind` asks.
    pub(crate) fn from_texts(texts: Vec<String>, kind: LabelKind, name: &str) -> Result<Self> {
        let as_asked = |t: &String| match kind {
            LabelKind::Classes => t.parse().ok().or_else(|| whole(t.parse().ok()?).ok()),
            _ => t.parse().ok(),
        };
        if kind != LabelKind::Targets
            && let Some(ids) = texts.iter().map(as_asked).collect::<Option<Vec<i64>>>()
        {
            return Ok(Self::Classes { ids, names: None });
        }
        let number = |t: &String| t.parse().ok().filter(|x: &f64| x.is_finite());
        if kind != LabelKind::Classes {
            match texts.iter().map(number).collect::<Option<Vec<f64>>>() {
                Some(values) => return Ok(Self::Targets { values, width: 1 }),
                None if kind == LabelKind::Targets => return Err(not_a_number(&texts, name)),
                None => {}
            }
        }
        Ok(Self::from_names(texts))
    }

    /// Class names, numbered in sorted order.
    fn from_names(texts: Vec<String>) -> Self {
        let mut number: BTreeMap<&str, i64> = texts.iter().map(|t| (t.as_str(), 0)).collect();
        for (next, id) in number.values_mut().enumerate() {
            *id = next as i64;
        }
        let ids = texts.iter().map(|t| number[t.as_str()]).collect();
        let names = number.keys().map(|&name| name.to_owned()).collect();
        Self::Classes { ids, names: Some(names) }
    }

    /// The number of labelled examples.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes { ids, .. } => ids.len(),
            Self::Targets { values, width } => values.len().checked_div(*width).unwrap_or(0),
        }
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of the examples at `rows`, in that order. Rows that do not
    /// exist are left out.
    pub fn subset(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes { ids, names } => Self::Classes {
                ids: rows.iter().filter_map(|&row| ids.get(row).copied()).collect(),
                names: names.clone(),
            },
            Self::Targets { values, width } => {
                let row = |&row: &usize| values.get(row * width..(row + 1) * width);
                Self::Targets {
                    values: rows.iter().filter_map(row).flatten().copied().collect(),
                    width: *width,
                }
            }
        }
    }

    /// The same labels as classes: targets of width 1 that are whole numbers become class ids.
    pub fn into_classes(self, name: &str) -> Result<Self> {
        let Self::Targets { values, width: 1 } = self else { return self.refuse_wide(name) };
        let ids = Array::new(vec![values.len()], ArrayData::F64(values))?.to_i64();
        let ids = ids.map_err(|error| match error {
            DataError::OutOfRange { example, position, value, .. } => DataError::OutOfRange {
                path: name.into(),
                example,
                position,
                value,
                reason: NOT_WHOLE,
            },
            other => other,
        })?;
        Ok(Self::Classes { ids, names: None })
    }

    fn refuse_wide(self, name: &str) -> Result<Self> {
        match self {
            Self::Classes { .. } => Ok(self),
            Self::Targets { width, .. } => Err(DataError::unsupported(
                name,
                format!("{width} numbers per example"),
                "classes are one whole number or name per example",
            )),
        }
    }

    /// The same labels as targets: class ids become numbers. Named classes have no order and are refused.
    pub fn into_targets(self, name: &str) -> Result<Self> {
        match self {
            Self::Classes { ids, names: None } => {
                let array = Array::new(vec![ids.len()], ArrayData::I64(ids))?;
                Ok(Self::Targets { values: array.to_f64()?, width: 1 })
            }
            Self::Classes { .. } => Err(DataError::unsupported(
                name,
                "class names as labels",
                "targets to be predicted are numbers",
            )),
            targets => Ok(targets),
        }
    }

    /// The number of classes: of names, or one more than the largest id. `None` for targets.
    pub fn class_count(&self) -> Option<usize> {
        match self {
            Self::Classes { names: Some(names), .. } => Some(names.len()),
            Self::Classes { ids, names: None } => Some(
                ids.iter()
                    .max()
                    .map_or(0, |&id| usize::try_from(id).map_or(0, |id| id.saturating_add(1))),
            ),
            Self::Targets { .. } => None,
        }
    }
}

fn is_table(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.ends_with(".csv") || name.ends_with(".tsv")
}

fn not_a_number(texts: &[String], name: &str) -> DataError {
    let bad = |t: &String| !t.parse::<f64>().is_ok_and(f64::is_finite);
    let row = texts.iter().position(bad).unwrap_or(0);
    let problem = format!("label {} is {:?}, which is not a number", row + 1, texts[row]);
    DataError::table(name, problem, "mend it, or read the labels as classes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str], kind: LabelKind) -> Result<Labels> {
        Labels::from_texts(list.iter().map(|t| t.to_string()).collect(), kind, "y.txt")
    }

    #[test]
    fn text_is_understood_by_content() {
        let cats = texts(&["dog", "cat", "dog"], LabelKind::Auto).unwrap();
        let names = Some(vec!["cat".to_string(), "dog".to_string()]);
        assert_eq!(cats, Labels::Classes { ids: vec![1, 0, 1], names });
        assert_eq!(cats.class_count(), Some(2));
        let numbers = texts(&["3", "-1"], LabelKind::Auto).unwrap();
        assert_eq!(numbers, Labels::Classes { ids: vec![3, -1], names: None });
        let asked = texts(&["3.0", "-1"], LabelKind::Classes).unwrap();
        assert_eq!(asked, numbers);
        let targets = texts(&["3", "0.5"], LabelKind::Auto).unwrap();
        assert_eq!(targets, Labels::Targets { values: vec![3.0, 0.5], width: 1 });
        let error = texts(&["3", "x"], LabelKind::Targets).unwrap_err().to_string();
        assert!(error.contains("label 2 is \"x\""), "{error}");
    }

    #[test]
    fn between_classes_and_targets() {
        let whole = Labels::Targets { values: vec![1.0, 2.0], width: 1 };
        let classes = Labels::Classes { ids: vec![1, 2], names: None };
        assert_eq!(whole.clone().into_classes("y").unwrap(), classes);
        assert_eq!(classes.into_targets("y").unwrap(), whole);
        let half = Labels::Targets { values: vec![1.0, 2.5], width: 1 };
        assert!(
            half.into_classes("y.npy").unwrap_err().to_string().starts_with("y.npy: example 1")
        );
        let wide = Labels::Targets { values: vec![1.0, 2.5], width: 2 };
        assert!(wide.into_classes("y").is_err());
    }

    #[test]
    fn subset_keeps_rows_together() {
        let wide = Labels::Targets { values: vec![1.0, 2.0, 3.0, 4.0], width: 2 };
        let last = Labels::Targets { values: vec![3.0, 4.0], width: 2 };
        assert_eq!(wide.subset(&[1, 7]), last);
    }

    #[test]
    fn arrays_of_the_wrong_shape_or_value() {
        let cube = Array::new(vec![1, 1, 1], ArrayData::U8(vec![0])).unwrap();
        assert!(Labels::from_array(cube, "y").is_err());
        let nan = Array::new(vec![2], ArrayData::F64(vec![0.0, f64::NAN])).unwrap();
        let error = Labels::from_array(nan, "y.npy").unwrap_err().to_string();
        assert!(error.contains("y.npy: example 1 holds NaN"), "{error}");
        let none = Array::new(vec![3, 0], ArrayData::F64(vec![])).unwrap();
        assert!(Labels::from_array(none, "y").unwrap().is_empty());
    }
}
