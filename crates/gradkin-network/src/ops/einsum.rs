//! Einsum: products of any number of tensors, summed over the labels that the output leaves out.
//!
//! Operands are joined two at a time, each step a matrix product over the labels it sums. The
//! cotangent of an operand is the same kind of sum, of the output's cotangent with the other
//! operands, the outputs d riding along as one more label. Where one of two operands is a stored
//! weight, its gradient comes as a factor.

use candle_core::{Device, Tensor};

use super::picking::{offsets, pick, positions, strides, unpick};
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::factor::{Factor, FactorShape, Order};
use crate::tensor::{checked_count, lead_shape, matmul, sum_axes};

pub(super) const OPERATORS: &[(&str, Build)] = &[("Einsum", Einsum::build)];

/// A letter, or one of the axes that an ellipsis stands for.
type Label = usize;

const ELLIPSIS: Label = 64;
/// The outputs d of a cotangent.
const WIDTH: Label = 255;

/// An operand: which label each of its axes has, every label once.
#[derive(Debug)]
struct Term {
    labels: Vec<Label>,
    /// Where a label stood twice, positions of the diagonal among all entries.
    diagonal: Option<Tensor>,
    count: usize,
    shared: bool,
}

/// A tensor `[L, *]` whose axes behind the leading one have these labels.
struct Labelled {
    tensor: Tensor,
    labels: Vec<Label>,
}

#[derive(Debug)]
struct Einsum {
    terms: Vec<Term>,
    out: Vec<Label>,
    sizes: Sizes,
}

/// How long the axis of each label is.
#[derive(Debug, Clone)]
struct Sizes(Vec<Option<usize>>);

impl Sizes {
    fn of(&self, label: Label) -> usize {
        self.0.get(label).copied().flatten().unwrap_or(1)
    }

    fn all(&self, labels: &[Label]) -> Vec<usize> {
        labels.iter().map(|label| self.of(*label)).collect()
    }

    fn count(&self, labels: &[Label]) -> usize {
        self.all(labels).iter().product()
    }
}

/// The labels of one side of the arrow; an ellipsis stands for `dots` axes, the last of them
/// always the same label.
fn parse(side: &str, dots: usize) -> OpResult<Vec<Label>> {
    let mut labels = Vec::new();
    let side: String = side.chars().filter(|c| !c.is_whitespace()).collect();
    let (before, after) = side.split_once("...").unwrap_or((side.as_str(), ""));
    let letter = |c: char| match c {
        'a'..='z' => Ok(c as Label - 'a' as Label),
        'A'..='Z' => Ok(c as Label - 'A' as Label + 26),
        other => fail!("`{other}` is no label"),
    };
    for c in before.chars() {
        labels.push(letter(c)?);
    }
    if side.contains("...") {
        labels.extend((0..dots).map(|k| ELLIPSIS + 63 - dots + k));
    }
    for c in after.chars() {
        labels.push(letter(c)?);
    }
    Ok(labels)
}

/// Without an arrow: the ellipsis, then every letter that stands once, in order.
fn implied(terms: &[Vec<Label>], dots: usize) -> Vec<Label> {
    let mut out: Vec<Label> = (0..dots).map(|k| ELLIPSIS + 63 - dots + k).collect();
    let times = |label: Label| terms.iter().flatten().filter(|other| **other == label).count();
    out.extend((0..52).filter(|label| times(*label) == 1));
    out
}

