//! Weights of other checkpoints: what a network gives with them, and what does not fit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use gradkin_network::{
    InputData, Model, Network, NetworkError, Options, OutputData, Precision, WeightsReport,
};
use rten_onnx::onnx::{DataType, ModelProto};
use safetensors::Dtype;

#[path = "weights/support.rs"]
mod support;

use support::{File, folders, inputs, save, shared, stored, with_a_copy};

/// The values of every output.
fn outputs(model: &Model, folder: &Path, precision: Precision) -> Vec<f64> {
    let (shape, input) = inputs(folder);
    let input_shapes = HashMap::from([(model.inputs()[0].name.clone(), shape[1..].to_vec())]);
    let network =
        Network::new(model, &Options { precision, input_shapes, ..Options::default() }).unwrap();
    let input = if network.inputs()[0].integer {
        InputData::I64(input.iter().map(|v| *v as i64).collect())
    } else {
        InputData::F64(input)
    };
    let mut values = Vec::new();
    for output in network.evaluate(vec![input], shape[0]).unwrap() {
        match output.data {
            OutputData::F32(v) => values.extend(v.into_iter().map(f64::from)),
            OutputData::F64(v) => values.extend(v),
            other => panic!("an output of {other:?}"),
        }
    }
    values
}

fn open(folder: &Path) -> Model {
    Model::open(folder.join("model.onnx")).unwrap()
}

/// A model file whose weights and statistics were multiplied in the file itself.
fn scaled(folder: &Path, factor: f32) -> Model {
    let scaled = weights_of(&open(folder));
    let mut proto =
        ModelProto::parse_buf(&std::fs::read(folder.join("model.onnx")).unwrap()).unwrap();
    for tensor in proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        if scaled.contains(tensor.name.as_ref().unwrap()) {
            assert_eq!(tensor.data_type, Some(DataType::FLOAT));
            let mut raw = tensor.raw_data.as_ref().unwrap().borrow_mut();
            for bytes in raw.as_chunks_mut::<4>().0 {
                *bytes = (f32::from_le_bytes(*bytes) * factor).to_le_bytes();
            }
        }
    }
    Model::from_bytes(&proto.write_buf().unwrap(), "scaled").unwrap()
}

/// The names of everything that a checkpoint of this network holds.
fn weights_of(model: &Model) -> Vec<String> {
    let (parameters, uncounted) = model.parameters();
    let statistics = uncounted.into_iter().map(|u| u.name).filter(|n| n.contains("running_"));
    let copies = parameters.iter().flat_map(|p| p.copies.clone()).collect::<Vec<_>>();
    parameters.into_iter().map(|p| p.name).chain(copies).chain(statistics).collect()
}

/// A checkpoint of the network whose weights are `factor` times those of the model file.
fn checkpoint(folder: &Path, factor: f32) -> File {
    let wanted = weights_of(&open(folder));
    let mut file = File::default();
    for (name, shape, values) in stored(folder) {
        if wanted.contains(&name) {
            file.floats(&name, &shape, &values.iter().map(|v| v * factor).collect::<Vec<_>>());
        }
    }
    file
}

fn misfits(result: Result<(Model, WeightsReport), NetworkError>) -> (Vec<String>, String) {
    let error = result.expect_err("this must not fit");
    let text = error.to_string();
    match error {
        NetworkError::WeightsDoNotFit { misfits, .. } => (misfits, text),
        other => panic!("another error: {other}"),
    }
}

#[test]
fn weights_from_a_file_are_as_good_as_those_in_the_model() {
    for folder in folders() {
        let path = save(&folder, "scaled", &checkpoint(&folder, 1.5));
        let model = open(&folder);
        let (loaded, report) = model.with_weights(&path).unwrap();
        assert!(report.kept.is_empty() && report.left_out.is_empty(), "{folder:?}: {report:?}");
        let wanted = scaled(&folder, 1.5);
        for precision in [Precision::F32, Precision::F64] {
            let found = outputs(&loaded, &folder, precision);
            assert_eq!(found, outputs(&wanted, &folder, precision), "{folder:?}");
            assert_ne!(found, outputs(&model, &folder, precision), "{folder:?}");
        }
        assert_eq!(loaded.parameters(), model.parameters(), "{folder:?}");
    }
}

