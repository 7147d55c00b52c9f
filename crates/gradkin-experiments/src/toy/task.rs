//! The function to be learned: a sine around a circle (METHOD.md section 5).

use std::f64::consts::TAU;

use gradkin::network::InputData;
use gradkin::train::{Batch, Targets, TrainingSet};

/// sin(2πfα) at points spread evenly over α ∈ [0, 1], seen as points of the unit circle.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) frequency: u32,
    /// The samples' α.
    pub(super) positions: Vec<f64>,
    /// Pairs (cos 2πα, sin 2πα).
    inputs: Vec<f32>,
    targets: Vec<f64>,
}

impl Task {
    pub(super) fn new(frequency: u32, samples: usize) -> Self {
        let positions: Vec<f64> = (0..samples).map(|i| (i as f64 + 0.5) / samples as f64).collect();
        let inputs = positions.iter().flat_map(|a| {
            let (sine, cosine) = (TAU * a).sin_cos();
            [cosine as f32, sine as f32]
        });
        let targets = positions.iter().map(|a| (TAU * f64::from(frequency) * a).sin()).collect();
        Self { frequency, inputs: inputs.collect(), targets, positions }
    }

    /// The inputs in double precision, row by row.
    pub(super) fn wide_inputs(&self) -> Vec<f64> {
        self.inputs.iter().map(|x| f64::from(*x)).collect()
    }

    /// The target at each sample.
    pub(super) fn targets(&self) -> &[f64] {
        &self.targets
    }

    /// |y''| / (1 + y'²)^{3/2} of the target at each sample, derivatives by α.
    pub(super) fn curvatures(&self) -> Vec<f64> {
        let turn = TAU * f64::from(self.frequency);
        let at = |a: &f64| {
            let (sine, cosine) = (turn * a).sin_cos();
            let (slope, bend) = (turn * cosine, turn * turn * sine);
            bend.abs() / (1.0 + slope * slope).powf(1.5)
        };
        self.positions.iter().map(at).collect()
    }
}

impl TrainingSet for Task {
    fn len(&self) -> usize {
        self.targets.len()
    }

    fn batch(&self, indices: &[usize], _draw: u64) -> Result<Batch, gradkin::Error> {
        let point = |i: &usize| [self.inputs[2 * i], self.inputs[2 * i + 1]];
        Ok(Batch {
            inputs: vec![InputData::F32(indices.iter().flat_map(point).collect())],
            targets: Targets::Numbers(indices.iter().map(|i| self.targets[*i]).collect()),
            weights: None,
            size: indices.len(),
            groups: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against central differences of the target.
    #[test]
    fn curvature_of_the_target() {
        let task = Task::new(2, 40);
        let y = |a: f64| (TAU * 2.0 * a).sin();
        let step = 1e-4;
        for (a, found) in task.positions.iter().zip(task.curvatures()) {
            let slope = (y(a + step) - y(a - step)) / (2.0 * step);
            let bend = (y(a + step) - 2.0 * y(*a) + y(a - step)) / (step * step);
            let wanted = bend.abs() / (1.0 + slope * slope).powf(1.5);
            assert!((found - wanted).abs() < 1e-3 * wanted.max(1.0), "{a}: {found} {wanted}");
        }
    }
}
