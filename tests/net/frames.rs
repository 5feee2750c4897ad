//! What the frames are that replies of DHCP leave in.

use std::fs;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

use offhook_model::Mac;
use offhook_net::{FrameSocket, Interface};

use crate::lab::{Lab, Vlan};
use crate::packet::*;

#[test]
fn replies_of_every_kind_are_marked_as_the_configuration_says_at_the_time() {
    let lab = Lab::new();
    let plain = fs::read_to_string(lab.config()).unwrap();
    fs::write(lab.config(), format!("{plain}\n[dhcp]\ndscp = \"cs6\"\n")).unwrap();
    let server = lab.serve();
    let office = lab.machine(Vlan::Voice, "10.250.1.9/24", "10.250.1.1");
    office.enter(|| {
        let frames =
            FrameSocket::open_receiving(&Interface::named("eth0").unwrap(), true, None).unwrap();
        let everybody: SocketAddrV4 = "255.255.255.255:67".parse().unwrap();
        // The second byte of the IPv4 header of the reply.
        let mark = |message: Message| {
            let source = SocketAddrV4::new(message.giaddr, 68);
            let payload = message.bytes();
            frames.send_udp_from(message.mac, Mac([0xff; 6]), source, everybody, &payload).unwrap();
            let mut buffer = [0; 2048];
            loop {
                let heard = frames.recv(&mut buffer, Some(Duration::from_secs(2))).unwrap();
                let heard = heard.expect("a reply");
                if heard.source.port() == 67 && heard.payload[4..8] == message.xid.to_be_bytes() {
                    return buffer[15];
                }
            }
        };
        let marks = |n: u32| {
            [
                mark(Message::new(DISCOVER, mac(n), n)),
                mark(Message::new(DISCOVER, mac(n), n + 1).broadcast()),
                mark(Message::new(REQUEST, mac(n), n + 2).with(50, [192, 0, 2, 1])),
                mark(Message::new(DISCOVER, mac(n), n + 3).relayed([10, 250, 1, 9].into())),
            ]
        };
        assert_eq!(marks(10), [48 << 2; 4], "a frame, a broadcast, a NAK, and through a relay");
        fs::write(lab.config(), format!("{plain}\n[dhcp]\ndscp = 8\n")).unwrap();
        server.hang_up();
        server.wait_for_log(&["configuration taken over"]);
        assert_eq!(marks(20), [8 << 2; 4]);
        // Sockets that are opened meanwhile are marked as well.
        lab.appliance.ip("link set voice0 address 02:00:00:00:5e:01");
        server.wait_for_log(&["another hardware address"]);
        assert_eq!(marks(30), [8 << 2; 4]);
    });
}

/// As of a tunnel or of a virtual machine: what is longer is no frame, or one that comes in parts.
#[test]
fn no_reply_is_longer_than_a_frame_of_the_link() {
    let lab = Lab::new();
    let plain = fs::read_to_string(lab.config()).unwrap();
    let options: String = (0..6)
        .map(|n| format!("{} = {{ text = \"{}\", send = \"always\" }}\n", 230 + n, "x".repeat(200)))
        .collect();
    fs::write(lab.config(), format!("{plain}\n[options]\n{options}")).unwrap();
    lab.appliance.ip("link set voice0 mtu 1000");
    let _server = lab.serve();
    for (vlan, most) in [(Vlan::Voice, 1000), (Vlan::Native, 1500)] {
        lab.client(vlan).enter(|| {
            let card = Card::open("eth0");
            for size in [576, 800, 1500_u16] {
                let discover = Message::new(DISCOVER, mac(1), u32::from(size));
                let discover = discover.with(57, size.to_be_bytes());
                for discover in [discover.clone(), discover.broadcast()] {
                    let offer = card.ask(&discover).expect("an OFFER, in one frame");
                    let room = usize::from(size.min(most)) - 28;
                    // Whatever there is room for is in it: an option of 200 octets has no more than 202.
                    assert!((room - 202..=room).contains(&offer.bytes.len()), "{size}: {room}");
                    assert_eq!(offer.kind(), OFFER);
                }
            }
        });
    }
}

/// As of InfiniBand or of a tunnel: there the kernel knows how to say something to everybody.
#[test]
fn a_client_on_a_link_that_is_not_ethernet_hears_what_is_for_everybody() {
    let lab = Lab::changed(&[("interface = \"voice0\"", "interface = \"lo\"")]);
    lab.appliance.ip("addr del 10.250.1.5/24 dev voice0");
    lab.appliance.ip("addr add 10.250.1.5/24 dev lo");
    let _server = lab.serve();
    lab.appliance.enter(|| {
        let client = UdpSocket::bind("0.0.0.0:68").unwrap();
        client.set_broadcast(true).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        nix::sys::socket::setsockopt(
            &client,
            nix::sys::socket::sockopt::BindToDevice,
            &"lo".into(),
        )
        .unwrap();
        let discover = Message::new(DISCOVER, mac(1), 7).broadcast().bytes();
        client.send_to(&discover, "255.255.255.255:67").unwrap();
        let mut offer = [0; 1500];
        let (_, from) = client.recv_from(&mut offer).expect("an OFFER");
        assert_eq!(
            (from, offer[0], &offer[4..8]),
            ("10.250.1.5:67".parse().unwrap(), 2, &[0, 0, 0, 7][..])
        );
    });
}
