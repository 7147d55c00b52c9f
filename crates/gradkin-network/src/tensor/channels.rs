//! The steps of a normalisation by channels: passes over tensors `[L, N, C, *]` that meet one number per
//! channel, which all examples share.

use candle_core::{Device, Result, Tensor, WithDType};

use super::rows::{
    Cut, Meeting, Meets, Pass, Row, SHORT, are_ours, by_float, over, per_channel, total, with,
};

/// Whether these passes take such a tensor with these numbers per channel, which all examples share.
pub(crate) fn takes(x: &Tensor, per_channel: &[&Tensor]) -> bool {
    let dims = x.dims();
    are_ours(&[x])
        && dims.len() > 3
        && dims[3..].iter().product::<usize>() >= SHORT
        && per_channel.iter().all(|own| own.elem_count() == dims[2] && !own.track_op())
}

/// The positions of a channel are a row.
fn cut(x: &Tensor) -> Cut {
    let dims = x.dims();
    Cut { rows: dims[1] * dims[2], channels: dims[2], positions: dims[3..].iter().product() }
}

/// (x − centre) · factor + shift.
pub(crate) fn affine(
    x: &Tensor,
    centre: Option<&Tensor>,
    factor: &Tensor,
    shift: Option<&Tensor>,
) -> Result<Tensor> {
    fn run<T: WithDType>(
        x: &Tensor,
        factor: &Tensor,
        rest: [Option<&Tensor>; 2],
    ) -> Result<Tensor> {
        let factor = per_channel::<T>(factor)?;
        let [centre, shift] = rest.map(|own| match own {
            Some(own) => per_channel(own),
            None => Ok(vec![T::zero(); factor.len()]),
        });
        let (centre, shift, out) = (centre?, shift?, Vec::with_capacity(x.elem_count()));
        let mut pass = Affine { centre, factor, shift, out };
        over(x, cut(x), &mut pass)?;
        Tensor::from_vec(pass.out, x.shape(), &Device::Cpu)
    }
    by_float!(x, run(x, factor, [centre, shift]))
}

struct Affine<T> {
    centre: Vec<T>,
    factor: Vec<T>,
    shift: Vec<T>,
    out: Vec<T>,
}

impl<T: WithDType> Pass<T> for Affine<T> {
    #[inline(always)]
    fn row(&mut self, Row { channel, x, .. }: Row<T>) {
        let centre = self.centre[channel];
        let (factor, shift) = (self.factor[channel], self.shift[channel]);
        self.out.extend(x.iter().map(|x| (*x - centre) * factor + shift));
    }
}

/// Σ x and Σ x · (y − centre) of every row, `[L, N, C]` each.
pub(crate) fn sums(x: &Tensor, y: Meets, centre: &Tensor) -> Result<[Tensor; 2]> {
    fn run<T: WithDType>(x: &Tensor, y: Meets, centre: &Tensor) -> Result<[Tensor; 2]> {
        let centre = per_channel::<T>(centre)?;
        let (plain, along) = with(y.other, |other| {
            let meeting = Meeting::new(cut(x), y.repeat, other);
            let mut pass = Sums { meeting, centre, plain: Vec::new(), along: Vec::new() };
            over(x, cut(x), &mut pass)?;
            Ok((pass.plain, pass.along))
        })?;
        Ok([by_row(plain, x)?, by_row(along, x)?])
    }
    by_float!(x, run(x, y, centre))
}

struct Sums<'a, T> {
    meeting: Meeting<'a, T>,
    centre: Vec<T>,
    plain: Vec<T>,
    along: Vec<T>,
}

impl<T: WithDType> Pass<T> for Sums<'_, T> {
    #[inline(always)]
    fn row(&mut self, Row { index, channel, x }: Row<T>) {
        let (y, centre) = (self.meeting.row(index), self.centre[channel]);
        self.plain.push(total(x, x, |x, _| x));
        self.along.push(total(x, y, |x, y| x * (y - centre)));
    }
}

/// Σ x of every row, `[L, N, C]`.
pub(crate) fn row_sums(x: &Tensor) -> Result<Tensor> {
    fn run<T: WithDType>(x: &Tensor) -> Result<Tensor> {
        let mut pass = Total { centre: None, sums: Vec::new() };
        over::<T, _>(x, cut(x), &mut pass)?;
        by_row(pass.sums, x)
    }
    by_float!(x, run(x))
}

