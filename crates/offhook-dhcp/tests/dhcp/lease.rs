//! What happens to leases, one client at a time.

use crate::support::*;
use offhook_dhcp::{Destination, NoReply};

#[test]
fn a_discover_is_offered_what_its_request_then_gets() {
    let mut server = Server::lab();
    let ack = server.lease(ON_VOICE, &Message::discover(mac(1)).asking(&[1, 3, 6, 15, 51]));
    assert_eq!(ack.yiaddr(), ip("10.250.1.20"));
    assert_eq!(ack.codes(), [53, 54, 51, 58, 59, 1, 3, 6, 15]);
    assert_eq!(ack.option(51), Some(&28800_u32.to_be_bytes()[..]));
    assert_eq!(ack.option(58), Some(&14400_u32.to_be_bytes()[..]));
    assert_eq!(ack.option(59), Some(&25200_u32.to_be_bytes()[..]));
    assert_eq!(server.disk.len(), 1);
}

#[test]
fn nothing_is_written_for_an_offer_and_a_lease_is_before_its_ack() {
    let mut server = Server::lab();
    let offer = server.decide(ON_VOICE, &Message::discover(mac(1)).bytes());
    assert!(offer.reply.is_ok() && offer.writes.is_empty() && offer.ticket.is_none());
    let request = Message::request(mac(1)).with(50, [10, 250, 1, 20]).with(54, [10, 250, 1, 5]);
    let ack = server.decide(ON_VOICE, &request.bytes());
    assert_eq!(ack.writes.len(), 1);
    assert!(ack.ticket.is_some());
    assert_eq!(
        ack.reply.unwrap().to,
        Destination::Frame { hardware: mac(1), address: ip("10.250.1.20") }
    );
}

#[test]
fn a_failed_write_leaves_no_lease_behind() {
    let mut server = Server::lab();
    let request = Message::request(mac(1)).with(50, [10, 250, 1, 20]).with(54, [10, 250, 1, 5]);
    let ack = server.decide(ON_VOICE, &request.bytes());
    // Until it has failed the address is nobody else's.
    let other = server.reply(ON_VOICE, &Message::discover(mac(2)).with(50, [10, 250, 1, 20]));
    assert_eq!(other.yiaddr(), ip("10.250.1.21"));
    server.core.failed(ack.ticket.unwrap());
    assert_eq!(server.core.lease_count(), 0);
    let init_reboot = Message::request(mac(1)).with(50, [10, 250, 1, 20]);
    assert_eq!(server.send(ON_VOICE, &init_reboot), Err(NoReply::UnknownClient));
    let other = server.reply(ON_VOICE, &Message::discover(mac(3)).with(50, [10, 250, 1, 20]));
    assert_eq!(other.yiaddr(), ip("10.250.1.20"));
}
