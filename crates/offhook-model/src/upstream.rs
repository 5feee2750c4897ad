//! Where a TFTP server has files from that are not in its root, and where it keeps them: `[tftp] upstream`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The server that has what is not in the root, and what may be asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its address, and what every path begins with.
    pub url: UpstreamUrl,
    /// The certificates that vouch for it, PEM; those of the system when there are none of its own.
    pub ca: Option<PathBuf>,
    /// What may be fetched beside the files of option 67: see [`matches_pattern`].
    pub names: Vec<String>,
    /// How long it may take to answer, and then to send anything more.
    pub timeout: Duration,
    /// For how long a file is taken to be what it was when the server last said so; 0 asks for every phone.
    pub refresh: Duration,
    /// The largest file that is fetched, bytes.
    pub file_size: u64,
    /// The directory that what was fetched is kept in; none is one in the state directory.
    pub cache: Option<PathBuf>,
    /// The most that is kept, bytes.
    pub cache_size: u64,
    /// What is left free on the disk of the cache, bytes.
    pub cache_reserve: u64,
}

/// The beginning of an HTTP URL: nothing in it but scheme, host, port and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// Whether it is `https`.
    pub secure: bool,
    /// A name, or an address; that of IPv6 without its brackets.
    pub host: String,
    /// The port, 1 to 65,535.
    pub port: u16,
    /// What comes before the names of files: empty, or with a leading slash and none at its end.
    pub path: String,
}

impl Upstream {
    /// With the default for everything but the server.
    pub fn new(url: UpstreamUrl) -> Self {
        Self {
            url,
            ca: None,
            names: vec!["*.img".to_owned()],
            timeout: Duration::from_secs(10),
            refresh: Duration::from_secs(60),
            file_size: 256 << 20,
            cache: None,
            cache_size: 1 << 30,
            cache_reserve: 256 << 20,
        }
    }

    /// Whether a file of this name may be fetched although option 67 does not name it.
    pub fn allows(&self, name: &[u8]) -> bool {
        self.names.iter().any(|pattern| matches_pattern(pattern.as_bytes(), name))
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secure, host, port, path } = self;
        let (scheme, usual) = if *secure { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://")?;
        match host.contains(':') {
            true => write!(f, "[{host}]")?,
            false => f.write_str(host)?,
        }
        if *port != usual {
            write!(f, ":{port}")?;
        }
        f.write_str(path)
    }
}

/// Whether a name matches a pattern, without regard to case: `*` is any number of bytes but `/`, `?` one of them, and
/// anything else itself.
pub fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    // Where to go on when what comes after the last `*` does not fit: with one byte more for it.
    let (mut at, mut of, mut retry) = (0, 0, None);
    loop {
        match (pattern.get(of), name.get(at)) {
            (Some(b'*'), _) => {
                of += 1;
                retry = Some((of, at));
                continue;
            }
            (Some(b'?'), Some(byte)) if *byte != b'/' => {}
            (Some(wanted), Some(byte)) if wanted.eq_ignore_ascii_case(byte) => {}
            (None, None) => return true,
            _ => {
                let Some((after, taken)) = retry else { return false };
                if name.get(taken).is_none_or(|byte| *byte == b'/') {
                    return false;
                }
                (at, of, retry) = (taken + 1, after, Some((after, taken + 1)));
                continue;
            }
        }
        (at, of) = (at + 1, of + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_of_one_directory_without_regard_to_case() {
        for (pattern, name, matches) in [
            ("*.img", "440HD.img", true),
            ("*.img", "440hd.IMG", true),
            ("*.img", ".img", true),
            ("*.img", "a.img.img", true),
            ("*.img", "a.imgs", false),
            ("*.img", "sub/a.img", false),
            ("sub/*.img", "sub/a.img", true),
            ("4?0*", "440hd", true),
            ("4?0*", "4/0hd", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("**", "", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("*", "a/b", false),
        ] {
            assert_eq!(
                matches_pattern(pattern.as_bytes(), name.as_bytes()),
                matches,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_url_is_written_as_it_is_stated() {
        let url = |secure, host: &str, port, path: &str| {
            let (host, path) = (host.to_owned(), path.to_owned());
            UpstreamUrl { secure, host, port, path }.to_string()
        };
        assert_eq!(url(false, "provision.lab.voip", 8088, ""), "http://provision.lab.voip:8088");
        assert_eq!(url(true, "2001:db8::5", 443, "/fw"), "https://[2001:db8::5]/fw");
    }
}
