//! Examples brought into the form in which inner products are taken: swept, whitened once, laid out.
//!
//! Whitening acts on outputs, and a factor is linear in its cotangent: K(x,x)^−½ J is the same sum of
//! outer products with δ replaced by K(x,x)^−½ δ. So the trace of a correlation, Σ of d×d entries for
//! every pair, is one inner product of vectors that were whitened once.

use std::borrow::Cow;
use std::ops::Range;

use gradkin_network::candle_core::{Device, Tensor};
use gradkin_network::{Factor, FactorShape, Imaged, NetworkError, Sink, Sweep, Windows};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::examples::Examples;
use crate::number::{Into, Number, doubles, numbers, product_ab, product_abt};
use crate::output::Output;
use crate::plan::{Form, Planned};
use crate::progress::Counter;
use crate::self_kernel::add_self_kernel;
use crate::similarity::{Kind, Reduction};
use crate::storage::{Half, Packed, PackedTarget, Storage};
use crate::whiten::Spectrum;

/// Which side of K an example stands on; only influence treats them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Row,
    Column,
}

/// Everything that decides what features are.
pub(crate) struct Recipe<'a> {
    /// The network at one or more checkpoints of its training, or several networks of the same
    /// outputs: J is their Jacobians side by side.
    pub(crate) parts: Vec<Part<'a>>,
    /// One per component, part after part.
    pub(crate) plan: Vec<Planned>,
    pub(crate) kind: Kind,
    pub(crate) reduction: Reduction,
    /// Whether δ of factored components is laid out with positions before outputs.
    pub(crate) positions_first: bool,
    /// Whether K(x, x) is kept with the features.
    pub(crate) keep_own: bool,
    /// Whether features are Jacobians as they come, with their maps beside them, rather than mapped.
    pub(crate) maps_beside: bool,
    /// Whether gradients that are written out are handed on while they are in cache and not kept.
    pub(crate) passes_written: bool,
    /// Whether nobody asks for ranks, so that of plain inner products K(x, x) need not be taken.
    pub(crate) ranks_unused: bool,
    /// How features of blocks are kept.
    pub(crate) storage: Storage,
}

/// Written-out gradients of a micro-batch by one component, on their way.
pub(crate) struct Written<'w, T> {
    pub(crate) component: usize,
    /// Which examples of the range that is encoded.
    pub(crate) members: Range<usize>,
    /// `[B, d·len]`; zeros where they are not finite.
    pub(crate) gradients: &'w [T],
    /// Maps that they are still to be multiplied with, where the recipe wants them beside.
    pub(crate) maps: &'w [Map],
}

/// One network with its output.
pub(crate) struct Part<'a> {
    pub(crate) sweep: Sweep<'a>,
    pub(crate) output: Output,
}

/// The arrays of one component: where they lie among all arrays, and their widths per example.
#[derive(Debug, Clone)]
pub(crate) enum Arrays {
    /// `[N, d·len]`; empty where the recipe passes it on.
    Dense { array: usize, len: usize },
    /// Per group a `[N, T·p]` and δ, which is `[N, T·d·q]` for the trace and `[N, d·T·q]` for
    /// matrices. Where `deferred`, gradients are written out when pairs are taken; with `windows` the
    /// image stands in place of a.
    Factored {
        groups: Vec<[usize; 2]>,
        positions: usize,
        input: usize,
        cotangent: usize,
        deferred: bool,
        windows: Option<Windows>,
    },
    /// Row numbers `[N, T]` and δ `[N, d·T·width]`.
    Rows { index: usize, array: usize, positions: usize, width: usize },
}

