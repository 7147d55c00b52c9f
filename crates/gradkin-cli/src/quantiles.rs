//! Order statistics for summaries.

/// The probabilities that summaries show, and what they call them.
pub(crate) const SHOWN: [(f64, &str); 7] = [
    (0.0, "min"),
    (0.05, "5 %"),
    (0.25, "25 %"),
    (0.5, "median"),
    (0.75, "75 %"),
    (0.95, "95 %"),
    (1.0, "max"),
];

/// Values in ascending order, to be asked for quantiles.
#[derive(Debug, Clone)]
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    pub(crate) fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    /// The quantile of a probability, in a straight line between the two values next to it; zero where
    /// there are no values.
    pub(crate) fn quantile(&self, probability: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else { return 0.0 };
        let at = probability.clamp(0.0, 1.0) * last as f64;
        let (below, part) = (at.floor() as usize, at.fract());
        let above = (below + 1).min(last);
        self.0[below] + part * (self.0[above] - self.0[below])
    }

    /// How many values are below `limit`.
    pub(crate) fn below(&self, limit: f64) -> usize {
        self.0.partition_point(|value| *value < limit)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_on_straight_lines() {
        let sorted = Sorted::new([3.0, 1.0, 2.0, 5.0]);
        assert_eq!(sorted.quantile(0.0), 1.0);
        assert_eq!(sorted.quantile(0.5), 2.5);
        assert_eq!(sorted.quantile(1.0), 5.0);
        assert_eq!((sorted.below(3.0), sorted.len()), (2, 4));
        assert_eq!(Sorted::new([]).quantile(0.5), 0.0);
    }
}
