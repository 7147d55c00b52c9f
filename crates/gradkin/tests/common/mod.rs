//! What the tests share: reference folders, small random networks written as ONNX, comparisons.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use gradkin::network::{InputData, Model, Network, Options, Precision};
use gradkin::{Examples, Labels};
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Every folder with a reference kernel.
pub fn folders() -> Vec<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let mut found = Vec::new();
    for root in [tests.join("reference"), tests.join("networks")] {
        let Ok(entries) = std::fs::read_dir(&root) else { continue };
        found.extend(entries.flatten().map(|e| e.path()).filter(|p| p.join("kernel.npy").exists()));
    }
    found.sort();
    assert!(found.len() >= 6, "the reference folders are missing");
    found
}

/// Shape and values of an array file.
pub fn read(path: &Path) -> Result<(Vec<usize>, Vec<f64>), Failure> {
    let npy = npyz::NpyFile::new(std::io::BufReader::new(std::fs::File::open(path)?))?;
    let shape = npy.shape().iter().map(|s| *s as usize).collect();
    let npyz::DType::Plain(kind) = npy.dtype() else { return Err("structured array".into()) };
    let values = match kind.type_char() {
        npyz::TypeChar::Int => npy.into_vec::<i64>()?.into_iter().map(|v| v as f64).collect(),
        _ if kind.size_field() == 4 => npy.into_vec::<f32>()?.into_iter().map(f64::from).collect(),
        _ => npy.into_vec::<f64>()?,
    };
    Ok((shape, values))
}

/// Frobenius norm of the difference over that of what is wanted.
pub fn relative(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len(), "different sizes");
    let norm: f64 = wanted.iter().map(|w| w * w).sum();
    let gap: f64 = found.iter().zip(wanted).map(|(f, w)| (f - w) * (f - w)).sum();
    (gap / norm.max(f64::MIN_POSITIVE)).sqrt()
}

/// Examples of one input, floats or token ids.
pub struct Data {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
    pub integer: bool,
    pub labels: Option<Labels>,
}

impl Data {
    pub fn new(shape: Vec<usize>, values: Vec<f64>) -> Self {
        Self { shape, values, integer: false, labels: None }
    }
}

impl Examples for Data {
    fn len(&self) -> usize {
        self.shape[0]
    }

    fn batch(&self, range: std::ops::Range<usize>) -> Result<Vec<InputData>, Failure> {
        let size: usize = self.shape[1..].iter().product();
        let values = &self.values[range.start * size..range.end * size];
        Ok(vec![match self.integer {
            true => InputData::I64(values.iter().map(|v| *v as i64).collect()),
            false => InputData::F64(values.to_vec()),
        }])
    }

    fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }
}

/// The network and inputs of a reference folder.
pub fn open(folder: &Path, precision: Precision) -> Result<(Network, Data), Failure> {
    let model = Model::open(folder.join("model.onnx"))?;
    let (shape, values) = read(&folder.join("input.npy"))?;
    let input_shapes = [(model.inputs()[0].name.clone(), shape[1..].to_vec())].into();
    // As in gradkin-network's tests: on the processor, or where one says.
    let device = std::env::var("GRADKIN_DEVICE").as_deref().unwrap_or("cpu").parse()?;
    let network = Network::new(&model, &Options { precision, input_shapes, device })?;
    let integer = network.inputs()[0].integer;
    Ok((network, Data { shape, values, integer, labels: None }))
}

/// Writes a small ONNX model node by node.
#[derive(Default)]
pub struct Builder {
    graph: GraphProto,
    count: usize,
}

