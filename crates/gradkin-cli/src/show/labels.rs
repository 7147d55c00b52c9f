//! Doubtful labels: each example with its nearest of the class that it was given and of the class that
//! it more likely has.

use std::path::Path;

use gradkin_data::Picture;
use gradkin_view::{ContactSheet, Mark, Row};

use super::{brighten, caption, cell, footer, write};
use crate::exit::Outcome;
use crate::job::Job;

/// One row of the sheet.
#[derive(Debug)]
pub(crate) struct Doubt {
    pub(crate) example: usize,
    /// Lines below the example's number and label.
    pub(crate) lines: Vec<String>,
    /// Examples beside it, each with its similarity and whether its label is another.
    pub(crate) beside: Vec<(usize, f64, bool)>,
}

/// Draw examples with doubtful labels, in the order given.
pub(crate) fn doubts(path: &Path, job: &Job, doubts: &[Doubt]) -> Outcome {
    let picture = |example: usize| job.data.data().picture(example);
    let mut pictures: Vec<Vec<Option<Picture>>> = doubts
        .iter()
        .map(|doubt| {
            let beside = doubt.beside.iter().map(|(example, ..)| *example);
            [doubt.example].into_iter().chain(beside).map(picture).collect()
        })
        .collect();
    brighten(&mut pictures.iter_mut().flatten().flatten().collect::<Vec<_>>());
    let mut sheet = ContactSheet::new("Doubtful labels")
        .mark_meaning("label differs from the given one")
        .footer(footer(&job.data))
        .scale(2);
    if doubts.iter().all(|doubt| doubt.beside.is_empty()) {
        let cells = doubts.iter().zip(&pictures).map(|(doubt, pictures)| {
            let caption = [caption(&job.data, doubt.example, None), doubt.lines.clone()].concat();
            cell(pictures.first().and_then(Option::as_ref), caption)
        });
        return write(path, &sheet.grid(cells.collect(), 6));
    }
    sheet = sheet.headings("doubtful", "nearest with the given label and with another");
    for (doubt, pictures) in doubts.iter().zip(&pictures) {
        let own = [caption(&job.data, doubt.example, None), doubt.lines.clone()].concat();
        let query = cell(pictures.first().and_then(Option::as_ref), own);
        let beside = doubt.beside.iter().zip(pictures.iter().skip(1));
        let neighbors = beside.map(|((example, similarity, differs), picture)| {
            cell(picture.as_ref(), caption(&job.data, *example, Some(*similarity)))
                .mark(if *differs { Mark::Differs } else { Mark::Plain })
        });
        sheet = sheet.row(Row { query, neighbors: neighbors.collect() });
    }
    write(path, &sheet)
}
