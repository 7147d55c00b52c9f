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
use crate::reading::{self, check_names, given_shape};
use cost::Cost;
use report::{Report, open_shape};

pub(crate) fn run(args: &InspectArgs, common: &Common, printer: &Printer) -> Outcome {
    let weights = &args.similarity.weights;
    let models = reading::checkpoints(Model::open(&args.model)?, weights, printer)?;
    let model = &models[0];
    check_names(model, &args.input_shapes.shapes)?;
    let open = open_input(model, &args.input_shapes.shapes);
    let networks = match open {
        Some(_) if model.unsupported_nodes().is_empty() => Ok(None),
        _ => networks(&models, args).map(Some),
    };
    let (networks, mut failure) = apart(networks);
    let networks = networks.unwrap_or_default();
    let cost = networks.first().map(|_| Cost::new(&networks, args, common)).transpose();
    let (cost, no_cost) = apart(cost);
    let mut report = Report::new(args, model, networks.first(), cost);
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

/// The network, or its checkpoints, at the shapes that are known.
fn networks(models: &[Model], args: &InspectArgs) -> Outcome<Vec<Network>> {
    let given = &args.input_shapes.shapes;
    let shape = |input: &Declared| {
        given_shape(given, input).map(|shape| (input.name.clone(), shape.to_vec()))
    };
    let options = Options {
        precision: precision(&args.similarity),
        device: args.similarity.device,
        input_shapes: models[0].inputs().iter().filter_map(shape).collect(),
    };
    models.iter().map(|model| Ok(Network::new(model, &options)?)).collect()
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
