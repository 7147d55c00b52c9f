//! Functions that are straight below zero and above it: x where it is positive, slope · x elsewhere, with one
//! slope for all or one per channel.

use candle_core::{Device, Result, Tensor, WithDType};

use super::rows::{
    Cut, Meeting, Meets, Pass, Row, SHORT, are_ours, by_float, over, per_channel, total, with,
};

/// How a tensor `[L, *shape]` falls into rows that meet one slope each, the slopes' own shape broadcasting to
/// `shape`; `None` where rows would be short, or hold something else than floats off the tape.
pub(crate) fn cut(x: &Tensor, slopes: &Tensor) -> Option<Cut> {
    let (shape, own) = (&x.dims()[1..], &slopes.dims()[1..]);
    if !are_ours(&[x, slopes]) || slopes.dims()[0] != 1 {
        return None;
    }
    let count: usize = shape.iter().product();
    let found = match own.iter().position(|size| *size != 1) {
        None => Cut { rows: 1, channels: 1, positions: count },
        Some(axis) => {
            // One axis of slopes, and everything behind it is a row.
            let axis_of_x = (axis + shape.len()).checked_sub(own.len())?;
            let whole = shape.get(axis_of_x) == Some(&own[axis]);
            if !whole || own[axis + 1..].iter().any(|size| *size != 1) {
                return None;
            }
            let positions = shape[axis_of_x + 1..].iter().product();
            let rows = shape[..=axis_of_x].iter().product();
            Cut { rows, channels: own[axis], positions }
        }
    };
    (found.positions >= SHORT).then_some(found)
}

/// x where it is positive, slope · x elsewhere.
pub(crate) fn bent(x: &Tensor, cut: Cut, slopes: &Tensor) -> Result<Tensor> {
    gated(x, Meets { other: x, repeat: 1 }, cut, slopes)
}

/// x where what it meets is positive, slope · x elsewhere.
pub(crate) fn gated(x: &Tensor, value: Meets, cut: Cut, slopes: &Tensor) -> Result<Tensor> {
    fn run<T: WithDType>(x: &Tensor, value: Meets, cut: Cut, slopes: &Tensor) -> Result<Tensor> {
        let slopes = per_channel::<T>(slopes)?;
        let out = with(value.other, |other| {
            let value = Meeting::new(cut, value.repeat, other);
            let mut pass = Gated { value, slopes, out: Vec::with_capacity(x.elem_count()) };
            over(x, cut, &mut pass)?;
            Ok(pass.out)
        })?;
        Tensor::from_vec(out, x.shape(), &Device::Cpu)
    }
    by_float!(x, run(x, value, cut, slopes))
}

struct Gated<'a, T> {
    value: Meeting<'a, T>,
    slopes: Vec<T>,
    out: Vec<T>,
}

impl<T: WithDType> Pass<T> for Gated<'_, T> {
    #[inline(always)]
    fn row(&mut self, Row { index, channel, x }: Row<T>) {
        let slope = self.slopes[channel];
        let pairs = x.iter().zip(self.value.row(index));
        self.out.extend(pairs.map(|(x, value)| if *value > T::zero() { *x } else { slope * *x }));
    }
}

/// x where what it meets lies between two numbers, 0 · x elsewhere.
pub(crate) fn between(x: &Tensor, value: Meets, cut: Cut, bounds: [f64; 2]) -> Result<Tensor> {
    fn run<T: WithDType>(x: &Tensor, value: Meets, cut: Cut, bounds: [f64; 2]) -> Result<Tensor> {
        let out = with(value.other, |other| {
            let value = Meeting::new(cut, value.repeat, other);
            let bounds = bounds.map(T::from_f64);
            let mut pass = Between { value, bounds, out: Vec::with_capacity(x.elem_count()) };
            over(x, cut, &mut pass)?;
            Ok(pass.out)
        })?;
        Tensor::from_vec(out, x.shape(), &Device::Cpu)
    }
    by_float!(x, run(x, value, cut, bounds))
}

struct Between<'a, T> {
    value: Meeting<'a, T>,
    bounds: [T; 2],
    out: Vec<T>,
}

impl<T: WithDType> Pass<T> for Between<'_, T> {
    #[inline(always)]
    fn row(&mut self, Row { index, x, .. }: Row<T>) {
        let [low, high] = self.bounds;
        let pairs = x.iter().zip(self.value.row(index));
        self.out.extend(
            pairs.map(
                |(x, value)| {
                    if (*value > low) & (*value < high) { *x } else { T::zero() * *x }
                },
            ),
        );
    }
}

