//! `gradkin neighbors`.

use std::fs::File;

use gradkin_data::ArrayData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::support::{Folder, Ran, shared};

fn rows(csv: &str) -> Vec<Vec<String>> {
    csv.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn piped_output_is_csv() {
    let folder = Folder::with_relu();
    let ran = folder.run("neighbors m.onnx x.npy -k 3").succeeds();
    let rows = rows(&ran.stdout);
    assert_eq!(rows[0], ["query", "rank", "neighbor", "similarity"]);
    // The last example is dead.
    assert_eq!(rows.len(), 1 + 9 * 3);
    for (at, row) in rows[1..].iter().enumerate() {
        assert_eq!(row[0], (at / 3).to_string());
        assert_eq!(row[1], (at % 3 + 1).to_string());
        assert!(row[2] != row[0] && row[2] != "9", "{row:?}");
        assert!((-1.0001..=1.0001).contains(&row[3].parse::<f64>().unwrap()), "{row:?}");
    }
    let json = folder.run("neighbors m.onnx x.npy -k 3 --format json").succeeds().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 27);
}

#[test]
fn labels_come_along_and_are_summed_up() {
    let folder = Folder::with_relu();
    folder.write("labels.txt", "cat\ndog\n".repeat(5));
    let line = "neighbors m.onnx x.npy -k 2 --labels labels.txt";
    let ran = folder.run(line).succeeds();
    let rows = rows(&ran.stdout);
    assert_eq!(rows[0][4..], ["query_label", "neighbor_label"]);
    assert!(rows[1..].iter().all(|row| ["cat", "dog"].contains(&row[5].as_str())));
    assert_eq!(rows[1][4], "cat");
    assert!(ran.stderr.contains("nearest neighbours with the query's own label: "), "{ran:?}");
    let table = folder.run(&format!("{line} --format table")).succeeds().stdout;
    assert!(table.contains("query") && table.contains("(cat)"), "{table}");
    assert!(table.contains("of 9)"), "{table}");
}

#[test]
fn files_hold_the_same_and_parquet_the_settings() {
    let folder = Folder::with_relu();
    for name in ["n.csv", "n.json", "n.jsonl", "n.parquet"] {
        let ran = folder.run(&format!("neighbors m.onnx x.npy -k 2 -o {name}")).succeeds();
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains(&format!("wrote {name} (18 rows)")), "{ran:?}");
    }
    let csv = std::fs::read_to_string(folder.file("n.csv")).unwrap();
    assert_eq!(csv, folder.run("neighbors m.onnx x.npy -k 2").stdout);
    let reader = SerializedFileReader::new(File::open(folder.file("n.parquet")).unwrap()).unwrap();
    let metadata = reader.metadata().file_metadata();
    assert_eq!(metadata.num_rows(), 18);
    let names: Vec<&str> = metadata.schema_descr().columns().iter().map(|c| c.name()).collect();
    assert_eq!(names, ["query", "rank", "neighbor", "similarity"]);
    let settings = metadata.key_value_metadata().unwrap();
    let settings = settings.iter().find(|entry| entry.key == "gradkin").unwrap();
    let settings: serde_json::Value =
        serde_json::from_str(settings.value.as_ref().unwrap()).unwrap();
    assert_eq!((&settings["k"], &settings["model"]), (&2.into(), &"m.onnx".into()));
    assert_eq!(settings["undefined_queries"]["zero_gradient"], serde_json::json!([9]));
}

#[test]
fn queries_of_another_set() {
    let folder = Folder::with_relu();
    folder.rows("q.npy", 3);
    let ran = folder.run("neighbors m.onnx x.npy --queries q.npy -k 1").succeeds();
    let rows = rows(&ran.stdout);
    // Both sets begin alike, and a query is not left out of another set.
    assert_eq!((rows[1][0].as_str(), rows[1][2].as_str()), ("0", "0"));
    assert_eq!(rows.len(), 3);
}

