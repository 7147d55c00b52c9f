//! Exact kernels between two sets of examples, tile by tile under a memory budget.
//!
//! Each example is swept once and kept as features where all of them fit the budget. Where they do
//! not, the sets are cut into blocks that fit in pairs, and blocks are swept again as they meet.

use std::ops::Range;
use std::sync::Mutex;

use gradkin_network::{Network, Point, Precision, Sweep};

use crate::blocks::{Blocks, Job, Needs};
use crate::engine::Sets;
use crate::error::{Error, Result};
use crate::examples::{Examples, Labels};
use crate::features::{Part, Recipe, Side};
use crate::finish::{Finish, Standing};
use crate::number::Number;
use crate::output::{Output, OutputChoice};
use crate::plan::{Form, Planned, Purpose, plan};
use crate::progress::{Counter, Stage, Watch};
use crate::resident::{self, Resident};
use crate::sample::Subset;
use crate::similarity::{Kind, Reduction};
use crate::storage::Storage;

/// What is to be computed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which similarity.
    pub kind: Kind,
    /// How d×d matrices become numbers.
    pub reduction: Reduction,
    /// What f is.
    pub output: OutputChoice,
    /// Which parameters count, one flag each; all by default.
    pub parameters: Option<Vec<bool>>,
    /// Use this form wherever it is possible, in place of the planner's choice.
    pub form: Option<Form>,
    /// Bytes that features and results may take together.
    pub memory: usize,
    /// How features are kept where pairs are taken. In 16 bits twice as many fit the memory; how much that
    /// changes, [`Similarity::storage_error`] tells. On another device than the CPU they are kept in full.
    pub storage: Storage,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::default(),
            reduction: Reduction::default(),
            output: OutputChoice::default(),
            parameters: None,
            form: None,
            memory: 4 << 30,
            storage: Storage::Full,
        }
    }
}

/// Numbers in the precision that they were computed in.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Widened to double precision.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Self::F64(v) => v.clone(),
        }
    }
}

/// Examples for which a similarity is undefined, each list in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undefined {
    /// No parameter can move the output: K(x, x) has rank zero.
    pub rank_zero: Vec<usize>,
    /// The gradient holds infinite numbers or NaN.
    pub not_finite: Vec<usize>,
}

impl Undefined {
    /// How many examples there are of either sort.
    pub fn len(&self) -> usize {
        self.rank_zero.len() + self.not_finite.len()
    }

    /// Whether every example has a similarity.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `example` is among them.
    pub fn contains(&self, example: usize) -> bool {
        let among = |list: &[usize]| list.binary_search(&example).is_ok();
        among(&self.rank_zero) || among(&self.not_finite)
    }

    /// Note one example where it has no similarity.
    pub(crate) fn note_one(
        &mut self,
        example: usize,
        rank: usize,
        finite: bool,
        zero_counts: bool,
    ) {
        if !finite {
            self.not_finite.push(example);
        } else if rank == 0 && zero_counts {
            self.rank_zero.push(example);
        }
    }

    /// Note those of a block.
    pub(crate) fn note(&mut self, block: Standing, zero_counts: bool) {
        for (i, (rank, finite)) in block.ranks.iter().zip(block.finite).enumerate() {
            self.note_one(block.start + i, *rank, *finite, zero_counts);
        }
    }

    /// In ascending order, each example once.
    pub(crate) fn tidy(&mut self) {
        for list in [&mut self.rank_zero, &mut self.not_finite] {
            list.sort_unstable();
            list.dedup();
        }
    }
}

/// A kernel between two sets.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// `[N, M]`, or `[N, M, d, d]` where matrices were asked for; entry (i, j, a, b) belongs to output
    /// a of row example i and output b of column example j.
    pub values: Values,
    /// Shape of the values.
    pub shape: Vec<usize>,
    /// Row examples that are undefined; their entries hold zero and mean nothing.
    pub undefined_rows: Undefined,
    /// Column examples that are undefined, likewise.
    pub undefined_columns: Undefined,
}

