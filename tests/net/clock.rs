//! A clock that is set while the program runs, and one that is wrong when it starts: what was acknowledged stays its
//! client's for as long as it was told, and no longer. The program's clock is libfaketime's; elapsed time stays true.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::lab::{Lab, Netns, PATIENCE, Server, Vlan, output, repository, run, said};
use crate::packet::*;

const PRELOAD: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const DAY: i64 = 86_400;
const HOLDER: u32 = 1;
const STRANGER: u32 = 2;
/// The only address of the voice scope.
const ONLY: Ipv4Addr = Ipv4Addr::new(10, 250, 1, 20);

/// The sample site with one address to be had, and a clock of its own.
struct Clockwork {
    lab: Lab,
    phone: Netns,
    xid: u32,
}

impl Clockwork {
    fn new(lease: &str) -> Self {
        let text = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
        let text = text.replace("10.250.1.20-10.250.1.149", "10.250.1.20");
        let lab = Lab::with_config(&text.replace("lease = \"8h\"", lease));
        let phone = lab.client(Vlan::Voice);
        let clockwork = Self { lab, phone, xid: 0 };
        clockwork.set(0);
        clockwork
    }

    fn file(&self) -> PathBuf {
        self.lab.dir.path().join("clock")
    }

    /// Sets the program's clock, running or not, to so many seconds from the true time.
    fn set(&self, seconds: i64) {
        let new = self.lab.dir.path().join("clock-new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    fn serve(&self) -> Server {
        assert!(std::path::Path::new(PRELOAD).exists(), "install the packages of tests/packages");
        let mut command = self.lab.appliance.daemon(env!("CARGO_BIN_EXE_offhook"));
        command.arg("run").arg("--config").arg(self.lab.config());
        command.arg("--state").arg(self.lab.state());
        command.env("LD_PRELOAD", PRELOAD).env("FAKETIME_TIMESTAMP_FILE", self.file());
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let server = Server::spawn(&mut command);
        server.wait_for_log(&["serving", "scopes"]);
        server
    }

    /// For how many seconds more the lease is listed.
    fn remaining(&self) -> u64 {
        let mut command = self.lab.appliance.command("env");
        command.arg(format!("LD_PRELOAD={PRELOAD}"));
        command.arg(format!("FAKETIME_TIMESTAMP_FILE={}", self.file().display()));
        command.args([env!("CARGO_BIN_EXE_offhook"), "leases", "--format", "csv", "--state"]);
        let listed = run(command.arg(self.lab.state()));
        let last = listed.lines().nth(1).and_then(|lease| lease.rsplit(',').next());
        last.expect("a lease").parse().unwrap()
    }

    /// Sends a message of `kind` from a phone and waits for the answer.
    fn ask(
        &mut self,
        kind: u8,
        phone: u32,
        change: impl Fn(Message) -> Message + Send,
    ) -> Option<Reply> {
        self.xid += 1;
        let message = change(Message::new(kind, mac(phone), self.xid));
        self.phone.enter(|| {
            let card = Card::open("eth0");
            card.broadcast(&message);
            card.reply_within(message.xid, Duration::from_secs(1))
        })
    }

    fn bind(&mut self, phone: u32) -> Reply {
        let offer = self.ask(DISCOVER, phone, |message| message).expect("an OFFER");
        assert_eq!(offer.yiaddr(), ONLY);
        let server = offer.option(54).unwrap();
        let select = |message: Message| message.with(50, ONLY.octets()).with(54, &server);
        let ack = self.ask(REQUEST, phone, select).expect("an ACK");
        assert_eq!(ack.kind(), ACK);
        ack
    }

    /// The holder's lease is there, whole, and nobody else gets its address.
    fn assert_held(&mut self, when: &str) {
        assert!(self.ask(DISCOVER, STRANGER, |m| m).is_none(), "{when}: given to another");
        let reboot = |message: Message| message.with(50, ONLY.octets());
        let refused = self.ask(REQUEST, STRANGER, reboot).unwrap_or_else(|| panic!("{when}"));
        assert_eq!(refused.kind(), NAK, "{when}");
        let kept = self.ask(REQUEST, HOLDER, reboot).unwrap_or_else(|| panic!("{when}: lost"));
        assert_eq!((kept.kind(), kept.yiaddr()), (ACK, ONLY), "{when}");
        assert_eq!(kept.option(51).unwrap(), 28_800_u32.to_be_bytes(), "{when}");
    }
}

#[test]
fn a_clock_set_while_serving_takes_no_lease_away_neither_then_nor_after_a_restart() {
    for (step, told, back) in [
        (2 * DAY, "forward", "back"),
        (-3 * DAY, "back", "forward"),
        (4 * 365 * DAY, "forward", "back"),
    ] {
        let mut clockwork = Clockwork::new("lease = \"8h\"");
        let mut server = clockwork.serve();
        clockwork.bind(HOLDER);
        for (clock, told) in [(step, told), (0, back)] {
            clockwork.set(clock);
            server.wait_for_log(&["clock", told]);
            let stranger = clockwork.ask(DISCOVER, STRANGER, |message| message);
            assert!(stranger.is_none(), "given to another at {clock}");
            // Before anybody renews: what is on disk is by the new clock.
            assert_eq!(server.terminate(), Some(0));
            server = clockwork.serve();
            clockwork.assert_held(&format!("restarted at {clock}, set from {step}"));
        }
    }
}

#[test]
fn a_start_with_a_clock_in_the_past_frees_no_address() {
    // A day back, and a machine without a battery.
    for step in [-DAY, -56 * 365 * DAY] {
        let mut clockwork = Clockwork::new("lease = \"8h\"");
        let server = clockwork.serve();
        clockwork.bind(HOLDER);
        server.kill();
        clockwork.set(step);
        if step < -DAY {
            // Nor does who looks meanwhile see a lease of half a century.
            assert!((28_000..=28_800 + 30).contains(&clockwork.remaining()));
        }
        let server = clockwork.serve();
        clockwork.assert_held(&format!("started at {step}"));
        // Then somebody sets it.
        clockwork.set(0);
        if step == -DAY {
            server.wait_for_log(&["clock", "forward"]);
        }
        clockwork.assert_held(&format!("started at {step}, set"));
        server.kill();
        let _server = clockwork.serve();
        clockwork.assert_held(&format!("started at {step}, set, restarted"));
    }
}

#[test]
fn a_lease_ends_when_it_was_to_whatever_the_clock_shows() {
    for step in [-2 * DAY, 2 * DAY] {
        let mut clockwork = Clockwork::new("lease = \"4s\"\nmin_lease = \"1s\"");
        let server = clockwork.serve();
        let begun = Instant::now();
        let ack = clockwork.bind(HOLDER);
        assert_eq!(ack.option(51).unwrap(), 4_u32.to_be_bytes());
        clockwork.set(step);
        server.wait_for_log(&["clock"]);
        // Not before its time …
        let mut refused = 0;
        let offer = loop {
            if let Some(offer) = clockwork.ask(DISCOVER, STRANGER, |message| message) {
                break offer;
            }
            refused += 1;
            assert!(begun.elapsed() < PATIENCE, "never: {}", server.log());
        };
        assert_eq!(offer.yiaddr(), ONLY);
        // … and then at once.
        let elapsed = begun.elapsed();
        assert!(elapsed >= Duration::from_secs(4) && refused > 0, "after {elapsed:?}");
        assert!(elapsed < Duration::from_secs(8), "only after {elapsed:?}");
    }
}

#[test]
fn a_clock_that_is_set_gives_no_name_back_to_an_address_that_its_phone_had_before() {
    let lab = Lab::new();
    let phone = lab.client(Vlan::Voice);
    lab.plug(&phone, "eth1", Vlan::Native);
    let asks = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let mut clockwork = Clockwork { lab, phone, xid: 0 };
    clockwork.set(0);
    let server = clockwork.serve();
    let dig = |name: &str| {
        let mut command = asks.command("dig");
        let words = ["@10.250.1.5", "+short", "+tries=1", "+time=3", name];
        said(&output(command.args(words))).trim().to_owned()
    };
    let becomes = |name: &str, address: Ipv4Addr| {
        let deadline = Instant::now() + PATIENCE;
        while dig(name) != address.to_string() {
            assert!(Instant::now() < deadline, "{name} is {:?}, not {address}", dig(name));
        }
    };
    let class: [(u8, &[u8]); 1] = [(60, b"440HD")];
    let lease = |clockwork: &mut Clockwork, interface: &str, phone: u32| {
        clockwork.xid += 1;
        let xid = clockwork.xid;
        clockwork.phone.enter(|| Card::open(interface).lease(mac(phone), xid, &class)).yiaddr()
    };
    let name = |phone: u32| format!("440hd-{}.lab.voip", mac(phone).plain());
    // It boots by way of the native VLAN, and is back there, in recovery mode, before its lease in the other ends.
    let native = lease(&mut clockwork, "eth1", HOLDER);
    becomes(&name(HOLDER), native);
    becomes(&name(HOLDER), lease(&mut clockwork, "eth0", HOLDER));
    assert_eq!(lease(&mut clockwork, "eth1", HOLDER), native);
    becomes(&name(HOLDER), native);
    clockwork.set(2 * DAY);
    server.wait_for_log(&["clock", "forward"]);
    // By then all are written again and told.
    let last = lease(&mut clockwork, "eth0", STRANGER);
    becomes(&name(STRANGER), last);
    assert_eq!(dig(&name(HOLDER)), native.to_string());
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn who_gets_the_offset_in_force_gets_another_one_once_daylight_saving_begins() {
    const WINTER: i64 = 1_800_014_400; // 2027-01-15
    const SUMMER: i64 = 1_815_652_800; // 2027-07-15
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let until = |moment: i64| moment - i64::try_from(now.as_secs()).unwrap();
    let mut clockwork = Clockwork::new("lease = \"8h\"\noptions = { time-offset = \"current\" }");
    let offset = |clockwork: &mut Clockwork| {
        let asks = |message: Message| message.with(55, [2]);
        let reply = clockwork.ask(DISCOVER, HOLDER, asks).expect("an OFFER");
        i32::from_be_bytes(reply.option(2).expect("option 2").try_into().unwrap()) / 3600
    };
    clockwork.set(until(WINTER));
    let server = clockwork.serve();
    assert_eq!(offset(&mut clockwork), -5);
    clockwork.set(until(SUMMER));
    server.wait_for_log(&["the offset of the time zone has changed", "-14400"]);
    assert_eq!(offset(&mut clockwork), -4);
    // Whatever is read again is of today as well.
    server.hang_up();
    server.wait_for_log(&["configuration taken over"]);
    assert_eq!(offset(&mut clockwork), -4);
    clockwork.set(until(WINTER));
    server.wait_for_log(&["the offset of the time zone has changed", "-18000"]);
    assert_eq!(offset(&mut clockwork), -5);
    assert_eq!(server.terminate(), Some(0));
}
