//! The gradient of a convolution's weight, written out for every image and output.
//!
//! Σ_t δ_t ⊗ a_t, a_t being what the window covers at position t. Behind a ReLU or a maximum most of δ is
//! zero, and at the same positions for all outputs of an example, for what cuts it off does not depend on
//! the output. So each channel takes only the positions where it has anything, and reads a_t as one row
//! per position, which all outputs share while it is in the first-level cache.

use std::sync::{Mutex, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, WithDType};
use faer::{Accum, MatMut, MatRef};
use pulp::Simd;

use super::product::{behind, in_their_float};
use super::scratch::{Room as Memory, Scratch};
use super::stripes::position_in_plane;
use super::unfold::Unfoldable;
use super::window::Window;
use super::{multiply, portable};

/// x `[M, C, size]` and δ `[M, d, r, O]`: `[M, d, r·C·K]`.
#[derive(Debug)]
pub(crate) struct WeightGradient {
    unfoldable: Unfoldable,
    kept: (Kept<f32>, Kept<f64>),
}

/// What one call leaves for the next.
#[derive(Debug)]
struct Kept<T> {
    rows: OnceLock<Rows>,
    /// Rooms that no call is using, as far as they are small: fresh memory costs as much as a small
    /// image's gradient.
    rooms: Mutex<Vec<Room<T>>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { rows: OnceLock::new(), rooms: Mutex::default() }
    }
}

impl<T: Lanes> Kept<T> {
    /// Numbers that a room may have to be kept.
    const MOST: usize = 1 << 18;

    fn take(&self, window: &Window, rows: &Rows, outputs: usize) -> Room<T> {
        let fits = |room: &Room<T>| room.sums.len() == outputs * rows.stride;
        let kept = self.rooms.lock().ok().and_then(|mut rooms| rooms.pop()).filter(fits);
        kept.unwrap_or_else(|| Room::new(window, rows, outputs))
    }

    fn put(&self, room: Room<T>) {
        if let Ok(mut rooms) = self.rooms.lock()
            && room.rows.len() <= Self::MOST
        {
            rooms.push(room);
        }
    }
}

impl WeightGradient {
    pub(crate) fn new(unfoldable: Unfoldable) -> Self {
        Self { unfoldable, kept: Default::default() }
    }

    pub(crate) fn apply(&self, x: &Tensor, delta: &Tensor) -> Result<Tensor> {
        if !portable::is_ours(x) {
            let (images, outputs, r, positions) = delta.dims4()?;
            let delta = delta.reshape((images, outputs * r, positions))?;
            let gradients = portable::gradients(x, &delta, &self.unfoldable.window)?;
            return gradients.reshape((images, outputs, ()));
        }
        x.contiguous()?.apply_op2_no_bwd(&delta.contiguous()?, self)
    }
}

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "weight-gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (images, channels, size) = l1.shape().dims3()?;
        let (with, outputs, r, positions) = l2.shape().dims4()?;
        let window = &self.unfoldable.window;
        let fits = images == with && size == window.in_count() && positions == window.out_count();
        if !fits || !l1.is_contiguous() || !l2.is_contiguous() {
            candle_core::bail!("{:?} has no gradient with {:?}", l1.shape(), l2.shape());
        }
        let len = r * channels * window.kernel_count();
        let sizes = Sizes { images, channels, outputs, r };
        let storage =
            in_their_float!(s1, s2, |x, delta| gradients(self, (x, l1), (delta, l2), &sizes));
        Ok((storage, (images, outputs, len).into()))
    }
}

struct Sizes {
    images: usize,
    channels: usize,
    outputs: usize,
    r: usize,
}

/// Above this share of positions that have anything, one dense product is faster (measured).
const DENSE: f64 = 0.6;

/// Rows shorter than this do not fill the vectors.
const SHORT: usize = 24;

