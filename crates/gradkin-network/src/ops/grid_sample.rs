//! GridSample: a picture read at places that the data gives, between its pixels.
//!
//! Along each axis a place reads a few taps, each a pixel with a weight and the weight's slope by
//! the place. The output is Σ weight · pixel over the product of the axes' taps: linear in the
//! picture, and differentiable by the place.

use candle_core::{DType, Device, Tensor};

use super::picking::{pick, positions, strides};
use super::scatter::repeat;
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::{checked_count, lead_shape, sum_axes};

pub(super) const OPERATORS: &[(&str, Build)] = &[("GridSample", GridSample::build)];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Linear,
    Nearest,
    Cubic,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outside {
    Zeros,
    Border,
    Reflection,
}

#[derive(Debug)]
struct GridSample {
    mode: Mode,
    outside: Outside,
    align_corners: bool,
    batch: usize,
    channels: usize,
    /// The picture's sizes, and those of the grid.
    spatial: Vec<usize>,
    places: Vec<usize>,
}

/// One pixel along one axis (`None` for a zero outside), its weight, and the slope of the weight.
#[derive(Debug, Clone, Copy)]
struct Tap {
    at: Option<usize>,
    weight: f64,
    slope: f64,
}

impl GridSample {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let (x, grid) = (setup.shape(0)?, setup.shape(1)?);
        let fits = x.len() >= 3
            && grid.len() == x.len()
            && grid[0] == x[0]
            && grid.last() == Some(&(x.len() - 2));
        if !fits || x[2..].contains(&0) {
            fail!("a grid of shape {grid:?} does not go with a picture of shape {x:?}");
        }
        let mode = match setup.attributes.text("mode", "linear")? {
            "linear" | "bilinear" => Mode::Linear,
            "nearest" => Mode::Nearest,
            "cubic" | "bicubic" => Mode::Cubic,
            other => fail!("mode `{other}` is unknown"),
        };
        let outside = match setup.attributes.text("padding_mode", "zeros")? {
            "zeros" => Outside::Zeros,
            "border" => Outside::Border,
            "reflection" => Outside::Reflection,
            other => fail!("padding_mode `{other}` is unknown"),
        };
        let align_corners = setup.attributes.int("align_corners", 0)? != 0;
        let (batch, channels) = (x[0], x[1]);
        let (spatial, places) = (x[2..].to_vec(), grid[1..grid.len() - 1].to_vec());
        let own = Self { mode, outside, align_corners, batch, channels, spatial, places };
        checked_count(&[batch, channels, own.places.iter().product(), own.taps()])?;
        Ok(Box::new(own))
    }

    /// Pixels that one place reads.
    fn taps(&self) -> usize {
        let each: usize = match self.mode {
            Mode::Nearest => 1,
            Mode::Linear => 2,
            Mode::Cubic => 4,
        };
        each.saturating_pow(self.spatial.len() as u32)
    }

    /// The ends of an axis: centres of the outermost pixels, or their outer edges.
    fn ends(&self, size: usize) -> (f64, f64) {
        let last = size as f64 - 1.0;
        if self.align_corners { (0.0, last) } else { (-0.5, last + 0.5) }
    }

    /// A number from −1 to 1 as a place among `size` pixels, and its slope.
    fn place(&self, n: f64, size: usize) -> (f64, f64) {
        let size = size as f64;
        if self.align_corners {
            ((n + 1.0) / 2.0 * (size - 1.0), (size - 1.0) / 2.0)
        } else {
            (((n + 1.0) * size - 1.0) / 2.0, size / 2.0)
        }
    }

    /// Where a place outside is read instead, and the slope of that.
    fn inside(&self, x: f64, size: usize) -> (f64, f64) {
        let (low, high) = self.ends(size);
        if !x.is_finite() {
            return (low - 2.0, 0.0);
        }
        if (low..=high).contains(&x) {
            return (x, 1.0);
        }
        match self.outside {
            Outside::Zeros => (x, 1.0),
            Outside::Border => (x.clamp(0.0, size as f64 - 1.0), 0.0),
            Outside::Reflection => reflect(x, low, high),
        }
    }

    /// The pixel at a whole place, which may lie outside.
    fn pixel(&self, at: f64, size: usize) -> Option<usize> {
        let last = size as f64 - 1.0;
        if (0.0..=last).contains(&at) {
            return Some(at as usize);
        }
        match self.outside {
            Outside::Zeros => None,
            Outside::Border => Some(at.clamp(0.0, last) as usize),
            Outside::Reflection => {
                let (low, high) = self.ends(size);
                Some(reflect(at, low, high).0.clamp(0.0, last) as usize)
            }
        }
    }

    /// The taps of one number of the grid along an axis of `size` pixels.
    fn axis(&self, n: f64, size: usize) -> Vec<Tap> {
        let (x, scale) = self.place(n, size);
        if self.mode == Mode::Nearest {
            let (x, _) = self.inside(x.round_ties_even(), size);
            return vec![Tap { at: self.pixel(x.trunc(), size), weight: 1.0, slope: 0.0 }];
        }
        let (x, turn) = self.inside(x, size);
        let slope = scale * turn;
        let (first, t) = (x.floor(), x - x.floor());
        let weights = match self.mode {
            Mode::Cubic => cubic(t).to_vec(),
            _ => vec![(1.0 - t, -1.0), (t, 1.0)],
        };
        let first = if self.mode == Mode::Cubic { first - 1.0 } else { first };
        let tap = |(k, (weight, by)): (usize, (f64, f64))| Tap {
            at: self.pixel(first + k as f64, size),
            weight,
            slope: by * slope,
        };
        weights.into_iter().enumerate().map(tap).collect()
    }

    /// Read the grid: where every place's taps lie among the pixels of one plane, their weights,
    /// and the slopes of the weights by each number of the grid, all `[L·N, places·taps]`.
    fn plan(&self, grid: &Tensor) -> OpResult<Plan> {
        let rank = self.spatial.len();
        let strides = strides(&self.spatial);
        let numbers: Vec<f64> = grid.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let mut plan = Plan { at: Vec::new(), weights: Vec::new(), slopes: vec![Vec::new(); rank] };
        for place in numbers.chunks_exact(rank) {
            // The grid names the last axis first.
            let axes: Vec<Vec<Tap>> =
                (0..rank).map(|a| self.axis(place[rank - 1 - a], self.spatial[a])).collect();
            for tap in 0..self.taps() {
                plan.push(&axes, &strides, tap);
            }
        }
        Ok(plan)
    }

    /// Planes as rows of pixels, channels innermost: `[L·N, pixels·channels]`.
    fn pixels(&self, x: &Tensor) -> OpResult<Tensor> {
        let count: usize = self.spatial.iter().product();
        let images = x.dims()[0] * self.batch;
        let x = x.contiguous()?.reshape((images, self.channels, count))?;
        Ok(x.transpose(1, 2)?.contiguous()?.reshape((images, count * self.channels))?)
    }

    fn count(&self) -> usize {
        self.places.iter().product()
    }

    /// Numbers of a plan, to meet `[images, places, taps, channels]`.
    fn numbers(&self, values: &[f64], kind: DType) -> OpResult<Tensor> {
        let (places, taps) = (self.count(), self.taps());
        let images = values.len() / (places * taps).max(1);
        let values = Tensor::from_slice(values, (images, places, taps, 1), &Device::Cpu)?;
        Ok(values.to_dtype(kind)?)
    }

    /// Every tap's pixel: `[L·N, places, taps, channels]`.
    fn read(&self, x: &Tensor, at: &Tensor) -> OpResult<Tensor> {
        let read = pick(x, at, self.channels)?;
        Ok(read.reshape((read.dims()[0], self.count(), self.taps(), self.channels))?)
    }

    /// `x` for every example where the other side differs by example.
    fn matched(x: &Tensor, images: usize) -> OpResult<Tensor> {
        let own = x.dims()[0];
        if own == images {
            return Ok(x.clone());
        }
        Ok(Tensor::cat(&vec![x.clone(); images / own.max(1)], 0)?)
    }
}

