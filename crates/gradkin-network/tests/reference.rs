//! Kernels of real networks against PyTorch's autograd in float64: every folder of
//! `tests/reference` and `tests/networks`.

#![allow(clippy::print_stderr, clippy::unwrap_used)]

#[path = "support/device.rs"]
mod device;

use std::path::{Path, PathBuf};

use gradkin_network::candle_core::{DType, Tensor};
use gradkin_network::{Collected, InputData, Model, Network, Options, Precision, Sweep};

type Failure = Box<dyn std::error::Error>;

fn folders() -> Vec<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let extra = std::env::var_os("GRADKIN_MORE_NETWORKS").map(PathBuf::from);
    let mut found = Vec::new();
    for root in [tests.join("reference"), tests.join("networks")].into_iter().chain(extra) {
        let Ok(entries) = std::fs::read_dir(&root) else { continue };
        found.extend(entries.flatten().map(|e| e.path()).filter(|p| p.join("kernel.npy").exists()));
    }
    found.sort();
    found
}

fn read(path: &Path) -> Result<(Vec<usize>, Vec<f64>), Failure> {
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

fn relative(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let norm: f64 = wanted.iter().map(|w| w * w).sum();
    let gap: f64 = found.iter().zip(wanted).map(|(f, w)| (f - w) * (f - w)).sum();
    (gap / norm).sqrt()
}

/// Errors of the outputs and of the kernel, written-out gradients multiplied.
fn errors(folder: &Path, precision: Precision) -> Result<(f64, f64), Failure> {
    let model = Model::open(folder.join("model.onnx"))?;
    let (shape, data) = read(&folder.join("input.npy"))?;
    let input_shapes = [(model.inputs()[0].name.clone(), shape[1..].to_vec())].into();
    let options = Options { precision, input_shapes, device: device::device() };
    let network = Network::new(&model, &options)?;
    let meta: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("meta.json"))?)?;
    let counted: usize = network.parameters().iter().map(|p| p.len()).sum();
    if Some(counted as u64) != meta["parameters"].as_u64() {
        let uncounted = network.uncounted();
        return Err(format!("{counted} parameters, not counted: {uncounted:?}").into());
    }
    let batch = shape[0];
    let input = if network.inputs()[0].integer {
        InputData::I64(data.iter().map(|v| *v as i64).collect())
    } else {
        InputData::F64(data)
    };
    let sweep = Sweep::new(&network, None, None)?;
    let pass = sweep.forward(vec![input], batch)?;
    let output = sweep.output(&pass)?.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let mut sink = Collected::default();
    sweep.reverse(&pass, &sweep.identity(batch)?, &mut sink)?;
    let mut kernel: Option<Tensor> = None;
    for factor in sink.factors.values() {
        let gradient = factor.to_dense()?;
        let (b, d, n) = gradient.dims3()?;
        let flat = gradient.reshape((b * d, n))?;
        let product = flat.matmul(&flat.t()?)?;
        kernel = Some(match kernel {
            Some(sum) => (sum + product)?,
            None => product,
        });
    }
    let kernel = kernel.ok_or("no parameter reached the output")?.to_dtype(DType::F64)?;
    let d = kernel.dims()[0] / batch;
    let kernel = kernel.reshape((batch, d, batch, d))?.permute((0, 2, 1, 3))?;
    let kernel = kernel.flatten_all()?.to_vec1::<f64>()?;
    let (_, wanted_output) = read(&folder.join("output.npy"))?;
    let (_, wanted_kernel) = read(&folder.join("kernel.npy"))?;
    Ok((relative(&output, &wanted_output), relative(&kernel, &wanted_kernel)))
}

fn check(precision: Precision, tolerance: f64) {
    let mut failures = Vec::new();
    let folders = folders();
    assert!(folders.len() >= 6, "the reference folders are missing");
    for folder in &folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match errors(folder, precision) {
            Ok((output, kernel)) => {
                eprintln!("{name:24} output {output:.1e} kernel {kernel:.1e}");
                if output.is_nan() || kernel.is_nan() || output > tolerance || kernel > tolerance {
                    failures.push(format!("{name}: output {output:e}, kernel {kernel:e}"));
                }
            }
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn kernels_equal_pytorch_in_single_precision() {
    check(Precision::F32, 1e-5);
}

#[test]
fn kernels_equal_pytorch_in_double_precision() {
    check(Precision::F64, 1e-9);
}
