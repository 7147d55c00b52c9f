//! An ONNX file as it stands: nodes, initialisers, inputs and outputs, before any shape is known.
//!
//! Decoding is rten-onnx's, written for untrusted files; this module adds external weights,
//! typed constants and attribute access, and checks that the graph hangs together.

mod attributes;
mod constant;
mod element;
mod functions;
mod save;
mod signature;
mod width;
pub(crate) mod wire;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rten_onnx::onnx::{DataType, GraphProto, ModelProto, NodeProto, ValueInfoProto};

pub(crate) use attributes::Attributes;
pub(crate) use constant::{Constant, ConstantData, exact_decimal, from_bytes};
pub(crate) use signature::Role;
pub(crate) use width::Width;

use crate::error::{NetworkError, Result};
use crate::parameters::Verdict;

/// One axis of a declared shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    /// A fixed size.
    Fixed(usize),
    /// A name such as `batch` or `n`, or an empty string where the file says nothing.
    Symbolic(String),
}

/// An input or output as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The value's name.
    pub name: String,
    /// The declared shape, batch axis included; `None` where the file gives no shape.
    pub shape: Option<Vec<Dimension>>,
    /// Whether the declared element type is an integer or boolean.
    pub integer: bool,
    /// Whether it is boolean.
    pub boolean: bool,
}

/// One node as the file has it.
#[derive(Debug, Clone)]
pub(crate) struct RawNode {
    pub(crate) name: String,
    pub(crate) operator: String,
    pub(crate) domain: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: Attributes,
    /// The opset of the function that the node came out of.
    pub(crate) opset: Option<i64>,
}

/// A graph inside a node, such as a branch of an If. It sees all values before that node.
#[derive(Debug, Clone)]
pub(crate) struct RawGraph {
    pub(crate) inputs: Vec<String>,
    pub(crate) nodes: Vec<RawNode>,
    pub(crate) initializers: Vec<(String, Constant)>,
    pub(crate) outputs: Vec<String>,
}

impl RawGraph {
    fn read(reader: &constant::Reader, graph: GraphProto) -> Result<Self> {
        let mut initializers = Vec::with_capacity(graph.initializer.len());
        for tensor in &graph.initializer {
            let name = tensor.name.clone().unwrap_or_default();
            initializers.push((name.clone(), reader.read(&name, tensor)?));
        }
        let nodes = graph.node.into_iter().map(|node| RawNode::read(reader, node, None));
        let nodes = nodes.collect::<Result<_>>()?;
        let [inputs, outputs] = [graph.input, graph.output]
            .map(|values| values.into_iter().map(|value| value.name.unwrap_or_default()).collect());
        Ok(Self { inputs, nodes, initializers, outputs })
    }

    /// The same with other names for all values.
    fn renamed(&self, name: &dyn Fn(&str) -> String) -> Self {
        let stored = self.initializers.iter().map(|(own, constant)| (name(own), constant.clone()));
        Self {
            inputs: self.inputs.iter().map(|own| name(own)).collect(),
            nodes: self.nodes.iter().map(|node| node.renamed(name)).collect(),
            initializers: stored.collect(),
            outputs: self.outputs.iter().map(|own| name(own)).collect(),
        }
    }
}

