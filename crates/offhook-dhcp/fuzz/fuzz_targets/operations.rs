//! Clients that do anything in any order, a store that is late, fails or loses power: nobody is ever told that an
//! address is theirs while somebody else was told so.
#![no_main]

#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/dhcp/support.rs"]
mod support;

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook_dhcp::Decision;
use offhook_model::Time;
use support::{BROADCAST, Message, Read, Server, links, mac};

/// The address and until when.
type Belief = (Ipv4Addr, Time);

struct UnderWay {
    client: u8,
    sent: u64,
    at: Time,
    decision: Decision,
}

struct World {
    server: Server,
    under_way: VecDeque<UnderWay>,
    /// How many messages each client has sent; answers to older ones are not believed.
    sent: HashMap<u8, u64>,
    beliefs: HashMap<u8, Belief>,
}

impl World {
    fn new() -> Self {
        let mut site = support::site();
        for (scope, net) in site.scopes.iter_mut().zip(["10.250.1", "10.0.0"]) {
            scope.pools = vec![format!("{net}.20-{net}.23").parse().unwrap()];
            scope.lease = Duration::from_secs(600);
        }
        Self {
            server: Server::new(site),
            under_way: VecDeque::new(),
            sent: HashMap::new(),
            beliefs: HashMap::new(),
        }
    }

    /// Client numbers below 8; the lowest bit is the link a client is on, for good.
    fn send(&mut self, kind: u8, client: u8, last: u8) {
        let link = usize::from(client & 1);
        let [a, b, c, _] = links()[link].address.octets();
        let address = Ipv4Addr::new(a, b, c, 20 + last % 5);
        let ours = links()[link].address.octets();
        let message = match kind {
            0 => Message::discover(mac(client)),
            1 => Message::discover(mac(client)).with(50, address.octets()),
            2 | 3 => Message::request(mac(client)).with(50, address.octets()).with(54, ours),
            4 => Message::request(mac(client)).with(50, address.octets()),
            5 => Message::request(mac(client)).using(address),
            6 => Message::release(mac(client), address).with(54, ours),
            _ => Message::decline(mac(client), address).with(54, ours),
        };
        let believed = self.beliefs.get(&client).map(|(address, _)| *address);
        if !(2..=5).contains(&kind) || believed != Some(address) {
            // It begins anew, gave its address up, or goes for another.
            self.beliefs.remove(&client);
        }
        let sent = self.sent.entry(client).or_default();
        *sent += 1;
        let sent = *sent;
        let source = std::net::SocketAddrV4::new(message.ciaddr, 68);
        let decision = self.server.decide_from(link, source, BROADCAST, &message.bytes());
        let at = self.server.now;
        let one = UnderWay { client, sent, at, decision };
        match one.decision.ticket {
            Some(_) => self.under_way.push_back(one),
            None => self.deliver(&one),
        }
    }

    fn deliver(&mut self, one: &UnderWay) {
        let Ok(reply) = &one.decision.reply else { return };
        let read = Read::new(&reply.bytes);
        if self.sent.get(&one.client) != Some(&one.sent) {
            return;
        }
        match read.message_type() {
            5 => {
                let seconds = u32::from_be_bytes(read.option(51).unwrap().try_into().unwrap());
                let until = one.at + Duration::from_secs(seconds.into());
                let address = read.yiaddr();
                let now = self.server.now;
                let others = self.beliefs.iter().filter(|(client, _)| **client != one.client);
                for (client, (theirs, theirs_until)) in others {
                    assert!(
                        *theirs != address || *theirs_until <= now,
                        "{address} is client {client}'s until {theirs_until}, and client {}'s at {now}",
                        one.client
                    );
                }
                self.beliefs.insert(one.client, (address, until));
            }
            6 => {
                self.beliefs.remove(&one.client);
            }
            _ => {}
        }
    }

    fn commit(&mut self) {
        if let Some(one) = self.under_way.pop_front() {
            self.server.commit(&one.decision);
            self.deliver(&one);
        }
    }

    fn fail(&mut self) {
        let ticket = self.under_way.pop_front().and_then(|one| one.decision.ticket);
        if let Some(ticket) = ticket {
            self.server.core.failed(ticket);
        }
    }

    fn crash(&mut self, written: usize) {
        for one in self.under_way.drain(..).take(written) {
            support::write(&mut self.server.disk, &one.decision.writes);
        }
        self.server.restart();
    }
}

fuzz_target!(|input: &[u8]| {
    let mut world = World::new();
    for pair in input.chunks_exact(2).take(400) {
        let [what, with] = [pair[0], pair[1]];
        match what % 14 {
            kind @ 0..=7 => world.send(kind, with & 7, with >> 3),
            8..=10 => world.commit(),
            11 => world.fail(),
            12 if with < 200 => world.server.wait(u64::from(with) * u64::from(with) / 16),
            12 => {
                world.server.core.tick(world.server.now);
            }
            _ => world.crash(usize::from(with & 3)),
        }
    }
    while !world.under_way.is_empty() {
        world.commit();
    }
    assert_eq!(world.server.core.unsettled_count(), 0);
});
