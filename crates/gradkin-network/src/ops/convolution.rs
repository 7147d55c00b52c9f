//! Conv and ConvTranspose in one, two or three dimensions, as unfold and a matrix product.
//!
//! The unfolded input of Conv is the factor a of its weight's gradient, and the cotangent is δ; in
//! ConvTranspose the input is a and the unfolded cotangent is δ.

use candle_core::Tensor;

use super::second::{Ascended, Second};
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::factor::{Factor, FactorShape, Order};
use crate::sweep::Imaged;
use crate::tensor::rows::are_ours;
use crate::tensor::{
    Axis, Depthwise, Fold, FoldedProduct, Padding, Unfold, Unfoldable, UnfoldedProduct,
    WeightGradient, Window, both_products, checked_count, countable, lead_shape, matmul,
    shared_product, sum_axes, sum_of_products,
};
use crate::windows::Windows;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Conv", |s| Convolution::build(s, Direction::Forward)),
    ("ConvTranspose", |s| Convolution::build(s, Direction::Transposed)),
];

/// Many kernels to a channel are faster as a matrix product with what is unfolded: 32, over grey images, would cost
/// paper_cnn a fortieth of its sweeps.
const MOST_KERNELS: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Direction {
    Forward,
    Transposed,
}

/// A convolution, or its transpose.
///
/// The window slides over the larger side: the input of Conv, the output of ConvTranspose. Per group,
/// `rows` is the number of rows of the unfolded larger side (channels × kernel elements) and
/// `channels` the number of channels of the other side.
#[derive(Debug)]
struct Convolution {
    direction: Direction,
    unfoldable: Unfoldable,
    /// Images per example (the graph's own batch axis, one in nearly every file).
    images: usize,
    groups: usize,
    rows: usize,
    channels: usize,
    in_channels: usize,
    out_shape: Vec<usize>,
    bias: bool,
    gradient: WeightGradient,
    /// Where each channel of the larger side is a group, and few of the other one meet it.
    depthwise: Option<Depthwise>,
}

impl Convolution {
    fn build(setup: &Setup, direction: Direction) -> OpResult<Box<dyn Operator>> {
        let (x, w) = (setup.shape(0)?.to_vec(), setup.shape(1)?.to_vec());
        if x.len() < 3 || x.len() != w.len() {
            fail!("an input of shape {x:?} does not go with a weight of shape {w:?}");
        }
        if !setup.operand(1)?.shared {
            fail!(
                "its weight depends on the example, as where a network computes its own filters; \
                 gradkin takes convolutions with stored weights only"
            );
        }
        let group = setup.attributes.int("group", 1)?;
        let groups = usize::try_from(group).unwrap_or(0);
        let (spatial, kernel) = (&x[2..], &w[2..]);
        let window = match direction {
            Direction::Forward => Window::read(setup.attributes, spatial, Some(kernel))?,
            Direction::Transposed => transposed_window(setup, spatial, kernel)?,
        };
        let elements = window.kernel_count();
        let fits = groups > 0 && x[1] % groups == 0 && w[0] % groups == 0;
        let (out_channels, rows, channels, agree) = match (direction, fits) {
            (_, false) => (0, 0, 0, false),
            (Direction::Forward, _) => {
                (w[0], w[1] * elements, w[0] / groups, w[1] * groups == x[1])
            }
            (Direction::Transposed, _) => {
                (w[1] * groups, w[1] * elements, w[0] / groups, w[0] == x[1])
            }
        };
        if !agree {
            fail!(
                "an input of shape {x:?} does not go with a weight of shape {w:?} and group {group}"
            );
        }
        let bias = setup.has(2);
        if bias && !setup.operand(2)?.shared {
            fail!("a bias that depends on the example is not supported");
        }
        if bias && setup.shape(2)? != [out_channels] {
            fail!("a bias of shape {:?} does not go with {out_channels} channels", setup.shape(2)?);
        }
        let spatial_out = match direction {
            Direction::Forward => window.out_shape(),
            Direction::Transposed => window.in_shape(),
        };
        let mut out_shape = vec![x[0], out_channels];
        out_shape.extend(spatial_out);
        checked_count(&out_shape)?;
        countable(&[x[0], groups, rows, window.out_count()])?;
        let (images, in_channels) = (x[0], x[1]);
        let own = rows == elements && channels <= MOST_KERNELS;
        let depthwise = own.then(|| Depthwise::new(&window));
        let unfoldable = Unfoldable::from(window);
        Ok(Box::new(Self {
            gradient: WeightGradient::new(unfoldable.clone()),
            depthwise,
            direction,
            unfoldable,
            images,
            groups,
            rows,
            channels,
            in_channels,
            out_shape,
            bias,
        }))
    }

