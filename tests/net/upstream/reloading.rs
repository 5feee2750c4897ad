//! The provisioning server is replaced while phones are being served.

use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::*;
use crate::lab::Server;
use crate::tftp_reload::{TAKEN_OVER, lines, taken};

const A: &str = "upstream = \"http://provision.lab.voip:8088/a\"\n";
const B: &str = "upstream = \"http://provision.lab.voip:8088/b\"\n";

/// Has other keys in `[tftp]` taken over.
fn change(site: &Site, server: &Server, keys: &str) {
    let before = lines(server, TAKEN_OVER);
    hang_up_with(site, server, keys);
    server.wait_for_lines(TAKEN_OVER, before + 1);
}

fn hang_up_with(site: &Site, server: &Server, keys: &str) {
    fs::write(site.lab.config(), text(keys)).unwrap();
    server.hang_up();
}

/// With a directory for each of two servers.
fn site(keys: &str) -> Site {
    let site = Site::new(keys);
    for name in ["a", "b"] {
        fs::create_dir(site.files.join(name)).unwrap();
    }
    site
}

fn begun(machine: &Netns, name: &str) -> Phone {
    machine.enter(|| {
        let mut phone = Phone::ask(name);
        phone.until(1).unwrap();
        phone
    })
}

#[test]
fn phones_get_what_is_being_fetched_for_them_and_the_next_one_the_other_servers_file() {
    let site = site(A);
    let (one, other) = (noise(300_000), noise(200_000));
    site.put("a/440hd.img", &one);
    site.put("b/440hd.img", &other);
    // Some three seconds for all of it.
    let nginx = site.nginx("limit_rate 80k;");
    let server = site.lab.serve();
    let machine = site.phone();
    let (first, second) = (begun(&machine, "440hd.img"), begun(&machine, "440HD.img"));
    change(&site, &server, B);
    let third = begun(&machine, "440hd.img");
    change(&site, &server, A);
    change(&site, &server, B);
    assert_same(third.all(), &other);
    for phone in [first, second] {
        assert_same(phone.all(), &one);
    }
    assert_same(fetch(&machine, "440hd.img"), &other);
    // What nobody asks for any more is not kept, whichever came last.
    server.wait_for_lines("fetched from the provisioning server", 3);
    let cached = site.wait_for_cached(2);
    assert!(cached.iter().any(|name| name.contains(&digest(&other)[..16])), "{cached:?}");
    let requests = nginx.requests();
    assert_eq!(requests.iter().filter(|it| it.starts_with("GET /a/")).count(), 1, "{requests:?}");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn what_is_kept_of_one_server_is_not_taken_for_the_others() {
    let site = site(A);
    let (one, other) = (noise(50_000), noise(50_001)[1..].to_vec());
    let written = SystemTime::now() - Duration::from_secs(3600);
    for (name, content) in [("a", &one), ("b", &other)] {
        site.put(&format!("{name}/440hd.img"), content);
        let file = File::options().write(true).open(site.files.join(name).join("440hd.img"));
        // What nginx makes its ETag of: to two servers two images may be the same version.
        file.unwrap().set_modified(written).unwrap();
    }
    let nginx = site.nginx("");
    let server = site.lab.serve();
    let phone = site.phone();
    assert_same(fetch(&phone, "440hd.img"), &one);
    server.wait_for_lines("fetched from the provisioning server", 1);
    change(&site, &server, B);
    assert_same(fetch(&phone, "440hd.img"), &other);
    server.wait_for_lines("fetched from the provisioning server", 2);
    drop(nginx);
    assert_same(fetch(&phone, "440hd.img"), &other);
    change(&site, &server, A);
    assert_eq!(fetch(&phone, "440hd.img"), refused(NOTHING.0, NOTHING.1));
    let state = || site.listing().0["cache"]["files"][0]["state"].clone();
    assert_eq!(state(), "elsewhere");
    // Nor after a restart.
    server.kill();
    let server = site.lab.serve();
    assert_eq!(fetch(&phone, "440hd.img"), refused(NOTHING.0, NOTHING.1));
    // But with the digest that it is to have it is as good as any.
    let sum = digest(&other);
    change(&site, &server, &format!("{A}images = {{ \"440hd.img\" = \"{sum}\" }}\n"));
    assert_same(fetch(&phone, "440hd.img"), &other);
    change(&site, &server, B);
    assert_same(fetch(&phone, "440hd.img"), &other);
    assert_eq!(state(), "verified");
}

#[test]
fn without_a_provisioning_server_nothing_is_fetched_and_a_smaller_cache_holds_less_at_once() {
    let keys = format!("{A}upstream_names = \"*.bin\"\nupstream_refresh = 0\n");
    let site = site(&format!("{keys}cache_size = \"2 MiB\"\n"));
    for (name, size) in [("1.bin", 700_000), ("2.bin", 600_000), ("slow.bin", 90_000)] {
        site.put(&format!("a/{name}"), &noise(size));
    }
    let nginx = site.nginx("location /a/slow.bin { limit_rate 40k; }");
    let server = site.lab.serve();
    let machine = site.phone();
    assert_same(fetch(&machine, "1.bin"), &noise(700_000));
    assert_same(fetch(&machine, "2.bin"), &noise(600_000));
    server.wait_for_lines("fetched from the provisioning server", 2);
    assert_eq!(site.cached().len(), 4);
    change(&site, &server, &format!("{keys}cache_size = \"1 MiB\"\n"));
    let cached = site.cached();
    assert!(cached.len() == 2 && cached[0].starts_with("2.bin"), "{cached:?}");
    let slow = begun(&machine, "slow.bin");
    let asked = nginx.wait_for(3).len();
    change(&site, &server, "");
    for name in ["2.bin", "1.bin", "slow.bin", "440hd.img"] {
        assert_eq!(fetch(&machine, name), refused(1, "file not found"), "{name}");
    }
    assert_same(slow.all(), &noise(90_000));
    assert_eq!(nginx.requests().len(), asked, "{:?}", nginx.requests());
    // What was kept is still there.
    change(&site, &server, &keys);
    assert_same(fetch(&machine, "2.bin"), &noise(600_000));
    assert_eq!(nginx.wait_for(asked + 1).last().unwrap(), "GET /a/2.bin 304");
}

#[test]
fn what_was_refused_a_moment_ago_is_asked_for_again_by_other_settings() {
    let site = site(&format!("{A}upstream_file_size = \"100 KiB\"\nupstream_names = []\n"));
    site.put("a/440hd.img", &noise(200_000));
    site.put("a/x.bin", b"x");
    let _nginx = site.nginx("");
    let server = site.lab.serve();
    let phone = site.phone();
    assert_eq!(fetch(&phone, "440hd.img"), refused(NOTHING.0, NOTHING.1));
    assert_eq!(fetch(&phone, "x.bin"), refused(1, "file not found"));
    change(&site, &server, &format!("{A}upstream_names = \"*.bin\"\n"));
    assert_same(fetch(&phone, "440hd.img"), &noise(200_000));
    assert_same(fetch(&phone, "x.bin"), b"x");
    // One that was not there a moment ago, and nothing is another but what the server has.
    assert!(fetch(&phone, "405.img").is_err());
    site.put("a/405.img", b"here");
    assert!(fetch(&phone, "405.img").is_err(), "it is not asked for so soon");
    change(&site, &server, &format!("{A}upstream_names = \"*.bin\"\n"));
    assert_same(fetch(&phone, "405.img"), b"here");
}

#[test]
fn a_server_that_has_not_answered_yet_is_asked_anew_and_phones_that_wait_for_it_are_served() {
    use std::io::{Read, Write};
    let site = site(&format!("{A}upstream_timeout = \"1m\"\n"));
    let listener = site.machine.enter(|| std::net::TcpListener::bind("0.0.0.0:8088").unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut streams = listener.incoming();
        let answer = |mut stream: std::net::TcpStream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nimage");
        };
        let first = streams.next().unwrap().unwrap();
        tell.send(()).unwrap();
        answer(streams.next().unwrap().unwrap());
        tell.send(()).unwrap();
        answer(first);
    });
    let server = site.lab.serve();
    let machine = site.phone();
    let waiting = machine.enter(|| Phone::ask("440hd.img"));
    told.recv_timeout(PATIENCE).expect("a request");
    change(&site, &server, &format!("{A}upstream_timeout = \"30s\"\n"));
    assert_same(fetch(&machine, "440hd.img"), b"image");
    told.recv_timeout(PATIENCE).expect("another request");
    assert_same(waiting.all(), b"image");
}

