//! Addresses that somebody uses who was not asked to.

use std::net::Ipv4Addr;
use std::time::Duration;

use offhook_dhcp::{NoReply, Probe, ProbeKind};
use offhook_model::{Event, LeaseState, Mac, Site};

use crate::support::*;

const SQUATTER: Mac = Mac([2, 9, 9, 9, 9, 9]);
const A: Ipv4Addr = Ipv4Addr::new(10, 250, 1, 20);
const B: Ipv4Addr = Ipv4Addr::new(10, 250, 1, 21);

fn probing() -> Site {
    let mut lab = site();
    lab.scopes[0].probe = true;
    lab
}

impl Server {
    fn wait_millis(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    fn probed(&mut self) -> Vec<Ipv4Addr> {
        let probes = self.core.probes(self.now);
        assert!(probes.iter().all(|probe| probe.kind == ProbeKind::Arp { link: ON_VOICE }));
        probes.iter().map(|probe| probe.address).collect()
    }

    fn squat(&mut self, address: Ipv4Addr) -> Vec<Event> {
        let (ticket, writes) = self.core.in_use(self.now, address, Some(SQUATTER)).unwrap();
        write(&mut self.disk, &writes);
        self.core.committed(ticket)
    }

    /// The answer to a message that may have to wait for a probe, which nobody answers.
    fn after_its_probe(&mut self, message: &Message) -> u8 {
        let mut decision = self.decide(ON_VOICE, &message.bytes());
        if decision.hold.is_some() {
            self.wait_millis(100);
            decision = self.resume(ON_VOICE, &message.bytes());
        }
        Read::new(&decision.reply.expect("an answer").bytes).message_type()
    }
}

#[test]
fn the_addresses_that_come_next_are_probed_ahead_and_offered_at_once() {
    let mut server = Server::new(probing());
    let probed = server.probed();
    assert_eq!(probed.len(), 64);
    assert_eq!(probed[..2], [A, B]);
    assert!(server.probed().is_empty());
    server.wait_millis(100);
    let offer = server.decide(ON_VOICE, &Message::discover(mac(1)).bytes());
    assert_eq!(offer.hold, None);
    // One was taken: one more is probed.
    server.wait_millis(100);
    assert_eq!(server.probed(), [ip("10.250.1.84")]);
}

#[test]
fn an_address_in_use_is_withheld_and_never_offered() {
    let mut server = Server::new(probing());
    server.probed();
    let events = server.squat(A);
    let [Event::Declined(lease)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((lease.address, lease.state), (A, LeaseState::Declined));
    assert_eq!(lease.hardware, SQUATTER.into());
    assert_eq!(server.core.in_use(server.now, A, Some(SQUATTER)), None);
    server.restart();
    for n in 1..100 {
        assert_ne!(
            server.reply(ON_VOICE, &Message::discover(mac(n)).with(50, A.octets())).yiaddr(),
            A
        );
    }
    server.wait(24 * 3600);
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(1)).with(50, A.octets())).yiaddr(), A);
}

#[test]
fn a_machine_that_answers_for_everything_takes_eight_addresses_and_no_pool() {
    let mut server = Server::new(probing());
    let probed = server.probed();
    probed[..7].iter().for_each(|address| drop(server.squat(*address)));
    assert!(server.core.proxies().is_empty());
    server.squat(probed[7]);
    assert_eq!(server.core.proxies(), [SQUATTER]);
    for address in &probed[8..] {
        assert_eq!(server.core.in_use(server.now, *address, Some(SQUATTER)), None);
    }
    assert!(server.core.proxies().is_empty());
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr(), probed[8]);
    // Another machine is believed as ever, and so is this one about what it had, and after a day.
    assert!(server.core.in_use(server.now, probed[9], Some(mac(9))).is_some());
    server.core.probes(server.now);
    server.wait(24 * 3600);
    server.decide(ON_VOICE, &Message::discover(mac(2)).with(50, probed[0].octets()).bytes());
    server.probed();
    server.squat(probed[0]);
}

