//! What stops the demo, and what to do about it.

use std::fmt::{self, Display};
use std::io;

use nix::errno::Errno;

/// A message and, where there is one, a remedy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Error {
    message: String,
    hint: Option<String>,
}

impl Error {
    /// What went wrong.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// With what can be done about it.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Says what was being done when an error came.
pub(super) trait Context<T> {
    /// `doing` follows `cannot`: `make a bridge`.
    ///
    /// # Errors
    /// The error, as a message for people.
    fn context(self, doing: impl Display) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, doing: impl Display) -> Result<T, Error> {
        self.map_err(|error| Error::new(format!("cannot {doing}: {error}")))
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context(self, doing: impl Display) -> Result<T, Error> {
        self.map_err(io::Error::from).context(doing)
    }
}

impl<T> Context<T> for Result<T, rtnetlink::Error> {
    fn context(self, doing: impl Display) -> Result<T, Error> {
        let result = self.map_err(|error| match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other.to_string()),
        });
        let code = result.as_ref().err().and_then(io::Error::raw_os_error);
        result.context(doing).map_err(|error| match code.map(Errno::from_raw) {
            // An interface of a kind the kernel does not know.
            Some(Errno::EOPNOTSUPP) => {
                error.hint("the kernel lacks a module: run `modprobe -a bridge veth` as root first")
            }
            Some(Errno::EPERM) => error.hint("run `offhook demo` as root"),
            _ => error,
        })
    }
}
