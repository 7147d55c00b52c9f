//! RNN, GRU and LSTM: a cell run over time, in one or both directions.
//!
//! Forward, the input's share of all gates is one product for all steps; the recurrent share is one
//! small product per step. Back through time gives the cotangents of the gates' sums,
//! `[T, d, M, G·H]` with M = examples × the graph's own batch. Everything else follows from these:
//! they are the δ of the factors of W (a = x) and R (a = h before the step).

mod cell;
mod gate;

use candle_core::{DType, Device, Tensor};

use self::cell::{Cell, Gru, Lstm, Plain, State, Weights};
use self::gate::Activation;
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::factor::{Factor, FactorShape, Order};
use crate::tensor::{checked_count, expand_to, lead_shape, matmul, sum_axes};

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("RNN", |s| Recurrent::build(s, Box::new(Plain))),
    ("GRU", |s| {
        let linear_before_reset = s.attributes.int("linear_before_reset", 0)? != 0;
        Recurrent::build(s, Box::new(Gru { linear_before_reset }))
    }),
    ("LSTM", |s| {
        let coupled = s.attributes.int("input_forget", 0)? != 0;
        Recurrent::build(s, Box::new(Lstm { coupled }))
    }),
];

// The inputs of all three operators; the last two are the LSTM's.
const X: usize = 0;
const W: usize = 1;
const R: usize = 2;
const B: usize = 3;
const LENGTHS: usize = 4;
const INITIAL_H: usize = 5;
const INITIAL_C: usize = 6;
const P: usize = 7;

/// One way through time.
#[derive(Debug)]
struct Direction {
    backwards: bool,
    activations: Vec<Activation>,
}

/// A cell over T steps.
#[derive(Debug)]
struct Recurrent {
    cell: Box<dyn Cell>,
    directions: Vec<Direction>,
    /// T.
    steps: usize,
    /// N, the graph's own batch axis.
    rows: usize,
    /// I.
    input: usize,
    /// H.
    hidden: usize,
    /// `layout` 1: the graph's batch axis comes before time and direction.
    rows_first: bool,
    /// Steps of each row, where not all have T.
    lengths: Option<Vec<usize>>,
}

impl Recurrent {
    fn build(setup: &Setup, cell: Box<dyn Cell>) -> OpResult<Box<dyn Operator>> {
        let backwards: &[bool] = match setup.attributes.text("direction", "forward")? {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => fail!("direction `{other}` is unknown"),
        };
        let rows_first = setup.attributes.int("layout", 0)? != 0;
        let (steps, rows, input) = match (setup.shape(X)?, rows_first) {
            ([steps, rows, input], false) | ([rows, steps, input], true) => (*steps, *rows, *input),
            (other, _) => {
                fail!("an input of shape {other:?} has not the three axes it should have")
            }
        };
        if steps == 0 || rows == 0 {
            fail!("an input of shape {:?} holds no time step", setup.shape(X)?);
        }
        let hidden = setup.shape(R)?.last().copied().unwrap_or(0);
        let activations = Activation::read(setup, cell.activations(), backwards.len())?;
        let directions = backwards
            .iter()
            .zip(activations)
            .map(|(backwards, activations)| Direction { backwards: *backwards, activations })
            .collect();
        let lengths = lengths(setup, steps, rows)?;
        let built = Self { cell, directions, steps, rows, input, hidden, rows_first, lengths };
        built.check(setup)?;
        Ok(Box::new(built))
    }

    /// All shapes must be those that the input, the number of directions and R's columns ask for.
    fn check(&self, setup: &Setup) -> OpResult<()> {
        let (dirs, hidden, columns) = (self.directions.len(), self.hidden, self.columns());
        let declared = setup.attributes.int("hidden_size", hidden as i64)?;
        if hidden == 0 || declared != hidden as i64 {
            fail!("hidden_size {declared} differs from the {hidden} columns of R");
        }
        let state = self.state_shape().to_vec();
        let mut wanted = vec![
            (W, vec![dirs, columns, self.input]),
            (R, vec![dirs, columns, hidden]),
            (B, vec![dirs, 2 * columns]),
            (INITIAL_H, state.clone()),
        ];
        if self.cell.has_c() {
            wanted.extend([(INITIAL_C, state), (P, vec![dirs, 3 * hidden])]);
        }
        for (k, shape) in wanted {
            if setup.has(k) && setup.shape(k)? != shape {
                fail!("input {k} has shape {:?}; expected {shape:?}", setup.shape(k)?);
            }
            if [W, R, B, P].contains(&k) && setup.has(k) && !setup.operand(k)?.shared {
                fail!("input {k} is a weight that depends on the example, which is not supported");
            }
        }
        // A step holds about so many arrays of the gates' size: they are kept for the way back.
        const ARRAYS: usize = 6;
        checked_count(&[ARRAYS, dirs, self.steps, self.rows, columns])?;
        Ok(())
    }

