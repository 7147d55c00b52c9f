//! Bad input: a clear line, exit code 2, and nothing written.

use gradkin_data::ArrayData;
use rten_onnx::onnx::{DataLocation, StringStringEntryProto};

use crate::support::{Folder, Ran, model, node, references, relu_model, weights};

/// All commands refuse, and leave the folder as it was.
fn refused(folder: &Folder, files_and_flags: &str, words: &[&str]) {
    let before = folder.names();
    for command in ["kernel", "neighbors", "density", "duplicates"] {
        let name = if command == "kernel" { "out.npy" } else { "out.parquet" };
        folder.run(&format!("{command} {files_and_flags} -o {name}")).refused(words);
        assert_eq!(folder.names(), before);
    }
}

#[test]
fn a_truncated_model() {
    let folder = Folder::with_relu();
    let bytes = std::fs::read(references().join("paper_cnn/model.onnx")).unwrap();
    folder.write("half.onnx", &bytes[..bytes.len() / 2]);
    refused(&folder, "half.onnx x.npy", &["half.onnx"]);
    folder.run("inspect half.onnx").refused(&["half.onnx"]);
}

#[test]
fn a_model_that_is_something_else() {
    let folder = Folder::with_relu();
    folder.write("text.onnx", "to be or not to be\n".repeat(20));
    folder.write("empty.onnx", "");
    refused(&folder, "text.onnx x.npy", &["text.onnx is not a whole ONNX model"]);
    refused(&folder, "empty.onnx x.npy", &["the file is empty"]);
    refused(&folder, "absent.onnx x.npy", &["cannot read absent.onnx"]);
    refused(&folder, "x.npy x.npy", &["x.npy is not a whole ONNX model"]);
}

#[test]
fn unknown_operators_are_listed_all_at_once() {
    let folder = Folder::with_relu();
    let nodes = vec![
        node("Frobnicate", &["x"], &["a"]),
        node("MatMul", &["a", "w"], &["b"]),
        node("Defenestrate", &["b"], &["y"]),
    ];
    folder.onnx("odd.onnx", &model(nodes, vec![weights("w", &[4, 3])], &[None, Some(4)]));
    refused(&folder, "odd.onnx x.npy", &["Frobnicate", "Defenestrate"]);
    let ran = folder.run("inspect odd.onnx --format json");
    assert_eq!(ran.code, Some(2));
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["unsupported"].as_array().unwrap().len(), 2);
    assert_eq!(report["parameter_count"], 12);
}

#[test]
fn weights_that_are_not_there() {
    let folder = Folder::with_relu();
    let mut model = relu_model();
    let stored = &mut model.graph.as_mut().unwrap().initializer[0];
    stored.float_data.clear();
    stored.data_location = Some(DataLocation::EXTERNAL);
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
    };
    stored.external_data = vec![entry("location", "weights.bin"), entry("length", "48")];
    folder.onnx("apart.onnx", &model);
    refused(&folder, "apart.onnx x.npy", &["weights.bin", "`w`"]);
    folder.write("weights.bin", [0; 47]);
    refused(&folder, "apart.onnx x.npy", &["weights.bin"]);
}

#[test]
fn data_of_another_shape() {
    let folder = Folder::with_relu();
    folder.npy("wide.npy", &[2, 5], ArrayData::F32(vec![0.5; 10]));
    refused(&folder, "m.onnx wide.npy", &["wide.npy", "[5]", "[4]", "hint: "]);
    refused(&folder, "m.onnx x.npy --input-shape x=5", &["[4]", "[5]"]);
    refused(&folder, "m.onnx x.npy --input-shape image=4", &["`image`", "hint: its inputs are x"]);
}

#[test]
fn data_with_holes() {
    let folder = Folder::with_relu();
    let mut values = vec![0.5; 12];
    values[6] = f32::NAN;
    folder.npy("nan.npy", &[3, 4], ArrayData::F32(values));
    refused(&folder, "m.onnx nan.npy", &["nan.npy", "example 1", "NaN"]);
    folder.npy("none.npy", &[0, 4], ArrayData::F32(vec![]));
    refused(&folder, "m.onnx none.npy", &["none.npy holds no examples"]);
    refused(&folder, "m.onnx absent.npy", &["cannot open absent.npy"]);
    refused(&folder, "m.onnx x.npy --take 0", &["--take 0"]);
    folder.write("gap.csv", "a,b,c,d\n1,2,3,4\n1,,3,4\n");
    refused(&folder, "m.onnx gap.csv", &["row 2", "\"b\"", "hint: "]);
}

