//! An axis: the range that holds the values, and round numbers along it; linear or logarithmic.

/// A range of numbers with ticks at round ones.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) ticks: Vec<f64>,
    marks: Marks,
}

/// How the ticks of an axis follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Marks {
    /// At equal distances.
    Even(f64),
    /// At powers of ten, or at one, two and five times those; as numbers or as exponents.
    Powers { exponents: bool },
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
        Self { low: first * step, high: last * step, ticks, marks: Marks::Even(step) }
    }

    /// The logarithmic axis for all finite values above zero; `None` if there are none.
    pub(crate) fn fit_powers(values: impl Iterator<Item = f64>, count: usize) -> Option<Self> {
        // Where rounding down would leave no digits.
        const LEAST: f64 = 1e-300;
        let positive = values.filter(|value| value.is_finite() && *value > 0.0);
        let clamped = positive.map(|value| value.clamp(LEAST, LARGEST));
        let (low, high) =
            clamped.map(|value| (value, value)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        let all = round_numbers(low, high);
        let (low, high) = (*all.first()?, *all.last()?);
        let powers: Vec<f64> = all.iter().copied().filter(|tick| is_power(*tick)).collect();
        // Three powers tell the scale; fewer need the numbers between.
        let ticks = if powers.len() < 3 { all } else { powers };
        let every = ticks.len().div_ceil(count.max(2));
        let ticks: Vec<f64> = ticks.into_iter().step_by(every).collect();
        let exponents = low < 1e-4 || high > 1e6;
        Some(Self { low, high, ticks, marks: Marks::Powers { exponents } })
    }

    /// Whether equal distances are equal ratios; then there is no place for zero and below.
    pub(crate) fn is_logarithmic(&self) -> bool {
        matches!(self.marks, Marks::Powers { .. })
    }

    /// How far along the axis a value lies, from 0 to 1.
    pub(crate) fn place(&self, value: f64) -> f64 {
        match self.is_logarithmic() {
            true if value <= self.low => 0.0,
            // Differences of logarithms: the ratio of the ends may be larger than any number.
            true => {
                let length = self.high.ln() - self.low.ln();
                ((value.ln() - self.low.ln()) / length).clamp(0.0, 1.0)
            }
            false => ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0),
        }
    }

    /// A tick as text, with no more digits than tell it from its neighbours.
    pub(crate) fn label(&self, tick: f64) -> String {
        let step = match self.marks {
            Marks::Powers { exponents: true } => return format!("{tick:e}"),
            Marks::Powers { exponents: false } => return format!("{tick}"),
            Marks::Even(step) => step,
        };
        let tick = if tick.abs() < step / 2.0 { 0.0 } else { tick };
        let largest = self.low.abs().max(self.high.abs());
        if !(1e-3..1e6).contains(&largest) {
            let digits = (largest.log10().floor() - step.log10().floor()).clamp(0.0, 9.0);
            return if tick == 0.0 {
                "0".to_owned()
            } else {
                format!("{tick:.*e}", digits as usize)
            };
        }
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0);
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

/// One, two and five times the powers of ten, from the last not above `low` to the first not below
/// `high`.
fn round_numbers(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32 - 1, high.log10().ceil() as i32 + 1);
    // Through text, so that a thousandth is 0.001 and not the product of rounded tenths.
    let number = |factor: i32, power: i32| format!("{factor}e{power}").parse::<f64>();
    let all: Vec<f64> = (first..=last)
        .flat_map(|power| [1, 2, 5].map(|factor| number(factor, power)))
        .filter_map(|number| number.ok().filter(|n| n.is_finite() && *n > 0.0))
        .collect();
    // A bound that is such a number but for rounding is an end of the axis.
    let from = all.iter().rposition(|number| *number <= low * (1.0 + 1e-9)).unwrap_or(0);
    let last = all.len().saturating_sub(1);
    let to = all.iter().position(|number| *number >= high * (1.0 - 1e-9)).unwrap_or(last);
    // One number alone stands in the middle.
    let (from, to) =
        if from < to { (from, to) } else { (from.saturating_sub(1), last.min(to + 1)) };
    all.get(from..=to).unwrap_or_default().to_vec()
}

fn is_power(number: f64) -> bool {
    format!("{number:e}").starts_with("1e")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithmic_ticks_are_powers_of_ten_where_there_are_enough() {
        let labels = |values: &[f64], count| {
            let axis = Axis::fit_powers(values.iter().copied(), count).unwrap();
            assert!(axis.is_logarithmic() && axis.ticks.len() <= count);
            axis.ticks.iter().map(|&tick| axis.label(tick)).collect::<Vec<_>>()
        };
        assert_eq!(labels(&[0.013, 8.0, -1.0, 0.0], 8), ["0.01", "0.1", "1", "10"]);
        assert_eq!(labels(&[1.5, 40.0], 8), ["1", "2", "5", "10", "20", "50"]);
        assert_eq!(
            labels(&[3e-7, 20.0], 8),
            ["1e-6", "1e-5", "1e-4", "1e-3", "1e-2", "1e-1", "1e0", "1e1"]
        );
        assert_eq!(labels(&[3e-7, 20.0], 4).len(), 4);
        assert_eq!(labels(&[7.0], 8), ["5", "10"]);
        assert_eq!(labels(&[1.0], 8), ["0.5", "1", "2"]);
        assert_eq!(labels(&[1.0, 1000.0], 8), ["1", "10", "100", "1000"]);
        assert_eq!(Axis::fit_powers([0.0, -3.0, f64::NAN].into_iter(), 5), None);
    }

    #[test]
    fn logarithmic_places_are_ratios() {
        let axis = Axis::fit_powers([1.0, 100.0].into_iter(), 5).unwrap();
        assert!(
            (axis.place(10.0) - axis.place(1.0) - axis.place(100.0) + axis.place(10.0)).abs()
                < 1e-12
        );
        assert_eq!((axis.place(-5.0), axis.place(1e9)), (0.0, 1.0));
        for range in [[5e-324, 1e308], [1e300, 1e308], [1e-320, 1e-310], [1.0, 1.0 + 1e-15]] {
            let axis = Axis::fit_powers(range.into_iter(), 5).unwrap();
            assert!(axis.low < axis.high && axis.ticks.len() >= 2, "{range:?}: {axis:?}");
            assert!(range.iter().all(|value| (0.0..=1.0).contains(&axis.place(*value))));
        }
    }

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
