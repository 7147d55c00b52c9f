//! Which examples does a trained network see as the same?
//!
//! For a network f with parameters θ and examples x, x', the similarity is the inner product of the
//! Jacobians J = ∂f(x)/∂θ and J', normalised: how far a change of θ meant for one would move the
//! other (Charpiat, Girard, Felardos, Tarabalka, "Input Similarity from the Neural Network
//! Perspective", NeurIPS 2019). This crate computes it exactly, from an ONNX file, without ever
//! holding an N×P array.
//!
//! - [`Settings`] says what is compared: outputs ([`OutputChoice`]), parameters, [`Kind`] and
//!   [`Reduction`];
//! - [`Similarity`] computes [kernels](Similarity::kernel) and
//!   [nearest neighbours](Similarity::neighbors);
//! - [`Examples`] is where data comes from.
//!
//! Work runs on rayon's current thread pool. Set the environment variable `CANDLE_NUM_THREADS=1` before
//! the first call: the tensor library otherwise splits element-wise operations over threads of its own,
//! which wait for each other while sweeps are parallel already (the program `gradkin` does this itself).

// What tests share with those of the public face names the crate from outside.
#[cfg(test)]
extern crate self as gradkin;

mod averages;
mod blocks;
mod deferred;
mod denoising;
mod density;
mod duplicates;
mod engine;
mod error;
mod examples;
mod features;
mod finish;
mod gather;
mod kernel;
mod label_opinions;
mod neighbors;
mod number;
mod output;
mod pairs;
mod plan;
mod power_sums;
mod predictions;
mod products;
mod progress;
mod quantity;
mod resident;
mod rotation;
mod sample;
mod self_kernel;
mod similarity;
mod sketch;
mod storage;
pub mod train;
mod whiten;

pub use averages::{Average, Averages, State};
pub use denoising::Denoising;
pub use density::SoftCounts;
pub use duplicates::Duplicates;
pub use error::{Error, Result};
pub use examples::{Examples, InMemory, Labels};
pub use gradkin_network as network;
pub use kernel::{Kernel, Settings, Similarity, Undefined, Values};
pub use label_opinions::{LabelEvidence, LabelOpinions};
pub use neighbors::{Neighbor, Neighbors};
pub use output::{Class, Loss, OutputChoice, Positions, Select};
pub use pairs::{PairSettings, PairStatistics, Sample, StandardErrors};
pub use plan::{Form, Planned, cost, possible_forms};
pub use power_sums::PowerSums;
pub use predictions::{Predictions, Scale};
pub use progress::{Progress, Stage, Watch};
pub use quantity::Quantity;
pub use similarity::{Kind, Metric, Reduction};
pub use storage::Storage;
