//! `gradkin completions`: what a shell needs to complete gradkin's command lines.

use clap::CommandFactory;

use crate::args::{Args, CompletionsArgs};
use crate::exit::Outcome;
use crate::printer::Printer;

pub(crate) fn run(args: &CompletionsArgs, printer: &Printer) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "gradkin", &mut script);
    printer.bytes(&script)
}
