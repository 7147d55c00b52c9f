//! Where everything on a sheet goes. Lengths are in pixels, `scale` of them to a unit.

use super::{Cell, ContactSheet, LIMIT, Line, Mark};
use crate::canvas::{INK, MUTED, Rect, WARNING};
use crate::error::{Result, ViewError};
use crate::fit::fitted;
use crate::text::{CAP_HEIGHT, Fonts, Type, Weight};

/// The longest side of a picture, and the least size of a cell, in units.
const SIDE: usize = 96;
const LEAST_CELL: (usize, usize) = (64, 48);
/// The size of a cell where no example has a picture.
const BLANK_CELL: (usize, usize) = (84, 64);
/// Space around the sheet, between columns, before the first neighbour, between lines of cells.
const MARGIN: i64 = 28;
const COLUMN_GAP: i64 = 16;
const QUERY_GAP: i64 = 24;
const LINE_GAP: i64 = 20;
/// The frame of a query: its distance from the picture and its thickness.
pub(super) const FRAME: (i64, i64) = (3, 2);
/// From a picture to its caption, and from baseline to baseline.
const CAPTION_GAP: i64 = 9;
const CAPTION_LINE: i64 = 16;
const TITLE_LINE: i64 = 26;
const FOOTER_LINE: i64 = 16;
/// The narrowest width a title is set in.
const LEAST_TEXT: i64 = 300;
/// From the left end to the meaning of the sign.
const KEY_TEXT: i64 = 20;
/// A sheet is made no wider than this for the sake of a heading; a longer one is shortened.
const MOST_TEXT: i64 = 560;
/// Letters of a caption that are looked at: no cell shows more.
const LETTERS: usize = 200;

/// The kinds of text on a sheet.
pub(super) struct Types {
    pub(super) title: Type,
    pub(super) small: Type,
    caption: Type,
    second: Type,
    differs: Type,
}

impl Types {
    pub(super) fn new(scale: usize) -> Self {
        let kind = |weight, em, color| Type { weight, em: em * scale as f32, color };
        Self {
            title: kind(Weight::SemiBold, 19.0, INK),
            small: kind(Weight::Regular, 11.5, MUTED),
            caption: kind(Weight::Regular, 12.0, INK),
            second: kind(Weight::Regular, 12.0, MUTED),
            differs: kind(Weight::SemiBold, 12.0, WARNING),
        }
    }

    /// The kind of a caption's line.
    pub(super) fn caption(&self, mark: Mark, line: usize) -> Type {
        match (line, mark) {
            (0, _) => self.caption,
            (_, Mark::Plain) => self.second,
            (_, Mark::Differs) => self.differs,
        }
    }
}

/// A line of text by its left end and baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) text: String,
    pub(super) x: i64,
    pub(super) baseline: i64,
}

/// One cell: the box its picture is centred in and the box of its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) cell: Rect,
    pub(super) caption: Vec<String>,
    pub(super) caption_box: Rect,
    pub(super) query: bool,
}

impl Place {
    /// The baseline of a line of the caption.
    pub(super) fn baseline(&self, line: usize, scale: i64) -> i64 {
        let first = self.caption_box.y + (12.0 * CAP_HEIGHT * scale as f32).round() as i64;
        first + line as i64 * CAPTION_LINE * scale
    }
}

/// Where everything goes; `places` in the order of lines and of cells in them.
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) height: usize,
    /// The longest side of a picture.
    pub(super) side: usize,
    pub(super) title: Vec<Words>,
    pub(super) headings: Vec<Words>,
    pub(super) places: Vec<Place>,
    /// The centre of the sign whose meaning follows, and its meaning.
    pub(super) key: Option<((i64, i64), Words)>,
    pub(super) footer: Vec<Words>,
}

/// The columns of a sheet.
struct Columns {
    cell: (i64, i64),
    width: i64,
    gap: i64,
    /// The left ends of the first column and of the first neighbour's.
    first: i64,
    neighbors: i64,
    queries: bool,
}

