//! The operators. To add one, write a struct with a forward and a reverse rule in the family's file
//! and a line in that family's `OPERATORS` table; if it holds a weight that meets its input in a
//! product, give the factor too.
//!
//! Each operator is built for one example: its shapes are known, its shape-like inputs (axes, target
//! shapes, pads) are already numbers. At run time every tensor carries a leading axis of examples
//! (see [`crate::tensor`]), so an operator shifts its axes by one and never mixes examples. That is
//! why a file exported with a batch of one, or with it baked into a Reshape, runs at any batch.

mod activation;
mod arithmetic;
mod attention;
mod batch_normalization;
mod blocks;
mod convolution;
mod cumulative;
#[cfg(test)]
mod derivatives;
mod einsum;
mod elementwise;
mod grid_sample;
mod indexing;
mod inverse;
mod linear;
mod lp_pool;
mod masks;
mod normalization;
mod norms;
mod picking;
mod pooling;
mod quantization;
mod recurrent;
mod reduction;
mod resize;
mod rotary;
mod scatter;
mod second;
mod shape;
mod softmax;

pub(crate) use second::{Second, ascend};

use std::cell::OnceCell;
use std::fmt::Debug;

use candle_core::{DType, Tensor};

use crate::error::{OpResult, OperatorError, fail};
use crate::exchange::Party;
use crate::factor::{Factor, FactorShape};
use crate::graph::{loops, sequences};
use crate::onnx::{Attributes, Width};
use crate::sweep::Imaged;
use crate::tensor;
use crate::tensor::rows::Meets;
use crate::windows::Windows;
use second::Ascended;

/// What a forward step leaves behind.
pub(crate) struct Forward {
    /// One tensor `[L, *shape]` per output.
    pub(crate) outputs: Vec<Tensor>,
    /// Whatever the reverse rule wants to find again (an unfolded input, positions of maxima).
    pub(crate) saved: Vec<Tensor>,
}

impl From<Tensor> for Forward {
    fn from(output: Tensor) -> Self {
        Self { outputs: vec![output], saved: Vec::new() }
    }
}

/// The inputs of a node at run time; an optional input that is absent is `None`.
pub(crate) type Inputs<'a> = [Option<&'a Tensor>];

/// One node's computation, forward and backward.
pub(crate) trait Operator: Debug + Send + Sync {
    /// Compute the outputs from inputs `[L, *shape]`, L being the batch or one.
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward>;

    /// The shapes of the outputs for one example, where they are known without computing anything
    /// and hold floats as soon as all inputs do. Spares a trial that costs time and memory.
    fn outline(&self) -> Option<Vec<Vec<usize>>> {
        None
    }

    /// Cotangents `[B·d, *shape]` of the wanted inputs, given those of the outputs.
    ///
    /// Whatever is not wanted may be left `None`. An input that has no example axis still gets one
    /// cotangent per example.
    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>>;

    /// The form in which the gradient of input `operand` can be had without writing it out.
    fn factor_shape(&self, _operand: usize) -> Option<FactorShape> {
        None
    }

    /// That gradient. Called only where [`Operator::factor_shape`] gives a shape.
    fn factor(&self, operand: usize, _sweep: &Reverse) -> OpResult<Factor> {
        fail!("input {operand} has no factor")
    }

    /// The same gradient written out, for those who would write it out themselves.
    fn gradient(&self, operand: usize, sweep: &Reverse) -> OpResult<Factor> {
        Ok(self.factor(operand, sweep)?.written()?)
    }

    /// The windows that the gradient of input `operand` can be had by from the image, not unfolded.
    fn windows(&self, _operand: usize) -> Option<Windows> {
        None
    }

    /// What such a gradient is made of. Called only where [`Operator::windows`] gives some.
    fn imaged(&self, operand: usize, _sweep: &Reverse) -> OpResult<Imaged> {
        fail!("input {operand} has no windows")
    }

    /// Whether outputs are a linear function of the float inputs, all of them together.
    fn is_linear(&self) -> bool {
        self.moves_entries()
    }

    /// The derivative of the reverse rule and the factors, where the operator has a faster way to it
    /// than the tape; see [`second`].
    fn second(&self, _second: &Second) -> OpResult<Option<Ascended>> {
        Ok(None)
    }

