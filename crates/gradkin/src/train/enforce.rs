//! The term that makes the network see given examples as alike (METHOD.md section 4).
//!
//! For a group of examples the term is one minus the mean similarity of its pairs, 1 − k̄; for a pair
//! that is 1 − k^C. Its gradient by the parameters goes through the reverse sweep, which is swept once
//! more for it (see [`Sweep::ascend`]): the second derivatives are exact and never written out.

use gradkin_network::candle_core::Var;
use gradkin_network::{Ascent, Pass, Sweep};

use super::alike::{Taken, alike};
use crate::error::Result;
use crate::examples::Labels;
use crate::output::{Output, OutputChoice};

/// What is made alike, and how strongly.
#[derive(Debug, Clone, PartialEq)]
pub struct Enforcement {
    /// Weight λ of the term. Below zero it drives similarities apart.
    pub lambda: f64,
    /// Which function of the outputs is compared. Several outputs are compared by the trace.
    pub output: OutputChoice,
}

/// The term at one batch.
pub(super) struct Term {
    /// Σ over groups of 1 − k̄.
    pub(super) value: f64,
    /// Derivatives set down in the network, for a sweep that ends in the gradient.
    pub(super) ascent: Ascent,
    /// Derivatives by the output, through cotangents that depend on it.
    pub(super) by_output: Option<gradkin_network::candle_core::Tensor>,
}

/// Value and derivatives, the latter multiplied by `weight`.
pub(super) fn term(
    sweep: &Sweep,
    output: &Output,
    pass: &Pass,
    labels: Option<&Labels>,
    groups: &[Vec<usize>],
    weight: f64,
) -> Result<Term> {
    let at = Var::from_tensor(&sweep.output(pass)?)?;
    let seeds = output.tracked_seeds(sweep, pass, at.as_tensor(), labels)?;
    let groups: Vec<Vec<usize>> = groups.iter().filter(|group| group.len() > 1).cloned().collect();
    let mut taken = Taken::new(sweep.components(), output.width(), &groups);
    let record = sweep.record(pass, &seeds.detach(), &mut taken)?;
    let found = alike(&taken.given(), &groups, weight)?;
    let ascent = sweep.ascend(pass, &record, &found.adjoints)?;
    let mut by_output = None;
    if let (Some(by_seeds), true) = (&ascent.seeds, output.seeds_depend_on_output()) {
        let product = (seeds * by_seeds)?.sum_all()?;
        by_output = product.backward()?.get(at.as_tensor()).cloned();
    }
    Ok(Term { value: found.value, ascent, by_output })
}
