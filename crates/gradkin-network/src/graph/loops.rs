//! Loop and Scan, whose body is built once for each of their turns, one after the other. How many there are must be
//! known while the graph is built, as it is for recurrences over sequences of one length.

use std::collections::{HashMap, HashSet};

use super::Builder;
use crate::error::{OpResult, OperatorError, Result, fail};
use crate::onnx::{Attributes, Constant, ConstantData, RawGraph, RawNode};
use crate::tensor::axis_of;

/// The operators that run a graph of their own again and again.
pub(crate) const OPERATORS: &[&str] = &["Loop", "Scan"];

/// Values that a graph with such nodes may come to.
const MOST_VALUES: usize = 1 << 18;

/// A graph that is built once for each turn.
struct Body<'r> {
    raw: &'r RawNode,
    graph: &'r RawGraph,
    /// What names of the body begin with outside it.
    prefix: String,
    /// Names that nodes of the body write, and those of graphs inside them.
    written: HashSet<&'r str>,
    stored: HashSet<&'r str>,
}

impl<'r> Body<'r> {
    fn new(raw: &'r RawNode) -> OpResult<Self> {
        let graph = raw.attributes.graph("body")?;
        let first = raw.outputs.iter().find(|name| !name.is_empty());
        let prefix = first.unwrap_or(&raw.name).clone();
        let mut written = HashSet::new();
        note_written(graph, &mut written);
        let stored = graph.initializers.iter().map(|(name, _)| name.as_str()).collect();
        Ok(Self { raw, graph, prefix, written, stored })
    }

    /// The inputs and outputs that there must be.
    fn has(&self, inputs: usize, least_outputs: usize) -> OpResult<()> {
        let graph = self.graph;
        if graph.inputs.len() != inputs || graph.outputs.len() < least_outputs {
            fail!(
                "the body has {} inputs and {} outputs; expected {inputs} inputs and at least \
                 {least_outputs} outputs",
                graph.inputs.len(),
                graph.outputs.len()
            );
        }
        Ok(())
    }

    /// Whether so many turns are too many.
    fn check(&self, turns: usize) -> OpResult<()> {
        if turns.saturating_mul(self.written.len().max(1)) > MOST_VALUES {
            fail!(
                "{turns} turns of a body of {} values; expected no more than {MOST_VALUES} values in all",
                self.written.len()
            );
        }
        Ok(())
    }

    /// The name of a value of the body outside it, in a turn that was given these inputs.
    fn name(&self, name: &str, turn: usize, given: &HashMap<&str, &String>) -> String {
        match given.get(name) {
            Some(given) => (*given).clone(),
            None if self.written.contains(name) => format!("{}[{turn}]/{name}", self.prefix),
            None if self.stored.contains(name) => format!("{}/{name}", self.prefix),
            None => name.to_owned(),
        }
    }
}

/// Every name that a graph's nodes write, and graphs inside them.
fn note_written<'r>(graph: &'r RawGraph, written: &mut HashSet<&'r str>) {
    for node in &graph.nodes {
        written.extend(node.outputs.iter().map(String::as_str).filter(|name| !name.is_empty()));
        for inner in node.attributes.graphs() {
            written.extend(inner.inputs.iter().map(String::as_str));
            written.extend(inner.initializers.iter().map(|(name, _)| name.as_str()));
            note_written(inner, written);
        }
    }
}

