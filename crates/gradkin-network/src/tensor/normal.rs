//! Rows brought to mean zero and deviation one, and the way back through that, a row at a time.

use candle_core::{Device, Result, Tensor, WithDType};

use super::rows::{Cut, Meeting, Meets, Pass, Row, by_float, over, per_channel, total, with};

/// What rows are divided by besides their deviation, and whether their mean is taken off first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Normal {
    pub(crate) centred: bool,
    pub(crate) epsilon: f64,
}

/// Rows n = (x − mean) · r, and what became of them.
pub(crate) struct Normalized {
    /// n · scale + shift.
    pub(crate) scaled: Tensor,
    /// n.
    pub(crate) rows: Tensor,
    /// One per row; zero where it is not taken off.
    pub(crate) mean: Tensor,
    /// r = 1 / √(variance + epsilon), one per row.
    pub(crate) inverse: Tensor,
}

impl Normal {
    /// Every row on its own; scale and shift have a number for each of a row's, or are one and zero.
    pub(crate) fn of(
        self,
        x: &Tensor,
        cut: Cut,
        scale: Option<&Tensor>,
        shift: Option<&Tensor>,
    ) -> Result<Normalized> {
        fn run<T: WithDType>(
            normal: Normal,
            x: &Tensor,
            cut: Cut,
            [scale, shift]: [Option<&Tensor>; 2],
        ) -> Result<Normalized> {
            let (scale, shift) = (full::<T>(scale, cut, 1.0)?, full::<T>(shift, cut, 0.0)?);
            let numbers = x.elem_count();
            let rows = numbers / cut.positions.max(1);
            let mut pass = Forward {
                normal,
                scale,
                shift,
                scaled: Vec::with_capacity(numbers),
                rows: Vec::with_capacity(numbers),
                mean: Vec::with_capacity(rows),
                inverse: Vec::with_capacity(rows),
            };
            over(x, cut, &mut pass)?;
            let cpu = &Device::Cpu;
            Ok(Normalized {
                scaled: Tensor::from_vec(pass.scaled, x.shape(), cpu)?,
                rows: Tensor::from_vec(pass.rows, x.shape(), cpu)?,
                mean: Tensor::from_vec(pass.mean, rows, cpu)?,
                inverse: Tensor::from_vec(pass.inverse, rows, cpu)?,
            })
        }
        by_float!(x, run(self, x, cut, [scale, shift]))
    }

    /// Cotangents of x from those of n · scale: with δ these times the scale,
    /// (δ − mean δ − n · mean(δ n)) · r; uncentred without its mean.
    pub(crate) fn back(
        self,
        cotangent: &Tensor,
        rows: Meets,
        inverse: &Tensor,
        scale: Option<&Tensor>,
        cut: Cut,
    ) -> Result<Tensor> {
        fn run<T: WithDType>(
            normal: Normal,
            cotangent: &Tensor,
            rows: Meets,
            (inverse, scale): (&Tensor, Option<&Tensor>),
            cut: Cut,
        ) -> Result<Tensor> {
            let (inverse, scale) = (per_channel::<T>(inverse)?, full::<T>(scale, cut, 1.0)?);
            let out = with(rows.other, |other| {
                let rows = Meeting::new(cut, rows.repeat, other);
                let out = Vec::with_capacity(cotangent.elem_count());
                let mut pass = Back { normal, rows, inverse, scale, out };
                over(cotangent, cut, &mut pass)?;
                Ok(pass.out)
            })?;
            Tensor::from_vec(out, cotangent.shape(), &Device::Cpu)
        }
        by_float!(cotangent, run(self, cotangent, rows, (inverse, scale), cut))
    }
}

/// A number for each of a row's.
fn full<T: WithDType>(numbers: Option<&Tensor>, cut: Cut, default: f64) -> Result<Vec<T>> {
    match numbers {
        Some(numbers) => per_channel(numbers),
        None => Ok(vec![T::from_f64(default); cut.positions]),
    }
}

struct Forward<T> {
    normal: Normal,
    scale: Vec<T>,
    shift: Vec<T>,
    scaled: Vec<T>,
    rows: Vec<T>,
    mean: Vec<T>,
    inverse: Vec<T>,
}

