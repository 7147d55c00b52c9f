//! BatchNormalization: with stored statistics as at inference, and with those of the batch while a
//! network is trained. Scale and bias are parameters; running statistics and epsilon are not.

use candle_core::{DType, Device, Tensor};

use super::second::{Ascended, Second, plus};
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, Statistics, TrainingForm, required};
use crate::error::{OpResult, fail};
use crate::exchange::Party;
use crate::tensor::channels::{self, Spread};
use crate::tensor::rows::Meets;
use crate::tensor::{sum_axes, sum_to};

pub(super) const OPERATORS: &[(&str, Build)] = &[("BatchNormalization", BatchNormalization::build)];

/// `[L, C]` → `[L, 1, C, 1…]`, to meet `[L, N, C, *]`.
fn per_channel(x: &Tensor, rank: usize) -> OpResult<Tensor> {
    let mut shape = vec![x.dims()[0]];
    shape.extend(channel_shape(x.dims()[1], rank));
    Ok(x.reshape(shape)?)
}

/// The example shape `[1, C, 1…]`.
pub(super) fn channel_shape(channels: usize, rank: usize) -> Vec<usize> {
    let mut shape = vec![1; rank];
    shape[1] = channels;
    shape
}

/// `[L, N, C]` → `[L, C]`; nearly always N is one.
fn over_images(x: &Tensor) -> OpResult<Tensor> {
    Ok(if x.dims()[1] == 1 { x.squeeze(1)? } else { x.sum(1)? })
}

/// y = (x − mean) / √(variance + ε) · scale + bias with one mean and variance per channel.
#[derive(Debug)]
struct BatchNormalization {
    epsilon: f64,
    momentum: f64,
    rank: usize,
    channels: usize,
}

impl BatchNormalization {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        if setup.attributes.int("training_mode", 0)? != 0 {
            fail!(
                "training_mode is on: the model was exported in training mode; export it with model.eval()"
            );
        }
        if setup.attributes.int("spatial", 1)? == 0 {
            fail!("spatial = 0 (one statistic per element) is not supported");
        }
        if shape.len() < 2 {
            fail!("an input of shape {shape:?} has no channel axis");
        }
        for k in 1..5 {
            if setup.shape(k)? != [shape[1]] {
                fail!("input {k} has shape {:?}; expected [{}]", setup.shape(k)?, shape[1]);
            }
        }
        let epsilon = setup.attributes.float("epsilon", 1e-5)?;
        let momentum = setup.attributes.float("momentum", 0.9)?;
        Ok(Box::new(Self { epsilon, momentum, rank: shape.len(), channels: shape[1] }))
    }

    /// 1 / √(variance + ε), `[L, 1, C, 1…]`.
    fn inverse(&self, variance: &Tensor) -> OpResult<Tensor> {
        per_channel(&(variance + self.epsilon)?.sqrt()?.recip()?, self.rank)
    }

    /// `[L, N, C, *]` → `[L, C]`.
    fn to_channels(&self, x: &Tensor) -> OpResult<Tensor> {
        let summed = sum_to(x, &channel_shape(self.channels, self.rank))?;
        Ok(summed.reshape((x.dims()[0], self.channels))?)
    }
}

