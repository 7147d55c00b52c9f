//! Kernels of real networks through the library, in every form, against PyTorch's autograd.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Failure, folders, open, read, relative};
use gradkin::network::Precision;
use gradkin::{Form, Kind, OutputChoice, Positions, Reduction, Select, Settings, Similarity};

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
    let forms =
        [None, Some(Form::Dense), Some(Form::Factored), Some(Form::Deferred), Some(Form::Rows)];
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

/// Gradients are written out late where their factors are smaller, with few partners, where nothing is written
/// twice, as with many; never where factors are larger.
#[test]
fn small_factors_are_kept_in_place_of_gradients() {
    let folder = folders().into_iter().find(|f| f.ends_with("paper_cnn")).unwrap();
    let (network, _) = open(&folder, Precision::F32).unwrap();
    let output = OutputChoice { select: Select::List(vec![0]), ..OutputChoice::default() };
    let similarity = Similarity::new(&network, Settings { output, ..Settings::default() }).unwrap();
    for partners in [20, 500, 5000] {
        let plan = similarity.plan(partners).unwrap();
        let form = |name: &str| plan.iter().find(|planned| planned.name == name).unwrap().form;
        // 576 positions × 32 and an image of 784 pixels, against 800 weights.
        assert_eq!(form("0.weight"), Form::Dense);
        // 64 positions × 64 and an image of 4,608, against 51,200.
        assert_eq!(form("3.weight"), Form::Deferred);
    }
}

/// The mean over positions of a value inside the network is what the network's own last node takes,
/// and single positions are rows of the whole Jacobian.
#[test]
fn positions_of_an_inner_value() {
    let folder = folders().into_iter().find(|f| f.ends_with("unet")).unwrap();
    let (network, data) = open(&folder, Precision::F64).unwrap();
    let (_, wanted) = read(&folder.join("kernel.npy")).unwrap();
    let run = |positions: Option<Positions>, select: Select| {
        let name = Some("conv2d_4".into());
        let output = OutputChoice { name, positions, select, ..OutputChoice::default() };
        let (kind, reduction) = (Kind::Inner, Reduction::Matrix);
        let settings = Settings { kind, reduction, output, ..Settings::default() };
        let kernel = Similarity::new(&network, settings).unwrap().kernel(&data, None, &|_| true);
        kernel.unwrap().values.to_f64()
    };
    assert!(relative(&run(Some(Positions::Mean), Select::All), &wanted) < 1e-9);
    // Channel 1 at pixel (2, 3) of [2, 16, 16] is element 256 + 35.
    let single = run(Some(Positions::List(vec![vec![2, 3]])), Select::List(vec![1]));
    assert!(relative(&single, &run(None, Select::List(vec![256 + 35]))) < 1e-12);
}
