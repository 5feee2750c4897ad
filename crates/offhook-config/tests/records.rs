//! Records of the configuration and of zone files: what becomes of them, and where their mistakes are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use offhook_config::{Files, Loaded, parse};
use offhook_model::{Record, Time};
use proptest::prelude::*;

/// Files by their paths.
struct Disk(BTreeMap<PathBuf, String>);

impl Files for Disk {
    fn list(&self, _: &Path) -> Option<Vec<String>> {
        None
    }

    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let text = self.0.get(path).ok_or(std::io::ErrorKind::NotFound)?;
        Ok(text.clone().into_bytes())
    }
}

const SITE: &str = "[site]
zone = \"lab.voip\"
[[scope]]
name = \"voice\"
vlan = 100
subnet = \"10.250.1.0/25\"
pools = [\"10.250.1.20-10.250.1.99\"]
router = \"10.250.1.1\"
[[host]]
name = \"vm40ic1\"
address = \"10.250.1.101\"
ipv6 = \"2001:db8::101\"
[[host]]
name = \"far\"
address = \"192.0.2.7\"
";

fn load(toml: &str, files: &[(&str, &str)]) -> Loaded {
    let files = files.iter().map(|(name, text)| (Path::new("/etc").join(name), (*text).to_owned()));
    parse("site.toml", Path::new("/etc"), toml, Time::default(), &Disk(files.collect()))
}

/// The records of a site with these tables.
fn with_tables(tables: &str) -> Loaded {
    load(&format!("{SITE}[dns]\nlisten = \"10.250.1.5\"\nttl = 600\n{tables}"), &[])
}

/// The records of a site with these zone files.
fn with_files(files: &[(&str, &str)]) -> Loaded {
    let names: Vec<_> =
        files.iter().map(|(name, _)| *name).filter(|name| !name.contains("inc")).collect();
    load(
        &format!("{SITE}[dns]\nlisten = \"10.250.1.5\"\nttl = 600\nzone_file = {names:?}\n"),
        files,
    )
}

/// A record as one reads it: data as text where it is text.
fn shown(record: &Record) -> String {
    format!("{} {} {} {}", record.owner, record.ttl, record.rtype, record.data.escape_ascii())
}

#[track_caller]
fn records(loaded: Loaded) -> Vec<String> {
    assert!(loaded.diagnostics.is_ok(), "{}", loaded.diagnostics.render(false));
    let site = loaded.site.expect("no errors");
    site.records.iter().map(shown).collect()
}

/// Code, file, line, column and length of each diagnostic.
fn mistakes(loaded: &Loaded) -> Vec<(&'static str, String, u32, u32, usize)> {
    let name = |file: &str| file.trim_start_matches("/etc/").to_owned();
    loaded
        .diagnostics
        .iter()
        .map(|d| (d.code.name(), name(&d.file), d.line, d.column, d.span.len()))
        .collect()
}

#[test]
fn a_table_is_a_record_for_each_value() {
    let loaded = with_tables(
        r#"
[[record]]
name = "Sip"
type = "a"
value = ["10.250.1.7", "10.250.1.8"]
ttl = "1m"
[[record]]
name = "_sip._udp.branch"
type = "SRV"
value = "10 50 5060 sip.example.com"
[[record]]
name = "*.door.lab.voip."
type = "CNAME"
value = "sip"
[[record]]
name = "@"
type = "TXT"
value = "v=spf1 -all; no comment"
[[record]]
name = "quoted"
type = "TXT"
value = '"two" "strings"'
[[record]]
name = "@"
type = "NAPTR"
value = '10 50 "s" "SIP+D2U" "" _sip._udp'
[[record]]
name = "10.250.1.7"
type = "PTR"
value = "sip"
[[record]]
name = "2001:db8::101"
type = "PTR"
value = "Sip.Lab.Voip."
[[record]]
name = "9.1.250.10.in-addr.arpa"
type = "PTR"
value = "sip"
[[record]]
name = "opaque"
type = "TYPE65280"
value = '\# 3 0a 0b0c'
ttl = 0
"#,
    );
    assert_eq!(
        records(loaded),
        [
            r"sip.lab.voip. 60 1 \n\xfa\x01\x07",
            r"sip.lab.voip. 60 1 \n\xfa\x01\x08",
            r"_sip._udp.branch.lab.voip. 600 33 \x00\n\x002\x13\xc4\x03sip\x07example\x03com\x00",
            r"*.door.lab.voip. 600 5 \x03sip\x03lab\x04voip\x00",
            r"lab.voip. 600 16 \x17v=spf1 -all; no comment",
            r"quoted.lab.voip. 600 16 \x03two\x07strings",
            r"lab.voip. 600 35 \x00\n\x002\x01s\x07SIP+D2U\x00\x04_sip\x04_udp\x03lab\x04voip\x00",
            r"7.1.250.10.in-addr.arpa. 600 12 \x03sip\x03lab\x04voip\x00",
            &format!(
                r"1.0.1.{}8.b.d.0.1.0.0.2.ip6.arpa. 600 12 \x03Sip\x03Lab\x04Voip\x00",
                "0.".repeat(21)
            ),
            r"9.1.250.10.in-addr.arpa. 600 12 \x03sip\x03lab\x04voip\x00",
            r"opaque.lab.voip. 0 65280 \n\x0b\x0c",
        ]
    );
}

#[test]
fn a_zone_file_is_read_as_the_standard_has_it() {
    let zone = "\u{feff}; the lab\r
@ IN 1h SOA ns1 hostmaster (\r
        7      ; serial\r
        1h 10m 1w 5m )\r
  NS ns1\r
$TTL 120
ns1 IN A 10.250.1.5
    300 IN AAAA 2001:db8::5
    IN 300 TXT \"a;b\" c\\ d \"\\\"\\065\"
a.b CNAME ns1.lab.voip.
$ORIGIN branch
@ CLASS1 type1 \\# 4 0a 000001
$INCLUDE inc.zone sub
last A 10.250.1.9
    MX 10 @
\\$x A 10.250.1.9
*   A 10.250.1.9
x\\.y.lab.voip. A 10.250.1.9
$ORIGIN 1.250.10.in-addr.arpa.
101 PTR other.lab.voip.
";
    let inc = "here A 10.250.1.1\n$ORIGIN else.lab.voip.\n$TTL 9\nthere A 10.250.1.2\n";
    let loaded = with_files(&[("lab.zone", zone), ("inc.zone", inc)]);
    assert!(loaded.diagnostics.iter().next().is_none(), "{}", loaded.diagnostics.render(false));
    assert_eq!(
        records(loaded),
        [
            r"lab.voip. 3600 6 \x03ns1\x03lab\x04voip\x00\nhostmaster\x03lab\x04voip\x00\x00\x00\x00\x07\x00\x00\x0e\x10\x00\x00\x02X\x00\t:\x80\x00\x00\x01,",
            r"lab.voip. 3600 2 \x03ns1\x03lab\x04voip\x00",
            r"ns1.lab.voip. 120 1 \n\xfa\x01\x05",
            r"ns1.lab.voip. 300 28  \x01\r\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05",
            r#"ns1.lab.voip. 300 16 \x03a;b\x03c d\x02\"A"#,
            r"a.b.lab.voip. 120 5 \x03ns1\x03lab\x04voip\x00",
            r"branch.lab.voip. 120 1 \n\x00\x00\x01",
            r"here.sub.branch.lab.voip. 600 1 \n\xfa\x01\x01",
            r"there.else.lab.voip. 9 1 \n\xfa\x01\x02",
            r"last.branch.lab.voip. 120 1 \n\xfa\x01\t",
            r"last.branch.lab.voip. 120 15 \x00\n\x06branch\x03lab\x04voip\x00",
            r"\$x.branch.lab.voip. 120 1 \n\xfa\x01\t",
            r"*.branch.lab.voip. 120 1 \n\xfa\x01\t",
            r"x\.y.lab.voip. 120 1 \n\xfa\x01\t",
            r"101.1.250.10.in-addr.arpa. 120 12 \x05other\x03lab\x04voip\x00",
        ]
        .map(|line| line.to_owned())
    );
}

#[test]
fn a_file_of_another_kind_is_not_told_line_by_line() {
    let loaded = with_files(&[("notes.zone", &"dear diary ! today ...\n".repeat(5000))]);
    assert!(loaded.site.is_none());
    let lines: Vec<_> = mistakes(&loaded).into_iter().map(|mistake| mistake.2).collect();
    assert_eq!(lines, (1..=50).chain([50]).collect::<Vec<_>>());
    let last = loaded.diagnostics.iter().last().unwrap();
    assert_eq!(last.code.name(), "zone-file-syntax");
    assert!(last.hint.as_ref().is_some_and(|hint| hint.contains("is this a zone file?")));
}

#[test]
fn aliases_that_lead_to_a_loop_or_end_are_not_told() {
    let codes = |zone: &str| -> Vec<_> {
        mistakes(&with_files(&[("lab.zone", zone)])).iter().map(|it| (it.0, it.2)).collect()
    };
    assert_eq!(codes("a CNAME a\n"), [("alias-loop", 1)]);
    assert_eq!(codes("x CNAME a\na CNAME b\nb CNAME c\nc CNAME A\n"), [("alias-loop", 2)]);
    assert_eq!(codes("a CNAME b\nb CNAME c\nc A 10.250.1.9\n"), []);
}

#[test]
fn every_mistake_of_a_zone_file_has_its_line_and_column() {
    let zone = "    A 10.250.1.1
good A 10.250.1.1
a..b A 10.250.1.1
     A 10.250.1.2
x    A 10.250.1
x 99999999999 A 10.250.1.1
x    CH A 10.250.1.1
x    CNAM y
x    IN
x    MX ten y
x    TXT \"open
x    A ( 10.250.1.1
$GENERATE 1-9 a$ A 10.250.1.$
$TTL soon
$ORIGIN
$ORIGIN x y
$FOO
$INCLUDE inc-missing.zone
y    LOC 51 30 N
";
    let loaded = with_files(&[("bad.zone", zone)]);
    let at = |code, line, column, length| (code, "bad.zone".to_owned(), line, column, length);
    assert_eq!(
        mistakes(&loaded),
        [
            at("bad-record", 1, 5, 1),
            at("bad-record", 3, 1, 4),
            at("bad-record", 5, 8, 8),
            at("bad-record", 6, 3, 11),
            at("bad-record", 7, 6, 2),
            at("unknown-record-type", 8, 6, 4),
            at("bad-record", 9, 8, 0),
            at("bad-record", 10, 9, 3),
            at("zone-file-syntax", 11, 10, 1),
            at("zone-file-syntax", 12, 8, 1),
            at("zone-file-syntax", 13, 1, 9),
            at("zone-file-syntax", 14, 6, 4),
            at("zone-file-syntax", 15, 1, 7),
            at("zone-file-syntax", 16, 11, 1),
            at("zone-file-syntax", 17, 1, 4),
            at("zone-file-unreadable", 18, 10, 16),
            at("bad-record", 19, 10, 2),
        ]
    );
    assert!(loaded.site.is_none());
}

#[test]
fn files_that_include_one_another_come_to_an_end() {
    let loaded =
        with_files(&[("a.zone", "$INCLUDE inc.zone\n"), ("inc.zone", "$INCLUDE a.zone\n")]);
    assert_eq!(mistakes(&loaded).len(), 1);
    assert_eq!(mistakes(&loaded)[0].0, "zone-file-unreadable");
}

#[test]
fn only_names_of_our_zones_have_records() {
    // A /25 is served under its /24, a host elsewhere by itself.
    let inside = "lab.voip. x.lab.voip. 9.1.250.10.in-addr.arpa. 200.1.250.10.in-addr.arpa. \
                  1.250.10.in-addr.arpa. 7.2.0.192.in-addr.arpa. x.7.2.0.192.in-addr.arpa.";
    for name in inside.split(' ') {
        let loaded = with_files(&[("a.zone", &format!("{name} TXT x\n"))]);
        assert_eq!(mistakes(&loaded), [], "{name}");
    }
    let outside = "notlab.voip. voip. . 9.2.250.10.in-addr.arpa. 250.10.in-addr.arpa. \
                   8.2.0.192.in-addr.arpa. x.1.0.0.2.ip6.arpa.";
    for name in outside.split(' ') {
        let loaded = with_files(&[("a.zone", &format!("{name} TXT x\n"))]);
        let codes: Vec<_> = mistakes(&loaded).into_iter().map(|mistake| mistake.0).collect();
        assert_eq!(codes, ["record-outside-zone"], "{name}");
    }
}

#[test]
fn what_cannot_be_together_is_an_error_whoever_states_it() {
    let codes = |text: &str| {
        let tables = format!("{SITE}[dns]\nlisten = \"10.250.1.5\"\nzone_file = \"a.zone\"\n");
        let pair = "[switchover]\nname = \"provision\"\nhosts = [\"vm40ic1\", \"far\"]\n\
                    sip = { udp = 8060 }\n[[proxy]]\nname = \"pool\"\n\
                    hosts = [\"vm40ic1\", \"far\"]\n";
        let loaded = load(&format!("{tables}{pair}"), &[("a.zone", text)]);
        mistakes(&loaded).into_iter().map(|mistake| mistake.0).collect::<Vec<_>>()
    };
    for (text, expected) in [
        ("a A 10.0.0.1\nA CNAME b\n", &["record-conflict"][..]),
        ("a CNAME b\na CNAME c\n", &["record-conflict"]),
        ("a DNAME b\na DNAME c\n", &["record-conflict"]),
        ("a CNAME b\na CNAME b\n", &["duplicate-record"]),
        ("vm40ic1 CNAME b\n", &["record-conflict"]),
        ("provision CNAME b\n", &["record-conflict"]),
        ("pool CNAME b\n", &["record-conflict"]),
        ("_sip._udp CNAME b\n", &["record-conflict"]),
        ("_sip._tcp CNAME b\n", &[]),
        ("@ CNAME b\n", &["record-conflict"]),
        ("a SOA b c 1 2 3 4 5\n", &["record-conflict"]),
        ("@ SOA b c 1 2 3 4 5\n@ SOA b c 2 2 3 4 5\n", &["record-conflict"]),
        ("*.a NS b.example.\n", &["record-conflict"]),
        ("a NS b.example.\nb.a TXT x\n", &["record-occluded"]),
        ("a NS b.example.\na TXT x\n", &["record-occluded"]),
        ("a NS b.a\nb.a A 10.0.0.1\na DS 1 13 2 00\n", &[]),
        ("a NS b.a\n", &["record-target"]),
        ("a NS c.b\nb NS d.example.\n", &[]),
        ("vm40ic1 NS b.example.\n", &["record-occluded"]),
        ("a DNAME b\nc.a A 10.0.0.1\n", &["record-occluded"]),
        ("@ MX 1 vm40ic1\n@ MX 2 provision\n@ MX 3 .\n@ MX 4 x.example.\n", &[]),
        ("@ MX 1 a\na CNAME vm40ic1\n", &["record-target"]),
        ("@ MX 1 a.b\n*.b A 10.0.0.1\n", &[]),
        ("a 60 A 10.0.0.1\na 90 A 10.0.0.2\n", &["record-ttl"]),
        ("vm40ic1 60 A 10.250.1.101\n", &[]),
    ] {
        assert_eq!(codes(text), expected, "{text}");
    }
}

#[test]
fn names_of_records_have_addresses_for_whoever_asks_in_the_file() {
    let toml = format!(
        "{SITE}[dns]\nlisten = \"10.250.1.5\"\nzone_file = \"a.zone\"\n\
         [time]\nservers = [\"clock\", \"ntp\"]\n\
         [options]\n160 = \"http://config.lab.voip:8088\"\n"
    );
    let zone = "clock A 10.250.1.6\nntp CNAME alias\nalias CNAME clock\n\
                config CNAME config.lab.local.\n";
    let site = load(&toml, &[("a.zone", zone)]).site.unwrap();
    let servers = site.options.iter().find(|rule| rule.code == 42).unwrap();
    assert_eq!(*servers.value, [10, 250, 1, 6, 10, 250, 1, 6]);
}

#[test]
fn a_name_whose_address_nobody_here_knows_is_no_value_of_an_option() {
    let codes = |switchover: &str, options: &str| -> Vec<_> {
        let toml = format!(
            "{SITE}[dns]\nlisten = \"10.250.1.5\"\nzone_file = \"a.zone\"\n{switchover}\n\
             [options]\n{options}\n"
        );
        let zone = "six AAAA 2001:db8::1\nout CNAME www.example.com.\nali CNAME provision\n\
                    both AAAA 2001:db8::1\nboth A 10.0.0.1\n";
        let loaded = load(&toml, &[("a.zone", zone)]);
        loaded.diagnostics.errors().map(|error| (error.code.name(), error.column)).collect()
    };
    let pair = |hosts: &str| format!("[switchover]\nname = \"provision\"\nhosts = {hosts}\n");
    let good = pair("[\"vm40ic1\", \"far\"]");
    assert_eq!(codes(&good, "log-servers = \"six\""), [("unknown-host", 15)]);
    assert_eq!(codes(&good, "log-servers = [\"ali\", \"out\"]"), [("unknown-host", 23)]);
    assert_eq!(codes(&good, "log-servers = [\"both\", \"ali\", \"provision\"]"), []);
    // What could not be read is said once.
    let bad = pair("[\"vm40ic1\", 5]");
    assert_eq!(codes(&bad, "log-servers = [\"ali\", \"provision\"]"), [("wrong-type", 21)]);
}

/// Pieces that zone files are made of, and some that they are not.
const PIECES: [&str; 24] = [
    "a",
    "@",
    "*",
    "1h",
    "300",
    "IN",
    "CH",
    "A",
    "TXT",
    "SOA",
    "TYPE65280",
    "\\#",
    "4",
    "0a0b",
    "(",
    ")",
    "\"",
    "\\",
    ";",
    "$ORIGIN",
    "$TTL",
    "$INCLUDE",
    ".",
    "\u{e9}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_records_or_mistakes_with_their_place(
        pieces in prop::collection::vec((0..PIECES.len(), prop::sample::select(&[" ", "", "\n", "\t"])), 0..60),
    ) {
        let zone: String = pieces.iter().flat_map(|(piece, gap)| [PIECES[*piece], gap]).collect();
        let loaded = with_files(&[("a.zone", &zone)]);
        prop_assert_eq!(loaded.site.is_some(), loaded.diagnostics.is_ok());
        for diagnostic in &loaded.diagnostics {
            prop_assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
            prop_assert!(zone.get(diagnostic.span.clone()).is_some() || !diagnostic.file.ends_with("zone"));
        }
    }
}