    /// The form that the operator has while it is trained, where that is another one.
    fn training(&self) -> Option<&dyn TrainingForm> {
        None
    }

    /// Whether the outputs hold entries of input 0, moved but unchanged (Reshape, Slice …).
    fn moves_entries(&self) -> bool {
        false
    }

    /// Why no gradient may be taken through this operator, where it would be lost without a word.
    fn refuses_gradient(&self) -> Option<&'static str> {
        None
    }

    /// Whether only the type or shape of input `operand` matters.
    fn ignores(&self, _operand: usize) -> bool {
        false
    }

    /// Whether the outputs depend on the shape of the input only.
    fn reads_shape_only(&self) -> bool {
        false
    }
}

/// An operator that mixes the examples of a batch while it is trained.
pub(crate) trait TrainingForm {
    /// Compute the outputs for this party's part of the batch.
    fn forward(&self, inputs: &Inputs, party: &Party) -> OpResult<Forward>;

    /// Cotangents of the wanted inputs, for one output (d = 1).
    fn reverse(&self, sweep: &Reverse, party: &Party) -> OpResult<Vec<Option<Tensor>>>;

    /// Which operands hold the running mean and variance.
    fn statistic_operands(&self) -> [usize; 2];

    /// What the batch says of running statistics, from what the forward step saved.
    fn statistics(&self, saved: &[Tensor]) -> OpResult<Statistics>;
}

/// Mean and variance per channel of a batch, and how they enter the running ones.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statistics {
    pub(crate) mean: Vec<f64>,
    /// With the denominator n − 1, as running variances are kept.
    pub(crate) variance: Vec<f64>,
    /// The weight that the running statistics keep.
    pub(crate) momentum: f64,
}

/// What a reverse rule works with.
pub(crate) struct Reverse<'a> {
    /// The inputs of the forward step.
    pub(crate) inputs: &'a Inputs<'a>,
    /// Its outputs.
    pub(crate) outputs: &'a [Tensor],
    /// What it saved.
    pub(crate) saved: &'a [Tensor],
    /// `[B·d, *shape]` per output; `None` where nothing came back.
    pub(crate) cotangents: &'a [Option<Tensor>],
    /// Which inputs need a cotangent.
    pub(crate) wanted: &'a [bool],
    /// Number of examples B.
    pub(crate) batch: usize,
    /// Number of outputs d.
    pub(crate) width: usize,
    /// What an operator has worked out for this node already: its factors and its reverse rule are
    /// asked for one after the other, and a recurrent layer goes back through time for each.
    pub(crate) memo: OnceCell<Vec<Tensor>>,
}

impl Reverse<'_> {
    /// Input `k`, which must be present.
    pub(crate) fn input(&self, k: usize) -> OpResult<&Tensor> {
        required(self.inputs, k)
    }

    /// The example shape of input `k`.
    pub(crate) fn shape(&self, k: usize) -> OpResult<&[usize]> {
        Ok(tensor::example_shape(self.input(k)?))
    }

    /// The cotangent of output 0.
    pub(crate) fn cotangent(&self) -> OpResult<&Tensor> {
        self.cotangent_of(0)?.ok_or_else(|| OperatorError::Message("no cotangent came back".into()))
    }

    /// The cotangent of output `k`, if any came back.
    pub(crate) fn cotangent_of(&self, k: usize) -> OpResult<Option<&Tensor>> {
        Ok(self.cotangents.get(k).and_then(Option::as_ref))
    }

    pub(crate) fn wants(&self, k: usize) -> bool {
        self.wanted.get(k).copied().unwrap_or(false)
    }

    /// `[B·d, *s]` → `[B, d, *s]`.
    pub(crate) fn by_example(&self, cotangent: &Tensor) -> OpResult<Tensor> {
        let mut shape = vec![self.batch, self.width];
        shape.extend(tensor::example_shape(cotangent));
        Ok(cotangent.reshape(shape)?)
    }

    /// Each example's value meets the cotangents of all its outputs; one that all share, those of all examples.
    pub(crate) fn meets<'t>(&self, value: &'t Tensor) -> Meets<'t> {
        Meets { other: value, repeat: self.batch * self.width / value.dims()[0].max(1) }
    }

    /// Cotangent `[B·d, *s]` times a value `[L, *s']` that broadcasts to it.
    pub(crate) fn times(&self, cotangent: &Tensor, value: &Tensor) -> OpResult<Tensor> {
        let shape = tensor::example_shape(cotangent);
        let value = tensor::with_rank(value, shape.len())?;
        let product = if value.dims()[1..] == *shape {
            let count: usize = shape.iter().product();
            let cotangent = cotangent.reshape((self.batch, self.width, count))?;
            cotangent.broadcast_mul(&value.reshape((value.dims()[0], 1, count))?)?
        } else {
            self.by_example(cotangent)?.broadcast_mul(&value.unsqueeze(1)?)?
        };
        Ok(product.reshape(cotangent.shape())?)
    }
}