impl Recipe<'_> {
    pub(crate) fn width(&self) -> usize {
        self.output().width()
    }

    /// The output, which is the same for all parts but for its values.
    pub(crate) fn output(&self) -> &Output {
        &self.parts[0].output
    }

    /// Where each component's numbers go, the width of each float array, and of each index array.
    pub(crate) fn layout(&self) -> (Vec<Arrays>, Vec<usize>, Vec<usize>) {
        let d = self.width();
        let (mut floats, mut indices) = (Vec::new(), Vec::new());
        let mut add = |width: usize| {
            floats.push(width);
            floats.len() - 1
        };
        let mut list = Vec::with_capacity(self.plan.len());
        for planned in &self.plan {
            list.push(match (planned.shape, planned.form) {
                (
                    FactorShape::Outer { groups, positions, input, cotangent, .. },
                    form @ (Form::Factored | Form::Deferred),
                ) => {
                    let windows = planned.windows.clone();
                    let of_input =
                        windows.as_ref().map_or(positions * input, |windows| windows.numbers());
                    let one = |_| [add(of_input), add(d * positions * cotangent)];
                    let groups = (0..groups).map(one).collect();
                    let deferred = form == Form::Deferred;
                    Arrays::Factored { groups, positions, input, cotangent, deferred, windows }
                }
                (FactorShape::Rows { positions, width, .. }, Form::Rows) => {
                    indices.push(positions);
                    let index = indices.len() - 1;
                    Arrays::Rows { index, array: add(d * positions * width), positions, width }
                }
                (shape, _) => {
                    let len = shape.weights();
                    let kept = if self.passes_written { 0 } else { d * len };
                    Arrays::Dense { array: add(kept), len }
                }
            });
        }
        (list, floats, indices)
    }

    /// Whether what a component's arrays would hold is passed on instead.
    fn passes_on(&self, arrays: &Arrays) -> bool {
        self.passes_written && matches!(arrays, Arrays::Dense { .. })
    }

    /// Numbers kept per example.
    pub(crate) fn numbers(&self) -> usize {
        let (_, floats, indices) = self.layout();
        floats.iter().sum::<usize>() + 2 * indices.iter().sum::<usize>()
    }

    /// Whether gradients of a component are written out when pairs are taken.
    pub(crate) fn defers(&self) -> bool {
        self.plan.iter().any(|planned| planned.form == Form::Deferred)
    }

    /// Bytes kept per example, where a number that is not packed takes so many.
    pub(crate) fn bytes(&self, float: usize) -> usize {
        let (_, floats, indices) = self.layout();
        floats.iter().sum::<usize>() * self.storage.bytes(float)
            + indices.iter().sum::<usize>() * size_of::<i64>()
    }

    /// Examples to sweep at once: enough for efficient products, few enough to stay in cache.
    pub(crate) fn micro_batch(&self) -> usize {
        const FLOATS: usize = 2 << 20;
        let set = |part: &Part| part.sweep.working_set(self.width());
        let largest = self.parts.iter().map(set).max().unwrap_or(1);
        (FLOATS / largest.max(1)).clamp(1, 128)
    }

    /// Numbers that sweeps hold at once, one on each thread: their values and cotangents, factors on the
    /// way to where they are kept, and as much again that the allocator holds back for the next one
    /// (measured).
    pub(crate) fn in_progress(&self) -> usize {
        let set = |part: &Part| part.sweep.working_set(self.width());
        let largest = self.parts.iter().map(set).max().unwrap_or(1) + self.numbers();
        4 * rayon::current_num_threads() * self.micro_batch() * largest
    }

    /// Relative size below which an eigenvalue of K(x, x) counts as zero. Rounding in J leaves a
    /// null direction with about (1e-6)² of the largest eigenvalue in f32, (1e-15)² in f64.
    fn tolerance(&self) -> f64 {
        match self.parts[0].sweep.network().precision() {
            gradkin_network::Precision::F32 => 1e-9,
            gradkin_network::Precision::F64 => 1e-13,
        }
    }

    /// Whether K(x, x) of an example decides nothing but whether its gradients are finite.
    pub(crate) fn goes_without_kernels(&self) -> bool {
        self.ranks_unused && self.kind == Kind::Inner && !self.keep_own
    }

    /// The map of an example on a side.
    pub(crate) fn map(&self, kernel: &[f64], side: Side) -> Map {
        let spectrum = Spectrum::new(kernel, self.width(), self.tolerance())?;
        let rank = spectrum.rank();
        let scalar = self.reduction != Reduction::Matrix;
        let share = |power: f64| if scalar { (rank.max(1) as f64).powf(power) } else { 1.0 };
        let map = match (self.kind, side) {
            (Kind::Inner, _) | (Kind::Influence, Side::Row) => None,
            (Kind::Influence, Side::Column) => Some(spectrum.power(-1.0, share(-1.0))),
            (Kind::Correlation, _) => Some(spectrum.power(-0.5, share(-0.5))),
        };
        Some((rank, map))
    }
}

