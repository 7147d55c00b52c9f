//! Results on disk: a file appears under its name whole, or not at all.
//!
//! [`AtomicFile`] writes beside the name and renames; [`NpyWriter`] and [`Table`]
//! stand on it; only an [`EventFile`] grows in sight of its readers. [`AtomicFile::check_writable`] is for the start of a long run, and
//! [`remove_unfinished`] for its interruption.

mod atomic;
mod events;
mod npy;
mod parquet;
mod table;
mod text;

pub use atomic::{AtomicFile, remove_unfinished};
pub use events::EventFile;
pub use npy::{Dtype, NpyWriter, write_npy};
pub use table::{ColumnData, Table, Values};
