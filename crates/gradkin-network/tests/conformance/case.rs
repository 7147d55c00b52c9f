//! One node test: its model, its inputs and the outputs they must give.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use gradkin_network::candle_core::{DType, Device, Tensor};
use gradkin_network::{InputData, Model, Network, Options, Output, OutputData, Precision};
use rten_onnx::onnx::{
    DataType, Dimension, GraphProto, ModelProto, TensorProto, TensorShapeProto, ValueInfoProto,
};
use rten_onnx::protobuf::{DecodeMessage, ValueReader};

/// The tolerances of ONNX's own runner.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-7;

/// What [`Case::run`] says of a panic.
pub(crate) const PANIC: &str = "it panics";

pub(crate) struct Case {
    pub(crate) name: String,
    model: Vec<u8>,
    sets: Vec<Set>,
}

#[derive(Clone)]
struct Set {
    inputs: Vec<TensorProto>,
    outputs: Vec<TensorProto>,
}

impl Case {
    /// `None` where inputs or outputs are anything but tensors of numbers.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let model = std::fs::read(path.join("model.onnx")).ok()?;
        let graph = ModelProto::parse_buf(&model).ok()?.graph?;
        if !graph.input.iter().chain(&graph.output).all(is_numeric) {
            return None;
        }
        let mut sets = Vec::new();
        while let folder = path.join(format!("test_data_set_{}", sets.len()))
            && folder.is_dir()
        {
            let read = |kind: &str, count: usize| -> Option<Vec<TensorProto>> {
                (0..count).map(|k| tensor(&folder.join(format!("{kind}_{k}.pb")))).collect()
            };
            let inputs = read("input", graph.input.len())?;
            sets.push(Set { inputs, outputs: read("output", graph.output.len())? });
        }
        Some(Self { name, model, sets })
    }

    pub(crate) fn uses_only(&self, operators: &BTreeSet<&str>) -> bool {
        let graph = ModelProto::parse_buf(&self.model).ok().and_then(|model| model.graph);
        graph.is_some_and(|graph| graph_uses_only(&graph, operators))
    }

    /// The case once for every attribute and every input of whole numbers, with damage done to it.
    pub(crate) fn damaged(&self) -> Vec<Self> {
        const NUMBERS: [i64; 6] = [i64::MIN, -1, 0, 7, 1 << 40, i64::MAX];
        let mut list = Vec::new();
        let count = self.attributes();
        for (at, number) in (0..count).flat_map(|at| NUMBERS.map(|number| (at, number))) {
            let Ok(mut model) = ModelProto::parse_buf(&self.model) else { continue };
            let nodes = model.graph.iter_mut().flat_map(|graph| &mut graph.node);
            if let Some(attribute) = nodes.flat_map(|node| &mut node.attribute).nth(at) {
                attribute.i = attribute.i.map(|_| number);
                attribute.f = attribute.f.map(|_| number as f32);
                attribute.ints.iter_mut().for_each(|value| *value = number);
                attribute.floats.iter_mut().for_each(|value| *value = number as f32);
            }
            let Ok(model) = model.write_buf() else { continue };
            let name = format!("{}, attribute {at} set to {number}", self.name);
            list.push(Self { name, model, sets: self.sets.clone() });
        }
        let inputs = self.sets.first().map_or(0, |set| set.inputs.len());
        for (k, number) in (0..inputs).flat_map(|k| NUMBERS.map(|number| (k, number))) {
            let mut sets = self.sets.clone();
            if sets.iter_mut().all(|set| fill(&mut set.inputs[k], number)) {
                let name = format!("{}, input {k} set to {number}", self.name);
                list.push(Self { name, model: self.model.clone(), sets });
            }
        }
        list
    }

    fn attributes(&self) -> usize {
        let graph = ModelProto::parse_buf(&self.model).ok().and_then(|model| model.graph);
        let nodes = graph.map(|graph| graph.node).unwrap_or_default();
        nodes.iter().map(|node| node.attribute.len()).sum()
    }

    /// Run every data set; how many inputs had to be made constants.
    pub(crate) fn run(&self) -> Result<usize, String> {
        let mut constants = 0;
        for set in &self.sets {
            let run = catch_unwind(AssertUnwindSafe(|| self.run_set(set)));
            constants = constants.max(run.map_err(|_| PANIC.to_owned())??);
        }
        Ok(constants)
    }

    /// Inputs that the graph needs as constants (axes, shapes, pads) become initialisers, small
    /// whole numbers first, one more each time that the network asks for a constant.
    fn run_set(&self, set: &Set) -> Result<usize, String> {
        let mut order: Vec<usize> = (0..set.inputs.len()).collect();
        order.sort_by_key(|k| (is_float(&set.inputs[*k]), count(&set.inputs[*k])));
        let empty = |k: &usize| count(&set.inputs[*k]) == 0;
        let mut fixed: BTreeSet<usize> = order.iter().copied().filter(empty).collect();
        order.retain(|k| !fixed.contains(k));
        let mut next = order.into_iter();
        let network = loop {
            match self.network(set, &fixed) {
                Ok(network) => break network,
                Err(error) if wants_constant(&error) => match next.next() {
                    Some(k) => fixed.insert(k),
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            };
        };
        let data = (0..set.inputs.len()).filter(|k| !fixed.contains(k));
        let data = data.map(|k| input_data(&set.inputs[k])).collect();
        let outputs = network.evaluate(data, 1).map_err(|e| e.to_string())?;
        for (k, (found, wanted)) in outputs.iter().zip(&set.outputs).enumerate() {
            compare(found, wanted).map_err(|message| format!("output {k} {message}"))?;
        }
        Ok(fixed.len())
    }

    fn network(&self, set: &Set, fixed: &BTreeSet<usize>) -> Result<Network, String> {
        let mut model = ModelProto::parse_buf(&self.model).map_err(|e| e.to_string())?;
        let mut double = false;
        if let Some(graph) = &mut model.graph {
            double = graph.input.iter().chain(&graph.output).any(is_double);
            for (k, tensor) in set.inputs.iter().enumerate() {
                let info = &mut graph.input[k];
                let mut tensor = tensor.clone();
                tensor.name = info.name.clone();
                declare(info, &tensor);
                if fixed.contains(&k) {
                    graph.initializer.push(tensor);
                }
            }
        }
        let bytes = model.write_buf().map_err(|e| e.to_string())?;
        let model = Model::from_bytes(&bytes, "case").map_err(|e| e.to_string())?;
        let precision = if double { Precision::F64 } else { Precision::F32 };
        let device = crate::device::device();
        let options = Options { precision, device, ..Options::default() };
        Network::new(&model, &options).map_err(|e| e.to_string())
    }
}

