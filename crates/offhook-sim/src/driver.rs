//! What passes between a simulated phone and whoever drives it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use offhook_model::Time;

/// Where a packet goes out, or came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// The untagged VLAN: where a phone in recovery mode comes up, and PCs live.
    Native,
    /// The voice VLAN.
    Voice,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Voice => "voice",
        })
    }
}

/// How a phone comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In normal operation, with the VLAN known (from CDP, LLDP or a wall jack without any).
    Normal(Link),
    /// After a failed firmware update: in the native VLAN, waiting for option 132. Families without a recovery
    /// mode come up normally there.
    Recovery,
    /// With an address somebody else leased, on the native link, asking by DHCPINFORM.
    Inform {
        /// The address.
        address: Ipv4Addr,
        /// The length of its network prefix.
        prefix: u8,
        /// The default gateway.
        router: Option<Ipv4Addr>,
    },
}

/// How long a phone waits, and how often it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Until a DHCP message is sent a second time; doubles from there.
    pub dhcp: Duration,
    /// How often a DHCP message is sent.
    pub dhcp_attempts: u32,
    /// Until a DNS query is sent again.
    pub dns: Duration,
    /// How often a DNS query is sent.
    pub dns_attempts: u32,
    /// Until a TFTP packet is sent again.
    pub tftp: Duration,
    /// How many timeouts in a row end a transfer.
    pub tftp_attempts: u32,
}

impl Default for Timing {
    /// RFC 2131's 4, 8, 16, 32 s; U-Boot's 5 s; usual resolver settings.
    fn default() -> Self {
        Self {
            dhcp: Duration::from_secs(4),
            dhcp_attempts: 4,
            dns: Duration::from_secs(2),
            dns_attempts: 3,
            tftp: Duration::from_secs(5),
            tftp_attempts: 5,
        }
    }
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a DHCP message from port 68 to port 67. To 255.255.255.255 it is a broadcast frame, from 0.0.0.0 too;
    /// else an ordinary datagram from the configured address.
    SendDhcp {
        /// Where.
        link: Link,
        /// The IP source.
        source: Ipv4Addr,
        /// The IP destination.
        destination: Ipv4Addr,
        /// The UDP payload.
        payload: Vec<u8>,
    },
    /// The phone has this address now, and answers ARP for it.
    SetAddress {
        /// Where.
        link: Link,
        /// The address.
        address: Ipv4Addr,
        /// The length of its network prefix.
        prefix: u8,
        /// The default gateway.
        router: Option<Ipv4Addr>,
    },
    /// The phone has no address on this link any more.
    ClearAddress {
        /// Where.
        link: Link,
    },
    /// Send a datagram from the configured address.
    SendUdp {
        /// The phone's own port.
        port: u16,
        /// Where to.
        destination: SocketAddrV4,
        /// The UDP payload.
        payload: Vec<u8>,
    },
    /// Nothing to do before this time, unless something arrives.
    Wait(Time),
    /// The boot is over: see [`Phone::record`].
    Done,
}

/// What the driver received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A datagram to port 68, broadcast or to the phone's hardware address.
    Dhcp {
        /// Where.
        link: Link,
        /// The UDP payload.
        payload: &'a [u8],
    },
    /// Any other datagram to the phone.
    Udp {
        /// The phone's own port it came to.
        port: u16,
        /// Where it came from.
        from: SocketAddrV4,
        /// The UDP payload.
        payload: &'a [u8],
    },
}