impl Kernel {
    /// The kernel without the rows and columns that are undefined, and the examples that remain.
    ///
    /// ```
    /// use gradkin::{Kernel, Undefined, Values};
    /// let kernel = Kernel {
    ///     values: Values::F64(vec![1.0, 0.0, 0.0, 0.0]),
    ///     shape: vec![2, 2],
    ///     undefined_rows: Undefined { rank_zero: vec![1], not_finite: vec![] },
    ///     undefined_columns: Undefined { rank_zero: vec![1], not_finite: vec![] },
    /// };
    /// let (defined, rows, columns) = kernel.defined();
    /// assert_eq!((defined.shape, rows, columns), (vec![1, 1], vec![0], vec![0]));
    /// ```
    pub fn defined(&self) -> (Self, Vec<usize>, Vec<usize>) {
        let kept = |count: usize, undefined: &Undefined| -> Vec<usize> {
            (0..count).filter(|i| !undefined.contains(*i)).collect()
        };
        let rows = kept(self.shape[0], &self.undefined_rows);
        let columns = kept(self.shape[1], &self.undefined_columns);
        if rows.len() == self.shape[0] && columns.len() == self.shape[1] {
            return (self.clone(), rows, columns);
        }
        let each: usize = self.shape[2..].iter().product();
        let width = self.shape[1] * each;
        fn pick<T: Copy>(
            v: &[T],
            rows: &[usize],
            columns: &[usize],
            width: usize,
            each: usize,
        ) -> Vec<T> {
            let row = |i: &usize| v[i * width..(i + 1) * width].to_vec();
            let cut = |row: Vec<T>| -> Vec<T> {
                columns.iter().flat_map(|j| row[j * each..(j + 1) * each].to_vec()).collect()
            };
            rows.iter().map(row).flat_map(cut).collect()
        }
        let values = match &self.values {
            Values::F32(v) => Values::F32(pick(v, &rows, &columns, width, each)),
            Values::F64(v) => Values::F64(pick(v, &rows, &columns, width, each)),
        };
        let mut shape = vec![rows.len(), columns.len()];
        shape.extend(&self.shape[2..]);
        let none = Undefined::default;
        let kernel = Self { values, shape, undefined_rows: none(), undefined_columns: none() };
        (kernel, rows, columns)
    }
}

/// A block of similarities handed to a visitor: examples `rows` × `columns`.
pub(crate) struct Tile<'t, T> {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
    /// Row-major, `each` numbers per pair.
    pub(crate) values: &'t [T],
    pub(crate) each: usize,
    /// Whether the tile stands for its mirror image too (rows and columns exchanged).
    pub(crate) mirrored: bool,
    /// Whether an example of a side has no similarity.
    pub(crate) undefined: &'t (dyn Fn(usize, Side) -> bool + Sync),
}

/// Computes similarities of a network.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use gradkin::{InMemory, Settings, Similarity};
/// use gradkin::network::{Model, Network, Options};
/// let network = Network::new(&Model::open("model.onnx")?, &Options::default())?;
/// let similarity = Similarity::new(&network, Settings::default())?;
/// let examples = InMemory::new(vec![0.0; 10 * 784], 784);
/// let kernel = similarity.kernel(&examples, None, &|_| true)?;
/// assert_eq!(kernel.shape, [10, 10]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Similarity<'a> {
    networks: Vec<&'a Network>,
    settings: Settings,
    /// Where the parameters have other values than the file's.
    point: Option<Point>,
    /// Whether pairs are computed on the device that the networks live on.
    pub(crate) resident: bool,
}

impl<'a> Similarity<'a> {
    /// Check the settings against the network.
    pub fn new(network: &'a Network, settings: Settings) -> Result<Self> {
        Self::over_checkpoints(&[network], settings)
    }

    /// The same similarity at other parameter values of the (one) network than the file's.
    pub fn at(mut self, point: Point) -> Self {
        self.point = Some(point);
        self
    }

    /// The similarity summed over checkpoints of one network: K = Σ_c J_c J_c'ᵀ with the Jacobian of
    /// each checkpoint at its own weights, normalised once, by the sum (TracIn sums like this).
    ///
    /// Every checkpoint weighs the same. The result is that of one network that holds all checkpoints'
    /// parameters, so that an example's correlation with itself is still one.
    ///
    /// # Errors
    /// Where the settings do not fit the network, and where the checkpoints are not of one network:
    /// other inputs, outputs, parameters or precision.
    pub fn over_checkpoints(networks: &[&'a Network], settings: Settings) -> Result<Self> {
        let Some(first) = networks.first() else {
            return Err(Error::Usage("there is no network to compare examples by".into()));
        };
        for other in &networks[1..] {
            check_alike(first, other)?;
        }
        let similarity =
            Self { networks: networks.to_vec(), settings, point: None, resident: resides(first) };
        let recipe = similarity.recipe(Purpose::Sums(1))?;
        if recipe.plan.is_empty() {
            return Err(Error::Usage(match first.parameters().is_empty() {
                true => format!("{} has no parameters", first.source()),
                false => "none of the chosen parameters reaches the chosen output".into(),
            }));
        }
        Ok(similarity)
    }

    /// The network; the first of several checkpoints.
    pub fn network(&self) -> &'a Network {
        self.networks[0]
    }

