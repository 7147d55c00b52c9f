//! Resize and Upsample: every axis on its own is multiplied with a matrix of few entries per row.
//!
//! Row o of an axis' matrix says which input entries make up output entry o, and with which
//! weights; it is worked out once, in f64. Forward is the product along the axis, reverse the
//! transposed product.

use candle_core::{Device, Tensor};

use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::onnx::exact_decimal;
use crate::tensor::{axis_of, checked_count};

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("Resize", Resize::build), ("Upsample", Resize::build)];

/// The matrix of one axis, as taps: row o is Σ_k weights\[k\]\[o\] · e(index\[k\]\[o\]).
#[derive(Debug)]
struct Taps {
    /// Axis with the leading one in front.
    axis: usize,
    size: usize,
    index: Vec<Vec<i64>>,
    weights: Vec<Vec<f64>>,
}

impl Taps {
    /// From rows of (index, weight), which may differ in length.
    fn new(axis: usize, size: usize, rows: &[Vec<(usize, f64)>]) -> Self {
        let count = rows.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let tap = |row: &Vec<(usize, f64)>, k: usize| row.get(k).copied().unwrap_or((0, 0.0));
        let index =
            (0..count).map(|k| rows.iter().map(|row| tap(row, k).0 as i64).collect()).collect();
        let weights = (0..count).map(|k| rows.iter().map(|row| tap(row, k).1).collect()).collect();
        Self { axis: axis + 1, size, index, weights }
    }

    fn index(&self, k: usize) -> OpResult<Tensor> {
        Ok(Tensor::from_slice(&self.index[k], self.index[k].len(), &Device::Cpu)?)
    }

    /// `x`, whose axis has one entry per row, times the weights of tap k.
    fn weigh(&self, x: Tensor, k: usize) -> OpResult<Tensor> {
        if self.weights[k].iter().all(|w| *w == 1.0) {
            return Ok(x);
        }
        let mut shape = vec![1; x.rank()];
        shape[self.axis] = self.weights[k].len();
        let weights = Tensor::from_slice(&self.weights[k], shape, &Device::Cpu)?;
        Ok(x.broadcast_mul(&weights.to_dtype(x.dtype())?)?)
    }

    /// The product along the axis.
    fn apply(&self, x: &Tensor) -> OpResult<Tensor> {
        let x = x.contiguous()?;
        let tap = |k| self.weigh(x.index_select(&self.index(k)?, self.axis)?, k);
        let mut total = tap(0)?;
        for k in 1..self.index.len() {
            total = (total + tap(k)?)?;
        }
        Ok(total)
    }

    /// The transposed product.
    fn transposed(&self, cotangent: &Tensor) -> OpResult<Tensor> {
        let mut shape = cotangent.dims().to_vec();
        shape[self.axis] = self.size;
        let cotangent = cotangent.contiguous()?;
        let mut back = Tensor::zeros(shape, cotangent.dtype(), &Device::Cpu)?;
        for k in 0..self.index.len() {
            let share = self.weigh(cotangent.clone(), k)?;
            back = back.index_add(&self.index(k)?, &share, self.axis)?;
        }
        Ok(back)
    }
}

/// A product along each axis that changes, and what stands outside the input.
#[derive(Debug)]
struct Resize {
    axes: Vec<Taps>,
    /// The extrapolation value where a crop reaches beyond the input, zero elsewhere: `[1, *out]`.
    outside: Option<Tensor>,
}

impl Resize {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let plan = Plan::read(setup, shape)?;
        let method = Method::read(setup)?;
        let sampling = Sampling::read(setup)?;
        let out: Vec<usize> = plan.iter().map(|axis| axis.out).collect();
        checked_count(&out)?;
        let mut axes = Vec::new();
        let mut beyond = Vec::with_capacity(shape.len());
        for (k, axis) in plan.iter().enumerate() {
            if axis.size == 0 && axis.out > 0 {
                fail!("axis {k} of shape {shape:?} is empty and cannot be resized");
            }
            let rows: Vec<Vec<(usize, f64)>> =
                (0..axis.out).map(|o| method.row(sampling.position(axis, o), axis)).collect();
            beyond.push(rows.iter().map(Vec::is_empty).collect::<Vec<bool>>());
            let same =
                axis.out == axis.size && rows.iter().enumerate().all(|(o, row)| *row == [(o, 1.0)]);
            if !same {
                axes.push(Taps::new(k, axis.size, &rows));
            }
        }
        // The axes that shrink most go first, so that the least is left for the others.
        axes.sort_by(|a: &Taps, b: &Taps| {
            let ratio = |taps: &Taps| out[taps.axis - 1] as f64 / taps.size.max(1) as f64;
            ratio(a).total_cmp(&ratio(b))
        });
        let value = setup.attributes.float("extrapolation_value", 0.0)?;
        Ok(Box::new(Self { axes, outside: outside(&beyond, &out, value, setup)? }))
    }
}

