//! What is believed, what is kept and who is asked, without sockets and clocks.

mod cache;
mod follow;
mod inquiry;
mod properties;
mod response;
mod resume;

use hickory_proto::op::{Message, OpCode, Query as Asked, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, NS, NULL, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::query::Query;
use super::response::{Limits, Response};
use crate::name::NameKey;

const ID: u16 = 0x1234;
const LIMITS: Limits = Limits { max_ttl: 86_400, negative_ttl: 60 };

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn wire(text: &str) -> Vec<u8> {
    NameKey::of(&name(text)).as_wire().to_vec()
}

fn query(owner: &str, qtype: RecordType) -> Query {
    Query {
        name: NameKey::of(&name(owner)),
        qtype: qtype.into(),
        checking_disabled: false,
        dnssec_ok: false,
    }
}

/// A response to `query` with nothing in it.
fn response(query: &Query, code: ResponseCode) -> Message {
    let mut message = Message::response(ID, OpCode::Query);
    message.metadata.response_code = code;
    let owner = super::answer::library_name(query.name.as_wire()).unwrap();
    message.add_query(Asked::query(owner, RecordType::from(query.qtype)));
    message
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

fn a(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn cname(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

fn ns(target: &str) -> RData {
    RData::NS(NS(name(target)))
}

fn mx(target: &str) -> RData {
    RData::MX(MX::new(10, name(target)))
}

fn srv(target: &str) -> RData {
    RData::SRV(SRV::new(0, 0, 5060, name(target)))
}

fn soa(minimum: u32) -> RData {
    RData::SOA(SOA::new(name("ns.example."), name("admin.example."), 1, 2, 3, 4, minimum))
}

fn octets(rtype: u16, data: &[u8]) -> RData {
    let mut null = NULL::new();
    null.anything = data.to_vec();
    RData::Unknown { code: RecordType::from(rtype), rdata: null }
}

/// What the message is to the question, from one who is trusted with everything but `lab.voip`.
fn read(query: &Query, packet: &[u8]) -> Response {
    let ours = wire("lab.voip.");
    query.read(ID, true, packet, &LIMITS, &|name| !name.ends_with(&ours))
}

fn answer(query: &Query, message: &Message) -> super::Answer {
    match read(query, &message.to_vec().unwrap()) {
        Response::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// `owner TTL TYPE data` of every record that a client would be sent, section by section.
fn lines(answer: &super::Answer, asked: &str) -> [Vec<String>; 3] {
    let asked = crate::Question { name: name(asked), qtype: 1, qclass: 1 };
    let age = super::answer::Age::Seconds(0);
    [
        answer.answer_records(&asked, age),
        answer.authority_records(&asked, age),
        answer.additional_records(&asked, age),
    ]
    .map(|records| {
        let line = |record: &Record| {
            format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data)
        };
        records.iter().map(line).collect()
    })
}
