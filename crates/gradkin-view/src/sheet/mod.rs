//! A contact sheet: pictures of examples under each other, a query and its neighbours to a row.
//!
//! All cells of a sheet are equally large, so that rows and columns line up; [`layout`] finds where
//! everything goes before [`draw`] touches a pixel.

mod draw;
mod layout;

use crate::error::{Result, ViewError};
use crate::picture::{PictureRef, Rendered};

/// The largest sheet, in millions of pixels.
const LIMIT: usize = 100;

/// Whether a cell is set apart from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mark {
    /// Like the others.
    #[default]
    Plain,
    /// Its label is not the one to be expected: a coloured frame, and a "≠" at its corner for those
    /// who do not see the colour.
    Differs,
}

/// One example on a sheet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell<'a> {
    /// What it looks like. Without one, a grey cell shows the first word of the caption.
    pub picture: Option<PictureRef<'a>>,
    /// Lines under the picture, such as "#204  0.95" and "label 7".
    pub caption: Vec<String>,
    /// Whether it is set apart.
    pub mark: Mark,
}

impl<'a> Cell<'a> {
    /// A plain cell with a picture.
    pub fn new<S: Into<String>>(
        picture: PictureRef<'a>,
        caption: impl IntoIterator<Item = S>,
    ) -> Self {
        Self { picture: Some(picture), ..Self::missing(caption) }
    }

    /// A plain cell of an example that cannot be shown.
    pub fn missing<S: Into<String>>(caption: impl IntoIterator<Item = S>) -> Self {
        let caption = caption.into_iter().map(Into::into).collect();
        Self { picture: None, caption, mark: Mark::Plain }
    }

    /// The same cell with another mark.
    #[must_use]
    pub fn mark(mut self, mark: Mark) -> Self {
        self.mark = mark;
        self
    }
}

/// A query and the examples near it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'a> {
    /// Stands first, in a frame.
    pub query: Cell<'a>,
    /// Stand beside it, in their order.
    pub neighbors: Vec<Cell<'a>>,
}

/// What stands in one line of the sheet.
#[derive(Debug, Clone)]
struct Line<'a> {
    query: Option<Cell<'a>>,
    others: Vec<Cell<'a>>,
}

impl<'a> Line<'a> {
    /// All cells, the query first.
    fn cells(&self) -> impl Iterator<Item = &Cell<'a>> {
        self.query.iter().chain(&self.others)
    }
}

/// Pictures of examples in rows, with captions, a title and a footer.
///
/// ```
/// use gradkin_view::{Cell, ContactSheet};
///
/// let cells = (0..10).map(|i| Cell::missing([format!("#{i}")])).collect();
/// let sheet = ContactSheet::new("Lowest density").footer("digits, 10 of 1797").grid(cells, 5);
/// let picture = sheet.render()?;
/// assert!(picture.width > picture.height);
/// # Ok::<(), gradkin_view::ViewError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ContactSheet<'a> {
    title: String,
    headings: Option<(String, String)>,
    footer: String,
    mark_meaning: String,
    scale: usize,
    lines: Vec<Line<'a>>,
}

