//! The two float types that kernels are computed in, and the few dense loops over them.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use gradkin_network::candle_core::{self, Tensor, WithDType};

/// f32 or f64.
pub(crate) trait Number:
    WithDType + faer::traits::RealField + Copy + Send + Sync + Default + std::iter::Sum
{
}

impl Number for f32 {}

impl Number for f64 {}

/// The numbers of a tensor in row-major order.
pub(crate) fn numbers<T: Number>(tensor: &Tensor) -> Result<Vec<T>, candle_core::Error> {
    tensor.flatten_all()?.to_vec1::<T>()
}

/// How a product meets what the target already holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    Replace,
    Add,
}

/// `c (+)= a · bᵀ` for row-major a `[m, k]`, b `[n, k]`, c `[m, n]`, on the calling thread.
pub(crate) fn product_abt<T: Number>(
    (m, n, k): (usize, usize, usize),
    a: &[T],
    b: &[T],
    c: &mut [T],
    into: Into,
) {
    let a = MatRef::from_row_major_slice(a, m, k);
    let b = MatRef::from_row_major_slice(b, n, k);
    let c = MatMut::from_row_major_slice_mut(c, m, n);
    let accum = match into {
        Into::Replace => Accum::Replace,
        Into::Add => Accum::Add,
    };
    matmul(c, accum, a, b.transpose(), T::from_f64(1.0), Par::Seq);
}

/// `c = a · b` for row-major a `[m, k]`, b `[k, n]`, c `[m, n]`, on the calling thread.
pub(crate) fn product_ab<T: Number>(
    (m, n, k): (usize, usize, usize),
    a: &[T],
    b: &[T],
    c: &mut [T],
) {
    let a = MatRef::from_row_major_slice(a, m, k);
    let b = MatRef::from_row_major_slice(b, k, n);
    let c = MatMut::from_row_major_slice_mut(c, m, n);
    matmul(c, Accum::Replace, a, b, T::from_f64(1.0), Par::Seq);
}

/// `c += a · b` for row-major a `[m, k]` within rows of `stride` numbers, b `[k, n]`, c `[m, n]`, on the
/// calling thread.
pub(crate) fn add_product_ab<T: Number>(
    (m, n, k): (usize, usize, usize),
    (a, stride): (&[T], usize),
    b: &[T],
    c: &mut [T],
) {
    let a = MatRef::from_row_major_slice_with_stride(a, m, k, stride);
    let b = MatRef::from_row_major_slice(b, k, n);
    let c = MatMut::from_row_major_slice_mut(c, m, n);
    matmul(c, Accum::Add, a, b, T::from_f64(1.0), Par::Seq);
}

/// `c = aᵀ · b` for row-major a `[k, m]` within rows of `stride` numbers, b `[k, n]`, c `[m, n]`, on the
/// calling thread.
pub(crate) fn product_atb<T: Number>(
    (m, n, k): (usize, usize, usize),
    (a, stride): (&[T], usize),
    b: &[T],
    c: &mut [T],
) {
    let a = MatRef::from_row_major_slice_with_stride(a, k, m, stride);
    let b = MatRef::from_row_major_slice(b, k, n);
    let c = MatMut::from_row_major_slice_mut(c, m, n);
    matmul(c, Accum::Replace, a.transpose(), b, T::from_f64(1.0), Par::Seq);
}
