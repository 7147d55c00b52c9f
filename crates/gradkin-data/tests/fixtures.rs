//! Reads files that NumPy, Pillow and Python's standard library wrote; see
//! `fixtures/generate.py`.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use gradkin_data::{
    ArrayData, Dataset, Labels, Layout, Missing, OpenOptions, Preprocessing, TableOptions,
    TargetInput, read_npy,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(name: &str) -> Dataset {
    Dataset::open(fixture(name), &OpenOptions::default()).unwrap()
}

fn refusal(name: &str) -> String {
    Dataset::open(fixture(name), &OpenOptions::default()).unwrap_err().to_string()
}

fn target(shape: &[usize]) -> TargetInput {
    let shape = shape.iter().map(|&d| Some(d)).collect();
    TargetInput { name: "x".into(), shape, integer: false }
}

fn values(data: &Dataset, settings: &Preprocessing, shape: &[usize]) -> Vec<f64> {
    let ready = data.prepare(settings, &[target(shape)]).unwrap();
    ready.batch_f64(0, 0..ready.len()).unwrap()
}

#[test]
fn npy_of_every_type_and_byte_order() {
    for name in ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"] {
        for order in ["little", "big"] {
            let array = read_npy(fixture(&format!("ramp_{name}_{order}.npy"))).unwrap();
            assert_eq!(array.shape(), [2, 3]);
            assert_eq!(array.to_f64().unwrap(), [0., 1., 2., 3., 4., 5.], "{name} {order}");
            assert_eq!(array.to_i64().unwrap(), [0, 1, 2, 3, 4, 5], "{name} {order}");
        }
    }
    let flags = read_npy(fixture("ramp_bool_little.npy")).unwrap();
    assert_eq!(flags.data(), &ArrayData::U8(vec![0, 1, 1, 1, 1, 1]));
}

#[test]
fn npy_of_every_version_and_axis_order() {
    for version in 1..=3 {
        let array = read_npy(fixture(&format!("version{version}.npy"))).unwrap();
        assert_eq!(array.data(), &ArrayData::F64(vec![0.0, 1.0, 2.0, 3.0]));
    }
    let array = read_npy(fixture("fortran.npy")).unwrap();
    assert_eq!(array.shape(), [2, 3, 4]);
    assert_eq!(array.to_i64().unwrap(), (0..24).collect::<Vec<i64>>());
    let half = read_npy(fixture("half.npy")).unwrap().to_f32().unwrap();
    assert_eq!(half[..2], [0.5, -2.0]);
    assert!((half[3] / 5.96e-8 - 1.0).abs() < 0.01 && half[4] == 65504.0);
}

#[test]
fn npy_that_holds_no_numbers() {
    assert!(refusal("object.npy").contains("pickled Python objects"));
    assert!(refusal("record.npy").contains("records"));
    assert!(refusal("text.npy").contains("text"));
    assert!(refusal("complex.npy").contains("complex numbers"));
}

#[test]
fn npz_names_inputs_and_labels() {
    for name in ["stored.npz", "deflated.npz"] {
        let data = open(name);
        let inputs = data.inputs();
        assert_eq!(inputs[0].name.as_deref(), Some("ids"));
        assert_eq!((inputs[1].name.as_deref(), inputs[1].dtype), (Some("mask"), "f32"));
        let ids = vec![2, 0, 1];
        assert_eq!(data.labels(), Some(&Labels::Classes { ids, names: None }));
        let other = TableOptions { label: Some("ids".into()), ..TableOptions::default() };
        let data = Dataset::open(fixture(name), &OpenOptions { table: other }).unwrap();
        assert!(matches!(data.labels(), Some(Labels::Targets { width: 2, .. })));
    }
    let labels = Labels::open(fixture("stored.npz"), None).unwrap();
    assert_eq!(labels, Labels::Classes { ids: vec![2, 0, 1], names: None });
}

#[test]
fn idx_plain_and_gzipped() {
    for name in ["small-idx3-ubyte", "small-idx3-ubyte.gz"] {
        let data = open(name);
        assert_eq!(data.inputs()[0].shape, [Some(2), Some(2)]);
        assert_eq!(data.inputs()[0].dtype, "u8");
        let all = values(&data, &Preprocessing::default(), &[1, 2, 2]);
        assert_eq!(all, (0..12).map(f64::from).collect::<Vec<_>>());
        let labels = Labels::open(fixture("labels-idx1-ubyte"), None).unwrap();
        assert_eq!(labels.class_count(), Some(6));
        data.with_labels(labels, "labels").unwrap();
    }
    let floats = values(&open("float.idx"), &Preprocessing::default(), &[2]);
    assert_eq!(floats, [0.5, 1.0, -1.0, 2.0]);
}

