//! What an experiment leaves behind: a folder with one page of Markdown, `index.md`, the figures that
//! the page shows (SVG and PNG), and the numbers behind them as Parquet.
//!
//! Figures and tables are on disk as soon as they are added; the page is written last, by
//! [`Report::finish`], so that a page that exists is complete. Every file appears whole or not at all.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gradkin_data::DataError;
use gradkin_data::write::{AtomicFile, Table};
use gradkin_view::{Figure, Panels, ViewError};

use crate::Error;

/// Something that can be drawn at a size.
pub trait Drawing {
    /// The text of an SVG file.
    ///
    /// # Errors
    /// Where there is no room, or nothing to draw.
    fn svg(&self, width: u32, height: u32) -> Result<String, ViewError>;

    /// The bytes of a PNG file.
    ///
    /// # Errors
    /// Where there is no room, or nothing to draw.
    fn png(&self, width: u32, height: u32) -> Result<Vec<u8>, ViewError>;
}

impl Drawing for Figure {
    fn svg(&self, width: u32, height: u32) -> Result<String, ViewError> {
        self.svg(width, height)
    }

    fn png(&self, width: u32, height: u32) -> Result<Vec<u8>, ViewError> {
        self.png(width, height)
    }
}

impl Drawing for Panels {
    fn svg(&self, width: u32, height: u32) -> Result<String, ViewError> {
        self.svg(width, height)
    }

    fn png(&self, width: u32, height: u32) -> Result<Vec<u8>, ViewError> {
        self.png(width, height)
    }
}

/// What an experiment found, for whoever ran it.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The page.
    pub page: PathBuf,
    /// Every file that was written, the page last.
    pub files: Vec<PathBuf>,
    /// The numbers that matter, by name, in the order of the page.
    pub numbers: Vec<(String, f64)>,
    /// What was not done and why, a line each, beginning with "LEFT OUT".
    pub left_out: Vec<String>,
    /// Wall time.
    pub seconds: f64,
}

impl Summary {
    /// A number by its name.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }
}

/// A report in the making.
///
/// ```
/// use gradkin_experiments::Report;
/// use gradkin_view::{Figure, Series, Style};
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let mut report = Report::begin(folder, "Squares")?;
/// report.setting("terms", 4);
/// report.text("The sum of the first squares.");
/// let points = (1..5).map(|k| (f64::from(k), f64::from(k * k))).collect();
/// let series = vec![Series { name: "k²".to_owned(), points, style: Style::Line }];
/// let figure = Figure { series, ..Figure::default() };
/// report.figure("squares", "Squares grow.", &figure, (480, 320))?;
/// report.number("sum", 30.0);
/// let summary = report.finish()?;
/// assert_eq!(summary.number("sum"), Some(30.0));
/// assert!(folder.join("squares.svg").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Report {
    folder: PathBuf,
    title: String,
    body: String,
    settings: Vec<(String, String)>,
    numbers: Vec<(String, f64)>,
    left_out: Vec<String>,
    tables: Vec<(String, String)>,
    files: Vec<PathBuf>,
    started: Instant,
}

impl Report {
    /// Begin a report in a folder, which is made if it is not there; the clock runs from here.
    ///
    /// # Errors
    /// Where the folder cannot be made or written to.
    pub fn begin(folder: impl AsRef<Path>, title: impl Into<String>) -> Result<Self, Error> {
        let folder = folder.as_ref().to_owned();
        let made = std::fs::create_dir_all(&folder);
        made.map_err(|source| Error::Folder { path: folder.clone(), source })?;
        AtomicFile::check_writable(folder.join("index.md"))?;
        Ok(Self {
            folder,
            title: title.into(),
            body: String::new(),
            settings: Vec::new(),
            numbers: Vec::new(),
            left_out: Vec::new(),
            tables: Vec::new(),
            files: Vec::new(),
            started: Instant::now(),
        })
    }

    /// A setting, for the list at the page's end and for every table that follows.
    pub fn setting(&mut self, name: impl Into<String>, value: impl std::fmt::Display) {
        self.settings.push((name.into(), value.to_string()));
    }

    /// A number that matters, for the summary; the page says it where the caller writes it.
    pub fn number(&mut self, name: impl Into<String>, value: f64) {
        self.numbers.push((name.into(), value));
    }

    /// Something that was not done, and why; on the page and in the summary.
    pub fn left_out(&mut self, what: impl AsRef<str>) {
        let line = format!("LEFT OUT: {}", what.as_ref());
        self.text(format!("**{line}**"));
        self.left_out.push(line);
    }

    /// A heading below the title.
    pub fn heading(&mut self, text: impl AsRef<str>) {
        self.block(&format!("## {}", text.as_ref()));
    }

