//! One file per command.

pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod density;
pub(crate) mod duplicates;
pub(crate) mod experiment;
pub(crate) mod inspect;
pub(crate) mod kernel;
pub(crate) mod labels;
pub(crate) mod neighbors;
pub(crate) mod train;
