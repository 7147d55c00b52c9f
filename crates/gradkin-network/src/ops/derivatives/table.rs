//! docs/operators.md, written from the operator tables and from what this suite finds out.

use std::fmt::Write;
use std::path::Path;

use super::super::{
    Build, activation, arithmetic, attention, batch_normalization, blocks, convolution, cumulative,
    einsum, grid_sample, indexing, inverse, linear, lp_pool, masks, normalization, norms, picking,
    pooling, quantization, recurrent, reduction, resize, rotary, scatter, shape, softmax,
    supported_operators,
};
use super::{FLAT, Maker, Random, Role, Trial, build, by_the_graph, cases, cotangents};
use crate::error::OpResult;

type Table = &'static [(&'static str, Build)];

const SECTIONS: &[(&str, &[Table])] = &[
    ("Arithmetic, comparison and logic", &[arithmetic::OPERATORS, inverse::OPERATORS]),
    ("Activations", &[activation::OPERATORS, softmax::OPERATORS]),
    ("Products", &[linear::OPERATORS, einsum::OPERATORS]),
    ("Convolution", &[convolution::OPERATORS]),
    ("Pooling", &[pooling::OPERATORS, lp_pool::OPERATORS]),
    ("Quantisation", &[quantization::OPERATORS]),
    (
        "Normalisation",
        &[batch_normalization::OPERATORS, normalization::OPERATORS, norms::OPERATORS],
    ),
    ("Attention", &[attention::OPERATORS, rotary::OPERATORS]),
    ("Recurrent", &[recurrent::OPERATORS]),
    ("Reductions and sums", &[reduction::OPERATORS, cumulative::OPERATORS]),
    ("Shapes and types", &[shape::OPERATORS, blocks::OPERATORS]),
    (
        "Picking and placing",
        &[indexing::OPERATORS, picking::OPERATORS, scatter::OPERATORS, masks::OPERATORS],
    ),
    ("Resampling", &[resize::OPERATORS, grid_sample::OPERATORS]),
];

const HEAD: &str = "\
# Operators

The ONNX operators (opset 7 to the newest) that gradkin runs, forward and reverse. This page is
written from the code; `GRADKIN_BLESS=1 cargo test -p gradkin-network operators_table` rewrites it.

*Gradient*: whether a gradient flows through; *zero* means that the output is flat almost
everywhere. *Factor*: whether the gradient by a stored weight can come as a sum of outer products
or as rows of a table, without being written out.
";

/// What one row says.
struct Row {
    name: &'static str,
    gradient: &'static str,
    factor: &'static str,
}

/// Whether random cases of an operator give any gradient, and any factor.
fn found(name: &'static str, maker: Maker) -> OpResult<(bool, bool)> {
    const SEEDS: u64 = 12;
    let (mut gradient, mut factor) = (false, false);
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let case = maker(name, &mut random);
        let values = case.values(&mut random)?;
        let operator = build(&case.setup(&values))?;
        let shares = |k: &usize| case.role(*k) == Some(Role::Shared);
        factor |= (0..values.len()).filter(shares).any(|k| operator.factor_shape(k).is_some());
        let inputs: Vec<_> = values.iter().map(Option::as_ref).collect();
        let forward = operator.forward(&inputs)?;
        let cotangents = cotangents(&forward, case.outputs, &mut random)?;
        let trial = Trial { case: &case, operator, values: values.clone(), cotangents };
        let wanted: Vec<bool> = (0..values.len()).map(|k| trial.is_differentiable(k)).collect();
        for back in trial.reverse(&forward, &wanted, |o, sweep| o.reverse(sweep))?.iter().flatten()
        {
            gradient |= back.flatten_all()?.to_vec1::<f64>()?.iter().any(|x| *x != 0.0);
        }
    }
    Ok((gradient, factor))
}

fn row(name: &'static str) -> Row {
    let yes = |yes: bool| if yes { "yes" } else { "" };
    if FLAT.contains(&name) {
        return Row { name, gradient: "", factor: "" };
    }
    let (_, maker) = cases().find(|(covered, _)| *covered == name).expect("a covered operator");
    let (gradient, factor) = found(name, maker).expect("cases that run");
    Row { name, gradient: if gradient { "yes" } else { "zero" }, factor: yes(factor) }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut listed: Vec<&str> = by_the_graph().collect();
    for (title, tables) in SECTIONS {
        let mut names: Vec<&'static str> =
            tables.iter().flat_map(|table| table.iter()).map(|(name, _)| *name).collect();
        names.sort_unstable();
        let _ = write!(page, "\n## {title}\n\n| operator | gradient | factor |\n|---|---|---|\n");
        for Row { name, gradient, factor } in names.iter().copied().map(row) {
            let _ = writeln!(page, "| {name} | {gradient} | {factor} |");
        }
        listed.extend(names);
    }
    let names = by_the_graph().collect::<Vec<_>>().join(", ");
    let _ = write!(
        page,
        "\n## Resolved while the graph is built\n\n{names} (If where its condition does not depend \
         on the data, Loop where the number of its turns does not, sequences where the places asked for do not), and functions that the model file defines itself.\n"
    );
    listed.sort_unstable();
    assert_eq!(listed, supported_operators(), "give every family a section");
    page
}

#[test]
fn operators_table_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operators.md");
    let page = page();
    if std::env::var_os("GRADKIN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("docs");
        std::fs::write(&path, &page).expect("docs/operators.md");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == page,
        "docs/operators.md is not what the code says; rewrite it with\n    \
         GRADKIN_BLESS=1 cargo test -p gradkin-network operators_table"
    );
}
