//! The reverse sweep: from one output back to the chosen parameters, for a batch of examples and all
//! d outputs at once, handing each parameter's factor to a sink.
//!
//! A parameter falls into *components* whose gradients never meet, so that the inner product of two
//! examples is the sum over components. Nearly always there is one: the parameter's one use. Several
//! uses of the same entries (tied weights, a cell unrolled over time) add up before any product is
//! taken: as further terms of one sum of outer products where their form allows, written out
//! otherwise. Uses of different entries (the three parts of a packed attention weight) stay apart.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::device::{borrowed, fetched, sent};
use crate::error::{NetworkError, OperatorError, Result};
use crate::exchange::Party;
use crate::factor::{Factor, FactorShape};
use crate::forward::{InputData, Mode, Pass};
use crate::graph::{Entries, Network};
use crate::ops::{Operator, Reverse};
use crate::point::Point;
use crate::second::Record;
use crate::tensor::lead_shape;
use crate::windows::Windows;

/// Takes the factors as the sweep finds them.
pub trait Sink {
    /// The factor of component `component` for the batch that is being swept.
    ///
    /// Every component of the sweep arrives exactly once per batch, in no particular order.
    fn accept(&mut self, component: usize, factor: Factor) -> Result<()>;

    /// Whether a component's gradient is wanted written out in any case. It may then come as
    /// [`Factor::Dense`] whatever the component's shape: some operators write it out in less time than
    /// their factor takes.
    fn writes_out(&self, _component: usize) -> bool {
        false
    }

    /// Whether a component that has [`Component::windows`] is wanted as the image that they go over. It then
    /// comes to [`Sink::accept_imaged`].
    fn takes_images(&self, _component: usize) -> bool {
        false
    }

    /// The factor of a component that [`Sink::takes_images`] asks for, in place of [`Sink::accept`].
    fn accept_imaged(&mut self, component: usize, _factor: Imaged) -> Result<()> {
        Err(NetworkError::Usage(format!("component {component} was not asked for as an image")))
    }
}

/// The factor of a convolution's weight before anything is unfolded: the gradient is Σ_t δ_t ⊗ a_t, a_t being
/// what [`Windows`] cover of the image at position t.
#[derive(Debug, Clone)]
pub struct Imaged {
    /// `[B, channels, size]`.
    pub image: Tensor,
    /// δ: `[B, d, cotangent, positions]`.
    pub cotangent: Tensor,
}

/// A sink that keeps everything: one factor per component.
#[derive(Debug, Default)]
pub struct Collected {
    /// By component.
    pub factors: BTreeMap<usize, Factor>,
}

impl Imaged {
    fn to_device(&self, device: &Device) -> Result<Self> {
        let (image, cotangent) = (self.image.to_device(device)?, self.cotangent.to_device(device)?);
        Ok(Self { image, cotangent })
    }
}

impl Sink for Collected {
    fn accept(&mut self, component: usize, factor: Factor) -> Result<()> {
        self.factors.insert(component, factor);
        Ok(())
    }
}

/// A piece of a parameter whose gradient stands alone in every inner product.
#[derive(Debug, Clone)]
pub struct Component {
    /// Index into [`Network::parameters`].
    pub parameter: usize,
    /// The form in which its gradient arrives.
    pub shape: FactorShape,
    /// Where it is the weight of a convolution used once: how the rows a_t come from the image.
    pub windows: Option<Windows>,
    merge: Merge,
    uses: usize,
}

/// A mean or variance that a batch adds to the running one.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchStatistics {
    /// Name of the stored running statistic.
    pub name: String,
    /// That of the batch, per channel.
    pub values: Vec<f64>,
    /// The weight that the running statistic keeps.
    pub momentum: f64,
}

/// How the uses of a component become one factor.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Merge {
    /// Further positions of the same sum, or a plain sum of arrays.
    Join,
    /// Written out and added at the entries that each use holds.
    Scatter,
}

/// A place where a parameter (or a value holding its entries) enters a node.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) node: usize,
    pub(crate) operand: usize,
    pub(crate) value: usize,
    pub(crate) shape: Option<FactorShape>,
    component: usize,
}

