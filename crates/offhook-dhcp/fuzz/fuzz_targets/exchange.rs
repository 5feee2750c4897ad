//! One message through the whole server: decoded, decided about, and the reply read again.
#![no_main]

mod site;
#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/dhcp/support.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddrV4};

use libfuzzer_sys::fuzz_target;
use offhook_dhcp::wire::Request;
use offhook_dhcp::{Destination, MessageType};

// The first byte says how the message came in.
fuzz_target!(|input: &[u8]| {
    let Some((how, bytes)) = input.split_first() else { return };
    let mut server = support::Server::new(site::site());
    let link = usize::from(how & 3);
    let destination = match how & 4 {
        0 => Ipv4Addr::BROADCAST,
        _ => support::NATIVE_ADDRESS,
    };
    let source = SocketAddrV4::new(Ipv4Addr::from([10, 250, 1, *how]), 68);
    let decision = server.decide_from(link, source, destination, bytes);
    assert_eq!(decision.ticket.is_some(), !decision.writes.is_empty());
    let Ok(reply) = &decision.reply else { return };
    let request = Request::decode(bytes).unwrap();
    let long =
        request.client_id().map_or(0, <[u8]>::len) + request.option(82).map_or(0, <[u8]>::len);
    assert!(reply.bytes.len() >= 300);
    assert!(reply.bytes.len() <= request.reply_limit() || long > 200, "{}", reply.bytes.len());
    let read = support::Read::new(&reply.bytes);
    assert_eq!(read.option(61), request.option(61));
    if let Some(relay) = request.option(82).filter(|relay| !relay.is_empty()) {
        assert_eq!(read.option(82), Some(relay));
        // Last in the options field; what is in `file` and `sname` is read after it.
        let tail = relay.chunks(255).last().unwrap();
        let filling = reply.bytes.iter().rev().take_while(|byte| **byte == 0).count();
        let end = reply.bytes.len() - filling;
        assert!(reply.bytes[..end].ends_with(&[tail, &[255]].concat()));
    }
    assert_eq!(
        request.header.is_relayed(),
        matches!(reply.to, Destination::Relay(_))
            || request.header.is_relayed() && request.message == MessageType::Inform
    );
    assert_eq!(read.bytes[4..8], request.header.xid.to_be_bytes());
    server.commit(&decision);
    assert_eq!(server.core.unsettled_count(), 0);
});