#[test]
fn every_float_type_is_taken() {
    let folder = support::reference("toy_mlp");
    for kind in [Dtype::F16, Dtype::BF16, Dtype::F64] {
        let narrow = checkpoint(&folder, 1.0).cast(kind);
        let wide = narrow.cast(Dtype::F32);
        let model = open(&folder);
        let (narrow, _) = model.with_weights(save(&folder, "narrow", &narrow)).unwrap();
        let (wide, _) = model.with_weights(save(&folder, "wide", &wide)).unwrap();
        let of = |model: &Model| outputs(model, &folder, Precision::F64);
        assert_eq!(of(&narrow), of(&wide), "{kind}");
        assert_eq!(of(&narrow) == of(&model), kind == Dtype::F64, "{kind}");
    }
}

#[test]
fn prefixes_of_wrappers_do_not_matter() {
    let folder = support::reference("resnet_bn");
    let wanted = outputs(&scaled(&folder, 0.5), &folder, Precision::F32);
    let traced = |name: &str| format!("p_{}", name.replace('.', "_"));
    let wrap: [&dyn Fn(&str) -> String; 3] =
        [&|n| format!("module.{n}"), &|n| format!("_orig_mod.model.{n}"), &traced];
    for wrap in wrap {
        let file = checkpoint(&folder, 0.5).renamed(wrap);
        let (model, report) = open(&folder).with_weights(save(&folder, "wrapped", &file)).unwrap();
        assert_eq!(outputs(&model, &folder, Precision::F32), wanted);
        assert!(report.replaced.iter().all(|(ours, theirs)| *theirs == wrap(ours)));
    }
}

#[test]
fn running_statistics_belong_to_the_weights() {
    let folder = support::reference("resnet_bn");
    let model = open(&folder);
    let whole = checkpoint(&folder, 1.5);
    let statistics = whole.names().filter(|n| n.contains("running_")).count();
    assert_eq!(statistics, 10);
    let without = whole.without(|name| name.contains("running_"));
    let (loaded, report) = model.with_weights(save(&folder, "none", &without)).unwrap();
    assert_eq!(report.kept.len(), statistics);
    assert_ne!(outputs(&loaded, &folder, Precision::F32), outputs(&model, &folder, Precision::F32));
    let part = whole.without(|name| name == "1.running_var" || name == "5.b1.running_mean");
    let (clauses, text) = misfits(model.with_weights(save(&folder, "part", &part)));
    assert_eq!(clauses.len(), 2, "{text}");
    assert!(clauses[0].contains("statistic `1.running_var` of the network is not in the file"));
}

