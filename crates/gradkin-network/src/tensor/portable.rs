//! What the operations of this module are in the tensor library's own: the form in which they run on devices
//! that ours have no code for.
//!
//! Windows become tables of places. Unfolding picks, for every column, the pixel that it shows; folding picks,
//! for every pixel and element of the kernel, the column that shows it, and adds up: no two threads of a GPU
//! ever write to one place. Padding is one more pixel, or column, that is zero.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use candle_core::{DType, Device, DeviceLocation, Result, Tensor};

use super::stripes::position_in_plane;
use super::window::{Axis, Window};

/// Whether a tensor is met by the operations of this crate, rather than by those of the tensor library. The
/// feature `portable` has the latter everywhere, so that they can be tested without a GPU.
pub(super) fn is_ours(x: &Tensor) -> bool {
    x.device().is_cpu() && !cfg!(feature = "portable")
}

/// `a · b` over the last two axes.
pub(super) fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (da, db) = (a.dims(), b.dims());
    let rank = da.len();
    let fits = rank >= 2
        && rank == db.len()
        && da[..rank - 2] == db[..rank - 2]
        && da[rank - 1] == db[rank - 2];
    if !fits {
        candle_core::bail!("shapes {da:?} and {db:?} do not multiply");
    }
    let (m, k, n) = (da[rank - 2], da[rank - 1], db[rank - 1]);
    let count: usize = da[..rank - 2].iter().product();
    let mut shape = da.to_vec();
    shape[rank - 1] = n;
    if count * m * k * n == 0 {
        return Tensor::zeros(shape, a.dtype(), a.device());
    }
    let (a, b) = (readable(&a.reshape((count, m, k))?)?, readable(&b.reshape((count, k, n))?)?);
    a.matmul(&b)?.reshape(shape)
}

/// The tensor `[L, m, n]` itself where its matrices lie by rows or by columns, however far from each other.
fn readable(x: &Tensor) -> Result<Tensor> {
    let (_, m, n) = x.dims3()?;
    let [_, down, across] = *x.stride() else {
        candle_core::bail!("three axes have three strides")
    };
    if (down, across) == (n, 1) || (down, across) == (1, m) {
        Ok(x.clone())
    } else {
        x.contiguous()
    }
}

/// One matrix `w` `[r, c]` times each of `x` `[L, c, n]`.
pub(super) fn shared_product(w: &Tensor, x: &Tensor) -> Result<Tensor> {
    let (r, c) = w.dims2()?;
    product(&w.contiguous()?.unsqueeze(0)?.broadcast_as((x.dims()[0], r, c))?, x)
}

/// Σ_b a_bᵀ · b_b for every group: `[B, G, T, p]` and `[B, G, T, q]` give `[G, p, q]`.
pub(super) fn sum_of_products(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (batch, groups, rows, p) = a.dims4()?;
    let q = b.dims4()?.3;
    if a.dims()[..3] != b.dims()[..3] {
        candle_core::bail!("{:?} and {:?} have no common rows", a.shape(), b.shape());
    }
    let stacked = |x: &Tensor, width: usize| {
        x.transpose(0, 1)?.contiguous()?.reshape((groups, batch * rows, width))
    };
    product(&stacked(a, p)?.transpose(1, 2)?, &stacked(b, q)?)
}

/// `[M, C, size]` → `[M, C·K, O]`.
pub(super) fn unfold(x: &Tensor, window: &Window) -> Result<Tensor> {
    let (images, channels, size) = x.dims3()?;
    let planes = x.contiguous()?.reshape((images * channels, size))?.pad_with_zeros(1, 0, 1)?;
    let columns = planes.index_select(&table(window, Places::OfColumns, x.device())?, 1)?;
    columns.reshape((images, channels * window.kernel_count(), window.out_count()))
}

/// δ · unfolded(x)ᵀ of every image: x `[M, C, size]` and δ `[M, r, O]` give `[M, r, C·K]`.
pub(super) fn gradients(x: &Tensor, delta: &Tensor, window: &Window) -> Result<Tensor> {
    product(delta, &unfold(x, window)?.t()?)
}

