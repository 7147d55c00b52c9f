//! A face detector with two outputs of thousands of positions, 52 convolutions and 35 normalisations:
//! sweeps from single positions of either output against central differences, in double precision.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use gradkin_network::candle_core::{Device, Tensor};
use gradkin_network::{
    Collected, InputData, Model, Network, Options, OutputData, Precision, Sweep,
};
use rten_onnx::onnx::{DataType, ModelProto};

/// Small, for a step that takes a unit across the kink of its Relu spoils the difference.
const STEP: f64 = 1e-6;

fn face(test: &str) -> Option<Vec<u8>> {
    const FILE: &str = "models/misc/rfb320_face.onnx";
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("GRADKIN_SHARED").map_or(beside, PathBuf::from);
    let bytes = std::fs::read(root.join("data").join(FILE)).ok();
    if bytes.is_none() {
        eprintln!("LEFT OUT: {test} needs ../shared/data/{FILE}");
    }
    bytes
}

fn network(bytes: &[u8]) -> Network {
    let model = Model::from_bytes(bytes, "rfb320_face.onnx").unwrap();
    let options = Options { precision: Precision::F64, ..Default::default() };
    Network::new(&model, &options).unwrap()
}

/// The model with one weight moved; its tensor is stored in double precision to hold the step.
fn moved(bytes: &[u8], name: &str, at: usize, step: f64) -> Network {
    let mut model = ModelProto::parse_buf(bytes).unwrap();
    let stored = &mut model.graph.as_mut().unwrap().initializer;
    let tensor = stored.iter_mut().find(|tensor| tensor.name.as_deref() == Some(name)).unwrap();
    let mut values: Vec<f64> = match &tensor.raw_data {
        Some(raw) => {
            let raw = raw.borrow();
            let each = raw.as_chunks::<4>().0.iter();
            each.map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
        }
        None => tensor.float_data.iter().map(|value| f64::from(*value)).collect(),
    };
    values[at] += step;
    tensor.raw_data = None;
    tensor.float_data.clear();
    tensor.double_data = values;
    tensor.data_type = Some(DataType::DOUBLE);
    network(&model.write_buf().unwrap())
}

/// A smooth picture with some structure.
fn picture(count: usize) -> Vec<f64> {
    (0..count).map(|k| (k as f64 * 0.013).sin() * 0.6 + (k as f64 * 0.0007).cos() * 0.4).collect()
}

/// The chosen numbers of an output.
fn chosen(network: &Network, output: &str, positions: &[usize]) -> Vec<f64> {
    let count = network.inputs()[0].shape.iter().product();
    let outputs = network.evaluate(vec![InputData::F64(picture(count))], 1).unwrap();
    let output = outputs.into_iter().find(|o| o.name == output).unwrap();
    match output.data {
        OutputData::F64(values) => positions.iter().map(|at| values[*at]).collect(),
        other => panic!("an output of {other:?}"),
    }
}

/// One cotangent per position: `[1, d, *shape]`.
fn seeds(sweep: &Sweep, positions: &[usize]) -> Tensor {
    let shape = sweep.output_shape();
    let count: usize = shape.iter().product();
    let mut values = vec![0.0; positions.len() * count];
    positions.iter().enumerate().for_each(|(k, at)| values[k * count + at] = 1.0);
    let mut full = vec![1, positions.len()];
    full.extend(shape);
    Tensor::from_vec(values, full, &Device::Cpu).unwrap()
}

/// Compare the sweep from `positions` (counted along the flattened output) with differences by the
/// largest entries of parameters along the whole network.
fn check(bytes: &[u8], output: &str, positions: &[usize]) {
    const PARAMETERS: usize = 4;
    let whole = network(bytes);
    let sweep = Sweep::new(&whole, Some(output), None).unwrap();
    let count = whole.inputs()[0].shape.iter().product();
    let pass = sweep.forward(vec![InputData::F64(picture(count))], 1).unwrap();
    let mut sink = Collected::default();
    sweep.reverse(&pass, &seeds(&sweep, positions), &mut sink).unwrap();
    let mut reached = Vec::new();
    for (component, factor) in &sink.factors {
        let gradient = factor.to_dense().unwrap().squeeze(0).unwrap().to_vec2::<f64>().unwrap();
        let size = |at: usize| gradient.iter().map(|row| row[at] * row[at]).sum::<f64>();
        let at = (0..gradient[0].len()).max_by(|a, b| size(*a).total_cmp(&size(*b))).unwrap();
        if size(at) > 1e-8 {
            let found: Vec<f64> = gradient.iter().map(|row| row[at]).collect();
            reached.push((sweep.components()[*component].parameter, at, found));
        }
    }
    assert!(reached.len() > 80, "only {} parameters reach `{output}`", reached.len());
    for (parameter, at, found) in reached.iter().step_by(reached.len() / PARAMETERS) {
        let name = &whole.parameters()[*parameter].name;
        let side = |step| chosen(&moved(bytes, name, *at, step), output, positions);
        let (up, down) = (side(STEP), side(-STEP));
        let wanted: Vec<f64> = up.iter().zip(&down).map(|(u, d)| (u - d) / (2.0 * STEP)).collect();
        let norm = |list: &[f64]| list.iter().map(|v| v * v).sum::<f64>().sqrt();
        let gap: Vec<f64> = found.iter().zip(&wanted).map(|(f, w)| f - w).collect();
        let error = norm(&gap) / norm(&wanted);
        eprintln!("{output}, {name}[{at}]: {:.3e}, off by {error:.1e}", norm(&wanted));
        assert!(error <= 1e-6, "{output}, {name}[{at}]: {found:?} and not {wanted:?}");
    }
}

#[test]
fn scores_of_two_positions() {
    let Some(bytes) = face("scores_of_two_positions") else { return };
    // The score for a face at positions 700 and 4,000 of 4,420.
    check(&bytes, "scores", &[2 * 700 + 1, 2 * 4000 + 1]);
}

#[test]
fn boxes_of_two_positions() {
    let Some(bytes) = face("boxes_of_two_positions") else { return };
    check(&bytes, "boxes", &[4 * 1234, 4 * 4400 + 2, 4 * 4400 + 3]);
}
