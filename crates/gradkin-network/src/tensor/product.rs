//! Batched matrix products on the calling thread.
//!
//! The tensor library splits every product over all threads. Sweeps are parallel over examples
//! already, and small products lose more by being split than they gain.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, WithDType};
use faer::{Accum, MatMut, MatRef};

use super::{multiply, portable};

/// `a · b` over the last two axes, on the calling thread; the axes before them must be equal.
///
/// The tensor library's own product splits its work over threads, which small products and callers
/// that are parallel already lose by. It is differentiated like any operation of that library.
///
/// ```
/// # fn main() -> Result<(), candle_core::Error> {
/// use gradkin_network::candle_core::{self, Device, Tensor};
/// let a = Tensor::new(&[[1f32, 2.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[3f32], [4.0]], &Device::Cpu)?;
/// assert_eq!(gradkin_network::product(&a, &b)?.to_vec2::<f32>()?, [[11.0]]);
/// # Ok(()) }
/// ```
pub fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !portable::is_ours(a) {
        return portable::product(a, b);
    }
    strided(a)?.apply_op2(&strided(b)?, Product)
}

/// The tensor itself where its matrices can be read in place, a copy where they cannot.
pub(super) fn strided(x: &Tensor) -> Result<Tensor> {
    let rank = x.rank();
    if rank < 2 {
        candle_core::bail!("a matrix product of a tensor with {rank} axes");
    }
    let (dims, stride) = (x.dims(), x.stride());
    let (rows, columns) = (dims[rank - 2], dims[rank - 1]);
    let (down, across) = (stride[rank - 2], stride[rank - 1]);
    let by_rows = across == 1 && (down >= columns || rows == 1);
    let by_columns = down == 1 && (across >= rows || columns == 1);
    if by_rows || by_columns { Ok(x.clone()) } else { x.contiguous() }
}

/// Run a kernel over whichever float type both operands hold.
macro_rules! in_their_float {
    ($left:expr, $right:expr, $kernel:expr) => {
        match ($left, $right) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => CpuStorage::F32($kernel(a, b)),
            (CpuStorage::F64(a), CpuStorage::F64(b)) => CpuStorage::F64($kernel(a, b)),
            (a, b) => candle_core::bail!("a product of {:?} and {:?}", a.dtype(), b.dtype()),
        }
    };
}

pub(super) use in_their_float;

/// The numbers of a contiguous layout.
pub(super) fn behind<'a, T>(data: &'a [T], layout: &Layout) -> &'a [T] {
    &data[layout.start_offset()..][..layout.shape().elem_count()]
}

struct Product;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (d1, d2) = (l1.dims(), l2.dims());
        let rank = d1.len();
        let fits =
            rank == d2.len() && d1[..rank - 2] == d2[..rank - 2] && d1[rank - 1] == d2[rank - 2];
        if !fits {
            candle_core::bail!("shapes {d1:?} and {d2:?} do not multiply");
        }
        let mut shape = d1.to_vec();
        shape[rank - 1] = d2[rank - 1];
        let storage = in_their_float!(s1, s2, |a, b| products(a, l1, b, l2));
        Ok((storage, shape.into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let last = a.rank() - 1;
        let left = product(grad, &b.transpose(last - 1, last)?)?;
        let right = product(&a.transpose(last - 1, last)?, grad)?;
        Ok((Some(left), Some(right)))
    }
}

/// One matrix `w` `[r, c]` times each of `x` `[L, c, n]`: `[L, r, n]`.
///
/// The same as a product with `w` repeated L times, but for its derivative by `w`, which is added up
/// on the spot instead of being written out for every x.
pub(crate) fn shared_product(w: &Tensor, x: &Tensor) -> Result<Tensor> {
    if !portable::is_ours(x) {
        return portable::shared_product(w, x);
    }
    strided(w)?.apply_op2(&strided(x)?, SharedProduct)
}

struct SharedProduct;

impl CustomOp2 for SharedProduct {
    fn name(&self) -> &'static str {
        "shared-product"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (r, c) = l1.shape().dims2()?;
        let (lead, inner, n) = l2.shape().dims3()?;
        if c != inner {
            candle_core::bail!("shapes {:?} and {:?} do not multiply", l1.shape(), l2.shape());
        }
        let repeated = l1.broadcast_as((lead, r, c))?;
        let storage = in_their_float!(s1, s2, |a, b| products(a, &repeated, b, l2));
        Ok((storage, (lead, r, n).into()))
    }

    fn bwd(
        &self,
        w: &Tensor,
        x: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        // Σ_l grad_l · x_lᵀ, rows being the positions n.
        let (rows, columns) = (grad.t()?.unsqueeze(1)?, x.t()?.unsqueeze(1)?);
        let left = sum_of_products(&rows, &columns)?.squeeze(0)?;
        Ok((Some(left), Some(shared_product(&w.t()?, grad)?)))
    }
}

/// Σ_b a_bᵀ · b_b for every group: `[B, G, T, p]` and `[B, G, T, q]` give `[G, p, q]`.
pub(crate) fn sum_of_products(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !portable::is_ours(a) {
        return portable::sum_of_products(a, b);
    }
    strided(a)?.apply_op2_no_bwd(&strided(b)?, &SumOfProducts)
}

/// Σ over the first axis: `[L, n]` gives `[n]`. As a product with ones, for the tensor library takes
/// several times as long along an outer axis.
pub(crate) fn sum_rows(x: &Tensor) -> Result<Tensor> {
    let (rows, _) = x.dims2()?;
    if rows == 1 {
        return x.squeeze(0);
    }
    let ones = Tensor::ones((1, 1, rows, 1), x.dtype(), x.device())?;
    sum_of_products(&ones, &x.unsqueeze(0)?.unsqueeze(0)?)?.flatten_all()
}

