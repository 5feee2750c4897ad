//! Remote offices behind ISC dhcrelay, which adds option 82 and forwards no reply whose option is not its own.

use std::net::Ipv4Addr;
use std::time::Duration;

use offhook_model::Mac;
use offhook_net::{FrameSocket, Interface};

use crate::dhclient::Dhclient;
use crate::lab::{Lab, Netns, Server, Vlan, repository};
use crate::packet::Reply;
use crate::udhcpc::udhcpc;

/// The sample site with a scope for each port of a branch, which only relays reach.
fn site(more: &str) -> String {
    let lab = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let mut text = lab;
    for port in 0..2 {
        text += &format!(
            "[[scope]]\nname = \"remote{port}\"\nvlan = {}\nsubnet = \"10.9.{port}.0/24\"\n\
             pools = [\"10.9.{port}.50-10.9.{port}.60\"]\nrouter = \"10.9.{port}.1\"\nlease = \"2h\"\n",
            200 + port
        );
    }
    text + more
}

/// A router with one leg in the native VLAN and two ports, each with a phone on it.
struct Branch {
    router: Netns,
    phones: [Netns; 2],
}

impl Branch {
    fn new(lab: &Lab) -> Self {
        let router = lab.machine(Vlan::Native, "10.0.0.2/24", "10.0.0.1");
        let phones = [0, 1].map(|port| {
            let phone = Netns::spare("phone");
            let port_name = format!("port{port}");
            router.ip(&format!(
                "link add {port_name} type veth peer name eth0 netns {}",
                phone.name()
            ));
            router.ip(&format!("link set {port_name} up"));
            router.ip(&format!("addr add 10.9.{port}.1/24 dev {port_name}"));
            phone.ip("link set eth0 up");
            lab.appliance.ip(&format!("route add 10.9.{port}.0/24 via 10.0.0.2"));
            phone
        });
        router.enter(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        Self { router, phones }
    }

    /// dhcrelay, with more flags. It drops replies without the option it has added.
    fn relay(&self, flags: &[&str]) -> Server {
        let mut dhcrelay = self.router.daemon("dhcrelay");
        dhcrelay.args(["-4", "-d", "-a", "-D", "--no-pid", "-id", "port0", "-id", "port1"]);
        dhcrelay.args(["-iu", "eth0"]).args(flags).arg("10.0.0.11");
        let relay = Server::spawn(&mut dhcrelay);
        relay.wait_for_log(&["Sending on", "eth0"]);
        relay
    }
}

/// Everything that comes in on an interface for or from the DHCP port, requests and replies.
struct Tap(FrameSocket);

impl Tap {
    fn new(netns: &Netns, interface: &str) -> Self {
        Self(netns.enter(|| {
            let interface = Interface::named(interface).unwrap();
            FrameSocket::open_receiving(&interface, true, Some(67)).unwrap()
        }))
    }

