//! The way back through a softmax, a row at a time.

use candle_core::{Device, Result, Tensor, WithDType};

use super::rows::{Cut, Meeting, Meets, Pass, Row, by_float, over, total, with};

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
            let cut = Cut::alone(5, size, &[&delta, &p])
                .ok_or_else(|| candle_core::Error::msg("no rows"))?;
            let found = softmax_back(&delta, Meets { other: &p, repeat: 3 }, cut)?;
            let (p, delta) = (p.unsqueeze(1)?, delta.reshape((2, 3, 5, size))?);
            let weighted = delta.broadcast_mul(&p)?;
            let along = weighted.sum_keepdim(3)?.broadcast_mul(&p)?;
            same(&found, &(weighted - along)?)?;
        }
        let short = random(&[2, 7])?;
        assert!(Cut::alone(1, 7, &[&short, &short]).is_none());
        Ok(())
    }
}
