//! A scripted site, right in every respect unless told otherwise, on simulated time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use offhook_model::Time;
use offhook_sim::requirements::{Expected, Subnet, check};
use offhook_sim::{Action, Fingerprint, Input, Link, Mode, Phone, Report, by_name};

pub(crate) const DNS: Ipv4Addr = Ipv4Addr::new(10, 250, 1, 5);
pub(crate) const TFTP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
pub(crate) const IC1: Ipv4Addr = Ipv4Addr::new(10, 250, 1, 151);
pub(crate) const IC2: Ipv4Addr = Ipv4Addr::new(10, 250, 1, 152);
pub(crate) const URL: &str = "http://provision.lab.voip:8088";
const LEASE: u8 = 51;

/// What goes by, for tests to change or drop: the link, and the options of a reply by code.
type Tamper = Box<dyn FnMut(Link, &mut BTreeMap<u8, Vec<u8>>)>;

pub(crate) struct Lab {
    pub(crate) now: Time,
    /// Drops a packet of the phone when it returns true; counts from 0.
    pub(crate) lost: Box<dyn FnMut(usize) -> bool>,
    pub(crate) tamper: Tamper,
    pub(crate) refuse: usize,
    pub(crate) image: Vec<u8>,
    /// What the image is when it is served; the phone is to notice a difference.
    pub(crate) served: Vec<u8>,
    pub(crate) srv_additional: bool,
    pub(crate) naptr: ResponseCode,
    pub(crate) negative_ttl: u32,
    pub(crate) requests: Vec<(Link, Vec<u8>)>,
    pub(crate) actions: Vec<Action>,
    pub(crate) packets: usize,
}

impl Default for Lab {
    fn default() -> Self {
        let image: Vec<u8> = (0..5000_u32).map(|i| (i * 31) as u8).collect();
        Self {
            now: Time::from_secs(1_700_000_000),
            lost: Box::new(|_| false),
            tamper: Box::new(|_, _| {}),
            refuse: 0,
            served: image.clone(),
            image,
            srv_additional: true,
            naptr: ResponseCode::NoError,
            negative_ttl: 60,
            requests: Vec::new(),
            actions: Vec::new(),
            packets: 0,
        }
    }
}

impl Lab {
    /// Where packets of the phone get lost.
    pub(crate) fn losing(lost: impl FnMut(usize) -> bool + 'static) -> Self {
        Self { lost: Box::new(lost), ..Self::default() }
    }

    /// Where replies are not what they should be.
    pub(crate) fn tampering(
        tamper: impl FnMut(Link, &mut BTreeMap<u8, Vec<u8>>) + 'static,
    ) -> Self {
        Self { tamper: Box::new(tamper), ..Self::default() }
    }

    pub(crate) fn expected(&self) -> Expected {
        let subnet = |network: &str, router: [u8; 4]| {
            Some(Subnet { network: network.parse().unwrap(), router: router.into() })
        };
        Expected {
            zone: Some("lab.voip".to_owned()),
            voice: subnet("10.250.1.0/24", [10, 250, 1, 1]),
            native: subnet("10.0.0.0/24", [10, 0, 0, 1]),
            vlan: Some(100),
            dns: Some(vec![DNS]),
            time_servers: Some(vec![Ipv4Addr::new(10, 250, 1, 6)]),
            time_offset: Some(-18000),
            tftp: Some(TFTP.to_string()),
            url: Some(URL.to_owned()),
            servers: Some(vec![
                ("vm40ic1.lab.voip".to_owned(), IC1),
                ("vm40ic2.lab.voip".to_owned(), IC2),
            ]),
            sip_ports: Some([8060, 8060, 8061]),
            images: [("440hd.img".to_owned(), Fingerprint::of(&self.image))].into(),
        }
    }

    /// Boots a phone of this family to its end and judges it.
    pub(crate) fn boot(&mut self, family: &str, mode: Mode) -> (Phone, Report) {
        let family = by_name(family).unwrap();
        let mut phone = Phone::new(family, family.mac(0x12_34_56), mode, 42);
        for _ in 0..100_000 {
            let action = phone.poll(self.now);
            match &action {
                Action::Wait(until) => {
                    assert!(*until > self.now, "a wait that does not move time");
                    self.now = *until;
                }
                Action::Done => {
                    let report = check(&phone, &self.expected());
                    return (phone, report);
                }
                Action::SendDhcp { link, payload, .. } => {
                    self.requests.push((*link, payload.clone()));
                    if let Some(reply) = self.arrives().then(|| self.dhcp(*link, payload)).flatten()
                    {
                        self.now = self.now + Duration::from_millis(1);
                        phone.handle(self.now, Input::Dhcp { link: *link, payload: &reply });
                    }
                }
                Action::SendUdp { port, destination, payload } => {
                    let answer = match destination.port() {
                        _ if !self.arrives() => None,
                        53 => Some((*destination, self.dns(payload))),
                        _ => self.tftp(payload),
                    };
                    if let Some((from, payload)) = answer {
                        self.now = self.now + Duration::from_millis(1);
                        let input = Input::Udp { port: *port, from, payload: &payload };
                        phone.handle(self.now, input);
                    }
                }
                Action::SetAddress { .. } | Action::ClearAddress { .. } => {}
            }
            self.actions.push(action);
        }
        panic!("the phone does not come to an end");
    }

    fn arrives(&mut self) -> bool {
        let n = self.packets;
        self.packets += 1;
        !(self.lost)(n)
    }

