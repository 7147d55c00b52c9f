//! Products with unfolded images, one image at a time: columns as large as a second-level cache are
//! used while they are in it, in memory that serves every image, where unfolding all of them first would
//! write and read main memory.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, WithDType};
use faer::{Accum, MatMut, MatRef};

use super::product::{behind, in_their_float, matrix, strided, sum_of_products};
use super::rows::with;
use super::scratch::{Room, Scratch};
use super::unfold::{Unfold, Unfoldable};
use super::window::Window;
use super::{multiply, portable};

/// w `[r, C·K]` times the unfolded columns of each of x `[M, C, size]`: `[M, r, O]`.
#[derive(Debug, Clone)]
pub(crate) struct UnfoldedProduct(pub(crate) Unfoldable);

/// w `[C·K, r]` times each of y `[M, r, O]`, folded: `[M, C, size]`. The transpose of
/// [`UnfoldedProduct`] with wᵀ.
#[derive(Debug, Clone)]
pub(crate) struct FoldedProduct(pub(crate) Unfoldable);

impl UnfoldedProduct {
    pub(crate) fn apply(&self, w: &Tensor, x: &Tensor) -> Result<Tensor> {
        if !portable::is_ours(x) {
            return portable::shared_product(w, &portable::unfold(x, &self.0.window)?);
        }
        strided(w)?.apply_op2(&x.contiguous()?, self.clone())
    }
}

impl FoldedProduct {
    pub(crate) fn apply(&self, w: &Tensor, y: &Tensor) -> Result<Tensor> {
        if !portable::is_ours(y) {
            return portable::fold(&portable::shared_product(w, y)?, &self.0.window);
        }
        strided(w)?.apply_op2(&y.contiguous()?, self.clone())
    }
}

/// A number that both the tensor and the product library know.
trait Number: WithDType + faer::traits::ComplexField + Scratch {}

impl<T: WithDType + faer::traits::ComplexField + Scratch> Number for T {}

impl CustomOp2 for UnfoldedProduct {
    fn name(&self) -> &'static str {
        "unfolded-product"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (r, rows) = l1.shape().dims2()?;
        let (images, channels, size) = l2.shape().dims3()?;
        if rows != channels * self.0.window.kernel_count()
            || size != self.0.window.in_count()
            || !l2.is_contiguous()
        {
            candle_core::bail!("{:?} does not meet {:?} unfolded", l1.shape(), l2.shape());
        }
        let storage = in_their_float!(s1, s2, |w, x| self.run((w, l1), (x, l2), (r, rows, size)));
        Ok((storage, (images, r, self.0.window.out_count()).into()))
    }

    fn bwd(
        &self,
        w: &Tensor,
        x: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let columns = x.apply_op1(Unfold(self.0.clone()))?;
        let left = sum_over_images(grad, &columns)?;
        let right = FoldedProduct(self.0.clone()).apply(&w.t()?, grad)?;
        Ok((Some(left), Some(right)))
    }
}

impl UnfoldedProduct {
    fn run<T: Number>(
        &self,
        (w, layout): (&[T], &Layout),
        (x, layout_of_x): (&[T], &Layout),
        (r, rows, size): (usize, usize, usize),
    ) -> Vec<T> {
        let x = behind(x, layout_of_x);
        let positions = self.0.window.out_count();
        let channels = rows / self.0.window.kernel_count().max(1);
        let image = channels * size;
        let images = x.len().checked_div(image).unwrap_or(0);
        let mut out = vec![T::zero(); images * r * positions];
        if out.is_empty() {
            return out;
        }
        let w = matrix(w, layout, 0, &[]);
        let unfolding = self.0.unfolding();
        let mut columns = Room::of(rows * positions);
        for (x, out) in x.chunks_exact(image).zip(out.chunks_exact_mut(r * positions)) {
            unfolding.write(x, &mut columns);
            let columns = MatRef::from_row_major_slice(&columns, rows, positions);
            let out = MatMut::from_row_major_slice_mut(out, r, positions);
            multiply(out, Accum::Replace, w, columns, one());
        }
        out
    }
}

