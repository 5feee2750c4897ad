//! tftp-hpa, curl and atftp fetch files byte for byte, and nothing but the files meant for them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::lab::{Lab, Netns, Server, Vlan, noise, output, run, said};
use crate::tftp_settings::exchange;

const SIZES: [usize; 5] = [0, 511, 512, 513, 20_000_000];

fn office() -> (Lab, Server, Netns) {
    let lab = Lab::new();
    for size in SIZES {
        lab.image(&format!("{size}.img"), &noise(size));
    }
    let server = lab.serve();
    let client = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    (lab, server, client)
}

fn assert_fetched(path: &Path, size: usize, by: &str) {
    let got = fs::read(path).unwrap_or_else(|error| panic!("{by} fetched no {size}: {error}"));
    assert_eq!(got.len(), size, "{by}");
    assert!(got == noise(size), "{by} got other bytes for {size}");
}

#[test]
fn tftp_hpa_curl_and_atftp_get_every_size_byte_for_byte() {
    let (lab, _server, client) = office();
    let out = lab.dir.path().join("out");
    fs::create_dir(&out).unwrap();
    for size in SIZES {
        let name = format!("{size}.img");
        let file = out.join(format!("hpa-{size}"));
        run(client
            .command("tftp")
            .args(["-m", "octet", "10.0.0.11", "-c", "get", &name])
            .arg(&file));
        assert_fetched(&file, size, "tftp-hpa");

        for blksize in ["512", "1428"] {
            let file = out.join(format!("curl-{blksize}-{size}"));
            let url = format!("tftp://10.0.0.11/{name}");
            run(client
                .command("curl")
                .args(["-sS", "--tftp-blksize", blksize, "-o"])
                .arg(&file)
                .arg(&url));
            // curl makes no file of nothing.
            if size > 0 {
                assert_fetched(&file, size, "curl");
            }
        }

        let file = out.join(format!("atftp-{size}"));
        run(client
            .command("atftp")
            .args(["--option", "blksize 1428", "--option", "tsize 0", "--option", "timeout 3"])
            .args(["-g", "-r", &name, "-l"])
            .arg(&file)
            .arg("10.0.0.11"));
        assert_fetched(&file, size, "atftp");
    }
}

#[test]
fn names_are_found_however_a_phone_spells_them() {
    let (lab, _server, client) = office();
    lab.image("440hd.img", b"an image");
    for name in ["440hd.img", "440HD.img", "440HD.IMG", "/440hd.img", "./440hd.img", "\\440HD.img"]
    {
        let file = lab.dir.path().join("spelled");
        let _ = fs::remove_file(&file);
        run(client
            .command("tftp")
            .args(["-m", "octet", "10.0.0.11", "-c", "get", name])
            .arg(&file));
        assert_eq!(fs::read(&file).unwrap(), b"an image", "{name}");
    }
}

#[test]
fn netascii_ends_lines_as_the_network_does() {
    let (lab, _server, client) = office();
    lab.image("phone.cfg", b"one\ntwo\r\n");
    let file = lab.dir.path().join("text");
    // curl writes what comes over the wire as it is.
    run(client
        .command("curl")
        .args(["-sS", "-B", "-o"])
        .arg(&file)
        .arg("tftp://10.0.0.11/phone.cfg"));
    assert_eq!(fs::read(&file).unwrap(), b"one\r\ntwo\r\0\r\n");
}

