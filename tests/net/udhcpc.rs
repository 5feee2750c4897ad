//! busybox udhcpc as every phone of the guide's vendor-class table, on both links.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::lab::{Lab, Netns, Vlan, run};

/// What udhcpc handed to its script.
pub(crate) type Given = BTreeMap<String, String>;

/// Runs udhcpc on `eth0` once, until it has a lease.
pub(crate) fn udhcpc(lab: &Lab, client: &Netns, flags: &[&str]) -> Given {
    let script = lab.dir.path().join(format!("udhcpc-{}", client.name()));
    let out = lab.dir.path().join(format!("udhcpc-{}.env", client.name()));
    let body = format!(
        "#!/bin/sh\ncase \"$1\" in\ndeconfig) ip addr flush dev $interface;;\n\
         bound) env > {}; ip addr add $ip/$mask dev $interface;;\nesac\nexit 0\n",
        out.display()
    );
    fs::write(&script, body).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    run(client
        .command("udhcpc")
        .args(["-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s"])
        .arg(&script)
        .args(flags));
    fs::read_to_string(&out)
        .expect("a lease")
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn text(given: &Given, name: &str) -> Option<String> {
    let hex = given.get(name)?;
    let bytes = hex.as_bytes().chunks(2).map(|pair| {
        u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect("hex digits")
    });
    Some(String::from_utf8(bytes.collect()).unwrap())
}

const MODELS: [(&str, &str); 7] = [
    ("SIP100", "sip100.img"),
    ("SIP200", "sip200.img"),
    ("405", "405.img"),
    ("405HD", "405hd.img"),
    ("420HD", "420hd.img"),
    ("430HD", "430hd.img"),
    ("440HD", "440hd.img"),
];

#[test]
fn every_model_gets_its_firmware_file_on_both_links() {
    let lab = Lab::new();
    let _server = lab.serve();
    for vlan in [Vlan::Voice, Vlan::Native] {
        for (model, firmware) in MODELS {
            let client = lab.client(vlan);
            let given = udhcpc(&lab, &client, &["-V", model]);
            assert_eq!(given["bootfile"], firmware, "{model} {vlan:?}");
            assert_eq!(given["tftp"], "10.0.0.11", "{model} {vlan:?}");
            assert_eq!(given["siaddr"], "10.0.0.11", "{model} {vlan:?}");
            assert_eq!(given["boot_file"], firmware, "{model} {vlan:?}");
            assert_eq!(text(&given, "opt160").as_deref(), Some("http://provision.lab.voip:8088"));
            assert_eq!(given["dns"], "10.250.1.5");
            assert_eq!(given["domain"], "lab.voip");
            let (router, prefix) = match vlan {
                Vlan::Voice => ("10.250.1.1", "10.250.1."),
                Vlan::Native => ("10.0.0.1", "10.0.0."),
            };
            assert_eq!(given["router"], router);
            assert_eq!(given["subnet"], "255.255.255.0");
            assert!(given["ip"].starts_with(prefix), "{}", given["ip"]);
        }
    }
}

#[test]
fn the_model_may_stand_in_option_77_raw_or_with_a_length() {
    let lab = Lab::new();
    let _server = lab.serve();
    for user_class in ["0x4d:3434304844", "0x4d:053434304844"] {
        let client = lab.client(Vlan::Native);
        let given = udhcpc(&lab, &client, &["-x", user_class]);
        assert_eq!(given["bootfile"], "440hd.img", "{user_class}");
    }
}

#[test]
fn a_pc_that_asks_for_provisioning_gets_none_and_its_time_only_when_asked() {
    let lab = Lab::new();
    let _server = lab.serve();
    let client = lab.client(Vlan::Native);
    let asked = [
        "-V", "MSFT 5.0", "-O", "66", "-O", "67", "-O", "132", "-O", "160", "-O", "timezone", "-O",
        "ntpsrv",
    ];
    let given = udhcpc(&lab, &client, &asked);
    for name in ["tftp", "bootfile", "opt160", "opt132", "vlanid", "boot_file"] {
        assert_eq!(given.get(name), None, "{name}");
    }
    // udhcpc prints it unsigned.
    assert_eq!(given["timezone"], (-18000_i32 as u32).to_string());
    assert_eq!(given["ntpsrv"], "10.250.1.6");
    let other = lab.client(Vlan::Native);
    assert_eq!(udhcpc(&lab, &other, &["-V", "MSFT 5.0", "-o", "-O", "subnet"]).get("ntpsrv"), None);
}

#[test]
fn a_polycom_phone_known_by_its_address_gets_160_and_never_66() {
    let lab = Lab::new();
    let _server = lab.serve();
    let client = lab.client(Vlan::Voice);
    client.ip("link set eth0 address 00:04:f2:11:22:33");
    let given = udhcpc(&lab, &client, &["-O", "66", "-O", "67", "-O", "132", "-O", "160"]);
    assert_eq!(text(&given, "opt160").as_deref(), Some("http://provision.lab.voip:8088"));
    for name in ["tftp", "bootfile", "opt132", "vlanid", "boot_file"] {
        assert_eq!(given.get(name), None, "{name}");
    }
}

#[test]
fn a_returning_client_gets_the_address_it_had() {
    let lab = Lab::new();
    let _server = lab.serve();
    let client = lab.client(Vlan::Voice);
    let first = udhcpc(&lab, &client, &[])["ip"].clone();
    assert_eq!(udhcpc(&lab, &client, &[])["ip"], first);
}
