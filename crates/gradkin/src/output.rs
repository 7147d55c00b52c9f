//! What f is: which numbers of the network's output are compared, and how they are combined.
//!
//! Every choice is, for one example, a linear map L from the output's elements to d₀ numbers z
//! (some of them, their mean over positions, their sum), followed by a map whose derivative A(z) is
//! d×d₀ (a log-probability, a loss, the root of a metric). Its gradient is the reverse sweep of the
//! cotangents A·L; nothing else in the program knows about the choice.

use faer::Side;
use gradkin_network::candle_core::{Device, Tensor};
use gradkin_network::{Pass, Sweep};

use crate::error::{Error, Result};
use crate::examples::Labels;
use crate::number::doubles;
use crate::predictions::Scale;
use crate::similarity::Metric;

/// Whose class a log-probability is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The label of the example.
    Given,
    /// The class with the highest output.
    Predicted,
}

/// A loss of labelled examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// −log p of the label.
    CrossEntropy,
    /// ½ ‖f − y‖²; a class label counts as its one-hot vector.
    Squared,
}

/// How the chosen outputs are used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Select {
    /// All of them.
    #[default]
    All,
    /// Those at these indices.
    List(Vec<usize>),
    /// Their sum, one number.
    Sum,
    /// Their mean, one number.
    Mean,
    /// log p of one class, one number.
    LogProbability(Class),
    /// Σ_c m_c log p_c with m one for the label and −1/(C − 1) for every other of C classes, one
    /// number: what the paper compares on MNIST. On logits it is linear, for the m add up to zero.
    Contrast,
    /// The loss, one number; K is then the gradient inner product of TracIn.
    Loss(Loss),
}

/// For outputs with positions (pixels, tokens): which of them count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Positions {
    /// The mean over all positions.
    Mean,
    /// These, each given by its index along every position axis; all their outputs count.
    List(Vec<Vec<usize>>),
}

/// The choice of f.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputChoice {
    /// Name of the output, or of any value inside the network; the first output by default.
    pub name: Option<String>,
    /// Which positions count; all by default.
    pub positions: Option<Positions>,
    /// For outputs with positions, the axis that holds the channels, counted without the batch
    /// axis; by default the first of three or more axes and the last of two.
    pub channel_axis: Option<usize>,
    /// How the outputs are used.
    pub select: Select,
    /// The metric on outputs.
    pub metric: Metric,
}

/// More outputs than this at once are refused: the work grows with their square.
const MOST_OUTPUTS: usize = 4096;

/// A choice of output brought together with a network.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    select: Select,
    metric: Metric,
    scale: Scale,
    /// Rows of L: for each of the d₀ numbers the output elements that make it up and their weight.
    rows: Vec<Vec<(usize, f64)>>,
    elements: usize,
    shape: Vec<usize>,
}

impl Output {
    pub(crate) fn new(choice: &OutputChoice, sweep: &Sweep) -> Result<Self> {
        let full = sweep.output_shape().to_vec();
        let elements = full.iter().product();
        let network = sweep.network();
        let head = network.outputs().into_iter().find(|(name, ..)| *name == sweep.output_name());
        let scale = match head.and_then(|(_, _, head)| head) {
            Some("Softmax") => Scale::Probabilities,
            Some("LogSoftmax") => Scale::LogProbabilities,
            _ => Scale::Logits,
        };
        // The graph's own batch axis is one; it is no position.
        let shape: Vec<usize> =
            if full.first() == Some(&1) { full[1..].to_vec() } else { full.clone() };
        let rows = positions(choice, &shape)?;
        let rows = select(&choice.select, rows)?;
        let output = Self {
            select: choice.select.clone(),
            metric: choice.metric,
            scale,
            rows,
            elements,
            shape: full,
        };
        output.check(sweep.output_name())?;
        Ok(output)
    }

    fn check(&self, name: &str) -> Result<()> {
        let width = self.width();
        if width > MOST_OUTPUTS {
            return Err(Error::Usage(format!(
                "output `{name}` of shape {:?} has {width} numbers per example, more than {MOST_OUTPUTS}; \
                 choose some of them (--outputs 0,1,2), their sum or mean, or positions (--positions mean)",
                self.shape
            )));
        }
        if self.rows.is_empty() {
            return Err(Error::Usage(format!("no output of `{name}` is chosen")));
        }
        if self.metric == Metric::Fisher && self.width() != self.rows.len() {
            return Err(Error::Usage(
                "the Fisher metric needs all class outputs, not one number made of them; use --outputs all".into(),
            ));
        }
        Ok(())
    }

    /// d, the number of outputs that are compared.
    pub(crate) fn width(&self) -> usize {
        match self.select {
            Select::All | Select::List(_) => self.rows.len(),
            _ => 1,
        }
    }

