//! What can go wrong when similarities are computed.

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why similarities could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The network could not be read or run.
    #[error(transparent)]
    Network(#[from] gradkin_network::NetworkError),
    /// The examples could not be read.
    #[error("{0}")]
    Examples(Box<dyn std::error::Error + Send + Sync>),
    /// What was asked for does not make sense; the message says what to do.
    #[error("{0}")]
    Usage(String),
    /// The progress closure asked to stop.
    #[error("stopped before the end")]
    Cancelled,
}

impl From<gradkin_network::candle_core::Error> for Error {
    fn from(error: gradkin_network::candle_core::Error) -> Self {
        Self::Network(error.into())
    }
}
