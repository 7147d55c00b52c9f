//! `gradkin labels`.

use gradkin_data::ArrayData;

use crate::support::{Csv, Folder, distance, parquet, read_f64, references, shared};

const DIGITS: &str =
    "gradkin-demo/digits.onnx gradkin-demo/digits-images.idx.gz --scale 1/16 --labels";

/// The demo's files, its labels with some of them changed, and which were.
fn with_changed_digits() -> (Folder, Vec<i64>, Vec<usize>) {
    let folder = Folder::new();
    folder.run("demo -q").succeeds();
    let labels = gradkin_data::Labels::open(folder.file("gradkin-demo/digits-labels.idx.gz"), None);
    let gradkin_data::Labels::Classes { mut ids, .. } = labels.unwrap() else { panic!("classes") };
    let changed: Vec<usize> = (0..25).map(|i| (37 * i + 5) % 500).collect();
    changed.iter().for_each(|i| ids[*i] = (ids[*i] + 1 + (*i as i64) % 8) % 10);
    folder.npy("labels.npy", &[500], ArrayData::I64(ids.clone()));
    (folder, ids, changed)
}

/// How often a changed label has a lower score than one that is not.
fn area(scores: &[f64], changed: &[usize]) -> f64 {
    let others: Vec<usize> = (0..scores.len()).filter(|i| !changed.contains(i)).collect();
    let pairs = changed.iter().flat_map(|i| others.iter().map(move |j| (scores[*i], scores[*j])));
    let won: f64 = pairs
        .map(|(low, high)| f64::from(u8::from(low < high)) + 0.5 * f64::from(u8::from(low == high)))
        .sum();
    won / (changed.len() * others.len()) as f64
}

#[test]
fn changed_labels_are_found() {
    let (folder, ids, changed) = with_changed_digits();
    let ran = folder.run(&format!("labels {DIGITS} labels.npy")).succeeds();
    let table = Csv::new(&ran.stdout);
    let given: Vec<f64> = ids.iter().map(|id| *id as f64).collect();
    assert_eq!(table.numbers("given_label"), given);
    let area = area(&table.numbers("label_score"), &changed);
    assert!(area > 0.98, "{area}");
    let (suggested, issue) = (table.numbers("suggested_label"), table.column("is_label_issue"));
    let found = changed.iter().filter(|i| issue[**i] == "true").count();
    assert!(found >= 22, "{found}");
    assert!(issue.iter().filter(|issue| **issue == "true").count() < 40);
    for i in 0..500 {
        assert_eq!(issue[i] == "true", suggested[i] != given[i], "{i}");
    }
    assert!(table.numbers("label_score").iter().all(|score| (0.0..=1.0).contains(score)));
    assert!(ran.stderr.contains("expected share of wrong labels: "), "{ran:?}");
    let table = folder.run(&format!("labels {DIGITS} labels.npy --format table")).succeeds().stdout;
    assert!(table.contains("most doubtful") && table.contains("noise reduction"), "{table}");
}

#[test]
fn nearest_on_request_and_a_sheet() {
    let (folder, ids, _) = with_changed_digits();
    let line = format!("labels {DIGITS} labels.npy --nearest 2 --show errors.png -o l.json");
    let ran = folder.run(&line).succeeds();
    assert!(ran.stderr.contains("drew errors.png"), "{ran:?}");
    assert!(std::fs::read(folder.file("errors.png")).unwrap().starts_with(b"\x89PNG"));
    let rows = std::fs::read_to_string(folder.file("l.json")).unwrap();
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    for (i, row) in rows.as_array().unwrap().iter().enumerate() {
        for (name, same) in [("nearest_agreeing", true), ("nearest_disagreeing", false)] {
            let entries: Vec<&str> = row[name].as_str().unwrap().split(',').collect();
            assert_eq!(entries.len(), 2);
            for entry in entries {
                let (example, similarity) = entry.split_once(':').unwrap();
                let example: usize = example.parse().unwrap();
                assert!(example != i && (ids[example] == ids[i]) == same);
                assert!(similarity.parse::<f64>().unwrap() <= 1.001);
            }
        }
    }
}

#[test]
fn files_and_settings() {
    let (folder, ..) = with_changed_digits();
    for name in ["l.csv", "l.json", "l.jsonl", "l.parquet"] {
        let ran = folder.run(&format!("labels {DIGITS} labels.npy -o {name}")).succeeds();
        assert!(ran.stdout.is_empty() && ran.stderr.contains(&format!("wrote {name}")), "{ran:?}");
    }
    let (names, settings) = parquet(&folder.file("l.parquet"));
    let expected = [
        "example",
        "given_label",
        "predicted_label",
        "suggested_label",
        "label_score",
        "is_label_issue",
        "averaged_label",
        "averaged_label_without_self",
        "denoising_factor",
        "consistency",
        "spread",
    ];
    let known = names.iter().filter(|name| expected.contains(&name.as_str()));
    assert!(known.eq(&expected), "{names:?}");
    assert_eq!(settings["command"], "labels");
    assert_eq!(settings["data"]["labels"], "labels.npy");
}