#[test]
fn a_digest_that_is_new_while_an_image_is_fetched_is_no_reason_to_refuse_it() {
    let site = site(A);
    let (old, new) = (noise(300_000), noise(150_000));
    site.put("a/440hd.img", &old);
    let _nginx = site.nginx("limit_rate 80k;");
    let server = site.lab.serve();
    let machine = site.phone();
    let first = begun(&machine, "440hd.img");
    site.put("a/440hd.img", &new);
    change(&site, &server, &format!("{A}images = {{ \"440hd.img\" = \"{}\" }}\n", digest(&new)));
    assert_same(fetch(&machine, "440hd.img"), &new);
    assert_same(first.all(), &old);
    server.wait_for_lines("fetched from the provisioning server", 2);
    let cached = site.wait_for_cached(2);
    assert!(cached.iter().any(|name| name.contains(&digest(&new)[..16])), "{cached:?}");
}

#[test]
fn certificates_or_a_cache_that_cannot_be_had_change_nothing_and_certificates_are_read_again() {
    let https = "upstream = \"https://provision.lab.voip:8089/a\"\n";
    let site = site(&format!("{https}upstream_ca = \"web.pem\"\nupstream_refresh = 0\n"));
    let at = |name: &str| site.lab.dir.path().join(name);
    let certificate = |name: &str| {
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=web \
                     -addext subjectAltName=DNS:provision.lab.voip";
        let (key, out) = (format!("{name}.key"), format!("{name}.pem"));
        let mut command = Command::new("openssl");
        command.args(words.split_whitespace()).args(["-keyout", &key, "-out", &out]);
        run(command.current_dir(site.lab.dir.path()));
    };
    certificate("web");
    certificate("other");
    site.put("a/440hd.img", b"the image");
    let nginx = |name: &str| {
        let (cert, key) = (at(&format!("{name}.pem")), at(&format!("{name}.key")));
        site.nginx(&format!(
            "listen 8089 ssl;\nssl_certificate {};\nssl_certificate_key {};",
            cert.display(),
            key.display()
        ))
    };
    let server = site.lab.serve();
    let phone = site.phone();
    {
        let _nginx = nginx("web");
        assert_same(fetch(&phone, "440hd.img"), b"the image");
        let before = fs::read_to_string(site.lab.config()).unwrap();
        fs::write(at("broken.pem"), "no certificate").unwrap();
        fs::write(at("file"), "no directory").unwrap();
        for (more, said) in [
            ("upstream_ca = \"broken.pem\"\n", "broken.pem"),
            ("upstream_ca = \"web.pem\"\ncache = \"file\"\n", "the cache of firmware images"),
        ] {
            let count = lines(&server, "stays in force");
            hang_up_with(&site, &server, &format!("{https}{more}dscp = 8\n"));
            server.wait_for_lines("stays in force", count + 1);
            server.wait_for_log(&[said, "stays in force"]);
            assert_same(fetch(&phone, "440hd.img"), b"the image");
        }
        fs::write(site.lab.config(), before).unwrap();
    }
    // The server has another certificate, and the file that vouches for it is replaced.
    site.put("a/405.img", b"another");
    let _nginx = nginx("other");
    assert_eq!(fetch(&phone, "405.img"), refused(NOTHING.0, NOTHING.1));
    fs::copy(at("other.pem"), at("web.pem")).unwrap();
    let count = lines(&server, TAKEN_OVER);
    server.hang_up();
    server.wait_for_lines(TAKEN_OVER, count + 1);
    assert_same(fetch(&phone, "405.img"), b"another");
}

#[test]
fn servers_that_are_replaced_leave_nothing_behind() {
    let site = site(A);
    site.put("a/440hd.img", &noise(100_000));
    site.put("b/440hd.img", &noise(100_001));
    let _nginx = site.nginx("");
    let server = site.lab.serve();
    let phone = site.phone();
    let rounds = |count: u32| {
        for _ in 0..count {
            for (keys, size) in [(B, 100_001), (A, 100_000), ("", 0)] {
                change(&site, &server, keys);
                match size {
                    0 => assert!(fetch(&phone, "440hd.img").is_err()),
                    size => assert_same(fetch(&phone, "440hd.img"), &noise(size)),
                }
            }
        }
    };
    rounds(5);
    let before = taken(&server);
    rounds(15);
    let after = taken(&server);
    assert!(after.0 <= before.0 + 20 && after.1 <= before.1 + 8, "{before:?} {after:?}");
    assert!(after.2 < before.2 + 8192, "{before:?} {after:?}");
}
