//! Loss, metric and similarity while training goes on: as a table, and as event files.

use std::time::{SystemTime, UNIX_EPOCH};

use gradkin::train::{Epoch, Objective, Probed, Tally};
use gradkin_data::write::{ColumnData, EventFile, Table};

use crate::args::TrainArgs;
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::text;

/// One line of the table; what was not measured then is absent.
#[derive(Debug, Clone, Default)]
struct Entry {
    step: u64,
    epoch: Option<usize>,
    training: Option<(f64, f64)>,
    validation: Option<(f64, f64)>,
    dissimilarity: Option<f64>,
    probed: Option<Probed>,
}

/// Everything that was measured.
pub(super) struct Metrics {
    objective: Objective,
    probes: bool,
    settings: String,
    entries: Vec<Entry>,
    events: Option<EventFile>,
}

impl Metrics {
    pub(super) fn new(
        args: &TrainArgs,
        objective: Objective,
        probes: bool,
        settings: &str,
    ) -> Outcome<Self> {
        let events = match &args.keeping.events {
            Some(folder) => Some(EventFile::create(folder, now())?),
            None => None,
        };
        Ok(Self { objective, probes, settings: settings.into(), entries: Vec::new(), events })
    }

    /// The settings that the run was started with.
    pub(super) fn settings(&self) -> &str {
        &self.settings
    }

    pub(super) fn epoch(&mut self, step: u64, epoch: &Epoch) -> Outcome {
        let numbers = |tally: &Tally| (tally.mean_loss(), tally.mean_metric(self.objective));
        let entry = Entry {
            step,
            epoch: Some(epoch.number),
            training: Some(numbers(&epoch.training)),
            validation: epoch.validation.as_ref().map(numbers),
            dissimilarity: epoch.dissimilarity,
            probed: None,
        };
        self.push(entry)
    }

    pub(super) fn probed(&mut self, step: u64, probed: Probed) -> Outcome {
        self.push(Entry { step, probed: Some(probed), ..Entry::default() })
    }

    fn push(&mut self, entry: Entry) -> Outcome {
        if let Some(events) = &mut self.events {
            let metric = self.objective.metric();
            let mut found: Vec<(String, f64)> = Vec::new();
            for (name, numbers) in [("train", entry.training), ("validation", entry.validation)] {
                if let Some((loss, value)) = numbers {
                    found.push((format!("loss/{name}"), loss));
                    found.push((format!("{metric}/{name}"), value));
                }
            }
            let mut some = |name: &str, value: Option<f64>| {
                found.extend(value.map(|value| (name.to_owned(), value)));
            };
            some("similarity/enforced", entry.dissimilarity.map(|gap| 1.0 - gap));
            some("similarity/within_classes", entry.probed.and_then(|p| p.within));
            some("similarity/between_classes", entry.probed.and_then(|p| p.between));
            some("similarity/density", entry.probed.map(|p| p.density));
            for (tag, value) in found {
                events.append(entry.step, now(), &tag, value)?;
            }
            events.sync()?;
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Loss and metric of the last epoch.
    pub(super) fn last_training(&self) -> Option<(f64, f64)> {
        self.entries.iter().rev().find_map(|entry| entry.training)
    }

    pub(super) fn write(&self, args: &TrainArgs, printer: &Printer) -> Outcome {
        let Some(path) = &args.keeping.metrics else { return Ok(()) };
        let table = self.table()?;
        table.write(path)?;
        printer.note(format!("wrote {} ({} rows)", path.display(), text::count(table.rows())));
        Ok(())
    }

    fn table(&self) -> Outcome<Table> {
        let metric = self.objective.metric();
        let column = |get: &dyn Fn(&Entry) -> Option<f64>| -> ColumnData {
            self.entries.iter().map(get).collect::<Vec<Option<f64>>>().into()
        };
        let mut table = Table::new();
        let steps = self.entries.iter().map(|entry| entry.step as i64);
        table.push("step", steps.collect::<Vec<i64>>())?;
        table.push("epoch", column(&|e| e.epoch.map(|n| n as f64)))?;
        table.push("train_loss", column(&|e| e.training.map(|t| t.0)))?;
        table.push(format!("train_{metric}"), column(&|e| e.training.map(|t| t.1)))?;
        table.push("validation_loss", column(&|e| e.validation.map(|t| t.0)))?;
        table.push(format!("validation_{metric}"), column(&|e| e.validation.map(|t| t.1)))?;
        let enforced = |e: &Entry| e.dissimilarity.map(|gap| 1.0 - gap);
        table.push("similarity_enforced", column(&enforced))?;
        if self.probes {
            table.push("similarity_within", column(&|e| e.probed.and_then(|p| p.within)))?;
            table.push("similarity_between", column(&|e| e.probed.and_then(|p| p.between)))?;
            table.push("density", column(&|e| e.probed.map(|p| p.density)))?;
        }
        table.set_metadata("gradkin", self.settings.as_str());
        Ok(table)
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
