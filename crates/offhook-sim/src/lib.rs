//! Phones as state machines: what `offhook demo`, and later `boot`, `storm` and the tests, drive.
//!
//! A [`Phone`] of a [`Family`] runs the boot sequence of the guide's check-list: DHCP, DNS, and in recovery mode
//! DHCP in the native VLAN, the hop to the voice VLAN that option 132 asks for, and TFTP. It speaks real packets
//! but owns no socket and reads no clock: a driver calls [`Phone::poll`] for the next [`Action`] and
//! [`Phone::handle`] with what arrived. What the phone was given is its [`Record`]; [`requirements::check`]
//! holds that against the guide's table and yields a [`Report`].
//!
//! Not simulated: CDP and LLDP (the driver decides which link is the voice VLAN), HTTP and SIP.

mod client;
mod driver;
mod families;
mod fingerprint;
mod phone;
mod record;
mod reply;
mod report;
mod request;
mod resolver;
mod rng;
mod tftp;
mod value;

pub mod requirements;

pub use driver::{Action, Input, Link, Mode, Timing};
pub use families::{FAMILIES, Family, HostName, Kind, Stage, UserClass, by_name};
pub use fingerprint::Fingerprint;
pub use phone::Phone;
pub use record::{
    Acknowledged, Answer, DhcpFailure, Failure, Fetched, Lookup, LookupFailure, Record, RecordData,
    Renewal, TftpFailure,
};
pub use reply::{MessageKind, Options, ParseReplyError, Reply};
pub use report::{Level, Outcome, Report, Step, Subject};