/// `[M, C·K, O]` → `[M, C, size]`, overlapping windows adding up.
pub(super) fn fold(columns: &Tensor, window: &Window) -> Result<Tensor> {
    let (images, rows, positions) = columns.dims3()?;
    let (elements, size) = (window.kernel_count(), window.in_count());
    let channels = rows / elements.max(1);
    let flat = columns.contiguous()?.reshape((images * channels, elements * positions))?;
    let table = table(window, Places::OfPixels, columns.device())?;
    let met = flat.pad_with_zeros(1, 0, 1)?.index_select(&table, 1)?;
    met.reshape((images * channels, size, elements))?.sum(2)?.reshape((images, channels, size))
}

/// For each window of `[M, C, size]` the flat position of its largest element: `[M, C, O]`, u32. Ties go to
/// the first position, and NaN counts as infinity.
pub(super) fn max_windows(x: &Tensor, window: &Window) -> Result<Tensor> {
    let (images, channels, size) = x.dims3()?;
    let (elements, positions) = (window.kernel_count(), window.out_count());
    let infinite = |sign: f64, like: &Tensor| {
        Tensor::full(sign * f64::INFINITY, like.shape(), like.device())?.to_dtype(like.dtype())
    };
    let known = x.ne(x)?.where_cond(&infinite(1.0, x)?, &x.contiguous()?)?;
    let border = infinite(-1.0, &x.narrow(2, 0, 1)?.contiguous()?)?;
    let planes = Tensor::cat(&[known, border], 2)?.reshape((images * channels, size + 1))?;
    let places = table(window, Places::OfColumns, x.device())?;
    let columns = planes.index_select(&places, 1)?;
    let columns = columns.reshape((images * channels, elements, positions))?;
    // Places grow with the element, so that the first of equals is the least; padding comes behind all.
    let here = columns.broadcast_eq(&columns.max_keepdim(1)?)?;
    let places = places.to_dtype(x.dtype())?.reshape((1, elements, positions))?;
    let places = places.broadcast_as(columns.shape())?.contiguous()?;
    let behind = Tensor::full(size as f64, columns.shape(), x.device())?.to_dtype(x.dtype())?;
    let first = here.where_cond(&places, &behind)?.min(1)?;
    first.to_dtype(DType::U32)?.reshape((images, channels, positions))
}

/// Whether positions in planes of this type are whole numbers that it has.
pub(super) fn counts_positions(x: &Tensor, window: &Window) -> bool {
    match x.dtype() {
        DType::F32 => window.in_count() < 1 << 24,
        other => other == DType::F64,
    }
}

/// What a table of a window tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Places {
    /// Of each column `[K, O]` the pixel, `size` for padding.
    OfColumns,
    /// Of each pixel and element `[size, K]` the column, `K·O` where no window has it there.
    OfPixels,
}

type Kept = Mutex<HashMap<(Vec<Axis>, Places, DeviceLocation), Tensor>>;

/// A window's table on a device. Kept from call to call: each is sent there once.
fn table(window: &Window, places: Places, device: &Device) -> Result<Tensor> {
    static KEPT: OnceLock<Kept> = OnceLock::new();
    let kept = KEPT.get_or_init(Kept::default);
    let key = (window.axes.clone(), places, device.location());
    if let Some(found) = kept.lock().ok().and_then(|kept| kept.get(&key).cloned()) {
        return Ok(found);
    }
    let list = written(window, places);
    let count = list.len();
    let table = Tensor::from_vec(list, count, device)?;
    if let Ok(mut kept) = kept.lock() {
        kept.insert(key, table.clone());
    }
    Ok(table)
}

