//! ONNX's own node tests: one small model per case with inputs and the outputs they must give.
//!
//! `tests/conformance/fetch.py` unpacks the cases into `target/conformance`; where they are absent
//! the test says so and passes. A case counts when its model uses only operators of [`LISTED`] (or
//! others that gradkin knows) and all its inputs and outputs are tensors of numbers. Cases that do
//! not pass are listed with their reasons in `tests/conformance/known.txt`, which is kept exact.

#![allow(clippy::print_stderr, clippy::expect_used, clippy::unwrap_used)]

#[path = "conformance/case.rs"]
mod case;
#[path = "support/device.rs"]
mod device;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use case::Case;

/// The operators that gradkin promises.
const LISTED: &str = "
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
    BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv
    ConvTranspose Cos Cosh CumSum DepthToSpace Div Dropout Einsum Elu Equal Erf Exp Expand Flatten
    Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
    Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity If
    InstanceNormalization LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg
    NonZero Not OneHot Or PRelu Pad Pow RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2
    ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu Reshape Resize RotaryEmbedding Round ScatterElements ScatterND Selu Shape
    Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt
    Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample
    Where Xor";

/// The part of the cases that must pass.
const ENOUGH: f64 = 0.98;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/conformance/node")
}

/// The cases that are known not to pass: name and reason.
fn known() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/known.txt");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(": ").expect("a line of known.txt is `name: reason`"))
        .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
        .collect()
}

#[test]
fn node_tests_of_onnx() {
    let Ok(entries) = std::fs::read_dir(folder()) else {
        eprintln!(
            "LEFT OUT: the node tests of onnx are absent; tests/conformance/fetch.py gets them"
        );
        return;
    };
    let mut operators: BTreeSet<&str> = LISTED.split_whitespace().collect();
    operators.extend(gradkin_network::supported_operators());
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let only = std::env::var("GRADKIN_CONFORMANCE").unwrap_or_default();
    let (mut counted, mut failed, mut made_constant) = (0, BTreeMap::new(), 0);
    for path in paths.iter().filter(|p| p.to_string_lossy().contains(&only)) {
        let Some(case) = Case::open(path).filter(|case| case.uses_only(&operators)) else {
            continue;
        };
        counted += 1;
        match case.run() {
            Ok(constants) => made_constant += usize::from(constants > 0),
            Err(reason) => {
                eprintln!("{}: {reason}", case.name);
                failed.insert(case.name, reason);
            }
        }
    }
    let passed = counted - failed.len();
    eprintln!(
        "conformance: {passed} of {counted} pass ({made_constant} with inputs made constants)"
    );
    if !only.is_empty() {
        return;
    }
    let known = known();
    let new: Vec<_> = failed.iter().filter(|(name, _)| !known.contains_key(*name)).collect();
    assert!(new.is_empty(), "these fail and are not in known.txt: {new:#?}");
    let mended: Vec<_> = known.keys().filter(|name| !failed.contains_key(*name)).collect();
    assert!(mended.is_empty(), "these pass now; take them out of known.txt: {mended:#?}");
    assert!(passed as f64 >= ENOUGH * counted as f64, "only {passed} of {counted} pass");
}

/// No attribute, however wrong, may bring down the program that opens the file.
#[test]
fn damaged_attributes_are_errors() {
    let Ok(entries) = std::fs::read_dir(folder()) else {
        eprintln!(
            "LEFT OUT: the node tests of onnx are absent; tests/conformance/fetch.py gets them"
        );
        return;
    };
    let operators: BTreeSet<&str> = gradkin_network::supported_operators().into_iter().collect();
    let mut cases: Vec<Case> = entries
        .flatten()
        .filter_map(|entry| Case::open(&entry.path()))
        .filter(|case| !case.name.ends_with("_expanded") && case.uses_only(&operators))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut tried, mut panics) = (0, Vec::new());
    for case in &cases {
        for damaged in case.damaged() {
            tried += 1;
            if damaged.run().is_err_and(|reason| reason == case::PANIC) {
                panics.push(damaged.name);
            }
        }
    }
    eprintln!("{tried} damaged models tried");
    assert!(panics.is_empty(), "these panic: {panics:#?}");
}
