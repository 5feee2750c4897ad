//! Beside another server: who is answered, and who is told no.

use offhook_dhcp::NoReply;
use offhook_model::{Serve, Site};

use crate::support::*;

fn serving(serve: Serve) -> Server {
    let mut lab = site();
    lab.phones.push(phone(mac(7), None, Vec::new()));
    for scope in &mut lab.scopes {
        scope.serve = serve;
    }
    Server::new(lab)
}

/// Every message a client may send, about an address that is free here.
fn all_messages(n: u8) -> Vec<Message> {
    let address = ip("10.0.0.150");
    vec![
        Message::discover(mac(n)),
        Message::request(mac(n)).with(50, address.octets()).with(54, NATIVE_ADDRESS.octets()),
        Message::request(mac(n)).with(50, address.octets()),
        Message::request(mac(n)).with(50, [192, 168, 1, 1]),
        Message::request(mac(n)).using(address),
        Message::request(mac(n)).using(ip("192.168.1.1")),
        Message::inform(mac(n), address).asking(&[1, 3, 6]),
        Message::release(mac(n), address),
        Message::decline(mac(n), address),
    ]
}

#[test]
fn strangers_hear_nothing_whatever_they_send() {
    for serve in [Serve::Phones, Serve::Inventory] {
        let mut server = serving(serve);
        for message in all_messages(1) {
            assert_eq!(server.send(ON_NATIVE, &message), Err(NoReply::NotServed));
        }
        assert_eq!((server.core.offer_count(), server.disk.len()), (0, 0));
    }
}

#[test]
fn recognised_phones_are_served_where_phones_are() {
    let mut server = serving(Serve::Phones);
    server.lease(ON_NATIVE, &Message::discover(mac(1)).with(60, b"440HD"));
    server.lease(ON_NATIVE, &Message::discover(mac(7)));
    let soft_phone = Message::inform(mac(3), ip("10.0.0.9")).asking(&[1, 160]);
    assert_eq!(server.reply(ON_NATIVE, &soft_phone).message_type(), 5);
}

#[test]
fn only_listed_phones_are_served_where_the_inventory_is() {
    let mut server = serving(Serve::Inventory);
    for message in all_messages(1) {
        let message = message.with(60, b"440HD");
        assert_eq!(server.send(ON_NATIVE, &message), Err(NoReply::NotServed));
    }
    server.lease(ON_NATIVE, &Message::discover(mac(7)));
}

#[test]
fn a_phone_gives_its_lease_back_without_saying_what_it_is() {
    let mut server = serving(Serve::Phones);
    let ack = server.lease(ON_NATIVE, &Message::discover(mac(1)).with(60, b"440HD"));
    let release = Message::release(mac(1), ack.yiaddr());
    assert_eq!(server.send(ON_NATIVE, &release), Err(NoReply::Released));
}

fn modest() -> Site {
    let mut lab = site();
    lab.scopes[0].authoritative = false;
    lab
}

const TAKEN: [u8; 4] = [10, 250, 1, 20];

/// A server that is not authoritative, with one lease: [`TAKEN`], of client 1.
fn modest_server() -> Server {
    let mut server = Server::new(modest());
    let ack = server.lease(ON_VOICE, &Message::discover(mac(1)));
    assert_eq!(ack.yiaddr().octets(), TAKEN);
    server
}

#[test]
fn a_modest_server_says_nothing_of_what_it_does_not_know() {
    let mut server = modest_server();
    for (message, reason) in [
        (Message::request(mac(2)).with(50, [192, 168, 1, 1]), NoReply::NotAuthoritative),
        (Message::request(mac(2)).using(ip("192.168.1.1")), NoReply::NotAuthoritative),
        // Outside of the pools: another server's, for all it knows. Its own client too may have moved there.
        (Message::request(mac(2)).using(ip("10.250.1.200")), NoReply::NotAuthoritative),
        (Message::request(mac(1)).using(ip("10.250.1.200")), NoReply::NotAuthoritative),
        (Message::request(mac(1)).with(50, [192, 168, 1, 1]), NoReply::NotAuthoritative),
        (Message::request(mac(2)).with(50, [10, 250, 1, 200]), NoReply::UnknownClient),
        (Message::request(mac(2)).with(50, [10, 250, 1, 77]), NoReply::UnknownClient),
    ] {
        assert_eq!(server.send(ON_VOICE, &message), Err(reason));
    }
}

#[test]
fn a_modest_server_refuses_what_is_certainly_its_own_and_what_is_asked_of_it() {
    let mut server = modest_server();
    for message in [
        Message::request(mac(2)).with(50, TAKEN),
        Message::request(mac(2)).using(TAKEN.into()),
        Message::request(mac(2)).with(50, TAKEN).with(54, VOICE_ADDRESS.octets()),
        Message::request(mac(2)).with(50, [10, 250, 1, 200]).with(54, VOICE_ADDRESS.octets()),
    ] {
        assert_eq!(server.reply(ON_VOICE, &message).message_type(), 6);
    }
    // Its own client is served as ever.
    assert_eq!(server.reply(ON_VOICE, &Message::request(mac(1)).with(50, TAKEN)).message_type(), 5);
    assert_eq!(
        server.reply(ON_VOICE, &Message::request(mac(1)).using(TAKEN.into())).message_type(),
        5
    );
}