    /// G·H.
    fn columns(&self) -> usize {
        self.cell.gates() * self.hidden
    }

    fn state_shape(&self) -> [usize; 3] {
        let dirs = self.directions.len();
        if self.rows_first {
            [self.rows, dirs, self.hidden]
        } else {
            [dirs, self.rows, self.hidden]
        }
    }

    /// The order in which a direction walks.
    fn walk(&self, dir: usize) -> Vec<usize> {
        let steps = 0..self.steps;
        if self.directions[dir].backwards { steps.rev().collect() } else { steps.collect() }
    }

    /// `[lead·N, 1]`: one where a row is still running at step t; `None` where all are.
    fn running(&self, t: usize, lead: usize, dtype: DType) -> OpResult<Option<Tensor>> {
        let Some(lengths) = &self.lengths else { return Ok(None) };
        if lengths.iter().all(|length| t < *length) {
            return Ok(None);
        }
        let flags: Vec<f64> = lengths.iter().map(|length| f64::from(t < *length)).collect();
        let flags = Tensor::from_vec(flags.repeat(lead), (lead * self.rows, 1), &Device::Cpu)?;
        Ok(Some(flags.to_dtype(dtype)?))
    }

    /// The weights of one direction, and the bias on the input's side `[G·H]`.
    fn weights(&self, inputs: &Inputs, dir: usize) -> OpResult<(Weights, Option<Tensor>)> {
        let part = |k: usize| -> OpResult<Option<Tensor>> {
            match inputs.get(k).copied().flatten() {
                Some(x) => Ok(Some(x.get(0)?.get(dir)?.contiguous()?)),
                None => Ok(None),
            }
        };
        let (Some(input), Some(recurrent)) = (part(W)?, part(R)?) else {
            fail!("the weights are missing")
        };
        let (columns, hidden) = (self.columns(), self.hidden);
        let mut inner_bias = None;
        let bias = match part(B)? {
            Some(both) => {
                let (first, second) =
                    (both.narrow(0, 0, columns)?, both.narrow(0, columns, columns)?);
                if self.cell.keeps_inner_bias() {
                    inner_bias = Some(second.narrow(0, columns - hidden, hidden)?);
                    let ahead = second.narrow(0, 0, columns - hidden)?;
                    Some((first + ahead.pad_with_zeros(0, 0, hidden)?)?)
                } else {
                    Some((first + second)?)
                }
            }
            None => None,
        };
        let peepholes = if self.cell.has_c() { part(P)? } else { None };
        Ok((Weights { input, recurrent, inner_bias, peepholes }, bias))
    }

    /// x as `[T, lead·N, I]`.
    fn by_step(&self, x: &Tensor, lead: usize) -> OpResult<Tensor> {
        let x = if self.rows_first { x.transpose(1, 2)? } else { x.clone() };
        let x = expand_to(&x, lead, &[self.steps, self.rows, self.input])?;
        let x = x.transpose(0, 1)?.contiguous()?;
        Ok(x.reshape((self.steps, lead * self.rows, self.input))?)
    }

    /// The first state of one direction, `[lead·N, H]`.
    fn first(&self, inputs: &Inputs, dir: usize, lead: usize) -> OpResult<State> {
        let like = required(inputs, R)?;
        let shape = (lead * self.rows, self.hidden);
        let read = |k: usize| -> OpResult<Tensor> {
            match inputs.get(k).copied().flatten() {
                Some(state) => {
                    let axis = if self.rows_first { 2 } else { 1 };
                    let state = expand_to(state, lead, &self.state_shape())?;
                    Ok(state.narrow(axis, dir, 1)?.contiguous()?.reshape(shape)?)
                }
                None => Ok(Tensor::zeros(shape, like.dtype(), like.device())?),
            }
        };
        let c = if self.cell.has_c() { Some(read(INITIAL_C)?) } else { None };
        Ok(State { h: read(INITIAL_H)?, c })
    }

