//! dig, kdig, nslookup, delv and nsupdate against the sample zone.

use std::collections::HashSet;
use std::fs;

use crate::lab::{Lab, Netns, Vlan, output, run, said};

fn office() -> (Lab, crate::lab::Server, Netns) {
    let lab = Lab::new();
    let server = lab.serve();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    (lab, server, client)
}

fn dig(client: &Netns, words: &str) -> String {
    run(client.command("dig").args(["@10.250.1.5", "+tries=1", "+time=3"]).args(words.split(' ')))
}

#[test]
fn dig_gets_every_record_of_the_sample_zone() {
    let (_lab, _server, client) = office();
    for (question, answer) in [
        ("vm40ic1.lab.voip A", "10.250.1.151"),
        ("vm40ic2.lab.voip A", "10.250.1.152"),
        ("mytimeserver.lab.voip A", "10.250.1.6"),
        ("-x 10.250.1.151", "vm40ic1.lab.voip."),
        ("-x 10.250.1.152", "vm40ic2.lab.voip."),
    ] {
        for transport in ["+notcp", "+tcp"] {
            let printed = dig(&client, &format!("+short {transport} {question}"));
            assert_eq!(printed.trim(), answer, "{question} {transport}");
        }
    }
    for (service, port) in [("_sip._udp", 8060), ("_sip._tcp", 8060), ("_sips._tcp", 8061)] {
        let printed = dig(&client, &format!("+short {service}.lab.voip SRV"));
        let got: HashSet<_> = printed.lines().map(str::to_owned).collect();
        let expected =
            ["vm40ic1", "vm40ic2"].map(|host| format!("0 0 {port} {host}.lab.voip.")).into();
        assert_eq!(got, expected, "{service}");
        let whole = dig(&client, &format!("{service}.lab.voip SRV"));
        for address in ["10.250.1.151", "10.250.1.152"] {
            assert!(whole.contains(address), "no {address} beside the SRV records:\n{whole}");
        }
    }
}

#[test]
fn the_pair_comes_in_random_order_and_has_no_ptr_of_its_own() {
    let (_lab, _server, client) = office();
    let mut first = HashSet::new();
    for _ in 0..40 {
        let printed = dig(&client, "+short provision.lab.voip A");
        let addresses: Vec<_> = printed.lines().collect();
        assert_eq!(addresses.len(), 2, "{printed}");
        first.insert(addresses[0].to_owned());
    }
    assert_eq!(first.len(), 2, "one server was always first");
    let whole = dig(&client, "-x 10.250.1.151");
    assert!(!whole.contains("provision"), "{whole}");
}

#[test]
fn what_is_not_there_is_denied_for_a_minute_at_most() {
    let (_lab, _server, client) = office();
    for (question, status) in [
        ("nothing.lab.voip A", "NXDOMAIN"),
        ("vm40ic1.lab.voip NAPTR", "NOERROR"),
        ("provision.lab.voip NAPTR", "NOERROR"),
        ("vm40ic1.lab.voip AAAA", "NOERROR"),
        ("_udp.lab.voip A", "NOERROR"),
    ] {
        let whole = dig(&client, question);
        assert!(whole.contains(&format!("status: {status}")), "{question}:\n{whole}");
        assert!(whole.contains(" aa"), "{question} is ours to answer:\n{whole}");
        let soa = whole.lines().find(|line| line.contains("\tSOA\t")).expect("a SOA record");
        let ttl: u32 = soa.split_whitespace().nth(1).unwrap().parse().unwrap();
        let minimum: u32 = soa.split_whitespace().last().unwrap().parse().unwrap();
        assert!(ttl.min(minimum) <= 60, "{soa}");
    }
    assert!(dig(&client, "www.example.com A").contains("status: REFUSED"));
}

#[test]
fn kdig_and_nslookup_agree() {
    let (_lab, _server, client) = office();
    let printed = run(client.command("kdig").args([
        "@10.250.1.5",
        "+edns",
        "+bufsize=4096",
        "_sip._tcp.lab.voip",
        "SRV",
    ]));
    assert!(printed.contains("status: NOERROR"), "{printed}");
    assert!(printed.contains("EDNS PSEUDOSECTION"), "{printed}");
    let printed = run(client.command("nslookup").args(["provision.lab.voip", "10.250.1.5"]));
    assert!(printed.contains("10.250.1.151") && printed.contains("10.250.1.152"), "{printed}");
    let printed = run(client.command("nslookup").args(["10.250.1.152", "10.250.1.5"]));
    assert!(printed.contains("vm40ic2.lab.voip"), "{printed}");
}

#[test]
fn delv_believes_what_a_zone_without_signatures_says() {
    let (_lab, _server, client) = office();
    let delv = |words: &str| {
        run(client.command("delv").args(["@10.250.1.5", "-i"]).args(words.split(' ')))
    };
    let printed = delv("vm40ic2.lab.voip A");
    assert!(printed.contains("10.250.1.152"), "{printed}");
    let printed = delv("_sip._udp.lab.voip SRV");
    assert!(printed.contains("vm40ic1.lab.voip.") && printed.contains("8060"), "{printed}");
}

#[test]
fn nsupdate_is_refused() {
    let (lab, _server, client) = office();
    let script = lab.dir.path().join("update");
    fs::write(
        &script,
        "server 10.250.1.5\nzone lab.voip\nupdate add evil.lab.voip 60 A 10.250.1.66\nsend\n",
    )
    .unwrap();
    let update = output(client.command("nsupdate").arg(&script));
    assert!(!update.status.success());
    assert!(said(&update).contains("REFUSED"), "{}", said(&update));
    assert!(dig(&client, "evil.lab.voip A").contains("status: NXDOMAIN"));
}

#[test]
fn the_data_zone_is_forwarded_to_who_serves_it() {
    // The upstream is a second offhook, serving lab.local at the address lab.toml forwards to.
    let lab = Lab::new();
    let upstream = lab.machine(Vlan::Voice, "10.250.1.201/24", "10.250.1.1");
    upstream.ip("addr add 10.250.0.2/24 dev eth0");
    lab.appliance.ip("route add 10.250.0.2/32 via 10.250.1.201 dev voice0");
    let config = lab.dir.path().join("upstream.toml");
    fs::write(
        &config,
        r#"
            [site]
            name = "data"
            zone = "lab.local"
            time_offset = "-05:00"
            [dns]
            listen = ["10.250.0.2"]
            allow = ["10.250.0.0/16"]
            [[host]]
            name = "files"
            address = "10.250.0.9"
            [[scope]]
            name = "data"
            interface = "eth0"
            subnet = "10.250.0.0/24"
            pools = ["10.250.0.100-10.250.0.120"]
            router = "10.250.0.1"
            lease = "1h"
            phones = false
        "#,
    )
    .unwrap();
    let mut command = upstream.daemon(env!("CARGO_BIN_EXE_offhook"));
    command.arg("run");
    command.arg("--config").arg(&config).arg("--state").arg(lab.dir.path().join("upstream"));
    let other = crate::lab::Server::spawn(&mut command);
    other.wait_for_log(&["serving", "scopes"]);

    let _server = lab.serve();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    for transport in ["+notcp", "+tcp"] {
        let printed = dig(&client, &format!("+short {transport} files.lab.local A"));
        assert_eq!(printed.trim(), "10.250.0.9", "{}", other.log());
    }
    assert!(dig(&client, "gone.lab.local A").contains("status: NXDOMAIN"));
    other.kill();
    assert!(dig(&client, "+time=15 other.lab.local A").contains("status: SERVFAIL"));
}
