//! The data of a record, from the words that stand for it to the octets.

use std::net::{Ipv4Addr, Ipv6Addr};

use offhook_model::WireName;

use super::token::Token;
use super::{Base, Fault, name, rtype};
use crate::Code;
use crate::report::Span;

/// One piece of a record's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Ipv4,
    Ipv6,
    Name,
    U8,
    U16,
    U32,
    /// Seconds, or with units as `1h30m`.
    Period,
    /// One string of at most 255 octets, after its length.
    Text,
    /// Such strings up to the end; at least one.
    Texts,
    /// Letters and digits, after their length.
    Tag,
    /// A text up to the end, without a length.
    Rest,
    /// Hexadecimal digits up to the end, in as many words as you like; may be nothing.
    Hex,
}

/// What the data of a type consists of; none for types that can be written as octets only.
fn fields(rtype: u16) -> Option<&'static [Field]> {
    use Field::{Hex, Ipv4, Ipv6, Name, Period, Rest, Tag, Text, Texts, U8, U16, U32};
    Some(match rtype {
        1 => &[Ipv4],
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME.
        2..=5 | 7..=9 | 12 | 39 => &[Name],
        // SOA.
        6 => &[Name, Name, U32, Period, Period, Period, Period],
        // HINFO.
        13 => &[Text, Text],
        // MINFO, RP.
        14 | 17 => &[Name, Name],
        // MX, AFSDB, RT, KX.
        15 | 18 | 21 | 36 => &[U16, Name],
        // TXT, SPF.
        16 | 99 => &[Texts],
        // X25.
        19 => &[Text],
        28 => &[Ipv6],
        // SRV.
        33 => &[U16, U16, U16, Name],
        // NAPTR.
        35 => &[U16, U16, Text, Text, Text, Name],
        // DS.
        43 => &[U16, U8, U8, Hex],
        // SSHFP.
        44 => &[U8, U8, Hex],
        // TLSA, SMIMEA.
        52 | 53 => &[U8, U8, U8, Hex],
        // URI.
        256 => &[U16, U16, Rest],
        // CAA.
        257 => &[U8, Tag, Rest],
        _ => return None,
    })
}

/// What an administrator would write; for hints.
pub(super) fn example(rtype: u16) -> &'static str {
    match rtype {
        1 => "10.250.1.7",
        2 => "ns.example.com.",
        5 | 12 | 39 => "other.example.com.",
        6 => "ns.example.com. hostmaster.example.com. 1 1h 10m 1w 5m",
        13 => "\"CPU\" \"OS\"",
        15 => "10 mail.example.com.",
        16 | 99 => "\"some text\"",
        28 => "2001:db8::7",
        33 => "10 0 5060 sip.example.com.",
        35 => "10 50 \"s\" \"SIP+D2U\" \"\" _sip._udp.example.com.",
        43 => "12345 13 2 00ff…",
        44 => "4 2 00ff…",
        52 | 53 => "3 1 1 00ff…",
        256 => "10 1 \"http://example.com/\"",
        257 => "0 issue \"ca.example.net\"",
        _ => "\\# 4 0a000001",
    }
}

