//! The suite that every operator passes: its reverse rule against central differences, and its
//! factors against its reverse rule, over random shapes, attributes and broadcasts.
//!
//! An operator is covered by a line in the `CASES` table of its family here, or is named in
//! [`FLAT`] because no gradient flows through it; a test sees to it that none is forgotten.
//! A case of several examples is compared with differences of one example at a time, which shows
//! too that examples do not mix.

mod arithmetic;
mod attention;
mod case;
mod indexing;
mod layers;
mod picking;
mod recurrent;
mod resize;
mod table;

use candle_core::{DType, Tensor};

use self::case::{Case, Random, Role};
use super::{Forward, Operator, Reverse, build, by_the_graph, supported_operators};
use crate::error::{OpResult, fail};
use crate::factor::{Factor, FactorShape};
use crate::tensor::example_shape;

/// Number of examples.
const BATCH: usize = 3;
/// Number of cotangents per example.
const WIDTH: usize = 2;
/// Random cases per operator.
const SEEDS: u64 = 32;

type Maker = fn(&'static str, &mut Random) -> Case;

const FAMILIES: &[&[(&str, Maker)]] = &[
    arithmetic::CASES,
    attention::CASES,
    indexing::CASES,
    layers::CASES,
    picking::CASES,
    recurrent::CASES,
    resize::CASES,
];

/// Operators whose outputs do not follow small changes of their inputs: whole numbers, truth
/// values and shapes.
const FLAT: &[&str] = &[
    "And",
    "ArgMax",
    "ArgMin",
    "ConstantOfShape",
    "Equal",
    "EyeLike",
    "Greater",
    "GreaterOrEqual",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "NonZero",
    "Not",
    "Or",
    "QuantizeLinear",
    "Range",
    "Shape",
    "Size",
    "Xor",
];

fn cases() -> impl Iterator<Item = (&'static str, Maker)> {
    FAMILIES.iter().flat_map(|family| family.iter().copied())
}

#[test]
fn every_operator_is_covered() {
    let forgotten: Vec<_> = supported_operators()
        .into_iter()
        .filter(|name| by_the_graph().all(|own| own != *name))
        .filter(|name| !FLAT.contains(name) && !cases().any(|(covered, _)| covered == *name))
        .collect();
    assert!(forgotten.is_empty(), "give these operators cases or name them in FLAT: {forgotten:?}");
    let gone: Vec<_> = cases()
        .map(|(name, _)| name)
        .chain(FLAT.iter().copied())
        .filter(|name| !supported_operators().contains(name))
        .collect();
    assert!(gone.is_empty(), "these operators do not exist: {gone:?}");
}

#[test]
fn reverse_rules_equal_central_differences() {
    let mut failures = Vec::new();
    for (operator, maker) in cases() {
        for seed in 0..SEEDS {
            let mut random = Random::new(seed);
            let case = maker(operator, &mut random);
            for case in [case.clone(), case.all_shared()] {
                if let Err(error) = caught(&case, &mut random) {
                    failures.push(format!("{operator}, seed {seed}: {error}\n    {case:?}"));
                }
            }
        }
    }
    let count = failures.len();
    // One case per operator is enough to read.
    failures.dedup_by_key(|failure| failure.split(',').next().map(str::to_owned));
    assert!(failures.is_empty(), "{count} cases fail, among them\n{}", failures.join("\n"));
}

/// An operator with values and cotangents.
struct Trial<'a> {
    case: &'a Case,
    operator: Box<dyn Operator>,
    values: Vec<Option<Tensor>>,
    /// Per output, `[BATCH·WIDTH, *shape]`.
    cotangents: Vec<Option<Tensor>>,
}

/// A check whose panic is an error like any other, so that it too names its case.
fn caught(case: &Case, random: &mut Random) -> Result<(), String> {
    let run = std::panic::AssertUnwindSafe(|| check(case, random));
    match std::panic::catch_unwind(run) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("panicked".into()),
    }
}

fn check(case: &Case, random: &mut Random) -> OpResult<()> {
    let values = case.values(random)?;
    let operator = build(&case.setup(&values))?;
    let inputs: Vec<Option<&Tensor>> = values.iter().map(Option::as_ref).collect();
    let forward = operator.forward(&inputs)?;
    if forward.outputs.len() < case.outputs {
        fail!("{} outputs where {} are wanted", forward.outputs.len(), case.outputs);
    }
    moves_what_it_says(operator.as_ref(), &values, &forward)?;
    let cotangents = cotangents(&forward, case.outputs, random)?;
    let trial = Trial { case, operator, values: values.clone(), cotangents };
    trial.examples_stay_apart(&forward)?;
    let wanted: Vec<bool> = (0..values.len()).map(|k| trial.is_differentiable(k)).collect();
    let back = trial.reverse(&forward, &wanted, |operator, sweep| operator.reverse(sweep))?;
    for k in (0..values.len()).filter(|k| wanted[*k]) {
        let found = trial.flat(&back, k)?;
        agree(&found, &trial.differences(k)?, 1e-6, &format!("cotangent of input {k}"))?;
        let only: Vec<bool> = (0..values.len()).map(|other| other == k).collect();
        let alone = trial.reverse(&forward, &only, |operator, sweep| operator.reverse(sweep))?;
        agree(&trial.flat(&alone, k)?, &found, 1e-12, &format!("input {k} wanted alone"))?;
        if let (Some(shape), Some(Role::Shared)) = (trial.operator.factor_shape(k), case.role(k)) {
            let factor = trial.reverse(&forward, &wanted, |o, sweep| o.factor(k, sweep))?;
            promised(&factor, shape)?;
            let dense = factor.to_dense()?.flatten_all()?.to_vec1()?;
            agree(&dense, &found, 1e-12, &format!("factor of input {k}"))?;
        }
    }
    Ok(())
}

