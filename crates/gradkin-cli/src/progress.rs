//! A bar for each stage of the work, with rate and time left: only on a terminal, and only once the
//! work has lasted a second.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use gradkin::{Progress, Stage};
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::printer::Printer;
use crate::{interrupt, text};

const PATIENCE: Duration = Duration::from_secs(1);

/// The bars of one piece of work.
pub(crate) struct Bars {
    wanted: bool,
    started: Instant,
    all: MultiProgress,
    stages: Mutex<Vec<Running>>,
}

/// A stage that has begun.
struct Running {
    stage: Stage,
    since: Instant,
    bar: Option<ProgressBar>,
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
        if self.wanted {
            self.show(progress);
        }
        !interrupt::requested()
    }

    fn show(&self, Progress { stage, done, total }: Progress) {
        let Ok(mut stages) = self.stages.lock() else { return };
        if !stages.iter().any(|running| running.stage == stage) {
            let since = if stages.is_empty() { self.started } else { Instant::now() };
            stages.push(Running { stage, since, bar: None });
        }
        let Some(running) = stages.iter_mut().find(|running| running.stage == stage) else {
            return;
        };
        if running.bar.is_none() && self.started.elapsed() < PATIENCE {
            return;
        }
        let new = || {
            let bar = ProgressBar::new(total).with_style(style(stage));
            self.all.add(bar.with_elapsed(running.since.elapsed()))
        };
        let bar = running.bar.get_or_insert_with(new);
        bar.set_position(bar.position().max(done));
    }

    /// Take the bars away, and say how long the work took.
    pub(crate) fn finish(self) -> Duration {
        if let Ok(stages) = self.stages.lock() {
            stages.iter().filter_map(|s| s.bar.as_ref()).for_each(ProgressBar::finish_and_clear);
        }
        self.started.elapsed()
    }
}

fn style(stage: Stage) -> ProgressStyle {
    let template = match stage {
        Stage::Sweep => "sweep {wide_bar} {human_pos}/{human_len} examples, {rate}/s, {left} left",
        Stage::Pairs => "pairs {wide_bar} {percent}%, {rate}/s, {left} left",
    };
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", rate).with_key("left", left)
}

/// The mean rate since the stage began; tiles and batches finish in bursts, so that a rate over the
/// last moments would jump.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let _ = match mean_rate(state) {
        slow if slow < 10.0 => write!(out, "{slow:.1}"),
        fast => out.write_str(&text::short(fast)),
    };
}

fn left(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let left = state.len().unwrap_or_default().saturating_sub(state.pos()) as f64;
    let seconds = (left / mean_rate(state)).min(1e9);
    let _ = write!(out, "{:#}", HumanDuration(Duration::from_secs_f64(seconds.max(0.0))));
}

fn mean_rate(state: &ProgressState) -> f64 {
    (state.pos() as f64 / state.elapsed().as_secs_f64().max(1e-3)).max(1e-9)
}