    /// The network at all checkpoints.
    pub fn checkpoints(&self) -> &[&'a Network] {
        &self.networks
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// d, the number of outputs that are compared.
    pub fn outputs(&self) -> Result<usize> {
        Ok(self.recipe(Purpose::Sums(1))?.width())
    }

    /// The form chosen for every component where each example meets `partners` others.
    pub fn plan(&self, partners: usize) -> Result<Vec<Planned>> {
        Ok(self.recipe(self.purpose(partners as f64))?.plan)
    }

    /// Pairs with so many partners, wherever they are computed.
    fn purpose(&self, partners: f64) -> Purpose {
        if self.resident { Purpose::Resident(partners) } else { Purpose::Pairs(partners) }
    }

    pub(crate) fn recipe(&self, purpose: Purpose) -> Result<Recipe<'a>> {
        let settings = &self.settings;
        let parameters = settings.parameters.as_deref();
        let mut parts = Vec::with_capacity(self.networks.len());
        let mut planned = Vec::new();
        for network in &self.networks {
            let mut sweep = Sweep::new(network, settings.output.name.as_deref(), parameters)?;
            if let Some(point) = &self.point {
                sweep = sweep.at(point.clone());
            }
            let output = Output::new(&settings.output, &sweep)?;
            let (width, reduction) = (output.width(), settings.reduction);
            planned.extend(plan(&sweep, width, reduction, purpose, settings.form));
            parts.push(Part { sweep, output });
        }
        Ok(Recipe {
            parts,
            plan: planned,
            kind: settings.kind,
            reduction: settings.reduction,
            positions_first: settings.reduction == Reduction::Trace,
            keep_own: false,
            maps_beside: false,
            passes_written: false,
            ranks_unused: false,
            storage: Storage::Full,
        })
    }

    /// The exact kernel between `rows` and `columns`, or of `rows` with themselves.
    ///
    /// # Errors
    /// Where the whole kernel does not fit the memory budget, where the examples do not fit the
    /// network, and where `watch` returns false.
    pub fn kernel(
        &self,
        rows: &dyn Examples,
        columns: Option<&dyn Examples>,
        watch: Watch,
    ) -> Result<Kernel> {
        match self.network().precision() {
            Precision::F32 => self.kernel_in::<f32>(rows, columns, watch, Values::F32),
            Precision::F64 => self.kernel_in::<f64>(rows, columns, watch, Values::F64),
        }
    }

    fn kernel_in<T: Number>(
        &self,
        rows: &dyn Examples,
        columns: Option<&dyn Examples>,
        watch: Watch,
        wrap: fn(Vec<T>) -> Values,
    ) -> Result<Kernel> {
        let d = self.outputs()?;
        let (n, m) = (rows.len(), columns.map_or(rows.len(), |c| c.len()));
        let mut shape = vec![n, m];
        if self.settings.reduction == Reduction::Matrix {
            shape.extend([d, d]);
        }
        let count = shape.iter().try_fold(1usize, |c, s| c.checked_mul(*s));
        let bytes = count.and_then(|c| c.checked_mul(size_of::<T>()));
        let Some((count, bytes)) = count.zip(bytes).filter(|(_, b)| *b <= self.settings.memory)
        else {
            return Err(Error::Usage(format!(
                "a kernel of shape {shape:?} does not fit the memory budget of {}; raise --memory, \
                 take fewer examples, or ask for neighbours, which need no kernel",
                readable(self.settings.memory)
            )));
        };
        let values = Mutex::new(vec![T::default(); count]);
        let visit = |tile: &Tile<T>| {
            let Ok(mut values) = values.lock() else { return Ok(()) };
            write_tile(&mut values, m, tile, d);
            Ok(())
        };
        let budget = self.settings.memory - bytes;
        let (undefined_rows, undefined_columns) =
            self.visit(rows, columns, budget, watch, &visit)?;
        let values = values.into_inner().unwrap_or_default();
        Ok(Kernel { values: wrap(values), shape, undefined_rows, undefined_columns })
    }

