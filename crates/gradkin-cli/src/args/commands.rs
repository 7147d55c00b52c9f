//! What each command takes.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::options::{DataArgs, FormatArg, InputShapeArg, SimilarityArgs, StorageArg, TableArgs};
use crate::grammar;

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
    pub(crate) storage: StorageArg,
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
    pub(crate) table: TableArgs,
    #[command(flatten)]
    pub(crate) similarity: SimilarityArgs,
    #[command(flatten)]
    pub(crate) storage: StorageArg,
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

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
An example's soft count is the sum of its similarities to all examples, itself included: how many
others the network sees as the same, fractions added up. hard_T counts those with a similarity of T
or above; power_A adds up the positive similarities to the power A. Divided by the number of examples
counted against (columns ..._share), a count is a density as the network sees it: low where an example
is unlike the others, high where the network tells nothing apart. Soft counts take two sweeps over
the data, whatever its size; the others meet every pair, or with --sample an equal part of them for
each example, and then have standard errors beside them (columns ..._error).

With --against, the examples of DATA are counted among those of another set, to which they do not
belong: a low count says that an example is unlike anything in that set.

The result has columns example, given_label (with labels), soft, soft_share and so on, soft_CLASS for
each class of the set that is counted against (if it has labels), outlier_score (with such classes
and correlations: the largest of soft_CLASS over the size of the class, itself included; low for an
outlier, as in cleanlab), and file (for folders of images).

Examples:
  gradkin density model.onnx images.idx.gz --labels labels.idx.gz --scale 1/255 -o density.parquet
  gradkin density model.onnx x.npy --hard 0.9,0.95 --power 2,3 --sample 1000 -o density.csv
  gradkin density model.onnx new.npy --against train.npy -o seen_before.parquet
  gradkin density model.onnx photos/ --resize 224x224 --scale 1/255 --show low.png")]
pub(crate) struct DensityArgs {
    /// The network, an ONNX file
    pub(crate) model: PathBuf,
    /// The examples to count neighbours of: .npy, .npz, IDX, CIFAR .bin, .csv, a folder of images,
    /// or NAME=FILE,NAME=FILE for a network with several inputs
    pub(crate) data: String,
    /// The examples to count against, such as those that the network was trained on [default: DATA,
    /// each example counting itself]
    #[arg(long, value_name = "TRAIN")]
    pub(crate) against: Option<String>,
    /// Labels of the examples that are counted against
    #[arg(long, value_name = "FILE[:COLUMN]", requires = "against")]
    pub(crate) against_labels: Option<String>,
    /// Count also examples whose similarity is at least one of these
    #[arg(long, value_name = "LIST", value_parser = grammar::number, value_delimiter = ',', allow_negative_numbers = true)]
    pub(crate) hard: Vec<f64>,
    /// Count also positive similarities to one of these powers
    #[arg(long, value_name = "LIST", value_parser = grammar::number, value_delimiter = ',', allow_negative_numbers = true)]
    pub(crate) power: Vec<f64>,
    /// Estimate hard and power counts from N examples drawn at random, in place of meeting all
    #[arg(long, value_name = "N")]
    pub(crate) sample: Option<usize>,
    /// Which random sample; equal seeds draw equally
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "sample")]
    pub(crate) seed: u64,
    /// Draw the examples with the lowest counts, for data that is images
    #[arg(long, value_name = "FILE.png")]
    pub(crate) show: Option<PathBuf>,
    /// How many examples to draw
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub(crate) show_rows: usize,
    #[command(flatten)]
    pub(crate) table: TableArgs,
    #[command(flatten)]
    pub(crate) similarity: SimilarityArgs,
    #[command(flatten)]
    pub(crate) data_args: DataArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A label is doubted where the examples that the network sees as similar, and the network itself, speak
for another. The network should have been trained on these very labels, or on others of the kind.

For classes, each example's similarities to all others vote for its class; label_score is the
probability that the given label is right by this vote, by the network's own outputs, and by how often
each class is given as another, which is estimated too. It compares logits, also where the network ends
in a Softmax. For targets, one number or several, it compares the given one with what the neighbours'
labels let expect; label_score is below a half where it is more than three robust standard deviations
away.

The result has columns example, given_label, predicted_label, suggested_label, label_score (0 to 1, low
is doubtful), is_label_issue, averaged_label and averaged_label_without_self (over the neighbours),
denoising_factor (the part of independent label noise that such an average keeps; estimated, with
denoising_factor_error, beyond 10,000 examples), consistency (how far the network's output is from its
average over the neighbours: small means that averages can be trusted there), spread (the deviation of
labels over the neighbours), with --nearest also nearest_agreeing and nearest_disagreeing
(EXAMPLE:SIMILARITY,...), and file (for folders of images). Several targets have a column each,
given_label_0 and so on.

