//! Neighbour counts of every kind that was asked for, and the table they make.

use gradkin::{Examples, PairSettings, PairStatistics, Quantity, Sample, SoftCounts, Undefined};
use gradkin_data::write::{ColumnData, Table};

use crate::args::{Kind, Reduce};
use crate::examples::{Classes, Set, id_column, label_column, path_column};
use crate::exit::{Failure, Outcome};
use crate::job::{Job, warn_of_undefined};
use crate::printer::Printer;
use crate::record::Record;
use crate::text;

/// What is to be counted.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) reduce: Reduce,
    pub(super) hard: Vec<f64>,
    pub(super) power: Vec<f64>,
    pub(super) sample: Option<Sample>,
}

impl Wanted {
    /// Whether examples must be met one by one. Soft counts need it only where the best rotation
    /// differs from pair to pair.
    pub(super) fn meets_pairs(&self) -> bool {
        !self.hard.is_empty() || !self.power.is_empty() || self.reduce == Reduce::Rotation
    }

    pub(super) fn note(&self, record: &mut Record) {
        record.note("hard", self.hard.clone());
        record.note("power", self.power.clone());
        record.note("sample", self.sample.map(|sample| sample.size));
        record.note("seed", self.sample.map(|sample| sample.seed));
    }
}

/// One kind of count of every example.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) name: String,
    pub(super) values: Vec<f64>,
    /// Standard errors, where it is an estimate.
    errors: Option<Vec<f64>>,
}

/// Counts of every example among those that are counted against.
#[derive(Debug)]
pub(super) struct Counts {
    /// The soft count is the first.
    pub(super) all: Vec<Count>,
    /// Soft counts among the examples of each class.
    by_class: Vec<Count>,
    /// The largest mean similarity to the examples of a class: low for what is unlike anything in the
    /// set. There is none without classes, and none of similarities that have no scale.
    outlier_scores: Option<Vec<f64>>,
    /// How many were counted against.
    pub(super) against: usize,
    /// Whether counts are sums of numbers from −1 to 1, so that their shares are such numbers too.
    pub(super) normalised: bool,
    pub(super) undefined_queries: Undefined,
    pub(super) undefined: Undefined,
}

impl Counts {
    pub(super) fn of(wanted: &Wanted, job: &Job, printer: &Printer) -> Outcome<Self> {
        let classes = classes(wanted, job, printer);
        let soft_alone = classes.is_some() || !wanted.meets_pairs() || wanted.sample.is_some();
        let linear = wanted.reduce == Reduce::Trace && soft_alone;
        let soft = linear.then(|| soft(job, classes.as_ref(), printer)).transpose()?;
        let pairs = wanted.meets_pairs().then(|| pairs(wanted, job, printer)).transpose()?;
        Ok(Self::gathered(wanted, job.other_or_data(), classes, soft, pairs))
    }

    fn gathered(
        wanted: &Wanted,
        set: &Set,
        classes: Option<Classes>,
        soft: Option<SoftCounts>,
        pairs: Option<PairStatistics>,
    ) -> Self {
        let mut counts = Self {
            all: Vec::new(),
            by_class: Vec::new(),
            outlier_scores: None,
            against: 0,
            normalised: wanted.kind != Kind::Inner,
            undefined_queries: Undefined::default(),
            undefined: Undefined::default(),
        };
        if let Some(pairs) = pairs {
            counts.take_pairs(wanted, pairs);
        }
        // After the pairs: the sums have met all examples, also those that are in no sample.
        if let Some(soft) = soft {
            counts.take_soft(wanted, soft, classes);
        }
        counts.against = set.len() - counts.undefined.len();
        counts
    }

    fn take_pairs(&mut self, wanted: &Wanted, pairs: PairStatistics) {
        // A sample as large as the set is no estimate, and the columns are there all the same.
        let exact = || wanted.sample.map(|_| vec![0.0; pairs.soft.len()]);
        let errors = pairs.errors.as_ref();
        let kinds = [
            ("hard", &wanted.hard, &pairs.hard, errors.map(|e| &e.hard)),
            ("power", &wanted.power, &pairs.power, errors.map(|e| &e.power)),
        ];
        let name = "soft".to_owned();
        let soft = errors.map(|e| e.soft.clone()).or_else(exact);
        self.all.push(Count { name, values: pairs.soft.clone(), errors: soft });
        for (kind, parameters, values, errors) in kinds {
            for (at, parameter) in parameters.iter().enumerate() {
                let errors = errors.map(|e| e[at].clone()).or_else(exact);
                let name = format!("{kind}_{parameter}");
                self.all.push(Count { name, values: values[at].clone(), errors });
            }
        }
        self.undefined_queries = pairs.undefined_queries;
        self.undefined = pairs.undefined;
    }

    fn take_soft(&mut self, wanted: &Wanted, soft: SoftCounts, classes: Option<Classes>) {
        let scaled = wanted.kind == Kind::Correlation;
        self.outlier_scores =
            classes.as_ref().filter(|_| scaled).map(|classes| outlier_scores(&soft, classes));
        let names = classes.map(|classes| classes.names).unwrap_or_default();
        let width = names.len();
        for (c, name) in names.into_iter().enumerate() {
            let values = soft.by_class.iter().skip(c).step_by(width).copied().collect();
            self.by_class.push(Count { name: format!("soft_{name}"), values, errors: None });
        }
        let count = Count { name: "soft".into(), values: soft.counts, errors: None };
        match self.all.first_mut() {
            Some(first) => *first = count,
            None => self.all.push(count),
        }
        self.undefined_queries = soft.undefined_queries;
        self.undefined = soft.undefined;
    }

    /// The soft counts.
    pub(super) fn soft(&self) -> &[f64] {
        self.all.first().map_or(&[], |soft| &soft.values)
    }

