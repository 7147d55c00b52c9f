//! Weights drawn anew, each tensor by what it does in the network, as PyTorch draws them.
//!
//! A file does not say how its weights were drawn before training, but it says which operator uses
//! each, and PyTorch's defaults go by the operator: a weight and the bias beside it lie between
//! ±1/√(numbers that go into one output), a table of embeddings is normal, normalisations start as
//! the identity. Each tensor has random numbers of its own, from the seed and its name, so that the
//! order of tensors in the file does not matter.

use std::collections::HashMap;

use rand::rngs::ChaCha12Rng;
use rand::{Rng, SeedableRng};

use crate::error::Result;
use crate::onnx::{Model, RawNode};
use crate::parameters::{self, Parameter, Reached, Uses, hands_on};

/// How the values of a tensor were drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Draw {
    /// Evenly between −bound and bound.
    Uniform {
        /// The bound.
        bound: f64,
    },
    /// From the standard normal distribution.
    Normal,
    /// The same number everywhere.
    Constant(f64),
}

/// What [`Model::draw_weights`] did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DrawReport {
    /// Tensors that hold other values now, in the order of the file: parameters, then statistics of
    /// normalisations.
    pub drawn: Vec<(String, Draw)>,
    /// Parameters that stay as they are, because nothing says how such a tensor begins (positional
    /// embeddings, class tokens, scales of residual branches).
    pub left: Vec<String>,
}

impl Model {
    /// Draw all weights anew, as at the beginning of a training by PyTorch's defaults.
    ///
    /// | tensor | values |
    /// |---|---|
    /// | weight and bias of a convolution or a fully connected layer | uniform, ±1/√fan-in |
    /// | table of embeddings, also where a last layer shares it | standard normal |
    /// | scale, shift, running mean and variance of a normalisation | 1, 0, 0, 1 |
    /// | slope of a PRelu | 0.25 |
    /// | RNN, GRU, LSTM | uniform, ±1/√(hidden size) |
    /// | PyTorch's attention: `in_proj_weight` where its name is kept; its biases | Xavier's uniform; 0 |
    ///
    /// The fan-in of a transposed convolution is counted over its output channels, as PyTorch does.
    /// The same seed gives the same weights, whatever the order of tensors in the file. Anything
    /// else stays as it is and is reported.
    pub fn draw_weights(&mut self, seed: u64) -> Result<DrawReport> {
        let found = parameters::find(self);
        let roles = Roles::new(self);
        let mut report = DrawReport::default();
        for parameter in &found.parameters {
            match roles.draw(parameter) {
                Some(draw) => report.drawn.push((parameter.name.clone(), draw)),
                None => report.left.push(parameter.name.clone()),
            }
        }
        for (name, _) in &self.initializers {
            if let Some(draw) = found.statistics.contains(name).then(|| roles.statistic(name)) {
                report.drawn.extend(draw.map(|draw| (name.clone(), draw)));
            }
        }
        let count = |name: &str| self.values(name).map_or(0, |values| values.len());
        let values: Vec<(&str, Vec<f64>)> = report
            .drawn
            .iter()
            .map(|(name, draw)| (name.as_str(), draw.values(seed, name, count(name))))
            .collect();
        let values: Vec<(&str, &[f64])> = values.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        self.set_all_values(&values)?;
        Ok(report)
    }
}

impl Draw {
    fn of_fan_in(fan_in: usize) -> Self {
        Self::Uniform { bound: 1.0 / (fan_in.max(1) as f64).sqrt() }
    }

    fn values(self, seed: u64, name: &str, count: usize) -> Vec<f64> {
        let mut random = generator(seed, name);
        let mut uniform = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let one = |_| match self {
            Self::Uniform { bound } => (2.0 * uniform() - 1.0) * bound,
            // Box and Muller's; 1 − u is never zero.
            Self::Normal => {
                let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
                radius * (std::f64::consts::TAU * uniform()).cos()
            }
            Self::Constant(value) => value,
        };
        (0..count).map(one).collect()
    }
}