#[test]
fn cifar_of_ten_and_a_hundred_classes() {
    for name in ["cifar10.bin.gz", "cifar100.bin.gz"] {
        let data = open(name);
        assert_eq!(data.labels(), Some(&Labels::Classes { ids: vec![3, 8], names: None }));
        let all = values(&data, &Preprocessing::default(), &[3, 32, 32]);
        assert!((0..3072).all(|k| all[k] == (k % 251) as f64));
        assert!((0..3072).all(|k| all[3072 + k] == ((k + 1) % 251) as f64));
        let last = Preprocessing { layout: Some(Layout::Nhwc), ..Preprocessing::default() };
        let all = values(&data, &last, &[32, 32, 3]);
        assert_eq!(all[..3], [0.0, (1024 % 251) as f64, (2048 % 251) as f64]);
        let picture = data.picture(0).unwrap();
        assert_eq!(picture.rgb[..3], [0, (1024 % 251) as u8, (2048 % 251) as u8]);
    }
}

#[test]
fn class_folders() {
    let data = open("classes");
    let names = Some(vec!["cat".to_string(), "dog".to_string()]);
    assert_eq!(data.labels(), Some(&Labels::Classes { ids: vec![0, 0, 0, 1, 1], names }));
    assert_eq!(data.inputs()[0].shape, [Some(8), Some(10), Some(3)]);
    assert!(data.path(4).unwrap().ends_with("dog/plain.png"));
    let all = values(&data, &Preprocessing::default(), &[3, 8, 10]);
    let colour = |c: usize, y: usize, x: usize| [x * 20, y * 30, (x + y) * 10][c] as f64;
    for (at, name, slack) in [(0, "alpha", 0.0), (2, "photo", 60.0), (4, "plain", 0.0)] {
        let example = &all[at * 240..(at + 1) * 240];
        for (i, value) in example.iter().enumerate() {
            let expected = colour(i / 80, i / 10 % 8, i % 10);
            assert!((value - expected).abs() <= slack, "{name} {i}: {value} {expected}");
        }
    }
    let grey = &all[240..480];
    assert_eq!(grey[..80], grey[80..160]);
    let picture = data.picture(4).unwrap();
    assert_eq!((picture.width, picture.height, picture.rgb[3]), (10, 8, 20));
}

#[test]
fn grey_and_deep_folders() {
    let data = open("grey");
    assert!(data.labels().is_none());
    assert_eq!(data.inputs()[0].shape, [Some(8), Some(10), Some(1)]);
    let all = values(&data, &Preprocessing::default(), &[1, 8, 10]);
    assert_eq!((all[3], all[160 + 4], all[160 + 5]), (60.0, 0.0, 255.0));
    let deep = open("deep");
    assert_eq!(values(&deep, &Preprocessing::default(), &[80])[..3], [0.0, 6000.0, 12000.0]);
}

#[test]
fn resizing_agrees_with_pillow() {
    let data = open("resize_from.npy");
    for (height, width) in [(16, 15), (3, 4), (8, 5)] {
        let to = Preprocessing { resize: Some((height, width)), ..Preprocessing::default() };
        let ours = values(&data, &to, &[height, width]);
        let theirs = read_npy(fixture(&format!("resize_{height}x{width}.npy"))).unwrap();
        for (ours, theirs) in ours.iter().zip(theirs.to_f64().unwrap()) {
            assert!((ours - theirs).abs() < 1e-4, "{height}x{width}: {ours} {theirs}");
        }
    }
}

#[test]
fn tables() {
    let read = |missing| {
        let table =
            TableOptions { label: Some("price".into()), missing, ..TableOptions::default() };
        let options = OpenOptions { table };
        let plain = Dataset::open(fixture("houses.csv"), &options);
        let zipped = Dataset::open(fixture("houses.csv.gz"), &options);
        assert_eq!(plain.is_ok(), zipped.is_ok());
        plain
    };
    assert!(read(Missing::Error).unwrap_err().to_string().contains("row 4"));
    assert!(read(Missing::Mean).unwrap_err().to_string().contains("price"));
    let data = read(Missing::Drop).unwrap();
    assert_eq!(values(&data, &Preprocessing::default(), &[2]), [10.0, 1.0, 30.0, 3.0]);
    assert_eq!(
        (data.id(1), data.feature_names()),
        (2, ["size", "rooms"].map(String::from).as_slice())
    );
    assert_eq!(data.labels(), Some(&Labels::Targets { values: vec![0.5, 2.5], width: 1 }));
    assert_eq!(values(&open("semicolons.csv"), &Preprocessing::default(), &[2]), [1., 2., 3., 4.]);
    assert_eq!(open("semicolons.csv").feature_names(), ["a", "b"]);
    assert!(refusal("latin1.csv").contains("latin1.csv"));
}

#[test]
fn labels_of_another_length() {
    let labels = Labels::open(fixture("labels.npy"), None).unwrap();
    let error = open("ramp_f4_little.npy").with_labels(labels, "labels.npy").unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("labels.npy holds 3 labels but "), "{text}");
    assert!(text.ends_with("ramp_f4_little.npy holds 2 examples"), "{text}");
}
