//! The clients an administrator has at hand. That one of them is missing is a failure, not a reason to pass.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

const SIZES: [usize; 5] = [0, 511, 512, 513, 20 << 20];

/// Fetches a file of each size with `command`, which is to write it to the path given.
async fn fetch_all(command: fn(&Served, name: &str, to: &Path) -> Command) {
    let server = Served::new();
    let out = TempDir::new().unwrap();
    for size in SIZES {
        let name = format!("File{size}.img");
        server.put(&name, &bytes(size));
        let to = out.path().join(&name);
        let mut command = command(&server, &name, &to);
        command.current_dir(out.path()).stdin(Stdio::null());
        // The server's tasks go on while this one waits.
        let output = tokio::task::block_in_place(|| command.output())
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {output:?}");
        let file = fs::read(&to).unwrap_or_else(|error| panic!("{command:?}: {error}: {output:?}"));
        assert!(file == bytes(size), "{command:?} got {} bytes of {size}", file.len());
    }
}

/// `timeout` bounds it; the client's own patience may be long.
fn bounded(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["60", program]);
    command
}

fn ip_and_port(server: &Served) -> [String; 2] {
    [server.address.ip().to_string(), server.address.port().to_string()]
}

#[tokio::test(flavor = "multi_thread")]
async fn tftp_hpa_fetches_every_size() {
    fetch_all(|server, name, to| {
        let mut command = bounded("tftp");
        command.args(["-m", "octet"]).args(ip_and_port(server)).args(["-c", "get", name]).arg(to);
        command
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_fetches_every_size() {
    fetch_all(|server, name, to| {
        let mut command = bounded("curl");
        let url = format!("tftp://{}/{}", server.address, name.to_lowercase());
        command.args(["--silent", "--show-error", &url, "--output"]).arg(to);
        command
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_with_large_blocks_fetches_every_size() {
    fetch_all(|server, name, to| {
        let mut command = bounded("curl");
        let url = format!("tftp://{}/{name}", server.address);
        command
            .args(["--silent", "--show-error", "--tftp-blksize", "1428", &url, "--output"])
            .arg(to);
        command
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn atftp_fetches_every_size() {
    fetch_all(|server, name, to| {
        let mut command = bounded("atftp");
        command.args(["--option", "blksize 1428", "-g", "-r", name, "-l"]).arg(to);
        command.args(ip_and_port(server));
        command
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn atftp_with_windows_fetches_every_size() {
    fetch_all(|server, name, to| {
        let mut command = bounded("atftp");
        command.args(["--option", "blksize 1428", "--option", "windowsize 16"]);
        command.args(["-g", "-r", name, "-l"]).arg(to).args(ip_and_port(server));
        command
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn busybox_fetches_every_size() {
    fetch_all(|server, name, to| {
        let mut command = bounded("busybox");
        command.args(["tftp", "-g", "-b", "1468", "-r", name, "-l"]).arg(to);
        command.args(ip_and_port(server));
        command
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tftp_hpa_converts_netascii_back() {
    let server = Served::new();
    let text: Vec<u8> = b"a line\nand a \r alone\r\n".repeat(100);
    server.put("text", &text);
    let out = TempDir::new().unwrap();
    let to = out.path().join("text");
    let mut command = bounded("tftp");
    command
        .args(["-m", "netascii"])
        .args(ip_and_port(&server))
        .args(["-c", "get", "text"])
        .arg(&to);
    let output = tokio::task::block_in_place(|| command.output()).expect("tftp-hpa is installed");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(to).unwrap(), text);
}