    /// d₀, the number of outputs that are chosen, before they are combined.
    pub(crate) fn classes(&self) -> usize {
        self.rows.len()
    }

    /// What the output's numbers mean.
    pub(crate) fn scale(&self) -> Scale {
        self.scale
    }

    /// The chosen numbers of a batch, `[B, d₀]`, from all of its outputs.
    pub(crate) fn chosen(&self, values: &[f64]) -> Vec<f64> {
        let each = values.chunks_exact(self.elements.max(1));
        let pick = |own: &[f64]| {
            let row = |row: &Vec<(usize, f64)>| row.iter().map(|(e, w)| w * own[*e]).sum();
            self.rows.iter().map(row).collect::<Vec<f64>>()
        };
        each.flat_map(pick).collect()
    }

    pub(crate) fn needs_labels(&self) -> bool {
        matches!(
            self.select,
            Select::LogProbability(Class::Given) | Select::Contrast | Select::Loss(_)
        )
    }

    /// The cotangents `[B, d, *shape]` for a batch whose first example has index `start`.
    pub(crate) fn seeds(
        &self,
        sweep: &Sweep,
        pass: &Pass,
        labels: Option<&Labels>,
        start: usize,
    ) -> Result<Tensor> {
        let batch = pass.batch();
        let output = sweep.output(pass)?;
        let dtype = output.dtype();
        let width = self.width();
        let mut seeds = vec![0.0f64; batch * width * self.elements];
        let values = match self.seeds_depend_on_output() {
            true => doubles(&output)?,
            false => vec![0.0; batch * self.elements],
        };
        for b in 0..batch {
            let own = &values[b * self.elements..(b + 1) * self.elements];
            let z: Vec<f64> =
                self.rows.iter().map(|row| row.iter().map(|(e, w)| w * own[*e]).sum()).collect();
            let target = &mut seeds[b * width * self.elements..(b + 1) * width * self.elements];
            for (c, weights) in self.derivative(&z, labels, start + b)?.into_iter().enumerate() {
                for (row, a) in self.rows.iter().zip(weights).filter(|(_, a)| *a != 0.0) {
                    row.iter().for_each(|(e, w)| target[c * self.elements + e] += a * w);
                }
            }
        }
        let mut shape = vec![batch, width];
        shape.extend(&self.shape);
        let seeds = Tensor::from_vec(seeds, shape, &Device::Cpu)?.to_dtype(dtype)?;
        Ok(seeds.to_device(output.device())?)
    }

    /// Whether the cotangents depend on the output's value.
    pub(crate) fn seeds_depend_on_output(&self) -> bool {
        match self.select {
            Select::All | Select::List(_) => self.metric != Metric::Euclidean,
            Select::Sum | Select::Mean => false,
            Select::Contrast => self.scale == Scale::Probabilities,
            Select::LogProbability(_) | Select::Loss(_) => true,
        }
    }

    /// The same from `output`, the pass's output as a variable of the tensor library: cotangents that
    /// depend on it are tracked.
    pub(crate) fn tracked_seeds(
        &self,
        sweep: &Sweep,
        pass: &Pass,
        output: &Tensor,
        labels: Option<&Labels>,
    ) -> Result<Tensor> {
        if !self.seeds_depend_on_output() {
            return self.seeds(sweep, pass, labels, 0);
        }
        if matches!(self.select, Select::All | Select::List(_)) {
            return Err(Error::Usage(
                "the Fisher metric cannot be enforced; leave --metric out".into(),
            ));
        }
        let (batch, count) = (pass.batch(), self.rows.len());
        let mut picked = vec![0.0; count * self.elements];
        for (row, parts) in self.rows.iter().enumerate() {
            parts.iter().for_each(|(e, w)| picked[row * self.elements + e] += w);
        }
        let picked = Tensor::from_vec(picked, (count, self.elements), &Device::Cpu)?;
        let picked = picked.to_dtype(output.dtype())?;
        let z = output.reshape((batch, self.elements))?.matmul(&picked.t()?)?;
        let values = doubles(&z)?;
        let mut wanted = Vec::with_capacity(batch * count);
        for (b, z) in values.chunks_exact(count).enumerate() {
            wanted.extend(match &self.select {
                Select::Loss(Loss::Squared) => target(labels, b, count)?,
                select => {
                    let class = match select {
                        Select::LogProbability(Class::Predicted) => largest(z),
                        _ => class_label(labels, b, count)?,
                    };
                    let others = match select {
                        Select::Contrast => -1.0 / (count as f64 - 1.0).max(1.0),
                        _ => 0.0,
                    };
                    (0..count).map(|c| if c == class { 1.0 } else { others }).collect()
                }
            });
        }
        let wanted = Tensor::from_vec(wanted, (batch, count), &Device::Cpu)?;
        let wanted = wanted.to_dtype(output.dtype())?;
        let rows = match &self.select {
            Select::Loss(Loss::Squared) => (z - wanted)?,
            select => {
                let gradient = if self.scale == Scale::Probabilities {
                    (wanted / z)?
                } else {
                    let top = z.max_keepdim(1)?.detach();
                    let exp = z.broadcast_sub(&top)?.exp()?;
                    (wanted - exp.broadcast_div(&exp.sum_keepdim(1)?)?)?
                };
                if matches!(select, Select::Loss(_)) { gradient.neg()? } else { gradient }
            }
        };
        let mut shape = vec![batch, 1];
        shape.extend(&self.shape);
        Ok(rows.matmul(&picked)?.reshape(shape)?)
    }