/// Examples ready for inner products.
pub(crate) struct Features<T> {
    pub(crate) count: usize,
    pub(crate) arrays: Vec<Vec<T>>,
    /// The same arrays in 16 bits, where the recipe keeps them so; the others are empty then.
    pub(crate) packed: Vec<Packed>,
    pub(crate) indices: Vec<Vec<i64>>,
    /// Rank of K(x, x) per example.
    pub(crate) ranks: Vec<usize>,
    /// Whether all gradients of an example are finite.
    pub(crate) finite: Vec<bool>,
    /// K(x, x) of the mapped Jacobians, `[d, d]` per example, where the recipe keeps it.
    pub(crate) own: Vec<f64>,
    /// The maps that Jacobians are still to be multiplied with, where the recipe wants them beside;
    /// empty where it does not.
    pub(crate) maps: Vec<Map>,
}

/// The slices of all arrays that belong to one micro-batch.
struct Target<'t, T> {
    start: usize,
    count: usize,
    arrays: Vec<&'t mut [T]>,
    indices: Vec<&'t mut [i64]>,
    ranks: &'t mut [usize],
    finite: &'t mut [bool],
    own: &'t mut [f64],
    maps: &'t mut [Map],
}

/// An example's rank, and the d×d map that its Jacobian is multiplied with (`None`: by nothing).
/// `None` where its gradients are not finite.
pub(crate) type Map = Option<(usize, Option<Vec<f64>>)>;

/// Sweep a range of examples and lay them out where others were before, its micro-batches spread over
/// all threads.
pub(crate) fn encode<T: Number>(
    recipe: &Recipe,
    examples: &dyn Examples,
    range: Range<usize>,
    side: Side,
    counter: &Counter,
    features: &mut Features<T>,
) -> Result<()> {
    let micro = recipe.micro_batch().min(range.len().div_ceil(rayon::current_num_threads()).max(1));
    let (layout, ..) = recipe.layout();
    if let Some(format) = recipe.storage.half() {
        let whose = (side, format, micro);
        return encode_packed(recipe, examples, range, whose, counter, features);
    }
    features.resize(recipe, range.len());
    let targets = split(recipe, features, range.start, micro);
    targets.into_par_iter().try_for_each(|mut target| -> Result<()> {
        sweep_into(recipe, examples, &layout, side, None, &mut target)?;
        counter.add(target.count as u64)
    })
}

/// The same, each micro-batch packed as soon as it is swept.
fn encode_packed<T: Number>(
    recipe: &Recipe,
    examples: &dyn Examples,
    range: Range<usize>,
    (side, format, micro): (Side, Half, usize),
    counter: &Counter,
    features: &mut Features<T>,
) -> Result<()> {
    let (layout, widths, index_widths) = recipe.layout();
    let count = range.len();
    features.count = count;
    features.packed = widths.iter().map(|width| Packed::new(format, count, *width)).collect();
    features.indices = index_widths.iter().map(|width| vec![0; width * count]).collect();
    features.ranks = vec![0; count];
    features.finite = vec![true; count];
    let mut targets: Vec<Vec<PackedTarget>> =
        (0..count.div_ceil(micro)).map(|_| Vec::with_capacity(widths.len())).collect();
    for packed in &mut features.packed {
        let parts = packed.split(micro).into_iter();
        targets.iter_mut().zip(parts).for_each(|(target, part)| target.push(part));
    }
    let Features { ranks, finite, indices, .. } = features;
    let mut indices: Vec<_> = (indices.iter_mut().zip(&index_widths))
        .map(|(index, width)| index.chunks_mut((micro * width).max(1)))
        .collect();
    let states = ranks.chunks_mut(micro).zip(finite.chunks_mut(micro));
    let batches: Vec<_> = (range.clone().step_by(micro).zip(targets).zip(states))
        .map(|((start, targets), states)| {
            let indices: Vec<_> = indices.iter_mut().map(|index| index.next()).collect();
            (start, targets, indices, states)
        })
        .collect();
    batches.into_par_iter().try_for_each_init(
        || Features::<T>::empty(recipe, 0),
        |swept, (start, targets, indices, (ranks, finite))| -> Result<()> {
            let size = ranks.len();
            swept.resize(recipe, size);
            for mut whole in split(recipe, swept, start, size) {
                sweep_into(recipe, examples, &layout, side, None, &mut whole)?;
            }
            for (mut target, array) in targets.into_iter().zip(&swept.arrays) {
                target.fill(array);
            }
            for (to, from) in indices.into_iter().flatten().zip(&swept.indices) {
                to.copy_from_slice(from);
            }
            ranks.copy_from_slice(&swept.ranks);
            finite.copy_from_slice(&swept.finite);
            counter.add(size as u64)
        },
    )
}

