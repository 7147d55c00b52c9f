//! What every experiment is told: where results go, how large it may be, and whom it tells how far it
//! is.

use std::path::{Path, PathBuf};

use crate::Error;

/// How an experiment is run.
///
/// ```
/// use gradkin_experiments::Setup;
/// let setup = Setup { quick: true, seed: 1, ..Setup::new("results/toy", &|_, _, _| true) };
/// assert!(setup.advance("training", 3, 10).is_ok());
/// ```
#[derive(Clone)]
pub struct Setup<'a> {
    /// Where the report goes; made if it is not there.
    pub folder: PathBuf,
    /// Small settings, for a look at the whole within two minutes.
    pub quick: bool,
    /// Equal seeds give equal numbers.
    pub seed: u64,
    /// Threads that share the work.
    pub threads: usize,
    /// Where data sets lie, if anywhere: the folder with `data/mnist` and the like in it.
    pub shared: Option<PathBuf>,
    /// Told of each stage what is done of how much, from any thread; returns whether to go on.
    pub watch: &'a (dyn Fn(&str, u64, u64) -> bool + Sync),
}

impl<'a> Setup<'a> {
    /// The full experiment, on all processors, without data.
    pub fn new(
        folder: impl Into<PathBuf>,
        watch: &'a (dyn Fn(&str, u64, u64) -> bool + Sync),
    ) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { folder: folder.into(), quick: false, seed: 0, threads, shared: None, watch }
    }

    /// Tell the watcher.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where it wants to stop.
    pub fn advance(&self, stage: &str, done: u64, total: u64) -> Result<(), Error> {
        if (self.watch)(stage, done, total) { Ok(()) } else { Err(Error::Cancelled) }
    }

    /// A file or folder among the shared data sets, such as `mnist`, if it is there.
    pub fn data(&self, name: &str) -> Option<PathBuf> {
        let path = self.shared.as_ref()?.join("data").join(name);
        path.exists().then_some(path)
    }
}

impl std::fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup")
            .field("folder", &self.folder)
            .field("quick", &self.quick)
            .field("seed", &self.seed)
            .field("threads", &self.threads)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// Where shared data lie: the folder that the caller names (from `GRADKIN_SHARED`, say), else `shared`
/// beside the folder that `from` stands in or beside one above it.
pub fn shared_folder(named: Option<PathBuf>, from: &Path) -> Option<PathBuf> {
    named.or_else(|| {
        let beside = from.ancestors().skip(1).map(|folder| folder.join("shared"));
        beside.take(4).find(|folder| folder.join("data").is_dir())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn data_is_found_beside_the_work() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("shared/data/mnist");
        std::fs::create_dir_all(&data).unwrap();
        let work = root.path().join("main/crates");
        let shared = shared_folder(None, &work);
        assert_eq!(shared.as_deref(), Some(root.path().join("shared").as_path()));
        let setup = Setup { shared, ..Setup::new("out", &|_, _, _| false) };
        assert_eq!(setup.data("mnist"), Some(data));
        assert_eq!(setup.data("cifar10"), None);
        assert!(matches!(setup.advance("training", 0, 1), Err(Error::Cancelled)));
    }

    #[test]
    fn a_named_folder_wins() {
        let named = PathBuf::from("/there");
        assert_eq!(shared_folder(Some(named.clone()), Path::new("/a/b")), Some(named));
        assert_eq!(shared_folder(None, Path::new("/")), None);
    }
}
