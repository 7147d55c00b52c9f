//! Attention: softmax(Q Kᵀ · scale + bias) V, with grouped heads, masks, a causal frontier, a
//! sliding window, softcap and a cache of past keys and values.
//!
//! Inside, all heads that share a key head are one matrix: queries are
//! `[L·N·kv_heads, group·queries, size]` and one product serves the whole group; in the reverse
//! sweep the outputs d join the rows too.

use candle_core::{DType, Device, Tensor};

use super::picking::integers;
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::functions;
use crate::tensor::{
    broadcast_shape, checked_count, example_shape, expand_to, lead_shape, matmul, sum_to, with_rank,
};

pub(super) const OPERATORS: &[(&str, Build)] = &[("Attention", Attention::build)];

const QUERY: usize = 0;
const KEY: usize = 1;
const VALUE: usize = 2;
const MASK: usize = 3;
const PAST_KEY: usize = 4;
const PAST_VALUE: usize = 5;
const LENGTHS: usize = 6;

/// Which product the fourth output shows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shown {
    Scores,
    Capped,
    Biased,
    Probabilities,
}

#[derive(Debug)]
struct Attention {
    /// Whether heads are an axis of the inputs, rather than parts of their last axis.
    split: bool,
    batch: usize,
    heads: usize,
    kv_heads: usize,
    queries: usize,
    /// New keys, and those of the past.
    keys: usize,
    past: usize,
    key_size: usize,
    value_size: usize,
    scale: f64,
    softcap: f64,
    causal: bool,
    /// How many keys before and after its own place a query sees.
    window: [Option<i64>; 2],
    shown: Shown,
    outputs: usize,
}

/// The shape of one of Q, K, V as heads, length and size of a head.
fn heads(setup: &Setup, k: usize, count: Option<usize>) -> OpResult<(usize, usize, usize)> {
    match (setup.shape(k)?, count) {
        (&[_, heads, length, size], _) => Ok((heads, length, size)),
        (&[_, length, size], Some(heads)) if heads > 0 && size % heads == 0 => {
            Ok((heads, length, size / heads))
        }
        (shape, _) => fail!("input {k} of shape {shape:?} does not split into heads {count:?}"),
    }
}

