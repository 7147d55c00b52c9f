//! A `.safetensors` file: named tensors of any element type, read whole and looked at in place.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::checkpoint::float;
use crate::error::{NetworkError, Result};
use crate::onnx::{ConstantData, from_bytes};

/// One tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored<'a> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) kind: Dtype,
    bytes: &'a [u8],
}

/// The tensors of a file, sorted by name.
pub(super) fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<Vec<Stored<'a>>> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| NetworkError::NotWeights {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    let mut tensors: Vec<Stored> = file
        .iter()
        .map(|(name, view)| Stored {
            name: name.to_owned(),
            shape: view.shape().to_vec(),
            kind: view.dtype(),
            bytes: view.data(),
        })
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

impl Stored<'_> {
    /// Whether it holds whole numbers or truth values, as no weight does.
    pub(super) fn is_whole(&self) -> bool {
        use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
        matches!(self.kind, BOOL | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
    }

    /// Whether it is another tensor once more.
    pub(super) fn repeats(&self, other: &Self) -> bool {
        (self.kind, &self.shape, self.bytes) == (other.kind, &other.shape, other.bytes)
    }

    /// Its values in the float type that the network stores in `like`; `None` where either holds
    /// no floats that gradkin reads.
    pub(super) fn values(&self, like: &ConstantData) -> Option<ConstantData> {
        let kind = float(self.kind)?;
        Some(match (from_bytes(kind, self.shape.iter().product(), self.bytes), like) {
            (ConstantData::F64(v), ConstantData::F32(_)) => {
                ConstantData::F32(v.into_iter().map(|x| x as f32).collect())
            }
            (ConstantData::F32(v), ConstantData::F64(_)) => {
                ConstantData::F64(v.into_iter().map(f64::from).collect())
            }
            (same, ConstantData::F32(_) | ConstantData::F64(_)) => same,
            _ => return None,
        })
    }
}