    pub(super) fn is_defined(&self, example: usize) -> bool {
        !self.undefined_queries.contains(example)
    }

    /// What a count makes of all that it could be.
    pub(super) fn share(&self, count: f64) -> f64 {
        count / self.against.max(1) as f64
    }

    /// Examples with a count, the lowest soft count first.
    pub(super) fn ascending(&self) -> Vec<usize> {
        let soft = self.soft();
        let mut order: Vec<usize> = (0..soft.len()).filter(|i| self.is_defined(*i)).collect();
        order.sort_by(|a, b| soft[*a].total_cmp(&soft[*b]));
        order
    }

    /// Say what has no count; a failure where nothing has one.
    pub(super) fn warn(&self, job: &Job, printer: &Printer) -> Outcome {
        let set = job.other_or_data();
        if self.against == 0 || self.undefined_queries.len() == job.data.len() {
            let name = if self.against == 0 { set.name() } else { job.data.name() };
            let message = format!("no example of {name} has a similarity, so nothing is counted");
            return Err(Failure::other(message));
        }
        warn_of_undefined(printer, &job.data, &self.undefined_queries);
        if job.has_other() {
            warn_of_undefined(printer, set, &self.undefined);
        }
        Ok(())
    }

    /// An example's counts, one line each, for a narrow place.
    pub(super) fn captions(&self, example: usize) -> Vec<String> {
        let caption =
            |count: &Count| format!("{} {}", count.name, text::significant(count.values[example]));
        self.all.iter().map(caption).collect()
    }

    /// A row for each example; no numbers where it has no similarity.
    pub(super) fn table(&self, job: &Job) -> Outcome<Table> {
        let set = &job.data;
        let examples: Vec<usize> = (0..set.len()).collect();
        let mut table = Table::new();
        table.push("example", id_column(set, &examples))?;
        if let Some(labels) = label_column(set.data(), &examples) {
            table.push("given_label", labels)?;
        }
        for count in &self.all {
            table.push(&count.name, self.column(&count.values, |v| v))?;
            table.push(
                format!("{}_share", count.name),
                self.column(&count.values, |v| self.share(v)),
            )?;
            if let Some(errors) = &count.errors {
                table.push(format!("{}_error", count.name), self.column(errors, |v| v))?;
            }
        }
        for count in &self.by_class {
            // A class may be called "share".
            let mut name = count.name.clone();
            while table.column(&name).is_some() {
                name.push('_');
            }
            table.push(name, self.column(&count.values, |v| v))?;
        }
        if let Some(scores) = &self.outlier_scores {
            table.push("outlier_score", self.column(scores, |v| v))?;
        }
        if let Some(paths) = path_column(set.data(), &examples) {
            table.push("file", paths)?;
        }
        table.set_metadata("gradkin", self.record(job));
        Ok(table)
    }

    fn column(&self, values: &[f64], of: impl Fn(f64) -> f64) -> ColumnData {
        let defined = |(i, value): (usize, &f64)| self.is_defined(i).then(|| of(*value));
        values.iter().enumerate().map(defined).collect::<Vec<Option<f64>>>().into()
    }

    fn record(&self, job: &Job) -> String {
        let mut record = job.record.clone();
        record.note("counted_against", self.against);
        record.undefined("undefined_examples", &self.undefined_queries, &job.data);
        if job.has_other() {
            record.undefined("undefined_against", &self.undefined, job.other_or_data());
        }
        record.compact()
    }
}

/// The largest soft count among the examples of a class, over their number.
fn outlier_scores(soft: &SoftCounts, classes: &Classes) -> Vec<f64> {
    let mut sizes = vec![0.0; classes.names.len()];
    for (i, class) in classes.ids.iter().enumerate() {
        sizes[*class] += f64::from(u8::from(!soft.undefined.contains(i)));
    }
    let largest = |counts: &[f64]| {
        let means = counts.iter().zip(&sizes).filter(|(_, size)| **size > 0.0);
        means.map(|(count, size)| count / size).fold(f64::NEG_INFINITY, f64::max)
    };
    soft.by_class.chunks(sizes.len().max(1)).map(largest).collect()
}

/// The classes to count by, where there are any.
fn classes(wanted: &Wanted, job: &Job, printer: &Printer) -> Option<Classes> {
    /// More columns than anybody reads: such labels are numbers rather than classes.
    const MOST: usize = 1000;
    let classes = Classes::of(job.other_or_data().data())?;
    if wanted.reduce == Reduce::Rotation {
        printer.note("no counts by class: they need --reduce trace");
        return None;
    }
    if classes.names.len() > MOST {
        let found = text::count(classes.names.len());
        printer.note(format!("no counts by class: there are {found} classes"));
        return None;
    }
    Some(classes)
}

fn soft(job: &Job, classes: Option<&Classes>, printer: &Printer) -> Outcome<SoftCounts> {
    let classes = classes.map(|c| Quantity::Classes { ids: &c.ids, count: c.names.len() });
    job.compute(printer, |similarity, watch| {
        similarity.soft_counts(job.other_or_data(), queries(job), classes, watch)
    })
}

fn pairs(wanted: &Wanted, job: &Job, printer: &Printer) -> Outcome<PairStatistics> {
    let settings = PairSettings {
        hard: wanted.hard.clone(),
        power: wanted.power.clone(),
        sample: wanted.sample,
        ..PairSettings::default()
    };
    job.compute(printer, |similarity, watch| {
        similarity.pair_statistics(job.other_or_data(), queries(job), &settings, watch)
    })
}

/// The examples to count for, where they are others than those that are counted.
fn queries(job: &Job) -> Option<&dyn Examples> {
    job.has_other().then_some(&job.data as &dyn Examples)
}