impl Operator for BatchNormalization {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let scale = per_channel(required(inputs, 1)?, self.rank)?;
        let bias = per_channel(required(inputs, 2)?, self.rank)?;
        let mean = per_channel(required(inputs, 3)?, self.rank)?;
        let factor = scale.broadcast_mul(&self.inverse(required(inputs, 4)?)?)?;
        let shift = bias.broadcast_sub(&mean.broadcast_mul(&factor)?)?;
        if channels::takes(x, &[&factor, &shift]) {
            return Ok(channels::affine(x, None, &factor, Some(&shift))?.into());
        }
        Ok(x.broadcast_mul(&factor)?.broadcast_add(&shift)?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let cotangent = sweep.cotangent()?;
        let inverse = self.inverse(sweep.input(4)?)?;
        let mut result = vec![None; sweep.inputs.len()];
        let (scale, mean) = (sweep.input(1)?, sweep.input(3)?);
        let by_rows = channels::takes(cotangent, &[scale, mean, &inverse]);
        let scale = per_channel(scale, self.rank)?;
        if sweep.wants(0) {
            let factor = scale.broadcast_mul(&inverse)?;
            result[0] = Some(match by_rows {
                true => channels::affine(cotangent, None, &factor, None)?,
                false => sweep.times(cotangent, &factor)?,
            });
        }
        if by_rows && sweep.wants(1) {
            let [plain, along] = channels::sums(cotangent, sweep.meets(sweep.input(0)?), mean)?;
            let along = over_images(&along)?;
            result[1] = Some(along.broadcast_mul(&inverse.reshape((1, self.channels))?)?);
            if sweep.wants(2) {
                result[2] = Some(over_images(&plain)?);
            }
            return Ok(result);
        }
        if sweep.wants(1) {
            let mean = per_channel(mean, self.rank)?;
            let normal = sweep.input(0)?.broadcast_sub(&mean)?.broadcast_mul(&inverse)?;
            result[1] = Some(self.to_channels(&sweep.times(cotangent, &normal)?)?);
        }
        if sweep.wants(2) {
            result[2] = Some(self.to_channels(cotangent)?);
        }
        if sweep.wants(3) || sweep.wants(4) {
            fail!("the running statistics cannot be differentiated");
        }
        Ok(result)
    }

    /// Of x̄ = f ȳ, the scale's own Σ ȳ n and the bias's Σ ȳ, with f = scale / deviation and n the
    /// normalised input.
    fn second(&self, second: &Second) -> OpResult<Option<Ascended>> {
        let sweep = &second.reverse;
        let cotangent = sweep.cotangent()?;
        let inverse = self.inverse(sweep.input(4)?)?;
        let (scale, mean) = (sweep.input(1)?, sweep.input(3)?);
        if channels::takes(cotangent, &[scale, mean, &inverse]) {
            return Ok(Some(self.second_by_rows(second, &inverse)?));
        }
        let scale = per_channel(scale, self.rank)?;
        let mut by_cotangent = None;
        let mut inputs = vec![None; second.operands()];
        if let Some(adjoint) = second.adjoint(0) {
            by_cotangent = Some(sweep.times(adjoint, &scale.broadcast_mul(&inverse)?)?);
            let along = self.to_channels(&(adjoint * cotangent)?)?.sum_keepdim(0)?;
            let inverse = inverse.reshape((inverse.dims()[0], self.channels))?;
            inputs[1] = Some(along.broadcast_mul(&inverse)?);
        }
        if let Some(adjoint) = second.adjoint(1) {
            let spread = per_channel(adjoint, self.rank)?;
            let mean = per_channel(mean, self.rank)?;
            let normal = sweep.input(0)?.broadcast_sub(&mean)?.broadcast_mul(&inverse)?;
            let full = spread.broadcast_as(cotangent.shape())?.contiguous()?;
            by_cotangent = plus(by_cotangent, Some(sweep.times(&full, &normal)?))?;
            let own = sweep.by_example(&(full * cotangent)?)?.sum(1)?;
            inputs[0] = Some(own.broadcast_mul(&inverse)?);
        }
        if let Some(adjoint) = second.adjoint(2) {
            let spread = per_channel(adjoint, self.rank)?;
            let full = spread.broadcast_as(cotangent.shape())?.contiguous()?;
            by_cotangent = plus(by_cotangent, Some(full))?;
        }
        Ok(Some(Ascended { cotangents: vec![by_cotangent], inputs }))
    }

    fn training(&self) -> Option<&dyn TrainingForm> {
        Some(self)
    }
}

