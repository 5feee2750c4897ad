//! Single values: addresses, names, durations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnetwork::Ipv4Network;
use offhook_model::{AddressRange, DomainName, Mac, RangeError};

use crate::Code;
use crate::tree::Value;

impl Value<'_> {
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        self.address_in(self.string_for("a string with an IPv4 address", None)?)
    }

    /// An address that is part of this value.
    pub(crate) fn address_in(&self, text: &str) -> Option<Ipv4Addr> {
        match parse_address(text) {
            Ok(address) => Some(address),
            Err(hint) => {
                self.bad(Code::BadAddress, format!("`{text}` is not an IPv4 address"), hint);
                None
            }
        }
    }

    pub(crate) fn ipv6(&self) -> Option<Ipv6Addr> {
        let text = self.string_for("a string with an IPv6 address", None)?;
        match text.parse::<Ipv6Addr>() {
            Ok(address) if !address.is_unspecified() && !address.is_multicast() => Some(address),
            _ => {
                self.bad(
                    Code::BadIpv6Address,
                    format!("`{text}` is not the IPv6 address of a host"),
                    "write an address as in \"2001:db8::11\", without its prefix length",
                );
                None
            }
        }
    }

    /// `ADDRESS` or `ADDRESS:PORT`, of this machine.
    pub(crate) fn listener(&self, port: u16) -> Option<SocketAddr> {
        self.endpoint(port, "an address to listen on")
    }

    /// The same of a server that is asked.
    pub(crate) fn upstream(&self, port: u16) -> Option<SocketAddr> {
        let server = self.endpoint(port, "the address of a server to ask")?;
        let ip = server.ip();
        let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        if !ip.is_unspecified() && !ip.is_multicast() && !broadcast {
            return Some(server);
        }
        let message = format!("{ip} cannot be the address of a server to ask");
        self.bad(Code::UnusableAddress, message, "write an address that a machine can have");
        None
    }

    fn endpoint(&self, port: u16, what: &str) -> Option<SocketAddr> {
        let text = self.string_for("a string with an address", None)?;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(SocketAddr::new(address, port));
        }
        if let Ok(listener) = text.parse::<SocketAddr>().or_else(|e| {
            let (host, port) = text.rsplit_once(':').ok_or(e.clone())?;
            let address = host.parse::<IpAddr>().map_err(|_| e.clone())?;
            Ok::<_, std::net::AddrParseError>(SocketAddr::new(
                address,
                port.parse().map_err(|_| e)?,
            ))
        }) && listener.port() != 0
        {
            return Some(listener);
        }
        let form = || format!("write an address, or address and port: \"10.0.0.11:{port}\"");
        let hint = match text.contains(':') {
            true => form(),
            false => parse_address(text).err().unwrap_or_else(form),
        };
        self.bad(Code::BadListener, format!("`{text}` is not {what}"), hint);
        None
    }

    pub(crate) fn subnet(&self) -> Option<Ipv4Network> {
        let text = self.string_for("a string with a subnet", None)?;
        let bad = |message: String, hint: String| {
            self.bad(Code::BadSubnet, message, hint);
            None
        };
        let Some((address, prefix)) = text.split_once('/') else {
            return bad(
                format!("`{text}` is not a subnet"),
                "write address and prefix length, as in \"10.0.0.0/24\"".to_owned(),
            );
        };
        let subnet = match (parse_address(address), prefix.parse::<u8>()) {
            (Ok(address), Ok(prefix)) => Ipv4Network::new(address, prefix).ok(),
            // A netmask in dots is as good as a prefix length.
            (Ok(address), Err(_)) => prefix
                .parse::<Ipv4Addr>()
                .ok()
                .and_then(|mask| Ipv4Network::with_netmask(address, mask).ok()),
            (Err(_), _) => None,
        };
        let Some(subnet) = subnet else {
            return bad(
                format!("`{text}` is not a subnet"),
                "write address and prefix length, as in \"10.0.0.0/24\"".to_owned(),
            );
        };
        if subnet.ip() != subnet.network() {
            return bad(
                format!("`{text}` is an address in a subnet, not the subnet"),
                format!("the subnet is \"{}/{}\"", subnet.network(), subnet.prefix()),
            );
        }
        if !(8..=30).contains(&subnet.prefix()) {
            return bad(
                format!("a /{} cannot be leased from", subnet.prefix()),
                "write a prefix length from 8 to 30".to_owned(),
            );
        }
        Some(subnet)
    }

    /// A network of any size, or one address.
    pub(crate) fn network(&self) -> Option<Ipv4Network> {
        let text = self.string_for("a string with a network", None)?;
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let network = parse_address(address)
            .and_then(|address| {
                let prefix = prefix.parse().map_err(|_| String::new())?;
                Ipv4Network::new(address, prefix).map_err(|_| String::new())
            })
            .map_err(|hint| match hint.is_empty() {
                true => "write a prefix length from 0 to 32".to_owned(),
                false => hint,
            });
        match network {
            Ok(network) if network.ip() == network.network() => Some(network),
            Ok(network) => {
                let hint = format!("the network is \"{}/{prefix}\"", network.network());
                self.bad(Code::BadSubnet, format!("`{text}` is an address in a network"), hint);
                None
            }
            Err(hint) => {
                self.bad(Code::BadSubnet, format!("`{text}` is not a network"), hint);
                None
            }
        }
    }

    pub(crate) fn range(&self) -> Option<AddressRange> {
        let text = self.string_for("a string with a range of addresses", None)?;
        match text.parse() {
            Ok(range) => Some(range),
            Err(error) => {
                let hint = match (error, text.split_once('-')) {
                    (RangeError::Reversed, Some((first, last))) => {
                        format!("did you mean \"{}-{}\"?", last.trim(), first.trim())
                    }
                    _ => "write first and last address, as in \"10.0.0.100-10.0.0.199\"".to_owned(),
                };
                self.bad(Code::BadRange, format!("`{text}`: {error}"), hint);
                None
            }
        }
    }

    pub(crate) fn mac(&self) -> Option<Mac> {
        let text = self.string_for("a string with a MAC address", None)?;
        match text.parse::<Mac>() {
            Ok(mac) if !mac.is_of_a_device() => {
                let message = format!("`{text}` is not the address of one device");
                self.bad(Code::BadMac, message, "write the address that is on its label");
                None
            }
            Ok(mac) => Some(mac),
            Err(error) => {
                let hint = "write twelve hex digits, as in \"00:90:8f:12:34:56\"";
                self.bad(Code::BadMac, format!("`{text}`: {error}"), hint);
                None
            }
        }
    }

    pub(crate) fn oui(&self) -> Option<[u8; 3]> {
        let text = self.string_for("a string with an OUI", None)?;
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
        match parse_hex(&digits).as_deref() {
            Some(&[a, b, c]) => Some([a, b, c]),
            _ => {
                self.bad(
                    Code::BadOui,
                    format!("`{text}` is not the first three bytes of a MAC address"),
                    "write six hex digits, as in \"00:90:8f\"",
                );
                None
            }
        }
    }

    /// A name as it is written, known to fit on the wire.
    pub(crate) fn name(&self) -> Option<String> {
        let text = self.string_for("a string with a name", None)?;
        match text.parse::<DomainName>() {
            Ok(_) => Some(text.to_owned()),
            Err(error) => {
                self.bad(
                    Code::BadName,
                    format!("`{text}` is not a domain name: {error}"),
                    "use letters, digits, `-` and `_`, with dots between labels",
                );
                None
            }
        }
    }

    pub(crate) fn domain(&self) -> Option<DomainName> {
        self.name()?.parse().ok()
    }

    pub(crate) fn hex(&self) -> Option<Vec<u8>> {
        let text = self.string_for("a string of hex digits", None)?;
        let bytes = parse_hex(text);
        if bytes.is_none() {
            self.bad(
                Code::BadHex,
                format!("`{text}` is not hexadecimal"),
                "write two hex digits a byte, as in \"00 00 36 3d\" or \"0000363d\"",
            );
        }
        bytes
    }

    /// A name of a file below a directory, at most 255 octets, which never leads out of it.
    pub(crate) fn name_below(&self, wrong: &str, hint: &str) -> Option<String> {
        let text = self.text()?;
        let plain = text.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !text.contains(|c: char| c == '\\' || c.is_control());
        if !plain || text.len() > 255 {
            self.bad(Code::BadPath, format!("`{text}` {wrong}"), hint);
            return None;
        }
        Some(text)
    }

    /// A duration of whole seconds within bounds, as `"8h"` or as a number of seconds.
    pub(crate) fn duration(&self, least: u64, most: u64) -> Option<Duration> {
        let seconds = match self.as_integer() {
            Some(number) => u64::try_from(number).ok(),
            None => {
                let text = self.string_for("a duration such as \"8h\"", None)?;
                let Some(seconds) = parse_duration(text) else {
                    self.bad(
                        Code::BadDuration,
                        format!("`{text}` is not a duration"),
                        duration_hint(text),
                    );
                    return None;
                };
                Some(seconds)
            }
        };
        match seconds {
            Some(seconds) if (least..=most).contains(&seconds) => {
                Some(Duration::from_secs(seconds))
            }
            _ => {
                self.bad(
                    Code::OutOfRange,
                    format!(
                        "this is not between {} and {}",
                        format_duration(least),
                        format_duration(most)
                    ),
                    format!(
                        "write a duration from \"{}\" to \"{}\"",
                        format_duration(least),
                        format_duration(most)
                    ),
                );
                None
            }
        }
    }

    /// A duration of whole milliseconds within bounds (also in milliseconds), as `"500ms"`, or as a number of
    /// seconds.
    pub(crate) fn millis(&self, least: u64, most: u64) -> Option<Duration> {
        let millis = match self.as_integer() {
            Some(number) => u64::try_from(number).ok().and_then(|n| n.checked_mul(1000)),
            None => {
                let text = self.string_for("a duration such as \"500ms\"", None)?;
                let Some(millis) = parse_millis(text) else {
                    let hint = match text.trim().bytes().all(|b| b.is_ascii_digit()) {
                        true => duration_hint(text),
                        false => "write a number with ms or s, as in \"500ms\"".to_owned(),
                    };
                    self.bad(Code::BadDuration, format!("`{text}` is not a duration"), hint);
                    return None;
                };
                Some(millis)
            }
        };
        let found = millis.filter(|millis| (least..=most).contains(millis));
        if found.is_none() {
            let (least, most) = (format_millis(least), format_millis(most));
            self.bad(
                Code::OutOfRange,
                format!("this is not between {least} and {most}"),
                format!("write a duration from \"{least}\" to \"{most}\""),
            );
        }
        found.map(Duration::from_millis)
    }

    /// One of several words.
    pub(crate) fn choice<T: Copy>(&self, code: Code, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.string()?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            let allowed = crate::words::list(&words);
            let hint = match crate::words::nearest(text, words) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("write one of {allowed}"),
            };
            self.bad(code, format!("`{text}` is not one of {allowed}"), hint);
        }
        found
    }
}