/// The octets of a record's data. `end` is where words that are missing would stand.
pub(super) fn read(
    rtype: u16,
    tokens: &[Token<'_>],
    end: &Span,
    base: &Base,
) -> Result<Vec<u8>, Fault> {
    let data = match tokens.split_first() {
        Some((mark, rest)) if mark.text == "\\#" && !mark.is_quoted => {
            let data = generic(rest, mark, end)?;
            let is_well_formed = fields(rtype).is_none_or(|fields| holds(fields, &data));
            if !is_well_formed {
                return Err(Fault::new(
                    &mark.span,
                    format!("these octets are no data of a {} record", rtype::name_of_type(rtype)),
                    format!("write it as `{}`", example(rtype)),
                ));
            }
            data
        }
        _ => match fields(rtype) {
            Some(fields) => Words { tokens, at: 0, end, base, rtype }.read(fields)?,
            None => {
                let name = rtype::name_of_type(rtype);
                return Err(Fault::new(
                    tokens.first().map_or(end, |token| &token.span),
                    format!("the data of a {name} record can be written as octets only"),
                    "write \\#, how many octets, and those in hexadecimal: \\# 4 0a000001",
                ));
            }
        },
    };
    if data.len() > usize::from(u16::MAX) {
        return Err(Fault::new(end, "this record is longer than 65535 octets", "shorten it"));
    }
    Ok(data)
}

/// RFC 3597 section 5: how many octets, and those in hexadecimal.
fn generic(tokens: &[Token<'_>], mark: &Token<'_>, end: &Span) -> Result<Vec<u8>, Fault> {
    const HINT: &str = "write \\#, how many octets, and those in hexadecimal: \\# 4 0a000001";
    let Some((length, rest)) = tokens.split_first() else {
        return Err(Fault::new(end, "how many octets is missing after \\#", HINT));
    };
    let Ok(count) = length.text.parse::<u16>() else {
        let message = format!("`{}` is no number of octets", length.text);
        return Err(Fault::new(&length.span, message, HINT));
    };
    let data = hex(rest)?;
    if data.len() != usize::from(count) {
        let span = rest.first().map_or(&mark.span, |token| &token.span);
        let message = format!("{count} octets are announced, and there are {}", data.len());
        return Err(Fault::new(span, message, HINT));
    }
    Ok(data)
}

fn hex(tokens: &[Token<'_>]) -> Result<Vec<u8>, Fault> {
    let mut octets = Vec::new();
    let mut half: Option<u8> = None;
    for token in tokens {
        for digit in token.text.chars() {
            let Some(value) = digit.to_digit(16).and_then(|value| u8::try_from(value).ok()) else {
                let message = format!("`{}` is not hexadecimal", token.text);
                return Err(Fault::new(&token.span, message, "write digits 0 to 9 and a to f"));
            };
            match half.take() {
                Some(high) => octets.push(high << 4 | value),
                None => half = Some(value),
            }
        }
    }
    match (half, tokens.last()) {
        (Some(_), Some(last)) => Err(Fault::new(
            &last.span,
            "there is half an octet at the end",
            "write two hexadecimal digits an octet",
        )),
        _ => Ok(octets),
    }
}

/// The words of one record, read one after the other.
struct Words<'a, 't> {
    tokens: &'a [Token<'t>],
    at: usize,
    end: &'a Span,
    base: &'a Base,
    rtype: u16,
}

impl<'a, 't> Words<'a, 't> {
    fn read(mut self, fields: &[Field]) -> Result<Vec<u8>, Fault> {
        let mut data = Vec::new();
        for &field in fields {
            self.field(field, &mut data)?;
        }
        match self.tokens.get(self.at) {
            None => Ok(data),
            Some(surplus) => Err(Fault::new(
                &surplus.span,
                format!("`{}` is too much for a {} record", surplus.text, self.type_name()),
                self.hint(),
            )),
        }
    }

    fn type_name(&self) -> String {
        rtype::name_of_type(self.rtype)
    }

    fn hint(&self) -> String {
        format!("write it as `{}`", example(self.rtype))
    }

    fn next(&mut self, what: &str) -> Result<&'a Token<'t>, Fault> {
        let token = self.tokens.get(self.at).ok_or_else(|| {
            let message = format!("{what} is missing in this {} record", self.type_name());
            Fault::new(self.end, message, self.hint())
        })?;
        self.at += 1;
        Ok(token)
    }

    fn rest(&mut self) -> &'a [Token<'t>] {
        let rest = self.tokens.get(self.at..).unwrap_or_default();
        self.at = self.tokens.len();
        rest
    }

    fn field(&mut self, field: Field, data: &mut Vec<u8>) -> Result<(), Fault> {
        match field {
            Field::Ipv4 => {
                let address: Ipv4Addr = self.parsed("an IPv4 address")?;
                data.extend(address.octets());
            }
            Field::Ipv6 => {
                let address: Ipv6Addr = self.parsed("an IPv6 address")?;
                data.extend(address.octets());
            }
            Field::Name => {
                let token = self.next("a name")?;
                data.extend(name::read(token, self.base)?.as_wire());
            }
            Field::U8 => data.push(self.parsed("a number up to 255")?),
            Field::U16 => data.extend(self.parsed::<u16>("a number up to 65535")?.to_be_bytes()),
            Field::U32 => {
                data.extend(self.parsed::<u32>("a number up to 4294967295")?.to_be_bytes());
            }
            Field::Period => {
                let token = self.next("a time")?;
                data.extend(period_of(token)?.to_be_bytes());
            }
            Field::Text => {
                let token = self.next("a string")?;
                text(token, data)?;
            }
            Field::Texts => {
                text(self.next("a string")?, data)?;
                for token in self.rest() {
                    text(token, data)?;
                }
            }
            Field::Tag => {
                let token = self.next("a tag")?;
                let is_tag = !token.text.is_empty()
                    && token.text.bytes().all(|octet| octet.is_ascii_alphanumeric());
                if !is_tag {
                    let message = format!("`{}` is no tag", token.text);
                    return Err(Fault::new(&token.span, message, self.hint()));
                }
                text(token, data)?;
            }
            Field::Rest => data.extend(self.next("a text")?.octets()?),
            Field::Hex => data.extend(hex(self.rest())?),
        }
        Ok(())
    }

    fn parsed<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, Fault> {
        let token = self.next(what)?;
        // A sign is no part of a number here.
        let text = if token.text.starts_with('+') { "" } else { token.text };
        text.parse().map_err(|_| {
            let message = format!("`{}` is not {what}", token.text);
            Fault::new(&token.span, message, self.hint())
        })
    }
}

fn text(token: &Token<'_>, data: &mut Vec<u8>) -> Result<(), Fault> {
    let octets = token.octets()?;
    let Ok(length) = u8::try_from(octets.len()) else {
        return Err(Fault::new(
            &token.span,
            format!("this string has {} octets", octets.len()),
            "a string has at most 255; write several strings",
        ));
    };
    data.push(length);
    data.extend(octets);
    Ok(())
}

/// A text in strings of at most 255 octets, as a TXT record has it.
pub(super) fn texts_of(text: &str) -> Vec<u8> {
    if text.is_empty() {
        return vec![0];
    }
    let strings = text.as_bytes().chunks(255);
    strings.flat_map(|chunk| [&[chunk.len() as u8], chunk].concat()).collect()
}

/// Seconds, as a number or with units (`1w2d3h4m5s`); below 2³¹ (RFC 2181 section 8).
pub(super) fn period(text: &str) -> Option<u32> {
    let mut total = 0u32;
    let mut number: Option<u32> = None;
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            continue;
        }
        let unit = match c.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    // Only a number without any unit may end in one without.
    let total = match number {
        Some(number) if text.bytes().all(|octet| octet.is_ascii_digit()) => number,
        Some(_) => return None,
        None if text.is_empty() => return None,
        None => total,
    };
    (total <= i32::MAX as u32).then_some(total)
}

