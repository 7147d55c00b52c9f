//! What can be wrong with an image or its labels.

/// The result of reading a tile.
pub type Result<T, E = TileError> = std::result::Result<T, E>;

/// Why a tile could not be read. Every message names the file, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// The operating system refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The image is no TIFF, or damaged.
    #[error("{path} cannot be decoded as TIFF: {source}")]
    Image {
        /// The file.
        path: String,
        /// What the decoder said.
        source: tiff::TiffError,
    },
    /// The labels are no GeoJSON.
    #[error("{path} cannot be read as GeoJSON: {source}")]
    Labels {
        /// The file.
        path: String,
        /// What the parser said.
        source: geojson::Error,
    },
    /// The content is sound but of another kind than is read here.
    #[error("{path}: expected {expected}, found {found}")]
    Unexpected {
        /// The file.
        path: String,
        /// What would have been read.
        expected: String,
        /// What is there.
        found: String,
    },
}