    /// How far the kernel of a random sample with itself differs, at most, from the one with features kept in
    /// full, in units of the latter's largest entry. Zero where [`Settings::storage`] is full.
    ///
    /// # Errors
    /// As [`Similarity::kernel`].
    pub fn storage_error(&self, examples: &dyn Examples, sample: usize, seed: u64) -> Result<f64> {
        if self.settings.storage == Storage::Full {
            return Ok(0.0);
        }
        let sample = Subset::draw(examples, sample, seed);
        let full = Self {
            networks: self.networks.clone(),
            settings: Settings { storage: Storage::Full, ..self.settings.clone() },
            point: self.point.clone(),
            resident: self.resident,
        };
        let [full, kept] = [&full, self].map(|of| of.kernel(&sample, None, &|_| true));
        let (full, kept) = (full?.values.to_f64(), kept?.values.to_f64());
        let largest = full.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        let gaps = full.iter().zip(&kept).map(|(x, y)| (x - y).abs());
        Ok(gaps.fold(0.0, f64::max) / largest.max(f64::MIN_POSITIVE))
    }

    /// Compute every tile once and hand it to `visit`, from several threads.
    pub(crate) fn visit<T: Number>(
        &self,
        rows: &dyn Examples,
        columns: Option<&dyn Examples>,
        budget: usize,
        watch: Watch,
        visit: &(dyn Fn(&Tile<T>) -> Result<()> + Sync),
    ) -> Result<(Undefined, Undefined)> {
        let (n, m) = (rows.len(), columns.map_or(rows.len(), |c| c.len()));
        if n == 0 || m == 0 {
            return Err(Error::Usage("a set of examples is empty".into()));
        }
        // One side of influence is whitened and the other is not, so even a set with itself has
        // two encodings and no symmetry.
        let symmetric = columns.is_none() && self.settings.kind != Kind::Influence;
        let partners =
            if symmetric { n as f64 / 2.0 } else { m as f64 * n as f64 / (n + m) as f64 };
        let zero_counts = self.settings.kind != Kind::Inner;
        let mut recipe = self.recipe(self.purpose(partners))?;
        recipe.ranks_unused = !zero_counts;
        recipe.storage = self.settings.storage;
        for set in [Some(rows), columns].into_iter().flatten() {
            check_labels(&recipe, set)?;
        }
        let needs = match self.resident {
            true => resident::needs(&recipe, budget, size_of::<T>())?,
            false => Needs::of(&recipe, budget, size_of::<T>()),
        };
        let blocks = Blocks::new(n, m, symmetric, needs)?;
        let sweeps = &Counter::new(watch, Stage::Sweep, blocks.sweeps());
        let pairs = if symmetric { n as u64 * (n as u64 + 1) / 2 } else { n as u64 * m as u64 };
        let pairs = &Counter::new(watch, Stage::Pairs, pairs);
        let (outputs, reduction) = (recipe.width(), recipe.reduction);
        let finish = Finish { outputs, reduction, symmetric, zero_counts, pairs, visit };
        let sets = Sets { rows, columns: columns.unwrap_or(rows), symmetric, zero_counts };
        let (recipe, spare) = (&recipe, blocks.spare);
        if self.resident {
            let resident = Resident { recipe, sweeps, finish, budget, spare };
            return sets.meet(&resident, &blocks);
        }
        let (layout, ..) = recipe.layout();
        sets.meet(&Job { recipe, layout, sweeps, finish, spare }, &blocks)
    }
}

/// Whether a network's pairs are computed on the device that it lives on.
fn resides(network: &Network) -> bool {
    !network.device().is_cpu()
}

/// Examples and how similar they are to a query.
pub(crate) type Similarities<'s> = &'s mut dyn Iterator<Item = (usize, f64)>;

