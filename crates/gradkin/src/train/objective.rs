//! Losses and their derivatives by the output.

use super::set::Targets;
use crate::error::{Error, Result};
use crate::output::{largest, softmax};

/// What is minimised, as a weighted mean over examples or numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// −log p of the class, p = softmax of the logits; mean over examples.
    CrossEntropy,
    /// (f − y)²; mean over numbers.
    Squared,
    /// |f − y|; mean over numbers.
    Absolute,
    /// ½ (f − y)² up to |f − y| = delta and delta (|f − y| − ½ delta) beyond (Huber, 1964); mean over
    /// numbers.
    Huber {
        /// Where the square ends.
        delta: f64,
    },
}

/// Sums over examples from which mean loss and metric follow.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    /// Σ weight · loss.
    pub loss: f64,
    /// Σ weight.
    pub weight: f64,
    /// Examples whose class was met, with weight; for numbers the weighted sum of squared errors.
    pub metric: f64,
}

impl Tally {
    /// The mean loss.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.weight.max(f64::MIN_POSITIVE)
    }

    /// The share of classes met, or the root of the mean squared error.
    pub fn mean_metric(&self, objective: Objective) -> f64 {
        let mean = self.metric / self.weight.max(f64::MIN_POSITIVE);
        if objective == Objective::CrossEntropy { mean } else { mean.sqrt() }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        self.weight += other.weight;
        self.metric += other.metric;
    }
}

impl Objective {
    /// The metric's name.
    pub fn metric(self) -> &'static str {
        if self == Self::CrossEntropy { "accuracy" } else { "rmse" }
    }

    /// Σ of the weights of a batch whose output has `width` numbers per example.
    pub(crate) fn total_weight(self, size: usize, width: usize, weights: Option<&[f64]>) -> f64 {
        let per_example = if self == Self::CrossEntropy { 1 } else { width };
        match weights {
            None => (size * per_example) as f64,
            Some(weights) if weights.len() == size => {
                weights.iter().sum::<f64>() * per_example as f64
            }
            Some(weights) => weights.iter().sum(),
        }
    }

    /// Loss of a batch's outputs, `width` numbers per example, and where `seeds` is given its
    /// derivatives by them, divided by `total` weight.
    pub(crate) fn assess(
        self,
        outputs: &[f64],
        width: usize,
        targets: &Targets,
        weights: Option<&[f64]>,
        mut seeds: Option<(&mut [f64], f64)>,
    ) -> Result<Tally> {
        let size = outputs.len() / width.max(1);
        let mut tally = Tally::default();
        match (self, targets) {
            (Self::CrossEntropy, Targets::Classes(classes)) => {
                if weights.is_some_and(|weights| weights.len() != size) {
                    return Err(Error::Usage(
                        "the cross-entropy takes one weight per example".into(),
                    ));
                }
                for (i, z) in outputs.chunks_exact(width.max(1)).enumerate() {
                    let class = classes[i];
                    if class >= width {
                        return Err(Error::Usage(format!(
                            "a label is class {class}, but the output has {width} classes"
                        )));
                    }
                    let weight = weights.map_or(1.0, |weights| weights[i]);
                    let p = softmax(z);
                    tally.loss -= weight * log_softmax(z, class);
                    tally.weight += weight;
                    tally.metric += if largest(z) == class { weight } else { 0.0 };
                    if let Some((seeds, total)) = &mut seeds {
                        let own = &mut seeds[i * width..(i + 1) * width];
                        own.iter_mut().zip(&p).for_each(|(s, p)| *s = weight * p / *total);
                        own[class] -= weight / *total;
                    }
                }
            }
            (Self::CrossEntropy, Targets::Numbers(_)) => {
                return Err(Error::Usage(
                    "the cross-entropy takes classes as labels, not numbers; for numbers choose \
                     --loss squared, absolute or huber"
                        .into(),
                ));
            }
            (_, targets) => {
                let one_hot;
                let wanted: &[f64] = match targets {
                    Targets::Numbers(values) => values,
                    Targets::Classes(classes) => {
                        one_hot = one_hot_rows(classes, width)?;
                        &one_hot
                    }
                };
                if wanted.len() != outputs.len() {
                    return Err(Error::Usage(format!(
                        "the labels have {} numbers per example but the output has {width}",
                        wanted.len() / size.max(1)
                    )));
                }
                for (k, (f, y)) in outputs.iter().zip(wanted).enumerate() {
                    let weight = match weights {
                        None => 1.0,
                        Some(weights) if weights.len() == size => weights[k / width],
                        Some(weights) => weights[k],
                    };
                    // A masked number may be anything, NaN included.
                    if weight == 0.0 {
                        continue;
                    }
                    let error = f - y;
                    let (loss, slope) = self.of_error(error);
                    tally.loss += weight * loss;
                    tally.weight += weight;
                    tally.metric += weight * error * error;
                    if let Some((seeds, total)) = &mut seeds {
                        seeds[k] = weight * slope / *total;
                    }
                }
            }
        }
        Ok(tally)
    }

    /// Loss and derivative at an error f − y.
    fn of_error(self, error: f64) -> (f64, f64) {
        match self {
            Self::Squared | Self::CrossEntropy => (error * error, 2.0 * error),
            Self::Absolute => (error.abs(), if error == 0.0 { 0.0 } else { error.signum() }),
            Self::Huber { delta } if error.abs() <= delta => (0.5 * error * error, error),
            Self::Huber { delta } => (delta * (error.abs() - 0.5 * delta), delta * error.signum()),
        }
    }
}

