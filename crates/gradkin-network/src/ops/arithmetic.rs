//! Arithmetic, comparison and logic, with NumPy broadcasting.

use candle_core::{DType, Result, Tensor};

use super::activation::mask;
use super::elementwise::{Elementwise, Function, Slope};
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::bends;
use crate::tensor::functions::{erf, erf_slope, exp};
use crate::tensor::rows::Cut;
use crate::tensor::{broadcast_shape, example_shape, lead_shape, sum_to, with_rank};

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Neg", |_| unary("Neg", |x, _| negate(x), Some(|x, _, _| x.ones_like()?.neg()))),
    ("Abs", |_| unary("Abs", |x, _| x.abs(), Some(|x, _, _| x.sign()))),
    ("Sqrt", |_| unary("Sqrt", |x, _| x.sqrt(), Some(|_, y, _| y.recip()? * 0.5))),
    ("Exp", |_| unary("Exp", |x, _| exp(x), Some(|_, y, _| Ok(y.clone())))),
    ("Log", |_| unary("Log", |x, _| x.log(), Some(|x, _, _| x.recip()))),
    ("Reciprocal", |_| unary("Reciprocal", |x, _| x.recip(), Some(|_, y, _| y.sqr()?.neg()))),
    ("Erf", |_| unary("Erf", |x, _| erf(x), Some(|x, _, _| erf_slope(x)))),
    ("Sin", |_| unary("Sin", |x, _| x.sin(), Some(|x, _, _| x.cos()))),
    ("Cos", |_| unary("Cos", |x, _| x.cos(), Some(|x, _, _| x.sin()?.neg()))),
    ("Tan", |_| unary("Tan", |x, _| x.sin()? / x.cos()?, Some(|_, y, _| y.sqr()? + 1.0))),
    ("Sinh", |_| unary("Sinh", |x, _| (exp(x)? - exp(&x.neg()?)?)? * 0.5, Some(|x, _, _| cosh(x)))),
    ("Cosh", |_| unary("Cosh", |x, _| cosh(x), Some(|x, _, _| (exp(x)? - exp(&x.neg()?)?)? * 0.5))),
    ("Sign", |_| unary("Sign", |x, _| x.sign(), None)),
    ("Floor", |_| unary("Floor", |x, _| x.floor(), None)),
    ("Ceil", |_| unary("Ceil", |x, _| x.ceil(), None)),
    ("Round", |_| unary("Round", |x, _| round_half_even(x), None)),
    ("IsNaN", |_| unary("IsNaN", |x, _| x.ne(x), None)),
    ("IsInf", is_infinite),
    ("Not", |_| unary("Not", |x, _| x.eq(0u8), None)),
    ("Add", |s| Binary::build(s, Kind::Add)),
    ("Sub", |s| Binary::build(s, Kind::Sub)),
    ("Mul", |s| Binary::build(s, Kind::Mul)),
    ("Div", |s| Binary::build(s, Kind::Div)),
    ("Pow", |s| Binary::build(s, Kind::Pow)),
    ("Mod", |s| Binary::build(s, Kind::Mod)),
    ("Equal", |s| Binary::build(s, Kind::Equal)),
    ("Greater", |s| Binary::build(s, Kind::Greater)),
    ("GreaterOrEqual", |s| Binary::build(s, Kind::GreaterOrEqual)),
    ("Less", |s| Binary::build(s, Kind::Less)),
    ("LessOrEqual", |s| Binary::build(s, Kind::LessOrEqual)),
    ("And", |s| Binary::build(s, Kind::And)),
    ("Or", |s| Binary::build(s, Kind::Or)),
    ("Xor", |s| Binary::build(s, Kind::Xor)),
    ("Sum", |s| Variadic::build(s, Fold::Sum)),
    ("Mean", |s| Variadic::build(s, Fold::Mean)),
    ("Min", |s| Variadic::build(s, Fold::Min)),
    ("Max", |s| Variadic::build(s, Fold::Max)),
    ("Clip", Clip::build),
    ("Where", Where::build),
];

fn unary(name: &'static str, f: Function, df: Option<Slope>) -> OpResult<Box<dyn Operator>> {
    Ok(Box::new(Elementwise { name, numbers: Vec::new(), f, df, straight: false, below: None }))
}

