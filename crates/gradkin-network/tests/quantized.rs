//! Networks whose weights or activations are quantised: they run, and say what has no gradient.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/written.rs"]
#[allow(dead_code)]
mod written;

use gradkin_network::{Collected, InputData, Model, Network, OutputData, Sweep};
use rten_onnx::onnx::{DataType, NodeProto, TensorProto};
use written::{floats, model, node, raw, wave, with_int};

const EXAMPLES: usize = 3;

/// y = tanh(x W + b) V, with W made by `nodes` from `tensors`.
fn network(nodes: Vec<NodeProto>, tensors: Vec<TensorProto>) -> Network {
    let mut all = nodes;
    all.push(node("MatMul", &["x", "w"], "z"));
    all.push(node("Add", &["z", "b"], "a"));
    all.push(node("Tanh", &["a"], "h"));
    all.push(node("MatMul", &["h", "v"], "y"));
    let mut stored = tensors;
    stored.push(floats("b", &[6], &wave(6)));
    stored.push(floats("v", &[6, 2], &wave(12)));
    load(&model(all, stored, &[4]))
}

fn load(bytes: &[u8]) -> Network {
    Network::new(&Model::from_bytes(bytes, "quantised").unwrap(), &Default::default()).unwrap()
}

fn examples() -> Vec<InputData> {
    vec![InputData::F32(wave(EXAMPLES * 4))]
}

fn output(network: &Network) -> Vec<f32> {
    match network.evaluate(examples(), EXAMPLES).unwrap().remove(0).data {
        OutputData::F32(values) => values,
        other => panic!("{other:?}"),
    }
}

fn names(network: &Network) -> Vec<&str> {
    network.parameters().iter().map(|p| p.name.as_str()).collect()
}

/// The written-out gradients of all chosen parameters.
fn gradients(network: &Network, chosen: &[bool]) -> Vec<f32> {
    let sweep = Sweep::new(network, None, Some(chosen)).unwrap();
    let pass = sweep.forward(examples(), EXAMPLES).unwrap();
    let mut sink = Collected::default();
    sweep.reverse(&pass, &sweep.identity(EXAMPLES).unwrap(), &mut sink).unwrap();
    let dense = |f: &gradkin_network::Factor| {
        f.to_dense().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    sink.factors.values().flat_map(dense).collect()
}

/// A network with these numbers for W, which is no quantised one.
fn plain(values: &[f32]) -> Network {
    network(Vec::new(), vec![floats("w", &[4, 6], values)])
}

fn reason<'a>(network: &'a Network, name: &str) -> &'a str {
    network.uncounted().iter().find(|u| u.name == name).expect("a tensor left out").reason
}

/// The quantised network is the plain one with `w` held fast.
fn is_plain_without_w(found: &Network, values: &[f32]) {
    let wanted = plain(values);
    assert_eq!(output(found), output(&wanted));
    assert_eq!(names(found), ["b", "v"]);
    assert_eq!(names(&wanted), ["w", "b", "v"]);
    let gradient = gradients(found, &[true, true]);
    assert!(gradient.iter().any(|g| *g != 0.0));
    assert_eq!(gradient, gradients(&wanted, &[false, true, true]));
}

#[test]
fn weights_of_eight_bits_per_axis() {
    let steps: Vec<i8> = (0..24).map(|k| (k * 37 % 256 - 128) as i8).collect();
    let scales = [0.5f32, 0.25, 0.125, 1.0, 0.0625, 0.75];
    let zeros = [0i8, 3, -7, 0, 100, 1];
    let quantised = network(
        vec![with_int(node("DequantizeLinear", &["q", "s", "o"], "w"), "axis", 1)],
        vec![
            raw("q", DataType::INT8, &[4, 6], steps.iter().map(|v| *v as u8).collect()),
            floats("s", &[6], &scales),
            raw("o", DataType::INT8, &[6], zeros.iter().map(|v| *v as u8).collect()),
        ],
    );
    let value = |k: usize| (f32::from(steps[k]) - f32::from(zeros[k % 6])) * scales[k % 6];
    is_plain_without_w(&quantised, &(0..24).map(value).collect::<Vec<_>>());
    assert!(reason(&quantised, "q").contains("quantised weight"));
    assert!(reason(&quantised, "s").contains("scale of quantised"));
}

#[test]
fn weights_of_four_bits_in_blocks() {
    let bytes: Vec<u8> = (0..12).map(|k| (k * 53 % 256) as u8).collect();
    let scales = wave(12);
    let dequantise = with_int(node("DequantizeLinear", &["q", "s"], "w"), "axis", 0);
    let quantised = network(
        vec![with_int(dequantise, "block_size", 2)],
        vec![raw("q", DataType::INT4, &[4, 6], bytes.clone()), floats("s", &[2, 6], &scales)],
    );
    let nibble =
        |k: usize| if k.is_multiple_of(2) { bytes[k / 2] & 0xf } else { bytes[k / 2] >> 4 };
    let signed = |k: usize| f32::from(((nibble(k) << 4) as i8) >> 4);
    let value = |k: usize| signed(k) * scales[k / 12 * 6 + k % 6];
    is_plain_without_w(&quantised, &(0..24).map(value).collect::<Vec<_>>());
}

