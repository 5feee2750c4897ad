//! Phones down to the frame: what goes to whom, and what the guide's table gives each.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use offhook_model::Mac;
use offhook_net::{FrameSocket, Interface};

use crate::lab::{Lab, Vlan, repository};
use crate::packet::*;

const NOBODY: Duration = Duration::from_millis(300);

#[test]
fn a_client_without_an_address_is_answered_by_a_frame_to_its_own_mac_and_nobody_asks_arp_for_it() {
    let lab = Lab::new();
    let _server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        let phone = mac(1);
        let offer = card.ask(&Message::new(DISCOVER, phone, 1)).expect("an OFFER");
        assert_eq!(offer.destination_mac, phone);
        assert_eq!(*offer.destination.ip(), offer.yiaddr());
        assert_eq!(offer.destination.port(), 68);
        assert_eq!(offer.source.to_string(), "10.250.1.5:67");
        assert!(offer.bytes.len() >= 300, "{} octets", offer.bytes.len());

        let offer = card.ask(&Message::new(DISCOVER, mac(2), 2).broadcast()).expect("an OFFER");
        assert_eq!(offer.destination_mac, Mac([0xff; 6]));
        assert_eq!(*offer.destination.ip(), Ipv4Addr::BROADCAST);
    });
}

/// RFC 2131, 4.4.4: a client that knows the server may use its address in DISCOVER and REQUEST, and has none yet.
#[test]
fn a_client_without_an_address_may_ask_us_alone_or_its_subnet() {
    let lab = Lab::new();
    let _server = lab.serve();
    let ours = lab.appliance.enter(|| Interface::named("voice0").unwrap()).mac.unwrap();
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        let frames = FrameSocket::open(&Interface::named("eth0").unwrap()).unwrap();
        let ask = |message: &Message, to: &str| {
            let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
            let to = to.parse().unwrap();
            frames.send_udp_from(message.mac, ours, nobody, to, &message.bytes()).unwrap();
            card.reply_within(message.xid, NOBODY)
        };
        let offer = ask(&Message::new(DISCOVER, mac(1), 1), "10.250.1.5:67").expect("an OFFER");
        assert_eq!((offer.kind(), offer.destination_mac), (OFFER, mac(1)));
        let request = Message::new(REQUEST, mac(1), 2).with(50, offer.yiaddr().octets());
        let request = request.with(54, [10, 250, 1, 5]);
        let ack = ask(&request, "10.250.1.5:67").expect("an ACK");
        assert_eq!((ack.kind(), ack.yiaddr()), (ACK, offer.yiaddr()));
        // What is for somebody else, or for another subnet, is not ours to answer; what is for everybody comes once.
        for elsewhere in ["10.250.1.9:67", "10.0.0.255:67", "10.250.1.0:67"] {
            assert!(ask(&Message::new(DISCOVER, mac(2), 3), elsewhere).is_none(), "{elsewhere}");
        }
        assert!(ask(&Message::new(DISCOVER, mac(2), 5), "10.250.1.255:67").is_some());
        assert!(card.reply_within(5, NOBODY).is_none());
        assert!(ask(&Message::new(DISCOVER, mac(2), 4), "255.255.255.255:67").is_some());
        assert!(card.reply_within(4, NOBODY).is_none());
    });
}

#[test]
fn each_link_is_its_own_scope() {
    let lab = Lab::new();
    let _server = lab.serve();
    for (vlan, server, prefix) in
        [(Vlan::Voice, "10.250.1.5", [10, 250, 1]), (Vlan::Native, "10.0.0.11", [10, 0, 0])]
    {
        lab.client(vlan).enter(|| {
            let ack = Card::open("eth0").lease(mac(7), 7, &[(55, &[1, 3, 6, 15])]);
            assert_eq!(ack.yiaddr().octets()[..3], prefix);
            assert_eq!(ack.source.ip().to_string(), server);
            assert_eq!(ack.option(54).unwrap(), server.parse::<Ipv4Addr>().unwrap().octets());
        });
    }
}

