//! ISC dhclient: vendor classes, renewal and release, on both links.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, Netns, PATIENCE, Vlan, output, run, said};

/// A dhclient with files of its own.
pub(crate) struct Dhclient<'a> {
    client: &'a Netns,
    dir: PathBuf,
}

impl<'a> Dhclient<'a> {
    /// `statements` go into dhclient.conf.
    pub(crate) fn new(lab: &Lab, client: &'a Netns, statements: &str) -> Self {
        let dir = lab.dir.path().join(format!("dhclient-{}", client.name()));
        fs::create_dir(&dir).unwrap();
        let conf = format!(
            "option provisioning code 160 = text;\noption vlan code 132 = text;\ntimeout 10;\n{statements}\n\
             request subnet-mask, routers, domain-name, domain-name-servers, time-offset, ntp-servers,\n\
             tftp-server-name, bootfile-name, vlan, provisioning;\n"
        );
        fs::write(dir.join("conf"), conf).unwrap();
        let script = dir.join("script");
        let body = format!(
            "#!/bin/sh\nenv > {}/$reason\nif [ -n \"$new_ip_address\" ]; then\n\
             ip addr replace $new_ip_address/24 dev $interface\nfi\nexit 0\n",
            dir.display()
        );
        fs::write(&script, body).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Self { client, dir }
    }

    fn command(&self, flags: &[&str]) -> std::process::Command {
        let mut command = self.client.command("dhclient");
        command.args(["-4", "-v", "-cf"]).arg(self.dir.join("conf"));
        command.arg("-sf").arg(self.dir.join("script"));
        command.arg("-lf").arg(self.dir.join("leases"));
        command.arg("-pf").arg(self.dir.join("pid"));
        command.args(flags).arg("eth0");
        command
    }

    /// Gets a lease, once, and leaves no process behind. Returns what the script was told for `reason`.
    pub(crate) fn bind(&self, reason: &str) -> BTreeMap<String, String> {
        let bound = output(&mut self.command(&["-1"]));
        assert!(bound.status.success(), "{}", said(&bound));
        self.stop();
        let told = fs::read_to_string(self.dir.join(reason))
            .unwrap_or_else(|error| panic!("no {reason}: {error}\n{}", said(&bound)));
        told.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Gives the lease back.
    pub(crate) fn release(&self) {
        run(&mut self.command(&["-r"]));
    }

    /// Ends the daemon that dhclient becomes, which writes its pid a moment after its parent has gone.
    fn stop(&self) {
        let file = self.dir.join("pid");
        let deadline = Instant::now() + PATIENCE;
        let pid = loop {
            if let Ok(pid) = fs::read_to_string(&file).unwrap_or_default().trim().parse() {
                break Pid::from_raw(pid);
            }
            assert!(Instant::now() < deadline, "dhclient wrote no pid");
            std::thread::yield_now();
        };
        let _ = kill(pid, Signal::SIGKILL);
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_440hd_is_told_its_voice_vlan_only_in_the_native_one() {
    let lab = Lab::new();
    let _server = lab.serve();
    for (vlan, expected) in [(Vlan::Native, Some("100")), (Vlan::Voice, None)] {
        let client = lab.client(vlan);
        let dhclient = Dhclient::new(&lab, &client, "send vendor-class-identifier \"440HD\";");
        let told = dhclient.bind("BOUND");
        assert_eq!(told.get("new_vlan").map(|v| v.trim_matches('"')), expected, "{vlan:?}");
        assert_eq!(told["new_provisioning"].trim_matches('"'), "http://provision.lab.voip:8088");
        assert_eq!(told["new_tftp_server_name"].trim_matches('"'), "10.0.0.11");
        assert_eq!(told["new_bootfile_name"].trim_matches('"'), "440hd.img");
        assert_eq!(told["new_time_offset"], "-18000");
        assert_eq!(told["new_ntp_servers"], "10.250.1.6");
        assert_eq!(told["new_domain_name"].trim_matches('"'), "lab.voip");
        assert_eq!(told["new_domain_name_servers"], "10.250.1.5");
        let lease = if vlan == Vlan::Native { "3600" } else { "28800" };
        assert_eq!(told["new_dhcp_lease_time"], lease);
    }
}

#[test]
fn dhclient_reboots_into_its_lease_and_gives_it_back() {
    let lab = Lab::new();
    let server = lab.serve();
    let client = lab.client(Vlan::Voice);
    let dhclient = Dhclient::new(&lab, &client, "send host-name \"Polycom_64167f97e4f6\";");
    let first = dhclient.bind("BOUND")["new_ip_address"].clone();
    // With a lease file dhclient starts in INIT-REBOOT.
    assert_eq!(dhclient.bind("REBOOT")["new_ip_address"], first);
    dhclient.release();
    server.wait_for_log(&["release", &first]);
}

#[test]
fn a_client_identifier_counts_for_more_than_the_hardware_address() {
    let lab = Lab::new();
    let _server = lab.serve();
    let identified = "send dhcp-client-identifier \"phone-in-the-lobby\";";
    let (old, new) = (lab.client(Vlan::Voice), lab.client(Vlan::Voice));
    let first = Dhclient::new(&lab, &old, identified).bind("BOUND")["new_ip_address"].clone();
    old.ip("link set eth0 down");
    assert_eq!(Dhclient::new(&lab, &new, identified).bind("BOUND")["new_ip_address"], first);
}
