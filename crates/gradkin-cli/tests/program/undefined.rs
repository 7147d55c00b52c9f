//! An example that no parameter can move is reported, and is nowhere NaN.

use crate::support::{Folder, read_f64};

#[test]
fn a_dead_example_is_left_out_and_listed() {
    let folder = Folder::with_relu();
    let ran = folder.run("kernel m.onnx x.npy -o k.npy").succeeds();
    assert!(
        ran.stderr.starts_with("warning: similarity is undefined for 1 of 10 examples of x.npy: "),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("zero gradient (no parameter moves the output) at 9\n"), "{ran:?}");
    let (shape, values) = read_f64(&folder.file("k.npy"));
    assert_eq!(shape, [9, 9]);
    assert!(values.iter().all(|value| value.is_finite()));
    let record = std::fs::read_to_string(folder.file("k.npy.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["kept_rows"], serde_json::json!([0, 1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(record["undefined_rows"]["zero_gradient"], serde_json::json!([9]));
}

#[test]
fn inner_products_of_a_dead_example_are_zero() {
    let folder = Folder::with_relu();
    let ran = folder.run("kernel m.onnx x.npy --kind inner -o k.npy").succeeds();
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
    let (shape, values) = read_f64(&folder.file("k.npy"));
    assert_eq!(shape, [10, 10]);
    assert!(values[90..].iter().all(|value| *value == 0.0));
}

#[test]
fn it_can_be_made_an_error() {
    let folder = Folder::with_relu();
    let before = folder.names();
    folder
        .run("kernel m.onnx x.npy --undefined error -o k.npy")
        .fails(1, &["similarity is undefined for 1 of", "hint: "]);
    assert_eq!(folder.names(), before);
}

#[test]
fn neighbours_are_found_among_the_others() {
    let folder = Folder::with_relu();
    let ran = folder.run("neighbors m.onnx x.npy -k 20").succeeds();
    assert!(ran.stderr.contains("warning: similarity is undefined for 1"), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1 + 9 * 8);
    assert!(!ran.stdout.contains("NaN"));
}

#[test]
fn nothing_but_dead_examples_is_a_failure() {
    let folder = Folder::with_relu();
    folder.rows("dead.npy", 1);
    folder.run("kernel m.onnx dead.npy -o k.npy").fails(1, &["no pair"]);
    assert!(!folder.file("k.npy").exists() && !folder.file("k.npy.json").exists());
}