/// Statistics are taken over all examples and positions of the batch, which may lie on several
/// threads; the cotangent then passes through them as well.
impl TrainingForm for BatchNormalization {
    /// Saves the normalised input, 1 / deviation, mean and variance (`[C]`, f64) and their count.
    fn forward(&self, inputs: &Inputs, party: &Party) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let scale = per_channel(required(inputs, 1)?, self.rank)?;
        let bias = per_channel(required(inputs, 2)?, self.rank)?;
        let own = x.elem_count() / self.channels.max(1);
        let mut sums = self.over_batch(x)?;
        sums.push(own as f64);
        let mut sums = party.sum(sums)?;
        let count = sums.pop().unwrap_or(0.0);
        if count < 2.0 {
            fail!("a batch of one element per channel has no variance; use larger batches");
        }
        let mean: Vec<f64> = sums.into_iter().map(|sum| sum / count).collect();
        let centre = self.channel_tensor(&mean, x.dtype())?;
        let squares = party.sum(self.squares_over_batch(x, &centre)?)?;
        let variance: Vec<f64> = squares.into_iter().map(|sum| sum / count).collect();
        let inverse: Vec<f64> =
            variance.iter().map(|v| (v + self.epsilon).sqrt().recip()).collect();
        let inverse = self.channel_tensor(&inverse, x.dtype())?;
        let (normal, y) = if channels::takes(x, &[&scale, &bias]) {
            let normal = channels::affine(x, Some(&centre), &inverse, None)?;
            let y = channels::affine(&normal, None, &scale, Some(&bias))?;
            (normal, y)
        } else {
            let normal = x.broadcast_sub(&centre)?.broadcast_mul(&inverse)?;
            let y = normal.broadcast_mul(&scale)?.broadcast_add(&bias)?;
            (normal, y)
        };
        let kept = |values: &[f64]| Tensor::from_slice(values, values.len(), &Device::Cpu);
        let saved = vec![normal, inverse, kept(&mean)?, kept(&variance)?, kept(&[count])?];
        Ok(Forward { outputs: vec![y], saved })
    }

    /// dx = scale / deviation · (δ − mean δ − n · mean(δ n)), n the normalised input.
    fn reverse(&self, sweep: &Reverse, party: &Party) -> OpResult<Vec<Option<Tensor>>> {
        if sweep.width != 1 {
            fail!("a batch that shares its statistics can be swept for one output at a time");
        }
        let [normal, inverse, _, _, count] = sweep.saved else {
            fail!("the forward step saved nothing");
        };
        let cotangent = sweep.cotangent()?;
        let by_rows = channels::takes(cotangent, &[inverse]);
        // Σ δ and Σ δ n of every image.
        let [plain, along] = if by_rows {
            let meets = Meets { other: normal, repeat: 1 };
            channels::sums(cotangent, meets, &inverse.zeros_like()?)?
        } else {
            let axes: Vec<usize> = (3..cotangent.rank()).collect();
            [sum_axes(cotangent, &axes)?, sum_axes(&(cotangent * normal)?, &axes)?]
        };
        let dims = &cotangent.dims()[..3];
        let (plain, along) = (plain.reshape(dims)?, along.reshape(dims)?);
        let mut result = vec![None; sweep.inputs.len()];
        if sweep.wants(1) {
            result[1] = Some(over_images(&along)?);
        }
        if sweep.wants(2) {
            result[2] = Some(over_images(&plain)?);
        }
        if sweep.wants(0) {
            let count = count.to_vec1::<f64>()?[0];
            let mut sums = self.over_all_images(&plain)?;
            sums.extend(self.over_all_images(&along)?);
            let means: Vec<f64> = party.sum(sums)?.into_iter().map(|sum| sum / count).collect();
            let (plain, along) = means.split_at(self.channels);
            let plain = self.channel_tensor(plain, cotangent.dtype())?;
            let along = self.channel_tensor(along, cotangent.dtype())?;
            let scale = per_channel(sweep.input(1)?, self.rank)?;
            let factor = scale.broadcast_mul(inverse)?;
            result[0] = Some(if by_rows && factor.elem_count() == self.channels {
                channels::reduced(cotangent, (normal, &along), &plain, &factor)?
            } else {
                let back = cotangent.broadcast_sub(&plain)?;
                (back - normal.broadcast_mul(&along)?)?.broadcast_mul(&factor)?
            });
        }
        Ok(result)
    }

    fn statistic_operands(&self) -> [usize; 2] {
        [3, 4]
    }

    fn statistics(&self, saved: &[Tensor]) -> OpResult<Statistics> {
        let [_, _, mean, variance, count] = saved else {
            fail!("the forward step saved nothing");
        };
        let count = count.to_vec1::<f64>()?[0];
        let unbiased = |v: f64| v * count / (count - 1.0);
        Ok(Statistics {
            mean: mean.to_vec1()?,
            variance: variance.to_vec1::<f64>()?.into_iter().map(unbiased).collect(),
            momentum: self.momentum,
        })
    }
}

