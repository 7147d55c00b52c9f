//! Matrix products: MatMul and Gemm. Their weights' gradients come as factors.

use candle_core::Tensor;

use super::second::{Ascended, Second, plus};
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::factor::{Factor, FactorShape, Order};
use crate::tensor::sum_of_products;
use crate::tensor::{broadcast_shape, checked_count, example_shape, lead_shape, matmul, sum_to};

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("MatMul", |s| Ok(Box::new(MatMul::build(s)?))), ("Gemm", Gemm::build)];

/// y = a · b over the last two axes, the axes before them broadcast.
#[derive(Debug)]
pub(super) struct MatMul {
    /// Shapes with vectors promoted to matrices.
    a: Vec<usize>,
    b: Vec<usize>,
    /// Broadcast shape of the axes before the last two.
    batch: Vec<usize>,
    /// Shape of y as ONNX has it, vectors dropped again.
    out: Vec<usize>,
    /// Whether a and b are the same for all examples.
    shared: [bool; 2],
}

impl MatMul {
    pub(super) fn build(setup: &Setup) -> OpResult<Self> {
        let shared = [setup.operand(0)?.shared, setup.operand(1)?.shared];
        Self::new(setup.shape(0)?, setup.shape(1)?, shared)
    }

    pub(super) fn new(first: &[usize], second: &[usize], shared: [bool; 2]) -> OpResult<Self> {
        let (mut a, mut b) = (first.to_vec(), second.to_vec());
        let vectors = (a.len() == 1, b.len() == 1);
        if a.is_empty() || b.is_empty() {
            fail!("a matrix product needs operands with at least one axis");
        }
        if vectors.0 {
            a.insert(0, 1);
        }
        if vectors.1 {
            b.push(1);
        }
        let (k, k2) = (a[a.len() - 1], b[b.len() - 2]);
        if k != k2 {
            fail!("shapes {first:?} and {second:?} do not multiply: {k} columns meet {k2} rows");
        }
        let batch = broadcast_shape(&a[..a.len() - 2], &b[..b.len() - 2])?;
        let mut out = batch.clone();
        if !vectors.0 {
            out.push(a[a.len() - 2]);
        }
        if !vectors.1 {
            out.push(b[b.len() - 1]);
        }
        checked_count(&out)?;
        Ok(Self { a, b, batch, out, shared })
    }

    fn rows(&self) -> usize {
        self.a[self.a.len() - 2]
    }

    fn inner(&self) -> usize {
        self.a[self.a.len() - 1]
    }

    fn columns(&self) -> usize {
        self.b[self.b.len() - 1]
    }

    fn batches(&self) -> usize {
        self.batch.iter().product()
    }

    /// An operand `[L, *]` as `[L·batch, r, c]`, broadcast to the common batch axes and `lead`.
    fn full(&self, x: &Tensor, shape: &[usize], lead: usize) -> OpResult<Tensor> {
        let (r, c) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let mut common = self.batch.clone();
        common.extend([r, c]);
        let x = x.reshape(lead_shape(x.dims()[0], shape))?;
        let x = crate::tensor::expand_to(&x, lead, &common)?;
        Ok(x.contiguous()?.reshape((lead * self.batches(), r, c))?)
    }

    /// Whether b is one matrix for all examples and batch axes.
    fn plain_b(&self) -> bool {
        self.shared[1] && self.b.len() == 2
    }

    /// A plain b, `[1, k, n]`, as a matrix. A transposed one is looked at in place, where a reshape
    /// would copy it; only a vector has to take the form of a matrix first.
    fn matrix(&self, b: &Tensor) -> OpResult<Tensor> {
        let vector = b.rank() == 2;
        Ok(if vector { b.reshape((self.inner(), self.columns()))? } else { b.squeeze(0)? })
    }

