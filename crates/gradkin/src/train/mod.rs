//! Training: any network that gradkin reads, with or without similarity enforced.
//!
//! | what | type |
//! |---|---|
//! | where examples and targets come from | [`TrainingSet`], [`Labelled`] |
//! | what is minimised | [`Objective`], [`Enforcement`] |
//! | how the parameters move | [`Optimizer`], [`Schedule`] |
//! | one step after another | [`Trainer`] |
//! | epochs, validation, early stopping | [`Run`] |
//!
//! The gradient of the loss comes from the same reverse sweep that similarities come from; the term
//! that enforces similarity needs the sweep's own derivative, by two more passes over the graph.

mod alike;
mod enforce;
mod objective;
mod optimizer;
mod run;
mod schedule;
mod set;
mod trainer;

pub use enforce::Enforcement;
pub use objective::{Objective, Tally};
pub use optimizer::Optimizer;
pub use run::{Epoch, Run, Shuffle, Watcher};
pub use schedule::Schedule;
pub use set::{Batch, Labelled, Targets, TrainingSet};
pub use trainer::{State, StepReport, Trainer, TrainerSettings};
