//! Training: any network that gradkin reads, with or without similarity enforced.
//!
//! | what | type |
//! |---|---|
//! | where examples and targets come from | [`TrainingSet`], [`Labelled`] |
//! | which of them are to be alike | [`Grouped`], [`Grouping`] |
//! | what is minimised | [`Objective`], [`Enforcement`] |
//! | how the parameters move | [`Optimizer`], [`Schedule`] |
//! | one step after another | [`Trainer`] |
//! | epochs, validation, early stopping | [`Run`], [`Watcher`] |
//! | a run on disk | [`Checkpoint`] |
//! | how similar examples are meanwhile | [`Probe`] |
//!
//! The gradient of the loss comes from the same reverse sweep that similarities come from; the term
//! that enforces similarity needs the sweep's own derivative, by two more passes over the graph.

mod alike;
mod augment;
mod checkpoint;
mod enforce;
mod grouping;
mod imaged;
mod objective;
mod optimizer;
mod probe;
mod run;
mod schedule;
mod set;
mod trainer;

pub use augment::{Augmentation, Change};
pub use checkpoint::Checkpoint;
pub use enforce::Enforcement;
pub use grouping::{Grouped, Grouping};
pub use objective::{Objective, Tally};
pub use optimizer::Optimizer;
pub use probe::{Probe, Probed};
pub use run::{Best, Epoch, Memory, Run, Shuffle, Watcher};
pub use schedule::Schedule;
pub use set::{Batch, Gathered, Labelled, Selection, Targets, TrainingSet};
pub use trainer::{State, StepReport, Trainer, TrainerSettings};
