//! Two ways to write one network: what they give, and gradients.

use gradkin_network::{
    Collected, Factor, InputData, Model, Network, NetworkError, OutputData, Sweep,
};
use rten_onnx::onnx::{NodeProto, TensorProto};

use crate::written::{model, wave};

const EXAMPLES: usize = 3;

/// A network over examples of `[6, 4]`.
pub(crate) fn network(
    nodes: Vec<NodeProto>,
    stored: Vec<TensorProto>,
) -> Result<Network, NetworkError> {
    let model = Model::from_bytes(&model(nodes, stored, &[6, 4]), "written.onnx")?;
    Network::new(&model, &Default::default())
}

/// What a network gives for each example, and gradients of that by `w`.
fn found(nodes: Vec<NodeProto>, stored: Vec<TensorProto>) -> (Vec<f32>, Vec<f32>) {
    let network = network(nodes, stored).unwrap();
    let examples = || vec![InputData::F32(wave(EXAMPLES * 24))];
    let output = network.evaluate(examples(), EXAMPLES).unwrap().remove(0);
    let OutputData::F32(values) = output.data else { panic!("{:?}", output.data) };
    let chosen: Vec<bool> = network.parameters().iter().map(|p| p.name == "w").collect();
    let sweep = Sweep::new(&network, None, Some(&chosen)).unwrap();
    let pass = sweep.forward(examples(), EXAMPLES).unwrap();
    let mut sink = Collected::default();
    sweep.reverse(&pass, &sweep.identity(EXAMPLES).unwrap(), &mut sink).unwrap();
    let dense = |f: &Factor| f.to_dense().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    (values, sink.factors.values().flat_map(dense).collect())
}

/// Both give the same numbers, to the last bit.
pub(crate) fn same(one: Vec<NodeProto>, other: Vec<NodeProto>, stored: &[TensorProto]) {
    let (found, wanted) = (found(one, stored.to_vec()), found(other, stored.to_vec()));
    assert!(wanted.1.iter().any(|x| *x != 0.0));
    assert_eq!(found, wanted);
}
