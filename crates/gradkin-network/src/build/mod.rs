//! Networks made in Rust: layers are put together one by one, and out comes a file of ONNX.
//!
//! The builder keeps the shape of every value for one example; the batch is an open axis of the file.
//! Parameters are stored under PyTorch's names (`conv1.weight`) with the values that say nothing
//! (zeros; ones for scales); [`Model::draw_weights`](crate::Model::draw_weights) draws them.

mod functions;
mod layers;
mod write;

use std::collections::HashSet;

pub use functions::Pooling;
pub use layers::Convolution;

use crate::error::{NetworkError, Result};
use write::{Attribute, Node, Stored};

/// A value of the network that is being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge(usize);

/// Name and shape of a value; the shape is that of one example.
#[derive(Debug, Clone)]
struct Value {
    name: String,
    shape: Vec<usize>,
    /// Whether a node writes it under a name that may still change.
    open: bool,
}

/// A network in the making.
///
/// ```
/// # fn main() -> Result<(), gradkin_network::NetworkError> {
/// use gradkin_network::build::{Convolution, GraphBuilder, Pooling};
/// use gradkin_network::{Model, Network, Options};
///
/// let mut graph = GraphBuilder::new("digits");
/// let x = graph.input("image", &[1, 28, 28])?;
/// let x = graph.conv("conv1", x, Convolution::new(8, 5))?;
/// let x = graph.max_pool(x, Pooling::new(2))?;
/// let x = graph.relu(x)?;
/// let x = graph.flatten(x)?;
/// let x = graph.linear("fc", x, 10, true)?;
/// let x = graph.log_softmax(x)?;
/// graph.output("log_probabilities", x)?;
/// let bytes = graph.finish()?;
///
/// let mut model = Model::from_bytes(&bytes, "digits")?;
/// model.draw_weights(1)?;
/// let network = Network::new(&model, &Options::default())?;
/// assert_eq!(network.parameters()[0].name, "conv1.weight");
/// assert_eq!(network.outputs()[0].1, [1, 10]);
/// // The file with the drawn weights:
/// let bytes = model.encode(&bytes)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct GraphBuilder {
    name: String,
    values: Vec<Value>,
    names: HashSet<String>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    nodes: Vec<Node>,
    stored: Vec<Stored>,
    /// Bytes of the stored tensors.
    size: usize,
}

