//! Which stored numbers are parameters.
//!
//! ONNX does not say. A float tensor counts when it reaches an operator in the place of a weight,
//! bias, scale, slope or table, also through operators that only move entries. In a weight's place
//! everything counts. Where an operator merely adds or multiplies, a tensor may as well be a
//! constant of the method (√d of attention, a mask, a table of sines): the rules below decide by
//! place, name and value, each decision carries its reason, and `inspect` shows them all.

use std::collections::{BTreeMap, HashMap};

use regex::Regex;

use crate::onnx::{Constant, Model, RawNode};

/// A parameter of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name of the stored tensor.
    pub name: String,
    /// Its stored shape.
    pub shape: Vec<usize>,
    /// Name and operator of the first node that uses it.
    pub layer: String,
    /// How many nodes use it.
    pub uses: usize,
}

impl Parameter {
    /// Number of weights.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A stored float tensor that does not count as a parameter, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncounted {
    /// Name of the stored tensor.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Why it does not count.
    pub reason: &'static str,
}

/// The result of looking through a model.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) uncounted: Vec<Uncounted>,
}

/// The place in which a tensor meets the data.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// A weight, table, slope or recurrent matrix: always a parameter.
    Weight,
    /// Bias of a linear operator.
    Bias,
    /// Scale or shift of a normalisation.
    Affine,
    /// Operand of a sum or product with something computed.
    Elementwise,
    /// Subtrahend, divisor or the like, or applied to the raw input.
    Preprocessing,
    /// Running statistic, bound, pad value: never.
    Never,
}

/// Operators that hand entries of input 0 on.
fn hands_on(operator: &str) -> bool {
    matches!(
        operator,
        "Identity"
            | "Reshape"
            | "Flatten"
            | "Squeeze"
            | "Unsqueeze"
            | "Transpose"
            | "Expand"
            | "Tile"
            | "Slice"
            | "Split"
            | "Cast"
            | "CastLike"
            | "Dropout"
    )
}

/// Functions of one tensor through which a parameter may pass on its way (log-scales and so on).
fn transforms(operator: &str) -> bool {
    matches!(
        operator,
        "Exp"
            | "Softplus"
            | "Sigmoid"
            | "Tanh"
            | "Softmax"
            | "Neg"
            | "Abs"
            | "Sqrt"
            | "Log"
            | "Reciprocal"
            | "ReduceL2"
            | "ReduceSum"
            | "ReduceMean"
            | "ReduceSumSquare"
            | "Relu"
            | "Clip"
    )
}

fn place(node: &RawNode, operand: usize, on_input: bool, through: &Uses) -> Place {
    match (node.operator.as_str(), operand) {
        ("Conv" | "ConvTranspose", 1) => Place::Weight,
        ("Conv" | "ConvTranspose" | "Gemm", 2) => Place::Bias,
        ("Gemm" | "MatMul" | "Einsum", _) => Place::Weight,
        ("PRelu", 1) => Place::Weight,
        ("Gather", 0) if !through.constant(&node.inputs[1]) => Place::Weight,
        ("RNN" | "GRU" | "LSTM", 1..=3) => Place::Weight,
        ("LSTM", 7) => Place::Affine,
        ("RNN" | "GRU" | "LSTM", 5 | 6) => Place::Affine,
        ("BatchNormalization", 1 | 2) => Place::Affine,
        (
            "LayerNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "RMSNormalization"
            | "SimplifiedLayerNormalization",
            1 | 2,
        ) => Place::Affine,
        ("Sub" | "Div", 1) if on_input => Place::Preprocessing,
        ("Add" | "Mul", _) if on_input => Place::Preprocessing,
        ("Add" | "Mul" | "Sub" | "Div" | "Sum" | "Concat", _) => Place::Elementwise,
        ("Pow", 0) | ("Max" | "Min", _) | ("Where", 1 | 2) => Place::Elementwise,
        _ => Place::Never,
    }
}

/// Who reads and who writes each value.
struct Uses<'a> {
    readers: HashMap<&'a str, Vec<(&'a RawNode, usize)>>,
    stored: HashMap<&'a str, &'a Constant>,
    computed: HashMap<&'a str, &'a RawNode>,
    raw_inputs: HashMap<&'a str, ()>,
}

