//! Everything that may be said to a question, learnt by asking [`crate::answer`].

use std::net::IpAddr;

use rand::{Rng, RngExt};

use super::DIRECT_ROOM;
use super::query::Plain;
use crate::answer::{Client, Outcome, Transport, answer};
use crate::order::{EveryOrder, Order};
use crate::zones::Zones;

/// The most orders that are all kept: those of four records.
const MOST_ORDERS: usize = 24;

/// How many answers stand for all when there are more.
const SAMPLE: usize = 16;

/// What is said to a question.
#[derive(Debug)]
pub(super) enum Answers {
    /// One of these, each as likely as the other.
    All(Vec<Box<[u8]>>),
    /// Some of too many, drawn by chance. See [`refresh`].
    Some(Vec<Box<[u8]>>),
    /// Nothing that can be said from memory: somebody else is to be asked, or it does not fit.
    NotOurs,
}

/// Learns all there is to say to a question, or some of it.
pub(super) fn compile(zones: &Zones, query: &Plain<'_>, client: IpAddr) -> Answers {
    let mut every = EveryOrder::default();
    let mut found = Vec::new();
    let mut odds = None;
    loop {
        let Some(wire) = ask(zones, query, client, &mut every) else { return Answers::NotOurs };
        let as_likely = *odds.get_or_insert(every.odds()) == every.odds();
        if !as_likely || every.odds() > MOST_ORDERS {
            return Answers::Some(Vec::new());
        }
        found.push(wire);
        if !every.advance() {
            return Answers::All(found);
        }
    }
}

/// Which of `sample` to say now. Now and then one is drawn anew, so that each is as likely as it should be, though
/// one comes some sixteen times rather than once and then not for long.
pub(super) fn refresh(
    sample: &mut Vec<Box<[u8]>>,
    zones: &Zones,
    query: &Plain<'_>,
    client: IpAddr,
    rng: &mut impl Rng,
) -> Option<usize> {
    let place = rng.random_range(0..SAMPLE);
    if sample.len() < SAMPLE {
        sample.push(ask(zones, query, client, rng)?);
        return Some(sample.len() - 1);
    }
    if rng.random_range(0..SAMPLE) == 0 {
        *sample.get_mut(place)? = ask(zones, query, client, rng)?;
    }
    Some(place)
}

/// An answer to the canonical form of `query`, with all that belongs into it: what is left out for want of room
/// depends on who asks.
fn ask(
    zones: &Zones,
    query: &Plain<'_>,
    client: IpAddr,
    order: &mut impl Order,
) -> Option<Box<[u8]>> {
    let client = Client { address: client, transport: Transport::Udp };
    let Outcome::Reply(mut reply) = answer(zones, &query.canonical(), client, order) else {
        return None;
    };
    reply.allow(u16::MAX);
    reply.encode().ok().filter(|wire| wire.len() <= DIRECT_ROOM).map(Vec::into)
}
