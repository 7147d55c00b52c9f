//! Which form of inner product each component takes, by counted work and memory.

use gradkin_network::{Component, FactorShape, Sweep, Windows};

use crate::similarity::Reduction;

/// A way to take the inner product of two examples' gradients by one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Gradients written out, then a matrix product.
    Dense,
    /// Σ_{t,t'} (a_t · a'_t') (δ_t · δ'_t'): two matrix products and an entry-wise one.
    Factored,
    /// Factors kept; where pairs are taken, gradients of many examples written out slice by slice, then
    /// a matrix product.
    Deferred,
    /// Only rows of a table that both examples touch.
    Rows,
}

impl std::fmt::Display for Form {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Dense => "dense",
            Self::Factored => "factored",
            Self::Deferred => "deferred",
            Self::Rows => "rows",
        })
    }
}

/// The form chosen for one component, and what it costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Index of the parameter in the network's list.
    pub parameter: usize,
    /// The parameter's name.
    pub name: String,
    /// In which form the gradient arrives.
    pub shape: FactorShape,
    /// The form of inner product.
    pub form: Form,
    /// Multiply-adds per pair of examples.
    pub work_per_pair: f64,
    /// Numbers kept per example.
    pub numbers: usize,
    /// Where images are kept in place of what windows cover of them: those windows.
    pub windows: Option<Windows>,
}

/// Entry-wise work moves memory where a matrix product reuses registers; measured, one entry costs
/// about as much as this many multiply-adds of a product.
const ENTRY_COST: f64 = 12.0;

/// The forms that a component can take.
pub fn possible_forms(shape: FactorShape) -> Vec<Form> {
    match shape {
        FactorShape::Dense { .. } => vec![Form::Dense],
        FactorShape::Outer { .. } => vec![Form::Dense, Form::Factored, Form::Deferred],
        FactorShape::Rows { .. } => vec![Form::Dense, Form::Rows],
    }
}

/// Multiply-adds for one pair, and numbers kept for one example.
pub fn cost(shape: FactorShape, form: Form, outputs: usize, reduction: Reduction) -> (f64, usize) {
    let d = outputs as f64;
    // The trace needs d inner products of matching outputs, a matrix all d² of them.
    let pairs = if reduction == Reduction::Trace { d } else { d * d };
    match (shape, form) {
        (FactorShape::Outer { groups, positions, input, cotangent, .. }, Form::Factored) => {
            let (g, t) = (groups as f64, positions as f64);
            let entries = if reduction == Reduction::Trace { 1.0 } else { d * d };
            let work = g * t * t * (input as f64 + pairs * cotangent as f64 + entries * ENTRY_COST);
            (work, shape.numbers(outputs))
        }
        (FactorShape::Outer { .. }, Form::Deferred) => {
            (pairs * shape.weights() as f64, shape.numbers(outputs))
        }
        (FactorShape::Rows { positions, width, .. }, Form::Rows) => {
            let t = positions as f64;
            // Most positions of two examples name different rows: only the comparison remains.
            (t * t * 2.0 + t * pairs * width as f64, positions * (1 + outputs * width))
        }
        (shape, _) => (pairs * shape.weights() as f64, outputs * shape.weights()),
    }
}

/// Multiply-adds to bring one example's factor into a form.
fn preparation(shape: FactorShape, form: Form, outputs: usize) -> f64 {
    match (shape, form) {
        (FactorShape::Outer { positions, .. }, Form::Dense | Form::Deferred) => {
            (positions * outputs * shape.weights()) as f64
        }
        _ => 0.0,
    }
}

/// So many examples meet as many others before what was written out of them is written over.
pub(crate) const SQUARE: usize = 2048;

/// Whether writing gradients out where pairs are taken pays. Pairs write them once where an example has a part in
/// one square only; otherwise again for every other one, which may cost a little for the memory that it saves.
/// Memory that is short costs whole sweeps, and even where it is not, its first use is slow: slower, measured, than to
/// write gradients for K(x, x) and not keep them, which is not counted here.
fn defers(component: &Component, outputs: usize, reduction: Reduction, partners: f64) -> bool {
    /// Work per share of the memory that is saved.
    const MOST_WORK: f64 = 0.3;
    const LEAST_SAVING: f64 = 0.25;
    let shape = component.shape;
    let FactorShape::Outer { positions: 2.., .. } = shape else { return false };
    let squares = (2.0 * partners / SQUARE as f64).ceil().max(1.0);
    let (pair, _) = cost(shape, Form::Deferred, outputs, reduction);
    let (_, written) = cost(shape, Form::Dense, outputs, reduction);
    let saving = 1.0 - numbers_deferred(component, outputs) as f64 / written as f64;
    let again = (squares - 1.0) * preparation(shape, Form::Deferred, outputs);
    saving >= LEAST_SAVING && again <= MOST_WORK * saving * pair * partners
}

