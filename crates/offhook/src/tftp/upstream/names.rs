//! What may be fetched, and by which name.

use std::fmt::Write as _;

use offhook_model::Upstream;
use offhook_tftp::{BootFiles, RequestedName};

/// A file that may be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tftp) struct Target {
    /// Which file it is, however it was asked for: a path below the upstream URL.
    pub(in crate::tftp) key: Vec<u8>,
    /// How the server may spell it, best first.
    pub(super) spellings: Vec<Vec<u8>>,
    /// Whether option 67 names it: there are few such files, and they are what phones need.
    pub(super) is_boot_file: bool,
}

/// The file that a client's name means; none when nothing of that kind is fetched.
pub(super) fn target(name: &[u8], files: &BootFiles, upstream: &Upstream) -> Option<Target> {
    let parsed = |name: &[u8]| RequestedName::parse(name).ok();
    let asked = parsed(name)?;
    let others: Vec<_> = files.spellings(name).iter().filter_map(|name| parsed(name)).collect();
    let paths = || std::iter::once(&asked).chain(&others).flat_map(RequestedName::paths);
    // What option 67 names is one file, whatever the case.
    for path in paths() {
        let exact = files.iter().find(|file| *file == path);
        let near = || files.iter().find(|file| file.eq_ignore_ascii_case(path));
        if let Some(file) = exact.or_else(near) {
            let mut spellings = vec![path.to_vec(), file.to_vec(), upper(file)];
            spellings.dedup();
            return Some(Target { key: file.to_ascii_lowercase(), spellings, is_boot_file: true });
        }
    }
    let path = paths().find(|path| is_plain(path) && upstream.allows(path))?;
    Some(Target { key: path.to_vec(), spellings: vec![path.to_vec()], is_boot_file: false })
}

/// Whether a path is the same to every server: one on Windows takes a backslash for a slash, which a pattern's `*` is not
/// to match, and two of them for another computer. What is no text is the name of no image.
fn is_plain(path: &[u8]) -> bool {
    !path.iter().any(|byte| *byte == b'\\' || byte.is_ascii_control())
}

/// As phones ask by themselves: `440HD.img`.
fn upper(path: &[u8]) -> Vec<u8> {
    let mut upper = path.to_vec();
    let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let end = path.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > name);
    if let Some(stem) = upper.get_mut(name..end.unwrap_or(path.len())) {
        stem.make_ascii_uppercase();
    }
    upper
}

/// A path as it stands in a URL: everything but letters, digits and a few marks is encoded (RFC 3986, section 2.1).
pub(super) fn url_path(path: &[u8]) -> String {
    encode(path, |byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte))
}

/// A path as the name of one file: never hidden, never another directory, different for different paths.
pub(super) fn file_name(path: &[u8]) -> String {
    let encoded = encode(path, |byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    match encoded.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => encoded,
    }
}

fn encode(path: &[u8], plain: impl Fn(u8) -> bool) -> String {
    let mut text = String::with_capacity(path.len());
    for &byte in path {
        match plain(byte) {
            true => text.push(char::from(byte)),
            false => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use offhook_model::UpstreamUrl;
    use proptest::prelude::*;

    use super::*;

    fn upstream() -> Upstream {
        let host = "provision.lab.voip".to_owned();
        Upstream::new(UpstreamUrl { secure: false, host, port: 8088, path: String::new() })
    }

    fn files() -> BootFiles {
        BootFiles::new(["405.img", "440hd.img", "sub/door.bin"].map(str::as_bytes))
    }

    fn of(name: &str) -> Option<(String, Vec<String>)> {
        let text = |path: Vec<u8>| String::from_utf8(path).unwrap();
        let target = target(name.as_bytes(), &files(), &upstream())?;
        Some((text(target.key), target.spellings.into_iter().map(text).collect()))
    }

    #[test]
    fn a_file_of_option_67_is_one_however_it_is_spelled() {
        for (name, spellings) in [
            ("440HD.img", &["440HD.img", "440hd.img", "440HD.img"][..]),
            ("440hd.img", &["440hd.img", "440HD.img"]),
            ("/440hd.IMG", &["440hd.IMG", "440hd.img", "440HD.img"]),
            ("tftpboot/440HD.img", &["440hd.img", "440HD.img"]),
            ("http://provision.lab.voip/440hd.img;x.cfg", &["440hd.img", "440HD.img"]),
        ] {
            let (key, found) = of(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(
                (key.as_str(), found.as_slice()),
                ("440hd.img", &spellings.map_to()[..]),
                "{name}"
            );
        }
        assert_eq!(of("SUB\\DOOR.bin").unwrap().0, "sub/door.bin");
    }

    trait MapTo {
        fn map_to(&self) -> Vec<String>;
    }

    impl MapTo for &[&str] {
        fn map_to(&self) -> Vec<String> {
            self.iter().map(|&text| text.to_owned()).collect()
        }
    }

    #[test]
    fn nothing_but_the_catalogue_and_the_pattern_is_fetched() {
        assert_eq!(of("Other.IMG"), Some(("Other.IMG".to_owned(), vec!["Other.IMG".to_owned()])));
        for name in
            ["00908f123456.cfg", "a/b.img", "../440hd.img", "x/../440hd.img", "", "SHA256SUMS"]
        {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn what_a_server_could_take_for_another_directory_is_not_fetched() {
        for name in
            ["a\\b.img", "\\\\host\\b.img", "C:\\b.img", "a\r\nb.img", "a\tb.img", "a\x7fb.img"]
        {
            assert_eq!(of(name), None, "{name:?}");
        }
        assert_eq!(of("\\Other.img").unwrap().0, "Other.img");
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_stays_below_the_upstream_and_inside_of_the_cache(
            name in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'.'), Just(b'/'), Just(b'%')], 0..40),
            tail in proptest::sample::select(vec![".img", "440hd.img", ""]),
        ) {
            let name = [name.as_slice(), tail.as_bytes()].concat();
            let mut any = upstream();
            any.names = vec!["*".to_owned(), "*/*".to_owned(), "*/*/*".to_owned()];
            if let Some(target) = target(&name, &files(), &any) {
                for path in target.spellings.iter().chain([&target.key]) {
                    let url = url::Url::parse(&format!("http://h:8088/fw/{}", url_path(path))).unwrap();
                    prop_assert_eq!((url.host_str(), url.port()), (Some("h"), Some(8088)));
                    prop_assert!(url.path().starts_with("/fw/") && url.query().is_none() && url.fragment().is_none());
                    let file = file_name(path);
                    prop_assert!(!file.contains('/') && !file.starts_with('.') && !file.is_empty());
                }
            }
        }
    }
}
