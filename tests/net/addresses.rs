//! An appliance with more addresses than scopes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use offhook_model::Mac;
use offhook_net::{FrameSocket, Interface};

use crate::lab::{Lab, Vlan};
use crate::packet::*;

#[test]
fn every_address_of_the_appliance_names_it_and_a_client_may_renew_at_any_on_its_link() {
    let lab = Lab::new();
    lab.appliance.ip("addr add 10.250.1.7/24 dev voice0");
    lab.appliance.ip("addr add 192.0.2.7/32 dev lo");
    let server = lab.serve();
    let office = lab.machine(Vlan::Voice, "10.250.1.9/24", "10.250.1.1");
    office.enter(|| {
        let card = Card::open("eth0");
        // RFC 2131, 4.1: a server accepts any of its addresses as the one that identifies it.
        for (n, name) in ["10.250.1.5", "10.250.1.7", "10.0.0.11", "192.0.2.7"].iter().enumerate() {
            let name: Ipv4Addr = name.parse().unwrap();
            let n = 10 * (n as u32 + 1);
            let offer = card.ask(&Message::new(DISCOVER, mac(n), n)).expect("an OFFER");
            let request = Message::new(REQUEST, mac(n), n + 1);
            let request = request.with(50, offer.yiaddr().octets()).with(54, name.octets());
            let ack = card.ask(&request).unwrap_or_else(|| panic!("{name}:\n{}", server.log()));
            assert_eq!((ack.kind(), ack.yiaddr()), (ACK, offer.yiaddr()), "{name}");
            assert_eq!(ack.option(54), Some(name.octets().to_vec()));
        }
        let elsewhere = Message::new(REQUEST, mac(10), 90).with(50, [10, 250, 1, 20]);
        assert!(
            card.ask(&elsewhere.with(54, [10, 250, 1, 8])).is_none(),
            "that is no address of it"
        );

        // A renewal goes to the address that the ACK named, and the ACK comes from there, in a frame of its own.
        let socket = std::net::UdpSocket::bind("10.250.1.9:68").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let own = offhook_net::Interface::named("eth0").unwrap().mac.unwrap();
        let claim = Message::new(REQUEST, own, 91).from(Ipv4Addr::new(10, 250, 1, 9));
        socket.send_to(&claim.bytes(), "10.250.1.7:67").unwrap();
        let nak = card.reply(91).expect("a NAK, for an address outside of the pools");
        assert_eq!((nak.kind(), nak.source), (NAK, SocketAddrV4::new([10, 250, 1, 7].into(), 67)));
        let inform = Message::new(INFORM, own, 92).from(Ipv4Addr::new(10, 250, 1, 9));
        socket.send_to(&inform.bytes(), "10.250.1.7:67").unwrap();
        let ack = card.reply(92).expect("an ACK");
        assert_eq!((ack.kind(), ack.destination_mac), (ACK, own));
        assert_eq!(ack.source, SocketAddrV4::new([10, 250, 1, 7].into(), 67));
    });
}

/// As a bridge does when it is given another port.
#[test]
fn an_interface_that_gets_another_hardware_address_is_served_from_that_one() {
    let lab = Lab::new();
    let server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let frames =
            FrameSocket::open_receiving(&Interface::named("eth0").unwrap(), true, Some(68));
        let frames = frames.unwrap();
        let nobody = "0.0.0.0:68".parse().unwrap();
        // Where the answer comes from.
        let answerer = |n: u32, flags: u16, to: Mac, server: &str| {
            let discover = Message { flags, ..Message::new(DISCOVER, mac(n), n) };
            let server = server.parse().unwrap();
            frames.send_udp_from(mac(n), to, nobody, server, &discover.bytes()).unwrap();
            let mut buffer = [0; 2048];
            let heard = frames.recv(&mut buffer, Some(Duration::from_secs(2))).unwrap();
            let heard = heard.expect("an OFFER");
            assert_eq!(heard.payload[4..8], n.to_be_bytes());
            heard.source_mac
        };
        let everybody = Mac([0xff; 6]);
        let before = answerer(1, 0, everybody, "255.255.255.255:67");
        let other = Mac([2, 0, 0, 0, 0x5e, 1]);
        assert_ne!(before, other);
        lab.appliance.ip(&format!("link set voice0 address {other}"));
        server.wait_for_log(&["another hardware address", "voice0"]);
        assert_eq!(answerer(2, 0, everybody, "255.255.255.255:67"), other);
        assert_eq!(answerer(3, 0x8000, everybody, "255.255.255.255:67"), other);
        // Who has no address yet and asks us alone is heard there, too.
        assert_eq!(answerer(4, 0, other, "10.250.1.5:67"), other);
    });
}