/// `value` wherever any axis lies beyond the input.
fn outside(
    beyond: &[Vec<bool>],
    out: &[usize],
    value: f64,
    setup: &Setup,
) -> OpResult<Option<Tensor>> {
    if value == 0.0 || !beyond.iter().flatten().any(|flag| *flag) {
        return Ok(None);
    }
    let mut flags = vec![false];
    for axis in beyond {
        flags = flags.iter().flat_map(|flag| axis.iter().map(move |own| *flag || *own)).collect();
    }
    let values: Vec<f64> = flags.iter().map(|flag| if *flag { value } else { 0.0 }).collect();
    let values = Tensor::from_vec(values, crate::tensor::lead_shape(1, out), &Device::Cpu)?;
    Ok(Some(values.to_dtype(setup.float)?))
}

impl Operator for Resize {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let mut y = required(inputs, 0)?.clone();
        for taps in &self.axes {
            y = taps.apply(&y)?;
        }
        if let Some(outside) = &self.outside {
            y = y.broadcast_add(outside)?;
        }
        Ok(y.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let mut back = sweep.cotangent()?.clone();
        for taps in self.axes.iter().rev() {
            back = taps.transposed(&back)?;
        }
        let mut result = vec![None; sweep.inputs.len()];
        result[0] = Some(back);
        Ok(result)
    }
}

/// One axis: from `size` entries to `out`.
#[derive(Debug, Clone, Copy)]
struct Plan {
    size: usize,
    out: usize,
    /// out / size, or the number that the file gives.
    scale: f64,
    /// The part that is cropped out, in units of the axis.
    region: (f64, f64),
}

impl Plan {
    /// The plan of every axis.
    fn read(setup: &Setup, shape: &[usize]) -> OpResult<Vec<Self>> {
        let axes: Vec<usize> = match setup.attributes.ints("axes")? {
            Some(axes) => axes.iter().map(|a| axis_of(*a, shape.len())).collect::<OpResult<_>>()?,
            None => (0..shape.len()).collect(),
        };
        let given = |list: Option<Vec<f64>>| list.filter(|list| !list.is_empty());
        // Upsample and the first Resize have the scales where the region went later.
        let later = setup.operator == "Resize" && setup.opset >= 11;
        let (scales, sizes, region) = if later {
            let sizes = setup.constant_ints(3)?.filter(|list| !list.is_empty());
            (given(setup.constant_floats(2)?), sizes, given(setup.constant_floats(1)?))
        } else {
            let scales = match setup.attributes.floats("scales")? {
                Some(scales) => Some(scales),
                None => setup.constant_floats(1)?,
            };
            (given(scales), None, None)
        };
        let mut plan: Vec<Self> = shape.iter().map(|size| Self::same(*size)).collect();
        match (scales, sizes) {
            (Some(scales), _) if scales.len() == axes.len() => {
                for (axis, scale) in axes.iter().zip(scales) {
                    plan[*axis] = Self::scaled(shape[*axis], scale)?;
                }
            }
            (None, Some(sizes)) if sizes.len() == axes.len() => {
                let policy = setup.attributes.text("keep_aspect_ratio_policy", "stretch")?;
                Self::size(&mut plan, &axes, &sizes, policy)?;
            }
            (None, None) => fail!("neither scales nor sizes are given"),
            (scales, sizes) => fail!(
                "scales {:?} or sizes {:?} do not fit {} axes",
                scales.unwrap_or_default(),
                sizes.unwrap_or_default(),
                axes.len()
            ),
        }
        let Some(region) = region else { return Ok(plan) };
        if region.len() == 2 * axes.len() {
            for (k, axis) in axes.iter().enumerate() {
                plan[*axis].region = (region[k], region[k + axes.len()]);
            }
        }
        Ok(plan)
    }

    fn same(size: usize) -> Self {
        Self { size, out: size, scale: 1.0, region: (0.0, 1.0) }
    }

