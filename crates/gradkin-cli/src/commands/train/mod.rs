//! `gradkin train`: a network's weights fitted to labels, with similarity enforced where asked for.

mod metrics;
mod plan;
mod watcher;

use gradkin::network::{Model, Network};
use gradkin::train::{
    Checkpoint, Grouped, Labelled, Memory, Objective, Probe, Run, Selection, Shuffle, Trainer,
    TrainingSet,
};
use gradkin::{Examples, Labels};
use gradkin_data::write::{AtomicFile, Table};

use crate::args::{Common, Init, TrainArgs};
use crate::examples::Set;
use crate::exit::{Failure, Outcome};
use crate::printer::Printer;
use crate::{interrupt, reading, text};
use metrics::Metrics;
use plan::Plan;
use watcher::Teller;

pub(crate) fn run(args: &TrainArgs, common: &Common, printer: &Printer) -> Outcome {
    check_writable(args)?;
    let mut model = start(args, printer)?;
    let data =
        reading::data(&args.data, args.data_args.labels.as_deref(), &args.data_args, printer)?;
    let held = args.steps.validate.as_deref().map(|source| {
        let labels = args.steps.validate_labels.as_deref();
        let held = reading::data(source, labels, &args.data_args, printer)?;
        crate::examples::with_classes_of(held, &data)
    });
    let held = held.transpose()?;
    interrupt::check()?;
    let plan = Plan::new(args, common, &model, data, held)?;
    let network = Network::new(&model, &plan.options)?;
    let (set, labels) = plan.examples(&network)?;
    let held = plan.validation(&network)?;
    let objective = plan.objective(&labels);
    let weights = plan::label_weights(args, &labels, set.len())?;
    let labelled = Labelled::new(&set, &labels, weights.as_deref())?;
    let held_labelled = match &held {
        Some((set, labels)) => Some(Labelled::new(set, labels, None)?),
        None => None,
    };
    let grouping = plan.grouping(args, &network)?;
    let grouped = match grouping {
        Some(grouping) => Some(Grouped::new(&labelled, grouping)?),
        None => None,
    };
    let whole: &dyn TrainingSet = grouped.as_ref().map_or(&labelled, |set| set);
    let (rows, held_rows) = split(args, set.len())?;
    let training = Selection::new(whole, rows)?;
    let own_held = Selection::new(&labelled, held_rows)?;
    let validation: Option<&dyn TrainingSet> = match &held_labelled {
        Some(held) => Some(held),
        None => (!own_held.is_empty()).then_some(&own_held),
    };
    if args.steps.patience.is_some() && validation.is_none() {
        return Err(Failure::mistake("--patience needs validation examples")
            .hint("give --hold-out 0.1 or --validate DATA2"));
    }
    let settings = plan.settings(args, objective, &labels)?;
    let mut trainer = Trainer::new(&network, settings)?;
    let run = plan_run(args);
    let mut memory = Memory::default();
    let settings = plan.fingerprint(args);
    if let Some(checkpoint) = resumed(args, &trainer, &settings)? {
        trainer.resume(&checkpoint.state)?;
        memory = checkpoint.memory;
        printer.note(format!("going on after {} steps", text::count(trainer.steps() as usize)));
    }
    tell(&trainer, &run, &training, validation, objective, printer);
    let probe_rows = plan::probe_rows(args, set.len());
    let (probe_set, probe_labels) = plan::probe(&set, &labels, &probe_rows)?;
    let probe = match args.enforce.watch {
        Some(_) => {
            Some(Probe::new(&probe_set, Some(&probe_labels), plan.compared(args, &labels)?)?)
        }
        None => None,
    };
    let metrics = Metrics::new(args, objective, probe.is_some(), &settings)?;
    let mut teller = Teller::new(args, printer, objective, metrics, probe, settings);
    let result = run.run(&mut trainer, &training, validation, &mut memory, &mut teller);
    let metrics = teller.finish();
    if let Err(error) = result {
        keep(args, &trainer, &memory, &metrics, printer)?;
        return Err(error.into());
    }
    metrics.write(args, printer)?;
    let trained = validation.map(|set| trainer.evaluate(set, 64)).transpose()?;
    trainer.write_into(&mut model)?;
    model.save(&args.model, &args.output)?;
    printer.note(format!("wrote {}", args.output.display()));
    let last = metrics.last_training();
    let mut line = format!("{} steps", text::count(trainer.steps() as usize));
    if let Some((loss, metric)) = last {
        line += &format!(", training loss {}", text::significant(loss));
        line += &format!(", {} {}", objective.metric(), text::significant(metric));
    }
    if let Some(tally) = trained {
        line += &format!(", validation loss {}", text::significant(tally.mean_loss()));
        let metric = text::significant(tally.mean_metric(objective));
        line += &format!(", {} {metric}", objective.metric());
    }
    printer.line(line)
}

