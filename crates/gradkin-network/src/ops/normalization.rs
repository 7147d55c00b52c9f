//! The normalisations that centre and scale rows of each example (Layer, Instance, Group, RMS). Scales
//! and biases are parameters; epsilons are not.

use candle_core::Tensor;

use super::batch_normalization::channel_shape;
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::rows::{Cut, are_ours};
use crate::tensor::{
    Normal, Normalized, axis_of, broadcast_shape, example_shape, lead_shape, sum_to, with_rank,
};

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("LayerNormalization", |s| Normalization::layer(s, true)),
    ("RMSNormalization", |s| Normalization::layer(s, false)),
    ("SimplifiedLayerNormalization", |s| Normalization::layer(s, false)),
    ("InstanceNormalization", Normalization::instance),
    ("GroupNormalization", Normalization::group),
];

/// Each row of `size` elements centred (where `centred`) and divided by its deviation, then scaled
/// and shifted by arrays that broadcast to the input.
#[derive(Debug)]
struct Normalization {
    centred: bool,
    epsilon: f64,
    size: usize,
    /// Example shapes that scale and bias take to meet the input.
    scale: Vec<usize>,
    bias: Vec<usize>,
    /// Where the scale is stored once per group, how many channels share it.
    repeat: usize,
    /// The shape of LayerNormalization's further outputs, mean and inverse deviation.
    statistics: Vec<usize>,
}

