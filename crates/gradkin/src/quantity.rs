//! Numbers that belong to examples and can be averaged over neighbours: labels, predictions, noise.

use crate::error::{Error, Result};
use crate::examples::Labels;

/// A number, a vector or a class for each example of a set.
#[derive(Debug, Clone, Copy)]
pub enum Quantity<'a> {
    /// A class each, which stands for its one-hot vector of `count` numbers.
    Classes {
        /// Class of each example.
        ids: &'a [usize],
        /// Number of classes.
        count: usize,
    },
    /// `width` numbers each.
    Numbers {
        /// Row by row.
        values: &'a [f64],
        /// Numbers per example.
        width: usize,
    },
}

impl<'a> Quantity<'a> {
    /// Labels as a quantity, classes as one-hot vectors of `classes` numbers.
    pub fn of_labels(labels: &'a Labels, classes: usize) -> Self {
        match labels {
            Labels::Classes(ids) => Self::Classes { ids, count: classes },
            Labels::Targets { values, width } => Self::Numbers { values, width: *width },
        }
    }

    /// Numbers per example.
    pub fn width(&self) -> usize {
        match self {
            Self::Classes { count, .. } => *count,
            Self::Numbers { width, .. } => *width,
        }
    }

    /// Component `c` of example `i`.
    pub(crate) fn get(&self, i: usize, c: usize) -> f64 {
        match self {
            Self::Classes { ids, .. } => f64::from(u8::from(ids[i] == c)),
            Self::Numbers { values, width } => values[i * width + c],
        }
    }

    /// Written out: `[N, width]`.
    pub(crate) fn numbers(&self, examples: usize) -> Vec<f64> {
        let width = self.width();
        (0..examples).flat_map(|i| (0..width).map(move |c| self.get(i, c))).collect()
    }

    /// Whether there is one for each of `examples`, in range and finite.
    pub(crate) fn check(&self, examples: usize, name: &str) -> Result<()> {
        let found = match self {
            Self::Classes { ids, .. } => ids.len(),
            Self::Numbers { values, width } if *width > 0 && values.len() % width == 0 => {
                values.len() / width
            }
            Self::Numbers { values, width } => {
                return Err(Error::Usage(format!(
                    "{} numbers cannot be {width} for each example of {name}",
                    values.len()
                )));
            }
        };
        if found != examples {
            return Err(Error::Usage(format!("{name} has {found} labels for {examples} examples")));
        }
        match self {
            Self::Classes { ids, count } => match ids.iter().position(|id| id >= count) {
                Some(i) => Err(Error::Usage(format!(
                    "{name}: example {i} has label {} but there are {count} classes, 0 to {}",
                    ids[i],
                    count.saturating_sub(1)
                ))),
                None => Ok(()),
            },
            Self::Numbers { values, width } => match values.iter().position(|v| !v.is_finite()) {
                Some(at) => Err(Error::Usage(format!(
                    "{name}: the target of example {} is {}, not a finite number",
                    at / width,
                    values[at]
                ))),
                None => Ok(()),
            },
        }
    }
}