/// A network together with the output to differentiate and the parameters to differentiate by.
///
/// ```no_run
/// # fn main() -> Result<(), gradkin_network::NetworkError> {
/// # let model = gradkin_network::Model::open("model.onnx")?;
/// # let network = gradkin_network::Network::new(&model, &Default::default())?;
/// use gradkin_network::{Collected, InputData, Sweep};
/// let sweep = Sweep::new(&network, None, None)?;
/// let pass = sweep.forward(vec![InputData::F32(vec![0.0; 784])], 1)?;
/// let output = sweep.output(&pass)?;
/// // One cotangent per element of the output: the whole Jacobian.
/// let mut factors = Collected::default();
/// sweep.reverse(&pass, &sweep.identity(1)?, &mut factors)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Sweep<'a> {
    pub(crate) network: &'a Network,
    pub(crate) output: usize,
    /// Which nodes the output needs.
    pub(crate) needed: Vec<bool>,
    /// Which values lie between the chosen parameters and the output.
    pub(crate) wanted: Vec<bool>,
    uses: Vec<Use>,
    components: Vec<Component>,
    /// The parameters' values, where they are not the file's.
    point: Option<Point>,
}

impl<'a> Sweep<'a> {
    /// Prepare a sweep from `output` (a value's name; the first output by default) to the chosen
    /// parameters (one flag each; all by default).
    pub fn new(
        network: &'a Network,
        output: Option<&str>,
        parameters: Option<&[bool]>,
    ) -> Result<Self> {
        let output = match output {
            Some(name) => network.value(name)?,
            None => network.outputs[0],
        };
        let value = &network.values[output];
        if value.shared.is_some() || !value.dtype.is_float() {
            return Err(NetworkError::Usage(format!(
                "`{}` cannot serve as output: it does not depend on the input, or holds no floats",
                value.name
            )));
        }
        let chosen: Vec<bool> = match parameters {
            Some(flags) => flags.to_vec(),
            None => vec![true; network.parameters.len()],
        };
        let needed = needed_nodes(network, output);
        let wanted = wanted_values(network, &needed, &chosen);
        check_gradients(network, &needed, &wanted)?;
        let (uses, components) = (Vec::new(), Vec::new());
        let mut sweep = Self { network, output, needed, wanted, uses, components, point: None };
        sweep.find_uses();
        sweep.form_components()?;
        Ok(sweep)
    }

    /// The same sweep at other parameter values than the file's.
    pub fn at(mut self, point: Point) -> Self {
        self.point = Some(point);
        self
    }

