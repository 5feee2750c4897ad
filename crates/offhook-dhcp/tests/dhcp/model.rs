//! Random operations against what clients believe: two clients never believe in one address, and what was
//! acknowledged is there after a crash between any two steps.
//!
//! A case is some 60 operations: `PROPTEST_CASES=17000` makes a million of them.

mod operations;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use offhook_dhcp::{Ahead, Decision, NoReply};
use offhook_model::{Lease, LeaseState, LeaseWrite, Mac, Time};
use proptest::prelude::*;

use crate::support::*;
use operations::{Clock, Op, Rules, User, op};

const CLIENTS: u8 = 5;
const POOL: [u8; 2] = [20, 23];
const LEASE: Duration = Duration::from_secs(600);
/// How long an offer is safe; when addresses run short it is somebody else's after that.
const CLAIM: Duration = Duration::from_secs(5);

/// The clients from this one on are phones, and say so.
const PHONES: u8 = 3;

fn from(client: u8, message: Message) -> Message {
    if client < PHONES { message } else { message.with(60, b"440HD") }
}

fn small_site() -> offhook_model::Site {
    let mut site = site();
    for (scope, net) in site.scopes.iter_mut().zip(["10.250.1", "10.0.0"]) {
        scope.pools = vec![format!("{net}.{}-{net}.{}", POOL[0], POOL[1]).parse().unwrap()];
        scope.lease = LEASE;
        scope.probe = true;
    }
    site.dhcp.client_rate = 0;
    site
}

fn site_with(rules: Rules) -> offhook_model::Site {
    let mut site = small_site();
    match rules {
        Rules::Plain => {}
        Rules::Kept(last) => {
            let kept = address(ON_VOICE, last).to_string();
            site.phones.push(phone(mac(0), Some(&kept), Vec::new()));
        }
        Rules::Divided => {
            for (link, scope) in site.scopes.iter_mut().enumerate() {
                let [first, last] = POOL.map(|last| address(link, last));
                let open = format!("{first}-{}", address(link, POOL[1] - 1));
                let only = vec![offhook_model::PoolUser::Phones];
                let range = format!("{last}-{last}").parse().unwrap();
                scope.pools = vec![open.parse().unwrap(), offhook_model::Pool { range, only }];
            }
        }
        Rules::Shared => {
            for scope in &mut site.scopes {
                scope.reserved_share = 50;
            }
        }
    }
    site
}

fn address(link: usize, last: u8) -> Ipv4Addr {
    let [a, b, c, _] = links()[link].address.octets();
    Ipv4Addr::new(a, b, c, last)
}

/// A client on a link.
type Who = (u8, usize);

/// An address that nobody is to be given, but for who was found to use it.
#[derive(Clone, Copy)]
struct Withheld {
    until: Time,
    is_durable: bool,
    user: User,
}

impl Withheld {
    fn new(now: Time, user: User) -> Self {
        Self { until: now + Duration::from_secs(24 * 3600), is_durable: false, user }
    }
}

struct World {
    server: Server,
    /// Decided, not durable yet; with who asked and how many messages it had sent by then.
    under_way: VecDeque<(Who, u64, Time, Decision)>,
    /// The last message of each, and how many different ones it has sent: an answer to an older one is ignored.
    sent: HashMap<Who, (Vec<u8>, u64)>,
    offers: HashMap<Who, (Ipv4Addr, Time)>,
    /// Every address offered, and until when it is held come what may.
    held: HashMap<Ipv4Addr, Time>,
    beliefs: HashMap<Who, (Ipv4Addr, Time)>,
    withheld: HashMap<Ipv4Addr, Withheld>,
    /// The leases as they were before the last decision.
    before: Vec<Lease>,
    rules: Rules,
    /// Messages to be handed over again, and when.
    waiting: Vec<(Who, u64, Vec<u8>, Time)>,
    ahead: Ahead<()>,
}

impl World {
    fn new() -> Self {
        Self {
            server: Server::new(small_site()),
            under_way: VecDeque::new(),
            sent: HashMap::new(),
            offers: HashMap::new(),
            held: HashMap::new(),
            beliefs: HashMap::new(),
            withheld: HashMap::new(),
            before: Vec::new(),
            rules: Rules::Plain,
            waiting: Vec::new(),
            ahead: Ahead::default(),
        }
    }

    fn belief(&self, who: Who) -> Option<Ipv4Addr> {
        self.beliefs.get(&who).filter(|(_, until)| *until > self.server.now).map(|(a, _)| *a)
    }

