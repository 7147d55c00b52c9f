//! How alike the gradients of given examples are, and which way each gradient would have to move.
//!
//! For a group of s examples with gradients g, c = 1/‖g‖ and S = Σ_j c_j g_j, the mean similarity of
//! its pairs is k̄ = (‖S‖² − s) / (s(s − 1)), and
//! ∂(1 − k̄)/∂g_i = −2/(s(s − 1)) (c_i S − c_i³ ⟨g_i, S⟩ g_i). Both need only norms, S, and products
//! with S: the cost is linear in the group.

use std::collections::BTreeMap;

use faer::{Accum, MatMut, MatRef};
use gradkin_network::candle_core::{DType, Device, Layout, Storage, Tensor, WithDType};
use gradkin_network::{
    Adjoint, Component, Factor, FactorShape, Imaged, NetworkError, Sink, multiply,
};

use super::imaged::{Pictured, Room};
use crate::error::Result;
use crate::number::Number;

/// What the reverse sweep has given of one component.
#[derive(Debug)]
pub(super) enum Given {
    Factor(Factor),
    Pictured(Pictured),
}

/// Takes from a reverse sweep what is compared.
pub(super) struct Taken<'a> {
    components: &'a [Component],
    outputs: usize,
    /// Examples of the largest group.
    largest: usize,
    given: BTreeMap<usize, Given>,
}

impl<'a> Taken<'a> {
    pub(super) fn new(components: &'a [Component], outputs: usize, groups: &[Vec<usize>]) -> Self {
        Self { components, outputs, largest: largest(groups), given: BTreeMap::new() }
    }

    pub(super) fn given(self) -> BTreeMap<usize, Given> {
        self.given
    }
}

impl Sink for Taken<'_> {
    fn accept(&mut self, component: usize, factor: Factor) -> Result<(), NetworkError> {
        let readable = prepared(factor)?;
        self.given.insert(component, Given::Factor(readable));
        Ok(())
    }

    fn takes_images(&self, component: usize) -> bool {
        let shape = self.components[component].shape;
        Form::of(Sizes::expected(shape, self.outputs), self.largest) == Form::Written
    }

    fn accept_imaged(&mut self, component: usize, factor: Imaged) -> Result<(), NetworkError> {
        if let Some(windows) = &self.components[component].windows {
            let pictured = Pictured::new(factor, windows)?;
            self.given.insert(component, Given::Pictured(pictured));
        }
        Ok(())
    }
}

fn largest(groups: &[Vec<usize>]) -> usize {
    groups.iter().map(Vec::len).max().unwrap_or(2)
}

/// What a group's gradients come to.
pub(super) struct Alike {
    /// Σ over groups of 1 − k̄.
    pub(super) value: f64,
    /// Its derivatives by what was given of every component, multiplied by the weight given.
    pub(super) adjoints: BTreeMap<usize, Adjoint>,
}

/// Compare gradients within each group of rows, several outputs by the trace.
pub(super) fn alike(
    given: &BTreeMap<usize, Given>,
    groups: &[Vec<usize>],
    weight: f64,
) -> Result<Alike> {
    let first = given.values().next();
    let single = first.is_none_or(|given| cotangent(given).dtype() == DType::F32);
    if single {
        in_type::<f32>(given, groups, weight, None)
    } else {
        in_type::<f64>(given, groups, weight, None)
    }
}

fn cotangent(given: &Given) -> &Tensor {
    match given {
        Given::Factor(Factor::Dense(gradient)) => gradient,
        Given::Factor(Factor::Outer { cotangent, .. } | Factor::Rows { cotangent, .. }) => {
            cotangent
        }
        Given::Pictured(pictured) => pictured.cotangent(),
    }
}

/// An example without a gradient has no similarity; it counts as alike to none.
const TINY: f64 = 1e-30;

fn in_type<T: Number>(
    given: &BTreeMap<usize, Given>,
    groups: &[Vec<usize>],
    weight: f64,
    form: Option<Form>,
) -> Result<Alike> {
    let mut room = Room::default();
    let mut parts = Vec::with_capacity(given.len());
    for (component, given) in given {
        let mut part = Part::<T>::new(given, groups)?;
        if let (Some(form), Given::Factor(Factor::Outer { .. })) = (form, given) {
            part.form = form;
        }
        parts.push((*component, part));
    }
    let counts = || groups.iter().map(|group| vec![0.0; group.len()]);
    let mut norms: Vec<Vec<f64>> = counts().collect();
    for (_, part) in &mut parts {
        for (g, group) in groups.iter().enumerate() {
            part.norms(g, group, &mut norms[g], &mut room)?;
        }
    }
    let inverse = |norm: &f64| if *norm > TINY { norm.sqrt().recip() } else { 0.0 };
    let scales: Vec<Vec<f64>> =
        norms.iter().map(|group| group.iter().map(inverse).collect()).collect();
    let mut along: Vec<Vec<f64>> = counts().collect();
    for (_, part) in &mut parts {
        for (g, group) in groups.iter().enumerate() {
            part.along_sum(g, group, &scales[g], &mut along[g])?;
        }
    }
    let mut value = 0.0;
    let mut moves = Vec::with_capacity(groups.len());
    for ((c, r), n) in scales.iter().zip(&along).zip(&norms) {
        let s = c.len() as f64;
        let square: f64 = c.iter().zip(r).map(|(c, r)| c * r).sum();
        let own: f64 = c.iter().zip(n).map(|(c, n)| c * c * n).sum();
        value += 1.0 - (square - own) / (s * (s - 1.0));
        let share = 2.0 * weight / (s * (s - 1.0));
        moves.push(Moves {
            by_sum: c.iter().map(|c| -share * c).collect(),
            by_own: c.iter().zip(r).map(|(c, r)| share * c * c * c * r).collect(),
        });
    }
    let mut adjoints = BTreeMap::new();
    for (component, part) in parts {
        adjoints.insert(component, part.adjoint(groups, &scales, &moves, &mut room)?);
    }
    Ok(Alike { value, adjoints })
}