#[test]
fn examples_without_a_similarity_have_no_score() {
    let folder = Folder::with_relu();
    folder.npy("l.npy", &[10], ArrayData::I64(vec![0, 1, 2, 0, 1, 2, 0, 1, 2, 0]));
    let ran = folder.run("labels m.onnx x.npy --labels l.npy").succeeds();
    assert!(ran.stderr.contains("warning: similarity is undefined for 1 of 10"), "{ran:?}");
    let table = Csv::new(&ran.stdout);
    for name in ["suggested_label", "label_score", "is_label_issue", "denoising_factor"] {
        let column = table.column(name);
        assert!(column[9].is_empty() && !column[8].is_empty(), "{name}: {column:?}");
    }
    assert!(!ran.stdout.contains("NaN") && !ran.stdout.contains("inf"), "{ran:?}");
    folder.npy("dead.npy", &[2, 4], ArrayData::F32(vec![-1.0; 8]));
    folder.write("two.txt", "0\n1\n");
    let line = "labels m.onnx dead.npy --labels two.txt";
    folder.run(line).fails(1, &["no example of dead.npy has a similarity"]);
}

#[test]
fn logits_are_found_behind_a_softmax() {
    use crate::support::{model, node, relu_model};
    let folder = Folder::with_relu();
    folder.npy("l.npy", &[10], ArrayData::I64(vec![0, 1, 2, 0, 1, 2, 0, 1, 2, 0]));
    let plain = folder.run("labels m.onnx x.npy --labels l.npy").succeeds().stdout;
    let stored = relu_model().graph.unwrap().initializer;
    for last in ["Softmax", "LogSoftmax"] {
        let nodes = vec![
            node("MatMul", &["x", "w"], &["z"]),
            node("Relu", &["z"], &["logits"]),
            node(last, &["logits"], &["y"]),
        ];
        folder.onnx("s.onnx", &model(nodes, stored.clone(), &[None, Some(4)]));
        let ran = folder.run("labels s.onnx x.npy --labels l.npy").succeeds();
        assert_eq!(ran.stdout, plain);
        folder.run("labels s.onnx x.npy --labels l.npy -o l.parquet").succeeds();
        assert_eq!(parquet(&folder.file("l.parquet")).1["output_name"], "logits");
        let named = folder.run("labels s.onnx x.npy --labels l.npy --output-name logits");
        assert_eq!(named.succeeds().stdout, plain);
    }
    let nodes = vec![
        node("MatMul", &["x", "w"], &["z"]),
        node("Softmax", &["z"], &["p"]),
        node("Add", &["p", "zero"], &["y"]),
    ];
    let mut zero = stored[0].clone();
    (zero.name, zero.dims, zero.float_data) = (Some("zero".into()), vec![3], vec![0.0; 3]);
    let stored = vec![stored[0].clone(), zero];
    folder.onnx("p.onnx", &model(nodes, stored, &[None, Some(4)]));
    let ran = folder.run("labels p.onnx x.npy --labels l.npy").succeeds();
    assert!(ran.stderr.contains("warning: the outputs look like probabilities"), "{ran:?}");
}

#[test]
fn targets_of_one_number_and_of_several() {
    let folder = Folder::new();
    let place = references().join("toy_mlp");
    let (shape, _) = read_f64(&place.join("input.npy"));
    let n = shape[0];
    let targets = |width: usize| -> Vec<f64> { (0..n * width).map(|i| (i as f64).sin()).collect() };
    folder.npy("t.npy", &[n], ArrayData::F64(targets(1)));
    let files =
        format!("{} {}", place.join("model.onnx").display(), place.join("input.npy").display());
    let ran = folder.run(&format!("labels {files} --labels t.npy")).succeeds();
    let table = Csv::new(&ran.stdout);
    assert_eq!(table.numbers("given_label"), targets(1));
    assert!(table.names.contains(&"averaged_label_without_self".to_owned()));
    folder.npy("wide.npy", &[n, 2], ArrayData::F64(targets(2)));
    folder.run(&format!("labels {files} --labels wide.npy")).refused(&["2 target", "1 output"]);
    let line = format!("labels {files} --labels t.npy --nearest 2");
    folder.run(&line).refused(&["--nearest 2", "gradkin neighbors"]);
    let folder = Folder::with_relu();
    let values = (0..30).map(|i| (i as f64).cos()).collect();
    folder.npy("t.npy", &[10, 3], ArrayData::F64(values));
    let table = Csv::new(&folder.run("labels m.onnx x.npy --labels t.npy").succeeds().stdout);
    for name in ["given_label_0", "predicted_label_2", "suggested_label_1", "averaged_label_0"] {
        assert_eq!(table.column(name).len(), 10);
    }
}

