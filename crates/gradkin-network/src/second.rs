//! The derivative of a function of the factors: what a term of the loss needs that looks at gradients.
//!
//! The sweep takes values x and cotangents ȳ to factors. For a function φ of the factors, its
//! derivative by everything that the sweep used is found in two passes over the graph. *Ascending*
//! from the parameters to the output, nodes undo their reverse step: each takes the derivatives by
//! the cotangents it gave to those by the cotangents it had, and sets down what it finds of the
//! values it used. *Descending*, these are swept back like any cotangents, together with the
//! derivatives of the rest of the loss by the output; what arrives at the parameters is the gradient.
//! Hessians never appear: the work is a fixed multiple of a step's.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::error::{NetworkError, Result};
use crate::factor::Factor;
use crate::forward::Pass;
use crate::ops::{Reverse, Second, ascend};
use crate::sweep::{Imaged, Sink, Sweep, add};
use crate::tensor::{lead_shape, sum_rows};

/// What a reverse sweep had at hand, kept for its derivative.
#[derive(Debug)]
pub struct Record {
    pub(crate) batch: usize,
    pub(crate) width: usize,
    /// By value: the cotangent that its node took, `[B·d, *shape]`.
    pub(crate) cotangents: Vec<Option<Tensor>>,
}

/// Derivatives of φ by what a sink was given of a component, in the form in which it came.
#[derive(Debug, Clone)]
pub enum Adjoint {
    /// By a factor.
    Factor(Factor),
    /// By an image and what meets its windows.
    Imaged(Imaged),
}

impl From<Factor> for Adjoint {
    fn from(factor: Factor) -> Self {
        Self::Factor(factor)
    }
}

/// Derivatives by what a sweep used, set down on the way up.
#[derive(Debug)]
pub struct Ascent {
    /// By the cotangents at the output: `[B, d, *shape]`, where anything came so far.
    pub seeds: Option<Tensor>,
    /// By value of the network.
    values: Vec<Option<Tensor>>,
    batch: usize,
}