impl Builder {
    pub fn input(&mut self, name: &str, shape: &[usize], integer: bool) -> String {
        let mut dim = vec![Dimension { dim_value: None, dim_param: Some("n".into()) }];
        dim.extend(shape.iter().map(|s| Dimension { dim_value: Some(*s as i64), dim_param: None }));
        let elem_type = Some(if integer { DataType::INT64 } else { DataType::FLOAT });
        let tensor = TypeProtoTensor { elem_type, shape: Some(TensorShapeProto { dim }) };
        let kind = TypeProto { tensor_type: Some(tensor), sequence: None };
        self.graph.input.push(ValueInfoProto { name: Some(name.into()), r#type: Some(kind) });
        name.into()
    }

    pub fn weight(&mut self, name: &str, shape: &[usize], values: &[f64]) -> String {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        let raw = values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect();
        self.tensor(name, shape, DataType::FLOAT, raw)
    }

    pub fn numbers(&mut self, name: &str, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, &[values.len()], DataType::INT64, raw)
    }

    fn tensor(&mut self, name: &str, shape: &[usize], kind: DataType, raw: Vec<u8>) -> String {
        self.graph.initializer.push(TensorProto {
            name: Some(name.into()),
            dims: shape.iter().map(|s| *s as i64).collect(),
            data_type: Some(kind),
            raw_data: Some(RefCell::new(raw)),
            ..Default::default()
        });
        name.into()
    }

    pub fn node(&mut self, operator: &str, inputs: &[&str], ints: &[(&str, &[i64])]) -> String {
        self.count += 1;
        let output = format!("{operator}_{}", self.count);
        let attribute = |(name, values): &(&str, &[i64])| {
            let single =
                values.len() == 1 && !matches!(*name, "axes" | "pads" | "kernel_shape" | "perm");
            AttributeProto {
                name: Some((*name).into()),
                i: single.then(|| values[0]),
                ints: if single { Vec::new() } else { values.to_vec() },
                r#type: Some(if single { AttributeType::INT } else { AttributeType::INTS }),
                ..Default::default()
            }
        };
        self.graph.node.push(NodeProto {
            name: Some(output.clone()),
            op_type: Some(operator.into()),
            input: inputs.iter().map(|i| (*i).into()).collect(),
            output: vec![output.clone()],
            attribute: ints.iter().map(attribute).collect(),
            domain: None,
        });
        output
    }

    pub fn finish(mut self, output: &str) -> Vec<u8> {
        let info = ValueInfoProto { name: Some(output.into()), r#type: None };
        self.graph.output.push(info);
        let model = ModelProto {
            ir_version: Some(8),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
            ..Default::default()
        };
        model.write_buf().unwrap()
    }
}

/// A stream of numbers, roughly normal, from a seed.
pub struct Random(pub u64);

impl Random {
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    pub fn list(&mut self, count: usize, scale: f64) -> Vec<f64> {
        (0..count).map(|_| self.normal() * scale).collect()
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }
}

/// How a random network ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ending {
    Plain,
    LogSoftmax,
    /// Every output times this.
    Scaled(f64),
    /// Outputs turned in the plane of the first two.
    Turned(f64),
}

/// Sizes of a random network.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub seed: u64,
    pub channels: usize,
    pub hidden: usize,
    pub outputs: usize,
}

/// A small convolutional network on 6×6 images: convolution, Relu, convolution used twice,
/// two linear layers; biases everywhere.
pub fn convolutional(sizes: Sizes, ending: Ending) -> Network {
    let Sizes { seed, channels: c, hidden: h, outputs: d } = sizes;
    let mut r = Random(seed);
    let mut b = Builder::default();
    let x = b.input("x", &[1, 6, 6], false);
    let w = b.weight("c1.weight", &[c, 1, 3, 3], &r.list(c * 9, 0.5));
    let v = b.weight("c1.bias", &[c], &r.list(c, 0.5));
    let y = b.node("Conv", &[&x, &w, &v], &[("kernel_shape", &[3, 3])]);
    let y = b.node("Tanh", &[&y], &[]);
    let w = b.weight("tied.weight", &[c, c, 3, 3], &r.list(c * c * 9, 0.3));
    let y = b.node("Conv", &[&y, &w], &[("kernel_shape", &[3, 3]), ("pads", &[1, 1, 1, 1])]);
    let y = b.node("Relu", &[&y], &[]);
    let y = b.node("Conv", &[&y, &w], &[("kernel_shape", &[3, 3])]);
    let y = b.node("Flatten", &[&y], &[("axis", &[1])]);
    let w = b.weight("f1.weight", &[c * 4, h], &r.list(c * 4 * h, 0.5));
    let v = b.weight("f1.bias", &[h], &r.list(h, 0.5));
    let y = b.node("MatMul", &[&y, &w], &[]);
    let y = b.node("Add", &[&y, &v], &[]);
    let y = b.node("Sigmoid", &[&y], &[]);
    let w = b.weight("f2.weight", &[d, h], &r.list(d * h, 0.7));
    let v = b.weight("f2.bias", &[d], &r.list(d, 0.5));
    let y = b.node("Gemm", &[&y, &w, &v], &[("transB", &[1])]);
    let y = end(&mut b, y, ending, d);
    network(b.finish(&y))
}

