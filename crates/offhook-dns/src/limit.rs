//! Response-rate limiting: so many answers of one kind for one client, and no more.
//!
//! What is sent over UDP goes to whoever the request claims to be from. Someone who is flooded with requests in another's
//! name would flood that other with answers; here, beyond the limit, every other answer is cut down to its question
//! with TC set, and the rest are left out. Whoever really asked, asks again over TCP, where nobody can pretend to be
//! somebody else.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;

use crate::reply::Reply;
use crate::request::Request;
use crate::{Client, Transport};

/// Accounts, a power of two: 384 KiB. When two clients fall on one, the later takes it over.
const ACCOUNTS: usize = 1 << 14;

/// Of answers beyond the limit, one in so many is sent cut down.
const SLIP: u32 = 2;

/// What an answer is, as far as it is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It has records.
    Records,
    /// The name exists and has no such records, or is somebody else's.
    NoRecords,
    /// The name does not exist.
    NoName,
    /// Anything else: refused, malformed, failed.
    Error,
}

impl Kind {
    /// Of an answer with this response code and number of records in its answer section.
    pub fn of(rcode: u8, answers: u16) -> Self {
        match (rcode, answers) {
            (0, 0) => Self::NoRecords,
            (0, _) => Self::Records,
            (3, _) => Self::NoName,
            _ => Self::Error,
        }
    }
}

/// What is to become of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// It is sent without its records, with TC.
    Truncate,
    /// It is not sent.
    Drop,
}

/// Counts answers.
#[derive(Debug)]
pub struct RateLimit {
    /// A second and kind, for a client that is answered; 0 is no limit.
    answers: u32,
    /// The same for the network of one that is refused.
    refusals: u32,
    accounts: Box<[Account]>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Whose it is.
    tag: u32,
    /// Seconds since some time.
    second: u32,
    /// Answers in that second.
    count: u32,
    /// Answers beyond the limit, since it was first reached.
    beyond: u32,
}

impl RateLimit {
    /// At most so many answers a second of one kind to one client, and so many refusals to one network; 0 is no limit.
    pub fn new(answers: u32, refusals: u32) -> Self {
        let accounts = vec![Account::default(); accounts(answers, refusals)];
        Self { answers, refusals, accounts: accounts.into(), hasher: RandomState::new() }
    }

    /// The same limits with other numbers from now on; what was sent so far counts. Costs next to nothing when they are
    /// as they were.
    pub fn set(&mut self, answers: u32, refusals: u32) {
        if (answers, refusals) == (self.answers, self.refusals) {
            return;
        }
        (self.answers, self.refusals) = (answers, refusals);
        let accounts = accounts(answers, refusals);
        if accounts != self.accounts.len() {
            self.accounts = vec![Account::default(); accounts].into();
        }
    }

    /// Whether answers to a client are counted; `is_refused` says that none of its questions is answered.
    pub fn counts(&self, is_refused: bool) -> bool {
        (if is_refused { self.refusals } else { self.answers }) > 0
    }

    /// What is to become of one more answer of this kind. `now` is since any time in the past.
    pub fn pass(&mut self, now: Duration, client: Client, kind: Kind, is_refused: bool) -> Verdict {
        let limit = if is_refused { self.refusals } else { self.answers };
        if limit == 0 || client.transport == Transport::Tcp {
            return Verdict::Send;
        }
        // A whole network's worth of senders is one to who cannot tell them apart.
        let whose = if is_refused { network(client.address) } else { client.address };
        let hash = self.hasher.hash_one((whose, kind, is_refused));
        let tag = (hash >> 32) as u32;
        let second = now.as_secs() as u32;
        let Some(account) = self.accounts.get_mut(hash as usize % ACCOUNTS) else {
            return Verdict::Send;
        };
        if account.tag != tag {
            *account = Account { tag, second, count: 0, beyond: 0 };
        }
        if account.second != second {
            if account.count <= limit {
                account.beyond = 0;
            }
            (account.second, account.count) = (second, 0);
        }
        account.count = account.count.saturating_add(1);
        if account.count <= limit {
            return Verdict::Send;
        }
        account.beyond = account.beyond.wrapping_add(1);
        if account.beyond % SLIP == 0 { Verdict::Truncate } else { Verdict::Drop }
    }
}

/// How many accounts are needed.
fn accounts(answers: u32, refusals: u32) -> usize {
    if answers == 0 && refusals == 0 { 0 } else { ACCOUNTS }
}

/// The /24 or /56 that an address is in.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & 0xffff_ff00).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 72 << 72).into()),
    }
}

