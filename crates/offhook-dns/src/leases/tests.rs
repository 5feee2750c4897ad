//! Who has which name, against a model that works it out anew each time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offhook_model::{ClientId, HardwareAddress, Lease, LeaseState, Mac, Time};
use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules { models: true, hosts: true, ttl: 300 };

fn at(seconds: u64) -> Time {
    Time::from_secs(1_000_000 + seconds)
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 250, last / 4, last)
}

/// The lease of an address: acknowledged at `now` for an hour.
fn lease(now: Time, address: Ipv4Addr, mac: u8, class: &str, host: &str) -> Lease {
    let hardware = HardwareAddress::from(Mac([0, 0x90, 0x8f, 0, 0, mac]));
    Lease {
        address,
        client: ClientId::Hardware(hardware),
        hardware,
        state: LeaseState::Bound,
        since: now,
        expires: now + Duration::from_secs(3600),
        scope: "voice".into(),
        class: (!class.is_empty()).then(|| class.into()),
        host_name: (!host.is_empty()).then(|| host.as_bytes().into()),
    }
}

fn book(rules: Rules) -> NameBook {
    NameBook::new(&"lab.voip".parse().unwrap(), rules)
}

fn put(book: &mut NameBook, now: u64, lease: &Lease) {
    book.put(at(now), lease, |_| false);
}

/// Every name with where it leads, and every address with its name.
fn published(names: &LeaseNames) -> (BTreeMap<String, Ipv4Addr>, BTreeMap<Ipv4Addr, String>) {
    let addresses =
        names.labels().map(|label| (label.to_string(), names.address_of(&label).unwrap()));
    let labels = names.addresses().map(|it| (it, names.label_of(it).unwrap().to_string()));
    let (addresses, labels): (BTreeMap<_, _>, _) = (addresses.collect(), labels.collect());
    assert_eq!(addresses.len(), names.len());
    (addresses, labels)
}

fn wire(name: &str) -> Vec<u8> {
    NameKey::of(&Name::from_ascii(name).unwrap()).as_wire().to_vec()
}

/// The TTL and data of each set.
fn records(leased: Leased<'_>) -> Vec<(u32, Vec<RData>)> {
    leased.node().rrsets.into_iter().map(|set| (set.ttl, set.data)).collect()
}

#[test]
fn a_lease_answers_by_model_and_by_host_name_and_its_address_by_one_of_them() {
    let mut book = book(RULES);
    let mut phone = lease(at(0), ip(20), 1, "440HD", "Empfang 1.example.com");
    put(&mut book, 0, &phone);
    let names = book.changed().unwrap().clone();
    assert!(book.changed().is_none());
    for (name, record) in [
        ("440hd-00908f000001.lab.voip.", RData::A(A(ip(20)))),
        ("empfang-1.lab.voip.", RData::A(A(ip(20)))),
        (
            "20.5.250.10.in-addr.arpa.",
            RData::PTR(PTR(Name::from_ascii("empfang-1.lab.voip.").unwrap())),
        ),
    ] {
        let found = names.find(&wire(name));
        assert_eq!(found.map(records), Some(vec![(60, vec![record])]), "{name}");
    }
    for (name, found) in [
        ("5.250.10.in-addr.arpa.", true),
        ("250.10.in-addr.arpa.", true),
        ("020.5.250.10.in-addr.arpa.", false),
        ("1.20.5.250.10.in-addr.arpa.", false),
        ("21.5.250.10.in-addr.arpa.", false),
        ("256.5.250.10.in-addr.arpa.", false),
        ("in-addr.arpa.", false),
        ("empfang-1.lab.local.", false),
        ("x.empfang-1.lab.voip.", false),
        ("lab.voip.", false),
        (".", false),
    ] {
        let node = names.find(&wire(name)).map(records);
        assert_eq!(node, found.then(Vec::new), "{name}");
    }

    // A renewal changes nothing that anybody could see; a client that stops calling itself so has no such name.
    phone.expires = at(7200);
    phone.since = at(3600);
    put(&mut book, 3500, &phone);
    assert!(book.changed().is_none());
    phone.host_name = None;
    put(&mut book, 3500, &phone);
    let names = book.changed().unwrap();
    assert!(names.find(&wire("empfang-1.lab.voip.")).is_none());
    assert_eq!(names.label_of(ip(20)).as_deref(), Some("440hd-00908f000001"));

    book.expire(at(7199));
    assert!(book.changed().is_none());
    assert_eq!(book.next_end(), Some(at(7200)));
    book.expire(at(7200));
    assert!(book.changed().unwrap().is_empty());
    assert_eq!(book.next_end(), None);
    assert_eq!(above(book.names()), BTreeSet::new());
}

