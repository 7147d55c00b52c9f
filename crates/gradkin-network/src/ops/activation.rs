//! Activations: Relu and its relatives, sigmoids, and PRelu, whose slope is a parameter.

use candle_core::{Result, Tensor};

use super::elementwise::{Elementwise, Function, Slope};
use super::second::{Ascended, Second, plus};
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::bends;
use crate::tensor::functions::{self, exp, sigmoid, tanh};
use crate::tensor::rows::Cut;
use crate::tensor::{broadcast_shape, example_shape, expand_to, lead_shape, sum_to};

pub(super) const OPERATORS: &[(&str, Build)] = &[
    // The sign of y ≥ 0 is the mask x > 0; a comparison with a number takes several times as long.
    ("Relu", |s| unary(s, &[], |x, _| x.relu(), |_, y, _| y.detach().sign())),
    ("LeakyRelu", |s| {
        unary(s, &[("alpha", 0.01)], |x, n| piece(x, |x| x * n[0]), |x, _, n| slope(x, n[0]))
    }),
    ("ThresholdedRelu", |s| {
        unary(
            s,
            &[("alpha", 1.0)],
            |x, n| mask(x, |x| x.gt(n[0]))? * x,
            |x, _, n| mask(x, |x| x.gt(n[0])),
        )
    }),
    ("Elu", |s| {
        unary(
            s,
            &[("alpha", 1.0)],
            |x, n| piece(x, |x| (exp(x)? - 1.0)? * n[0]),
            |x, y, n| select(x, &x.ones_like()?, &(y + n[0])?),
        )
    }),
    ("Selu", |s| {
        unary(
            s,
            &[("alpha", 1.673_263_242_354_377_2), ("gamma", 1.050_700_987_355_480_5)],
            |x, n| piece(x, |x| (exp(x)? - 1.0)? * n[0])? * n[1],
            |x, y, n| select(x, &(x.ones_like()? * n[1])?, &(y + n[0] * n[1])?),
        )
    }),
    ("Celu", |s| {
        unary(
            s,
            &[("alpha", 1.0)],
            |x, n| piece(x, |x| (exp(&(x / n[0])?)? - 1.0)? * n[0]),
            |x, _, n| select(x, &x.ones_like()?, &exp(&(x / n[0])?)?),
        )
    }),
    ("Sigmoid", |s| unary(s, &[], |x, _| sigmoid(x), |_, y, _| y - y.sqr()?)),
    ("HardSigmoid", |s| {
        unary(
            s,
            &[("alpha", 0.2), ("beta", 0.5)],
            |x, n| x.affine(n[0], n[1])?.clamp(0.0, 1.0),
            |_, y, n| inside(y, 0.0, 1.0)? * n[0],
        )
    }),
    ("HardSwish", |s| {
        unary(
            s,
            &[],
            |x, _| x * x.affine(1.0 / 6.0, 0.5)?.clamp(0.0, 1.0)?,
            |x, _, _| {
                let gate = x.affine(1.0 / 6.0, 0.5)?.clamp(0.0, 1.0)?;
                gate + ((inside(x, -3.0, 3.0)? * x)? / 6.0)?
            },
        )
    }),
    ("Swish", |s| {
        unary(
            s,
            &[("alpha", 1.0)],
            |x, n| x * sigmoid(&(x * n[0])?)?,
            |x, y, n| {
                let gate = sigmoid(&(x * n[0])?)?;
                let rest = (y * ((1.0 - &gate)? * n[0])?)?;
                gate + rest
            },
        )
    }),
    ("Mish", |s| {
        unary(
            s,
            &[],
            |x, _| x * tanh(&softplus(x)?)?,
            |x, _, _| {
                let t = tanh(&softplus(x)?)?;
                let inner = ((1.0 - t.sqr()?)? * (x * sigmoid(x)?)?)?;
                t + inner
            },
        )
    }),
    ("Softplus", |s| unary(s, &[], |x, _| softplus(x), |x, _, _| sigmoid(x))),
    ("Softsign", |s| {
        unary(s, &[], |x, _| x / (x.abs()? + 1.0)?, |x, _, _| (x.abs()? + 1.0)?.sqr()?.recip())
    }),
    ("Tanh", |s| unary(s, &[], |x, _| tanh(x), |_, y, _| 1.0 - y.sqr()?)),
    ("Shrink", |s| {
        unary(
            s,
            &[("bias", 0.0), ("lambd", 0.5)],
            |x, n| {
                let above = (mask(x, |x| x.gt(n[1]))? * (x - n[0])?)?;
                above + (mask(x, |x| x.lt(-n[1]))? * (x + n[0])?)?
            },
            |x, _, n| mask(x, |x| x.gt(n[1]))? + mask(x, |x| x.lt(-n[1]))?,
        )
    }),
    ("Gelu", gelu),
    ("PRelu", |s| PRelu::build(s)),
];

