//! From a path to a data set: which format a file is in is told by its content,
//! and by its name only where the content cannot tell.

use std::path::Path;
use std::sync::Arc;

use crate::bytes::Source;
use crate::csv_table::{self, TableOptions};
use crate::dataset::{Dataset, Input, Storage};
use crate::error::{DataError, Result, show};
use crate::images::{self, ImageFolder};
use crate::labels::Labels;
use crate::layout::Layout;
use crate::{cifar, idx, npy, npz};

/// How to open a data set. The default suits every format.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// How a table is to be read; an error for data that is no table.
    pub table: TableOptions,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Format {
    Npy,
    Npz,
    Idx,
    Cifar,
    Csv,
}

impl Dataset {
    /// Opens a file or folder, or several files as named inputs: `ids=a.npy,mask=b.npy`.
    ///
    /// | data | told by |
    /// |---|---|
    /// | `.npy`, `.npz` | content |
    /// | IDX | content |
    /// | CIFAR-10, CIFAR-100 | the name ends in `.bin` or `.bin.gz`, the size fits |
    /// | table with a header | `.csv`, `.tsv` (or text with a delimiter in its first line) |
    /// | pictures | a folder, with one folder per class or none |
    ///
    /// All but `.npz` and pictures may be gzipped, under any name.
    ///
    /// Errors: whatever keeps the file from being read, with the file's name; no examples.
    pub fn open(path_or_spec: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let path = path_or_spec.as_ref();
        match path.to_str() {
            Some(spec) if !path.exists() && spec.contains('=') => open_inputs(spec, options),
            _ if path.is_dir() => open_folder(path, options),
            _ => open_file(path, options),
        }
    }
}

fn open_inputs(spec: &str, options: &OpenOptions) -> Result<Dataset> {
    let mut inputs = Vec::new();
    let mut labels = None;
    for part in spec.split(',') {
        let (name, path) = part.split_once('=').ok_or_else(|| {
            let reason = format!("{part:?} is not name=path");
            DataError::setting("data", reason)
        })?;
        let mut data = Dataset::open(path, options)?;
        let Some(mut input) = data.inputs.pop().filter(|_| data.inputs.is_empty()) else {
            let remedy = "name files with one array each";
            return Err(DataError::unsupported(path, "several inputs", remedy));
        };
        input.name = Some(name.into());
        labels = labels.or(data.labels);
        inputs.push(input);
    }
    Dataset::new(spec, inputs, labels)
}

fn open_folder(path: &Path, options: &OpenOptions) -> Result<Dataset> {
    refuse_table_options(path, options)?;
    let (folder, labels) = ImageFolder::open(path)?;
    let storage = Storage::Images(Arc::new(folder));
    let input = Input { name: None, storage, layout: Some(Layout::Nhwc) };
    Dataset::new(&show(path), vec![input], labels)
}

fn open_file(path: &Path, options: &OpenOptions) -> Result<Dataset> {
    let mut source = Source::open(path)?;
    let format = detect(path, &mut source)?;
    let name = show(path);
    if !matches!(format, Format::Csv | Format::Npz) {
        refuse_table_options(path, options)?;
    }
    match format {
        Format::Npy => Dataset::from_named(&name, vec![(None, npy::read(&mut source)?)], None),
        Format::Idx => Dataset::from_named(&name, vec![(None, idx::read(&mut source)?)], None),
        Format::Npz => open_archive(path, options),
        Format::Cifar => open_cifar(&mut source),
        Format::Csv => open_table(source, options),
    }
}

fn open_archive(path: &Path, options: &OpenOptions) -> Result<Dataset> {
    let mut others = options.clone();
    let label = others.table.label.take();
    refuse_table_options(path, &others)?;
    let name = show(path);
    let members = npz::read(path, label.as_deref())?;
    let labels = members.labels.map(|array| Labels::from_array(array, &name)).transpose()?;
    Dataset::from_named(&name, members.inputs, labels)
}

fn open_cifar(source: &mut Source) -> Result<Dataset> {
    let (array, labels) = cifar::read(source)?;
    let storage = Storage::Memory(Arc::new(array));
    let input = Input { name: None, storage, layout: Some(Layout::Nchw) };
    Dataset::new(source.name(), vec![input], Some(labels))
}

