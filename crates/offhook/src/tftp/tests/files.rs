//! Names on a real tree with links that lead out, and the sharing of what is read.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use offhook_tftp::{Image, NameError, OpenError, Tree, lookup};
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::library::{Library, LibraryImage};
use super::super::root::{OpenedFile, Root};
use super::{Client, Served, data};

const INSIDE: &[u8] = b"inside";

/// ```text
/// secret.img  outside/secret.img
/// root/a.img  root/sub/b.img  root/sub/deep/c.img  and links of every kind
/// ```
fn tree() -> (TempDir, Root) {
    let directory = TempDir::new().unwrap();
    let base = directory.path();
    let root = base.join("root");
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    fs::create_dir(base.join("outside")).unwrap();
    for secret in ["secret.img", "outside/secret.img"] {
        fs::write(base.join(secret), b"secret").unwrap();
    }
    for file in ["a.img", "sub/b.img", "sub/deep/c.img"] {
        fs::write(root.join(file), INSIDE).unwrap();
    }
    for (link, target) in [
        ("out.img", Path::new("../secret.img")),
        ("out-absolute.img", &base.join("secret.img")),
        ("out-dir", Path::new("../outside")),
        ("out-dir-absolute", &base.join("outside")),
        ("sub/up", Path::new("../..")),
        ("passwd", Path::new("/etc/passwd")),
        ("proc", Path::new("/proc/self/root")),
        ("zero", Path::new("/dev/zero")),
        ("in.img", Path::new("sub/b.img")),
        ("sub/in-up.img", Path::new("../a.img")),
        ("in-absolute.img", &root.join("sub/b.img")),
        ("in-dir", Path::new("sub/deep")),
        ("in-dir-absolute", &root.join("sub/deep")),
        ("dangling", Path::new("nothing")),
        ("loop", Path::new("loop")),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    mkfifo(&root.join("fifo"), Mode::S_IRWXU).unwrap();
    let root = Root::open(&root).unwrap();
    (directory, root)
}

fn inode(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}

#[test]
fn links_lead_to_files_inside_and_never_outside() {
    let (directory, root) = tree();
    let table: &[(&str, Result<&str, NameError>)] = &[
        ("a.img", Ok("a.img")),
        ("/A.IMG", Ok("a.img")),
        ("sub\\deep\\C.img", Ok("sub/deep/c.img")),
        ("in.img", Ok("sub/b.img")),
        ("sub/in-up.img", Ok("a.img")),
        ("in-absolute.img", Ok("sub/b.img")),
        ("IN-ABSOLUTE.img", Ok("sub/b.img")),
        ("in-dir/c.img", Ok("sub/deep/c.img")),
        ("in-dir-absolute/c.img", Ok("sub/deep/c.img")),
        ("IN-DIR-absolute/C.img", Ok("sub/deep/c.img")),
        ("out.img", Err(NameError::Outside)),
        ("OUT.img", Err(NameError::Outside)),
        ("out-absolute.img", Err(NameError::Outside)),
        ("out-dir/secret.img", Err(NameError::Outside)),
        ("out-dir-absolute/secret.img", Err(NameError::Outside)),
        ("sub/up/secret.img", Err(NameError::Outside)),
        ("passwd", Err(NameError::Outside)),
        ("proc/etc/passwd", Err(NameError::Outside)),
        ("zero", Err(NameError::Outside)),
        ("../secret.img", Err(NameError::Outside)),
        ("fifo", Err(NameError::Unreadable)),
        ("sub", Err(NameError::Unreadable)),
        ("in-dir", Err(NameError::Unreadable)),
        ("dangling", Err(NameError::NotFound)),
        ("loop", Err(NameError::NotFound)),
        ("nothing", Err(NameError::NotFound)),
        ("a.img/x", Err(NameError::NotFound)),
    ];
    for (name, expected) in table {
        let found = lookup(name.as_bytes(), &root).map(|found| inode(&found.file.file));
        let expected = expected
            .map(|path| inode(&File::open(directory.path().join("root").join(path)).unwrap()));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn without_openat2_the_same_files_are_found_and_refused() {
    let (directory, root) = tree();
    let by_hand = |name: &str| {
        root.resolve_by_hand(Path::new(name), OFlag::O_RDONLY | OFlag::O_NONBLOCK)
            .map(|fd| inode(&File::from(fd)))
    };
    for (name, path) in [
        ("a.img", "a.img"),
        ("in.img", "sub/b.img"),
        ("in-absolute.img", "sub/b.img"),
        ("in-dir-absolute/c.img", "sub/deep/c.img"),
        (".", "."),
    ] {
        let expected = inode(&File::open(directory.path().join("root").join(path)).unwrap());
        assert_eq!(by_hand(name), Ok(expected), "{name}");
    }
    for name in ["out.img", "out-absolute.img", "out-dir/secret.img", "sub/up/secret.img", "zero"] {
        assert_eq!(by_hand(name), Err(OpenError::Outside), "{name}");
    }
    assert_eq!(by_hand("dangling"), Err(OpenError::NotFound));
}

#[test]
fn listing_stays_inside_too() {
    let (_directory, root) = tree();
    let list = |path: &str| {
        let mut names = Vec::new();
        root.list(path.as_bytes(), &mut |name| {
            names.push(String::from_utf8_lossy(name).into_owned())
        });
        names.sort();
        names
    };
    assert_eq!(list("sub"), ["b.img", "deep", "in-up.img", "up"]);
    assert_eq!(list("in-dir-absolute"), ["c.img"]);
    assert!(list("").contains(&"a.img".to_owned()));
    for path in ["out-dir", "out-dir-absolute", "sub/up", "a.img", "fifo", "nothing"] {
        assert!(list(path).is_empty(), "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_name_opens_a_file_outside_of_the_root(
        names in proptest::collection::vec(
            proptest::collection::vec(
                prop_oneof![
                    4 => proptest::sample::select(vec![
                        "a.img", "sub", "deep", "c.img", "out.img", "out-absolute.img", "out-dir",
                        "out-dir-absolute", "up", "secret.img", "SECRET.IMG", "passwd", "etc",
                        "proc", "zero", "in-dir", "in-dir-absolute", "root", "OUT-DIR", "UP",
                    ]).prop_map(|name| name.as_bytes().to_vec()),
                    1 => proptest::sample::select(vec!["..", ".", "", "%2e%2e", "...", "~", "*", "$HOME"])
                        .prop_map(|name| name.as_bytes().to_vec()),
                    1 => proptest::collection::vec(any::<u8>(), 0..6),
                ],
                1..6),
            40),
        separators in proptest::collection::vec(
            proptest::sample::select(vec!["/", "\\", "//", "/./", "%2f"]), 6),
        leading in proptest::sample::select(vec!["", "/", "\\", "./", ".\\", "//"]),
    ) {
        let (directory, root) = tree();
        for parts in names {
            let mut name = leading.as_bytes().to_vec();
            for (part, separator) in parts.iter().zip(&separators) {
                name.extend_from_slice(part);
                name.extend_from_slice(separator.as_bytes());
            }
            for name in [&name[..], &name[..name.len() - 1]] {
                if let Ok(found) = lookup(name, &root) {
                    let content = fs::read(format!("/proc/self/fd/{}",
                        std::os::fd::AsRawFd::as_raw_fd(&found.file.file))).unwrap();
                    prop_assert_eq!(&content[..], INSIDE, "{}", name.escape_ascii());
                }
            }
        }
        drop(directory);
    }
}

fn opened(directory: &TempDir, name: &str) -> OpenedFile {
    Root::open(directory.path()).unwrap().open(name.as_bytes()).unwrap()
}

#[tokio::test]
async fn an_image_is_read_once_for_all_and_again_when_it_changed() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("f"), b"old").unwrap();
    let library = Library::default();
    let image = async || library.image(opened(&directory, "f")).await.unwrap();
    let (LibraryImage::Shared(one), LibraryImage::Shared(two)) = (image().await, image().await)
    else {
        panic!("a small file is shared");
    };
    assert!(Arc::ptr_eq(&one, &two));
    fs::write(directory.path().join("f"), b"newer").unwrap();
    let new = image().await;
    assert_eq!(new.size(), Some(5));
    let mut buffer = [0; 8];
    assert_eq!(new.read_at(0, &mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"newer");
    assert_eq!(LibraryImage::Shared(one).size(), Some(3));
}

/// Reads an image as a transfer does: what is not here yet is waited for.
async fn whole(image: &LibraryImage) -> Result<Vec<u8>, std::io::ErrorKind> {
    let mut bytes = vec![0; image.size().unwrap() as usize];
    let mut at = 0;
    while at < bytes.len() {
        match image.read_at(at as u64, &mut bytes[at..]) {
            Ok(count) => at += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                tokio::task::yield_now().await;
            }
            Err(error) => return Err(error.kind()),
        }
    }
    assert_eq!(image.read_at(at as u64, &mut [0]).unwrap(), 0);
    Ok(bytes)
}

#[tokio::test]
async fn an_image_that_is_being_read_is_whole_in_the_end_for_everybody() {
    let directory = TempDir::new().unwrap();
    for size in [0, 1, 256 << 10, (256 << 10) + 1, 5_000_000] {
        fs::write(directory.path().join("f"), super::bytes(size)).unwrap();
        let library = Library::default();
        let image = async || library.image(opened(&directory, "f")).await.unwrap();
        let (one, two) = (image().await, image().await);
        // Whoever writes into it in the same place comes too late.
        assert!(whole(&one).await.unwrap() == super::bytes(size), "{size}");
        fs::write(directory.path().join("f"), b"").unwrap();
        assert!(whole(&two).await.unwrap() == super::bytes(size), "{size}");
    }
}

#[tokio::test]
async fn a_large_file_is_streamed_and_never_mixed_with_a_newer_one() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("f");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"start").unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let image = Library::default().image(opened(&directory, "f")).await.unwrap();
    assert!(matches!(image, LibraryImage::Streamed(_)));
    assert_eq!(image.size(), Some((64 << 20) + 1));
    let mut buffer = [0; 5];
    assert_eq!(image.read_at(0, &mut buffer).unwrap(), 5);
    assert_eq!(&buffer, b"start");
    // A new name for it changes nothing; a new byte in it does.
    fs::rename(&path, directory.path().join("g")).unwrap();
    image.read_at(0, &mut buffer).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    file.write_all(b"!").unwrap();
    assert!(image.read_at(0, &mut buffer).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_just_being_copied_is_waited_for() {
    let server = Served::new();
    // Between the two writes more time may have passed than a copy pauses.
    for attempt in 0..20 {
        let (name, began) = (format!("{attempt}.img"), Instant::now());
        server.put(&name, b"one");
        let client = Client::new();
        client.send(server.address, format!("\0\x01{name}\0octet\0").as_bytes());
        client.0.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
        let is_heard = client.0.recv_from(&mut [0; 600]).is_ok();
        server.put(&name, b"one and two");
        if began.elapsed() > Duration::from_millis(80) {
            continue;
        }
        assert!(!is_heard, "a part of it was sent");
        client.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(client.receive().0, data(1, b"one and two"));
        return;
    }
    panic!("this machine is too slow for any copy");
}