    /// `[M, C, *]` or any equal count, as one matrix per image and group: `[M, G, r, T]`.
    fn by_group(&self, x: &Tensor, images: usize, r: usize) -> OpResult<Tensor> {
        Ok(x.reshape((images, self.groups, r, x.elem_count() / (images * self.groups * r).max(1)))?)
    }

    /// The larger side unfolded: `[M, G, rows, T]`.
    fn unfold(&self, x: &Tensor, images: usize, channels: usize) -> OpResult<Tensor> {
        let mut shape = vec![images, channels];
        shape.extend(self.window().in_shape());
        let x = x.reshape(shape)?;
        let columns = if self.window().is_pointwise() {
            x
        } else {
            Unfold(self.unfoldable.clone()).apply(&x)?
        };
        self.by_group(&columns, images, self.rows)
    }

    /// The transpose of [`Self::unfold`]: `[M, G, rows, T]` → `[M, C, *]`.
    fn fold(&self, columns: &Tensor) -> OpResult<Tensor> {
        let (images, groups, rows, positions) = columns.dims4()?;
        let columns = columns.reshape((images, groups * rows, positions))?;
        if self.window().is_pointwise() {
            let mut shape = vec![images, groups * rows];
            shape.extend(self.window().in_shape());
            return Ok(columns.reshape(shape)?);
        }
        Ok(Fold(self.unfoldable.clone()).apply(&columns)?)
    }

    /// From the larger side `[M, C, *]` to the smaller one, `[M, G, channels, T]` or of that count: the weight
    /// times what is unfolded.
    fn ahead(&self, w: &Tensor, x: &Tensor, images: usize, channels: usize) -> OpResult<Tensor> {
        let planes = (images, channels, self.window().in_count());
        if let Some(depthwise) = self.depthwise_of(w, x) {
            return Ok(depthwise.apply(w, &x.reshape(planes)?)?);
        }
        if self.is_blocked() {
            let product = UnfoldedProduct(self.unfoldable.clone());
            return Ok(product.apply(&w.squeeze(0)?, &x.reshape(planes)?)?);
        }
        self.apply(w, &self.unfold(x, images, channels)?)
    }

    /// Its transpose, from `[M, G, channels, T]` to the larger side.
    fn back(&self, w: &Tensor, y: &Tensor) -> OpResult<Tensor> {
        if let Some(depthwise) = self.depthwise_of(w, y) {
            return Ok(depthwise.back(w, y)?);
        }
        if !self.is_blocked() {
            return self.fold(&self.apply(&w.transpose(1, 2)?, y)?);
        }
        let (w, y) = (w.squeeze(0)?.t()?, y.squeeze(1)?);
        Ok(FoldedProduct(self.unfoldable.clone()).apply(&w, &y)?)
    }

    fn depthwise_of(&self, x: &Tensor, y: &Tensor) -> Option<&Depthwise> {
        self.depthwise.as_ref().filter(|_| are_ours(&[x, y]))
    }

    /// Whether products go image by image, with columns that never leave the cache.
    fn is_blocked(&self) -> bool {
        self.groups == 1 && !self.window().is_pointwise()
    }

    /// The weight as `[G, channels, rows]`: it takes unfolded columns to the smaller side.
    fn weight(&self, w: &Tensor) -> OpResult<Tensor> {
        Ok(w.reshape((self.groups, self.channels, self.rows))?)
    }

    /// The weight `[G, r, c]` (or transposed) times columns `[M, G, c, T]`.
    fn apply(&self, weight: &Tensor, columns: &Tensor) -> OpResult<Tensor> {
        let (images, groups, inner, positions) = columns.dims4()?;
        let (_, r, _) = weight.dims3()?;
        if groups == 1 {
            let columns = columns.reshape((images, inner, positions))?;
            let product = shared_product(&weight.squeeze(0)?, &columns)?;
            return Ok(product.reshape((images, 1, r, positions))?);
        }
        if inner == 1 || r == 1 {
            return self.thin(weight, columns);
        }
        // Groups become the batch of one product each: [G, r, c] · [G, c, M·T].
        let columns =
            columns.permute((1, 2, 0, 3))?.reshape((groups, inner, images * positions))?;
        let product = matmul(&weight.contiguous()?, &columns)?;
        let product = product.reshape((groups, r, images, positions))?;
        Ok(product.permute((2, 0, 1, 3))?.contiguous()?)
    }

