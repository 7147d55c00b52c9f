//! One training step after another.

use std::borrow::Cow;
use std::collections::BTreeMap;

use gradkin_network::candle_core::{DType, Device, Tensor};
use gradkin_network::{BatchStatistics, InputData, Model, Network, Party, Pass, Point, Sweep};
use rayon::{ThreadPool, ThreadPoolBuilder};
use regex::Regex;

use super::enforce::{Enforcement, term};
use super::objective::{Objective, Tally};
use super::optimizer::{Held, Move, Optimizer};
use super::set::{Batch, Targets, TrainingSet};
use crate::error::{Error, Result};
use crate::examples::Labels;
use crate::number::{Number, numbers};
use crate::output::{Output, OutputChoice};

/// How a network is trained.
#[derive(Debug, Clone)]
pub struct TrainerSettings {
    /// The output that meets the targets; the first by default. Where it ends in a Softmax, the
    /// logits that enter it are trained.
    pub output: Option<String>,
    /// What is minimised.
    pub objective: Objective,
    /// How the parameters move.
    pub optimizer: Optimizer,
    /// Weight decay.
    pub decay: f64,
    /// The longest gradient; longer ones are shortened to it.
    pub clip: Option<f64>,
    /// Which parameters move, by name; all by default.
    pub parameters: Option<Regex>,
    /// Which examples are made alike, if any.
    pub enforcement: Option<Enforcement>,
    /// Threads that share each batch. Results are the same bit by bit for the same number.
    pub threads: usize,
}

impl Default for TrainerSettings {
    fn default() -> Self {
        Self {
            output: None,
            objective: Objective::CrossEntropy,
            optimizer: Optimizer::adam(),
            decay: 0.0,
            clip: None,
            parameters: None,
            enforcement: None,
            threads: rayon::current_num_threads(),
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Loss and metric over the batch, before the step.
    pub tally: Tally,
    /// The mean over groups of 1 − k̄, where similarity is enforced and the batch had groups.
    pub dissimilarity: Option<f64>,
    /// Length of the gradient.
    pub gradient: f64,
}

/// Everything that goes on from one step to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Steps done.
    pub steps: u64,
    /// Values of the parameters, in the order of the network's.
    pub values: Vec<Vec<f64>>,
    /// The optimizer's first memory of each (momentum, mean gradient).
    pub first: Vec<Vec<f64>>,
    /// Its second (mean squared gradient).
    pub second: Vec<Vec<f64>>,
    /// Running statistics of normalisations, by name.
    pub statistics: BTreeMap<String, Vec<f64>>,
}

/// A network that is being trained.
///
/// ```no_run
/// # fn main() -> Result<(), gradkin::Error> {
/// use gradkin::network::{Model, Network, Options};
/// use gradkin::train::{Labelled, Trainer, TrainerSettings, TrainingSet};
/// let network = Network::new(&Model::open("model.onnx")?, &Options::default())?;
/// let examples = gradkin::InMemory::new(vec![0.0; 100 * 784], 784);
/// let labels = gradkin::Labels::Classes(vec![3; 100]);
/// let set = Labelled::new(&examples, &labels, None)?;
/// let mut trainer = Trainer::new(&network, TrainerSettings::default())?;
/// let report = trainer.step(&set.batch(&[5, 17, 80], 0)?, 1e-3)?;
/// println!("{}", report.tally.mean_loss());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Trainer<'a> {
    network: &'a Network,
    sweep: Sweep<'a>,
    settings: TrainerSettings,
    term: Option<Enforced<'a>>,
    held: Held,
    shapes: Vec<Vec<usize>>,
    statistics: BTreeMap<String, Vec<f64>>,
    /// The network at the present values.
    point: Point,
    steps: u64,
    /// Whether a batch is normalised as a whole.
    mixes: bool,
    /// Examples that are worked on at once, without the term.
    rows: usize,
    /// A thread for each part of a batch, where there are several.
    pool: Option<ThreadPool>,
}

