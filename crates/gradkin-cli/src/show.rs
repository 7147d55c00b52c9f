//! Results made visible: the seam to gradkin-view.

use std::io::Write;
use std::path::Path;

use gradkin_data::Picture;
use gradkin_data::write::AtomicFile;
use gradkin_view::terminal::{self, Histogram};
use gradkin_view::{Cell, ContactSheet, Mark, PictureRef, Row};

use crate::examples::{Set, short_label};
use crate::exit::{Failure, Outcome};
use crate::found::Found;
use crate::text;
use gradkin::Examples;

/// Neighbours on a sheet; more would make it too wide.
const MOST_NEIGHBORS: usize = 10;

/// Draw queries with their neighbours into a PNG file.
pub(crate) fn contact_sheet(path: &Path, found: &Found, queries: &[usize]) -> Outcome {
    let mut strips: Vec<Strip> =
        queries.iter().map(|query| Strip::of(found, *query, MOST_NEIGHBORS)).collect();
    brighten(&mut strips);
    let sheet = ContactSheet::new("Seen as the same")
        .headings("query", "most similar, similarity beside the number")
        .footer(footer(found))
        .scale(2);
    let rows = queries.iter().zip(&strips);
    let sheet = rows.fold(sheet, |sheet, (query, strip)| sheet.row(row(found, *query, strip)));
    let bytes = sheet.png().map_err(Failure::other)?;
    let mut file = AtomicFile::create(path)?;
    let written = file.write_all(&bytes);
    written.map_err(|e| Failure::other(format!("cannot write {}: {e}", path.display())))?;
    Ok(file.persist()?)
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

/// Pictures that are nearly black because they hold small whole numbers are made as bright as they
/// can be, all by the same factor.
fn brighten(strips: &mut [Strip]) {
    const DARK: u8 = 64;
    let pixels = strips.iter_mut().flat_map(Strip::pictures).flat_map(|p| p.rgb.iter().copied());
    let brightest = pixels.max().unwrap_or_default();
    if brightest == 0 || brightest >= DARK {
        return;
    }
    let pixels = strips.iter_mut().flat_map(Strip::pictures).flat_map(|p| p.rgb.iter_mut());
    pixels.for_each(|p| *p = (u32::from(*p) * 255 / u32::from(brightest)) as u8);
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
    let label =
        short_label(set.data(), example).map(|label| format!("label {}", text::clean(&label)));
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
    let mut strip = [Strip::of(found, query, fit - 1)];
    brighten(&mut strip);
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

/// How often values fall into each of some ranges.
pub(crate) fn histogram(values: &[f64], range: (f64, f64), width: usize) -> String {
    const WIDEST: usize = 80;
    let columns = width.min(WIDEST);
    let settings = Histogram { range: Some(range), columns, ..Histogram::default() };
    terminal::histogram(values, &settings)
}