    /// The network.
    pub fn network(&self) -> &'a Network {
        self.network
    }

    /// The pieces that make up every inner product.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The output's name.
    pub fn output_name(&self) -> &str {
        &self.network.values[self.output].name
    }

    /// The output's shape for one example, the graph's own batch axis included.
    pub fn output_shape(&self) -> &[usize] {
        &self.network.values[self.output].shape
    }

    /// Floats per example that forward and reverse sweep hold at once, for `width` outputs; a rough
    /// bound to choose batch sizes by.
    pub fn working_set(&self, width: usize) -> usize {
        self.numbers_held(width, |_, _| true)
    }

    /// The same where convolutions' gradients are taken from images, as [`Sweep::gradient`] does, so that
    /// nothing is unfolded but in passing.
    pub fn working_set_of_images(&self, width: usize) -> usize {
        self.numbers_held(width, |operator, operand| operator.windows(operand).is_none())
    }

    fn numbers_held(&self, width: usize, unfolds: impl Fn(&dyn Operator, usize) -> bool) -> usize {
        let mut kept = 0;
        let mut widest = 0;
        for (node, _) in
            self.network.nodes.iter().zip(&self.needed).filter(|(n, needed)| **needed && !n.shared)
        {
            let numbers = |ids: &[Option<usize>]| -> usize {
                ids.iter()
                    .flatten()
                    .filter(|v| self.network.values[**v].shared.is_none())
                    .map(|v| self.network.values[*v].shape.iter().product::<usize>())
                    .sum()
            };
            let operator = node.operator.as_ref();
            let of = |k: usize| operator.factor_shape(k).filter(|_| unfolds(operator, k));
            let factor = (0..node.inputs.len()).find_map(of);
            let (unfolded, back) = match factor {
                Some(FactorShape::Outer { groups, positions, input, .. }) => {
                    (groups * positions * input, groups * positions * input * width)
                }
                _ => (0, 0),
            };
            kept += numbers(&node.outputs) + unfolded;
            widest =
                widest.max(numbers(&node.inputs) * width + numbers(&node.outputs) * width + back);
        }
        kept + 2 * widest
    }

    /// Run the network on `batch` examples.
    pub fn forward(&self, inputs: Vec<InputData>, batch: usize) -> Result<Pass> {
        let mode = Mode { point: self.point.as_ref(), party: None };
        self.network.run(inputs, batch, &self.needed, mode)
    }

    /// Run the network at other parameter values.
    pub fn forward_at(&self, point: &Point, inputs: Vec<InputData>, batch: usize) -> Result<Pass> {
        self.network.run(inputs, batch, &self.needed, Mode { point: Some(point), party: None })
    }

    /// Run the network as it is trained: BatchNormalization takes the statistics of the batch, of
    /// which this is one party's part. A reverse sweep over the pass goes through them.
    pub fn forward_training(
        &self,
        point: &Point,
        inputs: Vec<InputData>,
        batch: usize,
        party: &Party,
    ) -> Result<Pass> {
        if !self.network.device.is_cpu() {
            return Err(NetworkError::Usage("networks are trained on the processor only".into()));
        }
        let mode = Mode { point: Some(point), party: Some(party) };
        self.network.run(inputs, batch, &self.needed, mode)
    }

    /// What a training pass says of the running statistics; the same for every party.
    pub fn batch_statistics(&self, pass: &Pass) -> Result<Vec<BatchStatistics>> {
        let mut found = Vec::new();
        for (id, node) in self.network.nodes.iter().enumerate().filter(|(id, _)| self.needed[*id]) {
            let (Some(_), Some(training)) = (&pass.party, node.operator.training()) else {
                continue;
            };
            let wrap = |error| self.network.node_error(node, error);
            let statistics = training.statistics(&pass.saved[id]).map_err(wrap)?;
            let moments = [statistics.mean, statistics.variance];
            for (operand, values) in training.statistic_operands().into_iter().zip(moments) {
                let Some(value) = node.inputs[operand] else { continue };
                let name = self.network.values[value].name.clone();
                let momentum = statistics.momentum;
                found.push(BatchStatistics { name, values, momentum });
            }
        }
        Ok(found)
    }

    /// The running statistics that a training pass would add to, by name, as the file has them.
    pub fn running_statistics(&self) -> Result<BTreeMap<String, Vec<f64>>> {
        let mut found = BTreeMap::new();
        for (node, _) in self.network.nodes.iter().zip(&self.needed).filter(|(_, needed)| **needed)
        {
            let Some(training) = node.operator.training() else { continue };
            for operand in training.statistic_operands() {
                let Some(value) = node.inputs[operand] else { continue };
                let value = &self.network.values[value];
                let Some(shared) = &value.shared else { continue };
                let numbers = shared.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
                found.insert(value.name.clone(), numbers);
            }
        }
        Ok(found)
    }

    /// Whether any operator has another form while it is trained.
    pub fn mixes_in_training(&self) -> bool {
        let needed = self.network.nodes.iter().zip(&self.needed).filter(|(_, needed)| **needed);
        needed.into_iter().any(|(node, _)| node.operator.training().is_some())
    }

    /// The uses of a component in the order in which a sweep meets them.
    pub(crate) fn uses_backwards(&self, component: usize) -> impl Iterator<Item = &Use> {
        // Operands with factors are met before those without, in each node.
        let own = self.uses.iter().filter(move |leaf| leaf.component == component);
        let mut own: Vec<&Use> = own.collect();
        own.sort_by_key(|leaf| (std::cmp::Reverse(leaf.node), leaf.shape.is_none(), leaf.operand));
        own.into_iter()
    }

    /// Whether the uses of a component hold different entries of it.
    pub(crate) fn is_scattered(&self, component: usize) -> bool {
        self.components[component].merge == Merge::Scatter
    }

    /// The stored positions of the entries of a value.
    pub(crate) fn taken(&self, value: usize) -> Result<Option<Tensor>> {
        Ok(match &self.entries(value)?.map {
            Some(map) => Some(map.flatten_all()?.to_dtype(DType::I64)?),
            None => None,
        })
    }

    /// The stored positions of the entries of a component; `None` where it is all of the parameter.
    pub(crate) fn held(&self, component: usize) -> Result<Option<Tensor>> {
        if self.components[component].merge == Merge::Scatter {
            return Ok(None);
        }
        let Some(first) = self.uses.iter().find(|u| u.component == component) else {
            return Ok(None);
        };
        Ok(match &self.entries(first.value)?.map {
            Some(map) => Some(map.flatten_all()?),
            None => None,
        })
    }

    /// The output of a pass: `[B, *shape]`.
    pub fn output(&self, pass: &Pass) -> Result<Tensor> {
        match &pass.values[self.output] {
            Some(output) => Ok(output.clone()),
            None => Err(NetworkError::Usage("the pass did not reach the output".into())),
        }
    }

    /// Cotangents that ask for every element of the output: `[B, d, *shape]`, d its element count.
    pub fn identity(&self, batch: usize) -> Result<Tensor> {
        let shape = self.output_shape();
        let count: usize = shape.iter().product();
        let eye = Tensor::eye(count, self.network.dtype(), self.network.device())?;
        let mut full = vec![batch, count];
        full.extend(shape);
        let eye = eye.reshape(lead_shape(count, shape))?.unsqueeze(0)?;
        Ok(eye.broadcast_as(full)?.contiguous()?)
    }

    /// Sweep back from cotangents `[B, d, *shape]` of the output; each component's factor goes to
    /// the sink.
    pub fn reverse(&self, pass: &Pass, seeds: &Tensor, sink: &mut dyn Sink) -> Result<()> {
        let (batch, width) = (seeds.dims()[0], seeds.dims()[1]);
        self.sweep_back(pass, self.seeded(seeds)?, (batch, width), sink, None)
    }

    /// Cotangents by value, of which only the output has any.
    pub(crate) fn seeded(&self, seeds: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let rows = seeds.dims()[0] * seeds.dims()[1];
        let mut start = vec![None; self.network.values.len()];
        start[self.output] =
            Some(seeds.contiguous()?.reshape(lead_shape(rows, self.output_shape()))?);
        Ok(start)
    }

    /// Sweep back from cotangents of any values, `[B·d, *shape]` each.
    pub(crate) fn sweep_back(
        &self,
        pass: &Pass,
        mut cotangents: Vec<Option<Tensor>>,
        (batch, width): (usize, usize),
        sink: &mut dyn Sink,
        mut record: Option<&mut Record>,
    ) -> Result<()> {
        let network = self.network;
        let mut pending = Pending::new(self, batch, width, sink);
        for (id, node) in network.nodes.iter().enumerate().rev() {
            if !self.needed[id] {
                continue;
            }
            let back: Vec<Option<Tensor>> =
                node.outputs.iter().map(|o| o.and_then(|o| cotangents[o].take())).collect();
            if back.iter().all(Option::is_none) {
                continue;
            }
            if let Some(record) = &mut record {
                for (output, back) in node.outputs.iter().zip(&back) {
                    if let Some(output) = output {
                        record.cotangents[*output].clone_from(back);
                    }
                }
            }
            let inputs: Vec<Option<&Tensor>> =
                node.inputs.iter().map(|i| i.and_then(|i| pass.values[i].as_ref())).collect();
            let outputs: Vec<Tensor> =
                node.outputs.iter().map_while(|o| o.and_then(|o| pass.values[o].clone())).collect();
            let away = network.is_away(node);
            let (inputs, outputs, back) = match away {
                true => {
                    (fetched(&inputs)?, sent(outputs, &Device::Cpu)?, fetched(&borrowed(&back))?)
                }
                false => {
                    (inputs.into_iter().map(Option::<&Tensor>::cloned).collect(), outputs, back)
                }
            };
            let inputs = borrowed(&inputs);
            let saved = self.saved(pass, id, &inputs)?;
            let (factored, wanted) = self.wishes(id);
            let reverse = Reverse {
                inputs: &inputs,
                outputs: &outputs,
                saved: &saved,
                cotangents: &back,
                wanted: &wanted,
                batch,
                width,
                memo: Default::default(),
            };
            let wrap = |error| network.node_error(node, error);
            for operand in factored {
                let Some(leaf) = self.leaf_use(id, operand) else { continue };
                if pending.takes_imaged(leaf) {
                    let mut imaged = node.operator.imaged(operand, &reverse).map_err(wrap)?;
                    if away {
                        imaged = imaged.to_device(&network.device)?;
                    }
                    pending.deliver_imaged(leaf, imaged)?;
                    continue;
                }
                let factor = if pending.takes_written(leaf) {
                    node.operator.gradient(operand, &reverse)
                } else {
                    node.operator.factor(operand, &reverse)
                };
                let mut factor = factor.map_err(wrap)?;
                if away {
                    factor = factor.to_device(&network.device)?;
                }
                pending.deliver(leaf, factor)?;
            }
            if !wanted.contains(&true) {
                continue;
            }
            let results = match (&pass.party, node.operator.training()) {
                (Some(party), Some(training)) => training.reverse(&reverse, party),
                _ => node.operator.reverse(&reverse),
            }
            .map_err(wrap)?;
            for (operand, result) in results.into_iter().enumerate() {
                let (Some(value), Some(result)) =
                    (node.inputs.get(operand).copied().flatten(), result)
                else {
                    continue;
                };
                if !wanted[operand] {
                    continue;
                }
                let result = if away { result.to_device(&network.device)? } else { result };
                match self.leaf_use(id, operand) {
                    Some(leaf) => pending.deliver(leaf, dense(&result, batch, width)?)?,
                    None => add(&mut cotangents[value], result)?,
                }
            }
        }
        pending.finish()
    }

    /// What the forward step saved; nodes that ran while the graph was built run again.
    pub(crate) fn saved(
        &self,
        pass: &Pass,
        id: usize,
        inputs: &[Option<&Tensor>],
    ) -> Result<Vec<Tensor>> {
        let node = &self.network.nodes[id];
        if !node.shared {
            return Ok(pass.saved[id].clone());
        }
        let forward =
            node.operator.forward(inputs).map_err(|e| self.network.node_error(node, e))?;
        Ok(forward.saved)
    }

    /// Which operands of a node give factors, and which want a cotangent.
    pub(crate) fn wishes(&self, id: usize) -> (Vec<usize>, Vec<bool>) {
        let node = &self.network.nodes[id];
        let mut factored = Vec::new();
        let mut wanted = vec![false; node.inputs.len()];
        for (operand, value) in node.inputs.iter().enumerate() {
            let Some(value) = value.filter(|v| self.wanted[*v]) else { continue };
            let leaf = self.network.values[value].entries.is_some();
            if leaf && node.operator.factor_shape(operand).is_some() {
                factored.push(operand);
            } else {
                wanted[operand] = true;
            }
        }
        (factored, wanted)
    }

    fn leaf_use(&self, node: usize, operand: usize) -> Option<&Use> {
        self.uses.iter().find(|u| u.node == node && u.operand == operand)
    }

    fn find_uses(&mut self) {
        let network = self.network;
        for (id, node) in network.nodes.iter().enumerate().filter(|(id, _)| self.needed[*id]) {
            // A node whose outputs are themselves entries of the parameter is passed over: its
            // outputs' uses are the uses.
            let reached = |o: &Option<usize>| {
                o.is_some_and(|o| self.wanted[o] && network.values[o].entries.is_none())
            };
            if !node.outputs.iter().any(reached) {
                continue;
            }
            for (operand, value) in node.inputs.iter().enumerate() {
                let Some(value) = value.filter(|v| self.wanted[*v]) else { continue };
                if network.values[value].entries.is_some() {
                    let shape = node.operator.factor_shape(operand);
                    self.uses.push(Use { node: id, operand, value, shape, component: 0 });
                }
            }
        }
    }

    fn entries(&self, value: usize) -> Result<&'a Entries> {
        match &self.network.values[value].entries {
            Some(entries) => Ok(entries),
            None => Err(NetworkError::Usage("a use without entries".into())),
        }
    }

    /// Group the uses of each parameter by shared entries.
    fn form_components(&mut self) -> Result<()> {
        let mut by_parameter: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, leaf) in self.uses.iter().enumerate() {
            by_parameter.entry(self.entries(leaf.value)?.parameter).or_default().push(index);
        }
        for (parameter, uses) in by_parameter {
            for group in self.overlapping(parameter, &uses)? {
                let component = self.components.len();
                let (shape, merge) = self.merged(parameter, &group)?;
                group.iter().for_each(|u| self.uses[*u].component = component);
                let windows = self.windows(&group, merge);
                let uses = group.len();
                self.components.push(Component { parameter, shape, windows, merge, uses });
            }
        }
        Ok(())
    }

    /// Split uses into groups such that uses of different groups share no entry.
    fn overlapping(&self, parameter: usize, uses: &[usize]) -> Result<Vec<Vec<usize>>> {
        if uses.len() == 1 {
            return Ok(vec![uses.to_vec()]);
        }
        let mut groups: Vec<(Vec<usize>, Vec<bool>)> = Vec::new();
        for index in uses {
            let mut members = vec![*index];
            let mut held = vec![false; self.network.parameters[parameter].len()];
            for at in self.positions(*index)? {
                held[at] = true;
            }
            // Merge with every earlier group that holds one of these entries.
            for (other, theirs) in std::mem::take(&mut groups) {
                if theirs.iter().zip(&held).any(|(a, b)| *a && *b) {
                    members.splice(0..0, other);
                    held.iter_mut().zip(&theirs).for_each(|(a, b)| *a |= b);
                } else {
                    groups.push((other, theirs));
                }
            }
            groups.push((members, held));
        }
        Ok(groups.into_iter().map(|(members, _)| members).collect())
    }

    /// The stored positions of the entries that a use holds.
    fn positions(&self, index: usize) -> Result<Vec<usize>> {
        let value = self.uses[index].value;
        let entries = self.entries(value)?;
        Ok(match &entries.map {
            None => (0..self.network.parameters[entries.parameter].len()).collect(),
            Some(map) => {
                map.flatten_all()?.to_vec1::<i64>()?.into_iter().map(|at| at as usize).collect()
            }
        })
    }

    /// The windows of a component that is one convolution's weight.
    fn windows(&self, group: &[usize], merge: Merge) -> Option<Windows> {
        let [only] = group else { return None };
        let Use { node, operand, .. } = self.uses[*only];
        let operator = &self.network.nodes[node].operator;
        operator.windows(operand).filter(|_| merge == Merge::Join)
    }

    /// The form that a group of uses takes together.
    fn merged(&self, parameter: usize, group: &[usize]) -> Result<(FactorShape, Merge)> {
        let count = |index: usize| -> usize {
            self.network.values[self.uses[index].value].shape.iter().product()
        };
        let own = |index: usize| {
            self.uses[index].shape.unwrap_or(FactorShape::Dense { len: count(index) })
        };
        let first = group[0];
        let mut total = own(first);
        let mut joined = true;
        for other in &group[1..] {
            joined &= self.positions(first)? == self.positions(*other)?;
            match join(total, own(*other)) {
                Some(shape) => total = shape,
                None => joined = false,
            }
        }
        if joined {
            return Ok((total, Merge::Join));
        }
        let len = self.network.parameters[parameter].len();
        Ok((FactorShape::Dense { len }, Merge::Scatter))
    }
}

