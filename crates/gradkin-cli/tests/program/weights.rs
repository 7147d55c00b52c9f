//! `--weights`: other values for the model's tensors, and several checkpoints together.

use std::path::Path;

use rten_onnx::onnx::TensorProto;

use crate::support::{Csv, Folder, distance, model, node, parquet, read_f64, weights};

/// Values that differ from those of [`weights`], and between checkpoints.
fn values(count: usize, checkpoint: usize) -> Vec<f32> {
    (0..count).map(|i| 0.3 + ((i + 2 * checkpoint) * 3 % 7) as f32 / 5.0).collect()
}

/// A .safetensors file of single-precision tensors.
fn safetensors(path: &Path, tensors: &[(&str, &[usize], Vec<f32>)]) {
    let mut entries = serde_json::Map::new();
    let mut bytes = Vec::new();
    for (name, shape, values) in tensors {
        let start = bytes.len();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({
            "dtype": "F32", "shape": shape, "data_offsets": [start, bytes.len()],
        });
        entries.insert((*name).to_owned(), entry);
    }
    let head = serde_json::to_string(&entries).unwrap();
    let length = (head.len() as u64).to_le_bytes();
    std::fs::write(path, [&length, head.as_bytes(), &bytes].concat()).unwrap();
}

/// The small network of the other tests with two more layers, its data, and two checkpoints of it.
fn with_checkpoints() -> Folder {
    let folder = Folder::new();
    folder.rows("x.npy", 8);
    let onnx = |name: &str, tensors: Vec<TensorProto>| {
        let nodes = vec![
            node("MatMul", &["x", "first.weight"], &["z"]),
            node("Relu", &["z"], &["a"]),
            node("MatMul", &["a", "second.weight"], &["y"]),
        ];
        folder.onnx(name, &model(nodes, tensors, &[None, Some(4)]));
    };
    let (first, second) = (weights("first.weight", &[4, 3]), weights("second.weight", &[3, 2]));
    onnx("m.onnx", vec![first.clone(), second.clone()]);
    for checkpoint in [1, 2] {
        let (a, b) = (values(12, checkpoint), values(6, checkpoint));
        let tensors: [(&str, &[usize], Vec<f32>); 2] =
            [("first.weight", &[4, 3], a.clone()), ("second.weight", &[3, 2], b.clone())];
        safetensors(&folder.file(&format!("{checkpoint}.safetensors")), &tensors);
        let a = TensorProto { float_data: a, ..first.clone() };
        let b = TensorProto { float_data: b, ..second.clone() };
        onnx(&format!("{checkpoint}.onnx"), vec![a, b]);
    }
    folder
}

fn kernel(folder: &Folder, line: &str) -> Vec<f64> {
    folder.run(&format!("kernel {line} --dtype f64 -o k.npy")).succeeds();
    read_f64(&folder.file("k.npy")).1
}

#[test]
fn one_checkpoint_is_the_network_exported_with_it() {
    let folder = with_checkpoints();
    let own = kernel(&folder, "m.onnx x.npy --kind inner");
    for checkpoint in [1, 2] {
        let file = format!("m.onnx x.npy --kind inner --weights {checkpoint}.safetensors");
        let found = kernel(&folder, &file);
        let expected = kernel(&folder, &format!("{checkpoint}.onnx x.npy --kind inner"));
        assert!(distance(&found, &expected) < 1e-12);
        assert!(distance(&found, &own) > 1e-3);
    }
    let record = std::fs::read_to_string(folder.file("k.npy.json")).unwrap();
    assert!(!record.contains("weights\""), "{record}");
}