impl Attention {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let count = |name: &str| -> OpResult<Option<usize>> {
            Ok(usize::try_from(setup.attributes.int(name, 0)?).ok().filter(|n| *n > 0))
        };
        let (q_heads, kv_heads) = (count("q_num_heads")?, count("kv_num_heads")?);
        let (heads_q, queries, size) = heads(setup, QUERY, q_heads)?;
        let (heads_k, keys, key_size) = heads(setup, KEY, kv_heads)?;
        let (heads_v, values, value_size) = heads(setup, VALUE, kv_heads)?;
        let batch = setup.shape(QUERY)?[0];
        let agree = heads_k == heads_v && keys == values && size == key_size;
        if !agree || heads_k == 0 || heads_q % heads_k != 0 {
            fail!(
                "queries, keys and values of shapes {:?}, {:?} and {:?} do not go together",
                setup.shape(QUERY)?,
                setup.shape(KEY)?,
                setup.shape(VALUE)?
            );
        }
        let past = Self::past(setup, [batch, heads_k, key_size, value_size])?;
        let bound = |name: &str| -> OpResult<Option<i64>> {
            Ok(Some(setup.attributes.int(name, -1)?).filter(|bound| *bound >= 0))
        };
        let shown = match setup.attributes.int("qk_matmul_output_mode", 0)? {
            0 => Shown::Scores,
            1 => Shown::Capped,
            2 => Shown::Biased,
            3 => Shown::Probabilities,
            other => fail!("qk_matmul_output_mode {other} is unknown"),
        };
        checked_count(&[batch, heads_q, queries, past + keys])?;
        Ok(Box::new(Self {
            split: setup.shape(QUERY)?.len() == 4,
            batch,
            heads: heads_q,
            kv_heads: heads_k,
            queries,
            keys,
            past,
            key_size,
            value_size,
            scale: setup.attributes.float("scale", 1.0 / (size as f64).sqrt())?,
            softcap: setup.attributes.float("softcap", 0.0)?,
            causal: setup.attributes.int("is_causal", 0)? != 0,
            window: [bound("left_window_size")?, bound("right_window_size")?],
            shown,
            outputs: setup.outputs,
        }))
    }

    /// The number of past keys.
    fn past(setup: &Setup, [batch, heads, key_size, value_size]: [usize; 4]) -> OpResult<usize> {
        if !setup.has(PAST_KEY) && !setup.has(PAST_VALUE) {
            return Ok(0);
        }
        let (key, value) = (setup.shape(PAST_KEY)?, setup.shape(PAST_VALUE)?);
        let past = key.get(2).copied().unwrap_or(0);
        if key != [batch, heads, past, key_size] || value != [batch, heads, past, value_size] {
            fail!(
                "past keys and values of shapes {key:?} and {value:?} do not go with the new ones"
            );
        }
        Ok(past)
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn total(&self) -> usize {
        self.past + self.keys
    }

    /// `[rows, *input]` as `[rows, N, heads, length, size]`.
    fn by_head(&self, x: &Tensor, heads: usize, length: usize, size: usize) -> OpResult<Tensor> {
        let (rows, x) = (x.dims()[0], x.contiguous()?);
        Ok(if self.split {
            x.reshape((rows, self.batch, heads, length, size))?
        } else {
            x.reshape((rows, self.batch, length, heads, size))?.transpose(2, 3)?.contiguous()?
        })
    }

    /// The transpose of [`Self::by_head`]; the shape is that of the input or output.
    fn joined(&self, x: &Tensor) -> OpResult<Tensor> {
        let (rows, batch, heads, length, size) = x.dims5()?;
        if self.split {
            return Ok(x.contiguous()?);
        }
        let x = x.transpose(2, 3)?.contiguous()?;
        Ok(x.reshape((rows, batch, length, heads * size))?)
    }

    /// Past and new along the length.
    fn with_past(&self, new: &Tensor, past: Option<&Tensor>, lead: usize) -> OpResult<Tensor> {
        let Some(past) = past else { return Ok(new.clone()) };
        let past = past.broadcast_as(lead_shape(lead, example_shape(past)))?.contiguous()?;
        Ok(Tensor::cat(&[&past, new], 3)?)
    }

    /// The sum of all masks, broadcasting to `[L, N, heads, queries, total]`; `None` where nothing
    /// is masked.
    fn bias(&self, inputs: &Inputs, kind: DType) -> OpResult<Option<Tensor>> {
        let mut bias = None;
        if let Some(mask) = inputs.get(MASK).copied().flatten() {
            bias = Some(self.mask(mask, kind)?);
        }
        let lengths = inputs.get(LENGTHS).copied().flatten();
        if self.causal || lengths.is_some() || self.window != [None, None] {
            let frontier = self.frontier(lengths, kind)?;
            bias = Some(match bias {
                Some(mask) => mask.broadcast_add(&frontier)?,
                None => frontier,
            });
        }
        Ok(bias)
    }

    /// A mask as numbers to add: `[L, N or 1, heads or 1, queries or 1, total]`.
    fn mask(&self, mask: &Tensor, kind: DType) -> OpResult<Tensor> {
        let mask = with_rank(mask, 4)?;
        let ignored =
            Tensor::full(f64::NEG_INFINITY, mask.shape(), &Device::Cpu)?.to_dtype(kind)?;
        let numbers = if mask.dtype().is_float() {
            mask
        } else {
            mask.contiguous()?.where_cond(&ignored.zeros_like()?, &ignored)?
        };
        let mut shape = numbers.dims().to_vec();
        let short = self.total().saturating_sub(shape[4]);
        if short == 0 || shape[4] == 1 {
            return Ok(numbers);
        }
        shape[4] = short;
        let rest = Tensor::full(f64::NEG_INFINITY, shape, &Device::Cpu)?.to_dtype(kind)?;
        Ok(Tensor::cat(&[numbers, rest], 4)?)
    }

    /// Which keys each query may see by their places: `[L or 1, N or 1, 1, queries, total]`.
    ///
    /// Query i stands at place i + offset, the offset being the number of keys before the first
    /// query: the past, or what the lengths leave.
    fn frontier(&self, lengths: Option<&Tensor>, kind: DType) -> OpResult<Tensor> {
        let (total, queries) = (self.total(), self.queries);
        let (lead, rows) = match lengths {
            Some(lengths) => (lengths.dims()[0], integers(lengths)?),
            None => (1, vec![total as i64]),
        };
        let mut values = Vec::with_capacity(rows.len() * queries * total);
        for length in &rows {
            let offset = match lengths {
                Some(_) if self.past == 0 => (*length).clamp(0, total as i64) - queries as i64,
                _ => self.past as i64,
            };
            for query in 0..queries as i64 {
                for key in 0..total as i64 {
                    let ahead = key - query - offset;
                    let seen = key < *length
                        && (!self.causal || ahead <= 0)
                        && self.window[0].is_none_or(|left| -ahead <= left)
                        && self.window[1].is_none_or(|right| ahead <= right);
                    values.push(if seen { 0.0 } else { f64::NEG_INFINITY });
                }
            }
        }
        let shape = (lead, rows.len() / lead.max(1), 1, queries, total);
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(kind)?)
    }

    /// `[L·N·kv, group·queries, total]` with every head an axis of its own.
    fn scores(&self, x: &Tensor) -> OpResult<Tensor> {
        let lead = x.elem_count() / (self.batch * self.heads * self.queries * self.total()).max(1);
        Ok(x.reshape((lead, self.batch, self.heads, self.queries, self.total()))?)
    }

    /// e^s / Σ e^s along rows, zero where a row is masked throughout.
    fn softmax(x: &Tensor) -> OpResult<Tensor> {
        let top = x.max_keepdim(4)?;
        let top = top.eq(f64::NEG_INFINITY)?.where_cond(&top.zeros_like()?, &top)?;
        let exp = functions::exp(&x.broadcast_sub(&top)?)?;
        let sum = exp.sum_keepdim(4)?;
        let sum = sum.eq(0.0)?.where_cond(&sum.ones_like()?, &sum)?;
        Ok(exp.broadcast_div(&sum)?)
    }

    /// `[lead, N, h, length, size]` with rows of one key head together.
    fn grouped(&self, x: &Tensor, rows: usize, size: usize) -> OpResult<Tensor> {
        let lead = x.dims()[0];
        Ok(x.contiguous()?.reshape((lead * self.batch * self.kv_heads, rows, size))?)
    }
}