/// Two factors of the same entries as one, where their forms allow.
fn join(a: FactorShape, b: FactorShape) -> Option<FactorShape> {
    use FactorShape::{Dense, Outer, Rows};
    match (a, b) {
        (Dense { len }, Dense { len: other }) if len == other => Some(a),
        (
            Outer { groups, positions, input, cotangent, order },
            Outer { groups: g, positions: more, input: i, cotangent: c, order: o },
        ) if (groups, input, cotangent, order) == (g, i, c, o) => {
            Some(Outer { groups, positions: positions + more, input, cotangent, order })
        }
        (Rows { positions, rows, width }, Rows { positions: more, rows: r, width: w })
            if (rows, width) == (r, w) =>
        {
            Some(Rows { positions: positions + more, rows, width })
        }
        _ => None,
    }
}

/// Factors that wait for the other uses of their component.
struct Pending<'s, 'a> {
    sweep: &'s Sweep<'a>,
    batch: usize,
    width: usize,
    waiting: Vec<Vec<(usize, Factor)>>,
    sink: &'s mut dyn Sink,
    done: Vec<bool>,
}

impl<'s, 'a> Pending<'s, 'a> {
    fn new(sweep: &'s Sweep<'a>, batch: usize, width: usize, sink: &'s mut dyn Sink) -> Self {
        let count = sweep.components.len();
        let waiting = (0..count).map(|_| Vec::new()).collect();
        Self { sweep, batch, width, waiting, sink, done: vec![false; count] }
    }