/// One to six bytes of a MAC address in hex, however they are separated.
pub(crate) fn parse_mac_prefix(text: &str) -> Option<Box<[u8]>> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
    parse_hex(&digits).filter(|bytes| (1..=6).contains(&bytes.len())).map(Vec::into_boxed_slice)
}

fn parse_address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| {
        let parts: Vec<_> = text.split('.').collect();
        if text.contains('/') {
            return "leave out the prefix length".to_owned();
        }
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return "DHCPv4 needs an IPv4 address".to_owned();
        }
        if parts.len() == 4
            && let Some(part) = parts.iter().find(|part| part.parse::<u8>().is_err())
            && !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
        {
            return format!("`{part}` is above 255");
        }
        if parts.len() == 4
            && let Some(part) = parts.iter().find(|part| part.len() > 1 && part.starts_with('0'))
        {
            return format!("leave out the leading zero of `{part}`");
        }
        "write four numbers from 0 to 255, as in \"10.0.0.11\"".to_owned()
    })
}

/// Hex digits in pairs; spaces and colons between bytes do not count.
fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace() && *c != ':')
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// What any longer duration counts as, milliseconds: more than whoever reads one takes.
const LONGEST: u64 = u64::MAX / 1000 * 1000;

const UNITS: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// Whole seconds of `8h`, `90m`, `1h30m` and the like.
fn parse_duration(text: &str) -> Option<u64> {
    let millis = parse_millis(text)?;
    millis.is_multiple_of(1000).then_some(millis / 1000)
}

