//! Safetensors written and read whole: weights, the state of an optimiser, counters.
//!
//! Eight bytes say how long the header is, the header is JSON with the place of every tensor and a map
//! of texts, then come the numbers. The safetensors crate writes the texts in no fixed order, so the
//! header is written here: the same content is the same file.

use std::collections::BTreeMap;
use std::path::Path;

use rten_onnx::onnx::DataType;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use crate::atomic;
use crate::error::{NetworkError, Result};
use crate::onnx::{ConstantData, from_bytes};

/// What names of tensors begin with that belong to a training and not to its network.
/// [`Model::with_weights`](crate::Model::with_weights) passes them over.
pub const TRAINING: &str = "training.";

/// A tensor of a file of weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its shape; empty for a single number.
    pub shape: Vec<usize>,
    /// Its values, row by row.
    pub values: Values,
}

/// The values of an [`Array`].
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// In 32 bits.
    F32(Vec<f32>),
    /// In 64 bits.
    F64(Vec<f64>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    fn width(&self) -> usize {
        if matches!(self, Self::F32(_)) { 4 } else { 8 }
    }

    fn kind(&self) -> &'static str {
        if matches!(self, Self::F32(_)) { "F32" } else { "F64" }
    }
}

/// Write tensors and texts to a `.safetensors` file, which is there whole or not at all.
///
/// Weights under the names of the ONNX file are read by
/// [`Model::with_weights`](crate::Model::with_weights); whatever else a training keeps goes under names
/// that begin with [`TRAINING`], and counters into the texts.
///
/// ```
/// # fn main() -> Result<(), gradkin_network::NetworkError> {
/// # let path = std::env::temp_dir().join(format!("gradkin-doc-{}.safetensors", std::process::id()));
/// use std::collections::BTreeMap;
/// use gradkin_network::weights::{self, Array, Values};
/// let momentum = Array { shape: vec![2], values: Values::F32(vec![0.5, -0.5]) };
/// let tensors = BTreeMap::from([("training.momentum.fc.bias".to_owned(), momentum)]);
/// let texts = BTreeMap::from([("step".to_owned(), "128".to_owned())]);
/// weights::write(&path, &tensors, &texts)?;
/// assert_eq!(weights::read(&path)?, (tensors, texts));
/// # std::fs::remove_file(&path).ok();
/// # Ok(()) }
/// ```
pub fn write(
    path: impl AsRef<Path>,
    tensors: &BTreeMap<String, Array>,
    texts: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    for (name, array) in tensors {
        let count = array.shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        if count != Some(array.values.len()) || name == "__metadata__" {
            return Err(NetworkError::Usage(format!(
                "{}: tensor `{name}` of shape {:?} was given {} values",
                path.display(),
                array.shape,
                array.values.len()
            )));
        }
    }
    // The widest first, as every reader expects: then all are aligned.
    let mut ordered: Vec<_> = tensors.iter().collect();
    ordered.sort_by_key(|(_, array)| std::cmp::Reverse(array.values.width()));
    let header = header(&ordered, texts);
    atomic::write(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        ordered.iter().try_for_each(|(_, array)| match &array.values {
            Values::F32(values) => values.iter().try_for_each(|v| file.write_all(&v.to_le_bytes())),
            Values::F64(values) => values.iter().try_for_each(|v| file.write_all(&v.to_le_bytes())),
        })
    })
}

/// The JSON, filled up to a multiple of eight bytes.
fn header(tensors: &[(&String, &Array)], texts: &BTreeMap<String, String>) -> Vec<u8> {
    let mut map = serde_json::Map::new();
    if !texts.is_empty() {
        map.insert("__metadata__".into(), json!(texts));
    }
    let mut at = 0usize;
    for (name, array) in tensors {
        let end = at + array.values.len() * array.values.width();
        let (kind, shape) = (array.values.kind(), &array.shape);
        let place = json!({"dtype": kind, "shape": shape, "data_offsets": [at, end]});
        map.insert((*name).clone(), place);
        at = end;
    }
    let mut bytes = serde_json::Value::Object(map).to_string().into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    bytes
}