impl Einsum {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let equation = setup.attributes.text("equation", "")?;
        let (inputs, output) = match equation.split_once("->") {
            Some((inputs, output)) => (inputs, Some(output)),
            None => (equation, None),
        };
        let sides: Vec<&str> = inputs.split(',').collect();
        if sides.len() != setup.operands.len() {
            fail!("equation `{equation}` does not go with {} operands", setup.operands.len());
        }
        let mut labels = Vec::with_capacity(sides.len());
        let mut dots = 0;
        for (k, side) in sides.iter().enumerate() {
            let rank = setup.shape(k)?.len();
            let letters = parse(side, 0)?.len();
            let own = rank.checked_sub(letters).filter(|own| *own < 32);
            let Some(own) = own.filter(|own| *own == 0 || side.contains("...")) else {
                fail!("`{side}` does not go with shape {:?}", setup.shape(k)?);
            };
            dots = dots.max(own);
            labels.push(parse(side, own)?);
        }
        let out = match output {
            Some(side) => parse(side, dots)?,
            None => implied(&labels, dots),
        };
        let sizes = sizes(setup, &labels, &out)?;
        checked_count(&sizes.all(&out))?;
        let mut terms = Vec::with_capacity(labels.len());
        for (k, labels) in labels.into_iter().enumerate() {
            terms.push(Term::new(setup.shape(k)?, labels, setup.operand(k)?.shared)?);
        }
        Ok(Box::new(Self { terms, out, sizes }))
    }

    fn labelled(&self, k: usize, x: &Tensor) -> OpResult<Labelled> {
        let term = &self.terms[k];
        let lead = x.dims()[0];
        let flat = match &term.diagonal {
            Some(at) => pick(x, at, 1)?,
            None => x.contiguous()?,
        };
        let tensor = flat.reshape(lead_shape(lead, &self.sizes.all(&term.labels)))?;
        Ok(Labelled { tensor, labels: term.labels.clone() })
    }

    /// The output's cotangent with the outputs d as a label of their own.
    fn cotangent(&self, sweep: &Reverse) -> OpResult<Labelled> {
        let mut labels = vec![WIDTH];
        labels.extend(&self.out);
        let tensor = sweep.by_example(sweep.cotangent()?)?;
        Ok(Labelled { tensor, labels })
    }

    fn reverse_term(&self, sweep: &Reverse, k: usize) -> OpResult<Tensor> {
        let term = &self.terms[k];
        let mut parts = vec![self.cotangent(sweep)?];
        for other in (0..self.terms.len()).filter(|other| *other != k) {
            parts.push(self.labelled(other, sweep.input(other)?)?);
        }
        let mut wanted = vec![WIDTH];
        wanted.extend(&term.labels);
        let mut sizes = self.sizes.clone();
        sizes.0.resize(WIDTH + 1, None);
        sizes.0[WIDTH] = Some(sweep.width);
        let rows = sweep.batch * sweep.width;
        let back = contract(parts, &wanted, &sizes)?;
        let back = match &term.diagonal {
            Some(at) => unpick(sweep, &back.reshape((rows, at.elem_count()))?, at, 1, term.count)?,
            None => back,
        };
        Ok(back.reshape(lead_shape(rows, sweep.shape(k)?))?)
    }

    /// The labels of weight k as groups, input and cotangent, and their order; positions are the
    /// other operand's labels that the output keeps.
    fn roles(&self, k: usize) -> Option<Roles> {
        let [_, _] = self.terms.as_slice() else { return None };
        let (weight, other) = (&self.terms[k], &self.terms[1 - k]);
        let keeps = |label: &Label| self.out.contains(label);
        let meets = |label: &Label| other.labels.contains(label);
        let own = &weight.labels;
        if !weight.shared || weight.diagonal.is_some() || !own.iter().all(|l| keeps(l) || meets(l))
        {
            return None;
        }
        let of = |want: fn(bool, bool) -> bool, all: &[Label]| -> Vec<Label> {
            all.iter().copied().filter(|l| want(meets(l), keeps(l))).collect()
        };
        let groups = of(|meets, keeps| meets && keeps, own);
        let input = of(|meets, keeps| meets && !keeps, own);
        let cotangent = of(|meets, keeps| !meets && keeps, own);
        let positions = other.labels.iter().copied();
        let positions = positions.filter(|l| keeps(l) && !own.contains(l)).collect();
        let stored = |order: [&Vec<Label>; 3]| order.into_iter().flatten().eq(own);
        let order = if stored([&groups, &input, &cotangent]) {
            Order::InputFirst
        } else if stored([&groups, &cotangent, &input]) {
            Order::CotangentFirst
        } else {
            return None;
        };
        Some(Roles { groups, input, cotangent, positions, order })
    }
}

/// What the labels of a weight are to its factor.
struct Roles {
    groups: Vec<Label>,
    input: Vec<Label>,
    cotangent: Vec<Label>,
    positions: Vec<Label>,
    order: Order,
}

impl Roles {
    fn all(&self) -> impl Iterator<Item = &Label> {
        [&self.groups, &self.input, &self.cotangent, &self.positions].into_iter().flatten()
    }
}