    /// One direction over time: h of every step in order of time, the last state, and what was kept
    /// in the order of the walk.
    fn run(&self, inputs: &Inputs, dir: usize, x: &Tensor, lead: usize) -> OpResult<Walk> {
        let (weights, bias) = self.weights(inputs, dir)?;
        let flat = x.reshape((self.steps * lead * self.rows, self.input))?;
        let mut sums = matmul(&flat, &weights.input.t()?)?;
        if let Some(bias) = bias {
            sums = sums.broadcast_add(&bias)?;
        }
        let sums = sums.reshape((self.steps, lead * self.rows, self.columns()))?;
        let mut state = self.first(inputs, dir, lead)?;
        let mut shown = vec![state.h.clone(); self.steps];
        let mut kept = Vec::new();
        for t in self.walk(dir) {
            let activations = &self.directions[dir].activations;
            let (next, keep) = self.cell.step(&sums.get(t)?, &state, &weights, activations)?;
            kept.extend(keep);
            match self.running(t, lead, x.dtype())? {
                Some(mask) => {
                    shown[t] = next.h.broadcast_mul(&mask)?;
                    state = choose(&mask, &next, &state)?;
                }
                None => {
                    shown[t] = next.h.clone();
                    state = next;
                }
            }
        }
        Ok(Walk { shown: Tensor::stack(&shown, 0)?, last: state, kept })
    }

    /// Last states `[D][lead·N, H]` as ONNX lays them out.
    fn states(&self, parts: &[Tensor], lead: usize) -> OpResult<Tensor> {
        let shape = (parts.len(), lead, self.rows, self.hidden);
        let order = if self.rows_first { (1, 2, 0, 3) } else { (1, 0, 2, 3) };
        Ok(Tensor::stack(parts, 0)?.reshape(shape)?.permute(order)?.contiguous()?)
    }

    /// All h, `[D][T, lead·N, H]`, as ONNX lays them out.
    fn sequence(&self, parts: &[Tensor], lead: usize) -> OpResult<Tensor> {
        let shape = (parts.len(), self.steps, lead, self.rows, self.hidden);
        let order = if self.rows_first { (2, 3, 1, 0, 4) } else { (2, 1, 0, 3, 4) };
        Ok(Tensor::stack(parts, 0)?.reshape(shape)?.permute(order)?.contiguous()?)
    }
}

/// What running one direction gives.
struct Walk {
    shown: Tensor,
    last: State,
    kept: Vec<Tensor>,
}

/// The lengths of the rows, where some are shorter than T.
fn lengths(setup: &Setup, steps: usize, rows: usize) -> OpResult<Option<Vec<usize>>> {
    let Some(given) = setup.constant_ints(LENGTHS)? else { return Ok(None) };
    let read = |n: &i64| usize::try_from(*n).ok().filter(|n| *n <= steps);
    match given.iter().map(read).collect::<Option<Vec<usize>>>() {
        Some(list) if list.len() == rows => {
            Ok(if list.iter().all(|n| *n == steps) { None } else { Some(list) })
        }
        _ => fail!("sequence lengths {given:?} do not fit {rows} rows of {steps} steps"),
    }
}

/// `next` where the mask is one, `before` where it is zero.
fn choose(mask: &Tensor, next: &State, before: &State) -> OpResult<State> {
    let rest = (1.0 - mask)?;
    let mix = |a: &Tensor, b: &Tensor| -> OpResult<Tensor> {
        Ok((a.broadcast_mul(mask)? + b.broadcast_mul(&rest)?)?)
    };
    let c = match (&next.c, &before.c) {
        (Some(a), Some(b)) => Some(mix(a, b)?),
        _ => None,
    };
    Ok(State { h: mix(&next.h, &before.h)?, c })
}

