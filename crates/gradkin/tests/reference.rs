//! Kernels of real networks through the library, in every form, against PyTorch's autograd.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Failure, folders, open, read, relative};
use gradkin::network::Precision;
use gradkin::{Form, Kind, Reduction, Settings, Similarity};

fn error(
    folder: &std::path::Path,
    precision: Precision,
    form: Option<Form>,
) -> Result<f64, Failure> {
    let (network, data) = open(folder, precision)?;
    let settings =
        Settings { kind: Kind::Inner, reduction: Reduction::Matrix, form, ..Settings::default() };
    let kernel = Similarity::new(&network, settings)?.kernel(&data, None, &|_| true)?;
    let (shape, wanted) = read(&folder.join("kernel.npy"))?;
    assert_eq!(kernel.shape, shape);
    Ok(relative(&kernel.values.to_f64(), &wanted))
}

fn check(precision: Precision, tolerance: f64) {
    let forms = [None, Some(Form::Dense), Some(Form::Factored), Some(Form::Rows)];
    let mut failures = Vec::new();
    for folder in folders() {
        for form in forms {
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            match error(&folder, precision, form) {
                Ok(error) if error <= tolerance => {}
                Ok(error) => failures.push(format!("{name} {form:?}: {error:e}")),
                Err(error) => failures.push(format!("{name} {form:?}: {error}")),
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_form_equals_pytorch_in_single_precision() {
    check(Precision::F32, 1e-5);
}

#[test]
fn every_form_equals_pytorch_in_double_precision() {
    check(Precision::F64, 1e-9);
}