/// Random numbers that belong to a seed and a name.
fn generator(seed: u64, name: &str) -> ChaCha12Rng {
    // FNV-1a; two starting points make its 64 bits 128.
    let hash = |start: u64| {
        name.bytes().fold(start, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let parts = [seed, hash(0xcbf2_9ce4_8422_2325), hash(0x8422_2325_cbf2_9ce4), name.len() as u64];
    let mut bytes = [0; 32];
    for (place, part) in bytes.chunks_mut(8).zip(parts) {
        place.copy_from_slice(&part.to_le_bytes());
    }
    ChaCha12Rng::from_seed(bytes)
}

/// The parts that stored tensors play in a network.
struct Roles<'a> {
    uses: Uses<'a>,
    /// The shapes of stored tensors.
    stored: HashMap<&'a str, Vec<usize>>,
    /// The whole numbers of stored tensors, for shapes and axes.
    whole: HashMap<&'a str, Vec<i64>>,
    writers: HashMap<&'a str, &'a RawNode>,
}

impl<'a> Roles<'a> {
    fn new(model: &'a Model) -> Self {
        let mut roles = Self {
            uses: Uses::new(model),
            stored: HashMap::new(),
            whole: HashMap::new(),
            writers: HashMap::new(),
        };
        for (name, constant) in &model.initializers {
            roles.stored.insert(name, constant.shape.clone());
            roles.whole.extend(constant.whole().map(|values| (name.as_str(), values)));
        }
        for node in model.nodes.iter().flat_map(RawNode::with_inner) {
            roles.writers.extend(node.outputs.iter().map(|output| (output.as_str(), node)));
            let Some(name) = node.outputs.first().filter(|_| node.operator == "Constant") else {
                continue;
            };
            if let Ok(constant) = node.attributes.constant() {
                roles.whole.extend(constant.whole().map(|values| (name.as_str(), values)));
                roles.stored.insert(name, constant.shape);
            }
        }
        roles
    }

    fn draw(&self, parameter: &'a Parameter) -> Option<Draw> {
        if let Some(draw) = self.attention(parameter) {
            return Some(draw);
        }
        let names = std::iter::once(&parameter.name).chain(&parameter.copies);
        let reached = names.flat_map(|name| self.own(name)).collect::<Vec<_>>();
        let draws: Vec<Draw> = reached.into_iter().filter_map(|r| self.at(r, parameter)).collect();
        // A last layer that shares a table of embeddings begins as the table does.
        draws.iter().find(|draw| **draw == Draw::Normal).or(draws.first()).copied()
    }

    fn own(&self, name: &str) -> Vec<Reached<'a>> {
        match self.stored.get_key_value(name) {
            Some((name, _)) => self.uses.reached(name),
            None => Vec::new(),
        }
    }

    /// PyTorch's attention draws its joint projection otherwise, and its biases not at all.
    fn attention(&self, parameter: &Parameter) -> Option<Draw> {
        let name = parameter.name.as_str();
        if name.ends_with("in_proj_weight") {
            let sum = parameter.shape.iter().sum::<usize>();
            return Some(Draw::Uniform { bound: (6.0 / sum.max(1) as f64).sqrt() });
        }
        let joint = |prefix: &str| {
            let parts = ["in_proj_weight", "in_proj_bias"];
            parts.iter().any(|p| self.stored.contains_key(format!("{prefix}{p}").as_str()))
        };
        let outer = name.strip_suffix("out_proj.bias").is_some_and(joint);
        (outer || name.ends_with("in_proj_bias")).then_some(Draw::Constant(0.0))
    }

    fn statistic(&self, name: &str) -> Option<Draw> {
        let operand = self.own(name).first()?.operand;
        Some(Draw::Constant(if operand == 4 { 1.0 } else { 0.0 }))
    }

    /// How a parameter begins that a node reads so; `None` where that says nothing.
    fn at(&self, reached: Reached<'a>, parameter: &Parameter) -> Option<Draw> {
        let Reached { node, operand, value } = reached;
        match (node.operator.as_str(), operand) {
            ("Conv" | "ConvTranspose" | "Gemm", 2) => self.weight(node, 1, node.inputs.get(1)?),
            ("Conv" | "ConvTranspose", 1) | ("Gemm" | "MatMul", 0 | 1) => {
                self.weight(node, operand, value)
            }
            ("Gather", 0) => Some(Draw::Normal),
            ("PRelu", 1) => Some(Draw::Constant(0.25)),
            ("RNN" | "GRU" | "LSTM", 1..=3 | 7) => {
                let hidden = node.attributes.int("hidden_size", 0).ok()?;
                (hidden > 0).then(|| Draw::of_fan_in(hidden as usize))
            }
            ("BatchNormalization", 1) => Some(Draw::Constant(1.0)),
            ("BatchNormalization", 2) => Some(Draw::Constant(0.0)),
            (operator, 1) if normalizes(operator) => Some(Draw::Constant(1.0)),
            (operator, 2) if normalizes(operator) => Some(Draw::Constant(0.0)),
            // Here something may have become of the tensor on the way.
            ("Mul" | "Add", _) if self.shape(value, 0).is_none() => None,
            // A single number is a temperature or the like.
            ("Mul", _) if parameter.len() == 1 => None,
            ("Mul", _) => self.scales(node, operand).then_some(Draw::Constant(1.0)),
            ("Add", _) => self.shift(node, operand, parameter),
            _ => None,
        }
    }

    /// The weight of a linear operator, by the number of inputs that go into one output.
    fn weight(&self, node: &RawNode, operand: usize, value: &str) -> Option<Draw> {
        let shape = self.shape(value, 0)?;
        let last = shape.len().checked_sub(1)?;
        let turned = |attribute| node.attributes.int(attribute, 0).is_ok_and(|v| v != 0);
        let fan_in = match (node.operator.as_str(), operand) {
            ("Conv" | "ConvTranspose", _) => product(shape.get(1..)?)?,
            ("Gemm", 0) => shape[if turned("transA") { 0 } else { last }],
            ("Gemm", _) => shape[if turned("transB") { last } else { 0 }],
            (_, 0) => shape[last],
            _ => shape[last.saturating_sub(1)],
        };
        Some(Draw::of_fan_in(fan_in))
    }

    /// A bias added after a product, or the shift of a normalisation that is written out.
    fn shift(&self, node: &'a RawNode, operand: usize, parameter: &Parameter) -> Option<Draw> {
        let one_axis = parameter.shape.iter().filter(|size| **size != 1).count() <= 1;
        let before = self.writer(node.inputs.get(1 - operand.min(1))?, false)?;
        match before.operator.as_str() {
            _ if !one_axis => None,
            // With a third input it has its bias already.
            "Gemm" | "Conv" | "ConvTranspose"
                if before.inputs.get(2).is_some_and(|bias| !bias.is_empty()) =>
            {
                None
            }
            "MatMul" | "Gemm" | "Conv" | "ConvTranspose" => {
                let mut weights = before.inputs.iter().take(2).enumerate();
                weights.find_map(|(operand, name)| self.weight(before, operand, name))
            }
            "Mul" if (0..2).any(|operand| self.scales(before, operand)) => {
                Some(Draw::Constant(0.0))
            }
            _ => None,
        }
    }

    /// Whether an operand of a product scales what a normalisation, written out or not, has made.
    fn scales(&self, node: &'a RawNode, operand: usize) -> bool {
        let other = node.inputs.get(1 - operand.min(1));
        let before = other.and_then(|other| self.writer(other, true));
        before.is_some_and(|node| normalizes(&node.operator) || self.divides_by_deviation(node))
    }

    /// x / √(…), or x · (1 / √(…)).
    fn divides_by_deviation(&self, node: &'a RawNode) -> bool {
        let written_by = |node: &RawNode, operand: usize, operator: &str| {
            let writer = node.inputs.get(operand).and_then(|name| self.writer(name, true));
            writer.filter(|writer| writer.operator == operator)
        };
        let reciprocal = |operand| {
            let inverse = written_by(node, operand, "Reciprocal");
            inverse.is_some_and(|inverse| written_by(inverse, 0, "Sqrt").is_some())
        };
        match node.operator.as_str() {
            "Div" => written_by(node, 1, "Sqrt").is_some(),
            "Mul" => reciprocal(0) || reciprocal(1),
            _ => false,
        }
    }

    /// The node that writes a value, seen through what only reshapes where asked for.
    fn writer(&self, name: &str, through: bool) -> Option<&'a RawNode> {
        let mut node = *self.writers.get(name)?;
        // A file's nodes are in order, so this ends; the bound is for branches that reuse names.
        for _ in 0..64 {
            if !(through && hands_on(&node.operator)) {
                return Some(node);
            }
            node = self.writers.get(node.inputs.first()?.as_str())?;
        }
        None
    }

    /// The shape of a stored tensor, also behind operators that only move its entries.
    fn shape(&self, name: &str, depth: usize) -> Option<Vec<usize>> {
        const DEEPEST: usize = 64;
        if let Some(shape) = self.stored.get(name) {
            return Some(shape.clone());
        }
        let node = self.writers.get(name).filter(|_| depth < DEEPEST)?;
        let from = self.shape(node.inputs.first()?, depth + 1)?;
        let ints = |attribute| node.attributes.ints(attribute).ok().flatten();
        let numbers =
            || ints("axes").or_else(|| self.whole.get(node.inputs.get(1)?.as_str()).cloned());
        match node.operator.as_str() {
            "Identity" | "Cast" | "CastLike" | "Dropout" => Some(from),
            "Transpose" => match ints("perm") {
                Some(axes) => axes.iter().map(|axis| from.get(*axis as usize).copied()).collect(),
                None => Some(from.into_iter().rev().collect()),
            },
            "Reshape" => reshaped(&from, &numbers()?),
            "Unsqueeze" => {
                let axes = numbers()?;
                let rank = (from.len() + axes.len()) as i64;
                let new = |axis: usize| axes.iter().any(|a| a.rem_euclid(rank) == axis as i64);
                let mut rest = from.iter();
                (0..rank as usize)
                    .map(|axis| if new(axis) { Some(1) } else { rest.next().copied() })
                    .collect()
            }
            "Squeeze" => Some(from.into_iter().filter(|size| *size != 1).collect()),
            _ => None,
        }
    }
}