/// Whole milliseconds of `500ms`, `1s500ms` and what [`parse_duration`] takes.
fn parse_millis(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        if number.is_empty() {
            return None;
        }
        // Too long is a duration, too.
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        let (unit, millis) = if tail.starts_with("ms") {
            ("ms", 1)
        } else {
            let (unit, seconds) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
            (*unit, seconds * 1000)
        };
        total = total.saturating_add(number.saturating_mul(millis)).min(LONGEST);
        rest = tail.strip_prefix(unit)?.trim_start();
    }
    Some(total)
}

fn duration_hint(text: &str) -> String {
    let text = text.trim();
    let form = "write numbers with w, d, h, m or s, as in \"8h\" or \"1h30m\"";
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return format!("add a unit (\"{text}s\"), or leave out the quotes for seconds");
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let (number, unit) = text.split_at(end);
    let unit = unit.trim();
    match UNITS.iter().find(|(short, _)| unit.to_ascii_lowercase().starts_with(short)) {
        Some((short, _)) if !number.is_empty() && unit.chars().all(char::is_alphabetic) => {
            format!("did you mean \"{number}{short}\"?")
        }
        _ => form.to_owned(),
    }
}

/// The shortest spelling in one unit.
pub(crate) fn format_duration(seconds: u64) -> String {
    UNITS
        .iter()
        .find(|(_, unit)| seconds.is_multiple_of(*unit) && seconds >= *unit)
        .map_or_else(|| format!("{seconds}s"), |(name, unit)| format!("{}{name}", seconds / unit))
}

