//! The experiments of the paper, and what they need besides the library.
//!
//! An experiment is told by a [`Setup`] where to put its [`Report`] (a page, figures, tables) and
//! returns a [`Summary`].
//!
//! - [`registration`]: two modalities, aerial images and outlines of buildings, brought into line by a
//!   network that was trained with outlines that are themselves out of line.

mod error;
pub mod registration;
pub mod report;
mod setup;

pub use error::Error;
pub use report::{Report, Summary};
pub use setup::{Setup, shared_folder};
