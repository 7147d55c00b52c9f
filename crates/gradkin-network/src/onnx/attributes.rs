//! A node's attributes by name, with defaults.

use std::collections::HashMap;

use rten_onnx::onnx::AttributeProto;

use super::RawGraph;
use super::constant::{Constant, ConstantData, Reader, exact_decimal};
use crate::error::{OpResult, Result, fail};

#[derive(Debug, Clone)]
enum Attribute {
    Int(i64),
    Float(f32),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
    Tensor(Constant),
    Graph(RawGraph),
}

/// The attributes of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes(HashMap<String, Attribute>);

impl Attributes {
    pub(crate) fn read(reader: &Reader, node: &str, protos: Vec<AttributeProto>) -> Result<Self> {
        let mut map = HashMap::with_capacity(protos.len());
        for proto in protos {
            let name = proto.name.clone().unwrap_or_default();
            if let Some(value) = Attribute::read(reader, node, &name, proto)? {
                map.insert(name, value);
            }
        }
        Ok(Self(map))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> OpResult<i64> {
        match self.0.get(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(*value),
            Some(_) => fail!("attribute `{name}` should be a whole number"),
        }
    }

    /// A float as the decimal number it was most likely written as; see [`exact_decimal`].
    pub(crate) fn float(&self, name: &str, default: f64) -> OpResult<f64> {
        match self.0.get(name) {
            None => Ok(default),
            Some(Attribute::Float(value)) => Ok(exact_decimal(*value)),
            Some(_) => fail!("attribute `{name}` should be a float"),
        }
    }

    pub(crate) fn text<'a>(&'a self, name: &str, default: &'a str) -> OpResult<&'a str> {
        match self.0.get(name) {
            None => Ok(default),
            Some(Attribute::Text(value)) => Ok(value),
            Some(_) => fail!("attribute `{name}` should be a string"),
        }
    }

    pub(crate) fn ints(&self, name: &str) -> OpResult<Option<Vec<i64>>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values.clone())),
            Some(Attribute::Int(value)) => Ok(Some(vec![*value])),
            Some(_) => fail!("attribute `{name}` should be a list of whole numbers"),
        }
    }

    pub(crate) fn floats(&self, name: &str) -> OpResult<Option<Vec<f64>>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Attribute::Floats(values)) => {
                Ok(Some(values.iter().map(|v| exact_decimal(*v)).collect()))
            }
            Some(_) => fail!("attribute `{name}` should be a list of floats"),
        }
    }

    pub(crate) fn texts(&self, name: &str) -> OpResult<Option<Vec<String>>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Attribute::Texts(values)) => Ok(Some(values.clone())),
            Some(_) => fail!("attribute `{name}` should be a list of strings"),
        }
    }

    /// The value of a `Constant` node, whichever of its attributes holds it.
    pub(crate) fn constant(&self) -> OpResult<Constant> {
        let scalar = |data| Constant::new(Vec::new(), data);
        for (name, value) in &self.0 {
            return Ok(match (name.as_str(), value) {
                ("value", Attribute::Tensor(constant)) => constant.clone(),
                ("value_float", Attribute::Float(v)) => scalar(ConstantData::F32(vec![*v])),
                ("value_int", Attribute::Int(v)) => scalar(ConstantData::I64(vec![*v])),
                ("value_floats", Attribute::Floats(v)) => {
                    Constant::new(vec![v.len()], ConstantData::F32(v.clone()))
                }
                ("value_ints", Attribute::Ints(v)) => {
                    Constant::new(vec![v.len()], ConstantData::I64(v.clone()))
                }
                _ => continue,
            });
        }
        fail!("the constant holds no numbers that gradkin can read")
    }

    /// Give a `Constant` node another value.
    pub(crate) fn set_constant(&mut self, constant: Constant) {
        self.0 = HashMap::from([("value".to_owned(), Attribute::Tensor(constant))]);
    }

    /// The graphs among the attributes, such as the branches of an If.
    pub(crate) fn graphs(&self) -> impl Iterator<Item = &RawGraph> {
        self.0.values().filter_map(|attribute| match attribute {
            Attribute::Graph(graph) => Some(graph),
            _ => None,
        })
    }

    /// The same with other graphs.
    pub(super) fn map_graphs(&self, map: &dyn Fn(&RawGraph) -> RawGraph) -> Self {
        let entries = self.0.iter().map(|(name, attribute)| {
            let attribute = match attribute {
                Attribute::Graph(graph) => Attribute::Graph(map(graph)),
                other => other.clone(),
            };
            (name.clone(), attribute)
        });
        Self(entries.collect())
    }

    /// A graph attribute.
    pub(crate) fn graph(&self, name: &str) -> OpResult<&RawGraph> {
        match self.0.get(name) {
            Some(Attribute::Graph(graph)) => Ok(graph),
            _ => fail!("attribute `{name}` should be a graph"),
        }
    }

    /// A tensor attribute.
    pub(crate) fn tensor(&self, name: &str) -> OpResult<Option<&Constant>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Attribute::Tensor(constant)) => Ok(Some(constant)),
            Some(_) => fail!("attribute `{name}` should be a tensor"),
        }
    }
}

