//! The experiments of the paper, and what they need besides the library.
//!
//! An experiment is told by a [`Setup`] where to put its [`Report`] (a page, figures, tables) and
//! returns a [`Summary`].
//!
//! - [`mnist`]: pictures of one class made alike while a network is trained;
//! - [`toy`]: how many neighbours a network sees around the points of a function;
//! - [`registration`]: two modalities, aerial images and outlines of buildings, brought into line by a
//!   network that was trained with outlines that are themselves out of line.

mod error;
pub mod mnist;
mod parallel;
pub mod registration;
pub mod report;
mod setup;
mod spread;
pub mod toy;

pub use error::Error;
pub use report::{Report, Summary};
pub use setup::{Setup, shared_folder};