/// An activation with numbers read from attributes.
fn unary(
    setup: &Setup,
    numbers: &[(&str, f64)],
    f: Function,
    df: Slope,
) -> OpResult<Box<dyn Operator>> {
    let read = |(name, default): &(&str, f64)| setup.attributes.float(name, *default);
    let numbers = numbers.iter().map(read).collect::<OpResult<Vec<f64>>>()?;
    let straight =
        matches!(setup.operator, "Relu" | "LeakyRelu" | "ThresholdedRelu" | "HardSigmoid");
    let below = match setup.operator {
        "Relu" => Some(0.0),
        "LeakyRelu" => numbers.first().copied(),
        _ => None,
    };
    Ok(Box::new(Elementwise { name: "activation", numbers, f, df: Some(df), straight, below }))
}

/// One where the condition holds and zero elsewhere, in the type of `x`.
pub(super) fn mask(x: &Tensor, condition: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    condition(x)?.to_dtype(x.dtype())
}

/// One strictly between two bounds.
pub(super) fn inside(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    mask(x, |x| x.gt(low))? * mask(x, |x| x.lt(high))?
}

/// `positive` where x > 0 and `negative` elsewhere.
pub(super) fn select(x: &Tensor, positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
    x.gt(0.0)?.where_cond(&positive.contiguous()?, &negative.contiguous()?)
}

/// x where positive, g(x) elsewhere; g sees only arguments ≤ 0, so that exponentials stay finite.
pub(super) fn piece(x: &Tensor, g: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    select(x, x, &g(&x.minimum(0.0)?)?)
}

pub(super) fn slope(x: &Tensor, negative: f64) -> Result<Tensor> {
    // One where positive, `negative` elsewhere.
    mask(x, |x| x.gt(0.0))?.affine(1.0 - negative, negative)
}

/// log(1 + e^x) = max(x, 0) + log(1 + e^−|x|).
pub(super) fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (exp(&x.abs()?.neg()?)? + 1.0)?.log()?
}

/// Gelu, exact by the error function or by the tanh approximation.
fn gelu(setup: &Setup) -> OpResult<Box<dyn Operator>> {
    match setup.attributes.text("approximate", "none")? {
        "none" => unary(setup, &[], |x, _| functions::gelu(x), |x, _, _| functions::gelu_slope(x)),
        "tanh" => unary(
            setup,
            &[],
            |x, _| (x * (tanh(&gelu_inner(x)?)? + 1.0)?)? * 0.5,
            |x, _, _| {
                let t = tanh(&gelu_inner(x)?)?;
                let inner = x.sqr()?.affine(3.0 * GELU_CUBE * GELU_SCALE, GELU_SCALE)?;
                let rest = (x * ((1.0 - t.sqr()?)? * inner)?)?;
                ((t + 1.0)? + rest)? * 0.5
            },
        ),
        other => fail!("approximate `{other}` is unknown; expected none or tanh"),
    }
}

const GELU_SCALE: f64 = 0.797_884_560_802_865_4; // √(2/π)
const GELU_CUBE: f64 = 0.044715;

fn gelu_inner(x: &Tensor) -> Result<Tensor> {
    x * x.sqr()?.affine(GELU_CUBE * GELU_SCALE, GELU_SCALE)?
}

/// max(0, x) + slope · min(0, x), the slope broadcast to x.
#[derive(Debug)]
struct PRelu;

impl PRelu {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        if broadcast_shape(shape, setup.shape(1)?)? != shape {
            fail!("a slope of shape {:?} does not broadcast to {shape:?}", setup.shape(1)?);
        }
        Ok(Box::new(Self))
    }
}

impl Operator for PRelu {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let (x, slope) = (required(inputs, 0)?, required(inputs, 1)?);
        if let Some(cut) = bends::cut(x, slope) {
            return Ok(bends::bent(x, cut, slope)?.into());
        }
        let lead = x.dims()[0].max(slope.dims()[0]);
        let slope = expand_to(slope, lead, example_shape(x))?;
        let negative = x.minimum(&x.zeros_like()?)?.broadcast_mul(&slope)?;
        Ok(x.relu()?.broadcast_add(&negative)?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let (x, slope) = (sweep.input(0)?, sweep.input(1)?);
        let cotangent = sweep.cotangent()?;
        let mut result = vec![None, None];
        if let Some(cut) = bends::cut(x, slope).filter(|_| !cotangent.track_op()) {
            let value = sweep.meets(x);
            if sweep.wants(0) {
                result[0] = Some(bends::gated(cotangent, value, cut, slope)?);
            }
            if sweep.wants(1) {
                let sums = bends::below(cotangent, value, cut)?;
                result[1] = Some(over_rows(&sums, cut, sweep.shape(1)?)?);
            }
            return Ok(result);
        }
        if sweep.wants(0) {
            let lead = x.dims()[0].max(slope.dims()[0]);
            let slope = expand_to(slope, lead, example_shape(x))?.contiguous()?;
            let ones = slope.ones_like()?;
            let positive = expand_to(&x.gt(0.0)?, lead, example_shape(x))?.contiguous()?;
            let derivative = positive.where_cond(&ones, &slope)?;
            result[0] = Some(sweep.times(cotangent, &derivative)?);
        }
        if sweep.wants(1) {
            let negative = x.minimum(&x.zeros_like()?)?;
            result[1] = Some(sum_to(&sweep.times(cotangent, &negative)?, sweep.shape(1)?)?);
        }
        Ok(result)
    }

