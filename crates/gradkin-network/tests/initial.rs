//! Weights drawn anew in networks that PyTorch exported.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use gradkin_network::{Draw, DrawReport, Model};

fn drawn(folder: &str) -> (DrawReport, Model) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let mut model = Model::open(tests.join(folder).join("model.onnx")).unwrap();
    let report = model.draw_weights(1).unwrap();
    (report, model)
}

/// One over the square of the bound.
fn fan_in(report: &DrawReport, name: &str) -> f64 {
    match report.drawn.iter().find(|(drawn, _)| drawn == name) {
        Some((_, Draw::Uniform { bound })) => bound.powi(-2).round(),
        other => panic!("{name}: {other:?}"),
    }
}

fn draw(report: &DrawReport, name: &str) -> Draw {
    report.drawn.iter().find(|(drawn, _)| drawn == name).unwrap().1
}

#[test]
fn convolutions_and_normalisations() {
    let (report, _) = drawn("networks/inverted_residual");
    assert!(report.left.is_empty());
    assert_eq!(fan_in(&report, "stem.0.weight"), 27.0);
    // Each channel alone, 5 × 5.
    assert_eq!(fan_in(&report, "blocks.1.body.3.weight"), 25.0);
    assert_eq!(fan_in(&report, "blocks.0.body.6.expand.bias"), 6.0);
    assert_eq!(draw(&report, "stem.1.weight"), Draw::Constant(1.0));
    assert_eq!(draw(&report, "stem.1.running_mean"), Draw::Constant(0.0));
    assert_eq!(draw(&report, "stem.1.running_var"), Draw::Constant(1.0));
    let (report, _) = drawn("reference/unet");
    assert_eq!(fan_in(&report, "up.weight"), 12.0 * 4.0);
    // A group normalisation that the exporter wrote out.
    assert_eq!(draw(&report, "val_28"), Draw::Constant(1.0));
    assert_eq!(draw(&report, "val_30"), Draw::Constant(0.0));
}

#[test]
fn products_and_their_biases() {
    let (report, model) = drawn("reference/transformer");
    assert_eq!(draw(&report, "emb.weight"), Draw::Normal);
    // Stored [in, out] for a MatMul, its bias added by a node of its own.
    assert_eq!(fan_in(&report, "val_37"), 64.0);
    assert_eq!(fan_in(&report, "f2.bias"), 64.0);
    // Stored [out, in] for a Gemm.
    assert_eq!(fan_in(&report, "head.weight"), 32.0);
    assert_eq!(report.left, ["pos"]);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let before = Model::open(tests.join("reference/transformer/model.onnx")).unwrap();
    assert_eq!(model.values("pos"), before.values("pos"));
    assert_ne!(model.values("val_37"), before.values("val_37"));
}

#[test]
fn recurrent_layers_and_norms_that_are_written_out() {
    let (report, _) = drawn("networks/lstm_tokens");
    assert!(report.left.is_empty());
    assert_eq!(fan_in(&report, "val_43"), 10.0);
    let (report, _) = drawn("networks/lstm_cell");
    assert_eq!(report.left, ["start"]);
    let (report, _) = drawn("networks/transformer_decoder");
    assert!(report.left.is_empty(), "{:?}", report.left);
    assert_eq!(draw(&report, "norm.weight"), Draw::Constant(1.0));
    let (report, _) = drawn("networks/vision_transformer");
    assert_eq!(report.left, ["class_token", "position"]);
    let bias = "blocks.0.attention.attention.in_proj_bias";
    assert_eq!(draw(&report, bias), Draw::Constant(0.0));
}