fn period_of(token: &Token<'_>) -> Result<u32, Fault> {
    period(token.text).ok_or_else(|| {
        Fault::new(
            &token.span,
            format!("`{}` is not a time", token.text),
            "write seconds, or numbers with w, d, h, m or s, up to 2147483647 seconds",
        )
    })
}

/// Whether octets are what a type's fields say.
fn holds(fields: &[Field], data: &[u8]) -> bool {
    let mut rest = data;
    for field in fields {
        let length = match field {
            Field::Ipv4 | Field::U32 => Some(4),
            // 32 bits of seconds, of which the first is 0.
            Field::Period => (rest.first().is_some_and(|first| *first < 0x80)).then_some(4),
            Field::Ipv6 => Some(16),
            Field::U8 => Some(1),
            Field::U16 => Some(2),
            Field::Name => name_length(rest),
            Field::Text | Field::Tag => rest.first().map(|length| usize::from(*length) + 1),
            Field::Texts => {
                let mut strings = rest;
                while let Some((&length, after)) = strings.split_first() {
                    match after.split_at_checked(usize::from(length)) {
                        Some((_, after)) => strings = after,
                        None => return false,
                    }
                }
                (!rest.is_empty()).then_some(rest.len())
            }
            Field::Rest | Field::Hex => Some(rest.len()),
        };
        match length.and_then(|length| rest.split_at_checked(length)) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

/// How long the name is that `data` begins with; none when it is compressed or not whole.
fn name_length(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *data.get(at)? {
            0 => return (at < 255).then_some(at + 1),
            length @ 1..=63 => at += usize::from(length) + 1,
            _ => return None,
        }
    }
}

/// The names in the data of a record that somebody who gets it looks up next.
pub(crate) fn target(rtype: u16, data: &[u8]) -> Option<WireName> {
    let at = match rtype {
        // NS, CNAME, PTR, DNAME.
        2 | 5 | 12 | 39 => 0,
        // MX.
        15 => 2,
        // SRV.
        33 => 6,
        _ => return None,
    };
    let mut rest = data.get(at..)?;
    let mut labels = Vec::new();
    while let Some((&length @ 1.., after)) = rest.split_first() {
        let (label, after) = after.split_at_checked(usize::from(length))?;
        labels.push(label);
        rest = after;
    }
    WireName::from_labels(labels)
}

/// A type that a zone can hold; `text` is its name.
pub(super) fn holdable(text: &str, span: &Span) -> Result<u16, Fault> {
    let number = rtype::rtype(text);
    if let Some(number) = number.filter(|number| !rtype::is_meta(*number)) {
        return Ok(number);
    }
    let hint = match crate::words::nearest(&text.to_ascii_uppercase(), rtype::names()) {
        Some(near) if number.is_none() => format!("did you mean `{near}`?"),
        _ => {
            "write A, AAAA, CNAME, TXT, SRV, NAPTR, MX, PTR, NS or another, or TYPE and its number"
                .to_owned()
        }
    };
    let message = match number {
        Some(_) => format!("no zone holds records of `{text}`"),
        None => format!("there is no record type `{text}`"),
    };
    Err(Fault::new(span, message, hint).of(Code::UnknownRecordType))
}

#[cfg(test)]
mod tests {
    use super::super::token::Lexer;
    use super::*;

    fn octets(rtype: u16, text: &str) -> Result<Vec<u8>, (Span, String)> {
        let base = Base::Origin(WireName::from_labels([&b"lab"[..]]).unwrap());
        let end = text.len()..text.len();
        let words = Lexer::words(text).unwrap();
        read(rtype, &words, &end, &base).map_err(|fault| (fault.span, fault.message))
    }

    #[test]
    fn data_is_written_as_its_type_says() {
        for (rtype, text, data) in [
            (1, "10.1.2.3", &[10, 1, 2, 3][..]),
            (28, "::1", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (5, "A", b"\x01A\x03lab\0"),
            (5, ".", b"\0"),
            (15, "10 @", b"\0\x0a\x03lab\0"),
            (16, "a \"b c\" \"\" \\\"", b"\x01a\x03b c\0\x01\""),
            (33, "1 2 5060 x.", b"\0\x01\0\x02\x13\xc4\x01x\0"),
            (35, "10 50 s \"SIP+D2U\" \"\" .", b"\0\x0a\0\x32\x01s\x07SIP+D2U\0\0"),
            (13, "a b", b"\x01a\x01b"),
            (43, "1 13 2 00 ff0 1", b"\0\x01\x0d\x02\x00\xff\x01"),
            (256, "1 2 \"ftp://a\"", b"\0\x01\0\x02ftp://a"),
            (257, "0 issue \"ca; x\"", b"\0\x05issueca; x"),
            (65280, "\\# 3 ab CDE F", b"\xab\xcd\xef"),
            (65280, "\\# 0", b""),
            (1, "\\# 4 0a010203", &[10, 1, 2, 3]),
            (33, "\\# 9 000100021 3c4 017800", b"\0\x01\0\x02\x13\xc4\x01x\0"),
        ] {
            assert_eq!(octets(rtype, text).as_deref(), Ok(data), "{rtype} {text}");
        }
        let soa = octets(6, "a b 5 1h 10m 1w 30").unwrap();
        assert_eq!(soa[soa.len() - 16..], [0, 0, 14, 16, 0, 0, 2, 88, 0, 9, 58, 128, 0, 0, 0, 30]);
        // Examples that hints give are right.
        for rtype in [1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 35, 39, 99, 256, 257] {
            assert!(octets(rtype, example(rtype)).is_ok(), "{rtype}");
        }
    }

    #[test]
    fn a_mistake_has_its_place() {
        for (rtype, text, span) in [
            (1, "10.1.2", 0..6),
            (1, "", 0..0),
            (1, "10.1.2.3 x", 9..10),
            (15, "65536 a", 0..5),
            (15, "+1 a", 0..2),
            (15, "10", 2..2),
            (33, "1 2 x a", 4..5),
            (16, "", 0..0),
            (5, "\"a\"", 0..3),
            (6, "a b 1 2 3 4 9z", 12..14),
            (43, "1 2 3 0g", 6..8),
            (43, "1 2 3 012", 6..9),
            (65280, "0a", 0..2),
            (65280, "\\# x", 3..4),
            (65280, "\\# 2 0a", 5..7),
            (65280, "\\#", 2..2),
            (1, "\\# 3 0a0102", 0..2),
            (5, "\\# 2 c000", 0..2),
            (5, "\\# 3 017800ff", 5..13),
        ] {
            let fault = octets(rtype, text).expect_err(text);
            assert_eq!(fault.0, span, "{rtype} {text}: {}", fault.1);
        }
        let long = format!("\"{}\"", "x".repeat(256));
        assert!(octets(16, &long).is_err());
    }

    #[test]
    fn times_have_units_or_none() {
        for (text, seconds) in [("0", Some(0)), ("90", Some(90)), ("1h30m", Some(5400))] {
            assert_eq!(period(text), seconds);
        }
        assert_eq!(period("1W2D3H4M5S"), Some(604_800 + 2 * 86_400 + 3 * 3600 + 4 * 60 + 5));
        assert_eq!(period("2147483647"), Some(2_147_483_647));
        for text in ["", "h", "1h5", "2147483648", "99999999999", "1y", "-1", "3551w"] {
            assert_eq!(period(text), None, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_several_strings() {
        assert_eq!(texts_of(""), [0]);
        assert_eq!(texts_of("ab"), b"\x02ab");
        let long = texts_of(&"x".repeat(300));
        assert_eq!((long[0], long[256], long.len()), (255, 45, 302));
    }
}
