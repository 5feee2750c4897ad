//! What happens in a case: the operations, and how often each.

use proptest::prelude::*;

use super::{CLIENTS, POOL};

#[derive(Clone, Debug)]
pub(super) enum Op {
    Discover {
        client: u8,
        link: usize,
        wish: Option<u8>,
        /// The disk has nothing to do: what is offered is written ahead.
        ahead: bool,
    },
    Select {
        client: u8,
        link: usize,
    },
    SelectOther {
        client: u8,
        link: usize,
    },
    InitReboot {
        client: u8,
        link: usize,
        address: u8,
    },
    Renew {
        client: u8,
        link: usize,
        address: u8,
    },
    Release {
        client: u8,
        link: usize,
    },
    Decline {
        client: u8,
        link: usize,
    },
    Wait(u16),
    /// The store makes the oldest decision durable.
    Commit,
    /// The store cannot.
    Fail,
    /// SIGKILL: of the decisions under way, this many were written; no ACK left.
    Crash(usize),
    /// Somebody answers for an address, if the server has asked.
    InUse {
        link: usize,
        address: u8,
        by: User,
    },
    /// A new configuration.
    Reload(Rules),
    /// Somebody sets the wall clock, once all under way is durable.
    Clock(Clock),
    /// SIGKILL, and the wall clock is set while the server is away.
    ClockAway(Clock),
}

/// Who is found to use an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// None of the clients.
    Stranger,
    /// One of them, that has no lease of it.
    Client(u8),
    /// An echo came back, and says no more.
    Unknown,
}

/// What the wall clock is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// So many hours from what time it is.
    Off(i64),
    /// It has lost its battery.
    Unset,
}

/// What a configuration says of the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    Plain,
    /// An address is kept for client 0 in the voice scope.
    Kept(u8),
    /// The last address of each pool is for phones.
    Divided,
    /// Half of each pool is for clients that are known.
    Shared,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    let link = 0..2_usize;
    let address = POOL[0]..=POOL[1];
    let who = (client, link);
    prop_oneof![
        4 => (who.clone(), proptest::option::of(address.clone()), any::<bool>())
            .prop_map(|((client, link), wish, ahead)| Op::Discover { client, link, wish, ahead }),
        6 => who.clone().prop_map(|(client, link)| Op::Select { client, link }),
        1 => who.clone().prop_map(|(client, link)| Op::SelectOther { client, link }),
        2 => (who.clone(), address.clone())
            .prop_map(|((client, link), address)| Op::InitReboot { client, link, address }),
        2 => (who.clone(), address.clone())
            .prop_map(|((client, link), address)| Op::Renew { client, link, address }),
        1 => who.clone().prop_map(|(client, link)| Op::Release { client, link }),
        1 => who.prop_map(|(client, link)| Op::Decline { client, link }),
        2 => prop_oneof![0..30_u16, 0..900_u16, Just(u16::MAX)].prop_map(Op::Wait),
        6 => Just(Op::Commit),
        1 => Just(Op::Fail),
        1 => (0..4_usize).prop_map(Op::Crash),
        1 => (0..2_usize, address.clone(), user())
            .prop_map(|(link, address, by)| Op::InUse { link, address, by }),
        1 => prop_oneof![
            Just(Rules::Plain),
            address.prop_map(Rules::Kept),
            Just(Rules::Divided),
            Just(Rules::Shared),
        ]
        .prop_map(Op::Reload),
        1 => clock().prop_map(Op::Clock),
        1 => clock().prop_map(Op::ClockAway),
    ]
}

fn user() -> impl Strategy<Value = User> {
    prop_oneof![Just(User::Stranger), (0..CLIENTS).prop_map(User::Client), Just(User::Unknown),]
}

fn clock() -> impl Strategy<Value = Clock> {
    const YEAR: i64 = 365 * 24;
    prop_oneof![
        prop::sample::select(vec![0, 10, -10, 1, -1, 20 * YEAR, -2 * YEAR]).prop_map(Clock::Off),
        Just(Clock::Unset),
    ]
}