impl<'a> Uses<'a> {
    fn new(model: &'a Model) -> Self {
        let mut readers: HashMap<&str, Vec<(&RawNode, usize)>> = HashMap::new();
        let mut computed = HashMap::new();
        let mut raw_inputs: HashMap<&str, ()> =
            model.inputs.iter().map(|i| (i.name.as_str(), ())).collect();
        for node in model.nodes.iter().flat_map(RawNode::with_inner) {
            for (operand, input) in node.inputs.iter().enumerate() {
                readers.entry(input).or_default().push((node, operand));
            }
            for output in &node.outputs {
                computed.insert(output.as_str(), node);
            }
            // What only rescales or reshapes the raw input still is the raw input.
            let prepares =
                hands_on(&node.operator) || matches!(node.operator.as_str(), "Sub" | "Div");
            if prepares && node.inputs.first().is_some_and(|i| raw_inputs.contains_key(i.as_str()))
            {
                raw_inputs.extend(node.outputs.iter().map(|o| (o.as_str(), ())));
            }
        }
        let stored = model.initializers.iter().map(|(n, c)| (n.as_str(), c)).collect();
        Self { readers, stored, computed, raw_inputs }
    }

    /// Whether a value is stored or computed from stored ones only.
    fn constant(&self, name: &str) -> bool {
        const DEEP: usize = 64;
        self.constant_within(name, DEEP)
    }

    fn constant_within(&self, name: &str, depth: usize) -> bool {
        if self.stored.contains_key(name) {
            return true;
        }
        match self.computed.get(name) {
            Some(node) if node.operator == "Shape" || node.operator == "Constant" => true,
            Some(node) if depth > 0 && node.operator != "If" => node
                .inputs
                .iter()
                .filter(|i| !i.is_empty())
                .all(|i| self.constant_within(i, depth - 1)),
            _ => false,
        }
    }

    /// Every place that a stored tensor reaches, with the node it is reached at.
    fn places(&self, name: &'a str) -> Vec<(&'a RawNode, Place)> {
        let mut found = Vec::new();
        let mut open = vec![name];
        let mut seen: HashMap<&str, ()> = HashMap::new();
        while let Some(value) = open.pop() {
            if seen.insert(value, ()).is_some() {
                continue;
            }
            for (node, operand) in self.readers.get(value).map(Vec::as_slice).unwrap_or_default() {
                let moved = *operand == 0 && hands_on(&node.operator);
                let chosen =
                    node.operator == "Gather" && *operand == 0 && self.constant(&node.inputs[1]);
                let alone = node.inputs.iter().filter(|i| !i.is_empty()).all(|i| self.constant(i));
                let passes = moved
                    || chosen
                    || (*operand == 0 && transforms(&node.operator))
                    || (alone
                        && matches!(
                            node.operator.as_str(),
                            "Concat" | "Add" | "Mul" | "Sub" | "Div" | "MatMul" | "Pow"
                        ));
                if passes {
                    open.extend(node.outputs.iter().map(String::as_str));
                } else {
                    let on_input =
                        node.inputs.iter().any(|i| self.raw_inputs.contains_key(i.as_str()));
                    found.push((*node, place(node, *operand, on_input, self)));
                }
            }
        }
        found
    }
}

/// Names that exporters make up for constants, transposed weights and folded values.
fn is_made_up(name: &str) -> bool {
    let made_up = Regex::new(
        r"^(val_\d+|_val_\d+|\d+|onnx::.*|_?/?.*Constant(_\d+)?(_output_\d+)?|const(ant)?_?\d*|_inlfunc.*|_to_copy.*|lifted_tensor.*|scalar_tensor.*)$",
    );
    made_up.is_ok_and(|regex| regex.is_match(name))
}

/// Names of buffers that training does not touch.
fn is_buffer(name: &str) -> bool {
    let buffer = Regex::new(
        r"(?i)(^|[._/])(running_mean|running_var|moving_mean|moving_variance|num_batches_tracked|inv_freq|cos|sin|cos_cached|sin_cached|rope|freqs?(_cis)?|(attn_|causal_|attention_)?mask|causal|position_ids|anchors?|window|mel.*|(image_|pixel_)?(mean|std))$",
    );
    buffer.is_ok_and(|regex| regex.is_match(name))
}