    /// ⌊size · scale⌋ entries. The product is taken in single precision where the scale was, so
    /// that an out / size rounded to f32 gives out; that exact quotient then is the scale.
    fn scaled(size: usize, scale: f64) -> OpResult<Self> {
        if !(scale > 0.0 && scale.is_finite()) {
            fail!("a scale of {scale} is not positive");
        }
        let single = scale as f32;
        let from_single = f64::from(single) == scale || exact_decimal(single) == scale;
        let out = if from_single {
            f64::from((size as f32 * single).floor())
        } else {
            (size as f64 * scale).floor()
        };
        checked_count(&[out as usize])?;
        let quotient = out / size.max(1) as f64;
        let exact = match from_single {
            true if quotient as f32 == single => quotient,
            true => exact_decimal(single),
            false => scale,
        };
        Ok(Self { out: out as usize, scale: exact, ..Self::same(size) })
    }

    /// x / scale; where the scale is out / size, without a rounding that could miss a whole number.
    fn unscaled(&self, x: f64) -> f64 {
        let (size, out) = (self.size as f64, self.out as f64);
        if self.scale == out / size { x * size / out } else { x / self.scale }
    }

    fn size(plan: &mut [Self], axes: &[usize], sizes: &[i64], policy: &str) -> OpResult<()> {
        let mut ratios = Vec::with_capacity(axes.len());
        for (axis, size) in axes.iter().zip(sizes) {
            let own = plan[*axis].size;
            match usize::try_from(*size) {
                Ok(out) => {
                    plan[*axis].out = out;
                    plan[*axis].scale = out as f64 / own.max(1) as f64;
                }
                Err(_) => fail!("size {size} is negative"),
            }
            ratios.push(plan[*axis].scale);
        }
        let common = match policy {
            "stretch" => return Ok(()),
            "not_larger" => ratios.iter().copied().fold(f64::INFINITY, f64::min),
            "not_smaller" => ratios.iter().copied().fold(0.0, f64::max),
            other => fail!("keep_aspect_ratio_policy `{other}` is unknown"),
        };
        for axis in axes {
            let own = plan[*axis].size as f64;
            plan[*axis].out = (own * common + 0.5).floor() as usize;
            plan[*axis].scale = common;
        }
        Ok(())
    }
}

/// Where output entry o lies among the input's entries.
#[derive(Debug, Clone, Copy)]
enum Sampling {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    TfHalfPixelForNearest,
    AlignCorners,
    Asymmetric,
    Crop,
}

impl Sampling {
    fn read(setup: &Setup) -> OpResult<Self> {
        let old = setup.operator == "Upsample" || setup.opset < 11;
        let default = if old { "asymmetric" } else { "half_pixel" };
        let mode = setup.attributes.text("coordinate_transformation_mode", default)?;
        Ok(match mode {
            "half_pixel" => Self::HalfPixel,
            "half_pixel_symmetric" => Self::HalfPixelSymmetric,
            "pytorch_half_pixel" => Self::PytorchHalfPixel,
            "tf_half_pixel_for_nn" => Self::TfHalfPixelForNearest,
            "align_corners" => Self::AlignCorners,
            "asymmetric" => Self::Asymmetric,
            "tf_crop_and_resize" => Self::Crop,
            other => fail!("coordinate_transformation_mode `{other}` is unknown"),
        })
    }