Examples:
  gradkin labels model.onnx images.idx.gz --labels labels.idx.gz --scale 1/255 -o labels.parquet
  gradkin labels model.onnx photos/ --resize 224x224 --scale 1/255 --nearest 4 --show errors.png
  gradkin labels model.onnx houses.csv --label-column price -o labels.csv")]
pub(crate) struct LabelsArgs {
    /// The network, an ONNX file
    pub(crate) model: PathBuf,
    /// The labelled examples: .npy, .npz, IDX, CIFAR .bin, .csv, a folder of images, or
    /// NAME=FILE,NAME=FILE for a network with several inputs
    pub(crate) data: String,
    /// List the N most similar examples with the same label and the N with others, which meets every
    /// pair
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) nearest: usize,
    /// Draw the most doubtful, for data that is images
    #[arg(long, value_name = "FILE.png")]
    pub(crate) show: Option<PathBuf>,
    /// How many to draw
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) show_rows: usize,
    #[command(flatten)]
    pub(crate) table: TableArgs,
    #[command(flatten)]
    pub(crate) similarity: SimilarityArgs,
    #[command(flatten)]
    pub(crate) data_args: DataArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Two examples are near duplicates if the network hardly tells them apart: the similarity of their
gradients is at or above the threshold. Examples that a chain of near duplicates joins are one group.
Every pair is met. Images may look different and yet be one to the network: one that is very sure of
itself moves all examples of a class alike, and then needs a higher threshold.

The result has columns example, given_label (with labels), is_near_duplicate_issue,
near_duplicate_score (1 less the similarity to the nearest: 0 where the network cannot tell them
apart at all), near_duplicate_sets (the others of the group, at most the first 100), group,
group_size, nearest, similarity (to the nearest), labels_contradict (with classes: the group has more
than one) and file (for folders of images).

Examples:
  gradkin duplicates model.onnx photos/ --resize 224x224 --scale 1/255 -o duplicates.parquet
  gradkin duplicates model.onnx x.npy --threshold 0.9999 --format csv
  gradkin duplicates model.onnx images.idx.gz --labels labels.idx.gz --scale 1/255 --show dup.png")]
pub(crate) struct DuplicatesArgs {
    /// The network, an ONNX file
    pub(crate) model: PathBuf,
    /// The examples: .npy, .npz, IDX, CIFAR .bin, .csv, a folder of images, or NAME=FILE,NAME=FILE
    /// for a network with several inputs
    pub(crate) data: String,
    /// The similarity from which on two examples are near duplicates
    #[arg(long, value_name = "T", value_parser = grammar::number, default_value = "0.99", allow_negative_numbers = true)]
    pub(crate) threshold: f64,
    /// Draw groups, those whose labels contradict each other first, for data that is images
    #[arg(long, value_name = "FILE.png")]
    pub(crate) show: Option<PathBuf>,
    /// How many groups to draw
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) show_rows: usize,
    #[command(flatten)]
    pub(crate) table: TableArgs,
    #[command(flatten)]
    pub(crate) similarity: SimilarityArgs,
    #[command(flatten)]
    pub(crate) data_args: DataArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Each writes a folder with its data (Parquet), its figures (SVG and PNG) and a page, index.md. MNIST,
CIFAR-10 and the real aerial tile are looked for in --data, $GRADKIN_SHARED, or a folder `shared`
beside the present one; what needs them and does not find them is left out and said so.

Examples:
  gradkin experiment toy --quick
  gradkin experiment mnist -o results/mnist --data ../shared
  gradkin experiment registration")]
pub(crate) struct ExperimentArgs {
    /// Which experiment of the paper
    #[arg(value_enum)]
    pub(crate) experiment: Experiment,
    /// Small settings: a look at the whole in under two minutes
    #[arg(long)]
    pub(crate) quick: bool,
    /// Folder to write to [default: gradkin-EXPERIMENT]
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
    /// Folder that holds data/mnist and the like
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Equal seeds give equal numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

/// An experiment of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Experiment {
    /// Density along a curve of one input: fewer neighbours where the function bends more
    Toy,
    /// Faster learning of MNIST with similarity enforced
    Mnist,
    /// Outlines brought into line with aerial images, learnt from labels out of place
    Registration,
}

impl Experiment {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Toy => "toy",
            Self::Mnist => "mnist",
            Self::Registration => "registration",
        }
    }
}