/// The size of every label; axes that an ellipsis stands for broadcast.
fn sizes(setup: &Setup, labels: &[Vec<Label>], out: &[Label]) -> OpResult<Sizes> {
    let mut sizes = vec![None; ELLIPSIS + 64];
    for (k, labels) in labels.iter().enumerate() {
        for (label, size) in labels.iter().zip(setup.shape(k)?) {
            sizes[*label] = match sizes[*label] {
                Some(1) if *label >= ELLIPSIS => Some(*size),
                None => Some(*size),
                Some(known) if known == *size || (*size == 1 && *label >= ELLIPSIS) => Some(known),
                Some(known) => fail!("one label stands for axes of {known} and of {size}"),
            };
        }
    }
    for (k, label) in out.iter().enumerate() {
        if sizes[*label].is_none() || out[..k].contains(label) {
            fail!("the output has a label twice, or one that no operand has");
        }
    }
    Ok(Sizes(sizes))
}

impl Term {
    fn new(shape: &[usize], all: Vec<Label>, shared: bool) -> OpResult<Self> {
        let mut labels: Vec<Label> = Vec::new();
        let mut own: Vec<(usize, usize)> = Vec::new();
        for ((label, size), stride) in all.iter().zip(shape).zip(strides(shape)) {
            match labels.iter().position(|l| l == label) {
                Some(at) => own[at].1 += stride,
                // A broadcast axis of one is left to the others.
                None if *label >= ELLIPSIS && *size == 1 => {}
                None => {
                    labels.push(*label);
                    own.push((*size, stride));
                }
            }
        }
        let (sizes, steps): (Vec<usize>, Vec<usize>) = own.into_iter().unzip();
        let repeated = all.iter().any(|l| all.iter().filter(|other| *other == l).count() > 1);
        let diagonal = if repeated { Some(positions(&offsets(&sizes, &steps), 1)?) } else { None };
        Ok(Self { labels, diagonal, count: shape.iter().product(), shared })
    }
}

impl Labelled {
    /// The axes of these labels, in this order and then flattened into as many axes as there are
    /// lists; every label must be present.
    fn arranged(&self, lists: &[&[Label]]) -> OpResult<Tensor> {
        let mut order = vec![0];
        let mut shape = vec![self.tensor.dims()[0]];
        for list in lists {
            let mut size = 1;
            for label in *list {
                let Some(axis) = self.labels.iter().position(|l| l == label) else {
                    fail!("a label is missing");
                };
                order.push(axis + 1);
                size *= self.tensor.dims()[axis + 1];
            }
            shape.push(size);
        }
        // Axes of one that an ellipsis stands for may have no label anywhere else.
        for axis in 1..self.tensor.rank() {
            if !order.contains(&axis) && self.tensor.dims()[axis] == 1 {
                order.push(axis);
            }
        }
        Ok(self.tensor.permute(order)?.contiguous()?.reshape(shape)?)
    }

    /// Summed over every label that is not kept.
    fn reduced(self, keep: impl Fn(Label) -> bool) -> OpResult<Self> {
        let gone: Vec<usize> =
            (0..self.labels.len()).filter(|axis| !keep(self.labels[*axis])).collect();
        if gone.is_empty() {
            return Ok(self);
        }
        let axes: Vec<usize> = gone.iter().map(|axis| axis + 1).collect();
        let summed = sum_axes(&self.tensor, &axes)?;
        let (mut shape, mut labels) = (vec![summed.dims()[0]], Vec::new());
        for axis in (0..self.labels.len()).filter(|axis| !gone.contains(axis)) {
            shape.push(summed.dims()[axis + 1]);
            labels.push(self.labels[axis]);
        }
        Ok(Self { tensor: summed.reshape(shape)?, labels })
    }
}

/// The product of all parts, summed over what `out` leaves out, axes in the order of `out`.
fn contract(parts: Vec<Labelled>, out: &[Label], sizes: &Sizes) -> OpResult<Tensor> {
    let mut parts = parts.into_iter();
    let Some(mut total) = parts.next() else { fail!("nothing to multiply") };
    while let Some(next) = parts.next() {
        let rest = parts.as_slice();
        let keep = |l: Label| out.contains(&l) || rest.iter().any(|part| part.labels.contains(&l));
        total = join(total, next, &keep, sizes)?;
    }
    let total = total.reduced(|label| out.contains(&label))?;
    let present: Vec<Label> = out.iter().copied().filter(|l| total.labels.contains(l)).collect();
    let lists: Vec<&[Label]> = present.chunks(1).collect();
    let tensor = total.arranged(&lists)?;
    // What only the operand itself was summed over spreads back evenly.
    let mut shape = vec![tensor.dims()[0]];
    shape.extend(out.iter().map(|l| if present.contains(l) { sizes.of(*l) } else { 1 }));
    let full = lead_shape(tensor.dims()[0], &sizes.all(out));
    Ok(tensor.reshape(shape)?.broadcast_as(full)?.contiguous()?)
}