#[test]
fn the_guide_s_table_holds_for_every_family_on_both_links() {
    let lab = Lab::new();
    let _server = lab.serve();
    let ip601 = "0000363d6f0107506f6c79636f6d0215536f756e64506f696e7449502d535049505f3630310310323334\
                 352d31313630352d3030312c32041c5349502f5469702e585858582f30382d4a756e2d30372031303a3434\
                 051d42522f332e312e302e585858582f32382d4170722d30352031333a3330";
    let polycom: Vec<u8> = (0..ip601.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&ip601[at..at + 2], 16).unwrap())
        .collect();
    assert_eq!(polycom.len(), 116);
    let audiocodes =
        |model: &str, file: &'static str| (model.as_bytes().to_vec(), Some(file), true);
    let families = [
        audiocodes("SIP100", "sip100.img"),
        audiocodes("SIP200", "sip200.img"),
        audiocodes("405", "405.img"),
        audiocodes("405HD", "405hd.img"),
        audiocodes("420HD", "420hd.img"),
        audiocodes("430HD", "430hd.img"),
        audiocodes("440HD\0", "440hd.img"),
        (polycom, None, true),
        (b"Poly-EdgeE350".to_vec(), None, true),
        (b"MSFT 5.0".to_vec(), None, false),
    ];
    for vlan in [Vlan::Voice, Vlan::Native] {
        lab.client(vlan).enter(|| {
            let card = Card::open("eth0");
            for (n, (vendor_class, firmware, phone)) in families.iter().enumerate() {
                let n = n as u32 + 100;
                // Everything is asked for, so that whatever is missing was withheld.
                let prl = [1, 3, 6, 15, 42, 2, 66, 67, 160, 132, 43];
                let ack = card.lease(mac(n), n, &[(60, vendor_class), (55, &prl)]);
                let what = format!("{} {vlan:?}", String::from_utf8_lossy(vendor_class));
                let url = phone.then_some("http://provision.lab.voip:8088");
                assert_eq!(ack.text(160).as_deref(), url, "{what}");
                assert_eq!(ack.text(67).as_deref(), *firmware, "{what}");
                assert_eq!(ack.text(66).as_deref(), firmware.map(|_| "10.0.0.11"), "{what}");
                let vlan_id = (firmware.is_some() && vlan == Vlan::Native).then_some("100");
                assert_eq!(ack.text(132).as_deref(), vlan_id, "{what}");
                assert_eq!(ack.file(), firmware.unwrap_or_default().as_bytes(), "{what}");
                let next = if firmware.is_some() { [10, 0, 0, 11] } else { [0; 4] };
                assert_eq!(ack.siaddr().octets(), next, "{what}");
                assert_eq!(ack.option(2).unwrap(), [0xff, 0xff, 0xb9, 0xb0], "{what}");
                assert_eq!(ack.option(42).unwrap(), [10, 250, 1, 6], "{what}");
                assert_eq!(ack.option(4), None, "{what}");
                assert_eq!(ack.option(6).unwrap(), [10, 250, 1, 5], "{what}");
                assert_eq!(ack.text(15).unwrap(), "lab.voip", "{what}");
            }
        });
    }
}

