//! Where replies go, from which scope they are, and how long they get.

use std::net::SocketAddrV4;

use offhook_dhcp::{Destination, NoReply};
use offhook_model::Send;

use crate::support::*;

fn relay(address: &str) -> Destination {
    Destination::Relay(SocketAddrV4::new(ip(address), 67))
}

#[test]
fn a_reply_goes_to_the_relay_else_to_ciaddr_else_broadcast_else_to_the_new_address() {
    let mut server = Server::lab();
    let plain = Message::discover(mac(1));
    let mut to = |link, message: &Message| server.send(link, message).unwrap().to;
    let address = ip("10.250.1.20");
    assert_eq!(to(ON_VOICE, &plain), Destination::Frame { hardware: mac(1), address });
    assert_eq!(to(ON_VOICE, &plain.clone().broadcast()), Destination::Broadcast);
    let relayed = plain.clone().broadcast().through(ip("10.250.1.1"));
    assert_eq!(to(ON_NATIVE, &relayed), relay("10.250.1.1"));
    let renewal = Message::request(mac(1)).broadcast().using(address);
    // On its link no ARP request is needed; from afar, routes are.
    assert_eq!(to(ON_VOICE, &renewal), Destination::Frame { hardware: mac(1), address });
    let unicast = Destination::Unicast("10.250.1.20:68".parse().unwrap());
    assert_eq!(to(ON_NATIVE, &renewal), unicast);
    let relayed = renewal.through(ip("10.250.1.1"));
    assert_eq!(to(ON_VOICE, &relayed), relay("10.250.1.1"));
    // Not Ethernet: there is no frame we could make.
    let mut infiniband = plain.bytes();
    infiniband[1] = 32;
    let decision = server.decide(ON_VOICE, &infiniband);
    assert_eq!(decision.reply.unwrap().to, Destination::Broadcast);
    infiniband[12..16].copy_from_slice(&ip("10.250.1.77").octets());
    infiniband[242] = 8;
    let decision = server.decide(ON_VOICE, &infiniband);
    let unicast = Destination::Unicast("10.250.1.77:68".parse().unwrap());
    assert_eq!(decision.reply.unwrap().to, unicast);
}

#[test]
fn every_subnet_of_a_link_is_near() {
    let mut lab = site();
    let mut second = lab.scopes[0].clone();
    second.name = "voice 2".into();
    second.subnet = "10.250.2.0/24".parse().unwrap();
    second.pools = vec!["10.250.2.20-10.250.2.30".parse().unwrap()];
    lab.scopes.push(second);
    let mut server = Server::new(lab);
    let mut to = |link| {
        let inform = Message::inform(mac(1), ip("10.250.2.9"));
        server.send(link, &inform).unwrap().to
    };
    let address = ip("10.250.2.9");
    assert_eq!(to(ON_VOICE), Destination::Frame { hardware: mac(1), address });
    assert_eq!(to(ON_NATIVE), Destination::Unicast(SocketAddrV4::new(address, 68)));
    // Behind a relay it is not, whatever its address.
    let relayed = Message::inform(mac(1), address).through(ip("10.250.1.1"));
    let unicast = Destination::Unicast(SocketAddrV4::new(address, 68));
    assert_eq!(server.send(ON_VOICE, &relayed).unwrap().to, unicast);
}

#[test]
fn who_broadcasts_is_on_the_link_whatever_its_address() {
    let mut server = Server::lab();
    let address = ip("172.16.0.9");
    let near = Destination::Frame { hardware: mac(1), address };
    let afar = Destination::Unicast(SocketAddrV4::new(address, 68));
    let inform = Message::inform(mac(1), address).bytes();
    assert_eq!(server.decide(ON_VOICE, &inform).reply.unwrap().to, near);
    let source = SocketAddrV4::new(address, 68);
    let routed = server.decide_from(ON_VOICE, source, VOICE_ADDRESS, &inform);
    assert_eq!(routed.reply.unwrap().to, afar);
    // A client that has not blanked the address of a network it has left.
    let lost = Message::discover(mac(1)).using(address);
    assert_eq!(server.decide(ON_VOICE, &lost.bytes()).reply.unwrap().to, near);
    let mut infiniband = lost.bytes();
    infiniband[1] = 32;
    assert_eq!(server.decide(ON_VOICE, &infiniband).reply.unwrap().to, Destination::Broadcast);
}