#[test]
fn a_lease_that_is_only_told_again_takes_no_name_from_what_its_client_had_since() {
    let of = |now, address| lease(at(now), address, 1, "440HD", "desk");
    let mut book = book(RULES);
    // In the voice VLAN, in the native one in recovery mode, and back again.
    for (now, address) in [(0, ip(20)), (1, ip(200)), (2, ip(20))] {
        put(&mut book, now, &of(now, address));
    }
    let before = published(book.names());
    assert_eq!(before.0["440hd-00908f000001"], ip(20));
    book.changed();
    for address in [ip(20), ip(200)] {
        let mut again = of(1, address);
        again.expires = at(3500);
        book.restate(at(3), &again, |_| false);
    }
    assert!(book.changed().is_none());
    assert_eq!(published(book.names()), before);
    // Its times are what was told last.
    book.expire(at(3500));
    assert!(book.changed().unwrap().is_empty());
    // Of what is not known it is news.
    book.restate(at(4), &of(4, ip(200)), |_| false);
    assert_eq!(published(book.names()).0["440hd-00908f000001"], ip(200));
}

#[test]
fn who_came_first_before_a_restart_comes_first_after_it() {
    let (first, second) =
        (lease(at(0), ip(20), 1, "440HD", "desk"), lease(at(1), ip(21), 2, "440HD", "desk"));
    let mut before = book(RULES);
    put(&mut before, 0, &first);
    put(&mut before, 1, &second);
    let known: Vec<_> = before.first_holders().map(|(label, at)| (label.to_owned(), at)).collect();
    assert_eq!(known, [("desk".to_owned(), ip(20))]);

    // The first has renewed its lease since, so that the second one's is older.
    let mut after = book(RULES);
    put(&mut after, 2, &second);
    put(&mut after, 2, &first);
    assert_ne!(published(after.names()), published(before.names()));
    after.came_first("desk", ip(99));
    after.came_first("nobody", ip(20));
    assert_ne!(published(after.names()), published(before.names()));
    after.came_first("desk", ip(20));
    assert_eq!(published(after.names()), published(before.names()));
    after.remove(ip(20));
    assert_eq!(published(after.names()).0.get("desk"), Some(&ip(21)));
    assert_eq!(after.first_holders().count(), 0);
}

#[test]
fn a_name_is_remembered_for_a_third_of_a_short_lease() {
    for (seconds, limit, ttl) in [(3600, 300, 60), (90, 300, 30), (2, 300, 1), (3600, 20, 20)] {
        let mut book = book(Rules { ttl: limit, ..RULES });
        let mut short = lease(at(0), ip(20), 1, "440HD", "");
        short.expires = at(seconds);
        put(&mut book, 0, &short);
        let found = book.names().find(&wire("440hd-00908f000001.lab.voip."));
        assert_eq!(found.unwrap().node().rrsets[0].ttl, ttl);
    }
}

