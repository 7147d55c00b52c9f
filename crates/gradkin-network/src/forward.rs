//! The forward pass over a batch.

use candle_core::{DType, Device, Tensor};

use crate::device::{borrowed, fetched, sent};
use crate::error::{NetworkError, OpResult, Result};
use crate::exchange::Party;
use crate::graph::{Network, Node, Precision};
use crate::ops::{Forward, Inputs};
use crate::point::Point;
use crate::tensor::lead_shape;

/// The data of one input for a batch, row by row, `B` times the input's example shape.
#[derive(Debug, Clone)]
pub enum InputData {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Whole numbers, for inputs such as token ids.
    I64(Vec<i64>),
}

impl InputData {
    fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }

    fn tensor(self, shape: Vec<usize>, device: &Device) -> candle_core::Result<Tensor> {
        match self {
            Self::F32(v) => Tensor::from_vec(v, shape, device),
            Self::F64(v) => Tensor::from_vec(v, shape, device),
            Self::I64(v) => Tensor::from_vec(v, shape, device),
        }
    }
}

/// The values of an output, by the type that the network holds them in.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum OutputData {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Whole numbers of any width.
    I64(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl OutputData {
    fn read(tensor: &Tensor) -> candle_core::Result<Self> {
        let flat = tensor.flatten_all()?;
        Ok(match flat.dtype() {
            DType::F32 => Self::F32(flat.to_vec1()?),
            DType::F64 => Self::F64(flat.to_vec1()?),
            DType::U8 => Self::Bool(flat.to_vec1::<u8>()?.into_iter().map(|v| v != 0).collect()),
            _ => Self::I64(flat.to_dtype(DType::I64)?.to_vec1()?),
        })
    }
}

/// An output of the network for a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// The number of examples (one where the output does not depend on the input), then the shape
    /// for one example, the graph's own batch axis included.
    pub shape: Vec<usize>,
    /// Its values, row by row.
    pub data: OutputData,
}

/// Everything that a forward pass computed, for the reverse sweep to use.
#[derive(Debug)]
pub struct Pass {
    pub(crate) batch: usize,
    pub(crate) values: Vec<Option<Tensor>>,
    pub(crate) saved: Vec<Vec<Tensor>>,
    /// Where operators took their training form: with whom this part of the batch is shared.
    pub(crate) party: Option<Party>,
}

/// How a pass runs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mode<'a> {
    /// Other parameter values than the file's.
    pub(crate) point: Option<&'a Point>,
    /// Operators in their training form, over a batch that is shared with others.
    pub(crate) party: Option<&'a Party>,
}

impl Pass {
    /// Number of examples.
    pub fn batch(&self) -> usize {
        self.batch
    }
}

impl Network {
    /// Compute every output of the network, whatever its type, for `batch` examples.
    pub fn evaluate(&self, inputs: Vec<InputData>, batch: usize) -> Result<Vec<Output>> {
        self.evaluate_in(inputs, batch, Mode::default())
    }

    /// The same at other parameter values.
    pub fn evaluate_at(
        &self,
        point: &Point,
        inputs: Vec<InputData>,
        batch: usize,
    ) -> Result<Vec<Output>> {
        self.evaluate_in(inputs, batch, Mode { point: Some(point), party: None })
    }

    fn evaluate_in(&self, inputs: Vec<InputData>, batch: usize, mode: Mode) -> Result<Vec<Output>> {
        let pass = self.run(inputs, batch, &vec![true; self.nodes.len()], mode)?;
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for id in &self.outputs {
            let name = &self.values[*id].name;
            let Some(tensor) = &pass.values[*id] else {
                return Err(NetworkError::Usage(format!("the pass did not reach `{name}`")));
            };
            let (shape, data) = (tensor.dims().to_vec(), OutputData::read(tensor)?);
            outputs.push(Output { name: name.clone(), shape, data });
        }
        Ok(outputs)
    }

    /// Run a batch as far as `needed` nodes, one flag per node.
    pub(crate) fn run(
        &self,
        inputs: Vec<InputData>,
        batch: usize,
        needed: &[bool],
        mode: Mode,
    ) -> Result<Pass> {
        if inputs.len() != self.inputs.len() {
            return Err(NetworkError::Usage(format!(
                "{} takes {} inputs but {} were given",
                self.source,
                self.inputs.len(),
                inputs.len()
            )));
        }
        let mut values: Vec<Option<Tensor>> = match mode.point {
            Some(point) => point.shared.clone(),
            None => self.values.iter().map(|v| v.shared.clone()).collect(),
        };
        for (input, data) in self.inputs.iter().zip(inputs) {
            let count = batch * input.shape.iter().product::<usize>();
            if data.len() != count {
                return Err(NetworkError::Usage(format!(
                    "input `{}` takes {batch} examples of shape {:?}, {count} numbers, but {} were given",
                    input.name,
                    input.shape,
                    data.len()
                )));
            }
            let tensor = data.tensor(lead_shape(batch, &input.full), &self.device)?;
            values[input.value] = Some(tensor.to_dtype(self.values[input.value].dtype)?);
        }
        let mut saved = Vec::with_capacity(self.nodes.len());
        for (node, needed) in self.nodes.iter().zip(needed) {
            if !needed || node.shared {
                saved.push(Vec::new());
                continue;
            }
            let operands: Vec<Option<&Tensor>> =
                node.inputs.iter().map(|i| i.and_then(|i| values[i].as_ref())).collect();
            let forward = match (mode.party, node.operator.training()) {
                (Some(party), Some(training)) => training.forward(&operands, party),
                _ => self.forward_of(node, &operands),
            };
            let Forward { outputs, saved: kept } = forward.map_err(|e| self.node_error(node, e))?;
            for (id, tensor) in node.outputs.iter().zip(outputs) {
                if let Some(id) = id {
                    values[*id] = Some(tensor);
                }
            }
            saved.push(kept);
        }
        Ok(Pass { batch, values, saved, party: mode.party.cloned() })
    }

    /// One node's step, where it runs.
    pub(crate) fn forward_of(&self, node: &Node, operands: &Inputs) -> OpResult<Forward> {
        if !self.is_away(node) {
            return node.operator.forward(operands);
        }
        let fetched = fetched(operands)?;
        let Forward { outputs, saved } = node.operator.forward(&borrowed(&fetched))?;
        Ok(Forward { outputs: sent(outputs, &self.device)?, saved })
    }

    /// The float type as the tensor library names it.
    pub(crate) fn dtype(&self) -> candle_core::DType {
        Precision::dtype(self.precision)
    }
}