    /// Depthwise products, one row or one column per group: a broadcast product and a sum.
    fn thin(&self, weight: &Tensor, columns: &Tensor) -> OpResult<Tensor> {
        let inner = columns.dims()[2];
        let product = |k: usize| -> OpResult<Tensor> {
            let w = weight.narrow(2, k, 1)?.unsqueeze(0)?;
            Ok(columns.narrow(2, k, 1)?.broadcast_mul(&w)?)
        };
        let mut total = product(0)?;
        for k in 1..inner {
            total = (total + product(k)?)?;
        }
        Ok(total)
    }

    fn window(&self) -> &Window {
        &self.unfoldable.window
    }

    fn positions(&self) -> usize {
        self.window().out_count()
    }

    /// Whether each example has one image, all of whose channels meet.
    fn is_imaged(&self) -> bool {
        self.direction == Direction::Forward && self.groups == 1 && self.images == 1
    }
}

impl Operator for Convolution {
    fn outline(&self) -> Option<Vec<Vec<usize>>> {
        Some(vec![self.out_shape.clone()])
    }

    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let (x, w) = (required(inputs, 0)?, self.weight(required(inputs, 1)?)?);
        let lead = x.dims()[0];
        let images = lead * self.images;
        let x = x.contiguous()?;
        let y = match self.direction {
            Direction::Forward => self.ahead(&w, &x, images, self.in_channels)?,
            Direction::Transposed => self.back(&w, &self.by_group(&x, images, self.channels)?)?,
        };
        let mut y = y.reshape(lead_shape(lead, &self.out_shape))?;
        if self.bias {
            let mut shape = vec![1; self.out_shape.len() + 1];
            shape[2] = self.out_shape[1];
            y = y.broadcast_add(&required(inputs, 2)?.reshape(shape)?)?;
        }
        Ok(y.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let cotangent = sweep.cotangent()?;
        let rows = sweep.batch * sweep.width;
        let mut result = vec![None; sweep.inputs.len()];
        if sweep.wants(0) {
            let w = self.weight(sweep.input(1)?)?;
            let images = rows * self.images;
            let back = match self.direction {
                Direction::Forward => {
                    let dy = self.by_group(cotangent, images, self.channels)?;
                    self.back(&w, &dy)?
                }
                Direction::Transposed => {
                    self.ahead(&w, &cotangent.contiguous()?, images, self.out_shape[1])?
                }
            };
            result[0] = Some(back.reshape(lead_shape(rows, sweep.shape(0)?))?);
        }
        if sweep.wants(1) {
            let dense = self.factor(1, sweep)?.to_dense()?;
            result[1] = Some(dense.reshape(lead_shape(rows, sweep.shape(1)?))?);
        }
        if sweep.wants(2) {
            let axes: Vec<usize> = (1..=self.out_shape.len()).filter(|axis| *axis != 2).collect();
            let summed = sum_axes(cotangent, &axes)?;
            result[2] = Some(summed.reshape((rows, self.out_shape[1]))?);
        }
        Ok(result)
    }