    fn send(&mut self, who: Who, message: &Message) {
        let (last, sent) = self.sent.entry(who).or_default();
        *sent += u64::from(*last != message.bytes());
        *last = message.bytes();
        let sent = *sent;
        if who.1 == ON_VOICE {
            // It has left the native VLAN, and hears no answer from there any more.
            let native = (who.0, ON_NATIVE);
            self.beliefs.remove(&native);
            self.sent.entry(native).or_default().1 += 1;
        }
        let message = from(who.0, message.clone()).bytes();
        self.before = self.server.core.leases().collect();
        let decision = self.server.decide(who.1, &message);
        self.decided(who, sent, message, decision);
    }

    /// Hands over again what was to wait until now.
    fn resume(&mut self) {
        let now = self.server.core_now();
        let due: Vec<_> = self.waiting.extract_if(.., |waiting| waiting.3 <= now).collect();
        for (who, sent, message, _) in due {
            self.before = self.server.core.leases().collect();
            let decision = self.server.resume(who.1, &message);
            self.decided(who, sent, message, decision);
        }
    }

    fn decided(&mut self, who: Who, sent: u64, message: Vec<u8>, mut decision: Decision) {
        if decision.ticket.is_some() {
            if decision.reply.is_ok() {
                let goes_on = ["renewing", "rebinding"].contains(&decision.trace.reason.unwrap());
                self.assert_not_withheld(who, decision.trace.address.unwrap(), goes_on);
            }
            // A grant takes the offer's place. The client remembers it, for when it asks again.
            if let Some((_, until)) = self.offers.get_mut(&who) {
                *until = self.server.now;
            }
            if self.ahead.take(&decision.writes).is_some() {
                decision.writes.clear();
            }
            self.under_way.push_back((who, sent, self.server.now, decision));
            return;
        }
        let reply = match decision.reply {
            Ok(reply) => Read::new(&reply.bytes),
            Err(NoReply::Probing) => {
                // So does what is held for it until the network has been asked.
                if let Some((_, until)) = self.offers.get_mut(&who) {
                    *until = self.server.now;
                }
                let address = decision.trace.address.unwrap();
                self.held.insert(address, self.server.now + Duration::from_secs(30));
                return self.waiting.push((who, sent, message, decision.hold.unwrap()));
            }
            Err(NoReply::PoolFull) => return self.assert_full(who),
            Err(NoReply::ReservedShare) => return self.assert_stranger(who),
            Err(_) => return,
        };
        match reply.message_type() {
            2 => {
                let until = self.server.now + CLAIM;
                let offered = reply.yiaddr();
                for (other, (address, until)) in &self.offers {
                    let live = *until > self.server.now;
                    assert!(!live || *other == who || *address != offered, "offered to two");
                }
                self.assert_nobody_else_believes_in(who, offered);
                self.assert_not_withheld(who, offered, false);
                self.offers.insert(who, (offered, until));
                // From who has it, it is not taken back.
                let own = self.server.core.lease_at(offered);
                let has_it = own.is_some_and(|lease| lease.is_live(self.server.wall()))
                    || self.changing().any(|address| address == offered);
                let hold = if has_it { Duration::from_secs(30) } else { CLAIM };
                self.held.insert(offered, self.server.now + hold);
            }
            6 => {
                self.beliefs.remove(&who);
                self.offers.remove(&who);
            }
            other => panic!("message {other} without a ticket"),
        }
    }

    fn assert_nobody_else_believes_in(&self, who: Who, address: Ipv4Addr) {
        for (other, (believed, until)) in &self.beliefs {
            let live = *until > self.server.now;
            assert!(!live || *other == who || *believed != address, "{other:?} has {address}");
        }
    }

    /// Only who is found to use an address gets it, or, where nobody knows more, who says that it goes on with it.
    fn assert_not_withheld(&self, who: Who, address: Ipv4Addr, goes_on: bool) {
        let withheld = self.withheld.get(&address).filter(|it| it.until > self.server.now);
        let Some(Withheld { user, .. }) = withheld else { return };
        let is_its = match user {
            User::Stranger => false,
            User::Client(client) => *client == who.0,
            User::Unknown => goes_on,
        };
        // It was, and has been given it since, or been given it and left it.
        let has_it = self.before.iter().any(|lease| {
            let is_its = lease.hardware == mac(who.0).into() && lease.state != LeaseState::Declined;
            is_its && lease.address == address
        });
        assert!(is_its || has_it, "{who:?} gets {address}, which {user:?} uses");
    }