/// ONNX's own domain has two spellings.
pub(crate) fn is_own_domain(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

impl RawNode {
    fn read(reader: &constant::Reader, node: NodeProto, opset: Option<i64>) -> Result<Self> {
        let (inputs, outputs) = (node.input, node.output);
        let operator = node.op_type.unwrap_or_default();
        let name = node
            .name
            .filter(|name| !name.is_empty())
            .or_else(|| outputs.first().cloned())
            .unwrap_or_else(|| operator.clone());
        let attributes = Attributes::read(reader, &name, node.attribute)?;
        let domain = node.domain.unwrap_or_default();
        Ok(Self { name, operator, domain, inputs, outputs, attributes, opset })
    }

    /// This node and those of the graphs inside it.
    pub(crate) fn with_inner(&self) -> Vec<&RawNode> {
        let inner = self.attributes.graphs().flat_map(|graph| &graph.nodes);
        std::iter::once(self).chain(inner.flat_map(RawNode::with_inner)).collect()
    }

    /// The operator with its domain where that is not ONNX's own.
    pub(crate) fn operator_name(&self) -> String {
        match self.domain.as_str() {
            domain if is_own_domain(domain) => self.operator.clone(),
            domain => format!("{domain}::{}", self.operator),
        }
    }

    /// The same with other names for all values; an input that is left out stays so.
    pub(crate) fn renamed(&self, name: &dyn Fn(&str) -> String) -> Self {
        let all = |names: &[String]| {
            names.iter().map(|own| if own.is_empty() { String::new() } else { name(own) }).collect()
        };
        Self {
            inputs: all(&self.inputs),
            outputs: all(&self.outputs),
            attributes: self.attributes.map_graphs(&|graph| graph.renamed(name)),
            ..self.clone()
        }
    }

    /// What is wrong with the node in a model.
    pub(crate) fn refused(&self, model: &Model, message: impl fmt::Display) -> NetworkError {
        NetworkError::Node {
            model: model.source.clone(),
            node: self.name.clone(),
            operator: self.operator_name(),
            message: message.to_string(),
        }
    }
}

/// A decoded ONNX model whose shapes are not resolved yet.
///
/// Turn it into something that runs with [`Network::new`](crate::Network::new).
///
/// ```no_run
/// # fn main() -> Result<(), gradkin_network::NetworkError> {
/// let model = gradkin_network::Model::open("model.onnx")?;
/// for input in model.inputs() {
///     println!("{}", input.name);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) source: String,
    pub(crate) opset: i64,
    pub(crate) producer: String,
    /// Bytes of the file and of the weights kept beside it.
    pub(crate) size: usize,
    /// Where weights kept beside the file are, if it was read from a folder.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) nodes: Vec<RawNode>,
    pub(crate) initializers: Vec<(String, Constant)>,
    pub(crate) inputs: Vec<Declared>,
    pub(crate) outputs: Vec<Declared>,
    /// What the exporter says of stored tensors, where it says anything.
    pub(crate) signature: signature::Signature,
    /// What was decided of each tensor before other weights took its place; empty where none did.
    pub(crate) verdicts: HashMap<String, Verdict>,
}