    /// Whether a use is all of its component, and that is wanted written out.
    fn takes_written(&self, leaf: &Use) -> bool {
        let component = &self.sweep.components[leaf.component];
        let alone = component.uses == 1 && matches!(component.merge, Merge::Join);
        alone && self.sink.writes_out(leaf.component)
    }

    /// Whether a use is all of its component, and that is wanted as an image.
    fn takes_imaged(&self, leaf: &Use) -> bool {
        self.sweep.components[leaf.component].windows.is_some()
            && self.sink.takes_images(leaf.component)
    }

    fn deliver_imaged(&mut self, leaf: &Use, factor: Imaged) -> Result<()> {
        self.done[leaf.component] = true;
        self.sink.accept_imaged(leaf.component, factor)
    }

    fn deliver(&mut self, leaf: &Use, factor: Factor) -> Result<()> {
        let component = leaf.component;
        self.waiting[component].push((leaf.value, factor));
        if self.waiting[component].len() == self.sweep.components[component].uses {
            self.release(component)?;
        }
        Ok(())
    }

    fn release(&mut self, component: usize) -> Result<()> {
        let parts = std::mem::take(&mut self.waiting[component]);
        let factor = match self.sweep.components[component].merge {
            Merge::Join => join_factors(parts.into_iter().map(|(_, f)| f).collect())?,
            Merge::Scatter => self.scatter(component, parts)?,
        };
        self.done[component] = true;
        self.sink.accept(component, factor)
    }

