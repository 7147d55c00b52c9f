//! A network written back as ONNX: its file as it stands, but for the tensors whose values changed.
//!
//! A file holds more than gradkin reads (documentation, metadata, quantisation notes, functions). So
//! nothing is decoded and encoded again: the bytes are copied field by field, and only tensors with
//! other values get new bytes, in the element type and under the name that they have. Weights kept
//! beside the file are written into it, so that it stands on its own.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use rten_onnx::onnx::{DataType, TensorProto};
use rten_onnx::protobuf::{DecodeMessage, ValueReader};

use super::constant::{Constant, ConstantData, Reader};
use super::wire::{Field, next, put_bytes, put_number};
use super::{Model, element};
use crate::atomic;
use crate::error::{NetworkError, Result};
use crate::parameters;

/// What protobuf, and so a file of ONNX, may take at most.
const MOST_BYTES: usize = i32::MAX as usize;

/// Numbers of fields, as ONNX defines them.
mod field {
    pub(super) mod model {
        pub(crate) const GRAPH: u64 = 7;
        pub(crate) const FUNCTION: u64 = 25;
    }
    pub(super) mod graph {
        pub(crate) const NODE: u64 = 1;
        pub(crate) const INITIALIZER: u64 = 5;
    }
    pub(super) mod node {
        pub(crate) const OUTPUT: u64 = 2;
        pub(crate) const OPERATOR: u64 = 4;
        pub(crate) const ATTRIBUTE: u64 = 5;
    }
    pub(super) mod attribute {
        pub(crate) const NAME: u64 = 1;
        pub(crate) const TENSOR: u64 = 5;
        pub(crate) const GRAPH: u64 = 6;
        pub(crate) const KIND: u64 = 20;
        pub(crate) const KIND_TENSOR: u64 = 4;
    }
    pub(super) mod function {
        pub(crate) const NODE: u64 = 7;
        pub(crate) const ATTRIBUTE: u64 = 11;
    }
    pub(super) mod tensor {
        pub(crate) const DIMS: u64 = 1;
        pub(crate) const KIND: u64 = 2;
        pub(crate) const NAME: u64 = 8;
        pub(crate) const RAW: u64 = 9;
        pub(crate) const LOCATION: u64 = 14;
        /// Every field that holds values or says where they are.
        pub(crate) const DATA: [u64; 8] = [4, 5, 7, RAW, 10, 11, 13, LOCATION];
    }
}

impl Model {
    /// The file of this network with the values that its tensors have now.
    ///
    /// `original` is the file that the model was read from. Everything else in it stays as it is, to
    /// the byte; where no value changed the result is the file itself. Values are rounded to the
    /// element type that the file has for the tensor. Weights that the file keeps beside it are
    /// written into it.
    ///
    /// # Errors
    ///
    /// Where `original` is another network, where a value does not fit its type, where the file would
    /// be larger than the 2 GB that ONNX allows, and where a changed tensor stands in a function of
    /// the file, which several nodes may share.
    pub fn encode(&self, original: &[u8]) -> Result<Vec<u8>> {
        self.encode_in(original, self.folder.as_deref())
    }

    /// Write [`encode`](Self::encode)d bytes to a file, which is there whole or not at all.
    ///
    /// `original` is the file that the model was read from; `out` may be the same.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), gradkin_network::NetworkError> {
    /// let mut model = gradkin_network::Model::open("model.onnx")?;
    /// model.set_values("fc.bias", &[0.0; 10])?;
    /// model.save("model.onnx", "changed.onnx")?;
    /// # Ok(()) }
    /// ```
    pub fn save(&self, original: impl AsRef<Path>, out: impl AsRef<Path>) -> Result<()> {
        let original = original.as_ref();
        let bytes = std::fs::read(original)
            .map_err(|source| NetworkError::Read { path: original.to_owned(), source })?;
        let folder = original.parent().unwrap_or(Path::new(""));
        let bytes = self.encode_in(&bytes, Some(folder))?;
        atomic::write(out.as_ref(), |file| file.write_all(&bytes))
    }

    fn encode_in(&self, original: &[u8], folder: Option<&Path>) -> Result<Vec<u8>> {
        let before = Self::decode(original, &self.source, folder.map(Path::to_path_buf))?;
        self.check_size(before.size)?;
        let changed = self.changed(before)?;
        let rewriter = Rewriter {
            model: self,
            changed: changed.iter().map(|(name, constant)| (name.as_str(), constant)).collect(),
            written: RefCell::default(),
            reader: Reader::new(&self.source, folder),
        };
        let bytes = rewriter.model(original)?.unwrap_or_else(|| original.to_vec());
        self.check_size(bytes.len())?;
        let written = rewriter.written.into_inner();
        match changed.iter().find(|(name, _)| !written.contains(name)) {
            Some((name, _)) => Err(self.broken(format!(
                "the changed tensor `{name}` stands in a function of the file, where it cannot be \
                 written; export the network with its functions inlined (onnx.inliner)"
            ))),
            None => Ok(bytes),
        }
    }

