//! Which stored numbers are parameters.
//!
//! ONNX does not say. A float tensor counts when it reaches an operator in the place of a weight,
//! bias, scale, slope or table, also through operators that only move entries. In a weight's place
//! everything counts. Where an operator merely adds or multiplies, a tensor may as well be a
//! constant of the method (√d of attention, a mask, a table of sines): what the exporter noted
//! decides where it noted anything, else the rules below by place, name and value. Each decision
//! carries its reason, and `inspect` shows them all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use regex::Regex;

use crate::onnx::{Constant, ConstantData, Model, RawNode, Role};

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
    /// Other stored tensors with the same values (or their transpose): a tied weight that the
    /// exporter wrote out more than once. They are this parameter too.
    pub copies: Vec<String>,
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

/// A stored tensor of floats, or of quantised numbers, that does not count as a parameter, and why.
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
    /// Stored tensors that repeat a parameter.
    pub(crate) copies: HashMap<String, Copy>,
    /// Stored means and variances of normalisations.
    pub(crate) statistics: HashSet<String>,
}

impl Found {
    /// What was decided of each tensor, to hold for other weights of the same network.
    pub(crate) fn verdicts(&self) -> HashMap<String, Verdict> {
        let counted = self.parameters.iter().map(|p| (p.name.clone(), Verdict::Counted));
        let uncounted = self.uncounted.iter().map(|u| (u.name.clone(), Verdict::Not(u.reason)));
        let repeats = self.copies.keys().map(|name| (name.clone(), Verdict::Repeats));
        counted.chain(uncounted).chain(repeats).collect()
    }
}

/// What was decided of a tensor before its values were replaced.
///
/// Some decisions go by value; another checkpoint of the same network must not change them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Counted,
    /// A tied weight that is stored once more, as long as the values still agree.
    Repeats,
    Not(&'static str),
}

/// A stored tensor that holds a parameter's values once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) parameter: usize,
    pub(crate) transposed: bool,
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
    /// Mean or variance that training keeps along.
    Statistic,
    /// Rounded to, or stored as, whole numbers on a grid.
    Quantized,
    /// The scale of such a grid.
    Grid,
    /// Bound, pad value, shape: never.
    Never,
}

impl Place {
    fn counts(self) -> bool {
        !matches!(self, Self::Never | Self::Statistic | Self::Quantized | Self::Grid)
    }
}

