//! `gradkin demo`: the whole journey on a small network and 500 handwritten digits that come inside
//! the program, so that anybody can see within seconds what gradkin does.

use std::io::Write;
use std::path::{Path, PathBuf};

use gradkin::Kernel;
use gradkin_data::write::AtomicFile;

use crate::args::{Common, DataArgs, DemoArgs, Dtype, SimilarityArgs};
use crate::commands::kernel;
use crate::exit::{Failure, Outcome};
use crate::found::Found;
use crate::job::{Job, Request};
use crate::printer::Printer;
use crate::{show, text};

const MODEL: (&str, &[u8]) = ("digits.onnx", include_bytes!("../../demo/digits.onnx"));
const IMAGES: (&str, &[u8]) =
    ("digits-images.idx.gz", include_bytes!("../../demo/digits-images.idx.gz"));
const LABELS: (&str, &[u8]) =
    ("digits-labels.idx.gz", include_bytes!("../../demo/digits-labels.idx.gz"));

/// The network takes pixels of 0…16 as 0…1.
const SCALE: f64 = 1.0 / 16.0;
const NEIGHBORS: usize = 10;
const ON_THE_SHEET: usize = 12;

pub(crate) fn run(args: &DemoArgs, common: &Common, printer: &Printer) -> Outcome {
    let folder = Folder::new(&args.output)?;
    [MODEL, IMAGES, LABELS].into_iter().try_for_each(|(name, bytes)| folder.write(name, bytes))?;
    let job = folder.job(common, printer)?;
    let neighbors = job.neighbors(NEIGHBORS, printer)?;
    let kernel = job.kernel(printer)?;
    let found = Found { job: &job, neighbors: &neighbors };
    let results = folder.results(&found, &kernel)?;
    introduce(printer)?;
    show_queries(&found, printer)?;
    show_similarities(&found, &kernel, printer)?;
    found.summary().into_iter().try_for_each(|line| printer.line(line))?;
    say_what_was_written(&folder, &results, printer)?;
    say_what_to_try(&folder, printer)
}

/// Where everything goes.
struct Folder(PathBuf);

