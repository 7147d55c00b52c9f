//! Functions of one number applied to every element, and their derivative.

use candle_core::Tensor;

use super::second::{Ascended, Second};
use super::{Forward, Inputs, Operator, Reverse, required};
use crate::error::OpResult;

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
        let slope = df(sweep.input(0)?, &sweep.outputs[0], &self.numbers)?;
        Ok(vec![Some(sweep.times(sweep.cotangent()?, &slope)?)])
    }

    /// Where f consists of straight pieces its slope does not move with x.
    fn second(&self, second: &Second) -> OpResult<Option<Ascended>> {
        let (Some(df), true) = (self.df, self.straight) else { return Ok(None) };
        let Some(adjoint) = second.adjoint(0) else {
            return Ok(Some(Ascended::through(None, 1)));
        };
        let reverse = &second.reverse;
        let slope = df(reverse.input(0)?, &reverse.outputs[0], &self.numbers)?;
        Ok(Some(Ascended::through(Some(reverse.times(adjoint, &slope)?), 1)))
    }
}