#[test]
fn a_name_with_an_underscore_answers_without_it_as_well() {
    let mut book = book(RULES);
    put(&mut book, 0, &lease(at(0), ip(20), 1, "Polycom", "Polycom_00908F000001"));
    let (addresses, labels) = published(book.names());
    let names = ["polycom-00908f000001", "polycom_00908f000001"];
    assert_eq!(addresses.into_keys().collect::<Vec<_>>(), names);
    assert_eq!(labels[&ip(20)], "polycom_00908f000001");
}

#[test]
fn a_name_goes_to_who_had_it_first_then_to_the_next() {
    let mut book = book(RULES);
    put(&mut book, 0, &lease(at(0), ip(21), 1, "", "desk"));
    put(&mut book, 1, &lease(at(1), ip(20), 2, "", "desk"));
    assert_eq!(book.names().address_of("desk"), Some(ip(21)));
    assert_eq!(book.names().label_of(ip(20)).as_deref(), Some("client-00908f000002"));
    // Renewing does not make the second the first, nor the first the second.
    put(&mut book, 2, &lease(at(2), ip(21), 1, "", "desk"));
    put(&mut book, 3, &lease(at(3), ip(20), 2, "", "desk"));
    assert_eq!(book.names().address_of("desk"), Some(ip(21)));
    let mut released = lease(at(0), ip(21), 1, "", "desk");
    released.state = LeaseState::Released;
    put(&mut book, 4, &released);
    assert_eq!(book.names().address_of("desk"), Some(ip(20)));
    assert_eq!(book.names().label_of(ip(20)).as_deref(), Some("desk"));
    put(&mut book, 5, &lease(at(5), ip(21), 1, "", "desk"));
    assert_eq!(book.names().address_of("desk"), Some(ip(20)));
}

#[test]
fn a_phone_with_two_leases_is_found_at_its_latest() {
    let mut book = book(RULES);
    put(&mut book, 0, &lease(at(0), ip(20), 1, "440HD", "desk"));
    put(&mut book, 1, &lease(at(1), ip(200), 1, "440HD", "desk"));
    for label in ["440hd-00908f000001", "desk"] {
        assert_eq!(book.names().address_of(label), Some(ip(200)));
    }
    assert_eq!(book.names().label_of(ip(20)).as_deref(), None);
    put(&mut book, 2, &lease(at(2), ip(20), 1, "440HD", "desk"));
    assert_eq!(book.names().address_of("desk"), Some(ip(20)));
    assert_eq!(book.names().label_of(ip(200)).as_deref(), None);
    book.remove(ip(20));
    assert_eq!(book.names().address_of("desk"), Some(ip(200)));
}

#[test]
fn nobody_takes_the_name_of_another_phone_or_of_the_configuration() {
    let mut book = book(RULES);
    put(&mut book, 0, &lease(at(0), ip(20), 9, "", "440hd-00908f000001"));
    assert_eq!(book.names().address_of("440hd-00908f000001"), Some(ip(20)));
    put(&mut book, 1, &lease(at(1), ip(21), 1, "440HD", ""));
    assert_eq!(book.names().address_of("440hd-00908f000001"), Some(ip(21)));
    assert_eq!(book.names().label_of(ip(20)).as_deref(), Some("client-00908f000009"));

    let taken = wire("vm40ic1.lab.voip.");
    let impostor = lease(at(2), ip(22), 3, "440HD", "VM40IC1");
    book.put(at(2), &impostor, |name| name == taken);
    assert_eq!(book.names().address_of("vm40ic1"), None);
    assert_eq!(book.names().label_of(ip(22)).as_deref(), Some("440hd-00908f000003"));
}

#[test]
fn what_is_published_can_be_chosen() {
    let phone = lease(at(0), ip(20), 1, "440HD", "desk");
    for (models, hosts, names) in [
        (true, true, vec!["440hd-00908f000001", "desk"]),
        (true, false, vec!["440hd-00908f000001"]),
        (false, true, vec!["desk"]),
        (false, false, vec![]),
    ] {
        let mut book = book(Rules { models, hosts, ..RULES });
        put(&mut book, 0, &phone);
        assert_eq!(published(book.names()).0.into_keys().collect::<Vec<_>>(), names);
    }
}

