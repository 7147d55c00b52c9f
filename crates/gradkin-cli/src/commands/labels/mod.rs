//! `gradkin labels`: which labels are doubtful, what they more likely are, and how far noise in labels
//! is averaged away, from similarities alone.

mod classification;
mod findings;
mod given;
mod neighborhood;
mod regression;
mod report;

use crate::args::{Common, Kind, LabelsArgs, Reduce};
use crate::exit::{Failure, Outcome};
use crate::job::{Job, Request, warn_of_undefined};
use crate::printer::Printer;
use crate::{interrupt, results, show};
use given::Given;
use gradkin::{Examples, Select};

pub(crate) fn run(args: &LabelsArgs, common: &Common, printer: &Printer) -> Outcome {
    results::check_writable(args.table.output.as_deref(), args.show.as_deref())?;
    check_similarity(args)?;
    let request = Request {
        command: "labels",
        model: &args.model,
        data: &args.data,
        other: None,
        other_labels: None,
        data_args: &args.data_args,
        similarity: &args.similarity,
        common,
    };
    let mut job = Job::open(&request, printer)?;
    let given = Given::of(&job.data, job.outputs()?)?;
    if let Given::Classes { .. } = given {
        job.compare_logits(printer)?;
    }
    if args.nearest > 0 && matches!(given, Given::Targets { .. }) {
        let message = format!("--nearest {}: targets are numbers, and none agree", args.nearest);
        return Err(Failure::mistake(message).hint("list the nearest with `gradkin neighbors`"));
    }
    job.record.note("nearest", args.nearest);
    if args.show.is_some() {
        show::check_images(&job.data)?;
    }
    let predictions = job.compute(printer, |s, watch| s.predictions(&job.data, watch))?;
    let pairs = neighborhood::pairs(args, &given, &mut job, printer)?;
    let findings = match &given {
        Given::Classes { .. } => classification::find(&given, &predictions, &pairs, &job, printer)?,
        Given::Targets { .. } => regression::find(&given, &predictions, &pairs, &job, printer)?,
    };
    if findings.undefined.len() == job.data.len() {
        return Err(nothing_to_check(&job));
    }
    warn_of_undefined(printer, &job.data, &findings.undefined);
    let table = findings.table(&given, &job)?;
    interrupt::check()?;
    results::write(&table, &args.table, printer)?;
    if let Some(path) = &args.show {
        let doubts = report::doubts(&findings, &given, args.show_rows.max(1));
        show::doubts(path, &job, &doubts)?;
        printer.note(format!("drew {}", path.display()));
    }
    let report = report::report(&findings, &given, &job);
    results::print(&report, &table, &args.table, printer)
}

fn nothing_to_check(job: &Job) -> Failure {
    let name = job.data.name();
    Failure::other(format!("no example of {name} has a similarity, so no label can be checked"))
}

fn check_similarity(args: &LabelsArgs) -> Outcome {
    let similarity = &args.similarity;
    if similarity.kind != Kind::Correlation {
        return Err(Failure::mistake("labels are checked by correlations; use --kind correlation"));
    }
    if similarity.reduce != Reduce::Trace {
        let message = "labels are checked by one number per pair, in sums; use --reduce trace";
        return Err(Failure::mistake(message));
    }
    if similarity.outputs != Select::All {
        let message = "labels are checked by all outputs; leave --outputs out";
        return Err(Failure::mistake(message));
    }
    Ok(())
}