/// ∂/∂g_i = x_i S + y_i g_i for the examples of a group.
struct Moves {
    by_sum: Vec<f64>,
    by_own: Vec<f64>,
}

/// How one component's gradients are handled.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// Written out, example by example.
    Written,
    /// S written out, examples as products with it. Needs products among an example's own positions.
    Summed,
    /// Products among all positions of a group.
    Gram,
}

impl Form {
    /// The form of least work for Σ_t δ_t ⊗ a_t.
    fn of(sizes: Sizes, largest: usize) -> Self {
        let Sizes { outputs, positions, p, q, .. } = sizes;
        let own = positions * (p + outputs * q);
        let whole = outputs * p * q;
        // Multiply-adds per example and position, of all three steps.
        let written = 3 * whole + 4 * whole / positions.max(1);
        let summed = 2 * own + 4 * whole;
        let gram = 2 * largest * own;
        match written.min(summed).min(gram) {
            least if least == gram => Self::Gram,
            least if least == written => Self::Written,
            _ => Self::Summed,
        }
    }
}

/// One component.
struct Part<'a, T> {
    given: &'a Given,
    form: Form,
    sizes: Sizes,
    /// By group.
    kept: Vec<Kept<T>>,
}

/// What a group leaves behind for the next step.
struct Kept<T> {
    /// Gradients `[s, weights]` (written), or products of a with a `[sT, sT]` (Gram).
    first: Vec<T>,
    /// Products of δ with δ `[sT, sT]` (Gram).
    second: Vec<T>,
    /// S `[weights]`.
    sum: Vec<T>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { first: Vec::new(), second: Vec::new(), sum: Vec::new() }
    }
}

/// Numbers of a factor; a gradient written out counts as δ of one position.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    outputs: usize,
    groups: usize,
    positions: usize,
    p: usize,
    q: usize,
}

impl Sizes {
    /// Of what a sweep will give.
    fn expected(shape: FactorShape, outputs: usize) -> Self {
        match shape {
            FactorShape::Dense { len } => Self { outputs, groups: 1, positions: 1, p: 1, q: len },
            FactorShape::Outer { groups, positions, input, cotangent, .. } => {
                Self { outputs, groups, positions, p: input, q: cotangent }
            }
            FactorShape::Rows { positions, width, .. } => {
                Self { outputs, groups: 1, positions, p: 1, q: width }
            }
        }
    }

    fn of(given: &Given) -> Result<Self> {
        let factor = match given {
            Given::Factor(factor) => factor,
            Given::Pictured(pictured) => {
                let (_, outputs, q, positions) = pictured.cotangent().dims4()?;
                return Ok(Self { outputs, groups: 1, positions, p: pictured.input(), q });
            }
        };
        Ok(match factor {
            Factor::Dense(gradient) => {
                let (_, outputs, q) = gradient.dims3()?;
                Self { outputs, groups: 1, positions: 1, p: 1, q }
            }
            Factor::Outer { input, cotangent, .. } => {
                let (_, outputs, groups, positions, q) = cotangent.dims5()?;
                Self { outputs, groups, positions, p: input.dims()[3], q }
            }
            Factor::Rows { cotangent, .. } => {
                let (_, outputs, positions, q) = cotangent.dims4()?;
                Self { outputs, groups: 1, positions, p: 1, q }
            }
        })
    }

    fn block(&self) -> usize {
        self.q * self.p
    }

    /// Numbers of one example's gradient, all outputs together.
    fn weights(&self) -> usize {
        self.outputs * self.groups * self.block()
    }
}

/// The numbers of a tensor, read in place.
macro_rules! reading {
    ($name:ident, $tensor:expr) => {
        let (guard, layout) = $tensor.storage_and_layout();
        let Storage::Cpu(storage) = &*guard else {
            return Err(not_here().into());
        };
        let $name = View { data: T::cpu_storage_as_slice(storage)?, layout };
    };
}

pub(super) use reading;

pub(super) fn not_here() -> gradkin_network::candle_core::Error {
    gradkin_network::candle_core::Error::Msg("factors are not in the processor's memory".into())
}

