//! Which form of inner product each component takes, by counted work and memory.

use gradkin_network::{FactorShape, Sweep};

use crate::similarity::Reduction;

/// A way to take the inner product of two examples' gradients by one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Gradients written out, then a matrix product.
    Dense,
    /// Σ_{t,t'} (a_t · a'_t') (δ_t · δ'_t'): two matrix products and an entry-wise one.
    Factored,
    /// Only rows of a table that both examples touch.
    Rows,
}

impl std::fmt::Display for Form {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Dense => "dense",
            Self::Factored => "factored",
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
}

/// Entry-wise work moves memory where a matrix product reuses registers; measured, one entry costs
/// about as much as this many multiply-adds of a product.
const ENTRY_COST: f64 = 12.0;

/// The forms that a component can take.
pub fn possible_forms(shape: FactorShape) -> Vec<Form> {
    match shape {
        FactorShape::Dense { .. } => vec![Form::Dense],
        FactorShape::Outer { .. } => vec![Form::Dense, Form::Factored],
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
            (work, groups * positions * (input + outputs * cotangent))
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
        (FactorShape::Outer { positions, .. }, Form::Dense) => {
            (positions * outputs * shape.weights()) as f64
        }
        _ => 0.0,
    }
}

/// Choose the cheapest form of every component, given how many partners each example will meet.
pub(crate) fn plan(
    sweep: &Sweep,
    outputs: usize,
    reduction: Reduction,
    partners: f64,
    forced: Option<Form>,
) -> Vec<Planned> {
    let network = sweep.network();
    let choose = |shape: FactorShape| -> Form {
        let forms = possible_forms(shape);
        if let Some(form) = forced.filter(|form| forms.contains(form)) {
            return form;
        }
        let total = |form: &Form| {
            cost(shape, *form, outputs, reduction).0 * partners + preparation(shape, *form, outputs)
        };
        let best = forms.iter().min_by(|a, b| total(a).total_cmp(&total(b)));
        best.copied().unwrap_or(Form::Dense)
    };
    sweep
        .components()
        .iter()
        .map(|component| {
            let form = choose(component.shape);
            let (work_per_pair, numbers) = cost(component.shape, form, outputs, reduction);
            Planned {
                parameter: component.parameter,
                name: network.parameters()[component.parameter].name.clone(),
                shape: component.shape,
                form,
                work_per_pair,
                numbers,
            }
        })
        .collect()
}
