//! The derivative of a node's part in the reverse sweep.
//!
//! A node takes cotangents ȳ of its outputs to cotangents x̄ = J(x)ᵀ ȳ of its inputs and to factors of
//! its parameters. Of a function φ of all those, what is needed is its derivative by ȳ, which is J(x)
//! times that by x̄, and by the inputs x, where J depends on them. Operators that a training step
//! spends its time in give both themselves; for all others the node's forward step and reverse rule
//! run once more on the tensor library's tape.

use candle_core::{Tensor, Var};

use super::{Operator, Reverse};
use crate::error::OpResult;
use crate::factor::Factor;
use crate::second::Adjoint;
use crate::sweep::Imaged;

/// What the derivative of a reverse rule works with.
pub(crate) struct Second<'a> {
    /// The reverse step, with the cotangents that it had.
    pub(crate) reverse: Reverse<'a>,
    /// By operand: derivatives of φ by the cotangents that the step gave, `[B·d, *shape]`.
    pub(crate) adjoints: &'a [Option<Tensor>],
    /// By operand: derivatives of φ by the factors that it gave, in their form.
    pub(crate) factors: &'a [Option<Adjoint>],
}

/// Derivatives of φ through one node.
#[derive(Default)]
pub(crate) struct Ascended {
    /// By output: by its cotangent, `[B·d, *shape]`.
    pub(crate) cotangents: Vec<Option<Tensor>>,
    /// By operand: by its value, `[B, *shape]`, or `[1, *shape]` where all examples share it.
    pub(crate) inputs: Vec<Option<Tensor>>,
}

impl Ascended {
    /// Only the one output's cotangent matters.
    pub(crate) fn through(cotangent: Option<Tensor>, operands: usize) -> Self {
        Self { cotangents: vec![cotangent], inputs: vec![None; operands] }
    }
}

impl Second<'_> {
    pub(crate) fn adjoint(&self, operand: usize) -> Option<&Tensor> {
        self.adjoints.get(operand).and_then(Option::as_ref)
    }

    pub(crate) fn factor(&self, operand: usize) -> Option<&Factor> {
        match self.factors.get(operand)? {
            Some(Adjoint::Factor(factor)) => Some(factor),
            _ => None,
        }
    }

    /// Where an image was given in place of a factor.
    pub(crate) fn imaged(&self, operand: usize) -> Option<&Imaged> {
        match self.factors.get(operand)? {
            Some(Adjoint::Imaged(imaged)) => Some(imaged),
            _ => None,
        }
    }

    pub(crate) fn operands(&self) -> usize {
        self.reverse.inputs.len()
    }
}

/// a + b, where either may be missing.
pub(crate) fn plus(a: Option<Tensor>, b: Option<Tensor>) -> OpResult<Option<Tensor>> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some((a + b)?),
        (a, b) => a.or(b),
    })
}

/// The derivative of any node: that of its own hand where it has one, else by the tape.
pub(crate) fn ascend(operator: &dyn Operator, second: &Second) -> OpResult<Ascended> {
    // Factors are no part of what a linear operator computes, and whole numbers that differ from one
    // example to the next have no copy per output.
    let plain = |input: &&Tensor| {
        input.dtype().is_float() || input.dims()[0] == 1 || second.reverse.width == 1
    };
    let inputs = || second.reverse.inputs.iter().flatten();
    if operator.is_linear() && second.factors.iter().all(Option::is_none) && inputs().all(plain) {
        return linear(operator, second);
    }
    match operator.second(second)? {
        Some(ascended) => Ok(ascended),
        None => by_tape(operator, second),
    }
}

