//! One operator with attributes and operands, drawn at random from a seed.

use candle_core::{DType, Device, Tensor};

use super::super::{Operand, Setup};
use super::BATCH;
use crate::onnx::{Attributes, Width};

/// A small generator, so that a seed names a case for good.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635)
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn real(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Roughly normal: the sum of a few uniform numbers.
    pub(super) fn normal(&mut self) -> f64 {
        (0..6).map(|_| self.real(-0.7, 0.7)).sum()
    }

    /// Both ends included.
    pub(super) fn int(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1) as u64) as i64
    }

    pub(super) fn size(&mut self, low: usize, high: usize) -> usize {
        self.int(low as i64, high as i64) as usize
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.size(0, choices.len() - 1)]
    }

    /// `rank` sizes from one to `most`.
    pub(super) fn shape(&mut self, rank: usize, most: usize) -> Vec<usize> {
        (0..rank).map(|_| self.size(1, most)).collect()
    }

    /// The shape with its last axis long enough for a pass by rows.
    pub(super) fn long(&mut self, mut shape: Vec<usize>) -> Vec<usize> {
        if let Some(last) = shape.last_mut() {
            *last = self.size(8, 11);
        }
        shape
    }

    /// A shape that broadcasts to `shape`: leading axes left out, others at one.
    pub(super) fn below(&mut self, shape: &[usize]) -> Vec<usize> {
        let drop = if self.chance(0.5) { 0 } else { self.size(0, shape.len()) };
        shape[drop..].iter().map(|size| if self.chance(0.3) { 1 } else { *size }).collect()
    }

    /// Numbers 0 to n − 1 in some order.
    pub(super) fn permutation(&mut self, n: usize) -> Vec<i64> {
        let mut list: Vec<i64> = (0..n as i64).collect();
        for i in (1..n).rev() {
            list.swap(i, self.size(0, i));
        }
        list
    }
}

/// What an operand's numbers look like.
#[derive(Debug, Clone)]
pub(super) enum Draw {
    Normal,
    /// Uniform between two bounds.
    Between(f64, f64),
    /// At least 0.3 away from zero.
    NotZero,
    /// Normal, but well away from these points.
    Away(Vec<f64>),
    /// No two closer than 0.1, nor any of another operand with another offset (of 0.03 and less).
    Distinct(f64),
    /// A whole number between two plus a fraction between two.
    Steps(i64, i64, f64, f64),
    /// Whole numbers between two.
    Whole(i64, i64),
    /// Truth values.
    Flags,
    Ints(Vec<i64>),
    Floats(Vec<f64>),
}

impl Draw {
    fn float(&self, random: &mut Random) -> f64 {
        match self {
            Self::Between(low, high) => random.real(*low, *high),
            Self::NotZero => {
                let size = random.real(0.3, 1.5);
                if random.chance(0.5) { size } else { -size }
            }
            Self::Away(points) => loop {
                let x = random.normal();
                if points.iter().all(|p| (x - p).abs() > 0.05) {
                    return x;
                }
            },
            Self::Steps(low, high, from, to) => {
                random.int(*low, *high) as f64 + random.real(*from, *to)
            }
            _ => random.normal(),
        }
    }

    fn tensor(&self, random: &mut Random, shape: &[usize]) -> candle_core::Result<Tensor> {
        let count: usize = shape.iter().product();
        let device = &Device::Cpu;
        let ints = |values: Vec<i64>| Tensor::from_vec(values, shape, device);
        match self {
            Self::Whole(low, high) => ints((0..count).map(|_| random.int(*low, *high)).collect()),
            Self::Ints(values) => ints(values.clone()),
            Self::Flags => {
                ints((0..count).map(|_| random.int(0, 1)).collect())?.to_dtype(DType::U8)
            }
            Self::Floats(values) => Tensor::from_vec(values.clone(), shape, device),
            Self::Distinct(offset) => {
                let middle = count as f64 / 2.0;
                let place = |at: i64| (at as f64 - middle) * 0.1 + offset + 0.02;
                Tensor::from_vec(
                    random.permutation(count).into_iter().map(place).collect(),
                    shape,
                    device,
                )
            }
            _ => Tensor::from_vec((0..count).map(|_| self.float(random)).collect(), shape, device),
        }
    }
}

/// Whether an operand has an example axis, and whether it is known when the operator is built.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Role {
    Varying,
    Shared,
    Constant,
}

#[derive(Debug, Clone)]
pub(super) struct Argument {
    pub(super) shape: Vec<usize>,
    pub(super) role: Role,
    draw: Draw,
}

/// An operator to be tested.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) operator: &'static str,
    pub(super) opset: i64,
    pub(super) attributes: Attributes,
    pub(super) arguments: Vec<Option<Argument>>,
    pub(super) outputs: usize,
}