/// Operators that hand entries of input 0 on.
pub(crate) fn hands_on(operator: &str) -> bool {
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

fn place(node: &RawNode, operand: usize, on_input: bool, through: &Uses) -> Place {
    match (node.operator.as_str(), operand) {
        ("Conv" | "ConvTranspose", 1) => Place::Weight,
        ("Conv" | "ConvTranspose" | "Gemm", 2) => Place::Bias,
        ("Gemm" | "MatMul" | "Einsum", _) => Place::Weight,
        ("PRelu", 1) => Place::Weight,
        ("Gather", 0) if node.inputs.get(1).is_some_and(|i| !through.constant(i)) => Place::Weight,
        ("RNN" | "GRU" | "LSTM", 1..=3) => Place::Weight,
        ("LSTM", 7) => Place::Affine,
        ("RNN" | "GRU" | "LSTM", 5 | 6) => Place::Affine,
        ("BatchNormalization", 1 | 2) => Place::Affine,
        ("BatchNormalization", 3 | 4) => Place::Statistic,
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

/// Quantised tensors end there: what comes out is computed, but from no parameter.
fn quantized(node: &RawNode, operand: usize) -> Option<Place> {
    match (node.operator.as_str(), operand) {
        ("QuantizeLinear" | "DequantizeLinear", 0) => Some(Place::Quantized),
        ("QuantizeLinear" | "DequantizeLinear", _) => Some(Place::Grid),
        _ => None,
    }
}

/// Who reads each value, and which values are known before any example is.
pub(crate) struct Uses<'a> {
    readers: HashMap<&'a str, Vec<(&'a RawNode, usize)>>,
    /// Values that are stored or computed from stored ones and shapes only.
    constant: HashSet<&'a str>,
    raw_inputs: HashSet<&'a str>,
}

impl<'a> Uses<'a> {
    pub(crate) fn new(model: &'a Model) -> Self {
        let mut readers: HashMap<&str, Vec<(&RawNode, usize)>> = HashMap::new();
        let mut constant: HashSet<&str> =
            model.initializers.iter().map(|(name, _)| name.as_str()).collect();
        let mut raw_inputs: HashSet<&str> = model.inputs.iter().map(|i| i.name.as_str()).collect();
        for node in model.nodes.iter().flat_map(RawNode::with_inner) {
            let outputs = node.outputs.iter().map(String::as_str);
            let read = || node.inputs.iter().map(String::as_str).filter(|i| !i.is_empty());
            for (operand, input) in node.inputs.iter().enumerate() {
                readers.entry(input).or_default().push((node, operand));
            }
            let shape = matches!(node.operator.as_str(), "Shape" | "Size");
            // What an If or a Loop gives depends on the graphs inside it and not on its inputs alone.
            let inside = node.attributes.graphs().next().is_some();
            let stored = !inside && read().all(|input| constant.contains(input));
            if shape || stored {
                constant.extend(outputs.clone());
            }
            // What only rescales or reshapes the raw input still is the raw input.
            let prepares =
                hands_on(&node.operator) || matches!(node.operator.as_str(), "Sub" | "Div");
            if prepares && read().next().is_some_and(|input| raw_inputs.contains(input)) {
                raw_inputs.extend(outputs);
            }
        }
        Self { readers, constant, raw_inputs }
    }

    fn constant(&self, name: &str) -> bool {
        self.constant.contains(name)
    }

    /// Every place that a stored tensor reaches, with the node it is reached at.
    fn places(&self, name: &'a str) -> Vec<(&'a RawNode, Place)> {
        let place = |reached: Reached<'a>| {
            let Reached { node, operand, .. } = reached;
            let quantized = quantized(node, operand);
            let on_input = || node.inputs.iter().any(|i| self.raw_inputs.contains(i.as_str()));
            (node, quantized.unwrap_or_else(|| place(node, operand, on_input(), self)))
        };
        self.reached(name).into_iter().map(place).collect()
    }

    /// Every node at which a stored tensor meets the data.
    pub(crate) fn reached(&self, name: &'a str) -> Vec<Reached<'a>> {
        let mut found = Vec::new();
        let mut open = vec![name];
        let mut seen: HashSet<&str> = HashSet::new();
        while let Some(value) = open.pop() {
            if !seen.insert(value) {
                continue;
            }
            for (node, operand) in self.readers.get(value).map(Vec::as_slice).unwrap_or_default() {
                let reached = Reached { node, operand: *operand, value };
                if quantized(node, *operand).is_some() {
                    found.push(reached);
                    continue;
                }
                let mut read = node.inputs.iter().filter(|i| !i.is_empty());
                // What is computed from stored tensors alone is still on its way to the data.
                let alone = read.all(|i| self.constant(i));
                let moved = *operand == 0 && hands_on(&node.operator);
                if alone || moved {
                    if !matches!(node.operator.as_str(), "Shape" | "Size") {
                        open.extend(node.outputs.iter().map(String::as_str));
                    }
                } else {
                    found.push(reached);
                }
            }
        }
        found
    }
}

/// Where a stored tensor meets the data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached<'a> {
    pub(crate) node: &'a RawNode,
    /// As which of the node's inputs.
    pub(crate) operand: usize,
    /// The name of that input: the tensor itself, or what became of it on the way.
    pub(crate) value: &'a str,
}

/// A pattern on names, compiled once for all tensors of all models.
type Names = LazyLock<Option<Regex>>;

/// Names that exporters make up for constants, transposed weights and folded values.
static MADE_UP: Names = LazyLock::new(|| {
    Regex::new(
        r"^(val_\d+|_val_\d+|\d+|onnx::.*|_?/?.*Constant(_\d+)?(_output_\d+)?|const(ant)?_?\d*|_inlfunc.*|_to_copy.*|lifted_tensor.*|scalar_tensor.*)$",
    )
    .ok()
});

/// Names of buffers that training does not touch.
static BUFFER: Names = LazyLock::new(|| {
    Regex::new(
        r"(?i)(^|[._/])(running_mean|running_var|moving_mean|moving_variance|num_batches_tracked|inv_freq|cos|sin|cos_cached|sin_cached|rope|freqs?(_cis)?|(attn_|causal_|attention_)?mask|causal|position_ids|anchors?|window|mel.*|(image_|pixel_)?(mean|std))$",
    )
    .ok()
});

/// Names of what is trained even where it meets the raw input.
static LEARNED: Names =
    LazyLock::new(|| Regex::new(r"(?i)(weight|bias|scale|gamma|beta|alpha|embed|pos|token)").ok());

/// Whether a name says nothing: the exporter made it up.
pub(crate) fn is_made_up(name: &str) -> bool {
    named(&MADE_UP, name)
}

/// Whether a name is that of a buffer which training does not touch.
pub(crate) fn is_buffer(name: &str) -> bool {
    named(&BUFFER, name)
}