/// Two parts as one, summed over what neither the output nor another part needs.
fn join(
    a: Labelled,
    b: Labelled,
    keep: &dyn Fn(Label) -> bool,
    sizes: &Sizes,
) -> OpResult<Labelled> {
    let a_labels = a.labels.clone();
    let a = a.reduced(|l| keep(l) || b.labels.contains(&l))?;
    let b = b.reduced(|l| keep(l) || a_labels.contains(&l))?;
    // A part that all examples share goes second: then one product serves all of them.
    let (a, b) = if a.tensor.dims()[0] < b.tensor.dims()[0] { (b, a) } else { (a, b) };
    let both = |l: &&Label| b.labels.contains(l);
    let batch: Vec<Label> = a.labels.iter().filter(both).copied().filter(|l| keep(*l)).collect();
    let inner: Vec<Label> = a.labels.iter().filter(both).copied().filter(|l| !keep(*l)).collect();
    let left: Vec<Label> = a.labels.iter().copied().filter(|l| !b.labels.contains(l)).collect();
    let right: Vec<Label> = b.labels.iter().copied().filter(|l| !a.labels.contains(l)).collect();
    let (x, y) = (a.arranged(&[&batch, &left, &inner])?, b.arranged(&[&batch, &inner, &right])?);
    let product = multiply(&x, &y)?;
    let labels: Vec<Label> = [batch, left, right].concat();
    checked_count(&sizes.all(&labels))?;
    let tensor = product.reshape(lead_shape(x.dims()[0], &sizes.all(&labels)))?;
    Ok(Labelled { tensor, labels })
}

/// `[L, batch, m, k]` times `[L or 1, batch, k, n]`.
fn multiply(x: &Tensor, y: &Tensor) -> OpResult<Tensor> {
    let ((lead, batch, m, k), (own, _, _, n)) = (x.dims4()?, y.dims4()?);
    if lead * batch * m * n * k == 0 {
        return Ok(Tensor::zeros((lead, batch, m, n), x.dtype(), &Device::Cpu)?);
    }
    if k == 1 {
        return Ok(x.broadcast_mul(y)?);
    }
    if own == 1 && batch == 1 {
        return matmul(&x.reshape((lead * m, k))?, &y.reshape((k, n))?);
    }
    let y = y.broadcast_as((lead, batch, k, n))?.contiguous()?;
    matmul(&x.reshape((lead * batch, m, k))?, &y.reshape((lead * batch, k, n))?)
}

impl Operator for Einsum {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let mut parts = Vec::with_capacity(inputs.len());
        for k in 0..inputs.len() {
            parts.push(self.labelled(k, required(inputs, k)?)?);
        }
        Ok(contract(parts, &self.out, &self.sizes)?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        (0..self.terms.len())
            .map(|k| sweep.wants(k).then(|| self.reverse_term(sweep, k)).transpose())
            .collect()
    }

    fn factor_shape(&self, operand: usize) -> Option<FactorShape> {
        let roles = self.roles(operand)?;
        Some(FactorShape::Outer {
            groups: self.sizes.count(&roles.groups),
            positions: self.sizes.count(&roles.positions),
            input: self.sizes.count(&roles.input),
            cotangent: self.sizes.count(&roles.cotangent),
            order: roles.order,
        })
    }

    fn factor(&self, operand: usize, sweep: &Reverse) -> OpResult<Factor> {
        let Some(roles) = self.roles(operand) else { fail!("input {operand} has no factor") };
        let other = self.labelled(1 - operand, sweep.input(1 - operand)?)?;
        let counts = |l: Label| roles.all().any(|own| *own == l);
        let other = other.reduced(counts)?;
        let input = other.arranged(&[&roles.groups, &roles.positions, &roles.input])?;
        let (_, groups, positions, width) = input.dims4()?;
        let input = input.broadcast_as((sweep.batch, groups, positions, width))?;
        let lists = [&[WIDTH], roles.groups.as_slice(), &roles.positions, &roles.cotangent];
        // Axes of one that an ellipsis left to nobody go.
        let cotangent = self.cotangent(sweep)?.reduced(|l| l == WIDTH || counts(l))?;
        let cotangent = cotangent.arranged(&lists)?;
        Ok(Factor::Outer { input, cotangent, order: roles.order })
    }
}