#[test]
fn a_ciaddr_that_no_host_can_have_is_none() {
    let mut server = Server::lab();
    let home = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    for nonsense in ["255.255.255.255", "224.0.0.1", "127.0.0.1", "0.0.0.1"] {
        let mut reply = |message: &Message| server.decide(ON_VOICE, &message.bytes()).reply;
        let discover = Message::discover(mac(1)).using(ip(nonsense));
        let offer = reply(&discover).unwrap();
        assert_eq!(offer.to, Destination::Frame { hardware: mac(1), address: home }, "{nonsense}");
        assert_eq!(Read::new(&offer.bytes).ciaddr(), NOBODY);
        assert_eq!(reply(&discover.broadcast()).unwrap().to, Destination::Broadcast, "{nonsense}");
        let inform = Message::inform(mac(1), ip(nonsense));
        assert_eq!(reply(&inform), Err(NoReply::NoReturnAddress), "{nonsense}");
    }
}

#[test]
fn a_relay_is_answered_from_the_address_of_ours_that_it_wrote_to() {
    let mut server = Server::lab();
    let relay: SocketAddrV4 = "10.0.0.1:67".parse().unwrap();
    let mut told = |message: &Message, to| {
        let decision = server.decide_from(ON_VOICE, relay, to, &message.bytes());
        server.commit(&decision);
        let reply = decision.reply.unwrap();
        let read = Read::new(&reply.bytes);
        let server_id = <[u8; 4]>::try_from(read.option(54).unwrap()).unwrap();
        (read.message_type(), reply.from, server_id.into())
    };
    let relayed = |kind| Message::new(kind, mac(1)).through(ip("10.0.0.1"));
    assert_eq!(told(&relayed(1), NATIVE_ADDRESS), (2, NATIVE_ADDRESS, NATIVE_ADDRESS));
    assert_eq!(told(&relayed(1), VOICE_ADDRESS), (2, VOICE_ADDRESS, VOICE_ADDRESS));
    assert_eq!(told(&relayed(1), BROADCAST), (2, VOICE_ADDRESS, VOICE_ADDRESS));
    // The relay's own wish goes before (RFC 5107), in the option alone.
    let override_ = relayed(1).with(82, b"\x0b\x04\x0a\x00\x00\x01");
    assert_eq!(told(&override_, NATIVE_ADDRESS), (2, NATIVE_ADDRESS, ip("10.0.0.1")));
    let nobody = relayed(1).with(82, b"\x0b\x04\0\0\0\0");
    assert_eq!(told(&nobody, NATIVE_ADDRESS), (2, NATIVE_ADDRESS, NATIVE_ADDRESS));
    let request = relayed(3).with(50, [10, 0, 0, 100]).with(54, NATIVE_ADDRESS.octets());
    assert_eq!(told(&request, NATIVE_ADDRESS), (5, NATIVE_ADDRESS, NATIVE_ADDRESS));
    // A client may know us by our own address from before.
    let known = request.with(82, b"\x0b\x04\x0a\x00\x00\x01");
    assert_eq!(told(&known, NATIVE_ADDRESS), (5, NATIVE_ADDRESS, ip("10.0.0.1")));
    let nak = relayed(3).with(50, [9, 9, 9, 9]);
    assert_eq!(told(&nak, NATIVE_ADDRESS), (6, NATIVE_ADDRESS, NATIVE_ADDRESS));
}

#[test]
fn every_reply_has_the_state_of_its_client_as_a_reason() {
    let mut server = Server::lab();
    let home = ip("10.250.1.20");
    let mut reason = |message: &Message, to| {
        let source = SocketAddrV4::new(message.ciaddr, 68);
        let decision = server.decide_from(ON_VOICE, source, to, &message.bytes());
        server.commit(&decision);
        assert!(decision.reply.is_ok());
        decision.trace.reason.unwrap()
    };
    let request = Message::request(mac(1));
    let wanting = request.clone().with(50, home.octets());
    let selecting = wanting.clone().with(54, VOICE_ADDRESS.octets());
    let using = request.using(home);
    assert_eq!(reason(&Message::discover(mac(1)), BROADCAST), "discover");
    assert_eq!(reason(&selecting, BROADCAST), "selecting");
    assert_eq!(reason(&wanting, BROADCAST), "init-reboot");
    assert_eq!(reason(&using, VOICE_ADDRESS), "renewing");
    assert_eq!(reason(&using, BROADCAST), "rebinding");
    let relayed = using.through(ip("10.250.1.1"));
    assert_eq!(reason(&relayed, VOICE_ADDRESS), "rebinding");
    let written_to = relayed.with(82, b"\x0b\x04\x0a\xfa\x01\x01");
    assert_eq!(reason(&written_to, VOICE_ADDRESS), "renewing");
    assert_eq!(reason(&Message::inform(mac(1), home), BROADCAST), "inform");
    assert_eq!(reason(&Message::request(mac(1)).with(50, [9; 4]), BROADCAST), "init-reboot");
}

