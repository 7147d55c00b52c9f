//! What was found about each label, and the table it makes.

use gradkin::{Examples, Neighbor, Undefined};
use gradkin_data::write::{ColumnData, Table};

use super::given::Given;
use crate::examples::{id_column, label_column, path_column};
use crate::exit::Outcome;
use crate::job::Job;

/// A label for each example, where there is one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LabelValues {
    Classes(Vec<Option<usize>>),
    /// As many numbers for each example as there are targets.
    Numbers(Vec<Option<Vec<f64>>>),
}

/// A column of numbers by its name.
pub(super) type Column = (&'static str, Vec<Option<f64>>);

/// The nearest examples with an example's own label and with others.
#[derive(Debug, Clone)]
pub(super) struct Nearest {
    pub(super) agreeing: Vec<Vec<Neighbor>>,
    pub(super) disagreeing: Vec<Vec<Neighbor>>,
}

/// What was found about each label.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) predicted: LabelValues,
    pub(super) suggested: LabelValues,
    pub(super) averaged: LabelValues,
    pub(super) averaged_without_self: LabelValues,
    pub(super) score: Vec<Option<f64>>,
    pub(super) issue: Vec<Option<bool>>,
    /// Further columns of numbers, the denoising factor first.
    pub(super) numbers: Vec<Column>,
    pub(super) nearest: Option<Nearest>,
    pub(super) undefined: Undefined,
    /// What it all says, in words.
    pub(super) summary: Vec<String>,
}

impl Findings {
    /// Examples with a score, the most doubtful first.
    pub(super) fn ranked(&self) -> Vec<usize> {
        let mut ranked: Vec<(usize, f64)> =
            self.score.iter().enumerate().filter_map(|(i, score)| Some((i, (*score)?))).collect();
        ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
        ranked.into_iter().map(|(example, _)| example).collect()
    }

    /// A row for each example; nothing where it has no similarity.
    pub(super) fn table(&self, given: &Given, job: &Job) -> Outcome<Table> {
        let set = &job.data;
        let examples: Vec<usize> = (0..set.len()).collect();
        let mut table = Table::new();
        table.push("example", id_column(set, &examples))?;
        match (given, label_column(set.data(), &examples)) {
            (Given::Classes { .. }, Some(labels)) => table.push("given_label", labels)?,
            _ => push(&mut table, "given_label", &given.values(), given)?,
        }
        push(&mut table, "predicted_label", &self.predicted, given)?;
        push(&mut table, "suggested_label", &self.suggested, given)?;
        table.push("label_score", self.score.clone())?;
        table.push("is_label_issue", self.issue.clone())?;
        push(&mut table, "averaged_label", &self.averaged, given)?;
        push(&mut table, "averaged_label_without_self", &self.averaged_without_self, given)?;
        for (name, values) in &self.numbers {
            table.push(*name, values.clone())?;
        }
        if let Some(nearest) = &self.nearest {
            table.push("nearest_agreeing", lists(&nearest.agreeing, job))?;
            table.push("nearest_disagreeing", lists(&nearest.disagreeing, job))?;
        }
        if let Some(paths) = path_column(set.data(), &examples) {
            table.push("file", paths)?;
        }
        let mut record = job.record.clone();
        record.undefined("undefined_examples", &self.undefined, set);
        table.set_metadata("gradkin", record.compact());
        Ok(table)
    }
}

/// A label as one column, or as one for each target.
fn push(table: &mut Table, name: &str, labels: &LabelValues, given: &Given) -> Outcome {
    match (labels, given) {
        (LabelValues::Classes(classes), Given::Classes { names, named: true, .. }) => {
            let named = classes.iter().map(|class| class.map(|class| names[class].clone()));
            table.push(name, named.collect::<Vec<Option<String>>>())?;
        }
        (LabelValues::Classes(classes), _) => {
            let numbers = classes.iter().map(|class| class.map(|class| class as i64));
            table.push(name, numbers.collect::<Vec<Option<i64>>>())?;
        }
        (LabelValues::Numbers(rows), _) => {
            let width = rows.iter().flatten().map(Vec::len).next().unwrap_or(1);
            for c in 0..width {
                let name = if width == 1 { name.to_owned() } else { format!("{name}_{c}") };
                let column = rows.iter().map(|row| row.as_ref().map(|row| row[c]));
                table.push(name, column.collect::<Vec<Option<f64>>>())?;
            }
        }
    }
    Ok(())
}

/// Neighbours as text, `17:0.931,4:0.902`.
fn lists(lists: &[Vec<Neighbor>], job: &Job) -> ColumnData {
    let entry =
        |near: &Neighbor| format!("{}:{:.4}", job.data.data().id(near.example), near.similarity);
    let text = |list: &Vec<Neighbor>| list.iter().map(entry).collect::<Vec<String>>().join(",");
    lists.iter().map(text).collect::<Vec<String>>().into()
}
