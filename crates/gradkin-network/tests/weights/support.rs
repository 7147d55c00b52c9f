//! Files of weights, written and changed by the tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gradkin_network::candle_core::{DType, Device, Tensor};
use rten_onnx::onnx::{DataType, ModelProto, NodeProto, TensorProto};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// A file of weights in the making: element type, shape and bytes by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct File(BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl File {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |view: TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        Self(file.tensors().into_iter().map(|(name, view)| (name, tensor(view))).collect())
    }

    pub(crate) fn bytes(&mut self, name: &str, kind: Dtype, shape: &[usize], bytes: Vec<u8>) {
        self.0.insert(name.into(), (kind, shape.to_vec(), bytes));
    }

    pub(crate) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(name, Dtype::F32, shape, bytes);
    }

    /// One tensor under another name as well.
    pub(crate) fn again(&mut self, name: &str, other: &str) {
        let tensor = self.0[name].clone();
        self.0.insert(other.into(), tensor);
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn without(&self, out: impl Fn(&str) -> bool) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(name, _)| !out(name))
                .map(|(n, t)| (n.clone(), t.clone()))
                .collect(),
        )
    }

    pub(crate) fn renamed(&self, name: impl Fn(&str) -> String) -> Self {
        Self(self.0.iter().map(|(old, tensor)| (name(old), tensor.clone())).collect())
    }

    /// Every tensor in another float type.
    pub(crate) fn cast(&self, kind: Dtype) -> Self {
        let cast = |(from, shape, bytes): &(Dtype, Vec<usize>, Vec<u8>)| {
            let tensor = Tensor::from_raw_buffer(bytes, dtype(*from), shape, &Device::Cpu).unwrap();
            (
                kind,
                shape.clone(),
                raw(&tensor.flatten_all().unwrap().to_dtype(dtype(kind)).unwrap()),
            )
        };
        Self(self.0.iter().map(|(name, tensor)| (name.clone(), cast(tensor))).collect())
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let view = |(kind, shape, bytes): &'_ (Dtype, Vec<usize>, Vec<u8>)| {
            (*kind, shape.clone(), bytes.clone())
        };
        let tensors: Vec<_> = self.0.iter().map(|(name, tensor)| (name, view(tensor))).collect();
        let views = tensors.iter().map(|(name, (kind, shape, bytes))| {
            (*name, TensorView::new(*kind, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }
}

fn dtype(kind: Dtype) -> DType {
    match kind {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F64 => DType::F64,
        _ => DType::F32,
    }
}

fn raw(tensor: &Tensor) -> Vec<u8> {
    match tensor.dtype() {
        DType::F64 => {
            tensor.to_vec1::<f64>().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        DType::F32 => {
            tensor.to_vec1::<f32>().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        DType::F16 => bits(tensor.to_vec1::<half::f16>().unwrap().iter().map(|v| v.to_bits())),
        _ => bits(tensor.to_vec1::<half::bf16>().unwrap().iter().map(|v| v.to_bits())),
    }
}

fn bits(values: impl Iterator<Item = u16>) -> Vec<u8> {
    values.flat_map(u16::to_le_bytes).collect()
}

/// Where a test may write; folders of the same name do not meet across tests.
pub(crate) fn temporary(folder: &Path, name: &str) -> PathBuf {
    let stem = folder.file_name().unwrap().to_string_lossy();
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("main").replace("::", "-");
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{stem}-{name}.safetensors"))
}

pub(crate) fn save(folder: &Path, name: &str, file: &File) -> PathBuf {
    let path = temporary(folder, name);
    std::fs::write(&path, file.to_bytes()).unwrap();
    path
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests")
}

pub(crate) fn reference(name: &str) -> PathBuf {
    tests().join("reference").join(name)
}

pub(crate) fn network(name: &str) -> PathBuf {
    tests().join("networks").join(name)
}

/// Every network of the repository.
pub(crate) fn folders() -> Vec<PathBuf> {
    let roots =
        ["reference", "networks"].map(|root| std::fs::read_dir(tests().join(root)).unwrap());
    let folders = roots.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|f| f.join("model.onnx").exists()).collect();
    folders.sort();
    assert!(folders.len() >= 6, "the networks are missing");
    folders
}

/// A file of the data that is no part of the repository, or a loud remark that a test was left out.
pub(crate) fn shared(file: &str, test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("GRADKIN_SHARED").map_or(beside, PathBuf::from);
    let path = root.join("data").join(file);
    if !path.exists() {
        eprintln!("LEFT OUT: {test} needs ../shared/data/{file}");
        return None;
    }
    Some(path)
}

/// Shape and values of a network's stored input.
pub(crate) fn inputs(folder: &Path) -> (Vec<usize>, Vec<f64>) {
    let file = std::fs::File::open(folder.join("input.npy")).unwrap();
    let npy = npyz::NpyFile::new(std::io::BufReader::new(file)).unwrap();
    let shape = npy.shape().iter().map(|s| *s as usize).collect();
    let npyz::DType::Plain(kind) = npy.dtype() else { panic!("a structured array") };
    let values = match kind.type_char() {
        npyz::TypeChar::Int => {
            npy.into_vec::<i64>().unwrap().into_iter().map(|v| v as f64).collect()
        }
        _ => npy.into_vec::<f32>().unwrap().into_iter().map(f64::from).collect(),
    };
    (shape, values)
}

fn proto(folder: &Path) -> ModelProto {
    ModelProto::parse_buf(&std::fs::read(folder.join("model.onnx")).unwrap()).unwrap()
}

/// Name, shape and values of every float tensor that a model file stores.
pub(crate) fn stored(folder: &Path) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let floats = |tensor: &TensorProto| tensor.data_type == Some(DataType::FLOAT);
    let initializers = proto(folder).graph.unwrap().initializer;
    let read = |tensor: TensorProto| {
        let raw = tensor.raw_data.as_ref().unwrap().borrow();
        let values = raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let shape = tensor.dims.iter().map(|size| *size as usize).collect();
        (tensor.name.clone().unwrap(), shape, values)
    };
    initializers.into_iter().filter(floats).map(read).collect()
}

/// The transpose of a square matrix.
pub(crate) fn turned(values: &[f32], size: usize) -> Vec<f32> {
    (0..size * size).map(|k| values[k % size * size + k / size]).collect()
}

/// A copy of `toy_mlp` whose third layer uses the weight of its second, transposed and stored once
/// more as `head.weight`.
pub(crate) fn with_a_copy() -> PathBuf {
    let from = reference("toy_mlp");
    let (_, shape, values) =
        stored(&from).into_iter().find(|(name, ..)| name == "2.weight").unwrap();
    let raw = turned(&values, shape[0]).iter().flat_map(|v| v.to_le_bytes()).collect();
    let copy = TensorProto {
        name: Some("head.weight".into()),
        dims: shape.iter().map(|size| *size as i64).collect(),
        data_type: Some(DataType::FLOAT),
        raw_data: Some(std::cell::RefCell::new(raw)),
        ..TensorProto::default()
    };
    let mut model = proto(&from);
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.retain(|tensor| tensor.name.as_deref() != Some("4.weight"));
    graph.initializer.push(copy);
    let inputs = |node: &mut NodeProto| {
        node.input.iter_mut().filter(|i| *i == "4.weight").for_each(|i| *i = "head.weight".into());
    };
    graph.node.iter_mut().for_each(inputs);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("with_a_copy");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.onnx"), model.write_buf().unwrap()).unwrap();
    std::fs::copy(from.join("input.npy"), folder.join("input.npy")).unwrap();
    folder
}
