//! What the user sees while training goes on, and what is kept meanwhile.

use std::time::{Duration, Instant};

use gradkin::train::{Checkpoint, Epoch, Memory, Objective, Probe, StepReport, Trainer, Watcher};
use gradkin::{Error, Result};
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};

use super::metrics::Metrics;
use crate::args::TrainArgs;
use crate::printer::Printer;
use crate::{interrupt, text};

pub(super) struct Teller<'a> {
    args: &'a TrainArgs,
    printer: &'a Printer,
    objective: Objective,
    metrics: Metrics,
    probe: Option<Probe<'a>>,
    settings: String,
    started: Instant,
    bar: Option<ProgressBar>,
    /// A running mean of the loss, for the bar.
    loss: Option<f64>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(
        args: &'a TrainArgs,
        printer: &'a Printer,
        objective: Objective,
        metrics: Metrics,
        probe: Option<Probe<'a>>,
        settings: String,
    ) -> Self {
        let started = Instant::now();
        Self { args, printer, objective, metrics, probe, settings, started, bar: None, loss: None }
    }

    /// Take the bar away.
    pub(super) fn finish(self) -> Metrics {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        self.printer.detail(format!("trained for {seconds:.1} s"));
        self.metrics
    }

    fn show(&mut self, step: u64, total: u64) {
        const PATIENCE: Duration = Duration::from_secs(1);
        if !self.printer.may_draw_bars() || self.started.elapsed() < PATIENCE {
            return;
        }
        let first = step.saturating_sub(1);
        let bar = self.bar.get_or_insert_with(|| {
            let template =
                "train {wide_bar} {human_pos}/{human_len} steps, {msg}, {rate}/s, {left} left";
            let style = ProgressStyle::with_template(template);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let style = style.with_key("rate", rate).with_key("left", left);
            let bar = ProgressBar::new(total).with_style(style);
            bar.set_position(first);
            bar.with_elapsed(self.started.elapsed())
        });
        bar.set_position(step);
        bar.set_message(format!("loss {}", text::significant(self.loss.unwrap_or(0.0))));
    }
}

/// The failure of a record as the library's own.
fn kept(outcome: crate::exit::Outcome) -> Result<()> {
    outcome.map_err(|failure| Error::Examples(failure.message().into()))
}

impl Watcher for Teller<'_> {
    fn step(
        &mut self,
        trainer: &Trainer,
        report: &StepReport,
        step: u64,
        total: u64,
    ) -> Result<()> {
        let loss = report.tally.mean_loss();
        self.loss = Some(self.loss.map_or(loss, |mean| 0.95 * mean + 0.05 * loss));
        self.show(step, total);
        if let (Some(probe), Some(every)) = (&self.probe, self.args.enforce.watch)
            && step.is_multiple_of(every.max(1))
        {
            let probed = probe.measure(trainer)?;
            kept(self.metrics.probed(step, probed))?;
        }
        if interrupt::requested() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn epoch(&mut self, trainer: &Trainer, epoch: &Epoch, memory: &Memory) -> Result<()> {
        kept(self.metrics.epoch(trainer.steps(), epoch))?;
        let metric = self.objective.metric();
        let mut line = format!(
            "epoch {}: loss {}, {metric} {}",
            epoch.number,
            text::significant(epoch.training.mean_loss()),
            text::significant(epoch.training.mean_metric(self.objective)),
        );
        if let Some(gap) = epoch.dissimilarity {
            line += &format!(", similarity enforced {}", text::significant(1.0 - gap));
        }
        if let Some(tally) = &epoch.validation {
            line += &format!(
                ", validation loss {}, {metric} {}{}",
                text::significant(tally.mean_loss()),
                text::significant(tally.mean_metric(self.objective)),
                if epoch.best { " (best)" } else { "" },
            );
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.note(line)),
            None => self.printer.note(line),
        }
        if let Some(path) = &self.args.keeping.checkpoint {
            let settings = self.settings.clone();
            let (state, memory) = (trainer.state(), memory.clone());
            Checkpoint { state, memory, settings }.write(trainer, path)?;
        }
        Ok(())
    }
}

fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let _ = write!(out, "{:.1}", state.per_sec());
}

fn left(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let _ = write!(out, "{:#}", HumanDuration(state.eta()));
}
