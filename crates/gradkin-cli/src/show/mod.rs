//! Results made visible: the seam to gradkin-view.

mod density;
mod duplicates;
mod labels;
mod neighbors;

use std::io::Write;
use std::path::Path;

use gradkin::Examples;
use gradkin_data::Picture;
use gradkin_data::write::AtomicFile;
use gradkin_view::terminal::{self, Histogram};
use gradkin_view::{Cell, ContactSheet, PictureRef};

pub(crate) use density::lowest;
pub(crate) use duplicates::groups;
pub(crate) use labels::{Doubt, doubts};
pub(crate) use neighbors::{contact_sheet, strip};

use crate::examples::{Set, short_label};
use crate::exit::{Failure, Outcome};
use crate::text;

/// Refuse data that cannot be drawn.
pub(crate) fn check_images(set: &Set) -> Outcome {
    if set.data().picture(0).is_none() {
        let message = format!("--show: the examples of {} are no images", set.name());
        return Err(Failure::mistake(message));
    }
    Ok(())
}

/// How often values fall into each of some ranges.
pub(crate) fn histogram(values: &[f64], range: Option<(f64, f64)>, width: usize) -> String {
    const WIDEST: usize = 80;
    let settings = Histogram { range, columns: width.min(WIDEST), ..Histogram::default() };
    terminal::histogram(values, &settings)
}

/// Write a sheet into a PNG file.
fn write(path: &Path, sheet: &ContactSheet) -> Outcome {
    let bytes = sheet.png().map_err(Failure::other)?;
    let mut file = AtomicFile::create(path)?;
    let written = file.write_all(&bytes);
    written.map_err(|e| Failure::other(format!("cannot write {}: {e}", path.display())))?;
    Ok(file.persist()?)
}

/// Pictures that are nearly black because they hold small whole numbers are made as bright as they
/// can be, all by the same factor.
fn brighten(pictures: &mut [&mut Picture]) {
    const DARK: u8 = 64;
    let brightest = pictures.iter().flat_map(|p| p.rgb.iter().copied()).max().unwrap_or_default();
    if brightest == 0 || brightest >= DARK {
        return;
    }
    let pixels = pictures.iter_mut().flat_map(|p| p.rgb.iter_mut());
    pixels.for_each(|p| *p = (u32::from(*p) * 255 / u32::from(brightest)) as u8);
}

fn cell(picture: Option<&Picture>, caption: Vec<String>) -> Cell<'_> {
    match picture.and_then(|picture| PictureRef::try_from(picture).ok()) {
        Some(picture) => Cell::new(picture, caption),
        None => Cell::missing(caption),
    }
}

/// An example's number, a similarity beside it, and its label.
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

fn footer(set: &Set) -> String {
    format!("{} of {}", text::counted(set.len(), "example"), set.name())
}
