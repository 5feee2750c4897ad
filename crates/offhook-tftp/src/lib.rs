//! TFTP, read-only, without any I/O: packets, option negotiation, the state machine of one transfer, and the
//! lookup of names.
//!
//! RFC 1350 (the protocol), 2347 (options), 2348 (`blksize`), 2349 (`timeout`, `tsize`) and 7440 (`windowsize`).
//! A phone comes here when its firmware update has failed, so what comes in is read as tolerantly as can be, and
//! what goes out is for the strictest client known.
//!
//! A datagram at the well-known port goes through [`first_contact`]; a request that it lets through becomes, once
//! the caller has found the file with [`lookup`], a [`Transfer`]. No sockets, no clock, no logging: time is a
//! parameter, and datagrams come and go as bytes.

mod error;
mod first_contact;
mod image;
mod name;
mod netascii;
mod options;
mod packet;
mod spelling;
mod transfer;

pub use error::{ErrorCode, Refusal};
pub use first_contact::{FirstContact, first_contact, stray_reply};
pub use image::Image;
pub use name::{Found, NameError, OpenError, RequestedName, Tree, lookup};
pub use options::{Accepted, Limits, OptionName, Options, Rollover, Terms};
pub use packet::{DecodeError, MAX_BLOCK_SIZE, Mode, Packet, Request};
pub use spelling::BootFiles;
pub use transfer::{Outcome, Stats, Transfer};
