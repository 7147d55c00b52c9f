//! How the library tells how far it is, and how it is told to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

/// A stage of the work, for a progress bar to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Forward and reverse sweeps; counted in examples.
    Sweep,
    /// Inner products; counted in pairs of examples.
    Pairs,
}

/// Where the work stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much of it is done.
    pub done: u64,
    /// How much there is.
    pub total: u64,
}

/// Called now and then from any thread; returns whether to go on.
pub type Watch<'a> = &'a (dyn Fn(Progress) -> bool + Sync);

/// Counts one stage across threads.
pub(crate) struct Counter<'a> {
    watch: Watch<'a>,
    stage: Stage,
    done: AtomicU64,
    total: u64,
    stopped: AtomicBool,
}

impl<'a> Counter<'a> {
    pub(crate) fn new(watch: Watch<'a>, stage: Stage, total: u64) -> Self {
        Self { watch, stage, done: AtomicU64::new(0), total, stopped: AtomicBool::new(false) }
    }

    /// Count `more`; an error where the watcher wants to stop.
    pub(crate) fn add(&self, more: u64) -> Result<()> {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        let progress = Progress { stage: self.stage, done, total: self.total };
        if self.stopped.load(Ordering::Relaxed) || !(self.watch)(progress) {
            self.stopped.store(true, Ordering::Relaxed);
            return Err(Error::Cancelled);
        }
        Ok(())
    }
}
