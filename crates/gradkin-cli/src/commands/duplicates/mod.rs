//! `gradkin duplicates`: groups of examples that the network cannot tell apart, as a table, as a
//! summary and as a picture.

mod groups;
mod report;

use crate::args::{Common, DuplicatesArgs};
use crate::exit::{Failure, Outcome};
use crate::job::{Job, Request, warn_of_undefined};
use crate::printer::Printer;
use crate::{interrupt, results, show};
use gradkin::Examples;
use groups::Groups;

pub(crate) fn run(args: &DuplicatesArgs, common: &Common, printer: &Printer) -> Outcome {
    results::check_writable(args.table.output.as_deref(), args.show.as_deref())?;
    let threshold = args.threshold;
    if !(-1.0..=1.0).contains(&threshold) {
        let message = format!("--threshold {threshold}: a threshold is a similarity, -1 to 1");
        return Err(Failure::mistake(message));
    }
    let request = Request {
        command: "duplicates",
        model: &args.model,
        data: &args.data,
        other: None,
        other_labels: None,
        data_args: &args.data_args,
        similarity: &args.similarity,
        common,
    };
    let mut job = Job::open(&request, printer)?;
    job.record.note("threshold", threshold);
    if args.show.is_some() {
        show::check_images(&job.data)?;
    }
    let found = job
        .compute(printer, |similarity, watch| similarity.duplicates(&job.data, threshold, watch))?;
    if found.undefined.len() == job.data.len() {
        let name = job.data.name();
        let message = format!("no example of {name} has a similarity, so there are no duplicates");
        return Err(Failure::other(message));
    }
    warn_of_undefined(printer, &job.data, &found.undefined);
    let groups = Groups { job: &job, found: &found, threshold };
    groups.warn(printer);
    let table = groups.table()?;
    interrupt::check()?;
    results::write(&table, &args.table, printer)?;
    if let Some(path) = &args.show {
        draw(path, &groups, args.show_rows.max(1), printer)?;
    }
    results::print(&report::report(&groups), &table, &args.table, printer)
}

/// A row for each of the first groups; nothing to draw is said, and is no failure.
fn draw(path: &std::path::Path, groups: &Groups, rows: usize, printer: &Printer) -> Outcome {
    let order = groups.worst_first();
    if order.is_empty() {
        printer.note(format!("no group to draw, so {} was not written", path.display()));
        return Ok(());
    }
    let shown: Vec<&[usize]> =
        order.iter().take(rows).map(|g| groups.found.groups[*g].as_slice()).collect();
    show::groups(path, groups.job, &shown, &groups.found.nearest)?;
    printer.note(format!("drew {} ({} of {} groups)", path.display(), shown.len(), order.len()));
    Ok(())
}