fn gradients<T: Lanes>(
    operation: &WeightGradient,
    (x, layout_of_x): (&[T], &Layout),
    (delta, layout): (&[T], &Layout),
    sizes: &Sizes,
) -> Vec<T> {
    let (x, delta) = (behind(x, layout_of_x), behind(delta, layout));
    let Sizes { images, channels, outputs, r } = *sizes;
    let window = &operation.unfoldable.window;
    let (positions, len) = (window.out_count(), channels * window.kernel_count());
    let each = outputs * r;
    let mut out = vec![T::zero(); images * each * len];
    if x.is_empty() || delta.is_empty() || out.is_empty() {
        return out;
    }
    let kept = T::kept(operation);
    let rows = || kept.rows.get_or_init(|| Rows::new(window, channels, size_of::<T>()));
    let (mut dense, mut sparse) = (None, None);
    let images = x.chunks_exact(channels * window.in_count());
    let targets = out.chunks_exact_mut(each * len);
    for ((x, delta), out) in images.zip(delta.chunks_exact(each * positions)).zip(targets) {
        let first = &delta[..r * positions];
        let filled = first.iter().filter(|value| **value != T::zero()).count();
        if len >= SHORT && filled as f64 <= DENSE * first.len() as f64 {
            let rows = rows();
            let room = sparse.get_or_insert_with(|| kept.take(window, rows, outputs));
            pulp::Arch::new().dispatch(Write { rows, room, x, delta, r, out });
            continue;
        }
        let columns = dense.get_or_insert_with(|| Memory::of(len * positions));
        operation.unfoldable.unfolding().write(x, columns);
        let columns = MatRef::from_row_major_slice(columns, len, positions);
        let delta = MatRef::from_row_major_slice(delta, each, positions);
        let out = MatMut::from_row_major_slice_mut(out, each, len);
        let one = <T as WithDType>::from_f64(1.0);
        multiply(out, Accum::Replace, delta, columns.transpose(), one);
    }
    sparse.into_iter().for_each(|room| kept.put(room));
    out
}

/// Where one or more window elements of a position lie: `len` numbers from `plane` in an image whose
/// channels are innermost, and from `row` among the rows.
#[derive(Debug)]
struct Piece {
    row: usize,
    plane: usize,
    len: usize,
}

/// How windows over images of so many channels become rows `[O, K·C]`.
#[derive(Debug)]
struct Rows {
    channels: usize,
    /// Length of a row, a whole number of the widest vectors.
    stride: usize,
    pieces: Vec<Piece>,
}

impl Rows {
    fn new(window: &Window, channels: usize, float: usize) -> Self {
        const WIDEST: usize = 64;
        let stride = (window.kernel_count() * channels).next_multiple_of(WIDEST / float);
        let mut pieces: Vec<Piece> = Vec::new();
        for position in 0..window.out_count() {
            for element in 0..window.kernel_count() {
                let Some(plane) = position_in_plane(&window.axes, element, position) else {
                    continue;
                };
                let (row, plane) = (position * stride + element * channels, plane * channels);
                match pieces.last_mut() {
                    Some(last) if last.row + last.len == row && last.plane + last.len == plane => {
                        last.len += channels;
                    }
                    _ => pieces.push(Piece { row, plane, len: channels }),
                }
            }
        }
        Self { channels, stride, pieces }
    }
}

/// Room for one image after the other.
#[derive(Debug)]
struct Room<T> {
    /// The image with its channels innermost.
    turned: Vec<T>,
    /// What the window covers, position by position; zero where that is padding.
    rows: Vec<T>,
    /// Σ_c |δ_c| of a channel by position.
    magnitudes: Vec<T>,
    /// The positions where that is not zero.
    active: Vec<usize>,
    /// δ there, of a block of outputs.
    compact: Vec<T>,
    /// The channel's gradients, `[d, K·C]` in rows of the stride.
    sums: Vec<T>,
}

impl<T: Lanes> Room<T> {
    fn new(window: &Window, rows: &Rows, outputs: usize) -> Self {
        let positions = window.out_count();
        let zeros = |count: usize| vec![T::zero(); count];
        Self {
            turned: zeros(rows.channels * window.in_count()),
            rows: zeros(positions * rows.stride),
            magnitudes: zeros(positions),
            active: Vec::with_capacity(positions),
            compact: Vec::new(),
            sums: zeros(outputs * rows.stride),
        }
    }

    #[inline(always)]
    fn lay_out(&mut self, x: &[T], rows: &Rows) {
        let size = x.len() / rows.channels;
        for (channel, plane) in x.chunks_exact(size).enumerate() {
            let turned = self.turned[channel..].iter_mut().step_by(rows.channels);
            turned.zip(plane).for_each(|(to, from)| *to = *from);
        }
        for piece in &rows.pieces {
            self.rows[piece.row..piece.row + piece.len]
                .copy_from_slice(&self.turned[piece.plane..piece.plane + piece.len]);
        }
    }

    /// The positions where a channel has anything for any output.
    #[inline(always)]
    fn find(&mut self, delta: &[T], channel: usize, r: usize) {
        let positions = self.magnitudes.len();
        self.magnitudes.fill(T::zero());
        for own in delta.chunks_exact(positions).skip(channel).step_by(r) {
            for (size, value) in self.magnitudes.iter_mut().zip(own) {
                *size += if *value < T::zero() { T::zero() - *value } else { *value };
            }
        }
        // Written whether it stays or not: nothing tells which, and guessing costs more.
        self.active.resize(positions, 0);
        let mut count = 0;
        for (at, size) in self.magnitudes.iter().enumerate() {
            self.active[count] = at;
            count += usize::from(*size != T::zero());
        }
        self.active.truncate(count);
    }
}