/// The same on the calling thread, for work that is parallel over ranges, into buffers that are used
/// again from range to range: fresh ones cost the system a good part of the time that a sweep takes.
/// `maps` are the maps of the whole set where they are known from an earlier sweep. `take` is given what
/// the recipe passes on.
pub(crate) fn encode_alone<T: Number>(
    recipe: &Recipe,
    examples: &dyn Examples,
    range: Range<usize>,
    (side, maps): (Side, Option<&[Map]>),
    features: &mut Features<T>,
    take: &mut dyn FnMut(Written<T>),
) -> Result<()> {
    let (layout, ..) = recipe.layout();
    features.resize(recipe, range.len());
    for mut target in split(recipe, features, range.start, recipe.micro_batch()) {
        let known = maps.map(|maps| &maps[target.start..target.start + target.count]);
        let mut swept = sweep_into(recipe, examples, &layout, side, known, &mut target)?;
        let start = target.start - range.start;
        swept.pass(recipe, &layout, start..start + target.count, take);
    }
    Ok(())
}

impl<T: Number> Features<T> {
    pub(crate) fn empty(recipe: &Recipe, count: usize) -> Self {
        let mut features = Self {
            count: 0,
            arrays: Vec::new(),
            packed: Vec::new(),
            indices: Vec::new(),
            ranks: Vec::new(),
            finite: Vec::new(),
            own: Vec::new(),
            maps: Vec::new(),
        };
        features.resize(recipe, count);
        features
    }

    /// The numbers of some examples in an array.
    pub(crate) fn part(&self, array: usize, examples: Range<usize>) -> Cow<'_, [T]> {
        if let Some(packed) = self.packed.get(array) {
            return packed.read(examples, 1, 0..packed.width()).into();
        }
        let array = self.arrays[array].as_slice();
        let width = array.len() / self.count.max(1);
        array[examples.start * width..examples.end * width].into()
    }

    /// Some columns of an example's numbers seen as `[rows, …]`, and how far rows lie apart.
    pub(crate) fn columns(
        &self,
        array: usize,
        example: usize,
        rows: usize,
        columns: Range<usize>,
    ) -> (Cow<'_, [T]>, usize) {
        if let Some(packed) = self.packed.get(array) {
            let apart = columns.len();
            return (packed.read(example..example + 1, rows, columns).into(), apart);
        }
        let array = self.arrays[array].as_slice();
        let width = array.len() / self.count.max(1);
        let apart = width / rows.max(1);
        let (first, last) = (example * width, (example + 1) * width - apart);
        (array[first + columns.start..last + columns.end].into(), apart)
    }

    /// Room for so many examples. What stands there from before is overwritten example by example.
    fn resize(&mut self, recipe: &Recipe, count: usize) {
        let (_, widths, index_widths) = recipe.layout();
        self.count = count;
        self.arrays.resize_with(widths.len(), Vec::new);
        for (array, width) in self.arrays.iter_mut().zip(widths) {
            lengthen(array, width * count);
        }
        self.indices.resize_with(index_widths.len(), Vec::new);
        for (index, width) in self.indices.iter_mut().zip(index_widths) {
            index.resize(width * count, 0);
        }
        self.ranks.resize(count, 0);
        self.finite.resize(count, true);
        let own = if recipe.keep_own { recipe.width() * recipe.width() } else { 0 };
        self.own.resize(own * count, 0.0);
        self.maps.resize(if recipe.maps_beside { count } else { 0 }, None);
    }
}

