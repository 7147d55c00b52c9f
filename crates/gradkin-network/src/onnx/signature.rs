//! What PyTorch's exporter says of stored tensors: whether each was a parameter or a buffer.
//!
//! The exporter keeps the signature of the exported program as metadata on the values
//! (`pkg.torch.export.graph_signature.InputSpec.kind`). Other exporters, and older files, have no
//! such thing; then place, name and value decide (see [`crate::parameters`]).

use std::collections::HashMap;

use rten_onnx::onnx::StringStringEntryProto;
use rten_onnx::protobuf::{
    DecodeMessage, Fields, OwnedValues, ProtobufError, ReadValue, ValueReader,
};

/// What a stored tensor was in the training program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Trained.
    Parameter,
    /// Kept along but not trained.
    Buffer,
}

const KEY: &str = "pkg.torch.export.graph_signature.InputSpec.kind";

/// The role of every value that carries one.
pub(super) fn read(bytes: &[u8]) -> HashMap<String, Role> {
    // The model itself was decoded before this; what cannot be read here says nothing.
    File::decode(ValueReader::from_buf(bytes)).map(|file| file.0).unwrap_or_default()
}

struct File(HashMap<String, Role>);
struct Graph(HashMap<String, Role>);
struct Info(Option<(String, Role)>);

impl DecodeMessage for File {
    type Types = OwnedValues;

    fn decode_fields<R: ReadValue<Types = OwnedValues>>(
        mut fields: Fields<R>,
    ) -> Result<Self, ProtobufError> {
        const GRAPH: u64 = 7;
        let mut roles = HashMap::new();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                GRAPH => roles.extend(Graph::decode_field(&mut field)?.0),
                _ => field.skip()?,
            }
        }
        Ok(Self(roles))
    }
}

impl DecodeMessage for Graph {
    type Types = OwnedValues;

    fn decode_fields<R: ReadValue<Types = OwnedValues>>(
        mut fields: Fields<R>,
    ) -> Result<Self, ProtobufError> {
        const VALUE_INFO: u64 = 13;
        let mut roles = HashMap::new();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                VALUE_INFO => roles.extend(Info::decode_field(&mut field)?.0),
                _ => field.skip()?,
            }
        }
        Ok(Self(roles))
    }
}

impl DecodeMessage for Info {
    type Types = OwnedValues;

    fn decode_fields<R: ReadValue<Types = OwnedValues>>(
        mut fields: Fields<R>,
    ) -> Result<Self, ProtobufError> {
        const NAME: u64 = 1;
        const METADATA: u64 = 4;
        let (mut name, mut role) = (None, None);
        while let Some(mut field) = fields.next()? {
            match field.number() {
                NAME => name = Some(field.read_string()?),
                METADATA => {
                    let entry = StringStringEntryProto::decode_field(&mut field)?;
                    if entry.key.as_deref() == Some(KEY) {
                        role = match entry.value.as_deref() {
                            Some("PARAMETER") => Some(Role::Parameter),
                            Some("BUFFER" | "CONSTANT_TENSOR") => Some(Role::Buffer),
                            _ => role,
                        };
                    }
                }
                _ => field.skip()?,
            }
        }
        Ok(Self(name.zip(role)))
    }
}