/// The state's cotangents times a mask.
fn masked(state: &State, mask: &Tensor) -> OpResult<State> {
    let c = state.c.as_ref().map(|c| c.broadcast_mul(mask)).transpose()?;
    Ok(State { h: state.h.broadcast_mul(mask)?, c })
}

fn sum(a: &State, b: &State) -> OpResult<State> {
    let c = match (&a.c, &b.c) {
        (Some(a), Some(b)) => Some((a + b)?),
        _ => None,
    };
    Ok(State { h: (&a.h + &b.h)?, c })
}

/// What comes back to the outputs.
struct Incoming {
    /// Of Y: `[D, T, d, M, H]`.
    y: Option<Tensor>,
    /// Of the last h: `[D, d, M, H]`.
    h: Option<Tensor>,
    /// Of the last c: `[D, d, M, H]`.
    c: Option<Tensor>,
}

/// What going back through time gives for one direction.
struct Traced {
    /// Cotangent of x·Wᵀ + biases: `[T, d, M, G·H]`.
    input: Tensor,
    /// Cotangent of the product with R: `[T, d, M, G·H]`.
    recurrent: Tensor,
    /// Cotangent of the first state, `[d, M, H]` each.
    first: State,
    /// Gradient by P: `[d, M, 3·H]`.
    peepholes: Option<Tensor>,
}

impl Traced {
    fn pack(self) -> impl Iterator<Item = Tensor> {
        let Self { input, recurrent, first: State { h, c }, peepholes } = self;
        [Some(input), Some(recurrent), Some(h), c, peepholes].into_iter().flatten()
    }

    fn unpack(list: &[Tensor]) -> OpResult<Self> {
        let [input, recurrent, h, rest @ ..] = list else {
            fail!("a recurrent trace is too short")
        };
        let (input, recurrent, h) = (input.clone(), recurrent.clone(), h.clone());
        let first = State { h, c: rest.first().cloned() };
        Ok(Self { input, recurrent, first, peepholes: rest.get(1).cloned() })
    }
}

/// Back through time.
impl Recurrent {
    /// Every direction, worked out once for all factors and cotangents of the node.
    fn trace(&self, sweep: &Reverse) -> OpResult<Vec<Traced>> {
        if sweep.memo.get().is_none() {
            let incoming = self.incoming(sweep)?;
            let mut list = Vec::new();
            for dir in 0..self.directions.len() {
                list.extend(self.back(sweep, dir, &incoming)?.pack());
            }
            // Nobody else can have filled it in between.
            let _ = sweep.memo.set(list);
        }
        let list = sweep.memo.get().map(Vec::as_slice).unwrap_or_default();
        list.chunks(list.len() / self.directions.len()).map(Traced::unpack).collect()
    }

    /// The cotangents of the outputs, directions and steps in front.
    fn incoming(&self, sweep: &Reverse) -> OpResult<Incoming> {
        let (b, d, n) = (sweep.batch, sweep.width, self.rows);
        let (dirs, steps, hidden) = (self.directions.len(), self.steps, self.hidden);
        let y = match sweep.cotangent_of(0)? {
            Some(y) => {
                let (shape, order) = if self.rows_first {
                    ([b, d, n, steps, dirs, hidden], [4, 3, 1, 0, 2, 5])
                } else {
                    ([b, d, steps, dirs, n, hidden], [3, 2, 1, 0, 4, 5])
                };
                let y = y.reshape(shape.as_slice())?.permute(order.as_slice())?.contiguous()?;
                Some(y.reshape((dirs, steps, d, b * n, hidden))?)
            }
            None => None,
        };
        let state = |k: usize| -> OpResult<Option<Tensor>> {
            let Some(state) = sweep.cotangent_of(k)? else { return Ok(None) };
            let (shape, order) = if self.rows_first {
                ((b, d, n, dirs, hidden), (3, 1, 0, 2, 4))
            } else {
                ((b, d, dirs, n, hidden), (2, 1, 0, 3, 4))
            };
            let state = state.reshape(shape)?.permute(order)?.contiguous()?;
            Ok(Some(state.reshape((dirs, d, b * n, hidden))?))
        };
        Ok(Incoming { y, h: state(1)?, c: state(2)? })
    }