impl Columns {
    fn new(sheet: &ContactSheet<'_>, fonts: &Fonts, types: &Types) -> Self {
        let scale = sheet.scale as i64;
        let cell = cell_size(sheet);
        let cells = sheet.lines.iter().flat_map(Line::cells);
        let words = cells.flat_map(|cell| {
            let kinds = (0..).map(|line| types.caption(cell.mark, line));
            clean(cell).into_iter().zip(kinds)
        });
        let widest = words.map(|(text, kind)| fonts.width(&text, kind).ceil()).fold(0.0, f32::max);
        let width = (widest as i64).clamp(cell.0, cell.0 * 7 / 5);
        let queries = sheet.lines.iter().any(|line| line.query.is_some());
        let (first, gap) = (MARGIN * scale, COLUMN_GAP * scale);
        let neighbors = if queries { first + width + gap + QUERY_GAP * scale } else { first };
        Self { cell, width, gap, first, neighbors, queries }
    }

    /// The left end of the `i`th cell beside the query.
    fn neighbor(&self, line: &Line<'_>, i: usize) -> i64 {
        let start = if line.query.is_some() { self.neighbors } else { self.first };
        start.saturating_add((i as i64).saturating_mul(self.width + self.gap))
    }

    /// The right end of the widest line.
    fn right(&self, sheet: &ContactSheet<'_>) -> i64 {
        let end = |line: &Line<'_>| self.neighbor(line, line.others.len()) - self.gap;
        sheet.lines.iter().map(end).max().unwrap_or(0).max(self.first + self.width)
    }

    /// How far a picture lies inside its column.
    fn inset(&self) -> i64 {
        (self.width - self.cell.0) / 2
    }
}

/// The size of every cell: the largest fitted picture, and room for a caption.
fn cell_size(sheet: &ContactSheet<'_>) -> (i64, i64) {
    let scale = sheet.scale;
    let pictures = sheet.lines.iter().flat_map(Line::cells).filter_map(|cell| cell.picture);
    let sizes = pictures.map(|picture| fitted(picture.width(), picture.height(), SIDE * scale));
    let largest = sizes.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)));
    let (width, height) = largest.unwrap_or((BLANK_CELL.0 * scale, BLANK_CELL.1 * scale));
    (width.max(LEAST_CELL.0 * scale) as i64, height.max(LEAST_CELL.1 * scale) as i64)
}

/// A cell's caption without control characters and endless lines.
fn clean(cell: &Cell<'_>) -> Vec<String> {
    let line = |text: &String| {
        let letters = text.chars().take(LETTERS);
        letters.map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
    };
    cell.caption.iter().map(line).collect()
}

impl Layout {
    pub(super) fn new(sheet: &ContactSheet<'_>, fonts: &Fonts, types: &Types) -> Result<Self> {
        let scale = sheet.scale as i64;
        let columns = Columns::new(sheet, fonts, types);
        let frame = if columns.queries { (FRAME.0 + FRAME.1) * scale } else { 0 };
        let left = columns.first + columns.inset() - frame;
        let small = small_texts_end(sheet, fonts, types, &columns, left);
        let small = small.min(left + MOST_TEXT * scale);
        let right = columns.right(sheet).max(left + LEAST_TEXT * scale).max(small);
        let room = (right - columns.inset() - left).max(LEAST_TEXT * scale) as f32;
        let mut y = MARGIN * scale;

        let lines = |text: &str, kind, step: i64, y: &mut i64| {
            let words = fonts.wrapped(text, kind, room).into_iter().map(|text| {
                let baseline = *y + (kind.em * CAP_HEIGHT).round() as i64;
                *y += step * scale;
                Words { text, x: left, baseline }
            });
            words.collect::<Vec<_>>()
        };
        let title = lines(&sheet.title, types.title, TITLE_LINE, &mut y);
        y += if title.is_empty() { 0 } else { 12 * scale };
        let mut headings = headings(sheet, &columns, left, &mut y);
        let ends = headings.iter().skip(1).map(|words| words.x - COLUMN_GAP * scale).chain([right]);
        let ends: Vec<i64> = ends.collect();
        for (words, end) in headings.iter_mut().zip(ends) {
            words.text = fonts.shortened(&words.text, types.small, (end - words.x) as f32);
        }
        y += frame;

        let top = y;
        let heights: Vec<i64> =
            sheet.lines.iter().map(|line| height(line, &columns, scale)).collect();
        let gaps = LINE_GAP * scale * (heights.len() as i64 - 1);
        y += heights.iter().sum::<i64>() + gaps + 22 * scale;
        let key = sheet.marked().then(|| {
            let center = (left + 7 * scale, y + 4 * scale);
            let baseline = y + (types.small.em * CAP_HEIGHT).round() as i64;
            y += FOOTER_LINE * scale;
            let x = left + KEY_TEXT * scale;
            let room = (right - x) as f32;
            let text = fonts.shortened(&sheet.mark_meaning, types.small, room);
            (center, Words { text, x, baseline })
        });
        y += if key.is_some() { 4 * scale } else { 0 };
        let footer = lines(&sheet.footer, types.small, FOOTER_LINE, &mut y);
        let (width, height) = size(right + MARGIN * scale, y + (MARGIN - 10) * scale)?;

        let places = places(sheet, fonts, types, &columns, top, &heights);
        Ok(Self { width, height, side: SIDE * sheet.scale, title, headings, places, key, footer })
    }
}