    /// Of x̄ = fold(Wᵀ ȳ), the factors unfold(x) and ȳ, and the bias's Σ ȳ.
    fn second(&self, second: &Second) -> OpResult<Option<Ascended>> {
        let sweep = &second.reverse;
        if self.direction == Direction::Transposed
            || self.images != 1
            || second.adjoint(1).is_some()
        {
            return Ok(None);
        }
        let rows = sweep.batch * sweep.width;
        let out = lead_shape(rows, &self.out_shape);
        let mut by_cotangent = None;
        let mut inputs = vec![None; second.operands()];
        match (second.factor(1), second.imaged(1)) {
            (Some(Factor::Outer { input, cotangent, .. }), _) => {
                let own = cotangent.transpose(3, 4)?.contiguous()?;
                by_cotangent = Some(own.reshape(out.as_slice())?);
                if sweep.wants(0) {
                    let columns = input.transpose(2, 3)?.contiguous()?;
                    let shape = sweep.input(0)?.shape();
                    inputs[0] = Some(self.fold(&columns)?.reshape(shape)?);
                }
            }
            (Some(_), _) => return Ok(None),
            (None, Some(Imaged { image, cotangent })) => {
                by_cotangent = Some(cotangent.reshape(out.as_slice())?);
                if sweep.wants(0) {
                    inputs[0] = Some(image.reshape(sweep.input(0)?.shape())?);
                }
            }
            (None, None) => {}
        }
        if let Some(adjoint) = second.adjoint(0) {
            let (w, cotangent) = (self.weight(sweep.input(1)?)?, sweep.cotangent()?);
            let (moved, by_weight) = if self.groups == 1 {
                let shape = (rows, self.in_channels, self.window().in_count());
                let adjoint = adjoint.contiguous()?.reshape(shape)?;
                let dy = (rows, self.channels, self.positions());
                let dy = cotangent.contiguous()?.reshape(dy)?;
                both_products(
                    &self.unfoldable,
                    (&w.squeeze(0)?, &adjoint, &dy),
                    by_cotangent.as_ref(),
                )?
            } else {
                let columns = self.unfold(&adjoint.contiguous()?, rows, self.in_channels)?;
                let dy = self.by_group(&cotangent.contiguous()?, rows, self.channels)?;
                let by_weight = sum_of_products(&dy.transpose(2, 3)?, &columns.transpose(2, 3)?)?;
                let own = self.apply(&w, &columns)?.reshape(out.as_slice())?;
                let moved = match &by_cotangent {
                    Some(sum) => (sum + own)?,
                    None => own,
                };
                (moved, by_weight)
            };
            by_cotangent = Some(moved.reshape(out.as_slice())?);
            inputs[1] = Some(by_weight.reshape(sweep.input(1)?.shape())?);
        }
        if let Some(adjoint) = second.adjoint(2) {
            let mut shape = vec![1; self.out_shape.len() + 1];
            (shape[0], shape[2]) = (rows, self.out_shape[1]);
            let spread = adjoint.reshape(shape)?;
            by_cotangent = Some(match by_cotangent {
                Some(sum) => sum.broadcast_add(&spread)?,
                None => spread.broadcast_as(out)?.contiguous()?,
            });
        }
        Ok(Some(Ascended { cotangents: vec![by_cotangent], inputs }))
    }

    fn factor_shape(&self, operand: usize) -> Option<FactorShape> {
        let positions = self.images * self.positions();
        let groups = self.groups;
        (operand == 1).then_some(match self.direction {
            Direction::Forward => FactorShape::Outer {
                groups,
                positions,
                input: self.rows,
                cotangent: self.channels,
                order: Order::CotangentFirst,
            },
            Direction::Transposed => FactorShape::Outer {
                groups,
                positions,
                input: self.channels,
                cotangent: self.rows,
                order: Order::InputFirst,
            },
        })
    }

    fn factor(&self, _operand: usize, sweep: &Reverse) -> OpResult<Factor> {
        let (batch, width) = (sweep.batch, sweep.width);
        let images = batch * width * self.images;
        let cotangent = sweep.cotangent()?.contiguous()?;
        let x = sweep.input(0)?.contiguous()?;
        let (input, delta, order) = match self.direction {
            Direction::Forward => {
                let columns = self.unfold(&x, x.dims()[0] * self.images, self.in_channels)?;
                let delta = self.by_group(&cotangent, images, self.channels)?;
                (columns, delta, Order::CotangentFirst)
            }
            Direction::Transposed => {
                let x = self.by_group(&x, x.dims()[0] * self.images, self.channels)?;
                (x, self.unfold(&cotangent, images, self.out_shape[1])?, Order::InputFirst)
            }
        };
        let input = self.gather(&input, (batch, 1))?.squeeze(1)?;
        let cotangent = self.gather(&delta, (batch, width))?;
        Ok(Factor::Outer { input, cotangent, order })
    }

    fn gradient(&self, operand: usize, sweep: &Reverse) -> OpResult<Factor> {
        let x = sweep.input(0)?;
        let own = self.direction == Direction::Forward && self.images == 1;
        let depthwise = self.depthwise_of(x, sweep.cotangent()?);
        if !own || x.dims()[0] != sweep.batch || (self.groups != 1 && depthwise.is_none()) {
            return Ok(self.factor(operand, sweep)?.written()?);
        }
        let Imaged { image, cotangent } = self.imaged(operand, sweep)?;
        Ok(Factor::Dense(match depthwise {
            Some(depthwise) => {
                let (batch, width, _, positions) = cotangent.dims4()?;
                let shape = (batch, width, self.groups, self.channels, positions);
                depthwise.gradient(&image, &cotangent.reshape(shape)?)?
            }
            None => self.gradient.apply(&image, &cotangent)?,
        }))
    }

