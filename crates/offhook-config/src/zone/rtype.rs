//! Record types by name and number (IANA, DNS resource record types).

/// Types that have a name; those that a zone cannot hold are not among them.
const NAMES: [(&str, u16); 58] = [
    ("A", 1),
    ("NS", 2),
    ("MD", 3),
    ("MF", 4),
    ("CNAME", 5),
    ("SOA", 6),
    ("MB", 7),
    ("MG", 8),
    ("MR", 9),
    ("NULL", 10),
    ("WKS", 11),
    ("PTR", 12),
    ("HINFO", 13),
    ("MINFO", 14),
    ("MX", 15),
    ("TXT", 16),
    ("RP", 17),
    ("AFSDB", 18),
    ("X25", 19),
    ("ISDN", 20),
    ("RT", 21),
    ("NSAP", 22),
    ("SIG", 24),
    ("KEY", 25),
    ("PX", 26),
    ("GPOS", 27),
    ("AAAA", 28),
    ("LOC", 29),
    ("SRV", 33),
    ("NAPTR", 35),
    ("KX", 36),
    ("CERT", 37),
    ("DNAME", 39),
    ("APL", 42),
    ("DS", 43),
    ("SSHFP", 44),
    ("IPSECKEY", 45),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("DHCID", 49),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("TLSA", 52),
    ("SMIMEA", 53),
    ("HIP", 55),
    ("CDS", 59),
    ("CDNSKEY", 60),
    ("OPENPGPKEY", 61),
    ("CSYNC", 62),
    ("ZONEMD", 63),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("EUI48", 108),
    ("EUI64", 109),
    ("URI", 256),
    ("CAA", 257),
];

/// The number of a type: by its name, or as `TYPE123` (RFC 3597 section 5).
pub(crate) fn rtype(text: &str) -> Option<u16> {
    let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    named.map(|(_, number)| *number).or_else(|| {
        let (name, number) = text.split_at_checked(4)?;
        let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
        (name.eq_ignore_ascii_case("TYPE") && is_number).then(|| number.parse().ok())?
    })
}

/// The name of a type, or `TYPE123`.
pub(crate) fn name_of_type(rtype: u16) -> String {
    match NAMES.iter().find(|(_, number)| *number == rtype) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("TYPE{rtype}"),
    }
}

/// Every name.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

/// Whether no zone can hold records of this type (RFC 6895 section 3.1: 0, OPT, and what only questions and
/// messages have).
pub(super) fn is_meta(rtype: u16) -> bool {
    matches!(rtype, 0 | 41 | 65535) || ((128..=255).contains(&rtype))
}

/// Whether a record of this type is of no use, because it is part of a signature over a zone that is not ours to
/// sign: SIG, RRSIG, NSEC, DNSKEY, NSEC3, NSEC3PARAM, CDS, CDNSKEY, ZONEMD.
pub(super) fn is_of_a_signature(rtype: u16) -> bool {
    matches!(rtype, 24 | 46 | 47 | 48 | 50 | 51 | 59 | 60 | 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_by_name_and_by_number() {
        for (text, number) in [("a", 1), ("NAPTR", 35), ("Type35", 35), ("TYPE65280", 65280)] {
            assert_eq!(rtype(text), Some(number), "{text}");
        }
        for text in ["", "TYPE", "TYPE65536", "TYPE-1", "TYPE+1", "IN", "AXFR", "ANY", "B"] {
            assert_eq!(rtype(text), None, "{text}");
        }
        assert_eq!((name_of_type(33), name_of_type(65280)), ("SRV".into(), "TYPE65280".into()));
        assert!(NAMES.is_sorted_by_key(|(_, number)| number));
        assert!(NAMES.iter().all(|(_, number)| !is_meta(*number)));
    }
}
