//! Everything that can go wrong between a file and a batch. Each message names
//! the file, what was expected and what was found, and what to do about it.

use std::io;
use std::path::Path;

/// The result of every fallible function in this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// Why data could not be read, prepared or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused to read or write.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried: "open", "read", "write".
        action: &'static str,
        /// The file.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The content contradicts the format, or is cut short.
    #[error("{path} is not a sound {format} file: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// The format it was read as.
        format: &'static str,
        /// What was expected and what was found.
        reason: String,
    },
    /// The content is well formed but of a kind that is not read here.
    #[error("{path} holds {found}, which cannot be used here: {remedy}")]
    Unsupported {
        /// The file.
        path: String,
        /// What it holds.
        found: String,
        /// What to do instead.
        remedy: String,
    },
    /// There is no example to work on.
    #[error("{path} holds no examples: {reason}")]
    Empty {
        /// The file or folder.
        path: String,
        /// How that was found out.
        reason: String,
    },
    /// A table has a gap where a number or label is needed.
    #[error(
        "{path}: row {row} has no value in column {column:?}; leave such rows out with \
         --missing drop, fill them with --missing mean, or leave the column out with --drop {column}"
    )]
    Missing {
        /// The table.
        path: String,
        /// The row, counted from 1 after the header.
        row: usize,
        /// The column's name.
        column: String,
    },
    /// A table's cell or column is not what was asked for.
    #[error("{path}: {problem}; {remedy}")]
    Table {
        /// The table.
        path: String,
        /// Which row or column, what was expected and what was found.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// Two things that must pair up one to one do not.
    #[error("{left} holds {left_count} {left_noun} but {right} holds {right_count} {right_noun}")]
    CountMismatch {
        /// The first file.
        left: String,
        /// How many it holds.
        left_count: usize,
        /// Of what: "labels".
        left_noun: &'static str,
        /// The second file.
        right: String,
        /// How many it holds.
        right_count: usize,
        /// Of what: "examples".
        right_noun: &'static str,
    },
    /// The data's inputs cannot be paired with the network's.
    #[error("{path} offers {found}, but the network takes {expected}: {remedy}")]
    Inputs {
        /// The data.
        path: String,
        /// The data's inputs.
        found: String,
        /// The network's inputs.
        expected: String,
        /// What to do.
        remedy: String,
    },
    /// An example's shape is not the one the network takes.
    #[error(
        "an example of {path} has shape {found}, but the network's input {input:?} takes \
         {expected}: {remedy}"
    )]
    Shape {
        /// The data.
        path: String,
        /// The shape of an example after preprocessing.
        found: String,
        /// The network's input.
        input: String,
        /// The shape it takes, `?` where it leaves a length open.
        expected: String,
        /// What to do, with the command-line flag that would mend it.
        remedy: String,
    },
    /// A value is NaN or infinite.
    #[error(
        "{path}: example {example} holds {value} at position {position}; remove the example or \
         replace the value before reading it here"
    )]
    NotFinite {
        /// The data.
        path: String,
        /// The example, counted from 0 in the file.
        example: usize,
        /// The place inside the example, one index per axis.
        position: String,
        /// NaN, inf or -inf.
        value: f64,
    },
    /// A value does not fit the type it is wanted in.
    #[error("{path}: example {example}, position {position}: {value} {reason}")]
    OutOfRange {
        /// The data.
        path: String,
        /// The example, counted from 0 in the file.
        example: usize,
        /// The place inside the example, one index per axis.
        position: String,
        /// The value as it stands in the file.
        value: String,
        /// What it would have to be.
        reason: &'static str,
    },
    /// A setting makes no sense, by itself or with this data.
    #[error("{setting}: {reason}")]
    Setting {
        /// The command-line flag, or the argument's name.
        setting: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A result cannot be written under the name it was given.
    #[error("cannot write {path}: {reason}")]
    Unwritable {
        /// The result's name.
        path: String,
        /// What stands in the way and what to do.
        reason: String,
    },
}

impl DataError {
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io { action, path: show(path), source }
    }

    pub(crate) fn malformed(path: &str, format: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), format, reason: reason.into() }
    }

    pub(crate) fn unsupported(
        path: &str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Unsupported { path: path.into(), found: found.into(), remedy: remedy.into() }
    }

    pub(crate) fn empty(path: &str, reason: impl Into<String>) -> Self {
        Self::Empty { path: path.into(), reason: reason.into() }
    }

    pub(crate) fn table(path: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Table { path: path.into(), problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn setting(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { setting, reason: reason.into() }
    }

    pub(crate) fn unwritable(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Unwritable { path: show(path), reason: reason.into() }
    }
}

/// A path as it is shown to people.
pub(crate) fn show(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

/// A shape as it is shown to people: `[1, 28, 28]`.
pub(crate) fn show_shape(shape: &[usize]) -> String {
    format!("{shape:?}")
}

/// A partly known shape as it is shown to people: `[?, 28, 28]`.
pub(crate) fn show_open_shape(shape: &[Option<usize>]) -> String {
    let lengths: Vec<String> =
        shape.iter().map(|d| d.map_or("?".into(), |d| d.to_string())).collect();
    format!("[{}]", lengths.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_remedy() {
        let error =
            DataError::Missing { path: "housing.csv".into(), row: 291, column: "rooms".into() };
        let text = error.to_string();
        assert!(text.contains("housing.csv: row 291"), "{text}");
        assert!(text.contains("--missing drop"), "{text}");
        assert_eq!(show_open_shape(&[None, Some(28)]), "[?, 28]");
    }
}
