//! The sockets on real links: veth pairs in a network namespace of each test's own. Needs `unshare`
//! (util-linux) and `ip` (iproute2), and user namespaces when not run as root; fails without.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::Duration;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::{MsgFlags, sendto};
use offhook_model::Mac;
use offhook_net::{DhcpSocket, FrameSocket, Interface, Poller, RecvBatch, UdpFrame};

const SOON: Option<Duration> = Some(Duration::from_secs(2));
const NOT_NOW: Option<Duration> = Some(Duration::from_millis(50));
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 250, 1, 5), 67);
const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 250, 1, 100), 68);

/// Runs `body` in a namespace where `voice0` (10.250.1.5/24) and `native0` (10.0.0.11/24) each have a peer
/// without address, `voice1` and `native1`. The test runs itself again, under `unshare`.
fn in_namespace(test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "OFFHOOK_NET_INSIDE_NAMESPACE";
    if std::env::var_os(INSIDE).is_none() {
        let run = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "--"])
            .arg(std::env::current_exe().expect("this test program"))
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .expect("unshare cannot be run");
        let [out, err] = [&run.stdout, &run.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        // A test that was not found would succeed as well.
        assert!(run.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", run.status);
        return;
    }
    ip("link set lo up");
    for (name, peer, address) in
        [("voice0", "voice1", "10.250.1.5/24"), ("native0", "native1", "10.0.0.11/24")]
    {
        ip(&format!("link add {name} type veth peer name {peer}"));
        ip(&format!("address add {address} dev {name}"));
        ip(&format!("link set {name} up"));
        ip(&format!("link set {peer} up"));
    }
    body();
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip cannot be run");
    assert!(status.success(), "ip {arguments}: {status}");
}

fn interface(name: &str) -> Interface {
    Interface::named(name).expect(name)
}

/// A DISCOVER as a phone without an address sends it.
fn broadcast(from: &FrameSocket, payload: &[u8]) {
    let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
    let destination = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
    from.send_udp(Mac::BROADCAST, source, destination, payload).expect("sent");
}

/// What `socket` has received within two seconds, and by which interface.
fn receive_one(socket: &DhcpSocket) -> (Vec<u8>, Ipv4Addr, Ipv4Addr, u32) {
    let poller = Poller::new().expect("a poller");
    assert!(poller.wait(&[socket.as_fd()], SOON).expect("a wait").is_readable(0));
    let mut batch = RecvBatch::new();
    assert_eq!(socket.recv_batch(&mut batch).expect("received"), 1);
    let datagram = batch.iter().next().expect("one");
    (datagram.bytes.to_vec(), datagram.destination, datagram.local, datagram.interface)
}

#[test]
fn each_link_has_its_own_socket_and_a_second_server_on_one_is_refused() {
    in_namespace("each_link_has_its_own_socket_and_a_second_server_on_one_is_refused", || {
        let (voice, native) = (interface("voice0"), interface("native0"));
        let on_voice = DhcpSocket::bind(Some(&voice), 67).unwrap();
        let on_native = DhcpSocket::bind(Some(&native), 67).unwrap();
        for second in [Some(&voice), Some(&native), None] {
            let error = DhcpSocket::bind(second, 67).unwrap_err();
            assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse, "{error}");
        }

        // A broadcast is its own link's alone.
        for (peer, socket, own, local) in [
            ("voice1", &on_voice, &voice, [10, 250, 1, 5]),
            ("native1", &on_native, &native, [10, 0, 0, 11]),
        ] {
            broadcast(&FrameSocket::open(&interface(peer)).unwrap(), peer.as_bytes());
            let expected =
                (peer.as_bytes().to_vec(), Ipv4Addr::BROADCAST, Ipv4Addr::from(local), own.index);
            assert_eq!(receive_one(socket), expected);
        }
        let ready = Poller::new().unwrap().wait(&[on_voice.as_fd(), on_native.as_fd()], NOT_NOW);
        assert!(ready.unwrap().is_empty());
    });
}

#[test]
fn a_server_that_would_share_the_port_on_every_interface_is_found_out() {
    in_namespace("a_server_that_would_share_the_port_on_every_interface_is_found_out", || {
        let other =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        other.set_reuse_address(true).unwrap();
        other.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 67).into()).unwrap();
        let error = DhcpSocket::bind(Some(&interface("voice0")), 67).unwrap_err();
        assert!(error.hint().unwrap().contains("dnsmasq"), "{error}");
    });
}