/// Input `k` of a forward step, which must be present.
pub(crate) fn required<'a>(inputs: &'a Inputs, k: usize) -> OpResult<&'a Tensor> {
    match inputs.get(k).copied().flatten() {
        Some(input) => Ok(input),
        None => fail!("input {k} is missing"),
    }
}

/// What is known of a node's input when the operator is built.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    /// Shape for one example, the graph's own batch axis (of size one) included.
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
    /// The value `[1, *shape]` where it depends neither on the example nor on a parameter.
    pub(crate) constant: Option<Tensor>,
    /// Whether the value is the same for every example.
    pub(crate) shared: bool,
    /// The integer type, where that is known.
    pub(crate) width: Option<Width>,
}

/// Everything an operator is built from.
pub(crate) struct Setup<'a> {
    pub(crate) operator: &'a str,
    pub(crate) attributes: &'a Attributes,
    pub(crate) opset: i64,
    pub(crate) operands: Vec<Option<Operand>>,
    pub(crate) outputs: usize,
    /// The float type of the run.
    pub(crate) float: DType,
}

impl Setup<'_> {
    pub(crate) fn operand(&self, k: usize) -> OpResult<&Operand> {
        match self.operands.get(k).and_then(Option::as_ref) {
            Some(operand) => Ok(operand),
            None => fail!("input {k} is missing"),
        }
    }

    pub(crate) fn has(&self, k: usize) -> bool {
        self.operands.get(k).is_some_and(Option::is_some)
    }

    pub(crate) fn shape(&self, k: usize) -> OpResult<&[usize]> {
        Ok(&self.operand(k)?.shape)
    }

    /// The whole numbers of input `k`, which must not depend on the data; `None` where it is absent.
    pub(crate) fn constant_ints(&self, k: usize) -> OpResult<Option<Vec<i64>>> {
        if !self.has(k) {
            return Ok(None);
        }
        let flat = self.constant(k)?.flatten_all()?.to_dtype(DType::I64)?;
        Ok(Some(flat.to_vec1()?))
    }

    /// The numbers of input `k` as f64, which must not depend on the data.
    pub(crate) fn constant_floats(&self, k: usize) -> OpResult<Option<Vec<f64>>> {
        if !self.has(k) {
            return Ok(None);
        }
        let flat = self.constant(k)?.flatten_all()?.to_dtype(DType::F64)?;
        Ok(Some(flat.to_vec1()?))
    }

    pub(crate) fn constant(&self, k: usize) -> OpResult<&Tensor> {
        match &self.operand(k)?.constant {
            Some(constant) => Ok(constant),
            None => fail!("input {k} must be a constant, but it depends on the data"),
        }
    }

    /// Axes from an attribute up to some opset and from input `k` after it.
    pub(crate) fn axes(&self, k: usize) -> OpResult<Option<Vec<i64>>> {
        match self.attributes.ints("axes")? {
            Some(axes) => Ok(Some(axes)),
            None => self.constant_ints(k),
        }
    }
}

type Build = fn(&Setup) -> OpResult<Box<dyn Operator>>;

const FAMILIES: &[&[(&str, Build)]] = &[
    activation::OPERATORS,
    arithmetic::OPERATORS,
    attention::OPERATORS,
    batch_normalization::OPERATORS,
    blocks::OPERATORS,
    convolution::OPERATORS,
    cumulative::OPERATORS,
    einsum::OPERATORS,
    grid_sample::OPERATORS,
    indexing::OPERATORS,
    inverse::OPERATORS,
    linear::OPERATORS,
    lp_pool::OPERATORS,
    masks::OPERATORS,
    normalization::OPERATORS,
    norms::OPERATORS,
    picking::OPERATORS,
    pooling::OPERATORS,
    quantization::OPERATORS,
    recurrent::OPERATORS,
    reduction::OPERATORS,
    resize::OPERATORS,
    rotary::OPERATORS,
    scatter::OPERATORS,
    shape::OPERATORS,
    softmax::OPERATORS,
];