#[test]
fn there_is_no_way_out_of_the_root_and_no_way_to_write() {
    let (lab, server, client) = office();
    let secret = lab.dir.path().join("secret");
    fs::write(&secret, b"secret").unwrap();
    let root = lab.dir.path().join("firmware");
    symlink("../secret", root.join("relative")).unwrap();
    symlink(&secret, root.join("absolute")).unwrap();
    symlink("..", root.join("up")).unwrap();
    fs::create_dir(root.join("folder")).unwrap();
    let whole = secret.to_str().unwrap();
    for name in [
        "../secret",
        "/../secret",
        "..\\secret",
        "folder/../../secret",
        "./../secret",
        "....//secret",
        "%2e%2e/secret",
        whole,
        "relative",
        "absolute",
        "up/secret",
        "folder",
        "/etc/passwd",
        "/",
        ".",
        "..",
    ] {
        let file = lab.dir.path().join("stolen");
        let _ = fs::remove_file(&file);
        let fetch = output(
            client.command("tftp").args(["-m", "octet", "10.0.0.11", "-c", "get", name]).arg(&file),
        );
        let got = fs::read(&file).unwrap_or_default();
        assert!(got.is_empty(), "{name} gave {got:?}");
        assert!(said(&fetch).contains("Error code"), "{name}: {}", said(&fetch));
    }
    let put = output(
        client
            .command("tftp")
            .args(["-m", "octet", "10.0.0.11", "-c", "put"])
            .args([whole, "new.img"]),
    );
    assert!(said(&put).contains("Error code 2"), "{}", said(&put));
    assert!(!root.join("new.img").exists());
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_phone_in_the_voice_vlan_reaches_the_server_through_the_router() {
    let (lab, _server, _client) = office();
    let phone = lab.machine(Vlan::Voice, "10.250.1.30/24", "10.250.1.1");
    let file = lab.dir.path().join("routed");
    run(phone
        .command("tftp")
        .args(["-m", "octet", "10.0.0.11", "-c", "get", "513.img"])
        .arg(&file));
    assert_fetched(&file, 513, "tftp-hpa");
}

#[test]
fn the_file_of_option_67_answers_to_what_phones_make_of_its_name() {
    let (lab, _server, client) = office();
    lab.image("440hd.img", b"an image");
    for name in [
        "firmware/440HD.img",
        "440HD.img;00908f123456.cfg",
        "tftp://10.0.0.11/440HD.img",
        "tftp://10.0.0.11/tftpboot/440hd.img;x.cfg",
        "C:\\tftpboot\\440HD.IMG",
        "//440hd.img",
    ] {
        let request = format!("\0\x01{name}\0octet\0");
        let answers = exchange(&client, &[request.as_bytes()]);
        assert_eq!(answers, [b"\0\x03\0\x01an image"], "{name}");
    }
}

#[test]
fn the_log_says_what_a_phone_should_have_asked_for() {
    let (lab, server, client) = office();
    lab.image("440hd.img", b"an image");
    let ask = |client: &Netns, name: &str| {
        let get = ["-m", "octet", "10.0.0.11", "-c", "get", name, "/dev/null"];
        assert!(said(&output(client.command("tftp").args(get))).contains("Error code 1"), "{name}");
    };
    ask(&client, "440HD_2.2.12.img");
    server.wait_for_log(&[
        "440HD_2.2.12.img",
        "family 440HD, by the name",
        "440hd.img, which is there",
    ]);
    ask(&client, "405HD.rom");
    server.wait_for_log(&["405HD.rom", "405hd.img, which is not there either"]);
    ask(&client, "00908f123456.cfg");
    server.wait_for_log(&["00908f123456.cfg", "AudioCodes", "http://provision.lab.voip:8088"]);
    // One that has a lease is known by that, whatever it asks for.
    let phone = lab.client(Vlan::Native);
    let script = lab.dir.path().join("script");
    fs::write(&script, "#!/bin/sh\n[ \"$1\" = bound ] && ip addr add $ip/24 dev eth0\nexit 0\n")
        .unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    run(phone
        .command("udhcpc")
        .args(["-i", "eth0", "-q", "-n", "-f", "-V", "420HD", "-s"])
        .arg(&script));
    ask(&phone, "recovery.bin");
    server.wait_for_log(&["recovery.bin", "family 420HD, by its lease", "420hd.img"]);
}

#[test]
fn the_files_of_option_67_are_those_of_the_configuration_in_force() {
    let (lab, server, client) = office();
    fs::create_dir(lab.dir.path().join("firmware/doors")).unwrap();
    lab.image("doors/door.img", b"an image");
    let ask = || exchange(&client, &[b"\0\x01tftpboot/door.img\0octet\0"]).remove(0);
    assert_eq!(ask()[..4], *b"\0\x05\0\x01");
    let class = "[[class]]\nname = \"Door\"\noui = \"00:00:5e\"\nfirmware = \"doors/door.img\"\n";
    let text = fs::read_to_string(lab.config()).unwrap() + class;
    fs::write(lab.config(), text).unwrap();
    nix::sys::signal::kill(server.pid(), nix::sys::signal::Signal::SIGHUP).unwrap();
    server.wait_for_log(&["configuration taken over"]);
    // TFTP is told right after that line.
    let deadline = std::time::Instant::now() + crate::lab::PATIENCE;
    while ask() != b"\0\x03\0\x01an image" {
        assert!(std::time::Instant::now() < deadline, "{}", server.log());
    }
}