#[test]
fn a_relays_network_decides_the_scope_and_an_unknown_relay_hears_nothing() {
    let mut server = Server::lab();
    let through = |relay| Message::discover(mac(1)).through(ip(relay));
    let native = server.reply(ON_VOICE, &through("10.0.0.1"));
    assert_eq!(native.yiaddr(), ip("10.0.0.100"));
    assert_eq!(native.option(54), Some(&VOICE_ADDRESS.octets()[..]));
    assert_eq!(server.reply(ON_NATIVE, &through("10.250.1.1")).yiaddr(), ip("10.250.1.20"));
    assert_eq!(server.send(ON_VOICE, &through("10.9.9.9")), Err(NoReply::UnknownRelay));
}

#[test]
fn a_client_that_renews_from_afar_is_served_from_the_scope_of_its_address() {
    let mut server = Server::lab();
    let ack = server.lease(ON_NATIVE, &Message::discover(mac(1)));
    let renewal = Message::request(mac(1)).using(ack.yiaddr());
    let renewed = server.reply(ON_VOICE, &renewal);
    assert_eq!((renewed.message_type(), renewed.ciaddr()), (5, ack.yiaddr()));
    // Broadcast on a link it is not of, it has moved.
    let decision = server.decide(ON_VOICE, &renewal.bytes());
    assert_eq!(Read::new(&decision.reply.unwrap().bytes).message_type(), 6);
}

#[test]
fn option_82_comes_back_verbatim_and_last_in_every_reply() {
    let mut server = Server::lab();
    let info = b"\x01\x04port\x02\x03box\x97\x00\xff\x00";
    let relayed =
        |message: Message| message.with(82, info).with(61, b"\0id").through(ip("10.0.0.1"));
    let lease = server.lease(ON_NATIVE, &relayed(Message::discover(mac(1))));
    let nak = server.reply(ON_NATIVE, &relayed(Message::request(mac(1)).with(50, [9, 9, 9, 9])));
    let inform = server.reply(ON_NATIVE, &relayed(Message::inform(mac(1), ip("10.0.0.9"))));
    for reply in [&lease, &nak, &inform] {
        let (code, value) = reply.options.last().unwrap();
        assert_eq!((*code, &value[..]), (82, &info[..]));
        assert_eq!(reply.option(61), Some(&b"\0id"[..]));
    }
}

#[test]
fn a_nak_is_broadcast_and_through_a_relay_has_the_flag_set() {
    let mut server = Server::lab();
    let request = Message::request(mac(1)).with(50, [192, 168, 1, 1]).with(61, b"\0id");
    let direct = server.send(ON_VOICE, &request).unwrap();
    assert_eq!(direct.to, Destination::Broadcast);
    let read = Read::new(&direct.bytes);
    assert_eq!(read.codes(), [53, 54, 56, 61]);
    assert_eq!(read.bytes[10..12], [0, 0]);
    assert_eq!((read.ciaddr(), read.yiaddr()), (NOBODY, NOBODY));
    let relayed = server.send(ON_VOICE, &request.through(ip("10.250.1.1"))).unwrap();
    assert_eq!(relayed.to, relay("10.250.1.1"));
    assert_eq!(relayed.bytes[10..12], [0x80, 0]);
}

#[test]
fn an_inform_is_answered_to_its_address_even_through_a_relay_else_the_way_it_came() {
    let mut server = Server::lab();
    let to = |server: &mut Server, message: &Message| server.send(ON_VOICE, message).unwrap().to;
    let inform = Message::inform(mac(1), ip("172.16.0.9"));
    let unicast = |address: &str| Destination::Unicast(format!("{address}:68").parse().unwrap());
    assert_eq!(to(&mut server, &inform), unicast("172.16.0.9"));
    assert_eq!(to(&mut server, &inform.clone().through(ip("10.0.0.1"))), unicast("172.16.0.9"));
    let blank = Message::new(8, mac(1));
    assert_eq!(to(&mut server, &blank.clone().through(ip("10.0.0.1"))), relay("10.0.0.1"));
    let source = "10.250.1.200:68".parse().unwrap();
    let decision = server.decide_from(ON_VOICE, source, BROADCAST, &blank.bytes());
    let near = Destination::Frame { hardware: mac(1), address: ip("10.250.1.200") };
    assert_eq!(decision.reply.unwrap().to, near);
    assert_eq!(server.send(ON_VOICE, &blank), Err(NoReply::NoReturnAddress));
}

