//! Error codes, and the reasons for which a request is refused.

use std::io;

use crate::{NameError, Packet};

/// The codes of RFC 1350 and 2347.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ErrorCode {
    /// See the message.
    NotDefined = 0,
    /// There is no such file.
    FileNotFound = 1,
    /// The file may not be read, or nothing may be written.
    AccessViolation = 2,
    /// There is no room left.
    DiskFull = 3,
    /// This makes no sense to a TFTP server.
    IllegalOperation = 4,
    /// The packet belongs to no transfer of this port.
    UnknownTransferId = 5,
    /// The file is there already.
    FileExists = 6,
    /// Mail for nobody.
    NoSuchUser = 7,
    /// The options offered do not suit the client, or it has learned what it wanted from them.
    OptionNegotiation = 8,
}

/// Why a request is answered with an ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// There is no such file, or several that differ from the name in letter case only.
    #[error("file not found")]
    NotFound,
    /// The name leads out of the root.
    #[error("access violation: the name leads out of the served directory")]
    OutsideRoot,
    /// The file may not be read by the server, or is no regular file.
    #[error("access violation: not a readable file")]
    Unreadable,
    /// The client is in no network that is served.
    #[error("access violation: this network is not served")]
    Denied,
    /// A WRQ.
    #[error("access violation: offhook serves files, it takes none")]
    ReadOnly,
    /// Mode `mail`.
    #[error("illegal operation: mail is not supported")]
    Mail,
    /// A mode that does not exist.
    #[error("illegal operation: unknown transfer mode")]
    UnknownMode,
    /// A datagram that is no TFTP request.
    #[error("illegal operation: not a TFTP request")]
    Malformed,
    /// A packet of a transfer, at a port that has none for its sender.
    #[error("unknown transfer ID")]
    UnknownTransfer,
    /// As many transfers as the server takes are under way.
    #[error("busy: too many transfers, try again later")]
    Busy,
    /// The file is not the one that its digest says.
    #[error("the file is damaged: its digest is not the one stated")]
    Damaged,
    /// The server that has the file does not give it.
    #[error("the provisioning server does not give the file, try again later")]
    Upstream,
    /// The server could not read the file, or open a socket to send it from.
    #[error("the server failed to read the file")]
    Failed,
}

impl Refusal {
    /// The code that goes on the wire.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::FileNotFound,
            Self::OutsideRoot | Self::Unreadable | Self::Denied | Self::ReadOnly => {
                ErrorCode::AccessViolation
            }
            Self::Mail | Self::UnknownMode | Self::Malformed => ErrorCode::IllegalOperation,
            Self::UnknownTransfer => ErrorCode::UnknownTransferId,
            Self::Busy | Self::Damaged | Self::Upstream | Self::Failed => ErrorCode::NotDefined,
        }
    }

    /// The ERROR packet.
    pub fn packet(self) -> Vec<u8> {
        Packet::error(self.code(), &self.to_string()).to_vec()
    }
}

impl From<io::ErrorKind> for Refusal {
    /// Why an [`Image`](crate::Image) could not be read.
    fn from(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::InvalidData => Self::Damaged,
            io::ErrorKind::ConnectionAborted => Self::Upstream,
            _ => Self::Failed,
        }
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Outside => Self::OutsideRoot,
            NameError::Empty | NameError::TooLong | NameError::NotFound | NameError::Ambiguous => {
                Self::NotFound
            }
            NameError::Unreadable => Self::Unreadable,
        }
    }
}
