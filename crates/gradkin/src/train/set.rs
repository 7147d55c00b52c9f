//! Where a training step takes its examples from.

use gradkin_network::InputData;

use crate::error::{Error, Result};
use crate::examples::{Examples, Labels};

/// What the network should put out for the examples of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// A class for each example.
    Classes(Vec<usize>),
    /// As many numbers for each example as the output has, row by row.
    Numbers(Vec<f64>),
}

/// Examples with their targets.
#[derive(Debug, Clone)]
pub struct Batch {
    /// One entry per input of the network, rows one after another.
    pub inputs: Vec<InputData>,
    /// What the network should put out.
    pub targets: Targets,
    /// How much each example counts, or each of its numbers (as many weights as numbers: a mask);
    /// one where absent.
    pub weights: Option<Vec<f64>>,
    /// Number of examples.
    pub size: usize,
    /// Rows that the similarity term makes alike, each group by itself; see
    /// [`Enforcement`](super::Enforcement).
    pub groups: Vec<Vec<usize>>,
}

/// Examples that can be asked for in any order.
pub trait TrainingSet: Sync {
    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The examples at `indices`. `draw` differs from one batch of a training run to the next and is
    /// the same when the run is repeated: sets that change their examples at random (augmentation,
    /// examples made up on the spot) seed their generator with it.
    fn batch(&self, indices: &[usize], draw: u64) -> Result<Batch>;
}

impl Batch {
    /// The rows at `rows`, in that order, without groups.
    pub(crate) fn pick(&self, rows: &[usize]) -> Self {
        let each = |count: usize| count / self.size.max(1);
        fn pick<T: Copy>(values: &[T], width: usize, rows: &[usize]) -> Vec<T> {
            rows.iter().flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect()
        }
        let inputs = self.inputs.iter().map(|input| match input {
            InputData::F32(v) => InputData::F32(pick(v, each(v.len()), rows)),
            InputData::F64(v) => InputData::F64(pick(v, each(v.len()), rows)),
            InputData::I64(v) => InputData::I64(pick(v, each(v.len()), rows)),
        });
        Self {
            inputs: inputs.collect(),
            targets: match &self.targets {
                Targets::Classes(ids) => Targets::Classes(pick(ids, 1, rows)),
                Targets::Numbers(v) => Targets::Numbers(pick(v, each(v.len()), rows)),
            },
            weights: self.weights.as_ref().map(|w| pick(w, each(w.len()), rows)),
            size: rows.len(),
            groups: Vec::new(),
        }
    }
}

/// [`Examples`] with labels, as they come.
///
/// ```
/// use gradkin::InMemory;
/// use gradkin::train::{Labelled, TrainingSet, Targets};
/// let set = InMemory::new(vec![0.0, 1.0, 2.0], 1);
/// let labels = gradkin::Labels::Classes(vec![0, 1, 0]);
/// let set = Labelled::new(&set, &labels, None)?;
/// let batch = set.batch(&[2, 1], 0)?;
/// assert_eq!(batch.targets, Targets::Classes(vec![0, 1]));
/// # Ok::<(), gradkin::Error>(())
/// ```
pub struct Labelled<'a> {
    examples: &'a dyn Examples,
    labels: &'a Labels,
    weights: Option<&'a [f64]>,
}

impl<'a> Labelled<'a> {
    /// Examples with a label each and, where given, a weight each, or one for each of their numbers.
    ///
    /// # Errors
    /// Where the counts do not agree, and where a weight is negative or not finite.
    pub fn new(
        examples: &'a dyn Examples,
        labels: &'a Labels,
        weights: Option<&'a [f64]>,
    ) -> Result<Self> {
        let count = examples.len();
        if labels.len() != count {
            return Err(Error::Usage(format!(
                "{} has {count} examples but there are {} labels",
                examples.name(),
                labels.len()
            )));
        }
        if let Some(weights) = weights {
            let width = match labels {
                Labels::Classes(_) => 1,
                Labels::Targets { width, .. } => *width,
            };
            if weights.len() != count && weights.len() != count * width {
                return Err(Error::Usage(format!(
                    "there are {} weights for {count} examples with {width} numbers each; give one \
                     weight per example or one per number",
                    weights.len()
                )));
            }
            if let Some(bad) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
                return Err(Error::Usage(format!(
                    "weight {bad} is {}; weights are numbers from zero up",
                    weights[bad]
                )));
            }
        }
        Ok(Self { examples, labels, weights })
    }
}