#[test]
fn a_shorter_lease_is_granted_on_request_within_bounds() {
    for (wish, granted) in [
        (1, 60),
        (60, 60),
        (61, 61),
        (7200, 7200),
        (28800, 28800),
        (28801, 28800),
        (u32::MAX, 28800),
    ] {
        let mut server = Server::lab();
        let message = Message::discover(mac(1)).with(51, wish.to_be_bytes());
        let ack = server.lease(ON_VOICE, &message);
        let seconds = |code| u32::from_be_bytes(ack.option(code).unwrap().try_into().unwrap());
        assert_eq!(seconds(51), granted);
        assert_eq!(seconds(58), granted / 2);
        assert_eq!(seconds(59), granted * 7 / 8);
        let lease = &server.disk[0];
        assert_eq!(lease.expires.since(lease.since).as_secs(), u64::from(granted));
    }
}

#[test]
fn a_reply_is_as_long_as_option_57_allows_and_no_longer() {
    let mut lab = site();
    for code in 224..=230 {
        lab.options.push(rule(code, &[7; 100], Send::Always));
    }
    let mut server = Server::new(lab);
    let longest = |server: &mut Server, size: Option<u16>| {
        let mut message = Message::discover(mac(1));
        if let Some(size) = size {
            message = message.with(57, size.to_be_bytes());
        }
        let decision = server.decide(ON_VOICE, &message.bytes());
        (decision.reply.unwrap().bytes.len(), decision.trace.dropped.len())
    };
    let (len, dropped) = longest(&mut server, None);
    assert!(len <= 548 && dropped > 0, "{len}, {dropped} dropped");
    assert_eq!(longest(&mut server, Some(576)), (len, dropped));
    assert_eq!(longest(&mut server, Some(100)), (len, dropped));
    let (longer, dropped) = longest(&mut server, Some(1400));
    assert!(longer > 900 && longer <= 1372, "{longer}");
    assert_eq!(dropped, 0);
    assert_eq!(longest(&mut server, Some(u16::MAX)), (longer, 0));
}

#[test]
fn the_mask_comes_before_the_router_and_classless_routes_instead_of_it() {
    let mut lab = site();
    lab.options.push(rule(121, &[0, 10, 250, 1, 1], Send::IfRequested));
    let mut server = Server::new(lab);
    let mut codes = |list: &[u8]| {
        server.reply(ON_VOICE, &Message::discover(mac(1)).asking(list)).codes()[5..].to_vec()
    };
    assert_eq!(codes(&[3, 1, 6]), [1, 3, 6]);
    assert_eq!(codes(&[6, 3]), [6, 1, 3]);
    assert_eq!(codes(&[3, 121, 1]), [121, 1]);
    assert_eq!(codes(&[42, 6, 42, 15]), [42, 6, 15, 1]);
}

#[test]
fn the_mask_comes_with_an_address_and_with_nothing_else_unasked() {
    let mut server = Server::lab();
    let ack = server.lease(ON_VOICE, &Message::discover(mac(1)).asking(&[42]));
    assert_eq!(ack.codes(), [53, 54, 51, 58, 59, 42, 1]);
    let elsewhere = Message::inform(mac(2), ip("172.16.0.9")).asking(&[42]);
    assert_eq!(server.reply(ON_VOICE, &elsewhere).codes(), [53, 54, 42]);
    let mut lab = site();
    lab.scopes[0].options.push(rule(1, &[255, 255, 255, 0], Send::Never));
    let offer = Server::new(lab).reply(ON_VOICE, &Message::discover(mac(1)).asking(&[42]));
    assert_eq!(offer.option(1), None);
}

