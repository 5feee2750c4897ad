//! Codes of the options that the server itself reads or writes; `offhook_model::registry` names the others.

/// Filler without a length (RFC 2132, 3.1).
pub const PAD: u8 = 0;
/// Subnet mask.
pub const SUBNET_MASK: u8 = 1;
/// Default gateways.
pub const ROUTERS: u8 = 3;
/// DNS servers.
pub const DNS_SERVERS: u8 = 6;
/// Host name.
pub const HOST_NAME: u8 = 12;
/// Domain name.
pub const DOMAIN_NAME: u8 = 15;
/// Routes of whole classes of networks.
pub const STATIC_ROUTES: u8 = 33;
/// Address the client asks for.
pub const REQUESTED_ADDRESS: u8 = 50;
/// Lease time, seconds.
pub const LEASE_TIME: u8 = 51;
/// Which of `file` and `sname` hold options.
pub const OVERLOAD: u8 = 52;
/// Message type.
pub const MESSAGE_TYPE: u8 = 53;
/// Server identifier.
pub const SERVER_ID: u8 = 54;
/// Parameter request list.
pub const REQUEST_LIST: u8 = 55;
/// Text that explains a NAK.
pub const MESSAGE: u8 = 56;
/// Longest message the client takes.
pub const MAX_SIZE: u8 = 57;
/// T1, seconds.
pub const RENEWAL_TIME: u8 = 58;
/// T2, seconds.
pub const REBINDING_TIME: u8 = 59;
/// Vendor class identifier.
pub const VENDOR_CLASS: u8 = 60;
/// Client identifier.
pub const CLIENT_ID: u8 = 61;
/// TFTP server name.
pub const TFTP_SERVER: u8 = 66;
/// Boot file name.
pub const BOOT_FILE: u8 = 67;
/// User class (RFC 3004).
pub const USER_CLASS: u8 = 77;
/// Client FQDN (RFC 4702).
pub const FQDN: u8 = 81;
/// Relay agent information (RFC 3046).
pub const RELAY_AGENT: u8 = 82;
/// Sub-option of 82: the circuit a request came in on.
pub const CIRCUIT_ID: u8 = 1;
/// Sub-option of 82: the remote end of that circuit.
pub const REMOTE_ID: u8 = 2;
/// Sub-option of 82: the subnet a lease is to be from, where giaddr is not in it (RFC 3527).
pub const LINK_SELECTION: u8 = 5;
/// Sub-option of 82: the server identifier clients are to be told, so that they write to the relay (RFC 5107).
pub const SERVER_ID_OVERRIDE: u8 = 11;
/// How long a client may do without IPv4 (RFC 8925).
pub const IPV6_ONLY: u8 = 108;
/// The subnet a client wants an address of (RFC 3011).
pub const SUBNET_SELECTION: u8 = 118;
/// Classless static routes (RFC 3442).
pub const CLASSLESS_ROUTES: u8 = 121;
/// Vendor-identifying vendor class (RFC 3925).
pub const VENDOR_CLASS_BY_ENTERPRISE: u8 = 124;
/// Vendor-identifying vendor-specific information (RFC 3925).
pub const VENDOR_OPTIONS_BY_ENTERPRISE: u8 = 125;
/// The end of the options.
pub const END: u8 = 255;

/// Whether the server alone decides about an option: no rule of the configuration may set it.
pub const fn is_server_managed(code: u8) -> bool {
    matches!(
        code,
        PAD | REQUESTED_ADDRESS
            ..=REQUEST_LIST
                | MAX_SIZE
                | RENEWAL_TIME
                | REBINDING_TIME
                | CLIENT_ID
                | FQDN
                | RELAY_AGENT
                | SUBNET_SELECTION
                | END
    )
}