impl BatchNormalization {
    /// [`Operator::second`], a row of positions at a time.
    fn second_by_rows(&self, second: &Second, inverse: &Tensor) -> OpResult<Ascended> {
        let sweep = &second.reverse;
        let cotangent = sweep.cotangent()?;
        let (scale, mean) = (sweep.input(1)?, sweep.input(3)?);
        let inverse = &inverse.reshape((1, self.channels))?;
        let mut by_cotangent = None;
        let mut inputs = vec![None; second.operands()];
        if let Some(adjoint) = second.adjoint(0) {
            by_cotangent = Some(channels::affine(adjoint, None, &(scale * inverse)?, None)?);
            let meets = Meets { other: cotangent, repeat: 1 };
            let [_, along] = channels::sums(adjoint, meets, &inverse.zeros_like()?)?;
            inputs[1] = Some((over_images(&along)?.sum_keepdim(0)? * inverse)?);
        }
        let dims = &cotangent.dims()[..3];
        let by_row = |own: Option<&Tensor>| -> OpResult<Tensor> {
            Ok(match own {
                Some(own) => own.unsqueeze(1)?.broadcast_as(dims)?.contiguous()?,
                None => Tensor::zeros(dims, cotangent.dtype(), cotangent.device())?,
            })
        };
        let (along, shift) = (second.adjoint(1), second.adjoint(2));
        if along.is_some() || shift.is_some() {
            let (along, shift) = (by_row(along)?, by_row(shift)?);
            let input = sweep.meets(sweep.input(0)?);
            let own = Spread { along: &along, shift: &shift, input, mean, inverse };
            let [onto, back] = channels::spread(cotangent, &own, by_cotangent)?;
            (by_cotangent, inputs[0]) = (Some(onto), second.adjoint(1).map(|_| back));
        }
        Ok(Ascended { cotangents: vec![by_cotangent], inputs })
    }

    /// The sum per channel over this part of the batch: positions of one image first, in the type of the
    /// data; images in double precision.
    fn over_batch(&self, x: &Tensor) -> OpResult<Vec<f64>> {
        if channels::takes(x, &[]) {
            return self.over_all_images(&channels::row_sums(x)?);
        }
        let axes: Vec<usize> = (3..x.rank()).collect();
        self.over_all_images(&sum_axes(&x.contiguous()?, &axes)?)
    }

    /// The same of squares of distances from a mean.
    fn squares_over_batch(&self, x: &Tensor, mean: &Tensor) -> OpResult<Vec<f64>> {
        if channels::takes(x, &[mean]) {
            return self.over_all_images(&channels::row_squares(x, mean)?);
        }
        self.over_batch(&x.broadcast_sub(mean)?.sqr()?)
    }

    /// Sums of `[L, N, C]` and as many more axes of one: `[C]`.
    fn over_all_images(&self, by_image: &Tensor) -> OpResult<Vec<f64>> {
        let by_image = by_image.to_dtype(DType::F64)?.reshape(((), self.channels))?;
        Ok(by_image.sum(0)?.to_vec1()?)
    }

    fn channel_tensor(&self, values: &[f64], dtype: DType) -> OpResult<Tensor> {
        let tensor = Tensor::from_slice(values, (1, values.len()), &Device::Cpu)?;
        per_channel(&tensor.to_dtype(dtype)?, self.rank)
    }
}
