//! Opens the files that were named: the model, data sets and their labels, with what was typed
//! about them.

use std::path::{Path, PathBuf};

use gradkin::network::{Declared, Model, Network, NetworkError, WeightsReport};
use gradkin_data::{
    Dataset, Labels, Layout, Missing, OpenOptions, Preprocessing, TableOptions, TargetInput,
};

use crate::args::{self, DataArgs};
use crate::exit::{Failure, Outcome};
use crate::grammar::NamedShape;
use crate::printer::Printer;
use crate::text;

/// A model all of whose operators are known.
pub(crate) fn model(path: &Path) -> Outcome<Model> {
    let model = Model::open(path)?;
    let nodes = model.unsupported_nodes();
    if nodes.is_empty() {
        return Ok(model);
    }
    Err(NetworkError::UnsupportedOperators { model: model.source().into(), nodes }.into())
}

/// The model with the weights of each of these files, or as it is where there are none.
pub(crate) fn checkpoints(
    model: Model,
    weights: &[PathBuf],
    printer: &Printer,
) -> Outcome<Vec<Model>> {
    if weights.is_empty() {
        return Ok(vec![model]);
    }
    let with = |path: &PathBuf| {
        let (checkpoint, report) = model.with_weights(path)?;
        tell_weights(path, &model, &report, printer);
        Ok(checkpoint)
    };
    weights.iter().map(with).collect()
}

fn tell_weights(path: &Path, model: &Model, report: &WeightsReport, printer: &Printer) {
    let (path, source) = (path.display(), model.source());
    if !report.kept.is_empty() {
        printer.warning(format!(
            "{path} holds no running statistics, so that {} stay as {source} has them: {}",
            text::count(report.kept.len()),
            text::first_few(&report.kept)
        ));
    }
    let replaced = text::counted(report.replaced.len(), "tensor");
    printer.detail(format!("{path}: {replaced} of {source} replaced"));
    if !report.left_out.is_empty() {
        printer.detail(format!("{path}: left out {}", text::first_few(&report.left_out)));
    }
}

/// A data set with its labels, cut to the examples that are wanted.
pub(crate) fn data(
    source: &str,
    labels: Option<&str>,
    args: &DataArgs,
    printer: &Printer,
) -> Outcome<Dataset> {
    let options = OpenOptions { table: table_options(args) };
    let mut data = Dataset::open(source, &options)?;
    if let Some(labels) = labels {
        let (path, column) = file_and_column(labels);
        data = data.with_labels(Labels::open(path, column)?, path)?;
    }
    for note in data.notes() {
        printer.note(format!("{source}: {note}"));
    }
    match args.take {
        Some(0) => Err(Failure::mistake("--take 0 leaves no examples")),
        Some(count) => Ok(data.take(count)),
        None => Ok(data),
    }
}

/// The numbers of a file that is read like labels.
pub(crate) fn numbers(source: &str) -> Outcome<Vec<f64>> {
    let (path, column) = file_and_column(source);
    Ok(match Labels::open(path, column)? {
        Labels::Targets { values, .. } => values,
        Labels::Classes { ids, names: None } => ids.into_iter().map(|id| id as f64).collect(),
        Labels::Classes { .. } => {
            return Err(Failure::mistake(format!("{source} holds words where numbers belong")));
        }
    })
}

/// `FILE` or `FILE:COLUMN`; a file whose name has a colon in it is taken for what it is.
fn file_and_column(labels: &str) -> (&str, Option<&str>) {
    match labels.rsplit_once(':') {
        Some((file, column)) if !Path::new(labels).exists() && Path::new(file).exists() => {
            (file, Some(column))
        }
        _ => (labels, None),
    }
}

fn table_options(args: &DataArgs) -> TableOptions {
    TableOptions {
        label: args.label_column.clone(),
        keep: args.keep.clone(),
        drop: args.drop.clone(),
        missing: match args.missing {
            args::Missing::Error => Missing::Error,
            args::Missing::Drop => Missing::Drop,
            args::Missing::Mean => Missing::Mean,
        },
        ..TableOptions::default()
    }
}

/// What is to be done to values.
pub(crate) fn preprocessing(args: &DataArgs) -> Preprocessing {
    Preprocessing {
        scale: args.scale,
        mean: args.mean.clone(),
        std: args.std.clone(),
        resize: args.resize,
        layout: args.layout.map(|layout| match layout {
            args::Layout::Nchw => Layout::Nchw,
            args::Layout::Nhwc => Layout::Nhwc,
        }),
    }
}

/// What the model's inputs take, as far as the file and the command line say.
pub(crate) fn targets(
    model: &Model,
    given: &[NamedShape],
    data: &Dataset,
) -> Outcome<Vec<TargetInput>> {
    check_names(model, given)?;
    let ranks = data.inputs();
    let rank = |k: usize| ranks.get(k).map_or(0, |input| input.shape.len());
    let target = |(k, input): (usize, &Declared)| TargetInput {
        name: input.name.clone(),
        shape: match given_shape(given, input) {
            Some(shape) => shape.iter().map(|length| Some(*length)).collect(),
            None => input.example_shape().unwrap_or_else(|| vec![None; rank(k)]),
        },
        integer: input.integer,
    };
    Ok(model.inputs().iter().enumerate().map(target).collect())
}

/// The shape that was typed for an input.
pub(crate) fn given_shape<'a>(given: &'a [NamedShape], input: &Declared) -> Option<&'a [usize]> {
    let own = given.iter().rfind(|g| g.name.as_ref().is_none_or(|name| *name == input.name));
    own.map(|given| given.shape.as_slice())
}

/// Shapes must be given to inputs that exist, and by name where there are several.
pub(crate) fn check_names(model: &Model, given: &[NamedShape]) -> Outcome {
    let names: Vec<&str> = model.inputs().iter().map(|input| input.name.as_str()).collect();
    for shape in given {
        let wrong = match &shape.name {
            Some(name) if names.contains(&name.as_str()) => continue,
            Some(name) => format!("--input-shape: {} has no input `{name}`", model.source()),
            None if names.len() == 1 => continue,
            None => format!("--input-shape: {} has several inputs", model.source()),
        };
        let hint = format!("its inputs are {}; write NAME=SHAPE", text::first_few(&names));
        return Err(Failure::mistake(wrong).hint(hint));
    }
    Ok(())
}

/// What a network takes whose shapes are all known.
pub(crate) fn resolved(network: &Network) -> Vec<TargetInput> {
    let target = |input: &gradkin::network::Input| TargetInput {
        name: input.name.clone(),
        shape: input.shape.iter().map(|length| Some(*length)).collect(),
        integer: input.integer,
    };
    network.inputs().iter().map(target).collect()
}
