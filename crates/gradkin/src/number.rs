//! The two float types that kernels are computed in, and the few dense loops over them.

use faer::{Accum, MatMut, MatRef};
use gradkin_network::candle_core::{self, DType, Device, Tensor, WithDType};
use gradkin_network::{multiply, multiply_lower};

/// f32 or f64.
pub(crate) trait Number:
    WithDType + faer::traits::RealField + Copy + Send + Sync + Default + std::iter::Sum
{
    /// From single precision.
    fn of_f32(x: f32) -> Self;
    /// To single precision.
    fn to_f32(self) -> f32;
}

impl Number for f32 {
    fn of_f32(x: f32) -> Self {
        x
    }

    fn to_f32(self) -> f32 {
        self
    }
}

impl Number for f64 {
    fn of_f32(x: f32) -> Self {
        x.into()
    }

    fn to_f32(self) -> f32 {
        self as f32
    }
}

/// The numbers of a tensor in row-major order.
pub(crate) fn numbers<T: Number>(tensor: &Tensor) -> Result<Vec<T>, candle_core::Error> {
    tensor.flatten_all()?.to_vec1::<T>()
}

/// The same in double precision, which not every device has.
pub(crate) fn doubles(tensor: &Tensor) -> Result<Vec<f64>, candle_core::Error> {
    numbers(&tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
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
    multiply(c, accum, a, b.transpose(), T::from_f64(1.0));
}

/// The lower triangle of `c += a · aᵀ` for row-major a `[n, k]`, c `[n, n]`, on the calling thread.
pub(crate) fn add_product_aat<T: Number>((n, k): (usize, usize), a: &[T], c: &mut [T]) {
    let a = MatRef::from_row_major_slice(a, n, k);
    multiply_lower(MatMut::from_row_major_slice_mut(c, n, n), a);
}

/// Copies what stands below the diagonal of `[n, n]` above it.
pub(crate) fn mirror<T: Number>(c: &mut [T], n: usize) {
    for row in 1..n {
        for column in 0..row {
            c[column * n + row] = c[row * n + column];
        }
    }
}

/// `c = a · b` for row-major a `[m, k]`, b `[k, n]` within rows of `stride` numbers, c `[m, n]`, on the calling
/// thread.
pub(crate) fn product_ab<T: Number>(
    (m, n, k): (usize, usize, usize),
    a: &[T],
    (b, stride): (&[T], usize),
    c: &mut [T],
) {
    let a = MatRef::from_row_major_slice(a, m, k);
    let b = MatRef::from_row_major_slice_with_stride(b, k, n, stride);
    let c = MatMut::from_row_major_slice_mut(c, m, n);
    multiply(c, Accum::Replace, a, b, T::from_f64(1.0));
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
    multiply(c, Accum::Add, a, b, T::from_f64(1.0));
}

/// `c = aᵀ · b` for row-major a `[k, m]` and b `[k, n]` within rows of so many numbers each, c `[m, n]`, on the
/// calling thread.
pub(crate) fn product_atb<T: Number>(
    (m, n, k): (usize, usize, usize),
    (a, down): (&[T], usize),
    (b, across): (&[T], usize),
    c: &mut [T],
) {
    let a = MatRef::from_row_major_slice_with_stride(a, k, m, down);
    let b = MatRef::from_row_major_slice_with_stride(b, k, n, across);
    let c = MatMut::from_row_major_slice_mut(c, m, n);
    multiply(c, Accum::Replace, a.transpose(), b, T::from_f64(1.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triangle_mirrored_is_the_whole_product() {
        for n in [1, 47, 49, 130] {
            let k = 7;
            let a: Vec<f64> = (0..n * k).map(|i| (i as f64 * 0.7).sin()).collect();
            let (mut ours, mut whole) = (vec![0.5; n * n], vec![0.5; n * n]);
            add_product_aat((n, k), &a, &mut ours);
            mirror(&mut ours, n);
            product_abt((n, n, k), &a, &a, &mut whole, Into::Add);
            assert!(ours.iter().zip(&whole).all(|(x, y)| (x - y).abs() < 1e-12), "{n}");
        }
    }
}
