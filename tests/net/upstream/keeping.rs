//! What is kept of the provisioning server's images, and what it has to be.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::full_disk::SmallDisk;

#[test]
fn an_image_is_fetched_once_kept_and_served_when_the_server_is_gone() {
    let site = Site::new(URL);
    let image = noise(3_000_001);
    site.put("440hd.img", &image);
    let nginx = site.nginx("");
    let server = site.lab.serve();
    let phone = site.phone();
    assert_eq!(site.listing().0["cache"]["files"], serde_json::json!([]));
    for name in ["440HD.img", "440hd.img", "/440HD.IMG", "http://10.0.0.11/440hd.img;x.cfg"] {
        assert_same(fetch(&phone, name), &image);
    }
    let requests = nginx.requests();
    assert_eq!(requests.last().unwrap(), "GET /440hd.img 200", "{requests:?}");
    assert_eq!(requests.iter().filter(|it| it.ends_with("200")).count(), 1, "{requests:?}");
    let line = server.wait_for_log(&["fetched from the provisioning server", "bytes=3000001"]);
    assert!(line.contains(&digest(&image)) && line.contains("kept=true"), "{line}");
    let (listing, code) = site.listing();
    let kept = &listing["cache"]["files"][0];
    assert_eq!((&kept["sha256"], &kept["state"]), (&digest(&image).into(), &"verified".into()));
    assert_eq!(code, Some(0), "what can be fetched is not missing: {listing}");

    drop(nginx);
    // Still fresh; after a restart nobody has said so.
    assert_same(fetch(&phone, "440hd.img"), &image);
    server.kill();
    let server = site.lab.serve();
    let began = Instant::now();
    assert_same(fetch(&phone, "440hd.img"), &image);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    server.wait_for_log(&["served from the cache: the provisioning server gives nothing"]);
    assert_eq!(site.count("upstream-from-cache"), 1);
    assert!(site.count("upstream-failed") >= 1);
}

#[test]
fn a_changed_image_is_noticed_and_a_transfer_that_began_with_the_old_one_ends_with_it() {
    let site = Site::new(&format!("{URL}upstream_refresh = 0\n"));
    let (old, new) = (noise(200_000), noise(200_001));
    site.put("440hd.img", &old);
    let nginx = site.nginx("");
    let _server = site.lab.serve();
    let phone = site.phone();
    let slow = phone.enter(|| {
        let mut slow = Phone::ask("440hd.img");
        slow.until(5000).unwrap();
        slow
    });
    site.wait_for_cached(2);
    let cached = phone.enter(|| {
        let mut cached = Phone::ask("440hd.img");
        cached.until(5000).unwrap();
        cached
    });
    assert_eq!(nginx.wait_for(2), ["GET /440hd.img 200", "GET /440hd.img 304"]);
    site.put("440hd.img", &new);
    assert_same(fetch(&phone, "440hd.img"), &new);
    site.wait_for_cached(2);
    assert_same(fetch(&phone, "440hd.img"), &new);
    phone.enter(|| {
        assert_same(slow.all(), &old);
        assert_same(cached.all(), &old);
    });
    assert_eq!(
        nginx.wait_for(4)[2..],
        ["GET /440hd.img 200".to_owned(), "GET /440hd.img 304".to_owned()]
    );
    let (listing, _) = site.listing();
    assert_eq!(listing["cache"]["files"][0]["sha256"], digest(&new));
    assert_eq!(site.cached().len(), 2, "nothing is left of the old one: {:?}", site.cached());
    assert_eq!(site.count("upstream-unchanged"), 2);
}

#[test]
fn sigkill_in_the_middle_of_a_fetch_leaves_no_half_file() {
    let site = Site::new(URL);
    let image = noise(1_000_000);
    site.put("440hd.img", &image);
    let nginx = site.nginx("limit_rate 200k;");
    let server = site.lab.serve();
    let phone = site.phone();
    phone.enter(|| Phone::ask("440hd.img").until(100_000)).unwrap();
    server.kill();
    let left = site.cached();
    assert!(left.len() == 1 && left[0].starts_with(".new-"), "{left:?}");
    drop(nginx);
    let _server = site.lab.serve();
    assert_eq!(site.cached(), [""; 0]);
    assert_eq!(fetch(&phone, "440hd.img"), refused(NOTHING.0, NOTHING.1));
    drop(_server);
    let nginx = site.nginx("");
    let _server = site.lab.serve();
    assert_same(fetch(&phone, "440hd.img"), &image);
    assert_eq!(nginx.wait_for(1), ["GET /440hd.img 200"]);
}