    /// What is kept for known clients is kept from those alone that never had an address there, phones or not.
    fn assert_stranger(&self, who: Who) {
        assert_eq!(self.rules, Rules::Shared);
        assert!(!self.was_here(who), "{who:?} was here before");
    }

    fn was_here(&self, (client, link): Who) -> bool {
        let scope = &self.server.site.scopes[link].name;
        self.server.core.leases().any(|lease| {
            lease.hardware == mac(client).into()
                && *lease.scope == **scope
                && lease.state != LeaseState::Declined
        })
    }

    /// The addresses that decisions under way are about. What was written ahead is not among their writes.
    fn changing(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.under_way.iter().flat_map(|(_, _, _, decision)| {
            decision.writes.iter().map(LeaseWrite::address).chain(decision.trace.address)
        })
    }

    /// "Full" is true only when every address that the client may have is somebody's.
    fn assert_full(&self, (client, link): Who) {
        let now = self.server.now;
        let wall = self.server.wall();
        let leased = self.server.core.leases().filter(|lease| {
            lease.is_live(wall) || lease.state == LeaseState::Declined && wall < lease.expires
        });
        let held = self.held.iter().filter(|(_, until)| **until > now).map(|(address, _)| *address);
        let mut used: HashSet<_> = leased.map(|lease| lease.address).collect();
        used.extend(held.chain(self.changing()));
        if self.rules == Rules::Shared && !self.was_here((client, link)) {
            // What was offered to one that is known is not for one that is not, taken up or not.
            used.extend(self.server.core.offered());
        }
        for last in POOL[0]..=POOL[1] {
            let address = address(link, last);
            let kept = self.rules == Rules::Kept(last) && link == ON_VOICE;
            let for_phones = self.rules == Rules::Divided && last == POOL[1] && client < PHONES;
            assert!(used.contains(&address) || kept || for_phones, "{address} is lost");
        }
    }

    /// What is offered is written, as the shell does it while its disk is idle.
    fn write_ahead(&mut self, link: usize, discover: &[u8], offered: Ipv4Addr) {
        if !self.under_way.is_empty() || !self.ahead.has_room() {
            return;
        }
        let Some(lease) = self.server.foresee(link, discover, offered) else { return };
        if self.ahead.note(lease.clone(), ()) {
            let writes = [LeaseWrite::Put(lease)];
            write(&mut self.server.disk, &writes);
            self.note_written(&writes);
        }
    }

    /// What became of it is written: once a second, and of `all` when the clock was set.
    fn write_outcomes(&mut self, all: bool) {
        let outcomes = self.ahead.outcomes(&self.server.core, all);
        // After everything that was decided before.
        while !outcomes.is_empty() && !self.under_way.is_empty() {
            self.commit();
        }
        write(&mut self.server.disk, &outcomes);
        self.note_written(&outcomes);
    }

    fn commit(&mut self) {
        let Some((who, sent, at, decision)) = self.under_way.pop_front() else { return };
        self.server.commit(&decision);
        self.note_written(&decision.writes);
        let Ok(reply) = decision.reply else { return };
        let ack = Read::new(&reply.bytes);
        assert_eq!(ack.message_type(), 5);
        // It may have declined it since, or given it back.
        let since = self.server.core.lease_at(ack.yiaddr());
        if since.is_none_or(|lease| lease.state != LeaseState::Declined) {
            self.withheld.remove(&ack.yiaddr());
        }
        if self.sent.get(&who).is_some_and(|(_, last)| *last == sent)
            && at + LEASE > self.server.now
        {
            self.assert_nobody_else_believes_in(who, ack.yiaddr());
            self.beliefs.insert(who, (ack.yiaddr(), at + LEASE));
            self.offers.remove(&who);
        }
    }

    fn note_written(&mut self, writes: &[LeaseWrite]) {
        for write in writes {
            let (address, state) = match write {
                LeaseWrite::Put(lease) => (lease.address, Some(lease.state)),
                LeaseWrite::Remove(address) => (*address, None),
            };
            if let Some(withheld) = self.withheld.get_mut(&address) {
                withheld.is_durable = state == Some(LeaseState::Declined);
            }
        }
    }

    /// What the wall clock shows when it is set so.
    fn wall(&self, clock: Clock) -> Time {
        match clock {
            Clock::Off(hours) => {
                let millis = self.server.now.as_millis();
                Time::from_millis(millis.saturating_add_signed(hours * 3_600_000))
            }
            Clock::Unset => Time::from_secs(40),
        }
    }