#[derive(Clone, Copy)]
pub(super) struct View<'a, T> {
    pub(super) data: &'a [T],
    pub(super) layout: &'a Layout,
}

impl<'a, T: Number> View<'a, T> {
    /// The matrix of the last two axes at given indices of those before.
    fn matrix(&self, at: &[usize]) -> MatRef<'a, T> {
        let (dims, stride) = (self.layout.dims(), self.layout.stride());
        let offset: usize = at.iter().zip(stride).map(|(i, s)| i * s).sum();
        let data = &self.data[self.layout.start_offset() + offset..];
        let rank = dims.len();
        let (rows, columns) = (dims[rank - 2], dims[rank - 1]);
        let (down, across) = (stride[rank - 2], stride[rank - 1]);
        if across == 1 && (down >= columns || rows == 1) {
            let down = down.max(columns);
            let slice = &data[..(rows - 1) * down + columns];
            MatRef::from_row_major_slice_with_stride(slice, rows, columns, down)
        } else {
            let across = across.max(rows);
            let slice = &data[..(columns - 1) * across + rows];
            MatRef::from_column_major_slice_with_stride(slice, rows, columns, across)
        }
    }

    /// The numbers behind the first axis at one index of it, in their order.
    pub(super) fn row(&self, at: usize) -> &'a [T] {
        let (dims, stride) = (self.layout.dims(), self.layout.stride());
        let count: usize = dims[1..].iter().product();
        let start = self.layout.start_offset() + at * stride[0];
        &self.data[start..start + count]
    }

    /// Whether the last axis lies closest together.
    fn by_rows(&self) -> bool {
        self.layout.stride().last() == Some(&1)
    }
}

/// The tensor itself where its matrices can be read in place, a copy where they cannot.
fn readable(x: &Tensor) -> gradkin_network::candle_core::Result<Tensor> {
    let (dims, stride) = (x.dims(), x.stride());
    let rank = dims.len();
    let (rows, columns) = (dims[rank - 2], dims[rank - 1]);
    let (down, across) = (stride[rank - 2], stride[rank - 1]);
    let by_rows = across == 1 && (down >= columns || rows == 1);
    let by_columns = down == 1 && (across >= rows || columns == 1);
    Ok(if by_rows || by_columns { x.clone() } else { x.contiguous()? })
}

/// Factors as this module reads them.
fn prepared(factor: Factor) -> gradkin_network::candle_core::Result<Factor> {
    Ok(match factor {
        Factor::Dense(gradient) => Factor::Dense(gradient.contiguous()?),
        Factor::Outer { input, cotangent, order } => {
            Factor::Outer { input: readable(&input)?, cotangent: readable(&cotangent)?, order }
        }
        Factor::Rows { index, cotangent, rows } => {
            Factor::Rows { index, cotangent: readable(&cotangent)?, rows }
        }
    })
}

fn one<T: Number>() -> T {
    number(1.0)
}

pub(super) fn number<T: Number>(x: f64) -> T {
    <T as WithDType>::from_f64(x)
}