#[test]
fn a_cached_file_that_was_damaged_is_never_served() {
    let site = Site::new(URL);
    let image = noise(100_000);
    site.put("440hd.img", &image);
    let nginx = site.nginx("");
    let phone = site.phone();
    for damage in [
        (|file: &Path| fs::write(file, vec![0; 100_000]).unwrap()) as fn(&Path),
        |file| fs::OpenOptions::new().write(true).open(file).unwrap().set_len(50_000).unwrap(),
        |file| fs::remove_file(file).unwrap(),
    ] {
        let server = site.lab.serve();
        assert_same(fetch(&phone, "440hd.img"), &image);
        let names = site.wait_for_cached(2);
        let content = names.iter().find(|name| name.ends_with(".fetched")).unwrap();
        damage(&site.cache().join(content));
        // Whether it is noticed under the running server or by the next one.
        assert_same(fetch(&phone, "440hd.img"), &image);
        site.wait_for_cached(2);
        drop(server);
    }
    assert_eq!(nginx.requests().iter().filter(|it| it.ends_with("200")).count(), 4);
}

#[test]
fn an_image_that_is_not_what_its_digest_says_never_arrives_whole() {
    let (good, bad) = (noise(300_000), noise(300_001));
    let site = Site::new(&format!("{URL}images = {{ \"440HD.img\" = \"{}\" }}\n", digest(&good)));
    site.lab.image("SHA256SUMS", format!("{}  405.img\n", digest(&good)).as_bytes());
    for name in ["440hd.img", "405.img"] {
        site.put(name, &bad);
    }
    // Slowly: phones have all but the end of it when the digest is known.
    let nginx = site.nginx("limit_rate 200k;");
    let server = site.lab.serve();
    let phone = site.phone();
    let damaged = refused(0, "the file is damaged: its digest is not the one stated");
    for name in ["440HD.img", "405.img"] {
        for _ in 0..2 {
            assert_eq!(fetch(&phone, name), damaged, "{name}");
        }
        let file = name.to_lowercase();
        let line = server
            .wait_for_log(&["FROM THE PROVISIONING SERVER IS NOT WHAT ITS DIGEST SAYS", &file]);
        assert!(line.contains(&digest(&good)) && line.contains(&digest(&bad)), "{line}");
    }
    assert_eq!(site.wait_for_cached(0), [""; 0]);
    let before = nginx.requests().len();
    // Put right, and the digest with it: that one is asked for anew at once.
    site.put("405.img", &noise(5000));
    site.lab.image("SHA256SUMS", format!("{}  405.img\n", digest(&noise(5000))).as_bytes());
    assert_same(fetch(&phone, "405.img"), &noise(5000));
    assert!(nginx.requests().len() > before);
    // What is just what it should be is not asked for again, whatever the server has by then.
    site.put("405.img", &bad);
    site.wait_for_cached(2);
    drop(server);
    let _server = site.lab.serve();
    assert_same(fetch(&phone, "405.img"), &noise(5000));
}

