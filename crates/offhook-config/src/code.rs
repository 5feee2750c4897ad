//! The kinds of mistakes.

use std::fmt;

macro_rules! codes {
    ($($variant:ident $name:literal $description:literal)+) => {
        /// A kind of mistake, by a name that is stable over releases.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $description] $variant,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable name: `pool-outside-subnet`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it means, in one line.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description),+ }
            }
        }
    };
}

codes! {
    // The file and its syntax.
    UnreadableFile "unreadable-file" "The file cannot be read"
    NotUtf8 "not-utf8" "The file is not UTF-8 text"
    FileTooLarge "file-too-large" "The file is larger than any configuration"
    Syntax "syntax" "This is not TOML"
    DuplicateKey "duplicate-key" "A key or table is given twice"
    UnknownKey "unknown-key" "No such key or table"
    MissingKey "missing-key" "A required key or table is not there"
    WrongType "wrong-type" "A value of another type is expected"

    // Single values.
    EmptyValue "empty-value" "Empty where something is needed"
    BadAddress "bad-address" "Not an IPv4 address"
    BadIpv6Address "bad-ipv6-address" "Not an IPv6 address"
    BadListener "bad-listener" "Not an address to listen on"
    BadSubnet "bad-subnet" "Not a subnet, or one too small to lease from"
    BadRange "bad-range" "Not a range of addresses"
    BadMac "bad-mac" "Not a MAC address"
    BadOui "bad-oui" "Not the first three bytes of a MAC address"
    BadName "bad-name" "Not a domain name"
    BadInterface "bad-interface" "Not the name of a network interface"
    BadDuration "bad-duration" "Not a duration"
    OutOfRange "out-of-range" "A number or duration is too small or too large"
    BadTimeZone "bad-time-zone" "Not an IANA time zone"
    BadTimeOffset "bad-time-offset" "Not an offset from UTC"
    BadScheme "bad-scheme" "Not a scheme that phones are provisioned by"
    BadPath "bad-path" "Not a file name inside the TFTP root"
    BadHex "bad-hex" "Not hexadecimal bytes"
    BadChoice "bad-choice" "Not one of the words that are allowed here"
    BadRoute "bad-route" "Not a classless route"

    // Options.
    UnknownOption "unknown-option" "No DHCP option of that name or number"
    OptionNotSettable "option-not-settable" "The server sets this option itself"
    OptionTooLong "option-too-long" "The payload does not fit into a DHCP message"
    OptionTwice "option-twice" "One option under two names"
    NotDerivable "not-derivable" "A class can give only what the site's facts provide"

    // Names that refer to something.
    UnknownHost "unknown-host" "No host of that name"
    UnknownScope "unknown-scope" "No scope of that name"
    UnknownClass "unknown-class" "No class of that name"

    // Things that may be there only once.
    DuplicateHost "duplicate-host" "Two hosts or switchovers of one name"
    DuplicateAddress "duplicate-address" "Two hosts or phones with one address"
    DuplicateScope "duplicate-scope" "Two scopes of one name"
    DuplicateInterface "duplicate-interface" "Two scopes on one interface"
    DuplicateVlan "duplicate-vlan" "Two scopes with one VLAN"
    DuplicateClass "duplicate-class" "Two classes of one name"
    DuplicatePhone "duplicate-phone" "Two phones with one MAC address or host name"
    DuplicateListener "duplicate-listener" "Two listeners on one address and port"

    // Scopes.
    NoScope "no-scope" "There is no scope to lease addresses from"
    OverlappingScopes "overlapping-scopes" "Two scopes share addresses"
    OverlappingPools "overlapping-pools" "Two pools share addresses"
    PoolOutsideSubnet "pool-outside-subnet" "A pool leaves the subnet of its scope"
    PoolHoldsAddress "pool-holds-address" "A pool holds the address of a host, router or listener"
    PoolHoldsNetwork "pool-holds-network" "A pool holds the network or broadcast address"
    ExcludeOutsidePools "exclude-outside-pools" "An excluded address is in no pool"
    ExcludeTooLarge "exclude-too-large" "Too many excluded addresses"
    RouterOutsideSubnet "router-outside-subnet" "A router that its scope cannot reach"
    ScopeWithoutAddresses "scope-without-addresses" "A scope in which nobody can have an address"
    ShortLease "short-lease" "Leases so short that renewals are most of the traffic"
    LeaseTimes "lease-times" "Lease times that contradict each other or have no effect"
    SharedNetworkAlone "shared-network-alone" "A shared network of a single scope"
    SharedNetworkMismatch "shared-network-mismatch" "Scopes of one shared network on different links"
    VoiceWithoutVlan "voice-without-vlan" "The voice scope of a native scope has no VLAN"
    VoiceScopeWithVoice "voice-scope-with-voice" "A tagged scope that names a voice scope"
    NativeWithoutVoice "native-without-voice" "A native scope with phones, and no way for them into the voice VLAN"

    // Records.
    BadRecord "bad-record" "A record whose name, TTL or data is wrong"
    UnknownRecordType "unknown-record-type" "Not a type of record that a zone can hold"
    RecordOutsideZone "record-outside-zone" "A record whose name is in none of the site's zones"
    RecordConflict "record-conflict" "Records that cannot be together"
    DuplicateRecord "duplicate-record" "A record that is there twice"
    RecordTtl "record-ttl" "Records of one name and type with different TTLs"
    RecordOccluded "record-occluded" "A record below a delegation, which nobody is answered with"
    RecordTarget "record-target" "A record that points to a name without address"
    AliasLoop "alias-loop" "Aliases that lead back to themselves"
    SignedZone "signed-zone" "A zone file with signatures, which are not served"
    ZoneFileSyntax "zone-file-syntax" "A zone file that is not in master-file format"
    ZoneFileUnreadable "zone-file-unreadable" "A zone file cannot be read"

    // Names and times.
    ZoneAndOffset "time-zone-and-offset" "Both a time zone and a time offset"
    Both4And42 "both-4-and-42" "A client would be given time servers in both option 4 and option 42"
    TimeServerUnresolvable "time-server-unresolvable" "A time server's name has no address in the zone"
    HostOutsideZone "host-outside-zone" "A host or switchover with a name that is not in the zone"
    ForwardOwnAddresses "forward-own-addresses" "Names of a scope's addresses are to be forwarded, and are not"
    ForwardOwnZone "forward-own-zone" "The site's own zone is forwarded to somebody else"
    SwitchoverEmpty "switchover-empty" "A switchover without hosts"
    SwitchoverSingle "switchover-single" "A switchover with one host"
    SwitchoverShared "switchover-shared" "Two switchovers whose SRV records phones cannot tell apart"
    SwitchoverHostTwice "switchover-host-twice" "One host twice in a switchover"
    ProbePort "probe-port" "A probe of a switchover's servers that has no port to go to"
    ProbeTimes "probe-times" "Times of a probe that contradict each other"
    ProbePath "probe-path" "Not a path that a probe asks for"
    SrvTargetWithoutAddress "srv-target-without-address" "An SRV record would point to a name without address"
    ProvisioningUnresolvable "provisioning-unresolvable" "The host of option 160 has no address that phones could find"
    UnusableAddress "unusable-address" "An address that no machine can have, or that no phone reaches"
    ForwardToSelf "forward-to-self" "Names forwarded to this very server"
    BadProvisioningUrl "bad-provisioning-url" "Not a URL that phones can be provisioned from"
    UnspecifiedListener "unspecified-listener" "A listener on 0.0.0.0, which cannot be told to a phone"
    NonstandardPort "nonstandard-port" "A listener on a port that no phone asks"
    DnsUnreachable "dns-unreachable" "A scope whose clients cannot reach the DNS server"
    ScopeNotAllowed "scope-not-allowed" "A scope whose clients the DNS server refuses to answer"
    OpenResolver "open-resolver" "A DNS server that asks others for anybody"
    TftpUnreachable "tftp-unreachable" "A scope whose phones cannot reach the TFTP server"

    // Classes, phones and firmware.
    ClassNeverMatches "class-never-matches" "A class that nothing is recognised by"
    TftpForPolycom "tftp-for-polycom" "TFTP or VLAN options for phones that must not have them"
    VlanOptionInVoiceScope "vlan-option-in-voice-scope" "Option 132 in a scope that is a VLAN itself"
    VendorOptionForEveryone "vendor-option-for-everyone" "An option whose meaning differs by vendor, sent to everybody"
    PhoneAddressOutsideScopes "phone-address-outside-scopes" "A phone's address is in no scope"
    PhoneAddressTaken "phone-address-taken" "A phone's address belongs to something else"
    InventoryUnreadable "inventory-unreadable" "A phone list cannot be read"
    InventoryColumns "inventory-columns" "A phone list without a column for addresses"
    InventoryRow "inventory-row" "A row of a phone list that cannot be used"
    FirmwareRootMissing "firmware-root-missing" "The TFTP root does not exist"
    FirmwareMissing "firmware-missing" "A firmware image is not in the TFTP root"
    FirmwareEmpty "firmware-empty" "A firmware image has nothing in it"
    FirmwareTooLong "firmware-too-long" "A firmware image of more blocks than some phones can count"
    FirmwareDigest "firmware-digest" "A firmware image is not what its digest says"
    FirmwareSums "firmware-sums" "The list of digests in the TFTP root cannot be read"
    BadUpstream "bad-upstream" "Not a URL that images can be fetched from"
    BadSize "bad-size" "Not a size"
    UpstreamUnresolvable "upstream-unresolvable" "The host that images are fetched from has no address"
    UpstreamUnused "upstream-unused" "A key about fetching images that does nothing"
    UpstreamCa "upstream-ca" "The certificates for fetching images cannot be read"
    CacheInRoot "cache-in-root" "The cache of images is where phones could ask for its files"
    UpstreamSizes "upstream-sizes" "Images may be larger than the cache for them"
    FirmwareAmbiguous "firmware-ambiguous" "Several files match a firmware image but for letter case"
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for name in names {
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        }
    }

    #[test]
    fn descriptions_are_one_line_without_a_full_stop() {
        for code in Code::ALL {
            assert!(!code.description().ends_with('.') && !code.description().contains('\n'));
        }
    }
}