/// Every entry of a tensor of whole numbers set to one number; whether it is such a tensor.
fn fill(tensor: &mut TensorProto, number: i64) -> bool {
    let bytes = number.to_le_bytes();
    if let Some(raw) = &tensor.raw_data {
        let width = width(kind(tensor));
        raw.borrow_mut().iter_mut().enumerate().for_each(|(at, byte)| *byte = bytes[at % width]);
    }
    !is_float(tensor) && kind(tensor) != DataType::BOOL
}

fn wants_constant(error: &str) -> bool {
    ["must be a constant", "depends on the data", "depends on the example"]
        .iter()
        .any(|part| error.contains(part))
}

/// Give an input the shape of its data, whatever the model leaves open.
fn declare(info: &mut ValueInfoProto, tensor: &TensorProto) {
    let declared = info.r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
    let dim = |size: &i64| Dimension { dim_value: Some(*size), dim_param: None };
    if let Some(declared) = declared {
        declared.shape = Some(TensorShapeProto { dim: tensor.dims.iter().map(dim).collect() });
    }
}

fn graph_uses_only(graph: &GraphProto, operators: &BTreeSet<&str>) -> bool {
    graph.node.iter().all(|node| {
        matches!(node.domain.as_deref(), None | Some("" | "ai.onnx"))
            && operators.contains(node.op_type.as_deref().unwrap_or_default())
            && node
                .attribute
                .iter()
                .filter_map(|a| a.g.as_ref())
                .all(|g| graph_uses_only(g, operators))
    })
}

fn element_type(info: &ValueInfoProto) -> Option<DataType> {
    info.r#type.as_ref()?.tensor_type.as_ref()?.elem_type
}

fn is_double(info: &ValueInfoProto) -> bool {
    element_type(info) == Some(DataType::DOUBLE)
}

fn is_numeric(info: &ValueInfoProto) -> bool {
    element_type(info).is_some_and(|kind| width(kind) > 0)
}

fn width(kind: DataType) -> usize {
    match kind {
        DataType::FLOAT | DataType::INT32 | DataType::UINT32 => 4,
        DataType::DOUBLE | DataType::INT64 | DataType::UINT64 => 8,
        DataType::FLOAT16 | DataType::BFLOAT16 | DataType::INT16 | DataType::UINT16 => 2,
        DataType::UINT8 | DataType::INT8 | DataType::BOOL => 1,
        _ => 0,
    }
}

fn kind(tensor: &TensorProto) -> DataType {
    tensor.data_type.unwrap_or(DataType::FLOAT)
}

fn is_float(tensor: &TensorProto) -> bool {
    [DataType::FLOAT, DataType::DOUBLE, DataType::FLOAT16, DataType::BFLOAT16]
        .contains(&kind(tensor))
}

fn shape(tensor: &TensorProto) -> Vec<usize> {
    tensor.dims.iter().map(|size| *size as usize).collect()
}

fn count(tensor: &TensorProto) -> usize {
    shape(tensor).iter().product()
}

fn tensor(path: &Path) -> Option<TensorProto> {
    let bytes = std::fs::read(path).ok()?;
    let tensor = TensorProto::decode(ValueReader::from_buf(bytes.as_slice())).ok()?;
    // A few files use the typed fields; all are read as bytes from here on.
    let bytes = match &tensor.raw_data {
        Some(raw) => raw.borrow().clone(),
        None => typed_bytes(&tensor),
    };
    (bytes.len() == count(&tensor) * width(kind(&tensor)))
        .then(|| TensorProto { raw_data: Some(RefCell::new(bytes)), ..bare(&tensor) })
}

