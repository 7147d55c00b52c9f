//! The labels that are to be doubted, checked and in the form that the library wants. This is the
//! second use of labels: not as part of what the network puts out, but as numbers that belong to
//! examples and can be averaged over their neighbours.

use gradkin::{Examples, Quantity};
use gradkin_data::{Dataset, Labels};

use super::findings::LabelValues;
use crate::examples::Set;
use crate::exit::{Failure, Outcome};
use crate::text;

/// Labels that fit a network.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Given {
    /// A class for each example, one of as many as the network has outputs.
    Classes {
        ids: Vec<usize>,
        /// What each class is called.
        names: Vec<String>,
        /// Whether these are names, and not only numbers.
        named: bool,
    },
    /// As many numbers for each example as the network has outputs.
    Targets { values: Vec<f64>, width: usize },
}

impl Given {
    /// The labels of a data set for a network with `outputs` outputs.
    pub(super) fn of(set: &Set, outputs: usize) -> Outcome<Self> {
        let data = set.data();
        let Some(labels) = data.labels() else {
            let message = format!("{} has no labels to check", set.name());
            return Err(Failure::mistake(message)
                .hint("give them with --labels FILE, --label-column NAME, or a folder per class"));
        };
        let given = match labels {
            Labels::Targets { width, .. } if *width == outputs => targets(data, outputs)?,
            Labels::Classes { names: None, .. } if outputs == 1 => targets(data, outputs)?,
            Labels::Targets { width, .. } if *width > 1 => {
                return Err(Failure::mistake(format!(
                    "{} has {width} target numbers per example, the network has {}",
                    set.name(),
                    text::counted(outputs, "output")
                )));
            }
            Labels::Classes { names: Some(_), .. } if outputs == 1 => {
                let message = format!("{} has class names, the network has 1 output", set.name());
                return Err(Failure::mistake(message).hint(
                    "give the target numbers, or name the classes' outputs by --output-name",
                ));
            }
            _ => classes(data, outputs)?,
        };
        given.check_variety(set.name())?;
        Ok(given)
    }

    /// For the library.
    pub(super) fn quantity(&self) -> Quantity<'_> {
        match self {
            Self::Classes { ids, names, .. } => Quantity::Classes { ids, count: names.len() },
            Self::Targets { values, width } => Quantity::Numbers { values, width: *width },
        }
    }

    /// Class of each example, and the classes' names; nothing for targets.
    pub(super) fn classes(&self) -> (&[usize], &[String]) {
        match self {
            Self::Classes { ids, names, .. } => (ids, names),
            Self::Targets { .. } => (&[], &[]),
        }
    }

    /// Target numbers, and how many each example has; nothing for classes.
    pub(super) fn targets(&self) -> (&[f64], usize) {
        match self {
            Self::Classes { .. } => (&[], 1),
            Self::Targets { values, width } => (values, *width),
        }
    }

    /// As columns of a table want them.
    pub(super) fn values(&self) -> LabelValues {
        match self {
            Self::Classes { ids, .. } => {
                LabelValues::Classes(ids.iter().map(|id| Some(*id)).collect())
            }
            Self::Targets { values, width } => {
                LabelValues::Numbers(values.chunks(*width).map(|row| Some(row.to_vec())).collect())
            }
        }
    }

    /// Labels that are all alike leave nothing to doubt.
    fn check_variety(&self, name: &str) -> Outcome {
        let (alike, what) = match self {
            Self::Classes { ids, names, .. } => {
                let only = ids.first().map(|id| names[*id].clone()).unwrap_or_default();
                (ids.windows(2).all(|pair| pair[0] == pair[1]), format!("of one class, {only}"))
            }
            Self::Targets { values, width } => {
                let first = &values[..*width];
                (values.chunks(*width).all(|own| own == first), "the same".into())
            }
        };
        if alike {
            let message = format!("all labels of {name} are {what}, so that none can be doubted");
            return Err(Failure::mistake(message));
        }
        Ok(())
    }
}

fn classes(data: &Dataset, outputs: usize) -> Outcome<Given> {
    let source = data.source();
    let last = outputs.saturating_sub(1);
    if let Some(Labels::Targets { values, .. }) = data.labels()
        && let Some(at) = values.iter().position(|value| value.fract() != 0.0)
    {
        let (value, example) = (values[at], data.id(at));
        let message = format!(
            "{source} has one target number per example ({value} for example {example}), the network \
             has {}",
            text::counted(outputs, "output")
        );
        let remedy = format!("give classes, 0 to {last}, or {outputs} target numbers per example");
        return Err(Failure::mistake(message).hint(remedy));
    }
    let labels = data.labels().cloned().map(|labels| labels.into_classes(source));
    let Some(Labels::Classes { ids, names }) = labels.transpose()? else {
        return Err(Failure::mistake(format!("the labels of {source} are no classes")));
    };
    if let Some(names) = names.as_ref().filter(|names| names.len() != outputs) {
        let message = format!(
            "the labels of {source} name {}, the network has {}",
            text::counted(names.len(), "class").replace("classs", "classes"),
            text::counted(outputs, "output")
        );
        return Err(Failure::mistake(message)
            .hint("number the classes from 0 in the order of the network's outputs"));
    }
    let class = |(example, id): (usize, &i64)| {
        let class = usize::try_from(*id).ok().filter(|class| *class < outputs);
        class.ok_or_else(|| {
            let example = data.id(example);
            let message = format!("example {example} of {source} has label {id}");
            Failure::mistake(message)
                .hint(format!("the network has {outputs} outputs, so that classes are 0 to {last}"))
        })
    };
    let ids = ids.iter().enumerate().map(class).collect::<Outcome<Vec<usize>>>()?;
    let named = names.is_some();
    let names = names.unwrap_or_else(|| (0..outputs).map(|class| class.to_string()).collect());
    Ok(Given::Classes { ids, names, named })
}

fn targets(data: &Dataset, width: usize) -> Outcome<Given> {
    let source = data.source();
    let labels = data.labels().cloned().map(|labels| labels.into_targets(source));
    let Some(Labels::Targets { values, .. }) = labels.transpose()? else {
        return Err(Failure::mistake(format!("the labels of {source} are no target numbers")));
    };
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let example = data.id(at / width);
        let message = format!("the target of example {example} of {source} is {}", values[at]);
        return Err(Failure::mistake(message)
            .hint("targets are finite numbers; mend it or leave the example out"));
    }
    Ok(Given::Targets { values, width })
}