impl CustomOp2 for FoldedProduct {
    fn name(&self) -> &'static str {
        "folded-product"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, r) = l1.shape().dims2()?;
        let (images, inner, positions) = l2.shape().dims3()?;
        let elements = self.0.window.kernel_count();
        let fits =
            r == inner && rows % elements.max(1) == 0 && positions == self.0.window.out_count();
        if !fits || !l2.is_contiguous() {
            candle_core::bail!("{:?} and {:?} do not fold", l1.shape(), l2.shape());
        }
        let storage = in_their_float!(s1, s2, |w, y| self.run((w, l1), (y, l2), (rows, r)));
        Ok((storage, (images, rows / elements, self.0.window.in_count()).into()))
    }

    fn bwd(
        &self,
        w: &Tensor,
        y: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let columns = grad.contiguous()?.apply_op1(Unfold(self.0.clone()))?;
        let left = sum_over_images(&columns, y)?;
        let right = UnfoldedProduct(self.0.clone()).apply(&w.t()?, grad)?;
        Ok((Some(left), Some(right)))
    }
}

impl FoldedProduct {
    fn run<T: Number>(
        &self,
        (w, layout): (&[T], &Layout),
        (y, layout_of_y): (&[T], &Layout),
        (rows, r): (usize, usize),
    ) -> Vec<T> {
        let y = behind(y, layout_of_y);
        let (positions, size) = (self.0.window.out_count(), self.0.window.in_count());
        let image = rows / self.0.window.kernel_count().max(1) * size;
        let images = y.len().checked_div(r * positions).unwrap_or(0);
        let mut out = vec![T::zero(); images * image];
        if out.is_empty() {
            return out;
        }
        let w = matrix(w, layout, 0, &[]);
        let unfolding = self.0.unfolding();
        let mut columns = Room::of(rows * positions);
        for (y, out) in y.chunks_exact(r * positions).zip(out.chunks_exact_mut(image)) {
            let y = MatRef::from_row_major_slice(y, r, positions);
            let target = MatMut::from_row_major_slice_mut(&mut columns, rows, positions);
            multiply(target, Accum::Replace, w, y, one());
            unfolding.add(&columns, out);
        }
        out
    }
}

/// Σ over images of δ · unfolded(x)ᵀ: x `[M, C, size]` and δ `[M, r, O]` give `[r, C·K]`, the gradient of a
/// convolution's weight.
#[derive(Debug, Clone)]
pub(crate) struct SummedGradient(pub(crate) Unfoldable);

impl SummedGradient {
    pub(crate) fn apply(&self, x: &Tensor, delta: &Tensor) -> Result<Tensor> {
        if !portable::is_ours(x) {
            return portable::gradients(x, delta, &self.0.window)?.sum(0);
        }
        x.contiguous()?.apply_op2_no_bwd(&delta.contiguous()?, self)
    }
}

impl CustomOp2 for SummedGradient {
    fn name(&self) -> &'static str {
        "summed-gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(&self.0.window, l1, l2)?;
        let Sizes { r, rows, .. } = sizes;
        let storage = in_their_float!(s1, s2, |x, delta| {
            let mut sum = zeros(x, r * rows);
            let images = (behind(x, l1), behind(delta, l2));
            each_unfolded(&self.0, images, &sizes, |columns, delta, _| {
                let target = MatMut::from_row_major_slice_mut(&mut sum, r, rows);
                multiply(target, Accum::Add, delta, columns.transpose(), one());
            });
            sum
        });
        Ok((storage, (r, rows).into()))
    }
}

/// What both products of a convolution's second derivative take, each image unfolded once: with columns
/// U = unfolded(x) of x `[M, C, size]`, w `[r, C·K]` and δ `[M, r, O]`, `onto` + w · U `[M, r, O]` and
/// Σ over images of δ · Uᵀ `[r, C·K]`.
pub(crate) fn both_products(
    unfoldable: &Unfoldable,
    (w, x, delta): (&Tensor, &Tensor, &Tensor),
    onto: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let (w, x, delta) = (w.contiguous()?, x.contiguous()?, delta.contiguous()?);
    let onto = onto.map(Tensor::contiguous).transpose()?;
    let sizes = Sizes::of(&unfoldable.window, x.layout(), delta.layout())?;
    let Sizes { images, r, rows, positions } = sizes;
    let fits = onto.as_ref().is_none_or(|onto| onto.elem_count() == images * r * positions);
    if w.dims() != [r, rows] || !fits {
        candle_core::bail!("{:?} does not meet {:?} unfolded", w.shape(), x.shape());
    }
    match w.dtype() {
        DType::F32 => both::<f32>(unfoldable, (&w, &x, &delta), &sizes, onto.as_ref()),
        DType::F64 => both::<f64>(unfoldable, (&w, &x, &delta), &sizes, onto.as_ref()),
        other => candle_core::bail!("products of {other:?} data"),
    }
}

