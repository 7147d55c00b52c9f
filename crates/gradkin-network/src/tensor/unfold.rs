//! Unfold (im2col) and its transpose, fold, as custom operations with each other as derivative.
//!
//! Unfold turns `[M, C, *spatial]` into `[M, C·K, O]`: one column per window position, one row per
//! channel and kernel element. A convolution is then one matrix product, and the unfolded input is
//! exactly the factor a of the weight's gradient Σ δ ⊗ a.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};

use super::portable;
use super::window::Window;

/// `[M, C, *spatial]` → `[M, C·K, O]`.
#[derive(Debug, Clone)]
pub(crate) struct Unfold(pub(crate) Window);

/// `[M, C·K, O]` → `[M, C, *spatial]`, overlapping windows adding up.
#[derive(Debug, Clone)]
pub(crate) struct Fold(pub(crate) Window);

impl Unfold {
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let dims = x.dims();
        let (images, channels) = (dims[0], dims[1]);
        let flat = (images, channels, self.0.in_count());
        let flat = x.contiguous()?.reshape(flat)?;
        if !portable::is_ours(x) {
            return portable::unfold(&flat, &self.0);
        }
        flat.apply_op1(self.clone())
    }
}

impl Fold {
    pub(crate) fn apply(&self, columns: &Tensor) -> Result<Tensor> {
        let folded = match portable::is_ours(columns) {
            true => columns.contiguous()?.apply_op1(self.clone())?,
            false => portable::fold(columns, &self.0)?,
        };
        let (images, channels, _) = folded.dims3()?;
        let mut shape = vec![images, channels];
        shape.extend(self.0.in_shape());
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
        let shape = (images, channels * self.0.kernel_count(), self.0.out_count());
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
        let channels = rows / self.0.kernel_count();
        let planes = images * channels;
        let storage = by_float!(storage, layout, |data| fold(data, planes, &self.0));
        Ok((storage, (images, channels, self.0.in_count()).into()))
    }

    fn bwd(&self, _arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(Unfold(self.0.clone()).apply(grad)?))
    }
}

/// A run of window positions along the last axis: `len` elements of the column matrix from
/// `column`, lying in the plane from `plane` in steps of the stride.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) column: usize,
    pub(super) plane: usize,
    pub(super) len: usize,
}

/// Every run of a window, in the order of the column matrix.
pub(super) fn runs(window: &Window) -> Vec<Run> {
    let (last, outer) = match window.axes.split_last() {
        Some(parts) => parts,
        None => return vec![Run { column: 0, plane: 0, len: 1 }],
    };
    let out_count = window.out_count();
    let mut list = Vec::new();
    for k in 0..window.kernel_count() {
        let k_last = k % last.kernel;
        let covered = last.covered(k_last);
        if covered.is_empty() {
            continue;
        }
        let first = covered.start * last.stride + k_last * last.dilation - last.before;
        for row in 0..out_count / last.out.max(1) {
            if let Some(plane_row) = position_in_plane(outer, k / last.kernel, row) {
                list.push(Run {
                    column: k * out_count + row * last.out + covered.start,
                    plane: plane_row * last.size + first,
                    len: covered.len(),
                });
            }
        }
    }
    list
}

/// Where in the plane of these axes element `k` of window `o` lies, if it is not padding.
pub(super) fn position_in_plane(axes: &[super::Axis], mut k: usize, mut o: usize) -> Option<usize> {
    let mut row = 0;
    let mut scale = 1;
    for axis in axes.iter().rev() {
        row += scale * axis.position(o % axis.out, k % axis.kernel)?;
        scale *= axis.size;
        k /= axis.kernel;
        o /= axis.out;
    }
    Some(row)
}

/// Runs that follow each other alike in plane and column matrix, as where a window keeps the size of
/// what it slides over, joined to long ones: between them, the joined run brings what another row has.
fn joined(runs: &[Run]) -> Vec<Run> {
    let mut long = Vec::<Run>::new();
    for run in runs {
        match long.last_mut() {
            Some(last) if run.column - last.column == run.plane.wrapping_sub(last.plane) => {
                last.len = run.column + run.len - last.column;
            }
            _ => long.push(run.clone()),
        }
    }
    long
}

/// The columns of one plane that no run covers: padding.
fn padding(runs: &[Run], columns: usize) -> Vec<Range<usize>> {
    let mut gaps = Vec::new();
    let mut end = 0;
    for run in runs {
        gaps.push(end..run.column);
        end = run.column + run.len;
    }
    gaps.push(end..columns);
    gaps.retain(|gap| !gap.is_empty());
    gaps
}

fn unfold<T: WithDType>(data: &[T], planes: usize, window: &Window) -> Vec<T> {
    let columns = window.kernel_count() * window.out_count();
    let mut out = vec![T::zero(); planes * columns];
    Unfolding::new(window).write(data, &mut out);
    out
}