#[test]
fn who_is_found_to_use_an_address_day_after_day_has_it_withheld_as_long_each_time() {
    let mut server = Server::new(probing());
    let wish = |n| Message::discover(mac(n)).with(50, A.octets());
    for n in 0..3 {
        server.decide(ON_VOICE, &wish(n).bytes());
        server.probed();
        server.squat(A);
        server.wait(24 * 3600 - 1);
        assert_ne!(server.reply(ON_VOICE, &wish(n + 10)).yiaddr(), A, "the {n}th time");
        server.wait(1);
    }
}

#[test]
fn an_offer_waits_for_a_probe_that_is_not_answered_yet_and_its_retransmission_starts_none() {
    let mut server = Server::new(probing());
    let discover = Message::discover(mac(1)).with(50, [10, 250, 1, 140]).bytes();
    server.probed();
    for _ in 0..2 {
        let offer = server.decide(ON_VOICE, &discover);
        assert_eq!(offer.hold, Some(server.now + Duration::from_millis(100)));
    }
    let probe = Probe { address: ip("10.250.1.140"), kind: ProbeKind::Arp { link: ON_VOICE } };
    assert_eq!(server.core.probes(server.now), [probe]);
    server.wait_millis(100);
    assert_eq!(server.decide(ON_VOICE, &discover).hold, None);
}

#[test]
fn an_answer_that_comes_before_the_request_refuses_it_and_the_next_offer_is_another() {
    let mut server = Server::new(probing());
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr(), A);
    server.squat(A);
    assert_eq!(server.core.offer_count(), 0);
    let request = Message::request(mac(1)).with(50, A.octets()).with(54, VOICE_ADDRESS.octets());
    assert_eq!(server.reply(ON_VOICE, &request).message_type(), 6);
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr(), B);
}

#[test]
fn in_a_storm_hardly_anybody_waits_for_long_and_few_probes_are_sent() {
    let mut server = Server::new(probing());
    let holds = (0..180).filter_map(|n| {
        let discover = Message::discover(mac(n)).bytes();
        Some(server.decide(ON_VOICE, &discover).hold?.since(server.now).as_millis())
    });
    let mut holds: Vec<_> = holds.collect();
    holds.sort_unstable();
    // Whose address is asked about waits for those who answer at once.
    assert_eq!(holds, [vec![8; 92], vec![100; 4]].concat());
    assert_eq!(server.probed().len(), 96);
    // Nor for longer than everybody would.
    let mut lab = probing();
    lab.dhcp.probe_wait = Duration::from_millis(5);
    let mut server = Server::new(lab);
    for n in 0..10 {
        let hold = server.decide(ON_VOICE, &Message::discover(mac(n)).bytes()).hold;
        assert_eq!(hold, Some(server.now + Duration::from_millis(5)));
    }
}

#[test]
fn a_storm_that_has_used_up_what_was_probed_makes_nobody_wait_for_long() {
    let mut server = Server::new(probing());
    assert_eq!(server.probed().len(), 64);
    server.wait_millis(100);
    for n in 0..110 {
        let hold = server.decide(ON_VOICE, &Message::discover(mac(n)).bytes()).hold;
        let moment = server.now + Duration::from_millis(8);
        assert!(hold.is_none_or(|until| n >= 64 && until == moment), "{n}: {hold:?}");
    }
    // Four seconds later it is over.
    server.wait_millis(4000);
    let discover = Message::discover(mac(200)).with(50, [10, 250, 1, 140]).bytes();
    assert!(server.decide(ON_VOICE, &discover).hold.is_some());
}

