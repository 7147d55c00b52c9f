//! How what a command found reaches the user: a table in a file or on stdout, a few lines for people.

use std::path::Path;

use gradkin_data::write::{AtomicFile, Table};

use crate::args::{Format, TableArgs};
use crate::exit::{Failure, Outcome};
use crate::printer::Printer;
use crate::text;

/// What people want to know of a table that they will not read line by line.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// For the terminal only.
    pub(crate) body: Vec<Line>,
    /// Said in any case: among the results on a terminal, beside them otherwise.
    pub(crate) summary: Vec<String>,
}

/// A line of a report.
#[derive(Debug, Clone)]
pub(crate) enum Line {
    Heading(String),
    Plain(String),
}

impl Report {
    pub(crate) fn heading(&mut self, text: impl Into<String>) {
        if !self.body.is_empty() {
            self.body.push(Line::Plain(String::new()));
        }
        self.body.push(Line::Heading(text.into()));
    }

    pub(crate) fn lines(&mut self, lines: impl IntoIterator<Item = String>) {
        self.body.extend(lines.into_iter().map(Line::Plain));
    }

    /// Columns under their names, which are the first row.
    pub(crate) fn columns(&mut self, rows: &[Vec<String>]) {
        let width = rows.iter().map(Vec::len).max().unwrap_or_default();
        self.lines(text::columns(rows, &vec![text::Align::Left; width]));
    }
}

/// Find out before the work whether results can be written.
pub(crate) fn check_writable(table: Option<&Path>, picture: Option<&Path>) -> Outcome {
    if let Some(path) = table {
        Table::check_writable(path)?;
    }
    let Some(path) = picture else { return Ok(()) };
    if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("png")) {
        let message = format!("--show {}: a contact sheet's name ends in .png", path.display());
        return Err(Failure::mistake(message));
    }
    Ok(AtomicFile::check_writable(path)?)
}

/// Write the table to the file that was named, if one was.
pub(crate) fn write(table: &Table, args: &TableArgs, printer: &Printer) -> Outcome {
    if let Some(path) = &args.output {
        table.write(path)?;
        printer.note(format!("wrote {} ({} rows)", path.display(), text::count(table.rows())));
    }
    Ok(())
}

/// Print the report for people, the table for programs.
pub(crate) fn print(
    report: &Report,
    table: &Table,
    args: &TableArgs,
    printer: &Printer,
) -> Outcome {
    let format = printer.format(args.format.format);
    if format == Format::Table {
        return print_report(report, printer);
    }
    report.summary.iter().for_each(|line| printer.note(line));
    // Whoever named a file has the table already, unless they ask for it twice.
    if args.output.is_some() && args.format.format.is_none() {
        return Ok(());
    }
    printer.table(table, format)
}

fn print_report(report: &Report, printer: &Printer) -> Outcome {
    for line in &report.body {
        match line {
            Line::Heading(text) => printer.heading(text)?,
            Line::Plain(text) => printer.line(text)?,
        }
    }
    if !report.body.is_empty() && !report.summary.is_empty() {
        printer.line("")?;
    }
    report.summary.iter().try_for_each(|line| printer.line(line))
}
