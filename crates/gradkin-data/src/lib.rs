//! Examples in, results out.
//!
//! [`Dataset::open`] reads arrays, IDX, CIFAR, folders of pictures and tables;
//! [`Dataset::prepare`] checks them against what a network takes; [`Prepared`]
//! cuts them into batches. [`mod@write`] puts results on disk so that a file is there
//! whole or not at all.
//!
//! No header is believed: what it claims is held against the length of the file
//! before memory is asked for. No value is believed either: NaN, infinities and
//! numbers that do not fit are errors that name the file, the example and the
//! place in it.
//!
//! ```no_run
//! use gradkin_data::{Dataset, OpenOptions, Preprocessing, TargetInput};
//! let data = Dataset::open("train-images-idx3-ubyte.gz", &OpenOptions::default())?;
//! let input = TargetInput {
//!     name: "image".into(),
//!     shape: vec![Some(1), Some(28), Some(28)],
//!     integer: false,
//! };
//! let settings = Preprocessing { scale: Some(1.0 / 255.0), ..Preprocessing::default() };
//! let ready = data.prepare(&settings, &[input])?;
//! let first = ready.batch_f32(0, 0..64)?; // [64, 1, 28, 28], row-major
//! # Ok::<(), gradkin_data::DataError>(())
//! ```

mod array;
mod bytes;
mod cifar;
mod csv_table;
mod dataset;
mod error;
mod fit;
mod idx;
mod images;
mod labels;
mod layout;
mod npy;
mod npz;
mod open;
mod picture;
mod prepare;
mod resize;
pub mod write;

pub use array::{Array, ArrayData};
pub use csv_table::{Missing, TableOptions};
pub use dataset::{Dataset, InputInfo};
pub use error::{DataError, Result};
pub use labels::{LabelKind, Labels};
pub use layout::Layout;
pub use npy::read_npy;
pub use open::OpenOptions;
pub use picture::Picture;
pub use prepare::{Prepared, Preprocessing, TargetInput};
