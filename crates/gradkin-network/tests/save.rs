//! Networks written back as ONNX with other values.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use gradkin_network::Model;
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataLocation, DataType, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, ValueInfoProto,
};

fn files() -> Vec<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let roots = ["reference", "networks", "denoising"];
    let entries = roots.into_iter().flat_map(|root| std::fs::read_dir(tests.join(root)).unwrap());
    let files = entries.map(|entry| entry.unwrap().path().join("model.onnx"));
    let mut files: Vec<PathBuf> = files.filter(|file| file.exists()).collect();
    files.sort();
    assert!(files.len() >= 20, "the networks are missing");
    files
}

fn names(model: &Model) -> Vec<String> {
    model.parameters().0.into_iter().map(|parameter| parameter.name).collect()
}

#[test]
fn an_unchanged_network_is_the_same_file() {
    for path in files() {
        let bytes = std::fs::read(&path).unwrap();
        let model = Model::open(&path).unwrap();
        assert!(model.encode(&bytes).unwrap() == bytes, "{}", path.display());
    }
}

#[test]
fn changed_values_are_read_back_and_nothing_else_changes() {
    for path in files() {
        let bytes = std::fs::read(&path).unwrap();
        let original = Model::open(&path).unwrap();
        let mut model = original.clone();
        for (k, name) in names(&model).iter().enumerate() {
            let shifted: Vec<f64> =
                model.values(name).unwrap().iter().map(|v| v * 0.5 + k as f64).collect();
            model.set_values(name, &shifted).unwrap();
        }
        let written = model.encode(&bytes).unwrap();
        let back = Model::from_bytes(&written, "written").unwrap();
        assert_eq!(written.len(), bytes.len(), "{}", path.display());
        let copies = original.parameters().0.into_iter().flat_map(|p| p.copies);
        for name in names(&model).into_iter().chain(copies) {
            assert_eq!(back.values(&name), model.values(&name), "{} {name}", path.display());
            assert_ne!(back.values(&name), original.values(&name));
        }
        for uncounted in original.parameters().1 {
            let name = &uncounted.name;
            let bits = |model: &Model| model.values(name).map(|v| format!("{v:?}"));
            assert_eq!(bits(&back), bits(&original), "{} {name}", path.display());
        }
        // And the way back is the file as it was.
        let mut again = back.clone();
        for name in names(&original) {
            again.set_values(&name, &original.values(&name).unwrap()).unwrap();
        }
        assert!(again.encode(&written).unwrap() == bytes, "{}", path.display());
    }
}

#[test]
fn values_that_do_not_fit_change_nothing() {
    let files = files();
    let called = |name: &str| files.iter().find(|f| f.parent().unwrap().ends_with(name)).unwrap();
    let path = called("toy_mlp");
    let mut model = Model::open(path).unwrap();
    let before = model.clone();
    let name = names(&model)[0].clone();
    let count = model.values(&name).unwrap().len();
    let say = |error: gradkin_network::NetworkError| error.to_string();
    let error = say(model.set_values("no such tensor", &[1.0]).unwrap_err());
    assert!(error.contains("no such tensor") && error.contains("model.onnx"), "{error}");
    let error = say(model.set_values(&name, &vec![1.0; count + 1]).unwrap_err());
    assert!(error.contains(&format!("holds {count} values")), "{error}");
    let error = say(model.set_values(&name, &vec![1e300; count]).unwrap_err());
    assert!(error.contains("too large"), "{error}");
    let (ones, twos) = (vec![1.0; count], vec![2.0; count]);
    let error = say(model.set_all_values(&[(&name, &ones), (&name, &twos)]).unwrap_err());
    assert!(error.contains("given twice"), "{error}");
    assert_eq!(model.values(&name), before.values(&name));
    let other = std::fs::read(called("unet")).unwrap();
    assert!(say(model.encode(&other).unwrap_err()).contains("was read from"));
    assert!(model.encode(b"no model").is_err());
}