fn log_softmax(z: &[f64], class: usize) -> f64 {
    let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    z[class] - top - z.iter().map(|z| (z - top).exp()).sum::<f64>().ln()
}

fn one_hot_rows(classes: &[usize], width: usize) -> Result<Vec<f64>> {
    let mut rows = vec![0.0; classes.len() * width];
    for (i, class) in classes.iter().enumerate() {
        if *class >= width {
            return Err(Error::Usage(format!(
                "a label is class {class}, but the output has {width} numbers"
            )));
        }
        rows[i * width + class] = 1.0;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Derivatives of every loss, with weights and a mask, against central differences.
    #[test]
    fn seeds_are_derivatives() {
        let outputs = [0.3, -1.2, 2.0, 0.5, 0.1, -0.4];
        let numbers = Targets::Numbers(vec![0.0, 1.0, 1.5, f64::NAN, 3.0, -0.4001]);
        let mask = [1.0, 0.5, 2.0, 0.0, 1.0, 1.0];
        let classes = Targets::Classes(vec![2, 0]);
        let cases: [(Objective, &Targets, &[f64]); 5] = [
            (Objective::CrossEntropy, &classes, &[1.0, 0.25]),
            (Objective::Squared, &numbers, &mask),
            (Objective::Absolute, &numbers, &mask),
            (Objective::Huber { delta: 0.7 }, &numbers, &mask),
            (Objective::Squared, &classes, &[1.0, 3.0]),
        ];
        for (objective, targets, weights) in cases {
            let total = objective.total_weight(2, 3, Some(weights));
            let value = |outputs: &[f64]| {
                let tally = objective.assess(outputs, 3, targets, Some(weights), None).unwrap();
                tally.loss / total
            };
            let mut seeds = [0.0; 6];
            let tally = objective
                .assess(&outputs, 3, targets, Some(weights), Some((&mut seeds, total)))
                .unwrap();
            assert!((tally.weight - total).abs() < 1e-12, "{objective:?}");
            for k in 0..6 {
                let at = |step: f64| {
                    let mut moved = outputs;
                    moved[k] += step;
                    value(&moved)
                };
                let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((difference - seeds[k]).abs() < 1e-8, "{objective:?} {k}");
            }
        }
    }
}
