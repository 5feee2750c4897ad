//! Another configuration: what is served afterwards is what a program would serve that starts with it, and what is
//! known stays known.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use offhook_dns::{Client, Outcome, Transport, answer};
use offhook_model::{
    ClientId, Dhcp, DnsAccess, DnsCache, DnsNames, HardwareAddress, Health, Lease, LeaseState, Mac,
    Order, Probe, Proxy, Scope, Time,
};

use tokio::sync::Semaphore;

use super::*;
use crate::dns::{Names, Reload};
use crate::health;
use crate::reload::takes_a_restart;

/// Everything that DNS goes by, as the program has it.
struct Live {
    running: Running,
    reload: Reload,
    names: Option<Names>,
    health: health::Handle,
    _state: tempfile::TempDir,
}

impl Live {
    async fn start(site: &Site, leases: &[Lease]) -> Self {
        let zones = crate::dns::publish(site);
        let (shutdown, told) = watch::channel(false);
        let (health, reloads, _) = health::spawn(&Arc::new(site.clone()), &zones, told.clone());
        let state = tempfile::tempdir().unwrap();
        let (names, named) = Names::start(site, leases, state.path(), Arc::clone(&zones)).unwrap();
        named.await.unwrap();
        let watched = site.groups().filter(|group| group.health.is_some());
        let watched = watched.map(|group| group.hosts.len()).sum::<usize>();
        soon(async {
            while health.servers().len() < watched {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let bound = bound();
        let address = bound.addresses().next().unwrap();
        let crate::dns::Server { task, handle } = spawn(bound, Arc::clone(&zones), &site.dns, told);
        let reload = Reload::new(&handle, Arc::clone(&zones), &names, reloads);
        let running = Running { address, zones, shutdown, task, handle };
        Self { running, reload, names: Some(names), health, _state: state }
    }

    async fn reload(&self, site: &Site) {
        let prepared = self.reload.prepare(&Arc::new(site.clone())).await.unwrap();
        self.reload.commit(prepared).await;
    }

    fn serial(&self) -> u32 {
        self.running.zones.current().serial()
    }

    fn facts(&self) -> Facts {
        let zones = self.running.zones.current();
        let clients = ["10.250.1.9", "10.99.0.9", "10.250.1.151", "192.0.2.9", "198.51.100.1"];
        let clients = clients.map(|it| it.parse::<IpAddr>().unwrap());
        let mut wire = query("www.example.com.", RecordType::A).to_vec().unwrap();
        wire[..2].fill(0);
        let is_asked = |address| {
            let client = Client { address, transport: Transport::Udp };
            matches!(answer(&zones, &wire, client, &mut rand::rng()), Outcome::Forward(_))
        };
        let leased = (1..=9).map(|last| Ipv4Addr::new(10, 250, 1, last));
        let named =
            leased.filter_map(|it| Some((it, zones.lease_names().label_of(it)?.to_string())));
        let servers = self.health.servers();
        Facts {
            apexes: zones.apexes().collect(),
            forwards: zones.forwards().map(|(top, servers)| (top, servers.to_vec())).collect(),
            limits: zones.rate_limits(),
            transfer: zones.transfer_networks().iter().map(ToString::to_string).collect(),
            answered: clients.iter().map(|client| zones.answers(*client)).collect(),
            asked: clients.iter().map(|client| is_asked(*client)).collect(),
            named: named.collect(),
            watched: servers.into_iter().map(|it| (it.group, it.order, it.probe)).collect(),
            kept: self.running.handle.service.forwarder().settings(),
        }
    }

    async fn stop(mut self) {
        self.running.shutdown.send(true).unwrap();
        self.names.take().unwrap().stop();
    }
}

/// What can be said of a server from outside, but for its records.
#[derive(Debug, PartialEq)]
struct Facts {
    apexes: Vec<String>,
    forwards: BTreeMap<String, Vec<SocketAddr>>,
    limits: (u32, u32),
    transfer: Vec<String>,
    answered: Vec<bool>,
    asked: Vec<bool>,
    named: BTreeMap<Ipv4Addr, String>,
    watched: Vec<(String, String, String)>,
    kept: String,
}

fn lease(last: u8, host: &str) -> Lease {
    let hardware = HardwareAddress::from(Mac([0, 0x90, 0x8f, 0, 0, last]));
    let now = crate::clock::wall();
    Lease {
        address: [10, 250, 1, last].into(),
        client: ClientId::Hardware(hardware),
        hardware,
        state: LeaseState::Bound,
        since: now,
        expires: Time::from_secs(now.as_millis() / 1000 + 3600),
        scope: "voice".into(),
        class: Some("440HD".into()),
        host_name: (!host.is_empty()).then(|| host.as_bytes().into()),
    }
}

fn health(port: u16) -> Health {
    Health {
        probe: Probe::Tcp,
        port,
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(1),
        rise: 1,
        // Nothing is found out while the test runs.
        fall: 1000,
        damping: Duration::ZERO,
    }
}

/// The sample site, with something in every field.
fn base() -> Site {
    struct NoFiles;
    impl offhook_config::Files for NoFiles {
        fn list(&self, _: &Path) -> Option<Vec<String>> {
            None
        }
    }
    let lab = include_str!("../../../../../config/lab.toml");
    let text = format!("{lab}\n[[phone]]\nmac = \"00:90:8f:12:34:56\"\n");
    let now = Time::from_secs(1_783_000_000);
    let mut site =
        offhook_config::parse("lab.toml", Path::new(""), &text, now, &NoFiles).site.unwrap();
    site.records = vec![record("stated.lab.voip", 98)];
    site
}

fn record(owner: &str, last: u8) -> offhook_model::Record {
    offhook_model::Record {
        owner: offhook_model::WireName::from(&name(owner)),
        ttl: 60,
        rtype: 1,
        data: [10, 250, 1, last].into(),
        origin: Origin::default("test"),
    }
}

/// What a change of a field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Other records are served.
    Records,
    /// DNS goes by it, and its records are the same.
    Ways,
    /// DNS does not go by it.
    None,
    /// It is refused, with this reason.
    Refused(&'static str),
}
use Effect::{None as Nothing, Records, Refused, Ways};

/// A field, and a change of it.
type Change = (&'static str, Effect, fn(&mut Site));

/// Every field with a change of it.
fn changes() -> Vec<Change> {
    vec![
        ("name", Nothing, |site| site.name = "other".into()),
        ("zone", Refused("the name of the zone"), |site| site.zone = name("lab.example")),
        ("time_zone", Nothing, |site| site.time_zone = Some("Europe/Berlin".into())),
        ("dhcp", Nothing, |site| site.dhcp = Dhcp { client_rate: 7, ..Dhcp::default() }),
        ("tftp", Nothing, |site| site.tftp.as_mut().unwrap().root = PathBuf::from("other")),
        ("hosts", Records, |site| site.hosts[0].address = [10, 250, 1, 153].into()),
        ("hosts", Records, |site| {
            let desk = Host::new(name("desk.lab.voip"), [10, 9, 0, 1].into(), Origin::default("t"));
            site.hosts.push(desk);
        }),
        ("switchovers", Records, |site| site.switchovers[0].sip.tls = None),
        ("switchovers", Ways, |site| {
            site.switchovers[0].health = Some(health(1));
            site.switchovers[0].order = Order::ActiveFirst;
        }),
        ("switchovers", Records, |site| site.switchovers.clear()),
        ("proxies", Records, |site| {
            site.proxies.push(Proxy {
                name: name("proxies.lab.voip"),
                hosts: vec![(name("vm40ic1.lab.voip"), [10, 250, 1, 151].into())],
                sip: SipPorts::default(),
                health: Some(health(2)),
                order: Order::Random,
                ttl: 5,
                origin: Origin::default("test"),
            });
        }),
        ("records", Records, |site| site.records.push(record("spare.lab.voip", 99))),
        ("scopes", Records, |site| {
            let subnet = "10.99.0.0/24".parse().unwrap();
            site.scopes.push(Scope { subnet, ..site.scopes[0].clone() });
        }),
        ("scopes", Records, |site| site.scopes.clear()),
        ("scopes", Nothing, |site| site.scopes[0].name = "other".into()),
        ("classes", Nothing, |site| site.classes.clear()),
        ("phones", Nothing, |site| site.phones.clear()),
        ("options", Nothing, |site| site.options.clear()),
        ("listen", Refused("listen in [dns]"), |site| site.dns.listen.clear()),
        ("forward", Ways, |site| site.dns.forward.clear()),
        ("forward", Ways, |site| {
            site.dns.forward.insert(None, vec!["10.250.0.3:53".parse().unwrap()]);
        }),
        ("ttl", Records, |site| site.dns.ttl = 20),
        ("negative_ttl", Records, |site| site.dns.negative_ttl = 3),
        ("naptr", Records, |site| site.dns.naptr = false),
        ("cache", Ways, |site| site.dns.cache.entries = 7),
        ("entries", Ways, |site| site.dns.cache.entries = 0),
        ("max_ttl", Ways, |site| site.dns.cache.max_ttl = Duration::from_secs(7)),
        ("cache.negative_ttl", Ways, |site| site.dns.cache.negative_ttl = Duration::from_secs(7)),
        ("stale", Ways, |site| site.dns.cache.stale = Duration::ZERO),
        ("names", Records, |site| site.dns.names = DnsNames { leases: false, hosts: false }),
        ("leases", Records, |site| site.dns.names.leases = false),
        ("names.hosts", Records, |site| site.dns.names.hosts = false),
        ("access", Ways, |site| site.dns.access.rate_limit = 70),
        ("allow", Ways, |site| site.dns.access.allow = Some(vec!["192.0.2.0/24".parse().unwrap()])),
        ("allow_forward", Ways, |site| {
            site.dns.access.allow_forward = Some(vec!["192.0.2.0/24".parse().unwrap()]);
            site.dns.access.allow = Some(vec!["192.0.0.0/16".parse().unwrap()]);
            site.dns.forward.insert(None, vec!["10.250.0.3:53".parse().unwrap()]);
        }),
        // How often secondaries look is a matter of whether there are any.
        ("transfer", Records, |site| {
            site.dns.access.transfer = vec!["192.0.2.9/32".parse().unwrap()];
        }),
        ("rate_limit", Ways, |site| site.dns.access.rate_limit = 7),
        ("refusal_limit", Ways, |site| site.dns.access.refusal_limit = 7),
    ]
}

/// The names of the fields of a struct: what is added to it does not compile without being added here.
macro_rules! fields {
    ($type:ident { $($field:ident),* $(,)? }) => {{
        fn _all($type { $($field: _),* }: $type) {}
        [$(stringify!($field)),*].map(|field| ($type::NAME, field))
    }};
}

trait Named {
    const NAME: &'static str;
}

macro_rules! named {
    ($($type:ident),*) => { $(impl Named for $type { const NAME: &'static str = stringify!($type); })* };
}
named!(Site, Dns, DnsAccess, DnsCache, DnsNames);

#[rustfmt::skip]
fn every_field() -> Vec<(&'static str, &'static str)> {
    let site = fields!(Site {
        name, zone, time_zone, dhcp, dns, tftp, hosts, switchovers, proxies, records, scopes, classes, phones, options,
    });
    let dns = fields!(Dns { listen, forward, ttl, negative_ttl, cache, names, access, naptr });
    let access = fields!(DnsAccess { allow, allow_forward, transfer, rate_limit, refusal_limit });
    let cache = fields!(DnsCache { entries, max_ttl, negative_ttl, stale });
    let names = fields!(DnsNames { leases, hosts });
    [&site[..], &dns, &access, &cache, &names].concat()
}

#[test]
fn every_field_is_taken_over_or_takes_a_restart() {
    for (of, field) in every_field() {
        let wanted = match (of, field) {
            // By its own fields.
            ("Site", "dns") => continue,
            ("DnsCache", "negative_ttl") => "cache.negative_ttl",
            ("DnsNames", "hosts") => "names.hosts",
            _ => field,
        };
        assert!(changes().iter().any(|(field, ..)| *field == wanted), "{of}: {field}");
    }
    for (field, effect, change) in changes() {
        let (before, mut after) = (base(), base());
        change(&mut after);
        let reasons = takes_a_restart(&before, &after);
        match effect {
            Refused(reason) => assert_eq!(reasons, [reason], "{field}"),
            _ => assert_eq!(reasons, [""; 0], "{field}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_after_a_reload_is_what_a_fresh_start_would_serve() {
    let leases = [lease(1, "desk"), lease(2, "spare"), lease(3, "")];
    let live = Live::start(&base(), &leases).await;
    let at_first = live.facts();
    for (field, effect, change) in changes() {
        let mut site = base();
        change(&mut site);
        if matches!(effect, Refused(_)) {
            continue;
        }
        let (before, zones, serial) =
            (live.facts(), live.running.zones.current().clone(), live.serial());
        assert_eq!(before, at_first, "before {field}");
        live.reload(&site).await;
        let fresh = Live::start(&site, &leases).await;
        let (now, then) = (live.facts(), fresh.facts());
        assert_eq!(now, then, "{field}");
        let served = live.running.zones.current().clone();
        assert!(served.has_records_of(&fresh.running.zones.current()), "{field}");
        fresh.stop().await;
        let later = live.serial().wrapping_sub(serial);
        match effect {
            Records => {
                assert!(!served.has_records_of(&zones) || now.named != before.named, "{field}");
                assert!(later > 0 && later < 1 << 31, "{field}: {later}");
            }
            Ways => assert!(now != before && later == 0, "{field}: {later}"),
            Nothing => assert!(now == before && later == 0, "{field}: {later}"),
            Refused(_) => {}
        }
        live.reload(&base()).await;
        assert!(live.running.zones.current().has_records_of(&zones), "after {field}");
        let serial = live.serial();
        live.reload(&base()).await;
        assert_eq!(live.serial(), serial, "after {field}: nothing has changed");
    }
    assert_eq!(live.facts(), at_first);
    live.stop().await;
}

/// An upstream whose answers are 192.0.2.`last`, each when it is let go; the address, what tells of a question, and what
/// lets an answer go.
async fn held_upstream(last: u8) -> (SocketAddr, Arc<Semaphore>, Arc<Semaphore>) {
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    let address = socket.local_addr().unwrap();
    let (asked, let_go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (tell, wait) = (Arc::clone(&asked), Arc::clone(&let_go));
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let question = Message::from_vec(&buffer[..length]).unwrap();
            tell.add_permits(1);
            wait.acquire().await.unwrap().forget();
            let mut answer = Message::response(question.metadata.id, OpCode::Query);
            let owner = question.queries[0].name().clone();
            answer.add_query(question.queries[0].clone());
            let data = RData::A(A::new(192, 0, 2, last));
            answer.add_answer(Record::from_rdata(owner, 3600, data));
            socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        }
    });
    (address, asked, let_go)
}

/// Waits until a question has reached the upstream that holds its answer.
async fn under_way<T>(question: &mut (impl Future<Output = T> + Unpin), asked: &Semaphore) {
    tokio::select! {
        _ = question => panic!("an answer before it was let go"),
        asked = soon(asked.acquire()) => asked.unwrap().forget(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_under_way_ends_with_its_answer_and_the_next_one_goes_to_who_is_asked_now() {
    let (one, one_asked, one_goes) = held_upstream(1).await;
    let (two, _, two_goes) = held_upstream(2).await;
    two_goes.add_permits(100);
    let live = Live::start(&site(&[(".", vec![one])]), &[]).await;
    let www = query("www.example.com.", RecordType::A);
    let mut first = Box::pin(live.running.udp(&www));
    under_way(&mut first, &one_asked).await;
    live.reload(&site(&[(".", vec![two])])).await;
    assert_eq!(addresses(&live.running.udp(&www).await), [Ipv4Addr::new(192, 0, 2, 2)]);
    one_goes.add_permits(100);
    let answer = (&mut first).await;
    drop(first);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(addresses(&answer), [Ipv4Addr::new(192, 0, 2, 1)]);
    assert_eq!(addresses(&live.running.udp(&www).await), [Ipv4Addr::new(192, 0, 2, 2)]);
    assert_eq!(live.running.handle.cached(), 1);

    // And back: what the other one said meanwhile is not known of this one.
    live.reload(&site(&[(".", vec![one])])).await;
    assert_eq!(addresses(&live.running.udp(&www).await), [Ipv4Addr::new(192, 0, 2, 1)]);
    let upstreams = live.running.handle.upstreams();
    assert_eq!(upstreams.len(), 1);
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_decided_before_the_reload_and_asked_after_it_leaves_nothing_behind() {
    let (one, _, one_goes) = held_upstream(1).await;
    let (two, _, two_goes) = held_upstream(2).await;
    one_goes.add_permits(100);
    two_goes.add_permits(100);
    let live = Live::start(&site(&[(".", vec![one])]), &[]).await;
    let www = query("www.example.com.", RecordType::A);
    let peer = live.running.address;
    let service = &live.running.handle.service;
    let decided = service.decide(&www.to_vec().unwrap(), peer, Transport::Udp);
    let Outcome::Forward(forward) = decided else { panic!("{decided:?}") };
    live.reload(&site(&[(".", vec![two])])).await;
    let late = service.forward(forward, peer, Transport::Udp).await;
    assert_eq!(late.answers[0].data, RData::A(A::new(192, 0, 2, 1)));
    assert_eq!(addresses(&live.running.udp(&www).await), [Ipv4Addr::new(192, 0, 2, 2)]);
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_after_the_reload_is_kept_if_its_server_is_asked_still() {
    let (one, one_asked, one_goes) = held_upstream(1).await;
    let live = Live::start(&site(&[(".", vec![one])]), &[]).await;
    let www = query("www.example.com.", RecordType::A);
    let mut first = Box::pin(live.running.udp(&www));
    under_way(&mut first, &one_asked).await;
    for last in [1, 2] {
        let mut other = site(&[(".", vec![one])]);
        other.hosts[0].address = [10, 250, 1, last].into();
        live.reload(&other).await;
    }
    one_goes.add_permits(1);
    assert_eq!(addresses(&(&mut first).await), [Ipv4Addr::new(192, 0, 2, 1)]);
    drop(first);
    assert_eq!(addresses(&live.running.udp(&www).await), [Ipv4Addr::new(192, 0, 2, 1)]);
    assert_eq!(live.running.handle.cached(), 1);
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_thread_that_keeps_the_names_all_else_goes_over_and_they_stay() {
    let mut live = Live::start(&base(), &[lease(1, "desk")]).await;
    live.names.take().unwrap().stop();
    let before = live.serial();
    let mut other = base();
    other.hosts[0].address = [10, 250, 1, 9].into();
    live.reload(&other).await;
    let zones = live.running.zones.current();
    assert!(zones.has_records_of(&Zones::from_site(&other, 0)) && zones.serial() != before);
    assert_eq!(zones.lease_names().address_of("desk"), Some(Ipv4Addr::new(10, 250, 1, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_a_connection_open_is_answered_by_what_is_allowed_now() {
    let live = Live::start(&site(&[]), &[]).await;
    let mut stream = TcpStream::connect(live.running.address).await.unwrap();
    let mut ask = async |address: [u8; 4]| {
        stream.write_all(&framed(&query("vm40ic1.lab.voip.", RecordType::A))).await.unwrap();
        let answer = read_framed(&mut stream).await.unwrap();
        assert_eq!(addresses(&answer), [Ipv4Addr::from(address)]);
    };
    ask([10, 250, 1, 151]).await;
    let mut other = site(&[]);
    other.hosts[0].address = [10, 250, 1, 9].into();
    live.reload(&other).await;
    ask([10, 250, 1, 9]).await;
    live.stop().await;
}
