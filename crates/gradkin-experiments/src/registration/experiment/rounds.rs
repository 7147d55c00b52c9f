//! Rounds of training: each ends with labels put where the network sees the buildings, and the next
//! one learns from those.

use gradkin::network::{Model, Network, Options};
use gradkin::train::{
    Epoch, Memory, Objective, Run, Schedule, Shuffle, StepReport, Trainer, TrainerSettings, Watcher,
};

use super::alignment::align;
use super::labelled::Labelled;
use super::network::{FIELD, resized};
use super::patches::Patches;
use super::settings::Settings;
use crate::parallel::each;
use crate::registration::align::Errors;
use crate::{Error, Setup};

/// The loss over a training run, each entry the mean over so many steps.
const SMOOTHED: usize = 20;

/// One round's loss: steps done, and the root of the mean squared error in pixels.
pub(super) type Curve = Vec<(f64, f64)>;

/// Trains with the labels as they are, from the model's weights, which become the trained ones.
pub(super) fn train(
    model: &mut Model,
    scenes: &[Labelled],
    settings: &Settings,
    round: usize,
    setup: &Setup,
) -> Result<Curve, Error> {
    let network = Network::new(model, &Options::default())?;
    let trainer = TrainerSettings {
        output: Some(FIELD.into()),
        objective: Objective::Squared,
        threads: setup.threads,
        ..TrainerSettings::default()
    };
    let mut trainer = Trainer::new(&network, trainer)?;
    let set = Patches { scenes, settings };
    let run = Run {
        epochs: (settings.steps[round] * settings.batch_scenes).div_ceil(scenes.len()),
        batch: settings.batch_scenes,
        rate: if round == 0 { settings.rate } else { settings.later_rate },
        schedule: Schedule::Cosine,
        warmup: 20,
        shuffle: Shuffle { seed: setup.seed ^ (round as u64 + 1) },
        patience: None,
    };
    let (round, stage) = (round + 1, format!("training, round {}", round + 1));
    let mut told = Told { setup, round, stage, sum: 0.0, weight: 0.0, curve: Vec::new() };
    run.run(&mut trainer, &set, None, &mut Memory::default(), &mut told)?;
    let curve = told.curve;
    trainer.write_into(model)?;
    Ok(curve)
}

/// Puts every label of the scenes where the network sees its building, from where it was given. How far
/// labels are off after each look.
pub(super) fn correct(
    model: &Model,
    scenes: &mut [Labelled],
    settings: &Settings,
    setup: &Setup,
) -> Result<Vec<Errors>, Error> {
    let network = resized(model, settings.widths, settings.scene_side)?;
    let total = scenes.len() as u64;
    let aligned = each(setup.threads, scenes.len(), |i| {
        setup.advance("labels corrected", i as u64, total)?;
        align(&network, &scenes[i].scene, &scenes[i].noise, settings)
    })?;
    let mut looks = vec![Vec::with_capacity(scenes.len()); settings.passes];
    for (labelled, after) in scenes.iter_mut().zip(aligned) {
        for (errors, shifts) in looks.iter_mut().zip(&after) {
            errors.push(Errors::of(shifts));
        }
        if let Some(last) = after.into_iter().last() {
            labelled.labels = last;
        }
    }
    Ok(looks.into_iter().map(Errors::merge).collect())
}

/// Hears how training goes.
struct Told<'a> {
    setup: &'a Setup<'a>,
    round: usize,
    stage: String,
    sum: f64,
    weight: f64,
    curve: Curve,
}

impl Watcher for Told<'_> {
    fn step(
        &mut self,
        _: &Trainer,
        report: &StepReport,
        step: u64,
        total: u64,
    ) -> gradkin::Result<()> {
        self.sum += report.tally.metric;
        self.weight += report.tally.weight;
        if step.is_multiple_of(SMOOTHED as u64) {
            // Two numbers to a displacement.
            let distance = (2.0 * self.sum / self.weight).sqrt();
            self.curve.push((step as f64, distance));
            self.stage = format!("training, round {}, {distance:.2} px off labels", self.round);
            (self.sum, self.weight) = (0.0, 0.0);
        }
        let goes_on = (self.setup.watch)(&self.stage, step, total);
        if goes_on { Ok(()) } else { Err(gradkin::Error::Cancelled) }
    }

    fn epoch(&mut self, _: &Trainer, _: &Epoch, _: &Memory) -> gradkin::Result<()> {
        Ok(())
    }
}
