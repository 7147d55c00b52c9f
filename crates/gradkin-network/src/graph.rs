//! The network as it runs: values with known shapes, nodes with built operators, parameters.
//!
//! The graph is built for one example. Everything that does not depend on the example is computed
//! once while it is built: shape arithmetic disappears, and weights are brought into the form in
//! which their operator wants them. The rest is tried on an example of zeros, which is how shapes
//! are found and checked.

pub(crate) mod loops;
pub(crate) mod sequences;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use regex::Regex;

use crate::budget::Budget;
use crate::error::{NetworkError, OperatorError, Result};
use crate::onnx::{Attributes, Declared, Dimension, Model, RawNode, Width};
use crate::ops::{self, Forward, Inputs, Operand, Operator, Setup};
use crate::parameters::{self, Found, Parameter, Uncounted};
use crate::tensor::{lead_shape, within};

/// The float type that a network runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 64 bits; weights are widened.
    F64,
}

impl Precision {
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F64 => DType::F64,
        }
    }
}

/// How to turn a model into a network.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The float type of the run.
    pub precision: Precision,
    /// Where the network runs.
    pub device: crate::Device,
    /// Shapes of inputs for one example, without the batch axis, by input name. Needed where the
    /// file leaves an axis other than the batch open.
    pub input_shapes: HashMap<String, Vec<usize>>,
}

/// An input of the network.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// The shape of one example, without the batch axis.
    pub shape: Vec<usize>,
    /// Whether it takes whole numbers (token ids).
    pub integer: bool,
    /// Which axis of the file's shape is the batch; `None` where the file has no batch axis.
    pub batch_axis: Option<usize>,
    pub(crate) value: usize,
    /// The graph's shape for one example, its batch axis at one.
    pub(crate) full: Vec<usize>,
}

/// What is known of a value.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) name: String,
    /// Shape for one example, the graph's batch axis included.
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
    /// The integer type that the file has for it, where that is known.
    pub(crate) width: Option<Width>,
    /// `[1, *shape]` where it is the same for every example.
    pub(crate) shared: Option<Tensor>,
    /// Whether a parameter went into it.
    pub(crate) parametric: bool,
    /// Where it holds entries of one parameter, each at most once: which.
    pub(crate) entries: Option<Entries>,
}

impl Value {
    /// What is the same for every example goes to a device's memory.
    fn settle(&mut self, device: &Device) -> candle_core::Result<()> {
        if let Some(shared) = &mut self.shared {
            *shared = shared.to_device(device)?;
        }
        if let Some(map) = self.entries.as_mut().and_then(|entries| entries.map.as_mut()) {
            *map = map.to_device(device)?;
        }
        Ok(())
    }
}

/// A value that consists of entries of one parameter.
#[derive(Debug, Clone)]
pub(crate) struct Entries {
    pub(crate) parameter: usize,
    /// For each entry its position in the stored tensor; `None` for the stored tensor itself.
    pub(crate) map: Option<Tensor>,
}

/// One node that runs.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) operator_name: String,
    pub(crate) operator: Box<dyn Operator>,
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<Option<usize>>,
    /// Whether it ran once and for all while the graph was built.
    pub(crate) shared: bool,
    /// Whether it runs where the network does, rather than on the processor in any case.
    pub(crate) resident: bool,
}

/// A network ready to run at any batch size.
///
/// ```no_run
/// # fn main() -> Result<(), gradkin_network::NetworkError> {
/// use gradkin_network::{Model, Network, Options};
/// let model = Model::open("model.onnx")?;
/// let network = Network::new(&model, &Options::default())?;
/// for parameter in network.parameters() {
///     println!("{} {:?}", parameter.name, parameter.shape);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Network {
    pub(crate) source: String,
    pub(crate) precision: Precision,
    pub(crate) device: Device,
    pub(crate) values: Vec<Value>,
    pub(crate) by_name: HashMap<String, usize>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<usize>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) uncounted: Vec<Uncounted>,
    /// The last operator that shaped each graph output, seen through operators that only reshape.
    pub(crate) heads: Vec<Option<Head>>,
}

