//! A remote office behind ISC dhcrelay.

use crate::dhclient::Dhclient;
use crate::lab::{Lab, Netns, Server, Vlan, repository};

/// The sample site with a third scope that only a relay reaches.
fn site() -> String {
    let lab = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    lab + r#"
[[scope]]
name = "remote"
vlan = 200
subnet = "10.9.0.0/24"
pools = ["10.9.0.50-10.9.0.60"]
router = "10.9.0.1"
lease = "2h"
"#
}

#[test]
fn dhclient_behind_dhcrelay_gets_a_lease_of_the_remote_scope_and_renews_it() {
    let lab = Lab::with_config(&site());
    // The branch: a router with one leg in the native VLAN and one in the remote network.
    let branch = lab.machine(Vlan::Native, "10.0.0.2/24", "10.0.0.1");
    let phone = Netns::spare("phone");
    branch.ip(&format!("link add lan type veth peer name eth0 netns {}", phone.name()));
    branch.ip("link set lan up");
    branch.ip("addr add 10.9.0.1/24 dev lan");
    branch.enter(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    phone.ip("link set eth0 up");
    lab.appliance.ip("route add 10.9.0.0/24 via 10.0.0.2");

    let server = lab.serve();
    let mut dhcrelay = branch.daemon("dhcrelay");
    dhcrelay.args(["-4", "-d", "-a", "-id", "lan", "-iu", "eth0", "10.0.0.11"]);
    let relay = Server::spawn(&mut dhcrelay);
    relay.wait_for_log(&["Sending on"]);

    let dhclient = Dhclient::new(&lab, &phone, "send vendor-class-identifier \"420HD\";");
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
