//! After a power cut every phone of the site asks at once, and more of them than the kernel's ARP table has room for.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use offhook_model::Mac;
use offhook_net::{FrameSocket, Interface, UdpFrame};

use crate::lab::{Lab, PATIENCE, Server, Vlan, output, repository, run, said};
use crate::packet::*;

/// Three times what `net.ipv4.neigh.default.gc_thresh3` is by default.
const PHONES: u32 = 3000;

/// The sample site with a voice scope that has an address for each of them.
pub(crate) fn site() -> String {
    let lab = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    lab.replace("10.250.1.0/24", "10.250.0.0/16")
        .replace("10.250.1.20-10.250.1.149", "10.250.64.0-10.250.79.255")
}

/// A crowd of phones behind one card.
struct Crowd {
    frames: FrameSocket,
    broadcast: bool,
}

impl Crowd {
    fn send(&self, messages: &[Message]) {
        let bytes: Vec<_> = messages.iter().map(Message::bytes).collect();
        let frames: Vec<_> = messages
            .iter()
            .zip(&bytes)
            .map(|(message, payload)| UdpFrame {
                source_mac: message.mac,
                destination_mac: Mac([0xff; 6]),
                source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
                destination: SocketAddrV4::new(Ipv4Addr::BROADCAST, 67),
                payload,
            })
            .collect();
        let sent = self.frames.send_batch(&frames, |_, error| panic!("{error}"));
        assert_eq!(sent, frames.len());
    }

    fn message(&self, kind: u8, n: u32) -> Message {
        let message = Message::new(kind, mac(n), n).with(60, b"440HD");
        if self.broadcast { message.broadcast() } else { message }
    }

    /// All ask at once, and each only once. Returns who was acknowledged what.
    fn boot(&self, phones: std::ops::Range<u32>) -> HashMap<u32, Ipv4Addr> {
        let count = phones.len();
        let discovers: Vec<_> = phones.map(|n| self.message(DISCOVER, n)).collect();
        // A burst as a bridge delivers it: within some milliseconds, not in one.
        for few in discovers.chunks(100) {
            self.send(few);
            std::thread::yield_now();
        }
        let (mut offered, mut acknowledged) = (HashSet::new(), HashMap::new());
        let mut buffer = [0; 2048];
        let deadline = Instant::now() + PATIENCE;
        while acknowledged.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = left.min(Duration::from_secs(3));
            let Some(frame) = self.frames.recv(&mut buffer, Some(patience)).unwrap() else { break };
            if frame.source.port() != 67 || frame.payload[0] != 2 {
                continue;
            }
            let reply = Reply {
                bytes: frame.payload.to_vec(),
                destination_mac: frame.destination_mac,
                destination: frame.destination,
                source: frame.source,
            };
            let to = if self.broadcast {
                (Mac([0xff; 6]), Ipv4Addr::BROADCAST)
            } else {
                (mac(reply.xid()), reply.yiaddr())
            };
            assert_eq!((reply.destination_mac, *reply.destination.ip()), to);
            match reply.kind() {
                OFFER if offered.insert(reply.xid()) => {
                    let request = self.message(REQUEST, reply.xid());
                    let request = request.with(50, reply.yiaddr().octets());
                    self.send(&[request.with(54, reply.option(54).unwrap())]);
                }
                ACK => {
                    let twice = acknowledged.insert(reply.xid(), reply.yiaddr());
                    assert_eq!(twice, None, "{:?}", reply.options());
                }
                _ => panic!("{:?}", reply.options()),
            }
        }
        acknowledged
    }
}

/// The program as its unit runs it: without CAP_NET_ADMIN, and so with the receive buffer that anybody may have.
fn serve(lab: &Lab) -> Server {
    let mut command = lab.appliance.daemon("setpriv");
    command.arg("--bounding-set=-net_admin").arg(env!("CARGO_BIN_EXE_offhook"));
    command.arg("run").arg("--config").arg(lab.config()).arg("--state").arg(lab.state());
    let server = Server::spawn(&mut command);
    server.wait_for_log(&["serving", "scopes"]);
    server
}

fn storm(broadcast: bool) {
    let lab = Lab::with_config(&site());
    let server = serve(&lab);
    let client = lab.client(Vlan::Voice);
    let frames = client.enter(|| {
        let interface = Interface::named("eth0").unwrap();
        FrameSocket::open_receiving(&interface, true, Some(68)).unwrap()
    });
    let acknowledged = Crowd { frames, broadcast }.boot(0..PHONES);
    let status = output(lab.appliance.command(env!("CARGO_BIN_EXE_offhook")).args([
        "status",
        "--format",
        "json",
        "--state",
        lab.state().to_str().unwrap(),
    ]));
    assert_eq!(acknowledged.len(), PHONES as usize, "{}\n{}", said(&status), server.log());
    let addresses: HashSet<_> = acknowledged.values().collect();
    assert_eq!(addresses.len(), acknowledged.len(), "two phones have one address");
    // None of them was looked for: no entry, and none that failed.
    let neighbours = run(lab.appliance.command("ip").args(["neigh", "show", "dev", "voice0"]));
    let known = neighbours.lines().filter(|line| line.starts_with("10.250.")).count();
    assert!(known < 10, "{known} entries in the ARP table:\n{neighbours}");
}

#[test]
fn three_thousand_phones_without_the_broadcast_flag_are_acknowledged_and_none_has_to_ask_twice() {
    storm(false);
}

#[test]
fn three_thousand_phones_with_the_broadcast_flag_are_too() {
    storm(true);
}