/// Brings an array to a length. A new one comes from the system, which has zeros only: they are not
/// written once more, and the threads that fill the array meet its memory first, each its own part.
fn lengthen<T: Number>(array: &mut Vec<T>, len: usize) {
    if array.capacity() < len {
        *array = vec![T::default(); len];
    } else {
        array.resize(len, T::default());
    }
}

impl<T: Number> Target<'_, T> {
    /// Zeros for example `b`.
    fn clear(&mut self, b: usize) {
        for array in &mut self.arrays {
            let width = array.len() / self.count;
            array[b * width..(b + 1) * width].fill(T::default());
        }
        for index in &mut self.indices {
            let width = index.len() / self.count;
            index[b * width..(b + 1) * width].fill(0);
        }
        let width = self.own.len() / self.count;
        self.own[b * width..(b + 1) * width].fill(0.0);
    }
}

/// Cut all arrays into micro-batches.
fn split<'t, T>(
    recipe: &Recipe,
    features: &'t mut Features<T>,
    start: usize,
    micro: usize,
) -> Vec<Target<'t, T>> {
    let (_, widths, index_widths) = recipe.layout();
    let count = features.count;
    let own_width = features.own.len() / count.max(1);
    let batches = count.div_ceil(micro);
    let mut targets: Vec<Target<T>> = Vec::with_capacity(batches);
    let ranks = features.ranks.chunks_mut(micro);
    let finite = features.finite.chunks_mut(micro);
    for (i, (ranks, finite)) in ranks.zip(finite).enumerate() {
        let (start, count) = (start + i * micro, ranks.len());
        targets.push(Target {
            start,
            count,
            arrays: Vec::new(),
            indices: Vec::new(),
            ranks,
            finite,
            own: &mut [],
            maps: &mut [],
        });
    }
    for (target, maps) in targets.iter_mut().zip(features.maps.chunks_mut(micro)) {
        target.maps = maps;
    }
    let mut rest = features.own.as_mut_slice();
    for target in &mut targets {
        let (own, tail) = rest.split_at_mut(target.count * own_width);
        (target.own, rest) = (own, tail);
    }
    for (array, width) in features.arrays.iter_mut().zip(&widths) {
        let mut rest = array.as_mut_slice();
        for target in &mut targets {
            let (own, tail) = rest.split_at_mut(target.count * width);
            target.arrays.push(own);
            rest = tail;
        }
    }
    for (array, width) in features.indices.iter_mut().zip(&index_widths) {
        let mut rest = array.as_mut_slice();
        for target in &mut targets {
            let (own, tail) = rest.split_at_mut(target.count * width);
            target.indices.push(own);
            rest = tail;
        }
    }
    targets
}

/// Cotangents `[B, d, *]`, those of each example multiplied with its map: sweeping them back gives the
/// mapped Jacobian at once.
fn mapped_seeds(seeds: &Tensor, maps: &[Map]) -> Result<Tensor> {
    let d = seeds.dims()[1];
    let mut values = doubles(seeds)?;
    let each = values.len() / maps.len().max(1);
    for (own, map) in values.chunks_exact_mut(each.max(1)).zip(maps) {
        if let Some((_, Some(map))) = map {
            let turned = apply(map, own, d);
            own.copy_from_slice(&turned);
        }
    }
    let shape = seeds.dims().to_vec();
    let mapped = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(seeds.dtype())?;
    Ok(mapped.to_device(seeds.device())?)
}

/// Gradients whose entries stay below this are surely finite, in either precision.
pub(crate) const LARGEST: f64 = 1e38;

/// A component's factor as plain arrays: `[B, d·inner]` and, where factored, a `[B, groups, T·p]`.
pub(crate) struct Raw<T> {
    pub(crate) delta: Vec<T>,
    pub(crate) input: Vec<T>,
    pub(crate) index: Vec<i64>,
}