/// Read the tensors and texts of a `.safetensors` file. Half-precision floats are widened.
///
/// # Errors
///
/// Where the file cannot be read or is damaged, and where a tensor holds no floats.
pub fn read(path: impl AsRef<Path>) -> Result<(BTreeMap<String, Array>, BTreeMap<String, String>)> {
    let path = path.as_ref();
    let bytes = std::fs::read(path)
        .map_err(|source| NetworkError::Read { path: path.to_owned(), source })?;
    let broken = |message| NetworkError::NotWeights { path: path.to_owned(), message };
    let file = SafeTensors::deserialize(&bytes).map_err(|error| broken(error.to_string()))?;
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| broken(error.to_string()))?;
    let texts = header.metadata().iter().flatten();
    let texts = texts.map(|(key, text)| (key.clone(), text.clone())).collect();
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let Some(kind) = float(view.dtype()) else {
            return Err(broken(format!("tensor `{name}` holds {} and no floats", view.dtype())));
        };
        let shape = view.shape().to_vec();
        let values = match from_bytes(kind, shape.iter().product(), view.data()) {
            ConstantData::F64(values) => Values::F64(values),
            ConstantData::F32(values) => Values::F32(values),
            _ => return Err(broken(format!("tensor `{name}` holds no floats"))),
        };
        tensors.insert(name.to_owned(), Array { shape, values });
    }
    Ok((tensors, texts))
}

/// The type of floats, as ONNX calls it.
pub(super) fn float(kind: Dtype) -> Option<DataType> {
    Some(match kind {
        Dtype::F16 => DataType::FLOAT16,
        Dtype::BF16 => DataType::BFLOAT16,
        Dtype::F32 => DataType::FLOAT,
        Dtype::F64 => DataType::DOUBLE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Model;
    use crate::build::GraphBuilder;

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("gradkin-{name}-{}.safetensors", std::process::id()))
    }

    fn array(shape: &[usize], values: Values) -> Array {
        Array { shape: shape.to_vec(), values }
    }

    #[test]
    fn what_is_written_is_read_and_the_same_bytes_each_time() {
        let path = path("checkpoint");
        let tensors = BTreeMap::from([
            ("a \"quoted\"".to_owned(), array(&[2], Values::F32(vec![1.5, f32::NEG_INFINITY]))),
            ("b".to_owned(), array(&[], Values::F64(vec![0.1]))),
            ("c".to_owned(), array(&[3, 0], Values::F32(Vec::new()))),
        ]);
        let texts: BTreeMap<String, String> =
            (0..20).map(|k| (format!("key{k}"), format!("ä {k}"))).collect();
        write(&path, &tensors, &texts).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(read(&path).unwrap(), (tensors.clone(), texts.clone()));
        write(&path, &tensors, &texts).unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes);
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(matches!(read(&path), Err(NetworkError::NotWeights { .. })));
        write(&path, &BTreeMap::new(), &BTreeMap::new()).unwrap();
        assert_eq!(read(&path).unwrap(), (BTreeMap::new(), BTreeMap::new()));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path), Err(NetworkError::Read { .. })));
        let wrong = BTreeMap::from([("d".to_owned(), array(&[2, 2], Values::F32(vec![1.0])))]);
        assert!(write(&path, &wrong, &texts).unwrap_err().to_string().contains("[2, 2]"));
    }

    #[test]
    fn a_checkpoint_is_a_file_of_weights_whatever_else_training_keeps() {
        let mut g = GraphBuilder::new("small");
        let x = g.input("x", &[3]).unwrap();
        let x = g.linear("training.fc", x, 2, true).unwrap();
        g.output("y", x).unwrap();
        let mut model = Model::from_bytes(&g.finish().unwrap(), "small").unwrap();
        model.draw_weights(1).unwrap();
        let path = path("training");
        let of = |name: &str, shape: &[usize]| {
            let values = model.values(name).unwrap().iter().map(|v| 2.0 * v).collect();
            (name.to_owned(), array(shape, Values::F64(values)))
        };
        let mut tensors =
            BTreeMap::from([of("training.fc.weight", &[2, 3]), of("training.fc.bias", &[2])]);
        let state = array(&[2, 3], Values::F32(vec![0.0; 6]));
        tensors.insert("training.momentum.training.fc.weight".into(), state);
        write(&path, &tensors, &BTreeMap::new()).unwrap();
        let (trained, report) = model.with_weights(&path).unwrap();
        assert_eq!(report.replaced.len(), 2);
        assert!(report.left_out.is_empty());
        let twice = |name: &str| model.values(name).unwrap().iter().map(|v| 2.0 * v).collect();
        let name = "training.fc.weight";
        assert_eq!(trained.values(name), Some(twice(name)));
        std::fs::remove_file(&path).unwrap();
    }
}
