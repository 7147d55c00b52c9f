//! What several runs say together.

/// The middle and the ends of a few numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Of numbers that are all finite; NaN of none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let (Some(low), Some(high)) = (sorted.first(), sorted.last()) else {
            return Self { median: f64::NAN, low: f64::NAN, high: f64::NAN };
        };
        let median = 0.5 * (sorted[(count - 1) / 2] + sorted[count / 2]);
        Self { median, low: *low, high: *high }
    }

    /// As "median [low … high]".
    pub(crate) fn text(&self, digits: usize) -> String {
        format!("{:.digits$} [{:.digits$} … {:.digits$}]", self.median, self.low, self.high)
    }
}

/// Mean, and its standard error (zero for a single number, of which nothing is known).
pub(crate) fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let average = mean(values);
    if values.len() < 2 {
        return (average, 0.0);
    }
    let squares: f64 = values.iter().map(|x| (x - average).powi(2)).sum();
    (average, (squares / (count - 1.0) / count).sqrt())
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Spearman's rank correlation, equal numbers at their mean rank.
pub(crate) fn rank_correlation(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let (centre_a, centre_b) = (mean(&a), mean(&b));
    let (mut along, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        let (x, y) = (x - centre_a, y - centre_b);
        along += x * y;
        square_a += x * x;
        square_b += y * y;
    }
    along / (square_a * square_b).sqrt()
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|i, j| values[*i].total_cmp(&values[*j]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        while end < order.len() && values[order[end]] == values[order[start]] {
            end += 1;
        }
        for place in &order[start..end] {
            ranks[*place] = (start + end - 1) as f64 / 2.0;
        }
        start = end;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        let spread = Spread::of([3.0, 1.0, 2.0, 10.0]);
        assert_eq!((spread.median, spread.low, spread.high), (2.5, 1.0, 10.0));
        assert_eq!(spread.text(1), "2.5 [1.0 … 10.0]");
        let (mean, error) = mean_and_error(&[1.0, 2.0, 3.0]);
        assert!((mean - 2.0).abs() < 1e-15 && (error - (1.0_f64 / 3.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn ranks_only_count() {
        let a = [1.0, 2.0, 3.0, 4.0];
        assert!((rank_correlation(&a, &[1.0, 10.0, 100.0, 1e6]) - 1.0).abs() < 1e-15);
        assert!((rank_correlation(&a, &[4.0, 3.0, 2.0, 1.0]) + 1.0).abs() < 1e-15);
        assert_eq!(ranks(&[5.0, 1.0, 5.0]), [1.5, 0.0, 1.5]);
    }
}
