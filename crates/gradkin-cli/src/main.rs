//! The `gradkin` program: which examples a trained network sees as the same.
//!
//! [`args`] is what was typed, [`job`] is what it means, [`commands`] do it with the library, and
//! [`printer`] says what came out. Nothing here knows any mathematics.

mod args;
mod commands;
mod examples;
mod exit;
mod found;
mod grammar;
mod interrupt;
mod job;
mod memory;
mod printer;
mod progress;
mod quantiles;
mod reading;
mod record;
mod results;
mod show;
mod text;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::exit::Outcome;
use crate::printer::Printer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_tensors_on_one_thread();
    exit::report_panics_in_one_line();
    let args = Args::parse();
    let printer = Printer::new(&args.common);
    let outcome = run(&args, &printer);
    exit::code(outcome, &printer)
}

/// Keep the tensor library from splitting element-wise operations over threads of its own.
///
/// Sweeps are parallel over examples already. Measured on the job of `benches/against_pytorch.py`,
/// more than half of all processor time went into its threads waiting for each other otherwise.
#[allow(unsafe_code)]
fn keep_tensors_on_one_thread() {
    // SAFETY: this is the first thing that `main` does; no other thread exists that could read the
    // environment meanwhile.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
}

fn run(args: &Args, printer: &Printer) -> Outcome {
    interrupt::listen()?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(args.common.threads.unwrap_or(0));
    let threads = threads.build().map_err(exit::Failure::other)?;
    let common = &args.common;
    threads.install(|| match &args.command {
        Command::Demo(args) => commands::demo::run(args, common, printer),
        Command::Inspect(args) => commands::inspect::run(args, common, printer),
        Command::Kernel(args) => commands::kernel::run(args, common, printer),
        Command::Neighbors(args) => commands::neighbors::run(args, common, printer),
        Command::Density(args) => commands::density::run(args, common, printer),
        Command::Duplicates(args) => commands::duplicates::run(args, common, printer),
        Command::Labels(args) => commands::labels::run(args, common, printer),
        Command::Train(args) => commands::train::run(args, common, printer),
        Command::Experiment(args) => commands::experiment::run(args, common, printer),
        Command::Completions(args) => commands::completions::run(args, printer),
    })
}
