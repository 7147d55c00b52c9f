//! Sequences of tensors, which last only while the graph is built. How long one is and which of its tensors a node takes
//! must be known by then; so each tensor in it is a value with a name, and nothing of a sequence is left that would run.
//!
//! PyTorch's exporter writes chunk, split and unbind so where it knows less of shapes than we do.

use super::{Builder, RawNode};
use crate::error::{OpResult, OperatorError, Result, fail};
use crate::onnx::{Attributes, Constant, ConstantData};
use crate::tensor::axis_of;

/// The operators that make, change or read sequences.
pub(crate) const OPERATORS: &[&str] = &[
    "ConcatFromSequence",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SplitToSequence",
];

/// The opset in which Split, Squeeze and Unsqueeze have what they need as attributes.
const OPSET: i64 = 11;

impl Builder<'_> {
    /// Builds what a node stands for that makes, changes or reads a sequence; whether it is one.
    pub(super) fn sequence(&mut self, raw: &RawNode) -> Result<bool> {
        let hands_on = raw.operator == "Identity" && self.is_sequence(raw.inputs.first());
        if !hands_on && !OPERATORS.contains(&raw.operator.as_str()) {
            return match raw.inputs.iter().find(|name| self.is_sequence(Some(name))) {
                Some(name) => {
                    let message =
                        format!("`{name}` is a sequence, which the operator does not take");
                    Err(raw.refused(self.model, message))
                }
                None => Ok(false),
            };
        }
        let Some(output) = raw.outputs.first().filter(|name| !name.is_empty()) else {
            return Ok(true);
        };
        let model = self.model;
        let wrap = |error: OperatorError| raw.refused(model, error);
        match raw.operator.as_str() {
            "SequenceAt" => {
                let at = self.taken(raw).map_err(wrap)?;
                self.stand_in(
                    raw,
                    "Identity",
                    vec![at],
                    vec![output.clone()],
                    Attributes::default(),
                )?;
            }
            "SequenceLength" => {
                let length = self.read(raw).map_err(wrap)?.len() as i64;
                let length = Constant::new(Vec::new(), ConstantData::I64(vec![length]));
                self.constant(output, &length)?;
            }
            "ConcatFromSequence" => self.joined(raw, output)?,
            "SplitToSequence" => {
                let parts = self.split(raw, output)?;
                self.sequences.insert(output.clone(), parts);
            }
            _ => {
                let changed = self.changed(raw).map_err(wrap)?;
                self.sequences.insert(output.clone(), changed);
            }
        }
        Ok(true)
    }

    /// Whether a sequence has this name.
    pub(super) fn is_sequence(&self, name: Option<&String>) -> bool {
        name.is_some_and(|name| self.sequences.contains_key(name))
    }

    /// The names of the tensors in the sequence that a node reads.
    fn read(&self, raw: &RawNode) -> OpResult<&[String]> {
        match raw.inputs.first().and_then(|name| self.sequences.get(name)) {
            Some(names) => Ok(names),
            None => fail!("the first input is no sequence"),
        }
    }

    /// The tensor that a node reads as input `k`.
    fn tensor(&self, raw: &RawNode, k: usize) -> OpResult<String> {
        match raw.inputs.get(k).filter(|name| self.by_name.contains_key(name.as_str())) {
            Some(name) => Ok(name.clone()),
            None => fail!("input {k} is missing, or is no tensor"),
        }
    }

    /// Whole numbers that must be known while the graph is built; `None` where there is no such input.
    pub(super) fn known(&self, raw: &RawNode, k: usize) -> OpResult<Option<Vec<i64>>> {
        let Some(name) = raw.inputs.get(k).filter(|name| !name.is_empty()) else { return Ok(None) };
        match self.by_name.get(name.as_str()).map(|id| self.operand(*id).constant) {
            Some(Some(numbers)) if !numbers.dtype().is_float() => {
                let whole = numbers.flatten_all()?.to_dtype(candle_core::DType::I64)?;
                Ok(Some(whole.to_vec1()?))
            }
            _ => fail!(
                "input {k}, `{name}`, depends on the data or on weights, or is no whole number"
            ),
        }
    }

    /// A place before `end` in a sequence of so many, counted from its end where it is negative.
    fn place(&self, raw: &RawNode, k: usize, count: usize, end: usize) -> OpResult<Option<usize>> {
        let Some(given) = self.known(raw, k)? else { return Ok(None) };
        let [given] = *given.as_slice() else {
            fail!("input {k} should be one number, not {given:?}")
        };
        let from_start = if given < 0 { given.checked_add(count as i64) } else { Some(given) };
        match from_start.and_then(|place| usize::try_from(place).ok()).filter(|place| *place < end)
        {
            Some(place) => Ok(Some(place)),
            None => fail!("place {given} is not in a sequence of {count}"),
        }
    }

    /// The tensor that a SequenceAt takes.
    fn taken(&self, raw: &RawNode) -> OpResult<String> {
        let names = self.read(raw)?;
        match self.place(raw, 1, names.len(), names.len())? {
            Some(place) => Ok(names[place].clone()),
            None => fail!("input 1, the place, is missing"),
        }
    }

    /// The sequence that a node without tensors of its own makes.
    fn changed(&self, raw: &RawNode) -> OpResult<Vec<String>> {
        Ok(match raw.operator.as_str() {
            "SequenceEmpty" => Vec::new(),
            "SequenceConstruct" => {
                (0..raw.inputs.len()).map(|k| self.tensor(raw, k)).collect::<OpResult<_>>()?
            }
            "SequenceInsert" => {
                let mut names = self.read(raw)?.to_vec();
                let place =
                    self.place(raw, 2, names.len(), names.len() + 1)?.unwrap_or(names.len());
                names.insert(place, self.tensor(raw, 1)?);
                names
            }
            "SequenceErase" => {
                let mut names = self.read(raw)?.to_vec();
                let Some(last) = names.len().checked_sub(1) else { fail!("the sequence is empty") };
                names.remove(self.place(raw, 1, names.len(), names.len())?.unwrap_or(last));
                names
            }
            _ => self.read(raw)?.to_vec(),
        })
    }

    /// A SplitToSequence as a Split, and a Squeeze of each part where it drops the axis.
    fn split(&mut self, raw: &RawNode, output: &str) -> Result<Vec<String>> {
        let model = self.model;
        let wrap = |error: OperatorError| raw.refused(model, error);
        let x = self.tensor(raw, 0).map_err(wrap)?;
        let (axis, sizes, squeezes) = self.sizes(raw, &x).map_err(wrap)?;
        let named = |kind: &str| -> Vec<String> {
            (0..sizes.len()).map(|k| format!("{output}{kind}[{k}]")).collect()
        };
        let names = match squeezes {
            true => (named(" with its axis"), Some(named(""))),
            false => (named(""), None),
        };
        self.taken_apart(raw, &x, (axis, &sizes), names)
    }

    /// A tensor in parts of some sizes along an axis, which those of size one lose where they have names without it.
    pub(super) fn taken_apart(
        &mut self,
        raw: &RawNode,
        x: &str,
        (axis, sizes): (i64, &[i64]),
        (whole, squeezed): (Vec<String>, Option<Vec<String>>),
    ) -> Result<Vec<String>> {
        let attributes = Attributes::default().with_int("axis", axis).with_ints("split", sizes);
        self.stand_in(raw, "Split", vec![x.to_owned()], whole.clone(), attributes)?;
        let Some(parts) = squeezed else { return Ok(whole) };
        for (whole, part) in whole.into_iter().zip(&parts) {
            let attributes = Attributes::default().with_ints("axes", &[axis]);
            self.stand_in(raw, "Squeeze", vec![whole], vec![part.clone()], attributes)?;
        }
        Ok(parts)
    }

    /// Along which axis a tensor is split, into parts of which sizes, and whether these lose the axis.
    fn sizes(&self, raw: &RawNode, x: &str) -> OpResult<(i64, Vec<i64>, bool)> {
        /// Each part is a value with a name.
        const MOST: usize = 1 << 16;
        let shape = &self.values[self.by_name[x]].shape;
        let axis = axis_of(raw.attributes.int("axis", 0)?, shape.len())?;
        let size = shape[axis] as i64;
        let (sizes, squeezes) = match self.known(raw, 1)? {
            None => (vec![1; shape[axis].min(MOST + 1)], raw.attributes.int("keepdims", 1)? == 0),
            Some(given) if self.is_scalar(raw) => {
                let [part] = *given.as_slice() else { fail!("no size of parts") };
                if part < 1 {
                    fail!("parts of size {part}; expected one or more");
                }
                let starts = (0..size).step_by(part as usize).take(MOST + 1);
                (starts.map(|at| part.min(size - at)).collect(), false)
            }
            Some(given) => (given, false),
        };
        if sizes.len() > MOST {
            fail!("more than {MOST} parts of axis {axis} of size {size}");
        }
        let whole =
            sizes.iter().try_fold(0i64, |sum, part| sum.checked_add(*part).filter(|_| *part >= 0));
        if whole != Some(size) {
            fail!("parts of sizes {sizes:?} do not make up axis {axis} of size {size}");
        }
        Ok((axis as i64, sizes, squeezes))
    }

    fn is_scalar(&self, raw: &RawNode) -> bool {
        let id = raw.inputs.get(1).and_then(|name| self.by_name.get(name.as_str()));
        id.is_some_and(|id| self.values[*id].shape.is_empty())
    }

    /// A ConcatFromSequence as a Concat, and an Unsqueeze of each tensor where they get an axis for it.
    fn joined(&mut self, raw: &RawNode, output: &str) -> Result<()> {
        let model = self.model;
        let wrap = |error: OperatorError| raw.refused(model, error);
        let names = self.read(raw).map_err(wrap)?.to_vec();
        let axis = raw.attributes.int("axis", 0).map_err(wrap)?;
        if raw.attributes.int("new_axis", 0).map_err(wrap)? != 0 {
            return self.stacked(raw, names, axis, output);
        }
        let attributes = Attributes::default().with_int("axis", axis);
        self.stand_in(raw, "Concat", names, vec![output.to_owned()], attributes)
    }

    /// Tensors of one shape side by side along a new axis.
    pub(super) fn stacked(
        &mut self,
        raw: &RawNode,
        mut names: Vec<String>,
        axis: i64,
        output: &str,
    ) -> Result<()> {
        for (k, name) in names.iter_mut().enumerate() {
            let wide = format!("{output} from [{k}]");
            let attributes = Attributes::default().with_ints("axes", &[axis]);
            let inputs = vec![std::mem::replace(name, wide.clone())];
            self.stand_in(raw, "Unsqueeze", inputs, vec![wide], attributes)?;
        }
        let attributes = Attributes::default().with_int("axis", axis);
        self.stand_in(raw, "Concat", names, vec![output.to_owned()], attributes)
    }

    /// Builds a node in place of another.
    pub(super) fn stand_in(
        &mut self,
        raw: &RawNode,
        operator: &str,
        inputs: Vec<String>,
        outputs: Vec<String>,
        attributes: Attributes,
    ) -> Result<()> {
        self.node(&RawNode {
            name: raw.name.clone(),
            operator: operator.to_owned(),
            domain: String::new(),
            inputs,
            outputs,
            attributes,
            opset: Some(OPSET),
        })
    }
}