/// The sheet's size, if it may be that large.
fn size(width: i64, height: i64) -> Result<(usize, usize)> {
    let (width, height) = (width.max(1) as usize, height.max(1) as usize);
    if width.saturating_mul(height) > LIMIT * 1_000_000 {
        let remedy = "show fewer examples or spread them over several sheets";
        return Err(ViewError::TooLarge {
            what: "contact sheet",
            width,
            height,
            limit: LIMIT,
            remedy,
        });
    }
    Ok((width, height))
}

/// Where the longer of the right heading and the sign's meaning ends.
fn small_texts_end(
    sheet: &ContactSheet<'_>,
    fonts: &Fonts,
    types: &Types,
    columns: &Columns,
    left: i64,
) -> i64 {
    let scale = sheet.scale as i64;
    let end = |x: i64, text: &str| x + fonts.width(text, types.small).ceil() as i64;
    let headings = sheet.headings.as_ref().filter(|_| columns.queries);
    let heading = headings.map(|(_, text)| end(columns.neighbors + columns.inset(), text));
    let key = sheet.marked().then(|| end(left + KEY_TEXT * scale, &sheet.mark_meaning));
    heading.into_iter().chain(key).max().unwrap_or_default()
}

fn headings(sheet: &ContactSheet<'_>, columns: &Columns, left: i64, y: &mut i64) -> Vec<Words> {
    let Some((query, neighbors)) = sheet.headings.clone().filter(|_| columns.queries) else {
        return Vec::new();
    };
    let scale = sheet.scale as i64;
    let baseline = *y + 8 * scale;
    *y += 17 * scale;
    let first = Words { text: query, x: left, baseline };
    let second = Words { text: neighbors, x: columns.neighbors + columns.inset(), baseline };
    vec![first, second]
}

/// The height of a line of cells with its captions.
fn height(line: &Line<'_>, columns: &Columns, scale: i64) -> i64 {
    let lines = line.cells().map(|cell| cell.caption.len()).max().unwrap_or(0) as i64;
    let caption = if lines > 0 { CAPTION_GAP + lines * CAPTION_LINE - 4 } else { 0 };
    columns.cell.1 + caption * scale
}