impl Network {
    /// Resolve shapes, build operators and try the network on one example of zeros.
    ///
    /// What that may take in memory is bounded by the size of the file and of the examples whose
    /// shape `options` names; a file that asks for more is refused.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        check_operators(model)?;
        let device = options.device.open(options.precision)?;
        let found = parameters::find(model);
        let mut builder = Builder {
            model,
            dtype: options.precision.dtype(),
            values: Vec::new(),
            by_name: HashMap::new(),
            sequences: HashMap::new(),
            trial: Vec::new(),
            budget: Budget::new(model.size, given(options)),
            nodes: Vec::new(),
            found: &found,
        };
        let mut inputs = Vec::with_capacity(model.inputs.len());
        for declared in &model.inputs {
            inputs.push(builder.input(declared, options)?);
        }
        builder.stored()?;
        for node in &model.nodes {
            builder.node(node)?;
        }
        if let Some(name) =
            model.outputs.iter().map(|o| &o.name).find(|o| builder.is_sequence(Some(o)))
        {
            return Err(NetworkError::Model {
                model: model.source.clone(),
                message: format!(
                    "output `{name}` is a sequence of tensors; export the network with these as outputs of \
                     their own, or joined"
                ),
            });
        }
        let outputs = model.outputs.iter().map(|o| builder.by_name[&o.name]).collect();
        let heads = model.outputs.iter().map(|o| head(model, &o.name)).collect();
        let Builder { mut values, by_name, nodes, .. } = builder;
        for value in &mut values {
            value.settle(&device)?;
        }
        Ok(Self {
            source: model.source.clone(),
            precision: options.precision,
            device,
            values,
            by_name,
            nodes,
            inputs,
            outputs,
            parameters: found.parameters,
            uncounted: found.uncounted,
            heads,
        })
    }

    /// The file's name, as messages give it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The float type of the run.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Where the network runs; tensors that meet its own must lie there.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The operators of running nodes that go to the processor although the network runs elsewhere, each once.
    pub fn away_from_device(&self) -> Vec<&str> {
        let away = self.nodes.iter().filter(|node| self.is_away(node) && !node.shared);
        let mut names: Vec<&str> = away.map(|node| node.operator_name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether a node's operands must be fetched to the processor.
    pub(crate) fn is_away(&self, node: &Node) -> bool {
        !self.device.is_cpu() && !node.resident
    }

    /// The inputs.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The parameters, in the order in which the file stores them.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Stored float tensors that do not count as parameters, with the reason.
    pub fn uncounted(&self) -> &[Uncounted] {
        &self.uncounted
    }

    /// Number of nodes that run for every example.
    pub fn running_nodes(&self) -> usize {
        self.nodes.iter().filter(|node| !node.shared).count()
    }

    /// The network's outputs: name, shape for one example (the graph's batch axis included), and
    /// the operator that made it, seen through operators that only reshape.
    pub fn outputs(&self) -> Vec<(&str, &[usize], Option<&str>)> {
        self.outputs
            .iter()
            .zip(&self.heads)
            .map(|(value, head)| {
                let value = &self.values[*value];
                let operator = head.as_ref().map(|head| head.operator.as_str());
                (value.name.as_str(), value.shape.as_slice(), operator)
            })
            .collect()
    }

    /// The value that enters the final Softmax or LogSoftmax of an output: its logits. `None` where
    /// the output ends in something else, or is no output of the network.
    pub fn logits(&self, output: &str) -> Option<&str> {
        let ids = self.outputs.iter().zip(&self.heads);
        let (_, head) = ids.into_iter().find(|(id, _)| self.values[**id].name == output)?;
        let head =
            head.as_ref().filter(|h| matches!(h.operator.as_str(), "Softmax" | "LogSoftmax"))?;
        let input = head.input.as_deref()?;
        self.by_name.contains_key(input).then_some(input)
    }

    /// The parameters whose name matches, as one flag per parameter.
    pub fn select(&self, pattern: &Regex) -> Vec<bool> {
        self.parameters.iter().map(|p| pattern.is_match(&p.name)).collect()
    }

    /// Index and example shape of a value by name; any value of the graph may serve as an output.
    pub(crate) fn value(&self, name: &str) -> Result<usize> {
        match self.by_name.get(name) {
            Some(value) => Ok(*value),
            None => Err(NetworkError::Usage(format!(
                "{} has no value named `{name}`; its outputs are {}",
                self.source,
                self.outputs()
                    .iter()
                    .map(|(name, ..)| format!("`{name}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ))),
        }
    }

    pub(crate) fn node_error(&self, node: &Node, error: OperatorError) -> NetworkError {
        NetworkError::Node {
            model: self.source.clone(),
            node: node.name.clone(),
            operator: node.operator_name.clone(),
            message: error.to_string(),
        }
    }
}

/// How many numbers the examples have whose shape the caller names.
fn given(options: &Options) -> usize {
    let counts = options.input_shapes.values();
    counts
        .map(|s| s.iter().fold(1, |n: usize, size| n.saturating_mul(*size)))
        .fold(0, usize::saturating_add)
}

/// Every operator that gradkin does not know, at once.
fn check_operators(model: &Model) -> Result<()> {
    let unknown: Vec<String> = model.unsupported_nodes();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(NetworkError::UnsupportedOperators { model: model.source.clone(), nodes: unknown })
}

impl Model {
    /// Nodes whose operator gradkin does not know, as `operator (node name)`.
    pub fn unsupported_nodes(&self) -> Vec<String> {
        self.nodes
            .iter()
            .filter(|node| {
                !crate::onnx::is_own_domain(&node.domain) || !ops::is_known(&node.operator)
            })
            .map(|node| format!("{} (node `{}`)", node.operator_name(), node.name))
            .collect()
    }

    /// The parameters of the model and the stored tensors that do not count, without running it.
    pub fn parameters(&self) -> (Vec<Parameter>, Vec<Uncounted>) {
        let found = parameters::find(self);
        (found.parameters, found.uncounted)
    }
}

/// The operator behind an output, seen through what only reshapes.
fn head(model: &Model, output: &str) -> Option<Head> {
    let mut name = output;
    loop {
        let node = model.nodes.iter().find(|n| n.outputs.iter().any(|o| o == name))?;
        match node.operator.as_str() {
            "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Cast" => {
                name = node.inputs.first()?;
            }
            other => {
                let input = node.inputs.first().filter(|name| !name.is_empty());
                return Some(Head { operator: other.to_owned(), input: input.cloned() });
            }
        }
    }
}

/// What made an output.
#[derive(Debug)]
pub(crate) struct Head {
    operator: String,
    /// Name of what entered it.
    input: Option<String>,
}

struct Builder<'a> {
    model: &'a Model,
    dtype: DType,
    values: Vec<Value>,
    by_name: HashMap<String, usize>,
    /// Sequences by name, and the names of the tensors in them.
    sequences: HashMap<String, Vec<String>>,
    /// Each value that is the same for every example, and zeros for the others: only their shapes
    /// matter, so that they take no memory until a node is tried.
    trial: Vec<Tensor>,
    budget: Budget,
    nodes: Vec<Node>,
    found: &'a Found,
}

impl Builder<'_> {
    fn add(&mut self, value: Value, trial: Tensor) -> usize {
        let id = self.values.len();
        self.by_name.insert(value.name.clone(), id);
        self.values.push(value);
        self.trial.push(trial);
        id
    }

    fn input(&mut self, declared: &Declared, options: &Options) -> Result<Input> {
        let given = options.input_shapes.get(&declared.name);
        let (full, batch_axis) = resolve(&self.model.source, declared, given)?;
        let shape = (0..full.len()).filter(|a| Some(*a) != batch_axis).map(|a| full[a]).collect();
        let dtype = match (declared.integer, declared.boolean) {
            (_, true) => DType::U8,
            (true, false) => DType::I64,
            (false, false) => self.dtype,
        };
        self.budget.take(false, &full).map_err(|error| NetworkError::Model {
            model: self.model.source.clone(),
            message: format!("input `{}`: {error}", declared.name),
        })?;
        let trial = zeros(&full, dtype)?;
        let value = self.add(
            Value {
                name: declared.name.clone(),
                shape: full.clone(),
                dtype,
                width: None,
                shared: None,
                parametric: false,
                entries: None,
            },
            trial,
        );
        let (name, integer) = (declared.name.clone(), declared.integer);
        Ok(Input { name, shape, integer, batch_axis, value, full })
    }

    fn stored(&mut self) -> Result<()> {
        let model = self.model;
        for (name, constant) in &model.initializers {
            self.constant(name, constant)?;
        }
        Ok(())
    }

    fn constant(&mut self, name: &str, constant: &crate::onnx::Constant) -> Result<()> {
        let entries = self.stored_entries(name)?;
        let tensor = constant.to_tensor(self.dtype, entries.is_some())?;
        let value = Value {
            name: name.to_owned(),
            shape: constant.shape.clone(),
            dtype: tensor.dtype(),
            width: constant.width,
            shared: Some(tensor.clone()),
            parametric: entries.is_some(),
            entries,
        };
        self.add(value, tensor);
        Ok(())
    }

    /// What a stored tensor holds of a parameter: all of it, or a copy of it.
    fn stored_entries(&self, name: &str) -> Result<Option<Entries>> {
        let parameters = &self.found.parameters;
        if let Some(parameter) = parameters.iter().position(|p| p.name == name) {
            return Ok(Some(Entries { parameter, map: None }));
        }
        let Some(copy) = self.found.copies.get(name) else { return Ok(None) };
        let parameter = copy.parameter;
        let shape = &parameters[parameter].shape;
        let count = parameters[parameter].len() as i64;
        let map = Tensor::arange(0i64, count, &Device::Cpu)?;
        let map = map.reshape(crate::tensor::lead_shape(1, shape))?;
        let map = if copy.transposed { map.transpose(1, 2)?.contiguous()? } else { map };
        Ok(Some(Entries { parameter, map: Some(map) }))
    }

    fn node(&mut self, raw: &RawNode) -> Result<()> {
        let model = self.model;
        let wrap = |error: OperatorError| raw.refused(model, error);
        if raw.operator == "Constant" {
            let constant = raw.attributes.constant().map_err(wrap)?;
            let Some(output) = raw.outputs.first() else { return Ok(()) };
            return self.constant(output, &constant);
        }
        if raw.operator == "If" {
            return self.branch(raw);
        }
        if self.unrolled(raw)? || self.sequence(raw)? {
            return Ok(());
        }
        let inputs: Vec<Option<usize>> =
            raw.inputs.iter().map(|n| self.by_name.get(n.as_str()).copied()).collect();
        let used = raw.outputs.iter().rposition(|o| !o.is_empty()).map_or(0, |last| last + 1);
        let setup = Setup {
            operator: &raw.operator,
            attributes: &raw.attributes,
            opset: raw.opset.unwrap_or(self.model.opset),
            operands: inputs.iter().map(|i| i.map(|i| self.operand(i))).collect(),
            outputs: used,
            float: self.dtype,
        };
        let known = inputs.iter().flatten().all(|i| self.values[*i].shared.is_some());
        let build = || ops::build(&setup);
        let operator = within(self.budget.limit(known), build).map_err(wrap)?;
        let reads = |k: &usize| !operator.reads_shape_only() && !operator.ignores(*k);
        let read: Vec<usize> = (0..inputs.len()).filter(reads).filter_map(|k| inputs[k]).collect();
        let shared = read.iter().all(|i| self.values[*i].shared.is_some());
        let outputs = self.try_out(operator.as_ref(), &inputs, shared).map_err(wrap)?;
        if outputs.len() < used {
            return Err(wrap(OperatorError::Message(format!(
                "{used} outputs are used but only {} are computed",
                outputs.len()
            ))));
        }
        let parametric = read.iter().any(|i| self.values[*i].parametric);
        let entries = self.entries(operator.as_ref(), &inputs, shared).map_err(wrap)?;
        let width = self.width(raw, &inputs);
        let mut ids = Vec::with_capacity(raw.outputs.len());
        for (k, name) in raw.outputs.iter().enumerate() {
            if name.is_empty() {
                ids.push(None);
                continue;
            }
            let trial = outputs[k].clone();
            let value = Value {
                name: name.clone(),
                shape: crate::tensor::example_shape(&trial).to_vec(),
                dtype: trial.dtype(),
                width: width.filter(|_| trial.dtype() == DType::I64),
                shared: shared.then(|| trial.clone()),
                parametric,
                entries: entries.as_ref().and_then(|e| e.get(k).cloned().flatten()),
            };
            ids.push(Some(self.add(value, trial)));
        }
        let operator_name = raw.operator_name();
        let name = raw.name.clone();
        let resident = ops::runs_on_devices(&raw.operator);
        let node = Node { name, operator_name, operator, inputs, outputs: ids, shared, resident };
        self.nodes.push(node);
        Ok(())
    }

    /// What a node gives: its values where they are the same for every example, else zeros of the
    /// shapes and types that it gives for an example of zeros.
    fn try_out(
        &mut self,
        operator: &dyn Operator,
        inputs: &[Option<usize>],
        shared: bool,
    ) -> std::result::Result<Vec<Tensor>, OperatorError> {
        let floats = inputs.iter().flatten().all(|i| self.values[*i].dtype == self.dtype);
        if let Some(shapes) = operator.outline().filter(|_| floats && !shared) {
            return shapes.iter().map(|shape| self.result(shape, self.dtype, None)).collect();
        }
        let mut operands = Vec::with_capacity(inputs.len());
        for input in inputs {
            operands.push(match input {
                Some(id) if self.values[*id].shared.is_none() => {
                    Some(self.trial[*id].contiguous()?)
                }
                Some(id) => Some(self.trial[*id].clone()),
                None => None,
            });
        }
        let operands: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
        let limit = self.budget.limit(shared);
        let Forward { outputs, .. } = within(limit, || operator.forward(&operands))?;
        let mut results = Vec::with_capacity(outputs.len());
        for output in outputs {
            let shape = crate::tensor::example_shape(&output).to_vec();
            let dtype = output.dtype();
            results.push(self.result(&shape, dtype, Some(output).filter(|_| shared))?);
        }
        Ok(results)
    }

    /// One result of a node, counted.
    fn result(
        &mut self,
        shape: &[usize],
        dtype: DType,
        value: Option<Tensor>,
    ) -> std::result::Result<Tensor, OperatorError> {
        self.budget.take(value.is_some(), shape)?;
        match value {
            Some(value) => Ok(value),
            None => Ok(zeros(shape, dtype)?),
        }
    }

    /// An If whose condition is known while the graph is built is the chosen branch.
    fn branch(&mut self, raw: &RawNode) -> Result<()> {
        let model = self.model;
        let fail = |message: String| raw.refused(model, message);
        let condition = raw.inputs.first().map_or("", String::as_str);
        let holds = self.holds(condition).map_err(|error| fail(error.to_string()))?;
        let chosen = if holds { "then_branch" } else { "else_branch" };
        let graph = raw.attributes.graph(chosen).map_err(|e| fail(e.to_string()))?;
        for (name, constant) in &graph.initializers {
            self.constant(name, constant)?;
        }
        for node in &graph.nodes {
            self.inner(raw, node)?;
        }
        for (k, outer) in raw.outputs.iter().enumerate() {
            let Some(inner) = graph.outputs.get(k).filter(|o| self.is_known(o)) else {
                return Err(fail(format!("the branch does not write its output {k}")));
            };
            let (inner, outer) = (vec![inner.clone()], vec![outer.clone()]);
            self.stand_in(raw, "Identity", inner, outer, Attributes::default())?;
        }
        Ok(())
    }

    /// A node of a graph inside another node.
    fn inner(&mut self, outer: &RawNode, node: &RawNode) -> Result<()> {
        let mut read = node.inputs.iter().filter(|name| !name.is_empty());
        if let Some(lost) = read.find(|name| !self.is_known(name)) {
            let message = format!("node `{}` reads `{lost}`, which nothing writes", node.name);
            return Err(outer.refused(self.model, message));
        }
        self.node(node)
    }

    /// Whether something has been written under a name: a tensor or a sequence of them.
    fn is_known(&self, name: &String) -> bool {
        self.by_name.contains_key(name) || self.is_sequence(Some(name))
    }

    fn operand(&self, value: usize) -> Operand {
        let value = &self.values[value];
        Operand {
            shape: value.shape.clone(),
            dtype: value.dtype,
            constant: value.shared.clone().filter(|_| !value.parametric),
            shared: value.shared.is_some(),
            width: value.width,
        }
    }

    /// The integer type of what a node writes, as far as it is needed: that of a quantised tensor is
    /// the type of its zero point, which exporters store, cast or move.
    fn width(&self, raw: &RawNode, inputs: &[Option<usize>]) -> Option<Width> {
        let of = |k: usize| self.values[inputs.get(k).copied().flatten()?].width;
        match raw.operator.as_str() {
            "Cast" => Width::of_code(raw.attributes.int("to", 0).ok()?),
            "CastLike" => of(1),
            operator if parameters::hands_on(operator) => of(0),
            _ => None,
        }
    }

    /// Follow the entries of a parameter through an operator that only moves them.
    fn entries(
        &self,
        operator: &dyn Operator,
        inputs: &[Option<usize>],
        shared: bool,
    ) -> std::result::Result<Option<Vec<Option<Entries>>>, OperatorError> {
        let Some(first) = inputs.first().copied().flatten() else { return Ok(None) };
        let value = &self.values[first];
        let (true, true, Some(own)) = (shared, operator.moves_entries(), &value.entries) else {
            return Ok(None);
        };
        let map = match &own.map {
            Some(map) => map.clone(),
            None => {
                let mut shape = vec![1];
                shape.extend(&value.shape);
                let count = value.shape.iter().product::<usize>() as i64;
                Tensor::arange(0i64, count, &Device::Cpu)?.reshape(shape)?
            }
        };
        let mut trial: Vec<Option<&Tensor>> =
            inputs.iter().map(|i| i.map(|i| &self.trial[i])).collect();
        trial[0] = Some(&map);
        let moved = self.moved(operator, &trial)?;
        let stored = self.found.parameters[own.parameter].len();
        let mut result = Vec::with_capacity(moved.len());
        for map in moved {
            let distinct = are_distinct(&map, stored)?;
            let entries = Entries { parameter: own.parameter, map: Some(map) };
            result.push(distinct.then_some(entries));
        }
        Ok(Some(result))
    }

    /// Casting must not touch the entry numbers, everything else may move them.
    fn moved(
        &self,
        operator: &dyn Operator,
        inputs: &Inputs,
    ) -> std::result::Result<Vec<Tensor>, OperatorError> {
        let outputs = operator.forward(inputs)?.outputs;
        if outputs.iter().any(|o| o.dtype() != DType::I64) {
            return Ok(inputs.iter().take(1).flatten().map(|t| (*t).clone()).collect());
        }
        Ok(outputs)
    }
}

/// One example of zeros, which takes the memory of a single one.
fn zeros(shape: &[usize], dtype: DType) -> candle_core::Result<Tensor> {
    let one = Tensor::zeros(vec![1; shape.len() + 1], dtype, &Device::Cpu)?;
    one.broadcast_as(lead_shape(1, shape))
}

/// Whether no entry occurs twice.
fn are_distinct(map: &Tensor, stored: usize) -> candle_core::Result<bool> {
    let mut seen = vec![false; stored];
    for at in map.flatten_all()?.to_vec1::<i64>()? {
        match seen.get_mut(at as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The batch is axis 0 where that is open or one. Where it is neither, the first other axis that is
/// open stands for it (recurrent networks put time first); otherwise there is no batch axis and
/// the whole input is one example.
fn batch_axis(dims: &[Dimension]) -> Option<usize> {
    match dims.first()? {
        Dimension::Fixed(1) | Dimension::Symbolic(_) => Some(0),
        Dimension::Fixed(_) => dims.iter().position(|d| matches!(d, Dimension::Symbolic(_))),
    }
}

/// The graph's shape of an input for one example, and which of its axes is the batch.
fn resolve(
    model: &str,
    declared: &Declared,
    given: Option<&Vec<usize>>,
) -> Result<(Vec<usize>, Option<usize>)> {
    let usage = |message: String| {
        NetworkError::Usage(format!("{model}: input `{}` {message}", declared.name))
    };
    let Some(dims) = &declared.shape else {
        let Some(given) = given else {
            return Err(usage("has no declared shape; say what shape one example has".into()));
        };
        let mut full = vec![1];
        full.extend(given);
        return Ok((full, Some(0)));
    };
    let batch_axis = batch_axis(dims);
    let mut rest = given.map(|g| g.iter());
    let mut full = Vec::with_capacity(dims.len());
    for (axis, dim) in dims.iter().enumerate() {
        if Some(axis) == batch_axis {
            full.push(1);
            continue;
        }
        let given_size = match &mut rest {
            Some(sizes) => match sizes.next() {
                Some(size) => Some(*size),
                None => return Err(mismatch(&usage, dims, batch_axis, given)),
            },
            None => None,
        };
        full.push(match (dim, given_size) {
            (Dimension::Fixed(size), None) => *size,
            (Dimension::Fixed(size), Some(given)) if *size == given => *size,
            (Dimension::Symbolic(_), Some(given)) => given,
            (Dimension::Symbolic(name), None) => {
                return Err(usage(format!(
                    "leaves axis {axis} (`{name}`) open; say what shape one example has"
                )));
            }
            _ => return Err(mismatch(&usage, dims, batch_axis, given)),
        });
    }
    if rest.is_some_and(|mut sizes| sizes.next().is_some()) {
        return Err(mismatch(&usage, dims, batch_axis, given));
    }
    Ok((full, batch_axis))
}

fn mismatch(
    usage: &dyn Fn(String) -> NetworkError,
    dims: &[Dimension],
    batch_axis: Option<usize>,
    given: Option<&Vec<usize>>,
) -> NetworkError {
    let wanted: Vec<String> = dims
        .iter()
        .enumerate()
        .filter(|(axis, _)| Some(*axis) != batch_axis)
        .map(|(_, dim)| match dim {
            Dimension::Fixed(size) => size.to_string(),
            Dimension::Symbolic(name) => name.clone(),
        })
        .collect();
    usage(format!(
        "takes examples of shape [{}] but the data has {:?}",
        wanted.join(", "),
        given.cloned().unwrap_or_default()
    ))
}

impl Declared {
    /// The shape of one example without its batch axis, open axes as `None`; `None` where the file
    /// declares no shape at all.
    pub fn example_shape(&self) -> Option<Vec<Option<usize>>> {
        let dims = self.shape.as_ref()?;
        let batch_axis = batch_axis(dims);
        Some(
            dims.iter()
                .enumerate()
                .filter(|(axis, _)| Some(*axis) != batch_axis)
                .map(|(_, dim)| match dim {
                    Dimension::Fixed(size) => Some(*size),
                    Dimension::Symbolic(_) => None,
                })
                .collect(),
        )
    }
}
