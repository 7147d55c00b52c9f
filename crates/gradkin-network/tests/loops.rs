//! Loop and Scan against the same networks with every turn written down: what they give, and gradients.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/alike.rs"]
mod alike;
#[path = "support/written.rs"]
#[allow(dead_code)]
mod written;

use alike::network;
use rten_onnx::onnx::{NodeProto, TensorProto};
use written::{floats, ints, node, wave, with_graph, with_int, with_ints};

fn stored() -> Vec<TensorProto> {
    let mut stored = vec![
        floats("w", &[4, 4], &wave(16)),
        ints("far", &[], &[1 << 40]),
        ints("none", &[], &[0]),
        ints("axis", &[1], &[1]),
        ints("axes", &[1], &[1]),
    ];
    stored.extend((1..=6).map(|k| ints(&format!("{k}"), &[], &[k])));
    stored
}

fn same(one: Vec<NodeProto>, other: Vec<NodeProto>) {
    alike::same(one, other, &stored());
}

fn with_outputs(mut node: NodeProto, outputs: &[&str]) -> NodeProto {
    node.output = outputs.iter().map(|name| (*name).to_owned()).collect();
    node
}

/// Row `index` of each example.
fn row(index: &str, output: &str) -> NodeProto {
    with_int(node("Gather", &["x", index], output), "axis", 1)
}

/// h ← tanh(h w + row), from the row before.
fn step(from: &str, row: &str, name: &str, to: &str) -> Vec<NodeProto> {
    let [product, sum] = ["p", "s"].map(|kind| format!("{kind}{name}"));
    vec![
        node("MatMul", &[from, "w"], &product),
        node("Add", &[&product, row], &sum),
        node("Tanh", &[&sum], to),
    ]
}

/// Steps over the first rows, written down; `h0` to so many.
fn written_down(turns: usize) -> Vec<NodeProto> {
    let mut nodes = vec![row("none", "h0")];
    for turn in 0..turns {
        let (from, to) = (format!("h{turn}"), format!("h{}", turn + 1));
        let (index, x) =
            (if turn == 0 { "none".into() } else { turn.to_string() }, format!("x{turn}"));
        nodes.push(row(&index, &x));
        nodes.extend(step(&from, &x, &turn.to_string(), &to));
    }
    nodes
}

/// A body that takes one step over the row of its turn, with these outputs before that state and after it.
fn body(outer: NodeProto, first: &str, last: &[&str], more: Vec<NodeProto>) -> NodeProto {
    let mut nodes = vec![row("turn", "row")];
    nodes.extend(step("h", "row", "", "next"));
    nodes.extend(more);
    let outputs = [&[first, "next"], last].concat();
    with_graph(outer, "body", (&["turn", "go", "h"], &outputs), nodes)
}

#[test]
fn a_loop_of_known_length() {
    let stacked = |nodes: &mut Vec<NodeProto>| {
        let states: Vec<String> = (1..=3)
            .map(|k| {
                let wide = format!("wide{k}");
                nodes.push(node("Unsqueeze", &[&format!("h{k}"), "first"], &wide));
                wide
            })
            .collect();
        let states: Vec<&str> = states.iter().map(String::as_str).collect();
        nodes.push(with_int(node("Concat", &states, "all"), "axis", 0));
    };
    let after = [
        with_int(
            with_int(node("ReduceSum", &["all", "first"], "sum"), "keepdims", 0),
            "noop_with_empty_axes",
            0,
        ),
        node("Mul", &["sum", "h3"], "y"),
    ];
    let mut plain = written_down(3);
    stacked(&mut plain);
    plain.extend(after.clone());
    let outer = with_outputs(node("Loop", &["3", "", "h0"], ""), &["h3", "all"]);
    let mut looped = vec![row("none", "h0"), body(outer, "go", &["next"], Vec::new())];
    looped.extend(after);
    let mut stored = stored();
    stored.push(ints("first", &[1], &[0]));
    alike::same(looped, plain, &stored);
}

#[test]
fn a_loop_that_asks() {
    for (count, turns) in [("6", 4), ("", 4), ("2", 2)] {
        let mut plain = written_down(turns);
        plain.push(node("Identity", &[&format!("h{turns}")], "y"));
        let outer = node("Loop", &[count, "start", "h0"], "y");
        let ask = vec![node("Less", &["turn", "3"], "again")];
        let looped = vec![
            node("Less", &["none", "1"], "start"),
            row("none", "h0"),
            body(outer, "again", &[], ask),
        ];
        same(looped, plain);
    }
    // Not at all.
    let outer = node("Loop", &["3", "start", "h0"], "h");
    let never = vec![
        node("Less", &["1", "none"], "start"),
        row("none", "h0"),
        body(outer, "go", &[], Vec::new()),
        node("MatMul", &["h", "w"], "y"),
    ];
    same(never, vec![row("none", "h0"), node("MatMul", &["h0", "w"], "y")]);
}

