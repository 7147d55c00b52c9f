//! `gradkin inspect`: what a network takes and gives, which of its numbers are parameters, and what
//! comparing examples would cost, form by form.

mod advice;
mod cost;
mod report;

use gradkin::network::{Declared, Model, Network, Options};

use crate::args::{Common, InspectArgs, SimilarityArgs};
use crate::exit::{Failure, Outcome};
use crate::grammar::NamedShape;
use crate::job::precision;
use crate::printer::Printer;
use crate::reading::{check_names, given_shape};
use cost::Cost;
use report::{Report, open_shape};

pub(crate) fn run(args: &InspectArgs, common: &Common, printer: &Printer) -> Outcome {
    let model = Model::open(&args.model)?;
    check_names(&model, &args.input_shapes.shapes)?;
    let open = open_input(&model, &args.input_shapes.shapes);
    let network = match open {
        Some(_) if model.unsupported_nodes().is_empty() => Ok(None),
        _ => network(&model, args).map(Some),
    };
    let (network, mut failure) = apart(network);
    let cost = network.as_ref().map(|network| Cost::new(network, args, common)).transpose();
    let (cost, no_cost) = apart(cost);
    let mut report = Report::new(&args.model, &model, network.as_ref(), cost);
    report.warnings.extend(open.map(ask_for_shape));
    if args.similarity == SimilarityArgs::default() {
        let no_cost = no_cost.map(|failure| format!("no cost is given: {failure}"));
        report.warnings.extend(no_cost);
    } else {
        failure = failure.or(no_cost);
    }
    report.tell(printer.format(args.format.format), printer)?;
    failure.map_or(Ok(()), Err)
}

/// What there is, if anything, and what went wrong, if anything did.
fn apart<T>(outcome: Outcome<Option<T>>) -> (Option<T>, Option<Failure>) {
    match outcome {
        Ok(there) => (there, None),
        Err(failure) => (None, Some(failure)),
    }
}

/// The network at the shapes that are known.
fn network(model: &Model, args: &InspectArgs) -> Outcome<Network> {
    let given = &args.input_shapes.shapes;
    let shape = |input: &Declared| {
        given_shape(given, input).map(|shape| (input.name.clone(), shape.to_vec()))
    };
    let options = Options {
        precision: precision(&args.similarity),
        input_shapes: model.inputs().iter().filter_map(shape).collect(),
    };
    Ok(Network::new(model, &options)?)
}

/// The first input whose shape neither the file nor the command line settles.
fn open_input<'a>(model: &'a Model, given: &[NamedShape]) -> Option<&'a Declared> {
    model.inputs().iter().find(|input| {
        given_shape(given, input).is_none()
            && input.example_shape().is_none_or(|shape| shape.contains(&None))
    })
}

/// Which flag would settle it, as far as the file says.
fn ask_for_shape(input: &Declared) -> String {
    let shape = input.example_shape().map(|shape| open_shape(&shape));
    let example = match input.example_shape() {
        Some(shape) => {
            let lengths = shape.iter().map(|l| l.map_or("?".into(), |length| length.to_string()));
            lengths.collect::<Vec<String>>().join("x")
        }
        None => "SHAPE".into(),
    };
    format!(
        "input `{}` leaves its shape {} open: give one with --input-shape {}={example} to see \
         forms and costs",
        input.name,
        shape.unwrap_or_default(),
        input.name
    )
}
