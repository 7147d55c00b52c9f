//! How well one list of numbers tells another.

/// Pearson's correlation; none where one list is constant.
pub(super) fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let count = x.len().min(y.len()) as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let (mx, my) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        xy += (x - mx) * (y - my);
        xx += (x - mx).powi(2);
        yy += (y - my).powi(2);
    }
    let value = xy / (xx * yy).sqrt();
    value.is_finite().then_some(value)
}

/// Spearman's: Pearson's correlation of ranks, equal numbers sharing theirs.
pub(super) fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    pearson(&ranks(x), &ranks(y))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    while first < order.len() {
        let same = order[first..].iter().take_while(|i| values[**i] == values[order[first]]);
        let last = first + same.count();
        let shared = (first + last - 1) as f64 / 2.0;
        order[first..last].iter().for_each(|i| ranks[*i] = shared);
        first = last;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_and_order_decides() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
        let (x, y) = ([1.0, 2.0, 3.0, 4.0], [1.0, 10.0, 100.0, 1000.0]);
        assert!((spearman(&x, &y).unwrap() - 1.0).abs() < 1e-12);
        assert!(pearson(&x, &y).unwrap() < 0.9);
        assert!((pearson(&x, &x.map(|x| 3.0 - x)).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(pearson(&x, &[2.0; 4]), None);
    }
}