    fn crash(&mut self, written: usize, wall: Time) {
        for (.., decision) in std::mem::take(&mut self.under_way).iter().take(written) {
            write(&mut self.server.disk, &decision.writes);
            self.note_written(&decision.writes);
        }
        self.withheld.retain(|_, withheld| withheld.is_durable);
        self.offers.clear();
        self.held.clear();
        self.waiting.clear();
        self.ahead = Ahead::default();
        self.server.restart_at(wall);
        self.assert_nothing_is_lost(wall);
    }

    /// Makes durable what is on disk with wrong times.
    fn rewrite(&mut self) {
        while let Some((ticket, writes)) = self.server.core.rewrite(2) {
            write(&mut self.server.disk, &writes);
            self.note_written(&writes);
            self.server.core.committed(ticket);
        }
    }

    fn step(&mut self, op: &Op) {
        self.server.core.probes(self.server.core_now());
        self.resume();
        match *op {
            Op::Discover { client, link, wish, ahead } => {
                let mut message = Message::discover(mac(client));
                if let Some(last) = wish {
                    message = message.with(50, address(link, last).octets());
                }
                let before = self.offers.get(&(client, link)).copied();
                self.send((client, link), &message);
                let now = self.offers.get(&(client, link)).copied();
                if let Some((offered, _)) = now.filter(|_| ahead && now != before) {
                    let discover = from(client, message).bytes();
                    self.write_ahead(link, &discover, offered);
                }
            }
            Op::Select { client, link } => {
                if let Some((offered, _)) = self.offers.get(&(client, link)).copied() {
                    // Who takes another address has left the one it had.
                    if self.belief((client, link)) != Some(offered) {
                        self.beliefs.remove(&(client, link));
                    }
                    let message = Message::request(mac(client))
                        .with(50, offered.octets())
                        .with(54, links()[link].address.octets());
                    self.send((client, link), &message);
                }
            }
            Op::SelectOther { client, link } => {
                self.offers.remove(&(client, link));
                let message = Message::request(mac(client))
                    .with(50, address(link, 99).octets())
                    .with(54, address(link, 9).octets());
                self.send((client, link), &message);
            }
            Op::InitReboot { client, link, address: last } => {
                let wanted = self.belief((client, link)).unwrap_or(address(link, last));
                self.send((client, link), &Message::request(mac(client)).with(50, wanted.octets()));
            }
            Op::Renew { client, link, address: last } => {
                let wanted = self.belief((client, link)).unwrap_or(address(link, last));
                self.send((client, link), &Message::request(mac(client)).using(wanted));
            }
            Op::Release { client, link } => {
                if let Some((held, _)) = self.beliefs.remove(&(client, link)) {
                    self.send((client, link), &Message::release(mac(client), held));
                }
            }
            Op::Decline { client, link } => {
                if let Some((held, until)) = self.beliefs.remove(&(client, link)) {
                    let waiting = self.under_way.len();
                    self.send((client, link), &Message::decline(mac(client), held));
                    let now = self.server.now;
                    let is_taken = self.under_way.len() > waiting;
                    assert!(is_taken || until <= now, "the decline of its holder is not believed");
                    if is_taken {
                        self.withheld.insert(held, Withheld::new(now, User::Stranger));
                    }
                } else if let Some((offered, until)) = self.offers.remove(&(client, link)) {
                    // Its probe met another, before it requested what it was offered.
                    let waiting = self.under_way.len();
                    self.send((client, link), &Message::decline(mac(client), offered));
                    let now = self.server.now;
                    let is_taken = self.under_way.len() > waiting;
                    let is_over = until <= now || self.withheld.contains_key(&offered);
                    assert!(is_taken || is_over, "the decline of an offer is not believed");
                    if is_taken {
                        self.withheld.insert(offered, Withheld::new(now, User::Stranger));
                    }
                }
            }
            Op::Wait(seconds) => {
                self.write_outcomes(false);
                // What waits for a probe is handed over when it is due, not whenever something else happens.
                if let Some(due) = self.waiting.iter().map(|waiting| waiting.3).max() {
                    self.server.now = self.server.now + due.since(self.server.core_now());
                    self.resume();
                }
                self.server.wait(if seconds == u16::MAX { 24 * 3600 } else { seconds.into() });
            }
            Op::Commit => self.commit(),
            Op::Fail => {
                if let Some((.., decision)) = self.under_way.pop_front() {
                    self.server.core.failed(decision.ticket.unwrap());
                }
            }
            Op::Crash(written) => self.crash(written, self.server.wall()),
            Op::Clock(clock) => {
                while !self.under_way.is_empty() {
                    self.commit();
                }
                let (now, wall) = (self.server.core_now(), self.wall(clock));
                self.server.core.follow(now, wall);
                self.write_outcomes(true);
            }
            Op::ClockAway(clock) => {
                let (then, wall) = (self.server.wall(), self.wall(clock));
                // By how much it was set cannot be told from how long the server was away.
                let is_plausible =
                    wall > then && wall.since(then) < Duration::from_secs(183 * 86_400);
                self.crash(0, if is_plausible { then } else { wall });
            }
            Op::InUse { link, address: last, by: user } => {
                let address = address(link, last);
                let (now, core_now) = (self.server.now, self.server.core_now());
                let by = match user {
                    User::Stranger => Some(Mac([2, 9, 9, 9, 9, 9])),
                    User::Client(client) => Some(mac(client)),
                    User::Unknown => None,
                };
                // Who had it last may be about to leave.
                let lingers = self.server.core.lease_at(address).is_some_and(|lease| {
                    lease.state != LeaseState::Declined && lease.hardware.mac() == by
                });
                if let Some((ticket, writes)) = self.server.core.in_use(core_now, address, by) {
                    self.assert_nobody_else_believes_in((u8::MAX, link), address);
                    self.held.remove(&address);
                    for (_, until) in self.offers.values_mut().filter(|(at, _)| *at == address) {
                        *until = now;
                    }
                    let mut withheld = Withheld::new(now, user);
                    if lingers {
                        withheld.until = now + Duration::from_secs(300);
                    }
                    self.withheld.insert(address, withheld);
                    let trace = offhook_dhcp::Trace::default();
                    let (reply, ticket) = (Err(NoReply::Declined), Some(ticket));
                    let decision = Decision { reply, writes, ticket, hold: None, trace };
                    self.under_way.push_back(((u8::MAX, link), 0, now, decision));
                }
            }
            Op::Reload(rules) => {
                self.rules = rules;
                let site = std::sync::Arc::new(site_with(rules));
                self.server.core.set_site(site.clone(), links(), self.server.core_now());
                self.server.site = site;
                self.offers.clear();
                self.waiting.clear();
            }
        }
        self.rewrite();
        self.assert_one_lease_each();
    }

