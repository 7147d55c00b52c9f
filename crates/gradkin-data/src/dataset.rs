//! A data set: named inputs, each with one entry per example, labels if there
//! are any, and the row each example came from. Views of it share the values.

use std::path::Path;
use std::sync::Arc;

use crate::array::{Array, ArrayData};
use crate::error::{DataError, Result, show_shape};
use crate::images::ImageFolder;
use crate::labels::Labels;
use crate::layout::Layout;

/// The values of one input, over all stored rows.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    Memory(Arc<Array>),
    Images(Arc<ImageFolder>),
}

#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) name: Option<String>,
    pub(crate) storage: Storage,
    /// Where the channels are, when the format says so.
    pub(crate) layout: Option<Layout>,
}

/// One of a data set's inputs, described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputInfo {
    /// The input's name, where the data has names.
    pub name: Option<String>,
    /// The shape of one example; `None` for a length that differs between examples
    /// (pictures of several sizes).
    pub shape: Vec<Option<usize>>,
    /// The stored type: `u8`, `i32`, `i64`, `f32` or `f64`.
    pub dtype: &'static str,
}

/// Examples, read and checked. Cloning and taking views is cheap.
///
/// ```
/// use gradkin_data::{Array, ArrayData, Dataset, Labels};
/// let x = Array::new(vec![3, 2], ArrayData::F32(vec![0., 1., 2., 3., 4., 5.]))?;
/// let y = Labels::Classes { ids: vec![0, 1, 1], names: None };
/// let data = Dataset::from_arrays(vec![(None, x)], Some(y))?;
/// assert_eq!(data.len(), 3);
/// let view = data.subset(&[2, 0])?;
/// assert_eq!(view.id(0), 2);
/// assert_eq!(view.labels(), Some(&Labels::Classes { ids: vec![1, 0], names: None }));
/// # Ok::<(), gradkin_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Dataset {
    pub(crate) source: String,
    pub(crate) inputs: Vec<Input>,
    pub(crate) labels: Option<Labels>,
    pub(crate) feature_names: Vec<String>,
    pub(crate) notes: Vec<String>,
    /// The row of the file each stored row came from, where rows were left out.
    pub(crate) file_rows: Option<Arc<Vec<usize>>>,
    /// The stored row of each example of this view.
    view: Option<Arc<Vec<usize>>>,
    stored: usize,
}

impl Dataset {
    /// A data set from arrays whose first axis counts the examples.
    ///
    /// Errors: no input, no examples, examples without values, or arrays and
    /// labels of different lengths.
    pub fn from_arrays(
        inputs: Vec<(Option<String>, Array)>,
        labels: Option<Labels>,
    ) -> Result<Self> {
        Self::from_named("arrays", inputs, labels)
    }

    pub(crate) fn from_named(
        source: &str,
        arrays: Vec<(Option<String>, Array)>,
        labels: Option<Labels>,
    ) -> Result<Self> {
        let mut inputs = Vec::with_capacity(arrays.len());
        for (name, array) in arrays {
            check_array(source, name.as_deref(), &array)?;
            inputs.push(Input { name, storage: Storage::Memory(Arc::new(array)), layout: None });
        }
        Self::new(source, inputs, labels)
    }

    pub(crate) fn new(source: &str, inputs: Vec<Input>, labels: Option<Labels>) -> Result<Self> {
        let Some(first) = inputs.first() else {
            return Err(DataError::empty(source, "it has no input"));
        };
        let stored = first.storage.len();
        for other in &inputs[1..] {
            if other.storage.len() != stored {
                return Err(DataError::CountMismatch {
                    left: first.title(source),
                    left_count: stored,
                    left_noun: "examples",
                    right: other.title(source),
                    right_count: other.storage.len(),
                    right_noun: "examples",
                });
            }
        }
        let data = Self {
            source: source.into(),
            inputs,
            labels: None,
            feature_names: Vec::new(),
            notes: Vec::new(),
            file_rows: None,
            view: None,
            stored,
        };
        match labels {
            Some(labels) => data.with_labels(labels, &format!("{source} (labels)")),
            None => Ok(data),
        }
    }

    /// The same examples with other labels; `name` is where the labels came from.
    ///
    /// An error when there is not exactly one label per example.
    pub fn with_labels(mut self, labels: Labels, name: &str) -> Result<Self> {
        if labels.len() != self.len() {
            return Err(DataError::CountMismatch {
                left: name.into(),
                left_count: labels.len(),
                left_noun: "labels",
                right: self.source,
                right_count: self.view.map_or(self.stored, |view| view.len()),
                right_noun: "examples",
            });
        }
        self.labels = Some(labels);
        Ok(self)
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.view.as_ref().map_or(self.stored, |view| view.len())
    }

    /// Whether there are no examples; only an empty view has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file, folder or specification the data came from, for people.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The labels, in the order of the examples.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// The inputs: names, shapes of one example, stored types.
    pub fn inputs(&self) -> Vec<InputInfo> {
        let describe = |input: &Input| InputInfo {
            name: input.name.clone(),
            shape: input.storage.shape(),
            dtype: input.storage.dtype(),
        };
        self.inputs.iter().map(describe).collect()
    }