fn both<T: Number>(
    unfoldable: &Unfoldable,
    (w, x, delta): (&Tensor, &Tensor, &Tensor),
    sizes: &Sizes,
    onto: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let Sizes { images, r, rows, positions } = *sizes;
    let (mut moved, accum) = match onto {
        Some(onto) => (onto.flatten_all()?.to_vec1::<T>()?, Accum::Add),
        None => (vec![T::zero(); images * r * positions], Accum::Replace),
    };
    let mut sum = vec![T::zero(); r * rows];
    let mut each = |w: &[T], x: &[T], delta: &[T]| {
        let w = MatRef::from_row_major_slice(w, r, rows);
        each_unfolded(unfoldable, (x, delta), sizes, |columns, delta, image| {
            let own = &mut moved[image * r * positions..(image + 1) * r * positions];
            let target = MatMut::from_row_major_slice_mut(own, r, positions);
            multiply(target, accum, w, columns, one());
            let target = MatMut::from_row_major_slice_mut(&mut sum, r, rows);
            multiply(target, Accum::Add, delta, columns.transpose(), one());
        });
        Ok(())
    };
    with(w, |w| with(x, |x| with(delta, |delta| each(w, x, delta))))?;
    let moved = Tensor::from_vec(moved, (images, r, positions), &Device::Cpu)?;
    Ok((moved, Tensor::from_vec(sum, (r, rows), &Device::Cpu)?))
}

struct Sizes {
    images: usize,
    r: usize,
    rows: usize,
    positions: usize,
}

impl Sizes {
    /// Of x `[M, C, size]` and δ `[M, r, O]`, both contiguous.
    fn of(window: &Window, x: &Layout, delta: &Layout) -> Result<Self> {
        let (images, channels, size) = x.shape().dims3()?;
        let (with, r, positions) = delta.shape().dims3()?;
        let fits = images == with && size == window.in_count() && positions == window.out_count();
        if !fits || !x.is_contiguous() || !delta.is_contiguous() {
            candle_core::bail!("{:?} has no gradient with {:?}", x.shape(), delta.shape());
        }
        Ok(Self { images, r, rows: channels * window.kernel_count(), positions })
    }
}

/// So many zeros of the type of these numbers.
fn zeros<T: Number>(_like: &[T], count: usize) -> Vec<T> {
    vec![T::zero(); count]
}

/// Every image's columns `[C·K, O]` and δ `[r, O]`, and which image it is.
fn each_unfolded<T: Number>(
    unfoldable: &Unfoldable,
    (x, delta): (&[T], &[T]),
    sizes: &Sizes,
    mut take: impl FnMut(MatRef<T>, MatRef<T>, usize),
) {
    let Sizes { r, rows, positions, .. } = *sizes;
    if x.is_empty() || delta.is_empty() {
        return;
    }
    let window = &unfoldable.window;
    let image = rows / window.kernel_count().max(1) * window.in_count();
    let unfolding = (!window.is_pointwise()).then(|| unfoldable.unfolding());
    let mut columns = Room::of(if unfolding.is_some() { rows * positions } else { 0 });
    let images = x.chunks_exact(image).zip(delta.chunks_exact(r * positions));
    for (index, (x, delta)) in images.enumerate() {
        let delta = MatRef::from_row_major_slice(delta, r, positions);
        let Some(unfolding) = unfolding else {
            take(MatRef::from_row_major_slice(x, rows, positions), delta, index);
            continue;
        };
        unfolding.write(x, &mut columns);
        take(MatRef::from_row_major_slice(&columns, rows, positions), delta, index);
    }
}

fn one<T: Number>() -> T {
    <T as WithDType>::from_f64(1.0)
}

