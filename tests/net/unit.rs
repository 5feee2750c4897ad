//! What systemd lets the program do, and what it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{Lab, PATIENCE, Server, Vlan, noise, output, repository, run, said};
use crate::packet::*;

/// System calls by the groups that systemd has them in; a group may be in another.
fn groups() -> BTreeMap<String, Vec<String>> {
    let mut command = Command::new("systemd-analyze");
    let text = run(command.args(["--no-pager", "syscall-filter"]));
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut group = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        match line.strip_prefix("    ") {
            Some(call) if !group.is_empty() => {
                groups.entry(group.clone()).or_default().push(call.trim().to_owned());
            }
            // Other lines are no group's.
            _ => group = line.strip_prefix('@').map_or(String::new(), |_| line.trim().to_owned()),
        }
    }
    groups
}

fn expand(groups: &BTreeMap<String, Vec<String>>, word: &str) -> BTreeSet<String> {
    match groups.get(word) {
        Some(words) => words.iter().flat_map(|word| expand(groups, word)).collect(),
        None => {
            assert!(!word.starts_with('@'), "systemd knows no {word}");
            BTreeSet::from([word.to_owned()])
        }
    }
}

/// The system calls that the unit allows: its first line says which, and the others add some or take some away.
fn allowed() -> BTreeSet<String> {
    let (unit, groups) =
        (fs::read_to_string(repository().join("systemd/offhook.service")).unwrap(), groups());
    let mut allowed = expand(&groups, "@default");
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let words = line.trim_start_matches('~').split_whitespace();
        for call in words.flat_map(|word| expand(&groups, word)) {
            match line.starts_with('~') {
                true => allowed.remove(&call),
                false => allowed.insert(call),
            };
        }
    }
    allowed
}

#[test]
fn the_unit_allows_every_system_call_that_the_program_makes() {
    let lab = Lab::new();
    lab.image("440hd.img", &noise(100_000));
    let voice = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let native = lab.machine(Vlan::Native, "10.0.0.210/24", "10.0.0.1");
    let trace = lab.dir.path().join("trace");
    // The program is what is started, and who traces it is beside it.
    let mut command = lab.appliance.daemon("strace");
    command.args(["-D", "-f", "-q", "-o"]).arg(&trace).arg(env!("CARGO_BIN_EXE_offhook"));
    command.arg("run").arg("--config").arg(lab.config()).arg("--state").arg(lab.state());
    let server = Server::spawn(&mut command);
    server.wait_for_log(&["serving", "scopes"]);
    let class: [(u8, &[u8]); 1] = [(60, b"440HD")];
    let leased = voice.enter(|| Card::open("eth0").lease(mac(1), 1, &class)).yiaddr();
    for words in ["+notcp vm40ic1.lab.voip", "+tcp vm40ic1.lab.voip", "+time=1 x.lab.local"] {
        let words = words.split(' ').chain(["@10.250.1.5", "+short", "+tries=1"]);
        let _ = output(voice.command("dig").args(words));
    }
    let curl = ["--silent", "--max-time", "15", "--output", "/dev/null"];
    run(native.command("curl").args(curl).arg("tftp://10.0.0.11/440hd.img"));
    server.hang_up();
    server.wait_for_log(&["configuration taken over"]);
    let mut leases = Command::new(env!("CARGO_BIN_EXE_offhook"));
    let listed = said(&output(leases.args(["leases", "--state"]).arg(lab.state())));
    assert!(listed.contains(&leased.to_string()), "{listed}");
    let program = server.pid().to_string();
    assert_eq!(server.terminate(), Some(0));
    let deadline = Instant::now() + PATIENCE;
    let lines = loop {
        let lines = fs::read_to_string(&trace).unwrap();
        let is_end = |line: &str| {
            line.split_once(' ').is_some_and(|(thread, rest)| {
                thread == program && rest.trim_start() == "+++ exited with 0 +++"
            })
        };
        if lines.lines().any(is_end) {
            break lines;
        }
        assert!(Instant::now() < deadline, "{program} does not end");
        std::thread::sleep(Duration::from_millis(10));
    };
    // Each line begins with the thread.
    let call = |line: &str| {
        let line = line.split_once(' ')?.1.trim_start();
        let name = line.strip_prefix("<... ").unwrap_or(line);
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        (end > 0 && name[end..].starts_with(['(', ' '])).then(|| name[..end].to_owned())
    };
    let made: BTreeSet<_> = lines.lines().filter_map(call).collect();
    assert!(made.len() > 40 && made.contains("sendmmsg"), "{made:?}");
    let refused: Vec<_> = made.difference(&allowed()).cloned().collect();
    assert_eq!(refused, [""; 0]);
}
