//! Results made visible.
//!
//! - [`ContactSheet`] sets pictures of examples in rows, a query and its neighbours in each, or in a
//!   grid, and gives a PNG;
//! - [`Figure`] draws points, lines and bands over two axes, as SVG, PNG or text, and [`Panels`]
//!   several of them side by side;
//! - [`terminal`] holds what a terminal can show: histograms, plots, tables and pictures.
//!
//! Nothing here prints: all of it returns values. Letters come from the
//! [Inter](https://rsms.me/inter/) font, which is part of this crate, so that the same input gives
//! the same picture on every machine.
//!
//! ```
//! use gradkin_view::{Cell, ContactSheet, Mark, PictureRef, Row};
//!
//! let (one, other) = ([0u8; 8 * 8 * 3], [255u8; 8 * 8 * 3]);
//! let sheet = ContactSheet::new("Seen as the same").row(Row {
//!     query: Cell::new(PictureRef::new(8, 8, &one)?, ["#17", "label 7"]),
//!     neighbors: vec![
//!         Cell::new(PictureRef::new(8, 8, &other)?, ["#204  0.95", "label 1"]).mark(Mark::Differs),
//!         Cell::missing(["#9  0.91", "label 7"]),
//!     ],
//! });
//! assert!(sheet.png()?.starts_with(b"\x89PNG"));
//! # Ok::<(), gradkin_view::ViewError>(())
//! ```

mod axis;
mod canvas;
mod error;
mod figure;
mod fit;
mod picture;
mod sheet;
pub mod terminal;
mod text;

pub use error::{Result, ViewError};
pub use figure::{Figure, Panels, Scaling, Series, Style};
pub use picture::{PictureRef, Rendered};
pub use sheet::{Cell, ContactSheet, Mark, Row};
