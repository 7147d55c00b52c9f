//! One step of a cell, forward and back.
//!
//! Values are `[M, ·]`, one row per example (and per entry of the graph's own batch axis);
//! cotangents are `[d, M, ·]`, so that a value meets all d of them by plain broadcasting. The gates
//! stand side by side, G·H columns, in ONNX's order.

use std::fmt::Debug;

use candle_core::Tensor;

use super::gate::Activation;
use crate::error::{OpResult, fail};
use crate::tensor::matmul;

/// What a step hands to the next: h and, in an LSTM, c. Of values or of cotangents.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) h: Tensor,
    pub(super) c: Option<Tensor>,
}

/// The weights of one direction.
#[derive(Debug)]
pub(super) struct Weights {
    /// W: `[G·H, I]`.
    pub(super) input: Tensor,
    /// R: `[G·H, H]`.
    pub(super) recurrent: Tensor,
    /// Bias inside the product with the reset gate (GRU with linear_before_reset): `[H]`.
    pub(super) inner_bias: Option<Tensor>,
    /// P: `[3·H]`, for the gates i, o, f.
    pub(super) peepholes: Option<Tensor>,
}

/// What a step gives back.
pub(super) struct Back {
    /// Cotangent of x·Wᵀ + biases: `[d, M, G·H]`.
    pub(super) input: Tensor,
    /// Cotangent of R's rows, each times what it met: `[d, M, G·H]`.
    pub(super) recurrent: Tensor,
    /// Cotangent of the state before the step.
    pub(super) state: State,
    /// Gradient by P: `[d, M, 3·H]`.
    pub(super) peepholes: Option<Tensor>,
}

/// A recurrent cell.
pub(super) trait Cell: Debug + Send + Sync {
    /// Number of gates G.
    fn gates(&self) -> usize;

    /// Names of the default activations.
    fn activations(&self) -> &'static [&'static str];

    /// Whether there is a c beside h.
    fn has_c(&self) -> bool {
        false
    }

    /// Whether the last gate's recurrent bias stays with its product (see [`Weights::inner_bias`]).
    fn keeps_inner_bias(&self) -> bool {
        false
    }

    /// Whether the last gate's rows of R meet the second kept tensor and not the first.
    fn resets_before(&self) -> bool {
        false
    }

    /// From `x` = x·Wᵀ + biases, `[M, G·H]`, and the state before, the state after and what
    /// [`Cell::back`] needs; the first kept tensor is the h that R met.
    fn step(
        &self,
        x: &Tensor,
        state: &State,
        weights: &Weights,
        activations: &[Activation],
    ) -> OpResult<(State, Vec<Tensor>)>;

    /// From the cotangent of the state after the step.
    fn back(&self, kept: &[Tensor], cotangent: &State, weights: &Weights) -> OpResult<Back>;
}

/// Gates k and on, `count` of them, of `[…, G·H]`.
fn gate(x: &Tensor, k: usize, count: usize, hidden: usize) -> OpResult<Tensor> {
    Ok(x.narrow(x.rank() - 1, k * hidden, count * hidden)?.contiguous()?)
}

/// Cotangent `[d, M, r]` times `[r, c]`.
fn through(cotangent: &Tensor, weight: &Tensor) -> OpResult<Tensor> {
    let (d, m, r) = cotangent.dims3()?;
    let flat = matmul(&cotangent.reshape((d * m, r))?, &weight.contiguous()?)?;
    Ok(flat.reshape((d, m, weight.dims()[1]))?)
}

fn c_of(state: &State) -> OpResult<&Tensor> {
    match &state.c {
        Some(c) => Ok(c),
        None => fail!("an LSTM without a cell state"),
    }
}

/// h' = f(x·Wᵀ + h·Rᵀ + b).
#[derive(Debug)]
pub(super) struct Plain;

impl Cell for Plain {
    fn gates(&self) -> usize {
        1
    }

    fn activations(&self) -> &'static [&'static str] {
        &["Tanh"]
    }

    fn step(
        &self,
        x: &Tensor,
        state: &State,
        weights: &Weights,
        activations: &[Activation],
    ) -> OpResult<(State, Vec<Tensor>)> {
        let sum = (x + matmul(&state.h, &weights.recurrent.t()?)?)?;
        let (h, slope) = activations[0].with_slope(&sum)?;
        Ok((State { h, c: None }, vec![state.h.clone(), slope]))
    }

    fn back(&self, kept: &[Tensor], cotangent: &State, weights: &Weights) -> OpResult<Back> {
        let input = cotangent.h.broadcast_mul(&kept[1])?;
        let h = through(&input, &weights.recurrent)?;
        let recurrent = input.clone();
        Ok(Back { input, recurrent, state: State { h, c: None }, peepholes: None })
    }
}

