//! How images come from the provisioning server to phones.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::lab::{Server, said};

#[test]
fn phones_have_the_beginning_long_before_the_server_has_sent_the_end_and_ask_it_once() {
    let site = Site::new(URL);
    let image = noise(300_000);
    site.put("440hd.img", &image);
    // Some three seconds for all of it.
    let nginx = site.nginx("limit_rate 80k;");
    let server = site.lab.serve();
    let machine = site.phone();
    machine.enter(|| {
        let began = Instant::now();
        let mut first = Phone::ask("440hd.img");
        first.until(1).unwrap();
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        assert_eq!(first.size, Some(300_000), "the size is told though little of it is here");
        let others: Vec<_> = (0..40).map(|_| Phone::ask("440HD.img")).collect();
        std::thread::scope(|scope| {
            let running: Vec<_> =
                others.into_iter().map(|phone| scope.spawn(move || phone.all())).collect();
            assert_same(first.all(), &image);
            assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
            running.into_iter().for_each(|it| assert_same(it.join().unwrap(), &image));
        });
    });
    assert_eq!(nginx.wait_for(1), ["GET /440hd.img 200"]);
    assert_eq!(site.count("upstream-fetched"), 1);
    drop(server);
}

#[test]
fn hundreds_of_requests_at_once_are_one_to_the_server() {
    let site = Site::new(URL);
    let image = noise(20_000);
    site.put("440hd.img", &image);
    let nginx = site.nginx("");
    let _server = site.lab.serve();
    site.phone().enter(|| {
        let phones: Vec<_> = (0..500).map(|_| Phone::ask("440hd.img")).collect();
        for phone in phones {
            assert_same(phone.all(), &image);
        }
    });
    assert_eq!(nginx.wait_for(1), ["GET /440hd.img 200"]);
}

#[test]
fn nothing_is_asked_for_but_what_the_catalogue_and_the_patterns_have() {
    let site = Site::new(&format!("{URL}upstream_names = [\"fw-*.bin\", \"sub/*\"]\n"));
    for name in ["secret.cfg", "x.img", "fw-1.bin", "405.img"] {
        site.put(name, name.as_bytes());
    }
    fs::create_dir(site.files.join("sub")).unwrap();
    site.put("sub/a file %20?#.x", b"in sub");
    let nginx = site.nginx("");
    let _server = site.lab.serve();
    let phone = site.phone();
    assert_same(fetch(&phone, "FW-1.bin").or(fetch(&phone, "fw-1.bin")), b"fw-1.bin");
    assert_same(fetch(&phone, "405.img"), b"405.img");
    assert_same(fetch(&phone, "sub\\a file %20?#.x"), b"in sub");
    for name in
        ["secret.cfg", "x.img", "sub/../secret.cfg", "%2e%2e/secret.cfg", "http://h/secret.cfg"]
    {
        assert!(fetch(&phone, name).is_err(), "{name}");
    }
    let requests = nginx.requests().join("\n");
    assert!(!requests.contains("secret") && !requests.contains("x.img"), "{requests}");
    assert!(requests.contains("GET /sub/a%20file%20%2520%3F%23.x 200"), "{requests}");
}