    /// One direction, from its last step to its first.
    fn back(&self, sweep: &Reverse, dir: usize, incoming: &Incoming) -> OpResult<Traced> {
        let (weights, _) = self.weights(sweep.inputs, dir)?;
        let like = sweep.input(R)?;
        let zeros = || {
            let shape = (sweep.width, sweep.batch * self.rows, self.hidden);
            Tensor::zeros(shape, like.dtype(), like.device())
        };
        let start = |last: &Option<Tensor>| -> OpResult<Tensor> {
            Ok(match last {
                Some(last) => last.get(dir)?,
                None => zeros()?,
            })
        };
        let c = if self.cell.has_c() { Some(start(&incoming.c)?) } else { None };
        let mut state = State { h: start(&incoming.h)?, c };
        let mut input = vec![None; self.steps];
        let mut recurrent = vec![None; self.steps];
        let mut peepholes: Option<Tensor> = None;
        for (nth, t) in self.walk(dir).into_iter().enumerate().rev() {
            let kept = self.kept(sweep, dir, nth)?;
            let mask = self.running(t, sweep.batch, like.dtype())?;
            // Rows that are over pass their state's cotangent by; their h at t was never shown.
            let passing = mask.as_ref().map(|mask| masked(&state, &(1.0 - mask)?)).transpose()?;
            if let Some(y) = &incoming.y {
                state.h = (state.h + y.get(dir)?.get(t)?)?;
            }
            if let Some(mask) = &mask {
                state = masked(&state, mask)?;
            }
            let back = self.cell.back(&kept, &state, &weights)?;
            state = match &passing {
                Some(passing) => sum(&back.state, passing)?,
                None => back.state,
            };
            input[t] = Some(back.input);
            recurrent[t] = Some(back.recurrent);
            peepholes = match (peepholes, back.peepholes) {
                (Some(total), Some(more)) => Some((total + more)?),
                (total, more) => total.or(more),
            };
        }
        let stack = |list: Vec<Option<Tensor>>| -> OpResult<Tensor> {
            Ok(Tensor::stack(&list.into_iter().flatten().collect::<Vec<_>>(), 0)?)
        };
        Ok(Traced { input: stack(input)?, recurrent: stack(recurrent)?, first: state, peepholes })
    }

    /// What the `nth` step of a walk kept, one row for every example.
    fn kept(&self, sweep: &Reverse, dir: usize, nth: usize) -> OpResult<Vec<Tensor>> {
        let each = sweep.saved.len() / (self.directions.len() * self.steps);
        let from = (dir * self.steps + nth) * each;
        sweep.saved[from..from + each].iter().map(|x| self.widened(x, sweep.batch)).collect()
    }

    /// `[L·N, ·]` → `[B·N, ·]`, repeating what all examples share.
    fn widened(&self, x: &Tensor, batch: usize) -> OpResult<Tensor> {
        let (rows, width) = x.dims2()?;
        if rows == batch * self.rows {
            return Ok(x.clone());
        }
        let wide = x.unsqueeze(0)?.broadcast_as((batch, rows, width))?;
        Ok(wide.contiguous()?.reshape((batch * rows, width))?)
    }

    /// `[T, d, M, q]` per direction → `[B, d, D, T·N, q]`.
    fn deltas(&self, sweep: &Reverse, parts: &[Tensor]) -> OpResult<Tensor> {
        let mut list = Vec::with_capacity(parts.len());
        for part in parts {
            let (steps, d, _, q) = part.dims4()?;
            let part = part.reshape((steps, d, sweep.batch, self.rows, q))?;
            let part = part.permute((2, 1, 0, 3, 4))?;
            list.push(part.reshape((sweep.batch, d, steps * self.rows, q))?);
        }
        Ok(Tensor::stack(&list, 2)?)
    }

