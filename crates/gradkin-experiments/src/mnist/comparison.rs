//! Trials with several weights λ of the term against trials without, run by run from the same seeds.

use std::sync::atomic::{AtomicU64, Ordering};

use super::trial::{Contest, Trial};
use crate::parallel::each;
use crate::spread::{Spread, mean, mean_and_error};
use crate::{Error, Setup};

/// All trials of one weight λ.
#[derive(Debug)]
pub(super) struct Arm {
    pub(super) lambda: f64,
    pub(super) trials: Vec<Trial>,
}

/// Arms over the same seeds; the first is that without the term.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) grid: Vec<usize>,
    pub(super) arms: Vec<Arm>,
}

impl Comparison {
    /// Run every λ of `lambdas`, and zero, from so many seeds.
    pub(super) fn run(
        setup: &Setup,
        stage: &str,
        contest: &Contest,
        lambdas: &[f64],
        runs: usize,
    ) -> Result<Self, Error> {
        let all: Vec<f64> = std::iter::once(0.0).chain(lambdas.iter().copied()).collect();
        let total = (all.len() * runs) as u64;
        let done = AtomicU64::new(0);
        // Seed by seed, so that arms meet the same moods of the machine.
        let trials = each(setup.threads, all.len() * runs, |number| {
            let (run, arm) = (number / all.len(), number % all.len());
            let trial = contest.trial(all[arm], setup.seed.wrapping_add(run as u64))?;
            setup.advance(stage, done.fetch_add(1, Ordering::Relaxed) + 1, total)?;
            Ok(trial)
        })?;
        let arms = all.iter().enumerate().map(|(arm, lambda)| Arm {
            lambda: *lambda,
            trials: trials.iter().skip(arm).step_by(all.len()).cloned().collect(),
        });
        Ok(Self { arms: arms.collect(), grid: contest.grid.to_vec() })
    }

    pub(super) fn baseline(&self) -> &Arm {
        &self.arms[0]
    }

    /// Mean accuracy of an arm at each step of the grid, and its standard error.
    pub(super) fn curve(&self, arm: &Arm) -> Vec<(f64, f64)> {
        (0..self.grid.len()).map(|k| mean_and_error(&arm.at(k))).collect()
    }

    /// Mean difference to the baseline, seed by seed, and its standard error.
    pub(super) fn gains(&self, arm: &Arm) -> Vec<(f64, f64)> {
        let gain = |k: usize| {
            let pairs = arm.at(k).into_iter().zip(self.baseline().at(k));
            mean_and_error(&pairs.map(|(with, without)| with - without).collect::<Vec<f64>>())
        };
        (0..self.grid.len()).map(gain).collect()
    }

    /// Mean over the grid up to a step of the gain of each run, and its standard error.
    pub(super) fn early_gain(&self, arm: &Arm, until: usize) -> (f64, f64) {
        let places: Vec<usize> = (0..self.grid.len()).filter(|k| self.grid[*k] <= until).collect();
        let pairs = arm.trials.iter().zip(&self.baseline().trials);
        let each = pairs.map(|(with, without)| {
            let gains: Vec<f64> =
                places.iter().map(|k| with.accuracy[*k] - without.accuracy[*k]).collect();
            mean(&gains)
        });
        mean_and_error(&each.collect::<Vec<f64>>())
    }

    /// Places of the grid up to a step, and at how many of them the gain exceeds its standard error.
    pub(super) fn ahead(&self, arm: &Arm, until: usize) -> (usize, usize) {
        let gains = self.gains(arm);
        let early = gains.iter().zip(&self.grid).filter(|(_, step)| **step <= until);
        let early: Vec<&(f64, f64)> = early.map(|(gain, _)| gain).collect();
        (early.len(), early.iter().filter(|(gain, error)| gain > error).count())
    }

    /// The first step, between those of the grid, at which the mean curve reaches an accuracy.
    pub(super) fn steps_to(&self, arm: &Arm, wanted: f64) -> Option<f64> {
        let curve = self.curve(arm);
        let at = curve.iter().position(|(accuracy, _)| *accuracy >= wanted)?;
        let step = self.grid[at] as f64;
        if at == 0 {
            return Some(step);
        }
        let (before, after) = (curve[at - 1].0, curve[at].0);
        let last = self.grid[at - 1] as f64;
        Some(last + (step - last) * (wanted - before) / (after - before))
    }
}

impl Arm {
    /// Accuracy of every trial at one place of the grid.
    fn at(&self, place: usize) -> Vec<f64> {
        self.trials.iter().map(|trial| trial.accuracy[place]).collect()
    }

    /// The usual milliseconds per step.
    pub(super) fn step_ms(&self) -> f64 {
        Spread::of(self.trials.iter().map(|trial| trial.step_ms)).median
    }

    /// 1 − k̄ during training.
    pub(super) fn dissimilarity(&self) -> Option<f64> {
        let all: Option<Vec<f64>> = self.trials.iter().map(|trial| trial.dissimilarity).collect();
        all.filter(|all| !all.is_empty()).map(|all| mean(&all))
    }

    pub(super) fn name(&self) -> String {
        match self.lambda {
            0.0 => "without".to_owned(),
            lambda if lambda > 0.0 => format!("λ = {lambda}"),
            lambda => format!("λ = −{}", -lambda),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(lambda: f64, curves: &[[f64; 3]]) -> Arm {
        let trial = |curve: &[f64; 3]| Trial {
            accuracy: curve.to_vec(),
            step_ms: 1.0,
            dissimilarity: None,
        };
        Arm { lambda, trials: curves.iter().map(trial).collect() }
    }

    #[test]
    fn runs_are_compared_in_pairs() {
        let arms = vec![
            arm(0.0, &[[0.1, 0.3, 0.8], [0.3, 0.5, 0.8]]),
            arm(0.5, &[[0.2, 0.4, 0.8], [0.4, 0.6, 0.8]]),
        ];
        let comparison = Comparison { grid: vec![10, 20, 40], arms };
        let better = &comparison.arms[1];
        let gains = comparison.gains(better);
        assert!((gains[0].0 - 0.1).abs() < 1e-12 && gains[0].1 < 1e-12);
        assert_eq!(comparison.ahead(better, 20), (2, 2));
        assert!((comparison.early_gain(better, 20).0 - 0.1).abs() < 1e-12);
        let steps = comparison.steps_to(comparison.baseline(), 0.6);
        assert!(steps.is_some_and(|steps| (steps - 30.0).abs() < 1e-12));
        assert_eq!(comparison.steps_to(better, 0.9), None);
    }
}
