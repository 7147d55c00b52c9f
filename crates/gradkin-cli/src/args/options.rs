//! What several commands take: what is compared, how data is read, where results go.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use gradkin::network::Device;
use gradkin::{Positions, Select};

use crate::grammar::{self, NamedShape};

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

/// Where a table of results goes.
#[derive(Debug, ClapArgs)]
pub(crate) struct TableArgs {
    /// The table to write: .parquet (which carries the settings too), .csv, .json or .jsonl
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: FormatArg,
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
    /// Weights to put in the place of the model's, such as another checkpoint's; given several times,
    /// similarities are those of all these checkpoints together (inner products add up, and are
    /// normalised by their sum)
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) weights: Vec<PathBuf>,
    /// Which parameters count, by a regular expression on their names [default: all]
    #[arg(long, value_name = "REGEX")]
    pub(crate) params: Option<String>,
    /// The precision of the computation
    #[arg(long, value_enum, default_value_t)]
    pub(crate) dtype: Dtype,
    /// Where the network runs: cpu, cuda, cuda:N or metal, as far as this program was built for it
    #[arg(long, value_name = "DEVICE", default_value = "cpu", hide_default_value = true)]
    pub(crate) device: Device,
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

/// How gradients wait for their pairs.
#[derive(Debug, Clone, Copy, Default, ClapArgs)]
#[command(next_help_heading = "Similarity")]
pub(crate) struct StorageArg {
    /// How gradients are kept until they meet others; in 16 bits twice as many fit the memory. What
    /// it changes is measured on a sample and told
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) storage: Storage,
}

/// How gradients wait for their pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Storage {
    /// As they are computed
    #[default]
    Full,
    /// In 16 bits with eleven significant ones
    F16,
    /// In 16 bits with eight significant ones
    Bf16,
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
