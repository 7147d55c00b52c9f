//! What PyTorch's exporter says of stored tensors: whether each was a parameter or a buffer.
//!
//! The exporter keeps the signature of the exported program as metadata: on the values
//! (`pkg.torch.export.graph_signature.InputSpec.kind`), and whole on the graph, where it also names
//! tensors that the optimiser has folded away since. Other exporters, and older files, have no such
//! thing; then place, name and value decide (see [`crate::parameters`]).

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
const PROGRAM: &str = "pkg.torch.export.ExportedProgram.graph_signature";

/// The signature as far as the file holds it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signature {
    /// The role of every value that carries one.
    pub(crate) roles: HashMap<String, Role>,
    /// Every tensor of the training program, whether the file still holds it or not.
    pub(crate) targets: Vec<String>,
}

/// Read it from a model file that [`wire::check`](super::wire::check) has passed.
pub(super) fn read(bytes: &[u8]) -> Signature {
    // The model itself was decoded before this; what cannot be read here says nothing.
    File::decode(ValueReader::from_buf(bytes)).map(|file| file.0).unwrap_or_default()
}

/// The names between the quotes of `target='…'`.
fn targets(program: &str) -> Vec<String> {
    let after = program.split("target='").skip(1);
    after.filter_map(|rest| rest.split_once('\'')).map(|(name, _)| name.to_owned()).collect()
}

struct File(Signature);
struct Graph(Signature);
struct Info(Option<(String, Role)>);

impl DecodeMessage for File {
    type Types = OwnedValues;

    fn decode_fields<R: ReadValue<Types = OwnedValues>>(
        mut fields: Fields<R>,
    ) -> Result<Self, ProtobufError> {
        const GRAPH: u64 = 7;
        let mut signature = Signature::default();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                GRAPH => signature = Graph::decode_field(&mut field)?.0,
                _ => field.skip()?,
            }
        }
        Ok(Self(signature))
    }
}

impl DecodeMessage for Graph {
    type Types = OwnedValues;

    fn decode_fields<R: ReadValue<Types = OwnedValues>>(
        mut fields: Fields<R>,
    ) -> Result<Self, ProtobufError> {
        const VALUE_INFO: u64 = 13;
        const METADATA: u64 = 16;
        let mut signature = Signature::default();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                VALUE_INFO => signature.roles.extend(Info::decode_field(&mut field)?.0),
                METADATA => {
                    let entry = StringStringEntryProto::decode_field(&mut field)?;
                    if entry.key.as_deref() == Some(PROGRAM) {
                        signature.targets = targets(&entry.value.unwrap_or_default());
                    }
                }
                _ => field.skip()?,
            }
        }
        Ok(Self(signature))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A length-delimited field of fewer than 128 bytes.
    fn field(number: u64, content: &[u8]) -> Vec<u8> {
        let tag = number << 3 | 2;
        let mut bytes = match tag {
            0..128 => vec![tag as u8],
            _ => vec![tag as u8 | 0x80, (tag >> 7) as u8],
        };
        assert!(content.len() < 128);
        bytes.push(content.len() as u8);
        bytes.extend(content);
        bytes
    }

    fn entry(key: &str, value: &str) -> Vec<u8> {
        [field(1, key.as_bytes()), field(2, value.as_bytes())].concat()
    }

    #[test]
    fn roles_and_targets_are_read() {
        let program = "p: PARAMETER target='0.weight'\nb: BUFFER target='1.mean'";
        let short = field(7, &field(16, &entry(PROGRAM, "target='a.b'")));
        assert_eq!(read(&short).targets, ["a.b"]);
        let other = field(7, &field(16, &entry("other", "target='a.b'")));
        assert!(read(&other).targets.is_empty());
        let info = [field(1, b"w"), field(4, &entry(KEY, "BUFFER"))].concat();
        assert_eq!(read(&field(7, &field(13, &info))).roles["w"], Role::Buffer);
        assert_eq!(targets(program), ["0.weight", "1.mean"]);
    }
}