impl<T: Number> Raw<T> {
    /// No entry of the gradients of example `b`, of so many, is larger; infinite where one is not finite.
    fn bound(&self, arrays: &Arrays, b: usize, count: usize) -> f64 {
        let largest = |all: &[T]| {
            let width = all.len() / count.max(1);
            // A maximum passes NaN over.
            let larger = |largest: f64, x: &T| {
                let x = x.to_f64().abs();
                if x.is_nan() { f64::INFINITY } else { largest.max(x) }
            };
            all[b * width..(b + 1) * width].iter().fold(0.0, larger)
        };
        let delta = largest(&self.delta);
        match arrays {
            Arrays::Dense { .. } => delta,
            Arrays::Factored { positions, .. } => *positions as f64 * delta * largest(&self.input),
            Arrays::Rows { positions, .. } => *positions as f64 * delta,
        }
    }
}

/// Brings each factor into its planned form as it comes, while it is still in cache, and lets go of
/// it, so that the sweep's next steps find memory that is warm.
struct Taken<'t, T> {
    layout: &'t [Arrays],
    raw: Vec<Option<Raw<T>>>,
}

impl<T: Number> Sink for Taken<'_, T> {
    fn accept(&mut self, component: usize, factor: Factor) -> Result<(), NetworkError> {
        self.raw[component] = Some(plain(factor, &self.layout[component])?);
        Ok(())
    }

    fn writes_out(&self, component: usize) -> bool {
        matches!(self.layout[component], Arrays::Dense { .. })
    }

    fn takes_images(&self, component: usize) -> bool {
        matches!(self.layout[component], Arrays::Factored { windows: Some(_), .. })
    }

    fn accept_imaged(&mut self, component: usize, factor: Imaged) -> Result<(), NetworkError> {
        let Imaged { image, cotangent } = factor;
        let (delta, input) = (numbers(&cotangent)?, numbers(&image)?);
        self.raw[component] = Some(Raw { delta, input, index: Vec::new() });
        Ok(())
    }
}

/// A micro-batch swept and brought into plain arrays, with each example's map on a side.
pub(crate) struct Swept<T> {
    raw: Vec<Raw<T>>,
    count: usize,
    maps: Vec<Map>,
    /// K(x, x) per example, before the map; empty where maps were known already.
    kernels: Vec<Vec<f64>>,
}

impl<T: Number> Swept<T> {
    /// Sweep the examples of a range.
    pub(crate) fn new(
        recipe: &Recipe,
        examples: &dyn Examples,
        layout: &[Arrays],
        side: Side,
        known: Option<&[Map]>,
        range: Range<usize>,
    ) -> Result<Self> {
        let count = range.len();
        let inputs = examples.batch(range.clone()).map_err(Error::Examples)?;
        let mut raw = Vec::with_capacity(layout.len());
        for Part { sweep, output } in &recipe.parts {
            let pass = sweep.forward(inputs.clone(), count)?;
            let mut seeds = output.seeds(sweep, &pass, examples.labels(), range.start)?;
            if let Some(maps) = known {
                seeds = mapped_seeds(&seeds, maps)?;
            }
            let layout = &layout[raw.len()..][..sweep.components().len()];
            let mut taken = Taken { layout, raw: layout.iter().map(|_| None).collect() };
            sweep.reverse(&pass, &seeds, &mut taken)?;
            for (component, taken) in taken.raw.into_iter().enumerate() {
                let Some(taken) = taken else {
                    return Err(Error::Usage(format!("component {component} brought no factor")));
                };
                raw.push(taken);
            }
        }
        if let Some(maps) = known {
            let done = |map: &Map| map.as_ref().map(|(rank, _)| (*rank, None));
            let maps = maps.iter().map(done).collect();
            return Ok(Self { raw, count, maps, kernels: Vec::new() });
        }
        let d = recipe.width();
        if recipe.goes_without_kernels() {
            let finite = |b: usize| {
                let parts = raw.iter().zip(layout);
                parts.map(|(raw, arrays)| raw.bound(arrays, b, count)).sum::<f64>() < LARGEST
            };
            if (0..count).all(finite) {
                return Ok(Self {
                    raw,
                    count,
                    maps: vec![Some((d, None)); count],
                    kernels: Vec::new(),
                });
            }
        }
        let kernel = |b: usize| {
            let mut kernel = vec![0.0; d * d];
            for (raw, arrays) in raw.iter().zip(layout) {
                add_self_kernel(raw, arrays, b, d, &mut kernel);
            }
            kernel
        };
        let kernels: Vec<Vec<f64>> = (0..count).map(kernel).collect();
        let maps = kernels.iter().map(|kernel| recipe.map(kernel, side)).collect();
        Ok(Self { raw, count, maps, kernels })
    }

