//! Why something could not be drawn.

/// The result of every fallible function in this crate.
pub type Result<T, E = ViewError> = std::result::Result<T, E>;

/// Why something could not be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// There is nothing to draw.
    #[error("the {what} has nothing to show: {remedy}")]
    Empty {
        /// "contact sheet" or "figure".
        what: &'static str,
        /// What to add.
        remedy: &'static str,
    },
    /// A picture's bytes do not fit its size.
    #[error(
        "a picture of {width}×{height} pixels needs {expected} bytes of red, green and blue, not {found}"
    )]
    PictureSize {
        /// Pixels per row.
        width: usize,
        /// Rows.
        height: usize,
        /// Three bytes per pixel.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The result would be too large.
    #[error("the {what} would be {width}×{height} pixels, more than {limit} megapixels: {remedy}")]
    TooLarge {
        /// "contact sheet" or "figure".
        what: &'static str,
        /// Pixels per row.
        width: usize,
        /// Rows.
        height: usize,
        /// The most there may be, in millions of pixels.
        limit: usize,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A figure leaves no room between its labels.
    #[error(
        "a figure of {width}×{height} pixels is too small: ask for at least {least_width}×{least_height}"
    )]
    TooSmall {
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// The narrowest possible.
        least_width: u32,
        /// The lowest possible.
        least_height: u32,
    },
    /// The built-in font could not be read: a fault of this program.
    #[error("the built-in font cannot be read")]
    Font,
    /// A figure could not be drawn.
    #[error("the figure cannot be drawn: {0}")]
    Draw(String),
    /// A picture could not be encoded.
    #[error("the picture cannot be written as PNG: {0}")]
    Encode(#[from] image::ImageError),
}
