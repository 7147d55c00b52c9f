//! Sums over sliding windows, and the way back.

use candle_core::{Result, Tensor};

use super::{Fold, Unfold, Window};

/// The sum of every window, axis by axis where that is less: a kernel of 9 × 9 costs 18 additions so and not 81.
#[derive(Debug)]
pub(crate) struct WindowSum {
    /// Windows that are added up one after the other.
    stages: Vec<Window>,
}

impl WindowSum {
    pub(crate) fn new(window: &Window) -> Self {
        let by_axis = window.axes.iter().map(|axis| axis.kernel).sum::<usize>();
        let stages = if by_axis < window.kernel_count() {
            let along = (0..window.axes.len()).map(|axis| window.along(axis));
            along.filter(|window| !window.is_pointwise()).collect()
        } else {
            vec![window.clone()]
        };
        Self { stages }
    }

    /// `[M, 1, *spatial]` → `[M, 1, O]`.
    pub(crate) fn apply(&self, planes: &Tensor) -> Result<Tensor> {
        let mut sum = planes.clone();
        for window in &self.stages {
            let columns = Unfold(window.clone()).apply(&sum)?;
            sum = columns.narrow(1, 0, 1)?.contiguous()?;
            for k in 1..columns.dims()[1] {
                sum = (sum + columns.narrow(1, k, 1)?)?;
            }
        }
        Ok(sum)
    }

    /// Its transpose: every element gets what the windows hold that it is in. `[M, 1, O]` → `[M, 1, *spatial]`.
    pub(crate) fn spread(&self, sums: &Tensor) -> Result<Tensor> {
        let planes = sums.dims()[0];
        let mut spread = sums.clone();
        for window in self.stages.iter().rev() {
            let (kernel, out) = (window.kernel_count(), window.out_count());
            let columns = spread.reshape((planes, 1, out))?.broadcast_as((planes, kernel, out))?;
            spread = Fold(window.clone()).apply(&columns)?;
        }
        Ok(spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Axis;
    use candle_core::{DType, Device};

    fn axis(size: usize, kernel: usize, stride: usize, dilation: usize, pad: usize) -> Axis {
        let out = (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
        Axis { size, kernel, stride, dilation, before: pad, after: pad, out }
    }

    #[test]
    fn axis_by_axis_is_the_whole_window_and_spread_its_transpose() {
        let windows = [
            vec![axis(11, 5, 1, 1, 2), axis(9, 3, 2, 2, 1)],
            vec![axis(8, 2, 2, 1, 0), axis(8, 2, 2, 1, 0)],
            vec![axis(5, 3, 1, 1, 1), axis(6, 1, 1, 1, 0), axis(7, 4, 1, 1, 2)],
        ];
        for axes in windows {
            let window = Window { axes };
            let (planes, inside) = (3, window.in_count());
            let x: Vec<f64> = (0..planes * inside).map(|i| (i as f64 * 0.7).sin()).collect();
            let mut shape = vec![planes, 1];
            shape.extend(window.in_shape());
            let x = Tensor::from_vec(x, shape, &Device::Cpu).unwrap();
            let sum = WindowSum::new(&window);
            let found = sum.apply(&x).unwrap();
            let wanted = Unfold(window.clone()).apply(&x).unwrap().sum_keepdim(1).unwrap();
            let off = (&found - &wanted).unwrap().abs().unwrap().max_all().unwrap();
            assert!(off.to_scalar::<f64>().unwrap() < 1e-12, "{window:?}");
            // ⟨S x, y⟩ = ⟨x, Sᵀ y⟩
            let y = (found.ones_like().unwrap() + found.sqr().unwrap()).unwrap();
            let spread = sum.spread(&y).unwrap().reshape(x.shape()).unwrap();
            let [ours, theirs] = [(&found, &y), (&x, &spread)].map(|(a, b)| {
                let inner = (a * b).unwrap().sum_all().unwrap();
                inner.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap()
            });
            assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
        }
    }
}