    /// K(x, x) of example `b`'s mapped Jacobian.
    fn own(&self, b: usize, d: usize) -> Vec<f64> {
        let Some((_, Some(map))) = &self.maps[b] else { return self.kernels[b].clone() };
        let (mut half, mut whole) = (vec![0.0; d * d], vec![0.0; d * d]);
        product_ab((d, d, d), map, (&self.kernels[b], d), &mut half);
        product_abt((d, d, d), &half, map, &mut whole, Into::Replace);
        whole
    }

    /// Hand on what is written out.
    fn pass(
        &mut self,
        recipe: &Recipe,
        layout: &[Arrays],
        members: Range<usize>,
        take: &mut dyn FnMut(Written<T>),
    ) {
        let d = recipe.width();
        for component in (0..layout.len()).filter(|component| recipe.passes_on(&layout[*component]))
        {
            let gradients = &mut self.raw[component].delta;
            let width = gradients.len() / self.count.max(1);
            for (own, map) in gradients.chunks_exact_mut(width.max(1)).zip(&self.maps) {
                match map {
                    None => own.fill(T::default()),
                    Some((_, Some(map))) if !recipe.maps_beside => {
                        let mapped = apply(map, own, d);
                        own.copy_from_slice(&mapped);
                    }
                    _ => {}
                }
            }
            let maps = if recipe.maps_beside { self.maps.as_slice() } else { &[] };
            take(Written { component, members: members.clone(), gradients, maps });
        }
    }

    /// Rank of K(x, x) and whether all gradients are finite.
    pub(crate) fn state(&self, b: usize) -> (usize, bool) {
        self.maps[b].as_ref().map_or((0, false), |(rank, _)| (*rank, true))
    }

    /// Example `b`'s δ (or gradients) by a component, as they came: `[d, inner]`.
    fn plain(&self, component: usize, b: usize, d: usize) -> &[T] {
        let delta = &self.raw[component].delta;
        let inner = delta.len() / (self.count * d).max(1);
        &delta[b * d * inner..(b + 1) * d * inner]
    }

    /// The same, mapped.
    pub(crate) fn mapped(&self, component: usize, b: usize, d: usize) -> Cow<'_, [T]> {
        let own = self.plain(component, b, d);
        match &self.maps[b] {
            Some((_, Some(map))) => apply(map, own, d).into(),
            _ => own.into(),
        }
    }

    /// Example `b`'s a by a component: `[groups, T, p]`.
    pub(crate) fn input(&self, component: usize, b: usize) -> &[T] {
        let input = &self.raw[component].input;
        let width = input.len() / self.count.max(1);
        &input[b * width..(b + 1) * width]
    }

    /// Example `b`'s row numbers by a component.
    pub(crate) fn index(&self, component: usize, b: usize) -> &[i64] {
        let index = &self.raw[component].index;
        let width = index.len() / self.count.max(1);
        &index[b * width..(b + 1) * width]
    }
}

/// Sweep a micro-batch, note what each example's state is and lay down what is not passed on.
fn sweep_into<T: Number>(
    recipe: &Recipe,
    examples: &dyn Examples,
    layout: &[Arrays],
    side: Side,
    known: Option<&[Map]>,
    target: &mut Target<T>,
) -> Result<Swept<T>> {
    let range = target.start..target.start + target.count;
    let swept = Swept::<T>::new(recipe, examples, layout, side, known, range)?;
    target.maps.clone_from_slice(&swept.maps[..target.maps.len()]);
    for b in 0..target.count {
        (target.ranks[b], target.finite[b]) = swept.state(b);
    }
    place_all(&swept, layout, recipe, target);
    Ok(swept)
}

/// Lay a micro-batch down.
fn place_all<T: Number>(
    swept: &Swept<T>,
    layout: &[Arrays],
    recipe: &Recipe,
    target: &mut Target<T>,
) {
    for b in 0..target.count {
        // Where gradients are not finite the arrays hold zeros; the example is reported instead.
        if !target.finite[b] {
            target.clear(b);
            continue;
        }
        if recipe.keep_own {
            let own = swept.own(b, recipe.width());
            target.own[b * own.len()..(b + 1) * own.len()].copy_from_slice(&own);
        }
        for (component, arrays) in layout.iter().enumerate() {
            if recipe.passes_on(arrays) {
                continue;
            }
            place(swept, component, arrays, b, recipe, target);
        }
    }
}