#[test]
fn the_server_is_asked_by_https_when_a_given_authority_vouches_for_it() {
    let https = "upstream = \"https://provision.lab.voip:8089\"\nupstream_ca = \"ca.pem\"\n";
    let site = Site::new(https);
    let at = |name: &str| site.lab.dir.path().join(name);
    let openssl = |words: &str| {
        run(Command::new("openssl").args(words.split(' ')).current_dir(site.lab.dir.path()))
    };
    for (name, subject) in [("ca", "/CN=An authority"), ("other", "/CN=Another")] {
        let command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        run(Command::new("openssl")
            .args(command.split(' '))
            .args([
                "-keyout",
                &format!("{name}.key"),
                "-out",
                &format!("{name}.pem"),
                "-subj",
                subject,
            ])
            .current_dir(site.lab.dir.path()));
    }
    fs::write(at("names"), "subjectAltName=DNS:provision.lab.voip\n").unwrap();
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout web.key -out web.csr -subj /CN=web",
    );
    openssl(
        "x509 -req -in web.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out web.pem",
    );
    site.put("440hd.img", b"the image");
    let _nginx = site.nginx(&format!(
        "listen 8089 ssl;\nssl_certificate {};\nssl_certificate_key {};",
        at("web.pem").display(),
        at("web.key").display()
    ));
    let phone = site.phone();
    {
        let _server = site.lab.serve();
        assert_same(fetch(&phone, "440hd.img"), b"the image");
    }
    // The system's authorities, where the file names none.
    fs::remove_dir_all(site.cache()).unwrap();
    let config = fs::read_to_string(site.lab.config()).unwrap();
    fs::write(site.lab.config(), config.replace("upstream_ca", "# upstream_ca")).unwrap();
    for (authorities, result) in
        [("ca.pem", Ok(b"the image".to_vec())), ("other.pem", refused(NOTHING.0, NOTHING.1))]
    {
        let mut command = site.lab.appliance.daemon(env!("CARGO_BIN_EXE_offhook"));
        command.arg("run").arg("--config").arg(site.lab.config());
        command.arg("--state").arg(site.lab.state()).env("SSL_CERT_FILE", at(authorities));
        let server = Server::spawn(&mut command);
        server.wait_for_log(&["serving", "scopes"]);
        assert_eq!(fetch(&phone, "440hd.img"), result, "{authorities}");
        drop(server);
        let _ = fs::remove_dir_all(site.cache());
    }
    fs::write(site.lab.config(), config).unwrap();
    // An authority that vouches for others only.
    fs::copy(at("other.pem"), at("ca.pem")).unwrap();
    let server = site.lab.serve();
    assert_eq!(fetch(&phone, "440hd.img"), refused(NOTHING.0, NOTHING.1));
    server.wait_for_log(&["cannot be fetched", "TLS"]);
}

#[test]
fn a_certificate_that_vouches_for_itself_is_taken_where_it_was_given_and_names_the_server() {
    let site = Site::new(
        "upstream = \"https://provision.lab.voip:8089\"\nupstream_ca = \"web.pem\"\nupstream_refresh = \"0s\"\n",
    );
    site.put("440hd.img", b"the image");
    let at = |name: &str| site.lab.dir.path().join(name).display().to_string();
    let phone = site.phone();
    let names = ["provision.lab.voip", "other.lab.voip"];
    for (name, result) in
        names.into_iter().zip([Ok(b"the image".to_vec()), refused(NOTHING.0, NOTHING.1)])
    {
        // As everybody makes one: by default it is that of an authority.
        run(Command::new("openssl").current_dir(site.lab.dir.path()).args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            "web.key",
            "-out",
            "web.pem",
            "-subj",
            "/CN=web",
            "-addext",
            &format!("subjectAltName=DNS:{name}"),
        ]));
        let (certificate, key) = (at("web.pem"), at("web.key"));
        let _nginx = site.nginx(&format!(
            "listen 8089 ssl;\nssl_certificate {certificate};\nssl_certificate_key {key};"
        ));
        let _server = site.lab.serve();
        assert_eq!(fetch(&phone, "440hd.img"), result, "{name}");
        let _ = fs::remove_dir_all(site.cache());
    }
}

#[test]
fn check_misses_no_image_that_can_be_fetched() {
    let site = Site::new(&format!("{URL}images = {{ \"odd.bin\" = \"{}\" }}\n", digest(b"odd")));
    let mut check = Command::new(env!("CARGO_BIN_EXE_offhook"));
    let printed = said(&output(check.args(["check", "--config"]).arg(site.lab.config())));
    // Only of the one that may not be fetched.
    assert!(printed.contains("`odd.bin` is not in the TFTP root"), "{printed}");
    assert!(printed.contains("0 errors, 1 warning"), "{printed}");
}

#[test]
fn a_file_whose_length_is_not_told_is_sent_without_one() {
    let site = Site::new(URL);
    let image = noise(300_000);
    site.put("440hd.img", &image);
    // What looks for server-side includes cannot say how long the result will be.
    let _nginx = site.nginx("ssi on;\nssi_types *;");
    let _server = site.lab.serve();
    let machine = site.phone();
    machine.enter(|| {
        let mut phone = Phone::ask("440hd.img");
        phone.until(1).unwrap();
        assert_eq!(phone.size, None);
        assert_same(phone.all(), &image);
    });
    site.wait_for_cached(2);
    // From the cache it has one.
    machine.enter(|| {
        let mut phone = Phone::ask("440hd.img");
        phone.until(1).unwrap();
        assert_eq!(phone.size, Some(300_000));
    });
}

