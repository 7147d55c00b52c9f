//! What can go wrong with a network, said so that the reader knows the file, the node and the remedy.

use std::path::PathBuf;

/// The result of everything in this crate that can fail.
pub type Result<T, E = NetworkError> = std::result::Result<T, E>;

/// Why a network could not be read or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The file could not be opened or read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The bytes are no ONNX model, or stop in the middle of one.
    #[error(
        "{model} is not a whole ONNX model ({message}); export it again, or check that the download finished"
    )]
    NotOnnx {
        /// The file.
        model: String,
        /// What the decoder met.
        message: String,
    },
    /// The model is ONNX but says something that contradicts itself or that gradkin cannot use.
    #[error("{model}: {message}")]
    Model {
        /// The file.
        model: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// Weights kept beside the model are missing or too short.
    #[error(
        "{model}: tensor `{tensor}` keeps its values in {path}: {message}; put that file beside the model"
    )]
    ExternalData {
        /// The model file.
        model: String,
        /// The tensor.
        tensor: String,
        /// The file that should hold its values.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The bytes are no safetensors file, or stop in the middle of one.
    #[error(
        "{path} is not a whole safetensors file ({message}); save the weights again, or check that the download finished"
    )]
    NotWeights {
        /// The file of weights.
        path: PathBuf,
        /// What the decoder met.
        message: String,
    },
    /// The tensors of a file of weights are not those of the network.
    #[error(
        "{path} does not fit {model} in {} tensors: {}; {remedy}",
        .misfits.len(),
        list(.misfits, "; ", 20)
    )]
    WeightsDoNotFit {
        /// The file of weights.
        path: PathBuf,
        /// The model file.
        model: String,
        /// One clause per tensor that does not fit.
        misfits: Vec<String>,
        /// What to do.
        remedy: String,
    },
    /// Operators that gradkin does not know, every one of them.
    #[error("{model} uses operators that gradkin does not know: {}", list(.nodes, ", ", 40))]
    UnsupportedOperators {
        /// The file.
        model: String,
        /// One line per node: operator and node name.
        nodes: Vec<String>,
    },
    /// A node does not fit its inputs.
    #[error("{model}: node `{node}` ({operator}): {message}")]
    Node {
        /// The file.
        model: String,
        /// The node's name, or its first output where it has none.
        node: String,
        /// The ONNX operator.
        operator: String,
        /// Expected and found.
        message: String,
    },
    /// What the caller handed over does not fit the network.
    #[error("{0}")]
    Usage(String),
    /// The tensor library failed outside any node.
    #[error("tensor arithmetic failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// The first few of a list, and how many more there are.
fn list(items: &[String], between: &str, shown: usize) -> String {
    let mut text = items.iter().take(shown).cloned().collect::<Vec<_>>().join(between);
    if items.len() > shown {
        text.push_str(&format!("{between}and {} more", items.len() - shown));
    }
    text
}

/// What an operator says when it cannot be built or run; the graph adds the node and the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorError {
    #[error("{0}")]
    Message(String),
    #[error("{}", first_line(.0))]
    Tensor(#[from] candle_core::Error),
}

/// Candle appends a backtrace where one is enabled; only the sentence is for the reader.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// An operator's result.
pub(crate) type OpResult<T> = std::result::Result<T, OperatorError>;

/// Stop with a formatted [`OperatorError::Message`].
macro_rules! fail {
    ($($arg:tt)*) => {
        return Err($crate::error::OperatorError::Message(format!($($arg)*)))
    };
}
pub(crate) use fail;
