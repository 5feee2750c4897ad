//! Why there is no reply.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a message gets no reply. Silence has a name: the same in logs, metrics and `explain`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum NoReply {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl NoReply {
            /// Every reason, in the order of the pipeline.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name, lower case with hyphens; stable.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// Shorter than the fixed header.
    Truncated = "truncated",
    /// No magic cookie after the header: not DHCP.
    NoCookie = "no-cookie",
    /// `op` is not BOOTREQUEST: another server's reply, or an echo of ours.
    NotARequest = "not-a-request",
    /// `hlen` is above 16.
    HardwareLength = "hardware-length",
    /// The message ends within an option that half of is worth nothing: an address, an identity, a number.
    CutShort = "cut-short",
    /// No message type: a BOOTP client.
    Bootp = "bootp",
    /// A message type that clients do not send, or that does not exist.
    MessageType = "message-type",
    /// The client, or the circuit it is on, sends more messages than it may.
    RateLimited = "rate-limited",
    /// The receiving interface is not one that is served.
    UnknownLink = "unknown-link",
    /// `giaddr` lies in no scope.
    UnknownRelay = "unknown-relay",
    /// The client chose a subnet (RFC 3011) that lies in no scope.
    UnknownSubnet = "unknown-subnet",
    /// The interface has no scope, and the message names none.
    NoScope = "no-scope",
    /// The scope is for recognised phones, or for those of the inventory, and this client is none.
    NotServed = "not-served",
    /// Neither a client identifier nor a hardware address: nobody a lease could belong to.
    NoIdentity = "no-identity",
    /// A client identifier of type 255 that ends before its DUID: as much as clients have in common (RFC 4361).
    NoDuid = "no-duid",
    /// A client identifier longer than any real one.
    ClientIdTooLong = "client-id-too-long",
    /// The client chose another server; our offer to it is withdrawn.
    OtherServer = "other-server",
    /// A REQUEST, DECLINE or RELEASE that names no address.
    NoAddress = "no-address",
    /// A REQUEST by a client without a record here: one that has rebooted (RFC 2131, 4.3.2: remain silent), or one that
    /// asks any server to extend its lease, where this one has no authority to.
    UnknownClient = "unknown-client",
    /// The client may not use the address, but the scope is not authoritative and knows nothing of either.
    NotAuthoritative = "not-authoritative",
    /// It asks for an address that it was not offered and did not have lately: there is an answer once it is known
    /// whether somebody uses it.
    Probing = "probing",
    /// No address is free.
    PoolFull = "pool-full",
    /// The addresses that are free are the share that `reserved_share` leaves to the inventory and to clients that have
    /// been here before.
    ReservedShare = "reserved-share",
    /// An earlier change of this client's lease is not durable yet; it will ask again.
    Unsettled = "unsettled",
    /// The client was given another address while its REQUEST waited for a probe.
    Superseded = "superseded",
    /// A RELEASE or DECLINE from a client that does not hold the address.
    NotHolder = "not-holder",
    /// An INFORM that has no address to be answered to.
    NoReturnAddress = "no-return-address",
    /// The lease was given back; there is no reply to a RELEASE.
    Released = "released",
    /// The address is withheld; there is no reply to a DECLINE.
    Declined = "declined",
}

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let names: HashSet<_> = NoReply::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), NoReply::ALL.len());
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
    }
}