/// A factor in the planned form, as plain arrays with the output axis right after the example's.
fn plain<T: Number>(factor: Factor, arrays: &Arrays) -> Result<Raw<T>, NetworkError> {
    Ok(match (factor, arrays) {
        (Factor::Outer { input, cotangent, .. }, Arrays::Factored { .. }) => {
            Raw { delta: numbers(&cotangent)?, input: numbers(&input)?, index: Vec::new() }
        }
        (Factor::Rows { index, cotangent, .. }, Arrays::Rows { .. }) => Raw {
            delta: numbers(&cotangent)?,
            input: Vec::new(),
            index: index.flatten_all()?.to_vec1::<i64>()?,
        },
        (factor, _) => {
            Raw { delta: numbers(&factor.to_dense()?)?, input: Vec::new(), index: Vec::new() }
        }
    })
}

/// Lay an example's mapped δ down where inner products will find it.
fn place<T: Number>(
    swept: &Swept<T>,
    component: usize,
    arrays: &Arrays,
    b: usize,
    recipe: &Recipe,
    target: &mut Target<T>,
) {
    let d = recipe.width();
    let own = if recipe.maps_beside {
        swept.plain(component, b, d).into()
    } else {
        swept.mapped(component, b, d)
    };
    let inner = own.len() / d.max(1);
    match arrays {
        Arrays::Dense { array, len } => {
            target.arrays[*array][b * d * len..(b + 1) * d * len].copy_from_slice(&own);
        }
        Arrays::Rows { index, array, positions, .. } => {
            target.arrays[*array][b * d * inner..(b + 1) * d * inner].copy_from_slice(&own);
            target.indices[*index][b * positions..(b + 1) * positions]
                .copy_from_slice(swept.index(component, b));
        }
        Arrays::Factored { groups, positions, cotangent, windows: Some(windows), .. } => {
            let (t_count, q, width) = (*positions, *cotangent, windows.numbers());
            for [image, delta] in groups {
                target.arrays[*image][b * width..(b + 1) * width]
                    .copy_from_slice(swept.input(component, b));
                let target = &mut target.arrays[*delta][b * own.len()..(b + 1) * own.len()];
                for (c, own) in own.chunks_exact(q * t_count).enumerate() {
                    for t in 0..t_count {
                        let to =
                            if recipe.positions_first { t * d + c } else { c * t_count + t } * q;
                        let row = target[to..to + q].iter_mut();
                        row.zip(own[t..].iter().step_by(t_count)).for_each(|(to, x)| *to = *x);
                    }
                }
            }
        }
        Arrays::Factored { groups, positions, input, cotangent, .. } => {
            let (g_count, t_count, q) = (groups.len(), *positions, *cotangent);
            let a_width = t_count * input;
            let input = swept.input(component, b);
            for (g, [a, delta]) in groups.iter().enumerate() {
                target.arrays[*a][b * a_width..(b + 1) * a_width]
                    .copy_from_slice(&input[g * a_width..(g + 1) * a_width]);
                let width = d * t_count * q;
                let target = &mut target.arrays[*delta][b * width..(b + 1) * width];
                for c in 0..d {
                    for t in 0..t_count {
                        let from = ((c * g_count + g) * t_count + t) * q;
                        let to =
                            if recipe.positions_first { t * d + c } else { c * t_count + t } * q;
                        target[to..to + q].copy_from_slice(&own[from..from + q]);
                    }
                }
            }
        }
    }
}

/// map `[d, d]` times rows `[d, inner]`.
fn apply<T: Number>(map: &[f64], rows: &[T], d: usize) -> Vec<T> {
    let map: Vec<T> = map.iter().map(|m| T::from_f64(*m)).collect();
    let inner = rows.len() / d.max(1);
    let mut result = vec![T::default(); rows.len()];
    product_ab((d, inner, d), &map, (rows, inner), &mut result);
    result
}
