//! What was typed. What it means is [`job`](crate::job)'s concern.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use gradkin::{Positions, Select};

use crate::grammar::{self, NamedShape};

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
  gradkin kernel model.onnx x.npy -o kernel.npy

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

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    Csv,
    Json,
}

/// Where results go on stdout.
#[derive(Debug, ClapArgs)]
pub(crate) struct FormatArg {
    /// How to print results [default: table on a terminal, csv otherwise]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) format: Option<Format>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gradkin demo
  gradkin demo -o /tmp/demo")]
pub(crate) struct DemoArgs {
    /// Folder to write to; it is made if it does not exist
    #[arg(short, long, value_name = "FOLDER", default_value = "gradkin-demo")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gradkin inspect model.onnx
  gradkin inspect model.onnx -n 10000 --outputs sum
  gradkin inspect segmenter.onnx --input-shape image=3x256x256 --positions mean
  gradkin inspect model.onnx --format json")]
pub(crate) struct InspectArgs {
    /// The network, an ONNX file
    pub(crate) model: PathBuf,
    /// Number of examples to give costs for
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1000)]
    pub(crate) batch: usize,
    #[command(flatten)]
    pub(crate) format: FormatArg,
    #[command(flatten)]
    pub(crate) input_shapes: InputShapeArg,
    #[command(flatten)]
    pub(crate) similarity: SimilarityArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The result has shape [N, M], or [N, M, d, d] with --reduce none, entry (i, j, a, b) for output a of
row example i and output b of column example j. K.npy.json beside it says how it was made. Examples
without a similarity (no parameter can move their output, or their gradient is not finite) are left
out and listed there.

Examples:
  gradkin kernel model.onnx x.npy -o kernel.npy
  gradkin kernel model.onnx train.npy --against test.npy --kind inner --reduce none -o ntk.npy
  gradkin kernel model.onnx photos/ --resize 224x224 --scale 1/255 --params '^layer4' -o k.npy
  gradkin kernel model.onnx data.csv --label-column price --outputs loss:squared -o tracin.npy")]
pub(crate) struct KernelArgs {
    /// The network, an ONNX file
    pub(crate) model: PathBuf,
    /// The rows' examples: .npy, .npz, IDX, CIFAR .bin, .csv, a folder of images, or
    /// NAME=FILE,NAME=FILE for a network with several inputs
    pub(crate) data: String,
    /// The columns' examples, if they are others
    #[arg(long, value_name = "DATA2")]
    pub(crate) against: Option<String>,
    /// Labels of the columns' examples
    #[arg(long, value_name = "FILE[:COLUMN]", requires = "against")]
    pub(crate) against_labels: Option<String>,
    /// The array to write, .npy
    #[arg(short, long, value_name = "K.npy")]
    pub(crate) output: PathBuf,
    /// What to do about examples that have no similarity; `error` ends with exit code 1
    #[arg(long, value_name = "ACTION", value_enum, default_value_t)]
    pub(crate) undefined: Undefined,
    #[command(flatten)]
    pub(crate) similarity: SimilarityArgs,
    #[command(flatten)]
    pub(crate) data_args: DataArgs,
}

/// What to do about examples that have no similarity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Undefined {
    /// Leave their rows and columns out
    #[default]
    LeaveOut,
    /// Write nothing
    Error,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The result has columns query, rank (1 is the most similar), neighbor and similarity; query and
neighbor count examples of the data from 0. With labels also query_label and neighbor_label.

Examples:
  gradkin neighbors model.onnx images.idx.gz --labels labels.idx.gz --scale 1/255 -o n.parquet
  gradkin neighbors model.onnx photos/ --resize 224x224 --scale 1/255 --show neighbors.png
  gradkin neighbors model.onnx train.csv --queries test.csv --drop id -k 3
  gradkin neighbors model.onnx x.npy -k 1 | sort -t, -k4 -gr | head")]
pub(crate) struct NeighborsArgs {
    /// The network, an ONNX file
    pub(crate) model: PathBuf,
    /// The examples to search: .npy, .npz, IDX, CIFAR .bin, .csv, a folder of images, or
    /// NAME=FILE,NAME=FILE for a network with several inputs
    pub(crate) data: String,
    /// The examples to find neighbours of [default: DATA, each left out of its own list]
    #[arg(long, value_name = "DATA2")]
    pub(crate) queries: Option<String>,
    /// Labels of the queries
    #[arg(long, value_name = "FILE[:COLUMN]", requires = "queries")]
    pub(crate) query_labels: Option<String>,
    /// Number of neighbours
    #[arg(short, default_value_t = 10)]
    pub(crate) k: usize,
    /// The table to write: .parquet (which carries the settings too), .csv, .json or .jsonl
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Draw queries with their neighbours, for data that is images
    #[arg(long, value_name = "FILE.png")]
    pub(crate) show: Option<PathBuf>,
    /// How many queries to draw, evenly spread
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) show_rows: usize,
    /// Which queries to draw, such as 0,5,9
    #[arg(long, value_name = "LIST", value_parser = index_list, conflicts_with = "show_rows")]
    pub(crate) show_queries: Option<IndexList>,
    #[command(flatten)]
    pub(crate) format: FormatArg,
    #[command(flatten)]
    pub(crate) similarity: SimilarityArgs,
    #[command(flatten)]
    pub(crate) data_args: DataArgs,
}