/// Taps as flat lists.
struct Plan {
    at: Vec<usize>,
    weights: Vec<f64>,
    /// By axis of the picture.
    slopes: Vec<Vec<f64>>,
}

impl Plan {
    /// Tap number `tap` of the product of the axes' taps.
    fn push(&mut self, axes: &[Vec<Tap>], strides: &[usize], mut tap: usize) {
        let mut chosen = Vec::with_capacity(axes.len());
        for taps in axes.iter().rev() {
            chosen.insert(0, taps[tap % taps.len()]);
            tap /= taps.len();
        }
        let inside = chosen.iter().all(|tap| tap.at.is_some());
        let at = chosen.iter().zip(strides).map(|(tap, stride)| tap.at.unwrap_or(0) * stride).sum();
        let exists = f64::from(inside);
        self.at.push(if inside { at } else { 0 });
        self.weights.push(chosen.iter().map(|tap| tap.weight).product::<f64>() * exists);
        for (axis, slopes) in self.slopes.iter_mut().enumerate() {
            let factor = |(k, tap): (usize, &Tap)| if k == axis { tap.slope } else { tap.weight };
            slopes.push(chosen.iter().enumerate().map(factor).product::<f64>() * exists);
        }
    }

    fn at(&self, per_image: usize) -> OpResult<Tensor> {
        positions(&self.at, self.at.len() / per_image.max(1))
    }
}