    /// Every live lease that somebody was told of is acknowledged again.
    fn assert_nothing_is_lost(&self, wall: Time) {
        for (who, (address, until)) in &self.beliefs {
            // Who has to move because an address was reserved is told so.
            let moves = match self.rules {
                Rules::Plain | Rules::Shared => false,
                Rules::Kept(last) => {
                    self::address(ON_VOICE, last) == *address || *who == (0, ON_VOICE)
                }
                Rules::Divided => who.0 < PHONES && address.octets()[3] == POOL[1],
            };
            if *until > self.server.now && !moves {
                let mut again = Server::lab();
                (again.site, again.disk, again.now) =
                    (self.server.site.clone(), self.server.disk.clone(), self.server.now);
                again.restart_at(wall);
                let message = Message::request(mac(who.0)).with(50, address.octets());
                let message = from(who.0, message);
                let reply = again.reply(who.1, &message);
                assert_eq!((reply.message_type(), reply.yiaddr()), (5, *address), "lost {who:?}");
            }
        }
    }

    fn assert_one_lease_each(&self) {
        let mut holders = HashSet::new();
        for lease in self.server.core.leases().filter(|lease| lease.is_live(self.server.wall())) {
            assert!(holders.insert((lease.client, lease.scope)), "two leases for one client");
        }
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn no_address_is_two_clients_and_no_lease_is_lost(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
        }
        world.step(&Op::Crash(0));
    }
}

proptest! {
    #![proptest_config(cases(8))]

    /// Not here and there: after every single step, and whichever of the decisions under way were written by then.
    #[test]
    fn a_crash_between_any_two_steps_loses_nothing(ops in prop::collection::vec(op(), 1..24)) {
        for steps in 0..=ops.len() {
            for written in 0.. {
                let mut world = World::new();
                ops.iter().take(steps).for_each(|op| world.step(op));
                let under_way = world.under_way.len();
                world.step(&Op::Crash(written));
                ops.iter().skip(steps).for_each(|op| world.step(op));
                world.step(&Op::Crash(0));
                if written >= under_way {
                    break;
                }
            }
        }
    }
}