fn bare(tensor: &TensorProto) -> TensorProto {
    TensorProto { dims: tensor.dims.clone(), data_type: tensor.data_type, ..TensorProto::default() }
}

fn typed_bytes(tensor: &TensorProto) -> Vec<u8> {
    let narrow = width(kind(tensor));
    let cut = |v: &i32| v.to_le_bytes()[..narrow.min(4)].to_vec();
    let mut bytes: Vec<u8> = tensor.float_data.iter().flat_map(|v| v.to_le_bytes()).collect();
    bytes.extend(tensor.double_data.iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend(tensor.int64_data.iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend(tensor.int32_data.iter().flat_map(cut));
    bytes
}

/// The values of a tensor, floats as f64 and whole numbers as i64.
enum Values {
    Floats(Vec<f64>),
    Integers(Vec<i64>),
}

fn values(tensor: &TensorProto) -> Values {
    let raw = tensor.raw_data.as_ref().expect("read as bytes").borrow();
    let integers = |f: fn(&[u8]) -> i64| {
        Values::Integers(raw.chunks_exact(width(kind(tensor))).map(f).collect())
    };
    match kind(tensor) {
        DataType::FLOAT => {
            let each = raw.as_chunks::<4>().0.iter();
            Values::Floats(each.map(|b| f64::from(f32::from_le_bytes(*b))).collect())
        }
        DataType::DOUBLE => {
            Values::Floats(raw.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect())
        }
        narrow @ (DataType::FLOAT16 | DataType::BFLOAT16) => Values::Floats(halves(&raw, narrow)),
        DataType::INT8 => integers(|b| i64::from(b[0] as i8)),
        DataType::INT16 => integers(|b| i64::from(i16::from_le_bytes([b[0], b[1]]))),
        DataType::INT32 => integers(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        _ => integers(|b| {
            let mut all = [0; 8];
            all[..b.len()].copy_from_slice(b);
            i64::from_le_bytes(all)
        }),
    }
}

fn narrow_dtype(kind: DataType) -> DType {
    if kind == DataType::FLOAT16 { DType::F16 } else { DType::BF16 }
}

fn halves(raw: &[u8], kind: DataType) -> Vec<f64> {
    let bits = raw.len() / 2;
    let tensor = Tensor::from_raw_buffer(raw, narrow_dtype(kind), &[bits], &Device::Cpu);
    tensor.and_then(|t| t.to_dtype(DType::F64)).and_then(|t| t.to_vec1()).expect("halves")
}

fn input_data(tensor: &TensorProto) -> InputData {
    match values(tensor) {
        Values::Floats(v) => InputData::F64(v),
        Values::Integers(v) => InputData::I64(v),
    }
}

fn compare(found: &Output, wanted: &TensorProto) -> Result<(), String> {
    let wanted_shape = shape(wanted);
    if found.shape[1..] != wanted_shape {
        return Err(format!("has shape {:?}, not {wanted_shape:?}", &found.shape[1..]));
    }
    let (found, wanted) = match (&found.data, values(wanted), kind(wanted)) {
        (OutputData::F32(v), Values::Floats(w), kind) => {
            (rounded(v.iter().map(|x| f64::from(*x)).collect(), kind), w)
        }
        (OutputData::F64(v), Values::Floats(w), kind) => (rounded(v.clone(), kind), w),
        (OutputData::Bool(v), Values::Integers(w), DataType::BOOL) => {
            (v.iter().map(|x| f64::from(u8::from(*x))).collect(), as_floats(&w))
        }
        (OutputData::I64(v), Values::Integers(w), kind) if kind != DataType::BOOL => {
            (as_floats(v), as_floats(&w))
        }
        (_, _, kind) => return Err(format!("is not of type {kind}")),
    };
    let close = |a: f64, b: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= ABSOLUTE + RELATIVE * b.abs()
    };
    match found.iter().zip(&wanted).position(|(a, b)| !close(*a, *b)) {
        Some(at) => Err(format!("is {} and not {} at {at}", found[at], wanted[at])),
        None => Ok(()),
    }
}

/// The network holds narrow floats in full width; what is stored is rounded.
fn rounded(values: Vec<f64>, kind: DataType) -> Vec<f64> {
    if width(kind) != 2 {
        return values;
    }
    let count = values.len();
    let round = || {
        let tensor = Tensor::from_vec(values.clone(), count, &Device::Cpu)?.to_dtype(DType::F32)?;
        tensor.to_dtype(narrow_dtype(kind))?.to_dtype(DType::F64)?.to_vec1()
    };
    round().unwrap_or(values.clone())
}

fn as_floats(values: &[i64]) -> Vec<f64> {
    values.iter().map(|v| *v as f64).collect()
}