/// The shape that a Reshape gives; none where it makes no sense.
fn reshaped(from: &[usize], to: &[i64]) -> Option<Vec<usize>> {
    let count = product(from)?;
    let size = |(k, size): (usize, &i64)| match size {
        0 => from.get(k).copied(),
        -1 => Some(1),
        size => usize::try_from(*size).ok(),
    };
    let mut shape = to.iter().enumerate().map(size).collect::<Option<Vec<usize>>>()?;
    let known = product(&shape)?;
    if let Some(open) = to.iter().position(|size| *size == -1) {
        shape[open] = count.checked_div(known)?;
    }
    (product(&shape) == Some(count)).then_some(shape)
}

/// The product of sizes, where it is a number.
fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size))
}

/// Operators that normalise; all but BatchNormalization have their scale and shift in places 1 and 2.
fn normalizes(operator: &str) -> bool {
    matches!(
        operator,
        "BatchNormalization"
            | "LayerNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "RMSNormalization"
            | "SimplifiedLayerNormalization"
    )
}

#[cfg(test)]
mod tests {
    use rten_onnx::onnx::ModelProto;

    use super::*;
    use crate::build::{Convolution, GraphBuilder};

    fn bytes() -> Vec<u8> {
        let mut g = GraphBuilder::new("small");
        let x = g.input("x", &[8, 10, 10]).unwrap();
        let x = g.conv("conv", x, Convolution::new(64, 3).groups(4)).unwrap();
        let x = g.batch_norm("norm", x).unwrap();
        let x = g.prelu("slope", x, 64).unwrap();
        let x = g.conv_transpose("up", x, Convolution::new(32, 2).stride(2)).unwrap();
        let x = g.flatten(x).unwrap();
        let x = g.linear("fc", x, 16, true).unwrap();
        g.output("y", x).unwrap();
        g.finish().unwrap()
    }