    /// The tensors whose values are not those of the file, in its order.
    fn changed(&self, before: Self) -> Result<Vec<(String, Constant)>> {
        let now = parameters::constant_nodes(self);
        let then = parameters::constant_nodes(&before);
        let now = self.initializers.iter().chain(&now);
        let then = before.initializers.iter().chain(&then);
        let shape = |(name, constant): &(String, Constant)| (name.clone(), constant.shape.clone());
        if !now.clone().map(shape).eq(then.clone().map(shape)) {
            return Err(self.broken(
                "the file given to write it into holds other tensors; give the file that the \
                 network was read from"
                    .into(),
            ));
        }
        let differs = now.zip(then).filter(|((_, now), (_, then))| !identical(now, then));
        Ok(differs.map(|(now, _)| now.clone()).collect())
    }

    fn check_size(&self, bytes: usize) -> Result<()> {
        if bytes <= MOST_BYTES {
            return Ok(());
        }
        Err(self.broken(format!(
            "with its weights the file would be {bytes} bytes, more than the 2 GB that a file of \
             ONNX may be; write the weights to a safetensors file instead"
        )))
    }

    fn broken(&self, message: String) -> NetworkError {
        NetworkError::Model { model: self.source.clone(), message }
    }
}

/// Whether two tensors hold the same bits.
fn identical(a: &Constant, b: &Constant) -> bool {
    match (&a.data, &b.data) {
        (ConstantData::F32(x), ConstantData::F32(y)) => {
            x.iter().map(|v| v.to_bits()).eq(y.iter().map(|v| v.to_bits()))
        }
        (ConstantData::F64(x), ConstantData::F64(y)) => {
            x.iter().map(|v| v.to_bits()).eq(y.iter().map(|v| v.to_bits()))
        }
        (ConstantData::I64(x), ConstantData::I64(y)) => x == y,
        (ConstantData::Bool(x), ConstantData::Bool(y)) => x == y,
        _ => false,
    }
}

/// Copies a file with other values in some tensors. Each function gives the new content of a
/// message, or `None` where it stays as it is.
struct Rewriter<'a> {
    model: &'a Model,
    changed: HashMap<&'a str, &'a Constant>,
    /// The changed tensors that have been met.
    written: RefCell<HashSet<String>>,
    reader: Reader<'a>,
}

/// New content of a message.
type Content = Result<Option<Vec<u8>>>;

impl<'a> Rewriter<'a> {
    fn model(&self, bytes: &[u8]) -> Content {
        self.each(bytes, |field| match field.number {
            field::model::GRAPH => self.graph(field.content, true),
            field::model::FUNCTION => self.each(field.content, |field| match field.number {
                field::function::NODE => self.node(field.content, false),
                field::function::ATTRIBUTE => self.attribute(field.content, None),
                _ => Ok(None),
            }),
            _ => Ok(None),
        })
    }

    /// Tensors are known by name in the outermost graph only; those inside have names of their own.
    fn graph(&self, bytes: &[u8], outermost: bool) -> Content {
        self.each(bytes, |field| match field.number {
            field::graph::NODE => self.node(field.content, outermost),
            field::graph::INITIALIZER => {
                let name = self.first(field.content, field::tensor::NAME)?;
                let value = name.filter(|_| outermost).and_then(|name| self.value(name));
                self.tensor(field.content, value)
            }
            _ => Ok(None),
        })
    }

    fn node(&self, bytes: &[u8], outermost: bool) -> Content {
        let constant = self.first(bytes, field::node::OPERATOR)? == Some("Constant");
        let output = self.first(bytes, field::node::OUTPUT)?;
        let value = output.filter(|_| outermost && constant).and_then(|output| self.value(output));
        self.each(bytes, |field| match field.number {
            field::node::ATTRIBUTE => self.attribute(field.content, value),
            _ => Ok(None),
        })
    }

    /// An attribute; with `value`, one of a Constant node that should hold it.
    fn attribute(&self, bytes: &[u8], value: Option<&Constant>) -> Content {
        let name = self.first(bytes, field::attribute::NAME)?;
        match value {
            Some(value) if name == Some("value_floats") => Ok(Some(tensor_attribute(value))),
            _ => self.each(bytes, |field| match field.number {
                field::attribute::TENSOR => self.tensor(field.content, value),
                field::attribute::GRAPH => self.graph(field.content, false),
                _ => Ok(None),
            }),
        }
    }