    /// Add written-out gradients at the stored positions of their entries.
    fn scatter(&self, component: usize, parts: Vec<(usize, Factor)>) -> Result<Factor> {
        let parameter = self.sweep.components[component].parameter;
        let len = self.sweep.network.parameters[parameter].len();
        let dtype = self.sweep.network.dtype();
        let shape = (self.batch * self.width, len);
        let mut total = Tensor::zeros(shape, dtype, self.sweep.network.device())?;
        for (value, factor) in parts {
            let gradient = factor.to_dense()?;
            let gradient = gradient.reshape((self.batch * self.width, gradient.dims()[2]))?;
            total = match &self.sweep.entries(value)?.map {
                None => (total + gradient)?,
                Some(map) => {
                    let map = map.flatten_all()?.to_dtype(DType::I64)?;
                    total.index_add(&map, &gradient.contiguous()?, 1)?
                }
            };
        }
        Ok(Factor::Dense(total.reshape((self.batch, self.width, len))?))
    }

    /// Components of which nothing or not everything came back: what is missing is zero.
    fn finish(mut self) -> Result<()> {
        for component in 0..self.done.len() {
            if self.done[component] {
                continue;
            }
            let Component { shape, windows, .. } = &self.sweep.components[component];
            if let Some(windows) = windows.as_ref().filter(|_| self.sink.takes_images(component)) {
                let zeros = self.imaged_zeros(*shape, windows)?;
                self.sink.accept_imaged(component, zeros)?;
            } else if self.waiting[component].is_empty() {
                let zeros = self.zeros(*shape)?;
                self.sink.accept(component, zeros)?;
            } else {
                self.release(component)?;
            }
        }
        Ok(())
    }

