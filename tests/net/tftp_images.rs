//! Images are checked before they are sent: by digests in the configuration, or in a list in the root.

use std::process::Command;

use crate::lab::{Lab, Vlan, noise, output, repository, run, said};
use crate::tftp_settings::exchange;

const REFUSED: &[u8] = b"\0\x05\0\0the file is damaged: its digest is not the one stated\0";

fn lab(keys: &str) -> Lab {
    let text = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    Lab::with_config(&text.replace("root = \"firmware\"", &format!("{keys}\nroot = \"firmware\"")))
}

/// As `sha256sum` says.
fn digest(content: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    run(Command::new("sha256sum").arg(file.path())).split(' ').next().unwrap().to_owned()
}

fn request(name: &str) -> Vec<u8> {
    format!("\0\x01{name}\0octet\0").into_bytes()
}

#[test]
fn an_image_is_served_while_it_is_what_its_digest_says() {
    let (good, bad) = (noise(3_000_000), noise(3_000_001));
    let lab = lab(&format!("images = {{ \"440HD.img\" = \"{}\" }}", digest(&good)));
    lab.image("440hd.img", &bad);
    lab.image("405.img", b"nothing is said of this one");
    let server = lab.serve();
    // Before any phone asks.
    let line = server.wait_for_log(&["A FIRMWARE IMAGE IS NOT WHAT ITS DIGEST SAYS", "440HD.img"]);
    assert!(line.contains(&digest(&good)) && line.contains(&digest(&bad)), "{line}");
    let client = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    for name in ["440HD.img", "/440hd.IMG"] {
        assert_eq!(exchange(&client, &[&request(name)]), [REFUSED], "{name}");
    }
    assert_eq!(exchange(&client, &[&request("405.img")])[0][..4], *b"\0\x03\0\x01");
    // Put right under the running server.
    lab.image("440hd.img", &good);
    assert_eq!(exchange(&client, &[&request("440HD.img")])[0][4..], good[..512]);
}

#[test]
fn a_list_of_sums_in_the_root_says_the_same_and_may_change() {
    let lab = lab("");
    let (one, two) = (noise(1000), noise(1001));
    lab.image("440hd.img", &one);
    lab.image("SHA256SUMS", format!("{}  440hd.img\n", digest(&one)).as_bytes());
    let _server = lab.serve();
    let client = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    assert_eq!(exchange(&client, &[&request("440HD.img")])[0][4..], one[..512]);
    lab.image("440hd.img", &two);
    assert_eq!(exchange(&client, &[&request("440HD.img")]), [REFUSED]);
    lab.image("SHA256SUMS", format!("{} *./440HD.img\n", digest(&two)).as_bytes());
    assert_eq!(exchange(&client, &[&request("440HD.img")])[0][4..], two[..512]);
}

#[test]
fn check_warns_of_images_that_no_phone_should_be_sent() {
    let lab = lab(&format!("images = {{ \"430hd.img\" = \"{}\" }}", digest(b"another")));
    for name in ["405.img", "405hd.img", "sip100.img", "sip200.img"] {
        lab.image(name, b"an image");
    }
    lab.image("420hd.img", b"");
    lab.image("430hd.img", b"one");
    lab.image("440hd.img", &vec![0; 65_535 * 512]);
    lab.image("SHA256SUMS", format!("{}  405.img\n", digest(b"an image")).as_bytes());
    let mut check = Command::new(env!("CARGO_BIN_EXE_offhook"));
    let printed = said(&output(check.args(["check", "--config"]).arg(lab.config())));
    for told in [
        "`420hd.img` is empty",
        "`440hd.img` has 33553920 bytes: more than 65535 blocks of 512",
        "`430hd.img` is not the image it should be",
        "0 errors, 3 warnings",
    ] {
        assert!(printed.contains(told), "{told}:\n{printed}");
    }
}

#[test]
fn firmware_list_shows_every_image_and_whose_it_is() {
    let lab = lab("");
    let image = noise(70_000);
    lab.image("440HD.IMG", &image);
    lab.image("405.img", b"damaged");
    lab.image("notes.txt", b"a note");
    let sums = format!("{}  440hd.img\n{}  405.img\n", digest(&image), digest(b"405"));
    lab.image("SHA256SUMS", sums.as_bytes());
    let list = |format: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
        command.args(["firmware", "list", "--format", format, "--config"]).arg(lab.config());
        output(&mut command)
    };
    let json = list("json");
    assert_eq!(json.status.code(), Some(1));
    let listing: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let of = |name: &str| {
        let mut images = listing["images"].as_array().unwrap().iter();
        images.find(|image| image["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    };
    let found = of("440HD.IMG");
    assert_eq!((&found["state"], &found["size"]), (&"verified".into(), &70_000.into()));
    assert_eq!(found["sha256"], digest(&image));
    assert_eq!(found["families"], serde_json::json!(["440HD"]));
    assert_eq!(of("405.img")["state"], "damaged");
    assert_eq!(
        (&of("notes.txt")["state"], &of("sip100.img")["state"]),
        (&"there".into(), &"missing".into())
    );
    let text = said(&list("text"));
    for told in ["440HD.IMG", "DAMAGED", "MISSING", &digest(&image)] {
        assert!(text.contains(told), "{told}:\n{text}");
    }
}
