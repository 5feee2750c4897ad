//! Names and types of DHCP options: RFC 2132, the IANA registry of BOOTP and DHCP parameters, the two codes the guide
//! gives a meaning to (132 and 160), and two of Microsoft's (249 and 252). What the registry has several meanings for
//! has the telephone's name and no type.

mod aliases;

/// The form of an option's payload, which decides how the configuration writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing.
    Empty,
    /// One IPv4 address.
    Address,
    /// One or more IPv4 addresses.
    Addresses,
    /// One IPv6 address.
    Ipv6,
    /// One byte, 0 or 1.
    Bool,
    /// An unsigned byte.
    U8,
    /// An unsigned 16-bit number, big-endian.
    U16,
    /// One or more unsigned 16-bit numbers.
    U16List,
    /// An unsigned 32-bit number; durations are in seconds.
    U32,
    /// A signed 32-bit number.
    I32,
    /// Text without a trailing NUL.
    Text,
    /// Domain names in DNS wire form, compressed (RFC 3397).
    Domains,
    /// Domain names in DNS wire form, each in full: most options forbid compression, or do not mention it.
    PlainDomains,
    /// Classless routes (RFC 3442).
    Routes,
    /// One or more bytes.
    U8List,
    /// Domain names or addresses, after a byte that says which (RFC 3361).
    SipServers,
    /// Whether they are mandatory, and addresses (RFC 2610, section 3).
    DirectoryAgents,
    /// Whether they are mandatory, and text (RFC 2610, section 4).
    ServiceScopes,
    /// The addresses of each server after a byte with their length (RFC 7291).
    PcpServer,
    /// URIs, each after its length in two bytes (RFC 8572).
    Uris,
    /// Code, length, payload each: option 43 (RFC 2132, 8.4) and others.
    Suboptions,
    /// Data by enterprise number (RFC 3925, section 3).
    VendorClasses,
    /// Sub-options by enterprise number (RFC 3925, section 4).
    VendorOptions,
    /// Bytes that this registry does not look into.
    Bytes,
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionDef {
    /// The code, 1 to 254.
    pub code: u8,
    /// The name, lower case with hyphens.
    pub name: &'static str,
    /// The form of the payload.
    pub kind: Kind,
}