impl Sweep<'_> {
    /// A reverse sweep that can be differentiated afterwards; as [`Sweep::reverse`], but cotangents
    /// stay in memory.
    pub fn record(&self, pass: &Pass, seeds: &Tensor, sink: &mut dyn Sink) -> Result<Record> {
        let (batch, width) = (seeds.dims()[0], seeds.dims()[1]);
        let cotangents = vec![None; self.network.values.len()];
        let mut record = Record { batch, width, cotangents };
        let start = self.seeded(seeds)?;
        self.sweep_back(pass, start, (batch, width), sink, Some(&mut record))?;
        Ok(record)
    }

    /// Derivatives of φ by seeds and values, given those by the factors of every component, in the
    /// form in which each factor came.
    pub fn ascend(
        &self,
        pass: &Pass,
        record: &Record,
        adjoints: &BTreeMap<usize, Adjoint>,
    ) -> Result<Ascent> {
        let network = self.network;
        let by_use = self.by_use(adjoints)?;
        // By value: derivatives by its cotangent and by itself.
        let mut upward: Vec<Option<Tensor>> = vec![None; network.values.len()];
        let mut values: Vec<Option<Tensor>> = vec![None; network.values.len()];
        for (id, node) in network.nodes.iter().enumerate() {
            let cotangents: Vec<Option<Tensor>> =
                node.outputs.iter().map(|o| o.and_then(|o| record.cotangents[o].clone())).collect();
            if !self.needed[id] || cotangents.iter().all(Option::is_none) {
                continue;
            }
            let inputs: Vec<Option<&Tensor>> =
                node.inputs.iter().map(|i| i.and_then(|i| pass.values[i].as_ref())).collect();
            let outputs: Vec<Tensor> =
                node.outputs.iter().map_while(|o| o.and_then(|o| pass.values[o].clone())).collect();
            let saved = self.saved(pass, id, &inputs)?;
            let (_, wanted) = self.wishes(id);
            let mut own: Vec<Option<Tensor>> = vec![None; inputs.len()];
            let mut factors: Vec<Option<Adjoint>> = vec![None; inputs.len()];
            for operand in 0..inputs.len() {
                match by_use.get(&(id, operand)) {
                    Some(Adjoint::Factor(Factor::Dense(dense))) if wanted[operand] => {
                        let shape = match inputs[operand] {
                            Some(input) => &input.dims()[1..],
                            None => continue,
                        };
                        let full = lead_shape(record.batch * record.width, shape);
                        own[operand] = Some(dense.reshape(full)?);
                    }
                    Some(factor) => factors[operand] = Some(factor.clone()),
                    None if wanted[operand] => {
                        own[operand] = node.inputs[operand].and_then(|i| upward[i].clone());
                    }
                    None => {}
                }
            }
            if own.iter().all(Option::is_none) && factors.iter().all(Option::is_none) {
                continue;
            }
            let reverse = Reverse {
                inputs: &inputs,
                outputs: &outputs,
                saved: &saved,
                cotangents: &cotangents,
                wanted: &wanted,
                batch: record.batch,
                width: record.width,
                memo: Default::default(),
            };
            let second = Second { reverse, adjoints: &own, factors: &factors };
            let found = ascend(node.operator.as_ref(), &second)
                .map_err(|error| network.node_error(node, error))?;
            for (output, by_cotangent) in node.outputs.iter().zip(found.cotangents) {
                if let (Some(output), Some(by_cotangent)) = (output, by_cotangent) {
                    add(&mut upward[*output], by_cotangent)?;
                }
            }
            for (input, by_value) in node.inputs.iter().zip(found.inputs) {
                if let (Some(input), Some(by_value)) = (input, by_value)
                    && self.wanted[*input]
                {
                    add(&mut values[*input], by_value)?;
                }
            }
        }
        let seeds = match upward[self.output].take() {
            Some(found) => {
                let mut shape = vec![record.batch, record.width];
                shape.extend(self.output_shape());
                Some(found.reshape(shape)?)
            }
            None => None,
        };
        Ok(Ascent { seeds, values, batch: record.batch })
    }

    /// The gradient of φ and of whatever else depends on the output: `output` holds derivatives by it,
    /// `[B, *shape]`. One tensor of the stored shape per parameter, as [`Sweep::gradient`] gives them.
    pub fn descend(
        &self,
        pass: &Pass,
        ascent: Ascent,
        output: Option<&Tensor>,
    ) -> Result<Vec<Option<Tensor>>> {
        let network = self.network;
        let mut start = ascent.values;
        if let Some(output) = output {
            let shape = lead_shape(ascent.batch, self.output_shape());
            add(&mut start[self.output], output.contiguous()?.reshape(shape)?)?;
        }
        // What was found of a parameter's own entries is gradient already.
        let mut direct: Vec<Option<Tensor>> = vec![None; network.parameters.len()];
        for (slot, value) in start.iter_mut().zip(&network.values) {
            let (Some(entries), true) = (&value.entries, slot.is_some()) else { continue };
            let Some(found) = slot.take() else { continue };
            let own = sum_rows(&found.reshape((found.dims()[0], ()))?)?;
            let own = match &entries.map {
                None => own,
                Some(map) => {
                    let len = network.parameters[entries.parameter].len();
                    let zeros = Tensor::zeros(len, own.dtype(), own.device())?;
                    zeros.index_add(&map.flatten_all()?, &own, 0)?
                }
            };
            add(&mut direct[entries.parameter], own)?;
        }
        for slot in start.iter_mut().filter(|slot| slot.is_some()) {
            // A value that all examples share found its derivative once, for all of them.
            let Some(found) = slot.as_ref() else { continue };
            if found.dims()[0] == 1 && ascent.batch > 1 {
                *slot = Some(found.pad_with_zeros(0, 0, ascent.batch - 1)?);
            }
        }
        let mut total = self.gradient_from(pass, start, ascent.batch)?;
        for ((slot, own), parameter) in total.iter_mut().zip(direct).zip(&network.parameters) {
            if let Some(own) = own {
                add(slot, own.reshape(parameter.shape.as_slice())?)?;
            }
        }
        Ok(total)
    }

    /// Derivatives by components' factors as derivatives by the factors of their uses.
    fn by_use(
        &self,
        adjoints: &BTreeMap<usize, Adjoint>,
    ) -> Result<BTreeMap<(usize, usize), Adjoint>> {
        let mut found = BTreeMap::new();
        for (component, adjoint) in adjoints {
            // Uses were joined in the order in which the sweep met them: from the last node back.
            let mut at = 0;
            for leaf in self.uses_backwards(*component) {
                let factor = match adjoint {
                    Adjoint::Factor(factor) => factor,
                    Adjoint::Imaged(_) => {
                        found.insert((leaf.node, leaf.operand), adjoint.clone());
                        continue;
                    }
                };
                let own = match (factor, leaf.shape) {
                    (Factor::Dense(dense), _) => match self.taken(leaf.value)? {
                        Some(map) if self.is_scattered(*component) => {
                            Factor::Dense(dense.index_select(&map, 2)?)
                        }
                        _ => Factor::Dense(dense.clone()),
                    },
                    (Factor::Outer { input, cotangent, order }, Some(shape)) => {
                        let positions = shape.positions();
                        let input = input.narrow(2, at, positions)?;
                        let cotangent = cotangent.narrow(3, at, positions)?;
                        at += positions;
                        Factor::Outer { input, cotangent, order: *order }
                    }
                    (Factor::Rows { index, cotangent, rows }, Some(shape)) => {
                        let positions = shape.positions();
                        let index = index.narrow(1, at, positions)?;
                        let cotangent = cotangent.narrow(2, at, positions)?;
                        at += positions;
                        Factor::Rows { index, cotangent, rows: *rows }
                    }
                    _ => {
                        let text = "the derivative by a factor is of another form";
                        return Err(NetworkError::Usage(text.into()));
                    }
                };
                found.insert((leaf.node, leaf.operand), own.into());
            }
        }
        Ok(found)
    }
}