#[test]
fn a_name_that_the_configuration_takes_comes_back_when_it_goes_and_a_lease_has_its_other_one_meanwhile()
 {
    let mut book = book(RULES);
    put(&mut book, 0, &lease(at(0), ip(20), 1, "440HD", "desk"));
    put(&mut book, 1, &lease(at(1), ip(21), 2, "440HD", "sip"));
    let (before, snapshot) = (published(book.names()), book.changed().unwrap().clone());
    let taken = wire("desk.lab.voip.");
    book.set_rules(RULES, |_, name| name == taken);
    assert!(book.changed().is_some());
    assert_eq!(book.names().address_of("desk"), None);
    assert_eq!(book.names().label_of(ip(20)).as_deref(), Some("440hd-00908f000001"));
    assert_eq!(book.names().label_of(ip(21)).as_deref(), Some("sip"));
    assert_eq!(published(&snapshot), before, "what was published stays as it was");
    // Renewing does not bring it back, nor does anybody else get it.
    book.put(at(2), &lease(at(2), ip(20), 1, "440HD", "desk"), |name| name == taken);
    book.put(at(2), &lease(at(2), ip(22), 3, "440HD", "desk"), |name| name == taken);
    assert_eq!(book.names().address_of("desk"), None);
    book.put(at(2), &lease(at(2), ip(21), 2, "440HD", "sip"), |_| true);
    assert_eq!(published(book.names()).0.get("sip"), None);
    book.put(at(2), &lease(at(2), ip(21), 2, "440HD", "sip"), |_| false);
    assert_eq!(published(book.names()).0.get("sip"), Some(&ip(21)));
    let all_but_the_first = |address, _: &[u8]| address != ip(20);
    book.set_rules(RULES, all_but_the_first);
    assert_eq!(published(book.names()).1, BTreeMap::from([(ip(20), "desk".to_owned())]));
    book.remove(ip(22));
    assert!(book.changed().is_some());
    book.set_rules(RULES, |_, _| false);
    assert_eq!(published(book.names()), before);
    book.changed();
    book.set_rules(RULES, |_, _| false);
    assert!(book.changed().is_none(), "nothing has changed");
    book.set_rules(Rules { ttl: 7, ..RULES }, |_, _| false);
    let found = book.changed().unwrap().find(&wire("desk.lab.voip.")).map(records);
    assert_eq!(found, Some(vec![(7, vec![RData::A(A(ip(20)))])]));
}

/// The empty non-terminals.
fn above(names: &LeaseNames) -> BTreeSet<u32> {
    let all = Ipv4Addr::new(10, 250, 0, 0).to_bits()..=Ipv4Addr::new(10, 250, 255, 0).to_bits();
    let all = all.step_by(256).flat_map(|address| Octets::of(Ipv4Addr::from_bits(address)));
    all.filter(|octets| names.is_above(*octets)).map(|octets| octets.0).collect()
}

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Acknowledge { address: u8, mac: u8, class: u8, host: u8, seconds: u64 },
    GiveBack(u8),
    Forget(u8),
    Wait(u64),
    Configure(Granted),
}

/// What leases may be called.
#[derive(Clone, Debug)]
struct Granted {
    rules: Rules,
    /// What the configuration has.
    taken: &'static str,
    /// The scopes have no addresses beyond.
    last: u8,
}

impl Granted {
    fn refuses(&self, address: Ipv4Addr, name: &[u8]) -> bool {
        address > ip(self.last) || name == wire(&format!("{}.lab.voip.", self.taken))
    }

    fn grants(&self, address: Ipv4Addr, label: &str, is_model: bool) -> bool {
        let rule = if is_model { self.rules.models } else { self.rules.hosts };
        rule && address <= ip(self.last) && !label.eq_ignore_ascii_case(self.taken)
    }
}