    /// dY as `[B·batches, d·m or m, …]`: cotangents gathered by example, so that one product
    /// serves all outputs. `rows` stacks the outputs along rows, else along columns.
    fn stack(&self, sweep: &Reverse, rows: bool) -> OpResult<Tensor> {
        let (m, n, batches) = (self.rows(), self.columns(), self.batches());
        let split = (sweep.batch, sweep.width, batches, m, n);
        let dy = sweep.cotangent()?.reshape(split)?;
        let dy = dy.permute(if rows { (0, 2, 1, 3, 4) } else { (0, 2, 3, 1, 4) })?;
        let lead = sweep.batch * batches;
        let shape = if rows { (lead, sweep.width * m, n) } else { (lead, m, sweep.width * n) };
        Ok(dy.contiguous()?.reshape(shape)?)
    }

    /// Undo the common batch axes of a cotangent `[B·d, *batch, r, c]` and any promotion.
    fn shrink(&self, back: &Tensor, promoted: &[usize], shape: &[usize]) -> OpResult<Tensor> {
        let mut full = vec![back.dims()[0]];
        full.extend(&self.batch);
        full.extend(&promoted[promoted.len() - 2..]);
        let summed = sum_to(&back.reshape(full)?, promoted)?;
        Ok(summed.reshape(lead_shape(back.dims()[0], shape))?)
    }

    fn reverse_a(&self, sweep: &Reverse) -> OpResult<Tensor> {
        let (m, k, n) = (self.rows(), self.inner(), self.columns());
        let b = sweep.input(1)?;
        let lead = sweep.batch * sweep.width;
        let back = if self.plain_b() {
            let dy = sweep.cotangent()?.reshape((lead * self.batches() * m, n))?;
            matmul(&dy, &self.matrix(b)?.t()?)?.reshape((lead, self.batches(), m, k))?
        } else {
            let b = self.full(b, &self.b, sweep.batch)?;
            let back = matmul(&self.stack(sweep, true)?, &b.transpose(1, 2)?)?;
            let split = (sweep.batch, self.batches(), sweep.width, m, k);
            let back = back.reshape(split)?.transpose(1, 2)?.contiguous()?;
            back.reshape((lead, self.batches(), m, k))?
        };
        self.shrink(&back, &self.a, sweep.shape(0)?)
    }

    fn reverse_b(&self, sweep: &Reverse) -> OpResult<Tensor> {
        let (k, n) = (self.inner(), self.columns());
        let a = self.full(sweep.input(0)?, &self.a, sweep.batch)?;
        let back = matmul(&a.transpose(1, 2)?, &self.stack(sweep, false)?)?;
        let split = (sweep.batch, self.batches(), k, sweep.width, n);
        let back = back.reshape(split)?.permute((0, 3, 1, 2, 4))?.contiguous()?;
        let back = back.reshape((sweep.batch * sweep.width, self.batches(), k, n))?;
        self.shrink(&back, &self.b, sweep.shape(1)?)
    }

    /// How many leading batch axes the weight's own batch axes leave: the weight may be one matrix
    /// (all batch axes are positions) or one per group (its batch axes equal the last ones of the
    /// other operand, and nothing else is broadcast).
    fn groups(&self, weight: &[usize]) -> Option<(usize, usize)> {
        let own = &weight[..weight.len() - 2];
        let groups: usize = own.iter().product();
        if groups == 1 {
            return Some((1, self.batches()));
        }
        let cut = self.batch.len().checked_sub(own.len())?;
        (self.batch[cut..] == *own).then(|| (groups, self.batch[..cut].iter().product()))
    }

    /// `[L, outer, groups, r, c]` view of an operand broadcast to the common batch.
    fn grouped(&self, x: &Tensor, dims: (usize, usize), r: usize, c: usize) -> OpResult<Tensor> {
        Ok(x.reshape((x.dims()[0] / (dims.0 * dims.1), dims.1, dims.0, r, c))?)
    }
}

