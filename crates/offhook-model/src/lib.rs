//! The vocabulary of offhook: what a site, a scope, a class and a lease are.
//!
//! Everything here is plain data, valid by construction: a [`Mac`] that exists is a MAC address, an
//! [`AddressRange`] is never empty or reversed, a [`DomainName`] can be written on the wire. No I/O, no file
//! formats, no clock. `offhook-config` turns text into a [`Site`]; the servers read it.

mod boot;
mod class;
mod client;
mod digest;
mod event;
mod health;
mod label;
mod lease;
mod mac;
mod name;
mod option;
mod range;
mod record;
mod scope;
mod site;
mod tftp;
mod time;
mod upstream;

pub mod registry;

pub use boot::BootFields;
pub use class::{BytesTest, Class, ClassId, Condition, Evidence, EvidenceKind, Phone, PhoneKey};
pub use client::{ClientId, HardwareAddress};
pub use digest::{ImageDigests, ParseSha256Error, Sha256};
pub use event::Event;
pub use health::{Health, Order, Probe};
pub use label::{ZoneNames, clean_label, host_label, model_label};
pub use lease::{Lease, LeaseState, LeaseWrite};
pub use mac::{Mac, ParseMacError};
pub use name::{DomainName, ParseNameError};
pub use option::{OptionRule, Origin, Send, Source};
pub use range::{AddressRange, RangeError};
pub use record::{Record, WireName};
pub use scope::{LeaseTimes, Pool, PoolUser, Scope, ScopeId, Serve};
pub use site::{
    Dhcp, Dns, DnsAccess, DnsCache, DnsNames, Group, Host, Provisioning, Proxy, SipPorts, Site,
    Switchover, Tftp,
};
pub use tftp::TftpLimits;
pub use time::Time;
pub use upstream::{Upstream, UpstreamUrl, matches_pattern};