#[test]
fn dropped_rows_do_not_shift_the_others() {
    let folder = Folder::with_relu();
    folder.write("t.csv", "a,b,c,d\n1,2,3,4\n1,,3,4\n2,1,2,1\n1,1,9,1\n");
    let ran = folder.run("neighbors m.onnx t.csv --missing drop -k 1").succeeds();
    let queries: Vec<String> = rows(&ran.stdout)[1..].iter().map(|row| row[0].clone()).collect();
    assert_eq!(queries, ["0", "2", "3"]);
}

#[test]
fn a_contact_sheet_of_chosen_queries() {
    let folder = Folder::new();
    folder.run("demo -q").succeeds();
    let data = "gradkin-demo/digits.onnx gradkin-demo/digits-images.idx.gz --scale 1/16 --take 60";
    let line = format!("neighbors {data} -k 3 --show-queries 0,5 --show sheet.png");
    folder.run(&line).succeeds();
    assert!(std::fs::read(folder.file("sheet.png")).unwrap().starts_with(b"\x89PNG"));
    let line = format!("neighbors {data} --show-queries 60 --show other.png");
    folder.run(&line).refused(&["no example 60", "0 to 59"]);
    assert!(!folder.file("other.png").exists());
}

#[test]
fn several_inputs_by_name() {
    use crate::support::{model, node, weights};
    let folder = Folder::new();
    let nodes = vec![
        node("MatMul", &["x", "w"], &["a"]),
        node("MatMul", &["z", "v"], &["b"]),
        node("Add", &["a", "b"], &["y"]),
    ];
    let stored = vec![weights("w", &[4, 3]), weights("v", &[2, 3])];
    let mut two = model(nodes, stored, &[None, Some(4)]);
    let graph = two.graph.as_mut().unwrap();
    let mut second = model(vec![], vec![], &[None, Some(2)]).graph.unwrap().input.remove(0);
    second.name = Some("z".into());
    graph.input.push(second);
    folder.onnx("two.onnx", &two);
    folder.rows("x.npy", 5);
    folder.npy("z.npy", &[5, 2], ArrayData::F32((0..10).map(|i| i as f32).collect()));
    folder.run("neighbors two.onnx z=z.npy,x=x.npy -k 1").succeeds();
    folder.run("neighbors two.onnx x.npy").refused(&["x.npy", "2 inputs"]);
}

fn of_shared(model: &str, data: &str, flags: &str) -> Option<Ran> {
    let model = shared("neighbors", &format!("models/{model}"))?;
    let data = shared("neighbors", data)?;
    let folder = Folder::new();
    let line = format!("neighbors {} {} {flags}", model.display(), data.display());
    Some(folder.run(&line).succeeds())
}

#[test]
fn mnist() {
    let Some(labels) = shared("neighbors of MNIST", "mnist/t10k-labels-idx1-ubyte.gz") else {
        return;
    };
    // Labels are as many as images, so they are cut together.
    let flags = format!(
        "--labels {} --scale 1/255 --mean 0.1307 --std 0.3081 --take 300 -k 1",
        labels.display()
    );
    let images = "mnist/t10k-images-idx3-ubyte.gz";
    let Some(ran) = of_shared("mnist/mnist_cnn.onnx", images, &flags) else { return };
    let rows = rows(&ran.stdout);
    let same = rows[1..].iter().filter(|row| row[4] == row[5]).count();
    assert!(rows.len() == 301 && same > 250, "{same} of {}", rows.len() - 1);
}

#[test]
fn cifar() {
    let flags = "--scale 1/255 --mean .485,.456,.406 --std .229,.224,.225 --take 20 -k 2";
    let Some(ran) = of_shared("cifar10/resnet20.onnx", "cifar10/train_0_999.bin.gz", flags) else {
        return;
    };
    assert_eq!(rows(&ran.stdout).len(), 41);
}
