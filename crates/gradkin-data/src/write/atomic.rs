//! Files that are there whole or not at all: written beside their name as
//! `.<name>.tmp-<pid>`, synced, then renamed. The unfinished ones are kept in a
//! list, so that an interrupted program can remove them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{DataError, Result};

static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forget(temporary: &Path) {
    unfinished().retain(|other| other != temporary);
}

/// Removes every temporary file of this process that has not been persisted: for
/// a handler of Ctrl-C. Writers still at work get an error when they persist.
pub fn remove_unfinished() {
    for temporary in unfinished().drain(..) {
        // Nothing can be done about a file that will not go; the program is ending.
        let _ = fs::remove_file(temporary);
    }
}

/// A file that takes its name only when [`persist`](Self::persist) is called, and
/// is removed if it is dropped before.
///
/// ```
/// use gradkin_data::write::AtomicFile;
/// use std::io::Write;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("result.txt");
/// let mut file = AtomicFile::create(&path)?;
/// file.write_all(b"all of it").unwrap();
/// assert!(!path.exists());
/// file.persist()?;
/// assert!(path.exists());
/// # Ok::<(), gradkin_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Begins a file that will be called `path`; one that is there already is
    /// replaced only by [`persist`](Self::persist).
    ///
    /// Errors: as [`check_writable`](Self::check_writable), or the file is being
    /// written by this process already.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = resolve(path.as_ref());
        check_name(&path)?;
        let temporary = temporary_name(&path);
        {
            let mut unfinished = unfinished();
            if unfinished.contains(&temporary) {
                return Err(DataError::unwritable(&path, "it is being written already"));
            }
            unfinished.push(temporary.clone());
        }
        match create_new(&temporary) {
            Ok(file) => Ok(Self { path, temporary, writer: Some(BufWriter::new(file)) }),
            Err(error) => {
                forget(&temporary);
                Err(DataError::unwritable(&path, error.to_string()))
            }
        }
    }

    /// Finds out, before the work, whether a file called `path` could be written.
    ///
    /// Errors: its folder does not exist or cannot be written to; `path` is a
    /// folder, a device or a pipe.
    pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
        Self::create(path).map(drop)
    }

    /// The name the file will take.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the file and gives it its name, replacing what was there.
    pub fn persist(mut self) -> Result<()> {
        let result = self.writer.take().map_or(Ok(()), |writer| self.rename(writer));
        result.map_err(|e| DataError::io("write", &self.path, e))
    }

    fn rename(&self, writer: BufWriter<File>) -> io::Result<()> {
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&self.temporary, &self.path)?;
        sync_folder(folder_of(&self.path))
    }

    fn writer(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.writer.as_mut().ok_or_else(|| io::Error::other("the file is finished"))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer()?.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            // What is still buffered is not wanted any more.
            let _ = writer.into_parts();
        }
        // After a rename there is no such file, which is as it should be.
        let _ = fs::remove_file(&self.temporary);
        forget(&self.temporary);
    }
}

/// The file a link points to, so that the link survives.
fn resolve(path: &Path) -> PathBuf {
    match path.is_symlink() {
        true => fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
        false => path.to_owned(),
    }
}

fn check_name(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    let refuse = |reason: String| Err(DataError::unwritable(path, reason));
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => refuse("it is a folder; name a file in it".into()),
        Ok(there) if !there.is_file() => refuse("it is not a regular file".into()),
        _ if path.file_name().is_none() => refuse("it is not the name of a file".into()),
        _ if !folder.exists() => {
            refuse(format!("the folder {} does not exist; create it first", folder.display()))
        }
        _ if !folder.is_dir() => refuse(format!("{} is not a folder", folder.display())),
        _ => Ok(()),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".tmp-{}", std::process::id()));
    path.with_file_name(name)
}

fn create_new(temporary: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).open(temporary);
    match create() {
        // Left behind by an earlier process that had the same number.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(temporary)?;
            create()
        }
        result => result,
    }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot sync a folder; the rename has happened.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        let temporary = format!(".a.txt.tmp-{}", std::process::id());
        assert_eq!(names(folder.path()), [temporary.as_str(), "a.txt"]);
        assert!(AtomicFile::create(&path).unwrap_err().to_string().contains("already"));
        drop(file);
        assert_eq!(names(folder.path()), ["a.txt"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.persist().unwrap();
        assert_eq!(names(folder.path()), ["a.txt"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn names_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let say = |path: &Path| AtomicFile::check_writable(path).unwrap_err().to_string();
        assert!(say(folder.path()).contains("name a file in it"));
        assert!(say(&folder.path().join("no/x.csv")).contains("create it first"));
        fs::write(folder.path().join("f"), "").unwrap();
        assert!(say(&folder.path().join("f/x.csv")).contains("not a folder"));
        assert!(say(Path::new("")).contains("not the name of a file"));
        AtomicFile::check_writable(folder.path().join("x.csv")).unwrap();
        assert_eq!(names(folder.path()), ["f"]);
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_left_alone_and_links_survive() {
        let error = AtomicFile::check_writable("/dev/null").unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("t"), folder.path().join("l"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        AtomicFile::create(&link).unwrap().persist().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "");
    }

    #[test]
    fn a_leftover_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(temporary_name(&path), "a longer leftover").unwrap();
        AtomicFile::create(&path).unwrap().persist().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}