#[test]
fn changed_targets_are_found() {
    let Some(model) = shared("labels of a regression", "models/misc/sine_mlp.onnx") else { return };
    let folder = Folder::new();
    let changed: Vec<usize> = (0..20).map(|i| 17 * i + 3).collect();
    let mut table = String::from("x,y\n");
    for i in 0..400 {
        let x = std::f64::consts::TAU * f64::from(i * 149 % 400) / 400.0;
        let noise = 0.05 * f64::from(i * 211 % 400 - 200) / 200.0;
        let error = if changed.contains(&(i as usize)) { 0.5 } else { 0.0 };
        table += &format!("{x},{}\n", x.sin() + noise + error);
    }
    folder.write("t.csv", table);
    let line = format!("labels {} t.csv --label-column y", model.display());
    let ran = folder.run(&line).succeeds();
    let found = Csv::new(&ran.stdout);
    let area = area(&found.numbers("label_score"), &changed);
    assert!(area > 0.99, "{area}");
    let (issue, given) = (found.column("is_label_issue"), found.numbers("given_label"));
    let suggested = found.numbers("suggested_label");
    for i in changed {
        assert_eq!(issue[i], "true", "{i}");
        assert!((suggested[i] - (given[i] - 0.5)).abs() < 0.25, "{i}: {}", suggested[i]);
    }
    assert!(ran.stderr.contains("doubted"), "{ran:?}");
}

#[test]
fn labels_that_cannot_be_checked() {
    let folder = Folder::with_relu();
    let label = |name: &str, ids: Vec<i64>| folder.npy(name, &[ids.len()], ArrayData::I64(ids));
    label("high.npy", vec![0, 1, 2, 3, 0, 1, 2, 0, 1, 2]);
    label("below.npy", vec![0, 1, 2, 1, -4, 1, 2, 0, 1, 2]);
    label("few.npy", vec![0; 9]);
    label("one.npy", vec![1; 10]);
    label("good.npy", vec![0, 1, 2, 1, 0, 1, 2, 0, 1, 2]);
    let mut targets = vec![0.5; 30];
    targets[13] = f64::NAN;
    folder.npy("nan.npy", &[10, 3], ArrayData::F64(targets));
    folder.npy("wide.npy", &[10, 2], ArrayData::F64(vec![0.5; 20]));
    folder.npy("same.npy", &[10, 3], ArrayData::F64(vec![0.5; 30]));
    folder.npy("half.npy", &[10], ArrayData::F64(vec![0.5; 10]));
    folder.write("names.txt", "cat\ndog\n".repeat(5));
    let before = folder.names();
    let refused = |flags: &str, words: &[&str]| {
        folder.run(&format!("labels m.onnx x.npy {flags} -o l.csv")).refused(words);
        assert_eq!(folder.names(), before);
    };
    refused("", &["x.npy has no labels", "hint: give them with --labels"]);
    refused("--labels high.npy", &["example 3", "label 3", "3 outputs", "0 to 2"]);
    refused("--labels below.npy", &["example 4", "label -4", "0 to 2"]);
    refused("--labels few.npy", &["few.npy", "9 labels", "10 examples"]);
    refused("--labels one.npy", &["one class, 1"]);
    refused("--labels nan.npy", &["nan.npy", "example 4", "NaN"]);
    refused("--labels wide.npy", &["2 target numbers", "3 outputs"]);
    refused("--labels same.npy", &["the same"]);
    refused("--labels half.npy", &["one target number", "0.5", "3 outputs", "0 to 2"]);
    refused("--labels names.txt", &["2 classes", "3 outputs", "hint: number the classes"]);
    refused("--labels absent.npy", &["absent.npy"]);
    refused("--labels good.npy --kind inner", &["--kind correlation"]);
    refused("--labels good.npy --reduce none", &["--reduce trace"]);
    refused("--labels good.npy --outputs sum", &["leave --outputs out"]);
    refused("--labels good.npy --show l.png", &["no images"]);
    folder.run("labels absent.onnx x.npy -o no/l.csv").refused(&["no/l.csv"]);
    folder.run("labels absent.onnx x.npy --show l.gif").refused(&[".png"]);
}

type Rows = Vec<Vec<f64>>;

