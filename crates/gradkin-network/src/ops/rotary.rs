//! RotaryEmbedding: pairs of entries of every head turned by an angle that depends on the position.

use candle_core::Tensor;

use super::picking::{integers, pick, positions, unpick, wrapped};
use super::scatter::repeat;
use super::{Build, Forward, Inputs, Operator, Reverse, Setup, required};
use crate::error::{OpResult, fail};
use crate::tensor::{lead_shape, sum_axes};

pub(super) const OPERATORS: &[(&str, Build)] = &[("RotaryEmbedding", Rotary::build)];

/// (u, v) → (cos · u − sin · v, sin · u + cos · v) over the pairs of every head.
#[derive(Debug)]
struct Rotary {
    /// Whether heads stand before the positions (an input of four axes) or behind them.
    heads_first: bool,
    /// `[N, heads, length, size]`.
    batch: usize,
    heads: usize,
    length: usize,
    size: usize,
    /// Pairs that turn; the rest of a head stays.
    pairs: usize,
    interleaved: bool,
    /// Rows of the tables, where positions choose among them.
    rows: Option<usize>,
}

impl Rotary {
    fn build(setup: &Setup) -> OpResult<Box<dyn Operator>> {
        let shape = setup.shape(0)?;
        let (heads_first, batch, heads, length, size) = match *shape {
            [batch, heads, length, size] => (true, batch, heads, length, size),
            [batch, length, hidden] => {
                let heads = usize::try_from(setup.attributes.int("num_heads", 0)?).unwrap_or(0);
                if heads == 0 || hidden % heads != 0 {
                    fail!("{hidden} entries do not split into {heads} heads");
                }
                (false, batch, heads, length, hidden / heads)
            }
            _ => fail!("an input of shape {shape:?} has neither three nor four axes"),
        };
        let turned = setup.attributes.int("rotary_embedding_dim", 0)?;
        let turned = match usize::try_from(turned) {
            Ok(0) => size,
            Ok(turned) if turned <= size => turned,
            _ => fail!("{turned} entries of a head of {size} cannot turn"),
        };
        let pairs = turned / 2;
        let rows = if setup.has(3) {
            if setup.shape(3)? != [batch, length] {
                fail!(
                    "positions of shape {:?} where [{batch}, {length}] is needed",
                    setup.shape(3)?
                );
            }
            setup.shape(1)?.first().copied()
        } else {
            None
        };
        let wanted = match rows {
            Some(rows) => vec![rows, pairs],
            None => vec![batch, length, pairs],
        };
        if turned % 2 != 0 || setup.shape(1)? != wanted || setup.shape(2)? != wanted {
            fail!("the table of cosines has shape {:?}; expected {wanted:?}", setup.shape(1)?);
        }
        let interleaved = setup.attributes.int("interleaved", 0)? != 0;
        Ok(Box::new(Self { heads_first, batch, heads, length, size, pairs, interleaved, rows }))
    }

    /// Rows of the tables: `[1 or L, N·length]`.
    fn at(&self, inputs: &Inputs) -> OpResult<Option<Tensor>> {
        let Some(rows) = self.rows else { return Ok(None) };
        let index = required(inputs, 3)?;
        let at = integers(index)?.into_iter().map(|at| wrapped(at, rows));
        Ok(Some(positions(&at.collect::<OpResult<Vec<_>>>()?, index.dims()[0])?))
    }

    /// A table at every position, to meet the pairs: `[L, N, 1, length, pairs]` or with the one
    /// behind the length.
    fn table(&self, table: &Tensor, at: Option<&Tensor>) -> OpResult<Tensor> {
        let table = match at {
            Some(at) => pick(table, at, self.pairs)?,
            None => table.clone(),
        };
        let table = table.reshape((table.dims()[0], self.batch, self.length, self.pairs))?;
        Ok(table.unsqueeze(if self.heads_first { 2 } else { 3 })?)
    }

    fn view(&self, x: &Tensor) -> OpResult<Tensor> {
        let shape = if self.heads_first {
            (x.dims()[0], self.batch, self.heads, self.length, self.size)
        } else {
            (x.dims()[0], self.batch, self.length, self.heads, self.size)
        };
        Ok(x.contiguous()?.reshape(shape)?)
    }

