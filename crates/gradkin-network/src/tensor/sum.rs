//! Sums along an axis that is not the last: row by row, where the tensor library goes number by number.

use candle_core::{Device, Result, Tensor, WithDType};
use pulp::{Arch, Simd, WithSimd};

use super::rows::{are_ours, by_float, with};

/// Σ along an axis, kept as an axis of one.
pub(crate) fn sum_along(x: &Tensor, axis: usize) -> Result<Tensor> {
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let mut shape = x.dims().to_vec();
    let count = std::mem::replace(&mut shape[axis], 1);
    if inner == 1 {
        // With axes of one behind it the library would not know it for the last.
        let outer: usize = shape[..axis].iter().product();
        return x.contiguous()?.reshape((outer, count))?.sum(1)?.reshape(shape);
    }
    if !are_ours(&[x]) {
        return x.contiguous()?.sum_keepdim(axis);
    }
    by_float!(x, summed(x, (count, inner), &shape))
}

fn summed<T: WithDType>(
    x: &Tensor,
    (count, inner): (usize, usize),
    shape: &[usize],
) -> Result<Tensor> {
    let mut sums = vec![T::zero(); shape.iter().product()];
    with(x, |x| {
        Arch::new().dispatch(Adding { x, count, inner, sums: &mut sums });
        Ok(())
    })?;
    Tensor::from_vec(sums, shape, &Device::Cpu)
}

struct Adding<'a, T> {
    x: &'a [T],
    count: usize,
    inner: usize,
    sums: &'a mut [T],
}

impl<T: WithDType> WithSimd for Adding<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let inner = self.inner.max(1);
        let parts = self.x.chunks_exact((self.count * inner).max(1));
        for (part, sums) in parts.zip(self.sums.chunks_exact_mut(inner)) {
            for row in part.chunks_exact(inner) {
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum += *x;
                }
            }
        }
    }
}

#[cfg(all(test, not(feature = "portable")))]
mod tests {
    use super::super::rows::trial::{random, same};
    use super::*;

    #[test]
    fn sums_are_the_tensor_librarys() -> Result<()> {
        for shape in [[3, 5, 7, 1], [1, 4, 1, 33], [2, 0, 3, 4], [2, 3, 0, 4]] {
            let x = random(&shape)?;
            for axis in 0..4 {
                let sum = sum_along(&x, axis)?;
                let wanted = x.sum_keepdim(axis)?;
                assert_eq!(sum.dims(), wanted.dims());
                if sum.elem_count() > 0 {
                    same(&sum, &wanted)?;
                }
            }
        }
        // A view.
        let x = random(&[3, 5, 7])?.transpose(0, 2)?;
        same(&sum_along(&x, 0)?, &x.contiguous()?.sum_keepdim(0)?)
    }
}
