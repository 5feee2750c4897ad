//! Two scopes on one interface.

use std::fs;

use crate::lab::{Lab, Vlan, repository};
use crate::packet::*;

#[test]
fn clients_of_one_link_get_addresses_of_the_second_scope_when_the_first_is_full() {
    let lab = fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let lab = lab.replace("10.250.1.20-10.250.1.149", "10.250.1.20");
    let more = "[[scope]]\nname = \"more\"\ninterface = \"voice0\"\nvlan = 100\nsubnet = \"10.251.0.0/24\"\n\
                pools = [\"10.251.0.10-10.251.0.20\"]\nrouter = \"10.251.0.1\"\nlease = \"8h\"\n";
    let voice = "vlan = 100\n";
    let shared = "vlan = 100\nshared_network = \"floor\"\n";
    let text = format!("{lab}\n{more}").replace(voice, shared);
    let lab = Lab::with_config(&text);
    lab.appliance.ip("addr add 10.251.0.5/24 dev voice0");
    let _server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        let [first, second] = [1, 2].map(|n| card.lease(mac(n), n, &[(55, &[1, 3])]));
        assert_eq!(first.yiaddr().to_string(), "10.250.1.20");
        assert_eq!(first.option(3), Some(vec![10, 250, 1, 1]));
        assert_eq!(second.yiaddr().to_string(), "10.251.0.10");
        assert_eq!(second.option(3), Some(vec![10, 251, 0, 1]));
        // RFC 2131, 4.1: who we are is what the client can reach in its own subnet.
        let names = |reply: &Reply, own: [u8; 4]| {
            assert_eq!((reply.option(54), reply.source.ip().octets()), (Some(own.to_vec()), own));
        };
        names(&first, [10, 250, 1, 5]);
        names(&second, [10, 251, 0, 5]);
        let offer = card.ask(&Message::new(DISCOVER, mac(3), 3)).expect("an OFFER");
        names(&offer, [10, 251, 0, 5]);
        let reboot = Message::new(REQUEST, mac(2), 4).with(50, second.yiaddr().octets());
        names(&card.ask(&reboot).expect("an ACK"), [10, 251, 0, 5]);
        let rebind = Message::new(REQUEST, mac(2), 5).from(second.yiaddr());
        names(&card.ask(&rebind).expect("an ACK"), [10, 251, 0, 5]);
        // Who knows it by its other address is told that.
        let select = Message::new(REQUEST, mac(3), 6).with(50, offer.yiaddr().octets());
        let ack = card.ask(&select.with(54, [10, 250, 1, 5])).expect("an ACK");
        assert_eq!((ack.kind(), ack.option(54)), (ACK, Some(vec![10, 250, 1, 5])));
    });
}