/// Σ_m a_m · b_mᵀ of `[M, r, O]` and `[M, c, O]`: `[r, c]`.
fn sum_over_images(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (a.t()?.unsqueeze(1)?, b.t()?.unsqueeze(1)?);
    sum_of_products(&a, &b)?.squeeze(0)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::{Axis, Fold, shared_product};
    use super::*;

    fn window(stride: usize, dilation: usize, pad: usize) -> Window {
        let axis = |size: usize| {
            let out = (size + 2 * pad - 2 * dilation - 1) / stride + 1;
            Axis { size, kernel: 3, stride, dilation, before: pad, after: pad, out }
        };
        Window { axes: vec![axis(7), axis(6)] }
    }

    fn gap(a: &Tensor, b: &Tensor) -> Result<f64> {
        (a - b)?.abs()?.max_all()?.to_scalar::<f64>()
    }

    /// Values and both derivatives are those of unfold, fold and a product, one after the other.
    #[test]
    fn one_by_one_is_all_at_once() -> Result<()> {
        for (stride, dilation, pad) in [(1, 1, 0), (1, 1, 1), (2, 1, 1), (1, 2, 2), (3, 1, 2)] {
            let unfoldable = Unfoldable::from(window(stride, dilation, pad));
            let w = Var::randn(0f64, 1.0, (4, 18), &Device::Cpu)?;
            let x = Var::randn(0f64, 1.0, (3, 2, 42), &Device::Cpu)?;
            let ours = UnfoldedProduct(unfoldable.clone()).apply(&w, &x)?;
            let theirs = shared_product(&w, &x.apply_op1(Unfold(unfoldable.clone()))?)?;
            assert!(gap(&ours, &theirs)? < 1e-12);
            let (ours, theirs) = (ours.sqr()?.backward()?, theirs.sqr()?.backward()?);
            for value in [&w, &x] {
                let (Some(a), Some(b)) = (ours.get(value), theirs.get(value)) else {
                    candle_core::bail!("no gradient")
                };
                assert!(gap(a, b)? < 1e-11);
            }
            let y = Var::randn(0f64, 1.0, (3, 4, unfoldable.window.out_count()), &Device::Cpu)?;
            let ours = FoldedProduct(unfoldable.clone()).apply(&w.t()?, &y)?;
            let theirs =
                Fold(unfoldable).apply(&shared_product(&w.t()?, &y)?)?.reshape((3, 2, 42))?;
            assert!(gap(&ours, &theirs)? < 1e-12);
            let (ours, theirs) = (ours.sqr()?.backward()?, theirs.sqr()?.backward()?);
            for value in [&w, &y] {
                let (Some(a), Some(b)) = (ours.get(value), theirs.get(value)) else {
                    candle_core::bail!("no gradient")
                };
                assert!(gap(a, b)? < 1e-11);
            }
        }
        Ok(())
    }

    /// Both kinds of products against whole tensors, for windows that do and do not unfold.
    #[test]
    fn products_of_unfolded_images_are_those_of_columns() -> Result<()> {
        let pixel =
            |size| Axis { size, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0, out: size };
        let pointwise = Window { axes: vec![pixel(7), pixel(6)] };
        for window in [window(1, 1, 1), window(2, 1, 1), window(1, 2, 2), pointwise] {
            let positions = window.out_count();
            let unfoldable = Unfoldable::from(window);
            let x = Tensor::randn(0f64, 1.0, (3, 2, 42), &Device::Cpu)?;
            let columns = x.apply_op1(Unfold(unfoldable.clone()))?;
            let delta = Tensor::randn(0f64, 1.0, (3, 4, positions), &Device::Cpu)?;
            let onto = delta.randn_like(0.0, 1.0)?;
            let w = Tensor::randn(0f64, 1.0, (4, columns.dims()[1]), &Device::Cpu)?;
            let wanted = delta.matmul(&columns.t()?)?.sum(0)?;
            assert!(gap(&SummedGradient(unfoldable.clone()).apply(&x, &delta)?, &wanted)? < 1e-12);
            let product = shared_product(&w, &columns)?;
            let data = (&w, &x, &delta);
            let (moved, sum) = both_products(&unfoldable, data, None)?;
            assert!(gap(&moved, &product)? < 1e-12 && gap(&sum, &wanted)? < 1e-12);
            let (moved, sum) = both_products(&unfoldable, data, Some(&onto))?;
            assert!(gap(&moved, &(product + &onto)?)? < 1e-12 && gap(&sum, &wanted)? < 1e-12);
            assert!(both_products(&unfoldable, (&w.t()?, &x, &delta), None).is_err());
        }
        Ok(())
    }
}
