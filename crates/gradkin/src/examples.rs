//! Where examples come from.

use std::ops::Range;

use gradkin_network::InputData;

/// Labels of a data set.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// A class for each example.
    Classes(Vec<usize>),
    /// `width` target numbers for each example.
    Targets {
        /// Row by row.
        values: Vec<f64>,
        /// Numbers per example.
        width: usize,
    },
}

impl Labels {
    /// Number of labelled examples.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(ids) => ids.len(),
            Self::Targets { values, width } => values.len() / (*width).max(1),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A set of examples that can be asked for any range of them, from several threads at once.
pub trait Examples: Sync {
    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The examples of a range: one entry per input of the network, rows one after another.
    fn batch(
        &self,
        range: Range<usize>,
    ) -> Result<Vec<InputData>, Box<dyn std::error::Error + Send + Sync>>;

    /// Their labels, where they have some.
    fn labels(&self) -> Option<&Labels> {
        None
    }

    /// A name for messages.
    fn name(&self) -> &str {
        "the examples"
    }
}

/// Examples of one input held in memory.
///
/// ```
/// use gradkin::{Examples, InMemory};
/// let examples = InMemory::new(vec![0.0, 1.0, 2.0, 3.0], 2);
/// assert_eq!(examples.len(), 2);
/// ```
#[derive(Debug, Clone)]
pub struct InMemory {
    values: Vec<f64>,
    size: usize,
    labels: Option<Labels>,
}

impl InMemory {
    /// Examples of `size` numbers each, row by row.
    pub fn new(values: Vec<f64>, size: usize) -> Self {
        Self { values, size: size.max(1), labels: None }
    }

    /// The same with labels.
    pub fn with_labels(mut self, labels: Labels) -> Self {
        self.labels = Some(labels);
        self
    }
}

impl Examples for InMemory {
    fn len(&self) -> usize {
        self.values.len() / self.size
    }

    fn batch(
        &self,
        range: Range<usize>,
    ) -> Result<Vec<InputData>, Box<dyn std::error::Error + Send + Sync>> {
        let (start, end) = (range.start * self.size, range.end * self.size);
        match self.values.get(start..end) {
            Some(values) => Ok(vec![InputData::F64(values.to_vec())]),
            None => Err(format!("there are no examples {range:?} among {}", self.len()).into()),
        }
    }

    fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }
}