    /// The position of output entry `o`, or `None` where a crop reaches beyond the input.
    fn position(self, axis: &Plan, o: usize) -> Option<f64> {
        let (o, size, out) = (o as f64, axis.size as f64, axis.out as f64);
        let half_pixel = axis.unscaled(o + 0.5) - 0.5;
        let last = size - 1.0;
        Some(match self {
            Self::HalfPixel => half_pixel,
            Self::HalfPixelSymmetric => {
                let adjustment = out / (axis.scale * size);
                size / 2.0 * (1.0 - adjustment) + half_pixel
            }
            Self::PytorchHalfPixel => {
                if axis.out > 1 {
                    half_pixel
                } else {
                    0.0
                }
            }
            Self::TfHalfPixelForNearest => axis.unscaled(o + 0.5),
            Self::AlignCorners => {
                if axis.out > 1 {
                    o * last / (out - 1.0)
                } else {
                    0.0
                }
            }
            Self::Asymmetric => axis.unscaled(o),
            Self::Crop => {
                let (from, to) = axis.region;
                let at = if axis.out > 1 {
                    from * last + o * (to - from) * last / (out - 1.0)
                } else {
                    0.5 * (from + to) * last
                };
                return (0.0..=last).contains(&at).then_some(at);
            }
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
    /// Before opset 11: down where the axis grows, up where it shrinks.
    Simple,
}

/// How entries around a position are weighted.
#[derive(Debug, Clone, Copy)]
enum Kernel {
    Nearest(Nearest),
    Linear,
    /// Keys' cubic with its coefficient a.
    Cubic(f64),
}

#[derive(Debug, Clone, Copy)]
struct Method {
    kernel: Kernel,
    antialias: bool,
    exclude_outside: bool,
}

impl Method {
    fn read(setup: &Setup) -> OpResult<Self> {
        let attributes = setup.attributes;
        let kernel = match attributes.text("mode", "nearest")? {
            "nearest" => {
                let old = setup.operator == "Upsample" || setup.opset < 11;
                let default = if old { "simple" } else { "round_prefer_floor" };
                Kernel::Nearest(match attributes.text("nearest_mode", default)? {
                    "round_prefer_floor" => Nearest::RoundPreferFloor,
                    "round_prefer_ceil" => Nearest::RoundPreferCeil,
                    "floor" => Nearest::Floor,
                    "ceil" => Nearest::Ceil,
                    "simple" => Nearest::Simple,
                    other => fail!("nearest_mode `{other}` is unknown"),
                })
            }
            "linear" | "bilinear" => Kernel::Linear,
            "cubic" => Kernel::Cubic(attributes.float("cubic_coeff_a", -0.75)?),
            other => fail!("mode `{other}` is unknown"),
        };
        let antialias = attributes.int("antialias", 0)? != 0;
        let exclude_outside = attributes.int("exclude_outside", 0)? != 0;
        Ok(Self { kernel, antialias, exclude_outside })
    }

    /// Indices and weights at a position; none where there is no position.
    fn row(&self, position: Option<f64>, axis: &Plan) -> Vec<(usize, f64)> {
        let Some(at) = position else { return Vec::new() };
        match self.kernel {
            Kernel::Nearest(rounding) => {
                let at = rounding.round(at, axis.scale) as i64;
                vec![(at.clamp(0, axis.size as i64 - 1) as usize, 1.0)]
            }
            Kernel::Linear => self.gather(at, axis, 1.0, |x| (1.0 - x).max(0.0)),
            Kernel::Cubic(a) => self.gather(at, axis, 2.0, |x| cubic(x, a)),
        }
    }

    /// Weights f(|i − at| · s) of all entries i within `reach`, where s = min(scale, 1) widens the
    /// kernel against aliasing and 1 does not; entries beyond the end count as the last one, or not
    /// at all with `exclude_outside`.
    fn gather(
        &self,
        at: f64,
        axis: &Plan,
        reach: f64,
        f: impl Fn(f64) -> f64,
    ) -> Vec<(usize, f64)> {
        let stretch = if self.antialias { axis.scale.min(1.0) } else { 1.0 };
        let (first, last) =
            ((at - reach / stretch).ceil() as i64, (at + reach / stretch).floor() as i64);
        let end = axis.size as i64 - 1;
        let mut row: Vec<(usize, f64)> = Vec::new();
        for i in first..=last {
            let weight = f((i as f64 - at).abs() * stretch);
            let inside = (0..=end).contains(&i);
            if weight == 0.0 || (self.exclude_outside && !inside) {
                continue;
            }
            let i = i.clamp(0, end) as usize;
            match row.last_mut() {
                Some((same, total)) if *same == i => *total += weight,
                _ => row.push((i, weight)),
            }
        }
        let total: f64 = row.iter().map(|(_, weight)| weight).sum();
        if total != 0.0 && (self.antialias || self.exclude_outside) {
            row.iter_mut().for_each(|(_, weight)| *weight /= total);
        }
        row
    }
}

impl Nearest {
    fn round(self, at: f64, scale: f64) -> f64 {
        match self {
            Self::RoundPreferFloor => (at - 0.5).ceil(),
            Self::RoundPreferCeil => (at + 0.5).floor(),
            Self::Simple if scale < 1.0 => at.ceil(),
            Self::Floor | Self::Simple => at.floor(),
            Self::Ceil => at.ceil(),
        }
    }
}

/// Keys' kernel at a distance x ≥ 0.
fn cubic(x: f64, a: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}
