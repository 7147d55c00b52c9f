//! Functions of one number applied to every element, and their derivative.

use candle_core::Tensor;

use super::second::{Ascended, Second};
use super::{Forward, Inputs, Operator, Reverse, required};
use crate::error::OpResult;
use crate::tensor::bends;

/// A function from x and the operator's numbers.
pub(super) type Function = fn(&Tensor, &[f64]) -> candle_core::Result<Tensor>;
/// Its derivative from x, y and those numbers.
pub(super) type Slope = fn(&Tensor, &Tensor, &[f64]) -> candle_core::Result<Tensor>;

/// y = f(x), element by element. `f` and `df` get the operator's numbers (slopes, thresholds).
pub(super) struct Elementwise {
    pub(super) name: &'static str,
    pub(super) numbers: Vec<f64>,
    pub(super) f: Function,
    /// f'(x) from x and y; `None` where f is flat almost everywhere (Sign, Floor …).
    pub(super) df: Option<Slope>,
    /// Whether f consists of straight pieces.
    pub(super) straight: bool,
    /// The slope of f where x is not positive, where it is x itself elsewhere.
    pub(super) below: Option<f64>,
}

impl std::fmt::Debug for Elementwise {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}{:?}", self.name, self.numbers)
    }
}

impl Operator for Elementwise {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        Ok((self.f)(required(inputs, 0)?, &self.numbers)?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let Some(df) = self.df else {
            return Ok(vec![Some(sweep.cotangent()?.zeros_like()?)]);
        };
        let cotangent = sweep.cotangent()?;
        if let Some(gated) = self.gated(sweep, cotangent)? {
            return Ok(vec![Some(gated)]);
        }
        let slope = df(sweep.input(0)?, &sweep.outputs[0], &self.numbers)?;
        Ok(vec![Some(sweep.times(cotangent, &slope)?)])
    }

    /// Where f consists of straight pieces its slope does not move with x.
    fn second(&self, second: &Second) -> OpResult<Option<Ascended>> {
        let (Some(df), true) = (self.df, self.straight) else { return Ok(None) };
        let Some(adjoint) = second.adjoint(0) else {
            return Ok(Some(Ascended::through(None, 1)));
        };
        let reverse = &second.reverse;
        if let Some(gated) = self.gated(reverse, adjoint)? {
            return Ok(Some(Ascended::through(Some(gated), 1)));
        }
        let slope = df(reverse.input(0)?, &reverse.outputs[0], &self.numbers)?;
        Ok(Some(Ascended::through(Some(reverse.times(adjoint, &slope)?), 1)))
    }
}

impl Elementwise {
    /// Cotangents times f', in one pass, where f is bent at zero and nowhere else.
    fn gated(&self, sweep: &Reverse, cotangent: &Tensor) -> OpResult<Option<Tensor>> {
        let (Some(below), x) = (self.below, sweep.input(0)?) else { return Ok(None) };
        let ones = vec![1; x.rank()];
        let slope = Tensor::full(below, ones, x.device())?.to_dtype(x.dtype())?;
        let cut = bends::cut(x, &slope).filter(|_| !cotangent.track_op());
        Ok(match cut {
            Some(cut) => Some(bends::gated(cotangent, sweep.meets(x), cut, &slope)?),
            None => None,
        })
    }
}