fn tensor(name: &str, kind: DataType, raw: &[u8]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: vec![2],
        data_type: Some(kind),
        raw_data: Some(raw.to_vec().into()),
        ..TensorProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(operator.into()),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

/// y = x·half.weight + brain.weight + double.weight + fields.weight + inline + listed
fn kinds() -> Vec<u8> {
    let constant = |output: &str, attribute: AttributeProto| NodeProto {
        attribute: vec![attribute],
        ..node("Constant", &[], output)
    };
    let listed = AttributeProto {
        name: Some("value_floats".into()),
        floats: vec![5.0, 6.0],
        r#type: Some(AttributeType::FLOATS),
        ..AttributeProto::default()
    };
    let inline = AttributeProto {
        name: Some("value".into()),
        t: Some(TensorProto {
            name: None,
            ..tensor("", DataType::FLOAT, &[0, 0, 128, 63, 0, 0, 0, 64])
        }),
        r#type: Some(AttributeType::TENSOR),
        ..AttributeProto::default()
    };
    let doubles = [0.1f64, 0.2].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let fields = TensorProto {
        raw_data: None,
        float_data: vec![3.0, 4.0],
        ..tensor("fields.weight", DataType::FLOAT, &[])
    };
    let value = |name: &str| ValueInfoProto { name: Some(name.into()), r#type: None };
    let graph = GraphProto {
        node: vec![
            constant("inline", inline),
            constant("listed", listed),
            node("PRelu", &["x", "half.weight"], "a"),
            node("PRelu", &["a", "brain.weight"], "b"),
            node("PRelu", &["b", "double.weight"], "c"),
            node("PRelu", &["c", "fields.weight"], "d"),
            node("PRelu", &["d", "inline"], "e"),
            node("PRelu", &["e", "listed"], "y"),
        ],
        initializer: vec![
            tensor("half.weight", DataType::FLOAT16, &[0, 0x3c, 0, 0x40]),
            tensor("brain.weight", DataType::BFLOAT16, &[0x80, 0x3f, 0, 0x40]),
            tensor("double.weight", DataType::DOUBLE, &doubles),
            fields,
        ],
        input: vec![value("x")],
        output: vec![value("y")],
        value_info: Vec::new(),
    };
    let opset = OperatorSetIdProto { domain: None, version: Some(17) };
    let model = ModelProto {
        graph: Some(graph),
        opset_import: vec![opset],
        producer_name: Some("a test".into()),
        ..ModelProto::default()
    };
    model.write_buf().unwrap()
}

#[test]
fn every_way_to_store_floats_is_kept() {
    let bytes = kinds();
    let mut model = Model::from_bytes(&bytes, "kinds").unwrap();
    let names =
        ["half.weight", "brain.weight", "double.weight", "fields.weight", "inline", "listed"];
    for name in names {
        model.set_values(name, &[-0.3, 1.0 / 3.0]).unwrap();
    }
    let written = model.encode(&bytes).unwrap();
    let back = Model::from_bytes(&written, "written").unwrap();
    let error = |name: &str| {
        let values = back.values(name).unwrap();
        (values[0] + 0.3).abs().max((values[1] - 1.0 / 3.0).abs())
    };
    for (name, at_most) in names.into_iter().zip([2e-4, 1e-3, 0.0, 2e-8, 2e-8, 2e-8]) {
        assert!(error(name) <= at_most, "{name}: {}", error(name));
    }
    let proto = ModelProto::parse_buf(&written).unwrap();
    let graph = proto.graph.unwrap();
    let stored: Vec<_> = graph.initializer.iter().map(|t| t.data_type.unwrap()).collect();
    let expected =
        [DataType::FLOAT16, DataType::BFLOAT16, DataType::DOUBLE, DataType::FLOAT].to_vec();
    assert_eq!(stored, expected);
    assert!(graph.initializer[3].float_data.is_empty());
    assert_eq!(proto.producer_name.as_deref(), Some("a test"));
    model.set_values("half.weight", &[1e6, 0.0]).unwrap();
    let error = model.encode(&bytes).unwrap_err().to_string();
    assert!(error.contains("half.weight") && error.contains("too large"), "{error}");
}

#[test]
fn weights_beside_the_file_are_written_into_it() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("save-external");
    std::fs::create_dir_all(&folder).unwrap();
    let mut proto = ModelProto::parse_buf(&kinds()).unwrap();
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
    };
    let mut data = Vec::new();
    for tensor in proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer).take(3) {
        let raw = tensor.raw_data.take().unwrap().into_inner();
        tensor.external_data = vec![
            entry("location", "weights.bin"),
            entry("offset", &data.len().to_string()),
            entry("length", &raw.len().to_string()),
        ];
        tensor.data_location = Some(DataLocation::EXTERNAL);
        data.extend(raw);
    }
    let (path, out) = (folder.join("model.onnx"), folder.join("written.onnx"));
    std::fs::write(folder.join("weights.bin"), data).unwrap();
    std::fs::write(&path, proto.write_buf().unwrap()).unwrap();
    let mut model = Model::open(&path).unwrap();
    model.set_values("double.weight", &[7.0, 8.0]).unwrap();
    model.save(&path, &out).unwrap();
    std::fs::remove_file(folder.join("weights.bin")).unwrap();
    let back = Model::open(&out).unwrap();
    assert_eq!(back.values("half.weight"), Some(vec![1.0, 2.0]));
    assert_eq!(back.values("brain.weight"), Some(vec![1.0, 2.0]));
    assert_eq!(back.values("double.weight"), Some(vec![7.0, 8.0]));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
}