#[test]
fn labels_that_do_not_fit() {
    let folder = Folder::with_relu();
    folder.npy("few.npy", &[9], ArrayData::I64(vec![0; 9]));
    refused(&folder, "m.onnx x.npy --labels few.npy", &["few.npy", "9 labels", "10 examples"]);
    folder.npy("high.npy", &[10], ArrayData::I64(vec![7; 10]));
    let flags = "m.onnx x.npy --labels high.npy --outputs logprob:given";
    refused(&folder, flags, &["label 7", "3 outputs"]);
    folder.npy("below.npy", &[10], ArrayData::I64(vec![-1; 10]));
    let flags = "m.onnx x.npy --labels below.npy --outputs loss:cross-entropy";
    refused(&folder, flags, &["label -1"]);
    refused(&folder, "m.onnx x.npy --outputs loss:squared", &["needs labels", "--labels"]);
    refused(&folder, "m.onnx x.npy --labels absent.npy", &["absent.npy"]);
}

#[test]
fn choices_that_make_no_sense() {
    let folder = Folder::with_relu();
    refused(&folder, "m.onnx x.npy --params (", &["--params", "regular expression"]);
    refused(&folder, "m.onnx x.npy --params bias", &["matches no parameter", "hint: ", "w"]);
    refused(&folder, "m.onnx x.npy --outputs 3", &["no output 3"]);
    refused(&folder, "m.onnx x.npy --output-name q", &["no value named `q`"]);
    refused(&folder, "m.onnx x.npy --positions mean", &["no positions"]);
    refused(&folder, "m.onnx x.npy --resize 8x8", &["--resize"]);
    refused(&folder, "m.onnx x.npy --std 0", &["--std"]);
    refused(&folder, "m.onnx x.npy --drop a", &["--drop"]);
    refused(&folder, "m.onnx x.npy --memory 1", &["memory", "hint: "]);
    // Neither is in a program that is built for tests.
    refused(&folder, "m.onnx x.npy --device cuda", &["built without cuda", "--features cuda"]);
    refused(&folder, "m.onnx x.npy --device metal", &["built without metal"]);
    folder.run("neighbors m.onnx x.npy --reduce none").refused(&["--reduce"]);
    folder.run("neighbors m.onnx x.npy -k 0").refused(&["-k 0"]);
    folder.run("neighbors m.onnx x.npy --show x.png").refused(&["no images"]);
}

#[test]
fn results_that_could_not_be_written_are_refused_before_the_work() {
    let folder = Folder::with_relu();
    let before = folder.names();
    // The model does not exist either: the output is looked at first.
    let absent = "absent.onnx absent.npy";
    let refused = |line: &str, words: &[&str]| -> Ran { folder.run(line).refused(words) };
    refused(&format!("kernel {absent} -o no/k.npy"), &["no/k.npy", "the folder no does not exist"]);
    refused(&format!("kernel {absent} -o k.csv"), &["ends in .npy"]);
    refused(&format!("neighbors {absent} -o no/n.csv"), &["does not exist"]);
    refused(&format!("neighbors {absent} -o n.txt"), &[".parquet"]);
    refused(&format!("neighbors {absent} --show no/n.png"), &["does not exist"]);
    refused(&format!("density {absent} -o no/d.csv"), &["does not exist"]);
    refused(&format!("density {absent} --show d.gif"), &[".png"]);
    refused(&format!("duplicates {absent} -o d.txt"), &[".parquet"]);
    refused(&format!("neighbors {absent} --show n.gif"), &[".png"]);
    refused("demo -o m.onnx", &["m.onnx"]);
    assert_eq!(folder.names(), before);
    let ran = folder.run("kernel m.onnx x.npy");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("--output"), "{ran:?}");
}
