//! Groups of near duplicates, a row each.

use std::path::Path;

use gradkin::Neighbor;
use gradkin_data::Picture;
use gradkin_view::{ContactSheet, Mark, Row};

use super::{brighten, caption, cell, footer, write};
use crate::examples::class_of;
use crate::exit::Outcome;
use crate::job::Job;

/// Members of a group; more would make the sheet too wide.
const MOST_MEMBERS: usize = 10;

/// Draw groups, the first member of each as the query of its row; every member with the similarity to
/// its nearest.
pub(crate) fn groups(
    path: &Path,
    job: &Job,
    groups: &[&[usize]],
    nearest: &[Option<Neighbor>],
) -> Outcome {
    let shown = groups.iter().map(|group| &group[..group.len().min(MOST_MEMBERS)]);
    let shown: Vec<&[usize]> = shown.collect();
    let mut pictures: Vec<Vec<Option<Picture>>> = shown
        .iter()
        .map(|group| group.iter().map(|example| job.data.data().picture(*example)).collect())
        .collect();
    brighten(&mut pictures.iter_mut().flatten().flatten().collect::<Vec<_>>());
    let mut sheet = ContactSheet::new("Near duplicates")
        .headings("first", "others of its group; the number is the similarity to the nearest")
        .mark_meaning("label differs from the first’s")
        .footer(footer(&job.data))
        .scale(2);
    for (group, pictures) in shown.iter().zip(&pictures) {
        let mut cells = group.iter().zip(pictures).map(|(example, picture)| {
            let similarity = nearest[*example].map(|near| near.similarity);
            let class = |example| class_of(job.data.data(), example);
            let differs = class(*example) != class(group[0]);
            cell(picture.as_ref(), caption(&job.data, *example, similarity)).mark(if differs {
                Mark::Differs
            } else {
                Mark::Plain
            })
        });
        if let Some(query) = cells.next() {
            sheet = sheet.row(Row { query, neighbors: cells.collect() });
        }
    }
    write(path, &sheet)
}
