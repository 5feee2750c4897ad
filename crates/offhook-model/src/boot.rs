//! The header fields of a DHCP reply that boot loaders read.

use std::net::Ipv4Addr;

/// Header fields that the configuration states, as far as it does; a class's beat its scope's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootFields {
    /// `siaddr`: the server that the boot loader fetches its file from (RFC 2131, table 1).
    pub next_server: Option<Ipv4Addr>,
    /// `sname`, at most 63 bytes.
    pub server_name: Option<String>,
    /// `file`, at most 127 bytes.
    pub boot_file: Option<String>,
}
