//! The cache over restarts, crashes and limits.

use tempfile::TempDir;

use super::*;

const MIB: u64 = 1 << 20;

fn open(directory: &TempDir, limit: u64) -> Arc<Cache> {
    let cache = Cache::read(directory.path(), limit, 0).unwrap();
    cache.set_limits(limit, 0);
    Arc::new(cache)
}

fn keep(cache: &Arc<Cache>, key: &str, content: &[u8]) -> io::Result<()> {
    let key = key.as_bytes();
    let room = cache.room(content.len() as u64, key).map_err(io::Error::other)?;
    let mut file = cache.create()?;
    file.file.write_all(content)?;
    let digest = Sha256(sha2::Sha256::digest(content).into());
    cache.keep(key, file, &Origin::default(), (content.len() as u64, digest), room)
}

fn content(cache: &Cache, key: &str) -> Option<Vec<u8>> {
    let description = cache.find(key.as_bytes())?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut cache.open_content(&description).ok()?, &mut bytes).unwrap();
    Some(bytes)
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_kept_is_there_after_a_restart_and_what_was_left_half_done_is_gone() {
    let directory = TempDir::new().unwrap();
    let long = "x".repeat(300);
    let keys =
        ["a.img", "sub/a.img", "sub%2Fa.img", "A.img", ".hidden", &long, &format!("{long}y")];
    let cache = open(&directory, MIB);
    for key in keys {
        keep(&cache, key, b"before").unwrap();
        keep(&cache, key, key.as_bytes()).unwrap();
    }
    // A fetch under way, a content that was moved into place before its description, one cut short, a
    // description of nothing and one that leads elsewhere; and somebody else's files.
    let there = names(&directory);
    assert_eq!(there.len(), 2 * keys.len(), "{there:?}");
    for name in [".new-1-2", "b.img.0123456789abcdef.fetched", "c.img.fetched.json"] {
        fs::write(directory.path().join(name), b"{}").unwrap();
    }
    let elsewhere = fs::read_to_string(directory.path().join("a.img.fetched.json")).unwrap();
    let elsewhere = elsewhere.replace("\"a.img", "\"../e.img");
    fs::write(directory.path().join("..%2Fe.img.fetched.json"), elsewhere).unwrap();
    fs::write(directory.path().join("own.json"), b"{}").unwrap();
    let cache = open(&directory, MIB);
    for key in keys {
        assert_eq!(content(&cache, key).as_deref(), Some(key.as_bytes()), "{key}");
    }
    let mut expected = there;
    expected.push("own.json".to_owned());
    expected.sort();
    assert_eq!(names(&directory), expected);
}

#[test]
fn what_was_not_used_for_longest_makes_room_but_never_for_what_does_not_fit() {
    let directory = TempDir::new().unwrap();
    let cache = open(&directory, 1000);
    keep(&cache, "a", &[1; 400]).unwrap();
    keep(&cache, "b", &[2; 400]).unwrap();
    assert!(content(&cache, "a").is_some());
    keep(&cache, "c", &[3; 400]).unwrap();
    let has = |key| cache.find(key).is_some();
    assert_eq!([has(b"a"), has(b"b"), has(b"c")], [true, false, true]);
    // While a new version comes the one before stays, and what is promised to others is counted.
    let promised = cache.room(500, b"c").unwrap();
    assert!(has(b"a") && has(b"c"));
    assert!(cache.room(700, b"d").is_err());
    assert!(has(b"a") && has(b"c"), "forgotten for what does not fit: {:?}", names(&directory));
    drop(promised);
    assert!(cache.room(1001, b"c").is_err());
    keep(&cache, "c", &[4; 1000]).unwrap();
    assert_eq!(content(&cache, "c"), Some(vec![4; 1000]));
    assert_eq!(names(&directory).len(), 2);
    // A smaller limit holds from the start.
    assert!(open(&directory, 999).find(b"c").is_none());
    assert_eq!(names(&directory), [""; 0]);
}

#[test]
fn what_became_of_another_size_is_forgotten() {
    let directory = TempDir::new().unwrap();
    let cache = open(&directory, 1000);
    keep(&cache, "a", &[1; 400]).unwrap();
    let path = cache.find(b"a").unwrap().content(directory.path());
    fs::write(path, [1; 399]).unwrap();
    assert_eq!(content(&cache, "a"), None);
    assert!(cache.find(b"a").is_none());
    assert_eq!(names(&directory), [""; 0]);
}

#[test]
fn a_cache_that_somebody_removes_to_empty_it_is_made_again() {
    let directory = TempDir::new().unwrap();
    let cache = open(&directory, MIB);
    keep(&cache, "a.img", b"before").unwrap();
    fs::remove_dir_all(directory.path()).unwrap();
    assert_eq!(content(&cache, "a.img"), None);
    keep(&cache, "a.img", b"after").unwrap();
    assert_eq!(content(&open(&directory, MIB), "a.img").unwrap(), b"after");
}

#[test]
fn a_lower_limit_holds_at_once_and_for_what_was_promised_room_before() {
    let directory = TempDir::new().unwrap();
    let cache = open(&directory, 1000);
    keep(&cache, "a", &[1; 300]).unwrap();
    keep(&cache, "b", &[2; 300]).unwrap();
    let has = |key| cache.find(key).is_some();
    let room = cache.room(350, b"c").unwrap();
    let (content, digest) = (cache.create().unwrap(), Sha256([0; 32]));
    cache.set_limits(310, 0);
    assert_eq!([has(b"a"), has(b"b")], [false, true]);
    assert!(cache.keep(b"c", content, &Origin::default(), (350, digest), room).is_err());
    assert!(has(b"b") && !has(b"c"));
    assert_eq!(names(&directory).len(), 2, "{:?}", names(&directory));
    assert!(cache.room(310, b"d").is_ok());
    cache.set_limits(1000, u64::MAX);
    assert!(cache.room(1, b"d").is_err(), "the disk is to be left alone");
}

#[test]
fn a_file_is_that_of_the_server_it_was_fetched_from() {
    let directory = TempDir::new().unwrap();
    let cache = open(&directory, MIB);
    keep(&cache, "a.img", b"a").unwrap();
    let mut file = Description::clone(&cache.find(b"a.img").unwrap());
    file.upstream = Some("http://one".to_owned());
    file.url = "http://two/a.img".to_owned();
    assert!(file.is_of("http://one") && !file.is_of("http://two") && !file.is_of("http://on"));
    // As it was written when that was not noted.
    file.upstream = None;
    let text = serde_json::to_string(&file).unwrap().replace("\"upstream\":null,", "");
    let file: Description = serde_json::from_str(&text).unwrap();
    assert!(file.is_of("http://two") && !file.is_of("http://one") && !file.is_of("http://tw"));
}
