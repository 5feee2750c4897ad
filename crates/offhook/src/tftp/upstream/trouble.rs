//! Why the provisioning server gave nothing.

use std::fmt;
use std::io;

use offhook_tftp::Refusal;

use crate::tftp::digests::Mismatch;

/// Why a file could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tftp) enum Trouble {
    /// The server has no such file.
    Missing(String),
    /// The server does not give it to us.
    Forbidden(String),
    /// It is larger than what is fetched.
    TooLarge(u64),
    /// It is not what its digest says.
    Damaged(Mismatch),
    /// It is a web page, from this URL: somebody wants a password, or says in a friendly way that there is no such file.
    Page(String),
    /// The server cannot be asked, or does not answer as it should.
    Failed(String),
}

impl Trouble {
    /// Whether the server may give it another time, so that what was fetched before is still good.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Page(_))
    }

    /// What ends a transfer that has begun.
    pub(super) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Damaged(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::ConnectionAborted,
        }
    }
}

impl From<&Trouble> for Refusal {
    fn from(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::Missing(_) => Self::NotFound,
            Trouble::Forbidden(_) => Self::Unreadable,
            Trouble::Damaged(_) => Self::Damaged,
            Trouble::TooLarge(_) | Trouble::Page(_) | Trouble::Failed(_) => Self::Upstream,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(how) | Self::Forbidden(how) | Self::Failed(how) => f.write_str(how),
            Self::Page(url) => write!(f, "{url} answers with a web page"),
            Self::TooLarge(most) => {
                write!(f, "it has more than the {most} bytes that are fetched at most")
            }
            Self::Damaged(Mismatch { expected, actual }) => {
                write!(f, "its SHA-256 digest is {actual}, not {expected}")
            }
        }
    }
}