    /// Largest value, mean and variance.
    fn spread(values: &[f64]) -> (f64, f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (values.iter().fold(0.0, |most: f64, v| most.max(v.abs())), mean, variance)
    }

    #[test]
    fn bounds_are_those_of_the_fan_in() {
        let mut model = Model::from_bytes(&bytes(), "small").unwrap();
        let report = model.draw_weights(7).unwrap();
        assert!(report.left.is_empty());
        assert_eq!(report.drawn.len(), 11);
        for (name, fan_in) in [
            ("conv.weight", 8 / 4 * 9),
            ("conv.bias", 8 / 4 * 9),
            ("up.weight", 32 * 4),
            ("fc.weight", 32 * 256),
        ] {
            let values = model.values(name).unwrap();
            let bound = 1.0 / f64::from(fan_in).sqrt();
            let (most, mean, variance) = spread(&values);
            let error = 5.0 / (values.len() as f64).sqrt();
            assert!(most <= bound * (1.0 + 1e-6) && most > 0.9 * bound, "{name}: {most}");
            assert!(mean.abs() < error * bound, "{name}: {mean}");
            let relative = variance * 3.0 / bound.powi(2) - 1.0;
            assert!(relative.abs() < error, "{name}: {relative}");
        }
        for (name, value) in [
            ("norm.weight", 1.0),
            ("norm.bias", 0.0),
            ("norm.running_mean", 0.0),
            ("norm.running_var", 1.0),
            ("slope.weight", 0.25),
        ] {
            assert_eq!(model.values(name).unwrap(), vec![value; 64]);
        }
    }

