//! A provisioning server that is not there, dies, hangs, lies or has not what phones want.

use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

#[test]
fn where_nobody_answers_phones_are_told_so_at_once() {
    let site = Site::new(&format!("{URL}upstream_timeout = \"2s\"\n"));
    let server = site.lab.serve();
    let phone = site.phone();
    // Nobody listens there.
    let began = Instant::now();
    assert_eq!(fetch(&phone, "440hd.img"), refused(NOTHING.0, NOTHING.1));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    server.wait_for_log(&["cannot be fetched", "10.250.1.151:8088", "Connection refused"]);
    server.wait_for_log(&["TFTP request refused", "440hd.img", "10.250.1.152:8088"]);
    // Nobody is there at all.
    site.machine.ip("link set eth0 down");
    std::thread::sleep(Duration::from_secs(3));
    let began = Instant::now();
    assert_eq!(fetch(&phone, "405.img"), refused(NOTHING.0, NOTHING.1));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    // The rest is served as ever.
    site.lab.image("430hd.img", b"in the root");
    assert_same(fetch(&phone, "430hd.img"), b"in the root");
    assert_eq!(site.count("refused-upstream"), 2);
}

#[test]
fn what_the_server_has_not_or_does_not_give_is_refused_and_not_asked_for_again_and_again() {
    let site = Site::new(URL);
    let nginx = site.nginx(
        "location = /405.img { return 403; }\nlocation = /430hd.img { return 503; }\n\
         location = /430HD.img { return 503; }\nlocation = /sip100.img { return 410; }",
    );
    let server = site.lab.serve();
    let phone = site.phone();
    for _ in 0..3 {
        assert_eq!(fetch(&phone, "other.img"), refused(1, "file not found"));
        assert_eq!(fetch(&phone, "405.img"), refused(2, "access violation: not a readable file"));
        assert_eq!(fetch(&phone, "430hd.img"), refused(NOTHING.0, NOTHING.1));
    }
    let requests = nginx.requests();
    let times = |what: &str| requests.iter().filter(|it| *it == what).count();
    assert_eq!(times("GET /other.img 404"), 1, "{requests:?}");
    assert_eq!(times("GET /405.img 403"), 1, "{requests:?}");
    // Either of the pair.
    assert_eq!(times("GET /430hd.img 503"), 2, "{requests:?}");
    assert_eq!(requests.len(), 4, "{requests:?}");
    server.wait_for_log(&["TFTP request refused", "other.img", "404"]);
    server.wait_for_log(&["TFTP request refused", "405.img", "403"]);
    server.wait_for_log(&["TFTP request refused", "430hd.img", "503"]);
}

#[test]
fn redirects_on_the_same_host_are_followed_and_no_others() {
    let site = Site::new(URL);
    site.put("real.img", b"the image");
    let nginx = site.nginx(
        "location = /440hd.img { return 302 /real.img; }\n\
         location = /405.img { return 301 http://10.250.1.152:8088/real.img; }\n\
         location = /430hd.img { return 302 /430hd.img; }",
    );
    let server = site.lab.serve();
    let phone = site.phone();
    assert_same(fetch(&phone, "440hd.img"), b"the image");
    assert_eq!(fetch(&phone, "405.img"), refused(NOTHING.0, NOTHING.1));
    assert_eq!(fetch(&phone, "430hd.img"), refused(NOTHING.0, NOTHING.1));
    server.wait_for_log(&["405.img", "not followed"]);
    server.wait_for_log(&["430hd.img", "more than 5 redirects"]);
    let requests = nginx.requests();
    assert_eq!(
        requests.iter().filter(|it| it.contains("/430hd.img 302")).count(),
        6,
        "{requests:?}"
    );
}