impl Operator for Attention {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let lead = inputs.iter().flatten().map(|x| x.dims()[0]).max().unwrap_or(1);
        let full = |k: usize| -> OpResult<Tensor> {
            let x = required(inputs, k)?;
            Ok(x.broadcast_as(lead_shape(lead, example_shape(x)))?)
        };
        let rows = self.group() * self.queries;
        let past = |k: usize| inputs.get(k).copied().flatten();
        let q = self.by_head(&full(QUERY)?, self.heads, self.queries, self.key_size)?;
        let k = self.by_head(&full(KEY)?, self.kv_heads, self.keys, self.key_size)?;
        let v = self.by_head(&full(VALUE)?, self.kv_heads, self.keys, self.value_size)?;
        let present_key = self.with_past(&k, past(PAST_KEY), lead)?;
        let present_value = self.with_past(&v, past(PAST_VALUE), lead)?;
        let q = self.grouped(&q, rows, self.key_size)?;
        let k = self.grouped(&present_key, self.total(), self.key_size)?;
        let v = self.grouped(&present_value, self.total(), self.value_size)?;
        let scores = self.scores(&(matmul(&q, &k.transpose(1, 2)?)? * self.scale)?)?;
        let capped = match self.softcap {
            cap if cap > 0.0 => (functions::tanh(&(&scores / cap)?)? * cap)?,
            _ => scores.clone(),
        };
        let biased = match self.bias(inputs, q.dtype())? {
            Some(bias) => capped.broadcast_add(&bias)?,
            None => capped.clone(),
        };
        let p = Self::softmax(&biased)?;
        let y = matmul(&self.grouped(&p, rows, self.total())?, &v)?;
        let y = y.reshape((lead, self.batch, self.heads, self.queries, self.value_size))?;
        let shown = match self.shown {
            Shown::Scores => scores,
            Shown::Capped => capped.clone(),
            Shown::Biased => biased,
            Shown::Probabilities => p.clone(),
        };
        let mut outputs = vec![self.joined(&y)?, present_key, present_value, shown];
        outputs.truncate(self.outputs.max(1));
        Ok(Forward { outputs, saved: vec![q, k, v, p, capped] })
    }

    /// With S the scores, P the probabilities: dV = Pᵀ δ, dP = δ Vᵀ, dS = P (dP − Σ P dP),
    /// times 1 − (S/cap)² under a softcap, dQ = scale dS K, dK = scale dSᵀ Q.
    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let mut result = vec![None; sweep.inputs.len()];
        let back = Back::new(self, sweep)?;
        let biased = back.biased()?;
        if sweep.wants(MASK) {
            result[MASK] = Some(self.reverse_mask(sweep, &back, &biased)?);
        }
        let scores = back.scores(biased)?;
        if sweep.wants(QUERY) {
            result[QUERY] = Some(back.query(&scores)?);
        }
        let wants_key = sweep.wants(KEY) || sweep.wants(PAST_KEY);
        if wants_key {
            self.cut(sweep, &back.key(&scores)?, [KEY, PAST_KEY], &mut result)?;
        }
        if sweep.wants(VALUE) || sweep.wants(PAST_VALUE) {
            self.cut(sweep, &back.value()?, [VALUE, PAST_VALUE], &mut result)?;
        }
        Ok(result)
    }
}

