//! The examples with the lowest counts, as a grid.

use std::path::Path;

use gradkin_data::Picture;
use gradkin_view::ContactSheet;

use super::{brighten, caption, cell, footer, write};
use crate::exit::Outcome;
use crate::job::Job;

const COLUMNS: usize = 6;

/// Draw examples in the order given, each with further lines below its number and label.
pub(crate) fn lowest(
    path: &Path,
    job: &Job,
    examples: &[usize],
    lines: impl Fn(usize) -> Vec<String>,
) -> Outcome {
    let mut pictures: Vec<Option<Picture>> =
        examples.iter().map(|example| job.data.data().picture(*example)).collect();
    brighten(&mut pictures.iter_mut().flatten().collect::<Vec<_>>());
    let cells = examples.iter().zip(&pictures).map(|(example, picture)| {
        let caption = [caption(&job.data, *example, None), lines(*example)].concat();
        cell(picture.as_ref(), caption)
    });
    let counted = match job.has_other() {
        true => format!("counted against {}", footer(job.other_or_data())),
        false => footer(&job.data),
    };
    let sheet = ContactSheet::new("Fewest neighbours")
        .footer(counted)
        .scale(2)
        .grid(cells.collect(), COLUMNS);
    write(path, &sheet)
}