    fn tensor(&self, bytes: &[u8], value: Option<&Constant>) -> Content {
        let mut external = false;
        self.each(bytes, |field| {
            external |= field.number == field::tensor::LOCATION && field.value == 1;
            Ok(None)
        })?;
        if value.is_none() && !external {
            return Ok(None);
        }
        let proto = TensorProto::decode(ValueReader::from_buf(bytes)).map_err(|error| {
            NetworkError::NotOnnx { model: self.model.source.clone(), message: error.to_string() }
        })?;
        let name = proto.name.clone().unwrap_or_default();
        let stored;
        let value = match value {
            Some(value) => value,
            None => {
                stored = self.reader.read(&name, &proto)?;
                &stored
            }
        };
        let raw = element::to_bytes(proto.data_type.unwrap_or(DataType::FLOAT), &value.data)
            .map_err(|message| self.model.broken(format!("tensor `{name}`: {message}")))?;
        let mut out = Vec::with_capacity(bytes.len().max(raw.len() + 64));
        let mut raw = Some(raw);
        self.each(bytes, |field| {
            if !field::tensor::DATA.contains(&field.number) {
                out.extend_from_slice(field.whole);
            } else if let Some(raw) = raw.take() {
                put_bytes(&mut out, field::tensor::RAW, &raw);
            }
            Ok(None)
        })?;
        if let Some(raw) = raw {
            put_bytes(&mut out, field::tensor::RAW, &raw);
        }
        Ok(Some(out))
    }

    fn value(&self, name: &str) -> Option<&'a Constant> {
        let value = self.changed.get(name).copied()?;
        self.written.borrow_mut().insert(name.to_owned());
        Some(value)
    }

    /// Go through the fields of a message; those that `inner` gives other content are replaced.
    fn each<'b>(&self, bytes: &'b [u8], mut inner: impl FnMut(&Field<'b>) -> Content) -> Content {
        let mut out: Option<Vec<u8>> = None;
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            let field = self.next(bytes, &mut at)?;
            match (inner(&field)?, &mut out) {
                (Some(content), out) => {
                    let out = out.get_or_insert_with(|| bytes[..start].to_vec());
                    put_bytes(out, field.number, &content);
                }
                (None, Some(out)) => out.extend_from_slice(field.whole),
                (None, None) => {}
            }
        }
        Ok(out)
    }

    /// The text of the first field of this number.
    fn first<'b>(&self, bytes: &'b [u8], number: u64) -> Result<Option<&'b str>> {
        let mut at = 0;
        while at < bytes.len() {
            let field = self.next(bytes, &mut at)?;
            if field.number == number {
                return Ok(std::str::from_utf8(field.content).ok());
            }
        }
        Ok(None)
    }

    fn next<'b>(&self, bytes: &'b [u8], at: &mut usize) -> Result<Field<'b>> {
        next(bytes, at).map_err(|what| NetworkError::NotOnnx {
            model: self.model.source.clone(),
            message: what.to_owned(),
        })
    }
}

/// The attribute of a Constant node that holds a tensor.
fn tensor_attribute(value: &Constant) -> Vec<u8> {
    let raw: Vec<u8> = value.floats().iter().flat_map(|v| (*v as f32).to_le_bytes()).collect();
    let mut tensor = Vec::with_capacity(raw.len() + 32);
    for size in &value.shape {
        put_number(&mut tensor, field::tensor::DIMS, *size as u64);
    }
    put_number(&mut tensor, field::tensor::KIND, DataType::FLOAT.0 as u64);
    put_bytes(&mut tensor, field::tensor::RAW, &raw);
    let mut out = Vec::with_capacity(tensor.len() + 32);
    put_bytes(&mut out, field::attribute::NAME, b"value");
    put_bytes(&mut out, field::attribute::TENSOR, &tensor);
    put_number(&mut out, field::attribute::KIND, field::attribute::KIND_TENSOR);
    out
}

#[cfg(test)]
mod tests {
    use crate::Model;
    use crate::build::GraphBuilder;

    #[test]
    fn more_than_protobuf_can_hold_is_refused() {
        let mut graph = GraphBuilder::new("small");
        let x = graph.input("x", &[2]).unwrap();
        let y = graph.linear("fc", x, 2, false).unwrap();
        graph.output("y", y).unwrap();
        let bytes = graph.finish().unwrap();
        let model = Model::from_bytes(&bytes, "small").unwrap();
        assert!(model.check_size(super::MOST_BYTES).is_ok());
        let error = model.check_size(super::MOST_BYTES + 1).unwrap_err().to_string();
        assert!(error.contains("2 GB") && error.contains("safetensors"), "{error}");
    }
}