/// A field of fewer than 128 bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let tag = u32::from(number) << 3 | 2;
    let tag = if tag < 128 { vec![tag as u8] } else { vec![tag as u8 | 0x80, (tag >> 7) as u8] };
    [tag, vec![content.len() as u8], content.to_vec()].concat()
}

/// y = slope(x), a function of the file that multiplies by a matrix of its own.
fn with_a_function() -> Vec<u8> {
    let value = |name: &str| ValueInfoProto { name: Some(name.into()), r#type: None };
    let mut call = node("slope", &["x"], "y");
    call.domain = Some("own".into());
    let graph = GraphProto {
        node: vec![call],
        input: vec![value("x")],
        output: vec![value("y")],
        ..GraphProto::default()
    };
    let mut bytes = ModelProto { graph: Some(graph), ..ModelProto::default() }.write_buf().unwrap();
    let dims = [vec![1 << 3, 2], vec![1 << 3, 2], vec![2 << 3, 1]].concat();
    let matrix = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let tensor = [dims, field(9, &matrix)].concat();
    let attribute = [field(1, b"value"), field(5, &tensor), vec![0xa0, 1, 4]].concat();
    let constant = [field(2, b"w"), field(4, b"Constant"), field(5, &attribute)].concat();
    let product = [field(1, b"a"), field(1, b"w"), field(2, b"b"), field(4, b"MatMul")].concat();
    let names = [field(1, b"slope"), field(4, b"a"), field(5, b"b"), field(10, b"own")].concat();
    bytes.extend(field(25, &[names, field(7, &constant), field(7, &product)].concat()));
    bytes
}

#[test]
fn a_weight_in_a_function_is_refused_when_it_changed() {
    let bytes = with_a_function();
    let mut model = Model::from_bytes(&bytes, "functions").unwrap();
    assert!(model.encode(&bytes).unwrap() == bytes);
    let name = names(&model).first().cloned().unwrap_or_else(|| "y/slope/w".into());
    model.set_values(&name, &[1.0, 0.0, 0.0, 1.0]).unwrap();
    let error = model.encode(&bytes).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("function"), "{error}");
}

#[test]
fn a_tied_weight_changes_everywhere() {
    let matrix = |name: &str, dims: [i64; 2], at: fn(i64, i64) -> i64| {
        let entries = (0..dims[0]).flat_map(|r| (0..dims[1]).map(move |c| at(r, c)));
        TensorProto {
            name: Some(name.into()),
            dims: dims.to_vec(),
            data_type: Some(DataType::FLOAT),
            float_data: entries.map(|k| (k as f32).sin()).collect(),
            ..TensorProto::default()
        }
    };
    let value = |name: &str| ValueInfoProto { name: Some(name.into()), r#type: None };
    let graph = GraphProto {
        node: vec![node("MatMul", &["x", "a"], "h"), node("MatMul", &["h", "b"], "y")],
        initializer: vec![
            matrix("a", [4, 5], |r, c| 5 * r + c),
            matrix("b", [5, 4], |r, c| 5 * c + r),
        ],
        input: vec![value("x")],
        output: vec![value("y")],
        value_info: Vec::new(),
    };
    let bytes = ModelProto { graph: Some(graph), ..ModelProto::default() }.write_buf().unwrap();
    let mut model = Model::from_bytes(&bytes, "tied").unwrap();
    assert_eq!(model.parameters().0[0].copies, ["b"]);
    // Given by its other name, transposed.
    let values: Vec<f64> = (0..20).map(f64::from).collect();
    model.set_values("b", &values).unwrap();
    let turned: Vec<f64> = (0..20).map(|k| values[k % 5 * 4 + k / 5]).collect();
    assert_eq!(model.values("a"), Some(turned));
    let back = Model::from_bytes(&model.encode(&bytes).unwrap(), "tied").unwrap();
    assert_eq!(back.values("b"), Some(values));
    assert_eq!(back.parameters().0.len(), 1);
    // A constant matrix would no longer be known for a copy by its values.
    model.set_values("a", &[1.0; 20]).unwrap();
    assert_eq!(model.values("b"), Some(vec![1.0; 20]));
}