impl<T: Number> Tile<'_, T> {
    /// Hand every query of the tile the similarities that it has here to examples that have one, its
    /// own among them; for a mirrored tile also the other way round. For one number per pair.
    pub(crate) fn meet(&self, meet: &dyn Fn(usize, Similarities)) {
        let width = self.columns.len();
        for (row, i) in self.rows.clone().enumerate() {
            if (self.undefined)(i, Side::Row) {
                continue;
            }
            let values = &self.values[row * width..(row + 1) * width];
            let found = self.columns.clone().zip(values);
            let found = found.filter(|(j, _)| !(self.undefined)(*j, Side::Column));
            meet(i, &mut found.map(|(j, value)| (j, value.to_f64())));
        }
        if !self.mirrored {
            return;
        }
        for (col, j) in self.columns.clone().enumerate() {
            if (self.undefined)(j, Side::Column) {
                continue;
            }
            let found = self.rows.clone().enumerate();
            let found = found.filter(|(_, i)| !(self.undefined)(*i, Side::Row));
            let value = |row: usize| self.values[row * width + col].to_f64();
            meet(j, &mut found.map(|(row, i)| (i, value(row))));
        }
    }
}

/// Checkpoints must be of one network.
fn check_alike(first: &Network, other: &Network) -> Result<()> {
    let shapes = |network: &Network| -> Vec<(String, Vec<usize>)> {
        let inputs = network.inputs().iter().map(|i| (i.name.clone(), i.shape.clone()));
        let parameters = network.parameters().iter().map(|p| (p.name.clone(), p.shape.clone()));
        let outputs = network.outputs().into_iter().map(|(n, s, _)| (n.to_owned(), s.to_vec()));
        inputs.chain(parameters).chain(outputs).collect()
    };
    if first.precision() != other.precision() {
        return Err(Error::Usage("all checkpoints must be of one precision".into()));
    }
    let (own, others) = (shapes(first), shapes(other));
    match own.iter().zip(&others).find(|(a, b)| a != b) {
        None if own.len() == others.len() => Ok(()),
        None => Err(Error::Usage(format!(
            "{} and {} are not checkpoints of one network: they differ in their number of tensors",
            first.source(),
            other.source()
        ))),
        Some(((name, shape), (other_name, other_shape))) => Err(Error::Usage(format!(
            "{} and {} are not checkpoints of one network: `{name}` {shape:?} stands where the \
             other has `{other_name}` {other_shape:?}",
            first.source(),
            other.source()
        ))),
    }
}

pub(crate) fn check_labels(recipe: &Recipe, examples: &dyn Examples) -> Result<()> {
    let Some(labels) = examples.labels() else {
        return match recipe.output().needs_labels() {
            true => Err(Error::Usage(format!(
                "this output needs labels and {} has none; give them with --labels",
                examples.name()
            ))),
            false => Ok(()),
        };
    };
    if labels.len() != examples.len() {
        return Err(Error::Usage(format!(
            "{} has {} labels for {} examples",
            examples.name(),
            labels.len(),
            examples.len()
        )));
    }
    let classes = recipe.output().classes();
    match labels {
        Labels::Classes(ids) if recipe.output().needs_labels() => {
            match ids.iter().position(|class| *class >= classes) {
                Some(example) => Err(Error::Usage(format!(
                    "{}: example {example} has label {} but the network has {classes} outputs",
                    examples.name(),
                    ids[example]
                ))),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// A number of bytes for people.
pub(crate) fn readable(bytes: usize) -> String {
    match bytes {
        0..0x2800 => format!("{bytes} bytes"),
        0x2800..0xa0_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Copy a tile, and its mirror image where it has one, into a whole kernel with `m` columns.
fn write_tile<T: Number>(kernel: &mut [T], m: usize, tile: &Tile<T>, d: usize) {
    let (each, width) = (tile.each, tile.columns.len());
    for (row, i) in tile.rows.clone().enumerate() {
        let from = &tile.values[row * width * each..(row + 1) * width * each];
        let to = (i * m + tile.columns.start) * each;
        kernel[to..to + width * each].copy_from_slice(from);
        if !tile.mirrored {
            continue;
        }
        for (col, j) in tile.columns.clone().enumerate() {
            let to = &mut kernel[(j * m + i) * each..][..each];
            let pair = &from[col * each..(col + 1) * each];
            if each == 1 {
                to[0] = pair[0];
                continue;
            }
            for a in 0..d {
                for b in 0..d {
                    to[b * d + a] = pair[a * d + b];
                }
            }
        }
    }
}