    fn imaged_zeros(&self, shape: FactorShape, windows: &Windows) -> Result<Imaged> {
        let FactorShape::Outer { cotangent, .. } = shape else {
            return Err(NetworkError::Usage("windows over what is no convolution".into()));
        };
        let (dtype, device) = (self.sweep.network.dtype(), self.sweep.network.device());
        let size = windows.numbers() / windows.channels().max(1);
        let image = Tensor::zeros((self.batch, windows.channels(), size), dtype, device)?;
        let shape = (self.batch, self.width, cotangent, windows.positions());
        Ok(Imaged { image, cotangent: Tensor::zeros(shape, dtype, device)? })
    }

    fn zeros(&self, shape: FactorShape) -> Result<Factor> {
        let (b, d) = (self.batch, self.width);
        let zeros = |shape: Vec<usize>| {
            Tensor::zeros(shape, self.sweep.network.dtype(), self.sweep.network.device())
        };
        Ok(match shape {
            FactorShape::Dense { len } => Factor::Dense(zeros(vec![b, d, len])?),
            FactorShape::Outer { groups, positions, input, cotangent, order } => Factor::Outer {
                input: zeros(vec![b, groups, positions, input])?,
                cotangent: zeros(vec![b, d, groups, positions, cotangent])?,
                order,
            },
            FactorShape::Rows { positions, rows, width } => Factor::Rows {
                index: Tensor::zeros((b, positions), DType::I64, self.sweep.network.device())?,
                cotangent: zeros(vec![b, d, positions, width])?,
                rows,
            },
        })
    }
}

