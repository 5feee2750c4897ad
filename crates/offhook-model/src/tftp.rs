//! What the TFTP server of a site grants, and whom: the rest of `[tftp]`.

use std::time::Duration;

use ipnetwork::IpNetwork;

/// What the TFTP server grants one transfer and all of them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TftpLimits {
    /// The largest block granted (`blksize`, RFC 2348), bytes: 8 to 65,464.
    pub block_size: u16,
    /// Whether blocks may be larger than the packets of the path, and so be sent in fragments.
    pub fragment: bool,
    /// The largest window granted (`windowsize`, RFC 7440), blocks: 1 to 32,767.
    pub window: u16,
    /// The block number after 65,535: 0 or 1.
    pub rollover: u16,
    /// How long an acknowledgement is waited for at first, unless the client negotiates a time of its own.
    pub timeout: Duration,
    /// How often a packet is sent again, with nothing heard, before a transfer is given up.
    pub retries: u32,
    /// After this long with nothing heard it is given up even so.
    pub give_up: Duration,
    /// Transfers at a time.
    pub transfers: u32,
    /// Transfers at a time for one address.
    pub transfers_per_client: u32,
    /// The differentiated services code point of every reply (RFC 2474): 0 to 63.
    pub dscp: u8,
    /// Whose requests are answered. `None` is the scopes, the hosts of the site, and the networks that the listener
    /// is in. This machine itself always is answered.
    pub allow: Option<Vec<IpNetwork>>,
}

impl Default for TftpLimits {
    fn default() -> Self {
        Self {
            block_size: 65_464,
            fragment: false,
            window: 64,
            rollover: 0,
            timeout: Duration::from_secs(1),
            retries: 6,
            give_up: Duration::from_secs(120),
            transfers: 16_384,
            transfers_per_client: 8192,
            dscp: 0,
            allow: None,
        }
    }
}