/// Names of an inner loop's turns meet neither each other nor those of the outer loop.
#[test]
fn a_loop_in_a_loop_that_gathers_a_sequence() {
    let inner = with_graph(
        node("Loop", &["2", "", "h"], "moved"),
        "body",
        (&["turn", "go", "h"], &["go", "next"]),
        step("h", "row", "", "next"),
    );
    let outer = with_graph(
        with_outputs(node("Loop", &["2", "", "h0", "nothing"], ""), &["last", "many"]),
        "body",
        (&["turn", "go", "h", "kept"], &["go", "moved", "more"]),
        vec![row("turn", "row"), inner, node("SequenceInsert", &["kept", "moved"], "more")],
    );
    let looped = vec![
        row("none", "h0"),
        node("SequenceEmpty", &[], "nothing"),
        outer,
        with_int(node("ConcatFromSequence", &["many"], "y"), "axis", 1),
    ];
    let mut plain = vec![row("none", "h0"), row("1", "x1")];
    for (k, x) in ["h0", "h0", "x1", "x1"].iter().enumerate() {
        plain.extend(step(&format!("h{k}"), x, &k.to_string(), &format!("h{}", k + 1)));
    }
    plain.push(with_int(node("Concat", &["h2", "h4"], "y"), "axis", 1));
    same(looped, plain);
}

#[test]
fn a_scan_in_both_directions() {
    for backward in [0, 1] {
        let scan = with_outputs(node("Scan", &["h0", "x"], ""), &["h6", "all"]);
        let mut scan = with_int(scan, "num_scan_inputs", 1);
        for (name, value) in [
            ("scan_input_axes", 1),
            ("scan_input_directions", backward),
            ("scan_output_axes", 1),
            ("scan_output_directions", backward),
        ] {
            scan = with_ints(scan, name, &[value]);
        }
        let nodes = step("h", "row", "", "next");
        let scanned = vec![
            row("none", "h0"),
            with_graph(scan, "body", (&["h", "row"], &["next", "next"]), nodes),
            node("Mul", &["all", "x"], "y"),
        ];
        let mut plain = vec![row("none", "h0")];
        for turn in 0..6 {
            let at = if backward == 1 { 5 - turn } else { turn };
            let index = if at == 0 { "none".into() } else { at.to_string() };
            plain.push(row(&index, &format!("x{turn}")));
            let (from, to) = (format!("h{turn}"), format!("h{}", turn + 1));
            plain.extend(step(&from, &format!("x{turn}"), &turn.to_string(), &to));
            plain.push(node("Unsqueeze", &[&to, "axes"], &format!("wide{turn}")));
        }
        let mut wide: Vec<String> = (0..6).map(|turn| format!("wide{turn}")).collect();
        if backward == 1 {
            wide.reverse();
        }
        let wide: Vec<&str> = wide.iter().map(String::as_str).collect();
        plain.push(with_int(node("Concat", &wide, "all"), "axis", 1));
        plain.push(node("Mul", &["all", "x"], "y"));
        same(scanned, plain);
    }
}

#[test]
fn what_is_wrong_is_said() {
    let body = |outer: NodeProto| body(outer, "go", &[], Vec::new());
    let start = || row("none", "h0");
    let most = || with_int(node("ReduceMax", &["x"], "m"), "keepdims", 0);
    for (nodes, wanted) in [
        (
            vec![start(), body(node("Loop", &["far", "", "h0"], "y"))],
            "1099511627776 turns of a body",
        ),
        (
            vec![
                start(),
                most(),
                with_int(node("Cast", &["m"], "count"), "to", 7),
                body(node("Loop", &["count", "", "h0"], "y")),
            ],
            "node_y` (Loop): input 0, `count`, depends on the data",
        ),
        (
            vec![
                start(),
                most(),
                with_int(node("Cast", &["m"], "go on"), "to", 9),
                body(node("Loop", &["3", "go on", "h0"], "y")),
            ],
            "the condition `go on` depends on the data",
        ),
        (vec![start(), body(node("Loop", &["3", "", "h0", "h0"], "y"))], "the body has 3 inputs"),
        (
            vec![start(), body(node("Loop", &["", "", "h0"], "y"))],
            "neither a count nor a condition",
        ),
        (
            vec![
                start(),
                node("Less", &["none", "1"], "forever"),
                with_graph(
                    node("Loop", &["", "forever", "h0"], "y"),
                    "body",
                    (&["turn", "go", "h"], &["go", "next"]),
                    step("h", "h0", "", "next"),
                ),
            ],
            "comes to more than 262144 values",
        ),
        (vec![start(), node("Loop", &["3", "", "h0"], "y")], "attribute `body` should be a graph"),
        (
            vec![
                start(),
                with_graph(
                    node("Loop", &["3", "", "h0"], "y"),
                    "body",
                    (&["turn", "go", "h"], &["go", "next"]),
                    step("nowhere", "h", "", "next"),
                ),
            ],
            "reads `nowhere`, which nothing writes",
        ),
        (
            vec![start(), with_int(body(node("Scan", &["h0", "x"], "y")), "num_scan_inputs", 3)],
            "num_scan_inputs",
        ),
    ] {
        let error = network(nodes, stored()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
