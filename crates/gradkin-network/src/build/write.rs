//! The bytes of a network that was built: ONNX's messages, field by field.

use super::{GraphBuilder, Value};
use crate::onnx::wire::{put_bytes, put_float, put_number};

/// The operator set that the files ask for, and the version of the format that goes with it.
const OPSET: u64 = 17;
const FORMAT: u64 = 8;

/// What the stored tensors of a file may take at most; the rest of the file needs little.
pub(super) const MOST_BYTES: usize = (1 << 31) - (1 << 24);

/// One node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) operator: &'static str,
    pub(super) inputs: Vec<usize>,
    /// Names of the stored tensors behind the inputs; empty where one is left out.
    pub(super) stored: Vec<String>,
    pub(super) output: usize,
    pub(super) attributes: Vec<Attribute>,
}

/// One attribute of a node.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    name: &'static str,
    value: AttributeValue,
}

#[derive(Debug, Clone)]
enum AttributeValue {
    Int(u64),
    Float(f32),
    Text(&'static str),
    Ints(Vec<usize>),
}

impl Attribute {
    pub(super) fn int(value: usize) -> Self {
        Self { name: "", value: AttributeValue::Int(value as u64) }
    }

    pub(super) fn float(value: f32) -> Self {
        Self { name: "", value: AttributeValue::Float(value) }
    }

    pub(super) fn text(value: &'static str) -> Self {
        Self { name: "", value: AttributeValue::Text(value) }
    }

    pub(super) fn ints(values: Vec<usize>) -> Self {
        Self { name: "", value: AttributeValue::Ints(values) }
    }

    pub(super) fn called(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

/// A stored tensor.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) data: StoredData,
}

#[derive(Debug, Clone)]
pub(super) enum StoredData {
    /// One float everywhere.
    Filled(f32),
    Floats(Vec<f32>),
    Whole(Vec<i64>),
}

impl Stored {
    /// Bytes that its values take.
    pub(super) fn size(&self) -> usize {
        let each = if matches!(self.data, StoredData::Whole(_)) { 8 } else { 4 };
        self.shape.iter().fold(each, |bytes, size| bytes.saturating_mul(*size))
    }
}

/// The whole file.
pub(super) fn file(builder: &GraphBuilder) -> Vec<u8> {
    let mut set = Vec::new();
    put_bytes(&mut set, 1, b"");
    put_number(&mut set, 2, OPSET);
    let mut out = Vec::with_capacity(builder.size + (1 << 16));
    put_number(&mut out, 1, FORMAT);
    put_bytes(&mut out, 2, b"gradkin");
    put_bytes(&mut out, 3, env!("CARGO_PKG_VERSION").as_bytes());
    put_bytes(&mut out, 7, &graph(builder));
    put_bytes(&mut out, 8, &set);
    out
}

fn graph(builder: &GraphBuilder) -> Vec<u8> {
    let mut out = Vec::with_capacity(builder.size + (1 << 16));
    for one in &builder.nodes {
        put_bytes(&mut out, 1, &node(one, &builder.values));
    }
    put_bytes(&mut out, 2, builder.name.as_bytes());
    for one in &builder.stored {
        put_bytes(&mut out, 5, &tensor(one));
    }
    for (field, ids) in [(11, &builder.inputs), (12, &builder.outputs)] {
        for id in ids {
            put_bytes(&mut out, field, &declared(&builder.values[*id]));
        }
    }
    out
}

fn node(node: &Node, values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for input in &node.inputs {
        put_bytes(&mut out, 1, values[*input].name.as_bytes());
    }
    for name in &node.stored {
        put_bytes(&mut out, 1, name.as_bytes());
    }
    put_bytes(&mut out, 2, values[node.output].name.as_bytes());
    put_bytes(&mut out, 3, node.name.as_bytes());
    put_bytes(&mut out, 4, node.operator.as_bytes());
    for one in &node.attributes {
        put_bytes(&mut out, 5, &attribute(one));
    }
    out
}

fn attribute(attribute: &Attribute) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, attribute.name.as_bytes());
    let kind = match &attribute.value {
        AttributeValue::Float(value) => {
            put_float(&mut out, 2, *value);
            1
        }
        AttributeValue::Int(value) => {
            put_number(&mut out, 3, *value);
            2
        }
        AttributeValue::Text(value) => {
            put_bytes(&mut out, 4, value.as_bytes());
            3
        }
        AttributeValue::Ints(values) => {
            values.iter().for_each(|value| put_number(&mut out, 8, *value as u64));
            7
        }
    };
    put_number(&mut out, 20, kind);
    out
}

fn tensor(tensor: &Stored) -> Vec<u8> {
    const FLOAT: u64 = 1;
    const INT64: u64 = 7;
    let mut out = Vec::with_capacity(tensor.size() + 64);
    for size in &tensor.shape {
        put_number(&mut out, 1, *size as u64);
    }
    let (kind, raw): (u64, Vec<u8>) = match &tensor.data {
        StoredData::Filled(value) => {
            (FLOAT, value.to_le_bytes().repeat(tensor.shape.iter().product()))
        }
        StoredData::Floats(values) => {
            (FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        StoredData::Whole(values) => (INT64, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
    };
    put_number(&mut out, 2, kind);
    put_bytes(&mut out, 8, tensor.name.as_bytes());
    put_bytes(&mut out, 9, &raw);
    out
}

/// An input or output of float32; the batch is an open axis in front.
fn declared(value: &Value) -> Vec<u8> {
    let mut shape = Vec::new();
    let mut batch = Vec::new();
    put_bytes(&mut batch, 2, b"batch");
    put_bytes(&mut shape, 1, &batch);
    for size in &value.shape {
        let mut axis = Vec::new();
        put_number(&mut axis, 1, *size as u64);
        put_bytes(&mut shape, 1, &axis);
    }
    let mut tensor = Vec::new();
    put_number(&mut tensor, 1, 1);
    put_bytes(&mut tensor, 2, &shape);
    let mut kind = Vec::new();
    put_bytes(&mut kind, 1, &tensor);
    let mut out = Vec::new();
    put_bytes(&mut out, 1, value.name.as_bytes());
    put_bytes(&mut out, 2, &kind);
    out
}