#[test]
fn everything_that_does_not_fit_is_told_at_once() {
    let folder = support::reference("toy_mlp");
    let mut file = checkpoint(&folder, 1.0)
        .without(|name| ["0.weight", "2.bias", "4.bias", "6.bias"].contains(&name));
    file.floats("2.bias", &[63], &[0.0; 63]);
    file.floats("14.bias", &[1], &[0.0]);
    file.bytes("4.bias", Dtype::I64, &[32], vec![0; 256]);
    file.bytes("6.bias", Dtype::F8_E4M3, &[64], vec![0; 64]);
    file.bytes("1.num_batches_tracked", Dtype::I64, &[], vec![0; 8]);
    let path = save(&folder, "misfits", &file);
    let (clauses, text) = misfits(open(&folder).with_weights(&path));
    for wanted in [
        "`0.weight` of the network, of shape [64, 2], is not in the file",
        "`2.bias` has shape [63] in the file and [64] in the network",
        "`14.bias` of the file fits nothing in the network",
        "`4.bias` has element type I64, not floats",
        "`6.bias` has element type F8_E4M3, not floats",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
    assert_eq!(clauses.len(), 5, "{text}");
    let names = [path.display().to_string(), folder.join("model.onnx").display().to_string()];
    assert!(names.iter().all(|name| text.contains(name)) && text.contains("state dict"), "{text}");
}

#[test]
fn long_lists_are_cut_but_counted() {
    let folder = support::reference("toy_mlp");
    let mut file = checkpoint(&folder, 1.0);
    (0..50).for_each(|k| file.floats(&format!("more.{k}"), &[1], &[0.0]));
    let (clauses, text) = misfits(open(&folder).with_weights(save(&folder, "many", &file)));
    assert_eq!(clauses.len(), 50);
    assert!(text.contains("in 50 tensors") && text.contains("and 30 more"), "{text}");
}

#[test]
fn a_folded_normalization_is_recognised() {
    let folder = support::network("vision_transformer");
    let mut file = checkpoint(&folder, 1.0);
    file.floats("norm.running_mean", &[32], &[0.0; 32]);
    let (_, text) = misfits(open(&folder).with_weights(save(&folder, "folded", &file)));
    assert!(text.contains("`norm.running_mean` of the file fits nothing"), "{text}");
    assert!(text.contains("without folding BatchNormalization"), "{text}");
}

#[test]
fn weights_stored_without_a_name_are_told_apart_from_missing_ones() {
    let folder = support::network("vision_transformer");
    let file = checkpoint(&folder, 1.0).renamed(|name| name.replace("val_14", "in_proj_weight"));
    let (clauses, text) = misfits(open(&folder).with_weights(save(&folder, "nameless", &file)));
    assert_eq!(clauses.len(), 2, "{text}");
    assert!(clauses[0].contains("shape [32, 96] in node node_MatMul_13 (MatMul)"), "{text}");
    assert!(clauses[0].contains("stored without its name"), "{text}");
    assert!(text.contains("optimize=False"), "{text}");
}

#[test]
fn tied_weights_stay_tied() {
    let folder = support::network("transformer_decoder");
    let model = open(&folder);
    let (parameters, _) = model.parameters();
    let tied = parameters.iter().find(|p| p.name == "embedding.weight").unwrap();
    let whole = checkpoint(&folder, 1.5);
    let wanted = outputs(&scaled(&folder, 1.5), &folder, Precision::F32);
    // The exporter wrote the table out once more, or not; either way one name is enough.
    let names: Vec<String> =
        std::iter::once(tied.name.clone()).chain(tied.copies.clone()).collect();
    for name in &names {
        let one = whole.without(|n| names.iter().any(|m| m == n) && n != name);
        let (loaded, _) = model.with_weights(save(&folder, "one", &one)).unwrap();
        assert_eq!(outputs(&loaded, &folder, Precision::F32), wanted, "{name}");
        assert_eq!(loaded.parameters(), model.parameters(), "{name}");
    }
    // A training program lists a tied weight under each of its names.
    let mut twice = whole.clone();
    twice.again("embedding.weight", "head.weight");
    let (_, report) = model.with_weights(save(&folder, "twice", &twice)).unwrap();
    assert_eq!(report.left_out, ["head.weight"]);
}

#[test]
fn copies_take_the_values_of_their_weight_and_may_part() {
    let folder = with_a_copy();
    let model = open(&folder);
    let tied = |model: &Model| model.parameters().0.iter().any(|p| p.copies == ["head.weight"]);
    assert!(tied(&model));
    let both = checkpoint(&folder, 1.5);
    let of = |model: &Model| outputs(model, &folder, Precision::F32);
    let wanted = of(&scaled(&folder, 1.5));
    assert_ne!(wanted, of(&model));
    for left_out in ["", "head.weight", "2.weight"] {
        let file = both.without(|name| name == left_out);
        let (loaded, report) = model.with_weights(save(&folder, "tied", &file)).unwrap();
        assert_eq!(of(&loaded), wanted, "without {left_out:?}");
        assert!(tied(&loaded));
        assert!(report.replaced.iter().any(|(ours, _)| ours == "head.weight"), "{report:?}");
    }
    // Other values under each name: the two were equal by chance, as copied layers are at first.
    let mut apart = both.clone();
    apart.floats("head.weight", &[64, 64], &[0.25; 64 * 64]);
    let (apart, _) = model.with_weights(save(&folder, "apart", &apart)).unwrap();
    assert!(!tied(&apart));
    assert_eq!(apart.parameters().0.len(), model.parameters().0.len() + 1);
    assert_ne!(of(&apart), wanted);
}

#[test]
fn damaged_files_are_errors() {
    let folder = support::reference("toy_mlp");
    let model = open(&folder);
    let missing = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no such.safetensors");
    assert!(matches!(model.with_weights(&missing), Err(NetworkError::Read { .. })));
    let whole = checkpoint(&folder, 1.5).to_bytes();
    let path = support::temporary(&folder, "damaged");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        match model.with_weights(&path) {
            Err(NetworkError::NotWeights { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{} bytes give {:?}", bytes.len(), other.map(|(_, report)| report)),
        }
    };
    for length in (0..64).chain((64..whole.len()).step_by(997)) {
        refused(&whole[..length]);
    }
    refused(b"PK\x03\x04 and no safetensors at all");
    // A header that promises more than there is.
    refused(&[&u64::MAX.to_le_bytes()[..], b"{}"].concat());
    let huge =
        br#"{"0.weight":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
    refused(&[&(huge.len() as u64).to_le_bytes()[..], huge].concat());
    // Single bits: an error, or values that fit.
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for bit in (0..8 * (header + 8)).step_by(5) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).unwrap();
        let _ = model.with_weights(&path);
    }
}

