//! The seam between the data crate and the library: prepared data as the library's examples, and
//! labels in the forms that each side wants.

use std::error::Error;
use std::ops::Range;

use gradkin::network::{InputData, Precision};
use gradkin::{Class, Examples, Loss, Select};
use gradkin_data::write::ColumnData;
use gradkin_data::{Dataset, Labels, Prepared};

use crate::exit::{Failure, Outcome};
use crate::text;

/// A data set prepared for the network.
#[derive(Debug)]
pub(crate) struct Set {
    prepared: Prepared,
    precision: Precision,
    /// For each of the network's inputs, whether it takes whole numbers.
    integers: Vec<bool>,
    /// Only where the output needs labels.
    labels: Option<gradkin::Labels>,
}

impl Set {
    pub(crate) fn new(prepared: Prepared, precision: Precision, integers: Vec<bool>) -> Self {
        Self { prepared, precision, integers, labels: None }
    }

    /// Hand the labels to the library too, in the form that the choice of outputs needs.
    pub(crate) fn with_labels_for(mut self, outputs: &Select, width: usize) -> Outcome<Self> {
        let source = self.data().source();
        let labels = self.data().labels().cloned();
        self.labels = match outputs {
            Select::LogProbability(Class::Given) | Select::Loss(Loss::CrossEntropy) => {
                labels.map(|l| classes(l.into_classes(source)?, source)).transpose()?
            }
            // A class is a target of its own where the network predicts one number.
            Select::Loss(Loss::Squared) if width == 1 => {
                labels.map(|l| Ok::<_, Failure>(targets(l.into_targets(source)?))).transpose()?
            }
            Select::Loss(Loss::Squared) => match labels {
                Some(labels @ Labels::Classes { .. }) => Some(classes(labels, source)?),
                labels => labels.map(targets),
            },
            _ => None,
        };
        Ok(self)
    }

    /// The labels as a training takes them: classes, or numbers. Whole numbers that could be either
    /// are classes where the loss wants them.
    pub(crate) fn training_labels(&self, wants_classes: bool) -> Outcome<gradkin::Labels> {
        let source = self.data().source();
        let Some(labels) = self.data().labels().cloned() else {
            return Err(Failure::mistake(format!("{source} has no labels")));
        };
        match labels {
            labels @ Labels::Classes { .. } => classes(labels, source),
            labels if wants_classes => {
                let whole = labels.into_classes(source).map_err(|_| {
                    Failure::mistake(format!("the labels of {source} are numbers, not classes"))
                        .hint("the cross-entropy takes classes; use --loss squared, absolute or huber")
                })?;
                classes(whole, source)
            }
            labels => Ok(targets(labels)),
        }
    }

    /// The data as it was read.
    pub(crate) fn data(&self) -> &Dataset {
        self.prepared.dataset()
    }

    /// Where examples stand in the file.
    pub(crate) fn ids(&self, examples: &[usize]) -> Vec<usize> {
        examples.iter().map(|i| self.data().id(*i)).collect()
    }

    /// Read every value once, so that a bad one is found before the work and not after half of it.
    /// Folders of images are left to be read as they are needed.
    pub(crate) fn check_values(&self) -> Outcome {
        const AT_ONCE: usize = 1024;
        if self.data().path(0).is_some() {
            return Ok(());
        }
        for start in (0..self.prepared.len()).step_by(AT_ONCE) {
            crate::interrupt::check()?;
            let range = start..(start + AT_ONCE).min(self.prepared.len());
            self.inputs(range)?;
        }
        Ok(())
    }

    fn inputs(&self, range: Range<usize>) -> gradkin_data::Result<Vec<InputData>> {
        let input = |(k, integer): (usize, &bool)| {
            let range = range.clone();
            Ok(match (integer, self.precision) {
                (true, _) => InputData::I64(self.prepared.batch_i64(k, range)?),
                (false, Precision::F32) => InputData::F32(self.prepared.batch_f32(k, range)?),
                (false, Precision::F64) => InputData::F64(self.prepared.batch_f64(k, range)?),
            })
        };
        self.integers.iter().enumerate().map(input).collect()
    }
}

impl Examples for Set {
    fn len(&self) -> usize {
        self.prepared.len()
    }

    fn batch(&self, range: Range<usize>) -> Result<Vec<InputData>, Box<dyn Error + Send + Sync>> {
        Ok(self.inputs(range)?)
    }

    fn labels(&self) -> Option<&gradkin::Labels> {
        self.labels.as_ref()
    }

    fn name(&self) -> &str {
        self.data().source()
    }
}

fn classes(labels: Labels, source: &str) -> Outcome<gradkin::Labels> {
    let Labels::Classes { ids, .. } = labels else {
        return Err(Failure::mistake(format!("the labels of {source} are no classes")));
    };
    let class = |(example, id): (usize, i64)| {
        usize::try_from(id).map_err(|_| {
            Failure::mistake(format!("label {id} of example {example} of {source} is no class"))
                .hint("classes are numbered from 0")
        })
    };
    let ids = ids.into_iter().enumerate().map(class).collect::<Outcome<Vec<usize>>>()?;
    Ok(gradkin::Labels::Classes(ids))
}

fn targets(labels: Labels) -> gradkin::Labels {
    match labels {
        Labels::Targets { values, width } => gradkin::Labels::Targets { values, width },
        Labels::Classes { ids, .. } => {
            let values = ids.into_iter().map(|id| id as f64).collect();
            gradkin::Labels::Targets { values, width: 1 }
        }
    }
}