    fn windows(&self, operand: usize) -> Option<Windows> {
        (operand == 1 && self.is_imaged())
            .then(|| Windows::new(self.in_channels, self.unfoldable.clone()))
    }

    fn imaged(&self, _operand: usize, sweep: &Reverse) -> OpResult<Imaged> {
        let (batch, width) = (sweep.batch, sweep.width);
        let x = sweep.input(0)?;
        let shape = (x.dims()[0], self.in_channels, self.window().in_count());
        let image = x.contiguous()?.reshape(shape)?;
        // An image that all examples share is repeated.
        let image = image.broadcast_as((batch, shape.1, shape.2))?;
        let shape = (batch, width, self.groups * self.channels, self.positions());
        let cotangent = sweep.cotangent()?.contiguous()?.reshape(shape)?;
        Ok(Imaged { image, cotangent })
    }
}

impl Convolution {
    /// `[B·w·images, G, r, T]` → `[B, w, G, images·T, r]`, a view where there is one image per
    /// example; what all examples share is repeated.
    fn gather(&self, x: &Tensor, (batch, width): (usize, usize)) -> OpResult<Tensor> {
        let (all, groups, r, positions) = x.dims4()?;
        let images = self.images;
        let lead = all / (width * images);
        let x = if images == 1 {
            x.reshape((lead, width, groups, r, positions))?.transpose(3, 4)?
        } else {
            let x = x.reshape((lead * width, images, groups, r, positions))?;
            let x = x.permute((0, 2, 1, 4, 3))?;
            x.reshape((lead, width, groups, images * positions, r))?
        };
        Ok(x.broadcast_as((batch, width, groups, images * positions, r))?)
    }
}

/// The window of ConvTranspose slides over the output.
fn transposed_window(setup: &Setup, spatial: &[usize], kernel: &[usize]) -> OpResult<Window> {
    use crate::tensor::window_sizes as sizes;
    let attributes = setup.attributes;
    let rank = spatial.len();
    let list = |name: &str, default: i64, least: i64| -> OpResult<Vec<usize>> {
        let values = attributes.ints(name)?.unwrap_or_else(|| vec![default; rank]);
        sizes(name, &values, rank, least)
    };
    let (strides, dilations) = (list("strides", 1, 1)?, list("dilations", 1, 1)?);
    let extra = list("output_padding", 0, 0)?;
    let wanted = match attributes.ints("output_shape")? {
        Some(shape) => {
            let tail = shape[shape.len().saturating_sub(rank)..].to_vec();
            Some(sizes("output_shape", &tail, rank, 1)?)
        }
        None => None,
    };
    let padding = Padding::read(attributes, rank)?;
    let mut axes = Vec::with_capacity(rank);
    for i in 0..rank {
        let reach = dilations[i] * (kernel[i] - 1) + 1;
        let whole = strides[i] * (spatial[i].max(1) - 1) + extra[i] + reach;
        let same = matches!(padding, Padding::SameUpper | Padding::SameLower);
        let target = match &wanted {
            Some(shape) => Some(shape[i]),
            None => same.then(|| strides[i] * spatial[i]),
        };
        let (size, before, after) = match (target, &padding) {
            (Some(size), padding) => {
                let total = whole.saturating_sub(size);
                let (less, more) = (total / 2, total - total / 2);
                match padding {
                    Padding::SameUpper => (size, less, more),
                    _ => (size, more, less),
                }
            }
            (None, Padding::Explicit(pads)) => {
                let (before, after) = (pads[i], pads[i + rank]);
                match whole.checked_sub(before + after).filter(|size| *size > 0) {
                    Some(size) => (size, before, after),
                    None => fail!("pads {pads:?} leave nothing of {whole} elements"),
                }
            }
            (None, _) => (whole, 0, 0),
        };
        let (kernel, stride, dilation, out) = (kernel[i], strides[i], dilations[i], spatial[i]);
        axes.push(Axis { size, kernel, stride, dilation, before, after, out });
    }
    Ok(Window { axes })
}
