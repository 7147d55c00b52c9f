//! How the learning rate changes while training goes on.

/// A learning rate as a function of the share of training that is done.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Schedule {
    /// The same throughout.
    #[default]
    Constant,
    /// Falls to zero along half a cosine.
    Cosine,
    /// Falls to zero along a line.
    Linear,
    /// Is multiplied by `factor` after each `every` epochs.
    Steps {
        /// Epochs between two falls.
        every: usize,
        /// What the rate is multiplied by.
        factor: f64,
    },
}

impl Schedule {
    /// What the learning rate is multiplied by at `step` of `total` steps, `per_epoch` of them to an
    /// epoch, the first `warmup` of which rise to it along a line.
    pub(crate) fn factor(self, step: u64, total: u64, per_epoch: u64, warmup: u64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let length = total.saturating_sub(warmup).max(1);
        let done = ((step - warmup) as f64 / length as f64).min(1.0);
        match self {
            Self::Constant => 1.0,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Self::Linear => 1.0 - done,
            Self::Steps { every, factor } => {
                let falls = (step / per_epoch.max(1)) / every.max(1) as u64;
                factor.powi(i32::try_from(falls).unwrap_or(i32::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_at_known_steps() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(Schedule::Constant.factor(77, 100, 10, 0), 1.0);
        close(Schedule::Linear.factor(25, 100, 10, 0), 0.75);
        close(Schedule::Cosine.factor(50, 100, 10, 0), 0.5);
        close(Schedule::Cosine.factor(100, 100, 10, 0), 0.0);
        close(Schedule::Steps { every: 2, factor: 0.1 }.factor(45, 100, 10, 0), 0.01);
        close(Schedule::Constant.factor(0, 100, 10, 4), 0.25);
        close(Schedule::Constant.factor(4, 100, 10, 4), 1.0);
    }
}