impl Normalization {
    fn layer(setup: &Setup, centred: bool) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let axis = axis_of(setup.attributes.int("axis", -1)?, shape.len())?;
        let epsilon = setup.attributes.float("epsilon", 1e-5)?;
        let broadcast = |k: usize| -> OpResult<Vec<usize>> {
            if !setup.has(k) {
                return Ok(Vec::new());
            }
            let own = setup.shape(k)?;
            if broadcast_shape(own, shape)? != shape {
                fail!("input {k} of shape {own:?} does not broadcast to {shape:?}");
            }
            Ok(own.to_vec())
        };
        let size = shape[axis..].iter().product();
        let (scale, bias) = (broadcast(1)?, broadcast(2)?);
        let mut statistics = shape.to_vec();
        statistics[axis..].fill(1);
        Ok(Box::new(Self { centred, epsilon, size, scale, bias, repeat: 1, statistics }))
    }

    fn instance(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let channels = setup.shape(0)?.get(1).copied().unwrap_or(0);
        Self::grouped(setup, channels)
    }

    fn group(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let groups = setup.attributes.int("num_groups", 0)?;
        Self::grouped(setup, usize::try_from(groups).unwrap_or(0))
    }

    fn grouped(setup: &Setup, groups: usize) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        if shape.len() < 3 {
            fail!("an input of shape {shape:?} has no spatial axes");
        }
        let channels = shape[1];
        if groups == 0 || channels % groups != 0 {
            fail!("{channels} channels do not split into {groups} groups");
        }
        // Opset 18 stores one scale per group, later opsets one per channel.
        let stored = setup.shape(1)?.first().copied().unwrap_or(0);
        let repeat = if stored == channels { 1 } else { channels / groups };
        for k in 1..3 {
            if setup.shape(k)? != [channels / repeat] {
                fail!("input {k} has shape {:?}; expected [{channels}]", setup.shape(k)?);
            }
        }
        let epsilon = setup.attributes.float("epsilon", 1e-5)?;
        let size = channels / groups * shape[2..].iter().product::<usize>();
        let own = channel_shape(channels, shape.len());
        let (scale, bias, statistics) = (own.clone(), own, Vec::new());
        Ok(Box::new(Self { centred: true, epsilon, size, scale, bias, repeat, statistics }))
    }

    fn normal(&self) -> Normal {
        Normal { centred: self.centred, epsilon: self.epsilon }
    }

    /// How a tensor falls into rows that meet scale and bias alike, a number of each for each of a row's; `None`
    /// where it does not.
    fn cut(&self, x: &Tensor, affine: &[Option<&Tensor>]) -> Option<Cut> {
        let shape = example_shape(x);
        let meets_rows = |own: &Tensor| {
            let own = own.dims();
            let leading = own.iter().take_while(|size| **size == 1).count();
            own.iter().product::<usize>() == self.size && shape.ends_with(&own[leading..])
        };
        let affine = affine.iter().flatten();
        let tensors: Vec<&Tensor> = [x].into_iter().chain(affine.clone().copied()).collect();
        let rows = shape.iter().product::<usize>() / self.size.max(1);
        Cut::alone(rows, self.size, &tensors)
            .filter(|_| affine.into_iter().all(|own| meets_rows(own)))
    }

    /// Rows normalised by operations over whole tensors.
    fn normalized(
        &self,
        x: &Tensor,
        scale: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> OpResult<Normalized> {
        let rows = self.rows(x)?;
        let size = self.size as f64;
        let mean = (rows.sum_keepdim(1)? / size)?;
        let centred = if self.centred { rows.broadcast_sub(&mean)? } else { rows };
        let variance = (centred.sqr()?.sum_keepdim(1)? / size)?;
        let inverse = (variance + self.epsilon)?.sqrt()?.recip()?;
        let rows = centred.broadcast_mul(&inverse)?.reshape(x.shape())?;
        let mut scaled = rows.clone();
        if let Some(scale) = scale {
            scaled = scaled.broadcast_mul(scale)?;
        }
        if let Some(bias) = bias {
            scaled = scaled.broadcast_add(bias)?;
        }
        Ok(Normalized { scaled, rows, mean, inverse })
    }

    fn rows(&self, x: &Tensor) -> OpResult<Tensor> {
        Ok(x.contiguous()?.reshape((x.elem_count() / self.size.max(1), self.size))?)
    }

    /// A scale or bias in the shape that meets the input, with as many axes.
    fn spread(&self, x: &Tensor, shape: &[usize], input: &Tensor) -> OpResult<Tensor> {
        let lead = x.dims()[0];
        let x = if self.repeat == 1 {
            x.clone()
        } else {
            let stored = x.dims()[1];
            x.unsqueeze(2)?.broadcast_as((lead, stored, self.repeat))?.contiguous()?
        };
        with_rank(&x.reshape(lead_shape(lead, shape))?, input.rank() - 1)
    }

    /// The transpose of [`Self::spread`] after broadcasting.
    fn gather(&self, cotangent: &Tensor, shape: &[usize], stored: &[usize]) -> OpResult<Tensor> {
        let rows = cotangent.dims()[0];
        let summed = sum_to(cotangent, shape)?;
        if self.repeat == 1 {
            return Ok(summed.reshape(lead_shape(rows, stored))?);
        }
        let split = summed.reshape((rows, stored[0], self.repeat))?;
        Ok(split.sum(2)?)
    }
}