#[test]
fn files_and_the_cache_are_only_as_large_as_they_may_be() {
    let site = Site::new(&format!(
        "{URL}upstream_file_size = \"600 KiB\"\ncache_size = \"1 MiB\"\nupstream_names = \"*.bin\"\n"
    ));
    for (name, size) in
        [("a.bin", 500_000), ("b.bin", 400_000), ("c.bin", 300_000), ("huge.bin", 700_000)]
    {
        site.put(name, &noise(size));
    }
    let nginx = site.nginx("");
    let server = site.lab.serve();
    let phone = site.phone();
    assert_same(fetch(&phone, "a.bin"), &noise(500_000));
    site.wait_for_cached(2);
    assert_same(fetch(&phone, "b.bin"), &noise(400_000));
    site.wait_for_cached(4);
    assert_eq!(fetch(&phone, "huge.bin"), refused(NOTHING.0, NOTHING.1));
    server.wait_for_log(&["huge.bin", "more than the 614400 bytes"]);
    // In use again: the other one has to make room.
    assert_same(fetch(&phone, "a.bin"), &noise(500_000));
    assert_same(fetch(&phone, "c.bin"), &noise(300_000));
    server.wait_for_log(&["removed from the cache", "b.bin"]);
    assert_eq!(site.wait_for_cached(4).join(" ").matches("b.bin").count(), 0);
    let kept: u64 =
        fs::read_dir(site.cache()).unwrap().map(|it| it.unwrap().metadata().unwrap().size()).sum();
    assert!(kept < 1 << 20, "{kept}");
    drop(nginx);
    assert_same(fetch(&phone, "a.bin"), &noise(500_000));
}

#[test]
fn a_disk_without_room_to_spare_is_not_written_to_and_phones_are_served_all_the_same() {
    // More than any disk has.
    let site = Site::new(&format!("{URL}cache_reserve = \"16000 GiB\"\n"));
    let image = noise(3_000_000);
    site.put("440hd.img", &image);
    let _nginx = site.nginx("");
    let server = site.lab.serve();
    let phone = site.phone();
    assert_same(fetch(&phone, "440hd.img"), &image);
    server.wait_for_log(&["not kept", "bytes to spare"]);
    assert_eq!(site.cached(), [""; 0]);
    let line = server.wait_for_log(&["fetched from the provisioning server"]);
    assert!(line.contains("kept=false"), "{line}");
}

#[test]
fn when_the_disk_has_no_more_room_in_the_middle_of_an_image_it_goes_on_in_memory() {
    let site = Site::new("");
    let disk = SmallDisk::new(&site.lab, "8m");
    let config = fs::read_to_string(site.lab.config()).unwrap();
    let keys = format!(
        "{URL}cache = \"{}\"\ncache_reserve = \"2 MiB\"\n",
        disk.path().join("cache").display()
    );
    let root = "root = \"firmware\"";
    fs::write(site.lab.config(), config.replace(root, &format!("{root}\n{keys}"))).unwrap();
    let image = noise(12_000_000);
    site.put("440hd.img", &image);
    // How long it will be is not told: nothing says beforehand that there is no room.
    let _nginx = site.nginx("ssi on;\nssi_types *;");
    let server = site.lab.serve();
    assert_same(fetch(&site.phone(), "440hd.img"), &image);
    server.wait_for_log(&["not kept", "440hd.img", "bytes to spare"]);
    let left = fs::read_dir(disk.path().join("cache")).unwrap().count();
    assert_eq!(left, 0, "what there was of it is gone");
}

#[test]
fn whenever_it_is_killed_only_whole_images_are_served_afterwards() {
    let site = Site::new(&format!("{URL}upstream_refresh = 0\n"));
    let phone = site.phone();
    let mut versions = Vec::new();
    for round in 0..12_u64 {
        let image = noise(2_000_000 + usize::try_from(round).unwrap());
        versions.push(image.clone());
        site.put("440hd.img", &image);
        {
            let _nginx = site.nginx("");
            let server = site.lab.serve();
            // From the first octets to well after the last ones are on the disk.
            phone.enter(|| {
                Phone::ask("440hd.img").until(1).unwrap();
                std::thread::sleep(Duration::from_millis(round * 12));
            });
            server.kill();
        }
        let _server = site.lab.serve();
        let left = site.cached();
        assert!(
            !left.iter().any(|name| name.starts_with(".new-")) && left.len().is_multiple_of(2),
            "{left:?}"
        );
        match fetch(&phone, "440hd.img") {
            Ok(got) => assert!(versions.contains(&got), "round {round}: {} octets", got.len()),
            refusal => assert_eq!(refusal, refused(NOTHING.0, NOTHING.1)),
        }
    }
}