/// What was interrupted can be gone on with, if it was asked to be kept.
fn keep(
    args: &TrainArgs,
    trainer: &Trainer,
    memory: &Memory,
    metrics: &Metrics,
    printer: &Printer,
) -> Outcome {
    let Some(path) = args.keeping.checkpoint.as_ref().filter(|_| interrupt::requested()) else {
        return Ok(());
    };
    metrics.write(args, printer)?;
    let settings = metrics.settings().to_owned();
    let (state, memory) = (trainer.state(), memory.clone());
    Checkpoint { state, memory, settings }.write(trainer, path)?;
    printer.note(format!("wrote {}; go on with --resume", path.display()));
    Ok(())
}

fn check_writable(args: &TrainArgs) -> Outcome {
    AtomicFile::check_writable(&args.output)?;
    if let Some(path) = &args.keeping.metrics {
        Table::check_writable(path)?;
    }
    if let Some(path) = &args.keeping.checkpoint {
        AtomicFile::check_writable(path)?;
    }
    if args.output.canonicalize().ok() == args.model.canonicalize().ok() && args.output.exists() {
        let message = format!("-o {} is the network that is read", args.output.display());
        return Err(Failure::mistake(message).hint("write the trained network to another file"));
    }
    Ok(())
}

/// The model with the weights that training starts from.
fn start(args: &TrainArgs, printer: &Printer) -> Outcome<Model> {
    let model = reading::model(&args.model)?;
    let weights: Vec<_> = args.goal.weights.iter().cloned().collect();
    let mut model = reading::checkpoints(model, &weights, printer)?.remove(0);
    if args.goal.init == Init::Random {
        let report = model.draw_weights(args.goal.seed)?;
        printer.detail(format!("{} drawn anew", text::counted(report.drawn.len(), "tensor")));
        if !report.left.is_empty() {
            printer.warning(format!(
                "kept as {} has them, for how they start is unknown: {}",
                model.source(),
                text::first_few(&report.left)
            ));
        }
    }
    let folded = model.folded_normalizations();
    if !folded.is_empty() {
        printer.warning(format!(
            "the exporter folded normalisations into the layers before them, which train without: {}",
            text::first_few(&folded)
        ));
    }
    Ok(model)
}

fn plan_run(args: &TrainArgs) -> Run {
    Run {
        epochs: args.steps.epochs,
        batch: args.steps.batch,
        rate: args.steps.lr,
        schedule: args.steps.schedule,
        warmup: args.steps.warmup,
        shuffle: Shuffle { seed: args.goal.seed },
        patience: args.steps.patience,
    }
}

/// Examples to train with and to hold out.
fn split(args: &TrainArgs, count: usize) -> Outcome<(Vec<usize>, Vec<usize>)> {
    let Some(share) = args.steps.hold_out else { return Ok(((0..count).collect(), Vec::new())) };
    let held = (share * count as f64).round() as usize;
    if held == 0 || held >= count {
        let message = format!("--hold-out {share} of {count} examples is {held}");
        return Err(Failure::mistake(message).hint("hold out some and keep some"));
    }
    // A stream of its own, which no epoch uses.
    let order = Shuffle { seed: args.goal.seed }.order(count, usize::MAX);
    let (out, mut rows) = (order[..held].to_vec(), order[held..].to_vec());
    rows.sort_unstable();
    Ok((rows, out))
}

fn resumed(args: &TrainArgs, trainer: &Trainer, settings: &str) -> Outcome<Option<Checkpoint>> {
    let Some(path) = args.keeping.checkpoint.as_ref().filter(|_| args.keeping.resume) else {
        return Ok(None);
    };
    if !path.exists() {
        return Ok(None);
    }
    let checkpoint = Checkpoint::read(trainer, path)?;
    if checkpoint.settings != settings {
        let message = format!("{} was made with other settings", path.display());
        return Err(Failure::mistake(message)
            .hint(format!("they were {}; these are {settings}", checkpoint.settings)));
    }
    Ok(Some(checkpoint))
}

fn tell(
    trainer: &Trainer,
    run: &Run,
    training: &dyn TrainingSet,
    validation: Option<&dyn TrainingSet>,
    objective: Objective,
    printer: &Printer,
) {
    let count: usize = trainer.network().parameters().iter().map(|p| p.len()).sum();
    printer.detail(format!(
        "{} weights, {} to train with, {} to validate with, {} steps an epoch, {objective:?}",
        text::count(count),
        text::counted(training.len(), "example"),
        validation.map_or(0, TrainingSet::len),
        run.steps_per_epoch(training.len()),
    ));
}

/// A set and its labels.
type Labelling = (Set, Labels);