    /// The column names of a table's features; empty for other data.
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// What was left out or filled in while reading, as sentences for people.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where example `i` of this view stands in the file, counted from 0: a row,
    /// a record, a picture in sorted order.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    pub fn id(&self, i: usize) -> usize {
        let row = self.row(i);
        self.file_rows.as_ref().map_or(row, |rows| rows[row])
    }

    /// The path of example `i`, where every example is a file of its own.
    pub fn path(&self, i: usize) -> Option<&Path> {
        self.inputs.iter().find_map(|input| match &input.storage {
            Storage::Images(folder) if i < self.len() => Some(folder.path(self.row(i))),
            _ => None,
        })
    }

    /// The examples at `examples`, in that order; an error if one does not exist.
    pub fn subset(&self, examples: &[usize]) -> Result<Self> {
        if let Some(beyond) = examples.iter().find(|&&i| i >= self.len()) {
            let reason = format!(
                "{} has examples 0 to {}, not {beyond}",
                self.source,
                self.len().max(1) - 1
            );
            return Err(DataError::setting("subset", reason));
        }
        Ok(self.view_of(examples))
    }

    /// The first `n` examples, or all if there are fewer.
    pub fn take(&self, n: usize) -> Self {
        if n >= self.len() {
            return self.clone();
        }
        self.view_of(&(0..n).collect::<Vec<_>>())
    }

    fn view_of(&self, examples: &[usize]) -> Self {
        let rows = examples.iter().map(|&i| self.row(i)).collect();
        Self {
            view: Some(Arc::new(rows)),
            labels: self.labels.as_ref().map(|labels| labels.subset(examples)),
            ..self.clone()
        }
    }

    /// The stored row of example `i` of this view.
    pub(crate) fn row(&self, i: usize) -> usize {
        self.view.as_ref().map_or(i, |view| view[i])
    }
}

fn check_array(source: &str, name: Option<&str>, array: &Array) -> Result<()> {
    let title = name.map_or(source.to_owned(), |name| format!("{source}:{name}"));
    match array.shape() {
        [] => Err(DataError::unsupported(
            &title,
            "a single number",
            "the first axis of an array counts the examples",
        )),
        shape if array.is_empty() => {
            Err(DataError::empty(&title, format!("its shape is {}", show_shape(shape))))
        }
        _ => Ok(()),
    }
}

impl Input {
    /// The input as it is named in messages.
    pub(crate) fn title(&self, source: &str) -> String {
        self.name.as_ref().map_or(source.to_owned(), |name| format!("{source}:{name}"))
    }
}

impl Storage {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(array) => array.shape().first().copied().unwrap_or(0),
            Self::Images(folder) => folder.len(),
        }
    }

    pub(crate) fn shape(&self) -> Vec<Option<usize>> {
        match self {
            Self::Memory(array) => array.shape().iter().skip(1).map(|&d| Some(d)).collect(),
            Self::Images(folder) => folder.shape().to_vec(),
        }
    }

    fn dtype(&self) -> &'static str {
        match self {
            Self::Memory(array) => array.data().type_name(),
            Self::Images(folder) if folder.is_deep() => "i32",
            Self::Images(_) => "u8",
        }
    }

    /// Shows `look` the values of stored row `row`: the data, where in it the row
    /// starts, and the row's shape.
    pub(crate) fn with_row<T>(
        &self,
        row: usize,
        look: impl FnOnce(&ArrayData, usize, &[usize]) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Memory(array) => {
                let shape = array.shape().get(1..).unwrap_or(&[]);
                look(array.data(), row * shape.iter().product::<usize>(), shape)
            }
            Self::Images(folder) => {
                let (shape, data) = folder.decode(row)?;
                look(&data, 0, &shape)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(shape: &[usize]) -> Array {
        let count = shape.iter().product();
        Array::new(shape.to_vec(), ArrayData::U8(vec![0; count])).unwrap()
    }

    fn say(inputs: Vec<(Option<String>, Array)>, labels: Option<Labels>) -> String {
        Dataset::from_arrays(inputs, labels).unwrap_err().to_string()
    }

    #[test]
    fn views_of_views_keep_ids() {
        let data = Dataset::from_arrays(vec![(None, bytes(&[5, 2]))], None).unwrap();
        let view = data.subset(&[4, 2, 0]).unwrap().take(2).subset(&[1]).unwrap();
        assert_eq!((view.len(), view.id(0)), (1, 2));
        assert!(view.subset(&[1]).unwrap_err().to_string().contains("examples 0 to 0, not 1"));
    }

    #[test]
    fn counts_must_agree() {
        let short = Labels::Classes { ids: vec![1], names: None };
        let data = Dataset::from_named("train.npy", vec![(None, bytes(&[2, 1]))], None).unwrap();
        let error = data.with_labels(short, "labels.npy").unwrap_err().to_string();
        assert_eq!(error, "labels.npy holds 1 labels but train.npy holds 2 examples");
        let named = |name: &str, n| (Some(name.to_string()), bytes(&[n, 1]));
        let error = say(vec![named("a", 2), named("b", 3)], None);
        assert_eq!(error, "arrays:a holds 2 examples but arrays:b holds 3 examples");
    }

    #[test]
    fn batches_may_be_cut_on_any_thread() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Dataset>();
        shared::<crate::Prepared>();
        shared::<DataError>();
    }

    #[test]
    fn nothing_is_an_error() {
        assert!(say(vec![], None).contains("no input"));
        assert!(say(vec![(None, bytes(&[0, 3]))], None).contains("its shape is [0, 3]"));
        assert!(say(vec![(None, bytes(&[3, 0]))], None).contains("no examples"));
        assert!(say(vec![(None, bytes(&[]))], None).contains("a single number"));
    }
}
