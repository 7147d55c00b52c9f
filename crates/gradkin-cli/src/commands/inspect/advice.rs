//! What a user of a network should be aware of before comparing examples by its parameters.

use gradkin::network::{Model, Parameter};

use crate::text;

/// Warnings that matter, as sentences.
pub(super) fn warnings(model: &Model, parameters: &[Parameter]) -> Vec<String> {
    [
        unsupported(model),
        no_parameters(parameters),
        fused_normalization(model, parameters),
        shared(parameters),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn unsupported(model: &Model) -> Option<String> {
    let nodes = model.unsupported_nodes();
    if nodes.is_empty() {
        return None;
    }
    Some(format!("gradkin does not know these operators: {}", nodes.join(", ")))
}

fn no_parameters(parameters: &[Parameter]) -> Option<String> {
    let none = "the model stores no parameters, so there is nothing to compare examples by";
    parameters.is_empty().then(|| none.into())
}

/// Exporters fold a BatchNormalization into the convolution before it; its scale and shift then are
/// no parameters any more, and the convolution's are others.
fn fused_normalization(model: &Model, parameters: &[Parameter]) -> Option<String> {
    let has = |operator: &str| model.operator_counts().iter().any(|(name, _)| name == operator);
    let remedy = "its parameters are not those of the file, and neither are the similarities; export \
                  with dynamo=True and optimize=False, or with dynamo=False, \
                  do_constant_folding=False and training=TrainingMode.PRESERVE in eval mode";
    let folded = model.folded_normalizations();
    if !folded.is_empty() {
        return Some(format!(
            "the exporter folded BatchNormalization into the layer before it ({}): {remedy}",
            text::first_few(&folded)
        ));
    }
    let by_pytorch = model.producer().to_lowercase().contains("pytorch");
    if !by_pytorch || has("BatchNormalization") {
        return None;
    }
    let renamed: Vec<&str> = parameters
        .iter()
        .filter(|p| p.layer.ends_with("(Conv)") && looks_fused(&p.name))
        .map(|p| p.name.as_str())
        .collect();
    if renamed.is_empty() {
        return None;
    }
    Some(format!(
        "a BatchNormalization looks fused into Conv (the exporter renamed {}): if the network was \
         trained with one, {remedy}",
        text::first_few(&renamed)
    ))
}

/// Names that PyTorch's exporters give to what they fold into a convolution.
fn looks_fused(name: &str) -> bool {
    name.starts_with("onnx::Conv_") || name.ends_with("weight_bias") || name.ends_with("_fused_bn")
}

fn shared(parameters: &[Parameter]) -> Option<String> {
    let uses = |p: &Parameter| match p.copies.as_slice() {
        [] => format!("{} ({} uses)", p.name, p.uses),
        copies => format!("{} ({} uses, also stored as {})", p.name, p.uses, copies.join(", ")),
    };
    let shared = parameters.iter().filter(|p| p.uses > 1 || !p.copies.is_empty());
    let shared: Vec<String> = shared.map(uses).collect();
    if shared.is_empty() {
        return None;
    }
    Some(format!(
        "shared parameters: {}; the gradients of all uses add up before examples are compared",
        text::first_few(&shared)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, uses: usize) -> Parameter {
        let (name, layer) = (name.into(), "c (Conv)".into());
        Parameter { name, shape: vec![2], layer, uses, copies: Vec::new() }
    }

    #[test]
    fn shared_parameters_are_named() {
        let text = shared(&[parameter("a", 1), parameter("b", 3)]).unwrap();
        assert!(text.contains("b (3 uses)") && !text.contains("a ("), "{text}");
        assert_eq!(shared(&[parameter("a", 1)]), None);
    }

    #[test]
    fn names_of_fused_weights() {
        assert!(looks_fused("onnx::Conv_12") && looks_fused("layer1.conv.weight_bias"));
        assert!(!looks_fused("conv1.weight") && !looks_fused("conv1.bias"));
    }
}