    /// What R met as kept tensor `k` of every step: `[B, D, T·N, H]`.
    fn met(&self, sweep: &Reverse, k: usize) -> OpResult<Tensor> {
        let mut list = Vec::with_capacity(self.directions.len());
        for dir in 0..self.directions.len() {
            let mut steps = vec![None; self.steps];
            for (nth, t) in self.walk(dir).into_iter().enumerate() {
                steps[t] = Some(self.kept(sweep, dir, nth)?.swap_remove(k));
            }
            let steps: Vec<Tensor> = steps.into_iter().flatten().collect();
            let shape = (self.steps, sweep.batch, self.rows, self.hidden);
            let met = Tensor::stack(&steps, 0)?.reshape(shape)?.transpose(0, 1)?;
            list.push(met.reshape((sweep.batch, self.steps * self.rows, self.hidden))?);
        }
        Ok(Tensor::stack(&list, 1)?)
    }

    fn factor_w(&self, sweep: &Reverse) -> OpResult<Factor> {
        let parts: Vec<Tensor> = self.trace(sweep)?.into_iter().map(|t| t.input).collect();
        let (batch, dirs) = (sweep.batch, self.directions.len());
        let x = sweep.input(X)?;
        let x = if self.rows_first { x.transpose(1, 2)? } else { x.clone() };
        let positions = self.steps * self.rows;
        let x = x.reshape((x.dims()[0], 1, positions, self.input))?;
        let input = x.broadcast_as((batch, dirs, positions, self.input))?;
        let cotangent = self.deltas(sweep, &parts)?;
        Ok(Factor::Outer { input, cotangent, order: Order::CotangentFirst })
    }

    /// Where the candidate's rows of R meet r ⊙ h and the others h, the sum has every step twice:
    /// once with the cotangents of the others, once with the candidate's.
    fn factor_r(&self, sweep: &Reverse) -> OpResult<Factor> {
        let parts: Vec<Tensor> = self.trace(sweep)?.into_iter().map(|t| t.recurrent).collect();
        let mut cotangent = self.deltas(sweep, &parts)?;
        let mut input = self.met(sweep, 0)?;
        if self.cell.resets_before() {
            let (ahead, hidden) = (self.columns() - self.hidden, self.hidden);
            let gates = cotangent.narrow(4, 0, ahead)?.pad_with_zeros(4, 0, hidden)?;
            let candidate = cotangent.narrow(4, ahead, hidden)?.pad_with_zeros(4, ahead, 0)?;
            cotangent = Tensor::cat(&[gates, candidate], 3)?;
            input = Tensor::cat(&[input, self.met(sweep, 1)?], 2)?;
        }
        Ok(Factor::Outer { input, cotangent, order: Order::CotangentFirst })
    }

    /// dX = Σ over directions of δ·W.
    fn reverse_x(&self, sweep: &Reverse, traced: &[Traced]) -> OpResult<Tensor> {
        let (b, d) = (sweep.batch, sweep.width);
        let mut total: Option<Tensor> = None;
        for (dir, traced) in traced.iter().enumerate() {
            let (weights, _) = self.weights(sweep.inputs, dir)?;
            let flat = traced.input.reshape((self.steps * d * b * self.rows, self.columns()))?;
            let back = matmul(&flat, &weights.input)?;
            total = Some(match total {
                Some(total) => (total + back)?,
                None => back,
            });
        }
        let Some(total) = total else { fail!("a recurrent layer without a direction") };
        let total = total.reshape((self.steps, d, b, self.rows, self.input))?;
        let order = if self.rows_first { (2, 1, 3, 0, 4) } else { (2, 1, 0, 3, 4) };
        let back = total.permute(order)?.contiguous()?;
        Ok(back.reshape(lead_shape(b * d, sweep.shape(X)?))?)
    }

    /// `[D][d, M, H]` → `[B·d, *state]`.
    fn reverse_state(&self, sweep: &Reverse, parts: &[Tensor]) -> OpResult<Tensor> {
        let (b, d) = (sweep.batch, sweep.width);
        let shape = (parts.len(), d, b, self.rows, self.hidden);
        let order = if self.rows_first { (2, 1, 3, 0, 4) } else { (2, 1, 0, 3, 4) };
        let back = Tensor::stack(parts, 0)?.reshape(shape)?.permute(order)?.contiguous()?;
        Ok(back.reshape(lead_shape(b * d, &self.state_shape()))?)
    }

    /// `[D][d, B, q]` → `[B·d, D, q]`.
    fn per_direction(&self, parts: &[Tensor]) -> OpResult<Tensor> {
        let stacked = Tensor::stack(parts, 0)?.permute((2, 1, 0, 3))?.contiguous()?;
        let (b, d, dirs, q) = stacked.dims4()?;
        Ok(stacked.reshape((b * d, dirs, q))?)
    }

