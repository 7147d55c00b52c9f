//! Convolutions in which a plane meets kernels of its own and no other plane. Each element of a kernel adds the plane
//! so many times, while it is in the first-level cache; unfolded first, it would be written and read as many times
//! as the kernel has elements.

use candle_core::{Device, Result, Tensor, WithDType, bail};
use pulp::{Arch, Simd, WithSimd};

use super::rows::{by_float, with};
use super::stripes::{AddedTimes, Stripe, stripes_of_elements};
use super::window::Window;

/// m kernels of K elements for each of G planes.
#[derive(Debug)]
pub(crate) struct Depthwise {
    /// Of each element of a kernel.
    stripes: Vec<Vec<Stripe>>,
    stride: usize,
    size: usize,
    positions: usize,
}

impl Depthwise {
    pub(crate) fn new(window: &Window) -> Self {
        Self {
            stripes: stripes_of_elements(window),
            stride: window.axes.last().map_or(1, |axis| axis.stride),
            size: window.in_count(),
            positions: window.out_count(),
        }
    }

    /// w `[G, m, K]` and x `[M, G, size]`: `[M, G, m, O]`.
    pub(crate) fn apply(&self, w: &Tensor, x: &Tensor) -> Result<Tensor> {
        let ((images, _, size), (planes, kernels, _)) = (x.dims3()?, w.dims3()?);
        self.check(w, x.dims()[1] == planes && size == self.size)?;
        let shape = [images, planes, kernels, self.positions];
        by_float!(x, convolved(self, (w, x), Way::Ahead, &shape))
    }

    /// The transpose: w `[G, m, K]` and y `[M, G, m, O]` give `[M, G, size]`.
    pub(crate) fn back(&self, w: &Tensor, y: &Tensor) -> Result<Tensor> {
        let ((images, planes, kernels, positions), own) = (y.dims4()?, w.dims3()?);
        self.check(w, (own.0, own.1) == (planes, kernels) && positions == self.positions)?;
        let shape = [images, planes, self.size];
        by_float!(y, convolved(self, (w, y), Way::Back, &shape))
    }

    /// The kernels' gradients of each image and output, from x `[M, G, size]` and δ `[M, d, G, m, O]`: `[M, d, G·m·K]`.
    pub(crate) fn gradient(&self, x: &Tensor, delta: &Tensor) -> Result<Tensor> {
        fn run<T: WithDType>(own: &Depthwise, x: &Tensor, delta: &Tensor) -> Result<Tensor> {
            let (images, outputs, planes, kernels, _) = delta.dims5()?;
            let len = planes * kernels * own.stripes.len();
            let mut out = Vec::with_capacity(images * outputs * len);
            with(x, |x| {
                with(delta, |delta| {
                    let sizes = (outputs, planes, kernels);
                    Arch::new().dispatch(Gradient { own, x, delta, sizes, out: &mut out });
                    Ok(())
                })
            })?;
            Tensor::from_vec::<_, T>(out, (images, outputs, len), &Device::Cpu)
        }
        let ((images, planes, size), own) = (x.dims3()?, delta.dims5()?);
        if (own.0, own.2) != (images, planes) || (size, own.4) != (self.size, self.positions) {
            bail!("{:?} has no gradient with {:?}", x.shape(), delta.shape());
        }
        by_float!(x, run(self, x, delta))
    }

    fn check(&self, w: &Tensor, fits: bool) -> Result<()> {
        if !fits || w.dims()[2] != self.stripes.len() {
            bail!("kernels {:?} do not meet what they are given", w.shape());
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Ahead,
    Back,
}

fn convolved<T: WithDType>(
    own: &Depthwise,
    (w, x): (&Tensor, &Tensor),
    way: Way,
    shape: &[usize],
) -> Result<Tensor> {
    let kernels = w.dims()[1];
    let mut out = vec![T::zero(); shape.iter().product()];
    with(w, |w| {
        with(x, |x| {
            Arch::new().dispatch(Convolved { own, w, x, kernels, way, out: &mut out });
            Ok(())
        })
    })?;
    Tensor::from_vec(out, shape, &Device::Cpu)
}

/// The additions of a convolution or of its transpose, compiled for each set of vector instructions.
struct Convolved<'a, T> {
    own: &'a Depthwise,
    w: &'a [T],
    x: &'a [T],
    kernels: usize,
    way: Way,
    out: &'a mut [T],
}

impl<T: WithDType> WithSimd for Convolved<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { own: Depthwise { stripes, stride, size, positions }, .. } = self;
        let planes = self.w.chunks_exact((self.kernels * stripes.len()).max(1)).cycle();
        let shown = (self.kernels * positions).max(1);
        let (from, to) = match self.way {
            Way::Ahead => ((*size).max(1), shown),
            Way::Back => (shown, (*size).max(1)),
        };
        let pairs = self.x.chunks_exact(from).zip(self.out.chunks_exact_mut(to));
        for (w, (x, out)) in planes.zip(pairs) {
            for (kernel, w) in w.chunks_exact(stripes.len()).enumerate() {
                let shown = kernel * positions..(kernel + 1) * positions;
                for (w, stripes) in w.iter().zip(stripes) {
                    for stripe in stripes {
                        let each = AddedTimes(*w);
                        match self.way {
                            Way::Ahead => {
                                stripe.to_columns(x, &mut out[shown.clone()], *stride, each);
                            }
                            Way::Back => stripe.to_plane(&x[shown.clone()], out, *stride, each),
                        }
                    }
                }
            }
        }
    }
}

