//! Results made visible: the seam to gradkin-view.

use std::io::Write;
use std::path::Path;

use gradkin_data::Picture;
use gradkin_data::write::AtomicFile;
use gradkin_view::terminal::{self, Histogram};
use gradkin_view::{Cell, ContactSheet, Mark, PictureRef, Row};

use crate::commands::neighbors::Found;
use crate::examples::{Set, short_label};
use crate::exit::{Failure, Outcome};
use gradkin::Examples;

/// Neighbours on a sheet; more would make it too wide.
const MOST_NEIGHBORS: usize = 10;

/// Draw queries with their neighbours into a PNG file.
pub(crate) fn contact_sheet(path: &Path, found: &Found, queries: &[usize]) -> Outcome {
    let pictures = Pictures::of(found, queries);
    let rows = queries.iter().zip(&pictures.0);
    let sheet = ContactSheet::new("Seen as the same")
        .headings("query", "most similar, similarity beside the number")
        .footer(footer(found))
        .scale(2);
    let sheet = rows.fold(sheet, |sheet, (query, (own, others))| {
        sheet.row(row(found, *query, own.as_ref(), others))
    });
    let bytes = sheet.png().map_err(Failure::other)?;
    let mut file = AtomicFile::create(path)?;
    let written = file.write_all(&bytes);
    written.map_err(|e| Failure::other(format!("cannot write {}: {e}", path.display())))?;
    Ok(file.persist()?)
}

/// The pictures that a sheet borrows: of each query, and of its neighbours.
struct Pictures(Vec<(Option<Picture>, Vec<Option<Picture>>)>);

impl Pictures {
    fn of(found: &Found, queries: &[usize]) -> Self {
        let of_query = |query: &usize| {
            let list = found.neighbors.lists[*query].iter().take(MOST_NEIGHBORS);
            let others = list.map(|n| found.job.data.data().picture(n.example)).collect();
            (found.queries().data().picture(*query), others)
        };
        Self(queries.iter().map(of_query).collect())
    }
}

fn row<'a>(
    found: &Found,
    query: usize,
    own: Option<&'a Picture>,
    others: &'a [Option<Picture>],
) -> Row<'a> {
    let neighbors = found.neighbors.lists[query].iter().zip(others).map(|(neighbor, picture)| {
        let caption = caption(&found.job.data, neighbor.example, Some(neighbor.similarity));
        let differs = found.same_class(query, neighbor.example) == Some(false);
        cell(picture.as_ref(), caption).mark(if differs { Mark::Differs } else { Mark::Plain })
    });
    let query = cell(own, caption(found.queries(), query, None));
    Row { query, neighbors: neighbors.collect() }
}

fn cell(picture: Option<&Picture>, caption: Vec<String>) -> Cell<'_> {
    match picture.and_then(|picture| PictureRef::try_from(picture).ok()) {
        Some(picture) => Cell::new(picture, caption),
        None => Cell::missing(caption),
    }
}

fn caption(set: &Set, example: usize, similarity: Option<f64>) -> Vec<String> {
    let number = format!("#{}", set.data().id(example));
    let first = match similarity {
        Some(similarity) => format!("{number}  {similarity:.3}"),
        None => number,
    };
    let label = short_label(set.data(), example).map(|label| format!("label {label}"));
    [first].into_iter().chain(label).collect()
}

fn footer(found: &Found) -> String {
    format!("{} examples of {}", found.job.data.len(), found.job.data.name())
}

/// A query and as many of its neighbours as fit, as small pictures side by side.
pub(crate) fn strip(found: &Found, query: usize, width: usize, color: bool) -> Vec<String> {
    const COLUMNS: usize = 16;
    const GAP: usize = 2;
    const MOST: usize = 6;
    let fit = ((width + GAP) / (COLUMNS + GAP)).clamp(2, MOST);
    let block = |set: &Set, example: usize, caption: Vec<String>| {
        let picture = set.data().picture(example);
        let picture = picture.as_ref().and_then(|picture| PictureRef::try_from(picture).ok());
        let lines = picture.map(|picture| terminal::picture(picture, COLUMNS, color));
        [lines.unwrap_or_default(), caption].concat()
    };
    let mut own = caption(found.queries(), query, None);
    own[0] = format!("query {}", own[0]);
    let mut blocks = vec![block(found.queries(), query, own)];
    blocks.extend(found.neighbors.lists[query].iter().take(fit - 1).map(|n| {
        let caption = caption(&found.job.data, n.example, Some(n.similarity));
        block(&found.job.data, n.example, caption)
    }));
    terminal::beside(&blocks, GAP)
}

/// How often values fall into each of some ranges.
pub(crate) fn histogram(values: &[f64], width: usize) -> String {
    const WIDEST: usize = 80;
    let columns = width.min(WIDEST);
    let settings = Histogram { range: Some((-1.0, 1.0)), columns, ..Histogram::default() };
    terminal::histogram(values, &settings)
}
