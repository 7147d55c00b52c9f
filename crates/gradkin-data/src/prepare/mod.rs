//! From stored examples to what a network takes. Everything that can be known
//! without reading a value is checked once, by [`Dataset::prepare`].

mod affine;
mod batch;
mod plan;
mod preprocessing;

pub use batch::Prepared;
pub use preprocessing::Preprocessing;

use crate::dataset::Dataset;
use crate::error::{DataError, Result};
use plan::Plan;

/// One of a network's inputs, as the data must fill it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetInput {
    /// The input's name.
    pub name: String,
    /// The shape of one example, without the batch axis; `None` for any length.
    pub shape: Vec<Option<usize>>,
    /// Whether it takes integers (token ids); preprocessing passes it by.
    pub integer: bool,
}

impl Dataset {
    /// Checks that the examples fit the network's inputs after preprocessing, and
    /// resolves the lengths the network leaves open.
    ///
    /// A single input goes to a single input whatever the names; several go by
    /// name, or in order where the data has no names. Axes of length 1 are put in
    /// or taken out, and a network that takes rows (one axis) gets the example
    /// flattened; the order of the values does not change.
    ///
    /// Errors: the shapes do not fit (the message names both, and the flag that
    /// would mend it), inputs cannot be paired, settings make no sense.
    ///
    /// ```
    /// use gradkin_data::{Array, ArrayData, Dataset, Preprocessing, TargetInput};
    /// let x = Array::new(vec![1, 2, 2], ArrayData::U8(vec![0, 51, 102, 255]))?;
    /// let data = Dataset::from_arrays(vec![(None, x)], None)?;
    /// let to_unit = Preprocessing { scale: Some(1.0 / 255.0), ..Preprocessing::default() };
    /// let input = TargetInput { name: "x".into(), shape: vec![None], integer: false };
    /// let ready = data.prepare(&to_unit, &[input])?;
    /// assert_eq!(ready.shapes(), [[4]]);
    /// assert_eq!(ready.batch_f32(0, 0..1)?, [0.0, 0.2, 0.4, 1.0]);
    /// # Ok::<(), gradkin_data::DataError>(())
    /// ```
    pub fn prepare(
        &self,
        preprocessing: &Preprocessing,
        targets: &[TargetInput],
    ) -> Result<Prepared> {
        preprocessing.check(targets)?;
        let pairs = self.pair(targets)?;
        let plan = |(target, &input)| Plan::new(self, input, target, preprocessing);
        let plans = targets.iter().zip(&pairs).map(plan).collect::<Result<Vec<Plan>>>()?;
        if preprocessing.resize.is_some() && plans.iter().all(|plan| plan.resize.is_none()) {
            let reason = format!("{} holds no pictures to resize", self.source);
            return Err(DataError::setting("--resize", reason));
        }
        Ok(Prepared::new(self.clone(), plans))
    }