fn step() -> impl Strategy<Value = Step> {
    let acknowledge = (0..12u8, 0..6u8, 0..3u8, 0..7u8, 1..200u64).prop_map(
        |(address, mac, class, host, seconds)| Step::Acknowledge {
            address,
            mac,
            class,
            host,
            seconds,
        },
    );
    prop_oneof![
        8 => acknowledge,
        2 => (0..12u8).prop_map(Step::GiveBack),
        1 => (0..12u8).prop_map(Step::Forget),
        2 => (0..120u64).prop_map(Step::Wait),
        2 => (any::<[bool; 4]>(), 1..HOSTS.len(), 0..16u8).prop_map(|(all, taken, last)| {
            let rules = Rules { models: all[0] || all[1], hosts: all[2] || all[3], ..RULES };
            Step::Configure(Granted { rules, taken: HOSTS[taken], last })
        }),
    ]
}

const CLASSES: [&str; 3] = ["", "440HD", "Polycom"];
const HOSTS: [&str; 7] = ["", "desk", "DESK", "a_b", "a-b", "440hd-00908f000001", "cic"];
/// A live lease, and when each of its names was first claimed and granted without a break.
struct Live {
    lease: Lease,
    acknowledged: usize,
    since: BTreeMap<String, usize>,
}

impl Live {
    /// Name, whether it is model and address; the best for a PTR record first.
    fn labels(lease: &Lease) -> Vec<(String, bool)> {
        let host = lease.host_label();
        let strict = host.clone().map(|host| host.replace('_', "-"));
        let model = lease.model_label();
        let mut all: Vec<String> = Vec::new();
        for label in [host, strict, model.clone()].into_iter().flatten() {
            if !all.contains(&label) {
                all.push(label);
            }
        }
        all.into_iter().map(|label| (label.clone(), Some(&label) == model.as_ref())).collect()
    }
}

/// The leases as they are; the names follow.
#[derive(Default)]
struct Model {
    live: BTreeMap<Ipv4Addr, Live>,
    count: usize,
}

fn granted_at_first() -> Granted {
    Granted { rules: RULES, taken: "cic", last: 255 }
}

impl Model {
    fn configure(&mut self, granted: &Granted) {
        let mut live: Vec<_> = self.live.values_mut().collect();
        live.sort_by_key(|live| live.acknowledged);
        for Live { lease, since, .. } in live {
            for (label, is_model) in Live::labels(lease) {
                self.count += 1;
                if granted.grants(lease.address, &label, is_model) {
                    since.entry(label).or_insert(self.count);
                } else {
                    since.remove(&label);
                }
            }
        }
    }

    fn acknowledge(&mut self, lease: &Lease, granted: &Granted) {
        self.count += 1;
        let before = self.live.remove(&lease.address);
        let before = before.filter(|before| before.lease.hardware == lease.hardware);
        let since = Live::labels(lease)
            .into_iter()
            .filter(|(label, is_model)| granted.grants(lease.address, label, *is_model))
            .map(|(label, _)| {
                let first = before.as_ref().and_then(|before| before.since.get(&label).copied());
                (label, first.unwrap_or(self.count))
            })
            .collect();
        let live = Live { lease: lease.clone(), acknowledged: self.count, since };
        self.live.insert(lease.address, live);
    }

    fn names(&self) -> (BTreeMap<String, Ipv4Addr>, BTreeMap<Ipv4Addr, String>) {
        let all: BTreeSet<&String> =
            self.live.values().flat_map(|live| live.since.keys()).collect();
        let mut addresses = BTreeMap::new();
        for label in all {
            let claims = self.live.values().filter(|live| live.since.contains_key(label));
            let is_model =
                |live: &&Live| Live::labels(&live.lease).contains(&(label.clone(), true));
            let owners: Vec<_> = claims.clone().filter(is_model).collect();
            let claims = if owners.is_empty() { claims.collect() } else { owners };
            let first = claims.iter().min_by_key(|live| live.since[label]).unwrap();
            let own = claims.iter().filter(|live| live.lease.hardware == first.lease.hardware);
            let last = own.max_by_key(|live| live.acknowledged).unwrap();
            addresses.insert(label.clone(), last.lease.address);
        }
        let labels = self.live.values().filter_map(|live| {
            let address = live.lease.address;
            let mut labels = Live::labels(&live.lease).into_iter().map(|(label, _)| label);
            Some((address, labels.find(|label| addresses.get(label) == Some(&address))?))
        });
        let labels = labels.collect();
        (addresses, labels)
    }
}

