//! The same zone file, served by offhook and by BIND: every name and type in it, and many that are not, have to be
//! answered alike.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, UdpSocket};

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::lab::{Lab, PATIENCE, Server, Vlan};

const ZONE: &str = include_str!("named.zone");

const SITE: &str = r#"
    [site]
    name = "lab"
    zone = "lab.voip"
    [dns]
    listen = ["10.250.1.5"]
    zone_file = "named.zone"
    [[host]]
    name = "ns1"
    address = "10.250.1.5"
    [[scope]]
    name = "voice"
    interface = "voice0"
    subnet = "10.250.1.0/24"
    pools = ["10.250.1.20-10.250.1.149"]
    router = "10.250.1.1"
    phones = false
"#;

const OFFHOOK: &str = "10.250.1.5:53";
const NAMED: &str = "127.0.0.1:5300";

/// Names that are not in the file.
const OTHERS: &str = "nothing ent c.ent x.ent y.ent q.wild q.q.wild z.wild w.z.wild *.wild q.*.wild foo.cwild \
    deep.foo.cwild foo.dwild ent2.wild q.ent2.wild x.deleg y.x.deleg x.sib x.nodel x.dn aa.dn b.c.dn x.aa.dn \
    x.dnout _tcp _udp _sip x.a.ent x.outside x.alias wild cwild x.cic1 MIXEDcase MixAlias \
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.dn";

const TYPES: [u16; 24] = [
    1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 35, 39, 43, 47, 48, 52, 65, 99, 130, 250, 257, 1234, 65280,
    65535,
];

/// What is said to a question, as a set, as far as two servers have to agree on it.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: ResponseCode,
    authoritative: bool,
    truncated: bool,
    opt: Option<(u16, u8)>,
    answers: BTreeSet<String>,
    authorities: BTreeSet<String>,
    additionals: BTreeSet<String>,
}

impl Said {
    fn of(message: &Message) -> Self {
        let answers = shown(&message.answers);
        let mut authorities = shown(&message.authorities);
        let is_apex = |record: &String| record.starts_with("lab.voip. ") && record.contains(" NS ");
        // Who serves the zone is not said with every answer here.
        authorities.retain(|record| !is_apex(record));
        Self {
            code: message.metadata.response_code,
            authoritative: message.metadata.authoritative,
            truncated: message.metadata.truncation,
            opt: message.edns.as_ref().map(|edns| (edns.max_payload(), edns.version())),
            answers,
            authorities,
            additionals: shown(&message.additionals),
        }
    }
}

fn shown(records: &[Record]) -> BTreeSet<String> {
    let one = |record: &Record| {
        let data = match &record.data {
            // Each server numbers its zones for itself.
            RData::SOA(soa) => {
                let mut soa = soa.clone();
                soa.serial = 0;
                RData::SOA(soa).to_string()
            }
            RData::Unknown { rdata, .. } => format!("{:?}", rdata.anything),
            data => data.to_string(),
        };
        let line = format!("{} {} {} {data}", record.name, record.record_type(), record.ttl);
        line.to_lowercase().replacen("ns ", "NS ", 1).replace(" ns ", " NS ")
    };
    records.iter().map(one).collect()
}

/// Asks over UDP; the payload of OPT, or none.
fn ask(server: &str, name: &Name, qtype: u16, payload: Option<u16>) -> Message {
    let mut message = Message::query();
    let mut query = Query::query(name.clone(), RecordType::from(qtype));
    query.set_query_class(DNSClass::IN);
    message.add_query(query);
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    let server: SocketAddr = server.parse().unwrap();
    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server).unwrap();
    socket.send(&message.to_vec().unwrap()).unwrap();
    let mut buffer = [0; 4096];
    let length =
        socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{server} {name} {qtype}: {e}"));
    let limit = usize::from(payload.unwrap_or(512).max(512));
    assert!(length <= limit, "{server} {name} {qtype}: {length} octets");
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    answer
}

fn names() -> Vec<Name> {
    let mut owners: BTreeSet<&str> = ZONE
        .lines()
        .filter(|line| !line.starts_with([';', '$']))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    owners.extend(OTHERS.split_whitespace());
    let full = |owner: &str| match owner {
        "@" => "lab.voip.".to_owned(),
        _ => format!("{owner}.lab.voip."),
    };
    let mut names: Vec<_> =
        owners.into_iter().map(|owner| Name::from_ascii(full(owner)).unwrap()).collect();
    // One that a DNAME makes longer than a name can be.
    let long = format!("{0}.{0}.{0}.{1}.dnout.lab.voip.", "y".repeat(60), "z".repeat(45));
    names.push(Name::from_ascii(long).unwrap());
    names
}

/// BIND in the client's namespace.
fn named(lab: &Lab, client: &crate::lab::Netns) -> Server {
    let dir = lab.dir.path();
    let conf = format!(
        r#"options {{
            directory "{dir}"; pid-file "{dir}/named.pid"; session-keyfile "{dir}/session.key";
            listen-on port 5300 {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
            recursion no; notify no; dnssec-validation no; minimal-any yes; minimal-responses no;
            zero-no-soa-ttl no; check-names primary ignore; check-integrity no;
            max-udp-size 1232; edns-udp-size 1232;
        }};
        controls {{ }};
        zone "lab.voip" {{ type primary; file "named.zone"; }};"#,
        dir = dir.display()
    );
    fs::write(dir.join("named.conf"), conf).unwrap();
    let mut command = client.daemon("named");
    command.arg("-g").arg("-c").arg(dir.join("named.conf"));
    let server = Server::spawn(&mut command);
    server.wait_for_log(&["all zones loaded"]);
    server
}

#[test]
fn bind_and_offhook_answer_alike_from_one_zone_file() {
    let lab = Lab::with_config(SITE);
    fs::write(lab.dir.path().join("named.zone"), ZONE).unwrap();
    let _server = lab.serve();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let _named = named(&lab, &client);
    let (mut asked, mut differ) = (0, Vec::new());
    client.enter(|| {
        for name in names() {
            for qtype in TYPES {
                for payload in [None, Some(1232)] {
                    let ours = Said::of(&ask(OFFHOOK, &name, qtype, payload));
                    let theirs = Said::of(&ask(NAMED, &name, qtype, payload));
                    asked += 1;
                    if !agree(&ours, &theirs) {
                        differ
                            .push(format!("{name} {qtype} {payload:?}\n  {ours:?}\n  {theirs:?}"));
                    }
                }
            }
        }
    });
    assert!(asked > 4000, "{asked}");
    assert!(differ.is_empty(), "{} of {asked} differ:\n{}", differ.len(), differ.join("\n"));
}

/// Whether two answers say the same. BIND adds the addresses of the zone's own servers to most answers.
fn agree(ours: &Said, theirs: &Said) -> bool {
    let of_server = |record: &String| record.starts_with("ns1.lab.voip. ");
    let missing: Vec<_> =
        theirs.additionals.difference(&ours.additionals).filter(|it| !of_server(it)).collect();
    let help_fits = ours.truncated || theirs.truncated || ours.opt.is_none();
    (ours.code, ours.authoritative, ours.truncated, ours.opt)
        == (theirs.code, theirs.authoritative, theirs.truncated, theirs.opt)
        && (ours.answers == theirs.answers || ours.truncated)
        && ours.authorities == theirs.authorities
        && ours.additionals.is_subset(&theirs.additionals)
        && (missing.is_empty() || help_fits)
}
