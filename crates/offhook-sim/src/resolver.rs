//! One DNS question of a phone, over UDP and without EDNS, as their resolvers ask.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use offhook_model::Time;

use crate::rng::Rng;
use crate::{Answer, LookupFailure, RecordData, Timing};

/// What to ask and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) purpose: &'static str,
    /// Without a trailing dot.
    pub(crate) name: String,
    pub(crate) kind: RecordType,
}

impl Question {
    pub(crate) fn new(purpose: &'static str, name: impl Into<String>, kind: RecordType) -> Self {
        Self { purpose, name: name.into(), kind }
    }
}

/// The name whose PTR says what `address` is called.
pub(crate) fn reverse_name(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

/// The inverse of [`reverse_name`].
pub(crate) fn address_of(name: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [d, c, b, a] = address.octets();
    Some(Ipv4Addr::new(a, b, c, d))
}

#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    pub(crate) question: Question,
    pub(crate) server: SocketAddrV4,
    pub(crate) port: u16,
    query: Vec<u8>,
    id: u16,
    name: Name,
    sent: u32,
    attempts: u32,
    wait: Duration,
    pub(crate) deadline: Time,
}

impl Resolver {
    /// The first query goes out at once.
    ///
    /// # Errors
    /// [`LookupFailure::BadName`].
    pub(crate) fn ask(
        question: Question,
        server: Ipv4Addr,
        timing: Timing,
        now: Time,
        rng: &mut Rng,
    ) -> Result<(Self, Vec<u8>), LookupFailure> {
        let name = Name::from_ascii(format!("{}.", question.name.trim_end_matches('.')))
            .map_err(|_| LookupFailure::BadName)?;
        let id = rng.u16();
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.clone(), question.kind));
        let query = message.to_vec().map_err(|_| LookupFailure::BadName)?;
        let resolver = Self {
            question,
            server: SocketAddrV4::new(server, 53),
            port: 16384 + rng.below(16384),
            query: query.clone(),
            id,
            name,
            sent: 1,
            attempts: timing.dns_attempts,
            wait: timing.dns,
            deadline: now + timing.dns,
        };
        Ok((resolver, query))
    }

    /// The query again, or nothing when it was sent often enough.
    pub(crate) fn on_timeout(&mut self, now: Time) -> Option<Vec<u8>> {
        if self.sent >= self.attempts {
            return None;
        }
        self.sent += 1;
        self.deadline = now + self.wait;
        Some(self.query.clone())
    }

    /// The answer, or nothing when the datagram is not one to this question: those are waited over, or anybody
    /// could end a lookup.
    pub(crate) fn on_datagram(
        &self,
        from: SocketAddrV4,
        payload: &[u8],
    ) -> Option<Result<Answer, LookupFailure>> {
        if from != self.server || payload.first_chunk() != Some(&self.id.to_be_bytes()) {
            return None;
        }
        let Ok(message) = Message::from_vec(payload) else {
            return Some(Err(LookupFailure::Malformed));
        };
        let asked = message.queries.first().is_some_and(|query| {
            *query.name() == self.name && query.query_type() == self.question.kind
        });
        if message.metadata.message_type != MessageType::Response || !asked {
            return None;
        }
        Some(Ok(read(&message)))
    }
}

fn read(message: &Message) -> Answer {
    let code = message.metadata.response_code;
    let additional = message.additionals.iter().filter_map(|record| match record.data {
        RData::A(address) => Some((plain(&record.name), address.0)),
        _ => None,
    });
    let negative_ttl = message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    Answer {
        code: format!("{code:?}"),
        ok: code == ResponseCode::NoError,
        truncated: message.metadata.truncation,
        answers: message.answers.iter().map(data).collect(),
        additional: additional.collect(),
        negative_ttl,
    }
}

fn data(record: &Record) -> RecordData {
    match &record.data {
        RData::A(address) => RecordData::A(address.0),
        RData::PTR(name) => RecordData::Ptr(plain(&name.0)),
        RData::SRV(srv) => RecordData::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: plain(&srv.target),
        },
        _ => RecordData::Other(record.record_type().into()),
    }
}

/// Lower case, without a trailing dot.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}
