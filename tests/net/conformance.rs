//! What the RFCs ask of an authoritative server, one by one, from octets on the wire of the running program: each
//! over UDP, several times, so that answers from memory are among them, and over TCP.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Record, RecordType};

use crate::asked::{Ask, CD, Got, Over, RD, ask, ask_class, wire};
use crate::lab::{Lab, PATIENCE, Vlan, repository};

const SERVER: &str = "10.250.1.5:53";

/// Records beside those of the sample site.
const RECORDS: &str = r#"
[[record]]
name = "alias"
type = "CNAME"
value = "vm40ic1"
[[record]]
name = "dangling"
type = "CNAME"
value = "nothere"
[[record]]
name = "outside"
type = "CNAME"
value = "www.example.com."
[[record]]
name = "*.wild"
type = "A"
value = "10.250.1.77"
[[record]]
name = "b.a.wild"
type = "TXT"
value = "below an empty non-terminal"
[[record]]
name = "branch"
type = "NS"
value = ["ns.branch.lab.voip", "ns.elsewhere.example"]
[[record]]
name = "ns.branch"
type = "A"
value = "10.252.1.5"
[[record]]
name = "opaque"
type = "TYPE65280"
value = '\# 3 01 02 03'
[[record]]
name = "@"
type = "MX"
value = "10 vm40ic1"
[[record]]
name = "text"
type = "TXT"
value = "one"
"#;

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const MX: u16 = 15;
const TXT: u16 = 16;
const SRV: u16 = 33;
const NAPTR: u16 = 35;
const ANY: u16 = 255;

fn types(records: &[Record]) -> Vec<RecordType> {
    records.iter().map(Record::record_type).collect()
}