    /// Of x̄ = s ȳ and the slope's own Σ ȳ min(x, 0), s one or the slope.
    fn second(&self, second: &Second) -> OpResult<Option<Ascended>> {
        let sweep = &second.reverse;
        let (x, slope) = (sweep.input(0)?, sweep.input(1)?);
        let cotangent = sweep.cotangent()?;
        if let Some(cut) = bends::cut(x, slope) {
            return Ok(Some(self.second_by_rows(second, cut)?));
        }
        let lead = x.dims()[0].max(slope.dims()[0]);
        let shape = example_shape(x);
        let negative = mask(x, |x| x.le(0.0))?;
        let mut by_cotangent = None;
        let mut by_slope = None;
        let mut by_input = None;
        if let Some(adjoint) = second.adjoint(0) {
            let full = expand_to(slope, lead, shape)?.contiguous()?;
            let ones = full.ones_like()?;
            let positive = expand_to(&x.gt(0.0)?, lead, shape)?.contiguous()?;
            let derivative = positive.where_cond(&ones, &full)?;
            by_cotangent = Some(sweep.times(adjoint, &derivative)?);
            let moved = sweep.times(&(adjoint * cotangent)?, &negative)?;
            let own = sum_to(&moved, example_shape(slope))?;
            by_slope = Some(own.sum_keepdim(0)?);
        }
        if let Some(adjoint) = second.adjoint(1) {
            let adjoint = expand_to(adjoint, sweep.batch * sweep.width, shape)?.contiguous()?;
            let below = x.minimum(&x.zeros_like()?)?;
            by_cotangent = plus(by_cotangent, Some(sweep.times(&adjoint, &below)?))?;
            let moved = sweep.times(&(adjoint * cotangent)?, &negative)?;
            by_input = Some(sweep.by_example(&moved)?.sum(1)?);
        }
        Ok(Some(Ascended { cotangents: vec![by_cotangent], inputs: vec![by_input, by_slope] }))
    }
}

impl PRelu {
    /// [`Operator::second`], a row at a time.
    fn second_by_rows(&self, second: &Second, cut: Cut) -> OpResult<Ascended> {
        let sweep = &second.reverse;
        let (x, slopes) = (sweep.input(0)?, sweep.input(1)?);
        let cotangent = sweep.cotangent()?;
        let lead = cotangent.dims()[0];
        let along = match second.adjoint(1) {
            Some(along) => {
                let shape = (lead, cut.rows / cut.channels, cut.channels);
                along.reshape((lead, 1, cut.channels))?.broadcast_as(shape)?.contiguous()?
            }
            None => Tensor::zeros((lead, cut.rows), cotangent.dtype(), cotangent.device())?,
        };
        let own = bends::Turned { cotangent, value: sweep.meets(x), slopes, along: &along };
        let adjoint = match second.adjoint(0) {
            Some(adjoint) => adjoint.clone(),
            None => cotangent.zeros_like()?,
        };
        let [by_cotangent, by_slope, by_input] = bends::turned(&adjoint, &own, cut)?;
        let by_slope = over_rows(&by_slope, cut, example_shape(slopes))?.sum_keepdim(0)?;
        let inputs = vec![second.adjoint(1).map(|_| by_input), second.adjoint(0).map(|_| by_slope)];
        Ok(Ascended { cotangents: vec![Some(by_cotangent)], inputs })
    }
}

/// `[L, rows]` to `[L, *shape]` of the slopes: rows that met the same one are added up.
fn over_rows(sums: &Tensor, cut: Cut, shape: &[usize]) -> OpResult<Tensor> {
    let lead = sums.dims()[0];
    let by_slope = sums.reshape((lead, cut.rows / cut.channels, cut.channels))?;
    let total = match cut.rows == cut.channels {
        true => by_slope,
        false => by_slope.sum(1)?,
    };
    Ok(total.reshape(lead_shape(lead, shape))?)
}