/// Attributes written down.
impl Attributes {
    fn with(mut self, name: &str, value: Attribute) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn with_int(self, name: &str, value: i64) -> Self {
        self.with(name, Attribute::Int(value))
    }

    pub(crate) fn with_ints(self, name: &str, values: &[i64]) -> Self {
        self.with(name, Attribute::Ints(values.to_vec()))
    }
}

/// Attributes written down, for tests of operators.
#[cfg(test)]
impl Attributes {
    pub(crate) fn with_float(self, name: &str, value: f32) -> Self {
        self.with(name, Attribute::Float(value))
    }

    pub(crate) fn with_text(self, name: &str, value: &str) -> Self {
        self.with(name, Attribute::Text(value.to_owned()))
    }

    pub(crate) fn with_floats(self, name: &str, values: &[f32]) -> Self {
        self.with(name, Attribute::Floats(values.to_vec()))
    }

    pub(crate) fn with_texts(self, name: &str, values: &[&str]) -> Self {
        self.with(name, Attribute::Texts(values.iter().map(|v| (*v).to_owned()).collect()))
    }
}

impl Attribute {
    fn read(
        reader: &Reader,
        node: &str,
        name: &str,
        proto: AttributeProto,
    ) -> Result<Option<Self>> {
        use rten_onnx::onnx::AttributeType as Kind;
        let kind = proto.r#type.unwrap_or(Kind::UNDEFINED);
        // Files of the oldest format leave the type out; then whatever is present counts.
        let any = kind == Kind::UNDEFINED;
        Ok(Some(if let (true, Some(tensor)) = (any || kind == Kind::TENSOR, &proto.t) {
            Self::Tensor(reader.read(&format!("{node}.{name}"), tensor)?)
        } else if let (true, Some(graph)) = (any || kind == Kind::GRAPH, proto.g) {
            Self::Graph(RawGraph::read(reader, graph)?)
        } else if let (true, Some(text)) = (any || kind == Kind::STRING, proto.s) {
            Self::Text(text)
        } else if kind == Kind::INTS || (any && !proto.ints.is_empty()) {
            Self::Ints(proto.ints)
        } else if kind == Kind::FLOATS || (any && !proto.floats.is_empty()) {
            Self::Floats(proto.floats)
        } else if kind == Kind::STRINGS || (any && !proto.strings.is_empty()) {
            Self::Texts(proto.strings)
        } else if kind == Kind::FLOAT || (any && proto.f.is_some()) {
            Self::Float(proto.f.unwrap_or_default())
        } else if kind == Kind::INT || (any && proto.i.is_some()) {
            Self::Int(proto.i.unwrap_or_default())
        } else {
            return Ok(None);
        }))
    }
}