struct SumOfProducts;

impl CustomOp2 for SumOfProducts {
    fn name(&self) -> &'static str {
        "sum-of-products"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, groups, _, p) = l1.shape().dims4()?;
        let q = l2.shape().dims4()?.3;
        if l1.dims()[..3] != l2.dims()[..3] {
            candle_core::bail!("{:?} and {:?} have no common rows", l1.shape(), l2.shape());
        }
        let storage = in_their_float!(s1, s2, |a, b| accumulate(a, l1, b, l2));
        Ok((storage, (groups, p, q).into()))
    }
}

fn accumulate<T: WithDType + faer::traits::ComplexField>(
    a: &[T],
    la: &Layout,
    b: &[T],
    lb: &Layout,
) -> Vec<T> {
    let (groups, rows, p) = (la.dims()[1], la.dims()[2], la.dims()[3]);
    let q = lb.dims()[3];
    let outer = &la.dims()[..2];
    let mut out = vec![T::zero(); groups * p * q];
    if rows * p * q == 0 {
        return out;
    }
    let one = <T as WithDType>::from_f64(1.0);
    for index in 0..outer[0] * groups {
        let left = matrix(a, la, index, outer);
        let right = matrix(b, lb, index, outer);
        let group = index % groups;
        let target = &mut out[group * p * q..(group + 1) * p * q];
        let target = MatMut::from_row_major_slice_mut(target, p, q);
        multiply(target, Accum::Add, left.transpose(), right, one);
    }
    out
}

fn products<T: WithDType + faer::traits::ComplexField>(
    a: &[T],
    la: &Layout,
    b: &[T],
    lb: &Layout,
) -> Vec<T> {
    let rank = la.dims().len();
    let (m, k) = (la.dims()[rank - 2], la.dims()[rank - 1]);
    let n = lb.dims()[rank - 1];
    let outer = &la.dims()[..rank - 2];
    let count: usize = outer.iter().product();
    let mut out = vec![T::zero(); count * m * n];
    if m * n * k == 0 {
        return out;
    }
    let one = <T as WithDType>::from_f64(1.0);
    for (index, target) in out.chunks_exact_mut(m * n).enumerate() {
        let left = matrix(a, la, index, outer);
        let right = matrix(b, lb, index, outer);
        let target = MatMut::from_row_major_slice_mut(target, m, n);
        multiply(target, Accum::Replace, left, right, one);
    }
    out
}

/// The matrix at one flat index of the leading axes.
pub(super) fn matrix<'a, T>(
    data: &'a [T],
    layout: &Layout,
    mut index: usize,
    outer: &[usize],
) -> MatRef<'a, T> {
    let (dims, stride) = (layout.dims(), layout.stride());
    let rank = dims.len();
    let mut offset = layout.start_offset();
    for axis in (0..outer.len()).rev() {
        offset += index % outer[axis] * stride[axis];
        index /= outer[axis];
    }
    let (rows, columns) = (dims[rank - 2], dims[rank - 1]);
    let (down, across) = (stride[rank - 2], stride[rank - 1]);
    if across == 1 && (down >= columns || rows == 1) {
        let down = down.max(columns);
        let slice = &data[offset..offset + (rows - 1) * down + columns];
        MatRef::from_row_major_slice_with_stride(slice, rows, columns, down)
    } else {
        let across = across.max(rows);
        let slice = &data[offset..offset + (columns - 1) * across + rows];
        MatRef::from_column_major_slice_with_stride(slice, rows, columns, across)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn equals_the_library_for_any_strides() -> Result<()> {
        let a = Tensor::randn(0f64, 1.0, (2, 3, 4, 5), &Device::Cpu)?;
        let b = Tensor::randn(0f64, 1.0, (3, 6, 5), &Device::Cpu)?;
        let b = b.transpose(1, 2)?.unsqueeze(0)?.broadcast_as((2, 3, 5, 6))?;
        let wanted = a.matmul(&b.contiguous()?)?;
        let gap = (product(&a, &b)? - &wanted)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(gap < 1e-13);
        let turned = a.transpose(2, 3)?.contiguous()?.transpose(2, 3)?;
        let gap = (product(&turned, &b)? - wanted)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(gap < 1e-13);
        Ok(())
    }

    #[test]
    fn a_shared_factor_is_a_repeated_one() -> Result<()> {
        let w = Var::randn(0f64, 1.0, (3, 4), &Device::Cpu)?;
        let x = Var::randn(0f64, 1.0, (5, 4, 6), &Device::Cpu)?;
        let ours = shared_product(&w, &x)?.sqr()?.sum_all()?.backward()?;
        let theirs = w.broadcast_left(5)?.matmul(&x)?.sqr()?.sum_all()?.backward()?;
        for x in [&w, &x] {
            let (Some(x), Some(y)) = (ours.get(x), theirs.get(x)) else {
                candle_core::bail!("no gradient")
            };
            assert!((x - y)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-12);
        }
        Ok(())
    }

    #[test]
    fn its_derivative_is_the_librarys() -> Result<()> {
        let a = Var::randn(0f64, 1.0, (2, 3, 4), &Device::Cpu)?;
        let b = Var::randn(0f64, 1.0, (2, 4, 5), &Device::Cpu)?;
        let ours = product(&a, &b)?.sqr()?.sum_all()?.backward()?;
        let theirs = a.matmul(&b)?.sqr()?.sum_all()?.backward()?;
        for x in [&a, &b] {
            let (Some(x), Some(y)) = (ours.get(x), theirs.get(x)) else {
                candle_core::bail!("no gradient")
            };
            assert!((x - y)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-12);
        }
        Ok(())
    }
}