impl<T: WithDType> Pass<T> for Forward<T> {
    #[inline(always)]
    fn row(&mut self, Row { x, .. }: Row<T>) {
        let size = T::from_f64(x.len() as f64);
        let mean = if self.normal.centred { total(x, x, |x, _| x) / size } else { T::zero() };
        let variance = total(x, x, |x, _| (x - mean) * (x - mean)) / size;
        let inverse = T::from_f64((variance.to_f64() + self.normal.epsilon).sqrt().recip());
        self.rows.extend(x.iter().map(|x| (*x - mean) * inverse));
        let affine = self.scale.iter().zip(&self.shift);
        self.scaled.extend(
            x.iter().zip(affine).map(|(x, (scale, shift))| (*x - mean) * inverse * *scale + *shift),
        );
        self.mean.push(mean);
        self.inverse.push(inverse);
    }
}

struct Back<'a, T> {
    normal: Normal,
    rows: Meeting<'a, T>,
    inverse: Vec<T>,
    scale: Vec<T>,
    out: Vec<T>,
}

impl<T: WithDType> Pass<T> for Back<'_, T> {
    #[inline(always)]
    fn row(&mut self, Row { index, x, .. }: Row<T>) {
        let (rows, inverse) = (self.rows.row(index), self.inverse[self.rows.index(index)]);
        let size = T::from_f64(x.len() as f64);
        let scaled = x.iter().zip(&self.scale).map(|(x, scale)| *x * *scale);
        let first = self.out.len();
        self.out.extend(scaled);
        let delta = &mut self.out[first..];
        let along = total(delta, rows, |delta, n| delta * n) / size;
        let mean = if self.normal.centred {
            total(delta, delta, |delta, _| delta) / size
        } else {
            T::zero()
        };
        for (delta, n) in delta.iter_mut().zip(rows) {
            *delta = (*delta - mean - *n * along) * inverse;
        }
    }
}

#[cfg(all(test, not(feature = "portable")))]
mod tests {
    use super::super::rows::trial::{random, same};
    use super::*;

    /// Three outputs' cotangents of two examples, five rows each.
    #[test]
    fn passes_are_chains_of_whole_tensors() -> Result<()> {
        for (size, centred) in [(8, true), (33, true), (33, false)] {
            let normal = Normal { centred, epsilon: 1e-2 };
            let (x, cotangent) = (random(&[2, 5, size])?, random(&[6, 5, size])?);
            let (scale, shift) = (random(&[1, size])?, random(&[1, size])?);
            let Some(cut) = Cut::alone(5, size, &[&x]) else { candle_core::bail!("no rows") };
            let found = normal.of(&x, cut, Some(&scale), Some(&shift))?;
            let mean = match centred {
                true => x.mean_keepdim(2)?,
                false => x.mean_keepdim(2)?.zeros_like()?,
            };
            let off = x.broadcast_sub(&mean)?;
            let inverse = (off.sqr()?.mean_keepdim(2)? + 1e-2)?.sqrt()?.recip()?;
            let rows = off.broadcast_mul(&inverse)?;
            same(&found.mean, &mean)?;
            same(&found.inverse, &inverse)?;
            same(&found.rows, &rows)?;
            same(&found.scaled, &rows.broadcast_mul(&scale)?.broadcast_add(&shift)?)?;
            let meets = Meets { other: &found.rows, repeat: 3 };
            let back = normal.back(&cotangent, meets, &found.inverse, Some(&scale), cut)?;
            let delta = cotangent.broadcast_mul(&scale)?.reshape((2, 3, 5, size))?;
            let (rows, inverse) = (rows.unsqueeze(1)?, inverse.unsqueeze(1)?);
            let along = delta.broadcast_mul(&rows)?.mean_keepdim(3)?.broadcast_mul(&rows)?;
            let wanted = match centred {
                true => (delta.broadcast_sub(&delta.mean_keepdim(3)?)? - along)?,
                false => (&delta - along)?,
            };
            same(&back, &wanted.broadcast_mul(&inverse)?)?;
            same(&normal.of(&x, cut, None, None)?.scaled, &found.rows)?;
        }
        Ok(())
    }
}