/// Which infinities count is up to two attributes.
fn is_infinite(setup: &Setup) -> OpResult<Box<dyn Operator>> {
    let counts =
        |name: &str| -> OpResult<f64> { Ok(f64::from(setup.attributes.int(name, 1)? != 0)) };
    let numbers = vec![counts("detect_positive")?, counts("detect_negative")?];
    let f = |x: &Tensor, n: &[f64]| {
        let positive = (x.eq(f64::INFINITY)?.to_dtype(x.dtype())? * n[0])?;
        let negative = (x.eq(f64::NEG_INFINITY)?.to_dtype(x.dtype())? * n[1])?;
        (positive + negative)?.ne(0.0)
    };
    Ok(Box::new(Elementwise { name: "IsInf", numbers, f, df: None, straight: false, below: None }))
}

fn cosh(x: &Tensor) -> Result<Tensor> {
    (exp(x)? + exp(&x.neg()?)?)? * 0.5
}

/// Candle negates floats only; shape arithmetic needs whole numbers too.
fn negate(x: &Tensor) -> Result<Tensor> {
    if x.dtype().is_float() { x.neg() } else { x.zeros_like()?.sub(x) }
}

/// Rounds halves to the even neighbour, as ONNX asks.
pub(super) fn round_half_even(x: &Tensor) -> Result<Tensor> {
    let up = (x + 0.5)?.floor()?;
    let half = mask(&(&up - x)?, |gap| gap.eq(0.5))?;
    let odd = (&up - ((&up * 0.5)?.floor()? * 2.0)?)?;
    &up - (half * odd)?
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Mod,
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    And,
    Or,
    Xor,
}

impl Kind {
    /// Arithmetic of whole numbers, which wraps around, truncates, and gives zero over zero.
    fn on_integers(self, truncated: bool) -> Option<fn(i64, i64) -> i64> {
        Some(match self {
            Self::Add => i64::wrapping_add,
            Self::Sub => i64::wrapping_sub,
            Self::Mul => i64::wrapping_mul,
            Self::Div => |a, b| if b == 0 { 0 } else { a.wrapping_div(b) },
            Self::Pow => integer_power,
            Self::Mod if truncated => |a, b| if b == 0 { 0 } else { a.wrapping_rem(b) },
            Self::Mod => floor_remainder,
            _ => return None,
        })
    }
}

/// a^b; the reciprocal of a power is zero unless a is one or minus one.
fn integer_power(a: i64, b: i64) -> i64 {
    match (a, u32::try_from(b)) {
        (_, Ok(b)) => a.wrapping_pow(b),
        (0 | 1, _) => a,
        (-1, _) => {
            if b % 2 == 0 {
                1
            } else {
                -1
            }
        }
        _ => 0,
    }
}

/// The remainder whose sign follows the divisor.
fn floor_remainder(a: i64, b: i64) -> i64 {
    match if b == 0 { 0 } else { a.wrapping_rem(b) } {
        rest if rest != 0 && (rest < 0) != (b < 0) => rest + b,
        rest => rest,
    }
}

/// The tensor library's own arithmetic of whole numbers panics where a divisor is zero.
fn integers(a: &Tensor, b: &Tensor, f: fn(i64, i64) -> i64) -> Result<Tensor> {
    let shape = a.shape().broadcast_shape_binary_op(b.shape(), "arithmetic")?;
    let flat = |x: &Tensor| x.broadcast_as(&shape)?.flatten_all()?.to_vec1::<i64>();
    let values: Vec<i64> = flat(a)?.into_iter().zip(flat(b)?).map(|(a, b)| f(a, b)).collect();
    Tensor::from_vec(values, shape, a.device())
}

/// Two operands, broadcast against each other.
#[derive(Debug)]
struct Binary {
    kind: Kind,
    rank: usize,
    /// `fmod` of Mod: the sign follows the dividend.
    truncated: bool,
}

impl Binary {
    fn build(setup: &Setup, kind: Kind) -> OpResult<Box<dyn Operator>> {
        let shape = broadcast_shape(setup.shape(0)?, setup.shape(1)?)?;
        let truncated = setup.attributes.int("fmod", 0)? != 0;
        let types = [setup.operand(0)?.dtype, setup.operand(1)?.dtype];
        if kind.on_integers(truncated).is_some() && types.contains(&DType::U8) {
            fail!("the operator takes numbers, but it is given truth values");
        }
        Ok(Box::new(Self { kind, rank: shape.len(), truncated }))
    }

