//! Functions that a model file defines itself, written out in place of the nodes that call them.
//!
//! Exporters keep their own operators (and sometimes whole layers) as functions: a body of nodes
//! with formal inputs, outputs and attributes. A call is replaced by the body, its names set under
//! the call's first output and the function, so that nothing later needs to know of functions. Calls of ONNX's own
//! operators that gradkin knows are left alone.

use std::collections::HashMap;

use rten_onnx::onnx::{AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, TensorProto};
use rten_onnx::protobuf::{
    DecodeMessage, Fields, OwnedValues, ProtobufError, ReadValue, ValueReader,
};

use super::is_own_domain;
use crate::ops;

/// A node, and the opset its function asks for where it came out of one.
pub(super) struct Placed {
    pub(super) node: NodeProto,
    pub(super) opset: Option<i64>,
}

/// What has been written out, and how many bytes more may be.
struct Written {
    nodes: Vec<Placed>,
    left: usize,
}

impl Written {
    fn charge(&mut self, node: &NodeProto) -> Result<(), String> {
        match self.left.checked_sub(bytes_of(node)) {
            Some(left) => self.left = left,
            None => {
                return Err("its functions write out to more than a file of this size may".into());
            }
        }
        Ok(())
    }
}

/// About what a node takes in memory.
fn bytes_of(node: &NodeProto) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let texts = |list: &[String]| list.iter().map(|s| size_of::<String>() + s.len()).sum::<usize>();
    let tensor = |t: &TensorProto| {
        let raw = t.raw_data.as_ref().map_or(0, |raw| raw.borrow().len());
        let wide = t.dims.len() + t.int64_data.len() + t.double_data.len();
        raw + 8 * wide + 4 * (t.float_data.len() + t.int32_data.len()) + text(&t.name)
    };
    let graph = |g: &GraphProto| {
        let stored: usize =
            g.initializer.iter().map(|t| size_of::<TensorProto>() + tensor(t)).sum();
        stored + g.node.iter().map(bytes_of).sum::<usize>()
    };
    let attribute = |a: &AttributeProto| {
        let numbers = 4 * a.floats.len() + 8 * a.ints.len() + texts(&a.strings) + text(&a.s);
        let inner = a.t.as_ref().map_or(0, tensor) + a.g.as_ref().map_or(0, graph);
        size_of::<AttributeProto>() + text(&a.name) + numbers + inner
    };
    let names = texts(&node.input) + texts(&node.output) + text(&node.name) + text(&node.op_type);
    size_of::<NodeProto>() + names + node.attribute.iter().map(attribute).sum::<usize>()
}

/// How deeply functions may call each other.
const DEEPEST: usize = 64;
/// How many bytes all functions together may be written out to: so many, and so many times those of
/// the file.
const MOST_BYTES: (usize, usize) = (1 << 24, 64);

/// The functions of a model, by domain and name.
#[derive(Default)]
pub(super) struct Functions(HashMap<(String, String), Function>);

impl Functions {
    /// Read them from a model file; whatever else is in it is skipped.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let file = File::decode(ValueReader::from_buf(bytes)).map_err(|e| e.to_string())?;
        let mut map = HashMap::with_capacity(file.0.len());
        for function in file.0 {
            let key = (own(&function.domain), function.name.clone());
            if map.insert(key, function).is_some() {
                return Err("a function is defined twice; overloads are not supported".into());
            }
        }
        Ok(Self(map))
    }

    /// Write out every call.
    pub(super) fn inline(&self, nodes: Vec<NodeProto>, file: usize) -> Result<Vec<Placed>, String> {
        let left = file.saturating_mul(MOST_BYTES.1).saturating_add(MOST_BYTES.0);
        let mut out = Written { nodes: Vec::with_capacity(nodes.len()), left };
        for node in nodes {
            self.place(Placed { node, opset: None }, 0, &mut out)?;
        }
        Ok(out.nodes)
    }

    fn place(&self, call: Placed, depth: usize, out: &mut Written) -> Result<(), String> {
        let Some(function) = self.called(&call.node) else {
            out.nodes.push(call);
            return Ok(());
        };
        if depth == DEEPEST {
            return Err(format!(
                "function `{}` calls functions more than {DEEPEST} deep, perhaps itself",
                function.name
            ));
        }
        let names = Names::new(function, &call.node);
        for passed in function.passed_through(&call.node, &names) {
            out.charge(&passed)?;
            out.nodes.push(Placed { node: passed, opset: None });
        }
        for node in &function.nodes {
            let node = function.body_node(node, &call.node, &names)?;
            out.charge(&node)?;
            self.place(Placed { node, opset: function.opset }, depth + 1, out)?;
        }
        Ok(())
    }

    fn called(&self, node: &NodeProto) -> Option<&Function> {
        let domain = own(node.domain.as_deref().unwrap_or_default());
        let name = node.op_type.clone().unwrap_or_default();
        if domain.is_empty() && ops::is_known(&name) {
            return None;
        }
        self.0.get(&(domain, name))
    }
}

