//! What `gradkin train` takes.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use gradkin::train::{Augmentation, Objective, Schedule};
use gradkin::{Positions, Select};

use super::options::{DataArgs, Dtype};
use crate::grammar;

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The result is the network with other weights, an ONNX file that runs wherever the old one did. Where
an output ends in a Softmax, the logits that enter it are trained. BatchNormalization takes the
statistics of each batch and keeps running ones, where the file still has the layer; Dropout is off.

--enforce adds λ times one minus the mean similarity of the examples of a group, as gradkin compares
them: class makes examples of one class in a batch alike, pairs:FILE the pairs of a table with two
columns, augment:SPEC each example and a changed copy of it (shift:PIXELS, turn:DEGREES, flip,
crop:SHARE, noise:DEVIATION, apart by commas). A negative λ drives them apart.

Examples:
  gradkin train model.onnx images.idx.gz --labels labels.idx.gz --scale 1/255 -o trained.onnx
  gradkin train model.onnx x.npy --labels y.npy --init random --seed 3 --epochs 20 -o trained.onnx
  gradkin train model.onnx photos/ --resize 64x64 --scale 1/255 --hold-out 0.1 --patience 3 \\
      --metrics metrics.csv --events runs/ --checkpoint run.safetensors -o trained.onnx
  gradkin train model.onnx images.idx.gz --labels labels.idx.gz --scale 1/255 \\
      --enforce class --lambda 0.1 --watch 50 -o trained.onnx")]
pub(crate) struct TrainArgs {
    /// The network, an ONNX file
    pub(crate) model: PathBuf,
    /// The examples to train with: .npy, .npz, IDX, CIFAR .bin, .csv, a folder of images, or
    /// NAME=FILE,NAME=FILE for a network with several inputs
    pub(crate) data: String,
    /// The trained network, an ONNX file to write
    #[arg(short, long, value_name = "OUT.onnx")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) goal: GoalArgs,
    #[command(flatten)]
    pub(crate) steps: StepArgs,
    #[command(flatten)]
    pub(crate) enforce: EnforceArgs,
    #[command(flatten)]
    pub(crate) keeping: KeepingArgs,
    #[command(flatten)]
    pub(crate) data_args: DataArgs,
}

/// What is minimised, from where.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Training")]
pub(crate) struct GoalArgs {
    /// cross-entropy, squared, absolute or huber:DELTA [default: cross-entropy for classes, squared
    /// for numbers]
    #[arg(long, value_name = "LOSS", value_parser = loss)]
    pub(crate) loss: Option<Objective>,
    /// A weight for each example, or for each number of its label (zero masks it): .npy, .csv or text
    #[arg(long, value_name = "FILE[:COLUMN]")]
    pub(crate) label_weights: Option<String>,
    /// The output that meets the labels [default: the first]
    #[arg(long, value_name = "NAME")]
    pub(crate) output_name: Option<String>,
    /// Which parameters move, by a regular expression on their names [default: all]
    #[arg(long, value_name = "REGEX")]
    pub(crate) params: Option<String>,
    /// Where the weights start: the file's, or drawn anew from the seed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) init: Init,
    /// Weights to start from in the place of the model's
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "init")]
    pub(crate) weights: Option<PathBuf>,
    /// What weights, order of examples and augmentation are drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// The precision of the computation
    #[arg(long, value_enum, default_value_t)]
    pub(crate) dtype: Dtype,
}

/// Where weights start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Init {
    /// With the file's values
    #[default]
    File,
    /// With random ones, as PyTorch draws them for each kind of layer
    Random,
}

/// How the weights move.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Training")]
pub(crate) struct StepArgs {
    /// Passes over the examples
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) epochs: usize,
    /// Examples per step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    pub(crate) batch: usize,
    /// How the weights follow their gradient
    #[arg(long, value_enum, default_value_t)]
    pub(crate) optimizer: Method,
    /// The learning rate
    #[arg(long, value_name = "RATE", default_value = "0.001", value_parser = positive)]
    pub(crate) lr: f64,
    /// How the learning rate changes: constant, cosine, linear, or steps:EPOCHS:FACTOR
    #[arg(long, value_name = "SCHEDULE", value_parser = schedule, default_value = "constant")]
    pub(crate) schedule: Schedule,
    /// Steps over which the learning rate rises at the beginning
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    pub(crate) warmup: u64,
    /// Momentum of --optimizer sgd
    #[arg(long, value_name = "SHARE", default_value = "0.9", value_parser = share)]
    pub(crate) momentum: f64,
    /// Weight decay
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = not_negative)]
    pub(crate) weight_decay: f64,
    /// Shorten gradients that are longer than this
    #[arg(long, value_name = "LENGTH", value_parser = positive)]
    pub(crate) clip: Option<f64>,
    /// Validation examples from a data set of their own
    #[arg(long, value_name = "DATA2", conflicts_with = "hold_out")]
    pub(crate) validate: Option<String>,
    /// Labels of the validation examples
    #[arg(long, value_name = "FILE[:COLUMN]", requires = "validate")]
    pub(crate) validate_labels: Option<String>,
    /// The share of the examples to hold out for validation, drawn from the seed
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) hold_out: Option<f64>,
    /// Stop after so many epochs without a lower validation loss, and keep the best weights
    #[arg(long, value_name = "EPOCHS")]
    pub(crate) patience: Option<usize>,
}