/// Indices typed as one list.
#[derive(Debug, Clone)]
pub(crate) struct IndexList(pub(crate) Vec<usize>);

fn index_list(text: &str) -> Result<IndexList, String> {
    grammar::indices(text).map(IndexList)
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gradkin completions bash > ~/.local/share/bash-completion/completions/gradkin
  gradkin completions zsh > ~/.zfunc/_gradkin
  gradkin completions fish > ~/.config/fish/completions/gradkin.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// What is compared, and how.
#[derive(Debug, Clone, Default, PartialEq, ClapArgs)]
#[command(next_help_heading = "Similarity")]
pub(crate) struct SimilarityArgs {
    /// Which outputs are compared: all [the default], a list such as 0,3 or 0-4, their sum or mean,
    /// logprob:predicted, or with labels logprob:given, loss:cross-entropy, loss:squared
    #[arg(long, value_name = "OUTPUTS", value_parser = grammar::outputs, default_value = "all", hide_default_value = true)]
    pub(crate) outputs: Select,
    /// The output, or any value inside the network, by name [default: the first output]
    #[arg(long, value_name = "NAME")]
    pub(crate) output_name: Option<String>,
    /// For outputs with positions (pixels, tokens): mean, or a list such as 3,4;10,12
    #[arg(long, value_name = "POSITIONS", value_parser = grammar::positions)]
    pub(crate) positions: Option<Positions>,
    /// The output's axis that holds the channels, counted without the batch axis [default: the
    /// first of three or more, the last of two]
    #[arg(long, value_name = "AXIS", requires = "positions")]
    pub(crate) channel_axis: Option<usize>,
    /// How gradients are compared
    #[arg(long, value_enum, default_value_t)]
    pub(crate) kind: Kind,
    /// How the d×d matrix of two examples becomes one number
    #[arg(long, value_enum, default_value_t)]
    pub(crate) reduce: Reduce,
    /// How distances between outputs are measured
    #[arg(long, value_enum, default_value_t)]
    pub(crate) metric: Metric,
    /// Which parameters count, by a regular expression on their names [default: all]
    #[arg(long, value_name = "REGEX")]
    pub(crate) params: Option<String>,
    /// The precision of the computation
    #[arg(long, value_enum, default_value_t)]
    pub(crate) dtype: Dtype,
}

/// How gradients are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Plain inner products (the neural tangent kernel)
    Inner,
    /// How far the row's output moves when the column's is moved by one
    Influence,
    /// Inner products of unit gradients
    #[default]
    Correlation,
}

/// How the d×d matrix of two examples becomes one number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reduce {
    /// It stays a matrix
    None,
    /// Its trace, over the rank where the kind is not inner
    #[default]
    Trace,
    /// The largest trace over rotations of the outputs
    Rotation,
}

/// How distances between outputs are measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Metric {
    #[default]
    Euclidean,
    /// The Fisher metric of softmax classification
    Fisher,
}

/// The precision of the computation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    #[default]
    F32,
    F64,
}

/// Shapes of the network's inputs.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct InputShapeArg {
    /// Shape of one example, without the batch axis, where the file leaves it open and the data
    /// does not settle it; NAME= may be left out for a single input
    #[arg(long = "input-shape", value_name = "NAME=1x28x28", value_parser = grammar::named_shape)]
    pub(crate) shapes: Vec<NamedShape>,
}

/// How data is read and prepared.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// Labels from a file: .npy, .npz, IDX, .csv, or text with one per line
    #[arg(long, value_name = "FILE[:COLUMN]", conflicts_with = "label_column")]
    pub(crate) labels: Option<String>,
    /// The table's column, or the archive's array, that holds the labels
    #[arg(long, value_name = "NAME")]
    pub(crate) label_column: Option<String>,
    /// Factor on every value, before --mean is taken off
    #[arg(long, value_name = "1/255", value_parser = grammar::number, allow_negative_numbers = true)]
    pub(crate) scale: Option<f64>,
    /// Mean to take off: one number, or one per channel
    #[arg(long, value_name = "LIST", value_parser = grammar::number, value_delimiter = ',', allow_negative_numbers = true)]
    pub(crate) mean: Vec<f64>,
    /// Standard deviation to divide by: one number, or one per channel
    #[arg(long, value_name = "LIST", value_parser = grammar::number, value_delimiter = ',')]
    pub(crate) std: Vec<f64>,
    /// Bring images to this size
    #[arg(long, value_name = "HxW", value_parser = grammar::height_by_width)]
    pub(crate) resize: Option<(usize, usize)>,
    /// Where the network wants an image's channels
    #[arg(long, value_enum)]
    pub(crate) layout: Option<Layout>,
    /// What to do about gaps in a table
    #[arg(long, value_enum, default_value_t)]
    pub(crate) missing: Missing,
    /// The only columns of a table to use
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub(crate) keep: Vec<String>,
    /// Columns of a table to leave out
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub(crate) drop: Vec<String>,
    /// Use the first N examples only
    #[arg(long, value_name = "N")]
    pub(crate) take: Option<usize>,
    #[command(flatten)]
    pub(crate) input_shapes: InputShapeArg,
}

/// Where the network wants an image's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// Before height and width, as PyTorch does
    Nchw,
    /// After them, as TensorFlow does
    Nhwc,
}

/// What to do about gaps in a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Missing {
    #[default]
    Error,
    /// Leave the row out
    Drop,
    /// Put the column's mean there
    Mean,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