impl Attention {
    /// The cotangent of all keys (or values) in that of the new and of the past ones.
    fn cut(
        &self,
        sweep: &Reverse,
        all: &Tensor,
        [new, past]: [usize; 2],
        result: &mut [Option<Tensor>],
    ) -> OpResult<()> {
        if sweep.wants(past) {
            result[past] = Some(all.narrow(3, 0, self.past)?.contiguous()?);
        }
        if sweep.wants(new) {
            let part = self.joined(&all.narrow(3, self.past, self.keys)?)?;
            result[new] = Some(part.reshape(lead_shape(all.dims()[0], sweep.shape(new)?))?);
        }
        Ok(())
    }

    /// A mask of numbers is added to the scores, wherever it broadcasts.
    fn reverse_mask(&self, sweep: &Reverse, back: &Back, biased: &Tensor) -> OpResult<Tensor> {
        let shape = sweep.shape(MASK)?;
        let mut biased = back.by_head(biased, self.heads, self.queries, self.total())?;
        let own = shape.last().copied().unwrap_or(1);
        if own != 1 && own < self.total() {
            biased = biased.narrow(4, 0, own)?.contiguous()?;
        }
        broadcast_shape(shape, &biased.dims()[1..])?;
        sum_to(&biased, shape)
    }
}

/// The reverse sweep through one attention; tensors are `[B·N·kv, d, rows, size]`, all heads of a
/// group and their queries being rows.
struct Back<'a> {
    own: &'a Attention,
    sweep: &'a Reverse<'a>,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    p: Tensor,
    capped: Tensor,
    delta: Option<Tensor>,
}

impl<'a> Back<'a> {
    fn new(own: &'a Attention, sweep: &'a Reverse<'a>) -> OpResult<Self> {
        let [q, k, v, p, capped] = sweep.saved else { fail!("nothing was saved") };
        let rows = own.group() * own.queries;
        // What all examples share is repeated.
        let every = |x: &Tensor, rows: usize, size: usize| -> OpResult<Tensor> {
            let per = own.batch * own.kv_heads;
            let lead = x.elem_count() / (per * rows * size).max(1);
            let x =
                expand_to(&x.reshape((lead, per, rows, size))?, sweep.batch, &[per, rows, size])?;
            Ok(x.contiguous()?.reshape((sweep.batch * per, rows, size))?)
        };
        let mut back = Self {
            own,
            sweep,
            q: every(q, rows, own.key_size)?,
            k: every(k, own.total(), own.key_size)?,
            v: every(v, own.total(), own.value_size)?,
            p: every(p, rows, own.total())?,
            capped: every(capped, rows, own.total())?,
            delta: None,
        };
        back.delta = match sweep.cotangent_of(0)? {
            Some(delta) => {
                let delta = own.by_head(delta, own.heads, own.queries, own.value_size)?;
                Some(back.stacked(&delta)?)
            }
            None => None,
        };
        Ok(back)
    }

    /// `[B·d, N, h, length, size]` → `[B·N·kv, d, h/kv·length, size]`.
    fn stacked(&self, x: &Tensor) -> OpResult<Tensor> {
        let (own, sweep) = (self.own, self.sweep);
        let (_, batch, heads, length, size) = x.dims5()?;
        let rows = heads / own.kv_heads * length;
        let x = x.reshape(vec![sweep.batch, sweep.width, batch, own.kv_heads, rows, size])?;
        let x = x.permute(vec![0, 2, 3, 1, 4, 5])?.contiguous()?;
        Ok(x.reshape((sweep.batch * batch * own.kv_heads, sweep.width, rows, size))?)
    }

    /// The transpose of [`Self::stacked`].
    fn by_head(&self, x: &Tensor, heads: usize, length: usize, size: usize) -> OpResult<Tensor> {
        let (own, sweep) = (self.own, self.sweep);
        let rows = heads / own.kv_heads * length;
        let shape = vec![sweep.batch, own.batch, own.kv_heads, sweep.width, rows, size];
        let x = x.contiguous()?.reshape(shape)?.permute(vec![0, 3, 1, 2, 4, 5])?.contiguous()?;
        Ok(x.reshape((sweep.batch * sweep.width, own.batch, heads, length, size))?)
    }