/// A place folded back between two mirrors, and the slope of that: one or minus one.
fn reflect(x: f64, low: f64, high: f64) -> (f64, f64) {
    let range = high - low;
    if range <= 0.0 || (low..=high).contains(&x) {
        return (x.clamp(low, high), 0.0);
    }
    let phase = (x - low).rem_euclid(2.0 * range);
    if phase <= range { (low + phase, 1.0) } else { (high - (phase - range), -1.0) }
}

/// Weights of the four taps around a place at `t` between the middle two, and their slopes:
/// cubic convolution with a = −0.75.
fn cubic(t: f64) -> [(f64, f64); 4] {
    const A: f64 = -0.75;
    let far = |x: f64| {
        (((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A, (3.0 * A * x - 10.0 * A) * x + 8.0 * A)
    };
    let near = |x: f64| {
        let (two, three) = (A + 2.0, A + 3.0);
        ((two * x - three) * x * x + 1.0, (3.0 * two * x - 2.0 * three) * x)
    };
    let flipped = |(weight, slope): (f64, f64)| (weight, -slope);
    [far(t + 1.0), near(t), flipped(near(1.0 - t)), flipped(far(2.0 - t))]
}

impl Operator for GridSample {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let (x, grid) = (required(inputs, 0)?, required(inputs, 1)?);
        let lead = x.dims()[0].max(grid.dims()[0]);
        let images = lead * self.batch;
        let plan = self.plan(grid)?;
        let at = Self::matched(&plan.at(self.count() * self.taps())?, images)?;
        let weights = Self::matched(&self.numbers(&plan.weights, x.dtype())?, images)?;
        let pixels = self.read(&Self::matched(&self.pixels(x)?, images)?, &at)?;
        let y = sum_axes(&pixels.broadcast_mul(&weights)?, &[2])?;
        let y = y.reshape((images, self.count(), self.channels))?.transpose(1, 2)?.contiguous()?;
        let mut shape = vec![self.batch, self.channels];
        shape.extend(&self.places);
        Ok(y.reshape(lead_shape(lead, &shape))?.into())
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let (x, grid) = (sweep.input(0)?, sweep.input(1)?);
        let rows = sweep.batch * sweep.width;
        let plan = self.plan(grid)?;
        let per = self.count() * self.taps();
        // Images of each example side by side, once per output.
        let every = |t: &Tensor| -> OpResult<Tensor> {
            let own = t.dims()[0] / self.batch.max(1);
            let shape = [&[own, self.batch], &t.dims()[1..]].concat();
            let t = Self::matched(&t.reshape(shape)?, sweep.batch)?;
            let t = repeat(sweep, &t)?;
            Ok(t.reshape([&[rows * self.batch], &t.dims()[2..]].concat())?)
        };
        let cotangent = sweep.cotangent()?.contiguous()?;
        let images = rows * self.batch;
        let delta = cotangent.reshape((images, self.channels, self.count()))?;
        let delta = delta.transpose(1, 2)?.contiguous()?;
        let delta = delta.reshape((images, self.count(), 1, self.channels))?;
        let at = every(&plan.at(per)?)?;
        let mut result = vec![None, None];
        if sweep.wants(0) {
            let weights = every(&self.numbers(&plan.weights, delta.dtype())?)?;
            let spread = delta.broadcast_mul(&weights)?.reshape((images, per, self.channels))?;
            let pixels: usize = self.spatial.iter().product();
            let back = crate::tensor::add_rows(&spread, &at, pixels)?;
            let back = back.transpose(1, 2)?.contiguous()?;
            result[0] = Some(back.reshape(lead_shape(rows, sweep.shape(0)?))?);
        }
        if sweep.wants(1) {
            let pixels = self.read(&every(&self.pixels(x)?)?, &at)?;
            let along = sum_axes(&pixels.broadcast_mul(&delta)?, &[3])?;
            let mut numbers = Vec::with_capacity(self.spatial.len());
            for slopes in plan.slopes.iter().rev() {
                let slopes = every(&self.numbers(slopes, delta.dtype())?)?;
                let back = sum_axes(&(&along * slopes)?, &[2])?;
                numbers.push(back.reshape((images, self.count()))?);
            }
            let back = Tensor::stack(&numbers, 2)?;
            result[1] = Some(back.reshape(lead_shape(rows, sweep.shape(1)?))?);
        }
        Ok(result)
    }
}