/// The similarity term at work.
#[derive(Debug)]
struct Enforced<'a> {
    sweep: Sweep<'a>,
    output: Output,
    lambda: f64,
    /// Whether the loss looks at the same output.
    shared: bool,
    /// Examples that are worked on at once.
    rows: usize,
}

/// What one thread found out.
struct Part {
    tally: Tally,
    gradients: Vec<Option<Tensor>>,
    statistics: Vec<BatchStatistics>,
    dissimilarity: f64,
}

/// The whole batch, as each part needs to know it.
#[derive(Clone, Copy)]
struct Whole {
    weight: f64,
    groups: usize,
}

impl<'a> Trainer<'a> {
    /// Start from the network's own values.
    ///
    /// # Errors
    /// Where the output or the pattern of parameters does not fit the network.
    pub fn new(network: &'a Network, settings: TrainerSettings) -> Result<Self> {
        let chosen = settings.parameters.as_ref().map(|pattern| network.select(pattern));
        if chosen.as_ref().is_some_and(|flags| !flags.contains(&true)) {
            return Err(Error::Usage("no parameter of the network has such a name".into()));
        }
        let output = trained_output(network, settings.output.as_deref());
        let sweep = Sweep::new(network, output.as_deref(), chosen.as_deref())?;
        if sweep.components().is_empty() {
            return Err(Error::Usage(format!("no parameter reaches `{}`", sweep.output_name())));
        }
        let term = match &settings.enforcement {
            None => None,
            Some(enforcement) => {
                let wanted = &enforcement.output;
                let name = wanted.name.clone().or(output);
                let own = Sweep::new(network, name.as_deref(), chosen.as_deref())?;
                let shared = own.output_name() == sweep.output_name();
                let choice = OutputChoice { name, ..wanted.clone() };
                let output = Output::new(&choice, &own)?;
                // The term keeps about twice a plain step's numbers.
                let rows = rows_at_once(2 * own.working_set_of_images(output.width()));
                Some(Enforced { sweep: own, output, lambda: enforcement.lambda, shared, rows })
            }
        };
        let values = network.parameter_values()?;
        let held = Held::new(&values)?;
        let shapes = network.parameters().iter().map(|p| p.shape.clone()).collect();
        let point = network.point(&values)?;
        let mixes = sweep.mixes_in_training();
        let rows = rows_at_once(sweep.working_set_of_images(1));
        let pool = match settings.threads {
            ..=1 => None,
            several => Some(threads(several)?),
        };
        let statistics = if mixes { sweep.running_statistics()? } else { BTreeMap::new() };
        Ok(Self {
            network,
            sweep,
            settings,
            term,
            held,
            shapes,
            statistics,
            point,
            steps: 0,
            mixes,
            rows,
            pool,
        })
    }