    /// What came back for the fourth output, if that is what it shows.
    fn shown(&self, what: Shown) -> OpResult<Option<Tensor>> {
        match self.sweep.cotangent_of(3)? {
            Some(cotangent) if self.own.shown == what => Ok(Some(self.stacked(cotangent)?)),
            _ => Ok(None),
        }
    }

    fn with_shown(&self, x: Tensor, what: Shown) -> OpResult<Tensor> {
        Ok(match self.shown(what)? {
            Some(more) => (x + more)?,
            None => x,
        })
    }

    /// A product with one matrix per group for all outputs: `[G, d, rows, s] · [G, s, c]`.
    fn times(x: &Tensor, matrix: &Tensor) -> OpResult<Tensor> {
        let ((groups, d, rows, size), (_, _, columns)) = (x.dims4()?, matrix.dims3()?);
        let product = matmul(&x.contiguous()?.reshape((groups, d * rows, size))?, matrix)?;
        Ok(product.reshape((groups, d, rows, columns))?)
    }

    /// The cotangent of scores plus bias.
    fn biased(&self) -> OpResult<Tensor> {
        let p = self.p.unsqueeze(1)?;
        let delta = match &self.delta {
            Some(delta) => Self::times(delta, &self.v.transpose(1, 2)?.contiguous()?)?,
            None => {
                let (groups, rows, total) = self.p.dims3()?;
                let shape = (groups, self.sweep.width, rows, total);
                Tensor::zeros(shape, self.p.dtype(), &Device::Cpu)?
            }
        };
        let delta = self.with_shown(delta, Shown::Probabilities)?;
        let weighted = delta.broadcast_mul(&p)?;
        let along = weighted.sum_keepdim(3)?;
        let back = (weighted - along.broadcast_mul(&p)?)?;
        self.with_shown(back, Shown::Biased)
    }

    /// The cotangent of the scores before the softcap.
    fn scores(&self, biased: Tensor) -> OpResult<Tensor> {
        let mut back = self.with_shown(biased, Shown::Capped)?;
        if self.own.softcap > 0.0 {
            let slope = (1.0 - (&self.capped / self.own.softcap)?.sqr()?)?;
            back = back.broadcast_mul(&slope.unsqueeze(1)?)?;
        }
        self.with_shown(back, Shown::Scores)
    }

    fn query(&self, scores: &Tensor) -> OpResult<Tensor> {
        let own = self.own;
        let back = (Self::times(scores, &self.k)? * own.scale)?;
        let back = own.joined(&self.by_head(&back, own.heads, own.queries, own.key_size)?)?;
        Ok(back.reshape(lead_shape(back.dims()[0], self.sweep.shape(QUERY)?))?)
    }

    /// The cotangent of all keys, those of the past included: `[B·d, N, kv, total, size]`.
    fn key(&self, scores: &Tensor) -> OpResult<Tensor> {
        let own = self.own;
        let back = (Self::times(&scores.transpose(2, 3)?, &self.q)? * own.scale)?;
        self.present(self.by_head(&back, own.kv_heads, own.total(), own.key_size)?, 1)
    }

    fn value(&self) -> OpResult<Tensor> {
        let own = self.own;
        let (groups, _, total) = self.p.dims3()?;
        let back = match &self.delta {
            Some(delta) => {
                // Pᵀ · [δ of every output side by side].
                let (_, d, rows, size) = delta.dims4()?;
                let beside = delta.transpose(1, 2)?.contiguous()?;
                let beside = beside.reshape((groups, rows, d * size))?;
                let product = matmul(&self.p.transpose(1, 2)?, &beside)?;
                product.reshape((groups, total, d, size))?.transpose(1, 2)?.contiguous()?
            }
            None => {
                let shape = (groups, self.sweep.width, total, own.value_size);
                Tensor::zeros(shape, self.p.dtype(), &Device::Cpu)?
            }
        };
        self.present(self.by_head(&back, own.kv_heads, total, own.value_size)?, 2)
    }

    /// The present keys and values are outputs too.
    fn present(&self, back: Tensor, output: usize) -> OpResult<Tensor> {
        Ok(match self.sweep.cotangent_of(output)? {
            Some(more) => (&back + more.reshape(back.shape())?)?,
            None => back,
        })
    }
}
