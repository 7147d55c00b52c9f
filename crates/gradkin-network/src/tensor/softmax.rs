//! The way back through a softmax, a row at a time.

use candle_core::{DType, Device, Result, Tensor, WithDType};

use super::portable;
use super::rows::{Cut, Meeting, Meets, Pass, Row, SHORT, by_float, over, total, with};

/// How rows of so many numbers, the last axes of `[L, *]`, are passed over; `None` where they are short, or hold
/// something else than floats off the tape.
pub(crate) fn cut(delta: &Tensor, p: &Tensor, rows: usize, size: usize) -> Option<Cut> {
    let floats = matches!(delta.dtype(), DType::F32 | DType::F64) && delta.dtype() == p.dtype();
    let ours = floats && [delta, p].iter().all(|x| portable::is_ours(x) && !x.track_op());
    (ours && size >= SHORT).then_some(Cut { rows, channels: 1, positions: size })
}

/// p · (δ − Σ p δ) of every row, p being the softmax that δ meets.
pub(crate) fn softmax_back(delta: &Tensor, p: Meets, cut: Cut) -> Result<Tensor> {
    fn run<T: WithDType>(delta: &Tensor, p: Meets, cut: Cut) -> Result<Tensor> {
        let out = with(p.other, |other: &[T]| {
            let p = Meeting::new(cut, p.repeat, other);
            let mut pass = Back { p, out: Vec::with_capacity(delta.elem_count()) };
            over(delta, cut, &mut pass)?;
            Ok(pass.out)
        })?;
        Tensor::from_vec(out, delta.shape(), &Device::Cpu)
    }
    by_float!(delta, run(delta, p, cut))
}

struct Back<'a, T> {
    p: Meeting<'a, T>,
    out: Vec<T>,
}

impl<T: WithDType> Pass<T> for Back<'_, T> {
    #[inline(always)]
    fn row(&mut self, Row { index, x, .. }: Row<T>) {
        let p = self.p.row(index);
        let sum = total(x, p, |delta, p| delta * p);
        self.out.extend(x.iter().zip(p).map(|(delta, p)| *p * (*delta - sum)));
    }
}

#[cfg(all(test, not(feature = "portable")))]
mod tests {
    use super::super::rows::trial::{random, same};
    use super::*;

    /// Three outputs' cotangents of two examples, five rows each.
    #[test]
    fn back_is_a_chain_of_whole_tensors() -> Result<()> {
        for size in [8, 33] {
            let (p, delta) = (random(&[2, 5, size])?, random(&[6, 5, size])?);
            let cut = cut(&delta, &p, 5, size).ok_or_else(|| candle_core::Error::msg("no rows"))?;
            let found = softmax_back(&delta, Meets { other: &p, repeat: 3 }, cut)?;
            let (p, delta) = (p.unsqueeze(1)?, delta.reshape((2, 3, 5, size))?);
            let weighted = delta.broadcast_mul(&p)?;
            let along = weighted.sum_keepdim(3)?.broadcast_mul(&p)?;
            same(&found, &(weighted - along)?)?;
        }
        assert!(cut(&random(&[2, 7])?, &random(&[2, 7])?, 1, 7).is_none());
        Ok(())
    }
}