/// Every option with a name here, lowest code first.
pub const OPTIONS: &[OptionDef] = &[
    option(1, "subnet-mask", Kind::Address),
    option(2, "time-offset", Kind::I32),
    option(3, "routers", Kind::Addresses),
    option(4, "time-servers", Kind::Addresses),
    option(5, "name-servers", Kind::Addresses),
    option(6, "domain-name-servers", Kind::Addresses),
    option(7, "log-servers", Kind::Addresses),
    option(8, "cookie-servers", Kind::Addresses),
    option(9, "lpr-servers", Kind::Addresses),
    option(10, "impress-servers", Kind::Addresses),
    option(11, "resource-location-servers", Kind::Addresses),
    option(12, "host-name", Kind::Text),
    option(13, "boot-size", Kind::U16),
    option(14, "merit-dump", Kind::Text),
    option(15, "domain-name", Kind::Text),
    option(16, "swap-server", Kind::Address),
    option(17, "root-path", Kind::Text),
    option(18, "extensions-path", Kind::Text),
    option(19, "ip-forwarding", Kind::Bool),
    option(20, "non-local-source-routing", Kind::Bool),
    option(21, "policy-filter", Kind::Addresses),
    option(22, "max-dgram-reassembly", Kind::U16),
    option(23, "default-ip-ttl", Kind::U8),
    option(24, "path-mtu-aging-timeout", Kind::U32),
    option(25, "path-mtu-plateau-table", Kind::U16List),
    option(26, "interface-mtu", Kind::U16),
    option(27, "all-subnets-local", Kind::Bool),
    option(28, "broadcast-address", Kind::Address),
    option(29, "perform-mask-discovery", Kind::Bool),
    option(30, "mask-supplier", Kind::Bool),
    option(31, "router-discovery", Kind::Bool),
    option(32, "router-solicitation-address", Kind::Address),
    option(33, "static-routes", Kind::Addresses),
    option(34, "trailer-encapsulation", Kind::Bool),
    option(35, "arp-cache-timeout", Kind::U32),
    option(36, "ieee802-3-encapsulation", Kind::Bool),
    option(37, "default-tcp-ttl", Kind::U8),
    option(38, "tcp-keepalive-interval", Kind::U32),
    option(39, "tcp-keepalive-garbage", Kind::Bool),
    option(40, "nis-domain", Kind::Text),
    option(41, "nis-servers", Kind::Addresses),
    option(42, "ntp-servers", Kind::Addresses),
    option(43, "vendor-encapsulated-options", Kind::Suboptions),
    option(44, "netbios-name-servers", Kind::Addresses),
    option(45, "netbios-dd-server", Kind::Addresses),
    option(46, "netbios-node-type", Kind::U8),
    option(47, "netbios-scope", Kind::Text),
    option(48, "font-servers", Kind::Addresses),
    option(49, "x-display-manager", Kind::Addresses),
    option(50, "requested-ip-address", Kind::Address),
    option(51, "ip-address-lease-time", Kind::U32),
    option(52, "option-overload", Kind::U8),
    option(53, "dhcp-message-type", Kind::U8),
    option(54, "server-identifier", Kind::Address),
    option(55, "parameter-request-list", Kind::Bytes),
    option(56, "message", Kind::Text),
    option(57, "maximum-dhcp-message-size", Kind::U16),
    option(58, "renewal-time-value", Kind::U32),
    option(59, "rebinding-time-value", Kind::U32),
    option(60, "vendor-class-identifier", Kind::Bytes),
    option(61, "client-identifier", Kind::Bytes),
    option(62, "nwip-domain-name", Kind::Text),
    option(63, "nwip-suboptions", Kind::Suboptions),
    option(64, "nisplus-domain", Kind::Text),
    option(65, "nisplus-servers", Kind::Addresses),
    option(66, "tftp-server-name", Kind::Text),
    option(67, "bootfile-name", Kind::Text),
    option(68, "mobile-ip-home-agent", Kind::Addresses),
    option(69, "smtp-server", Kind::Addresses),
    option(70, "pop3-server", Kind::Addresses),
    option(71, "nntp-server", Kind::Addresses),
    option(72, "www-server", Kind::Addresses),
    option(73, "finger-server", Kind::Addresses),
    option(74, "irc-server", Kind::Addresses),
    option(75, "streettalk-server", Kind::Addresses),
    option(76, "streettalk-directory-assistance-server", Kind::Addresses),
    option(77, "user-class", Kind::Bytes),
    option(78, "slp-directory-agent", Kind::DirectoryAgents),
    option(79, "slp-service-scope", Kind::ServiceScopes),
    option(80, "rapid-commit", Kind::Empty),
    option(81, "client-fqdn", Kind::Bytes),
    option(82, "relay-agent-information", Kind::Bytes),
    option(83, "isns", Kind::Bytes),
    option(85, "nds-servers", Kind::Addresses),
    option(86, "nds-tree-name", Kind::Text),
    option(87, "nds-context", Kind::Text),
    option(88, "bcms-controller-names", Kind::PlainDomains),
    option(89, "bcms-controller-address", Kind::Addresses),
    option(90, "authentication", Kind::Bytes),
    option(91, "client-last-transaction-time", Kind::U32),
    option(92, "associated-ip", Kind::Addresses),
    option(93, "client-system", Kind::U16List),
    option(94, "client-ndi", Kind::Bytes),
    option(95, "ldap", Kind::Text),
    option(97, "uuid-guid", Kind::Bytes),
    option(98, "uap-servers", Kind::Text),
    option(99, "geoconf-civic", Kind::Bytes),
    option(100, "pcode", Kind::Text),
    option(101, "tcode", Kind::Text),
    option(108, "ipv6-only-preferred", Kind::U32),
    option(109, "dhcp4o6-s46-saddr", Kind::Ipv6),
    option(112, "netinfo-server-address", Kind::Addresses),
    option(113, "netinfo-server-tag", Kind::Text),
    option(114, "captive-portal", Kind::Text),
    option(116, "auto-config", Kind::U8),
    option(117, "name-service-search", Kind::U16List),
    option(118, "subnet-selection", Kind::Address),
    option(119, "domain-search", Kind::Domains),
    option(120, "sip-servers", Kind::SipServers),
    option(121, "classless-static-route", Kind::Routes),
    option(122, "cablelabs-client-configuration", Kind::Suboptions),
    option(123, "geoconf", Kind::Bytes),
    option(124, "vendor-identifying-vendor-class", Kind::VendorClasses),
    option(125, "vendor-identifying-vendor-options", Kind::VendorOptions),
    option(128, "tftp-server-ip-address", Kind::Bytes),
    option(129, "call-server-ip-address", Kind::Bytes),
    option(130, "discrimination-string", Kind::Bytes),
    option(131, "remote-statistics-server-ip-address", Kind::Bytes),
    option(132, "vlan-id", Kind::Text),
    option(133, "layer-2-priority", Kind::Bytes),
    option(134, "diffserv-code-point", Kind::Bytes),
    option(135, "http-proxy", Kind::Bytes),
    option(136, "pana-agent", Kind::Addresses),
    option(137, "v4-lost", Kind::PlainDomains),
    option(138, "capwap-ac-v4", Kind::Addresses),
    option(139, "mos-addresses", Kind::Suboptions),
    option(140, "mos-fqdns", Kind::Suboptions),
    option(141, "sip-ua-cs-domains", Kind::PlainDomains),
    option(142, "andsf-addresses", Kind::Addresses),
    option(143, "sztp-redirect", Kind::Uris),
    option(144, "geoloc", Kind::Bytes),
    option(145, "forcerenew-nonce-capable", Kind::U8List),
    option(146, "rdnss-selection", Kind::Bytes),
    option(147, "dots-reference-identifier", Kind::PlainDomains),
    option(148, "dots-addresses", Kind::Addresses),
    option(150, "tftp-server-address", Kind::Addresses),
    option(151, "status-code", Kind::Bytes),
    option(152, "base-time", Kind::U32),
    option(153, "start-time-of-state", Kind::U32),
    option(154, "query-start-time", Kind::U32),
    option(155, "query-end-time", Kind::U32),
    option(156, "dhcp-state", Kind::U8),
    option(157, "data-source", Kind::Bytes),
    option(158, "pcp-server", Kind::PcpServer),
    option(159, "v4-portparams", Kind::Bytes),
    option(160, "provisioning-url", Kind::Text),
    option(161, "mud-url", Kind::Text),
    option(162, "dns-resolvers", Kind::Bytes),
    option(175, "etherboot", Kind::Bytes),
    option(176, "ip-telephone", Kind::Bytes),
    option(177, "packetcable-and-cablehome", Kind::Bytes),
    option(208, "pxelinux-magic", Kind::Bytes),
    option(209, "configuration-file", Kind::Text),
    option(210, "path-prefix", Kind::Text),
    option(211, "reboot-time", Kind::U32),
    option(212, "sixrd", Kind::Bytes),
    option(213, "v4-access-domain", Kind::PlainDomains),
    option(220, "subnet-allocation", Kind::Bytes),
    option(221, "virtual-subnet-selection", Kind::Bytes),
    option(249, "ms-classless-static-route", Kind::Routes),
    option(252, "wpad-url", Kind::Bytes),
];