impl GraphBuilder {
    /// Begin a network; `name` stands for it in the file and in messages.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            values: Vec::new(),
            names: HashSet::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            nodes: Vec::new(),
            stored: Vec::new(),
            size: 0,
        }
    }

    /// An input of float32, by the shape of one example.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Result<Edge> {
        self.claim(name)?;
        self.check_shape(name, shape)?;
        let edge = self.value(name.to_owned(), shape.to_vec(), false);
        self.inputs.push(edge.0);
        Ok(edge)
    }

    /// Make a value an output of the network, under this name.
    pub fn output(&mut self, name: &str, edge: Edge) -> Result<()> {
        let shape = self.shape(edge)?.to_vec();
        self.claim(name)?;
        let open = self.values[edge.0].open;
        let at = if open {
            self.values[edge.0].name = name.to_owned();
            self.values[edge.0].open = false;
            edge.0
        } else {
            // An input, or a value that is an output already, needs a second name.
            let renamed = self.value(name.to_owned(), shape, false);
            self.nodes.push(Node {
                name: name.to_owned(),
                operator: "Identity",
                inputs: vec![edge.0],
                stored: Vec::new(),
                output: renamed.0,
                attributes: Vec::new(),
            });
            renamed.0
        };
        self.outputs.push(at);
        Ok(())
    }

    /// The shape of a value for one example.
    ///
    /// # Errors
    ///
    /// Where the value belongs to another builder that holds more values than this one.
    pub fn shape(&self, edge: Edge) -> Result<&[usize]> {
        match self.values.get(edge.0) {
            Some(value) => Ok(&value.shape),
            None => self.refuse("a value of another builder was given"),
        }
    }

    /// The network as a file of ONNX.
    ///
    /// # Errors
    ///
    /// Where it has no output, and where its weights would take more than the 2 GB that ONNX allows.
    pub fn finish(self) -> Result<Vec<u8>> {
        if self.outputs.is_empty() {
            return self.refuse("it has no output; name one with `output`");
        }
        Ok(write::file(&self))
    }

    /// A value of this shape, written by a node.
    fn node(
        &mut self,
        operator: &'static str,
        name: String,
        inputs: &[Edge],
        shape: Vec<usize>,
        attributes: Vec<Attribute>,
    ) -> Result<Edge> {
        self.layer(operator, name, inputs, Vec::new(), shape, attributes)
    }

    /// A value written by a node that also reads stored tensors, behind its other inputs.
    fn layer(
        &mut self,
        operator: &'static str,
        name: String,
        inputs: &[Edge],
        stored: Vec<Option<Stored>>,
        shape: Vec<usize>,
        attributes: Vec<Attribute>,
    ) -> Result<Edge> {
        for edge in inputs {
            self.shape(*edge)?;
        }
        self.check_shape(&name, &shape)?;
        let size = stored.iter().flatten().map(Stored::size).fold(self.size, usize::saturating_add);
        if size > write::MOST_BYTES {
            return self.refuse(&format!(
                "with layer `{name}` its weights are more than the 2 GB that a file of ONNX may hold"
            ));
        }
        self.claim(&name)?;
        for tensor in stored.iter().flatten() {
            self.claim(&tensor.name)?;
        }
        self.size = size;
        let called =
            |tensor: &Option<Stored>| tensor.as_ref().map_or(String::new(), |t| t.name.clone());
        let read = stored.iter().map(called).collect();
        self.stored.extend(stored.into_iter().flatten());
        let output = self.value(name.clone(), shape, true);
        self.nodes.push(Node {
            name,
            operator,
            inputs: inputs.iter().map(|edge| edge.0).collect(),
            stored: read,
            output: output.0,
            attributes,
        });
        Ok(output)
    }

    fn value(&mut self, name: String, shape: Vec<usize>, open: bool) -> Edge {
        self.values.push(Value { name, shape, open });
        Edge(self.values.len() - 1)
    }

    /// A name for a node that the caller did not name.
    fn free_name(&self, operator: &str) -> String {
        let mut names = (self.nodes.len()..).map(|k| format!("{operator}_{k}"));
        names.find(|name| !self.names.contains(name)).unwrap_or_default()
    }

    fn claim(&mut self, name: &str) -> Result<()> {
        if name.is_empty() {
            return self.refuse("a layer, input or output has an empty name");
        }
        if !self.names.insert(name.to_owned()) {
            return self.refuse(&format!("the name `{name}` is given twice"));
        }
        Ok(())
    }

    /// The size of everything must be a number, and nothing may be empty.
    fn check_shape(&self, name: &str, shape: &[usize]) -> Result<()> {
        let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        match count {
            Some(count) if count > 0 && count <= write::MOST_BYTES => Ok(()),
            _ => self.refuse(&format!(
                "`{name}` would have shape {shape:?}; every axis needs at least one entry, and all \
                 together no more than {}",
                write::MOST_BYTES
            )),
        }
    }

    fn refuse<T>(&self, message: &str) -> Result<T> {
        Err(NetworkError::Usage(format!("the network `{}`: {message}", self.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InputData, Model, Network, Options, OutputData};

    /// Every layer once, on small pictures.
    fn everything() -> Vec<u8> {
        let mut g = GraphBuilder::new("everything");
        let input = g.input("image", &[3, 12, 12]).unwrap();
        let x = g.conv("conv1", input, Convolution::new(8, 3).pad(1).stride(2)).unwrap();
        let x = g.batch_norm("bn1", x).unwrap();
        let skip = g.relu(x).unwrap();
        let x = g.conv("conv2", skip, Convolution::new(8, 3).pad(1).groups(4).no_bias()).unwrap();
        let x = g.leaky_relu(x, 0.1).unwrap();
        let x = g.add(x, skip).unwrap();
        let x = g.mul(x, skip).unwrap();
        let pooled = g.max_pool(x, Pooling::new(3).stride(2).pad(1)).unwrap();
        let up = g.conv_transpose("up", pooled, Convolution::new(4, 2).stride(2)).unwrap();
        let near = g.upsample(pooled, 2).unwrap();
        let x = g.concat(&[up, near]).unwrap();
        let x = g.channels(x, 2..10).unwrap();
        let x = g.prelu("prelu1", x, 8).unwrap();
        let picture = g.sigmoid(x).unwrap();
        g.output("picture", picture).unwrap();
        let x = g.average_pool(x, Pooling::new(2).pad(1)).unwrap();
        let mean = g.global_average_pool(x).unwrap();
        let x = g.reshape(x, &[16, 8]).unwrap();
        let x = g.flatten(x).unwrap();
        let x = g.linear("fc1", x, 5, true).unwrap();
        let x = g.tanh(x).unwrap();
        let x = g.prelu("prelu2", x, 1).unwrap();
        let mean = g.flatten(mean).unwrap();
        let x = g.concat(&[x, mean]).unwrap();
        let x = g.linear("fc2", x, 4, false).unwrap();
        g.output("logits", x).unwrap();
        let x = g.log_softmax(x).unwrap();
        g.output("log_probabilities", x).unwrap();
        g.output("again", x).unwrap();
        g.finish().unwrap()
    }

    #[test]
    fn every_layer_runs_with_the_shape_that_the_builder_says() {
        let bytes = everything();
        let mut model = Model::from_bytes(&bytes, "everything").unwrap();
        let names: Vec<String> = model.parameters().0.into_iter().map(|p| p.name).collect();
        let expected = [
            "conv1.weight",
            "conv1.bias",
            "bn1.weight",
            "bn1.bias",
            "conv2.weight",
            "up.weight",
            "up.bias",
            "prelu1.weight",
            "fc1.weight",
            "fc1.bias",
            "prelu2.weight",
            "fc2.weight",
        ];
        assert_eq!(names, expected);
        let ramp: Vec<f64> = (0..8 * 3 * 9).map(|k| (k as f64).sin()).collect();
        model.set_values("conv1.weight", &ramp).unwrap();
        let network = Network::new(&model, &Options::default()).unwrap();
        let shapes: Vec<_> = network.outputs().iter().map(|(n, s, _)| (*n, s.to_vec())).collect();
        let outputs = [
            ("picture", vec![1, 8, 6, 6]),
            ("logits", vec![1, 4]),
            ("log_probabilities", vec![1, 4]),
            ("again", vec![1, 4]),
        ];
        assert_eq!(shapes, outputs);
        let input = (0..2 * 3 * 144).map(|k| (k as f32 * 0.1).cos()).collect();
        let results = network.evaluate(vec![InputData::F32(input)], 2).unwrap();
        let OutputData::F32(picture) = &results[0].data else { panic!("floats") };
        assert!(picture.iter().all(|v| v.is_finite()));
        assert_eq!(picture.len(), 2 * 8 * 36);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let mut g = GraphBuilder::new("wrong");
        let x = g.input("x", &[3, 8, 8]).unwrap();
        let flat = g.flatten(x).unwrap();
        let say = |error: NetworkError| error.to_string();
        let text = say(g.conv("a", x, Convolution::new(4, 9)).unwrap_err());
        assert!(text.contains("`wrong`") && text.contains("`a`") && text.contains("9"), "{text}");
        assert!(say(g.conv("b", x, Convolution::new(4, 3).groups(2)).unwrap_err()).contains("2"));
        assert!(say(g.conv("c", flat, Convolution::new(4, 3)).unwrap_err()).contains("[192]"));
        assert!(say(g.linear("d", x, 4, true).unwrap_err()).contains("flatten"));
        assert!(say(g.add(x, flat).unwrap_err()).contains("[192]"));
        assert!(say(g.mul(x, flat).unwrap_err()).contains("[192]"));
        assert!(say(g.reshape(x, &[5]).unwrap_err()).contains("192"));
        assert!(g.channels(x, 2..4).is_err());
        assert!(g.channels(x, std::ops::Range { start: 2, end: 1 }).is_err());
        assert!(g.concat(&[]).is_err());
        assert!(g.upsample(x, 0).is_err());
        assert!(g.conv("e", x, Convolution::new(4, 3).stride(0)).is_err());
        assert!(g.max_pool(x, Pooling::new(0)).is_err());
        assert!(g.max_pool(x, Pooling::new(2).pad(2)).is_err());
        assert!(g.prelu("f", x, 2).is_err());
        assert!(g.input("empty", &[0]).is_err());
        assert!(g.linear("huge", flat, usize::MAX / 2, true).is_err());
        assert!(g.linear("large", flat, 1 << 23, true).is_err());
        assert!(g.relu(Edge(99)).is_err());
        g.linear("fc", flat, 4, true).unwrap();
        assert!(say(g.linear("fc", flat, 4, true).unwrap_err()).contains("twice"));
        assert!(say(g.finish().unwrap_err()).contains("no output"));
    }
}
