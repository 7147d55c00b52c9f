//! Groups of near duplicates together with the data that they were found in, and the table they make.

use gradkin::{Duplicates, Examples};
use gradkin_data::write::Table;

use crate::examples::{Classes, class_of, id_column, label_column, path_column};
use crate::exit::Outcome;
use crate::job::Job;
use crate::printer::Printer;
use crate::text;

/// A list of more would help nobody, and a group of n examples has n of them.
const MOST_LISTED: usize = 100;

/// Near duplicates and where they come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups<'a> {
    pub(super) job: &'a Job,
    pub(super) found: &'a Duplicates,
    pub(super) threshold: f64,
}

impl Groups<'_> {
    /// A row for each example.
    pub(super) fn table(&self) -> Outcome<Table> {
        let set = &self.job.data;
        let examples: Vec<usize> = (0..set.len()).collect();
        let mut table = Table::new();
        table.push("example", id_column(set, &examples))?;
        if let Some(labels) = label_column(set.data(), &examples) {
            table.push("given_label", labels)?;
        }
        table.push("is_near_duplicate_issue", self.each(|i| self.group(i).is_some()))?;
        table.push("near_duplicate_score", self.each_near(|similarity, _| score(similarity)))?;
        table.push("near_duplicate_sets", self.each(|i| self.others(i)))?;
        let number = |i: usize| self.found.group_of[i].map(|group| group as i64);
        table.push("group", examples.iter().map(|i| number(*i)).collect::<Vec<_>>())?;
        let size = |i: usize| self.group(i).map_or(1, |group| group.len() as i64);
        table.push("group_size", self.each(size))?;
        table.push("nearest", self.each_near(|_, nearest| set.data().id(nearest) as i64))?;
        table.push("similarity", self.each_near(|similarity, _| similarity))?;
        if Classes::of(set.data()).is_some() {
            let contradict = |i: usize| self.group(i).is_some_and(|group| self.contradicts(group));
            table.push("labels_contradict", self.each(contradict))?;
        }
        if let Some(paths) = path_column(set.data(), &examples) {
            table.push("file", paths)?;
        }
        table.set_metadata("gradkin", self.record());
        Ok(table)
    }

    /// A value for each example that has a similarity.
    fn each<T>(&self, of: impl Fn(usize) -> T) -> Vec<Option<T>> {
        let defined = |i: usize| !self.found.undefined.contains(i);
        (0..self.job.data.len()).map(|i| defined(i).then(|| of(i))).collect()
    }

    /// A value for each example, made from its similarity to the nearest.
    fn each_near<T>(&self, of: impl Fn(f64, usize) -> T) -> Vec<Option<T>> {
        let nearest = self.found.nearest.iter();
        nearest.map(|near| near.map(|near| of(near.similarity, near.example))).collect()
    }

    fn group(&self, example: usize) -> Option<&[usize]> {
        self.found.group_of[example].map(|group| self.found.groups[group].as_slice())
    }

    /// The other members of an example's group, by where they stand in the file.
    fn others(&self, example: usize) -> String {
        let group = self.group(example).unwrap_or_default();
        let others = group.iter().filter(|other| **other != example).take(MOST_LISTED);
        let ids = others.map(|other| self.job.data.data().id(*other).to_string());
        ids.collect::<Vec<String>>().join(",")
    }

    /// Whether the members of a group have more than one class.
    pub(super) fn contradicts(&self, group: &[usize]) -> bool {
        let mut classes = group.iter().filter_map(|i| class_of(self.job.data.data(), *i));
        let first = classes.next();
        classes.any(|class| Some(&class) != first.as_ref())
    }

    /// All groups, those whose labels contradict each other first.
    pub(super) fn worst_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.found.groups.len()).collect();
        order.sort_by_key(|group| !self.contradicts(&self.found.groups[*group]));
        order
    }

    /// Where one group has swallowed most examples, it says nothing about duplicates.
    pub(super) fn warn(&self, printer: &Printer) {
        let defined = self.job.data.len() - self.found.undefined.len();
        let largest = self.found.groups.iter().map(Vec::len).max().unwrap_or_default();
        if largest <= 2 || 2 * largest <= defined {
            return;
        }
        let higher = 1.0 - (1.0 - self.threshold) / 10.0;
        let remedy = match higher < 1.0 - 1e-6 {
            true => format!("try --threshold {}", (higher * 1e9).round() / 1e9),
            false => "compare more outputs or parameters".into(),
        };
        printer.warning(format!(
            "one group holds {} of {} examples: --threshold {} is too low for this network, which sees \
             most examples as the same; {remedy}",
            text::count(largest),
            text::count(defined),
            self.threshold
        ));
    }

    fn record(&self) -> String {
        let mut record = self.job.record.clone();
        record.note("groups", self.found.groups.len());
        record.undefined("undefined_examples", &self.found.undefined, &self.job.data);
        record.compact()
    }
}

/// Low for duplicates: how far the nearest is from being the same.
fn score(similarity: f64) -> f64 {
    (1.0 - similarity).clamp(0.0, 1.0)
}
