//! The functions that open and close a gate, with the clip in front of them.

use candle_core::{Result, Tensor};

use super::super::Setup;
use super::super::activation::{inside, mask, piece, select, slope, softplus};
use crate::error::{OpResult, fail};
use crate::tensor::functions::{exp, sigmoid, tanh};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Function {
    Sigmoid,
    Tanh,
    Relu,
    Affine,
    LeakyRelu,
    ThresholdedRelu,
    ScaledTanh,
    HardSigmoid,
    Elu,
    Softsign,
    Softplus,
}

impl Function {
    /// The function and its default alpha and beta, where it has them.
    fn named(name: &str) -> OpResult<(Self, Option<f64>, Option<f64>)> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "sigmoid" => (Self::Sigmoid, None, None),
            "tanh" => (Self::Tanh, None, None),
            "relu" => (Self::Relu, None, None),
            "affine" => (Self::Affine, Some(1.0), Some(0.0)),
            "leakyrelu" => (Self::LeakyRelu, Some(0.01), None),
            "thresholdedrelu" => (Self::ThresholdedRelu, Some(1.0), None),
            "scaledtanh" => (Self::ScaledTanh, Some(1.0), Some(1.0)),
            "hardsigmoid" => (Self::HardSigmoid, Some(0.2), Some(0.5)),
            "elu" => (Self::Elu, Some(1.0), None),
            "softsign" => (Self::Softsign, None, None),
            "softplus" => (Self::Softplus, None, None),
            _ => fail!("the activation `{name}` is unknown"),
        })
    }
}

/// y = f(x), or f(min(max(x, −clip), clip)).
#[derive(Debug, Clone, Copy)]
pub(super) struct Activation {
    function: Function,
    alpha: f64,
    beta: f64,
    clip: Option<f64>,
}

impl Activation {
    /// The activations of every direction, `defaults` giving their number and names.
    pub(super) fn read(
        setup: &Setup,
        defaults: &[&str],
        directions: usize,
    ) -> OpResult<Vec<Vec<Self>>> {
        let own = |names: Vec<String>| if names.is_empty() { None } else { Some(names) };
        let names = setup.attributes.texts("activations")?.and_then(own).unwrap_or_else(|| {
            let one = defaults.iter().map(|name| (*name).to_owned());
            one.cycle().take(defaults.len() * directions).collect()
        });
        if names.len() != defaults.len() * directions {
            let wanted = defaults.len() * directions;
            fail!("{} activations are given where {wanted} are needed", names.len());
        }
        // Alphas and betas are listed for those functions alone that have one.
        let mut alphas =
            setup.attributes.floats("activation_alpha")?.unwrap_or_default().into_iter();
        let mut betas = setup.attributes.floats("activation_beta")?.unwrap_or_default().into_iter();
        let clip = match setup.attributes.float("clip", 0.0)? {
            bound if bound > 0.0 => Some(bound),
            _ => None,
        };
        let mut list = Vec::with_capacity(names.len());
        for name in &names {
            let (function, alpha, beta) = Function::named(name)?;
            let alpha = alpha.map_or(0.0, |default| alphas.next().unwrap_or(default));
            let beta = beta.map_or(0.0, |default| betas.next().unwrap_or(default));
            list.push(Self { function, alpha, beta, clip });
        }
        Ok(list.chunks(defaults.len()).map(<[Self]>::to_vec).collect())
    }

    /// The same function without the clip.
    pub(super) fn unclipped(&self) -> Self {
        Self { clip: None, ..*self }
    }

    /// y and dy/dx at x.
    pub(super) fn with_slope(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let Some(clip) = self.clip else {
            let y = self.value(x)?;
            let slope = self.slope(x, &y)?;
            return Ok((y, slope));
        };
        let held = x.clamp(-clip, clip)?;
        let y = self.value(&held)?;
        let slope = (self.slope(&held, &y)? * inside(x, -clip, clip)?)?;
        Ok((y, slope))
    }

    fn value(&self, x: &Tensor) -> Result<Tensor> {
        let (alpha, beta) = (self.alpha, self.beta);
        match self.function {
            Function::Sigmoid => sigmoid(x),
            Function::Tanh => tanh(x),
            Function::Relu => x.relu(),
            Function::Affine => x.affine(alpha, beta),
            Function::LeakyRelu => piece(x, |x| x * alpha),
            Function::ThresholdedRelu => mask(x, |x| x.ge(alpha))? * x,
            Function::ScaledTanh => tanh(&(x * beta)?)? * alpha,
            Function::HardSigmoid => x.affine(alpha, beta)?.clamp(0.0, 1.0),
            Function::Elu => piece(x, |x| (exp(x)? - 1.0)? * alpha),
            Function::Softsign => x / (x.abs()? + 1.0)?,
            Function::Softplus => softplus(x),
        }
    }

    fn slope(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let (alpha, beta) = (self.alpha, self.beta);
        match self.function {
            Function::Sigmoid => y - y.sqr()?,
            Function::Tanh => 1.0 - y.sqr()?,
            Function::Relu => mask(x, |x| x.gt(0.0)),
            Function::Affine => x.ones_like()? * alpha,
            Function::LeakyRelu => slope(x, alpha),
            Function::ThresholdedRelu => mask(x, |x| x.ge(alpha)),
            Function::ScaledTanh => (1.0 - tanh(&(x * beta)?)?.sqr()?)? * (alpha * beta),
            Function::HardSigmoid => inside(y, 0.0, 1.0)? * alpha,
            Function::Elu => select(x, &x.ones_like()?, &(y + alpha)?),
            Function::Softsign => (x.abs()? + 1.0)?.sqr()?.recip(),
            Function::Softplus => sigmoid(x),
        }
    }
}