impl Case {
    pub(super) fn new(operator: &'static str, opset: i64) -> Self {
        let attributes = Attributes::default();
        Self { operator, opset, attributes, arguments: Vec::new(), outputs: 1 }
    }

    fn argument(mut self, shape: &[usize], role: Role, draw: Draw) -> Self {
        self.arguments.push(Some(Argument { shape: shape.to_vec(), role, draw }));
        self
    }

    /// An operand with an example axis.
    pub(super) fn varying(self, shape: &[usize]) -> Self {
        self.argument(shape, Role::Varying, Draw::Normal)
    }

    /// An operand without one: a weight.
    pub(super) fn shared(self, shape: &[usize]) -> Self {
        self.argument(shape, Role::Shared, Draw::Normal)
    }

    /// Either of the two.
    pub(super) fn either(self, random: &mut Random, shape: &[usize]) -> Self {
        if random.chance(0.5) { self.varying(shape) } else { self.shared(shape) }
    }

    /// An operand that is left out.
    pub(super) fn absent(mut self) -> Self {
        self.arguments.push(None);
        self
    }

    pub(super) fn constant_ints(self, shape: &[usize], values: &[i64]) -> Self {
        self.argument(shape, Role::Constant, Draw::Ints(values.to_vec()))
    }

    /// A list of whole numbers.
    pub(super) fn list(self, values: &[i64]) -> Self {
        self.constant_ints(&[values.len()], values)
    }

    pub(super) fn constant_floats(self, shape: &[usize], values: &[f64]) -> Self {
        self.argument(shape, Role::Constant, Draw::Floats(values.to_vec()))
    }

    /// Set what the last operand's numbers look like.
    pub(super) fn draw(mut self, draw: Draw) -> Self {
        if let Some(Some(last)) = self.arguments.last_mut() {
            last.draw = draw;
        }
        self
    }

    pub(super) fn outputs(self, outputs: usize) -> Self {
        Self { outputs, ..self }
    }

    fn with(self, f: impl FnOnce(Attributes) -> Attributes) -> Self {
        Self { attributes: f(self.attributes), ..self }
    }

    pub(super) fn int(self, name: &str, value: i64) -> Self {
        self.with(|a| a.with_int(name, value))
    }

    pub(super) fn float(self, name: &str, value: f32) -> Self {
        self.with(|a| a.with_float(name, value))
    }

    pub(super) fn text(self, name: &str, value: &str) -> Self {
        self.with(|a| a.with_text(name, value))
    }

    pub(super) fn ints(self, name: &str, values: &[i64]) -> Self {
        self.with(|a| a.with_ints(name, values))
    }

    pub(super) fn sizes(self, name: &str, values: &[usize]) -> Self {
        let values: Vec<i64> = values.iter().map(|v| *v as i64).collect();
        self.ints(name, &values)
    }

    pub(super) fn floats(self, name: &str, values: &[f32]) -> Self {
        self.with(|a| a.with_floats(name, values))
    }

    pub(super) fn texts(self, name: &str, values: &[&str]) -> Self {
        self.with(|a| a.with_texts(name, values))
    }

    /// The same case on one input for all examples, as where an operator meets weights only.
    pub(super) fn all_shared(mut self) -> Self {
        for argument in self.arguments.iter_mut().flatten() {
            if argument.role == Role::Varying {
                argument.role = Role::Shared;
            }
        }
        self
    }

    pub(super) fn role(&self, k: usize) -> Option<Role> {
        self.arguments[k].as_ref().map(|a| a.role)
    }

    /// The operands' values, `[BATCH or 1, *shape]`.
    pub(super) fn values(&self, random: &mut Random) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mut values = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            values.push(match argument {
                Some(Argument { shape, role, draw }) => {
                    let lead = if *role == Role::Varying { BATCH } else { 1 };
                    let mut full = vec![lead];
                    full.extend(shape);
                    Some(draw.tensor(random, &full)?)
                }
                None => None,
            });
        }
        Ok(values)
    }

    pub(super) fn setup(&self, values: &[Option<Tensor>]) -> Setup<'_> {
        let operand = |(argument, value): (&Option<Argument>, &Option<Tensor>)| {
            let (argument, value) = (argument.as_ref()?, value.as_ref()?);
            Some(Operand {
                shape: argument.shape.clone(),
                dtype: value.dtype(),
                constant: (argument.role == Role::Constant).then(|| value.clone()),
                shared: argument.role != Role::Varying,
                width: (value.dtype() == DType::I64).then_some(Width::Signed(8)),
            })
        };
        Setup {
            operator: self.operator,
            attributes: &self.attributes,
            opset: self.opset,
            operands: self.arguments.iter().zip(values).map(operand).collect(),
            outputs: self.outputs,
            float: DType::F64,
        }
    }
}
