//! NumPy's `.npz`: a zip archive of `.npy` members, here one per network input,
//! beside a member called `labels`, `label` or `y`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use zip::ZipArchive;

use crate::array::Array;
use crate::bytes::Source;
use crate::error::{DataError, Result, show};
use crate::npy;

pub(crate) const MAGIC: &[u8] = b"PK\x03\x04";
const FORMAT: &str = "npz";
const LABEL_NAMES: [&str; 3] = ["labels", "label", "y"];

/// An archive's arrays, by name.
pub(crate) struct Members {
    /// All but the labels, in the order of the archive.
    pub(crate) inputs: Vec<(Option<String>, Array)>,
    /// The labels, where a member is named so.
    pub(crate) labels: Option<Array>,
}

/// Reads every member of an archive, stored or deflated; `label` names the member
/// that holds the labels, where it is called something else.
pub(crate) fn read(path: &Path, label: Option<&str>) -> Result<Members> {
    let file = File::open(path).map_err(|e| DataError::io("open", path, e))?;
    let malformed =
        |e: zip::result::ZipError| DataError::malformed(&show(path), FORMAT, e.to_string());
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(malformed)?;
    let mut members = Members { inputs: Vec::new(), labels: None };
    for index in 0..archive.len() {
        let (name, array) = read_member(&mut archive, index, path)?;
        let is_label = label.map_or(LABEL_NAMES.contains(&name.as_str()), |label| label == name);
        if is_label && members.labels.is_none() {
            members.labels = Some(array);
        } else {
            members.inputs.push((Some(name), array));
        }
    }
    match label {
        Some(label) if members.labels.is_none() => {
            let found = format!("no member called {label:?}");
            let names: Vec<_> = members.inputs.iter().filter_map(|(n, _)| n.as_deref()).collect();
            let remedy = format!("its members are {}", names.join(", "));
            Err(DataError::unsupported(&show(path), found, remedy))
        }
        _ => Ok(members),
    }
}

fn read_member(
    archive: &mut ZipArchive<BufReader<File>>,
    index: usize,
    path: &Path,
) -> Result<(String, Array)> {
    let malformed =
        |e: zip::result::ZipError| DataError::malformed(&show(path), FORMAT, e.to_string());
    let member = archive.by_index(index).map_err(malformed)?;
    let name = member.name().map_err(malformed)?.into_owned();
    let full = format!("{}:{name}", path.display());
    let Some(name) = name.strip_suffix(".npy").map(String::from) else {
        let remedy = "keep only arrays in it, as numpy.savez does";
        return Err(DataError::unsupported(&full, "a member that is no .npy", remedy));
    };
    let (packed, size) = (member.compressed_size(), member.size());
    let mut source = Source::member(Box::new(BufReader::new(member)), full, packed, size);
    Ok((name, npy::read(&mut source)?))
}