/// ONNX's own domain has two spellings.
fn own(domain: &str) -> String {
    if is_own_domain(domain) { String::new() } else { domain.to_owned() }
}

/// What the names of a function's body are called where it is written out.
struct Names<'a> {
    known: HashMap<&'a str, String>,
    prefix: String,
}

impl<'a> Names<'a> {
    fn new(function: &'a Function, call: &NodeProto) -> Self {
        let first = call.output.iter().find(|o| !o.is_empty());
        // A call may write its caller's output, so the output alone would not tell the two apart.
        let written = first.or(call.name.as_ref()).cloned().unwrap_or_default();
        let prefix = format!("{written}/{}", function.name);
        let mut known = HashMap::new();
        for (k, output) in function.outputs.iter().enumerate() {
            if let Some(actual) = call.output.get(k).filter(|o| !o.is_empty()) {
                known.insert(output.as_str(), actual.clone());
            }
        }
        for (k, input) in function.inputs.iter().enumerate() {
            known.insert(input.as_str(), call.input.get(k).cloned().unwrap_or_default());
        }
        Self { known, prefix }
    }

    fn of(&self, name: &str) -> String {
        match self.known.get(name) {
            Some(actual) => actual.clone(),
            None if name.is_empty() => String::new(),
            None => format!("{}/{name}", self.prefix),
        }
    }

    fn rename(&self, names: &mut [String]) {
        names.iter_mut().for_each(|name| *name = self.of(name));
    }

    fn rename_node(&self, node: &mut NodeProto) {
        self.rename(&mut node.input);
        self.rename(&mut node.output);
        let inner = node.name.take().filter(|name| !name.is_empty());
        node.name = inner.map(|name| format!("{}/{name}", self.prefix));
        for attribute in &mut node.attribute {
            if let Some(graph) = &mut attribute.g {
                self.rename_graph(graph);
            }
        }
    }

    fn rename_graph(&self, graph: &mut GraphProto) {
        graph.node.iter_mut().for_each(|node| self.rename_node(node));
        for tensor in &mut graph.initializer {
            tensor.name = tensor.name.as_deref().map(|name| self.of(name));
        }
        for value in graph.input.iter_mut().chain(&mut graph.output) {
            value.name = value.name.as_deref().map(|name| self.of(name));
        }
    }
}

/// The body of a function.
#[derive(Default)]
struct Function {
    domain: String,
    name: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    defaults: Vec<AttributeProto>,
    nodes: Vec<BodyNode>,
    opset: Option<i64>,
}

impl Function {
    /// Outputs that are inputs, which need a node of their own to carry the call's output name.
    fn passed_through(&self, call: &NodeProto, names: &Names) -> Vec<NodeProto> {
        let pairs = self.outputs.iter().zip(&call.output);
        let both = pairs.filter(|(own, actual)| self.inputs.contains(own) && !actual.is_empty());
        both.map(|(own, actual)| NodeProto {
            op_type: Some("Identity".into()),
            input: vec![names.of(own)],
            output: vec![actual.clone()],
            ..NodeProto::default()
        })
        .collect()
    }

    /// One node of the body, its names and attributes those of the call.
    fn body_node(
        &self,
        body: &BodyNode,
        call: &NodeProto,
        names: &Names,
    ) -> Result<NodeProto, String> {
        let mut node = body.node.clone();
        let mut attributes = Vec::with_capacity(node.attribute.len());
        for (attribute, reference) in node.attribute.into_iter().zip(&body.references) {
            if reference.nested {
                return Err(format!(
                    "function `{}` hands an attribute to a branch, which is not supported",
                    self.name
                ));
            }
            let Some(target) = &reference.target else {
                attributes.push(attribute);
                continue;
            };
            let named = |a: &&AttributeProto| a.name.as_deref() == Some(target);
            let given = call.attribute.iter().find(named).or(self.defaults.iter().find(named));
            if let Some(given) = given {
                attributes.push(AttributeProto { name: attribute.name, ..given.clone() });
            }
        }
        node.attribute = attributes;
        names.rename_node(&mut node);
        Ok(node)
    }
}

/// A node of a body, with what its attributes refer to.
struct BodyNode {
    node: NodeProto,
    references: Vec<Reference>,
}