    fn compute(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        if a.dtype() == DType::I64
            && b.dtype() == DType::I64
            && let Some(whole) = self.kind.on_integers(self.truncated)
        {
            return integers(a, b, whole);
        }
        match self.kind {
            Kind::Add => a.broadcast_add(b),
            Kind::Sub => a.broadcast_sub(b),
            Kind::Mul => a.broadcast_mul(b),
            Kind::Div => a.broadcast_div(b),
            Kind::Pow => power(a, b),
            Kind::Mod => remainder(a, b, self.truncated),
            Kind::Equal => a.broadcast_eq(b),
            Kind::Greater => a.broadcast_gt(b),
            Kind::GreaterOrEqual => a.broadcast_ge(b),
            Kind::Less => a.broadcast_lt(b),
            Kind::LessOrEqual => a.broadcast_le(b),
            Kind::And => a.broadcast_mul(b),
            Kind::Or => a.broadcast_maximum(b),
            Kind::Xor => a.broadcast_ne(b),
        }
    }

    /// ∂y/∂a and ∂y/∂b as tensors that broadcast to y; `None` stands for one.
    fn slopes(&self, a: &Tensor, b: &Tensor, y: &Tensor) -> Result<[Option<Tensor>; 2]> {
        Ok(match self.kind {
            Kind::Add => [None, None],
            Kind::Sub => [None, Some(b.ones_like()?.neg()?)],
            Kind::Mul => [Some(b.clone()), Some(a.clone())],
            Kind::Div => {
                let over = b.recip()?;
                [Some(over.clone()), Some(y.broadcast_mul(&over)?.neg()?)]
            }
            Kind::Pow => {
                let lower = power(a, &(b - 1.0)?)?.broadcast_mul(b)?;
                // d/db a^b = a^b log a, and 0 where a = 0, since y is 0 there.
                let safe = a.eq(0.0)?.where_cond(&a.ones_like()?, a)?;
                [Some(lower), Some(y.broadcast_mul(&safe.log()?)?)]
            }
            Kind::Mod => {
                let quotient = a.broadcast_div(b)?;
                let whole = if self.truncated { truncate(&quotient)? } else { quotient.floor()? };
                [None, Some(whole.neg()?)]
            }
            _ => [Some(y.zeros_like()?), Some(y.zeros_like()?)],
        })
    }
}

impl Operator for Binary {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let a = with_rank(required(inputs, 0)?, self.rank)?;
        let mut b = with_rank(required(inputs, 1)?, self.rank)?;
        if b.dtype() != a.dtype() && self.kind != Kind::Pow {
            b = b.to_dtype(a.dtype())?;
        }
        Ok(self.compute(&a, &b)?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let cotangent = sweep.cotangent()?;
        let a = with_rank(sweep.input(0)?, self.rank)?;
        // Pow takes a whole exponent to a float.
        let b = with_rank(sweep.input(1)?, self.rank)?.to_dtype(a.dtype())?;
        let slopes = self.slopes(&a, &b, &sweep.outputs[0])?;
        let mut result = vec![None, None];
        for (k, slope) in slopes.into_iter().enumerate().filter(|(k, _)| sweep.wants(*k)) {
            let back = match slope {
                Some(slope) => sweep.times(cotangent, &slope)?,
                None => cotangent.clone(),
            };
            result[k] = Some(sum_to(&back, sweep.shape(k)?)?);
        }
        Ok(result)
    }

    fn is_linear(&self) -> bool {
        matches!(self.kind, Kind::Add | Kind::Sub)
    }
}