fn written(window: &Window, places: Places) -> Vec<u32> {
    let (elements, positions) = (window.kernel_count(), window.out_count());
    let size = window.in_count();
    let columns = elements * positions;
    let shown =
        |column: usize| position_in_plane(&window.axes, column / positions, column % positions);
    match places {
        Places::OfColumns => (0..columns).map(|at| shown(at).unwrap_or(size) as u32).collect(),
        Places::OfPixels => {
            let mut list = vec![columns as u32; size * elements];
            for column in 0..columns {
                if let Some(pixel) = shown(column) {
                    list[pixel * elements + column / positions] = column as u32;
                }
            }
            list
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fold, Unfold};
    use super::*;

    fn axis(size: usize, kernel: usize, stride: usize, dilation: usize, pad: usize) -> Axis {
        let out = (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
        Axis { size, kernel, stride, dilation, before: pad, after: pad, out }
    }

    fn gap(a: &Tensor, b: &Tensor) -> Result<f64> {
        (a - b.reshape(a.shape())?)?.abs()?.max_all()?.to_scalar::<f64>()
    }

    /// Every operation here is the one that it stands in for.
    #[test]
    fn tables_are_windows() -> Result<()> {
        for (stride, dilation, pad) in [(1, 1, 0), (1, 1, 1), (2, 1, 1), (1, 2, 2), (3, 2, 1)] {
            let axes = vec![axis(7, 3, stride, dilation, pad), axis(6, 2, stride, dilation, pad)];
            let window = Window { axes };
            let x = Tensor::randn(0f64, 1.0, (2, 3, 42), &Device::Cpu)?;
            let columns = x.apply_op1(Unfold(window.clone().into()))?;
            assert_eq!(gap(&unfold(&x, &window)?, &columns)?, 0.0);
            let y = columns.randn_like(0.0, 1.0)?;
            assert!(gap(&fold(&y, &window)?, &y.apply_op1(Fold(window.clone().into()))?)? < 1e-12);
        }
        Ok(())
    }

    /// Ties, NaN and windows that hang over the border.
    #[test]
    fn maxima_are_the_first_of_equals() -> Result<()> {
        let window = Window { axes: vec![axis(6, 3, 2, 1, 1), axis(5, 2, 1, 1, 1)] };
        let numbers: Vec<f64> = (0..60).map(|i| f64::from(i * 7 % 5) - 3.0).collect();
        let mut broken = numbers.clone();
        (broken[8], broken[9], broken[33]) = (f64::NAN, 9.0, f64::NEG_INFINITY);
        for numbers in [numbers, broken, vec![-2.0; 60]] {
            let x = Tensor::from_vec(numbers, (2, 1, 30), &Device::Cpu)?;
            let wanted = super::super::index::in_memory(&x, &window)?;
            let found = max_windows(&x, &window)?;
            assert_eq!(
                found.flatten_all()?.to_vec1::<u32>()?,
                wanted.flatten_all()?.to_vec1::<u32>()?
            );
        }
        Ok(())
    }

    #[test]
    fn products_are_products() -> Result<()> {
        let random = |shape: &[usize]| Tensor::randn(0f64, 1.0, shape, &Device::Cpu);
        let (a, b) = (random(&[2, 3, 4, 5])?, random(&[2, 3, 5, 6])?);
        assert!(gap(&product(&a, &b)?, &a.matmul(&b)?)? < 1e-12);
        assert!(product(&a, &a).is_err());
        assert_eq!(product(&random(&[2, 3, 0])?, &random(&[2, 0, 4])?)?.dims(), [2, 3, 4]);
        let (w, x) = (random(&[4, 5])?, random(&[3, 5, 6])?);
        assert!(gap(&shared_product(&w, &x)?, &w.broadcast_matmul(&x)?)? < 1e-12);
        let (a, b) = (random(&[4, 2, 3, 5])?, random(&[4, 2, 3, 6])?);
        let wanted = a.transpose(2, 3)?.contiguous()?.matmul(&b)?.sum(0)?;
        assert!(gap(&sum_of_products(&a, &b)?, &wanted)? < 1e-12);
        Ok(())
    }
}