/// The part of a model file that holds functions.
struct File(Vec<Function>);

impl DecodeMessage for File {
    type Types = OwnedValues;

    fn decode_fields<R: ReadValue<Types = Self::Types>>(
        mut fields: Fields<R>,
    ) -> Result<Self, ProtobufError> {
        const FUNCTIONS: u64 = 25;
        let mut functions = Vec::new();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                FUNCTIONS => functions.push(Function::decode_field(&mut field)?),
                _ => field.skip()?,
            }
        }
        Ok(Self(functions))
    }
}

impl DecodeMessage for Function {
    type Types = OwnedValues;

    fn decode_fields<R: ReadValue<Types = Self::Types>>(
        mut fields: Fields<R>,
    ) -> Result<Self, ProtobufError> {
        let mut function = Self::default();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                1 => function.name = field.read_string()?,
                4 => function.inputs.push(field.read_string()?),
                5 => function.outputs.push(field.read_string()?),
                7 => {
                    // The decoder of nodes leaves references out, so the bytes are read twice.
                    let bytes = field.read_bytes()?;
                    let node = NodeProto::decode(ValueReader::from_buf(bytes.as_slice()))?;
                    let references = References::decode(ValueReader::from_buf(bytes.as_slice()))?;
                    function.nodes.push(BodyNode { node, references: references.0 });
                }
                9 => {
                    let set = OperatorSetIdProto::decode_field(&mut field)?;
                    if is_own_domain(set.domain.as_deref().unwrap_or_default()) {
                        function.opset = set.version;
                    }
                }
                10 => function.domain = field.read_string()?,
                11 => function.defaults.push(AttributeProto::decode_field(&mut field)?),
                _ => field.skip()?,
            }
        }
        Ok(function)
    }
}

/// For each attribute of a node what it refers to.
struct References(Vec<Reference>);

impl DecodeMessage for References {
    type Types = OwnedValues;

    fn decode_fields<R: ReadValue<Types = Self::Types>>(
        mut fields: Fields<R>,
    ) -> Result<Self, ProtobufError> {
        const ATTRIBUTE: u64 = 5;
        let mut references = Vec::new();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                ATTRIBUTE => references.push(Reference::decode_field(&mut field)?),
                _ => field.skip()?,
            }
        }
        Ok(Self(references))
    }
}

/// Whether an attribute stands for one of the function's.
#[derive(Default)]
struct Reference {
    target: Option<String>,
    /// Whether a node inside a graph attribute has such a reference.
    nested: bool,
}

impl DecodeMessage for Reference {
    type Types = OwnedValues;

    fn decode_fields<R: ReadValue<Types = Self::Types>>(
        mut fields: Fields<R>,
    ) -> Result<Self, ProtobufError> {
        const GRAPH: u64 = 6;
        const REFERENCE: u64 = 21;
        let mut reference = Self::default();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                GRAPH => reference.nested |= Nested::decode_field(&mut field)?.0,
                REFERENCE => {
                    reference.target = Some(field.read_string()?).filter(|name| !name.is_empty());
                }
                _ => field.skip()?,
            }
        }
        Ok(reference)
    }
}

/// Whether any node of a graph has an attribute that refers to a function's.
struct Nested(bool);

impl DecodeMessage for Nested {
    type Types = OwnedValues;

    fn decode_fields<R: ReadValue<Types = Self::Types>>(
        mut fields: Fields<R>,
    ) -> Result<Self, ProtobufError> {
        const NODE: u64 = 1;
        let mut found = false;
        while let Some(mut field) = fields.next()? {
            match field.number() {
                NODE => {
                    let references = References::decode_field(&mut field)?;
                    found |= references.0.iter().any(|r| r.nested || r.target.is_some());
                }
                _ => field.skip()?,
            }
        }
        Ok(Self(found))
    }
}

#[cfg(test)]
mod tests {
    use crate::{InputData, Model, Network, NetworkError, Options, OutputData};

