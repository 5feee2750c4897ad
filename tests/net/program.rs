//! `offhook run` as a service: what it says when it cannot start, and how it ends.

use std::process::Command;
use std::time::Duration;

use crate::lab::{Lab, Server, Vlan, repository};
use crate::packet::{Card, mac};

#[test]
fn a_listener_that_cannot_be_bound_is_named_with_its_address_and_the_reason() {
    let lab = Lab::new();
    lab.appliance.ip("addr del 10.0.0.11/24 dev native0");
    lab.appliance.ip("addr add 10.0.0.12/24 dev native0");
    let server = lab.start(&[]);
    server.wait_for_log(&["TFTP", "10.0.0.11:69", "Cannot assign requested address"]);
    assert_eq!(server.wait(), Some(1));
}

#[test]
fn every_listener_that_fails_is_named_at_once() {
    let lab = Lab::new();
    lab.appliance.ip("link del voice0");
    lab.appliance.ip("addr del 10.0.0.11/24 dev native0");
    let server = lab.start(&[]);
    server.wait_for_log(&["<end of log>"]);
    let log = server.log();
    for said in ["10.250.1.5:53", "10.0.0.11:69", "voice0", "native0"] {
        assert!(log.contains(said), "{said} is not named in:\n{log}");
    }
    assert_eq!(server.wait(), Some(1));
}

/// With a socket for each interface, and with one for all of them, as relays need.
#[test]
fn an_interface_that_is_deleted_is_said_to_be_gone_and_is_served_when_it_is_back() {
    let text = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let relayed = r#"
[[scope]]
name = "far"
phones = false
subnet = "10.7.0.0/24"
pools = ["10.7.0.9-10.7.0.99"]
router = "10.7.0.1"
"#;
    for text in [text.clone(), text + relayed] {
        let lab = Lab::with_config(&text);
        let server = lab.serve();
        let phone = lab.client(Vlan::Native);
        let lease = |number| phone.enter(|| Card::open("eth0").lease(mac(number), 1, &[]).yiaddr());
        let before = lease(1);
        lab.appliance.ip("link del native0");
        let line = server.wait_for_log(&["ERROR", "no phone on it gets a lease", "native0"]);
        assert!(line.contains("goes on by itself"), "{line}");
        lab.plug(&lab.appliance, "native0", Vlan::Native);
        // Without its address it is of no use yet, looked at once a second.
        lab.appliance.ip("addr add 10.0.0.12/24 dev native0");
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!server.log().contains("interface is there again"), "{}", server.log());
        lab.appliance.ip("addr add 10.0.0.11/24 dev native0");
        server.wait_for_log(&["an interface is there again", "native0"]);
        assert_eq!(lease(1), before);
        assert_ne!(lease(2), before);
        assert!(!server.log().contains("interface=\"voice0\" hint"), "{}", server.log());
        assert_eq!(server.log().matches("no phone on it").count(), 1);
        assert_eq!(server.terminate(), Some(0));
    }
}

#[test]
fn whoever_is_told_that_it_serves_may_stop_it_at_once() {
    let lab = Lab::new();
    // What it says of signals takes its time.
    let mut command = lab.appliance.daemon("strace");
    command.args(["-D", "-f", "-qq", "-e", "trace=rt_sigaction", "-o", "/dev/null"]);
    command
        .args(["-e", "inject=rt_sigaction:delay_enter=100000"])
        .arg(env!("CARGO_BIN_EXE_offhook"));
    command.arg("run").arg("--config").arg(lab.config()).arg("--state").arg(lab.state());
    let server = Server::spawn(&mut command);
    server.wait_for_log(&["serving", "scopes"]);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_second_server_on_the_same_link_is_refused() {
    let lab = Lab::new();
    let _first = lab.serve();
    let second = lab.start(&["--state", lab.dir.path().join("other").to_str().unwrap()]);
    let line = second.wait_for_log(&["DHCP", ":67", "Address already in use"]);
    assert!(line.contains("voice0") || line.contains("native0"), "{line}");
    assert_eq!(second.wait(), Some(1));
}

#[test]
fn a_configuration_that_cannot_run_ends_with_78() {
    let lab = Lab::with_config("[site]\nnmae = \"lab\"\n");
    let server = lab.start(&[]);
    server.wait_for_log(&["did you mean"]);
    assert_eq!(server.wait(), Some(78));
}

#[test]
fn a_damaged_store_is_refused_in_one_line_whichever_of_its_pages_it_is() {
    let lab = Lab::new();
    assert_eq!(lab.serve().terminate(), Some(0));
    let file = lab.state().join("leases.redb");
    let whole = std::fs::read(&file).unwrap();
    let mut refused = 0;
    for (page, content) in whole.chunks(4096).enumerate() {
        if content.iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut damaged = whole.clone();
        damaged[page * 4096..][..content.len()].fill(0);
        std::fs::write(&file, &damaged).unwrap();
        let mut leases = lab.appliance.command(env!("CARGO_BIN_EXE_offhook"));
        let state = lab.state();
        leases.args(["leases", "--state", state.to_str().unwrap()]).env("RUST_BACKTRACE", "1");
        let output = crate::lab::output(&mut leases);
        let said = crate::lab::said(&output);
        assert!(!said.contains("panicked") && !said.contains("backtrace"), "page {page}: {said}");
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(1), "page {page}: {said}");
            assert!(said.contains("is damaged: ") && said.contains("hint: restore"), "{said}");
            refused += 1;
        }
        assert_eq!(std::fs::read(&file).unwrap(), damaged);
    }
    assert!(refused > 1, "{refused}");
}

#[test]
fn sigterm_ends_it_cleanly_and_the_log_is_json_when_asked() {
    let lab = Lab::new();
    let server = lab.serve_with(&["--log-format", "json"]);
    let client = lab.client(crate::lab::Vlan::Voice);
    let _ = crate::lab::output(client.command("udhcpc").args([
        "-i",
        "eth0",
        "-f",
        "-n",
        "-q",
        "-V",
        "440HD",
        "-s",
        "/bin/true",
    ]));
    let line = server.wait_for_log(&["\"ack\""]);
    let event: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(event["scope"], "voice", "{line}");
    assert_eq!(event["family"], "440HD", "{line}");
    assert!(event["mac"].as_str().is_some_and(|mac| mac.len() == 17), "{line}");
    assert!(event["ip"].as_str().is_some_and(|ip| ip.starts_with("10.250.1.")), "{line}");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn the_readme_s_first_command_boots_every_family() {
    let demo = Command::new("timeout")
        .args(["120", env!("CARGO_BIN_EXE_offhook"), "demo"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(demo.status.success(), "{}", crate::lab::said(&demo));
    let table = String::from_utf8_lossy(&demo.stdout);
    for family in ["SIP100", "SIP200", "405", "405HD", "420HD", "430HD", "440HD"] {
        assert!(table.contains(family), "{family} is missing in\n{table}");
    }
}

#[test]
fn the_demo_needs_no_root() {
    // `nobody`, in the machine's own namespaces.
    let home = tempfile::tempdir().unwrap();
    let copy = home.path().join("offhook");
    std::fs::copy(env!("CARGO_BIN_EXE_offhook"), &copy).unwrap();
    std::os::unix::fs::chown(home.path(), Some(65534), Some(65534)).unwrap();
    let demo = Command::new("timeout")
        .args(["120", "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&copy)
        .arg("demo")
        .env("TMPDIR", home.path())
        .current_dir("/")
        .output()
        .unwrap();
    assert!(demo.status.success(), "{}", crate::lab::said(&demo));
}