/// One image's gradients, `[d, r, C·K]`.
struct Write<'a, T> {
    rows: &'a Rows,
    room: &'a mut Room<T>,
    x: &'a [T],
    delta: &'a [T],
    r: usize,
    out: &'a mut [T],
}

impl<T: Lanes> pulp::WithSimd for Write<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, room, x, delta, r, out } = self;
        let outputs = room.sums.len() / rows.stride;
        let len = out.len() / (outputs * r);
        room.lay_out(x, rows);
        for channel in 0..r {
            room.find(delta, channel, r);
            let mut first = 0;
            while first < outputs {
                // Sums that fit the sixteen registers of the narrower machines, beside a row's vector
                // and a number.
                let which = (first, channel, r, len);
                first += match outputs - first {
                    4.. => block::<T, S, 4, 3>(simd, room, rows.stride, delta, which),
                    2.. => block::<T, S, 2, 4>(simd, room, rows.stride, delta, which),
                    _ => block::<T, S, 1, 8>(simd, room, rows.stride, delta, which),
                };
            }
            for (c, sums) in room.sums.chunks_exact(rows.stride).enumerate() {
                let target = &mut out[(c * r + channel) * len..][..len];
                let elements = len / rows.channels;
                for (i, target) in target.chunks_exact_mut(elements).enumerate() {
                    let own = sums[i..].iter().step_by(rows.channels);
                    target.iter_mut().zip(own).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

/// Σ_t δ_t ⊗ row_t over the active positions of a channel, for `D` outputs from `first`; `V` vectors of a
/// row at a time. Says for how many outputs.
#[inline(always)]
fn block<T: Lanes, S: Simd, const D: usize, const V: usize>(
    simd: S,
    room: &mut Room<T>,
    stride: usize,
    delta: &[T],
    (first, channel, r, len): (usize, usize, usize, usize),
) -> usize {
    let positions = room.magnitudes.len();
    let own: [&[T]; D] =
        std::array::from_fn(|c| &delta[((first + c) * r + channel) * positions..][..positions]);
    room.compact.clear();
    room.compact.extend(room.active.iter().flat_map(|at| own.map(|own| own[*at])));
    let (compact, _) = room.compact.as_chunks::<D>();
    let lanes = size_of::<T::Of<S>>() / size_of::<T>();
    let rows = T::vectors::<S>(&room.rows);
    let sums = T::vectors_mut::<S>(&mut room.sums[first * stride..(first + D) * stride]);
    let (all, stride) = (len.div_ceil(lanes), stride / lanes);
    let mut at = 0;
    while at + V <= all {
        tile::<T, S, D, V>(simd, (rows, stride, at), &room.active, compact, sums);
        at += V;
    }
    while at < all {
        tile::<T, S, D, 1>(simd, (rows, stride, at), &room.active, compact, sums);
        at += 1;
    }
    D
}

#[inline(always)]
fn tile<T: Lanes, S: Simd, const D: usize, const V: usize>(
    simd: S,
    (rows, stride, first): (&[T::Of<S>], usize, usize),
    active: &[usize],
    compact: &[[T; D]],
    sums: &mut [T::Of<S>],
) {
    let mut total = [[T::splat(simd, T::zero()); V]; D];
    for (at, weights) in active.iter().zip(compact) {
        let Some(row) = rows[at * stride + first..].first_chunk::<V>() else { return };
        for (total, weight) in total.iter_mut().zip(weights) {
            let weight = T::splat(simd, *weight);
            for (total, row) in total.iter_mut().zip(row) {
                *total = T::mul_add(simd, *row, weight, *total);
            }
        }
    }
    for (c, total) in total.iter().enumerate() {
        sums[c * stride + first..][..V].copy_from_slice(total);
    }
}

/// f32 or f64 in vectors.
trait Lanes: WithDType + faer::traits::ComplexField + Scratch {
    type Of<S: Simd>: Copy;
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Of<S>;
    /// a · b + c.
    fn mul_add<S: Simd>(simd: S, a: Self::Of<S>, b: Self::Of<S>, c: Self::Of<S>) -> Self::Of<S>;
    /// As many whole vectors as there are.
    fn vectors<S: Simd>(x: &[Self]) -> &[Self::Of<S>];
    fn vectors_mut<S: Simd>(x: &mut [Self]) -> &mut [Self::Of<S>];
    fn kept(operation: &WeightGradient) -> &Kept<Self>;
}

macro_rules! lanes {
    ($float:ty, $which:tt, $of:ident, $splat:ident, $mul_add:ident, $vectors:ident, $vectors_mut:ident) => {
        impl Lanes for $float {
            type Of<S: Simd> = S::$of;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$of {
                simd.$splat(x)
            }

            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$of, b: S::$of, c: S::$of) -> S::$of {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn vectors<S: Simd>(x: &[Self]) -> &[S::$of] {
                S::$vectors(x).0
            }

            #[inline(always)]
            fn vectors_mut<S: Simd>(x: &mut [Self]) -> &mut [S::$of] {
                S::$vectors_mut(x).0
            }

            fn kept(operation: &WeightGradient) -> &Kept<Self> {
                &operation.kept.$which
            }
        }
    };
}

lanes!(f32, 0, f32s, splat_f32s, mul_add_f32s, as_simd_f32s, as_mut_simd_f32s);
lanes!(f64, 1, f64s, splat_f64s, mul_add_f64s, as_simd_f64s, as_mut_simd_f64s);

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::{Axis, Unfold};
    use super::*;

    fn axis(size: usize, (stride, dilation, pad): (usize, usize, usize)) -> Axis {
        let out = (size + 2 * pad - 2 * dilation - 1) / stride + 1;
        Axis { size, kernel: 3, stride, dilation, before: pad, after: pad, out }
    }

    /// δ of which all outputs share the zeros, one image full.
    fn cotangents(
        shape: (usize, usize, usize, usize),
        dtype: candle_core::DType,
    ) -> Result<Tensor> {
        let (images, outputs, r, positions) = shape;
        let mask = Tensor::rand(0f64, 1.0, (images, 1, r, positions), &Device::Cpu)?;
        let mask = mask.lt(0.3)?.to_dtype(candle_core::DType::F64)?;
        let full = Tensor::ones((1, 1, r, positions), candle_core::DType::F64, &Device::Cpu)?;
        let mask = mask.slice_assign(&[0..1, 0..1, 0..r, 0..positions], &full)?;
        let delta = Tensor::randn(0f64, 1.0, (images, outputs, r, positions), &Device::Cpu)?;
        delta.broadcast_mul(&mask)?.to_dtype(dtype)
    }

    /// Against the product with the unfolded columns, for every count of outputs and for vectors that
    /// rows do and do not fill.
    #[test]
    fn is_the_product_with_columns() -> Result<()> {
        use candle_core::DType::{F32, F64};
        for geometry in [(1, 1, 0), (1, 1, 1), (2, 1, 1), (1, 2, 2), (3, 1, 2)] {
            for (outputs, channels) in [(1, 1), (2, 3), (3, 8), (7, 12)] {
                for (dtype, bound) in [(F32, 1e-4), (F64, 1e-12)] {
                    let axes = vec![axis(7, geometry), axis(6, geometry)];
                    let unfoldable = Unfoldable::from(Window { axes });
                    let x = Tensor::randn(0f64, 1.0, (3, channels, 42), &Device::Cpu)?;
                    let x = x.to_dtype(dtype)?;
                    let delta = cotangents((3, outputs, 5, unfoldable.window.out_count()), dtype)?;
                    let ours = WeightGradient::new(unfoldable.clone()).apply(&x, &delta)?;
                    let columns = x.apply_op1(Unfold(unfoldable))?;
                    let rows = delta.reshape((3, outputs * 5, ()))?;
                    let theirs = rows.matmul(&columns.t()?)?.reshape(ours.shape())?;
                    let gap = (ours - theirs)?.abs()?.max_all()?.to_dtype(F64)?;
                    assert!(gap.to_scalar::<f64>()? < bound, "{geometry:?} {outputs} {channels}");
                }
            }
        }
        Ok(())
    }

    /// What is not finite makes the gradient so, active or not.
    #[test]
    fn nothing_infinite_is_lost() -> Result<()> {
        let window = Window { axes: vec![axis(7, (1, 1, 1)), axis(6, (1, 1, 1))] };
        let x = Tensor::randn(0f32, 1.0, (2, 2, 42), &Device::Cpu)?;
        let delta = cotangents((2, 3, 4, 42), candle_core::DType::F32)?;
        let nan = Tensor::new(f32::NAN, &Device::Cpu)?.broadcast_as((1, 1, 1, 1))?;
        let delta = delta.slice_assign(&[1..2, 1..2, 2..3, 5..6], &nan)?;
        let gradient = WeightGradient::new(window.into()).apply(&x, &delta)?.to_vec3::<f32>()?;
        assert!(gradient[1][1][2 * 18..3 * 18].iter().all(|g| g.is_nan()));
        assert!(gradient[0].iter().flatten().all(|g| g.is_finite()));
        Ok(())
    }
}