#[test]
fn a_server_that_dies_in_the_middle_leaves_phones_with_an_error_and_nothing_behind() {
    let site = Site::new(URL);
    let image = noise(1_000_000);
    site.put("440hd.img", &image);
    let nginx = site.nginx("limit_rate 100k;");
    let server = site.lab.serve();
    let phone = site.phone();
    phone.enter(|| {
        let mut dying = Phone::ask("440hd.img");
        dying.until(20_000).unwrap();
        drop(nginx);
        assert_eq!(dying.all(), refused(NOTHING.0, NOTHING.1));
    });
    server.wait_for_log(&["cannot be fetched", "broken off"]);
    assert_eq!(site.wait_for_cached(0), [""; 0]);
    // It is there again, and so is the image, once that may be tried.
    let _nginx = site.nginx("");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fetch(&phone, "440hd.img") {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            got => break assert_same(got, &image),
        }
    }
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let site = Site::new(&format!("{URL}upstream_timeout = \"1s\"\n"));
    site.put("440hd.img", &noise(1_000_000));
    let nginx = site.nginx("limit_rate 100k;");
    let server = site.lab.serve();
    site.phone().enter(|| {
        let mut waiting = Phone::ask("440hd.img");
        waiting.until(20_000).unwrap();
        let stop = |signal| kill(Pid::from_raw(nginx.child.id() as i32), signal).unwrap();
        stop(Signal::SIGSTOP);
        let began = Instant::now();
        assert_eq!(waiting.all(), refused(NOTHING.0, NOTHING.1));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        stop(Signal::SIGCONT);
    });
    server.wait_for_log(&["cannot be fetched", "nothing came for 1s"]);
    assert_eq!(site.wait_for_cached(0), [""; 0]);
}

#[test]
fn a_file_that_ends_before_its_length_is_no_file() {
    let site = Site::new(URL);
    site.put("440hd.img", &noise(1_000_000));
    let nginx = site.nginx("limit_rate 100k;");
    let server = site.lab.serve();
    let phone = site.phone();
    phone.enter(|| {
        let mut phone = Phone::ask("440hd.img");
        phone.until(20_000).unwrap();
        let file = fs::OpenOptions::new().write(true).open(site.files.join("440hd.img")).unwrap();
        file.set_len(200_000).unwrap();
        assert_eq!(phone.all(), refused(NOTHING.0, NOTHING.1));
    });
    server.wait_for_log(&["cannot be fetched", "broken off"]);
    assert_eq!(site.wait_for_cached(0), [""; 0]);
    drop(nginx);
}

#[test]
fn a_file_whose_end_cannot_be_told_from_a_broken_connection_is_taken_by_its_digest_only() {
    let good = noise(50_000);
    let site = Site::new(&format!("{URL}images = {{ \"405.img\" = \"{}\" }}\n", digest(&good)));
    let server = site.lab.serve();
    // As HTTP/1.0 has it.
    let listener = site.machine.enter(|| std::net::TcpListener::bind("0.0.0.0:8088").unwrap());
    let body = good.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
            let _ = stream.write_all(&body);
        }
    });
    let phone = site.phone();
    assert_eq!(fetch(&phone, "440hd.img"), refused(NOTHING.0, NOTHING.1));
    server.wait_for_log(&["440hd.img", "does not say how long the file is"]);
    assert_same(fetch(&phone, "405.img"), &good);
}

#[test]
fn a_web_page_is_no_image_and_never_takes_the_place_of_one() {
    let page = "<!DOCTYPE html><title>Log in</title>";
    let wanted = digest(page.as_bytes());
    let site = Site::new(&format!(
        "{URL}upstream_refresh = \"0s\"\nupstream_names = [\"*\"]\nimages = {{ \"430hd.img\" = \"{wanted}\" }}\n"
    ));
    let image = noise(50_000);
    for name in ["440hd.img", "405.img"] {
        site.put(name, &image);
    }
    let nginx = site.nginx("default_type text/html;");
    let server = site.lab.serve();
    let phone = site.phone();
    // What is no text is an image, whatever the server calls it.
    assert_same(fetch(&phone, "440hd.img"), &image);
    site.wait_for_cached(2);
    drop(nginx);
    let _nginx = site.nginx(&format!(
        "location / {{ default_type text/html; return 200 \"{page}\"; }}\n\
         location /405.img {{ return 302 /login; }}\n\
         location /sip100.img {{ return 200 \"  {page}\"; }}\n\
         location /sip200.img {{ default_type text/html; return 200 \"log in first\"; }}\n"
    ));
    for name in ["405.img", "420hd.img", "sip100.img", "sip200.img"] {
        assert_eq!(fetch(&phone, name), refused(NOTHING.0, NOTHING.1), "{name}");
        server.wait_for_log(&["GIVES A WEB PAGE FOR A FIRMWARE IMAGE", name]);
    }
    assert_same(fetch(&phone, "440hd.img"), &image);
    server.wait_for_log(&["served from the cache", "440hd.img", "answers with a web page"]);
    // Where a page is what is wanted.
    assert_same(fetch(&phone, "430hd.img"), page.as_bytes());
    assert_same(fetch(&phone, "menu.html"), page.as_bytes());
}