/// Random cotangents of the float outputs; where there are several, some may be missing.
fn cotangents(
    forward: &Forward,
    used: usize,
    random: &mut Random,
) -> OpResult<Vec<Option<Tensor>>> {
    let float = |k: &usize| forward.outputs[*k].dtype().is_float();
    let floats: Vec<usize> = (0..used).filter(float).collect();
    let kept = if floats.is_empty() { None } else { Some(random.pick(&floats)) };
    let mut list = Vec::with_capacity(forward.outputs.len());
    for (k, output) in forward.outputs.iter().enumerate() {
        let back = Some(k) == kept || (floats.contains(&k) && random.chance(0.6));
        let mut shape = vec![BATCH * WIDTH];
        shape.extend(example_shape(output));
        let count = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|_| random.normal()).collect();
        list.push(if back {
            Some(Tensor::from_vec(values, shape, output.device())?)
        } else {
            None
        });
    }
    Ok(list)
}

/// Entries that an operator claims to move must be found where entry numbers go.
fn moves_what_it_says(
    operator: &dyn Operator,
    values: &[Option<Tensor>],
    forward: &Forward,
) -> OpResult<()> {
    let Some(x) = values.first().and_then(Option::as_ref) else { return Ok(()) };
    if !operator.moves_entries() || x.dims()[0] != 1 {
        return Ok(());
    }
    let numbers = Tensor::arange(0i64, x.elem_count() as i64, x.device())?.reshape(x.shape())?;
    let mut inputs: Vec<Option<&Tensor>> = values.iter().map(Option::as_ref).collect();
    inputs[0] = Some(&numbers);
    let entries = x.flatten_all()?.to_vec1::<f64>()?;
    for (map, output) in operator.forward(&inputs)?.outputs.iter().zip(&forward.outputs) {
        if map.dtype() != DType::I64 {
            continue;
        }
        let map = map.flatten_all()?.to_vec1::<i64>()?;
        let moved: Vec<f64> = map.iter().map(|at| entries[*at as usize]).collect();
        agree(&output.flatten_all()?.to_vec1()?, &moved, 0.0, "moved entries")?;
    }
    Ok(())
}