/// h' = (1 − z) n + z h with z = f(·), r = f(·) and the candidate
/// n = g(x·Wᵀ + r ⊙ (h·Rᵀ + b)) where linear before reset, n = g(x·Wᵀ + (r ⊙ h)·Rᵀ + b) otherwise.
#[derive(Debug)]
pub(super) struct Gru {
    pub(super) linear_before_reset: bool,
}

impl Cell for Gru {
    fn gates(&self) -> usize {
        3
    }

    fn activations(&self) -> &'static [&'static str] {
        &["Sigmoid", "Tanh"]
    }

    fn keeps_inner_bias(&self) -> bool {
        self.linear_before_reset
    }

    fn resets_before(&self) -> bool {
        !self.linear_before_reset
    }

    fn step(
        &self,
        x: &Tensor,
        state: &State,
        weights: &Weights,
        activations: &[Activation],
    ) -> OpResult<(State, Vec<Tensor>)> {
        let h = &state.h;
        let hidden = h.dims()[1];
        let rows = weights.recurrent.t()?;
        let ahead = if self.linear_before_reset { 3 } else { 2 };
        let product = matmul(h, &rows.narrow(1, 0, ahead * hidden)?)?;
        let sum = |k: usize| -> OpResult<Tensor> {
            Ok((gate(x, k, 1, hidden)? + gate(&product, k, 1, hidden)?)?)
        };
        let (z, z_slope) = activations[0].with_slope(&sum(0)?)?;
        let (r, r_slope) = activations[0].with_slope(&sum(1)?)?;
        // What r multiplies: h·Rᵀ + b, or h itself.
        let (met, inner) = if self.linear_before_reset {
            let inner = gate(&product, 2, 1, hidden)?;
            let inner = match &weights.inner_bias {
                Some(bias) => inner.broadcast_add(bias)?,
                None => inner,
            };
            (inner.clone(), (&r * inner)?)
        } else {
            let reset = (&r * h)?;
            let inner = matmul(&reset, &rows.narrow(1, 2 * hidden, hidden)?)?;
            (reset, inner)
        };
        let (n, n_slope) = activations[1].with_slope(&(gate(x, 2, 1, hidden)? + inner)?)?;
        let gap = (h - &n)?;
        let after = (&n + (&z * &gap)?)?;
        let by_z = (gap * z_slope)?;
        let by_n = ((1.0 - &z)? * n_slope)?;
        let kept = vec![h.clone(), met, z, r, r_slope, by_z, by_n];
        Ok((State { h: after, c: None }, kept))
    }

    fn back(&self, kept: &[Tensor], cotangent: &State, weights: &Weights) -> OpResult<Back> {
        let [h, met, z, r, r_slope, by_z, by_n] = kept else { fail!("a GRU kept too little") };
        let hidden = h.dims()[1];
        let dh = &cotangent.h;
        let dz = dh.broadcast_mul(by_z)?;
        let dn = dh.broadcast_mul(by_n)?;
        let carried = dh.broadcast_mul(z)?;
        let (input, recurrent, before) = if self.linear_before_reset {
            let dr = dn.broadcast_mul(&(met * r_slope)?)?;
            let inner = dn.broadcast_mul(r)?;
            let input = Tensor::cat(&[&dz, &dr, &dn], 2)?;
            let recurrent = Tensor::cat(&[&dz, &dr, &inner], 2)?;
            let before = (carried + through(&recurrent, &weights.recurrent)?)?;
            (input, recurrent, before)
        } else {
            let back = through(&dn, &weights.recurrent.narrow(0, 2 * hidden, hidden)?)?;
            let dr = back.broadcast_mul(&(h * r_slope)?)?;
            let gates = Tensor::cat(&[&dz, &dr], 2)?;
            let before = (carried + back.broadcast_mul(r)?)?;
            let before = (before + through(&gates, &weights.recurrent.narrow(0, 0, 2 * hidden)?)?)?;
            let input = Tensor::cat(&[&gates, &dn], 2)?;
            (input.clone(), input, before)
        };
        Ok(Back { input, recurrent, state: State { h: before, c: None }, peepholes: None })
    }
}