/// a^b; the common whole and half exponents exactly and for negative a, which exp(b log a) is not.
fn power(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if b.elem_count() == 1 && a.dtype().is_float() {
        let exponent = b.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?[0];
        let shape = a.broadcast_mul(&b.to_dtype(a.dtype())?)?.shape().clone();
        return uniform_power(a, exponent)?.reshape(shape);
    }
    if !a.dtype().is_float() {
        let (a, b) = (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
        return truncate(&signed_power(&a, &b)?)?.to_dtype(DType::I64);
    }
    signed_power(a, &b.to_dtype(a.dtype())?)
}

fn uniform_power(a: &Tensor, exponent: f64) -> Result<Tensor> {
    match exponent {
        0.0 => a.ones_like(),
        1.0 => Ok(a.clone()),
        2.0 => a.mul(a),
        3.0 => a.mul(a)?.mul(a),
        4.0 => a.mul(a)?.mul(&a.mul(a)?),
        0.5 => a.sqrt(),
        -0.5 => a.sqrt()?.recip(),
        -1.0 => a.recip(),
        -2.0 => a.mul(a)?.recip(),
        other => a.powf(other),
    }
}

/// a^b for whole b also where a < 0.
fn signed_power(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let shape = a.broadcast_add(b)?.shape().clone();
    let (a, b) = (a.broadcast_as(&shape)?.contiguous()?, b.broadcast_as(&shape)?.contiguous()?);
    let zero = a.eq(0.0)?;
    let base = zero.where_cond(&a.ones_like()?, &a.abs()?)?;
    let size = (base.log()? * &b)?.exp()?;
    let odd = (&b - ((&b * 0.5)?.floor()? * 2.0)?)?;
    let negative = mask(&a, |a| a.lt(0.0))?;
    let sign = ((negative * odd)? * -2.0)?.affine(1.0, 1.0)?;
    let value = (size * sign)?;
    let at_zero = mask(&b, |b| b.eq(0.0))?;
    zero.where_cond(&at_zero, &value)
}

fn truncate(x: &Tensor) -> Result<Tensor> {
    x.ge(0.0)?.where_cond(&x.floor()?, &x.ceil()?)
}

/// a − b·⌊a/b⌋, or a − b·trunc(a/b).
fn remainder(a: &Tensor, b: &Tensor, truncated: bool) -> Result<Tensor> {
    let kind = a.dtype();
    let (a, b) = (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
    let quotient = a.broadcast_div(&b)?;
    let whole = if truncated { truncate(&quotient)? } else { quotient.floor()? };
    a.broadcast_sub(&whole.broadcast_mul(&b)?)?.to_dtype(kind)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fold {
    Sum,
    Mean,
    Min,
    Max,
}

/// Any number of operands, broadcast against each other and folded.
#[derive(Debug)]
struct Variadic {
    fold: Fold,
    rank: usize,
}

impl Variadic {
    fn build(setup: &Setup, fold: Fold) -> OpResult<Box<dyn Operator>> {
        let mut shape = setup.shape(0)?.to_vec();
        for k in 1..setup.operands.len() {
            shape = broadcast_shape(&shape, setup.shape(k)?)?;
        }
        Ok(Box::new(Self { fold, rank: shape.len() }))
    }
}

impl Operator for Variadic {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let mut total = with_rank(required(inputs, 0)?, self.rank)?;
        for k in 1..inputs.len() {
            let next = with_rank(required(inputs, k)?, self.rank)?;
            total = match self.fold {
                Fold::Sum | Fold::Mean => total.broadcast_add(&next)?,
                Fold::Min => total.broadcast_minimum(&next)?,
                Fold::Max => total.broadcast_maximum(&next)?,
            };
        }
        if self.fold == Fold::Mean {
            total = (total / inputs.len() as f64)?;
        }
        Ok(total.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let cotangent = sweep.cotangent()?;
        let count = sweep.inputs.len();
        let mut result = vec![None; count];
        // The first operand that attains the extremum takes the whole cotangent.
        let mut taken: Option<Tensor> = None;
        for (k, slot) in result.iter_mut().enumerate() {
            let back = match self.fold {
                Fold::Sum => cotangent.clone(),
                Fold::Mean => (cotangent / count as f64)?,
                Fold::Min | Fold::Max => {
                    let x = with_rank(sweep.input(k)?, self.rank)?;
                    let y = &sweep.outputs[0];
                    let mut here = mask(&x.broadcast_sub(y)?, |gap| gap.eq(0.0))?;
                    if let Some(taken) = &taken {
                        here = (&here * (1.0 - taken)?)?;
                    }
                    taken = Some(match taken {
                        Some(taken) => (taken + &here)?,
                        None => here.clone(),
                    });
                    sweep.times(cotangent, &here)?
                }
            };
            if sweep.wants(k) {
                *slot = Some(sum_to(&back, sweep.shape(k)?)?);
            }
        }
        Ok(result)
    }

    fn is_linear(&self) -> bool {
        matches!(self.fold, Fold::Sum | Fold::Mean)
    }
}

/// A bound of Clip: a number, or an input of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    Number(f64),
    Input,
}

/// min(max(x, low), high).
#[derive(Debug)]
struct Clip {
    low: Bound,
    high: Bound,
}

impl Clip {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let bound = |name: &str, k: usize, default: f64| -> OpResult<Bound> {
            if setup.attributes.has(name) || !setup.has(k) {
                return Ok(Bound::Number(setup.attributes.float(name, default)?));
            }
            if setup.shape(k)?.iter().product::<usize>() != 1 {
                fail!("bound {k} has shape {:?} and not one number", setup.shape(k)?);
            }
            Ok(match setup.operand(k)?.constant {
                Some(_) => {
                    let value = setup.constant_floats(k)?;
                    Bound::Number(value.and_then(|v| v.first().copied()).unwrap_or(default))
                }
                None => Bound::Input,
            })
        };
        let low = bound("min", 1, f64::NEG_INFINITY)?;
        let high = bound("max", 2, f64::INFINITY)?;
        Ok(Box::new(Self { low, high }))
    }

    /// A bound as a tensor that broadcasts to `x`.
    fn bound(bound: Bound, inputs: &Inputs, k: usize, x: &Tensor) -> OpResult<Tensor> {
        let shape = |lead: usize| lead_shape(lead, &vec![1; x.rank() - 1]);
        Ok(match bound {
            Bound::Number(value) => {
                Tensor::full(value, shape(1), x.device())?.to_dtype(x.dtype())?
            }
            Bound::Input => {
                let bound = required(inputs, k)?;
                bound.reshape(shape(bound.dims()[0]))?
            }
        })
    }
}

impl Operator for Clip {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let mut y = x.clone();
        match self.low {
            Bound::Number(f64::NEG_INFINITY) => {}
            Bound::Number(low) => y = y.maximum(low)?,
            Bound::Input => y = y.broadcast_maximum(&Self::bound(self.low, inputs, 1, x)?)?,
        }
        match self.high {
            Bound::Number(f64::INFINITY) => {}
            Bound::Number(high) => y = y.minimum(high)?,
            Bound::Input => y = y.broadcast_minimum(&Self::bound(self.high, inputs, 2, x)?)?,
        }
        Ok(y.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let (x, cotangent) = (sweep.input(0)?, sweep.cotangent()?);
        if let (Bound::Number(low), Bound::Number(high)) = (self.low, self.high)
            && !sweep.wants(1)
            && !sweep.wants(2)
            && let Some(cut) = Cut::alone(1, x.elem_count() / x.dims()[0].max(1), &[x, cotangent])
        {
            let mut result = vec![None; sweep.inputs.len()];
            result[0] = Some(bends::between(cotangent, sweep.meets(x), cut, [low, high])?);
            return Ok(result);
        }
        let low = Self::bound(self.low, sweep.inputs, 1, x)?;
        let high = Self::bound(self.high, sweep.inputs, 2, x)?;
        let raised = x.broadcast_maximum(&low)?;
        let one = |mask: Tensor| mask.to_dtype(x.dtype());
        let (above, below) = (one(x.broadcast_gt(&low)?)?, one(raised.broadcast_lt(&high)?)?);
        let mut result = vec![None; sweep.inputs.len()];
        if sweep.wants(0) {
            result[0] = Some(sweep.times(cotangent, &above.broadcast_mul(&below)?)?);
        }
        if sweep.wants(1) {
            let here = (1.0 - above)?.broadcast_mul(&below)?;
            result[1] = Some(sum_to(&sweep.times(cotangent, &here)?, sweep.shape(1)?)?);
        }
        if sweep.wants(2) {
            let here = (1.0 - below)?;
            result[2] = Some(sum_to(&sweep.times(cotangent, &here)?, sweep.shape(2)?)?);
        }
        Ok(result)
    }
}

/// condition ? a : b.
#[derive(Debug)]
struct Where {
    shape: Vec<usize>,
}

impl Where {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = broadcast_shape(setup.shape(0)?, setup.shape(1)?)?;
        let shape = broadcast_shape(&shape, setup.shape(2)?)?;
        if setup.operand(1)?.dtype != setup.operand(2)?.dtype {
            fail!("the two choices have different element types");
        }
        Ok(Box::new(Self { shape }))
    }
}

impl Operator for Where {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let parts = [required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?];
        let lead = parts.iter().map(|t| t.dims()[0]).max().unwrap_or(1);
        let mut full = Vec::with_capacity(3);
        for part in parts {
            full.push(crate::tensor::expand_to(part, lead, &self.shape)?.contiguous()?);
        }
        Ok(full[0].where_cond(&full[1], &full[2])?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let cotangent = sweep.cotangent()?;
        let chosen = with_rank(sweep.input(0)?, self.shape.len())?.to_dtype(cotangent.dtype())?;
        debug_assert_eq!(example_shape(cotangent), self.shape);
        let mut result = vec![None, None, None];
        if sweep.wants(1) {
            result[1] = Some(sum_to(&sweep.times(cotangent, &chosen)?, sweep.shape(1)?)?);
        }
        if sweep.wants(2) {
            let other = (1.0 - chosen)?;
            result[2] = Some(sum_to(&sweep.times(cotangent, &other)?, sweep.shape(2)?)?);
        }
        Ok(result)
    }
}