impl Operator for Normalization {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let [scale, bias] = [(1, &self.scale), (2, &self.bias)].map(|(k, shape)| {
            let own = inputs.get(k).copied().flatten();
            own.map(|own| self.spread(own, shape, x)).transpose()
        });
        let (scale, bias) = (scale?, bias?);
        let [scale, bias] = [scale.as_ref(), bias.as_ref()];
        let found = match self.cut(x, &[scale, bias]) {
            Some(cut) => self.normal().of(x, cut, scale, bias)?,
            None => self.normalized(x, scale, bias)?,
        };
        let Normalized { scaled: y, rows: normal, mean, inverse } = found;
        let lead = x.dims()[0];
        let inverse = inverse.reshape((lead, inverse.elem_count() / lead.max(1)))?;
        let mut outputs = vec![y];
        if !self.statistics.is_empty() {
            let shape = lead_shape(lead, &self.statistics);
            if self.centred {
                outputs.push(mean.reshape(shape.as_slice())?);
            }
            outputs.push(inverse.reshape(shape)?);
        }
        Ok(Forward { outputs, saved: vec![normal, inverse] })
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let (normal, inverse) = (&sweep.saved[0], &sweep.saved[1]);
        let mut result = vec![None; sweep.inputs.len()];
        if sweep.wants(0) {
            result[0] = self.reverse_statistics(sweep)?;
        }
        let Some(cotangent) = sweep.cotangent_of(0)? else { return Ok(result) };
        if sweep.wants(0) {
            let scale = match sweep.inputs.get(1).copied().flatten() {
                Some(scale) => Some(self.spread(scale, &self.scale, normal)?),
                None => None,
            };
            let cut = self.cut(normal, &[scale.as_ref()]);
            let back = match (cut.filter(|_| are_ours(&[cotangent, inverse])), &scale) {
                (Some(cut), scale) => {
                    let rows = sweep.meets(normal);
                    self.normal().back(cotangent, rows, inverse, scale.as_ref(), cut)?
                }
                (None, Some(scale)) => {
                    let scaled = sweep.times(cotangent, scale)?;
                    self.reverse_rows(sweep, &scaled, normal, inverse)?
                }
                (None, None) => self.reverse_rows(sweep, cotangent, normal, inverse)?,
            };
            result[0] = Some(match result[0].take() {
                Some(more) => (back + more)?,
                None => back,
            });
        }
        if sweep.wants(1) {
            let back = sweep.times(cotangent, normal)?;
            result[1] = Some(self.gather(&back, &self.scale, sweep.shape(1)?)?);
        }
        if sweep.wants(2) {
            result[2] = Some(self.gather(cotangent, &self.bias, sweep.shape(2)?)?);
        }
        Ok(result)
    }
}

impl Normalization {
    /// What comes back through the mean, δ / size, and the inverse deviation r, −δ r² n / size.
    fn reverse_statistics(&self, sweep: &Reverse) -> OpResult<Option<Tensor>> {
        let (normal, inverse) = (&sweep.saved[0], &sweep.saved[1]);
        let full = lead_shape(sweep.batch * sweep.width, sweep.shape(0)?);
        let spread = |cotangent: &Tensor| -> OpResult<Tensor> {
            let share = (cotangent / self.size as f64)?;
            Ok(share.broadcast_as(full.as_slice())?.contiguous()?)
        };
        let mut total = None;
        if self.centred
            && let Some(cotangent) = sweep.cotangent_of(1)?
        {
            total = Some(spread(cotangent)?);
        }
        if let Some(cotangent) = sweep.cotangent_of(1 + usize::from(self.centred))? {
            let square = inverse.sqr()?.reshape(lead_shape(inverse.dims()[0], &self.statistics))?;
            let slope = normal.broadcast_mul(&square.neg()?)?;
            let back = sweep.times(&spread(cotangent)?, &slope)?;
            total = Some(match total {
                Some(sum) => (sum + back)?,
                None => back,
            });
        }
        Ok(total)
    }

    /// dx = (δ − mean δ − n · mean(δ n)) / deviation over every row; uncentred without its mean.
    fn reverse_rows(
        &self,
        sweep: &Reverse,
        delta: &Tensor,
        normal: &Tensor,
        inverse: &Tensor,
    ) -> OpResult<Tensor> {
        let size = self.size as f64;
        let shape = delta.shape();
        let mean = |x: &Tensor| -> OpResult<Tensor> {
            let rows = self.rows(x)?;
            let mean = (rows.sum_keepdim(1)? / size)?;
            Ok(mean.broadcast_as(rows.shape())?.reshape(shape)?)
        };
        let along = mean(&sweep.times(delta, normal)?)?;
        let mut back = (delta - sweep.times(&along, normal)?)?;
        if self.centred {
            back = (back - mean(delta)?)?;
        }
        let inverse = inverse.unsqueeze(2)?;
        let per_row = inverse.broadcast_as((inverse.dims()[0], inverse.dims()[1], self.size))?;
        let per_row = per_row.reshape(normal.shape())?;
        sweep.times(&back, &per_row)
    }
}