    /// First and second of every pair.
    fn parts(&self, x: &Tensor) -> OpResult<[Tensor; 2]> {
        if !self.interleaved {
            return Ok([x.narrow(4, 0, self.pairs)?, x.narrow(4, self.pairs, self.pairs)?]);
        }
        let turned = x.narrow(4, 0, 2 * self.pairs)?.contiguous()?;
        let mut shape = turned.dims()[..4].to_vec();
        shape.extend([self.pairs, 2]);
        let turned = turned.reshape(shape)?;
        Ok([turned.narrow(5, 0, 1)?.squeeze(5)?, turned.narrow(5, 1, 1)?.squeeze(5)?])
    }

    /// Pairs and the rest of every head put together.
    fn joined(&self, [u, v]: [Tensor; 2], x: &Tensor) -> OpResult<Tensor> {
        let turned = if self.interleaved {
            let mut shape = u.dims()[..4].to_vec();
            shape.push(2 * self.pairs);
            Tensor::stack(&[u, v], 5)?.reshape(shape)?
        } else {
            Tensor::cat(&[u, v], 4)?
        };
        let rest = self.size - 2 * self.pairs;
        if rest == 0 {
            return Ok(turned);
        }
        let mut shape = turned.dims().to_vec();
        shape[4] = rest;
        let rest = x.narrow(4, 2 * self.pairs, rest)?.broadcast_as(shape)?.contiguous()?;
        Ok(Tensor::cat(&[turned, rest], 4)?)
    }

    fn turned(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> OpResult<Tensor> {
        let [u, v] = self.parts(x)?;
        let first = u.broadcast_mul(cos)?.broadcast_sub(&v.broadcast_mul(sin)?)?;
        let second = u.broadcast_mul(sin)?.broadcast_add(&v.broadcast_mul(cos)?)?;
        self.joined([first, second], x)
    }

    /// A table's cotangent from that of its use at every pair.
    fn reverse_table(&self, sweep: &Reverse, back: &Tensor, k: usize) -> OpResult<Tensor> {
        let rows = sweep.batch * sweep.width;
        let summed = sum_axes(back, &[if self.heads_first { 2 } else { 3 }])?;
        let flat = summed.reshape((rows, self.batch * self.length * self.pairs))?;
        let table = match (self.at(sweep.inputs)?, self.rows) {
            (Some(at), Some(count)) => unpick(sweep, &flat, &at, self.pairs, count)?,
            _ => flat,
        };
        Ok(table.reshape(lead_shape(rows, sweep.shape(k)?))?)
    }
}

impl Operator for Rotary {
    fn forward(&self, inputs: &Inputs) -> OpResult<Forward> {
        let x = required(inputs, 0)?;
        let at = self.at(inputs)?;
        let cos = self.table(required(inputs, 1)?, at.as_ref())?;
        let sin = self.table(required(inputs, 2)?, at.as_ref())?;
        let y = self.turned(&self.view(x)?, &cos, &sin)?;
        Ok(y.reshape(lead_shape(y.dims()[0], crate::tensor::example_shape(x)))?.into())
    }

    /// The transpose of a turn is the turn back; a table's cotangent is Σ δu u + δv v for the
    /// cosines and Σ δv u − δu v for the sines.
    fn reverse(&self, sweep: &Reverse) -> OpResult<Vec<Option<Tensor>>> {
        let at = self.at(sweep.inputs)?;
        let delta = self.view(sweep.cotangent()?)?;
        let every = |x: Tensor| if x.dims()[0] == 1 { Ok(x) } else { repeat(sweep, &x) };
        let mut result = vec![None; sweep.inputs.len()];
        if sweep.wants(0) {
            let cos = every(self.table(sweep.input(1)?, at.as_ref())?)?;
            let sin = every(self.table(sweep.input(2)?, at.as_ref())?)?;
            let back = self.turned(&delta, &cos, &sin.neg()?)?;
            result[0] = Some(back.reshape(lead_shape(delta.dims()[0], sweep.shape(0)?))?);
        }
        if sweep.wants(1) || sweep.wants(2) {
            let [u, v] = self.parts(&every(self.view(sweep.input(0)?)?)?)?;
            let [du, dv] = self.parts(&delta)?;
            let cos = (du.broadcast_mul(&u)? + dv.broadcast_mul(&v)?)?;
            let sin = (dv.broadcast_mul(&u)? - du.broadcast_mul(&v)?)?;
            result[1] = Some(self.reverse_table(sweep, &cos, 1)?);
            result[2] = Some(self.reverse_table(sweep, &sin, 2)?);
        }
        Ok(result)
    }
}
