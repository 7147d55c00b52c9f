//! The gradient of a loss over a batch, parameter values other than the file's, and normalisation with
//! the statistics of the batch.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use gradkin_network::candle_core::{DType, Device, Tensor};
use gradkin_network::{Collected, InputData, Model, Network, Options, Party, Precision, Sweep};

fn folders() -> Vec<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let mut found = Vec::new();
    for root in ["reference", "networks"] {
        let entries = std::fs::read_dir(tests.join(root)).unwrap();
        found.extend(entries.flatten().map(|e| e.path()).filter(|p| p.join("model.onnx").exists()));
    }
    found.sort();
    assert!(found.len() > 10, "the networks are missing");
    found
}

fn network(folder: &Path) -> Network {
    let model = Model::open(folder.join("model.onnx")).unwrap();
    Network::new(&model, &Options { precision: Precision::F64, ..Options::default() }).unwrap()
}

/// The first examples of a network's test data, in double precision or as whole numbers; where there
/// are fewer than asked for, they come again, changed.
fn inputs(network: &Network, folder: &Path, batch: usize) -> Vec<InputData> {
    let bytes = std::fs::read(folder.join("input.npy")).unwrap();
    let count = batch * network.inputs()[0].shape.iter().product::<usize>();
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    vec![if network.inputs()[0].integer {
        let values = npy.into_vec::<i64>().unwrap();
        let last = values.len() - 1;
        InputData::I64(
            (0..count).map(|i| values[if i > last { i * 7 % last } else { i }]).collect(),
        )
    } else {
        let values: Vec<f64> = match npyz::NpyFile::new(&bytes[..]).unwrap().into_vec::<f32>() {
            Ok(values) => values.into_iter().map(f64::from).collect(),
            Err(_) => npy.into_vec::<f64>().unwrap(),
        };
        let again = |i: usize| values[i % values.len()] * 0.9_f64.powi((i / values.len()) as i32);
        InputData::F64((0..count).map(again).collect())
    }]
}

/// Cotangents that differ from one example and element to the next.
fn seeds(sweep: &Sweep, batch: usize) -> Tensor {
    let count = batch * sweep.output_shape().iter().product::<usize>();
    let values: Vec<f64> = (0..count).map(|i| (1.7 * i as f64 + 0.3).sin()).collect();
    let mut shape = vec![batch, 1];
    shape.extend(sweep.output_shape());
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn gap(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let scale = norm(&mut a.iter().copied()).max(1e-12);
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / scale
}

#[test]
fn gradient_is_the_sum_of_the_factors_written_out() {
    for folder in folders() {
        let network = network(&folder);
        let sweep = Sweep::new(&network, None, None).unwrap();
        let batch = 3;
        let pass = sweep.forward(inputs(&network, &folder, batch), batch).unwrap();
        let seeds = seeds(&sweep, batch);
        let mut collected = Collected::default();
        sweep.reverse(&pass, &seeds, &mut collected).unwrap();
        let total = sweep.gradient(&pass, &seeds).unwrap();
        // By parameter the sum of squares of what its components hold, which never overlap.
        let mut squares = vec![0.0; network.parameters().len()];
        let mut sums = vec![0.0; network.parameters().len()];
        for (component, factor) in &collected.factors {
            let parameter = sweep.components()[*component].parameter;
            let dense = flat(&factor.to_dense().unwrap().sum((0, 1)).unwrap());
            squares[parameter] += dense.iter().map(|x| x * x).sum::<f64>();
            sums[parameter] += dense.iter().sum::<f64>();
        }
        for (parameter, total) in total.iter().enumerate() {
            let total = flat(total.as_ref().unwrap());
            let square: f64 = total.iter().map(|x| x * x).sum();
            let sum: f64 = total.iter().sum();
            let name = format!("{} {}", folder.display(), network.parameters()[parameter].name);
            assert!((square - squares[parameter]).abs() <= 1e-10 * squares[parameter], "{name}");
            assert!((sum - sums[parameter]).abs() <= 1e-9 * square.sqrt() + 1e-12, "{name}");
        }
    }
}

/// Parameter values moved by `step` along `direction`.
fn moved(values: &[Tensor], direction: &[Tensor], step: f64) -> Vec<Tensor> {
    let along = |(v, d): (&Tensor, &Tensor)| (v + (d * step).unwrap()).unwrap();
    values.iter().zip(direction).map(along).collect()
}

fn direction(values: &[Tensor]) -> Vec<Tensor> {
    let mut phase = 0.0;
    values
        .iter()
        .map(|value| {
            phase += 1.0;
            let numbers: Vec<f64> =
                (0..value.elem_count()).map(|i| (0.9 * i as f64 + phase).cos()).collect();
            Tensor::from_vec(numbers, value.dims(), &Device::Cpu).unwrap()
        })
        .collect()
}

/// Σ seeds · output as the parameters move, against the gradient along that direction.
#[test]
fn gradient_is_the_central_difference_at_any_point() {
    for folder in folders() {
        let network = network(&folder);
        let sweep = Sweep::new(&network, None, None).unwrap();
        let batch = 2;
        let stored = network.parameter_values().unwrap();
        // Away from the file's own values, so that it shows which ones are used.
        let along = direction(&stored);
        let here = moved(&stored, &along, 3e-3);
        let seeds = seeds(&sweep, batch);
        let value = |parameters: &[Tensor]| -> (f64, Vec<Option<Tensor>>) {
            let point = network.point(parameters).unwrap();
            let data = inputs(&network, &folder, batch);
            let pass = sweep.forward_at(&point, data, batch).unwrap();
            let output = sweep.output(&pass).unwrap().flatten_all().unwrap();
            let sum = (output * seeds.flatten_all().unwrap()).unwrap().sum_all().unwrap();
            (sum.to_scalar().unwrap(), sweep.gradient(&pass, &seeds).unwrap())
        };
        let slope: f64 = value(&here)
            .1
            .iter()
            .zip(&along)
            .map(|(g, d)| (g.as_ref().unwrap() * d).unwrap().sum_all().unwrap())
            .map(|x| x.to_scalar::<f64>().unwrap())
            .sum();
        let step = 1e-6;
        let ahead = value(&moved(&here, &along, step)).0;
        let behind = value(&moved(&here, &along, -step)).0;
        let difference = (ahead - behind) / (2.0 * step);
        let error = (slope - difference).abs() / difference.abs().max(1e-3);
        assert!(error < 1e-5, "{}: {slope} against {difference}", folder.display());
    }
}

#[test]
fn the_files_own_values_change_nothing() {
    for folder in folders() {
        let network = network(&folder);
        let sweep = Sweep::new(&network, None, None).unwrap();
        let point = network.point(&network.parameter_values().unwrap()).unwrap();
        let data = inputs(&network, &folder, 2);
        let plain = sweep.output(&sweep.forward(data.clone(), 2).unwrap()).unwrap();
        let again = sweep.output(&sweep.forward_at(&point, data, 2).unwrap()).unwrap();
        assert_eq!(flat(&plain), flat(&again), "{}", folder.display());
    }
}

#[test]
fn values_of_another_shape_are_refused() {
    let folder = folders().remove(0);
    let network = network(&folder);
    let mut values = network.parameter_values().unwrap();
    values[0] = Tensor::zeros(1, DType::F64, &Device::Cpu).unwrap();
    let message = network.point(&values).unwrap_err().to_string();
    assert!(message.contains(&network.parameters()[0].name), "{message}");
    values.pop();
    assert!(network.point(&values).is_err());
}

fn resnet() -> (PathBuf, Network) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/resnet_bn");
    let network = network(&folder);
    (folder, network)
}

