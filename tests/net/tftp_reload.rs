//! Another `[tftp]` without a restart: what is under way ends as it began, and the next request goes by what is new.

use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lab::{Lab, Netns, PATIENCE, Server, Vlan, noise, repository};
use crate::tftp_settings::{exchange, granted, status};
use crate::upstream::{Phone, assert_same, digest, fetch};

pub(crate) const TAKEN_OVER: &str = "configuration taken over";
const REQUEST: &[u8] = b"\0\x01440hd.img\0octet\0blksize\x001024\0";
const DENIED: &[u8] = b"\0\x05\0\x02access violation: this network is not served\0";

/// The sample site with these keys in `[tftp]` instead of its root.
fn text(keys: &str) -> String {
    let text = fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let root = "root = \"firmware\"";
    assert!(text.contains(root));
    text.replace(root, keys)
}

pub(crate) fn lines(server: &Server, text: &str) -> usize {
    server.log().lines().filter(|line| line.contains(text)).count()
}

/// Has other keys taken over.
fn change(lab: &Lab, server: &Server, keys: &str) {
    let before = lines(server, TAKEN_OVER);
    fs::write(lab.config(), text(keys)).unwrap();
    server.hang_up();
    server.wait_for_lines(TAKEN_OVER, before + 1);
}

/// Two roots with the same file name in them, and a phone in the native network.
fn office(keys: &str) -> (Lab, Server, Netns) {
    let lab = Lab::with_config(&text(keys));
    lab.image("440hd.img", &noise(300_000));
    let other = lab.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("440hd.img"), noise(200_000)).unwrap();
    let server = lab.serve();
    let phone = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    (lab, server, phone)
}

