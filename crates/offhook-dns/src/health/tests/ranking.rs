//! What the states of servers change in the answers.

use std::collections::BTreeSet;

use offhook_model::{Order, Origin, Proxy, SipPorts, Site, Switchover};
use proptest::prelude::*;

use crate::health::Ranking;
use crate::tests::support::{A, Query, Reply, SRV, host, lab, name, reply};
use crate::{Transport, Zones};

/// The sample pair, in this order of answers.
fn pair(order: Order) -> Site {
    let mut site = lab();
    site.switchovers[0].order = order;
    site
}

/// A second site's pair beside it, with a worse priority, and a pool of proxies.
fn two_sites(first: Order, second: Order) -> Site {
    let mut site = pair(first);
    let hosts = [("cic3.lab.voip", [10, 251, 1, 1]), ("cic4.lab.voip", [10, 251, 1, 2])];
    for (label, address) in hosts {
        site.hosts.push(host(label, address));
    }
    let hosts: Vec<_> = hosts.iter().map(|&(host, address)| (name(host), address.into())).collect();
    let sip = SipPorts { udp: Some(8060), tcp: None, tls: None };
    site.switchovers.push(Switchover {
        sip,
        priority: 10,
        order: second,
        ..Switchover::new(name("away.lab.voip"), hosts.clone(), Origin::default("test"))
    });
    site.proxies.push(Proxy {
        name: name("proxies.lab.voip"),
        hosts,
        sip,
        health: None,
        order: second,
        ttl: 5,
        origin: Origin::default("test"),
    });
    site
}

/// The zones of `site` with these servers dead, by group and host.
fn ranked(site: &Site, dead: &[(usize, usize)]) -> Zones {
    let mut zones = Zones::from_site(site, 1);
    Ranking::new(site).apply(&mut zones, |group, host| !dead.contains(&(group, host)));
    zones
}

/// Asks as one of many, who are answered in any order.
fn ask(zones: &Zones, owner: &str, rtype: u16) -> Reply {
    reply(zones, &Query::new(owner, rtype).bytes(), Transport::Udp, rand::random())
}

/// Last octets, in the order of the answer.
fn addresses(zones: &Zones, owner: &str) -> Vec<u8> {
    let reply = ask(zones, owner, A);
    let data = reply.answers.iter().map(|record| &record.data);
    data.map(|data| data.rsplit('.').next().unwrap().parse().unwrap()).collect()
}