impl Operator for MatMul {
    fn outline(&self) -> Option<Vec<Vec<usize>>> {
        Some(vec![self.out.clone()])
    }

    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let (a, b) = (required(inputs, 0)?, required(inputs, 1)?);
        let lead = a.dims()[0].max(b.dims()[0]);
        let (m, k) = (self.rows(), self.inner());
        let y = if self.plain_b() {
            let rows = a.elem_count() / k.max(1);
            let rows = if k == 0 { lead * self.batches() * m } else { rows };
            matmul(&a.contiguous()?.reshape((rows, k))?, &self.matrix(b)?)?
        } else {
            matmul(&self.full(a, &self.a, lead)?, &self.full(b, &self.b, lead)?)?
        };
        Ok(y.reshape(lead_shape(lead, &self.out))?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let a = if sweep.wants(0) { Some(self.reverse_a(sweep)?) } else { None };
        let b = if sweep.wants(1) { Some(self.reverse_b(sweep)?) } else { None };
        Ok(vec![a, b])
    }

    fn factor_shape(&self, operand: usize) -> Option<FactorShape> {
        let (m, k, n) = (self.rows(), self.inner(), self.columns());
        if operand == 1 && self.shared[1] {
            let (groups, outer) = self.groups(&self.b)?;
            let positions = outer * m;
            let order = Order::InputFirst;
            Some(FactorShape::Outer { groups, positions, input: k, cotangent: n, order })
        } else if operand == 0 && self.shared[0] {
            let (groups, outer) = self.groups(&self.a)?;
            let positions = outer * n;
            let order = Order::CotangentFirst;
            Some(FactorShape::Outer { groups, positions, input: k, cotangent: m, order })
        } else {
            None
        }
    }

    fn factor(&self, operand: usize, sweep: &Reverse) -> OpResult<Factor> {
        let (m, k, n) = (self.rows(), self.inner(), self.columns());
        let (batch, width) = (sweep.batch, sweep.width);
        let weight = if operand == 1 { &self.b } else { &self.a };
        let Some(dims) = self.groups(weight) else { fail!("input {operand} has no factor") };
        let (groups, outer) = dims;
        let dy = sweep.cotangent()?.reshape((batch * width * self.batches(), m, n))?;
        let dy = self.grouped(&dy, dims, m, n)?;
        if operand == 1 {
            let a = self.grouped(&self.full(sweep.input(0)?, &self.a, batch)?, dims, m, k)?;
            let input = a.transpose(1, 2)?.reshape((batch, groups, outer * m, k))?;
            let cotangent = dy.transpose(1, 2)?.reshape((batch, width, groups, outer * m, n))?;
            Ok(Factor::Outer { input, cotangent, order: Order::InputFirst })
        } else {
            let b = self.grouped(&self.full(sweep.input(1)?, &self.b, batch)?, dims, k, n)?;
            let input = b.permute((0, 2, 1, 4, 3))?.reshape((batch, groups, outer * n, k))?;
            let cotangent = dy.permute((0, 2, 1, 4, 3))?;
            let cotangent = cotangent.reshape((batch, width, groups, outer * n, m))?;
            Ok(Factor::Outer { input, cotangent, order: Order::CotangentFirst })
        }
    }

    fn second(&self, second: &Second) -> OpResult<Option<Ascended>> {
        self.second_of(second, false)
    }
}

