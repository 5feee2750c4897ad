//! `[tftp] upstream`: where images come from that are not in the root, and where they are kept.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use offhook_model::{DomainName, Upstream, UpstreamUrl};

use crate::Code;
use crate::report::{Problem, Span, Spanned};
use crate::tree::{Field, Table, Value};

/// What is nothing without `upstream`.
const OTHERS: [&str; 8] = [
    "upstream_ca",
    "upstream_names",
    "upstream_timeout",
    "upstream_refresh",
    "upstream_file_size",
    "cache",
    "cache_size",
    "cache_reserve",
];

/// What the table says of it, and the defaults for the rest.
pub(crate) struct UpstreamFacts {
    upstream: Upstream,
    pub(crate) url: Span,
    pub(crate) ca: Field<String>,
    pub(crate) cache: Field<String>,
    pub(crate) file_size: Option<Spanned<u64>>,
    pub(crate) cache_size: Option<Spanned<u64>>,
}

impl UpstreamFacts {
    pub(super) fn read(table: &Table<'_>) -> Option<Self> {
        let url = table.field("upstream", url);
        let ca = table.field("upstream_ca", Value::text);
        let names = table.field("upstream_names", |value| value.one_or_many(pattern));
        let timeout = table.field("upstream_timeout", |value| value.millis(100, 60_000));
        let refresh = table.field("upstream_refresh", |value| value.duration(0, 30 * 86_400));
        let file_size = table.field("upstream_file_size", |value| size(value, 1, 1 << 40));
        let cache = table.field("cache", Value::text);
        let cache_size = table.field("cache_size", |value| size(value, 1 << 20, 1 << 44));
        let cache_reserve = table.field("cache_reserve", |value| size(value, 0, 1 << 44));
        let Field::Good(url) = url else {
            if url.is_absent() {
                alone(table);
            }
            return None;
        };
        let mut upstream = Upstream::new(url.value);
        if let Some(names) = names.into_value() {
            upstream.names = names.items.into_iter().map(|item| item.value).collect();
        }
        upstream.timeout = timeout.into_value().unwrap_or(upstream.timeout);
        upstream.refresh = refresh.into_value().unwrap_or(upstream.refresh);
        upstream.file_size = file_size.value().copied().unwrap_or(upstream.file_size);
        upstream.cache_size = cache_size.value().copied().unwrap_or(upstream.cache_size);
        upstream.cache_reserve = cache_reserve.into_value().unwrap_or(upstream.cache_reserve);
        Some(Self {
            upstream,
            url: url.span,
            ca,
            cache,
            file_size: file_size.good().cloned(),
            cache_size: cache_size.good().cloned(),
        })
    }

    pub(crate) fn server(&self) -> &UpstreamUrl {
        &self.upstream.url
    }

    /// The most that one file may have, and the most that is kept, bytes.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        (self.upstream.file_size, self.upstream.cache_size)
    }

    /// Whether a file of this name may be fetched although no class names it.
    pub(crate) fn allows(&self, name: &str) -> bool {
        self.upstream.allows(name.as_bytes())
    }

    /// With the paths from `base` on.
    pub(crate) fn resolve(&self, base: &Path) -> Upstream {
        let mut upstream = self.upstream.clone();
        upstream.ca = self.ca.value().map(|path| base.join(path));
        upstream.cache = self.cache.value().map(|path| base.join(path));
        upstream
    }
}

/// Reports keys that do nothing.
fn alone(table: &Table<'_>) {
    for (key, _) in table.all().filter(|(key, _)| OTHERS.contains(&key.value)) {
        table.report.push(
            Problem::warning(
                Code::UpstreamUnused,
                &key.span,
                format!("`{}` does nothing without `upstream`", key.value),
            )
            .label("nothing is fetched, and nothing kept")
            .hint("add: upstream = \"http://HOST:PORT\", or leave this out"),
        );
    }
}

/// `http://HOST:PORT/PATH`.
fn url(value: &Value<'_>) -> Option<UpstreamUrl> {
    let text = value.string_for("a string with a URL", None)?;
    match parse_url(text) {
        Ok(url) => Some(url),
        Err((what, hint)) => {
            value.bad(Code::BadUpstream, format!("`{text}`: {what}"), hint);
            None
        }
    }
}