/// Whether a table holds sines and cosines of positions, as positional encodings do.
fn is_sinusoid(constant: &Constant, values: &[f64]) -> bool {
    let Some(width) = constant.shape.last().copied().filter(|w| *w > 0) else { return false };
    if values.len() < 2 * width || values.iter().any(|v| v.abs() > 1.0 + 1e-6) {
        return false;
    }
    let first = &values[..width];
    let second = values[width];
    let origin = first.iter().all(|v| v.abs() < 1e-6 || (v - 1.0).abs() < 1e-6);
    origin && ((second - 1f64.sin()).abs() < 1e-5 || (second - 1f64.cos()).abs() < 1e-5)
}

/// Why a tensor in these places does not count, or `None` where it does.
fn objection(name: &str, constant: &Constant, places: &[Place]) -> Option<&'static str> {
    let has = |place: Place| places.contains(&place);
    if has(Place::Weight) {
        return None;
    }
    let values = constant.floats();
    let same = |value: f64| values.iter().all(|v| *v == value);
    let uniform = values.first().is_none_or(|first| same(*first));
    let made_up = is_made_up(name);
    if has(Place::Bias) {
        return (made_up && same(0.0)).then_some("a zero bias that the exporter filled in");
    }
    if has(Place::Affine) {
        let identity = made_up && (same(1.0) || same(0.0));
        return identity
            .then_some("ones or zeros that the exporter filled in for a missing scale or shift");
    }
    if has(Place::Elementwise) {
        return if is_buffer(name) {
            Some("named like a buffer")
        } else if values.iter().any(|v| !v.is_finite() || v.abs() > 1e8) {
            Some("holds infinite or huge values, as masks do")
        } else if made_up && (values.len() == 1 || uniform) {
            Some("a constant number that the exporter stored")
        } else if is_sinusoid(constant, &values) {
            Some("a table of sines and cosines of positions")
        } else {
            None
        };
    }
    if has(Place::Preprocessing) {
        let learned = !made_up
            && Regex::new(r"(?i)(weight|bias|scale|gamma|beta|alpha|embed|pos|token)")
                .is_ok_and(|r| r.is_match(name));
        return (!learned).then_some("applied to the raw input, as mean and deviation are");
    }
    Some("not used as a weight")
}

/// Go through every stored float tensor of a model.
pub(crate) fn find(model: &Model) -> Found {
    let uses = Uses::new(model);
    let mut found = Found::default();
    let constants = constant_nodes(model);
    let stored = model.initializers.iter().map(|(n, c)| (n.as_str(), c, true));
    let inline = constants.iter().map(|(n, c)| (n.as_str(), c, false));
    for (name, constant, initializer) in stored.chain(inline) {
        if !constant.is_float() || constant.shape.contains(&0) {
            continue;
        }
        let reached = uses.places(name);
        let places: Vec<Place> = reached.iter().map(|(_, place)| *place).collect();
        let reason = match objection(name, constant, &places) {
            None if !initializer && !places.contains(&Place::Weight) => {
                Some("a constant inside the graph, not a stored tensor")
            }
            reason => reason,
        };
        let shape = constant.shape.clone();
        match reason {
            Some(reason) if initializer => {
                found.uncounted.push(Uncounted { name: name.into(), shape, reason });
            }
            Some(_) => {}
            None => {
                let counted = reached.iter().filter(|(_, place)| *place != Place::Never);
                let nodes: BTreeMap<&str, &RawNode> =
                    counted.clone().map(|(node, _)| (node.name.as_str(), *node)).collect();
                let first = counted.map(|(node, _)| *node).next();
                let layer =
                    first.map(|n| format!("{} ({})", n.name, n.operator)).unwrap_or_default();
                found.parameters.push(Parameter {
                    name: name.into(),
                    shape,
                    layer,
                    uses: nodes.len(),
                });
            }
        }
    }
    found
}

/// Weights may also stand in Constant nodes; only those with axes are worth a look.
fn constant_nodes(model: &Model) -> Vec<(String, Constant)> {
    let constants = model.nodes.iter().filter(|node| node.operator == "Constant");
    constants
        .filter_map(|node| {
            let name = node.outputs.first()?.clone();
            let constant = node.attributes.constant().ok()?;
            (!constant.shape.is_empty()).then_some((name, constant))
        })
        .collect()
}
