//! Sequences of tensors against the same networks without them: what they give, and gradients.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/alike.rs"]
mod alike;
#[path = "support/written.rs"]
#[allow(dead_code)]
mod written;

use alike::network;
use rten_onnx::onnx::{NodeProto, TensorProto};
use written::{floats, ints, node, wave, with_int};

fn stored() -> Vec<TensorProto> {
    let mut stored = vec![
        floats("w", &[4, 6], &wave(24)),
        floats("six", &[], &[6.0]),
        ints("sizes", &[3], &[1, 3, 2]),
        ints("axis", &[1], &[1]),
        ints("none", &[], &[0]),
        ints("last", &[], &[-1]),
    ];
    for k in 1..=7 {
        stored.push(ints(&format!("{k}"), &[], &[k]));
        stored.push(ints(&format!("at {}", k - 1), &[1], &[k - 1]));
    }
    stored
}

fn same(sequences: Vec<NodeProto>, plain: Vec<NodeProto>) {
    alike::same(sequences, plain, &stored());
}

fn slice(from: usize, to: usize, output: &str) -> NodeProto {
    let (from, to) = (format!("at {from}"), format!("at {to}"));
    node("Slice", &["x", &from, &to, "axis"], output)
}

#[test]
fn chunks() {
    same(
        vec![
            with_int(node("SplitToSequence", &["x", "2"], "chunks"), "axis", 1),
            node("Identity", &["chunks"], "same chunks"),
            node("SequenceAt", &["same chunks", "none"], "a"),
            node("SequenceAt", &["same chunks", "last"], "b"),
            node("Mul", &["a", "b"], "c"),
            node("MatMul", &["c", "w"], "y"),
        ],
        vec![
            slice(0, 2, "a"),
            slice(4, 6, "b"),
            node("Mul", &["a", "b"], "c"),
            node("MatMul", &["c", "w"], "y"),
        ],
    );
    // The last of them is what is left.
    same(
        vec![
            with_int(node("SplitToSequence", &["x", "4"], "chunks"), "axis", -2),
            node("SequenceAt", &["chunks", "1"], "a"),
            node("MatMul", &["a", "w"], "y"),
        ],
        vec![slice(4, 6, "a"), node("MatMul", &["a", "w"], "y")],
    );
}

#[test]
fn tensors_come_and_go() {
    same(
        vec![
            with_int(node("SplitToSequence", &["x", "sizes"], "parts"), "axis", 1),
            node("SequenceErase", &["parts", "none"], "two"),
            node("SequenceErase", &["two"], "one"),
            node("Relu", &["x"], "r"),
            node("SequenceInsert", &["one", "r"], "more"),
            node("Tanh", &["x"], "t"),
            node("SequenceInsert", &["more", "t", "last"], "most"),
            with_int(node("ConcatFromSequence", &["most"], "all"), "axis", 1),
            node("MatMul", &["all", "w"], "y"),
        ],
        vec![
            slice(1, 4, "a"),
            node("Relu", &["x"], "r"),
            node("Tanh", &["x"], "t"),
            with_int(node("Concat", &["a", "t", "r"], "all"), "axis", 1),
            node("MatMul", &["all", "w"], "y"),
        ],
    );
}

#[test]
fn rows_taken_apart_and_stacked() {
    let rows = with_int(node("SplitToSequence", &["x"], "rows"), "axis", 1);
    same(
        vec![
            with_int(rows.clone(), "keepdims", 0),
            node("SequenceAt", &["rows", "none"], "a"),
            node("SequenceAt", &["rows", "2"], "b"),
            node("SequenceEmpty", &[], "nothing"),
            node("SequenceInsert", &["nothing", "b"], "last one"),
            node("SequenceInsert", &["last one", "a", "none"], "two"),
            with_int(with_int(node("ConcatFromSequence", &["two"], "s"), "axis", 1), "new_axis", 1),
            node("SequenceLength", &["rows"], "length"),
            with_int(node("Cast", &["length"], "factor"), "to", 1),
            node("Mul", &["s", "factor"], "scaled"),
            node("MatMul", &["scaled", "w"], "y"),
        ],
        vec![
            slice(0, 1, "a"),
            slice(2, 3, "b"),
            with_int(node("Concat", &["a", "b"], "s"), "axis", 1),
            node("Mul", &["s", "six"], "scaled"),
            node("MatMul", &["scaled", "w"], "y"),
        ],
    );
    same(
        vec![
            rows,
            node("SequenceAt", &["rows", "2"], "a"),
            node("SequenceAt", &["rows", "3"], "b"),
            node("SequenceConstruct", &["b", "a"], "two"),
            with_int(node("ConcatFromSequence", &["two"], "s"), "axis", -2),
            node("MatMul", &["s", "w"], "y"),
        ],
        vec![
            slice(2, 3, "a"),
            slice(3, 4, "b"),
            with_int(node("Concat", &["b", "a"], "s"), "axis", 1),
            node("MatMul", &["s", "w"], "y"),
        ],
    );
}

/// Gradients reach a weight through the parts that it is used in.
#[test]
fn parts_of_a_weight() {
    same(
        vec![
            with_int(node("SplitToSequence", &["w", "3"], "parts"), "axis", 1),
            node("SequenceAt", &["parts", "1"], "part"),
            node("MatMul", &["x", "part"], "y"),
        ],
        vec![
            node("Slice", &["w", "at 3", "at 6", "axis"], "part"),
            node("MatMul", &["x", "part"], "y"),
        ],
    );
}

#[test]
fn what_is_wrong_is_said() {
    let split = || with_int(node("SplitToSequence", &["x", "2"], "chunks"), "axis", 1);
    let at = |place: &str| node("SequenceAt", &["chunks", place], "y");
    let far = with_int(node("ReduceMax", &["x"], "m"), "keepdims", 0);
    for (nodes, wanted) in [
        (vec![split(), at("7")], "node_y` (SequenceAt): place 7 is not in a sequence of 3"),
        (vec![split(), at("sizes")], "input 1 should be one number, not [1, 3, 2]"),
        (
            vec![split(), far, with_int(node("Cast", &["m"], "k"), "to", 7), at("k")],
            "input 1, `k`, depends on the data",
        ),
        (vec![split(), node("SequenceAt", &["chunks"], "y")], "the place, is missing"),
        (vec![split(), node("SequenceInsert", &["chunks", "nowhere"], "y")], "nowhere"),
        (vec![node("SequenceAt", &["x", "1"], "y")], "the first input is no sequence"),
        (vec![split(), node("Relu", &["chunks"], "y")], "`chunks` is a sequence"),
        (vec![node("SequenceConstruct", &["x"], "y")], "output `y` is a sequence of tensors"),
        (vec![node("SequenceEmpty", &[], "s"), node("SequenceErase", &["s"], "y")], "is empty"),
        (
            vec![
                node("SequenceEmpty", &[], "s"),
                with_int(node("ConcatFromSequence", &["s"], "y"), "axis", 0),
            ],
            "Concat",
        ),
        (
            vec![with_int(node("SplitToSequence", &["x", "none"], "chunks"), "axis", 1), at("1")],
            "parts of size 0; expected one or more",
        ),
        (
            vec![with_int(node("SplitToSequence", &["x", "sizes"], "chunks"), "axis", 2), at("1")],
            "parts of sizes [1, 3, 2] do not make up axis 2 of size 4",
        ),
    ] {
        let error = network(nodes, stored()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
