//! How parameters follow their gradient, in the float type of the network, as PyTorch does it.

use faer::traits::ext::ComplexFieldExt as _;
use gradkin_network::candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::number::{Number, numbers};

/// The rule that moves the parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// θ ← θ − rate · b with b ← momentum · b + g.
    Sgd {
        /// The share of the last step that is kept.
        momentum: f64,
        /// Look ahead: g + momentum · b in place of b.
        nesterov: bool,
    },
    /// Kingma and Ba, 2015. Weight decay enters the gradient.
    Adam {
        /// The share of the mean gradient that is kept.
        beta1: f64,
        /// The share of the mean squared gradient that is kept.
        beta2: f64,
        /// Keeps the division finite.
        epsilon: f64,
    },
    /// Loshchilov and Hutter, 2019: Adam with weight decay apart from the gradient.
    AdamW {
        /// The share of the mean gradient that is kept.
        beta1: f64,
        /// The share of the mean squared gradient that is kept.
        beta2: f64,
        /// Keeps the division finite.
        epsilon: f64,
    },
}

impl Optimizer {
    /// Adam with its usual numbers.
    pub fn adam() -> Self {
        Self::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// Values of the parameters with what the optimizer remembers of each.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    F32(Store<f32>),
    F64(Store<f64>),
}

/// By parameter, flat.
#[derive(Debug, Clone)]
pub(crate) struct Store<T> {
    pub(crate) values: Vec<Vec<T>>,
    /// Momentum, or the mean gradient.
    pub(crate) first: Vec<Vec<T>>,
    /// The mean squared gradient.
    pub(crate) second: Vec<Vec<T>>,
}

/// What one move needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    pub(crate) optimizer: Optimizer,
    pub(crate) rate: f64,
    pub(crate) decay: f64,
    /// One for the first move.
    pub(crate) count: u64,
}

impl Held {
    pub(crate) fn new(values: &[Tensor]) -> Result<Self> {
        let single = values.first().is_none_or(|value| value.dtype() == DType::F32);
        Ok(if single { Self::F32(Store::new(values)?) } else { Self::F64(Store::new(values)?) })
    }

    /// The values as tensors of the given shapes.
    pub(crate) fn tensors(&self, shapes: &[Vec<usize>]) -> Result<Vec<Tensor>> {
        fn shaped<T: Number>(values: &[Vec<T>], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>> {
            let each = values.iter().zip(shapes);
            let tensor = |(v, s): (&Vec<T>, &Vec<usize>)| {
                Ok(Tensor::from_slice(v, s.as_slice(), &Device::Cpu)?)
            };
            each.map(tensor).collect()
        }
        match self {
            Self::F32(store) => shaped(&store.values, shapes),
            Self::F64(store) => shaped(&store.values, shapes),
        }
    }

    /// Move along summed gradients, multiplied by `scale`.
    pub(crate) fn follow(
        &mut self,
        gradients: &[Option<Tensor>],
        scale: f64,
        by: Move,
    ) -> Result<()> {
        match self {
            Self::F32(store) => store.follow(gradients, scale, by),
            Self::F64(store) => store.follow(gradients, scale, by),
        }
    }

    /// Every number that goes on from one step to the next: values, then memories.
    pub(crate) fn lists(&self) -> [Vec<Vec<f64>>; 3] {
        fn wide<T: Number>(lists: &[Vec<T>]) -> Vec<Vec<f64>> {
            lists.iter().map(|v| v.iter().map(|x| x.to_f64()).collect()).collect()
        }
        match self {
            Self::F32(s) => [wide(&s.values), wide(&s.first), wide(&s.second)],
            Self::F64(s) => [wide(&s.values), wide(&s.first), wide(&s.second)],
        }
    }

    /// The inverse of [`Self::lists`]; counts must agree.
    pub(crate) fn restore(&mut self, lists: &[Vec<Vec<f64>>; 3]) -> Result<()> {
        fn narrow<T: Number>(own: &mut [Vec<T>], lists: &[Vec<f64>]) -> Result<()> {
            if own.len() != lists.len() {
                return Err(misfit());
            }
            for (own, list) in own.iter_mut().zip(lists) {
                if own.len() != list.len() {
                    return Err(misfit());
                }
                own.iter_mut().zip(list).for_each(|(own, x)| *own = narrowed(*x));
            }
            Ok(())
        }
        match self {
            Self::F32(s) => {
                narrow(&mut s.values, &lists[0])?;
                narrow(&mut s.first, &lists[1])?;
                narrow(&mut s.second, &lists[2])
            }
            Self::F64(s) => {
                narrow(&mut s.values, &lists[0])?;
                narrow(&mut s.first, &lists[1])?;
                narrow(&mut s.second, &lists[2])
            }
        }
    }
}

fn narrowed<T: Number>(x: f64) -> T {
    <T as gradkin_network::candle_core::WithDType>::from_f64(x)
}

fn misfit() -> Error {
    Error::Usage("the state is that of another network".into())
}

impl<T: Number> Store<T> {
    fn new(values: &[Tensor]) -> Result<Self> {
        let lists = values.iter().map(|value| Ok(numbers(value)?));
        let values = lists.collect::<Result<Vec<Vec<T>>>>()?;
        let zeros: Vec<Vec<T>> = values.iter().map(|v| vec![narrowed(0.0); v.len()]).collect();
        Ok(Self { values, first: zeros.clone(), second: zeros })
    }

