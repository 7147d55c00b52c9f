//! Passes over tensors a row at a time.
//!
//! The steps of a normalisation or of a bent activation are chains of products, sums and masks: over whole
//! tensors each link writes main memory and reads it again. Here a row (the positions of one channel in one
//! image, or whatever else meets one number) goes through the whole chain while it is in the first-level
//! cache.

use candle_core::{DType, Result, Storage, Tensor, WithDType};
use pulp::{Arch, Simd, WithSimd};

use super::portable;
use super::product::behind;

/// Rows shorter than this cost more than they save.
pub(super) const SHORT: usize = 8;

/// How a tensor falls into rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cut {
    /// Rows of one example.
    pub(crate) rows: usize,
    /// Rows that meet different numbers, one after the other.
    pub(crate) channels: usize,
    /// Numbers of a row.
    pub(crate) positions: usize,
}

/// Whether passes take all of these: floats of one type in the processor's memory that no tape follows.
pub(crate) fn are_ours(tensors: &[&Tensor]) -> bool {
    let float = tensors.first().map(|x| x.dtype());
    let ours = |x: &&Tensor| Some(x.dtype()) == float && portable::is_ours(x) && !x.track_op();
    matches!(float, Some(DType::F32 | DType::F64)) && tensors.iter().all(ours)
}

impl Cut {
    /// So many rows of so many numbers that meet nothing but each other; `None` where they are short, or where
    /// passes do not take these tensors.
    pub(crate) fn alone(rows: usize, positions: usize, tensors: &[&Tensor]) -> Option<Self> {
        let fits = positions >= SHORT && are_ours(tensors);
        fits.then_some(Self { rows, channels: 1, positions })
    }
}

/// What rows of one tensor meet in another: row by row, examples of which there are fewer `repeat` times one
/// after the other, as values meet the cotangents of several outputs.
#[derive(Clone, Copy)]
pub(crate) struct Meets<'a> {
    pub(crate) other: &'a Tensor,
    pub(crate) repeat: usize,
}

/// Run a generic pass over whichever float type the tensor holds.
macro_rules! by_float {
    ($like:expr, $run:ident ( $($argument:expr),* )) => {
        match $like.dtype() {
            candle_core::DType::F32 => $run::<f32>($($argument),*),
            candle_core::DType::F64 => $run::<f64>($($argument),*),
            other => candle_core::bail!("a pass over {other:?} data"),
        }
    };
}

pub(super) use by_float;

/// Rows of a tensor that meet those of another.
pub(super) struct Meeting<'a, T> {
    other: &'a [T],
    positions: usize,
    /// Rows of one example.
    rows: usize,
    repeat: usize,
}

impl<'a, T> Meeting<'a, T> {
    pub(super) fn new(cut: Cut, repeat: usize, other: &'a [T]) -> Self {
        let Cut { rows, positions, .. } = cut;
        Self { other, positions, rows: rows.max(1), repeat: repeat.max(1) }
    }

    #[inline(always)]
    pub(super) fn index(&self, row: usize) -> usize {
        row / (self.rows * self.repeat) * self.rows + row % self.rows
    }

    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &'a [T] {
        let first = self.index(row) * self.positions;
        &self.other[first..first + self.positions]
    }
}

/// One row of a pass.
pub(super) struct Row<'a, T> {
    pub(super) index: usize,
    pub(super) channel: usize,
    pub(super) x: &'a [T],
}

pub(super) trait Pass<T> {
    fn row(&mut self, row: Row<T>);
}

/// Every row of x, by a loop compiled for each set of vector instructions and run with the widest that the
/// processor has.
pub(super) fn over<T: WithDType, P: Pass<T>>(x: &Tensor, cut: Cut, pass: &mut P) -> Result<()> {
    let (channels, positions) = (cut.channels.max(1), cut.positions.max(1));
    with(x, |x| {
        Arch::new().dispatch(Over { x, channels, positions, pass });
        Ok(())
    })
}

struct Over<'a, T, P> {
    x: &'a [T],
    channels: usize,
    positions: usize,
    pass: &'a mut P,
}

impl<T: WithDType, P: Pass<T>> WithSimd for Over<'_, T, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (index, x) in self.x.chunks_exact(self.positions).enumerate() {
            self.pass.row(Row { index, channel: index % self.channels, x });
        }
    }
}

/// Σ of a function of both rows, in lanes.
#[inline(always)]
pub(super) fn total<T: WithDType>(x: &[T], y: &[T], each: impl Fn(T, T) -> T) -> T {
    const LANES: usize = 16;
    let mut lanes = [T::zero(); LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    let (other, more) = y.as_chunks::<LANES>();
    for (x, y) in whole.iter().zip(other) {
        for lane in 0..LANES {
            lanes[lane] += each(x[lane], y[lane]);
        }
    }
    let sum = rest.iter().zip(more).fold(T::zero(), |sum, (x, y)| sum + each(*x, *y));
    lanes.iter().fold(sum, |sum, lane| sum + *lane)
}

/// The numbers of a tensor in their order.
pub(super) fn with<T: WithDType, R>(x: &Tensor, take: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        candle_core::bail!("data that is not in the processor's memory")
    };
    take(behind(T::cpu_storage_as_slice(storage)?, layout))
}

/// Numbers per channel, or per row.
pub(super) fn per_channel<T: WithDType>(numbers: &Tensor) -> Result<Vec<T>> {
    numbers.flatten_all()?.to_vec1()
}

/// What passes are tried on.
#[cfg(all(test, not(feature = "portable")))]
pub(super) mod trial {
    use candle_core::{Device, Result, Tensor};

    pub(crate) fn random(shape: &[usize]) -> Result<Tensor> {
        Tensor::randn(0f64, 1.0, shape, &Device::Cpu)
    }

    pub(crate) fn same(found: &Tensor, wanted: &Tensor) -> Result<()> {
        let gap = (found - wanted.reshape(found.shape())?)?.abs()?.max_all()?;
        assert!(gap.to_scalar::<f64>()? < 1e-12, "{found} {wanted}");
        Ok(())
    }
}