impl MatMul {
    /// Of x̄ = ȳ bᵀ and the factors x and ȳ, where b is one matrix for all examples; what is found of b is
    /// written as the transpose where `turned` is set, as b is stored then.
    fn second_of(&self, second: &Second, turned: bool) -> OpResult<Option<Ascended>> {
        let sweep = &second.reverse;
        if !self.plain_b() || self.shared[0] || second.adjoint(1).is_some() {
            return Ok(None);
        }
        let (m, k, n) = (self.rows(), self.inner(), self.columns());
        let rows = sweep.batch * sweep.width;
        let positions = rows * self.batches() * m;
        let out = lead_shape(rows, &self.out);
        let mut by_cotangent = None;
        let mut inputs = vec![None; second.operands()];
        if let Some(adjoint) = second.adjoint(0) {
            let adjoint = adjoint.contiguous()?.reshape((positions, k))?;
            let b = self.matrix(sweep.input(1)?)?;
            by_cotangent = Some(matmul(&adjoint, &b)?.reshape(out.as_slice())?);
            let dy = sweep.cotangent()?.contiguous()?.reshape((1, 1, positions, n))?;
            let adjoint = adjoint.reshape((1, 1, positions, k))?;
            let shape = lead_shape(1, sweep.shape(1)?);
            inputs[1] = Some(match turned {
                true => sum_of_products(&dy, &adjoint)?.transpose(1, 2)?,
                false => sum_of_products(&adjoint, &dy)?.reshape(shape)?,
            });
        }
        match second.factor(1) {
            Some(Factor::Outer { input, cotangent, .. }) => {
                let own = cotangent.contiguous()?.reshape(out)?;
                by_cotangent = plus(by_cotangent, Some(own))?;
                if sweep.wants(0) {
                    let shape = lead_shape(sweep.batch, sweep.shape(0)?);
                    inputs[0] = Some(input.contiguous()?.reshape(shape)?);
                }
            }
            Some(_) => return Ok(None),
            None => {}
        }
        Ok(Some(Ascended { cotangents: vec![by_cotangent], inputs }))
    }
}

/// y = alpha · op(a) · op(b) + beta · c, op transposing where asked.
#[derive(Debug)]
struct Gemm {
    product: MatMul,
    alpha: f64,
    beta: f64,
    transpose: [bool; 2],
}

impl Gemm {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let attributes = setup.attributes;
        let transpose = [attributes.int("transA", 0)? != 0, attributes.int("transB", 0)? != 0];
        let mut shapes = [setup.shape(0)?.to_vec(), setup.shape(1)?.to_vec()];
        for (shape, flip) in shapes.iter_mut().zip(transpose) {
            if shape.len() != 2 {
                fail!("Gemm needs matrices but got shape {shape:?}");
            }
            if flip {
                shape.swap(0, 1);
            }
        }
        let shared = [setup.operand(0)?.shared, setup.operand(1)?.shared];
        let product = MatMul::new(&shapes[0], &shapes[1], shared)?;
        if setup.has(2) && broadcast_shape(setup.shape(2)?, &product.out)? != product.out {
            fail!("a bias of shape {:?} does not fit {:?}", setup.shape(2)?, product.out);
        }
        let alpha = attributes.float("alpha", 1.0)?;
        let beta = attributes.float("beta", 1.0)?;
        Ok(Box::new(Self { product, alpha, beta, transpose }))
    }

    fn oriented(&self, x: &Tensor, operand: usize) -> OpResult<Tensor> {
        Ok(if self.transpose[operand] { x.transpose(1, 2)? } else { x.clone() })
    }

    /// The sweep as the inner product sees it: operands transposed, cotangent scaled by alpha.
    fn inner<T>(&self, sweep: &Reverse, run: impl FnOnce(&Reverse) -> OpResult<T>) -> OpResult<T> {
        let a = self.oriented(sweep.input(0)?, 0)?;
        let b = self.oriented(sweep.input(1)?, 1)?;
        let cotangent = sweep.cotangent()?;
        let scaled = if self.alpha == 1.0 { cotangent.clone() } else { (cotangent * self.alpha)? };
        run(&Reverse {
            inputs: &[Some(&a), Some(&b)],
            outputs: sweep.outputs,
            saved: &[],
            cotangents: &[Some(scaled)],
            wanted: &sweep.wanted[..2],
            batch: sweep.batch,
            width: sweep.width,
            memo: Default::default(),
        })
    }
}