impl Folder {
    fn new(path: &Path) -> Outcome<Self> {
        match std::fs::create_dir_all(path) {
            Ok(()) => Ok(Self(path.to_owned())),
            Err(error) => {
                Err(Failure::mistake(format!("cannot make the folder {}: {error}", path.display())))
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Outcome {
        let path = self.file(name);
        let mut file = AtomicFile::create(&path)?;
        let written = file.write_all(bytes);
        written.map_err(|e| Failure::other(format!("cannot write {}: {e}", path.display())))?;
        Ok(file.persist()?)
    }

    fn job(&self, common: &Common, printer: &Printer) -> Outcome<Job> {
        let labels = self.file(LABELS.0).display().to_string();
        let data_args =
            DataArgs { labels: Some(labels), scale: Some(SCALE), ..DataArgs::default() };
        let request = Request {
            command: "demo",
            model: &self.file(MODEL.0),
            data: &self.file(IMAGES.0).display().to_string(),
            other: None,
            other_labels: None,
            data_args: &data_args,
            similarity: &SimilarityArgs::default(),
            common,
        };
        Job::open(&request, printer)
    }

    /// Write the results; their names and what they are.
    fn results(&self, found: &Found, kernel: &Kernel) -> Outcome<Vec<(&'static str, String)>> {
        let table = found.table(Dtype::F32)?;
        table.write(self.file("neighbors.csv"))?;
        table.write(self.file("neighbors.parquet"))?;
        kernel::write(&self.file("kernel.npy"), found.job, kernel)?;
        let sheet = text::spread(found.neighbors.lists.len(), ON_THE_SHEET);
        show::contact_sheet(&self.file("neighbors.png"), found, &sheet)?;
        let rows = text::count(table.rows());
        Ok(vec![
            ("neighbors.csv", format!("{rows} rows: query, rank, neighbor, similarity, labels")),
            ("neighbors.parquet", "the same, with the settings that made it".into()),
            ("neighbors.png", format!("{} queries and their neighbours", sheet.len())),
            ("kernel.npy", format!("all similarities, {}", text::shape(&kernel.shape))),
            ("kernel.npy.json", "the settings that made it".into()),
        ])
    }

    /// The folder as it is typed in a command.
    fn typed(&self) -> String {
        let path = self.0.display().to_string();
        let plain = |letter: char| letter.is_alphanumeric() || "/._-~+".contains(letter);
        if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
    }
}

fn introduce(printer: &Printer) -> Outcome {
    printer.line(
        "500 images of handwritten digits, and a small network that has never seen them. Two images\n\
         are similar to the network (1.000: the same) if a change of its weights meant for one moves\n\
         its outputs for the other just as much. Each image with the most similar of the others:\n",
    )
}

fn show_queries(found: &Found, printer: &Printer) -> Outcome {
    const SHOWN: usize = 2;
    let mut queries = text::spread(found.neighbors.lists.len(), SHOWN);
    let disagrees = |query: &usize| {
        let nearest = found.neighbors.lists[*query].first();
        nearest.is_some_and(|n| found.same_class(*query, n.example) == Some(false))
    };
    queries.extend((0..found.neighbors.lists.len()).find(disagrees));
    for query in queries {
        let lines = show::strip(found, query, printer.width(), printer.is_colored());
        lines.into_iter().try_for_each(|line| printer.line(line))?;
        printer.line("")?;
    }
    Ok(())
}

/// Two histograms over one range: pairs with one label, pairs with two.
fn show_similarities(found: &Found, kernel: &Kernel, printer: &Printer) -> Outcome {
    let (count, values) = (kernel.shape[0], kernel.values.to_f64());
    let (mut same, mut different) = (Vec::new(), Vec::new());
    for i in 0..count {
        for j in i + 1..count {
            match found.same_class(i, j) {
                Some(true) => same.push(values[i * count + j]),
                _ => different.push(values[i * count + j]),
            }
        }
    }
    let lowest = values.iter().copied().fold(1.0, f64::min);
    let range = ((lowest * 10.0).floor() / 10.0, 1.0);
    for (title, values) in [("of one label", same), ("of two labels", different)] {
        printer.heading(&format!("similarities of pairs {title}"))?;
        printer.line(show::histogram(&values, Some(range), printer.width()))?;
    }
    Ok(())
}

fn say_what_was_written(folder: &Folder, results: &[(&str, String)], printer: &Printer) -> Outcome {
    printer.line("")?;
    printer.heading(&format!("written to {}", folder.0.display()))?;
    let rows = results.iter().map(|(name, what)| vec![(*name).to_owned(), what.clone()]);
    let rows: Vec<Vec<String>> = rows.collect();
    let lines = text::columns(&rows, &[text::Align::Left; 2]);
    lines.into_iter().try_for_each(|line| printer.line(format!("  {line}")))
}

fn say_what_to_try(folder: &Folder, printer: &Printer) -> Outcome {
    const DATA: &str = "digits.onnx digits-images.idx.gz --scale 1/16";
    const LABELS: &str = "--labels digits-labels.idx.gz";
    printer.line("")?;
    printer.heading("what to try next")?;
    for command in [
        format!("cd {}", folder.typed()),
        "gradkin inspect digits.onnx".into(),
        format!("gradkin neighbors {DATA} {LABELS} -k 3"),
        format!("gradkin neighbors {DATA} {LABELS} --outputs loss:cross-entropy --show loss.png"),
        format!("gradkin density {DATA} {LABELS} --hard 0.9 --show low.png"),
        format!("gradkin labels {DATA} {LABELS} --nearest 4 --show errors.png"),
        format!("gradkin duplicates {DATA} {LABELS} --show duplicates.png"),
        format!("gradkin kernel {DATA} --take 100 --kind inner --reduce none -o ntk.npy"),
        "gradkin neighbors --help".into(),
    ] {
        printer.line(format!("  {command}"))?;
    }
    Ok(())
}
