//! Small models written down node by node.

use std::cell::RefCell;

use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

/// A model of opset 21 from input `x`, `[n, *shape]`, to output `y`.
pub(crate) fn model(
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    shape: &[usize],
) -> Vec<u8> {
    let mut dim = vec![Dimension { dim_value: None, dim_param: Some("n".into()) }];
    dim.extend(
        shape.iter().map(|size| Dimension { dim_value: Some(*size as i64), dim_param: None }),
    );
    let tensor =
        TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape: Some(TensorShapeProto { dim }) };
    let kind = TypeProto { tensor_type: Some(tensor), sequence: None };
    let graph = GraphProto {
        node,
        initializer,
        input: vec![ValueInfoProto { name: Some("x".into()), r#type: Some(kind) }],
        output: vec![ValueInfoProto { name: Some("y".into()), r#type: None }],
        value_info: Vec::new(),
    };
    let model = ModelProto {
        ir_version: Some(10),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { version: Some(21), ..Default::default() }],
        ..Default::default()
    };
    model.write_buf().unwrap()
}

pub(crate) fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: Some(format!("node_{output}")),
        op_type: Some(operator.into()),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

pub(crate) fn with_int(mut node: NodeProto, name: &str, value: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        i: Some(value),
        r#type: Some(AttributeType::INT),
        ..Default::default()
    });
    node
}

pub(crate) fn floats(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    raw(name, DataType::FLOAT, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub(crate) fn ints(name: &str, shape: &[usize], values: &[i64]) -> TensorProto {
    raw(name, DataType::INT64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub(crate) fn raw(name: &str, kind: DataType, shape: &[usize], bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: shape.iter().map(|size| *size as i64).collect(),
        data_type: Some(kind),
        raw_data: Some(RefCell::new(bytes)),
        ..Default::default()
    }
}

/// Numbers between −1 and 1 that look random.
pub(crate) fn wave(count: usize) -> Vec<f32> {
    (0..count).map(|k| (1.7 * k as f32 + 0.3).sin()).collect()
}

pub(crate) fn with_ints(mut node: NodeProto, name: &str, values: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        ints: values.to_vec(),
        r#type: Some(AttributeType::INTS),
        ..Default::default()
    });
    node
}

/// A graph of a node's own, such as a Loop's body.
pub(crate) fn with_graph(
    mut outer: NodeProto,
    name: &str,
    (inputs, outputs): (&[&str], &[&str]),
    node: Vec<NodeProto>,
) -> NodeProto {
    let values = |names: &[&str]| -> Vec<ValueInfoProto> {
        names.iter().map(|n| ValueInfoProto { name: Some((*n).into()), r#type: None }).collect()
    };
    let graph = GraphProto {
        node,
        initializer: Vec::new(),
        input: values(inputs),
        output: values(outputs),
        value_info: Vec::new(),
    };
    outer.attribute.push(AttributeProto {
        name: Some(name.into()),
        g: Some(graph),
        r#type: Some(AttributeType::GRAPH),
        ..Default::default()
    });
    outer
}

pub(crate) fn with_text(mut node: NodeProto, name: &str, value: &str) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        s: Some(value.into()),
        r#type: Some(AttributeType::STRING),
        ..Default::default()
    });
    node
}