#[test]
fn a_file_that_comes_wrapped_up_is_refused() {
    let site = Site::new(URL);
    let server = site.lab.serve();
    let listener = site.machine.enter(|| std::net::TcpListener::bind("0.0.0.0:8088").unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            let headers = match request[..length].starts_with(b"GET /440") {
                true => "Content-Length: 5\r\nContent-Encoding: identity\r\nContent-Encoding: br",
                false => "Transfer-Encoding: gzip, chunked",
            };
            let body = if headers.ends_with("br") { "image" } else { "5\r\nimage\r\n0\r\n\r\n" };
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{body}");
        }
    });
    let phone = site.phone();
    for (name, coding) in [("440HD.img", "encoded as br"), ("405.img", "encoded as gzip")] {
        assert_eq!(fetch(&phone, name), refused(NOTHING.0, NOTHING.1), "{name}");
        server.wait_for_log(&["cannot be fetched", coding]);
    }
}

#[test]
fn when_one_server_of_the_pair_is_dead_the_other_one_is_asked() {
    let site = Site::new(&format!("{URL}upstream_timeout = \"2s\"\n"));
    let names = ["405.img", "405hd.img", "420hd.img", "430hd.img", "440hd.img", "sip100.img"];
    for name in names {
        site.put(name, name.as_bytes());
    }
    let _nginx = site.nginx("");
    site.machine.ip("addr del 10.250.1.152/24 dev eth0");
    let _server = site.lab.serve();
    let phone = site.phone();
    // Whichever comes first.
    for name in names {
        assert_same(fetch(&phone, name), name.as_bytes());
    }
}

#[test]
fn a_server_that_hangs_holds_up_nobody_who_wants_something_else() {
    let site = Site::new(&format!("{URL}upstream_timeout = \"4s\"\n"));
    site.lab.image("440hd.img", b"in the root");
    let nginx = site.nginx("");
    let server = site.lab.serve();
    kill(Pid::from_raw(nginx.child.id() as i32), Signal::SIGSTOP).unwrap();
    let phone = site.phone();
    phone.enter(|| {
        let waiting: Vec<_> = (0..64).map(|n| Phone::ask(&format!("{n}.img"))).collect();
        let began = Instant::now();
        for _ in 0..20 {
            assert_same(Phone::ask("440HD.img").all(), b"in the root");
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        for phone in waiting {
            assert_eq!(phone.all(), refused(NOTHING.0, NOTHING.1));
        }
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    });
    server.wait_for_log(&["cannot be fetched", "too many other files"]);
}

#[test]
fn names_of_no_phone_that_a_server_is_slow_with_leave_phones_their_images() {
    let site = Site::new(URL);
    let nginx = site.nginx("location ~ ^/[0-9] { limit_rate 4k; }");
    let names: Vec<_> = (0..16).map(|n| format!("{n}.img")).collect();
    for name in &names {
        site.put(name, &vec![7; 200_000]);
    }
    site.put("440hd.img", b"the image");
    let _server = site.lab.serve();
    site.phone().enter(|| {
        let mut slow: Vec<_> = names.iter().map(|name| Phone::ask(name)).collect();
        for phone in &mut slow {
            phone.until(512).unwrap();
        }
        let began = Instant::now();
        assert_same(Phone::ask("440HD.img").all(), b"the image");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    });
    drop(nginx);
}