fn dot<T: Number>(a: &[T], b: &[T]) -> f64 {
    let mut lanes = [T::zero(); 16];
    let (whole, rest) = a.as_chunks::<16>();
    let (other, more) = b.as_chunks::<16>();
    for (a, b) in whole.iter().zip(other) {
        for lane in 0..16 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let mut sum: f64 = lanes.iter().map(|lane| lane.to_f64()).sum();
    sum += rest.iter().zip(more).map(|(a, b)| (*a * *b).to_f64()).sum::<f64>();
    sum
}

fn axpy<T: Number>(scale: f64, x: &[T], y: &mut [T]) {
    let scale = number::<T>(scale);
    y.iter_mut().zip(x).for_each(|(y, x)| *y += scale * *x);
}

/// x a + y b.
fn combine<T: Number>(x: f64, a: &[T], y: f64, b: &[T], into: &mut [T]) {
    let (x, y) = (number::<T>(x), number::<T>(y));
    for ((into, a), b) in into.iter_mut().zip(a).zip(b) {
        *into = x * *a + y * *b;
    }
}

impl<'a, T: Number> Part<'a, T> {
    fn new(given: &'a Given, groups: &[Vec<usize>]) -> Result<Self> {
        let sizes = Sizes::of(given)?;
        let form = match given {
            Given::Factor(Factor::Dense(_)) | Given::Pictured(_) => Form::Written,
            Given::Factor(Factor::Rows { .. }) => Form::Gram,
            Given::Factor(Factor::Outer { .. }) => Form::of(sizes, largest(groups)),
        };
        let kept = groups.iter().map(|_| Kept::default()).collect();
        Ok(Self { given, form, sizes, kept })
    }

    /// Add ‖g_i‖² of a group's examples.
    fn norms(
        &mut self,
        g: usize,
        group: &[usize],
        norms: &mut [f64],
        room: &mut Room<T>,
    ) -> Result<()> {
        match self.form {
            Form::Written => {
                self.write_out(g, group, room)?;
                let weights = self.sizes.weights();
                for (own, norm) in self.kept[g].first.chunks_exact(weights).zip(norms) {
                    *norm += dot(own, own);
                }
            }
            Form::Gram => {
                self.products(g, group)?;
                self.blocks(g, group.len(), |i, j, product| {
                    if i == j {
                        norms[i] += product;
                    }
                });
            }
            Form::Summed => {
                for (row, norm) in group.iter().zip(norms) {
                    let mut own = Self::new(self.given, &[vec![*row]])?;
                    own.form = Form::Gram;
                    own.products(0, &[*row])?;
                    own.blocks(0, 1, |_, _, product| *norm += product);
                }
            }
        }
        Ok(())
    }

    /// Add ⟨g_i, S⟩ with S = Σ_j c_j g_j over the group.
    fn along_sum(&mut self, g: usize, group: &[usize], c: &[f64], along: &mut [f64]) -> Result<()> {
        let weights = self.sizes.weights();
        match self.form {
            Form::Written => {
                let kept = &mut self.kept[g];
                kept.sum = vec![T::zero(); weights];
                for (own, c) in kept.first.chunks_exact(weights).zip(c) {
                    axpy(*c, own, &mut kept.sum);
                }
                for (own, along) in kept.first.chunks_exact(weights).zip(along) {
                    *along += dot(own, &kept.sum);
                }
            }
            Form::Gram => self.blocks(g, group.len(), |i, j, product| along[i] += c[j] * product),
            Form::Summed => {
                self.sum_up(g, group, c)?;
                let Given::Factor(Factor::Outer { input, cotangent, .. }) = self.given else {
                    return Ok(());
                };
                reading!(a, input);
                reading!(delta, cotangent);
                let Sizes { groups, positions, p, q, .. } = self.sizes;
                let mut moved = vec![T::zero(); positions * q];
                for (row, along) in group.iter().zip(along) {
                    for (k, sum) in self.kept[g].sum.chunks_exact(q * p).enumerate() {
                        let (output, part) = (k / groups, k % groups);
                        let sum = MatRef::from_row_major_slice(sum, q, p);
                        let target = MatMut::from_row_major_slice_mut(&mut moved, positions, q);
                        let a = a.matrix(&[*row, part]);
                        multiply(target, Accum::Replace, a, sum.transpose(), one());
                        let d = delta.matrix(&[*row, output, part]);
                        for t in 0..positions {
                            for k in 0..q {
                                *along += (moved[t * q + k] * d[(t, k)]).to_f64();
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Derivatives by the factor of all examples; those in no group have none.
    fn adjoint(
        mut self,
        groups: &[Vec<usize>],
        scales: &[Vec<f64>],
        moves: &[Moves],
        room: &mut Room<T>,
    ) -> Result<Adjoint> {
        let factor = match self.given {
            Given::Factor(factor) => factor,
            Given::Pictured(pictured) => {
                return self.by_picture(pictured, groups, moves, room);
            }
        };
        Ok(Adjoint::Factor(match factor {
            Factor::Dense(gradient) => {
                let mut by = vec![T::zero(); gradient.elem_count()];
                let weights = self.sizes.weights();
                for (g, group) in groups.iter().enumerate() {
                    let kept = &self.kept[g];
                    let own = kept.first.chunks_exact(weights);
                    for ((i, row), own) in group.iter().enumerate().zip(own) {
                        let target = &mut by[row * weights..(row + 1) * weights];
                        axpy(moves[g].by_sum[i], &kept.sum, target);
                        axpy(moves[g].by_own[i], own, target);
                    }
                }
                Factor::Dense(Tensor::from_vec(by, gradient.dims(), &Device::Cpu)?)
            }
            Factor::Rows { index, cotangent, rows } => {
                reading!(delta, cotangent);
                let mut by = vec![T::zero(); cotangent.elem_count()];
                let Sizes { outputs, positions, q, .. } = self.sizes;
                for (g, group) in groups.iter().enumerate() {
                    let moved = self.moved_products(g, &scales[g], &moves[g], true);
                    let side = group.len() * positions;
                    let moved = MatRef::from_row_major_slice(&moved, side, side);
                    for output in 0..outputs {
                        let own = gathered(&delta, group, &[output], (positions, q));
                        let own = MatRef::from_row_major_slice(&own, side, q);
                        let mut found = vec![T::zero(); side * q];
                        let target = MatMut::from_row_major_slice_mut(&mut found, side, q);
                        multiply(target, Accum::Replace, moved, own, one());
                        for (row, found) in group.iter().zip(found.chunks_exact(positions * q)) {
                            let at = (row * outputs + output) * positions * q;
                            by[at..at + positions * q].copy_from_slice(found);
                        }
                    }
                }
                let cotangent = Tensor::from_vec(by, cotangent.dims(), &Device::Cpu)?;
                Factor::Rows { index: index.clone(), cotangent, rows: *rows }
            }
            Factor::Outer { input, cotangent, order } => {
                reading!(a, input);
                reading!(delta, cotangent);
                let Sizes { outputs, groups: blocks, positions, p, q } = self.sizes;
                let mut by_input = Target::<T>::new(a.by_rows(), (positions, p));
                by_input.reserve(input.elem_count());
                let mut by_delta = Target::<T>::new(delta.by_rows(), (positions, q));
                by_delta.reserve(cotangent.elem_count());
                for (g, group) in groups.iter().enumerate() {
                    let (x, y) = (&moves[g].by_sum, &moves[g].by_own);
                    if self.form == Form::Gram {
                        self.by_gram(
                            g,
                            group,
                            (&scales[g], &moves[g]),
                            (&a, &delta),
                            (&mut by_input, &mut by_delta),
                        );
                        continue;
                    }
                    let weights = self.sizes.weights();
                    let mut moved = vec![T::zero(); weights];
                    for (i, row) in group.iter().enumerate() {
                        if self.form == Form::Summed {
                            // The example's own gradient, which this form has not kept.
                            write_one(&a, &delta, *row, self.sizes, &mut moved);
                            moved.iter_mut().for_each(|v| *v *= number::<T>(y[i]));
                            axpy(x[i], &self.kept[g].sum, &mut moved);
                        } else {
                            let own = &self.kept[g].first[i * weights..(i + 1) * weights];
                            combine(x[i], &self.kept[g].sum, y[i], own, &mut moved);
                        }
                        for (k, moved) in moved.chunks_exact(q * p).enumerate() {
                            let (output, part) = (k / blocks, k % blocks);
                            let moved = MatRef::from_row_major_slice(moved, q, p);
                            let d = delta.matrix(&[*row, output, part]);
                            let target = by_input.at(row * blocks + part);
                            multiply(target, Accum::Add, d, moved, one());
                            let target = by_delta.at((row * outputs + output) * blocks + part);
                            let a = a.matrix(&[*row, part]);
                            multiply(target, Accum::Add, a, moved.transpose(), one());
                        }
                    }
                    self.kept[g] = Kept::default();
                }
                let input = by_input.tensor(input)?;
                let cotangent = by_delta.tensor(cotangent)?;
                Factor::Outer { input, cotangent, order: *order }
            }
        }))
    }

    /// Derivatives by images and what meets their windows.
    fn by_picture(
        &self,
        pictured: &Pictured,
        groups: &[Vec<usize>],
        moves: &[Moves],
        room: &mut Room<T>,
    ) -> Result<Adjoint> {
        let weights = self.sizes.weights();
        let mut moved = vec![T::zero(); weights];
        let imaged = pictured.adjoint(room, |take| {
            for ((group, moves), kept) in groups.iter().zip(moves).zip(&self.kept) {
                let owns = kept.first.chunks_exact(weights);
                for ((i, row), own) in group.iter().enumerate().zip(owns) {
                    combine(moves.by_sum[i], &kept.sum, moves.by_own[i], own, &mut moved);
                    take(*row, &moved);
                }
            }
        })?;
        Ok(Adjoint::Imaged(imaged))
    }

    /// Gradients of a group written out.
    fn write_out(&mut self, g: usize, group: &[usize], room: &mut Room<T>) -> Result<()> {
        let weights = self.sizes.weights();
        let mut written = vec![T::zero(); group.len() * weights];
        match self.given {
            Given::Pictured(pictured) => pictured.write_out(group, &mut written, room)?,
            Given::Factor(Factor::Dense(gradient)) => {
                reading!(own, gradient);
                for (row, target) in group.iter().zip(written.chunks_exact_mut(weights)) {
                    target.copy_from_slice(own.row(*row));
                }
            }
            Given::Factor(Factor::Outer { input, cotangent, .. }) => {
                reading!(a, input);
                reading!(delta, cotangent);
                for (row, target) in group.iter().zip(written.chunks_exact_mut(weights)) {
                    write_one(&a, &delta, *row, self.sizes, target);
                }
            }
            Given::Factor(Factor::Rows { .. }) => {}
        }
        self.kept[g].first = written;
        Ok(())
    }

    /// S of a group, without any example's gradient.
    fn sum_up(&mut self, g: usize, group: &[usize], c: &[f64]) -> Result<()> {
        let Given::Factor(Factor::Outer { input, cotangent, .. }) = self.given else {
            return Ok(());
        };
        reading!(a, input);
        reading!(delta, cotangent);
        let Sizes { groups, p, q, .. } = self.sizes;
        let mut sum = vec![T::zero(); self.sizes.weights()];
        for (row, c) in group.iter().zip(c) {
            for (k, target) in sum.chunks_exact_mut(q * p).enumerate() {
                let (output, part) = (k / groups, k % groups);
                let left = delta.matrix(&[*row, output, part]);
                let target = MatMut::from_row_major_slice_mut(target, q, p);
                let a = a.matrix(&[*row, part]);
                multiply(target, Accum::Add, left.transpose(), a, number(*c));
            }
        }
        self.kept[g].sum = sum;
        Ok(())
    }

    /// Products among all positions of a group: of a with a and, over all outputs, of δ with δ.
    ///
    /// With several blocks of weights there is one pair of them per block, one after another.
    fn products(&mut self, g: usize, group: &[usize]) -> Result<()> {
        let Sizes { outputs, groups, positions, p, q } = self.sizes;
        let side = group.len() * positions;
        let mut first = vec![T::zero(); groups * side * side];
        let mut second = vec![T::zero(); groups * side * side];
        reading!(delta, cotangent(self.given));
        for part in 0..groups {
            let own = part * side * side..(part + 1) * side * side;
            for output in 0..outputs {
                let inner = [output, part];
                let at = if delta.layout.dims().len() == 5 { &inner[..] } else { &inner[..1] };
                square(&gathered(&delta, group, at, (positions, q)), q, &mut second[own.clone()]);
            }
            match self.given {
                Given::Factor(Factor::Outer { input, .. }) => {
                    reading!(a, input);
                    square(&gathered(&a, group, &[part], (positions, p)), p, &mut first[own]);
                }
                Given::Factor(Factor::Rows { index, .. }) => {
                    let index: Vec<Vec<i64>> = index.to_dtype(DType::I64)?.to_vec2()?;
                    let all: Vec<i64> = group.iter().flat_map(|row| index[*row].clone()).collect();
                    for (k, same) in first[own].iter_mut().enumerate() {
                        *same = number(f64::from(all[k / side] == all[k % side]));
                    }
                }
                Given::Factor(Factor::Dense(_)) | Given::Pictured(_) => {}
            }
        }
        (self.kept[g].first, self.kept[g].second) = (first, second);
        Ok(())
    }

    /// ⟨g_i, g_j⟩ of a group, in pieces that add up.
    fn blocks(&self, g: usize, members: usize, mut take: impl FnMut(usize, usize, f64)) {
        let positions = self.sizes.positions;
        let side = members * positions;
        let kept = &self.kept[g];
        for (k, (a, d)) in kept.first.iter().zip(&kept.second).enumerate() {
            let at = k % (side * side);
            take(at / side / positions, at % side / positions, (*a * *d).to_f64());
        }
    }

    /// (x_i c_j + y_i [i = j]) times products of a, or of δ where `by_first` is not set.
    fn moved_products(&self, g: usize, c: &[f64], moves: &Moves, by_first: bool) -> Vec<T> {
        let positions = self.sizes.positions;
        let side = c.len() * positions;
        let kept = &self.kept[g];
        let products = if by_first { &kept.first } else { &kept.second };
        let moved = products.iter().enumerate().map(|(k, product)| {
            let at = k % (side * side);
            let (i, j) = (at / side / positions, at % side / positions);
            let own = if i == j { moves.by_own[i] } else { 0.0 };
            number::<T>(moves.by_sum[i] * c[j] + own) * *product
        });
        moved.collect()
    }

    /// Derivatives of a group by its factors in the Gram form.
    fn by_gram(
        &self,
        g: usize,
        group: &[usize],
        (c, moves): (&[f64], &Moves),
        (a, delta): (&View<T>, &View<T>),
        (by_input, by_delta): (&mut Target<T>, &mut Target<T>),
    ) {
        let Sizes { outputs, groups, positions, p, q } = self.sizes;
        let side = group.len() * positions;
        let by_a = self.moved_products(g, c, moves, true);
        let by_d = self.moved_products(g, c, moves, false);
        for part in 0..groups {
            let own = part * side * side..(part + 1) * side * side;
            let by_a = MatRef::from_row_major_slice(&by_a[own.clone()], side, side);
            let by_d = MatRef::from_row_major_slice(&by_d[own], side, side);
            let rows = gathered(a, group, &[part], (positions, p));
            let mut found = vec![T::zero(); side * p];
            let target = MatMut::from_row_major_slice_mut(&mut found, side, p);
            let rows = MatRef::from_row_major_slice(&rows, side, p);
            multiply(target, Accum::Replace, by_d, rows, one());
            for (row, found) in group.iter().zip(found.chunks_exact(positions * p)) {
                by_input.add(row * groups + part, found);
            }
            for output in 0..outputs {
                let rows = gathered(delta, group, &[output, part], (positions, q));
                let mut found = vec![T::zero(); side * q];
                let target = MatMut::from_row_major_slice_mut(&mut found, side, q);
                let rows = MatRef::from_row_major_slice(&rows, side, q);
                multiply(target, Accum::Replace, by_a, rows, one());
                for (row, found) in group.iter().zip(found.chunks_exact(positions * q)) {
                    by_delta.add((row * outputs + output) * groups + part, found);
                }
            }
        }
    }
}

/// The gradient of one example written out.
fn write_one<T: Number>(a: &View<T>, delta: &View<T>, row: usize, sizes: Sizes, target: &mut [T]) {
    let Sizes { groups, p, q, .. } = sizes;
    for (k, target) in target.chunks_exact_mut(q * p).enumerate() {
        let (output, part) = (k / groups, k % groups);
        let left = delta.matrix(&[row, output, part]);
        let target = MatMut::from_row_major_slice_mut(target, q, p);
        let a = a.matrix(&[row, part]);
        multiply(target, Accum::Replace, left.transpose(), a, one());
    }
}

/// Matrices of a group's rows one below another: `[s·T, columns]`.
fn gathered<T: Number>(
    view: &View<T>,
    group: &[usize],
    at: &[usize],
    (positions, columns): (usize, usize),
) -> Vec<T> {
    let mut all = Vec::with_capacity(group.len() * positions * columns);
    let mut index = vec![0];
    index.extend(at);
    for row in group {
        index[0] = *row;
        let own = view.matrix(&index);
        for t in 0..positions {
            match own.row(t).try_as_row_major() {
                Some(row) => all.extend_from_slice(row.as_slice()),
                None => all.extend((0..columns).map(|k| own[(t, k)])),
            }
        }
    }
    all
}

/// x · xᵀ added to the target, x with `columns` columns.
fn square<T: Number>(x: &[T], columns: usize, target: &mut [T]) {
    let rows = x.len() / columns.max(1);
    let x = MatRef::from_row_major_slice(x, rows, columns);
    let target = MatMut::from_row_major_slice_mut(target, rows, rows);
    multiply(target, Accum::Add, x, x.transpose(), one());
}

/// Matrices that lie in memory as those of a factor do, by rows or by columns.
struct Target<T> {
    values: Vec<T>,
    by_rows: bool,
    rows: usize,
    columns: usize,
}

impl<T: Number> Target<T> {
    fn new(by_rows: bool, (rows, columns): (usize, usize)) -> Self {
        Self { values: Vec::new(), by_rows, rows, columns }
    }

    fn reserve(&mut self, count: usize) {
        self.values = vec![T::zero(); count];
    }

    fn at(&mut self, index: usize) -> MatMut<'_, T> {
        let size = self.rows * self.columns;
        let slice = &mut self.values[index * size..(index + 1) * size];
        if self.by_rows {
            MatMut::from_row_major_slice_mut(slice, self.rows, self.columns)
        } else {
            MatMut::from_column_major_slice_mut(slice, self.rows, self.columns)
        }
    }

    /// Add a matrix given by rows.
    fn add(&mut self, index: usize, matrix: &[T]) {
        let (rows, columns) = (self.rows, self.columns);
        let mut target = self.at(index);
        for t in 0..rows {
            for k in 0..columns {
                target[(t, k)] += matrix[t * columns + k];
            }
        }
    }

    fn tensor(self, like: &Tensor) -> Result<Tensor> {
        let mut dims = like.dims().to_vec();
        let last = dims.len() - 1;
        if self.by_rows {
            return Ok(Tensor::from_vec(self.values, dims, &Device::Cpu)?);
        }
        dims.swap(last - 1, last);
        let turned = Tensor::from_vec(self.values, dims, &Device::Cpu)?;
        Ok(turned.transpose(last - 1, last)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use gradkin_network::Order;

    use super::*;

    fn numbers(shape: &[usize], phase: f64) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|i| (1.3 * i as f64 + phase).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// What a sweep gives, held so that it can be changed: a convolution's factors (positions last in
    /// memory), a table's, a bias, and a convolution's image; five examples, two outputs.
    fn examples() -> BTreeMap<usize, Adjoint> {
        let input = numbers(&[5, 2, 4, 3], 0.1).transpose(2, 3).unwrap();
        let cotangent = numbers(&[5, 2, 2, 3, 3], 0.7).transpose(3, 4).unwrap();
        let index =
            Tensor::new(&[[0i64, 1], [1, 1], [2, 0], [0, 0], [1, 2]], &Device::Cpu).unwrap();
        let rows = Factor::Rows { index, cotangent: numbers(&[5, 2, 2, 3], 2.0), rows: 3 };
        let (image, delta) = (numbers(&[5, 2, 30], 0.4), numbers(&[5, 2, 3, 12], 0.9));
        BTreeMap::from([
            (0, Factor::Outer { input, cotangent, order: Order::CotangentFirst }.into()),
            (1, rows.into()),
            (2, Factor::Dense(numbers(&[5, 2, 6], 3.0)).into()),
            (3, Adjoint::Imaged(Imaged { image, cotangent: delta })),
        ])
    }

    fn given(examples: &BTreeMap<usize, Adjoint>) -> BTreeMap<usize, Given> {
        let give = |own: &Adjoint| match own {
            Adjoint::Factor(factor) => Given::Factor(factor.clone()),
            Adjoint::Imaged(own) => {
                Given::Pictured(Pictured::new(own.clone(), &windows()).unwrap())
            }
        };
        examples.iter().map(|(component, own)| (*component, give(own))).collect()
    }

    /// Gradients written out, `[B, d, weights]`, without this module.
    fn dense(own: &Adjoint) -> Tensor {
        let imaged = match own {
            Adjoint::Factor(factor) => return factor.to_dense().unwrap(),
            Adjoint::Imaged(imaged) => imaged,
        };
        let mut columns = Vec::new();
        for image in flat(&imaged.image).chunks_exact(60) {
            columns.extend_from_slice(windows().columns(image, &mut Vec::new()));
        }
        let columns = Tensor::from_vec(columns, (5, 1, 8, 12), &Device::Cpu).unwrap();
        let columns = columns.transpose(2, 3).unwrap().broadcast_as((5, 2, 12, 8)).unwrap();
        let product = imaged.cotangent.matmul(&columns.contiguous().unwrap()).unwrap();
        product.reshape((5, 2, 24)).unwrap()
    }

    /// The windows of 2 × 2 elements, two apart, over images of two channels, 5 × 6 pixels each with a
    /// border of one.
    fn windows() -> gradkin_network::Windows {
        use gradkin_network::build::{Convolution, GraphBuilder};
        use gradkin_network::{Model, Network, Options, Sweep};
        let mut graph = GraphBuilder::new("windows");
        let x = graph.input("x", &[2, 5, 6]).unwrap();
        let shape = Convolution::new(3, 2).stride(2).pad(1).no_bias();
        let y = graph.conv("c", x, shape).unwrap();
        graph.output("y", y).unwrap();
        let model = Model::from_bytes(&graph.finish().unwrap(), "windows").unwrap();
        let network = Network::new(&model, &Options::default()).unwrap();
        let sweep = Sweep::new(&network, None, None).unwrap();
        let windows = sweep.components()[0].windows.clone().unwrap();
        assert_eq!((windows.numbers(), windows.positions()), (60, 12));
        windows
    }

    fn flat(tensor: &Tensor) -> Vec<f64> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn parts(own: &Adjoint) -> Vec<&Tensor> {
        match own {
            Adjoint::Factor(Factor::Dense(gradient)) => vec![gradient],
            Adjoint::Factor(Factor::Outer { input, cotangent, .. }) => vec![input, cotangent],
            Adjoint::Factor(Factor::Rows { cotangent, .. }) => vec![cotangent],
            Adjoint::Imaged(Imaged { image, cotangent }) => vec![image, cotangent],
        }
    }

    const GROUPS: [&[usize]; 2] = [&[3, 0], &[1, 4, 2]];

    fn found(examples: &BTreeMap<usize, Adjoint>, form: Option<Form>) -> Alike {
        in_type::<f64>(&given(examples), &GROUPS.map(<[usize]>::to_vec), 1.0, form).unwrap()
    }

    /// The value from gradients written out and compared pair by pair.
    #[test]
    fn value_is_that_of_the_pairs() {
        let examples = examples();
        let mut rows: Vec<Vec<f64>> = vec![Vec::new(); 5];
        for own in examples.values() {
            let dense = dense(own);
            for (b, row) in rows.iter_mut().enumerate() {
                row.extend(flat(&dense.get(b).unwrap()));
            }
        }
        let product = |a: usize, b: usize| dot(&rows[a], &rows[b]);
        let k = |a: usize, b: usize| product(a, b) / (product(a, a) * product(b, b)).sqrt();
        let wanted = 2.0 - k(3, 0) - (k(1, 4) + k(1, 2) + k(4, 2)) / 3.0;
        for form in [None, Some(Form::Written), Some(Form::Summed), Some(Form::Gram)] {
            let value = found(&examples, form).value;
            assert!((value - wanted).abs() < 1e-12, "{form:?}: {value} {wanted}");
        }
    }

    /// Every form's derivatives against central differences, number by number.
    #[test]
    fn adjoints_are_derivatives_in_every_form() {
        let examples = examples();
        for form in [Form::Written, Form::Summed, Form::Gram] {
            let adjoints = found(&examples, Some(form)).adjoints;
            for (component, example) in &examples {
                for part in 0..parts(example).len() {
                    let own = flat(parts(&adjoints[component])[part]);
                    for (entry, own) in own.iter().enumerate() {
                        let at = |step: f64| {
                            found(&moved(&examples, *component, part, entry, step), Some(form))
                                .value
                        };
                        let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
                        assert!(
                            (difference - own).abs() < 1e-8,
                            "{form:?} {component} {part} {entry}: {difference} {own}"
                        );
                    }
                }
            }
        }
    }

    fn moved(
        examples: &BTreeMap<usize, Adjoint>,
        component: usize,
        part: usize,
        entry: usize,
        step: f64,
    ) -> BTreeMap<usize, Adjoint> {
        let mut examples = examples.clone();
        let own = examples.get_mut(&component).unwrap();
        let tensor = match (own, part) {
            (Adjoint::Factor(Factor::Dense(tensor)), _)
            | (Adjoint::Factor(Factor::Outer { input: tensor, .. }), 0)
            | (Adjoint::Factor(Factor::Outer { cotangent: tensor, .. }), _)
            | (Adjoint::Factor(Factor::Rows { cotangent: tensor, .. }), _)
            | (Adjoint::Imaged(Imaged { image: tensor, .. }), 0)
            | (Adjoint::Imaged(Imaged { cotangent: tensor, .. }), _) => tensor,
        };
        let mut values = flat(tensor);
        values[entry] += step;
        *tensor = Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap();
        examples
    }
}
