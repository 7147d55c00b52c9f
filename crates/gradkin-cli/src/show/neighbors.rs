//! Queries and their neighbours, as a contact sheet and as small pictures on the terminal.

use std::path::Path;

use gradkin_data::Picture;
use gradkin_view::terminal;
use gradkin_view::{ContactSheet, Mark, PictureRef, Row};

use super::{brighten, caption, cell, footer, write};
use crate::exit::Outcome;
use crate::found::Found;

/// Neighbours on a sheet; more would make it too wide.
const MOST_NEIGHBORS: usize = 10;

/// Draw queries with their neighbours into a PNG file.
pub(crate) fn contact_sheet(path: &Path, found: &Found, queries: &[usize]) -> Outcome {
    let mut strips: Vec<Strip> =
        queries.iter().map(|query| Strip::of(found, *query, MOST_NEIGHBORS)).collect();
    brighten_all(&mut strips);
    let sheet = ContactSheet::new("Seen as the same")
        .headings("query", "most similar, similarity beside the number")
        .footer(footer(&found.job.data))
        .scale(2);
    let rows = queries.iter().zip(&strips);
    let sheet = rows.fold(sheet, |sheet, (query, strip)| sheet.row(row(found, *query, strip)));
    write(path, &sheet)
}

/// The pictures of a query and of its neighbours.
struct Strip {
    query: Option<Picture>,
    neighbors: Vec<Option<Picture>>,
}

impl Strip {
    fn of(found: &Found, query: usize, most: usize) -> Self {
        let list = found.neighbors.lists[query].iter().take(most);
        let neighbors = list.map(|n| found.job.data.data().picture(n.example)).collect();
        Self { query: found.queries().data().picture(query), neighbors }
    }

    fn pictures(&mut self) -> impl Iterator<Item = &mut Picture> {
        self.query.iter_mut().chain(self.neighbors.iter_mut().flatten())
    }
}

fn brighten_all(strips: &mut [Strip]) {
    let mut pictures: Vec<&mut Picture> = strips.iter_mut().flat_map(Strip::pictures).collect();
    brighten(&mut pictures);
}

fn row<'a>(found: &Found, query: usize, strip: &'a Strip) -> Row<'a> {
    let list = found.neighbors.lists[query].iter().zip(&strip.neighbors);
    let neighbors = list.map(|(neighbor, picture)| {
        let caption = caption(&found.job.data, neighbor.example, Some(neighbor.similarity));
        let differs = found.same_class(query, neighbor.example) == Some(false);
        cell(picture.as_ref(), caption).mark(if differs { Mark::Differs } else { Mark::Plain })
    });
    let query = cell(strip.query.as_ref(), caption(found.queries(), query, None));
    Row { query, neighbors: neighbors.collect() }
}

/// A query and as many of its neighbours as fit, as small pictures side by side.
pub(crate) fn strip(found: &Found, query: usize, width: usize, color: bool) -> Vec<String> {
    const COLUMNS: usize = 16;
    const GAP: usize = 2;
    const MOST: usize = 6;
    let fit = ((width + GAP) / (COLUMNS + GAP)).clamp(2, MOST);
    let mut strip = [Strip::of(found, query, fit - 1)];
    brighten_all(&mut strip);
    let [strip] = strip;
    let block = |picture: Option<&Picture>, caption: Vec<String>| {
        let picture = picture.and_then(|picture| PictureRef::try_from(picture).ok());
        let lines = picture.map(|picture| terminal::picture(picture, COLUMNS, color));
        [lines.unwrap_or_default(), caption].concat()
    };
    let mut own = caption(found.queries(), query, None);
    own[0] = format!("query {}", own[0]);
    let mut blocks = vec![block(strip.query.as_ref(), own)];
    let list = found.neighbors.lists[query].iter().zip(&strip.neighbors);
    blocks.extend(list.map(|(neighbor, picture)| {
        let caption = caption(&found.job.data, neighbor.example, Some(neighbor.similarity));
        block(picture.as_ref(), caption)
    }));
    terminal::beside(&blocks, GAP)
}