impl Model {
    /// Read a model and the weights kept beside it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path)
            .map_err(|source| NetworkError::Read { path: path.to_owned(), source })?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self::decode(&bytes, &path.display().to_string(), Some(folder))
    }

    /// Read a model from memory; `name` stands for it in messages.
    ///
    /// A model that keeps weights in other files is refused, since there is no folder to look in.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self> {
        Self::decode(bytes, name, None)
    }

    fn decode(bytes: &[u8], source: &str, folder: Option<PathBuf>) -> Result<Self> {
        let not_onnx = |message: String| NetworkError::NotOnnx { model: source.into(), message };
        if bytes.is_empty() {
            return Err(not_onnx("the file is empty".into()));
        }
        wire::check(bytes).map_err(not_onnx)?;
        let proto = ModelProto::parse_buf(bytes).map_err(|e| not_onnx(e.to_string()))?;
        let Some(graph) = proto.graph else {
            return Err(not_onnx("it holds no graph".into()));
        };
        if graph.node.is_empty() && graph.output.is_empty() {
            return Err(not_onnx("its graph is empty".into()));
        }
        let opset = proto
            .opset_import
            .iter()
            .filter(|set| matches!(set.domain.as_deref(), None | Some("" | "ai.onnx")))
            .filter_map(|set| set.version)
            .max()
            .unwrap_or(1);
        let producer = [proto.producer_name, proto.producer_version]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ");
        let mut model = Self {
            source: source.into(),
            opset,
            producer,
            size: bytes.len(),
            folder: folder.clone(),
            nodes: Vec::with_capacity(graph.node.len()),
            initializers: Vec::with_capacity(graph.initializer.len()),
            inputs: Vec::new(),
            outputs: Vec::new(),
            signature: signature::read(bytes),
            verdicts: HashMap::new(),
        };
        let functions = functions::Functions::read(bytes).map_err(not_onnx)?;
        model.read_graph(graph, &functions, folder.as_deref())?;
        model.check_wiring()?;
        Ok(model)
    }

    fn read_graph(
        &mut self,
        graph: GraphProto,
        functions: &functions::Functions,
        folder: Option<&Path>,
    ) -> Result<()> {
        let reader = constant::Reader::new(&self.source, folder);
        for tensor in &graph.initializer {
            let name = tensor.name.clone().unwrap_or_default();
            self.initializers.push((name.clone(), reader.read(&name, tensor)?));
        }
        let stored: HashMap<&str, ()> =
            self.initializers.iter().map(|(name, _)| (name.as_str(), ())).collect();
        self.inputs = graph
            .input
            .iter()
            .map(declared)
            .filter(|input| !stored.contains_key(input.name.as_str()))
            .collect();
        self.outputs = graph.output.iter().map(declared).collect();
        let placed = functions
            .inline(graph.node, self.size)
            .map_err(|message| NetworkError::Model { model: self.source.clone(), message })?;
        for functions::Placed { node, opset } in placed {
            self.nodes.push(RawNode::read(&reader, node, opset)?);
        }
        self.size = self.size.saturating_add(reader.external_bytes());
        Ok(())
    }

    /// Every node input must have been written by something before it, and nothing twice.
    fn check_wiring(&self) -> Result<()> {
        let broken = |message: String| NetworkError::Model { model: self.source.clone(), message };
        let mut known: HashMap<&str, ()> = HashMap::new();
        let given = self.inputs.iter().map(|i| i.name.as_str());
        let stored = self.initializers.iter().map(|(name, _)| name.as_str());
        for name in given.chain(stored) {
            if known.insert(name, ()).is_some() {
                return Err(broken(format!("the value `{name}` is defined twice")));
            }
        }
        for node in &self.nodes {
            for input in node.inputs.iter().filter(|name| !name.is_empty()) {
                if !known.contains_key(input.as_str()) {
                    return Err(broken(format!(
                        "node `{}` reads `{input}`, which nothing before it writes",
                        node.name
                    )));
                }
            }
            for output in node.outputs.iter().filter(|name| !name.is_empty()) {
                if known.insert(output, ()).is_some() {
                    return Err(broken(format!("the value `{output}` is defined twice")));
                }
            }
        }
        for output in &self.outputs {
            if !known.contains_key(output.name.as_str()) {
                return Err(broken(format!("no node writes the output `{}`", output.name)));
            }
        }
        if self.outputs.is_empty() {
            return Err(broken("the graph has no output".into()));
        }
        Ok(())
    }

    /// The file's name, as messages give it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The version of ONNX's own operator set that the file asks for.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// The exporter and its version, as the file gives them; may be empty.
    pub fn producer(&self) -> &str {
        &self.producer
    }

    /// The inputs that a caller has to supply (initialisers listed among the inputs are not).
    pub fn inputs(&self) -> &[Declared] {
        &self.inputs
    }

    /// The outputs.
    pub fn outputs(&self) -> &[Declared] {
        &self.outputs
    }

    /// Layers whose running statistics the training program had but the file has not: an exporter
    /// folded their BatchNormalization into the layer before. Known for PyTorch's exporter only.
    pub fn folded_normalizations(&self) -> Vec<&str> {
        let stored = |name: &str| self.initializers.iter().any(|(stored, _)| stored == name);
        let targets = self.signature.targets.iter().filter(|target| !stored(target));
        targets
            .filter_map(|target| target.strip_suffix("running_mean"))
            .map(|l| l.trim_end_matches('.'))
            .collect()
    }

    /// How many nodes use each operator, by operator name.
    pub fn operator_counts(&self) -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for node in &self.nodes {
            *counts.entry(node.operator_name()).or_insert(0) += 1;
        }
        counts.into_iter().collect()
    }
}

fn declared(info: &ValueInfoProto) -> Declared {
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let shape = tensor.and_then(|t| t.shape.as_ref()).map(|shape| {
        shape
            .dim
            .iter()
            .map(|dim| match (dim.dim_value, &dim.dim_param) {
                (Some(size), _) if size > 0 => Dimension::Fixed(size as usize),
                (_, Some(name)) => Dimension::Symbolic(name.clone()),
                _ => Dimension::Symbolic(String::new()),
            })
            .collect()
    });
    let integer = tensor.and_then(|t| t.elem_type).is_some_and(|kind| !constant::is_float(kind));
    let boolean = tensor.and_then(|t| t.elem_type) == Some(DataType::BOOL);
    Declared { name: info.name.clone().unwrap_or_default(), shape, integer, boolean }
}