impl TrainingSet for Labelled<'_> {
    fn len(&self) -> usize {
        self.examples.len()
    }

    fn batch(&self, indices: &[usize], _draw: u64) -> Result<Batch> {
        let count = self.examples.len();
        let rows = |values: &[f64]| -> Vec<f64> {
            let width = values.len() / count.max(1);
            indices.iter().flat_map(|i| &values[i * width..(i + 1) * width]).copied().collect()
        };
        Ok(Batch {
            inputs: rows_of(self.examples, indices)?,
            targets: match self.labels {
                Labels::Classes(ids) => Targets::Classes(indices.iter().map(|i| ids[*i]).collect()),
                Labels::Targets { values, .. } => Targets::Numbers(rows(values)),
            },
            weights: self.weights.map(rows),
            size: indices.len(),
            groups: Vec::new(),
        })
    }
}

/// Some examples of a set, in a given order.
pub struct Selection<'a> {
    set: &'a dyn TrainingSet,
    rows: Vec<usize>,
}

impl<'a> Selection<'a> {
    /// The examples at `rows`.
    ///
    /// # Errors
    /// Where there is no such example.
    pub fn new(set: &'a dyn TrainingSet, rows: Vec<usize>) -> Result<Self> {
        if let Some(row) = rows.iter().find(|row| **row >= set.len()) {
            return Err(Error::Usage(format!("there is no example {row} among {}", set.len())));
        }
        Ok(Self { set, rows })
    }
}

impl TrainingSet for Selection<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn batch(&self, indices: &[usize], draw: u64) -> Result<Batch> {
        let rows: Vec<usize> = indices.iter().map(|index| self.rows[*index]).collect();
        self.set.batch(&rows, draw)
    }
}

/// Some examples of a set held in memory, to be looked at again and again.
pub struct Gathered {
    inputs: Vec<InputData>,
    count: usize,
    labels: Option<Labels>,
}

impl Gathered {
    /// The examples at `rows`, with labels for them.
    ///
    /// # Errors
    /// Whatever reading them gives.
    pub fn new(set: &dyn Examples, rows: &[usize], labels: Option<Labels>) -> Result<Self> {
        Ok(Self { inputs: rows_of(set, rows)?, count: rows.len(), labels })
    }
}

impl Examples for Gathered {
    fn len(&self) -> usize {
        self.count
    }

    fn batch(
        &self,
        range: std::ops::Range<usize>,
    ) -> std::result::Result<Vec<InputData>, Box<dyn std::error::Error + Send + Sync>> {
        fn part<T: Copy>(values: &[T], count: usize, range: &std::ops::Range<usize>) -> Vec<T> {
            let width = values.len() / count.max(1);
            values[range.start * width..range.end * width].to_vec()
        }
        if range.end > self.count {
            return Err(format!("there are no examples {range:?} among {}", self.count).into());
        }
        let each = self.inputs.iter().map(|input| match input {
            InputData::F32(v) => InputData::F32(part(v, self.count, &range)),
            InputData::F64(v) => InputData::F64(part(v, self.count, &range)),
            InputData::I64(v) => InputData::I64(part(v, self.count, &range)),
        });
        Ok(each.collect())
    }

    fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }
}

/// Examples at any indices, in that order.
pub(crate) fn rows_of(set: &dyn Examples, indices: &[usize]) -> Result<Vec<InputData>> {
    let mut all: Vec<InputData> = Vec::new();
    let mut at = 0;
    while at < indices.len() {
        // Neighbouring indices are one request: sets may decode or read them together.
        let mut end = at + 1;
        while end < indices.len() && indices[end] == indices[end - 1] + 1 {
            end += 1;
        }
        let run = set.batch(indices[at]..indices[at] + end - at).map_err(Error::Examples)?;
        if all.is_empty() {
            all = run;
        } else {
            for (all, run) in all.iter_mut().zip(run) {
                append(all, run)?;
            }
        }
        at = end;
    }
    Ok(all)
}

/// Rows after rows.
pub(crate) fn append(all: &mut InputData, more: InputData) -> Result<()> {
    match (all, more) {
        (InputData::F32(all), InputData::F32(more)) => all.extend(more),
        (InputData::F64(all), InputData::F64(more)) => all.extend(more),
        (InputData::I64(all), InputData::I64(more)) => all.extend(more),
        _ => {
            let text = "the examples change their type from one to the next";
            return Err(Error::Examples(text.into()));
        }
    }
    Ok(())
}
