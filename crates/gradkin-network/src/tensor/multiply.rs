//! The one door to the product library's kernels.

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::traits::math_utils::one;
use faer::traits::{ComplexField, Conjugate};
use faer::{Accum, MatMut, MatRef, Par};

/// `c (+)= scale · a · b`, a `[m, k]`, b `[k, n]`, c `[m, n]`, on the calling thread.
///
/// The kernels return with the upper halves of vector registers in use. Until those are given up, some
/// processors pay at every change between newer instructions and the older ones that code compiled for any
/// x86-64 consists of, as at each call of an exponential: after a product, 100,000 of them took 2.9 ms in
/// place of 0.8. They are given up here.
///
/// # Panics
/// Where shapes do not fit each other.
///
/// ```
/// use faer::{Accum, MatMut, MatRef};
///
/// let (a, b, mut c) = ([1.0f32, 2.0], [3.0, 4.0], [1.0]);
/// let (left, right) =
///     (MatRef::from_row_major_slice(&a, 1, 2), MatRef::from_row_major_slice(&b, 2, 1));
/// let into = MatMut::from_row_major_slice_mut(&mut c, 1, 1);
/// gradkin_network::multiply(into, Accum::Add, left, right, 2.0);
/// assert_eq!(c, [23.0]);
/// ```
pub fn multiply<T: ComplexField + Conjugate<Canonical = T>>(
    c: MatMut<'_, T>,
    accum: Accum,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    scale: T,
) {
    matmul(c, accum, a, b, scale, Par::Seq);
    give_up_upper_halves();
}

/// The lower triangle, diagonal included, of `c += a · aᵀ`, a `[n, k]`, c `[n, n]`, on the calling thread, for
/// little more than half of the whole product's time. What is above the diagonal of c stays as it is.
///
/// # Panics
/// Where shapes do not fit each other.
///
/// ```
/// use faer::{MatMut, MatRef};
///
/// let (a, mut c) = ([1.0f32, 2.0], [0.0, -1.0, 0.5, 0.0]);
/// let a = MatRef::from_row_major_slice(&a, 2, 1);
/// gradkin_network::multiply_lower(MatMut::from_row_major_slice_mut(&mut c, 2, 2), a);
/// assert_eq!(c, [1.0, -1.0, 2.5, 4.0]);
/// ```
pub fn multiply_lower<T: ComplexField + Conjugate<Canonical = T>>(
    c: MatMut<'_, T>,
    a: MatRef<'_, T>,
) {
    let (lower, whole) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    triangular::matmul(c, lower, Accum::Add, a, whole, a.transpose(), whole, one(), Par::Seq);
    give_up_upper_halves();
}

/// What kernels leave in use of vector registers.
fn give_up_upper_halves() {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx) = pulp::core_arch::x86::Avx::try_new() {
        avx._mm256_zeroupper();
    }
}