fn format_millis(millis: u64) -> String {
    match millis.is_multiple_of(1000) {
        true => format_duration(millis / 1000),
        false => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("8h", Some(28_800)),
            ("90m", Some(5400)),
            ("1d", Some(86_400)),
            ("3600s", Some(3600)),
            ("1h30m", Some(5400)),
            ("1h 30m", Some(5400)),
            ("1000ms", Some(1)),
            ("1s500ms", None),
            ("99999999999999d", Some(LONGEST / 1000)),
            ("infinite", None),
            ("", None),
            ("8", None),
            ("h", None),
            ("8H", None),
            ("-1h", None),
            ("99999999999999999999h1m", Some(LONGEST / 1000)),
            ("18446744073709551615w", Some(LONGEST / 1000)),
        ] {
            assert_eq!(parse_duration(text), seconds, "{text}");
        }
        assert_eq!(parse_millis("1s500ms"), Some(1500));
        assert_eq!(format_millis(1500), "1500ms");
        assert_eq!(format_duration(5400), "90m");
        assert_eq!(format_duration(60), "1m");
        assert_eq!(format_duration(0), "0s");
    }

    #[test]
    fn hex_may_have_spaces_and_colons() {
        assert_eq!(parse_hex("00 00:36 3d"), Some(vec![0, 0, 0x36, 0x3d]));
        assert_eq!(parse_hex("000"), None);
        assert_eq!(parse_hex("zz"), None);
        assert_eq!(parse_hex(""), Some(vec![]));
    }
}