impl Operator for Gemm {
    fn outline(&self) -> Option<Vec<Vec<usize>>> {
        self.product.outline()
    }

    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let a = self.oriented(required(inputs, 0)?, 0)?;
        let b = self.oriented(required(inputs, 1)?, 1)?;
        let mut y = self.product.forward(&[Some(&a), Some(&b)])?.outputs.remove(0);
        if self.alpha != 1.0 {
            y = (y * self.alpha)?;
        }
        if let Some(c) = inputs.get(2).copied().flatten() {
            let c = crate::tensor::with_rank(c, 2)?;
            let c = if self.beta == 1.0 { c } else { (c * self.beta)? };
            y = y.broadcast_add(&c)?;
        }
        Ok(y.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let mut result = vec![None; sweep.inputs.len()];
        if sweep.wants(0) || sweep.wants(1) {
            let back = self.inner(sweep, |inner| self.product.reverse(inner))?;
            for (k, cotangent) in back.into_iter().enumerate() {
                result[k] = match cotangent {
                    Some(c) if self.transpose[k] => Some(c.transpose(1, 2)?.contiguous()?),
                    other => other,
                };
            }
        }
        if sweep.wants(2) {
            let cotangent = sweep.cotangent()?;
            let scaled =
                if self.beta == 1.0 { cotangent.clone() } else { (cotangent * self.beta)? };
            result[2] = Some(sum_to(&scaled, sweep.shape(2)?)?);
        }
        debug_assert!(result.iter().flatten().all(|t| example_shape(t).len() <= 2));
        Ok(result)
    }

    fn factor_shape(&self, operand: usize) -> Option<FactorShape> {
        let shape = self.product.factor_shape(operand)?;
        Some(match shape {
            FactorShape::Outer { groups, positions, input, cotangent, order } => {
                let order = flip(order, self.transpose[operand]);
                FactorShape::Outer { groups, positions, input, cotangent, order }
            }
            other => other,
        })
    }

    fn factor(&self, operand: usize, sweep: &Reverse) -> OpResult<Factor> {
        Ok(match self.inner(sweep, |inner| self.product.factor(operand, inner))? {
            Factor::Outer { input, cotangent, order } => {
                Factor::Outer { input, cotangent, order: flip(order, self.transpose[operand]) }
            }
            other => other,
        })
    }

    fn second(&self, second: &Second) -> OpResult<Option<Ascended>> {
        if self.alpha != 1.0 || self.beta != 1.0 || self.transpose[0] {
            return Ok(None);
        }
        let sweep = &second.reverse;
        let b = self.oriented(sweep.input(1)?, 1)?;
        let inner = Reverse {
            inputs: &[sweep.inputs[0], Some(&b)],
            outputs: sweep.outputs,
            saved: &[],
            cotangents: sweep.cotangents,
            wanted: &sweep.wanted[..2],
            batch: sweep.batch,
            width: sweep.width,
            memo: Default::default(),
        };
        let without_bias = Second {
            reverse: inner,
            adjoints: &second.adjoints[..2],
            factors: &second.factors[..2],
        };
        let turned = self.transpose[1];
        let Some(mut found) = self.product.second_of(&without_bias, turned)? else {
            return Ok(None);
        };
        found.inputs.resize(second.operands(), None);
        if let Some(by_weight) = found.inputs[1].take() {
            found.inputs[1] = Some(if turned { by_weight.transpose(1, 2)? } else { by_weight });
        }
        if let Some(adjoint) = second.adjoint(2) {
            let rows = sweep.batch * sweep.width;
            let spread = crate::tensor::expand_to(adjoint, rows, &self.product.out)?;
            let sum = found.cotangents.pop().flatten();
            found.cotangents = vec![plus(sum, Some(spread.contiguous()?))?];
        }
        Ok(Some(found))
    }
}

fn flip(order: Order, yes: bool) -> Order {
    match (order, yes) {
        (Order::InputFirst, true) => Order::CotangentFirst,
        (Order::CotangentFirst, true) => Order::InputFirst,
        (same, false) => same,
    }
}