fn fold<T: WithDType>(data: &[T], planes: usize, window: &Window) -> Vec<T> {
    let unfolding = Unfolding::new(window);
    let mut out = vec![T::zero(); planes * unfolding.size];
    let mut own = vec![T::zero(); unfolding.columns];
    let planes = out.chunks_exact_mut(unfolding.size.max(1));
    for (columns, plane) in data.chunks_exact(unfolding.columns.max(1)).zip(planes) {
        own.copy_from_slice(columns);
        unfolding.add(&mut own, plane);
    }
    out
}

/// How a window copies planes to columns, and adds columns up to planes.
pub(crate) struct Unfolding {
    size: usize,
    columns: usize,
    stride: usize,
    runs: Vec<Run>,
    padding: Vec<Range<usize>>,
}

impl Unfolding {
    pub(crate) fn new(window: &Window) -> Self {
        let (size, columns) = (window.in_count(), window.kernel_count() * window.out_count());
        let stride = window.axes.last().map_or(1, |a| a.stride);
        let runs = runs(window);
        let padding = padding(&runs, columns);
        let runs = if stride == 1 { joined(&runs) } else { runs };
        Self { size, columns, stride, runs, padding }
    }

    /// Columns of all planes.
    pub(crate) fn write<T: WithDType>(&self, data: &[T], out: &mut [T]) {
        let planes = data.chunks_exact(self.size.max(1));
        for (plane, column) in planes.zip(out.chunks_exact_mut(self.columns.max(1))) {
            for run in &self.runs {
                let target = &mut column[run.column..run.column + run.len];
                if self.stride == 1 {
                    target.copy_from_slice(&plane[run.plane..run.plane + run.len]);
                } else {
                    let source = plane[run.plane..].iter().step_by(self.stride);
                    target.iter_mut().zip(source).for_each(|(value, source)| *value = *source);
                }
            }
            self.clear_padding(column);
        }
    }

    /// Add columns to all planes. What they have on padding is set to zero first, for joined runs reach over it:
    /// sums of whole planes take half as long as those of their rows.
    pub(crate) fn add<T: WithDType>(&self, columns: &mut [T], out: &mut [T]) {
        pulp::Arch::new().dispatch(Adding { unfolding: self, columns, out });
    }

    #[inline(always)]
    fn clear_padding<T: WithDType>(&self, column: &mut [T]) {
        for gap in &self.padding {
            // Most are the one element that a row ends with, which is less than a call takes.
            match gap.len() {
                1 => column[gap.start] = T::zero(),
                _ => column[gap.clone()].fill(T::zero()),
            }
        }
    }
}

/// The sums of [`Unfolding::add`], compiled for each set of vector instructions and run with the widest
/// that the processor has.
struct Adding<'u, T> {
    unfolding: &'u Unfolding,
    columns: &'u mut [T],
    out: &'u mut [T],
}

impl<T: WithDType> pulp::WithSimd for Adding<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { unfolding, columns, out } = self;
        let planes = out.chunks_exact_mut(unfolding.size.max(1));
        for (column, plane) in columns.chunks_exact_mut(unfolding.columns.max(1)).zip(planes) {
            unfolding.clear_padding(column);
            for run in &unfolding.runs {
                let source = &column[run.column..run.column + run.len];
                add_apart(source, &mut plane[run.plane..], unfolding.stride);
            }
        }
    }
}

/// Add numbers to those of a target that lie a stride apart.
#[inline(always)]
pub(super) fn add_apart<T: WithDType>(source: &[T], target: &mut [T], stride: usize) {
    if stride == 1 {
        let target = &mut target[..source.len()];
        target.iter_mut().zip(source).for_each(|(value, add)| *value += *add);
    } else {
        let target = target.iter_mut().step_by(stride);
        target.zip(source).for_each(|(value, add)| *value += *add);
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
        for (stride, dilation, pad) in
            [(1, 1, 0), (1, 1, 1), (1, 1, 2), (2, 1, 1), (1, 2, 2), (3, 2, 1)]
        {
            let window = Window {
                axes: vec![axis(7, 3, stride, dilation, pad), axis(6, 3, stride, dilation, pad)],
            };
            let x = Tensor::randn(0f64, 1.0, (2, 3, 7, 6), &Device::Cpu)?;
            let columns = Unfold(window.clone()).apply(&x)?;
            let planes = x.flatten_all()?.to_vec1::<f64>()?;
            let wanted: Vec<f64> = planes.chunks(42).flat_map(|p| plain(p, &window)).collect();
            assert_eq!(columns.flatten_all()?.to_vec1::<f64>()?, wanted);
            let y = columns.randn_like(0.0, 1.0)?;
            let back = Fold(window).apply(&y)?;
            let forward = (&columns * &y)?.sum_all()?.to_scalar::<f64>()?;
            let reverse = (&x * &back)?.sum_all()?.to_scalar::<f64>()?;
            assert!((forward - reverse).abs() < 1e-10);
            assert_eq!(back.dtype(), DType::F64);
        }
        Ok(())
    }
}