/// Token ids to an embedding, a linear map at every position, and a mean; the table also is the
/// last layer's weight where `tied`.
pub fn embedding(sizes: Sizes, positions: usize, tied: bool) -> Network {
    let Sizes { seed, channels: vocabulary, hidden: h, outputs: d } = sizes;
    let mut r = Random(seed);
    let mut b = Builder::default();
    let x = b.input("x", &[positions], true);
    let table = b.weight("table", &[vocabulary, h], &r.list(vocabulary * h, 0.8));
    let y = b.node("Gather", &[&table, &x], &[("axis", &[0])]);
    let w = b.weight("w", &[h, h], &r.list(h * h, 0.5));
    let y = b.node("MatMul", &[&y, &w], &[]);
    let y = b.node("Tanh", &[&y], &[]);
    let y = b.node("ReduceMean", &[&y], &[("axes", &[1]), ("keepdims", &[0])]);
    let y = if tied {
        b.node("Gemm", &[&y, &table], &[("transB", &[1])])
    } else {
        let w = b.weight("head", &[h, d], &r.list(h * d, 0.5));
        b.node("MatMul", &[&y, &w], &[])
    };
    network(b.finish(&y))
}

fn end(b: &mut Builder, y: String, ending: Ending, d: usize) -> String {
    match ending {
        Ending::Plain => y,
        Ending::LogSoftmax => b.node("LogSoftmax", &[&y], &[("axis", &[-1])]),
        Ending::Scaled(s) => {
            let diagonal: Vec<f64> =
                (0..d * d).map(|i| if i / d == i % d { s } else { 0.0 }).collect();
            let s = b.weight("ending", &[d, d], &diagonal);
            b.node("MatMul", &[&y, &s], &[])
        }
        Ending::Turned(angle) => {
            let (s, c) = angle.sin_cos();
            let mut turn: Vec<f64> =
                (0..d * d).map(|i| if i / d == i % d { 1.0 } else { 0.0 }).collect();
            if d > 1 {
                (turn[0], turn[1], turn[d], turn[d + 1]) = (c, -s, s, c);
            }
            let turn = b.weight("ending", &[d, d], &turn);
            b.node("MatMul", &[&y, &turn], &[])
        }
    }
}

fn network(bytes: Vec<u8>) -> Network {
    let model = Model::from_bytes(&bytes, "a random network").unwrap();
    let options = Options { precision: Precision::F64, ..Default::default() };
    Network::new(&model, &options).unwrap()
}

/// Random images for [`convolutional`].
pub fn images(count: usize, seed: u64) -> Data {
    Data::new(vec![count, 1, 6, 6], Random(seed ^ 0x5eed).list(count * 36, 1.0))
}

/// Random token ids for [`embedding`].
pub fn tokens(count: usize, positions: usize, vocabulary: usize, seed: u64) -> Data {
    let mut r = Random(seed ^ 0x70c);
    let values = (0..count * positions).map(|_| r.below(vocabulary) as f64).collect();
    Data { shape: vec![count, positions], values, integer: true, labels: None }
}

/// A network of two inputs and two outputs, which both negative ones leave without a gradient and very large
/// ones with one that is not finite.
pub fn dead() -> Model {
    let mut b = Builder::default();
    let x = b.input("x", &[2], false);
    let w = b.weight("w", &[2, 3], &[1.0; 6]);
    let y = b.node("MatMul", &[&x, &w], &[]);
    let y = b.node("Relu", &[&y], &[]);
    let v = b.weight("v", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.5]);
    let y = b.node("MatMul", &[&y, &v], &[]);
    Model::from_bytes(&b.finish(&y), "dead").unwrap()
}