/// The batch statistics depend on the parameters, and the gradient goes through them.
#[test]
fn training_form_agrees_with_central_differences() {
    let (folder, network) = resnet();
    let sweep = Sweep::new(&network, None, None).unwrap();
    assert!(sweep.mixes_in_training());
    let batch = 7;
    let seeds = seeds(&sweep, batch);
    let values = network.parameter_values().unwrap();
    let run = |parameters: &[Tensor]| {
        let point = network.point(parameters).unwrap();
        let party = Party::all(1).remove(0);
        sweep.forward_training(&point, inputs(&network, &folder, batch), batch, &party).unwrap()
    };
    let sum = |parameters: &[Tensor]| -> f64 {
        let output = sweep.output(&run(parameters)).unwrap().flatten_all().unwrap();
        (output * seeds.flatten_all().unwrap()).unwrap().sum_all().unwrap().to_scalar().unwrap()
    };
    let gradient = sweep.gradient(&run(&values), &seeds).unwrap();
    for (index, parameter) in network.parameters().iter().enumerate() {
        // One parameter at a time: none may be wrong unseen.
        let mut along: Vec<Tensor> = values.iter().map(|v| v.zeros_like().unwrap()).collect();
        along[index] = direction(&values).remove(index);
        let step = 1e-6;
        let ahead = sum(&moved(&values, &along, step));
        let behind = sum(&moved(&values, &along, -step));
        let difference = (ahead - behind) / (2.0 * step);
        let slope = (gradient[index].as_ref().unwrap() * &along[index]).unwrap();
        let slope: f64 = slope.sum_all().unwrap().to_scalar().unwrap();
        let error = (slope - difference).abs() / difference.abs().max(1e-2);
        assert!(error < 1e-5, "{}: {slope} against {difference}", parameter.name);
    }
}

/// A batch in parts on several threads is the same batch.
#[test]
fn parts_of_a_batch_share_their_statistics() {
    let (folder, network) = resnet();
    let sweep = Sweep::new(&network, None, None).unwrap();
    let batch = 6;
    let point = network.point(&network.parameter_values().unwrap()).unwrap();
    let InputData::F64(data) = inputs(&network, &folder, batch).remove(0) else {
        panic!("whole numbers")
    };
    let seeds = seeds(&sweep, batch);
    let part = |from: usize, to: usize, party: &Party| {
        let size = data.len() / batch;
        let own = vec![InputData::F64(data[from * size..to * size].to_vec())];
        let pass = sweep.forward_training(&point, own, to - from, party).unwrap();
        let statistics = sweep.batch_statistics(&pass).unwrap();
        let own = seeds.narrow(0, from, to - from).unwrap();
        (sweep.gradient(&pass, &own).unwrap(), statistics)
    };
    let (whole, statistics) = part(0, batch, &Party::all(1)[0]);
    let parties = Party::all(2);
    let ((a, first), (b, second)) = std::thread::scope(|scope| {
        let other = scope.spawn(|| part(2, batch, &parties[1]));
        (part(0, 2, &parties[0]), other.join().unwrap())
    });
    assert!(!statistics.is_empty());
    for (whole, (one, other)) in statistics.iter().zip(first.iter().zip(&second)) {
        assert_eq!(one, other);
        assert!(gap(&whole.values, &one.values) < 1e-12, "{}", whole.name);
    }
    for ((whole, a), b) in whole.iter().zip(&a).zip(&b) {
        let sum = (a.as_ref().unwrap() + b.as_ref().unwrap()).unwrap();
        let error = gap(&flat(whole.as_ref().unwrap()), &flat(&sum));
        assert!(error < 1e-10, "{error}");
    }
}