/// Factors of one form and the same entries as one: sums side by side, arrays added.
fn join_factors(parts: Vec<Factor>) -> Result<Factor> {
    let mut parts = parts.into_iter();
    let Some(mut total) = parts.next() else {
        return Err(NetworkError::Usage("a component without factors".into()));
    };
    for part in parts {
        total = match (total, part) {
            (Factor::Dense(a), Factor::Dense(b)) => Factor::Dense((a + b)?),
            (
                Factor::Outer { input, cotangent, order },
                Factor::Outer { input: more_input, cotangent: more_cotangent, .. },
            ) => Factor::Outer {
                input: Tensor::cat(&[input.contiguous()?, more_input.contiguous()?], 2)?,
                cotangent: Tensor::cat(
                    &[cotangent.contiguous()?, more_cotangent.contiguous()?],
                    3,
                )?,
                order,
            },
            (
                Factor::Rows { index, cotangent, rows },
                Factor::Rows { index: more_index, cotangent: more_cotangent, .. },
            ) => Factor::Rows {
                index: Tensor::cat(&[index, more_index], 1)?,
                cotangent: Tensor::cat(
                    &[cotangent.contiguous()?, more_cotangent.contiguous()?],
                    2,
                )?,
                rows,
            },
            _ => return Err(NetworkError::Usage("factors of different forms".into())),
        };
    }
    Ok(total)
}

/// A cotangent `[B·d, *shape]` of a parameter's entries as a written-out gradient.
fn dense(cotangent: &Tensor, batch: usize, width: usize) -> Result<Factor> {
    let len = cotangent.elem_count() / (batch * width).max(1);
    Ok(Factor::Dense(cotangent.contiguous()?.reshape((batch, width, len))?))
}

/// Add to a sum that may not have begun.
pub(crate) fn add(slot: &mut Option<Tensor>, more: Tensor) -> Result<()> {
    *slot = Some(match slot.take() {
        Some(sum) => (sum + more)?,
        None => more,
    });
    Ok(())
}

fn needed_nodes(network: &Network, output: usize) -> Vec<bool> {
    let mut values = vec![false; network.values.len()];
    values[output] = true;
    let mut nodes = vec![false; network.nodes.len()];
    for (id, node) in network.nodes.iter().enumerate().rev() {
        if node.outputs.iter().flatten().any(|o| values[*o]) {
            nodes[id] = true;
            node.inputs.iter().flatten().for_each(|i| values[*i] = true);
        }
    }
    nodes
}

/// No node may lose a gradient without a word.
fn check_gradients(network: &Network, needed: &[bool], wanted: &[bool]) -> Result<()> {
    for (node, _) in network.nodes.iter().zip(needed).filter(|(_, needed)| **needed) {
        if let Some(reason) = node.operator.refuses_gradient()
            && node.inputs.iter().flatten().any(|input| wanted[*input])
        {
            return Err(network.node_error(node, OperatorError::Message(reason.into())));
        }
    }
    Ok(())
}

/// Values through which the chosen parameters reach the output, along float values only.
fn wanted_values(network: &Network, needed: &[bool], chosen: &[bool]) -> Vec<bool> {
    let mut wanted: Vec<bool> = network
        .values
        .iter()
        .map(|value| match &value.entries {
            Some(entries) => chosen[entries.parameter],
            None => false,
        })
        .collect();
    for (node, _) in network.nodes.iter().zip(needed).filter(|(_, needed)| **needed) {
        let reached = node.inputs.iter().flatten().any(|i| wanted[*i]);
        if reached && !node.operator.reads_shape_only() {
            for output in node.outputs.iter().flatten() {
                wanted[*output] |= network.values[*output].dtype.is_float();
            }
        }
    }
    wanted
}