/// A linear operator takes derivatives by cotangents as it takes values.
fn linear(operator: &dyn Operator, second: &Second) -> OpResult<Ascended> {
    // What is merely moved is operand 0; whatever else there is says how.
    if operator.moves_entries() && second.adjoint(0).is_none() {
        return Ok(Ascended::through(None, second.operands()));
    }
    let rows = second.reverse.batch * second.reverse.width;
    let mut operands = Vec::with_capacity(second.operands());
    for (operand, input) in second.reverse.inputs.iter().enumerate() {
        operands.push(match (second.adjoint(operand), input) {
            (Some(adjoint), _) => Some(adjoint.clone()),
            (None, Some(input)) if input.dtype().is_float() => {
                let mut shape = input.dims().to_vec();
                if shape[0] != 1 {
                    shape[0] = rows;
                }
                Some(Tensor::zeros(shape, input.dtype(), input.device())?)
            }
            (None, input) => input.cloned(),
        });
    }
    let operands: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
    let outputs = operator.forward(&operands)?.outputs;
    let wanted = second.reverse.cotangents.iter().map(Option::is_some);
    let mut cotangents = Vec::with_capacity(outputs.len());
    for (output, wanted) in outputs.into_iter().zip(wanted) {
        let full = crate::tensor::lead_shape(rows, &output.dims()[1..]);
        cotangents.push(if !wanted {
            None
        } else if output.dims()[0] == rows {
            Some(output)
        } else {
            Some(output.broadcast_as(full)?.contiguous()?)
        });
    }
    Ok(Ascended { cotangents, inputs: vec![None; second.operands()] })
}

fn by_tape(operator: &dyn Operator, second: &Second) -> OpResult<Ascended> {
    if (0..second.operands()).any(|operand| second.imaged(operand).is_some()) {
        crate::error::fail!("the derivative by an image has no way through the tape");
    }
    let Reverse { inputs, cotangents, wanted, batch, width, .. } = second.reverse;
    let factored = |operand: usize| second.factor(operand).is_some();
    let mut inner: Vec<Option<Var>> = Vec::with_capacity(inputs.len());
    for (operand, input) in inputs.iter().enumerate() {
        let moves = wanted.get(operand) == Some(&true) || factored(operand);
        inner.push(match input {
            Some(input) if moves => Some(Var::from_tensor(input)?),
            _ => None,
        });
    }
    let mut outer: Vec<Option<Var>> = Vec::with_capacity(cotangents.len());
    for cotangent in cotangents {
        outer.push(match cotangent {
            Some(cotangent) => Some(Var::from_tensor(cotangent)?),
            None => None,
        });
    }
    let tracked: Vec<Option<&Tensor>> =
        inputs.iter().zip(&inner).map(|(x, v)| v.as_ref().map(Var::as_tensor).or(*x)).collect();
    let forward = operator.forward(&tracked)?;
    let back: Vec<Option<Tensor>> =
        outer.iter().map(|v| v.as_ref().map(|v| v.as_tensor().clone())).collect();
    let reverse = Reverse {
        inputs: &tracked,
        outputs: &forward.outputs,
        saved: &forward.saved,
        cotangents: &back,
        wanted,
        batch,
        width,
        memo: Default::default(),
    };
    let mut terms = Vec::new();
    if wanted.contains(&true) {
        for (operand, result) in operator.reverse(&reverse)?.into_iter().enumerate() {
            if let (Some(result), Some(adjoint)) = (result, second.adjoint(operand)) {
                terms.push((result, adjoint.clone()));
            }
        }
    }
    for operand in (0..inputs.len()).filter(|operand| factored(*operand)) {
        let Some(adjoint) = second.factor(operand) else { continue };
        match (operator.factor(operand, &reverse)?, adjoint) {
            (
                Factor::Outer { input, cotangent, .. },
                Factor::Outer { input: by_input, cotangent: by_cotangent, .. },
            ) => {
                terms.push((input, by_input.clone()));
                terms.push((cotangent, by_cotangent.clone()));
            }
            (Factor::Rows { cotangent, .. }, Factor::Rows { cotangent: by_cotangent, .. }) => {
                terms.push((cotangent, by_cotangent.clone()));
            }
            (factor, Factor::Dense(adjoint)) => terms.push((factor.to_dense()?, adjoint.clone())),
            _ => crate::error::fail!("the derivative by a factor is of another form"),
        }
    }
    let mut total: Option<Tensor> = None;
    for (value, adjoint) in terms {
        let adjoint = adjoint.reshape(value.shape())?;
        let product = (value * adjoint)?.sum_all()?;
        total = plus(total, Some(product))?;
    }
    let Some(total) = total else {
        return Ok(Ascended::through(None, inputs.len()));
    };
    let store = total.backward()?;
    let found = |vars: &[Option<Var>]| -> Vec<Option<Tensor>> {
        vars.iter().map(|v| v.as_ref().and_then(|v| store.get(v.as_tensor()).cloned())).collect()
    };
    Ok(Ascended { cotangents: found(&outer), inputs: found(&inner) })
}
