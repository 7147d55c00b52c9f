//! `gradkin experiment`: the paper's experiments, each with its data, figures and a page.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use gradkin_experiments::{Error, Setup, Summary, shared_folder};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{Common, Experiment, ExperimentArgs};
use crate::exit::{Failure, Outcome};
use crate::printer::Printer;
use crate::{interrupt, text};

pub(crate) fn run(args: &ExperimentArgs, common: &Common, printer: &Printer) -> Outcome {
    let name = args.experiment.name();
    let folder = args.output.clone().unwrap_or_else(|| format!("gradkin-{name}").into());
    let bar = Bar::new(printer);
    let watch = |stage: &str, done: u64, total: u64| bar.watch(stage, done, total);
    let named = args.data.clone().or_else(|| std::env::var_os("GRADKIN_SHARED").map(Into::into));
    let here = std::env::current_dir().map_err(Failure::other)?;
    let setup = Setup {
        quick: args.quick,
        seed: args.seed,
        threads: common.threads.unwrap_or_else(rayon::current_num_threads),
        shared: shared_folder(named, &here.join("here")),
        ..Setup::new(&folder, &watch)
    };
    let found = match args.experiment {
        Experiment::Toy => gradkin_experiments::toy::run(&setup),
        Experiment::Mnist => gradkin_experiments::mnist::run(&setup),
        Experiment::Registration => gradkin_experiments::registration::run(&setup),
    };
    bar.finish();
    let summary: Summary = found.map_err(failure)?;
    for (name, value) in &summary.numbers {
        printer.line(format!("{name}: {}", text::significant(*value)))?;
    }
    for left_out in &summary.left_out {
        printer.warning(format!("left out: {left_out}"));
    }
    printer.note(format!("wrote {}", summary.page.display()));
    Ok(())
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Cancelled => Failure::interrupted(),
        Error::Gradkin(error) => error.into(),
        error => Failure::other(error),
    }
}

/// One bar for whatever stage the experiment is in.
struct Bar {
    wanted: bool,
    started: Instant,
    shown: Mutex<Option<(String, ProgressBar)>>,
}

impl Bar {
    fn new(printer: &Printer) -> Self {
        let wanted = printer.may_draw_bars();
        Self { wanted, started: Instant::now(), shown: Mutex::default() }
    }

    fn watch(&self, stage: &str, done: u64, total: u64) -> bool {
        const PATIENCE: Duration = Duration::from_secs(1);
        if self.wanted && self.started.elapsed() > PATIENCE {
            self.show(stage, done, total);
        }
        !interrupt::requested()
    }

    fn show(&self, stage: &str, done: u64, total: u64) {
        let Ok(mut shown) = self.shown.lock() else { return };
        if shown.as_ref().is_none_or(|(own, _)| own != stage) {
            if let Some((_, bar)) = shown.take() {
                bar.finish_and_clear();
            }
            let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}%, {eta} left");
            let bar = ProgressBar::new(total)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(stage.to_owned());
            *shown = Some((stage.to_owned(), bar));
        }
        if let Some((_, bar)) = shown.as_ref() {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    fn finish(&self) {
        if let Ok(mut shown) = self.shown.lock()
            && let Some((_, bar)) = shown.take()
        {
            bar.finish_and_clear();
        }
    }
}