    /// The network being trained.
    pub fn network(&self) -> &'a Network {
        self.network
    }

    /// How it is trained.
    pub fn settings(&self) -> &TrainerSettings {
        &self.settings
    }

    /// The network at its present values.
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Move the parameters once, with learning rate `rate`.
    ///
    /// # Errors
    /// Where the batch does not fit the network, and where the loss is no longer finite.
    pub fn step(&mut self, batch: &Batch, rate: f64) -> Result<StepReport> {
        let width: usize = self.sweep.output_shape().iter().product();
        let objective = self.settings.objective;
        let groups = if self.term.is_some() { batch.groups.as_slice() } else { &[] };
        let whole = Whole {
            weight: objective.total_weight(batch.size, width, batch.weights.as_deref()),
            groups: groups.iter().filter(|group| group.len() > 1).count(),
        };
        if whole.weight.is_nan() || whole.weight <= 0.0 {
            return Err(Error::Usage("no example of the batch has any weight".into()));
        }
        let shares = shares(batch, groups, self.settings.threads);
        let part = total(self.run(&shares, whole)?.into_iter().map(Ok))?;
        if !part.tally.loss.is_finite() {
            return Err(Error::Usage(format!(
                "the loss is {} at step {}; try a smaller learning rate (--lr) or --clip",
                part.tally.loss,
                self.steps + 1
            )));
        }
        let report = StepReport {
            tally: part.tally,
            dissimilarity: (whole.groups > 0).then_some(part.dissimilarity),
            gradient: length(&part.gradients)?,
        };
        if !report.gradient.is_finite() {
            return Err(Error::Usage(format!(
                "the gradient is not finite at step {}; try a smaller learning rate (--lr) or --clip",
                self.steps + 1
            )));
        }
        let scale = match self.settings.clip {
            Some(longest) if report.gradient > longest => longest / report.gradient,
            _ => 1.0,
        };
        self.steps += 1;
        let by = Move {
            optimizer: self.settings.optimizer,
            rate,
            decay: self.settings.decay,
            count: self.steps,
        };
        self.held.follow(&part.gradients, scale, by)?;
        for own in &part.statistics {
            if let Some(running) = self.statistics.get_mut(&own.name) {
                for (running, batch) in running.iter_mut().zip(&own.values) {
                    *running = own.momentum * *running + (1.0 - own.momentum) * batch;
                }
            }
        }
        self.point = self.point_of(&self.held.tensors(&self.shapes)?)?;
        Ok(report)
    }

    /// The parts of a batch, each on a thread of its own.
    fn run(&self, shares: &[Batch], whole: Whole) -> Result<Vec<Part>> {
        let parties = Party::all(shares.len());
        if let [only] = shares {
            return Ok(vec![self.part(only, whole, &parties[0])?]);
        }
        let work = |share: &Batch, party: &Party| {
            let part = self.part(share, whole, party);
            if part.is_err() {
                party.abandon();
            }
            part
        };
        // Threads that end would give the memory of one step back and the next step's would ask for it anew.
        let Some(pool) = &self.pool else {
            return Err(Error::Usage("a batch in parts, on one thread".into()));
        };
        let results = pool.broadcast(|thread| {
            let index = thread.index();
            shares.get(index).map(|share| work(share, &parties[index]))
        });
        // The first real failure, not that of a part which was told of it.
        let mut parts = Vec::with_capacity(results.len());
        let mut failure: Option<Error> = None;
        for result in results.into_iter().flatten() {
            match result {
                Ok(part) => parts.push(part),
                Err(error) => {
                    let told = error.to_string().contains("another part of the batch failed");
                    if failure.is_none() || !told {
                        failure = Some(error);
                    }
                }
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(parts),
        }
    }

    /// Loss, term and gradient of one part of the batch, in pieces that stay in the processor's cache;
    /// no group is torn apart.
    fn part(&self, share: &Batch, whole: Whole, party: &Party) -> Result<Part> {
        let Some(term) = self.term.as_ref().filter(|_| !share.groups.is_empty()) else {
            return self.plain(share, whole, party);
        };
        if !self.mixes && term.shared {
            return total(
                pieces(share, term.rows).iter().map(|piece| self.both(piece, term, whole)),
            );
        }
        // The term takes the network as it is used, the loss as it is trained; or they look at different
        // outputs.
        let mut part = self.plain(share, whole, party)?;
        for piece in pieces(&grouped(share), term.rows) {
            let pass = term.sweep.forward_at(&self.point, piece.inputs.clone(), piece.size)?;
            let own = self.enforce(&pass, &piece, term, whole)?;
            part.dissimilarity += own.value / whole.groups as f64;
            let gradients = term.sweep.descend(&pass, own.ascent, own.by_output.as_ref())?;
            add_all(&mut part.gradients, &gradients)?;
        }
        Ok(part)
    }

    /// Loss and term in one: they share the forward pass and the last sweep back.
    fn both(&self, piece: &Batch, term: &Enforced, whole: Whole) -> Result<Part> {
        let pass = self.sweep.forward_at(&self.point, piece.inputs.clone(), piece.size)?;
        let (tally, seeds) = self.assess(piece, &self.sweep.output(&pass)?, whole)?;
        let own = self.enforce(&pass, piece, term, whole)?;
        let mut by_output = seeds.squeeze(1)?;
        if let Some(more) = own.by_output {
            by_output = (by_output + more.reshape(seeds.squeeze(1)?.shape())?)?;
        }
        let gradients = self.sweep.descend(&pass, own.ascent, Some(&by_output))?;
        let dissimilarity = own.value / whole.groups as f64;
        Ok(Part { tally, gradients, statistics: Vec::new(), dissimilarity })
    }

    /// The loss alone. Where the batch is normalised as a whole, it stays in one piece.
    fn plain(&self, share: &Batch, whole: Whole, party: &Party) -> Result<Part> {
        if self.mixes {
            let inputs = share.inputs.clone();
            let pass = self.sweep.forward_training(&self.point, inputs, share.size, party)?;
            return self.loss(&pass, share, whole);
        }
        total(pieces(share, self.rows).iter().map(|piece| {
            let pass = self.sweep.forward_at(&self.point, piece.inputs.clone(), piece.size)?;
            self.loss(&pass, piece, whole)
        }))
    }

    fn loss(&self, pass: &Pass, share: &Batch, whole: Whole) -> Result<Part> {
        let (tally, seeds) = self.assess(share, &self.sweep.output(pass)?, whole)?;
        let gradients = self.sweep.gradient(pass, &seeds)?;
        let statistics = self.sweep.batch_statistics(pass)?;
        Ok(Part { tally, gradients, statistics, dissimilarity: 0.0 })
    }

    /// Loss of an output and its derivatives, `[B, 1, *shape]`.
    fn assess(&self, share: &Batch, output: &Tensor, whole: Whole) -> Result<(Tally, Tensor)> {
        let values: Vec<f64> = output.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
        let width: usize = self.sweep.output_shape().iter().product();
        let mut seeds = vec![0.0; values.len()];
        let tally = self.settings.objective.assess(
            &values,
            width,
            &share.targets,
            share.weights.as_deref(),
            Some((&mut seeds, whole.weight)),
        )?;
        let mut shape = vec![share.size, 1];
        shape.extend(self.sweep.output_shape());
        let seeds = Tensor::from_vec(seeds, shape, &Device::Cpu)?.to_dtype(output.dtype())?;
        Ok((tally, seeds))
    }

    /// The similarity term of a part of the batch, its derivatives weighted.
    fn enforce(
        &self,
        pass: &Pass,
        share: &Batch,
        own: &Enforced,
        whole: Whole,
    ) -> Result<super::enforce::Term> {
        let weight = own.lambda / whole.groups as f64;
        let labels = match &share.targets {
            Targets::Classes(ids) => Labels::Classes(ids.clone()),
            Targets::Numbers(values) => {
                Labels::Targets { values: values.clone(), width: values.len() / share.size.max(1) }
            }
        };
        term(&own.sweep, &own.output, pass, Some(&labels), &share.groups, weight)
    }

    fn point_of(&self, values: &[Tensor]) -> Result<Point> {
        let mut point = self.network.point(values)?;
        for (name, values) in &self.statistics {
            point = point.with_statistics(self.network, name, values)?;
        }
        Ok(point)
    }

    /// Loss and metric over a set, the network as it is used.
    pub fn evaluate(&self, set: &dyn TrainingSet, batch: usize) -> Result<Tally> {
        let count = set.len();
        let batch = batch.max(1);
        let starts: Vec<usize> = (0..count).step_by(batch).collect();
        let one = |start: usize| -> Result<Tally> {
            let rows: Vec<usize> = (start..(start + batch).min(count)).collect();
            let own = set.batch(&rows, 0)?;
            let pass = self.sweep.forward_at(&self.point, own.inputs.clone(), own.size)?;
            let output = self.sweep.output(&pass)?;
            let values: Vec<f64> = output.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
            let width: usize = self.sweep.output_shape().iter().product();
            let weights = own.weights.as_deref();
            self.settings.objective.assess(&values, width, &own.targets, weights, None)
        };
        let tallies: Vec<Result<Tally>> = if self.settings.threads > 1 {
            use rayon::prelude::*;
            starts.par_iter().map(|start| one(*start)).collect()
        } else {
            starts.iter().map(|start| one(*start)).collect()
        };
        let mut total = Tally::default();
        for tally in tallies {
            total.add(&tally?);
        }
        Ok(total)
    }

    /// The trained output for some examples, `[B, *shape]` flattened.
    pub fn predict(&self, inputs: Vec<InputData>, size: usize) -> Result<Vec<f64>> {
        let pass = self.sweep.forward_at(&self.point, inputs, size)?;
        Ok(self.sweep.output(&pass)?.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
    }

    /// Everything that has to be kept to go on later with the same result.
    pub fn state(&self) -> State {
        let [values, first, second] = self.held.lists();
        let statistics = self.statistics.clone();
        State { steps: self.steps, values, first, second, statistics }
    }

    /// Put the present values, running statistics included, into the model that the network was built
    /// from: it can then be saved as ONNX, or built into a network to compare examples by.
    ///
    /// # Errors
    /// Where it is another model.
    pub fn write_into(&self, model: &mut Model) -> Result<()> {
        let [values, ..] = self.held.lists();
        let names = self.network.parameters().iter().map(|p| p.name.as_str());
        let mut all: Vec<(&str, &[f64])> =
            names.zip(&values).map(|(name, values)| (name, values.as_slice())).collect();
        all.extend(self.statistics.iter().map(|(name, v)| (name.as_str(), v.as_slice())));
        Ok(model.set_all_values(&all)?)
    }

    /// Go on from a state.
    ///
    /// # Errors
    /// Where it is that of another network.
    pub fn resume(&mut self, state: &State) -> Result<()> {
        let known = |name: &String| self.statistics.contains_key(name);
        if !state.statistics.keys().all(known) || state.statistics.len() != self.statistics.len() {
            return Err(Error::Usage("the state is that of another network".into()));
        }
        let lists = [state.values.clone(), state.first.clone(), state.second.clone()];
        self.held.restore(&lists)?;
        self.statistics.clone_from(&state.statistics);
        self.steps = state.steps;
        self.point = self.point_of(&self.held.tensors(&self.shapes)?)?;
        Ok(())
    }
}

fn threads(count: usize) -> Result<ThreadPool> {
    let named = |index| format!("training-{index}");
    let pool = ThreadPoolBuilder::new().num_threads(count).thread_name(named).build();
    pool.map_err(|error| Error::Usage(format!("{count} threads cannot be had: {error}")))
}

/// So many examples as stay in the processor's cache, each of so many numbers; found by measuring.
fn rows_at_once(numbers: usize) -> usize {
    const NUMBERS: usize = 1 << 22;
    (NUMBERS / numbers.max(1)).max(1)
}

/// The output to train: the logits, where the chosen one ends in a Softmax.
fn trained_output(network: &Network, chosen: Option<&str>) -> Option<String> {
    let outputs = network.outputs();
    let name = chosen.or(outputs.first().map(|(name, ..)| *name))?;
    Some(network.logits(name).unwrap_or(name).to_owned())
}

/// The batch in as many parts as there are threads, no group torn apart.
fn shares(batch: &Batch, groups: &[Vec<usize>], threads: usize) -> Vec<Batch> {
    let parts = threads.clamp(1, batch.size.max(1));
    let mut lists: Vec<(Vec<usize>, Vec<Vec<usize>>)> = vec![Default::default(); parts];
    let mut placed = vec![false; batch.size];
    for group in groups.iter().filter(|group| group.len() > 1) {
        let least = (0..parts).min_by_key(|part| lists[*part].0.len()).unwrap_or(0);
        let (rows, own) = &mut lists[least];
        let place = |row: &usize| {
            placed[*row] = true;
            rows.push(*row);
            rows.len() - 1
        };
        own.push(group.iter().map(place).collect());
    }
    let rest: Vec<usize> = (0..batch.size).filter(|row| !placed[*row]).collect();
    let mut rest = rest.into_iter();
    for (part, (rows, _)) in lists.iter_mut().enumerate() {
        let wanted = batch.size * (part + 1) / parts - batch.size * part / parts;
        rows.extend(rest.by_ref().take(wanted.saturating_sub(rows.len())));
    }
    for row in rest {
        let least = (0..parts).min_by_key(|part| lists[*part].0.len()).unwrap_or(0);
        lists[least].0.push(row);
    }
    let filled = lists.into_iter().filter(|(rows, _)| !rows.is_empty());
    filled.map(|(rows, groups)| Batch { groups, ..batch.pick(&rows) }).collect()
}

/// The batch in pieces of about so many rows, no group torn apart.
fn pieces(batch: &Batch, rows: usize) -> Vec<Cow<'_, Batch>> {
    let count = batch.size.div_ceil(rows.max(1));
    if count < 2 {
        return vec![Cow::Borrowed(batch)];
    }
    shares(batch, &batch.groups, count).into_iter().map(Cow::Owned).collect()
}

