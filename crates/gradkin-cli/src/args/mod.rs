//! What was typed. What it means is [`job`](crate::job)'s concern.

mod commands;
mod options;
mod train;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub(crate) use commands::{
    CompletionsArgs, DemoArgs, DensityArgs, DuplicatesArgs, Experiment, ExperimentArgs,
    InspectArgs, KernelArgs, LabelsArgs, NeighborsArgs, Undefined,
};
pub(crate) use options::{
    DataArgs, Dtype, Format, Kind, Layout, Metric, Missing, Reduce, SimilarityArgs, Storage,
    TableArgs,
};

pub(crate) use train::{Enforce, Init, Method, TrainArgs};

use crate::grammar;

/// Which examples does a trained network see as the same?
///
/// gradkin reads a network from an ONNX file and a data set, and compares examples by the gradients
/// of the network's outputs by its parameters: how far a change of the parameters meant for one
/// example would move the output of another. Exactly, for every pair.
#[derive(Debug, Parser)]
#[command(name = "gradkin", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}

const EXAMPLES: &str = "\
Examples:
  gradkin demo
  gradkin inspect model.onnx
  gradkin neighbors model.onnx images.idx.gz --scale 1/255 -k 10 -o neighbors.parquet
  gradkin density model.onnx images.idx.gz --scale 1/255 -o density.parquet
  gradkin labels model.onnx images.idx.gz --labels labels.idx.gz --scale 1/255 -o labels.parquet
  gradkin duplicates model.onnx photos/ --resize 224x224 --scale 1/255 --show duplicates.png
  gradkin kernel model.onnx x.npy -o kernel.npy
  gradkin train model.onnx images.idx.gz --labels labels.idx.gz --scale 1/255 -o trained.onnx

Exit codes: 0 done, 1 failure, 2 mistake in the command line or in a file, 130 interrupted.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try gradkin on a small network and data set that come with it; no files needed
    Demo(DemoArgs),
    /// Show a network's inputs, outputs and parameters, and what comparing examples would cost
    Inspect(InspectArgs),
    /// Compute similarities between all pairs of examples, as an array
    Kernel(KernelArgs),
    /// Find the most similar examples of each example
    Neighbors(NeighborsArgs),
    /// Count how many neighbours each example has: how dense the data is as the network sees it
    Density(DensityArgs),
    /// Find labels that are likely wrong, and say what they more likely are
    Labels(LabelsArgs),
    /// Find groups of examples that the network cannot tell apart
    Duplicates(DuplicatesArgs),
    /// Train a network, with similarity enforced where asked for
    Train(Box<TrainArgs>),
    /// Run one of the paper's experiments
    Experiment(ExperimentArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// Options of every command.
#[derive(Debug, Default, ClapArgs)]
#[command(next_help_heading = "General")]
pub(crate) struct Common {
    /// Print only results, warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say what was read, how it is computed and how long it took
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Number of threads [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
    /// Memory that the computation may take, such as 512M or 4G [default: half of what is
    /// available]
    #[arg(long, global = true, value_name = "SIZE", value_parser = grammar::size)]
    pub(crate) memory: Option<usize>,
    /// When to use colour; NO_COLOR is respected
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: Color,
}

fn threads(text: &str) -> Result<usize, String> {
    const MOST: usize = 4096;
    let number = text.parse().ok().filter(|n| (1..=MOST).contains(n));
    number.ok_or_else(|| format!("it is not a number of threads, 1 to {MOST}"))
}

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    #[default]
    Auto,
    Always,
    Never,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
