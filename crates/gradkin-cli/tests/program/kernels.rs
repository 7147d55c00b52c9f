//! `gradkin kernel` against kernels that PyTorch computed.

use std::path::Path;

use gradkin_data::ArrayData;

use crate::support::{Folder, distance, read_f64, references};

fn check(name: &str) {
    check_place(&references().join(name));
}

/// Both precisions, against the kernel beside the network.
fn check_place(place: &Path) {
    let folder = Folder::new();
    let (shape, expected) = read_f64(&place.join("kernel.npy"));
    for (dtype, most) in [("f64", 1e-9), ("f32", 1e-5)] {
        let line = format!(
            "kernel {} {} --kind inner --reduce none --dtype {dtype} -o k.npy",
            place.join("model.onnx").display(),
            place.join("input.npy").display()
        );
        folder.run(&line).succeeds();
        let (own_shape, own) = read_f64(&folder.file("k.npy"));
        assert_eq!(own_shape, shape);
        let distance = distance(&own, &expected);
        assert!(distance <= most, "{} {dtype}: {distance:e}", place.display());
        let record = record(&folder.file("k.npy.json"));
        assert_eq!(record["dtype"], dtype);
        assert_eq!(record["parameters_compared"], meta(place)["parameters"]);
    }
}

fn record(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn meta(place: &Path) -> serde_json::Value {
    record(&place.join("meta.json"))
}

#[test]
fn paper_cnn() {
    check("paper_cnn");
}

#[test]
fn resnet_bn() {
    check("resnet_bn");
}

#[test]
fn tied() {
    check("tied");
}

#[test]
fn toy_mlp() {
    check("toy_mlp");
}

#[test]
fn transformer() {
    check("transformer");
}

#[test]
fn unet() {
    check("unet");
}

#[test]
fn networks_of_further_families() {
    let networks = references().join("../networks");
    let places = std::fs::read_dir(networks).unwrap().map(|entry| entry.unwrap().path());
    let mut checked = 0;
    for place in places.filter(|place| place.join("kernel.npy").exists()) {
        check_place(&place);
        checked += 1;
    }
    assert!(checked > 10);
}

#[test]
fn two_sets_and_a_record() {
    let folder = Folder::with_relu();
    folder.rows("y.npy", 4);
    folder.run("kernel m.onnx x.npy --against y.npy --take 3 --kind inner -o k.npy").succeeds();
    let (shape, values) = read_f64(&folder.file("k.npy"));
    assert_eq!((shape, values.len()), (vec![3, 3], 9));
    let record = record(&folder.file("k.npy.json"));
    assert_eq!(record["data"]["examples"], 3);
    assert_eq!(record["other_data"]["source"], "y.npy");
    assert_eq!((&record["kind"], &record["reduce"]), (&"inner".into(), &"trace".into()));
    assert_eq!(record["program"], format!("gradkin {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(folder.names(), ["k.npy", "k.npy.json", "m.onnx", "x.npy", "y.npy"]);
}

#[test]
fn every_choice_of_outputs() {
    let folder = Folder::with_relu();
    folder.npy("labels.npy", &[10], ArrayData::I64(vec![0, 1, 2, 0, 1, 2, 0, 1, 2, 0]));
    for outputs in [
        "all",
        "0,2",
        "0-1",
        "sum",
        "mean",
        "logprob:given",
        "logprob:predicted",
        "loss:cross-entropy",
        "loss:squared",
    ] {
        let line = format!("kernel m.onnx x.npy --labels labels.npy --outputs {outputs} -o k.npy");
        folder.run(&line).succeeds();
        assert_eq!(
            record(&folder.file("k.npy.json"))["outputs"].as_str().unwrap(),
            match outputs {
                "0-1" => "0,1",
                other => other,
            }
        );
    }
    for flags in ["--metric fisher", "--reduce rotation", "--kind influence", "--output-name z"] {
        folder.run(&format!("kernel m.onnx x.npy {flags} -o k.npy")).succeeds();
    }
}

#[test]
fn a_table_with_a_label_column() {
    let folder = Folder::with_relu();
    folder.write("t.csv", "id,a,b,c,d,price\n1,1,2,3,4,5.5\n2,2,1,2,1,1.5\n3,1,1,9,1,2.5\n");
    folder.run("kernel m.onnx t.csv --drop id --label-column price -o k.npy").succeeds();
    let record = record(&folder.file("k.npy.json"));
    assert_eq!(record["preparation"]["label_column"], "price");
    assert_eq!(record["shape"], serde_json::json!([3, 3]));
}

#[test]
fn gradients_kept_in_16_bits_say_how_far_they_are_off() {
    let folder = Folder::new();
    let place = references().join("paper_cnn");
    let (model, data) = (place.join("model.onnx"), place.join("input.npy"));
    let line = |rest: &str| format!("kernel {} {} {rest}", model.display(), data.display());
    folder.run(&line("-o full.npy")).succeeds();
    let (_, full) = read_f64(&folder.file("full.npy"));
    for storage in ["f16", "bf16"] {
        let ran = folder.run(&line(&format!("--storage {storage} -o kept.npy"))).succeeds();
        assert!(ran.stderr.contains("were kept in 16 bits"), "{}", ran.stderr);
        let record = record(&folder.file("kept.npy.json"));
        assert_eq!(record["storage"], storage);
        let told = record["storage_error"].as_f64().unwrap();
        let (_, kept) = read_f64(&folder.file("kept.npy"));
        let gaps = full.iter().zip(&kept).map(|(x, y)| (x - y).abs());
        let largest = full.iter().fold(0f64, |m, x| m.max(x.abs()));
        let error = gaps.fold(0.0, f64::max) / largest;
        assert!(told > 0.0 && (told - error).abs() <= 0.01 * error, "{told:e} {error:e}");
    }
    folder.run(&line("--storage f16 --dtype f64 -o no.npy")).fails(2, &["--dtype f64"]);
    assert!(!folder.file("no.npy").exists());
}