proptest! {
    #[test]
    fn what_is_published_is_what_follows_from_the_live_leases(
        steps in prop::collection::vec((step(), 0..10u8), 1..120),
    ) {
        let mut book = book(RULES);
        let mut model = Model::default();
        let mut seconds = 0;
        let mut granted = granted_at_first();
        let asked = RefCell::new(0);
        let mut kept = Vec::new();
        for (step, keep) in steps {
            let now = at(seconds);
            match step {
                Step::Acknowledge { address, mac, class, host, seconds } => {
                    let (class, host) = (CLASSES[usize::from(class)], HOSTS[usize::from(host)]);
                    let mut lease = lease(now, ip(address), mac, class, host);
                    lease.expires = now + Duration::from_secs(seconds);
                    book.put(now, &lease, |name| {
                        *asked.borrow_mut() += 1;
                        granted.refuses(lease.address, name)
                    });
                    model.acknowledge(&lease, &granted);
                }
                Step::GiveBack(address) => {
                    let mut lease = lease(now, ip(address), 0, "", "");
                    lease.state = LeaseState::Released;
                    book.put(now, &lease, |_| false);
                    model.live.remove(&ip(address));
                }
                Step::Configure(new) => {
                    book.set_rules(new.rules, |address, name| new.refuses(address, name));
                    model.configure(&new);
                    granted = new;
                }
                Step::Forget(address) => {
                    book.remove(ip(address));
                    model.live.remove(&ip(address));
                }
                Step::Wait(more) => {
                    seconds += more;
                    let now = at(seconds);
                    book.expire(now);
                    model.live.retain(|_, live| now < live.lease.expires);
                    prop_assert!(book.next_end().is_none_or(|next| next > now));
                    let soonest = model.live.values().map(|live| live.lease.expires).min();
                    prop_assert!(book.next_end() <= soonest || soonest.is_none());
                }
            }
            let before = book.names().clone();
            let (addresses, labels) = published(book.names());
            prop_assert_eq!(&(addresses, labels), &model.names());
            prop_assert_eq!(published(&before), published(book.names()));
            let [holders, _, ends, _] = book.sizes();
            prop_assert_eq!(holders, model.live.len());
            prop_assert!(holders <= ends && ends <= 2 * 12 + 65, "{} ends", ends);
            let pointed = book.names().addresses().flat_map(Octets::of).map(|octets| octets.0);
            prop_assert_eq!(above(book.names()), pointed.collect());
            if keep == 0 {
                kept.push((book.names().clone(), model.names()));
            }
            if kept.len() > 3 {
                kept.swap_remove(1);
            }
            for (names, model) in &kept {
                prop_assert_eq!(&published(names), model);
            }
        }
        let empty: Vec<_> = model.live.keys().copied().collect();
        empty.into_iter().for_each(|address| book.remove(address));
        prop_assert!(book.names().is_empty());
        prop_assert_eq!(book.sizes()[..2].to_vec(), [0; 2]);
        // Nothing but the indexes is left, and there is one for each of three.
        kept.clear();
        book.put(at(seconds), &lease(at(seconds), ip(1), 1, "", ""), |_| true);
        book.remove(ip(1));
        prop_assert!(book.sizes()[3] <= 3 * 100, "{} units", book.sizes()[3]);
    }
}
