//! Drives the real program, each test in a fresh folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod bad_input;
mod command_line;
mod demo;
mod density;
mod duplicates;
mod experiment;
mod inspect;
mod interruption;
mod kernels;
mod labels;
mod memory;
mod neighbors;
mod support;
mod train;
mod undefined;
mod weights;
