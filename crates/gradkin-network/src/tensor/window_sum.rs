//! Sums over sliding windows, and the way back.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};
use pulp::{Arch, Simd, WithSimd};

use super::stripes::{Added, Stripe, stripes_of_sums};
use super::unfold::{by_float, slice};
use super::{Window, portable};

/// The sum of every window, axis by axis where that is not more: a kernel of 9 × 9 costs 18 additions so and
/// not 81.
#[derive(Debug)]
pub(crate) struct WindowSum {
    /// Windows that are added up one after the other.
    stages: Vec<Window>,
}

impl WindowSum {
    pub(crate) fn new(window: &Window) -> Self {
        let by_axis = window.axes.iter().map(|axis| axis.kernel).sum::<usize>();
        let stages = if by_axis <= window.kernel_count() {
            let along = (0..window.axes.len()).map(|axis| window.along(axis));
            along.filter(|window| !window.is_pointwise()).collect()
        } else {
            vec![window.clone()]
        };
        Self { stages }
    }

    /// `[M, 1, *spatial]` → `[M, 1, O]`.
    pub(crate) fn apply(&self, planes: &Tensor) -> Result<Tensor> {
        let count = planes.dims()[0];
        let mut sum = planes.contiguous()?.reshape((count, ()))?;
        for window in &self.stages {
            sum = Stage { window: window.clone(), back: false }.apply(&sum)?;
        }
        sum.unsqueeze(1)
    }

    /// Its transpose: every element gets what the windows hold that it is in. `[M, 1, O]` → `[M, 1, *spatial]`.
    pub(crate) fn spread(&self, sums: &Tensor) -> Result<Tensor> {
        let count = sums.dims()[0];
        let mut spread = sums.contiguous()?.reshape((count, ()))?;
        let Some(first) = self.stages.first() else { return Ok(sums.clone()) };
        for window in self.stages.iter().rev() {
            spread = Stage { window: window.clone(), back: true }.apply(&spread)?;
        }
        let mut shape = vec![count, 1];
        shape.extend(first.in_shape());
        spread.reshape(shape)
    }
}

/// One window's sums over planes `[M, size]`, or the way back from `[M, O]`.
struct Stage {
    window: Window,
    back: bool,
}

impl CustomOp1 for Stage {
    fn name(&self) -> &'static str {
        "window-sum"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (planes, given) = layout.shape().dims2()?;
        let (size, out) = (self.window.in_count(), self.window.out_count());
        let (from, to) = if self.back { (out, size) } else { (size, out) };
        if given != from {
            candle_core::bail!("planes of {given} numbers where windows take {from}");
        }
        let storage = by_float!(storage, layout, |data| self.run(data, planes * to));
        Ok((storage, (planes, to).into()))
    }

    fn bwd(&self, _arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let turned = Self { window: self.window.clone(), back: !self.back };
        Ok(Some(turned.apply(grad)?))
    }
}

impl Stage {
    fn apply(self, x: &Tensor) -> Result<Tensor> {
        let (planes, given) = x.dims2()?;
        if portable::is_ours(x) {
            return x.contiguous()?.apply_op1(self);
        }
        if !self.back {
            return portable::unfold(&x.unsqueeze(1)?, &self.window)?.sum(1);
        }
        let shape = (planes, self.window.kernel_count(), given);
        let columns = x.unsqueeze(1)?.broadcast_as(shape)?;
        portable::fold(&columns, &self.window)?.squeeze(1)
    }

    fn run<T: WithDType>(&self, data: &[T], count: usize) -> Vec<T> {
        let mut result = vec![T::zero(); count];
        let stride = self.window.axes.last().map_or(1, |axis| axis.stride);
        let (size, out) = (self.window.in_count(), self.window.out_count());
        let stripes = &stripes_of_sums(&self.window);
        let adding =
            Adding { stripes, stride, size, out, back: self.back, data, result: &mut result };
        Arch::new().dispatch(adding);
        result
    }
}

/// Additions along stripes of window positions, compiled for each set of vector instructions.
struct Adding<'a, T> {
    stripes: &'a [Stripe],
    stride: usize,
    size: usize,
    out: usize,
    back: bool,
    data: &'a [T],
    result: &'a mut [T],
}

impl<T: WithDType> WithSimd for Adding<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { stripes, stride, size, out, back, data, result } = self;
        let (size, out) = (size.max(1), out.max(1));
        let (from, to) = if back { (out, size) } else { (size, out) };
        for (data, result) in data.chunks_exact(from).zip(result.chunks_exact_mut(to)) {
            for stripe in stripes {
                match back {
                    true => stripe.to_plane(data, result, stride, Added),
                    false => stripe.to_columns(data, result, stride, Added),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Axis, Unfold};
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
            let wanted = Unfold(window.clone().into()).apply(&x).unwrap().sum_keepdim(1).unwrap();
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