    fn heard(&self) -> Vec<Reply> {
        let (mut buffer, mut heard) = ([0; 2048], Vec::new());
        while let Some(frame) = self.0.recv(&mut buffer, Some(Duration::ZERO)).unwrap() {
            heard.push(Reply {
                bytes: frame.payload.to_vec(),
                destination_mac: Mac([0; 6]),
                destination: frame.destination,
                source: frame.source,
            });
        }
        heard
    }
}

fn giaddr(message: &Reply) -> Ipv4Addr {
    Ipv4Addr::from(<[u8; 4]>::try_from(&message.bytes[24..28]).unwrap())
}

#[test]
fn dhclient_behind_dhcrelay_gets_a_lease_of_the_remote_scope_and_renews_it() {
    let lab = Lab::with_config(&site(""));
    let branch = Branch::new(&lab);
    let phone = &branch.phones[0];
    let server = lab.serve();
    let _relay = branch.relay(&[]);

    let dhclient = Dhclient::new(&lab, phone, "send vendor-class-identifier \"420HD\";");
    let told = dhclient.bind("BOUND");
    assert_eq!(told["new_ip_address"], "10.9.0.50", "{}", server.log());
    assert_eq!(told["new_routers"], "10.9.0.1");
    assert_eq!(told["new_bootfile_name"].trim_matches('"'), "420hd.img");
    assert_eq!(told.get("new_vlan"), None);
    // The lease is renewed by unicast, past the relay, through the router.
    assert_eq!(told["new_dhcp_server_identifier"], "10.0.0.11");
    phone.ip("route replace default via 10.9.0.1");
    assert_eq!(dhclient.bind("REBOOT")["new_ip_address"], "10.9.0.50");
    dhclient.release();
    server.wait_for_log(&["release", "10.9.0.50"]);
}

#[test]
fn real_clients_behind_a_relay_get_what_their_circuit_has_and_its_option_comes_back_verbatim() {
    let lab = Lab::with_config(&site(
        "[[phone]]\ncircuit_id = \"port0\"\naddress = \"10.9.0.200\"\n\
         [[phone]]\ncircuit_id = { hex = \"706f727431\" }\naddress = \"10.9.1.55\"\n\
         [[class]]\nname = \"second port\"\nmatch = { circuit_id = \"port1\", relay = \"10.9.1.1\" }\n\
         options = { root-path = \"/second\" }\nalways = [\"domain-name\"]\n",
    ));
    let branch = Branch::new(&lab);
    let server = lab.serve();
    let _relay = branch.relay(&[]);
    let (asked, answered) = (Tap::new(&lab.appliance, "native0"), Tap::new(&branch.router, "eth0"));

    // Outside of the pool, for a client that nothing else is known of.
    let dhclient = Dhclient::new(&lab, &branch.phones[0], "");
    assert_eq!(dhclient.bind("BOUND")["new_ip_address"], "10.9.0.200", "{}", server.log());
    assert_eq!(dhclient.bind("REBOOT")["new_ip_address"], "10.9.0.200");
    // In the pool, with what its circuit's class says.
    let given = udhcpc(&lab, &branch.phones[1], &["-O", "rootpath"]);
    assert_eq!(given["ip"], "10.9.1.55");
    assert_eq!(given["rootpath"], "/second");
    // Another phone on the same port, while the first has its address, gets one of the pool.
    branch.phones[1].ip("link set eth0 down");
    branch.phones[1].ip("link set eth0 address 02:00:00:00:99:01");
    branch.phones[1].ip("link set eth0 up");
    let other = udhcpc(&lab, &branch.phones[1], &["-O", "rootpath"]);
    assert_eq!((other["ip"].as_str(), other["rootpath"].as_str()), ("10.9.1.50", "/second"));

    let asked = asked.heard();
    let answered = answered.heard();
    let mut told_apart = [0, 0];
    for reply in &answered {
        let (last, option) = reply.options().pop().unwrap();
        assert_eq!(last, 82, "{:?}", reply.options());
        let port = usize::from(giaddr(reply).octets()[2]);
        assert_eq!(option, format!("\x01\x05port{port}").into_bytes());
        told_apart[port] += 1;
        let question = |request: &&Reply| request.xid() == reply.xid();
        let request = asked.iter().rfind(question).expect("what it answers");
        assert_eq!(request.option(82), Some(option));
        assert_eq!(reply.destination.to_string(), format!("{}:67", giaddr(request)));
        assert_eq!(reply.source.to_string(), "10.0.0.11:67");
    }
    // OFFER and ACK, and an ACK for the reboot; OFFER and ACK twice.
    assert_eq!(told_apart, [3, 4], "{}", server.log());
}

#[test]
fn a_relay_with_one_address_for_all_selects_the_link_and_keeps_its_clients_apart() {
    let lab = Lab::with_config(&site(""));
    let branch = Branch::new(&lab);
    let server = lab.serve();
    let asked = Tap::new(&lab.appliance, "native0");
    // Its giaddr is of the native VLAN; sub-option 5 says which link it is (RFC 3527).
    let _relay = branch.relay(&["-U", "eth0"]);
    let dhclient = Dhclient::new(&lab, &branch.phones[0], "");
    assert_eq!(dhclient.bind("BOUND")["new_ip_address"], "10.9.0.50", "{}", server.log());
    assert_eq!(udhcpc(&lab, &branch.phones[1], &[])["ip"], "10.9.1.50", "{}", server.log());
    let asked = asked.heard();
    assert!(asked.iter().all(|request| giaddr(request).to_string() == "10.0.0.2"), "{asked:?}");
    let selects = |request: &Reply| request.option(82).unwrap().windows(2).any(|two| two == [5, 4]);
    assert!(!asked.is_empty() && asked.iter().all(selects));
}
