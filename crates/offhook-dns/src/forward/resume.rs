//! From pieces to the client's answer: what the upstreams said, and where aliases lead on.

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::op::{OpCode, ResponseCode};
use hickory_proto::rr::Name;

use super::answer::{Age, Answer, library_name, rtype};
use super::query::Query;
use crate::answer::{Client, Outcome, answer};
use crate::name::NameKey;
use crate::order::Order;
use crate::reply::{Question, Reply};
use crate::zones::Zones;

/// How often one answer may go on with another server, or with our own zone.
const MOST_PIECES: u8 = 8;

/// TTL of everything in an answer that has expired, seconds (RFC 8767 section 5).
const STALE_TTL: u32 = 30;

/// Extended DNS errors (RFC 8914).
mod extended_error {
    pub(super) const OTHER: u16 = 0;
    pub(super) const STALE: u16 = 3;
    pub(super) const STALE_NXDOMAIN: u16 = 19;
    pub(super) const UNREACHABLE: u16 = 22;
}

/// A question somebody else has the answer to.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Who to ask, the first that answers wins; never empty.
    pub servers: Arc<[SocketAddr]>,
    /// What they are asked for, and trusted with.
    pub(crate) top: NameKey,
    /// What to ask: the request's question, or the same of the name that an alias leads to.
    pub question: Question,
    /// CD of the request.
    pub(crate) checking_disabled: bool,
    /// DO of the request.
    pub(crate) dnssec_ok: bool,
    /// How many pieces of the answer are there.
    pub(crate) pieces: u8,
    /// What the client is sent, as far as it is known.
    pub(crate) reply: Reply,
}

/// How far an answer has got.
#[derive(Clone, Debug)]
pub enum Resumed {
    /// Send this.
    Complete(Reply),
    /// It goes on with another question.
    Onward(Forward),
}

/// An answer on its way to a client.
#[derive(Clone, Debug)]
pub struct Fetched {
    answer: Arc<Answer>,
    age: Age,
}

impl Fetched {
    /// An answer that came `age` seconds ago and still holds.
    pub fn fresh(answer: Arc<Answer>, age: u32) -> Self {
        Self { answer, age: Age::Seconds(age) }
    }

    /// An answer that has expired: nobody gives a newer one.
    pub fn stale(answer: Arc<Answer>) -> Self {
        Self { answer, age: Age::Stale(STALE_TTL) }
    }
}

/// Which names the servers for one part of the name space are responsible for.
#[derive(Clone, Debug)]
pub struct Trust {
    pub(super) zones: Arc<Zones>,
    top: NameKey,
}

impl Trust {
    /// Whether they are believed about `name`, in lower-case wire form: it is not ours, and not asked of anybody
    /// else. Where an alias leads to what nobody is asked about, they are the only ones who can say more.
    pub fn covers(&self, name: &[u8]) -> bool {
        covers(&self.zones, &self.top, name)
    }
}

/// Whether those who serve what is below `top` are believed about `name`, in lower-case wire form.
pub(super) fn covers(zones: &Zones, top: &NameKey, name: &[u8]) -> bool {
    zones.upstreams.responsible(name).is_none_or(|(other, _)| other == top)
        && zones.is_outside(name)
}

impl Forward {
    /// The question as it goes upstream.
    pub fn query(&self) -> Query {
        Query {
            name: NameKey::of(&self.question.name),
            qtype: self.question.qtype,
            checking_disabled: self.checking_disabled,
            dnssec_ok: self.dnssec_ok,
        }
    }

    /// A question that they answer at once if they answer at all, whatever the client's name is about.
    pub fn check(&self) -> Query {
        Query {
            name: self.top.clone(),
            qtype: rtype::NS,
            checking_disabled: true,
            dnssec_ok: false,
        }
    }

    /// What of their answers is believed, as `zones` are.
    pub fn trust(&self, zones: Arc<Zones>) -> Trust {
        Trust { zones, top: self.top.clone() }
    }

    /// Adds what was fetched to the answer; where an alias leads on, to our own zone or to somebody else, the
    /// answer goes on there.
    pub fn resume(
        mut self,
        fetched: &Fetched,
        zones: &Zones,
        client: Client,
        order: &mut impl Order,
    ) -> Resumed {
        let Fetched { answer: piece, age } = fetched;
        self.pieces += 1;
        let reply = &mut self.reply;
        reply.metadata.response_code = piece.response_code();
        reply.answers.extend(piece.answer_records(&self.question, *age));
        reply.authorities.extend(piece.authority_records(&self.question, *age));
        reply.additionals.extend(piece.additional_records(&self.question, *age));
        if matches!(age, Age::Stale(_)) {
            reply.explain(match piece.response_code() {
                ResponseCode::NXDomain => extended_error::STALE_NXDOMAIN,
                _ => extended_error::STALE,
            });
        }
        match piece.next.as_deref().and_then(library_name) {
            Some(name) => self.follow(name, zones, client, order),
            None => Resumed::Complete(self.reply),
        }
    }

    fn follow(
        mut self,
        name: Name,
        zones: &Zones,
        client: Client,
        order: &mut impl Order,
    ) -> Resumed {
        let is_loop = self.reply.answers.iter().any(|record| record.name == name);
        if is_loop || self.pieces >= MOST_PIECES {
            return Resumed::Complete(self.failed());
        }
        self.question.name = name;
        let request = self.query().encode(0, true);
        match answer(zones, &request, client, order) {
            Outcome::Forward(mut next) => {
                self.reply.append(next.reply);
                next.reply = self.reply;
                next.pieces = self.pieces;
                Resumed::Onward(next)
            }
            Outcome::Reply(rest) => {
                let code = rest.metadata.response_code;
                debug_assert_eq!(rest.metadata.op_code, OpCode::Query);
                self.reply.append(rest);
                // Where nobody is asked for the target, the alias is the answer.
                let code = if code == ResponseCode::Refused { ResponseCode::NoError } else { code };
                Resumed::Complete(self.reply.with(code))
            }
            Outcome::Ignore(_) | Outcome::Transfer(_) => Resumed::Complete(self.failed()),
        }
    }

    /// What the client is sent when nobody has an answer: SERVFAIL, so that it asks another resolver.
    pub fn failed(self) -> Reply {
        self.servfail(extended_error::UNREACHABLE)
    }

    /// What the client is sent when too much is asked at once: SERVFAIL.
    pub fn overloaded(self) -> Reply {
        self.servfail(extended_error::OTHER)
    }

    fn servfail(self, why: u16) -> Reply {
        let mut reply = self.reply;
        reply.answers.clear();
        reply.authorities.clear();
        reply.additionals.clear();
        reply.metadata.authoritative = false;
        reply.explain(why);
        reply.with(ResponseCode::ServFail)
    }
}
