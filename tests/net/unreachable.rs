//! Answers to hosts that do not answer ARP wait in the kernel for seconds: nobody else may have to wait with them.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use offhook_model::Mac;
use offhook_net::{FrameSocket, Interface};

use crate::lab::{Lab, Netns, Vlan};
use crate::packet::*;

/// What they leave unanswered together is far more than fits into a socket's send buffer by default.
const MESSAGES: u32 = 2000;

/// Addresses of the voice network that nobody has, in turns.
fn absent(n: u32) -> Ipv4Addr {
    Ipv4Addr::new(10, 250, 1, 204 + (n % 50) as u8)
}

/// Something that sends as anybody on the voice link, and the card it sends to.
fn forger(lab: &Lab, client: &Netns) -> (FrameSocket, Mac) {
    let appliance = lab.appliance.enter(|| Interface::named("voice0").unwrap());
    let frames = client.enter(|| FrameSocket::open(&Interface::named("eth0").unwrap()).unwrap());
    (frames, appliance.mac.unwrap())
}

#[test]
fn a_question_is_answered_while_answers_wait_for_hosts_that_are_not_there() {
    let lab = Lab::new();
    let _server = lab.serve();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let (frames, appliance) = forger(&lab, &client);
    let mut query = b"\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    query.extend(b"\x07vm40ic1\x03lab\x04voip\x00\x00\x01\x00\x01");
    let ask = || {
        client.enter(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            socket.send_to(&query, "10.250.1.5:53").unwrap();
            socket.recv(&mut [0; 512]).is_ok()
        })
    };
    assert!(ask());
    for n in 0..MESSAGES {
        let (from, to) = (SocketAddrV4::new(absent(n), 5060), "10.250.1.5:53".parse().unwrap());
        frames.send_udp(appliance, from, to, &query).unwrap();
    }
    assert!(ask(), "nobody is answered while others are looked for");
}

#[test]
fn a_phone_is_answered_while_replies_wait_for_relays_that_are_not_there() {
    let lab = Lab::new();
    let _server = lab.serve();
    let client = lab.client(Vlan::Voice);
    let (frames, appliance) = forger(&lab, &client);
    let card = client.enter(|| Card::open("eth0"));
    for n in 0..MESSAGES {
        let wrong = Message::new(REQUEST, mac(n), n).with(50, [10, 99, 0, 1]).relayed(absent(n));
        let (from, to) = (SocketAddrV4::new(absent(n), 67), "10.250.1.5:67".parse().unwrap());
        frames.send_udp(appliance, from, to, &wrong.bytes()).unwrap();
    }
    // An answer by broadcast leaves by the same socket as those to relays.
    let discover = Message::new(DISCOVER, mac(MESSAGES), MESSAGES).broadcast();
    let offer = card.ask(&discover).expect("an answer while relays are looked for");
    assert_eq!(offer.kind(), OFFER);
}
