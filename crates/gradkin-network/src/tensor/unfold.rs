//! Unfold (im2col) and its transpose, fold, as custom operations with each other as derivative.
//!
//! Unfold turns `[M, C, *spatial]` into `[M, C·K, O]`: one column per window position, one row per
//! channel and kernel element. A convolution is then one matrix product, and the unfolded input is
//! exactly the factor a of the weight's gradient Σ δ ⊗ a.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};
use pulp::{Arch, Simd, WithSimd};

use super::portable;
use super::stripes::{Added, Copied, Stripe, joined, padding, runs, spaced};
use super::window::Window;

/// `[M, C, *spatial]` → `[M, C·K, O]`.
#[derive(Debug, Clone)]
pub(crate) struct Unfold(pub(crate) Unfoldable);

/// `[M, C·K, O]` → `[M, C, *spatial]`, overlapping windows adding up.
#[derive(Debug, Clone)]
pub(crate) struct Fold(pub(crate) Unfoldable);

impl Unfold {
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let dims = x.dims();
        let (images, channels) = (dims[0], dims[1]);
        let flat = (images, channels, self.0.window.in_count());
        let flat = x.contiguous()?.reshape(flat)?;
        if !portable::is_ours(x) {
            return portable::unfold(&flat, &self.0.window);
        }
        flat.apply_op1(self.clone())
    }
}

impl Fold {
    pub(crate) fn apply(&self, columns: &Tensor) -> Result<Tensor> {
        let folded = match portable::is_ours(columns) {
            true => columns.contiguous()?.apply_op1(self.clone())?,
            false => portable::fold(columns, &self.0.window)?,
        };
        let (images, channels, _) = folded.dims3()?;
        let mut shape = vec![images, channels];
        shape.extend(self.0.window.in_shape());
        folded.reshape(shape)
    }
}

/// The contiguous elements of a layout.
pub(super) fn slice<'a, T>(data: &'a [T], layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => candle_core::bail!("unfold needs contiguous data"),
    }
}

/// Run a generic kernel over whichever float type the storage holds.
macro_rules! by_float {
    ($storage:expr, $layout:expr, $run:expr) => {
        match $storage {
            CpuStorage::F32(data) => CpuStorage::F32($run(slice(data, $layout)?)),
            CpuStorage::F64(data) => CpuStorage::F64($run(slice(data, $layout)?)),
            other => candle_core::bail!("unfold of {:?} data", other.dtype()),
        }
    };
}

pub(super) use by_float;

use candle_core::backend::BackendStorage;

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (images, channels, _) = layout.shape().dims3()?;
        let planes = images * channels;
        let storage = by_float!(storage, layout, |data| unfold(data, planes, &self.0));
        let shape = (images, channels * self.0.window.kernel_count(), self.0.window.out_count());
        Ok((storage, shape.into()))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(Fold(self.0.clone()).apply(grad)?.reshape(arg.shape())?))
    }
}

impl CustomOp1 for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (images, rows, _) = layout.shape().dims3()?;
        let channels = rows / self.0.window.kernel_count();
        let planes = images * channels;
        let storage = by_float!(storage, layout, |data| fold(data, planes, &self.0));
        Ok((storage, (images, channels, self.0.window.in_count()).into()))
    }

    fn bwd(&self, _arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(Unfold(self.0.clone()).apply(grad)?))
    }
}

fn unfold<T: WithDType>(data: &[T], planes: usize, unfoldable: &Unfoldable) -> Vec<T> {
    let window = &unfoldable.window;
    let columns = window.kernel_count() * window.out_count();
    let mut out = vec![T::zero(); planes * columns];
    unfoldable.unfolding().write(data, &mut out);
    out
}

fn fold<T: WithDType>(data: &[T], planes: usize, unfoldable: &Unfoldable) -> Vec<T> {
    let mut out = vec![T::zero(); planes * unfoldable.window.in_count()];
    unfoldable.unfolding().add(data, &mut out);
    out
}

/// A window that works out how it unfolds when that is first asked for; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Unfoldable {
    pub(crate) window: Window,
    unfolding: Arc<OnceLock<Unfolding>>,
}

impl From<Window> for Unfoldable {
    fn from(window: Window) -> Self {
        Self { window, unfolding: Arc::default() }
    }
}

impl Unfoldable {
    pub(crate) fn unfolding(&self) -> &Unfolding {
        self.unfolding.get_or_init(|| Unfolding::new(&self.window))
    }
}

/// How a window copies planes to columns, and adds columns up to planes.
#[derive(Debug)]
pub(crate) struct Unfolding {
    size: usize,
    columns: usize,
    stride: usize,
    stripes: Vec<Stripe>,
    /// The same stripes where they are only read; these may reach over padding.
    copies: Vec<Stripe>,
    padding: Vec<Range<usize>>,
}