impl Trial<'_> {
    fn is_differentiable(&self, k: usize) -> bool {
        let float = self.values[k].as_ref().is_some_and(|value| value.dtype().is_float());
        float && self.case.role(k) != Some(Role::Constant) && !self.operator.ignores(k)
    }

    /// The operands of example `b` alone.
    fn example(&self, b: usize) -> OpResult<Vec<Option<Tensor>>> {
        let mut list = Vec::with_capacity(self.values.len());
        for value in &self.values {
            list.push(match value {
                Some(value) if value.dims()[0] == BATCH => Some(value.narrow(0, b, 1)?),
                other => other.clone(),
            });
        }
        Ok(list)
    }

    fn outputs(&self, values: &[Option<Tensor>]) -> OpResult<Vec<Tensor>> {
        let inputs: Vec<Option<&Tensor>> = values.iter().map(Option::as_ref).collect();
        Ok(self.operator.forward(&inputs)?.outputs)
    }

    /// Row b of the outputs is what example b gives alone.
    fn examples_stay_apart(&self, forward: &Forward) -> OpResult<()> {
        for b in 0..BATCH {
            for (whole, alone) in forward.outputs.iter().zip(self.outputs(&self.example(b)?)?) {
                let row =
                    if whole.dims()[0] == 1 { whole.clone() } else { whole.narrow(0, b, 1)? };
                let numbers = |x: &Tensor| -> OpResult<Vec<f64>> {
                    // Candle cannot list an empty view that starts behind the first element.
                    let none = x.elem_count() == 0;
                    Ok(if none {
                        Vec::new()
                    } else {
                        x.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?
                    })
                };
                agree(&numbers(&row)?, &numbers(&alone)?, 1e-12, "an example alone")?;
            }
        }
        Ok(())
    }

    fn reverse<T>(
        &self,
        forward: &Forward,
        wanted: &[bool],
        run: impl FnOnce(&dyn Operator, &Reverse) -> OpResult<T>,
    ) -> OpResult<T> {
        let inputs: Vec<Option<&Tensor>> = self.values.iter().map(Option::as_ref).collect();
        let sweep = Reverse {
            inputs: &inputs,
            outputs: &forward.outputs,
            saved: &forward.saved,
            cotangents: &self.cotangents,
            wanted,
            batch: BATCH,
            width: WIDTH,
            memo: Default::default(),
        };
        run(self.operator.as_ref(), &sweep)
    }

    /// The cotangent of input k, `[BATCH·WIDTH, *shape]`; one that did not come is zero.
    fn flat(&self, back: &[Option<Tensor>], k: usize) -> OpResult<Vec<f64>> {
        let Some(argument) = &self.case.arguments[k] else { fail!("input {k} is absent") };
        let count = BATCH * WIDTH * argument.shape.iter().product::<usize>();
        let Some(back) = back.get(k).and_then(Option::as_ref) else {
            return Ok(vec![0.0; count]);
        };
        if back.dims()[0] != BATCH * WIDTH || example_shape(back) != argument.shape {
            fail!("the cotangent of input {k} has shape {:?}", back.dims());
        }
        Ok(back.flatten_all()?.to_vec1()?)
    }

    /// (f(x + h) − f(x − h)) / 2h for f = Σ cotangent · output, one example at a time.
    fn differences(&self, k: usize) -> OpResult<Vec<f64>> {
        const STEP: f64 = 1e-5;
        let mut rows = Vec::new();
        for b in 0..BATCH {
            let mut example = self.example(b)?;
            let Some(x) = example[k].clone() else { fail!("input {k} is absent") };
            let entries = x.flatten_all()?.to_vec1::<f64>()?;
            let mut slopes = vec![Vec::new(); WIDTH];
            for at in 0..entries.len() {
                let mut sides = Vec::with_capacity(2);
                for step in [STEP, -STEP] {
                    let mut moved = entries.clone();
                    moved[at] += step;
                    example[k] = Some(Tensor::from_vec(moved, x.shape(), x.device())?);
                    sides.push(self.weighted(&self.outputs(&example)?, b)?);
                }
                for (c, slope) in slopes.iter_mut().enumerate() {
                    slope.push((sides[0][c] - sides[1][c]) / (2.0 * STEP));
                }
            }
            rows.extend(slopes.concat());
        }
        Ok(rows)
    }

    /// Σ cotangent · output of example b, for each of its cotangents.
    fn weighted(&self, outputs: &[Tensor], b: usize) -> OpResult<[f64; WIDTH]> {
        let mut sums = [0.0; WIDTH];
        for (output, cotangent) in outputs.iter().zip(&self.cotangents) {
            let Some(cotangent) = cotangent else { continue };
            for (c, sum) in sums.iter_mut().enumerate() {
                let weights = cotangent.get(b * WIDTH + c)?.flatten_all()?.to_vec1::<f64>()?;
                let values = output.flatten_all()?.to_vec1::<f64>()?;
                *sum += weights.iter().zip(&values).map(|(w, v)| w * v).sum::<f64>();
            }
        }
        Ok(sums)
    }
}

/// Whether two arrays agree relative to the larger norm.
fn agree(found: &[f64], wanted: &[f64], tolerance: f64, what: &str) -> OpResult<()> {
    if found.len() != wanted.len() {
        fail!("{what}: {} numbers where {} are due", found.len(), wanted.len());
    }
    let norm = |list: &[f64]| list.iter().map(|x| x * x).sum::<f64>().sqrt();
    let gap: Vec<f64> = found.iter().zip(wanted).map(|(f, w)| f - w).collect();
    let error = norm(&gap);
    // Differences of numbers of order one are rounded at about 1e-11.
    if error.is_nan() || error > tolerance * norm(wanted).max(norm(found)).max(1e-3) {
        let at = gap.iter().position(|g| g.is_nan() || g.abs() >= 0.5 * error).unwrap_or(0);
        fail!(
            "{what}: off by {error:.3e} of {:.3e}; entry {at} of {} is {} and should be {}",
            norm(wanted),
            found.len(),
            found[at],
            wanted[at]
        );
    }
    Ok(())
}

/// A factor must have the shape that was promised for it.
fn promised(factor: &Factor, shape: FactorShape) -> OpResult<()> {
    let (b, d) = (BATCH, WIDTH);
    let fits = match (factor, shape) {
        (Factor::Dense(gradient), FactorShape::Dense { len }) => gradient.dims() == [b, d, len],
        (
            Factor::Outer { input: a, cotangent: delta, order: given },
            FactorShape::Outer { groups, positions, input, cotangent, order },
        ) => {
            a.dims() == [b, groups, positions, input]
                && delta.dims() == [b, d, groups, positions, cotangent]
                && *given == order
        }
        (
            Factor::Rows { index, cotangent, rows: given },
            FactorShape::Rows { positions, rows, width },
        ) => {
            index.dims() == [b, positions]
                && cotangent.dims() == [b, d, positions, width]
                && *given == rows
        }
        _ => false,
    };
    if !fits {
        fail!("the factor {factor:?} is not the promised {shape:?}");
    }
    Ok(())
}