/// c' = f c + i c̃, h' = o h(c') with the gates i, o, f and the candidate c̃; peepholes let i and f
/// see c, and o see c'. With `coupled`, f = 1 − i.
#[derive(Debug)]
pub(super) struct Lstm {
    pub(super) coupled: bool,
}

impl Cell for Lstm {
    fn gates(&self) -> usize {
        4
    }

    fn activations(&self) -> &'static [&'static str] {
        &["Sigmoid", "Tanh", "Tanh"]
    }

    fn has_c(&self) -> bool {
        true
    }

    fn step(
        &self,
        x: &Tensor,
        state: &State,
        weights: &Weights,
        activations: &[Activation],
    ) -> OpResult<(State, Vec<Tensor>)> {
        let (h, c) = (&state.h, c_of(state)?);
        let hidden = h.dims()[1];
        let sum = (x + matmul(h, &weights.recurrent.t()?)?)?;
        let open = |k: usize, seen: &Tensor| -> OpResult<(Tensor, Tensor)> {
            let mut sum = gate(&sum, k, 1, hidden)?;
            if let Some(peepholes) = &weights.peepholes {
                sum = (sum + seen.broadcast_mul(&gate(peepholes, k, 1, hidden)?)?)?;
            }
            Ok(activations[0].with_slope(&sum)?)
        };
        let (i, i_slope) = open(0, c)?;
        let (candidate, candidate_slope) = activations[1].with_slope(&gate(&sum, 3, 1, hidden)?)?;
        let (f, by_f, by_i) = if self.coupled {
            ((1.0 - &i)?, c.zeros_like()?, ((&candidate - c)? * i_slope)?)
        } else {
            let (f, f_slope) = open(2, c)?;
            (f, (c * f_slope)?, (&candidate * i_slope)?)
        };
        let after = ((&f * c)? + (&i * candidate)?)?;
        let (o, o_slope) = open(1, &after)?;
        // The clip bounds what enters the gates; like ONNX Runtime's, it leaves c' alone.
        let (shown, shown_slope) = activations[2].unclipped().with_slope(&after)?;
        let by_o = (&shown * o_slope)?;
        let by_candidate = (i * candidate_slope)?;
        let by_c = (&o * shown_slope)?;
        let next = State { h: (o * shown)?, c: Some(after.clone()) };
        Ok((next, vec![h.clone(), c.clone(), after, f, by_i, by_o, by_f, by_candidate, by_c]))
    }

    fn back(&self, kept: &[Tensor], cotangent: &State, weights: &Weights) -> OpResult<Back> {
        let [_, c, after, f, by_i, by_o, by_f, by_candidate, by_c] = kept else {
            fail!("an LSTM kept too little")
        };
        let hidden = c.dims()[1];
        let dh = &cotangent.h;
        let peephole = |k: usize| -> OpResult<Option<Tensor>> {
            weights.peepholes.as_ref().map(|p| gate(p, k, 1, hidden)).transpose()
        };
        let d_o = dh.broadcast_mul(by_o)?;
        let mut dc = (c_of(cotangent)? + dh.broadcast_mul(by_c)?)?;
        if let Some(p) = peephole(1)? {
            dc = (dc + d_o.broadcast_mul(&p)?)?;
        }
        let (di, df) = (dc.broadcast_mul(by_i)?, dc.broadcast_mul(by_f)?);
        let d_candidate = dc.broadcast_mul(by_candidate)?;
        let mut before = dc.broadcast_mul(f)?;
        if let (Some(p_i), Some(p_f)) = (peephole(0)?, peephole(2)?) {
            before = (before + (di.broadcast_mul(&p_i)? + df.broadcast_mul(&p_f)?)?)?;
        }
        let peepholes = match weights.peepholes {
            Some(_) => Some(Tensor::cat(
                &[di.broadcast_mul(c)?, d_o.broadcast_mul(after)?, df.broadcast_mul(c)?],
                2,
            )?),
            None => None,
        };
        let input = Tensor::cat(&[&di, &d_o, &df, &d_candidate], 2)?;
        let h = through(&input, &weights.recurrent)?;
        let recurrent = input.clone();
        Ok(Back { input, recurrent, state: State { h, c: Some(before) }, peepholes })
    }
}