    fn follow(&mut self, gradients: &[Option<Tensor>], scale: f64, by: Move) -> Result<()> {
        for (index, gradient) in gradients.iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            let gradient = numbers::<T>(gradient)?;
            let (values, first, second) =
                (&mut self.values[index], &mut self.first[index], &mut self.second[index]);
            match by.optimizer {
                Optimizer::Sgd { momentum, nesterov } => {
                    sgd(values, first, &gradient, scale, by, momentum, nesterov);
                }
                Optimizer::Adam { beta1, beta2, epsilon } => {
                    let numbers = Adam { beta1, beta2, epsilon, apart: false };
                    adam(values, (first, second), &gradient, scale, by, numbers);
                }
                Optimizer::AdamW { beta1, beta2, epsilon } => {
                    let numbers = Adam { beta1, beta2, epsilon, apart: true };
                    adam(values, (first, second), &gradient, scale, by, numbers);
                }
            }
        }
        Ok(())
    }
}

fn sgd<T: Number>(
    values: &mut [T],
    buffer: &mut [T],
    gradient: &[T],
    scale: f64,
    by: Move,
    momentum: f64,
    nesterov: bool,
) {
    let [scale, decay, rate, keep] = [scale, by.decay, by.rate, momentum].map(narrowed::<T>);
    for ((value, buffer), g) in values.iter_mut().zip(buffer).zip(gradient) {
        let g = *g * scale + decay * *value;
        // The first step's buffer is the gradient itself, which zeros give as well.
        *buffer = keep * *buffer + g;
        let step = if nesterov { g + keep * *buffer } else { *buffer };
        *value -= rate * step;
    }
}

struct Adam {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    /// Whether weight decay stays apart from the gradient.
    apart: bool,
}

fn adam<T: Number>(
    values: &mut [T],
    (first, second): (&mut [T], &mut [T]),
    gradient: &[T],
    scale: f64,
    by: Move,
    numbers: Adam,
) {
    let count = i32::try_from(by.count).unwrap_or(i32::MAX);
    let step = narrowed::<T>(by.rate / (1.0 - numbers.beta1.powi(count)));
    let root = narrowed::<T>((1.0 - numbers.beta2.powi(count)).sqrt().recip());
    let [b1, r1] = [numbers.beta1, 1.0 - numbers.beta1].map(narrowed::<T>);
    let [b2, r2] = [numbers.beta2, 1.0 - numbers.beta2].map(narrowed::<T>);
    let [epsilon, scale] = [numbers.epsilon, scale].map(narrowed::<T>);
    let (within, shrink) = if numbers.apart {
        (narrowed(0.0), narrowed::<T>(1.0 - by.rate * by.decay))
    } else {
        (narrowed::<T>(by.decay), narrowed(1.0))
    };
    let memory = first.iter_mut().zip(second);
    for ((value, (m, v)), g) in values.iter_mut().zip(memory).zip(gradient) {
        let g = *g * scale + within * *value;
        *m = b1 * *m + r1 * g;
        *v = b2 * *v + r2 * g * g;
        *value = *value * shrink - step * *m / (v.sqrt() * root + epsilon);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Four steps along given gradients; the values were worked out by PyTorch's optimizers.
    #[test]
    fn moves_as_pytorch_does() {
        let adam = Optimizer::adam();
        let adamw = Optimizer::AdamW { beta1: 0.8, beta2: 0.99, epsilon: 1e-6 };
        let sgd = Optimizer::Sgd { momentum: 0.9, nesterov: false };
        let nesterov = Optimizer::Sgd { momentum: 0.9, nesterov: true };
        let cases =
            [(sgd, 0.01, SGD), (nesterov, 0.0, NESTEROV), (adam, 0.01, ADAM), (adamw, 0.05, ADAMW)];
        for (optimizer, decay, wanted) in cases {
            let start = Tensor::new(&[1.0f64, -2.0, 0.5], &Device::Cpu).unwrap();
            let mut held = Held::new(&[start]).unwrap();
            for t in 0..4u64 {
                let s = t as f64;
                let gradient = [0.3 * s - 0.2, 1.5, -0.1 * s * s + 0.05];
                let gradient = Some(Tensor::new(&gradient, &Device::Cpu).unwrap());
                let by = Move { optimizer, rate: 0.1, decay, count: t + 1 };
                held.follow(&[gradient], 1.0, by).unwrap();
            }
            let [values, ..] = held.lists();
            for (found, wanted) in values[0].iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-12, "{optimizer:?}: {found} {wanted}");
            }
        }
    }

    const SGD: [f64; 3] = [0.8865423272809999, -3.337206151452, 0.6433285381555];
    const NESTEROV: [f64; 3] = [0.8061120000000002, -3.821615, 0.7530695000000001];
    const ADAM: [f64; 3] = [1.000783066660786, -2.399984695646145, 0.5315462783306821];
    const ADAMW: [f64; 3] = [0.9663999525938756, -2.357308724076851, 0.5560008658418398];
}