/// Operators that the graph resolves while it is built, without a node that runs.
const BY_THE_GRAPH: &[&[&str]] = &[&["Constant", "If"], loops::OPERATORS, sequences::OPERATORS];

fn by_the_graph() -> impl Iterator<Item = &'static str> {
    BY_THE_GRAPH.iter().flat_map(|names| names.iter().copied())
}

fn find(operator: &str) -> Option<Build> {
    FAMILIES.iter().flat_map(|f| f.iter()).find(|(name, _)| *name == operator).map(|(_, b)| *b)
}

/// Whether gradkin knows an operator of ONNX's own domain.
pub(crate) fn is_known(operator: &str) -> bool {
    by_the_graph().any(|name| name == operator) || find(operator).is_some()
}

/// The ONNX operators that gradkin knows, sorted by name.
pub fn supported_operators() -> Vec<&'static str> {
    let mut names: Vec<_> = FAMILIES.iter().flat_map(|f| f.iter()).map(|(name, _)| *name).collect();
    names.extend(by_the_graph());
    names.sort_unstable();
    names
}

/// Families defined for floats only; the tensor library would panic over whole numbers.
const FLOAT_FAMILIES: &[&[(&str, Build)]] = &[
    activation::OPERATORS,
    attention::OPERATORS,
    batch_normalization::OPERATORS,
    convolution::OPERATORS,
    grid_sample::OPERATORS,
    inverse::OPERATORS,
    lp_pool::OPERATORS,
    normalization::OPERATORS,
    norms::OPERATORS,
    recurrent::OPERATORS,
    rotary::OPERATORS,
    softmax::OPERATORS,
];

/// Such operators of other families, one space between two.
const FLOAT_OPERATORS: &str = "Sqrt Exp Log Reciprocal Erf Sin Cos Tan Sinh Cosh Floor Ceil Round \
     IsNaN IsInf Mean AveragePool GlobalAveragePool QuantizeLinear ReduceL2 ReduceLogSum ReduceLogSumExp";

fn takes_floats(operator: &str) -> bool {
    let mut family = FLOAT_FAMILIES.iter().flat_map(|family| family.iter());
    operator != "Relu"
        && (family.any(|(name, _)| *name == operator)
            || FLOAT_OPERATORS.split(' ').any(|name| name == operator))
}

/// Operators all of whose rules are made of what the tensor library has for every device, one space between
/// two. The others fetch their operands to the processor.
const ON_DEVICES: &str = "Conv ConvTranspose Gemm MatMul BatchNormalization LayerNormalization \
     RMSNormalization SimplifiedLayerNormalization InstanceNormalization GroupNormalization MaxPool \
     AveragePool GlobalAveragePool GlobalMaxPool ReduceMean ReduceSum ReduceMax ReduceMin \
     ReduceSumSquare ReduceL1 ReduceL2 ReduceLogSumExp Relu LeakyRelu PRelu Elu Selu Celu Sigmoid \
     HardSigmoid HardSwish Swish Mish Softplus Softsign Tanh Gelu Softmax LogSoftmax Neg Abs Sqrt Exp Log \
     Reciprocal Erf Sin Cos Add Sub Mul Div Pow Equal Greater GreaterOrEqual Less LessOrEqual Sum Mean \
     Min Max Clip Where Not And Or Identity Dropout Reshape Flatten Squeeze Unsqueeze Transpose Expand \
     Concat Split Slice Gather Pad Cast";

/// Whether nodes of an operator run where the network does.
pub(crate) fn runs_on_devices(operator: &str) -> bool {
    ON_DEVICES.split(' ').any(|name| name == operator)
}

/// Build the operator of a node.
pub(crate) fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
    let first = setup.operands.first().and_then(Option::as_ref);
    if takes_floats(setup.operator) && first.is_some_and(|operand| !operand.dtype.is_float()) {
        fail!("the operator takes floats, but its first input holds whole numbers");
    }
    match find(setup.operator) {
        Some(build) => build(setup),
        None => fail!("the operator is unknown"),
    }
}