#[test]
fn a_raw_reply_reaches_a_client_that_answers_no_arp_with_its_own_mac_and_both_addresses() {
    let name =
        "a_raw_reply_reaches_a_client_that_answers_no_arp_with_its_own_mac_and_both_addresses";
    in_namespace(name, || {
        let (voice, peer) = (interface("voice0"), interface("voice1"));
        let phone = FrameSocket::open_receiving(&peer, false, Some(68)).unwrap();
        let server = FrameSocket::open(&voice).unwrap();
        let to = peer.mac.unwrap();
        // Another port, and another phone's MAC: neither is for this one.
        server.send_udp(to, SERVER, SocketAddrV4::new(*CLIENT.ip(), 69), b"port").unwrap();
        server.send_udp(Mac([2, 0, 0, 0, 0, 9]), SERVER, CLIENT, b"mac").unwrap();
        server.send_udp(to, SERVER, CLIENT, b"yes").unwrap();

        let mut buffer = [0; 2048];
        let frame = phone.recv(&mut buffer, SOON).unwrap().unwrap();
        assert_eq!(frame.payload, b"yes");
        assert_eq!((frame.source, frame.destination), (SERVER, CLIENT));
        assert_eq!((Some(frame.source_mac), frame.destination_mac), (voice.mac, to));
        assert_eq!(phone.recv(&mut buffer, NOT_NOW).unwrap(), None);
    });
}

/// Sends a whole frame, as it stands.
fn send_frame(from: &str, frame: &[u8]) {
    let is_link = |one: &InterfaceAddress| {
        one.interface_name == from && one.address.as_ref().and_then(|a| a.as_link_addr()).is_some()
    };
    let interfaces = getifaddrs().expect("interfaces");
    let link = interfaces.into_iter().find(is_link).and_then(|one| one.address).expect(from);
    let raw = socket2::Socket::new(socket2::Domain::PACKET, socket2::Type::RAW, None);
    let raw = raw.expect("CAP_NET_RAW");
    let sent = sendto(raw.as_raw_fd(), frame, link.as_link_addr().expect(from), MsgFlags::empty());
    assert_eq!(sent, Ok(frame.len()));
}

#[test]
fn of_clients_without_an_address_those_are_heard_that_are_on_the_link_itself() {
    let name = "of_clients_without_an_address_those_are_heard_that_are_on_the_link_itself";
    in_namespace(name, || {
        let voice = interface("voice0");
        let server = FrameSocket::open_unaddressed(&voice, 67).unwrap();
        let frame = |source: [u8; 4], destination: SocketAddrV4, tag: Option<u16>| {
            let frame = UdpFrame {
                source_mac: Mac([2, 0, 0, 0, 0, 1]),
                destination_mac: voice.mac.unwrap(),
                source: SocketAddrV4::new(source.into(), 68),
                destination,
                payload: &tag.unwrap_or_default().to_be_bytes(),
            };
            let mut bytes = Vec::new();
            frame.write(&mut bytes).unwrap();
            if let Some(tag) = tag {
                let tag = tag.to_be_bytes();
                bytes.splice(12..12, [0x81, 0, tag[0], tag[1]]);
            }
            bytes
        };
        let nobody = [0; 4];
        // What has an address, is for everybody or for another service, or of VLAN 20, comes to other sockets.
        send_frame("voice1", &frame([10, 250, 1, 9], SERVER, None));
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        send_frame("voice1", &frame(nobody, everybody, None));
        send_frame("voice1", &frame(nobody, SocketAddrV4::new(*SERVER.ip(), 69), None));
        send_frame("voice1", &frame(nobody, SERVER, Some(20)));
        send_frame("voice1", &frame(nobody, SERVER, Some(0xa000 + 20)));
        // What was damaged on the way comes to none: a UDP socket gets none either.
        for byte in [24, 41] {
            let mut damaged = frame(nobody, SERVER, None);
            damaged[byte] ^= 0x10;
            send_frame("voice1", &damaged);
        }
        // So does what this host sends itself.
        send_frame("voice0", &frame(nobody, SERVER, None));
        // A tag without a VLAN is a priority, and no more.
        let mut buffer = [0; 2048];
        for tag in [None, Some(0), Some(0xa000)] {
            send_frame("voice1", &frame(nobody, SERVER, tag));
            let heard = server.recv(&mut buffer, SOON).unwrap().unwrap();
            assert_eq!((heard.destination, *heard.source.ip()), (SERVER, nobody.into()));
            assert_eq!(heard.payload, tag.unwrap_or_default().to_be_bytes());
        }
        assert_eq!(server.recv(&mut buffer, NOT_NOW).unwrap(), None);
    });
}