    #[test]
    fn normal_values_are_normal() {
        let values = Draw::Normal.values(3, "table", 100_000);
        let (most, mean, variance) = spread(&values);
        let within = values.iter().filter(|v| v.abs() < 1.0).count() as f64 / 1e5;
        assert!((3.5..6.0).contains(&most) && mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02);
        assert!((within - 0.6827).abs() < 0.01);
    }

    #[test]
    fn seeds_and_names_decide_and_the_order_does_not() {
        let bytes = bytes();
        let drawn = |bytes: &[u8], seed| {
            let mut model = Model::from_bytes(bytes, "small").unwrap();
            model.draw_weights(seed).unwrap();
            ["conv.weight", "fc.weight", "fc.bias"].map(|name| model.values(name).unwrap())
        };
        let mut proto = ModelProto::parse_buf(&bytes).unwrap();
        proto.graph.as_mut().unwrap().initializer.reverse();
        let [one, other] = [drawn(&bytes, 1), drawn(&proto.write_buf().unwrap(), 1)];
        assert_eq!(one, other);
        assert!(drawn(&bytes, 2).iter().zip(&one).all(|(a, b)| a != b));
        assert_ne!(one[1][..16], one[2]);
    }

    #[test]
    fn shapes_are_followed() {
        assert_eq!(reshaped(&[2, 6], &[0, -1, 3]), Some(vec![2, 2, 3]));
        assert_eq!(reshaped(&[2, 6], &[0, 0, 0]), None);
        assert_eq!(reshaped(&[2, 6], &[0, -1, i64::MAX]), None);
    }
}