/// Only the examples that groups take.
fn grouped(batch: &Batch) -> Cow<'_, Batch> {
    let taken: usize = batch.groups.iter().map(Vec::len).sum();
    if taken == batch.size {
        return Cow::Borrowed(batch);
    }
    let rows: Vec<usize> = batch.groups.iter().flatten().copied().collect();
    let mut first = 0;
    let groups = batch.groups.iter().map(|group| {
        first += group.len();
        (first - group.len()..first).collect()
    });
    Cow::Owned(Batch { groups: groups.collect(), ..batch.pick(&rows) })
}

/// Parts of a batch together. What they say of running statistics is the same in all of them.
fn total(parts: impl Iterator<Item = Result<Part>>) -> Result<Part> {
    let mut total: Option<Part> = None;
    for part in parts {
        let part = part?;
        total = Some(match total {
            None => part,
            Some(mut total) => {
                total.tally.add(&part.tally);
                total.dissimilarity += part.dissimilarity;
                add_all(&mut total.gradients, &part.gradients)?;
                total
            }
        });
    }
    total.ok_or_else(|| Error::Usage("an empty batch".into()))
}

fn add_all(total: &mut [Option<Tensor>], more: &[Option<Tensor>]) -> Result<()> {
    for (slot, more) in total.iter_mut().zip(more) {
        *slot = match (slot.take(), more) {
            (Some(sum), Some(more)) => Some((sum + more)?),
            (None, Some(more)) => Some(more.clone()),
            (kept, None) => kept,
        };
    }
    Ok(())
}

/// The length of the gradient, summed in double precision. The tensor library's sum over whole tensors
/// takes more time than a small network's step.
fn length(gradients: &[Option<Tensor>]) -> Result<f64> {
    fn squares<T: Number>(gradient: &Tensor) -> Result<f64> {
        const LANES: usize = 8;
        let values = numbers::<T>(gradient)?;
        let mut lanes = [0.0; LANES];
        let chunks = values.chunks_exact(LANES);
        let rest: f64 = chunks.remainder().iter().map(|x| x.to_f64() * x.to_f64()).sum();
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += x.to_f64() * x.to_f64();
            }
        }
        Ok(rest + lanes.iter().sum::<f64>())
    }
    let mut sum = 0.0;
    for gradient in gradients.iter().flatten() {
        sum += match gradient.dtype() {
            DType::F32 => squares::<f32>(gradient)?,
            _ => squares::<f64>(gradient)?,
        };
    }
    Ok(sum.sqrt())
}
