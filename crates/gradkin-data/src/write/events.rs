//! Event files, which TensorBoard draws: numbers by tag and step, such as the loss of a training.
//!
//! A file is a list of records: the length, its checksum, the bytes, their checksum. Each record is one
//! message of TensorFlow's `Event`. Unlike other results an event file grows while a program runs and
//! is read meanwhile; every record goes out in one piece.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};

/// Writes one event file.
///
/// ```
/// use gradkin_data::write::EventFile;
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// // Times are seconds since the beginning of 1970.
/// let started = 1_767_225_600.0;
/// let mut events = EventFile::create(folder, started)?;
/// for (step, loss) in [2.3, 1.1, 0.4].into_iter().enumerate() {
///     events.append(step as u64, started + step as f64, "loss/train", loss)?;
/// }
/// assert!(events.path().starts_with(folder));
/// # Ok::<(), gradkin_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in a folder, which is made if it is not there; TensorBoard reads all event files
    /// of a folder as one run. `started` is in seconds since 1970.
    pub fn create(folder: impl AsRef<Path>, started: f64) -> Result<Self> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder)
            .map_err(|error| DataError::io("make the folder", folder, error))?;
        let (path, file) = create_new(folder, started)?;
        let mut events = Self { path, file };
        let mut event = head(started, 0);
        put_bytes(&mut event, 3, b"brain.Event:2");
        events.record(&event)?;
        Ok(events)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one number, kept in single precision. `wall_time` is in seconds since 1970; a tag with a
    /// slash in it belongs to the group before the slash.
    pub fn append(&mut self, step: u64, wall_time: f64, tag: &str, value: f64) -> Result<()> {
        const FLOAT: u8 = 2 << 3 | 5;
        let mut scalar = Vec::with_capacity(tag.len() + 16);
        put_bytes(&mut scalar, 1, tag.as_bytes());
        scalar.push(FLOAT);
        scalar.extend((value as f32).to_le_bytes());
        let mut summary = Vec::with_capacity(scalar.len() + 8);
        put_bytes(&mut summary, 1, &scalar);
        let mut event = head(wall_time, step);
        put_bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    /// Waits until everything is on the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| DataError::io("write", &self.path, error))
    }

    fn record(&mut self, event: &[u8]) -> Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.len() + 16);
        record.extend(length);
        record.extend(masked(&length).to_le_bytes());
        record.extend(event);
        record.extend(masked(event).to_le_bytes());
        self.file.write_all(&record).map_err(|error| DataError::io("write", &self.path, error))
    }
}

/// A file of a name that is not there yet.
fn create_new(folder: &Path, started: f64) -> Result<(PathBuf, File)> {
    // TensorBoard knows its files by the middle of their names.
    let stem = format!("events.out.tfevents.{:010}.gradkin", started.max(0.0) as u64);
    for k in 0u32.. {
        let path = folder.join(format!("{stem}.{k}"));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(DataError::io("write", &path, error)),
        }
    }
    Err(DataError::unwritable(folder, "it is full of event files of the same second"))
}

/// Time and step, with which every event begins.
fn head(wall_time: f64, step: u64) -> Vec<u8> {
    const DOUBLE: u8 = 1 << 3 | 1;
    const NUMBER: u8 = 2 << 3;
    let mut event = vec![DOUBLE];
    event.extend(wall_time.to_le_bytes());
    if step > 0 {
        event.push(NUMBER);
        put_varint(&mut event, step);
    }
    event
}

fn put_bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, content.len() as u64);
    out.extend(content);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The checksum as records have it: turned and moved, so that checksums of checksums stay apart.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a file, their checksums verified.
    fn read(path: &Path) -> Vec<Vec<u8>> {
        let bytes = std::fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked(&rest[..8]).to_le_bytes());
            let event = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked(event).to_le_bytes());
            events.push(event.to_vec());
            rest = &rest[16 + length..];
        }
        events
    }

    #[test]
    fn events_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs/a");
        let mut events = EventFile::create(&runs, 1.5e9).unwrap();
        events.append(0, 1.5e9 + 1.0, "loss", 0.5).unwrap();
        events.append(300, 1.5e9 + 2.25, "loss", -2.0).unwrap();
        events.sync().unwrap();
        let found = read(events.path());
        assert_eq!(found.len(), 3);
        assert!(found[0].ends_with(b"brain.Event:2"));
        let mut expected = vec![0x09];
        expected.extend((1.5e9f64 + 2.25).to_le_bytes());
        // Step 300, then summary > value > tag and float.
        expected.extend([0x10, 0xac, 0x02, 0x2a, 13, 0x0a, 11, 0x0a, 4]);
        expected.extend(b"loss");
        expected.push(0x15);
        expected.extend((-2.0f32).to_le_bytes());
        assert_eq!(found[2], expected);
    }

    #[test]
    fn files_of_the_same_second_stand_beside_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let paths =
            [0, 1].map(|_| EventFile::create(folder.path(), 7.0).unwrap().path().to_owned());
        assert_ne!(paths[0], paths[1]);
        assert!(paths[0].to_string_lossy().contains("tfevents.0000000007"));
        let file = folder.path().join("a file");
        std::fs::write(&file, "").unwrap();
        assert!(EventFile::create(&file, 7.0).unwrap_err().to_string().contains("a file"));
    }

    #[test]
    fn the_checksum_is_castagnoli() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        // What TensorFlow writes before an event of 24 bytes.
        assert_eq!(masked(&24u64.to_le_bytes()), 0x224b_7fa3);
    }
}