type Check = (&'static str, Ask, fn(&Got) -> bool);

/// Requests and what is to be said to them.
fn checks() -> Vec<Check> {
    use ResponseCode::{BADVERS, FormErr, NXDomain, NoError, NotAuth, NotImp, Refused};
    vec![
        // RFC 1034 and 1035.
        ("an address", ask("vm40ic1", A), |got| got.ours(1) && got.message.edns.is_none()),
        ("without recursion desired", ask("vm40ic1", A).flags(0), |got| {
            got.ours(1) && got.flags() & RD == 0
        }),
        ("RD and CD come back", ask("vm40ic1", A).flags(RD | CD), |got| {
            got.flags() & (RD | CD) == RD | CD
        }),
        ("AA, TC, RA, Z and AD of a request do not", ask("vm40ic1", A).flags(0x06e0), |got| {
            got.ours(1) && got.flags() & 0x0260 == 0
        }),
        ("the question comes back", ask("vm40ic1", A), |got| {
            got.octets[12..].starts_with(&wire("vm40ic1.lab.voip")) && got.counts()[0] == 1
        }),
        ("in the letter case it has", ask("Vm40IC1.laB.voIP", A), |got| {
            got.ours(1) && got.octets[12..].starts_with(&wire("Vm40IC1.laB.voIP"))
        }),
        ("names are compressed", ask("vm40ic1", A), |got| got.octets[34..36] == [0xc0, 12]),
        ("a pair", ask("provision", A), |got| got.ours(2)),
        ("SRV with addresses", ask("_sip._udp.lab.voip", SRV), |got| {
            got.ours(2) && types(&got.message.additionals) == [RecordType::A; 2]
        }),
        ("NS with addresses", ask("lab.voip", NS), |got| {
            got.ours(1) && types(&got.message.additionals) == [RecordType::A]
        }),
        ("MX with addresses", ask("lab.voip", MX), |got| {
            got.ours(1) && types(&got.message.additionals) == [RecordType::A]
        }),
        ("NAPTR", ask("lab.voip", NAPTR), |got| got.ours(3)),
        ("SOA", ask("lab.voip", SOA), |got| got.ours(1)),
        ("SOA of a reverse zone", ask("1.250.10.in-addr.arpa", SOA), |got| got.ours(1)),
        ("PTR", ask("151.1.250.10.in-addr.arpa", 12), |got| got.ours(1)),
        ("names elsewhere", ask("www.example.com", A), |got| {
            got.is(Refused) && !got.message.metadata.authoritative
        }),
        ("the root", ask(".", NS), |got| got.is(Refused)),
        ("the zone above", ask("voip.", SOA), |got| got.is(Refused)),
        ("no question", Ask { flags: RD, counts: [0; 4], body: Vec::new() }, |got| got.is(FormErr)),
        ("two questions", ask("vm40ic1", A).and_ask("vm40ic2.lab.voip", A, 1), |got| {
            got.is(FormErr)
        }),
        (
            "a question cut short",
            Ask { body: wire("vm40ic1.lab.voip"), ..ask("vm40ic1", A) },
            |got| got.is(FormErr),
        ),
        (
            "a label of 64 octets",
            Ask { body: [&[64][..], &[b'x'; 64], &[0, 0, 1, 0, 1]].concat(), ..ask("x", A) },
            |got| got.is(FormErr),
        ),
        (
            "a name of 256 octets",
            Ask {
                body: [&[63; 64].repeat(3)[..], &[62; 63], &[0, 0, 1, 0, 1]].concat(),
                ..ask("x", A)
            },
            |got| got.is(FormErr),
        ),
        (
            "a name that points to itself",
            Ask { body: vec![0xc0, 12, 0, 1, 0, 1], ..ask("x", A) },
            |got| got.is(FormErr),
        ),
        (
            "a name that points ahead",
            Ask { body: vec![0xc0, 18, 0, 1, 0, 1, 0], ..ask("x", A) },
            |got| got.is(FormErr),
        ),
        (
            "octets after the message",
            Ask { body: [&ask("vm40ic1", A).body[..], b"more"].concat(), ..ask("vm40ic1", A) },
            |got| got.ours(1),
        ),
        (
            "more records announced than there are",
            Ask { counts: [1, 0, 0, 1], ..ask("vm40ic1", A) },
            |got| got.is(FormErr),
        ),
        (
            "records in the answer section",
            ask("vm40ic1", A).raw(1, &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]),
            |got| got.ours(1),
        ),
        ("inverse queries", ask("lab.voip", SOA).opcode(1), |got| got.is(NotImp)),
        ("server status", ask("lab.voip", SOA).opcode(2), |got| got.is(NotImp)),
        ("NOTIFY", ask("lab.voip", SOA).opcode(4), |got| got.is(NotImp)),
        ("UPDATE", ask("lab.voip", SOA).opcode(5), |got| got.is(Refused)),
        ("stateful operations", Ask { counts: [0; 4], body: Vec::new(), flags: 6 << 11 }, |got| {
            got.is(NotImp)
        }),
        ("opcodes to come", ask("lab.voip", SOA).opcode(15).edns(), |got| {
            got.is(NotImp) && got.has_opt() && got.flags() >> 11 & 15 == 15
        }),
        (
            "flags of opcodes to come",
            Ask { counts: [0; 4], body: Vec::new(), flags: 15 << 11 | 0x07f0 },
            |got| got.is(NotImp) && got.flags() == 0x8004 | 15 << 11,
        ),
        ("CHAOS", ask_class("version.bind", TXT, 3), |got| got.is(Refused)),
        ("Hesiod", ask_class("lab.voip", A, 4), |got| got.is(Refused)),
        ("a class to come", ask_class("lab.voip", A, 300).edns(), |got| {
            got.is(Refused) && got.has_opt()
        }),
        ("AXFR from nobody in particular", ask("lab.voip", 252), |got| got.is(Refused)),
        ("IXFR from nobody in particular", ask("lab.voip", 251), |got| got.is(Refused)),
        ("MAILB", ask("lab.voip", 253), |got| got.is(NotImp)),
        ("MAILA", ask("lab.voip", 254), |got| got.is(NotImp)),
        // RFC 2308.
        ("a name that is not there", ask("nothere", A), |got| got.negative(NXDomain)),
        ("nor with OPT", ask("nothere", A).edns(), |got| got.negative(NXDomain) && got.has_opt()),
        ("a type that is not there", ask("vm40ic1", TXT), |got| got.negative(NoError)),
        ("an empty non-terminal", ask("_udp.lab.voip", A), |got| got.negative(NoError)),
        ("an alias of nothing", ask("dangling", A), |got| {
            got.negative(NXDomain) && types(&got.message.answers) == [RecordType::CNAME]
        }),
        // Aliases.
        ("an alias", ask("alias", A), |got| {
            got.ours(2) && types(&got.message.answers) == [RecordType::CNAME, RecordType::A]
        }),
        ("the alias itself", ask("alias", CNAME), |got| got.ours(1)),
        ("an alias of a name without the type", ask("alias", TXT), |got| got.negative(NoError)),
        ("an alias that leads elsewhere", ask("outside", A), |got| got.ours(1)),
        // RFC 4592.
        ("a wildcard", ask("x.wild.lab.voip", A), |got| {
            got.ours(1) && got.message.answers[0].name.to_ascii() == "x.wild.lab.voip."
        }),
        ("a wildcard, two labels on", ask("x.y.wild.lab.voip", A), |got| got.ours(1)),
        ("a wildcard without the type", ask("x.wild.lab.voip", TXT), |got| got.negative(NoError)),
        ("the wildcard by its name", ask("*.wild.lab.voip", A), |got| got.ours(1)),
        ("below an empty non-terminal", ask("x.a.wild.lab.voip", A), |got| got.negative(NXDomain)),
        ("the non-terminal", ask("a.wild.lab.voip", A), |got| got.negative(NoError)),
        // Delegations.
        ("a delegation", ask("www.branch.lab.voip", A), |got| {
            got.is(NoError)
                && !got.message.metadata.authoritative
                && types(&got.message.authorities) == [RecordType::NS; 2]
                && types(&got.message.additionals) == [RecordType::A]
        }),
        ("its top", ask("branch", SOA), |got| {
            got.is(NoError) && types(&got.message.authorities) == [RecordType::NS; 2]
        }),
        ("its glue", ask("ns.branch.lab.voip", A), |got| {
            got.is(NoError) && !got.message.metadata.authoritative
        }),
        ("DS is the parent's", ask("branch", 43), |got| got.negative(NoError)),
        // RFC 3597, 6895 and 8482.
        ("a type that nobody knows", ask("opaque", 65280), |got| {
            got.ours(1) && got.octets.ends_with(&[0, 3, 1, 2, 3])
        }),
        ("one that is not there", ask("vm40ic1", 65281), |got| got.negative(NoError)),
        ("ANY is one set", ask("lab.voip", ANY), |got| {
            got.rcode() == NoError && got.message.answers.len() == 1
        }),
        ("OPT is no type", ask("lab.voip", 41), |got| got.is(FormErr)),
        // RFC 6891.
        ("OPT", ask("vm40ic1", A).edns(), |got| got.ours(1) && got.has_opt()),
        ("OPT in a refusal", ask("www.example.com", A).edns(), |got| {
            got.is(Refused) && got.has_opt()
        }),
        ("OPT in FORMERR", ask("lab.voip", 41).edns(), |got| got.is(FormErr) && got.has_opt()),
        ("OPT beside two questions", ask("vm40ic1", A).and_ask("lab.voip", A, 1).edns(), |got| {
            got.is(FormErr) && got.has_opt()
        }),
        (
            "OPT beside a compressed second question",
            ask("vm40ic1", A).raw(0, &[0xc0, 12, 0, 28, 0, 1]).edns(),
            |got| got.is(FormErr) && got.has_opt(),
        ),
        ("a version to come", ask("vm40ic1", A).opt(1232, 1, 0, b""), |got| {
            got.is(BADVERS) && got.opt() == Some((1232, 0, 0, false))
        }),
        (
            "with an option and elsewhere",
            ask("www.example.com", A).opt(1232, 9, 0, &[0, 100, 0, 0]),
            |got| got.is(BADVERS),
        ),
        ("an option to come", ask("vm40ic1", A).opt(1232, 0, 0, &[0, 100, 0, 2, 1, 2]), |got| {
            got.ours(1) && got.has_opt()
        }),
        ("NSID", ask("vm40ic1", A).opt(1232, 0, 0, &[0, 3, 0, 0]), |got| {
            got.ours(1) && got.has_opt()
        }),
        (
            "a cookie",
            ask("vm40ic1", A).opt(1232, 0, 0, &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
            |got| got.ours(1) && got.has_opt(),
        ),
        ("flags to come", ask("vm40ic1", A).opt(1232, 0, 0x7fff, b""), |got| {
            got.ours(1) && got.has_opt()
        }),
        ("DO comes back", ask("vm40ic1", A).opt(1232, 0, 0xffff, b""), |got| {
            got.ours(1) && got.opt() == Some((1232, 0, 0x8000, false))
        }),
        ("two OPTs", ask("vm40ic1", A).edns().edns(), |got| got.is(FormErr) && got.has_opt()),
        (
            "an OPT with a name",
            ask("vm40ic1", A).raw(3, &[1, b'x', 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]),
            |got| got.is(FormErr),
        ),
        ("an option cut short", ask("vm40ic1", A).opt(1232, 0, 0, &[0, 100, 0, 9, 1]), |got| {
            got.is(FormErr)
        }),
        ("a size of 0 is 512", ask("vm40ic1", A).opt(0, 0, 0, b""), |got| {
            got.ours(1) && got.has_opt()
        }),
        ("the whole answer fits nowhere but in TCP", ask("big", TXT), |got| truncated(got, 512)),
        ("nor in 512 octets that are said", ask("big", TXT).opt(512, 0, 0, b""), |got| {
            truncated(got, 512) && got.has_opt()
        }),
        ("nor in fewer", ask("big", TXT).opt(100, 0, 0, b""), |got| {
            truncated(got, 512) && got.has_opt()
        }),
        ("nor in 1,000", ask("big", TXT).opt(1000, 0, 0, b""), |got| {
            truncated(got, 1000) && got.has_opt()
        }),
        ("nor in 1,232, however much is asked", ask("big", TXT).opt(65535, 0, 0, b""), |got| {
            truncated(got, 1232) && got.has_opt()
        }),
        // RFC 8945.
        ("a signature by nobody we know", ask("vm40ic1", A).raw(3, &signature()), |got| {
            got.is(NotAuth)
        }),
    ]
}

/// Truncated over UDP and within the limit, and whole over TCP.
fn truncated(got: &Got, limit: usize) -> bool {
    match got.over {
        Over::Udp => got.message.metadata.truncation && got.octets.len() <= limit,
        Over::Tcp => got.ours(12) && !got.message.metadata.truncation,
    }
}

fn signature() -> Vec<u8> {
    let mut data = wire("hmac-sha256");
    data.extend([0, 0, 0x65, 1, 2, 3, 1, 44, 0, 16]);
    data.extend([0x6d; 16]);
    data.extend([0, 1, 0, 0, 0, 0]);
    let mut record = wire("key");
    record.extend([0, 250, 0, 255, 0, 0, 0, 0, 0, data.len() as u8]);
    record.extend(data);
    record
}

pub(crate) fn over_udp(request: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(SERVER).unwrap();
    socket.send(request).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

pub(crate) fn over_tcp(request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(SERVER).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[&(request.len() as u16).to_be_bytes(), request].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    answer
}

#[test]
fn every_check_passes_over_udp_from_memory_and_over_tcp() {
    let lab_toml = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    // Twelve strings that do not fit into a datagram together.
    let texts: Vec<_> = (10..22).map(|n| format!("{n}{}", "x".repeat(110))).collect();
    let big = format!("[[record]]\nname = \"big\"\ntype = \"TXT\"\nvalue = {texts:?}\n");
    let lab = Lab::with_config(&format!("{lab_toml}\n{RECORDS}\n{big}"));
    let _server = lab.serve();
    // Not in a scope: nobody asks others on its behalf.
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let checks = checks();
    assert!(checks.len() > 63, "{}", checks.len());
    let mut failed = Vec::new();
    client.enter(|| {
        for (id, (what, ask, expected)) in (1..).zip(&checks) {
            let request = ask.octets(id);
            for over in [Over::Udp, Over::Udp, Over::Udp, Over::Tcp] {
                let octets = match over {
                    Over::Udp => over_udp(&request),
                    Over::Tcp => over_tcp(&request),
                };
                assert_eq!(octets[..2], id.to_be_bytes(), "{what}");
                assert_eq!(octets[2] & 0x80, 0x80, "{what}");
                match Message::from_vec(&octets) {
                    Ok(message) => {
                        let got = Got { octets, message, over };
                        if !expected(&got) {
                            failed.push(format!("{what} ({over:?}): {:?}", got.message));
                        }
                    }
                    Err(error) => failed.push(format!("{what} ({over:?}): {error}: {octets:x?}")),
                }
            }
        }
    });
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn responses_and_scraps_are_met_with_silence() {
    let lab = Lab::new();
    let _server = lab.serve();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    client.enter(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.connect(SERVER).unwrap();
        let response = ask("vm40ic1", A).flags(0x8180).octets(1);
        for scrap in [&response[..], &response[..11], b"", b"hello"] {
            socket.send(scrap).unwrap();
        }
        // The first that comes back is the answer to a question.
        socket.send(&ask("vm40ic1", A).octets(2)).unwrap();
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!((length > 12, &buffer[..2]), (true, &[0, 2][..]));
    });
}