/// Σ x · min(value, 0) of every row, `[L, rows]`.
pub(crate) fn below(x: &Tensor, value: Meets, cut: Cut) -> Result<Tensor> {
    fn run<T: WithDType>(x: &Tensor, value: Meets, cut: Cut) -> Result<Tensor> {
        let sums = with(value.other, |other| {
            let value = Meeting::<T>::new(cut, value.repeat, other);
            let mut pass = Below { value, sums: Vec::new() };
            over(x, cut, &mut pass)?;
            Ok(pass.sums)
        })?;
        Tensor::from_vec(sums, (x.dims()[0], cut.rows), &Device::Cpu)
    }
    by_float!(x, run(x, value, cut))
}

struct Below<'a, T> {
    value: Meeting<'a, T>,
    sums: Vec<T>,
}

impl<T: WithDType> Pass<T> for Below<'_, T> {
    #[inline(always)]
    fn row(&mut self, Row { index, x, .. }: Row<T>) {
        let negative = |value: T| if value > T::zero() { T::zero() } else { value };
        let value = self.value.row(index);
        self.sums.push(total(x, value, |x, value| x * negative(value)));
    }
}

/// What [`turned`] works on, besides derivatives by what [`gated`] gave.
pub(crate) struct Turned<'a> {
    /// What was gated.
    pub(crate) cotangent: &'a Tensor,
    pub(crate) value: Meets<'a>,
    pub(crate) slopes: &'a Tensor,
    /// Derivatives by what [`below`] gave, one per row.
    pub(crate) along: &'a Tensor,
}

/// The way back through [`gated`] and [`below`] of the same cotangents: derivatives by these, by the slopes
/// row by row (`[L, rows]`), and by the values, of their shape.
pub(crate) fn turned(adjoint: &Tensor, own: &Turned, cut: Cut) -> Result<[Tensor; 3]> {
    fn run<T: WithDType>(adjoint: &Tensor, own: &Turned, cut: Cut) -> Result<[Tensor; 3]> {
        let [slopes, along] = [own.slopes, own.along].map(per_channel::<T>);
        let (slopes, along) = (slopes?, along?);
        let value = own.value.other;
        let (out, by_slope, back) = with(value, |values| {
            with(own.cotangent, |cotangent| {
                let mut pass = Turning {
                    value: Meeting::new(cut, own.value.repeat, values),
                    cotangent: Meeting::new(cut, 1, cotangent),
                    slopes,
                    along,
                    out: Vec::with_capacity(cotangent.len()),
                    by_slope: Vec::new(),
                    back: vec![T::zero(); values.len()],
                };
                over(adjoint, cut, &mut pass)?;
                Ok((pass.out, pass.by_slope, pass.back))
            })
        })?;
        Ok([
            Tensor::from_vec(out, adjoint.shape(), &Device::Cpu)?,
            Tensor::from_vec(by_slope, (adjoint.dims()[0], cut.rows), &Device::Cpu)?,
            Tensor::from_vec(back, value.shape(), &Device::Cpu)?,
        ])
    }
    by_float!(adjoint, run(adjoint, own, cut))
}

struct Turning<'a, T> {
    value: Meeting<'a, T>,
    cotangent: Meeting<'a, T>,
    slopes: Vec<T>,
    along: Vec<T>,
    out: Vec<T>,
    by_slope: Vec<T>,
    back: Vec<T>,
}

impl<T: WithDType> Pass<T> for Turning<'_, T> {
    #[inline(always)]
    fn row(&mut self, Row { index, channel, x }: Row<T>) {
        let zero = T::zero();
        let (slope, along) = (self.slopes[channel], self.along[index]);
        let (value, cotangent) = (self.value.row(index), self.cotangent.row(index));
        let pairs = x.iter().zip(value);
        self.out.extend(pairs.map(
            |(x, value)| {
                if *value > zero { *x } else { slope * *x + along * *value }
            },
        ));
        let met = self.value.index(index);
        let back = &mut self.back[met * x.len()..(met + 1) * x.len()];
        let mut lanes = [zero; LANES];
        let rows = back.chunks_mut(LANES).zip(x.chunks(LANES));
        let others = value.chunks(LANES).zip(cotangent.chunks(LANES));
        for ((back, x), (value, cotangent)) in rows.zip(others) {
            for lane in 0..back.len() {
                let gated = if value[lane] > zero { zero } else { cotangent[lane] };
                back[lane] += along * gated;
                lanes[lane] += x[lane] * gated;
            }
        }
        self.by_slope.push(lanes.iter().fold(zero, |sum, lane| sum + *lane));
    }
}

