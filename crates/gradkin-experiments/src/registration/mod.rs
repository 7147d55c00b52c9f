//! The data of the registration experiment (METHOD.md, section 5).
//!
//! A [`Scene`] is an aerial image with its buildings, either [generated](scene) from a seed or
//! [read](tile) from files. [`Misalignment`] draws by how much outlines are off, [`Sample`] draws such
//! outlines as the network's second input together with the displacement that it is to predict, and
//! [`align`] moves buildings by a predicted displacement and measures what is left.
//!
//! ```
//! use gradkin_experiments::registration::{Misalignment, OutlineStyle, Sample, Scene, SceneOptions};
//!
//! let scene = Scene::generate(&SceneOptions { width: 96, height: 96, ..Default::default() }, 7);
//! let noise = Misalignment::default().draw(&scene, 1);
//! let start = Misalignment::default().draw(&scene, 2);
//! let whole = Sample::draw(&scene, &noise, &start, &OutlineStyle::default());
//! let patch = whole.cut(16, 16, 64).unwrap();
//! assert_eq!(patch.image.shape(), [3, 64, 64]);
//! assert_eq!(patch.target.shape(), [2, 64, 64]);
//! ```
//!
//! Coordinates are those of pixels, x to the right and y down; pixel (0, 0) covers the unit square
//! from the origin, so its centre is (0.5, 0.5). A displacement says by how much to *move an outline*.

pub mod align;
mod coverage;
mod error;
mod experiment;
mod misalignment;
mod outline;
pub mod picture;
mod raster;
mod sample;
pub mod scene;
pub mod tile;
mod turn;

pub use error::{Result, TileError};
pub use experiment::{Settings, run, run_with};
pub use geo::{Coord, LineString, Polygon};
pub use misalignment::Misalignment;
pub use outline::{OutlineStyle, draw_outlines};
pub use raster::Raster;
pub use sample::Sample;
pub use scene::{Building, Scene, SceneOptions};
pub use turn::Turn;

/// A displacement in pixels, x to the right and y down.
pub type Shift = Coord<f64>;