/// Numbers kept of an example where its gradient is written out later: of a convolution's weight δ and the
/// image, of others δ and a.
fn numbers_deferred(component: &Component, outputs: usize) -> usize {
    match (component.shape, &component.windows) {
        (FactorShape::Outer { positions, cotangent, .. }, Some(windows)) => {
            windows.numbers() + outputs * positions * cotangent
        }
        (shape, _) => shape.numbers(outputs),
    }
}

/// What features are wanted for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Purpose {
    /// Each example meets so many others.
    Pairs(f64),
    /// The same on another device than the CPU, where nothing is written out late.
    Resident(f64),
    /// Each example enters so many rows of a sum over the set, and meets as many.
    Sums(usize),
}

/// Multiply-adds that one example costs where it meets sums only: its self-product K(x, x), its share
/// of the sums, and, in a second sweep, their product with it. `None` where the form would hold too much
/// at once.
fn cost_of_sums(shape: FactorShape, form: Form, outputs: usize, rows: usize) -> Option<f64> {
    const MOST_NUMBERS: usize = 64 << 20;
    let (d, m) = (outputs as f64, rows as f64);
    match (shape, form) {
        (FactorShape::Outer { groups, positions, input, cotangent, .. }, Form::Factored) => {
            let (g, t, p, q) = (groups as f64, positions as f64, input as f64, cotangent as f64);
            let own = t * t * (p + d * q) + d * d * t * q;
            Some(g * (own + 2.0 * m * t * p * q + 2.0 * d * m * t * q))
        }
        (FactorShape::Rows { positions, width, .. }, Form::Rows) => {
            Some((positions * width) as f64 * (d * d + m + d * m))
        }
        (shape, _) => {
            let weights = shape.weights();
            if outputs.saturating_mul(weights) > MOST_NUMBERS {
                return None;
            }
            let met = (d * d + m + d * m) * weights as f64;
            // Written out once in each sweep.
            let written =
                preparation(shape, Form::Dense, outputs) + ENTRY_COST * d * weights as f64;
            Some(2.0 * written + met)
        }
    }
}

/// Choose the cheapest form of every component for a purpose.
pub(crate) fn plan(
    sweep: &Sweep,
    outputs: usize,
    reduction: Reduction,
    purpose: Purpose,
    forced: Option<Form>,
) -> Vec<Planned> {
    let network = sweep.network();
    let choose = |component: &Component| -> Form {
        let shape = component.shape;
        let forms = possible_forms(shape);
        if let Some(form) = forced.filter(|form| forms.contains(form)) {
            match (form, purpose) {
                // Sums meet no pairs.
                (Form::Deferred, Purpose::Sums(_)) => return Form::Factored,
                (Form::Deferred, Purpose::Resident(_)) => {}
                _ => return form,
            }
        }
        let total = |form: &Form| match purpose {
            Purpose::Pairs(partners) | Purpose::Resident(partners) => {
                let each = cost(shape, *form, outputs, reduction).0;
                each * partners + preparation(shape, *form, outputs)
            }
            Purpose::Sums(rows) => {
                cost_of_sums(shape, *form, outputs, rows).unwrap_or(f64::INFINITY)
            }
        };
        let at_once = forms.iter().filter(|form| **form != Form::Deferred);
        let best = at_once.min_by(|a, b| total(a).total_cmp(&total(b)));
        match (best.copied().unwrap_or(Form::Dense), purpose) {
            (Form::Dense, Purpose::Pairs(partners))
                if defers(component, outputs, reduction, partners) =>
            {
                Form::Deferred
            }
            (form, _) => form,
        }
    };
    sweep
        .components()
        .iter()
        .map(|component| {
            let form = choose(component);
            let (work_per_pair, mut numbers) = cost(component.shape, form, outputs, reduction);
            let deferred = form == Form::Deferred;
            if deferred {
                numbers = numbers_deferred(component, outputs);
            }
            Planned {
                parameter: component.parameter,
                name: network.parameters()[component.parameter].name.clone(),
                shape: component.shape,
                form,
                work_per_pair,
                numbers,
                windows: component.windows.clone().filter(|_| deferred),
            }
        })
        .collect()
}
