//! A bar for each stage of the work, with rate and time left: only on a terminal, and only once the
//! work has lasted a second.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use gradkin::{Progress, Stage};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::interrupt;
use crate::printer::Printer;

const PATIENCE: Duration = Duration::from_secs(1);

/// The bars of one piece of work.
pub(crate) struct Bars {
    wanted: bool,
    started: Instant,
    all: MultiProgress,
    stages: Mutex<Vec<(Stage, ProgressBar)>>,
}

impl Bars {
    pub(crate) fn new(printer: &Printer) -> Self {
        Self {
            wanted: printer.may_draw_bars(),
            started: Instant::now(),
            all: MultiProgress::new(),
            stages: Mutex::default(),
        }
    }

    /// Show where the work stands; false once the user wants it to stop.
    pub(crate) fn watch(&self, progress: Progress) -> bool {
        if self.wanted && self.started.elapsed() >= PATIENCE {
            self.show(progress);
        }
        !interrupt::requested()
    }

    fn show(&self, Progress { stage, done, total }: Progress) {
        let Ok(mut stages) = self.stages.lock() else { return };
        let bar = match stages.iter().find(|(own, _)| *own == stage) {
            Some((_, bar)) => bar.clone(),
            None => {
                let bar = ProgressBar::new(total).with_style(style(stage));
                let bar = self.all.add(bar.with_elapsed(self.started.elapsed()));
                stages.push((stage, bar.clone()));
                bar
            }
        };
        bar.set_position(bar.position().max(done));
    }

    /// Take the bars away, and say how long the work took.
    pub(crate) fn finish(self) -> Duration {
        if let Ok(stages) = self.stages.lock() {
            stages.iter().for_each(|(_, bar)| bar.finish_and_clear());
        }
        self.started.elapsed()
    }
}

fn style(stage: Stage) -> ProgressStyle {
    let template = match stage {
        Stage::Sweep => {
            "sweep {wide_bar} {human_pos}/{human_len} examples, {per_sec:.0}, {eta} left"
        }
        Stage::Pairs => "pairs {wide_bar} {percent}%, {per_sec:.0}, {eta} left",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