/// The same data with its named classes numbered as another data set numbers them; names that the
/// other does not have come after its own.
pub(crate) fn with_classes_of(data: Dataset, other: &Dataset) -> Outcome<Dataset> {
    let (
        Some(Labels::Classes { ids, names: Some(names) }),
        Some(Labels::Classes { names: Some(known), .. }),
    ) = (data.labels(), other.labels())
    else {
        return Ok(data);
    };
    let mut all = known.clone();
    all.extend(names.iter().filter(|name| !known.contains(name)).cloned());
    let renumbered = |id: &i64| {
        let name = usize::try_from(*id).ok().and_then(|id| names.get(id));
        name.and_then(|name| all.iter().position(|other| other == name)).map_or(-1, |at| at as i64)
    };
    let ids = ids.iter().map(renumbered).collect();
    let source = data.source().to_owned();
    Ok(data.with_labels(Labels::Classes { ids, names: Some(all) }, &source)?)
}

/// The class of an example as people know it: its name, or its number. `None` without classes.
pub(crate) fn class_of(data: &Dataset, example: usize) -> Option<String> {
    match data.labels()? {
        Labels::Classes { ids, names: None } => ids.get(example).map(i64::to_string),
        Labels::Classes { ids, names: Some(names) } => {
            let id = usize::try_from(*ids.get(example)?).ok()?;
            names.get(id).cloned()
        }
        Labels::Targets { .. } => None,
    }
}

/// The label of an example for a narrow place: its class, or its one target.
pub(crate) fn short_label(data: &Dataset, example: usize) -> Option<String> {
    match data.labels()? {
        Labels::Targets { values, width: 1 } => {
            values.get(example).map(|value| text::significant(*value))
        }
        _ => class_of(data, example),
    }
}

/// A column with the labels of these examples; `None` where there is not one label for each.
pub(crate) fn label_column(data: &Dataset, examples: &[usize]) -> Option<ColumnData> {
    match data.labels()?.subset(examples) {
        Labels::Classes { ids, names: None } => Some(ids.into()),
        Labels::Classes { .. } => {
            let names = examples.iter().map(|i| class_of(data, *i).unwrap_or_default());
            Some(names.collect::<Vec<String>>().into())
        }
        Labels::Targets { values, width: 1 } => Some(values.into()),
        Labels::Targets { .. } => None,
    }
}

/// An example's number, with its label where there is one.
pub(crate) fn numbered(data: &Dataset, example: usize) -> String {
    match short_label(data, example) {
        Some(label) => format!("{} ({})", data.id(example), text::clean(&label)),
        None => data.id(example).to_string(),
    }
}

/// A column with where these examples stand in the file.
pub(crate) fn id_column(set: &Set, examples: &[usize]) -> ColumnData {
    set.ids(examples).into_iter().map(|id| id as i64).collect::<Vec<i64>>().into()
}

/// A column with these examples' files; `None` where they are not files of their own.
pub(crate) fn path_column(data: &Dataset, examples: &[usize]) -> Option<ColumnData> {
    data.path(0)?;
    let path = |i: &usize| data.path(*i).map(|p| p.display().to_string()).unwrap_or_default();
    Some(examples.iter().map(path).collect::<Vec<String>>().into())
}

/// The classes that occur among labels, numbered from 0 without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Classes {
    /// Class of each example.
    pub(crate) ids: Vec<usize>,
    /// Their names, or their numbers in the file, in ascending order of number.
    pub(crate) names: Vec<String>,
}

impl Classes {
    /// `None` where the labels are no classes.
    pub(crate) fn of(data: &Dataset) -> Option<Self> {
        let Labels::Classes { ids, .. } = data.labels()? else { return None };
        let mut there = ids.clone();
        there.sort_unstable();
        there.dedup();
        let number = |id: &i64| there.partition_point(|other| other < id);
        let mut names = vec![String::new(); there.len()];
        for (example, id) in ids.iter().enumerate() {
            let name = &mut names[number(id)];
            if name.is_empty() {
                *name = class_of(data, example).unwrap_or_else(|| id.to_string());
            }
        }
        Some(Self { ids: ids.iter().map(number).collect(), names })
    }
}

#[cfg(test)]
mod tests {
    use gradkin_data::{Array, ArrayData};

    use super::*;

    fn named(ids: &[i64], names: &[&str]) -> Dataset {
        let x = Array::new(vec![ids.len(), 1], ArrayData::U8(vec![0; ids.len()])).unwrap();
        let names = Some(names.iter().map(|name| name.to_string()).collect());
        let labels = Labels::Classes { ids: ids.to_vec(), names };
        Dataset::from_arrays(vec![(None, x)], Some(labels)).unwrap()
    }

    #[test]
    fn classes_are_matched_by_name() {
        let train = named(&[0, 1, 2], &["ant", "bee", "cat"]);
        let test = with_classes_of(named(&[0, 1, 2], &["bee", "cat", "dog"]), &train).unwrap();
        let Some(Labels::Classes { ids, .. }) = test.labels() else { panic!("classes") };
        assert_eq!(ids, &[1, 2, 3]);
        assert_eq!(class_of(&test, 2).as_deref(), Some("dog"));
    }

    #[test]
    fn classes_that_occur_are_numbered_without_gaps() {
        let classes = Classes::of(&named(&[2, 0, 2], &["ant", "bee", "cat"])).unwrap();
        assert_eq!(classes.ids, [1, 0, 1]);
        assert_eq!(classes.names, ["ant", "cat"]);
    }
}