#[test]
fn malformed_options_cost_no_phone_its_class() {
    let lab = Lab::new();
    let server = lab.serve();
    lab.client(Vlan::Native).enter(|| {
        let card = Card::open("eth0");
        let crooked: [&[(u8, &[u8])]; 5] = [
            &[(12, b"\xff\xfe not utf-8"), (60, b"420HD")],
            &[(51, &[1, 2]), (60, b"420HD\0\0")],
            &[(55, &[1, 3, 15, 160, 66, 3, 4, 54, 42, 2, 6, 15]), (60, b"420HD")],
            &[(61, &[]), (57, &[9]), (60, b"420HD"), (254, b"whatever")],
            &[(77, b"\x05420HD"), (81, b"\0"), (82, &[1, 200, 3])],
        ];
        for (n, options) in crooked.into_iter().enumerate() {
            let n = n as u32 + 300;
            let ack = card.lease(mac(n), n, options);
            assert_eq!(ack.text(67).as_deref(), Some("420hd.img"), "{options:?}");
        }
        // An option that runs past the end, with no end option after it.
        let mut bytes = Message::new(DISCOVER, mac(400), 400).with(60, b"420HD").bytes();
        bytes.pop();
        bytes.extend([12, 200, b'x']);
        let offer = card.ask_bytes(&bytes, mac(400), 400).expect("an OFFER");
        assert_eq!(offer.text(67).as_deref(), Some("420hd.img"));
        // And what is no DHCP at all hurts nobody.
        for length in [0, 1, 235, 239, 240, 241] {
            assert!(card.ask_bytes(&bytes[..length], mac(401), 400).is_none());
        }
        assert_eq!(card.lease(mac(402), 402, &[]).kind(), ACK);
    });
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn requests_are_acknowledged_refused_or_left_alone_as_rfc_2131_says() {
    let lab = Lab::new();
    let _server = lab.serve();
    let client = lab.client(Vlan::Voice);
    client.enter(|| {
        let card = Card::open("eth0");
        let phone = mac(20);
        let address = card.lease(phone, 20, &[]).yiaddr();
        let reboot = |xid, who, address: [u8; 4]| Message::new(REQUEST, who, xid).with(50, address);

        // INIT-REBOOT: one's own address, another network's, and that of somebody else.
        assert_eq!(card.ask(&reboot(21, phone, address.octets())).unwrap().kind(), ACK);
        let nak = card.ask(&reboot(22, phone, [192, 168, 7, 7])).unwrap();
        assert_eq!((nak.kind(), nak.yiaddr()), (NAK, Ipv4Addr::UNSPECIFIED));
        assert_eq!(*nak.destination.ip(), Ipv4Addr::BROADCAST);
        assert_eq!(card.ask(&reboot(23, mac(21), address.octets())).map(|r| r.kind()), Some(NAK));
        // A client nobody here knows: silence.
        card.broadcast(&reboot(24, mac(22), [10, 250, 1, 140]));
        assert!(card.reply_within(24, NOBODY).is_none());

        // Rebinding. The ACK goes to the address by way of ARP, so somebody has to have it.
        client.ip(&format!("addr add {address}/24 dev eth0"));
        let rebind = Message::new(REQUEST, phone, 25).from(address);
        assert_eq!(card.ask(&rebind).unwrap().kind(), ACK);

        // Another server was chosen.
        let offer = card.ask(&Message::new(DISCOVER, mac(23), 26)).unwrap();
        let other = Message::new(REQUEST, mac(23), 27)
            .with(50, offer.yiaddr().octets())
            .with(54, [10, 250, 1, 250]);
        card.broadcast(&other);
        assert!(card.reply_within(27, NOBODY).is_none());

        // INFORM: no lease, no lease times.
        let inform = Message::new(INFORM, mac(24), 28)
            .from(Ipv4Addr::new(10, 250, 1, 199))
            .with(55, [160, 6]);
        card.broadcast(&inform);
        // It goes to an address nobody here has: only that it is not a lease can be seen from outside.
        let back = card.reply_within(28, NOBODY);
        assert!(back.is_none_or(|ack| ack.yiaddr().is_unspecified() && ack.option(51).is_none()));
    });
}

#[test]
fn a_declined_address_is_offered_to_nobody_and_a_stranger_can_neither_decline_nor_release() {
    let lab = Lab::new();
    let server = lab.serve();
    lab.client(Vlan::Native).enter(|| {
        let card = Card::open("eth0");
        let mine = card.lease(mac(30), 30, &[]).yiaddr();
        let identifier = [10, 0, 0, 11];
        for (kind, n) in [(DECLINE, 31), (RELEASE, 32)] {
            let stranger = Message::new(kind, mac(n), n)
                .from(mine)
                .with(50, mine.octets())
                .with(54, identifier);
            card.broadcast(&stranger);
        }
        let still = card.ask(&Message::new(REQUEST, mac(30), 33).with(50, mine.octets())).unwrap();
        assert_eq!(still.kind(), ACK);

        card.broadcast(
            &Message::new(DECLINE, mac(30), 34).with(50, mine.octets()).with(54, identifier),
        );
        server.wait_for_log(&["decline", &mine.to_string()]);
        for n in 0..20 {
            let offer = card.ask(&Message::new(DISCOVER, mac(40 + n % 2), 40 + n)).unwrap();
            assert_ne!(offer.yiaddr(), mine);
        }
        let again = card.ask(&Message::new(DISCOVER, mac(30), 70)).unwrap();
        assert_ne!(again.yiaddr(), mine);
    });
}

#[test]
fn offers_are_held_so_that_a_crowd_is_never_offered_the_same_address() {
    let lab = Lab::new();
    let _server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        let crowd = 100;
        (0..crowd).for_each(|n| card.broadcast(&Message::new(DISCOVER, mac(500 + n), 500 + n)));
        let mut offered = std::collections::HashMap::new();
        while offered.len() < crowd as usize {
            let offer = card.next(Duration::from_secs(2)).expect("an OFFER for each");
            let before = offered.insert(offer.yiaddr(), offer.xid());
            assert!(before.is_none_or(|xid| xid == offer.xid()), "{} twice", offer.yiaddr());
        }
    });
}

