//! How the program ends: what went wrong, in one line, and the exit code that goes with it.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done, or whoever read our output stopped reading |
//! | 1 | something failed that is no mistake of the user's |
//! | 2 | a mistake in what was typed or in the files that were named |
//! | 130 | interrupted |

use std::panic::PanicHookInfo;
use std::process::ExitCode;

use gradkin::network::NetworkError;
use gradkin_data::DataError;

use crate::printer::{Printer, complain};
use crate::text;

/// What a command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// The exit code after Ctrl-C, as shells count signals.
pub(crate) const INTERRUPTED: u8 = 130;

/// Who is to blame, so to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Mistake,
    Other,
    Interrupted,
    /// Nobody reads our output any more, which is no failure.
    Unread,
}

/// Why the program ends before its work is done.
#[derive(Debug)]
pub(crate) struct Failure {
    cause: Cause,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// What went wrong.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The user's mistake; what follows the first `; ` of the message says what to do about it.
    pub(crate) fn mistake(message: impl ToString) -> Self {
        Self::new(Cause::Mistake, &message.to_string())
    }

    /// Anything that is not the user's mistake.
    pub(crate) fn other(message: impl ToString) -> Self {
        Self::new(Cause::Other, &message.to_string())
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(Cause::Interrupted, "interrupted")
    }

    fn new(cause: Cause, message: &str) -> Self {
        let whole = Self::whole(cause, message);
        match whole.message.split_once("; ") {
            Some((message, hint)) => Self::whole(cause, message).hint(hint),
            None => whole,
        }
    }

    /// The message as it is, whatever stands in it.
    fn whole(cause: Cause, message: &str) -> Self {
        Self { cause, message: text::clean(message), hint: None }
    }

    /// The same with advice.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn code(&self) -> u8 {
        match self.cause {
            Cause::Unread => 0,
            Cause::Other => 1,
            Cause::Mistake => 2,
            Cause::Interrupted => INTERRUPTED,
        }
    }
}

/// What is wrong and what to do, in one line.
impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.hint {
            Some(hint) => write!(formatter, "{}; {hint}", self.message),
            None => formatter.write_str(&self.message),
        }
    }
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        match &error {
            NetworkError::Tensor(_) => Self::other(error),
            NetworkError::WeightsDoNotFit { remedy, .. } => {
                let message = error.to_string();
                let what = message.strip_suffix(remedy.as_str()).unwrap_or(&message);
                Self::whole(Cause::Mistake, what.trim_end_matches([' ', ';'])).hint(remedy)
            }
            _ => Self::mistake(error),
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let message = error.to_string();
        match &error {
            DataError::Io { action: "write", .. } => Self::other(message),
            DataError::Shape { remedy, .. }
            | DataError::Unsupported { remedy, .. }
            | DataError::Inputs { remedy, .. }
            | DataError::Table { remedy, .. } => {
                let what = message.strip_suffix(remedy.as_str()).unwrap_or(&message);
                Self::mistake(what.trim_end_matches([' ', ':', ';'])).hint(remedy)
            }
            _ => Self::mistake(message),
        }
    }
}

impl From<gradkin::Error> for Failure {
    fn from(error: gradkin::Error) -> Self {
        match error {
            gradkin::Error::Network(error) => error.into(),
            gradkin::Error::Examples(error) => match error.downcast::<DataError>() {
                Ok(error) => (*error).into(),
                Err(error) => Self::mistake(error),
            },
            gradkin::Error::Cancelled => Self::interrupted(),
            error => Self::mistake(error),
        }
    }
}

/// From writing to stdout.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(Cause::Unread, ""),
            _ => Self::other(format!("cannot write to stdout: {error}")),
        }
    }
}

/// Tell what went wrong, leave nothing half-written, and turn it into an exit code.
pub(crate) fn code(outcome: Outcome, printer: &Printer) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    gradkin_data::write::remove_unfinished();
    match failure.cause {
        Cause::Unread => {}
        Cause::Interrupted => printer.interrupted(&failure.message),
        _ => printer.error(&failure.message, failure.hint.as_deref()),
    }
    ExitCode::from(failure.code())
}

/// A panic is a mistake of ours: say so in one line, clean up, and end with code 1.
pub(crate) fn report_panics_in_one_line() {
    std::panic::set_hook(Box::new(|panic| {
        complain(&panic_line(panic));
        gradkin_data::write::remove_unfinished();
        std::process::exit(1);
    }));
}

fn panic_line(panic: &PanicHookInfo) -> String {
    let what = panic.payload_as_str().unwrap_or("unknown cause");
    let what = text::clean(what);
    let place = panic.location().map(|l| format!(" at {}:{}", l.file(), l.line()));
    format!(
        "error: internal error{}: {what}; please report it at {}/issues",
        place.unwrap_or_default(),
        env!("CARGO_PKG_REPOSITORY")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_become_hints() {
        let failure = Failure::mistake("x.onnx is\nno model; export it again; or not");
        assert_eq!(failure.message, "x.onnx is no model");
        assert_eq!(failure.hint.as_deref(), Some("export it again; or not"));
        assert_eq!(failure.code(), 2);
        let error = DataError::Shape {
            path: "x.npy".into(),
            found: "[3]".into(),
            input: "image".into(),
            expected: "[4]".into(),
            remedy: "reshape it".into(),
        };
        let failure = Failure::from(error);
        assert!(failure.message.ends_with("takes [4]"), "{}", failure.message);
        assert_eq!(failure.hint.as_deref(), Some("reshape it"));
    }

    #[test]
    fn causes_have_their_codes() {
        assert_eq!(Failure::from(gradkin::Error::Cancelled).code(), 130);
        assert_eq!(Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).code(), 0);
        assert_eq!(Failure::other("disk").code(), 1);
        assert_eq!(Failure::from(gradkin::Error::Usage("k".into())).code(), 2);
    }
}
