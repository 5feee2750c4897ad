//! What ISC's compliance tester asks of a server, and what it takes for an answer: every flag, every kind of OPT
//! record, and every type there is, at the top of each zone.

use hickory_proto::op::Message;

use crate::asked::{Ask, CD, Got, Over, RD, ask};
use crate::conformance::{over_tcp, over_udp};
use crate::lab::{Lab, Vlan};

const SOA: u16 = 6;
const DNSKEY: u16 = 48;

const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const RA: u16 = 0x0080;
const Z: u16 = 0x0040;
const AD: u16 = 0x0020;

const NSID: &[u8] = &[0, 3, 0, 0];
const SUBNET: &[u8] = &[0, 8, 0, 4, 0, 1, 0, 0];
const EXPIRE: &[u8] = &[0, 9, 0, 0];
const COOKIE: &[u8] = &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
const KEEPALIVE: &[u8] = &[0, 11, 0, 0];
const PADDING: &[u8] = &[0, 12, 0, 4, 0, 0, 0, 0];
const TO_COME: &[u8] = &[0, 100, 0, 0];

/// A request of the tester's.
struct Test {
    what: String,
    ask: Ask,
    flags: u16,
    qtype: u16,
    /// Payload, version and flags of OPT.
    opt: Option<(u16, u8, u16)>,
    over: Over,
}

impl Test {
    fn new(what: &str, zone: &str, qtype: u16, flags: u16) -> Self {
        let ask = ask(zone, qtype).flags(flags);
        Self { what: format!("{zone} {what}"), ask, flags, qtype, opt: None, over: Over::Udp }
    }

    fn opt(self, payload: u16, version: u8, flags: u16, options: &[&[u8]]) -> Self {
        let ask = self.ask.opt(payload, version, flags, &options.concat());
        Self { ask, opt: Some((payload, version, flags)), ..self }
    }

    fn over_tcp(self) -> Self {
        Self { over: Over::Tcp, ..self }
    }

    /// What the tester would find fault with.
    fn faults(&self, got: &Got) -> Vec<&'static str> {
        let version = self.opt.map_or(0, |(_, version, _)| version);
        let is_query = self.flags >> 11 & 15 == 0;
        let code = u16::from(got.rcode());
        let has_soa = got.message.answers.iter().any(|it| u16::from(it.record_type()) == SOA);
        let flags = got.flags();
        let opt = got.opt();
        let limit = usize::from(self.opt.map_or(512, |(payload, _, _)| payload.max(512)));
        let expected = match (is_query, version) {
            (false, _) => 4,
            (true, 0) => 0,
            (true, _) => 16,
        };
        let rules = [
            (code == expected, "response code"),
            (opt.is_some() == self.opt.is_some(), "an OPT record if and only if there was one"),
            (opt.is_none_or(|(_, version, _, _)| version == 0), "version of OPT"),
            (opt.is_none_or(|(_, _, flags, _)| flags & 0x7fff == 0), "flags of OPT"),
            (opt.is_none_or(|(_, _, _, has_options)| !has_options), "an option echoed"),
            (has_soa == (self.qtype == SOA && code == 0 && is_query), "SOA record"),
            ((flags & AA != 0) == (code == 0 && is_query), "AA"),
            (flags & RA == 0, "RA, where nobody is asked for us"),
            (flags & RD == if is_query { self.flags & RD } else { 0 }, "RD"),
            (flags & CD == if is_query { self.flags & CD } else { 0 }, "CD"),
            (flags & (AD | Z) == 0, "AD or Z"),
            (self.over == Over::Tcp || got.octets.len() <= limit, "size"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect()
    }
}

fn tests(zone: &str) -> Vec<Test> {
    let soa = |what, flags| Test::new(what, zone, SOA, flags);
    let opcode = |what, flags: u16| {
        let ask = Ask { flags: 15 << 11 | flags, counts: [0; 4], body: Vec::new() };
        Test { ask, flags: 15 << 11 | flags, qtype: 0, ..soa(what, 0) }
    };
    let mut tests = vec![
        soa("dns", 0),
        soa("aa", AA),
        soa("ad", AD),
        soa("cd", CD),
        soa("ra", RA),
        soa("rd", RD),
        soa("tc", TC),
        soa("zflag", Z),
        opcode("opcode", 0),
        opcode("opcodeflg", AA | TC | RD | RA | Z | AD | CD),
        soa("tcp", 0).over_tcp(),
        soa("edns", 0).opt(4096, 0, 0, &[]),
        soa("edns1", 0).opt(4096, 1, 0, &[]),
        Test::new("edns@512", zone, DNSKEY, 0).opt(512, 0, 0, &[]),
        Test::new("edns512tcp", zone, DNSKEY, 0).opt(512, 0, 0, &[]).over_tcp(),
        soa("ednsopt", 0).opt(4096, 0, 0, &[TO_COME]),
        soa("edns1opt", 0).opt(4096, 1, 0, &[TO_COME]),
        soa("do", 0).opt(4096, 0, 0x8000, &[]),
        soa("edns1do", 0).opt(4096, 1, 0x8000, &[]),
        soa("docookie", 0).opt(4096, 0, 0x8000, &[COOKIE]),
        soa("ednsflags", 0).opt(4096, 0, 0x0080, &[]),
        soa("edns1flags", 0).opt(4096, 1, 0x0080, &[]),
        soa("optlist", 0).opt(4096, 0, 0, &[NSID, SUBNET, EXPIRE, COOKIE]),
        Test::new("ednstcp", zone, DNSKEY, 0).opt(512, 0, 0x8000, &[]).over_tcp(),
        soa("bind11", 0).opt(4096, 0, 0x8000, &[COOKIE]),
        soa("dig11", RD | AD).opt(4096, 0, 0, &[COOKIE]),
    ];
    for option in [NSID, SUBNET, EXPIRE, COOKIE, KEEPALIVE, PADDING] {
        for version in [0, 1] {
            tests.push(soa("one option", 0).opt(4096, version, 0, &[option]));
        }
    }
    let types = (1..=40).chain(42..=65).chain([99]).chain(104..=109);
    for qtype in types.chain([256, 257, 666, 1000, 32768, 32769, 65280]) {
        tests.push(Test::new(&format!("type {qtype}"), zone, qtype, 0));
    }
    tests
}

#[test]
fn iscs_compliance_tester_would_find_no_fault() {
    let lab = Lab::changed(&[("[dns]\n", "[dns]\nallow = [\"10.250.0.0/16\"]\n")]);
    let _server = lab.serve();
    // Outside of every scope: nobody is asked on its behalf.
    let client = lab.machine(Vlan::Voice, "10.250.9.200/16", "10.250.1.1");
    lab.appliance.ip("route add 10.250.9.0/24 dev voice0");
    let mut found = Vec::new();
    client.enter(|| {
        for zone in ["lab.voip", "1.250.10.in-addr.arpa", "0.0.10.in-addr.arpa"] {
            for (id, test) in (1..).zip(tests(zone)) {
                let request = test.ask.octets(id);
                let octets = match test.over {
                    Over::Udp => over_udp(&request),
                    Over::Tcp => over_tcp(&request),
                };
                let message = Message::from_vec(&octets).unwrap();
                let got = Got { octets, message, over: test.over };
                for fault in test.faults(&got) {
                    found.push(format!("{}: {fault}: {:?}", test.what, got.message));
                }
            }
        }
    });
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
}
