//! What else a name may mean that is no file's name as it stands.
//!
//! Boot loaders hand on what option 67 or 160 says in forms of their own: as a URL, with the configuration file
//! after a `;`, in quotes, below a directory that only the last server had. Such a name is tried without what is
//! around it, and what ends in the name of a file that phones are told of (option 67) is that file.

/// The files that phones are told of, below the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootFiles(Vec<Box<[u8]>>);

impl BootFiles {
    /// From their paths below the root.
    pub fn new<T: Into<Box<[u8]>>>(paths: impl IntoIterator<Item = T>) -> Self {
        let mut all: Vec<Box<[u8]>> = paths.into_iter().map(Into::into).collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    /// The paths, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|path| &**path)
    }

    /// Names to try, best first, after `name` itself led to nothing. Where it leads out of the root there are none,
    /// and none that does is among them.
    pub fn spellings(&self, name: &[u8]) -> Vec<Vec<u8>> {
        let is_separator = |byte: &u8| matches!(byte, b'/' | b'\\');
        let bare = bare(name);
        let leads_out = |name: &[u8]| name.split(is_separator).any(|component| component == b"..");
        if leads_out(name) || leads_out(bare) {
            return Vec::new();
        }
        let mut all = Vec::new();
        if bare != name && !bare.is_empty() {
            all.push(bare.to_vec());
        }
        let last = |path: &'_ [u8]| path.rsplit(is_separator).next().unwrap_or_default().to_vec();
        let file = last(bare);
        let same = |path: &&[u8]| last(path).eq_ignore_ascii_case(&file);
        let mut meant = self.iter().filter(same).filter(|path| *path != bare).peekable();
        // Of two that differ in letter case only, or in their directory, neither is meant more than the other,
        // unless one is spelled exactly so.
        let exact = self.iter().find(|path| last(path) == file);
        if let Some(path) = meant.next() {
            match (meant.peek(), exact) {
                (None, _) => all.push(path.to_vec()),
                (Some(_), Some(exact)) => all.push(exact.to_vec()),
                (Some(_), None) => {}
            }
        }
        all.dedup();
        all
    }
}

/// A name without scheme and host of a URL, without a `;` or `?` and what follows, quotes and space around it.
fn bare(name: &[u8]) -> &[u8] {
    let around =
        |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>');
    let trimmed = trim(name, around);
    let (scheme, rest) = match find(trimmed, b"://") {
        Some(at) => trimmed.split_at(at + 3),
        None => (&[][..], trimmed),
    };
    let path = match (scheme, rest.iter().position(|byte| *byte == b'/')) {
        ([], _) => rest,
        (_, Some(slash)) => rest.get(slash + 1..).unwrap_or_default(),
        // A host and no file.
        (_, None) => return &[],
    };
    let end = path.iter().position(|byte| matches!(byte, b';' | b'?')).unwrap_or(path.len());
    trim(path.get(..end).unwrap_or_default(), around)
}

fn trim(mut text: &[u8], unwanted: impl Fn(&u8) -> bool) -> &[u8] {
    while let [first, rest @ ..] = text
        && unwanted(first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && unwanted(last)
    {
        text = rest;
    }
    text
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spellings(files: &[&str], name: &str) -> Vec<String> {
        let files = BootFiles::new(files.iter().map(|file| file.as_bytes()));
        let all = files.spellings(name.as_bytes()).into_iter();
        all.map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn a_name_is_tried_without_what_phones_put_around_it() {
        for (name, tried) in [
            ("abc.img;efg.cfg", &["abc.img"][..]),
            ("tftp://10.0.0.11/dir/abc.img", &["dir/abc.img"]),
            ("tftp://10.0.0.11/abc.img;efg.cfg", &["abc.img"]),
            ("http://provision.lab.voip:8088/abc.img?x=1", &["abc.img"]),
            ("\"abc.img\"", &["abc.img"]),
            (" abc.img\r\n", &["abc.img"]),
            ("abc.img", &[]),
            (";efg.cfg", &[]),
            ("tftp://10.0.0.11", &[]),
            ("tftp://10.0.0.11/", &[]),
            ("", &[]),
        ] {
            assert_eq!(spellings(&[], name), tried, "{name:?}");
        }
    }

    #[test]
    fn what_ends_in_the_name_of_a_boot_file_is_that_file() {
        for name in [
            "firmware/440HD.img",
            "/tftpboot/440hd.IMG",
            "C:\\tftp\\440hd.img",
            "\\\\10.0.0.11\\440HD.img",
            "//440HD.img",
            "440HD.img",
        ] {
            assert_eq!(spellings(&["405.img", "440hd.img"], name), ["440hd.img"], "{name:?}");
            assert_eq!(spellings(&["a/b/440hd.img"], name), ["a/b/440hd.img"], "{name:?}");
        }
        let url = "tftp://10.0.0.11/fw/440HD.img;x.cfg";
        assert_eq!(spellings(&["440hd.img"], url), ["fw/440HD.img", "440hd.img"]);
        for name in ["x440hd.img", "440hd.img/x", "440hd", "440hd.img.bak"] {
            assert_eq!(spellings(&["440hd.img"], name), [""; 0], "{name:?}");
        }
    }

    #[test]
    fn of_two_files_the_one_that_is_spelled_so_is_meant_or_none() {
        let files = ["old/440hd.img", "new/440HD.img"];
        assert_eq!(spellings(&files, "x/440HD.img"), ["new/440HD.img"]);
        assert_eq!(spellings(&files, "x/440HD.IMG"), [""; 0]);
    }

    #[test]
    fn no_spelling_leads_out_of_the_root() {
        for name in ["../440hd.img", "tftp://h/../440hd.img", "..\\440hd.img", "a/..;/440hd.img"] {
            for spelling in spellings(&["440hd.img"], name) {
                assert!(
                    spelling.split(['/', '\\']).all(|part| part != ".."),
                    "{name:?}: {spelling:?}"
                );
            }
        }
        assert_eq!(spellings(&["440hd.img"], "../440hd.img"), [""; 0]);
    }
}
