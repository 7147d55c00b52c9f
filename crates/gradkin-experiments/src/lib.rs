//! The experiments of the paper, and what they need besides the library.
//!
//! - [`registration`]: two modalities, aerial images and outlines of buildings, brought into line by a
//!   network that was trained with outlines that are themselves out of line.

pub mod registration;