/// Σ (x − centre)² of every row, `[L, N, C]`.
pub(crate) fn row_squares(x: &Tensor, centre: &Tensor) -> Result<Tensor> {
    fn run<T: WithDType>(x: &Tensor, centre: &Tensor) -> Result<Tensor> {
        let mut pass = Total { centre: Some(per_channel::<T>(centre)?), sums: Vec::new() };
        over(x, cut(x), &mut pass)?;
        by_row(pass.sums, x)
    }
    by_float!(x, run(x, centre))
}

struct Total<T> {
    /// Squares of distances from it are added up, where it is given.
    centre: Option<Vec<T>>,
    sums: Vec<T>,
}

impl<T: WithDType> Pass<T> for Total<T> {
    #[inline(always)]
    fn row(&mut self, Row { channel, x, .. }: Row<T>) {
        self.sums.push(match &self.centre {
            None => total(x, x, |x, _| x),
            Some(centre) => {
                let centre = centre[channel];
                total(x, x, |x, _| (x - centre) * (x - centre))
            }
        });
    }
}

/// (x − y · along − shift) · factor, y of the shape of x.
pub(crate) fn reduced(
    x: &Tensor,
    (y, along): (&Tensor, &Tensor),
    shift: &Tensor,
    factor: &Tensor,
) -> Result<Tensor> {
    fn run<T: WithDType>(x: &Tensor, y: &Tensor, numbers: [&Tensor; 3]) -> Result<Tensor> {
        let [along, shift, factor] = numbers.map(per_channel::<T>);
        let (along, shift, factor) = (along?, shift?, factor?);
        let out = with(y, |other| {
            let meeting = Meeting::new(cut(x), 1, other);
            let out = Vec::with_capacity(x.elem_count());
            let mut pass = Reduced { meeting, along, shift, factor, out };
            over(x, cut(x), &mut pass)?;
            Ok(pass.out)
        })?;
        Tensor::from_vec(out, x.shape(), &Device::Cpu)
    }
    by_float!(x, run(x, y, [along, shift, factor]))
}

struct Reduced<'a, T> {
    meeting: Meeting<'a, T>,
    along: Vec<T>,
    shift: Vec<T>,
    factor: Vec<T>,
    out: Vec<T>,
}

impl<T: WithDType> Pass<T> for Reduced<'_, T> {
    #[inline(always)]
    fn row(&mut self, Row { index, channel, x }: Row<T>) {
        let y = self.meeting.row(index);
        let numbers = (self.along[channel], self.shift[channel], self.factor[channel]);
        let (along, shift, factor) = numbers;
        self.out.extend(x.iter().zip(y).map(|(x, y)| (*x - *y * along - shift) * factor));
    }
}

/// What [`spread`] works on, besides the cotangents.
pub(crate) struct Spread<'a> {
    /// One number per row of the cotangents.
    pub(crate) along: &'a Tensor,
    /// Another.
    pub(crate) shift: &'a Tensor,
    pub(crate) input: Meets<'a>,
    pub(crate) mean: &'a Tensor,
    pub(crate) inverse: &'a Tensor,
}

/// With n = (input − mean) · inverse: `onto` + along · n + shift, of the shape of the cotangents, and
/// Σ along · cotangent · inverse over the cotangents that meet an image, of the shape of the input.
pub(crate) fn spread(
    cotangent: &Tensor,
    spread: &Spread,
    onto: Option<Tensor>,
) -> Result<[Tensor; 2]> {
    fn run<T: WithDType>(x: &Tensor, own: &Spread, onto: Option<Tensor>) -> Result<[Tensor; 2]> {
        let [along, shift] = [own.along, own.shift].map(per_channel::<T>);
        let (along, shift) = (along?, shift?);
        let (mean, inverse) = (per_channel::<T>(own.mean)?, per_channel::<T>(own.inverse)?);
        let out = match onto {
            Some(onto) => onto.flatten_all()?.to_vec1()?,
            None => vec![T::zero(); x.elem_count()],
        };
        let input = own.input.other;
        let (out, back) = with(input, |other| {
            let meeting = Meeting::new(cut(x), own.input.repeat, other);
            let back = vec![T::zero(); other.len()];
            let mut pass = Spreading { meeting, along, shift, mean, inverse, out, back };
            over(x, cut(x), &mut pass)?;
            Ok((pass.out, pass.back))
        })?;
        let out = Tensor::from_vec(out, x.shape(), &Device::Cpu)?;
        Ok([out, Tensor::from_vec(back, input.shape(), &Device::Cpu)?])
    }
    by_float!(cotangent, run(cotangent, spread, onto))
}