fn named(names: &Names, name: &str) -> bool {
    names.as_ref().is_some_and(|regex| regex.is_match(name))
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

/// Said of weights stored as whole numbers, and of weights that are rounded before they are used.
const QUANTIZED: &str = "a quantised weight: whole numbers have no gradient";

/// Why a tensor in these places does not count, or `None` where it does.
fn objection(
    name: &str,
    constant: &Constant,
    places: &[Place],
    role: Option<Role>,
) -> Option<&'static str> {
    let has = |place: Place| places.contains(&place);
    let used = places.iter().any(|place| place.counts());
    match role {
        Some(Role::Parameter) if used => return None,
        Some(Role::Buffer) => return Some("a buffer, says the exporter"),
        _ => {}
    }
    if has(Place::Weight) {
        return None;
    }
    let values = constant.floats();
    let same = |value: f64| values.iter().all(|v| *v == value);
    let uniform = values.first().is_none_or(|first| same(*first));
    let made_up = named(&MADE_UP, name);
    if has(Place::Bias) {
        return (made_up && same(0.0)).then_some("a zero bias that the exporter filled in");
    }
    if has(Place::Affine) {
        let identity = made_up && (same(1.0) || same(0.0));
        return identity
            .then_some("ones or zeros that the exporter filled in for a missing scale or shift");
    }
    if has(Place::Elementwise) {
        return if named(&BUFFER, name) {
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
        let learned = !made_up && named(&LEARNED, name);
        return (!learned).then_some("applied to the raw input, as mean and deviation are");
    }
    let reasons = [
        (Place::Statistic, "a running statistic"),
        (Place::Quantized, QUANTIZED),
        (Place::Grid, "a scale of quantised numbers"),
    ];
    let found = reasons.into_iter().find(|(place, _)| has(*place));
    Some(found.map_or("not used as a weight", |(_, reason)| reason))
}

/// Go through every stored float tensor of a model.
pub(crate) fn find(model: &Model) -> Found {
    let uses = Uses::new(model);
    let mut found = Found::default();
    let constants = constant_nodes(model);
    let stored = model.initializers.iter().map(|(n, c)| (n.as_str(), c, true));
    let inline = constants.iter().map(|(n, c)| (n.as_str(), c, false));
    let declared = |name: &str| model.signature.roles.get(name) == Some(&Role::Parameter);
    let mut originals: Vec<&Constant> = Vec::new();
    for (name, constant, initializer) in stored.chain(inline) {
        if constant.shape.contains(&0) {
            continue;
        }
        let reached = uses.places(name);
        let places: Vec<Place> = reached.iter().map(|(_, place)| *place).collect();
        if !constant.is_float() {
            if initializer && places.contains(&Place::Quantized) {
                let (name, shape) = (name.into(), constant.shape.clone());
                found.uncounted.push(Uncounted { name, shape, reason: QUANTIZED });
            }
            continue;
        }
        if initializer && places.contains(&Place::Statistic) {
            found.statistics.insert(name.into());
        }
        let verdict = model.verdicts.get(name).copied();
        let role = model.signature.roles.get(name).copied();
        let reason = match verdict {
            Some(Verdict::Not(reason)) => Some(reason),
            Some(Verdict::Counted | Verdict::Repeats) => None,
            None => match objection(name, constant, &places, role) {
                None if !initializer && !places.contains(&Place::Weight) => {
                    Some("a constant inside the graph, not a stored tensor")
                }
                reason => reason,
            },
        };
        if let Some(reason) = reason {
            if initializer {
                let (name, shape) = (name.into(), constant.shape.clone());
                found.uncounted.push(Uncounted { name, shape, reason });
            }
            continue;
        }
        let parameter = parameter(name, constant, &reached);
        // An exporter that declares parameters stores a tied one once. Two that it declares were
        // equal by chance, as copied layers are before they are trained.
        let apart = |k: usize| declared(name) && declared(&found.parameters[k].name);
        let may_repeat = |k: usize| verdict != Some(Verdict::Counted) && !apart(k);
        let repeated = originals.iter().enumerate().filter(|(k, _)| may_repeat(*k));
        let repeated = repeated.filter_map(|(k, other)| repeats(constant, other).map(|t| (k, t)));
        let repeated = { repeated }.next();
        match repeated {
            Some((original, transposed)) => {
                found.copies.insert(name.into(), Copy { parameter: original, transposed });
                found.parameters[original].copies.push(name.into());
                found.parameters[original].uses += parameter.uses;
            }
            None => {
                originals.push(constant);
                found.parameters.push(parameter);
            }
        }
    }
    found
}

fn parameter(name: &str, constant: &Constant, reached: &[(&RawNode, Place)]) -> Parameter {
    let counted = reached.iter().filter(|(_, place)| place.counts());
    let nodes: BTreeMap<&str, ()> = counted.clone().map(|(n, _)| (n.name.as_str(), ())).collect();
    let layer = match { counted }.next() {
        Some((node, _)) => format!("{} ({})", node.name, node.operator),
        None => String::new(),
    };
    let (name, shape) = (name.into(), constant.shape.clone());
    Parameter { name, shape, layer, uses: nodes.len(), copies: Vec::new() }
}

/// Whether a tensor holds the values of another, and if so whether transposed.
///
/// Trained or random matrices that agree in every number are one tied weight that the exporter wrote
/// out twice (PyTorch's does so when a table of embeddings also is the last layer's weight).
fn repeats(constant: &Constant, other: &Constant) -> Option<bool> {
    const LEAST: usize = 16;
    let (a, b) = (&constant.shape, &other.shape);
    let count: usize = a.iter().product();
    if a.len() < 2 || count < LEAST || count != b.iter().product::<usize>() {
        return None;
    }
    let (ConstantData::F32(x), ConstantData::F32(y)) = (&constant.data, &other.data) else {
        return None;
    };
    if x.iter().all(|v| *v == x[0]) {
        return None;
    }
    if a == b && x == y {
        return Some(false);
    }
    let [rows, columns] = a[..] else { return None };
    let turned = b[..] == [columns, rows]
        && (0..rows).all(|r| (0..columns).all(|c| x[r * columns + c] == y[c * rows + r]));
    turned.then_some(true)
}

/// Weights may also stand in Constant nodes; only those with axes are worth a look.
pub(crate) fn constant_nodes(model: &Model) -> Vec<(String, Constant)> {
    let constants = model.nodes.iter().filter(|node| node.operator == "Constant");
    constants
        .filter_map(|node| {
            let name = node.outputs.first()?.clone();
            let constant = node.attributes.constant().ok()?;
            (!constant.shape.is_empty()).then_some((name, constant))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use rten_onnx::onnx::{
        DataType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
    };

    use super::*;

    /// Two maps whose matrices hold the same numbers.
    fn twice_the_same() -> Model {
        let tensor = |name: &str| TensorProto {
            name: Some(name.into()),
            dims: vec![4, 4],
            data_type: Some(DataType::FLOAT),
            raw_data: Some(RefCell::new(
                (0..16).flat_map(|k| (k as f32).sin().to_le_bytes()).collect(),
            )),
            ..TensorProto::default()
        };
        let product = |inputs: [&str; 2], output: &str| NodeProto {
            op_type: Some("MatMul".into()),
            input: inputs.map(str::to_owned).to_vec(),
            output: vec![output.into()],
            ..NodeProto::default()
        };
        let value = |name: &str| ValueInfoProto { name: Some(name.into()), r#type: None };
        let graph = GraphProto {
            node: vec![product(["x", "a"], "h"), product(["h", "b"], "y")],
            initializer: vec![tensor("a"), tensor("b")],
            input: vec![value("x")],
            output: vec![value("y")],
            value_info: Vec::new(),
        };
        let file = ModelProto { graph: Some(graph), ..ModelProto::default() };
        Model::from_bytes(&file.write_buf().unwrap(), "test").unwrap()
    }

    #[test]
    fn equal_matrices_are_one_parameter_unless_the_exporter_declares_two() {
        let mut model = twice_the_same();
        let found = find(&model);
        assert_eq!(found.parameters.len(), 1);
        assert_eq!(found.parameters[0].copies, ["b"]);
        model.signature.roles.insert("a".into(), Role::Parameter);
        assert_eq!(find(&model).parameters.len(), 1);
        model.signature.roles.insert("b".into(), Role::Parameter);
        assert_eq!(find(&model).parameters.len(), 2);
    }

    #[test]
    fn a_verdict_outlives_the_values_it_was_made_for() {
        let mut model = twice_the_same();
        model.verdicts = find(&model).verdicts();
        // A matrix of ones could be anything; this one is known to be a weight and a copy.
        for (_, constant) in &mut model.initializers {
            constant.data = ConstantData::F32(vec![1.0; 16]);
        }
        assert_eq!(find(&model).parameters.len(), 2);
        let reason = "left out before";
        model.verdicts.insert("b".into(), Verdict::Not(reason));
        assert_eq!(find(&model).uncounted[0].reason, reason);
    }
}