/// Sums that a processor takes side by side.
const LANES: usize = 16;

#[cfg(all(test, not(feature = "portable")))]
mod tests {
    use super::super::rows::trial::{random, same};
    use candle_core::DType;

    use super::*;

    /// Every pass against whole tensors: three outputs' cotangents of four examples, slopes of one axis, of
    /// the first axis and of all together.
    #[test]
    fn passes_are_chains_of_whole_tensors() -> Result<()> {
        for (shape, slopes) in [
            (vec![1, 3, 5, 4], vec![1, 3, 1, 1]),
            (vec![2, 3, 20], vec![1, 3, 1]),
            (vec![3, 33], vec![1, 3, 1]),
            (vec![2, 17], vec![1, 1]),
        ] {
            let [values, all] = [4, 12].map(|lead| [&[lead][..], &shape].concat());
            let (value, cotangent, adjoint) = (random(&values)?, random(&all)?, random(&all)?);
            let slopes = random(&slopes)?;
            let cut = cut(&value, &slopes).ok_or_else(|| candle_core::Error::msg("no rows"))?;
            assert_eq!(cut.channels, slopes.elem_count());
            let rows = [4, 3, cut.rows / cut.channels, cut.channels, cut.positions];
            let flat = [12, rows[2], cut.channels, cut.positions];
            let met = value.reshape((4, 1, rows[2], rows[3], rows[4]))?.broadcast_as(&rows)?;
            let met = met.reshape(&flat)?;
            let own = slopes.reshape((1, 1, cut.channels, 1))?.broadcast_as(&flat)?;
            let positive = met.gt(0.0)?;
            let gate = positive.where_cond(&own.ones_like()?, &own.contiguous()?)?;
            let negative = (1.0 - positive.to_dtype(DType::F64)?)?;
            let (c, a) = (cotangent.reshape(&flat)?, adjoint.reshape(&flat)?);
            let meets = Meets { other: &value, repeat: 3 };
            same(&gated(&cotangent, meets, cut, &slopes)?, &(&c * &gate)?)?;
            let inside = (met.gt(-0.5)? * met.lt(1.0)?)?.to_dtype(DType::F64)?;
            same(&between(&cotangent, meets, cut, [-0.5, 1.0])?, &(&c * inside)?)?;
            same(&below(&cotangent, meets, cut)?, &((&c * &met)? * &negative)?.sum(3)?)?;
            let along = random(&[12, cut.rows])?;
            let u = along.reshape((12, rows[2], cut.channels, 1))?;
            let turn =
                Turned { cotangent: &cotangent, value: meets, slopes: &slopes, along: &along };
            let [out, by_slope, back] = turned(&adjoint, &turn, cut)?;
            let moved = (&met * &negative)?.broadcast_mul(&u)?;
            same(&out, &((&a * &gate)? + moved)?)?;
            same(&by_slope, &((&a * &c)? * &negative)?.sum(3)?)?;
            let wanted = (&c * &negative)?.broadcast_mul(&u)?.reshape(&rows)?.sum(1)?;
            same(&back, &wanted)?;
            let met = bent(&value, cut, &slopes)?.reshape(&[4, flat[1], flat[2], flat[3]])?;
            let x = value.reshape(met.shape())?;
            let own = own.narrow(0, 0, 4)?;
            same(&met, &x.gt(0.0)?.where_cond(&x, &(&x * own)?)?)?;
        }
        Ok(())
    }

    #[test]
    fn short_rows_and_slopes_of_examples_are_left_to_others() -> Result<()> {
        let x = random(&[4, 3, 5, 5])?;
        assert!(cut(&x, &random(&[1, 3, 1, 1])?).is_some());
        for slopes in [[4, 3, 1, 1], [1, 3, 5, 5], [1, 1, 1, 5], [1, 2, 1, 1]] {
            assert!(cut(&x, &random(&slopes)?).is_none(), "{slopes:?}");
        }
        assert!(cut(&random(&[4, 32])?, &random(&[1, 32])?).is_none());
        Ok(())
    }
}