    /// A(z): one row of d₀ weights per compared output.
    fn derivative(
        &self,
        z: &[f64],
        labels: Option<&Labels>,
        example: usize,
    ) -> Result<Vec<Vec<f64>>> {
        Ok(match &self.select {
            Select::All | Select::List(_) => match self.metric {
                Metric::Euclidean => identity(z.len()),
                Metric::Fisher => self.fisher_root(z)?,
            },
            Select::Sum => vec![vec![1.0; z.len()]],
            Select::Mean => vec![vec![1.0 / z.len() as f64; z.len()]],
            Select::LogProbability(class) => {
                let class = match class {
                    Class::Predicted => largest(z),
                    Class::Given => class_label(labels, example, z.len())?,
                };
                vec![self.log_probability(z, class)]
            }
            Select::Contrast => {
                let class = class_label(labels, example, z.len())?;
                let others = -1.0 / (z.len() as f64 - 1.0).max(1.0);
                let weight = |c: usize| if c == class { 1.0 } else { others };
                let on_probabilities = self.scale == Scale::Probabilities;
                let own = |c: usize| match on_probabilities {
                    true => weight(c) / z[c].max(f64::MIN_POSITIVE),
                    false => weight(c),
                };
                vec![(0..z.len()).map(own).collect()]
            }
            Select::Loss(Loss::CrossEntropy) => {
                let class = class_label(labels, example, z.len())?;
                vec![self.log_probability(z, class).into_iter().map(|g| -g).collect()]
            }
            Select::Loss(Loss::Squared) => {
                let target = target(labels, example, z.len())?;
                vec![z.iter().zip(target).map(|(z, y)| z - y).collect()]
            }
        })
    }

    /// ∂ log p_class / ∂z.
    fn log_probability(&self, z: &[f64], class: usize) -> Vec<f64> {
        if self.scale == Scale::Probabilities {
            let mut gradient = vec![0.0; z.len()];
            gradient[class] = 1.0 / z[class].max(f64::MIN_POSITIVE);
            return gradient;
        }
        let mut gradient: Vec<f64> = softmax(z).into_iter().map(|p| -p).collect();
        gradient[class] += 1.0;
        gradient
    }

