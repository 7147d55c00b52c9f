//! Operations that follow indices: maxima of windows, and rows added at given places.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, WithDType};

use super::portable;
use super::window::Window;

/// For each window of `[M, C, *spatial]` the flat position of its largest element: `[M, C, O]`, u32.
///
/// Ties go to the first position and NaN counts as largest, as PyTorch and ONNX Runtime have it.
pub(crate) fn max_windows(x: &Tensor, window: &Window) -> Result<Tensor> {
    let (images, channels) = (x.dims()[0], x.dims()[1]);
    let flat = x.contiguous()?.reshape((images, channels, window.in_count()))?;
    if portable::is_ours(x) {
        return in_memory(&flat, window);
    }
    if portable::counts_positions(x, window) {
        return portable::max_windows(&flat, window);
    }
    // Whole numbers, which no network that is trained pools.
    in_memory(&flat.to_device(&Device::Cpu)?, window)?.to_device(x.device())
}

/// The same of `[M, C, size]`, in the processor's memory.
pub(super) fn in_memory(x: &Tensor, window: &Window) -> Result<Tensor> {
    x.apply_op1_no_bwd(&MaxWindows(window.clone()))
}

struct MaxWindows(Window);

impl CustomOp1 for MaxWindows {
    fn name(&self) -> &'static str {
        "max-windows"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (images, channels, size) = layout.shape().dims3()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("maxima of windows need contiguous data")
        };
        let reach = positions(&self.0);
        let out = match storage {
            CpuStorage::F32(data) => largest(&data[start..end], size, &reach),
            CpuStorage::F64(data) => largest(&data[start..end], size, &reach),
            CpuStorage::I64(data) => largest(&data[start..end], size, &reach),
            other => candle_core::bail!("maxima of windows over {:?} data", other.dtype()),
        };
        Ok((CpuStorage::U32(out), (images, channels, self.0.out_count()).into()))
    }
}

/// For each window position the plane positions it covers, padding left out.
fn positions(window: &Window) -> Vec<Vec<u32>> {
    let mut list = vec![vec![0u32]];
    for axis in &window.axes {
        let mut next = Vec::with_capacity(list.len() * axis.out);
        for outer in &list {
            for o in 0..axis.out {
                let inner: Vec<u32> = (0..axis.kernel)
                    .filter_map(|k| axis.position(o, k).map(|p| p as u32))
                    .collect();
                let size = axis.size as u32;
                next.push(
                    outer
                        .iter()
                        .flat_map(|row| inner.iter().map(move |p| row * size + p))
                        .collect(),
                );
            }
        }
        list = next;
    }
    list
}

fn largest<T: WithDType + PartialOrd>(data: &[T], size: usize, reach: &[Vec<u32>]) -> Vec<u32> {
    let mut out = Vec::with_capacity(data.len() / size.max(1) * reach.len());
    for plane in data.chunks_exact(size.max(1)) {
        for window in reach {
            let mut best = window.first().copied().unwrap_or(0);
            for at in window {
                let (value, top) = (plane[*at as usize], plane[best as usize]);
                // `value != value` is true for NaN alone.
                #[allow(clippy::eq_op)]
                if value > top || (value != value && top == top) {
                    best = *at;
                }
            }
            out.push(best);
        }
    }
    out
}

/// The transpose of taking window maxima: cotangents `[M·d, C, O]` go to the positions
/// `[M, C, O]` that held the maxima, giving `[M·d, C, size]`.
pub(crate) fn spread_max(cotangent: &Tensor, at: &Tensor, size: usize) -> Result<Tensor> {
    let (rows, channels, out) = cotangent.dims3()?;
    let images = at.dims()[0];
    let width = rows / images.max(1);
    let at = at.unsqueeze(1)?.broadcast_as((images, width, channels, out))?;
    let at = at.reshape((rows, channels, out))?.contiguous()?;
    let zeros = Tensor::zeros((rows, channels, size), cotangent.dtype(), cotangent.device())?;
    zeros.scatter_add(&at, &cotangent.contiguous()?, 2)
}

/// Add the rows of `source` `[L, T, D]` into zeros `[L, rows, D]` at `index` `[T]` or `[L, T]`.
pub(crate) fn add_rows(source: &Tensor, index: &Tensor, rows: usize) -> Result<Tensor> {
    let (lead, count, width) = source.dims3()?;
    let zeros = Tensor::zeros((lead, rows, width), source.dtype(), source.device())?;
    if index.rank() == 1 {
        return zeros.index_add(&index.contiguous()?, &source.contiguous()?, 1);
    }
    let at = index.to_dtype(DType::I64)?.unsqueeze(2)?.broadcast_as((lead, count, width))?;
    zeros.scatter_add(&at.contiguous()?, &source.contiguous()?, 1)
}