/// Priority and target of each record, in the order of the answer.
fn services(zones: &Zones, owner: &str) -> Vec<(u16, String)> {
    let reply = ask(zones, owner, SRV);
    let data = reply.answers.iter().map(|record| &record.data);
    data.map(|data| {
        let words: Vec<_> = data.split(' ').collect();
        target(words[0].parse().unwrap(), words[3].split('.').next().unwrap())
    })
    .collect()
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

const PROVISION: &str = "provision.lab.voip";
const UDP: &str = "_sip._udp.lab.voip";

fn target(priority: u16, label: &str) -> (u16, String) {
    (priority, label.to_owned())
}

#[test]
fn a_dead_server_is_last_or_not_there_or_as_good_as_any() {
    for (order, a, srv) in [
        (Order::Random, vec![151, 152], vec![target(0, "vm40ic1"), target(0, "vm40ic2")]),
        (Order::ActiveFirst, vec![152, 151], vec![target(0, "vm40ic2"), target(1, "vm40ic1")]),
        (Order::ActiveOnly, vec![152], vec![target(0, "vm40ic2")]),
    ] {
        let site = pair(order);
        let zones = ranked(&site, &[(0, 0)]);
        let mut seen = BTreeSet::new();
        for _ in 0..40 {
            let (a_now, srv_now) = (addresses(&zones, PROVISION), services(&zones, UDP));
            if order == Order::Random {
                seen.insert(a_now.clone());
                assert_eq!((sorted(a_now), sorted(srv_now)), (a.clone(), srv.clone()));
            } else {
                assert_eq!((a_now, srv_now), (a.clone(), srv.clone()), "{order:?}");
            }
        }
        assert!(order != Order::Random || seen.len() == 2);
        // Hosts are there under their own names, whatever they do, and so are their addresses beside SRV records.
        assert_eq!(addresses(&zones, "vm40ic1.lab.voip"), [151]);
        let reply = ask(&zones, UDP, SRV);
        assert_eq!(reply.additionals.iter().filter(|record| record.rtype == A).count(), srv.len());
    }
}

#[test]
fn with_nobody_alive_it_is_as_if_everybody_were() {
    for order in [Order::ActiveFirst, Order::ActiveOnly] {
        let site = pair(order);
        let zones = ranked(&site, &[(0, 0), (0, 1)]);
        let leaders: BTreeSet<_> = (0..40).map(|_| addresses(&zones, PROVISION)).collect();
        assert_eq!(leaders, BTreeSet::from([vec![151, 152], vec![152, 151]]), "{order:?}");
        let expected = [target(0, "vm40ic1"), target(0, "vm40ic2")];
        assert_eq!(sorted(services(&zones, UDP)), expected);
    }
}

#[test]
fn a_live_server_of_the_other_site_goes_before_a_dead_one_of_this() {
    let site = two_sites(Order::ActiveFirst, Order::ActiveFirst);
    let all = ["vm40ic1", "vm40ic2", "cic3", "cic4"];
    let expect = |dead: &[(usize, usize)], priorities: [u16; 4]| {
        let expected = priorities.into_iter().zip(all).map(|(it, label)| target(it, label));
        assert_eq!(
            sorted(services(&ranked(&site, dead), UDP)),
            sorted(expected.collect()),
            "{dead:?}"
        );
    };
    expect(&[], [0, 0, 10, 10]);
    expect(&[(0, 0)], [11, 0, 10, 10]);
    expect(&[(0, 0), (0, 1)], [11, 11, 10, 10]);
    expect(&[(0, 0), (1, 1)], [11, 0, 10, 21]);
    expect(&[(0, 0), (0, 1), (1, 0)], [11, 11, 21, 10]);
    expect(&[(0, 0), (0, 1), (1, 0), (1, 1)], [0, 0, 10, 10]);
    // Each name has its own say about its addresses.
    let zones = ranked(&site, &[(0, 0), (0, 1), (1, 0), (2, 1)]);
    assert_eq!(sorted(addresses(&zones, PROVISION)), [151, 152]);
    assert_eq!(addresses(&zones, "away.lab.voip"), [2, 1]);
    assert_eq!(addresses(&zones, "proxies.lab.voip"), [1, 2]);
    let below = services(&zones, "_sip._udp.proxies.lab.voip");
    assert_eq!(below, [target(0, "cic3"), target(1, "cic4")]);
    // A pair that nobody watches counts as alive.
    let site = two_sites(Order::ActiveOnly, Order::Random);
    let zones = ranked(&site, &[(0, 0), (0, 1), (1, 0), (1, 1)]);
    assert_eq!(sorted(services(&zones, UDP)), [target(10, "cic3"), target(10, "cic4")]);
}

#[test]
fn what_is_no_news_is_no_change() {
    let site = two_sites(Order::ActiveOnly, Order::ActiveFirst);
    let ranking = Ranking::new(&site);
    let mut zones = Zones::from_site(&site, 1);
    assert!(!ranking.apply(&mut zones, |_, _| true), "everybody counts as alive at first");
    assert!(ranking.apply(&mut zones, |group, host| (group, host) != (0, 0)));
    assert!(!ranking.apply(&mut zones, |group, host| (group, host) != (0, 0)));
    assert!(ranking.apply(&mut zones, |_, _| true));
    for (owner, rtype) in [(PROVISION, A), (UDP, SRV), ("_sip._tcp.lab.voip", SRV)] {
        let data = |reply: Reply| {
            sorted(reply.answers.into_iter().map(|it| (it.ttl, it.data)).collect::<Vec<_>>())
        };
        let fresh = ask(&Zones::from_site(&site, 1), owner, rtype);
        assert_eq!(data(fresh), data(ask(&zones, owner, rtype)), "{owner}");
    }
    let random = two_sites(Order::Random, Order::Random);
    let mut zones = Zones::from_site(&random, 1);
    assert!(!Ranking::new(&random).apply(&mut zones, |_, _| false));
}

fn orders() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Random), Just(Order::ActiveFirst), Just(Order::ActiveOnly)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However states come and go, no answer is ever empty, and none has a dead server before a live one.
    #[test]
    fn a_live_server_is_always_first_and_there_is_always_one(
        orders in (orders(), orders()),
        history in prop::collection::vec(any::<u8>(), 1..6),
    ) {
        let site = two_sites(orders.0, orders.1);
        let ranking = Ranking::new(&site);
        let mut zones = Zones::from_site(&site, 1);
        for states in history {
            let is_alive = |group: usize, host: usize| states >> (2 * group + host) & 1 == 1;
            ranking.apply(&mut zones, is_alive);
            for (group, owner) in [PROVISION, "away.lab.voip", "proxies.lab.voip"].into_iter().enumerate() {
                let order = [orders.0, orders.1, orders.1][group];
                let first = [151, 1, 1][group];
                let answer = addresses(&zones, owner);
                let alive: Vec<_> = answer.iter().map(|it| is_alive(group, usize::from(it - first))).collect();
                let living = usize::from(is_alive(group, 0)) + usize::from(is_alive(group, 1));
                let expected = if order == Order::ActiveOnly && living > 0 { living } else { 2 };
                prop_assert_eq!(answer.len(), expected);
                prop_assert!(order == Order::Random || alive.is_sorted_by_key(|alive| !alive));
            }
            let below = services(&zones, UDP);
            prop_assert!(!below.is_empty());
        }
    }
}