#[test]
fn a_client_gets_the_address_it_had_unprobed_for_ten_minutes_and_answers_for_it_itself() {
    let mut server = Server::new(probing());
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    assert_eq!(server.core.in_use(server.now, A, Some(mac(1))), None);
    let discover = Message::discover(mac(1)).bytes();
    let reboot = Message::request(mac(1)).with(50, A.octets()).bytes();
    server.wait(8 * 3600 + 599);
    let offer = server.decide(ON_VOICE, &discover);
    assert_eq!((offer.trace.address, offer.hold), (Some(A), None));
    server.wait(1);
    let soon = server.now + Duration::from_millis(100);
    let offer = server.decide(ON_VOICE, &discover);
    assert_eq!((offer.trace.address, offer.hold), (Some(A), Some(soon)));
    // It answers itself: that is no conflict.
    assert_eq!(server.core.in_use(server.now, A, Some(mac(1))), None);
    assert_eq!(server.decide(ON_VOICE, &discover).hold, Some(soon));
    // Nor does a client that comes back without asking first get it unprobed.
    server.restart();
    let wait = server.decide(ON_VOICE, &reboot);
    assert_eq!((wait.reply, wait.hold), (Err(NoReply::Probing), Some(soon)));
    server.wait_millis(100);
    let ack = server.resume(ON_VOICE, &reboot);
    assert_eq!(Read::new(&ack.reply.unwrap().bytes).message_type(), 5);
}

#[test]
fn an_address_that_a_machine_lately_had_under_another_name_is_given_back_to_it_unprobed() {
    let mut lab = probing();
    lab.phones.push(phone(mac(1), Some("10.250.1.77"), Vec::new()));
    let mut server = Server::new(lab);
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    let firmware = Message::discover(mac(1)).with(61, b"firmware");
    let offer = server.decide(ON_VOICE, &firmware.bytes());
    assert_eq!((offer.trace.address, offer.hold), (Some(ip("10.250.1.77")), None));
}

#[test]
fn an_address_that_an_administrator_no_longer_withholds_is_asked_about_anew() {
    let mut server = Server::new(probing());
    server.probed();
    server.squat(A);
    let (ticket, writes) = server.core.release(server.now, A).unwrap();
    write(&mut server.disk, &writes);
    server.core.committed(ticket);
    server.wait(1);
    let offer = server.decide(ON_VOICE, &Message::discover(mac(1)).with(50, A.octets()).bytes());
    assert_eq!(offer.trace.address, Some(A));
    assert!(offer.hold.is_some(), "it was in use a second ago");
}

#[test]
fn what_was_declined_is_nobodys_and_is_probed_before_its_last_holder_gets_it() {
    let mut server = Server::new(probing());
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    let _ = server.send(ON_VOICE, &Message::decline(mac(1), A));
    server.wait(24 * 3600);
    let discover = Message::discover(mac(1)).with(50, A.octets());
    let offer = server.decide(ON_VOICE, &discover.bytes());
    assert_eq!(offer.trace.address, Some(A));
    assert!(offer.hold.is_some());
}

#[test]
fn answers_to_what_was_not_asked_change_nothing() {
    let mut server = Server::new(probing());
    assert_eq!(server.core.in_use(server.now, ip("10.250.1.99"), Some(SQUATTER)), None);
    assert_eq!(server.core.in_use(server.now, ip("192.168.1.1"), None), None);
    // Nor what comes so late that it is an answer to nothing any more.
    assert!(server.probed().contains(&A));
    server.wait(120);
    assert_eq!(server.core.in_use(server.now, A, Some(SQUATTER)), None);
    assert_eq!((server.core.lease_count(), server.core.unsettled_count()), (0, 0));
}

#[test]
fn a_conflict_that_cannot_be_written_withholds_the_address_all_the_same() {
    let mut server = Server::new(probing());
    server.probed();
    let (ticket, _) = server.core.in_use(server.now, A, None).unwrap();
    server.core.failed(ticket);
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr(), B);
}

#[test]
fn a_scope_without_a_link_is_asked_by_icmp_and_one_that_is_not_to_be_probed_not_at_all() {
    let mut lab = probing();
    lab.scopes[0].probe = false;
    assert_eq!(Server::new(lab.clone()).core.probes(offhook_model::Time::from_secs(1)), []);
    lab.scopes[0].probe = true;
    let links = vec![links()[1]];
    let now = offhook_model::Time::from_secs(1_800_000_000);
    let mut core = offhook_dhcp::Core::new(lab.into(), links, Vec::new(), now);
    let probes = core.probes(now);
    assert_eq!(probes.len(), 64);
    assert!(probes.iter().all(|probe| probe.kind == ProbeKind::Icmp));
}