    fn reverse_bias(&self, sweep: &Reverse, traced: &[Traced]) -> OpResult<Tensor> {
        let total = |x: &Tensor| -> OpResult<Tensor> {
            let shape = (self.steps, sweep.width, sweep.batch, self.rows, self.columns());
            Ok(sum_axes(&x.reshape(shape)?, &[0, 3])?.squeeze(3)?.squeeze(0)?)
        };
        let mut parts = Vec::with_capacity(traced.len());
        for part in traced {
            parts.push(Tensor::cat(&[total(&part.input)?, total(&part.recurrent)?], 2)?);
        }
        self.per_direction(&parts)
    }

    fn reverse_peepholes(&self, sweep: &Reverse, traced: &[Traced]) -> OpResult<Option<Tensor>> {
        let mut parts = Vec::with_capacity(traced.len());
        for part in traced {
            let Some(p) = &part.peepholes else { return Ok(None) };
            let shape = (sweep.width, sweep.batch, self.rows, 3 * self.hidden);
            parts.push(sum_axes(&p.reshape(shape)?, &[2])?.squeeze(2)?);
        }
        self.per_direction(&parts).map(Some)
    }
}

impl Operator for Recurrent {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let lead = [X, INITIAL_H, INITIAL_C]
            .iter()
            .filter_map(|k| inputs.get(*k).copied().flatten())
            .map(|x| x.dims()[0])
            .max()
            .unwrap_or(1);
        let x = self.by_step(required(inputs, X)?, lead)?;
        let (mut shown, mut h, mut c, mut saved) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for dir in 0..self.directions.len() {
            let walk = self.run(inputs, dir, &x, lead)?;
            shown.push(walk.shown);
            h.push(walk.last.h);
            c.extend(walk.last.c);
            saved.extend(walk.kept);
        }
        let mut outputs = vec![self.sequence(&shown, lead)?, self.states(&h, lead)?];
        if self.cell.has_c() {
            outputs.push(self.states(&c, lead)?);
        }
        Ok(Forward { outputs, saved })
    }

    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let traced = self.trace(sweep)?;
        let rows = sweep.batch * sweep.width;
        let mut result = vec![None; sweep.inputs.len()];
        if sweep.wants(X) {
            result[X] = Some(self.reverse_x(sweep, &traced)?);
        }
        for k in [W, R].into_iter().filter(|k| sweep.wants(*k)) {
            let dense = self.factor(k, sweep)?.to_dense()?;
            result[k] = Some(dense.reshape(lead_shape(rows, sweep.shape(k)?))?);
        }
        if sweep.wants(B) {
            result[B] = Some(self.reverse_bias(sweep, &traced)?);
        }
        if sweep.wants(INITIAL_H) {
            let parts: Vec<Tensor> = traced.iter().map(|t| t.first.h.clone()).collect();
            result[INITIAL_H] = Some(self.reverse_state(sweep, &parts)?);
        }
        if sweep.wants(INITIAL_C) {
            let parts: Vec<Tensor> = traced.iter().filter_map(|t| t.first.c.clone()).collect();
            result[INITIAL_C] = Some(self.reverse_state(sweep, &parts)?);
        }
        if sweep.wants(P) {
            result[P] = self.reverse_peepholes(sweep, &traced)?;
        }
        Ok(result)
    }

    fn factor_shape(&self, operand: usize) -> Option<FactorShape> {
        let twice = operand == R && self.cell.resets_before();
        [W, R].contains(&operand).then(|| FactorShape::Outer {
            groups: self.directions.len(),
            positions: self.steps * self.rows * if twice { 2 } else { 1 },
            input: if operand == W { self.input } else { self.hidden },
            cotangent: self.columns(),
            order: Order::CotangentFirst,
        })
    }

    fn factor(&self, operand: usize, sweep: &Reverse) -> OpResult<Factor> {
        match operand {
            W => self.factor_w(sweep),
            R => self.factor_r(sweep),
            _ => fail!("input {operand} has no factor"),
        }
    }
}