#[test]
fn a_transfer_ends_as_it_began_and_the_next_request_goes_by_what_is_new() {
    let (lab, server, native) = office("root = \"firmware\"");
    let voice = lab.machine(Vlan::Voice, "10.250.1.30/24", "10.250.1.1");
    let threads = server.threads("tftp");
    let mut phone = native.enter(|| Phone::ask("440hd.img"));
    phone.until(50_000).unwrap();
    // Nothing of this one is acknowledged yet.
    let answered = native.enter(|| Phone::ask("440hd.img"));
    server.wait_for_lines("TFTP request", 2);
    let wrong = "0".repeat(64);
    let right = digest(&noise(200_000));
    for sum in [&wrong, &right] {
        change(
            &lab,
            &server,
            &format!(
                "root = \"other\"\nallow = \"10.250.1.0/24\"\nblock_size = 512\ndscp = \"af11\"\n\
                 images = {{ \"440hd.img\" = \"{sum}\" }}\ntransfers_per_client = 1"
            ),
        );
        assert_eq!(exchange(&native, &[REQUEST]), [DENIED]);
        let answer = &exchange(&voice, &[REQUEST])[0];
        match sum == &right {
            true => assert_eq!(answer, b"\0\x06blksize\x00512\0"),
            false => {
                assert_eq!(answer[..2], *b"\0\x05", "{}", answer.escape_ascii());
                server.wait_for_log(&["NOT WHAT ITS DIGEST SAYS", &wrong]);
            }
        }
    }
    assert_same(phone.all(), &noise(300_000));
    assert_same(answered.all(), &noise(300_000));
    assert_eq!(server.threads("tftp"), threads, "the server was started again");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_digest_is_in_force_at_once_for_an_image_that_was_good_a_moment_ago() {
    let right = digest(&noise(300_000));
    let keys = |sum: &str| format!("root = \"firmware\"\nimages = {{ \"440hd.img\" = \"{sum}\" }}");
    let (lab, server, phone) = office(&keys(&right));
    let wrong = "f".repeat(64);
    for _ in 0..2 {
        assert_same(fetch(&phone, "440hd.img"), &noise(300_000));
        change(&lab, &server, &keys(&wrong));
        let refused = fetch(&phone, "440hd.img").expect_err("another digest");
        assert!(refused.1.contains("digest"), "{refused:?}");
        change(&lab, &server, &keys(&right));
    }
    assert_eq!(status(&lab)["tftp"]["counts"]["refused-digest"], 2);
}

#[test]
fn limits_count_what_is_under_way_and_end_none_of_it() {
    let keys = |transfers: u32| format!("root = \"firmware\"\ntransfers = {transfers}");
    let (lab, server, machine) = office(&keys(2));
    let begin = || {
        machine.enter(|| {
            let mut phone = Phone::ask("440hd.img");
            phone.until(1).map(|()| phone)
        })
    };
    let (one, two) = (begin().unwrap(), begin().unwrap());
    assert!(begin().err().expect("too many").1.contains("too many"));
    change(&lab, &server, &keys(3));
    let three = begin().unwrap();
    change(&lab, &server, &keys(1));
    for phone in [one, two, three] {
        assert!(begin().err().expect("too many").1.contains("too many"));
        assert_same(phone.all(), &noise(300_000));
    }
    assert_same(fetch(&machine, "440hd.img"), &noise(300_000));
}

#[test]
fn new_limits_leave_files_to_everything_else_as_well() {
    let lab = Lab::with_config(&text("root = \"firmware\"\ntransfers = 100"));
    lab.image("440hd.img", &noise(100_000));
    let mut command = lab.appliance.daemon("prlimit");
    command.arg("--nofile=200:200").arg(env!("CARGO_BIN_EXE_offhook")).arg("run");
    command.arg("--config").arg(lab.config()).arg("--state").arg(lab.state());
    let server = Server::spawn(&mut command);
    server.wait_for_log(&["serving", "scopes"]);
    change(&lab, &server, "root = \"firmware\"\ntransfers = 1000");
    server.wait_for_log(&["fewer TFTP transfers at a time", "most=75"]);
    let client = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    assert_eq!(granted(&client, 80), 75);
}

#[test]
fn what_dhcp_cannot_take_over_tftp_does_not_either_nor_with_an_error_nor_on_another_socket() {
    let (lab, server, phone) = office("root = \"firmware\"");
    let other = text("root = \"other\"");
    for (text, said) in [
        (other.replace("\"native0\"", "\"native1\""), "native1"),
        (other.replace("root = \"other\"", "root = \"other\"\ndscp = 999"), "stays in force"),
        (other.replace("listen = \"10.0.0.11\"", "listen = \"10.250.1.5\""), "listen in [tftp]"),
    ] {
        let before = lines(&server, "stays in force");
        fs::write(lab.config(), text).unwrap();
        server.hang_up();
        server.wait_for_lines("stays in force", before + 1);
        server.wait_for_log(&[said]);
        assert_same(fetch(&phone, "440hd.img"), &noise(300_000));
    }
    change(&lab, &server, "root = \"other\"");
    assert_same(fetch(&phone, "440hd.img"), &noise(200_000));
}

#[test]
fn a_real_client_in_the_middle_of_a_file_gets_all_of_it_over_any_number_of_reloads() {
    let (lab, server, client) = office("root = \"firmware\"");
    lab.image("large.img", &noise(20_000_000));
    let file = lab.dir.path().join("large");
    let mut command = client.command("tftp");
    command.args(["-m", "octet", "10.0.0.11", "-c", "get", "large.img"]).arg(&file);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.unwrap();
    server.wait_for_log(&["TFTP request", "large.img"]);
    let mut times = 0;
    while child.try_wait().unwrap().is_none() && times < 200 {
        times += 1;
        let root = if times % 2 == 0 { "firmware" } else { "other" };
        change(&lab, &server, &format!("root = \"{root}\"\nblock_size = {}", 100 + times));
    }
    assert!(child.wait().unwrap().success());
    assert!(times > 1, "the file was there before anything was another");
    assert!(fs::read(&file).unwrap() == noise(20_000_000));
}

/// Threads, open files and memory in KiB.
pub(crate) fn taken(server: &Server) -> (usize, usize, u64) {
    let count = |what| fs::read_dir(format!("/proc/{}/{what}", server.pid())).unwrap().count();
    let text = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let memory = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory = memory.trim().trim_end_matches(" kB").parse().unwrap();
    (count("task"), count("fd"), memory)
}

#[test]
fn no_request_is_lost_or_refused_while_it_reloads_and_reloads_cost_nothing_that_lasts() {
    let (lab, server, machine) = office("root = \"firmware\"");
    let reload = |times: std::ops::Range<usize>| {
        for time in times {
            let root = if time % 2 == 0 { "other" } else { "firmware" };
            change(&lab, &server, &format!("root = \"{root}\"\nblock_size = {}", 1024 + time));
        }
    };
    let is_over = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let phones: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    machine.enter(|| {
                        let mut served = 0;
                        while !is_over.load(Ordering::Relaxed) {
                            let phone = Phone::ask("440hd.img");
                            // What is not answered at once is lost.
                            phone.is_patient(PATIENCE);
                            let image = phone.all().expect("an image");
                            assert!(image == noise(300_000) || image == noise(200_000));
                            served += 1;
                        }
                        served
                    })
                })
            })
            .collect();
        reload(0..30);
        is_over.store(true, Ordering::Relaxed);
        phones.into_iter().map(|phone| phone.join().unwrap()).sum::<u64>()
    });
    assert!(served > 30, "{served}");
    let counts = status(&lab)["tftp"]["counts"].clone();
    assert_eq!((&counts["requested"], &counts["done"]), (&served.into(), &served.into()));
    let before = taken(&server);
    reload(30..130);
    let after = taken(&server);
    // The runtime has a few threads more or less for what waits for the disk.
    assert!(after.0 <= before.0 + 20 && after.1 <= before.1 + 8, "{before:?} {after:?}");
    assert!(after.2 < before.2 + 8192, "{before:?} {after:?}");
}