/// The `n`th of many scopes behind relays.
fn relayed(n: u16, like: &offhook_model::Scope) -> offhook_model::Scope {
    let [high, low] = n.to_be_bytes();
    let address = |last| Ipv4Addr::new(10, 100 + high, low, last);
    offhook_model::Scope {
        name: format!("scope {n}"),
        interface: None,
        subnet: format!("{}/24", address(0)).parse().unwrap(),
        pools: vec![format!("{}-{}", address(20), address(199)).parse().unwrap()],
        excluded: Vec::new(),
        ..like.clone()
    }
}

#[test]
fn a_site_of_many_scopes_is_asked_little_by_little_and_again_before_it_counts_no_more() {
    // With traffic, and without any.
    for (step, rounds) in [(200, 200), (1000, 100)] {
        let mut site = probing();
        let like = site.scopes[0].clone();
        site.phones.clear();
        // Every other one is not probed.
        site.scopes = (0..1000).map(|n| relayed(n, &like)).collect();
        site.scopes.iter_mut().step_by(2).for_each(|scope| scope.probe = false);
        let mut now = offhook_model::Time::from_secs(1_800_000_000);
        let mut core = offhook_dhcp::Core::new(site.into(), Vec::new(), Vec::new(), now);
        let mut asked_in = |rounds: u64| {
            let mut asked = std::collections::HashMap::new();
            for _ in 0..rounds {
                let probes = core.probes(now);
                assert!(probes.len() < 256 + 64, "{} at once", probes.len());
                probes.iter().for_each(|probe| *asked.entry(probe.address).or_insert(0) += 1);
                now = now + Duration::from_millis(step);
            }
            asked
        };
        let first = asked_in(rounds);
        assert_eq!(first.len(), 500 * 49);
        assert!(first.values().all(|times| *times == 1));
        for _ in 0..5 {
            let asked = asked_in(130_000 / step);
            assert_eq!(asked.len(), first.len());
            assert!(asked.values().all(|times| *times <= 2), "{:?}", asked.values().max());
        }
    }
}

#[test]
fn addresses_kept_for_phones_are_probed_ahead_where_they_are_few() {
    let with_phones = |count: u8| {
        let mut lab = probing();
        lab.scopes[0].pools = Vec::new();
        let kept = |n: u8| phone(mac(n), Some(&format!("10.250.1.{}", 150 + n)), Vec::new());
        lab.phones.extend((0..count).map(kept));
        Server::new(lab)
    };
    let mut server = with_phones(50);
    assert_eq!(server.probed().len(), 50);
    server.wait_millis(100);
    let offer = server.decide(ON_VOICE, &Message::discover(mac(7)).bytes());
    assert_eq!((offer.trace.address, offer.hold), (Some(ip("10.250.1.157")), None));
    server.lease(ON_VOICE, &Message::discover(mac(7)));
    // Not those that are leased; and a phone that answers for the address kept for it squats on nothing.
    server.wait(120);
    assert_eq!(server.probed().len(), 49);
    assert_eq!(server.core.in_use(server.now, ip("10.250.1.158"), Some(mac(8))), None);
    server.squat(ip("10.250.1.158"));
    server.wait(120);
    assert_eq!(server.probed().len(), 48);
    assert_eq!(with_phones(65).probed().len(), 0);
}

#[test]
fn a_full_pool_is_not_probed() {
    let mut lab = probing();
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.20".parse().unwrap()];
    let mut server = Server::new(lab);
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    server.probed();
    server.wait(1000);
    assert!(server.probed().is_empty());
    assert_eq!(server.send(ON_VOICE, &Message::discover(mac(2))), Err(NoReply::PoolFull));
}

