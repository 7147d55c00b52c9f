//! `gradkin neighbors`: the most similar examples of each example, as a table, as a few lines on the
//! terminal, and as a picture.

use gradkin::Examples;

use crate::args::{Common, NeighborsArgs};
use crate::exit::{Failure, Outcome};
use crate::found::Found;
use crate::job::{Job, Request, warn_of_undefined};
use crate::printer::Printer;
use crate::results::{self, Report};
use crate::{interrupt, show, text};

pub(crate) fn run(args: &NeighborsArgs, common: &Common, printer: &Printer) -> Outcome {
    results::check_writable(args.table.output.as_deref(), args.show.as_deref())?;
    if args.k == 0 {
        return Err(Failure::mistake("-k 0 asks for no neighbours"));
    }
    let request = Request {
        command: "neighbors",
        model: &args.model,
        data: &args.data,
        other: args.queries.as_deref(),
        other_labels: args.query_labels.as_deref(),
        data_args: &args.data_args,
        similarity: &args.similarity,
        common,
    };
    let mut job = Job::open(&request, printer)?;
    job.keep_in(args.storage.storage)?;
    job.record.note("k", args.k);
    let shown = queries_to_draw(args, &job)?;
    let neighbors = job.neighbors(args.k, printer)?;
    job.tell_storage(printer)?;
    let found = Found { job: &job, neighbors: &neighbors };
    let table = found.table(args.similarity.dtype)?;
    warn_of_undefined(printer, found.queries(), &neighbors.undefined_queries);
    if job.has_other() {
        warn_of_undefined(printer, &job.data, &neighbors.undefined_examples);
    }
    interrupt::check()?;
    results::write(&table, &args.table, printer)?;
    if let Some(path) = &args.show {
        show::contact_sheet(path, &found, &shown)?;
        printer.note(format!("drew {}", path.display()));
    }
    results::print(&report(&found, printer), &table, &args.table, printer)
}

fn report(found: &Found, printer: &Printer) -> Report {
    let mut report = Report { summary: found.summary(), ..Report::default() };
    let mut lines = found.lines(printer.width()).into_iter();
    lines.next().into_iter().for_each(|head| report.heading(head));
    report.lines(lines);
    report
}

/// The queries on the contact sheet, after a check that there is something to draw.
fn queries_to_draw(args: &NeighborsArgs, job: &Job) -> Outcome<Vec<usize>> {
    if args.show.is_none() {
        return Ok(Vec::new());
    }
    let queries = job.other_or_data();
    [queries, &job.data].into_iter().try_for_each(show::check_images)?;
    let Some(list) = &args.show_queries else {
        return Ok(text::spread(queries.len(), args.show_rows.max(1)));
    };
    match list.0.iter().find(|query| **query >= queries.len()) {
        Some(query) => {
            let last = queries.len() - 1;
            let message = format!("--show-queries: {} has no example {query}", queries.name());
            Err(Failure::mistake(message).hint(format!("it has examples 0 to {last}")))
        }
        None => Ok(list.0.clone()),
    }
}