    /// A length-delimited field.
    fn field(number: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = varint(number << 3 | 2);
        bytes.extend(varint(content.len() as u64));
        bytes.extend(content);
        bytes
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn whole(number: u64, value: u64) -> Vec<u8> {
        [varint(number << 3), varint(value)].concat()
    }

    fn node(operator: &str, domain: &str, ins: &[&str], out: &str, attribute: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = ins.iter().flat_map(|name| field(1, name.as_bytes())).collect();
        bytes.extend(field(2, out.as_bytes()));
        bytes.extend(field(4, operator.as_bytes()));
        bytes.extend(field(7, domain.as_bytes()));
        if !attribute.is_empty() {
            bytes.extend(field(5, attribute));
        }
        bytes
    }

    /// An attribute with a float.
    fn float(name: &str, value: f32) -> Vec<u8> {
        let number = [varint(2 << 3 | 5), value.to_le_bytes().to_vec()].concat();
        [field(1, name.as_bytes()), number, whole(20, 1)].concat()
    }

    /// An attribute that stands for one of the function.
    fn reference(name: &str, target: &str) -> Vec<u8> {
        [field(1, name.as_bytes()), field(21, target.as_bytes()), whole(20, 1)].concat()
    }

    fn function(name: &str, attribute: &str, nodes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = [field(1, name.as_bytes()), field(10, b"own")].concat();
        bytes.extend([field(4, b"x"), field(5, b"y")].concat());
        if !attribute.is_empty() {
            bytes.extend(field(6, attribute.as_bytes()));
        }
        bytes.extend(nodes.iter().flat_map(|node| field(7, node)));
        bytes.extend(field(9, &[field(1, b""), whole(2, 13)].concat()));
        field(25, &bytes)
    }

    /// A model that calls one function on an input of two numbers.
    fn model(call: &[u8], functions: &[Vec<u8>]) -> Vec<u8> {
        let dim = |size| field(1, &whole(1, size));
        let kind = [whole(1, 1), field(2, &[dim(1), dim(2)].concat())].concat();
        let value = |name: &str| [field(1, name.as_bytes()), field(2, &field(1, &kind))].concat();
        let graph = [field(1, call), field(11, &value("in")), field(12, &value("out"))].concat();
        let mut bytes = [field(7, &graph), field(8, &whole(2, 13))].concat();
        bytes.extend(functions.concat());
        bytes
    }

    fn run(bytes: &[u8]) -> Result<Vec<f32>, NetworkError> {
        let model = Model::from_bytes(bytes, "test")?;
        let network = Network::new(&model, &Options::default())?;
        let outputs = network.evaluate(vec![InputData::F32(vec![-1.0, 2.0])], 1)?;
        assert_eq!(outputs[0].name, "out");
        match &outputs[0].data {
            OutputData::F32(values) => Ok(values.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// y = leaky(x) + x with the slope handed on.
    fn leaky() -> Vec<u8> {
        function(
            "Leaky",
            "slope",
            &[
                node("LeakyRelu", "", &["x"], "inner", &reference("alpha", "slope")),
                node("Add", "", &["inner", "x"], "y", &[]),
            ],
        )
    }

    #[test]
    fn calls_are_written_out_with_their_attributes() {
        let call = node("Leaky", "own", &["in"], "out", &float("slope", 0.5));
        assert_eq!(run(&model(&call, &[leaky()])).unwrap(), [-1.5, 4.0]);
        // A reference to an attribute that the call leaves out leaves it out too.
        let call = node("Leaky", "own", &["in"], "out", &[]);
        assert_eq!(run(&model(&call, &[leaky()])).unwrap(), [-1.01, 4.0]);
    }

    #[test]
    fn functions_call_functions_with_names_of_their_own() {
        let twice = function(
            "Twice",
            "slope",
            &[
                node("Leaky", "own", &["x"], "inner", &reference("slope", "slope")),
                node("Leaky", "own", &["inner"], "y", &reference("slope", "slope")),
            ],
        );
        let call = node("Twice", "own", &["in"], "out", &float("slope", 0.5));
        assert_eq!(run(&model(&call, &[twice, leaky()])).unwrap(), [-2.25, 8.0]);
    }

    #[test]
    fn a_function_that_calls_itself_is_refused() {
        let endless = function("Endless", "", &[node("Endless", "own", &["x"], "y", &[])]);
        let call = node("Endless", "own", &["in"], "out", &[]);
        let error = run(&model(&call, &[endless])).unwrap_err().to_string();
        assert!(error.contains("perhaps itself"), "{error}");
        // Each calls the next twice: 2^60 nodes, were they written out.
        let bomb: Vec<Vec<u8>> = (0..60)
            .map(|k| {
                let next = format!("F{}", k + 1);
                let name = format!("F{k}");
                function(
                    &name,
                    "",
                    &[
                        node(&next, "own", &["x"], "inner", &[]),
                        node(&next, "own", &["inner"], "y", &[]),
                    ],
                )
            })
            .chain([function("F60", "", &[node("Relu", "", &["x"], "y", &[])])])
            .collect();
        let call = node("F0", "own", &["in"], "out", &[]);
        let error = run(&model(&call, &bomb)).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
    }
}
