//! Why an experiment stopped.

use std::path::PathBuf;

use gradkin::network::NetworkError;
use gradkin_data::DataError;
use gradkin_view::ViewError;

/// Why an experiment stopped before its page was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Similarities or a training failed.
    #[error(transparent)]
    Gradkin(gradkin::Error),
    /// The network could not be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Data could not be read, or results not be written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A figure could not be drawn.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The folder of the report could not be made.
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Something that the experiment needs is not there.
    #[error("{what} is not there; {remedy}")]
    Missing {
        /// What was looked for.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The watcher asked to stop.
    #[error("stopped before the end")]
    Cancelled,
}

impl From<gradkin::Error> for Error {
    fn from(error: gradkin::Error) -> Self {
        match error {
            gradkin::Error::Cancelled => Self::Cancelled,
            other => Self::Gradkin(other),
        }
    }
}
