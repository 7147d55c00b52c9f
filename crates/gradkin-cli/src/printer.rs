//! The one place that prints: results to stdout; notes, warnings, errors and hints to stderr.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use gradkin_data::write::Table;

use crate::args::{Color, Common, Format};
use crate::exit::Outcome;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Knows what may be said and how it may look.
#[derive(Debug)]
pub(crate) struct Printer {
    quiet: bool,
    verbose: bool,
    colored_out: bool,
    colored_err: bool,
}

impl Printer {
    pub(crate) fn new(common: &Common) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let colored = |terminal: bool| match common.color {
            Color::Auto => terminal && !plain,
            Color::Always => true,
            Color::Never => false,
        };
        Self {
            quiet: common.quiet,
            verbose: common.verbose,
            colored_out: colored(io::stdout().is_terminal()),
            colored_err: colored(io::stderr().is_terminal()),
        }
    }

    /// The format of results on stdout: as asked for, or by whether a person reads it.
    pub(crate) fn format(&self, asked: Option<Format>) -> Format {
        asked.unwrap_or(if io::stdout().is_terminal() { Format::Table } else { Format::Csv })
    }

    /// Whether results may be coloured.
    pub(crate) fn is_colored(&self) -> bool {
        self.colored_out
    }

    /// Whether bars may be drawn.
    pub(crate) fn may_draw_bars(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Columns of text that results may take.
    pub(crate) fn width(&self) -> usize {
        const WITHOUT_TERMINAL: usize = 100;
        terminal_width().unwrap_or(WITHOUT_TERMINAL)
    }

    /// A line of results.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Outcome {
        Ok(writeln!(io::stdout().lock(), "{}", text.as_ref())?)
    }

    /// Results as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// A heading among results.
    pub(crate) fn heading(&self, text: &str) -> Outcome {
        self.line(paint(self.colored_out, BOLD, text))
    }

    /// A table for other programs to read.
    pub(crate) fn table(&self, table: &Table, format: Format) -> Outcome {
        let mut out = io::BufWriter::new(io::stdout().lock());
        match format {
            Format::Json => table.write_json(&mut out)?,
            _ => table.write_csv(&mut out)?,
        }
        Ok(out.flush()?)
    }

    /// Something good to know.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            complain(text.as_ref());
        }
    }

    /// Something for those who ask for more.
    pub(crate) fn detail(&self, text: impl AsRef<str>) {
        if self.verbose {
            complain(&paint(self.colored_err, DIM, text.as_ref()));
        }
    }

    /// Something that the user must know; said even when quiet.
    pub(crate) fn warning(&self, text: impl AsRef<str>) {
        self.labelled(WARNING, "warning", text.as_ref());
    }

    pub(crate) fn error(&self, message: &str, hint: Option<&str>) {
        self.labelled(ERROR, "error", message);
        if let Some(hint) = hint {
            self.labelled(HINT, "hint", hint);
        }
    }

    pub(crate) fn interrupted(&self, message: &str) {
        self.note(message);
    }

    fn labelled(&self, style: Style, label: &str, text: &str) {
        complain(&format!("{}: {text}", paint(self.colored_err, style, label)));
    }
}

fn terminal_width() -> Option<usize> {
    let (_, width) =
        io::stdout().is_terminal().then(|| console::Term::stdout().size_checked())??;
    Some(width.into())
}

fn paint(colored: bool, style: Style, text: &str) -> String {
    if colored { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// A line on stderr; that it cannot be written is nobody's concern.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