/// How weights follow their gradient.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    #[default]
    Adam,
    /// Adam with weight decay apart from the gradient
    Adamw,
    /// Gradient descent with Nesterov's momentum
    Nesterov,
    /// Gradient descent with momentum
    Sgd,
}

/// What is made alike.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Similarity")]
pub(crate) struct EnforceArgs {
    /// Examples that are to be alike: class, pairs:FILE or augment:SPEC
    #[arg(long, value_name = "WHICH", value_parser = enforce)]
    pub(crate) enforce: Option<Enforce>,
    /// Weight of the similarity term
    #[arg(long, value_name = "WEIGHT", default_value = "0.1", value_parser = grammar::number, allow_negative_numbers = true)]
    pub(crate) lambda: f64,
    /// Which outputs are compared [default: contrast for classes, all otherwise]
    #[arg(long, value_name = "OUTPUTS", value_parser = grammar::outputs)]
    pub(crate) outputs: Option<Select>,
    /// For outputs with positions (pixels, tokens): mean, or a list such as 3,4;10,12
    #[arg(long, value_name = "POSITIONS", value_parser = grammar::positions)]
    pub(crate) positions: Option<Positions>,
    /// Measure similarities within and between classes, and density, every so many steps
    #[arg(long, value_name = "STEPS")]
    pub(crate) watch: Option<u64>,
    /// How many examples to measure them on
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) probe: usize,
}

/// Examples that are to be alike.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Enforce {
    Class,
    Pairs(PathBuf),
    Augment(Augmentation),
}

/// What is kept beside the network.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Records")]
pub(crate) struct KeepingArgs {
    /// Loss, metric and similarity per epoch and watched step: .parquet, .csv, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
    /// The same as event files for TensorBoard
    #[arg(long, value_name = "FOLDER")]
    pub(crate) events: Option<PathBuf>,
    /// Keep where training stands, after each epoch and when it is interrupted
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Go on from the checkpoint, if there is one
    #[arg(long, requires = "checkpoint")]
    pub(crate) resume: bool,
}

fn loss(text: &str) -> Result<Objective, String> {
    match text.split_once(':') {
        None => match text {
            "cross-entropy" => Ok(Objective::CrossEntropy),
            "squared" => Ok(Objective::Squared),
            "absolute" => Ok(Objective::Absolute),
            "huber" => Ok(Objective::Huber { delta: 1.0 }),
            _ => Err("use cross-entropy, squared, absolute or huber:DELTA".into()),
        },
        Some(("huber", delta)) => Ok(Objective::Huber { delta: positive(delta)? }),
        Some(_) => Err("use cross-entropy, squared, absolute or huber:DELTA".into()),
    }
}

fn schedule(text: &str) -> Result<Schedule, String> {
    const USE: &str = "use constant, cosine, linear or steps:EPOCHS:FACTOR";
    Ok(match text {
        "constant" => Schedule::Constant,
        "cosine" => Schedule::Cosine,
        "linear" => Schedule::Linear,
        other => {
            let parts: Vec<&str> = other.split(':').collect();
            let ["steps", every, factor] = parts[..] else { return Err(USE.into()) };
            let every = at_least_one(every).map_err(|_| USE.to_owned())?;
            Schedule::Steps { every, factor: positive(factor)? }
        }
    })
}

fn enforce(text: &str) -> Result<Enforce, String> {
    match text.split_once(':') {
        None if text == "class" => Ok(Enforce::Class),
        Some(("pairs", file)) if !file.is_empty() => Ok(Enforce::Pairs(file.into())),
        Some(("augment", spec)) => {
            spec.parse().map(Enforce::Augment).map_err(|wrong: gradkin::Error| wrong.to_string())
        }
        _ => Err("use class, pairs:FILE or augment:SPEC".into()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = grammar::number(text)?;
    if number > 0.0 && number.is_finite() { Ok(number) } else { Err("it is not above 0".into()) }
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = grammar::number(text)?;
    if number >= 0.0 && number.is_finite() { Ok(number) } else { Err("it is below 0".into()) }
}

fn share(text: &str) -> Result<f64, String> {
    let number = grammar::number(text)?;
    if (0.0..1.0).contains(&number) { Ok(number) } else { Err("it is no share, 0 to 1".into()) }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("it is no whole number above 0".into()),
    }
}