    /// For each of the network's inputs, the index of the data's.
    fn pair(&self, targets: &[TargetInput]) -> Result<Vec<usize>> {
        let unpaired = |remedy: &str| DataError::Inputs {
            path: self.source.clone(),
            found: list(self.inputs.iter().map(|input| input.name.as_deref().unwrap_or("unnamed"))),
            expected: list(targets.iter().map(|target| target.name.as_str())),
            remedy: remedy.into(),
        };
        if self.inputs.len() != targets.len() {
            let remedy = "give an .npz with one array per input, named like the inputs (labels \
                          under `labels`), or name=path,name=path";
            return Err(unpaired(remedy));
        }
        if targets.len() == 1 || self.inputs.iter().all(|input| input.name.is_none()) {
            return Ok((0..targets.len()).collect());
        }
        let find = |target: &TargetInput| {
            self.inputs.iter().position(|input| input.name.as_ref() == Some(&target.name))
        };
        let pairs: Option<Vec<usize>> = targets.iter().map(find).collect();
        pairs.ok_or_else(|| unpaired("name the arrays like the network's inputs"))
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    match names.len() {
        1 => format!("one input ({})", names[0]),
        count => format!("{count} inputs ({})", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::array::ArrayData;
    use crate::layout::Layout;

    fn data(shape: &[usize], values: ArrayData) -> Dataset {
        let array = Array::new(shape.to_vec(), values).unwrap();
        Dataset::from_named("x.npy", vec![(None, array)], None).unwrap()
    }

    fn target(shape: &[usize]) -> TargetInput {
        let shape = shape.iter().map(|&d| Some(d)).collect();
        TargetInput { name: "input".into(), shape, integer: false }
    }

    fn ramp(count: usize) -> ArrayData {
        ArrayData::F32((0..count).map(|i| i as f32).collect())
    }

    fn say<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn channels_are_normalised_before_flattening() {
        let mean = Preprocessing {
            scale: Some(2.0),
            mean: vec![0.0, 1.0, 2.0],
            std: vec![1.0, 1.0, 2.0],
            ..Preprocessing::default()
        };
        let planes = data(&[1, 3, 1, 2], ramp(6));
        let ready = planes.prepare(&mean, &[target(&[6])]).unwrap();
        assert_eq!(ready.batch_f64(0, 0..1).unwrap(), [0.0, 2.0, 3.0, 5.0, 3.0, 4.0]);
        let last = data(&[1, 2, 2, 3], ramp(12));
        let ready = last.prepare(&mean, &[target(&[12])]).unwrap();
        let values = ready.batch_f32(0, 0..1).unwrap();
        assert_eq!(values[..6], [0.0, 1.0, 1.0, 6.0, 7.0, 4.0]);
    }

    #[test]
    fn layout_moves_arrays_only_when_asked() {
        let last = data(&[1, 2, 2, 3], ramp(12));
        let plain = last.prepare(&Preprocessing::default(), &[target(&[3, 2, 2])]);
        let error = say(plain);
        assert!(error.contains("[2, 2, 3]") && error.contains("[3, 2, 2]"), "{error}");
        assert!(error.contains("--layout nchw"), "{error}");
        let asked = Preprocessing { layout: Some(Layout::Nchw), ..Preprocessing::default() };
        let ready = last.prepare(&asked, &[target(&[3, 2, 2])]).unwrap();
        assert_eq!(ready.batch_f32(0, 0..1).unwrap()[..5], [0.0, 3.0, 6.0, 9.0, 1.0]);
    }

    #[test]
    fn resizing_in_either_layout_agrees() {
        let to = |layout| Preprocessing {
            resize: Some((5, 2)),
            layout: Some(layout),
            ..Preprocessing::default()
        };
        let planes = data(&[1, 3, 4, 4], ramp(48));
        let first = planes.prepare(&to(Layout::Nchw), &[target(&[3, 5, 2])]).unwrap();
        let last = planes.prepare(&to(Layout::Nhwc), &[target(&[5, 2, 3])]).unwrap();
        let (first, last) = (first.batch_f64(0, 0..1).unwrap(), last.batch_f64(0, 0..1).unwrap());
        assert_eq!(Layout::Nchw.flip(&first, [5, 2, 3]), last);
        let grey = data(&[1, 4, 4], ramp(16));
        let size = Preprocessing { resize: Some((2, 2)), ..Preprocessing::default() };
        assert_eq!(grey.prepare(&size, &[target(&[1, 2, 2])]).unwrap().shapes(), [[1, 2, 2]]);
        let rows = data(&[2, 4], ramp(8)).prepare(&size, &[target(&[4])]);
        assert!(say(rows).contains("--resize: x.npy holds no pictures"));
    }

    #[test]
    fn values_that_cannot_be_used_are_named() {
        let plain = Preprocessing::default();
        let nan = data(&[2, 2, 2], ArrayData::F32([[0.0; 7].as_slice(), &[f32::NAN]].concat()));
        let ready = nan.prepare(&plain, &[target(&[4])]).unwrap();
        let error = say(ready.batch_f32(0, 0..2));
        assert!(error.contains("x.npy: example 1 holds NaN at position [1, 1]"), "{error}");
        let huge = data(&[1, 1], ArrayData::F64(vec![1e39]));
        let ready = huge.prepare(&plain, &[target(&[1])]).unwrap();
        assert!(say(ready.batch_f32(0, 0..1)).contains("32-bit"));
        assert_eq!(ready.batch_f64(0, 0..1).unwrap(), [1e39]);
        assert!(say(ready.batch_i64(0, 0..1)).contains("not a whole number"));
        assert!(say(ready.batch_f32(0, 0..2)).contains("x.npy has 1"));
        assert!(say(ready.batch_f32(1, 0..1)).contains("there are 1"));
        let wide = Preprocessing { scale: Some(1e300), ..plain };
        let ready = huge.prepare(&wide, &[target(&[1])]).unwrap();
        assert!(say(ready.batch_f64(0, 0..1)).contains("not finite after --scale"));
    }

    #[test]
    fn integers_pass_untouched() {
        let tokens = data(&[2, 3], ArrayData::I64(vec![1, 2, 3, 4, 5, i64::MAX]));
        let mut ids = target(&[3]);
        ids.integer = true;
        let plain = Preprocessing::default();
        let ready = tokens.prepare(&plain, std::slice::from_ref(&ids)).unwrap();
        assert_eq!(ready.batch_i64(0, 1..2).unwrap(), [4, 5, i64::MAX]);
        assert!(say(ready.batch_f64(0, 1..2)).contains("example 1, position [2]"));
        let scaled = Preprocessing { scale: Some(2.0), ..plain };
        assert!(say(tokens.prepare(&scaled, &[ids])).contains("integers only"));
    }

    #[test]
    fn several_inputs_pair_by_name() {
        let array = |x| Array::new(vec![1, 1], ArrayData::F32(vec![x])).unwrap();
        let named = vec![(Some("b".to_string()), array(2.0)), (Some("a".to_string()), array(1.0))];
        let data = Dataset::from_arrays(named, None).unwrap();
        let want = |name: &str| TargetInput { name: name.into(), ..target(&[1]) };
        let plain = Preprocessing::default();
        let ready = data.prepare(&plain, &[want("a"), want("b")]).unwrap();
        assert_eq!(ready.batch_f32(0, 0..1).unwrap(), [1.0]);
        let error = say(data.prepare(&plain, &[want("a"), want("c")]));
        assert!(error.contains("2 inputs (\"b\", \"a\")"), "{error}");
        assert!(say(data.prepare(&plain, &[want("a")])).contains("one input (\"a\")"));
    }

    #[test]
    fn settings_that_make_no_sense() {
        let rows = data(&[1, 4], ramp(4));
        let try_with = |p: Preprocessing| say(rows.prepare(&p, &[target(&[4])]));
        let plain = Preprocessing::default();
        assert!(try_with(Preprocessing { std: vec![0.0], ..plain.clone() }).contains("--std"));
        assert!(try_with(Preprocessing { scale: Some(0.0), ..plain.clone() }).contains("--scale"));
        let mean = Preprocessing { mean: vec![1.0, 2.0], ..plain.clone() };
        assert!(try_with(mean).contains("--mean: 2 values, but an example of shape [4]"));
        let size = Preprocessing { resize: Some((0, 3)), ..plain };
        assert!(try_with(size).contains("--resize"));
    }
}