type Mistake = (&'static str, String);

fn parse_url(text: &str) -> Result<UpstreamUrl, Mistake> {
    let form = || "write it as in \"http://provision.lab.voip:8088\"".to_owned();
    let Some((scheme, rest)) = text.split_once("://") else {
        let hint = format!("add the scheme: \"http://{}\"", text.trim_start_matches('/'));
        return Err(("no scheme", hint));
    };
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => {
            return Err((
                "images are not fetched by this scheme",
                "write http or https".to_owned(),
            ));
        }
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if rest.contains(['?', '#']) {
        return Err(("the names of files are put to its end", "leave out `?` and `#`".to_owned()));
    }
    if authority.contains('@') {
        return Err((
            "no name or password can be in it",
            "leave out what is before the @".to_owned(),
        ));
    }
    let usual = if secure { 443 } else { 80 };
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => {
            host.parse::<Ipv6Addr>().map_err(|_| ("not an IPv6 address", form()))?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    let port = match port {
        Some("") if !authority.ends_with(':') => usual,
        port => match port.and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0) {
            Some(port) => port,
            None => return Err(("not a port", form())),
        },
    };
    let named = host.parse::<DomainName>().is_ok() || host.parse::<IpAddr>().is_ok();
    if host.is_empty() || !named {
        return Err(("no host that could be asked", form()));
    }
    let path = path.trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte);
    let climbs = path.split('/').any(|part| matches!(part, "." | ".."));
    if climbs || !path.bytes().all(plain) {
        return Err((
            "not a path of a URL",
            "write it as it goes over the wire, without spaces, `.` and `..`".to_owned(),
        ));
    }
    Ok(UpstreamUrl { secure, host: host.to_ascii_lowercase(), port, path: path.to_owned() })
}

/// What may be fetched.
fn pattern(value: &Value<'_>) -> Option<String> {
    value.name_below(
        "matches no name of a file",
        "write a name with `*` and `?` in it, as in \"*.img\", without `..` or a leading `/`",
    )
}

const UNITS: [(&str, u32); 8] =
    [("", 0), ("b", 0), ("k", 10), ("kib", 10), ("m", 20), ("mib", 20), ("g", 30), ("gib", 30)];

/// A number of bytes, or one with a unit: `"256 MiB"`.
fn size(value: &Value<'_>, least: u64, most: u64) -> Option<u64> {
    let bytes = match value.as_integer() {
        Some(number) => u64::try_from(number).ok(),
        None => {
            let text = value.string_for("a size such as \"256 MiB\"", None)?;
            let Some(bytes) = parse_size(text) else {
                value.bad(
                    Code::BadSize,
                    format!("`{text}` is not a size"),
                    "write a number with KiB, MiB or GiB, as in \"256 MiB\"",
                );
                return None;
            };
            bytes
        }
    };
    let found = bytes.filter(|bytes| (least..=most).contains(bytes));
    if found.is_none() {
        let (least, most) = (format_size(least), format_size(most));
        value.bad(
            Code::OutOfRange,
            format!("this is not between {least} and {most}"),
            format!("write a size from \"{least}\" to \"{most}\""),
        );
    }
    found
}

/// None: it is no size. `Some(None)`: one that does not fit.
#[expect(clippy::option_option, reason = "it is wrong in two ways")]
fn parse_size(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let unit = unit.trim().to_ascii_lowercase();
    let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit)?;
    if digits.is_empty() {
        return None;
    }
    Some(digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)))
}

/// In the largest unit that divides it.
pub(crate) fn format_size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = |shift: u32| bytes > 0 && bytes.is_multiple_of(1 << shift);
    match units.iter().find(|(_, shift)| whole(*shift)) {
        Some((unit, shift)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_mistakes_in_them_told() {
        let read =
            |text: &str| parse_url(text).map(|url| url.to_string()).map_err(|(what, _)| what);
        for (text, is) in [
            ("http://provision.lab.voip:8088", Ok("http://provision.lab.voip:8088")),
            ("HTTPS://Provision.lab.voip/fw/", Ok("https://provision.lab.voip/fw")),
            ("http://10.250.1.151:80", Ok("http://10.250.1.151")),
            ("http://[2001:db8::5]:8088/a%20b", Ok("http://[2001:db8::5]:8088/a%20b")),
            ("provision.lab.voip:8088", Err("no scheme")),
            ("tftp://provision.lab.voip", Err("images are not fetched by this scheme")),
            ("http://", Err("no host that could be asked")),
            ("http://:80", Err("no host that could be asked")),
            ("http://a b", Err("no host that could be asked")),
            ("http://host:0", Err("not a port")),
            ("http://host:", Err("not a port")),
            ("http://host:80x", Err("not a port")),
            ("http://[::1]x", Err("not a port")),
            ("http://[::g]", Err("not an IPv6 address")),
            ("http://me:secret@host", Err("no name or password can be in it")),
            ("http://host/?file=", Err("the names of files are put to its end")),
            ("http://host/a/../b", Err("not a path of a URL")),
            ("http://host/a b", Err("not a path of a URL")),
        ] {
            assert_eq!(read(text), is.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, is) in [
            ("256 MiB", Some(Some(256 << 20))),
            ("1g", Some(Some(1 << 30))),
            ("512", Some(Some(512))),
            ("0b", Some(Some(0))),
            ("20000000000000 GiB", Some(None)),
            ("99999999999999999999", Some(None)),
            ("", None),
            ("MiB", None),
            ("1.5 GiB", None),
            ("1 MB", None),
            ("-1", None),
        ] {
            assert_eq!(parse_size(text), is, "{text}");
        }
        assert_eq!(
            [0, 512, 1536, 1 << 20, 3 << 30].map(format_size),
            ["0 B", "512 B", "1536 B", "1 MiB", "3 GiB"]
        );
    }
}