fn places(
    sheet: &ContactSheet<'_>,
    fonts: &Fonts,
    types: &Types,
    columns: &Columns,
    top: i64,
    heights: &[i64],
) -> Vec<Place> {
    let scale = sheet.scale as i64;
    let (mut places, mut y) = (Vec::new(), top);
    for (line, height) in sheet.lines.iter().zip(heights) {
        let lefts = (0..).map(|i| columns.neighbor(line, i));
        let queries = line.query.iter().map(|cell| (cell, columns.first, true));
        let others = line.others.iter().zip(lefts).map(|(cell, left)| (cell, left, false));
        for (cell, left, query) in queries.chain(others) {
            let (width, tall) = columns.cell;
            let rect = Rect { x: left + columns.inset(), y, width, height: tall };
            let captions = clean(cell).into_iter().enumerate().map(|(line, text)| {
                fonts.shortened(&text, types.caption(cell.mark, line), columns.width as f32)
            });
            let caption: Vec<String> = captions.collect();
            let caption_y = rect.bottom() + CAPTION_GAP * scale;
            let caption_box = Rect {
                x: left,
                y: caption_y,
                width: columns.width,
                height: caption.len() as i64 * CAPTION_LINE * scale - 4 * scale,
            };
            places.push(Place { cell: rect, caption, caption_box, query });
        }
        y += height + LINE_GAP * scale;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::PictureRef;
    use crate::sheet::Row;

    fn overlap(a: &Rect, b: &Rect) -> bool {
        a.x < b.right() && b.x < a.right() && a.y < b.bottom() && b.y < a.bottom()
    }

    #[test]
    fn cells_and_captions_never_overlap() {
        let rgb = [0; 28 * 28 * 3];
        let cell = |caption: &[&str]| {
            let caption = caption.iter().copied();
            Cell::new(PictureRef::new(28, 28, &rgb).unwrap(), caption)
        };
        let row = |n| Row {
            query: cell(&["#12345", "label 7", "a third line"]),
            neighbors: vec![cell(&["#204  0.95", "an extraordinarily long label"]); n],
        };
        for scale in [1, 2, 3] {
            let grid = vec![cell(&["#1"]); 7];
            let sheet = ContactSheet::new("A title").footer("A footer").headings("query", "near");
            let sheet = sheet.scale(scale).row(row(5)).row(row(0)).row(row(9)).grid(grid, 3);
            let (fonts, types) = (Fonts::load().unwrap(), Types::new(scale));
            let layout = Layout::new(&sheet, &fonts, &types).unwrap();
            assert_eq!(layout.places.len(), 6 + 1 + 10 + 7);
            let frame = (FRAME.0 + FRAME.1) * scale as i64;
            let boxes: Vec<Rect> = layout
                .places
                .iter()
                .flat_map(|place| [place.cell.grown(frame), place.caption_box])
                .collect();
            for (i, a) in boxes.iter().enumerate() {
                assert!(boxes[..i].iter().all(|b| !overlap(a, b)), "box {i}: {a:?}");
                assert!(a.x >= 0 && a.right() <= layout.width as i64);
                assert!(a.y >= 0 && a.bottom() <= layout.height as i64);
            }
            let words = layout.title.iter().chain(&layout.headings);
            assert!(words.clone().all(|words| words.baseline <= layout.places[0].cell.y - frame));
            let widths = layout.places.iter().flat_map(|place| {
                let kind = types.caption(Mark::Plain, 0);
                place.caption.iter().map(move |text| (text, kind, place.caption_box.width))
            });
            for (text, kind, width) in widths {
                assert!(fonts.width(text, kind) <= width as f32, "{text}");
            }
        }
    }

    #[test]
    fn small_texts_are_not_cut_off() {
        let cell = Cell::missing(["#1"]).mark(Mark::Differs);
        let (fonts, types) = (Fonts::load().unwrap(), Types::new(1));
        for text in ["short", "of a length that one neighbour has no room for", &"long ".repeat(99)]
        {
            let sheet = ContactSheet::new("").headings(text, text).mark_meaning(text);
            let sheet = sheet.row(Row { query: cell.clone(), neighbors: vec![cell.clone()] });
            let layout = Layout::new(&sheet, &fonts, &types).unwrap();
            let [query, neighbors] = layout.headings.as_slice() else { panic!("two headings") };
            let end = |words: &Words| words.x as f32 + fonts.width(&words.text, types.small);
            assert!(end(query) < neighbors.x as f32, "{text}");
            let right = (layout.width as i64 - MARGIN) as f32;
            assert!(end(neighbors) <= right && end(&layout.key.unwrap().1) <= right, "{text}");
            assert_eq!(neighbors.text == text, text.len() < 100, "{text}");
        }
    }

    #[test]
    fn the_query_stands_apart() {
        let cell = Cell::missing(["#1"]);
        let sheet =
            ContactSheet::new("").row(Row { query: cell.clone(), neighbors: vec![cell; 3] });
        let layout = Layout::new(&sheet, &Fonts::load().unwrap(), &Types::new(1)).unwrap();
        let lefts: Vec<i64> = layout.places.iter().map(|place| place.cell.x).collect();
        assert_eq!(lefts[1] - lefts[0] - (lefts[2] - lefts[1]), QUERY_GAP);
        assert!(layout.places[0].query && !layout.places[1].query);
    }
}
