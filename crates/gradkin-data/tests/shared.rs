//! Reads real data sets that are not part of the repository: from the folder that
//! `GRADKIN_SHARED` names, or `shared` beside the repository.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use gradkin_data::{
    Dataset, Labels, Missing, OpenOptions, Preprocessing, TableOptions, TargetInput,
};

/// The file, or a loud remark that the test was left out.
fn shared(test: &str, file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GRADKIN_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let path = root.join("data").join(file);
    if !path.exists() {
        eprintln!("LEFT OUT: {test} needs ../shared/data/{file}");
        return None;
    }
    Some(path)
}

fn open(path: &Path) -> Dataset {
    Dataset::open(path, &OpenOptions::default()).unwrap()
}

#[test]
fn mnist() {
    let Some(images) = shared("mnist", "mnist/t10k-images-idx3-ubyte.gz") else { return };
    let Some(labels) = shared("mnist", "mnist/t10k-labels-idx1-ubyte.gz") else { return };
    let labels = Labels::open(labels, None).unwrap();
    let data = open(&images).with_labels(labels, "labels").unwrap();
    assert_eq!((data.len(), data.inputs()[0].dtype), (10_000, "u8"));
    let Some(Labels::Classes { ids, .. }) = data.labels() else { panic!("classes") };
    assert_eq!(ids[..5], [7, 2, 1, 0, 4]);
    let settings = Preprocessing {
        scale: Some(1.0 / 255.0),
        mean: vec![0.1307],
        std: vec![0.3081],
        ..Preprocessing::default()
    };
    let input = TargetInput {
        name: "image".into(),
        shape: vec![Some(1), Some(28), Some(28)],
        integer: false,
    };
    let ready = data.prepare(&settings, &[input]).unwrap();
    let all = ready.batch_f32(0, 0..10_000).unwrap();
    let mean = all.iter().map(|&x| f64::from(x)).sum::<f64>() / all.len() as f64;
    assert!(mean.abs() < 0.02, "{mean}");
    assert!(data.picture(0).is_some_and(|p| p.width == 28));
}

#[test]
fn cifar() {
    let Some(path) = shared("cifar", "cifar10/train_0_999.bin.gz") else { return };
    let data = open(&path);
    assert_eq!(data.len(), 1000);
    let Some(Labels::Classes { ids, .. }) = data.labels() else { panic!("classes") };
    // The first training pictures are a frog, a truck, a truck, a deer and a car.
    assert_eq!(ids[..5], [6, 9, 9, 4, 1]);
    assert_eq!(data.labels().and_then(Labels::class_count), Some(10));
}

#[test]
fn housing() {
    let Some(path) = shared("housing", "california_housing/housing.csv") else { return };
    let read = |missing| {
        let label = Some("median_house_value".into());
        let table = TableOptions { label, missing, ..TableOptions::default() };
        Dataset::open(&path, &OpenOptions { table })
    };
    let error = read(Missing::Error).unwrap_err().to_string();
    assert!(error.contains("row 291 has no value in column \"total_bedrooms\""), "{error}");
    let data = read(Missing::Drop).unwrap();
    assert_eq!(data.len(), 20_640 - 207);
    assert_eq!((data.id(289), data.id(290)), (289, 291));
    assert_eq!(data.feature_names().len(), 8);
    assert!(matches!(data.labels(), Some(Labels::Targets { width: 1, .. })));
    assert_eq!(read(Missing::Mean).unwrap().len(), 20_640);
}