const fn option(code: u8, name: &'static str, kind: Kind) -> OptionDef {
    OptionDef { code, name, kind }
}

/// The option with this code.
pub fn by_code(code: u8) -> Option<&'static OptionDef> {
    let found = OPTIONS.binary_search_by_key(&code, |option| option.code).ok()?;
    OPTIONS.get(found)
}

/// The option with this name, or with one that the IANA list, RFC 2132 or another server has for it. Letter case and
/// what is no letter or digit do not count, nor whether it is one server or several, nor the word "option" around it.
pub fn by_name(name: &str) -> Option<&'static OptionDef> {
    let name = plain(name);
    let bare = name.strip_prefix("option-").unwrap_or(&name);
    let bare = bare.strip_suffix("-option").unwrap_or(bare);
    let singular = bare.strip_suffix('s').unwrap_or(bare);
    [&name, bare, &format!("{bare}s"), singular].into_iter().find_map(|name| {
        let own = OPTIONS.iter().find(|option| option.name == name);
        own.or_else(|| by_code(aliases::ALIASES.iter().find(|(alias, _)| *alias == name)?.1))
    })
}

/// Words in lower case with a hyphen between them. `NIS+` is no `NIS`.
fn plain(name: &str) -> String {
    let text = name.replace('+', "plus").to_ascii_lowercase();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// Every name there is, those of other lists first.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    let own = OPTIONS.iter().map(|option| option.name);
    aliases::ALIASES.iter().map(|(alias, _)| *alias).chain(own)
}

