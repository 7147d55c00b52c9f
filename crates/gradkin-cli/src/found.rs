//! Neighbours together with the data that they were found in: as a table for other programs, as lines
//! for people, and summed up.

use gradkin::Neighbors;
use gradkin_data::write::Table;

use crate::args::Dtype;
use crate::examples::{Set, class_of, id_column, label_column, numbered, path_column};
use crate::exit::Outcome;
use crate::job::Job;
use crate::text::{self, Align};

/// Neighbours and the data that they were found in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) job: &'a Job,
    pub(crate) neighbors: &'a Neighbors,
}

impl Found<'_> {
    pub(crate) fn queries(&self) -> &Set {
        self.job.other_or_data()
    }

    /// Columns query, rank, neighbor, similarity, and labels where they are known.
    pub(crate) fn table(&self, dtype: Dtype) -> Outcome<Table> {
        let lists = &self.neighbors.lists;
        let of_query = lists.iter().enumerate().flat_map(|(q, list)| vec![q; list.len()]);
        let queries: Vec<usize> = of_query.collect();
        let ranks = lists.iter().flat_map(|list| 1..=list.len() as i64).collect::<Vec<i64>>();
        let found: Vec<usize> = lists.iter().flatten().map(|n| n.example).collect();
        let similarity = lists.iter().flatten().map(|n| n.similarity);
        let mut table = Table::new();
        table.push("query", id_column(self.queries(), &queries))?;
        table.push("rank", ranks)?;
        table.push("neighbor", id_column(&self.job.data, &found))?;
        match dtype {
            Dtype::F32 => {
                table.push("similarity", similarity.map(|s| s as f32).collect::<Vec<_>>())
            }
            Dtype::F64 => table.push("similarity", similarity.collect::<Vec<f64>>()),
        }?;
        let sides = [
            ("query", self.queries().data(), &queries),
            ("neighbor", self.job.data.data(), &found),
        ];
        for (name, data, examples) in sides {
            if let Some(labels) = label_column(data, examples) {
                table.push(format!("{name}_label"), labels)?;
            }
        }
        for (name, data, examples) in sides {
            if let Some(paths) = path_column(data, examples) {
                table.push(format!("{name}_file"), paths)?;
            }
        }
        table.set_metadata("gradkin", self.record());
        Ok(table)
    }

    fn record(&self) -> String {
        let mut record = self.job.record.clone();
        let neighbors = self.neighbors;
        record.undefined("undefined_queries", &neighbors.undefined_queries, self.queries());
        record.undefined("undefined_examples", &neighbors.undefined_examples, &self.job.data);
        record.compact()
    }

    /// Whether a neighbour has its query's class; `None` where a class is unknown.
    pub(crate) fn same_class(&self, query: usize, neighbor: usize) -> Option<bool> {
        let query = class_of(self.queries().data(), query)?;
        Some(query == class_of(self.job.data.data(), neighbor)?)
    }

    /// How many of the first `k` neighbours of all queries have their query's class, and how many
    /// there are.
    pub(crate) fn agreement(&self, k: usize) -> (usize, usize) {
        let lists = self.neighbors.lists.iter().enumerate();
        let pairs = lists.flat_map(|(q, list)| list.iter().take(k).map(move |n| (q, n.example)));
        let known = pairs.filter_map(|(q, n)| self.same_class(q, n));
        known.fold((0, 0), |(same, all), agrees| (same + usize::from(agrees), all + 1))
    }

    /// What is to be said about all of it.
    pub(crate) fn summary(&self) -> Vec<String> {
        let (same, all) = self.agreement(1);
        if all == 0 {
            return Vec::new();
        }
        let share = |same, all| {
            format!("{} ({} of {})", text::percent(same, all), text::count(same), text::count(all))
        };
        let mut lines =
            vec![format!("nearest neighbours with the query's own label: {}", share(same, all))];
        let longest = self.neighbors.lists.iter().map(Vec::len).max().unwrap_or_default();
        if longest > 1 {
            let (same, all) = self.agreement(longest);
            lines.push(format!(
                "all {longest} neighbours with the query's own label: {}",
                share(same, all)
            ));
        }
        lines
    }

    /// A few queries with as many neighbours as fit the width, for people.
    pub(crate) fn lines(&self, width: usize) -> Vec<String> {
        const QUERIES: usize = 10;
        const CELL: usize = 18;
        let fit = (width / CELL).saturating_sub(1).max(1);
        let longest = self.neighbors.lists.iter().map(Vec::len).max().unwrap_or_default();
        let shown = fit.min(longest);
        let with_lists: Vec<usize> = (0..self.neighbors.lists.len())
            .filter(|q| !self.neighbors.lists[*q].is_empty())
            .collect();
        let mut head = vec!["query".to_string()];
        head.extend((1..=shown).map(|rank| format!("{rank}")));
        let mut rows = vec![head];
        for q in text::spread(with_lists.len(), QUERIES).into_iter().map(|at| with_lists[at]) {
            let mut row = vec![numbered(self.queries().data(), q)];
            let list = self.neighbors.lists[q].iter().take(shown);
            row.extend(list.map(|n| {
                format!("{}  {:.3}", numbered(self.job.data.data(), n.example), n.similarity)
            }));
            rows.push(row);
        }
        text::columns(&rows, &vec![Align::Left; shown + 1])
    }
}
