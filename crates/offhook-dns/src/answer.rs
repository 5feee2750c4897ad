//! What is answered to what.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::{OpCode, ResponseCode};

use crate::forward::Forward;
use crate::name::NameKey;
use crate::order::Order;
use crate::reply::{Question, Reply};
use crate::request::{Ignored, Request};
use crate::respond::{End, Respond};
use crate::transfer::{Transfer, transfer};
use crate::zones::Zones;

const CLASS_IN: u16 = 1;
const CLASS_ANY: u16 = 255;

/// Who asks may not (RFC 8914, section 4.19).
const PROHIBITED: u16 = 18;

/// QTYPEs that are no record types (RFC 6895 section 3.1).
mod qtype {
    pub(super) const OPT: u16 = 41;
    pub(super) const IXFR: u16 = 251;
    pub(super) const AXFR: u16 = 252;
    pub(super) const MAILB: u16 = 253;
    pub(super) const MAILA: u16 = 254;
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram: answers are at most what the client takes, and never more than [`crate::UDP_PAYLOAD`].
    Udp,
    /// A stream: answers are at most 65,535 octets.
    Tcp,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The source address of the request.
    pub address: IpAddr,
    /// How it came.
    pub transport: Transport,
}

/// What is to be done with a request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nothing.
    Ignore(Ignored),
    /// Send this.
    Reply(Reply),
    /// Ask these servers, then send what comes of it.
    Forward(Forward),
    /// Send all of this, message by message. Over TCP only.
    Transfer(Box<Transfer>),
}

/// Answers one message, as it came from the wire (over TCP: without its length).
///
/// `order` decides the order of records that are to be spread over clients: switchover pairs come in random order.
pub fn answer(zones: &Zones, packet: &[u8], client: Client, order: &mut impl Order) -> Outcome {
    let mut outcome = decide(zones, packet, client, order);
    if let Outcome::Reply(reply) = &mut outcome {
        reply.stamp(zones.serial);
    }
    outcome
}

fn decide(zones: &Zones, packet: &[u8], client: Client, order: &mut impl Order) -> Outcome {
    let request = match Request::read(packet) {
        Ok(request) => request,
        Err(ignored) => return Outcome::Ignore(ignored),
    };
    let mut reply = Reply::to(&request, client);
    if !zones.access.answers(client.address) {
        reply.explain(PROHIBITED);
        return Outcome::Reply(reply.with(ResponseCode::Refused));
    }
    let opcode = reply.metadata.op_code;
    // What follows the header of an operation we do not know, we cannot call malformed.
    let known = matches!(opcode, OpCode::Query | OpCode::Update);
    if request.malformed && known {
        return Outcome::Reply(reply.with(ResponseCode::FormErr));
    }
    if request.edns.is_some_and(|edns| edns.version > 0) {
        return Outcome::Reply(reply.with(ResponseCode::BADVERS));
    }
    if known && let Some(signature) = &request.signature {
        // We share no key with anybody.
        reply.reject(signature);
        return Outcome::Reply(reply.with(ResponseCode::NotAuth));
    }
    match opcode {
        OpCode::Query => {}
        OpCode::Update if reply.question.is_none() => {
            return Outcome::Reply(reply.with(ResponseCode::FormErr));
        }
        OpCode::Update => return Outcome::Reply(reply.with(ResponseCode::Refused)),
        _ => return Outcome::Reply(reply.with(ResponseCode::NotImp)),
    }
    let Some(question) = reply.question.clone() else {
        return Outcome::Reply(reply.with(ResponseCode::FormErr));
    };
    if !matches!(question.qclass, CLASS_IN | CLASS_ANY) {
        return Outcome::Reply(reply.with(ResponseCode::Refused));
    }
    if matches!(question.qtype, qtype::AXFR | qtype::IXFR) {
        return transfer(zones, &request, question.qtype, client, reply);
    }
    let refusal = match question.qtype {
        qtype::MAILA | qtype::MAILB => Some(ResponseCode::NotImp),
        qtype::OPT | 128..=250 => Some(ResponseCode::FormErr),
        _ => None,
    };
    if let Some(code) = refusal {
        return Outcome::Reply(reply.with(code));
    }

    let available = zones.upstreams.available_to(client.address);
    reply.metadata.recursion_available = available;
    reply.metadata.authoritative = question.qclass == CLASS_IN;
    // In lower case: what goes with a name, a DNAME's alias for instance, is the same for everybody who asks.
    let name = question.name.to_lowercase();
    let end = Respond::new(zones, &mut reply, order, question.qtype).run(&name, &request.key);
    let (question, key) = match end {
        End::Complete => return Outcome::Reply(reply),
        End::Outside => {
            reply.metadata.authoritative = false;
            (question, request.key)
        }
        End::LeadsTo(name) => {
            let key = NameKey::of(&name).as_wire().to_vec();
            (Question { name, ..question }, key)
        }
    };
    let is_alias = !reply.answers.is_empty();
    match zones.upstreams.responsible(&key) {
        // Without RD nobody is to be asked, and what others asked for is not for everyone to see.
        Some((top, servers))
            if available && request.recursion_desired && question.qclass == CLASS_IN =>
        {
            Outcome::Forward(Forward {
                servers: Arc::clone(servers),
                top: top.clone(),
                question,
                checking_disabled: request.checking_disabled,
                dnssec_ok: request.edns.is_some_and(|edns| edns.dnssec_ok),
                pieces: 0,
                reply,
            })
        }
        _ if is_alias => Outcome::Reply(reply),
        _ => Outcome::Reply(reply.with(ResponseCode::Refused)),
    }
}