    fn dhcp(&mut self, link: Link, request: &[u8]) -> Option<Vec<u8>> {
        let options = options_of(request);
        let kind = match options[&53][0] {
            1 => 2,
            3 if self.refuse > 0 => {
                self.refuse -= 1;
                6
            }
            3 | 8 => 5,
            _ => return None,
        };
        let class = String::from_utf8_lossy(&options[&60]).into_owned();
        let station = class == "440HD";
        let soft = options[&55].starts_with(&[160]);
        let pc = class == "MSFT 5.0" && !soft;
        let (router, address) = match link {
            Link::Voice => ([10, 250, 1, 1], [10, 250, 1, 20]),
            Link::Native => ([10, 0, 0, 1], [10, 0, 0, 100]),
        };
        let inform = options[&53] == [8];
        let mut reply: BTreeMap<u8, Vec<u8>> = BTreeMap::from([
            (1, vec![255, 255, 255, 0]),
            (2, (-18000_i32).to_be_bytes().to_vec()),
            (3, router.to_vec()),
            (6, DNS.octets().to_vec()),
            (15, b"lab.voip".to_vec()),
            (42, vec![10, 250, 1, 6]),
            (LEASE, 3600_u32.to_be_bytes().to_vec()),
            (53, vec![kind]),
            (54, DNS.octets().to_vec()),
        ]);
        if !pc {
            reply.insert(160, URL.as_bytes().to_vec());
        }
        if station {
            reply.insert(66, TFTP.to_string().into_bytes());
            reply.insert(67, b"440hd.img".to_vec());
            if link == Link::Native {
                reply.insert(132, b"100".to_vec());
            }
        }
        if inform {
            reply.remove(&LEASE);
        }
        (self.tamper)(link, &mut reply);
        let mut bytes = vec![0; 240];
        bytes[..4].copy_from_slice(&[2, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&request[4..8]);
        if !inform && kind != 6 {
            bytes[16..20].copy_from_slice(&address);
        }
        if station {
            bytes[20..24].copy_from_slice(&TFTP.octets());
            bytes[108..117].copy_from_slice(b"440hd.img");
        }
        bytes[28..44].copy_from_slice(&request[28..44]);
        bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        for (code, value) in reply {
            bytes.extend([code, value.len() as u8]);
            bytes.extend(value);
        }
        bytes.push(255);
        bytes.resize(bytes.len().max(300), 0);
        Some(bytes)
    }

    fn dns(&mut self, query: &[u8]) -> Vec<u8> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries[0].clone();
        let name = question.name().to_ascii();
        let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        let record =
            |name: &str, data| Record::from_rdata(Name::from_ascii(name).unwrap(), 60, data);
        let pair = [("vm40ic1.lab.voip.", IC1), ("vm40ic2.lab.voip.", IC2)];
        match (question.query_type(), name.as_str()) {
            (RecordType::A, "provision.lab.voip.") => {
                answer.answers.extend(pair.map(|(_, a)| record(&name, RData::A(A(a)))));
            }
            (RecordType::SRV, service) => {
                let port = if service.starts_with("_sips.") { 8061 } else { 8060 };
                for (target, address) in pair {
                    let data = SRV::new(0, 0, port, Name::from_ascii(target).unwrap());
                    answer.answers.push(record(service, RData::SRV(data)));
                    if self.srv_additional {
                        answer.additionals.push(record(target, RData::A(A(address))));
                    }
                }
            }
            (RecordType::PTR, "151.1.250.10.in-addr.arpa.") => {
                let data = PTR(Name::from_ascii("vm40ic1.lab.voip.").unwrap());
                answer.answers.push(record(&name, RData::PTR(data)));
            }
            (RecordType::NAPTR, "lab.voip.") => {
                answer.metadata.response_code = self.naptr;
                let zone = Name::from_ascii("lab.voip.").unwrap();
                let soa = SOA::new(zone.clone(), zone, 1, 1, 1, 1, self.negative_ttl);
                let soa = Record::from_rdata(
                    Name::from_ascii("lab.voip.").unwrap(),
                    3600,
                    RData::SOA(soa),
                );
                answer.authorities.push(soa);
            }
            _ => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        answer.add_query(question);
        answer.to_vec().unwrap()
    }

    /// In blocks of 1468, from one port, for a phone that asked for them.
    fn tftp(&mut self, packet: &[u8]) -> Option<(SocketAddrV4, Vec<u8>)> {
        let from = SocketAddrV4::new(TFTP, 40_000);
        let block = match packet {
            [0, 1, ..] => {
                let mut oack = b"\x00\x06blksize\x001468\0tsize\0".to_vec();
                oack.extend(self.image.len().to_string().bytes().chain([0]));
                return Some((from, oack));
            }
            [0, 4, a, b] => u16::from_be_bytes([*a, *b]),
            _ => return None,
        };
        let start = usize::from(block) * 1468;
        let data = self.served.get(start..)?;
        let mut answer = vec![0, 3];
        answer.extend((block + 1).to_be_bytes());
        answer.extend(&data[..data.len().min(1468)]);
        Some((from, answer))
    }
}

/// Options of a request by code.
pub(crate) fn options_of(request: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut options = BTreeMap::new();
    let mut rest = &request[240..];
    while let [code @ 1..=254, length, tail @ ..] = rest {
        let (value, tail) = tail.split_at(usize::from(*length));
        options.insert(*code, value.to_vec());
        rest = tail;
    }
    options
}