impl Unfolding {
    fn new(window: &Window) -> Self {
        let (size, columns) = (window.in_count(), window.kernel_count() * window.out_count());
        let stride = window.axes.last().map_or(1, |a| a.stride);
        let runs = runs(window);
        let copies = spaced(if stride == 1 { joined(&runs) } else { runs.clone() });
        let stripes = spaced(runs);
        let padding = padding(&stripes, columns);
        Self { size, columns, stride, stripes, copies, padding }
    }

    /// Columns of all planes.
    pub(crate) fn write<T: WithDType>(&self, data: &[T], out: &mut [T]) {
        Arch::new().dispatch(Writing { unfolding: self, data, out });
    }

    /// Add columns to all planes.
    pub(crate) fn add<T: WithDType>(&self, columns: &[T], out: &mut [T]) {
        Arch::new().dispatch(Adding { unfolding: self, columns, out });
    }
}

/// The copies of [`Unfolding::write`], compiled for each set of vector instructions and run with the widest
/// that the processor has.
struct Writing<'u, T> {
    unfolding: &'u Unfolding,
    data: &'u [T],
    out: &'u mut [T],
}

impl<T: WithDType> WithSimd for Writing<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Unfolding { size, columns, stride, copies, padding, .. } = self.unfolding;
        let planes = self.data.chunks_exact((*size).max(1));
        for (plane, columns) in planes.zip(self.out.chunks_exact_mut((*columns).max(1))) {
            for stripe in copies {
                stripe.to_columns(plane, columns, *stride, Copied);
            }
            for gap in padding {
                // Most are the one element that a row ends with, which is less than a call takes.
                match gap.len() {
                    1 => columns[gap.start] = T::zero(),
                    _ => columns[gap.clone()].fill(T::zero()),
                }
            }
        }
    }
}

/// The sums of [`Unfolding::add`], compiled as those.
struct Adding<'u, T> {
    unfolding: &'u Unfolding,
    columns: &'u [T],
    out: &'u mut [T],
}

impl<T: WithDType> WithSimd for Adding<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Unfolding { size, columns, stride, stripes, .. } = self.unfolding;
        let planes = self.out.chunks_exact_mut((*size).max(1));
        for (columns, plane) in self.columns.chunks_exact((*columns).max(1)).zip(planes) {
            for stripe in stripes {
                stripe.to_plane(columns, plane, *stride, Added);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::Axis;
    use super::*;

    fn axis(size: usize, kernel: usize, stride: usize, dilation: usize, pad: usize) -> Axis {
        let out = (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
        Axis { size, kernel, stride, dilation, before: pad, after: pad, out }
    }

    /// Unfold read off its definition, element by element.
    fn plain(x: &[f64], w: &Window) -> Vec<f64> {
        let (h, v) = (w.axes[0], w.axes[1]);
        let mut out = Vec::new();
        for (kh, kv) in (0..h.kernel).flat_map(|a| (0..v.kernel).map(move |b| (a, b))) {
            for (oh, ov) in (0..h.out).flat_map(|a| (0..v.out).map(move |b| (a, b))) {
                let at = h.position(oh, kh).zip(v.position(ov, kv));
                out.push(at.map_or(0.0, |(i, j)| x[i * v.size + j]));
            }
        }
        out
    }

    #[test]
    fn unfold_is_its_definition_and_fold_its_transpose() -> Result<()> {
        let steps = [(1, 1, 0), (1, 1, 1), (1, 1, 2), (2, 1, 1), (1, 2, 2), (3, 2, 1)];
        // Runs of all lengths that loops are compiled for, and longer ones.
        let widths = (3..40).flat_map(|width| steps.map(|step| (width, step)));
        for (width, (stride, dilation, pad)) in widths {
            let axes = [7, width].map(|size| axis(size, 3, stride, dilation, pad));
            let window = Window { axes: axes.to_vec() };
            let x = Tensor::randn(0f64, 1.0, (2, 3, 7, width), &Device::Cpu)?;
            let columns = Unfold(window.clone().into()).apply(&x)?;
            let planes = x.flatten_all()?.to_vec1::<f64>()?;
            let planes = planes.chunks(7 * width);
            let wanted: Vec<f64> = planes.flat_map(|p| plain(p, &window)).collect();
            assert_eq!(columns.flatten_all()?.to_vec1::<f64>()?, wanted);
            let y = columns.randn_like(0.0, 1.0)?;
            let back = Fold(window.into()).apply(&y)?;
            let forward = (&columns * &y)?.sum_all()?.to_scalar::<f64>()?;
            let reverse = (&x * &back)?.sum_all()?.to_scalar::<f64>()?;
            assert!((forward - reverse).abs() < 1e-10);
            assert_eq!(back.dtype(), DType::F64);
        }
        Ok(())
    }
}