#[test]
fn without_a_root_everything_comes_from_the_server() {
    let site = Site::new(URL);
    fs::remove_dir(site.lab.dir.path().join("firmware")).unwrap();
    site.put("440hd.img", b"the image");
    let _nginx = site.nginx("");
    let _server = site.lab.serve();
    let phone = site.phone();
    assert_same(fetch(&phone, "440HD.img"), b"the image");
    assert_eq!(fetch(&phone, "440hd.cfg"), refused(1, "file not found"));
    let (listing, code) = site.listing();
    assert_eq!(code, Some(0), "{listing}");
    let mut text = Command::new(env!("CARGO_BIN_EXE_offhook"));
    text.args(["firmware", "list", "--config"]).arg(site.lab.config());
    let text = run(text.arg("--state").arg(site.lab.state()));
    for told in [
        "tftp-cache: 9 of 1073741824 bytes, fetched from http://provision.lab.voip:8088",
        "cached",
        "upstream",
    ] {
        assert!(text.contains(told), "{told}:\n{text}");
    }
}

#[test]
fn the_url_may_name_the_host_shortly_and_begin_with_a_path() {
    let site = Site::new("upstream = \"http://provision:8088/fw/new\"\nupstream_refresh = 0\n");
    fs::create_dir_all(site.files.join("fw/new")).unwrap();
    site.put("fw/new/440hd.img", b"the image");
    // Without an ETag.
    let nginx = site.nginx("etag off;");
    let server = site.lab.serve();
    let phone = site.phone();
    assert_same(fetch(&phone, "440hd.img"), b"the image");
    // Not only kept, but known to be: until then the next phone has a part in that fetch.
    server.wait_for_log(&["fetched from the provisioning server"]);
    assert_same(fetch(&phone, "440hd.img"), b"the image");
    assert_eq!(
        nginx.wait_for(2),
        ["GET /fw/new/440hd.img 200", "GET /fw/new/440hd.img 304"].map(str::to_owned)
    );
}

#[test]
fn a_phone_that_asks_again_while_the_server_takes_its_time_begins_nothing_twice() {
    let site = Site::new(URL);
    let server = site.lab.serve();
    let listener = site.machine.enter(|| TcpListener::bind("0.0.0.0:8088").unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]);
            std::thread::sleep(Duration::from_millis(2500));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nimage");
        }
    });
    site.phone().enter(|| {
        let mut phone = Phone::ask("440hd.img");
        phone.socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
        phone.until(1).unwrap();
        assert_same(phone.all(), b"image");
    });
    server.wait_for_log(&["TFTP transfer done"]);
    let log = server.log();
    assert_eq!(log.matches("TFTP request client").count(), 1, "{log}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn real_clients_wait_for_what_arrives_slowly() {
    let site = Site::new(URL);
    let image = noise(400_000);
    site.put("440hd.img", &image);
    // With pauses that are longer than windows last.
    let nginx = site.nginx("limit_rate 80k;");
    let _server = site.lab.serve();
    let phone = site.phone();
    let at = |name: &str| site.lab.dir.path().join(name);
    let client = |program: &str, before: &[&str], after: &[&str]| {
        let mut command = phone.command(program);
        command.args(before).arg(at(program)).args(after);
        command
    };
    let windows = ["--option", "blksize 1428", "--option", "windowsize 16"];
    let clients = [
        client("atftp", &[&windows[..], &["-g", "-r", "440hd.img", "-l"]].concat(), &["10.0.0.11"]),
        client("curl", &["-sS", "--tftp-blksize", "1428", "-o"], &["tftp://10.0.0.11/440HD.img"]),
        client("tftp", &["-m", "octet", "10.0.0.11", "-c", "get", "440HD.img"], &[]),
        client("busybox", &["tftp", "-g", "-b", "1468", "-r", "440hd.img", "-l"], &["10.0.0.11"]),
    ];
    std::thread::scope(|scope| {
        for mut client in clients {
            scope.spawn(move || run(&mut client));
        }
    });
    for name in ["atftp", "curl", "tftp", "busybox"] {
        assert!(fs::read(at(name)).unwrap() == image, "{name}");
    }
    assert_eq!(nginx.requests().iter().filter(|it| it.ends_with("200")).count(), 1);
}