    /// M^½ of the Fisher metric, pulled back to whatever scale the network puts out.
    fn fisher_root(&self, z: &[f64]) -> Result<Vec<Vec<f64>>> {
        let n = z.len();
        if self.scale == Scale::Probabilities {
            // On probabilities the metric is diag(1/p).
            let root = |i: usize| 1.0 / z[i].max(f64::MIN_POSITIVE).sqrt();
            return Ok((0..n)
                .map(|i| (0..n).map(|j| if i == j { root(i) } else { 0.0 }).collect())
                .collect());
        }
        let p = softmax(z);
        let metric =
            faer::Mat::from_fn(n, n, |i, j| if i == j { p[i] - p[i] * p[i] } else { -p[i] * p[j] });
        let eigen = metric.self_adjoint_eigen(Side::Lower).map_err(|_| {
            Error::Usage("the Fisher metric of an example has no eigen-decomposition: its outputs are not finite".into())
        })?;
        let (u, s) = (eigen.U(), eigen.S());
        // M has rank d − 1; the square root would blow the rounding of its zero up to 1e-8.
        let top = (0..n).map(|k| s[k]).fold(0.0, f64::max);
        let root = |k: usize| if s[k] > 1e-14 * top { s[k].sqrt() } else { 0.0 };
        let entry =
            |i: usize, j: usize| -> f64 { (0..n).map(|k| u[(i, k)] * root(k) * u[(j, k)]).sum() };
        Ok((0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect())
    }
}

/// Rows of L before outputs are chosen among: all elements, or channels at positions.
fn positions(choice: &OutputChoice, shape: &[usize]) -> Result<Vec<Vec<(usize, f64)>>> {
    let elements: usize = shape.iter().product();
    let Some(positions) = &choice.positions else {
        return Ok((0..elements).map(|e| vec![(e, 1.0)]).collect());
    };
    if shape.len() < 2 {
        return Err(Error::Usage(format!(
            "the output has shape {shape:?} and no positions to choose from; leave --positions out"
        )));
    }
    let channel = choice.channel_axis.unwrap_or(if shape.len() >= 3 { 0 } else { 1 });
    if channel >= shape.len() {
        return Err(Error::Usage(format!(
            "the output of shape {shape:?} has no axis {channel} for channels"
        )));
    }
    let spatial: Vec<usize> = (0..shape.len()).filter(|a| *a != channel).collect();
    let element = |c: usize, at: &[usize]| -> usize {
        let mut at = at.iter();
        (0..shape.len()).fold(0, |index, axis| {
            let own = if axis == channel { c } else { at.next().copied().unwrap_or(0) };
            index * shape[axis] + own
        })
    };
    let channels = shape[channel];
    match positions {
        Positions::List(list) => {
            let mut rows = Vec::with_capacity(list.len() * channels);
            for at in list {
                let inside = at.len() == spatial.len()
                    && at.iter().zip(&spatial).all(|(i, axis)| *i < shape[*axis]);
                if !inside {
                    let sizes: Vec<usize> = spatial.iter().map(|a| shape[*a]).collect();
                    return Err(Error::Usage(format!(
                        "position {at:?} does not lie inside the output's positions {sizes:?}"
                    )));
                }
                rows.extend((0..channels).map(|c| vec![(element(c, at), 1.0)]));
            }
            Ok(rows)
        }
        Positions::Mean => {
            let count: usize = spatial.iter().map(|a| shape[*a]).product();
            let weight = 1.0 / count as f64;
            let all = |c: usize| {
                (0..count)
                    .map(|flat| {
                        let mut rest = flat;
                        let mut at: Vec<usize> = spatial
                            .iter()
                            .rev()
                            .map(|axis| {
                                let i = rest % shape[*axis];
                                rest /= shape[*axis];
                                i
                            })
                            .collect();
                        at.reverse();
                        (element(c, &at), weight)
                    })
                    .collect()
            };
            Ok((0..channels).map(all).collect())
        }
    }
}

fn select(select: &Select, rows: Vec<Vec<(usize, f64)>>) -> Result<Vec<Vec<(usize, f64)>>> {
    let Select::List(list) = select else { return Ok(rows) };
    list.iter()
        .map(|index| match rows.get(*index) {
            Some(row) => Ok(row.clone()),
            None => Err(Error::Usage(format!(
                "there is no output {index}; the network has {}",
                rows.len()
            ))),
        })
        .collect()
}

fn identity(n: usize) -> Vec<Vec<f64>> {
    (0..n).map(|i| (0..n).map(|j| if i == j { 1.0 } else { 0.0 }).collect()).collect()
}

pub(crate) fn softmax(z: &[f64]) -> Vec<f64> {
    let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exp: Vec<f64> = z.iter().map(|z| (z - top).exp()).collect();
    let total: f64 = exp.iter().sum();
    exp.into_iter().map(|e| e / total).collect()
}

pub(crate) fn largest(z: &[f64]) -> usize {
    (0..z.len()).fold(0, |best, i| if z[i] > z[best] { i } else { best })
}

fn class_label(labels: Option<&Labels>, example: usize, classes: usize) -> Result<usize> {
    match labels {
        Some(Labels::Classes(ids)) => match ids.get(example) {
            Some(class) if *class < classes => Ok(*class),
            Some(class) => Err(Error::Usage(format!(
                "example {example} has label {class} but the network has {classes} outputs"
            ))),
            None => Err(Error::Usage(format!("example {example} has no label"))),
        },
        Some(Labels::Targets { .. }) => {
            Err(Error::Usage("this output needs class labels, but the labels are numbers".into()))
        }
        None => Err(Error::Usage("this output needs labels; give them with --labels".into())),
    }
}

fn target(labels: Option<&Labels>, example: usize, width: usize) -> Result<Vec<f64>> {
    match labels {
        Some(Labels::Targets { values, width: own }) if *own == width => {
            match values.get(example * width..(example + 1) * width) {
                Some(values) => Ok(values.to_vec()),
                None => Err(Error::Usage(format!("example {example} has no label"))),
            }
        }
        Some(Labels::Targets { width: own, .. }) => Err(Error::Usage(format!(
            "the labels have {own} numbers per example but the network has {width} outputs"
        ))),
        _ => {
            let class = class_label(labels, example, width)?;
            let mut one_hot = vec![0.0; width];
            one_hot[class] = 1.0;
            Ok(one_hot)
        }
    }
}