/// What the small network puts out for each row of `x.npy`.
fn outputs(folder: &Folder) -> Rows {
    let weight = |at: usize| f64::from(0.1_f32 + (at * 5 % 7) as f32);
    let output =
        |x: &[f64], c: usize| (0..4).map(|i| x[i] * weight(3 * i + c)).sum::<f64>().max(0.0);
    let (_, values) = read_f64(&folder.file("x.npy"));
    values.chunks(4).map(|x| (0..3).map(|c| output(x, c)).collect()).collect()
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let top = z.iter().copied().fold(f64::MIN, f64::max);
    let exp: Vec<f64> = z.iter().map(|z| (z - top).exp()).collect();
    exp.iter().map(|e| e / exp.iter().sum::<f64>()).collect()
}

/// Denoising factors, consistency and spread of these labels and predictions under a kernel.
fn brute(kernel: &[f64], labels: &[Vec<f64>], predictions: &[Vec<f64>]) -> [Vec<f64>; 3] {
    let n = (kernel.len() as f64).sqrt() as usize;
    let width = labels[0].len();
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    for row in kernel.chunks(n) {
        let total: f64 = row.iter().sum();
        let average = |of: &dyn Fn(usize) -> f64| {
            row.iter().enumerate().map(|(i, k)| k * of(i)).sum::<f64>() / total
        };
        found[0].push(row.iter().map(|k| k * k).sum::<f64>().sqrt() / total.abs());
        let own = found[1].len();
        let shift = (0..width).map(|c| predictions[own][c] - average(&|i| predictions[i][c]));
        found[1].push(shift.map(|s| s * s).sum::<f64>().sqrt());
        let means: f64 = (0..width).map(|c| average(&|i| labels[i][c]).powi(2)).sum();
        let squares = average(&|i| labels[i].iter().map(|y| y * y).sum());
        found[2].push((squares - means).max(0.0).sqrt());
    }
    found
}

/// ‖p − E_k[p]‖ with the inner kernel's matrices, which are diagonal: each of this network's outputs has
/// weights of its own.
fn shift_by_matrices(matrices: &[f64], predictions: &[Vec<f64>]) -> Vec<f64> {
    // The dead example has a matrix of zeros here.
    let rows = matrices.chunks(10 * 9).zip(predictions).take(9);
    let shift = |(row, own): (&[f64], &Vec<f64>)| {
        let term = |c: usize| {
            let weight = |i: usize| row[i * 9 + 4 * c];
            let total: f64 = (0..10).map(weight).sum();
            let sum: f64 = (0..10).map(|i| weight(i) * predictions[i][c]).sum();
            own[c] - if total > 0.0 { sum / total } else { 0.0 }
        };
        (0..3).map(|c| term(c).powi(2)).sum::<f64>().sqrt()
    };
    rows.map(shift).collect()
}

#[test]
fn averages_are_the_kernels() {
    let folder = Folder::with_relu();
    let ids = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0];
    folder.npy("l.npy", &[10], ArrayData::I64(ids.to_vec()));
    let targets: Vec<f64> = (0..30).map(|i| f64::from(i).cos()).collect();
    folder.npy("t.npy", &[10, 3], ArrayData::F64(targets.clone()));
    folder.run("kernel m.onnx x.npy --dtype f64 -o k.npy").succeeds();
    let (shape, kernel) = read_f64(&folder.file("k.npy"));
    assert_eq!(shape, [9, 9]);
    folder.run("kernel m.onnx x.npy --kind inner --reduce none --dtype f64 -o m.npy").succeeds();
    let (_, matrices) = read_f64(&folder.file("m.npy"));
    let outputs = outputs(&folder);
    let one_hot = |id: &i64| (0..3).map(|c| f64::from(u8::from(c == *id))).collect();
    let cases: [(&str, Rows, Rows); 2] = [
        ("l.npy", ids.iter().map(one_hot).collect(), outputs.iter().map(|z| softmax(z)).collect()),
        ("t.npy", targets.chunks(3).map(<[f64]>::to_vec).collect(), outputs),
    ];
    for (file, labels, predictions) in cases {
        let line = format!("labels m.onnx x.npy --labels {file} --dtype f64");
        let table = Csv::new(&folder.run(&line).succeeds().stdout);
        let mut expected = brute(&kernel, &labels, &predictions);
        if file == "l.npy" {
            expected[1] = shift_by_matrices(&matrices, &predictions);
        }
        for (name, expected) in
            ["denoising_factor", "consistency", "spread"].into_iter().zip(expected)
        {
            let distance = distance(&table.numbers(name)[..9], &expected);
            assert!(distance < 1e-9, "{file} {name}: {distance:e}");
        }
    }
}