struct Spreading<'a, T> {
    meeting: Meeting<'a, T>,
    along: Vec<T>,
    shift: Vec<T>,
    mean: Vec<T>,
    inverse: Vec<T>,
    out: Vec<T>,
    back: Vec<T>,
}

impl<T: WithDType> Pass<T> for Spreading<'_, T> {
    #[inline(always)]
    fn row(&mut self, Row { index, channel, x }: Row<T>) {
        let (mean, along) = (self.mean[channel], self.along[index] * self.inverse[channel]);
        let shift = self.shift[index];
        let out = &mut self.out[index * x.len()..(index + 1) * x.len()];
        for (out, input) in out.iter_mut().zip(self.meeting.row(index)) {
            *out += along * (*input - mean) + shift;
        }
        let met = self.meeting.index(index);
        let back = &mut self.back[met * x.len()..(met + 1) * x.len()];
        for (back, x) in back.iter_mut().zip(x) {
            *back += along * *x;
        }
    }
}

fn by_row<T: WithDType>(values: Vec<T>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, &like.dims()[..3], &Device::Cpu)
}

#[cfg(all(test, not(feature = "portable")))]
mod tests {
    use super::super::rows::trial::{random, same};
    use super::*;

    /// Every pass against whole tensors: two images per example, four examples, three outputs.
    #[test]
    fn passes_are_chains_of_whole_tensors() -> Result<()> {
        let (x, y) = (random(&[12, 2, 3, 5, 5])?, random(&[4, 2, 3, 5, 5])?);
        let numbers: Vec<Tensor> = (0..3).map(|_| random(&[1, 3])).collect::<Result<_>>()?;
        assert!(takes(&x, &[&numbers[0]]) && !takes(&x, &[&y]) && !takes(&y.mean(3)?, &[]));
        let full = |own: &Tensor| own.reshape((1, 1, 3, 1, 1));
        let (a, b, c) = (full(&numbers[0])?, full(&numbers[1])?, full(&numbers[2])?);
        let wanted = x.broadcast_mul(&a)?.broadcast_add(&b)?;
        same(&affine(&x, None, &numbers[0], Some(&numbers[1]))?, &wanted)?;
        same(&affine(&x, None, &numbers[0], None)?, &x.broadcast_mul(&a)?)?;
        let wanted = x.broadcast_sub(&c)?.broadcast_mul(&a)?;
        same(&affine(&x, Some(&numbers[2]), &numbers[0], None)?, &wanted)?;
        same(&row_sums(&x)?, &x.sum((3, 4))?)?;
        same(&row_squares(&x, &numbers[0])?, &x.broadcast_sub(&a)?.sqr()?.sum((3, 4))?)?;
        // Each example's values meet three outputs' cotangents.
        let met = y.unsqueeze(1)?.broadcast_as((4, 3, 2, 3, 5, 5))?.reshape(x.shape())?;
        let meets = Meets { other: &y, repeat: 3 };
        let [plain, along] = sums(&x, meets, &numbers[0])?;
        same(&plain, &x.sum((3, 4))?)?;
        same(&along, &(&x * met.broadcast_sub(&a)?)?.sum((3, 4))?)?;
        let product = met.broadcast_mul(&a)?;
        let wanted = (&x - product)?.broadcast_sub(&b)?.broadcast_mul(&c)?;
        same(&reduced(&x, (&met, &numbers[0]), &numbers[1], &numbers[2])?, &wanted)?;
        let (u, onto) = (random(&[12, 2, 3])?, random(&[12, 2, 3, 5, 5])?);
        let v = random(&[12, 2, 3])?;
        let (mean, inverse) = (&numbers[0], &numbers[1]);
        let own = Spread { along: &u, shift: &v, input: meets, mean, inverse };
        let [out, back] = spread(&x, &own, Some(onto.clone()))?;
        let (u, v) = (u.reshape((12, 2, 3, 1, 1))?, v.reshape((12, 2, 3, 1, 1))?);
        let normal = met.broadcast_sub(&a)?.broadcast_mul(&b)?;
        same(&out, &(normal.broadcast_mul(&u)?.broadcast_add(&v)? + onto)?)?;
        let wanted = x.broadcast_mul(&u)?.broadcast_mul(&b)?.reshape((4, 3, 2, 3, 5, 5))?.sum(1)?;
        same(&back, &wanted)
    }
}
