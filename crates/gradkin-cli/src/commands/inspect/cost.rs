//! What comparing examples by a network's parameters costs, in the forms that the planner chose.

use gradkin::network::Network;
use gradkin::{Planned, Similarity};
use serde_json::{Value, json};

use crate::args::{Common, Dtype, InspectArgs};
use crate::exit::Outcome;
use crate::job::settings;
use crate::text;

/// What comparing a number of examples costs.
pub(super) struct Cost {
    pub(super) examples: usize,
    outputs: usize,
    bytes_per_number: usize,
    plan: Vec<Planned>,
}

impl Cost {
    pub(super) fn new(networks: &[Network], args: &InspectArgs, common: &Common) -> Outcome<Self> {
        let settings = settings(&args.similarity, common, &networks[0])?;
        let similarity =
            Similarity::over_checkpoints(&networks.iter().collect::<Vec<_>>(), settings)?;
        // Of a set with itself, each pair is met once.
        let partners = (args.batch / 2).max(1);
        Ok(Self {
            examples: args.batch,
            outputs: similarity.outputs()?,
            bytes_per_number: match args.similarity.dtype {
                Dtype::F32 => 4,
                Dtype::F64 => 8,
            },
            plan: similarity.plan(partners)?,
        })
    }

    fn pairs(&self) -> f64 {
        self.examples as f64 * (self.examples as f64 + 1.0) / 2.0
    }

    fn work_per_pair(&self) -> f64 {
        self.plan.iter().map(|planned| planned.work_per_pair).sum()
    }

    fn numbers(&self) -> usize {
        self.plan.iter().map(|planned| planned.numbers).sum()
    }

    fn bytes(&self) -> f64 {
        self.numbers() as f64 * self.bytes_per_number as f64 * self.examples as f64
    }

    /// The pieces of one parameter: forms, work for a pair, numbers for an example. `None` where the
    /// parameter is not compared.
    pub(super) fn of(&self, parameter: usize) -> Option<(String, f64, usize)> {
        let own: Vec<&Planned> = self.plan.iter().filter(|p| p.parameter == parameter).collect();
        let first = own.first()?;
        let form = match own.iter().all(|p| p.form == first.form) {
            true if own.len() > 1 => format!("{} ×{}", first.form, own.len()),
            true => first.form.to_string(),
            false => "several".into(),
        };
        let work = own.iter().map(|p| p.work_per_pair).sum();
        Some((form, work, own.iter().map(|p| p.numbers).sum()))
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        vec![
            format!("outputs compared    {}", text::count(self.outputs)),
            format!(
                "all pairs           {} multiply-adds ({} a pair)",
                text::short(self.work_per_pair() * self.pairs()),
                text::short(self.work_per_pair())
            ),
            format!(
                "gradients in memory {} ({} numbers an example)",
                text::bytes(self.bytes()),
                text::count(self.numbers())
            ),
        ]
    }

    /// For other programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "examples": self.examples,
            "outputs": self.outputs,
            "work_per_pair": self.work_per_pair(),
            "work": self.work_per_pair() * self.pairs(),
            "numbers_per_example": self.numbers(),
            "bytes": self.bytes(),
        })
    }
}