impl<'a> ContactSheet<'a> {
    /// An empty sheet; the title may be empty.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            headings: None,
            footer: String::new(),
            mark_meaning: "label differs from the query’s".to_owned(),
            scale: 1,
            lines: Vec::new(),
        }
    }

    /// Small words above the column of queries and above the neighbours.
    #[must_use]
    pub fn headings(mut self, query: impl Into<String>, neighbors: impl Into<String>) -> Self {
        self.headings = Some((query.into(), neighbors.into()));
        self
    }

    /// A small line at the foot, such as the data set and the settings.
    #[must_use]
    pub fn footer(mut self, footer: impl Into<String>) -> Self {
        self.footer = footer.into();
        self
    }

    /// What [`Mark::Differs`] means on this sheet; said at the foot if any cell bears it.
    #[must_use]
    pub fn mark_meaning(mut self, meaning: impl Into<String>) -> Self {
        self.mark_meaning = meaning.into();
        self
    }

    /// How many pixels make a unit of length: 2 for print and dense screens. From 1 to 4.
    #[must_use]
    pub fn scale(mut self, scale: usize) -> Self {
        self.scale = scale.clamp(1, 4);
        self
    }

    /// Adds a row.
    #[must_use]
    pub fn row(mut self, row: Row<'a>) -> Self {
        self.lines.push(Line { query: Some(row.query), others: row.neighbors });
        self
    }

    /// Adds cells in lines of `columns` each, none of them a query.
    #[must_use]
    pub fn grid(mut self, cells: Vec<Cell<'a>>, columns: usize) -> Self {
        let mut cells = cells.into_iter().peekable();
        while cells.peek().is_some() {
            let others = cells.by_ref().take(columns.max(1)).collect();
            self.lines.push(Line { query: None, others });
        }
        self
    }

    /// Draws the sheet.
    pub fn render(&self) -> Result<Rendered> {
        if self.lines.is_empty() {
            let remedy = "add a row or a grid of examples";
            return Err(ViewError::Empty { what: "contact sheet", remedy });
        }
        draw::draw(self)
    }

    /// Draws the sheet into the bytes of a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        self.render()?.png()
    }

    fn marked(&self) -> bool {
        self.lines.iter().flat_map(Line::cells).any(|cell| cell.mark == Mark::Differs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::{BLANK, INK, PAPER, WARNING};

    fn count(rendered: &Rendered, color: [u8; 3]) -> usize {
        rendered.rgb.chunks_exact(3).filter(|pixel| *pixel == color).count()
    }

    fn row<'a>(picture: PictureRef<'a>, mark: Mark) -> Row<'a> {
        let cell = Cell::new(picture, ["#1  0.95", "label 7"]);
        Row { query: cell.clone(), neighbors: vec![cell.mark(mark); 3] }
    }

    #[test]
    fn an_empty_sheet_is_refused() {
        let error = ContactSheet::new("none").render().unwrap_err();
        assert!(matches!(error, ViewError::Empty { .. }), "{error}");
        assert!(ContactSheet::new("none").grid(Vec::new(), 3).png().is_err());
    }

    #[test]
    fn a_huge_sheet_is_refused_before_it_is_drawn() {
        let cells = vec![Cell::missing(["#1"]); 20_000];
        let error = ContactSheet::new("all").grid(cells.clone(), 100).render().unwrap_err();
        assert!(matches!(error, ViewError::TooLarge { limit: 100, .. }), "{error}");
        assert!(error.to_string().contains("fewer"), "{error}");
        assert!(ContactSheet::new("all").grid(cells, usize::MAX).render().is_err());
    }

    #[test]
    fn a_mark_changes_the_picture_in_colour_and_shape() {
        let rgb = [90; 28 * 28 * 3];
        let picture = PictureRef::new(28, 28, &rgb).unwrap();
        let sheet = |mark| ContactSheet::new("digits").row(row(picture, mark)).render().unwrap();
        let (plain, marked) = (sheet(Mark::Plain), sheet(Mark::Differs));
        assert_eq!(count(&plain, WARNING), 0);
        assert!(count(&marked, WARNING) > 3 * 4 * 84);
        assert!(count(&plain, [90; 3]) > count(&marked, [90; 3]), "no sign at the corner");
        assert!(marked.height > plain.height, "the mark is not explained");
    }

    #[test]
    fn pictures_keep_their_pixels() {
        let rgb: Vec<u8> = (0..8 * 8).flat_map(|i| [i, 255 - i, 77]).collect();
        let picture = PictureRef::new(8, 8, &rgb).unwrap();
        let sheet = ContactSheet::new("").grid(vec![Cell::new(picture, ["#1"])], 4);
        let rendered = sheet.render().unwrap();
        for pixel in rgb.chunks_exact(3) {
            assert_eq!(count(&rendered, [pixel[0], pixel[1], pixel[2]]), 12 * 12);
        }
    }

    #[test]
    fn a_query_is_framed_and_a_missing_picture_is_grey() {
        let sheet = ContactSheet::new("")
            .row(Row { query: Cell::missing(["#5"]), neighbors: vec![Cell::missing(["#6 0.9"])] });
        let rendered = sheet.render().unwrap();
        assert!(count(&rendered, BLANK) > 2 * 60 * 60);
        assert!(count(&rendered, INK) > 4 * 2 * 60);
        assert_eq!(rendered.rgb[..3], PAPER);
    }

    #[test]
    fn twice_the_scale_is_twice_the_size() {
        let sheet = ContactSheet::new("t").grid(vec![Cell::missing(["#5"]); 6], 6);
        let (one, two) = (sheet.render().unwrap(), sheet.scale(2).render().unwrap());
        assert!(two.width.abs_diff(2 * one.width) < 8);
        assert!(two.height.abs_diff(2 * one.height) < 8);
    }

    #[test]
    fn awkward_pictures_and_captions_are_drawn() {
        let rgb = vec![200; 3 * 3000];
        let cells = vec![
            Cell::new(PictureRef::new(1, 3000, &rgb).unwrap(), ["#1"]),
            Cell::new(PictureRef::new(3000, 1, &rgb).unwrap(), ["x".repeat(100_000)]),
            Cell::new(PictureRef::new(50, 60, &rgb[..9000]).unwrap(), Vec::<String>::new()),
            Cell::missing(["", "\u{1b}[31m\n日本"]),
            Cell::default(),
        ];
        let sheet = ContactSheet::new("word ".repeat(200)).footer("z".repeat(5000));
        let rendered = sheet.grid(cells, 3).render().unwrap();
        assert!(rendered.width < 1000);
        assert_eq!(rendered.rgb.len(), 3 * rendered.width * rendered.height);
    }
}