    /// A paragraph of Markdown.
    pub fn text(&mut self, text: impl AsRef<str>) {
        self.block(text.as_ref());
    }

    /// A small table on the page itself.
    pub fn rows(&mut self, header: &[&str], rows: &[Vec<String>]) {
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut text = line(&mut header.iter().copied());
        text += &line(&mut header.iter().map(|_| "---"));
        for row in rows {
            text += &line(&mut row.iter().map(String::as_str));
        }
        self.block(text.trim_end());
    }

    /// Write a figure as SVG and PNG, at so many pixels, and show it on the page.
    ///
    /// # Errors
    /// Where it cannot be drawn or written.
    pub fn figure(
        &mut self,
        name: &str,
        caption: &str,
        drawing: &dyn Drawing,
        (width, height): (u32, u32),
    ) -> Result<(), Error> {
        self.write(&format!("{name}.svg"), drawing.svg(width, height)?.as_bytes())?;
        self.write(&format!("{name}.png"), &drawing.png(width, height)?)?;
        self.block(&format!("![{caption}]({name}.svg)\n\n*{caption}*"));
        Ok(())
    }

    /// Write a picture, the bytes of a PNG file, and show it on the page.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn picture(&mut self, name: &str, caption: &str, png: &[u8]) -> Result<(), Error> {
        let file = format!("{name}.png");
        self.write(&file, png)?;
        self.block(&format!("![{caption}]({file})\n\n*{caption}*"));
        Ok(())
    }

    /// Write a table as Parquet, with the settings so far as its metadata; the page lists it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn table(&mut self, name: &str, mut table: Table, what: &str) -> Result<(), Error> {
        table.set_metadata("experiment", self.title.clone());
        for (key, value) in &self.settings {
            table.set_metadata(key.clone(), value.clone());
        }
        let file = format!("{name}.parquet");
        let path = self.folder.join(&file);
        table.write(&path)?;
        self.files.push(path);
        self.tables.push((file, what.to_owned()));
        Ok(())
    }

    /// Seconds since the report began.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Write the page.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(mut self) -> Result<Summary, Error> {
        let seconds = self.seconds();
        let settings: Vec<Vec<String>> =
            self.settings.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect();
        if !settings.is_empty() {
            self.heading("Settings");
            self.rows(&["setting", "value"], &settings);
        }
        if !self.tables.is_empty() {
            self.heading("Numbers behind the figures");
            let mut list = String::new();
            for (file, what) in &self.tables {
                let _ = writeln!(list, "- [`{file}`]({file}): {what}");
            }
            self.block(list.trim_end());
        }
        self.text(format!("Run time: {}.", duration(seconds)));
        let page = format!("# {}\n\n{}", self.title, self.body);
        self.write("index.md", page.as_bytes())?;
        Ok(Summary {
            page: self.folder.join("index.md"),
            files: self.files,
            numbers: self.numbers,
            left_out: self.left_out,
            seconds,
        })
    }

    fn block(&mut self, text: &str) {
        if !self.body.is_empty() {
            self.body.push('\n');
        }
        self.body.push_str(text);
        self.body.push('\n');
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(name);
        let mut file = AtomicFile::create(&path)?;
        file.write_all(bytes).map_err(|source| DataError::Io {
            action: "write",
            path: path.display().to_string(),
            source,
        })?;
        file.persist()?;
        self.files.push(path);
        Ok(())
    }
}

/// A length of time for people.
pub fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_page_comes_last_and_names_everything() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let mut report = Report::begin(&folder, "Trial").unwrap();
        report.setting("seed", 7);
        let mut table = Table::new();
        table.push("x", vec![1.0, 2.0]).unwrap();
        report.table("numbers", table, "two numbers").unwrap();
        report.rows(&["a|b", "c"], &[vec!["1".into(), "2".into()]]);
        report.left_out("MNIST, which is not there");
        assert!(!folder.join("index.md").exists());
        let summary = report.finish().unwrap();
        let page = std::fs::read_to_string(&summary.page).unwrap();
        for wanted in
            ["# Trial\n", "| seed | 7 |", "numbers.parquet", "a\\|b", "LEFT OUT", "Run time"]
        {
            assert!(page.contains(wanted), "{wanted} in {page}");
        }
        assert!(summary.files.iter().all(|file| file.exists()));
        assert_eq!(summary.left_out, ["LEFT OUT: MNIST, which is not there"]);
        // Nothing half written stays behind.
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    }

    #[test]
    fn times_for_people() {
        assert_eq!(duration(0.25), "250 ms");
        assert_eq!(duration(59.0), "59.0 s");
        assert_eq!(duration(125.4), "2 min 05 s");
    }
}
