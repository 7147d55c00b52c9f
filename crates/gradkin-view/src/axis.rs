//! An axis: the range that holds the values, and round numbers along it.

/// A range of numbers with ticks at round ones.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) ticks: Vec<f64>,
    step: f64,
}

/// Numbers beyond these overflow when they are subtracted, or vanish when they are divided.
const LARGEST: f64 = 1e300;
const SMALLEST: f64 = 1e-290;

impl Axis {
    /// The axis for all finite values; `None` if there are none. About `count` ticks.
    pub(crate) fn fit(values: impl Iterator<Item = f64>, count: usize) -> Option<Self> {
        let finite = values.filter(|value| value.is_finite());
        let clamped = finite.map(|value| match value.abs() < SMALLEST {
            true => 0.0,
            false => value.clamp(-LARGEST, LARGEST),
        });
        let (low, high) =
            clamped.map(|value| (value, value)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        Some(Self::between(low, high, count))
    }

    /// The axis from the round number under `low` to the one above `high`.
    fn between(low: f64, high: f64, count: usize) -> Self {
        // A range too narrow for the number format is shown as if it were a single value.
        let least = low.abs().max(high.abs()) * 1e-9;
        let (low, high) = if high - low > least {
            (low, high)
        } else {
            let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            (low - room, high + room)
        };
        let step = round_step((high - low) / count.max(1) as f64);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let steps = (last - first) as usize;
        let ticks = (0..=steps).map(|i| (first + i as f64) * step).collect();
        Self { low: first * step, high: last * step, ticks, step }
    }

    /// How far along the axis a value lies, from 0 to 1.
    pub(crate) fn place(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// A tick as text, with no more digits than tell it from its neighbours.
    pub(crate) fn label(&self, tick: f64) -> String {
        let tick = if tick.abs() < self.step / 2.0 { 0.0 } else { tick };
        let largest = self.low.abs().max(self.high.abs());
        if !(1e-3..1e6).contains(&largest) {
            let digits = (largest.log10().floor() - self.step.log10().floor()).clamp(0.0, 9.0);
            return if tick == 0.0 {
                "0".to_owned()
            } else {
                format!("{tick:.*e}", digits as usize)
            };
        }
        let decimals = (-self.step.log10().floor()).clamp(0.0, 12.0);
        format!("{tick:.*}", decimals as usize)
    }
}

/// The least of 1, 2, 5 times a power of ten that is no less than `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    // The last factor takes up what rounding may leave of `step / power` above 5.
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fits = factors.into_iter().find(|factor| factor * power >= step * (1.0 - 1e-9));
    fits.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64]) -> Vec<String> {
        let axis = Axis::fit(values.iter().copied(), 5).unwrap();
        axis.ticks.iter().map(|&tick| axis.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round_and_hold_the_values() {
        assert_eq!(labels(&[0.03, 0.97]), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&[-3.0, 12.0]), ["-5", "0", "5", "10", "15"]);
        assert_eq!(labels(&[0.0, 2.5e7]), ["0", "5.0e6", "1.0e7", "1.5e7", "2.0e7", "2.5e7"]);
    }

    #[test]
    fn no_values_have_no_axis() {
        assert_eq!(Axis::fit([].into_iter(), 5), None);
        assert_eq!(Axis::fit([f64::NAN, f64::INFINITY].into_iter(), 5), None);
    }

    #[test]
    fn strange_ranges_still_have_an_axis() {
        let ranges = [
            [0.0, 0.0],
            [7.0, 7.0],
            [1e16, 1e16 + 2.0],
            [-1e308, 1e308],
            [0.0, 1e-300],
            [5e-324, 5e-324],
            [-1e-5, 1e9],
            [f64::MIN_POSITIVE, 1.0],
        ];
        for range in ranges {
            let axis = Axis::fit(range.into_iter(), 5).unwrap();
            assert!(axis.low < axis.high, "{range:?}: {axis:?}");
            assert!((2..=9).contains(&axis.ticks.len()), "{range:?}: {axis:?}");
            for value in range {
                assert!((0.0..=1.0).contains(&axis.place(value)), "{range:?}: {axis:?}");
            }
            assert!(axis.ticks.iter().all(|&tick| axis.label(tick).len() < 20));
        }
    }
}
