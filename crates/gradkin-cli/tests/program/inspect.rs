//! `gradkin inspect`.

use crate::support::{Folder, model, node, references, weights};

#[test]
fn parameters_forms_and_cost() {
    let folder = Folder::new();
    let model = references().join("paper_cnn/model.onnx");
    let run = |flags: &str| folder.run(&format!("inspect {} {flags}", model.display())).succeeds();
    let report: serde_json::Value = serde_json::from_str(&run("--format json").stdout).unwrap();
    assert_eq!(report["parameter_count"], 317_069);
    assert_eq!(report["inputs"][0]["example_shape"], serde_json::json!([1, 28, 28]));
    assert_eq!(report["cost"]["examples"], 1000);
    let parameters = report["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|p| p["form"] == "factored"), "{report:#}");
    let table = run("--format table -n 50").stdout;
    for word in ["317,069", "batch axis 0 (`n`)", "made by Gemm", "comparing 50 examples", "dense"]
    {
        assert!(table.contains(word), "no {word:?} in {table}");
    }
    let csv = run("").stdout;
    assert!(csv.starts_with("name,shape,count,layer,uses,form,work_per_pair"), "{csv}");
    let fewer = run("--params bias --outputs sum --format table").stdout;
    assert!(fewer.contains("not compared") && fewer.contains("outputs compared    1"), "{fewer}");
}

#[test]
fn shared_parameters_and_what_does_not_count() {
    let folder = Folder::new();
    let run = |name: &str| {
        let model = references().join(name).join("model.onnx");
        folder.run(&format!("inspect {} --format table", model.display())).succeeds().stdout
    };
    let tied = run("tied");
    assert!(tied.contains("shared parameters"), "{tied}");
    let resnet = run("resnet_bn");
    assert!(resnet.contains("running_mean"), "{resnet}");
    assert!(!resnet.contains("looks fused"), "{resnet}");
}

#[test]
fn a_fused_normalisation_is_suspected() {
    let folder = Folder::new();
    let convolution = node("Conv", &["x", "onnx::Conv_3", "onnx::Conv_4"], &["y"]);
    let stored = vec![weights("onnx::Conv_3", &[2, 1, 3, 3]), weights("onnx::Conv_4", &[2])];
    let mut fused = model(vec![convolution], stored, &[None, Some(1), Some(5), Some(5)]);
    fused.producer_name = Some("pytorch".into());
    folder.onnx("fused.onnx", &fused);
    let table = folder.run("inspect fused.onnx --format table --positions mean").succeeds().stdout;
    assert!(table.contains("looks fused"), "{table}");
}

#[test]
fn open_axes_are_asked_for() {
    let folder = Folder::new();
    let convolution = node("Conv", &["x", "w"], &["y"]);
    let stored = vec![weights("w", &[2, 1, 3, 3])];
    folder.onnx("open.onnx", &model(vec![convolution], stored, &[None, Some(1), None, None]));
    let table = folder.run("inspect open.onnx --format table").succeeds().stdout;
    assert!(table.contains("[1, ?, ?]") && table.contains("18"), "{table}");
    assert!(table.contains("give one with --input-shape x=1x?x?"), "{table}");
    let line = "inspect open.onnx --input-shape x=1x6x6 --format table";
    assert!(folder.run(line).succeeds().stdout.contains("[2, 4, 4]"));
    // Data settles the shape without the flag.
    folder.npy("x.npy", &[3, 6, 6], gradkin_data::ArrayData::F32(vec![0.5; 108]));
    folder.run("kernel open.onnx x.npy --positions mean -o k.npy").succeeds();
}

#[test]
fn an_output_too_large_to_compare_whole_is_no_failure() {
    let folder = Folder::new();
    let stored = vec![weights("w", &[2, 1, 3, 3])];
    let convolution = node("Conv", &["x", "w"], &["y"]);
    folder.onnx("m.onnx", &model(vec![convolution], stored, &[None, Some(1), Some(99), Some(99)]));
    let table = folder.run("inspect m.onnx --format table").succeeds().stdout;
    assert!(table.contains("no cost is given") && table.contains("--positions mean"), "{table}");
    let ran = folder.run("inspect m.onnx --outputs 0-5000 --format table");
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let table = folder.run("inspect m.onnx --positions mean --format table").succeeds().stdout;
    assert!(table.contains("outputs compared    2"), "{table}");
}
