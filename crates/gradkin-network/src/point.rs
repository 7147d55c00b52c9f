//! The network at other values of its parameters than the file's: one point θ of parameter space.

use candle_core::Tensor;

use crate::error::{NetworkError, Result};
use crate::graph::Network;
use crate::ops::Forward;
use crate::tensor::lead_shape;

/// Values of the parameters, and of everything that is computed from them alone.
///
/// Cheap to clone: tensors are shared. Tensors that candle tracks (a `Var`) stay tracked, so that a
/// pass at this point, and a reverse sweep over it, can themselves be differentiated.
///
/// ```no_run
/// # fn main() -> Result<(), gradkin_network::NetworkError> {
/// use gradkin_network::{InputData, Model, Network, Sweep};
/// let network = Network::new(&Model::open("model.onnx")?, &Default::default())?;
/// let sweep = Sweep::new(&network, None, None)?;
/// // A step along the negative parameters: weights half as large.
/// let halved = network.parameter_values()?.iter().map(|t| t * 0.5).collect::<Result<Vec<_>, _>>()?;
/// let point = network.point(&halved)?;
/// let pass = sweep.forward_at(&point, vec![InputData::F32(vec![0.0; 784])], 1)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Point {
    /// By value of the network: what is the same for every example.
    pub(crate) shared: Vec<Option<Tensor>>,
}

impl Network {
    /// The parameters' values as the file has them, each in its stored shape.
    pub fn parameter_values(&self) -> Result<Vec<Tensor>> {
        let mut found: Vec<Option<Tensor>> = vec![None; self.parameters.len()];
        for value in &self.values {
            let (Some(entries), Some(shared)) = (&value.entries, &value.shared) else { continue };
            let slot = &mut found[entries.parameter];
            if entries.map.is_none() && slot.is_none() {
                *slot = Some(shared.reshape(value.shape.as_slice())?);
            }
        }
        let named = found.into_iter().zip(&self.parameters);
        named
            .map(|(value, parameter)| {
                value.ok_or_else(|| {
                    NetworkError::Usage(format!("parameter `{}` has no value", parameter.name))
                })
            })
            .collect()
    }

    /// The network with other parameter values, one tensor of the stored shape each, in the order of
    /// [`Network::parameters`] and in the float type of the network.
    pub fn point(&self, parameters: &[Tensor]) -> Result<Point> {
        self.check_values(parameters)?;
        let mut shared: Vec<Option<Tensor>> =
            self.values.iter().map(|value| value.shared.clone()).collect();
        for (value, slot) in self.values.iter().zip(&mut shared) {
            let Some(entries) = &value.entries else { continue };
            let stored = &parameters[entries.parameter];
            let full = lead_shape(1, &value.shape);
            *slot = Some(match &entries.map {
                None => stored.reshape(full)?,
                Some(map) => {
                    stored.flatten_all()?.index_select(&map.flatten_all()?, 0)?.reshape(full)?
                }
            });
        }
        for node in self.nodes.iter().filter(|node| node.shared) {
            let moved = |id: &usize| self.values[*id].entries.is_some();
            let outputs = || node.outputs.iter().flatten();
            if !outputs().any(|id| self.values[*id].parametric) || outputs().all(moved) {
                continue;
            }
            let operands: Vec<Option<&Tensor>> =
                node.inputs.iter().map(|i| i.and_then(|i| shared[i].as_ref())).collect();
            let Forward { outputs, .. } =
                self.forward_of(node, &operands).map_err(|e| self.node_error(node, e))?;
            for (id, tensor) in node.outputs.iter().zip(outputs) {
                if let Some(id) = id {
                    shared[*id] = Some(tensor);
                }
            }
        }
        Ok(Point { shared })
    }

    fn check_values(&self, parameters: &[Tensor]) -> Result<()> {
        if parameters.len() != self.parameters.len() {
            return Err(NetworkError::Usage(format!(
                "{} has {} parameters but {} values were given",
                self.source,
                self.parameters.len(),
                parameters.len()
            )));
        }
        for (given, parameter) in parameters.iter().zip(&self.parameters) {
            if given.dims() != parameter.shape || given.dtype() != self.dtype() {
                return Err(NetworkError::Usage(format!(
                    "parameter `{}` takes {:?} of shape {:?} but {:?} of shape {:?} were given",
                    parameter.name,
                    self.dtype(),
                    parameter.shape,
                    given.dtype(),
                    given.dims()
                )));
            }
        }
        Ok(())
    }
}

impl Point {
    /// The same point with other running statistics of a normalisation, named as the file names them.
    pub fn with_statistics(
        mut self,
        network: &Network,
        name: &str,
        values: &[f64],
    ) -> Result<Self> {
        let id = network.value(name)?;
        let value = &network.values[id];
        let count: usize = value.shape.iter().product();
        if values.len() != count || value.parametric || value.shared.is_none() {
            return Err(NetworkError::Usage(format!(
                "`{name}` of shape {:?} does not take {} running statistics",
                value.shape,
                values.len()
            )));
        }
        let tensor = Tensor::from_slice(values, count, network.device())?;
        let tensor = tensor.reshape(lead_shape(1, &value.shape))?.to_dtype(value.dtype)?;
        self.shared[id] = Some(tensor);
        Ok(self)
    }
}