#[test]
fn the_resnet_of_its_own_checkpoint() {
    let test = "the_resnet_of_its_own_checkpoint";
    let Some(folder) = shared("models/cifar10/resnet20.safetensors", test) else { return };
    let folder: PathBuf = folder.parent().unwrap().to_owned();
    let model = Model::open(folder.join("resnet20.onnx")).unwrap();
    let (loaded, report) = model.with_weights(folder.join("resnet20.safetensors")).unwrap();
    assert!(report.kept.is_empty() && report.left_out.is_empty(), "{report:?}");
    assert_eq!(report.replaced.len(), model.parameters().0.len() + 38);
    let input: Vec<f32> = (0..3072).map(|k| (k as f32 * 0.37).sin()).collect();
    let of = |model: &Model| {
        let network = Network::new(model, &Options::default()).unwrap();
        network.evaluate(vec![InputData::F32(input.clone())], 1).unwrap()
    };
    assert_eq!(of(&loaded), of(&model));
    // The file counts: with other weights the output is another.
    let mut file = File::read(&folder.join("resnet20.safetensors"));
    file.floats("linear.bias", &[10], &[1.0; 10]);
    let (other, _) = model.with_weights(save(&folder, "other", &file)).unwrap();
    assert_ne!(of(&other), of(&model));
    assert_eq!(other.parameters(), model.parameters());
}

/// The program's own constants: the graph was traced with its own, so they need not fit.
#[test]
fn constants_of_the_program_are_left_out() {
    let folder = support::reference("toy_mlp");
    let mut file = checkpoint(&folder, 1.5);
    file.floats("attention.causal_mask", &[8, 8], &[0.0; 64]);
    file.floats("rotary.inv_freq", &[4], &[0.0; 4]);
    file.bytes("position_ids", Dtype::I64, &[2], vec![0; 16]);
    file.bytes("1.num_batches_tracked", Dtype::I64, &[], vec![0; 8]);
    let (model, report) = open(&folder).with_weights(save(&folder, "constants", &file)).unwrap();
    assert_eq!(report.left_out, ["attention.causal_mask", "position_ids", "rotary.inv_freq"]);
    assert_eq!(report.replaced.len(), model.parameters().0.len());
}