#[test]
fn a_relayed_request_is_answered_to_the_relay_from_the_scope_it_names() {
    let lab = Lab::new();
    let _server = lab.serve();
    // A relay on the native link that speaks for the voice subnet, with an agent option to be echoed.
    let relay = lab.machine(Vlan::Voice, "10.250.1.2/24", "10.250.1.1");
    relay.enter(|| {
        let socket = std::net::UdpSocket::bind("10.250.1.2:67").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let agent = [1, 4, b'p', b'o', b'r', b't', 2, 2, 0xca, 0xfe];
        let ask = |message: &Message| {
            socket.send_to(&message.bytes(), "10.250.1.5:67").unwrap();
            let mut buffer = [0; 1500];
            let (length, from) = socket.recv_from(&mut buffer).expect("a reply to giaddr:67");
            let std::net::SocketAddr::V4(source) = from else { panic!("{from}") };
            let destination = std::net::SocketAddrV4::new(Ipv4Addr::new(10, 250, 1, 2), 67);
            Reply {
                bytes: buffer[..length].to_vec(),
                destination_mac: Mac([0; 6]),
                destination,
                source,
            }
        };
        let giaddr = Ipv4Addr::new(10, 250, 1, 2);
        let offer = ask(&Message::new(DISCOVER, mac(60), 60).relayed(giaddr).with(82, agent));
        assert_eq!(offer.kind(), OFFER);
        assert_eq!(offer.yiaddr().octets()[..3], [10, 250, 1]);
        let (last, value) = offer.options().pop().unwrap();
        assert_eq!((last, value), (82, agent.to_vec()));
        assert_eq!(offer.bytes[24..28], giaddr.octets());
        // NAK through a relay: to the relay, with the broadcast flag set.
        let nak = ask(&Message::new(REQUEST, mac(60), 61).relayed(giaddr).with(50, [1, 2, 3, 4]));
        assert_eq!((nak.kind(), nak.bytes[10] & 0x80), (NAK, 0x80));
    });
}

#[test]
fn an_inform_is_answered_to_the_address_it_came_from() {
    let lab = Lab::new();
    let _server = lab.serve();
    // A Windows soft phone with an address somebody else leased to it.
    let pc = lab.machine(Vlan::Native, "10.0.0.77/24", "10.0.0.1");
    pc.enter(|| {
        let socket = std::net::UdpSocket::bind("10.0.0.77:68").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let own = offhook_net::Interface::named("eth0").unwrap().mac.unwrap();
        let message = Message::new(INFORM, own, 80)
            .from(Ipv4Addr::new(10, 0, 0, 77))
            .with(60, b"MSFT 5.0")
            .with(55, [160]);
        Card::open("eth0").broadcast(&message);
        let mut buffer = [0; 1500];
        let (length, source) = socket.recv_from(&mut buffer).expect("an ACK to ciaddr:68");
        assert_eq!(source.to_string(), "10.0.0.11:67");
        let ack = Reply {
            bytes: buffer[..length].to_vec(),
            destination_mac: Mac([0; 6]),
            destination: std::net::SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), 68),
            source: "10.0.0.11:67".parse().unwrap(),
        };
        assert_eq!((ack.kind(), ack.yiaddr()), (ACK, Ipv4Addr::UNSPECIFIED));
        assert_eq!(ack.text(160).as_deref(), Some("http://provision.lab.voip:8088"));
        for lease_time in [51, 58, 59, 66, 67, 132] {
            assert_eq!(ack.option(lease_time), None, "option {lease_time}");
        }
    });
}

#[test]
fn what_a_client_says_right_after_its_ack_finds_its_lease_settled() {
    let lab = Lab::new();
    let _server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        for n in 0..300 {
            let (phone, xid) = (mac(2000 + n % 100), 2000 + 2 * n);
            card.lease(phone, xid, &[]);
            let wrong = Message::new(REQUEST, phone, xid + 1).with(50, [192, 168, 1, 1]);
            let reply = card.ask(&wrong).unwrap_or_else(|| panic!("silence in round {n}"));
            assert_eq!(reply.kind(), NAK, "round {n}");
        }
    });
}

#[test]
fn a_client_that_sends_too_much_is_called_that() {
    let lab = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let lab = Lab::with_config(&format!("{lab}\n[dhcp]\nclient_rate = 1\n"));
    let server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        for xid in 0..20 {
            card.broadcast(&Message::new(DISCOVER, mac(1), xid));
        }
        assert!(card.ask(&Message::new(DISCOVER, mac(2), 21)).is_some(), "others are answered");
    });
    server.wait_for_log(&["silent", &mac(1).to_string(), "rate-limited"]);
    assert!(!server.log().contains("not a DHCP message"), "{}", server.log());
}