/// An answer to a request without what it should say: its question, TC, and OPT where that was asked for.
pub fn truncated(packet: &[u8], client: Client, is_refused: bool) -> Option<Reply> {
    let request = Request::read(packet).ok()?;
    let mut reply = Reply::to(&request, client);
    reply.metadata.truncation = true;
    Some(if is_refused { reply.with(ResponseCode::Refused) } else { reply })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::{A, NOERROR, Query, REFUSED, Reply};

    fn udp(address: &str) -> Client {
        Client { address: address.parse().unwrap(), transport: Transport::Udp }
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(1_000_000 + millis)
    }

    #[test]
    fn beyond_the_limit_every_other_answer_is_cut_and_the_rest_are_silence() {
        let mut limit = RateLimit::new(3, 0);
        let mut next =
            |millis, address: &str, kind| limit.pass(at(millis), udp(address), kind, false);
        use Verdict::{Drop, Send, Truncate};
        let said: Vec<_> = (0..9).map(|n| next(n, "10.250.1.20", Kind::Records)).collect();
        assert_eq!(said, [Send, Send, Send, Drop, Truncate, Drop, Truncate, Drop, Truncate]);
        // Others, and other kinds, are counted by themselves; a second later it is all over.
        assert_eq!(next(10, "10.250.1.21", Kind::Records), Send);
        assert_eq!(next(10, "10.250.1.20", Kind::NoName), Send);
        assert_eq!(next(10, "10.250.1.20", Kind::Records), Drop);
        assert_eq!(next(1000, "10.250.1.20", Kind::Records), Send);
    }

    #[test]
    fn a_network_of_strangers_is_one_and_nothing_else_is_limited_unless_it_is_said() {
        let mut limit = RateLimit::new(0, 2);
        let sent = (0..100)
            .filter(|n| {
                let client = udp(&format!("192.0.2.{n}"));
                limit.pass(at(0), client, Kind::Error, true) == Verdict::Send
            })
            .count();
        assert_eq!(sent, 2);
        assert_eq!(limit.pass(at(0), udp("192.0.3.1"), Kind::Error, true), Verdict::Send);
        let tcp = Client { transport: Transport::Tcp, ..udp("192.0.2.1") };
        for _ in 0..100 {
            assert_eq!(limit.pass(at(0), udp("10.250.1.20"), Kind::Error, false), Verdict::Send);
            assert_eq!(limit.pass(at(0), tcp, Kind::Error, true), Verdict::Send);
        }
        assert!(limit.counts(true) && !limit.counts(false));
        let mut off = RateLimit::new(0, 0);
        assert_eq!(off.pass(at(0), udp("192.0.2.1"), Kind::Error, true), Verdict::Send);
        assert!(off.accounts.is_empty());
    }

    #[test]
    fn other_limits_hold_at_once_and_what_was_sent_counts() {
        use Verdict::{Drop, Send};
        let mut limit = RateLimit::new(0, 0);
        let sent = |limit: &mut RateLimit, times| {
            let mut all =
                (0..times).map(|_| limit.pass(at(0), udp("10.250.1.20"), Kind::Records, false));
            all.find(|verdict| *verdict != Send)
        };
        assert_eq!(sent(&mut limit, 100), None);
        limit.set(3, 0);
        assert_eq!(sent(&mut limit, 2), None);
        limit.set(5, 1);
        assert_eq!(sent(&mut limit, 3), None);
        assert_eq!(sent(&mut limit, 1), Some(Drop));
        assert!(limit.counts(true));
        limit.set(0, 0);
        assert_eq!(sent(&mut limit, 100), None);
        assert!(limit.accounts.is_empty());
    }

    #[test]
    fn the_address_of_another_network_has_another_account() {
        assert_eq!(network("192.0.2.77".parse().unwrap()), "192.0.2.0".parse::<IpAddr>().unwrap());
        assert_eq!(
            network("::ffff:192.0.2.77".parse().unwrap()),
            "192.0.2.0".parse::<IpAddr>().unwrap()
        );
        let v6 = "2001:db8:1:2ff::9".parse().unwrap();
        assert_eq!(network(v6), "2001:db8:1:200::".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn what_is_cut_down_is_the_question_with_tc_and_opt() {
        let query = Query::new("VM40ic1.lab.voip", A);
        for (query, opt) in [(query.clone(), 0), (query.opt(4096, 0x8000, b""), 1)] {
            for (is_refused, rcode) in [(false, NOERROR), (true, REFUSED)] {
                let cut = truncated(&query.bytes(), udp("10.250.1.20"), is_refused).unwrap();
                let reply = Reply::read(&cut.encode().unwrap());
                assert_eq!((reply.tc(), reply.rcode, reply.opt.len()), (true, rcode, opt));
                assert_eq!(reply.questions, [("VM40ic1.lab.voip.".to_owned(), A, 1)]);
                assert_eq!((reply.id, reply.answers.len()), (0xabcd, 0));
                assert!(reply.wire.len() <= query.bytes().len());
            }
        }
        assert!(truncated(b"short", udp("10.250.1.20"), false).is_none());
    }

    #[test]
    fn kinds_follow_from_code_and_answers() {
        let kinds =
            [(0, 2), (0, 0), (3, 0), (3, 1), (5, 0), (2, 0)].map(|(rcode, n)| Kind::of(rcode, n));
        use Kind::{Error, NoName, NoRecords, Records};
        assert_eq!(kinds, [Records, NoRecords, NoName, NoName, Error, Error]);
    }
}