/// After a lost store it is the phones themselves that are found to use their addresses.
#[test]
fn a_client_that_was_found_to_use_an_address_goes_on_with_it_and_nobody_else_gets_it() {
    const ACK: u8 = 5;
    const NAK: u8 = 6;
    let mut server = Server::new(probing());
    assert!(server.probed().contains(&A));
    let (ticket, writes) = server.core.in_use(server.now, A, Some(mac(7))).unwrap();
    let extend = |n: u8| Message::request(mac(n)).using(A);
    // Also while that is on its way to the disk.
    assert_eq!(server.after_its_probe(&extend(8)), NAK);
    assert_eq!(server.after_its_probe(&extend(7)), ACK);
    write(&mut server.disk, &writes);
    server.core.committed(ticket);
    server.restart();
    for n in 8..20 {
        assert_eq!(server.reply(ON_VOICE, &extend(n)).message_type(), NAK);
        let wish = Message::discover(mac(n)).with(50, A.octets());
        assert_ne!(server.reply(ON_VOICE, &wish).yiaddr(), A);
    }
    let wish = Message::discover(mac(7)).with(50, A.octets()).with(61, b"the phone");
    assert_eq!(server.reply(ON_VOICE, &wish).yiaddr(), A);
    // It is known by what it answers with, whatever it calls itself.
    assert_eq!(server.after_its_probe(&extend(7).with(61, b"the phone")), ACK);
    assert_eq!(server.core.in_use(server.now, A, Some(mac(7))), None);
}

#[test]
fn a_client_of_an_address_that_echoes_goes_on_with_it_where_nobody_knows_whose_echo_it_is() {
    let mut server = Server::new(probing());
    assert!(server.probed().contains(&A));
    let (ticket, writes) = server.core.in_use(server.now, A, None).unwrap();
    write(&mut server.disk, &writes);
    server.core.committed(ticket);
    server.restart();
    let wish = Message::discover(mac(7)).with(50, A.octets());
    assert_ne!(server.reply(ON_VOICE, &wish).yiaddr(), A);
    // Its word counts when it uses the address, not when it would like to.
    let reboot = Message::request(mac(7)).with(50, A.octets());
    assert_eq!(server.after_its_probe(&reboot), 6);
    let extend = Message::request(mac(7)).using(A);
    assert_eq!(server.after_its_probe(&extend), 5);
    // What was declined is withheld all the same.
    let _ = server.lease(ON_VOICE, &Message::discover(mac(9)));
    let held = server.core.leases().find(|lease| lease.hardware == mac(9).into()).unwrap().address;
    let _ = server.send(ON_VOICE, &Message::decline(mac(9), held));
    for n in [9, 10] {
        let extend = Message::request(mac(n)).using(held);
        assert_eq!(server.reply(ON_VOICE, &extend).message_type(), 6);
    }
}

#[test]
fn a_client_that_was_found_to_use_an_address_goes_on_with_it_where_strangers_get_no_other() {
    let mut lab = probing();
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.21".parse().unwrap()];
    lab.scopes[0].reserved_share = 50;
    let mut server = Server::new(lab);
    server.probed();
    let (ticket, _) = server.core.in_use(server.now, A, Some(mac(7))).unwrap();
    server.core.committed(ticket);
    assert_eq!(server.send(ON_VOICE, &Message::discover(mac(8))), Err(NoReply::ReservedShare));
    assert_eq!(server.after_its_probe(&Message::request(mac(7)).using(A)), 5);
}

#[test]
fn an_address_on_offer_to_the_client_that_was_found_to_use_it_is_offered_to_nobody_else() {
    let mut lab = probing();
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.20".parse().unwrap()];
    // While that is on its way to the disk, once it is there, and where it did not get there.
    for written in [None, Some(true), Some(false)] {
        let mut server = Server::new(lab.clone());
        server.probed();
        let (ticket, _) = server.core.in_use(server.now, A, Some(mac(7))).unwrap();
        let wish = Message::discover(mac(7)).with(50, A.octets());
        assert_eq!(server.reply(ON_VOICE, &wish).yiaddr(), A);
        match written {
            Some(true) => drop(server.core.committed(ticket)),
            Some(false) => server.core.failed(ticket),
            None => {}
        }
        // So long after an offer another may have it, when there is nothing else.
        for _ in 0..2 {
            server.wait(5);
            let other = server.send(ON_VOICE, &Message::discover(mac(8)));
            assert_eq!(other, Err(NoReply::PoolFull), "{written:?}");
            // Offered anew it is no different.
            assert_eq!(server.reply(ON_VOICE, &wish).yiaddr(), A);
        }
    }
}