#[test]
fn checkpoints_add_up() {
    let folder = with_checkpoints();
    let both = "m.onnx x.npy --weights 1.safetensors --weights 2.safetensors";
    let [first, second] = [1, 2].map(|c| kernel(&folder, &format!("{c}.onnx x.npy --kind inner")));
    let sum: Vec<f64> = first.iter().zip(&second).map(|(a, b)| a + b).collect();
    let found = kernel(&folder, &format!("{both} --kind inner"));
    assert!(distance(&found, &sum) < 1e-12, "{found:?} {sum:?}");
    let record = std::fs::read_to_string(folder.file("k.npy.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["weights"], serde_json::json!(["1.safetensors", "2.safetensors"]));
    // Of correlations, the sums are normalised.
    let correlations = kernel(&folder, &format!("{both} --params first --outputs 0"));
    let products = kernel(&folder, &format!("{both} --params first --outputs 0 --kind inner"));
    let n = 8;
    assert_eq!(products.len(), n * n);
    let kept: Vec<usize> = (0..n).filter(|i| products[i * n + i] > 0.0).collect();
    assert_eq!(correlations.len(), kept.len() * kept.len());
    for (at, found) in correlations.iter().enumerate() {
        let (i, j) = (kept[at / kept.len()], kept[at % kept.len()]);
        let norms = (products[i * n + i] * products[j * n + j]).sqrt();
        assert!((found - products[i * n + j] / norms).abs() < 1e-9);
    }
}

#[test]
fn every_command_takes_checkpoints() {
    let folder = with_checkpoints();
    let both = "m.onnx x.npy --weights 1.safetensors --weights 2.safetensors";
    let sums = kernel(&folder, both);
    let n = (sums.len() as f64).sqrt() as usize;
    let density = Csv::new(&folder.run(&format!("density {both} --dtype f64")).succeeds().stdout);
    let expected: Vec<f64> = sums.chunks(n).map(|row| row.iter().sum()).collect();
    assert!(distance(&density.numbers("soft")[..n], &expected) < 1e-9);
    folder.run(&format!("neighbors {both} -k 1 -o n.parquet")).succeeds();
    assert_eq!(parquet(&folder.file("n.parquet")).1["weights"][1], "2.safetensors");
    folder.run(&format!("duplicates {both} -o d.csv")).succeeds();
    folder.write("labels.txt", "0\n1\n1\n0\n0\n1\n0\n1\n");
    folder.run(&format!("labels {both} --labels labels.txt -o l.parquet")).succeeds();
    assert_eq!(parquet(&folder.file("l.parquet")).1["weights"][0], "1.safetensors");
    let line = "inspect m.onnx --weights 1.safetensors --weights 2.safetensors";
    let report = folder.run(&format!("{line} --format json")).succeeds().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["parameter_count"], 18);
    assert_eq!(report["weights"].as_array().unwrap().len(), 2);
    let table = folder.run(&format!("{line} --format table")).succeeds().stdout;
    assert!(table.contains("weights    2.safetensors"), "{table}");
}

#[test]
fn what_does_not_fit_is_listed() {
    let folder = with_checkpoints();
    let odd: [(&str, &[usize], Vec<f32>); 2] =
        [("first.weight", &[4, 2], values(8, 1)), ("third.weight", &[3, 2], values(6, 1))];
    safetensors(&folder.file("odd.safetensors"), &odd);
    folder.write("text.safetensors", "no weights");
    let before = folder.names();
    for command in ["kernel", "neighbors", "density", "duplicates"] {
        let name = if command == "kernel" { "k.npy" } else { "t.csv" };
        let refused = |weights: &str, words: &[&str]| {
            let line = format!("{command} m.onnx x.npy --weights {weights} -o {name}");
            folder.run(&line).refused(words);
            assert_eq!(folder.names(), before);
        };
        let misfits = ["first.weight", "second.weight", "third.weight", "m.onnx", "hint: "];
        refused("odd.safetensors", &misfits);
        refused("text.safetensors", &["text.safetensors"]);
        refused("absent.safetensors", &["cannot read absent.safetensors"]);
        refused("1.safetensors --weights odd.safetensors", &["odd.safetensors"]);
    }
    folder.run("inspect m.onnx --weights odd.safetensors").refused(&["third.weight"]);
}