#[cfg(test)]
mod tests {
    use super::aliases::ALIASES;
    use super::*;

    #[test]
    fn names_are_found_as_the_registry_and_the_rfc_write_them() {
        for (name, code) in [
            ("Forward On/Off", 19),
            ("NetWare/IP Domain", 62),
            ("BCMCS Controller IPv4 address option", 89),
            ("associated-ip option", 92),
            ("UUID/GUID", 97),
            ("GEOCONF_CIVIC", 99),
            ("V-I Vendor-Specific Information", 125),
            ("IEEE 802.1Q VLAN ID", 132),
            ("OPTION-IPv4_Address-MoS", 139),
            ("OPTION_V4_DNR", 162),
            ("Virtual Subnet Selection (VSS) Option", 221),
            ("Router Option", 3),
            ("IP Forwarding Enable/Disable Option", 19),
            ("NetBIOS over TCP/IP Name Server Option", 44),
            ("Network Information Service Domain Option", 40),
            ("Network Information Service+ Domain Option", 64),
            ("Renewal (T1) Time Value", 58),
            ("ntp-server", 42),
            ("nntp-servers", 71),
            ("tftp-server", 66),
            ("dns-server", 6),
        ] {
            assert_eq!(by_name(name).map(|option| option.code), Some(code), "{name}");
        }
        assert_eq!(by_name("option"), None);
        assert_eq!(by_name(""), None);
    }

    #[test]
    fn codes_rise_and_names_are_unique() {
        assert!(OPTIONS.is_sorted_by(|a, b| a.code < b.code));
        for option in OPTIONS {
            assert_eq!(by_name(option.name), Some(option));
            assert_eq!(by_code(option.code), Some(option));
        }
        for (alias, code) in ALIASES {
            assert_eq!(by_name(alias), by_code(*code), "{alias}");
            assert!(by_code(*code).is_some_and(|option| option.name != *alias), "{alias}");
            assert_eq!(ALIASES.iter().filter(|(other, _)| other == alias).count(), 1, "{alias}");
        }
        // What is one name without its plural is one option.
        let stem = |name: &str| name.strip_suffix('s').unwrap_or(name).to_owned();
        for (one, other) in names().flat_map(|one| names().map(move |other| (one, other))) {
            assert!(stem(one) != stem(other) || by_name(one) == by_name(other), "{one} {other}");
        }
        assert!(names().all(|name| name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'))));
        assert_eq!(by_code(0), None);
        assert_eq!(by_code(255), None);
    }
}
