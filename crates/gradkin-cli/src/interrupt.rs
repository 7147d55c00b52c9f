//! Ctrl-C: the first asks the work to stop, so that it can clean up; the second ends at once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::{Failure, INTERRUPTED, Outcome};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Begin to listen for Ctrl-C and for requests to terminate.
pub(crate) fn listen() -> Outcome {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            gradkin_data::write::remove_unfinished();
            std::process::exit(INTERRUPTED.into());
        }
    })
    .map_err(Failure::other)
}

/// Whether the work has been asked to stop.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error where the work has been asked to stop.
pub(crate) fn check() -> Outcome {
    if requested() { Err(Failure::interrupted()) } else { Ok(()) }
}