/// Training with fake quantisation stores floats and rounds them in the graph.
#[test]
fn weights_that_are_rounded_before_use_do_not_count() {
    let quantised = network(
        vec![
            node("QuantizeLinear", &["f", "s", "o"], "q"),
            node("DequantizeLinear", &["q", "s", "o"], "w"),
        ],
        vec![
            floats("f", &[4, 6], &wave(24)),
            floats("s", &[], &[0.25]),
            raw("o", DataType::INT8, &[], vec![0]),
        ],
    );
    let rounded: Vec<f32> = wave(24).iter().map(|v| (v * 4.0).round_ties_even() / 4.0).collect();
    is_plain_without_w(&quantised, &rounded);
    assert!(reason(&quantised, "f").contains("quantised weight"));
}

/// y = dequantised(quantised(x W)) V
fn rounded_activations() -> Network {
    let nodes = vec![
        node("MatMul", &["x", "w"], "a"),
        node("QuantizeLinear", &["a", "s", "o"], "q"),
        node("DequantizeLinear", &["q", "s", "o"], "h"),
        node("MatMul", &["h", "v"], "y"),
    ];
    let stored = vec![
        floats("w", &[4, 6], &wave(24)),
        floats("v", &[6, 2], &wave(12)),
        floats("s", &[], &[0.25]),
        raw("o", DataType::UINT8, &[], vec![4]),
    ];
    load(&model(nodes, stored, &[4]))
}

#[test]
fn quantised_activations_run_and_saturate() {
    let (x, w, v) = (wave(EXAMPLES * 4), wave(24), wave(12));
    // Zero point 4 and steps of a quarter: nothing below −1 is left.
    let hidden = |b: usize, j: usize| {
        let sum: f32 = (0..4).map(|i| x[4 * b + i] * w[6 * i + j]).sum();
        ((sum / 0.25).round_ties_even() + 4.0).clamp(0.0, 255.0) * 0.25 - 1.0
    };
    let found = output(&rounded_activations());
    let mut cut = 0;
    for b in 0..EXAMPLES {
        cut += (0..6).filter(|j| hidden(b, *j) == -1.0).count();
        for c in 0..2 {
            let wanted: f32 = (0..6).map(|j| hidden(b, j) * v[2 * j + c]).sum();
            assert!((found[2 * b + c] - wanted).abs() < 1e-5, "{} {wanted}", found[2 * b + c]);
        }
    }
    assert!(cut > 0, "nothing saturates, so the test shows less than it should");
}

#[test]
fn gradients_do_not_vanish_in_rounding_without_a_word() {
    let network = rounded_activations();
    assert_eq!(names(&network), ["w", "v"]);
    let error = Sweep::new(&network, None, None).unwrap_err().to_string();
    for part in ["quantised", "node `node_q` (QuantizeLinear)", "flat", "come after the node"] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    // What comes after the rounding has a gradient like any other.
    let gradient = gradients(&network, &[false, true]);
    assert_eq!(gradient.len(), EXAMPLES * 2 * 12);
    assert!(gradient.iter().any(|g| *g != 0.0));
    // An output before the rounding does not see it.
    assert!(Sweep::new(&network, Some("a"), None).is_ok());
}

#[test]
fn grids_that_do_not_fit_are_errors() {
    let refused = |scale: &[usize], axis: i64, block: i64| {
        let nodes = vec![
            with_int(
                with_int(node("DequantizeLinear", &["q", "s"], "w"), "axis", axis),
                "block_size",
                block,
            ),
            node("MatMul", &["x", "w"], "y"),
        ];
        let count = scale.iter().product();
        let stored = vec![
            raw("q", DataType::INT8, &[4, 6], vec![1; 24]),
            floats("s", scale, &vec![1.0; count]),
        ];
        let model = Model::from_bytes(&model(nodes, stored, &[4]), "grid").unwrap();
        Network::new(&model, &Default::default()).err().map(|error| error.to_string())
    };
    assert_eq!(refused(&[6], 1, 0), None);
    assert_eq!(refused(&[6], -1, 0), None);
    assert_eq!(refused(&[2, 6], 0, 3), None);
    for (scale, axis, block) in [
        (vec![5], 1, 0),
        (vec![6], 2, 0),
        (vec![2, 6], 0, 1),
        (vec![2, 6], 0, -1),
        (vec![3, 6], 0, 0),
    ] {
        let error = refused(&scale, axis, block).expect("an impossible grid");
        assert!(error.contains("node `node_w` (DequantizeLinear)"), "{error}");
    }
}