/// The sums of a gradient, compiled as those.
struct Gradient<'a, T> {
    own: &'a Depthwise,
    x: &'a [T],
    delta: &'a [T],
    /// d, G and m.
    sizes: (usize, usize, usize),
    out: &'a mut Vec<T>,
}

impl<T: WithDType> WithSimd for Gradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { own: Depthwise { stripes, stride, size, positions }, .. } = self;
        let (outputs, planes, kernels) = self.sizes;
        let shown = (kernels * positions).max(1);
        for (row, delta) in self.delta.chunks_exact(shown).enumerate() {
            let plane = row / (outputs * planes) * planes + row % planes;
            let x = &self.x[plane * size..(plane + 1) * size];
            for delta in delta.chunks_exact((*positions).max(1)) {
                self.out.extend(stripes.iter().map(|stripes| {
                    let sums = stripes.iter().map(|stripe| stripe.dot(x, delta, *stride));
                    sums.fold(T::zero(), |sum, x| sum + x)
                }));
            }
        }
    }
}

#[cfg(all(test, not(feature = "portable")))]
mod tests {
    use super::super::rows::trial::{random, same};
    use super::super::{Axis, Fold, Unfold, Unfoldable};
    use super::*;

    /// Against unfolded planes, for windows of all kinds and widths that loops are and are not compiled for.
    #[test]
    fn is_a_product_with_unfolded_planes() -> Result<()> {
        for (width, kernels) in [(6, 1), (9, 2), (40, 1)] {
            for (stride, dilation, pad) in [(1, 1, 0), (1, 1, 1), (2, 1, 1), (1, 2, 2), (3, 1, 2)] {
                let axis = |size: usize| {
                    let out = (size + 2 * pad - 2 * dilation - 1) / stride + 1;
                    Axis { size, kernel: 3, stride, dilation, before: pad, after: pad, out }
                };
                let unfoldable = Unfoldable::from(Window { axes: vec![axis(7), axis(width)] });
                let (size, positions) = (7 * width, unfoldable.window.out_count());
                let depthwise = Depthwise::new(&unfoldable.window);
                let (images, outputs, planes) = (2, 3, 4);
                let x = random(&[images, planes, size])?;
                let w = random(&[planes, kernels, 9])?;
                let columns = x.apply_op1(Unfold(unfoldable.clone()))?;
                let columns = columns.reshape((images, planes, 9, positions))?;
                let wanted = w.unsqueeze(0)?.broadcast_matmul(&columns)?;
                same(&depthwise.apply(&w, &x)?, &wanted)?;
                let y = random(&[images, planes, kernels, positions])?;
                let back = w.transpose(1, 2)?.unsqueeze(0)?.broadcast_matmul(&y)?;
                let back = back.reshape((images, planes * 9, positions))?;
                same(&depthwise.back(&w, &y)?, &Fold(unfoldable).apply(&back)?)?;
                let delta = random(&[images, outputs, planes, kernels, positions])?;
                let shown = columns.reshape((images, 1, planes, 1, 9, positions))?;
                let wanted = delta.unsqueeze(4)?.broadcast_mul(&shown)?.sum(5)?;
                same(&depthwise.gradient(&x, &delta)?, &wanted)?;
                assert!(depthwise.apply(&w.narrow(2, 0, 8)?, &x).is_err());
                assert!(depthwise.back(&w, &x).is_err());
                assert!(depthwise.gradient(&x.narrow(1, 0, 3)?, &delta).is_err());
            }
        }
        Ok(())
    }
}
