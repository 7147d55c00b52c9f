//! Cases of recurrent layers.

use super::Maker;
use super::case::{Case, Random};

pub(super) const CASES: &[(&str, Maker)] = &[
    ("RNN", |name, r| {
        let activation = r.pick(&["Tanh", "Sigmoid", "Softsign", "Affine"]);
        layer(name, r, 1, &[activation])
    }),
    ("GRU", |name, r| {
        let before = r.int(0, 1);
        let activations = r.pick(&[["Sigmoid", "Tanh"], ["HardSigmoid", "ScaledTanh"]]);
        layer(name, r, 3, &activations).int("linear_before_reset", before)
    }),
    ("LSTM", |name, r| {
        let activations = r.pick(&[["Sigmoid", "Tanh", "Tanh"], ["Softplus", "Elu", "LeakyRelu"]]);
        let case = layer(name, r, 4, &activations);
        if r.chance(0.3) { case.int("input_forget", 1) } else { case }
    }),
];

fn layer(name: &'static str, r: &mut Random, gates: usize, activations: &[&str]) -> Case {
    let (steps, rows) = (r.size(1, 4), r.pick(&[1, 1, 2]));
    let (input, hidden) = (r.size(1, 3), r.size(1, 3));
    let direction = r.pick(&["forward", "reverse", "bidirectional"]);
    let dirs = if direction == "bidirectional" { 2 } else { 1 };
    let layout = r.int(0, 1);
    let first = layout == 1;
    let x = if first { [rows, steps, input] } else { [steps, rows, input] };
    let state = if first { [rows, dirs, hidden] } else { [dirs, rows, hidden] };
    let mut case = Case::new(name, 14)
        .text("direction", direction)
        .int("hidden_size", hidden as i64)
        .int("layout", layout)
        .outputs(if gates == 4 { 3 } else { 2 });
    if r.chance(0.6) {
        case = case.texts("activations", &activations.repeat(dirs));
    }
    if r.chance(0.3) {
        case = case.float("clip", 1.0);
    }
    case = case.either(r, &x);
    case = case.shared(&[dirs, gates * hidden, input]).shared(&[dirs, gates * hidden, hidden]);
    case = optional(case, r, |case, _| case.shared(&[dirs, 2 * gates * hidden]));
    case = optional(case, r, |case, r| {
        let lengths: Vec<i64> = (0..rows).map(|_| r.int(0, steps as i64)).collect();
        case.list(&lengths)
    });
    case = optional(case, r, |case, r| case.either(r, &state));
    if gates == 4 {
        case = optional(case, r, |case, r| case.either(r, &state));
        case = optional(case, r, |case, _| case.shared(&[dirs, 3 * hidden]));
    }
    case
}

fn optional(case: Case, r: &mut Random, add: impl Fn(Case, &mut Random) -> Case) -> Case {
    if r.chance(0.6) { add(case, r) } else { case.absent() }
}
