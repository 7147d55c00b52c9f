//! A trained network read from ONNX, and the reverse sweep that hands out, for every example of a
//! batch and every output at once, the gradient by each parameter in factored form.
//!
//! | step | type |
//! |---|---|
//! | the file as it stands | [`Model`] |
//! | weights of another checkpoint in their place | [`Model::with_weights`] |
//! | weights drawn anew, changed, written back as ONNX | [`Model::draw_weights`], [`Model::set_values`], [`Model::save`] |
//! | checkpoints of a training | [`weights::write`], [`weights::read`] |
//! | a file made in Rust | [`build::GraphBuilder`] |
//! | shapes resolved, operators built | [`Network`] |
//! | an output and parameters chosen | [`Sweep`] |
//! | forward over a batch | [`Sweep::forward`] gives a [`Pass`] |
//! | reverse over a batch and d outputs | [`Sweep::reverse`] pushes a [`Factor`] per [`Component`] into a [`Sink`] |
//!
//! Nothing in the graph ever mixes examples: it is built for one example, and every tensor carries
//! one more leading axis at run time. So files with a batch of one run at any batch, and gradients
//! are per example by construction.

mod atomic;
mod budget;
pub mod build;
mod device;
mod error;
mod exchange;
mod factor;
mod forward;
mod gradient;
mod graph;
mod initial;
mod onnx;
mod ops;
mod parameters;
mod point;
mod second;
mod stored;
mod sweep;
mod tensor;
pub mod weights;
mod windows;

pub use device::Device;
pub use error::{NetworkError, Result};
pub use exchange::Party;
pub use factor::{Factor, FactorShape, Order};
pub use forward::{InputData, Output, OutputData, Pass};
pub use graph::{Input, Network, Options, Precision};
pub use initial::{Draw, DrawReport};
pub use onnx::{Declared, Dimension, Model};
pub use ops::supported_operators;
pub use parameters::{Parameter, Uncounted};
pub use point::Point;
pub use second::{Adjoint, Ascent, Record};
pub use sweep::{BatchStatistics, Collected, Component, Imaged, Sink, Sweep};
pub use tensor::{multiply, multiply_lower, product};
pub use weights::WeightsReport;
pub use windows::Windows;

/// The tensor library whose [`Tensor`](candle_core::Tensor) appears in factors.
pub use candle_core;
