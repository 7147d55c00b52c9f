//! One file per command.

pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod inspect;
pub(crate) mod kernel;
pub(crate) mod neighbors;