#[test]
fn who_does_not_ask_whether_ipv6_will_do_is_not_told() {
    let mut lab = site();
    lab.options.push(rule(108, &[0, 0, 7, 8], Send::IfRequested));
    let mut server = Server::new(lab.clone());
    let discover = Message::discover(mac(1));
    for list in [&[1, 3, 6][..], &[]] {
        assert_eq!(server.reply(ON_VOICE, &discover.clone().asking(list)).option(108), None);
    }
    assert_eq!(server.reply(ON_VOICE, &discover).option(108), None);
    let told = server.reply(ON_VOICE, &discover.clone().asking(&[108, 1, 108]));
    assert_eq!(told.codes().iter().filter(|code| **code == 108).count(), 1);
    assert_eq!(told.option(108), Some(&[0, 0, 7, 8][..]));
    lab.options.push(rule(108, &[0, 0, 7, 8], Send::Always));
    assert!(Server::new(lab).reply(ON_VOICE, &discover).option(108).is_some());
}

#[test]
fn a_message_nobody_is_there_for_is_silence_with_a_reason() {
    let mut server = Server::lab();
    let mut anonymous = Message::discover(mac(1)).bytes();
    anonymous[2] = 0;
    assert_eq!(server.decide(ON_VOICE, &anonymous).reply, Err(NoReply::NoIdentity));
    let long = Message::discover(mac(1)).with(61, [1; 600]);
    assert_eq!(server.send(ON_VOICE, &long), Err(NoReply::ClientIdTooLong));
    let longest = |len| Message::discover(mac(1)).with(61, vec![1; len]);
    assert_eq!(server.send(ON_VOICE, &longest(513)), Err(NoReply::ClientIdTooLong));
    assert!(server.send(ON_VOICE, &longest(512)).is_ok());
    let decision = server.decide(7, &Message::discover(mac(1)).bytes());
    assert_eq!(decision.reply, Err(NoReply::UnknownLink));
    // Without a hardware address a client identifier does.
    let mut named = Message::discover(mac(1)).with(61, b"\0name").bytes();
    named[2] = 0;
    assert!(server.decide(ON_VOICE, &named).reply.is_ok());
}

#[test]
fn a_relay_selects_another_subnet_and_another_server_identifier() {
    let mut server = Server::lab();
    let info = b"\x05\x04\x0a\x00\x00\x00\x0b\x04\x0a\xfa\x01\x01";
    let relayed = |message: Message| message.with(82, info).through(ip("10.250.1.1"));
    let offer = server.send(ON_VOICE, &relayed(Message::discover(mac(1)))).unwrap();
    assert_eq!(offer.to, relay("10.250.1.1"));
    let offer = Read::new(&offer.bytes);
    assert_eq!(offer.yiaddr(), ip("10.0.0.100"));
    assert_eq!(offer.option(54), Some(&[10, 250, 1, 1][..]));
    let request = Message::request(mac(1)).with(50, [10, 0, 0, 100]).with(54, [10, 250, 1, 1]);
    assert_eq!(server.reply(ON_VOICE, &relayed(request.clone())).message_type(), 5);
    // Without a relay nobody selects a subnet. A switch that adds the option may name us.
    let direct = request.with(82, info);
    let ack = server.reply(ON_NATIVE, &direct);
    assert_eq!((ack.message_type(), ack.yiaddr()), (5, ip("10.0.0.100")));
    assert_eq!(ack.option(54), Some(&[10, 250, 1, 1][..]));
    assert_eq!(server.reply(ON_VOICE, &direct).message_type(), 6);
    let nowhere = Message::discover(mac(1)).with(82, b"\x05\x04\x09\x09\x09\x09");
    assert_eq!(server.send(ON_VOICE, &nowhere.through(ip("10.0.0.1"))), Err(NoReply::UnknownRelay));
}

#[test]
fn an_identifier_of_no_bytes_is_echoed_as_it_came_and_identifies_nobody() {
    let mut server = Server::lab();
    let bare = server.lease(ON_VOICE, &Message::discover(mac(1)));
    let empty = server.lease(ON_VOICE, &Message::discover(mac(1)).with(61, b""));
    assert_eq!((bare.option(61), empty.option(61)), (None, Some(&b""[..])));
    assert_eq!(bare.yiaddr(), empty.yiaddr());
    let elsewhere = Message::request(mac(1)).with(50, [172, 16, 0, 9]).with(61, b"");
    let nak = server.reply(ON_VOICE, &elsewhere);
    assert_eq!((nak.message_type(), nak.option(61)), (6, Some(&b""[..])));
}