#[test]
fn a_crowd_of_phones_shares_one_promiscuous_socket() {
    in_namespace("a_crowd_of_phones_shares_one_promiscuous_socket", || {
        let phones = FrameSocket::open_receiving(&interface("voice1"), true, Some(68)).unwrap();
        let server = FrameSocket::open(&interface("voice0")).unwrap();
        let macs = (0..200).map(|i| Mac([2, 0, 0, 0, 0, i]));
        let frames: Vec<UdpFrame<'_>> = macs
            .clone()
            .map(|destination_mac| UdpFrame {
                source_mac: server.interface().mac.unwrap(),
                destination_mac,
                source: SERVER,
                destination: CLIENT,
                payload: b"OFFER",
            })
            .collect();
        assert_eq!(server.send_batch(&frames, |i, error| panic!("{i}: {error}")), 200);
        let mut buffer = [0; 2048];
        for mac in macs {
            assert_eq!(phones.recv(&mut buffer, SOON).unwrap().unwrap().destination_mac, mac);
        }
        // A sending socket receives nothing, whatever is on the link.
        let ready = Poller::new().unwrap().wait(&[server.as_fd()], Some(Duration::ZERO));
        assert!(ready.unwrap().is_empty());
    });
}

#[test]
fn a_datagram_whose_checksum_the_kernel_left_half_done_is_read() {
    in_namespace("a_datagram_whose_checksum_the_kernel_left_half_done_is_read", || {
        let voice = interface("voice0");
        let phone = FrameSocket::open_receiving(&interface("voice1"), false, Some(68)).unwrap();
        let server = DhcpSocket::bind(Some(&voice), 67).unwrap();
        server.set_dscp(46).unwrap();
        let everyone = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        server.send_to(b"OFFER", everyone, *SERVER.ip(), voice.index).unwrap();
        let mut buffer = [0; 2048];
        let frame = phone.recv(&mut buffer, SOON).unwrap().unwrap();
        assert_eq!(
            (frame.payload, frame.source, frame.destination),
            (&b"OFFER"[..], SERVER, everyone)
        );
        assert_eq!(frame.destination_mac, Mac::BROADCAST);
        assert_eq!(buffer[15], 46 << 2, "the DSCP in the IPv4 header");
    });
}

#[test]
fn a_link_that_is_down_heals_and_one_that_was_made_anew_is_stale() {
    in_namespace("a_link_that_is_down_heals_and_one_that_was_made_anew_is_stale", || {
        let voice = interface("voice0");
        let socket = DhcpSocket::bind(Some(&voice), 67).unwrap();
        let frames = FrameSocket::open(&voice).unwrap();
        let mac = Mac([2, 0, 0, 0, 0, 1]);

        ip("link set voice0 down");
        assert!(!interface("voice0").up);
        let error = frames.send_udp(mac, SERVER, CLIENT, b"x").unwrap_err();
        assert_eq!(offhook_net::recovery(&error), offhook_net::Recovery::Ignore, "{error}");
        ip("link set voice0 up");
        frames.send_udp(mac, SERVER, CLIENT, b"x").unwrap();
        // The kernel notices the carrier a little later, up to a second, and drops what is sent before.
        let phone = FrameSocket::open(&interface("voice1")).unwrap();
        let poller = Poller::new().unwrap();
        let is_heard = |_| {
            broadcast(&phone, b"again");
            poller.wait(&[socket.as_fd()], NOT_NOW).unwrap().is_readable(0)
        };
        assert!((0..100).any(is_heard));
        assert_eq!(receive_one(&socket).0, b"again");
        assert!(!socket.is_stale() && !frames.is_stale());

        ip("link delete voice0");
        ip("link add voice0 type veth peer name voice1");
        assert!(socket.is_stale() && frames.is_stale());
        let error = frames.send_udp(mac, SERVER, CLIENT, b"x").unwrap_err();
        assert_eq!(offhook_net::recovery(&error), offhook_net::Recovery::Reopen, "{error}");
    });
}

#[test]
fn a_datagram_that_a_link_does_not_take_whole_is_not_sent_in_parts() {
    in_namespace("a_datagram_that_a_link_does_not_take_whole_is_not_sent_in_parts", || {
        ip("link set lo mtu 1400");
        for address in ["127.0.0.1", "::1"] {
            let [sender, receiver] = [0, 1].map(|_| UdpSocket::bind((address, 0)).unwrap());
            let to = receiver.local_addr().unwrap();
            offhook_net::send_now(&sender, &[7; 1500], to).expect("in parts");
            offhook_net::never_fragment(&sender).unwrap();
            let error = offhook_net::send_now(&sender, &[7; 1500], to).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(90), "EMSGSIZE");
            offhook_net::send_now(&sender, &[7; 1232], to).unwrap();
        }
    });
}