impl Builder<'_> {
    /// Builds all turns of a Loop or a Scan; whether a node is one.
    pub(super) fn unrolled(&mut self, raw: &RawNode) -> Result<bool> {
        match raw.operator.as_str() {
            "Loop" => self.looped(raw)?,
            "Scan" => self.scanned(raw)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn looped(&mut self, raw: &RawNode) -> Result<()> {
        let model = self.model;
        let wrap = |error: OperatorError| raw.refused(model, error);
        let body = Body::new(raw).map_err(wrap)?;
        let mut carried: Vec<String> = raw.inputs.iter().skip(2).cloned().collect();
        body.has(2 + carried.len(), 1 + carried.len()).map_err(wrap)?;
        let count = self.known(raw, 0).map_err(wrap)?;
        let count = count.map(|count| count.first().copied().unwrap_or(0).max(0) as usize);
        body.check(count.unwrap_or(0)).map_err(wrap)?;
        let conditional = raw.inputs.get(1).filter(|name| !name.is_empty()).cloned();
        if count.is_none() && conditional.is_none() {
            return Err(raw.refused(model, "neither a count nor a condition ends the loop"));
        }
        let mut condition = match &conditional {
            Some(name) => name.clone(),
            None => {
                let name = format!("{}/true", body.prefix);
                self.constant(&name, &Constant::new(Vec::new(), ConstantData::Bool(vec![1])))?;
                name
            }
        };
        self.store(&body)?;
        let mut stacked = vec![Vec::new(); body.graph.outputs.len() - 1 - carried.len()];
        let mut turn = 0;
        while count.is_none_or(|count| turn < count) {
            // Without a condition of its own a Loop does not ask its body for one.
            if conditional.is_some() && !self.holds(&condition).map_err(wrap)? {
                break;
            }
            let number = format!("{}[{turn}]", body.prefix);
            let index = ConstantData::I64(vec![turn as i64]);
            self.constant(&number, &Constant::new(Vec::new(), index))?;
            let given: Vec<&String> = [&number, &condition].into_iter().chain(&carried).collect();
            let mut outputs = self.turn(&body, turn, &given)?.into_iter();
            condition = outputs.next().unwrap_or_default();
            carried = outputs.by_ref().take(carried.len()).collect();
            stacked.iter_mut().zip(outputs).for_each(|(stacked, name)| stacked.push(name));
            turn += 1;
        }
        let axes = vec![0; stacked.len()];
        self.results(&body, carried, stacked, &axes)
    }

    fn scanned(&mut self, raw: &RawNode) -> Result<()> {
        let model = self.model;
        let wrap = |error: OperatorError| raw.refused(model, error);
        let body = Body::new(raw).map_err(wrap)?;
        if raw.opset.unwrap_or(model.opset) < 9 {
            return Err(raw.refused(model, "Scan is supported from opset 9 on"));
        }
        let scanned = raw.attributes.int("num_scan_inputs", 0).map_err(wrap)?;
        let scanned = usize::try_from(scanned).ok().filter(|n| (1..=raw.inputs.len()).contains(n));
        let Some(scanned) = scanned else {
            return Err(raw.refused(model, "num_scan_inputs is not among the inputs"));
        };
        let (carried, inputs) = raw.inputs.split_at(raw.inputs.len() - scanned);
        let mut carried = carried.to_vec();
        body.has(raw.inputs.len(), carried.len()).map_err(wrap)?;
        let list = |name: &str, count: usize| -> OpResult<Vec<i64>> {
            let given = raw.attributes.ints(name)?.unwrap_or_else(|| vec![0; count]);
            match given.len() == count {
                true => Ok(given),
                false => fail!("{name} has {} entries; expected {count}", given.len()),
            }
        };
        let (axes, backward) =
            (list("scan_input_axes", scanned), list("scan_input_directions", scanned));
        let (axes, backward) = (axes.map_err(wrap)?, backward.map_err(wrap)?);
        let mut slices = Vec::with_capacity(scanned);
        for (k, name) in inputs.iter().enumerate() {
            let mut own = self.slices(&body, name, axes[k])?;
            if backward[k] != 0 {
                own.reverse();
            }
            slices.push(own);
        }
        let turns = slices[0].len();
        if slices.iter().any(|own| own.len() != turns) {
            return Err(raw.refused(model, "the scanned inputs are not of one length"));
        }
        self.store(&body)?;
        let made = body.graph.outputs.len() - carried.len();
        let (axes, backward) =
            (list("scan_output_axes", made), list("scan_output_directions", made));
        let (axes, backward) = (axes.map_err(wrap)?, backward.map_err(wrap)?);
        let mut stacked = vec![Vec::with_capacity(turns); made];
        for turn in 0..turns {
            let given: Vec<&String> =
                carried.iter().chain(slices.iter().map(|own| &own[turn])).collect();
            let mut outputs = self.turn(&body, turn, &given)?.into_iter();
            carried = outputs.by_ref().take(carried.len()).collect();
            stacked.iter_mut().zip(outputs).for_each(|(stacked, name)| stacked.push(name));
        }
        for (stacked, backward) in stacked.iter_mut().zip(backward) {
            if backward != 0 {
                stacked.reverse();
            }
        }
        self.results(&body, carried, stacked, &axes)
    }

    /// Tensors that the body stores, once for all turns.
    fn store(&mut self, body: &Body) -> Result<()> {
        for (name, constant) in &body.graph.initializers {
            self.constant(&format!("{}/{name}", body.prefix), constant)?;
        }
        Ok(())
    }

    /// The body once more, with these inputs; the names of its outputs.
    fn turn(&mut self, body: &Body, turn: usize, given: &[&String]) -> Result<Vec<String>> {
        // Loops in loops, and those that only a condition ends, come to more than one of them shows.
        if self.values.len() > MOST_VALUES {
            let message =
                format!("with turn {turn} the graph comes to more than {MOST_VALUES} values");
            return Err(body.raw.refused(self.model, message));
        }
        let inputs = body.graph.inputs.iter().map(String::as_str);
        let given: HashMap<&str, &String> = inputs.zip(given.iter().copied()).collect();
        let name = |name: &str| body.name(name, turn, &given);
        for node in &body.graph.nodes {
            self.inner(body.raw, &node.renamed(&name))?;
        }
        let outputs: Vec<String> = body.graph.outputs.iter().map(|output| name(output)).collect();
        match outputs.iter().find(|output| !self.is_known(output)) {
            Some(lost) => Err(body.raw.refused(self.model, format!("no node writes `{lost}`"))),
            None => Ok(outputs),
        }
    }

    /// Whether a condition holds, which must be known.
    pub(super) fn holds(&self, name: &str) -> OpResult<bool> {
        match self.by_name.get(name).map(|id| self.operand(*id).constant) {
            Some(Some(value)) => {
                let value = value.flatten_all()?.to_dtype(candle_core::DType::F64)?;
                Ok(value.to_vec1::<f64>()?.first().is_some_and(|x| *x != 0.0))
            }
            _ => fail!("the condition `{name}` depends on the data or on weights"),
        }
    }

    /// The names of a tensor's slices along an axis, which they lose.
    fn slices(&mut self, body: &Body, x: &str, axis: i64) -> Result<Vec<String>> {
        let (raw, model) = (body.raw, self.model);
        let wrap = |error: OperatorError| raw.refused(model, error);
        let Some(id) = self.by_name.get(x) else {
            return Err(raw.refused(model, format!("`{x}` is missing, or is no tensor")));
        };
        let shape = &self.values[*id].shape;
        let axis = axis_of(axis, shape.len()).map_err(wrap)?;
        let count = shape[axis];
        body.check(count).map_err(wrap)?;
        let sizes = vec![1; count];
        let names = |kind: &str| -> Vec<String> {
            (0..count).map(|k| format!("{}/{x}{kind}[{k}]", body.prefix)).collect()
        };
        self.taken_apart(raw, x, (axis as i64, &sizes), (names(" with its axis"), Some(names(""))))
    }

    /// What the node gives: carried values as they came out of the last turn, others stacked along an axis.
    fn results(
        &mut self,
        body: &Body,
        carried: Vec<String>,
        stacked: Vec<Vec<String>>,
        axes: &[i64],
    ) -> Result<()> {
        let raw = body.raw;
        let mut outputs = raw.outputs.iter();
        for (name, output) in carried.into_iter().zip(outputs.by_ref()) {
            if !output.is_empty() {
                let same = Attributes::default();
                self.stand_in(raw, "Identity", vec![name], vec![output.clone()], same)?;
            }
        }
        let stacked = stacked.into_iter().zip(axes).zip(outputs);
        for ((names, axis), output) in stacked.filter(|(_, output)| !output.is_empty()) {
            if names.is_empty() {
                let message = format!("`{output}` is stacked from no turn at all");
                return Err(raw.refused(self.model, message));
            }
            self.stacked(raw, names, *axis, output)?;
        }
        Ok(())
    }
}
