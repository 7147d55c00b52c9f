//! `gradkin neighbors`: the most similar examples of each example, as a table, as a few lines on the
//! terminal, and as a picture.

use std::path::Path;

use gradkin::Examples;
use gradkin_data::write::{AtomicFile, Table};

use crate::args::{Common, Format, NeighborsArgs};
use crate::exit::{Failure, Outcome};
use crate::found::Found;
use crate::job::{Job, Request, warn_of_undefined};
use crate::printer::Printer;
use crate::{interrupt, show, text};

pub(crate) fn run(args: &NeighborsArgs, common: &Common, printer: &Printer) -> Outcome {
    check_outputs(args)?;
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
    job.record.note("k", args.k);
    let shown = queries_to_draw(args, &job)?;
    let neighbors = job.neighbors(args.k, printer)?;
    let found = Found { job: &job, neighbors: &neighbors };
    let table = found.table(args.similarity.dtype)?;
    warn_of_undefined(printer, found.queries(), &neighbors.undefined_queries);
    if job.has_other() {
        warn_of_undefined(printer, &job.data, &neighbors.undefined_examples);
    }
    interrupt::check()?;
    if let Some(path) = &args.output {
        table.write(path)?;
        printer.note(format!("wrote {} ({} rows)", path.display(), text::count(table.rows())));
    }
    if let Some(path) = &args.show {
        show::contact_sheet(path, &found, &shown)?;
        printer.note(format!("drew {}", path.display()));
    }
    print(args, &found, &table, printer)
}

fn print(args: &NeighborsArgs, found: &Found, table: &Table, printer: &Printer) -> Outcome {
    let format = printer.format(args.format.format);
    if format == Format::Table {
        let mut lines = found.lines(printer.width()).into_iter();
        if let Some(head) = lines.next() {
            printer.heading(&head)?;
        }
        lines.try_for_each(|line| printer.line(line))?;
        return found.summary().into_iter().try_for_each(|line| printer.line(line));
    }
    found.summary().into_iter().for_each(|line| printer.note(line));
    // Whoever named a file has the table already, unless they ask for it twice.
    if args.output.is_some() && args.format.format.is_none() {
        return Ok(());
    }
    printer.table(table, format)
}

fn check_outputs(args: &NeighborsArgs) -> Outcome {
    if let Some(path) = &args.output {
        Table::check_writable(path)?;
    }
    if let Some(path) = &args.show {
        check_picture_name(path)?;
    }
    if args.k == 0 {
        return Err(Failure::mistake("-k 0 asks for no neighbours"));
    }
    Ok(())
}

fn check_picture_name(path: &Path) -> Outcome {
    if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("png")) {
        let message = format!("--show {}: a contact sheet's name ends in .png", path.display());
        return Err(Failure::mistake(message));
    }
    Ok(AtomicFile::check_writable(path)?)
}

/// The queries on the contact sheet, after a check that there is something to draw.
fn queries_to_draw(args: &NeighborsArgs, job: &Job) -> Outcome<Vec<usize>> {
    if args.show.is_none() {
        return Ok(Vec::new());
    }
    let queries = job.other_or_data();
    for set in [queries, &job.data] {
        if set.data().picture(0).is_none() {
            return Err(Failure::mistake(format!(
                "--show: the examples of {} are no images",
                set.name()
            )));
        }
    }
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
