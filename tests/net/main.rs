//! The program in network namespaces, with the clients an office has: nothing here knows how the servers work
//! inside. Needs root and the Debian packages of `tests/packages`; `tests/run` sees to both.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod access;
mod addresses;
mod asked;
mod awake;
mod clock;
mod compliance;
mod conformance;
mod crash;
mod dhclient;
mod dns;
mod dns_reload;
mod durable;
mod forward;
mod frames;
mod full_disk;
mod health;
mod ipxe;
mod kill_storm;
mod lab;
mod leases;
mod named;
mod names;
mod packet;
mod probe;
mod program;
mod raw;
mod relay;
mod reload;
mod shared;
mod sip;
mod storm;
mod tftp;
mod tftp_crowd;
mod tftp_flood;
mod tftp_images;
mod tftp_queue;
mod tftp_reload;
mod tftp_settings;
mod udhcpc;
mod unit;
mod unreachable;
mod upstream;