fn open_table(source: Source, options: &OpenOptions) -> Result<Dataset> {
    let name = source.name().to_owned();
    let table = csv_table::read(source, &options.table)?;
    let mut data = Dataset::from_named(&name, vec![(None, table.features)], table.labels)?;
    data.feature_names = table.names;
    data.notes = table.notes;
    data.file_rows = table.ids.map(Arc::new);
    Ok(data)
}

fn detect(path: &Path, source: &mut Source) -> Result<Format> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let file = file.strip_suffix(".gz").unwrap_or(&file);
    let length = source.left();
    let start = source.peek()?;
    let is_bin = file.ends_with(".bin");
    Ok(match start {
        [] => return Err(DataError::empty(&show(path), "the file is empty")),
        _ if start.starts_with(npy::MAGIC) => Format::Npy,
        _ if start.starts_with(npz::MAGIC) => Format::Npz,
        _ if is_bin && length.is_none_or(cifar::fits) => Format::Cifar,
        _ if idx::looks_like(start, length) || file.ends_with("-ubyte") => Format::Idx,
        _ if file.ends_with(".csv") || file.ends_with(".tsv") => Format::Csv,
        _ if images::looks_like(start) => return Err(single_picture(path)),
        _ if is_bin => Format::Cifar,
        _ if csv_table::looks_like(start) => Format::Csv,
        _ => return Err(unknown(path)),
    })
}

fn single_picture(path: &Path) -> DataError {
    let remedy = "name the folder it lies in";
    DataError::unsupported(&show(path), "a single picture", remedy)
}

fn unknown(path: &Path) -> DataError {
    let remedy = "give .npy, .npz, IDX, CIFAR .bin, .csv or a folder of PNG or JPEG pictures";
    DataError::unsupported(&show(path), "data of no format known here", remedy)
}

fn refuse_table_options(path: &Path, options: &OpenOptions) -> Result<()> {
    let table = &options.table;
    let setting = if table.label.is_some() {
        "--label"
    } else if !table.keep.is_empty() {
        "--keep"
    } else if !table.drop.is_empty() {
        "--drop"
    } else {
        return Ok(());
    };
    let reason = format!("it names a column, but {} is no table", path.display());
    Err(DataError::setting(setting, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy::tests::npy;
    use std::fs;

    fn say(path: &Path, options: &OpenOptions) -> String {
        Dataset::open(path, options).unwrap_err().to_string()
    }

    #[test]
    fn content_goes_before_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.csv");
        fs::write(&path, npy("|u1", false, "(2, 1)", &[1, 2])).unwrap();
        let data = Dataset::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(data.inputs()[0].dtype, "u8");
    }

    #[test]
    fn what_is_not_data_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let plain = OpenOptions::default();
        assert!(say(&folder.path().join("absent.npy"), &plain).contains("cannot open"));
        let path = folder.path().join("x.bin");
        fs::write(&path, []).unwrap();
        assert!(say(&path, &plain).contains("the file is empty"));
        fs::write(&path, [200, 1, 2]).unwrap();
        assert!(say(&path, &plain).contains("3 bytes are not a whole number"));
        let path = folder.path().join("x.dat");
        fs::write(&path, [200, 1, 2]).unwrap();
        assert!(say(&path, &plain).contains("no format known"));
        fs::write(&path, b"\x89PNG\r\n\x1a\n").unwrap();
        assert!(say(&path, &plain).contains("a single picture"));
    }

    #[test]
    fn several_files_are_named_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.npy"), folder.path().join("b.npy"));
        fs::write(&a, npy("|u1", false, "(2, 1)", &[1, 2])).unwrap();
        fs::write(&b, npy("|u1", false, "(2,)", &[1, 2])).unwrap();
        let spec = format!("ids={},mask={}", a.display(), b.display());
        let data = Dataset::open(&spec, &OpenOptions::default()).unwrap();
        assert_eq!(data.inputs()[1].name.as_deref(), Some("mask"));
        assert!(Dataset::open(format!("{spec},c"), &OpenOptions::default()).is_err());
    }

    #[test]
    fn a_label_column_needs_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        fs::write(&path, npy("|u1", false, "(2, 1)", &[1, 2])).unwrap();
        let table = TableOptions { label: Some("y".into()), ..TableOptions::default() };
        assert!(say(&path, &OpenOptions { table }).contains("is no table"));
    }
}
