//! Clients and circuits that send too much.

use offhook_dhcp::NoReply;
use offhook_model::Mac;

use crate::support::*;

fn answered(server: &mut Server, message: &Message, times: usize) -> usize {
    let replies = (0..times).map(|_| server.send(ON_VOICE, message));
    replies
        .filter(|reply| match reply {
            Ok(_) => true,
            Err(reason) => {
                assert_eq!(*reason, NoReply::RateLimited);
                false
            }
        })
        .count()
}

#[test]
fn a_client_that_sends_too_much_is_not_answered_and_others_are() {
    let mut lab = site();
    lab.dhcp.client_rate = 10;
    let mut server = Server::new(lab);
    let message = Message::discover(mac(1));
    assert_eq!(answered(&mut server, &message, 100), 40);
    // Another identifier makes no other client of it.
    assert_eq!(answered(&mut server, &message.clone().with(61, b"another"), 10), 0);
    server.lease(ON_VOICE, &Message::discover(mac(2)));
    server.wait(2);
    assert_eq!(answered(&mut server, &message, 100), 20);
}

#[test]
fn the_rates_are_the_sites() {
    let mut lab = site();
    lab.dhcp.client_rate = 0;
    let mut server = Server::new(lab);
    assert_eq!(answered(&mut server, &Message::discover(mac(1)), 200), 200);
    let mut lab = site();
    lab.dhcp.client_rate = 1;
    server.core.set_site(lab.into(), links(), server.now);
    assert_eq!(answered(&mut server, &Message::discover(mac(1)), 200), 4);
}

#[test]
fn a_circuit_has_a_rate_of_its_own() {
    let mut lab = site();
    lab.dhcp.circuit_rate = 2;
    let mut server = Server::new(lab);
    let on_port = |n: u8, port: u8| {
        Message::discover(Mac([2, 0, 0, 0, 1, n]))
            .through(ip("10.250.1.1"))
            .with(82, [1, 1, port, 2, 2, 9, n])
    };
    let count = |server: &mut Server, port| -> usize {
        (0..20).map(|n| answered(server, &on_port(n, port), 1)).sum()
    };
    assert_eq!(count(&mut server, 1), 8);
    assert_eq!(count(&mut server, 2), 8);
    // Without a relay there is no circuit: a client may write what it likes.
    let forged = |n| Message::discover(Mac([2, 0, 0, 0, 2, n])).with(82, [1, 1, 1]);
    assert_eq!((0..20).map(|n| answered(&mut server, &forged(n), 1)).sum::<usize>(), 20);
}
