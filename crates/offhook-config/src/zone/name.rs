//! Domain names as text.

use offhook_model::WireName;

use super::token::Token;
use super::{Base, Fault};

/// The name that a word stands for.
pub(super) fn read(token: &Token<'_>, base: &Base) -> Result<WireName, Fault> {
    let text = token.text;
    let bad = |message: String, hint: &str| Fault::new(&token.span, message, hint);
    if token.is_quoted {
        return Err(bad(format!("the name `{text}` is in quotes"), "leave out the quotes"));
    }
    let (Base::Origin(top) | Base::Zone(top)) = base;
    if text == "@" {
        return Ok(top.clone());
    }
    if text == "." {
        return Ok(WireName::root());
    }
    let (labels, is_full) = labels(token)?;
    let is_full = is_full
        || match base {
            Base::Origin(_) => false,
            Base::Zone(_) => {
                labels.len() > 1 && labels.last().is_some_and(|label| !label.starts_with(b"_"))
            }
        };
    if labels.iter().any(|label| label.len() > 63) {
        let message = format!("`{text}` has a label of more than 63 octets");
        return Err(bad(message, "shorten it"));
    }
    let name = WireName::from_labels(labels.iter().map(Vec::as_slice))
        .and_then(|name| if is_full { Some(name) } else { name.below(top) });
    name.ok_or_else(|| {
        bad(format!("`{text}` is longer than a name can be"), "a name has at most 255 octets")
    })
}

/// The labels, none empty, and whether there is a dot at the end.
fn labels(token: &Token<'_>) -> Result<(Vec<Vec<u8>>, bool), Fault> {
    let mut labels = vec![Vec::new()];
    let mut rest = token.text.bytes().enumerate();
    while let Some((at, octet)) = rest.next() {
        let octet = match octet {
            b'.' => {
                labels.push(Vec::new());
                continue;
            }
            b'\\' => token.escape(at, &mut rest)?,
            _ if !octet.is_ascii() => {
                return Err(Fault::new(
                    &token.span,
                    format!("`{}` is not ASCII", token.text),
                    "write it as the wire has it: xn--…, or \\ and three decimal digits an octet",
                ));
            }
            _ => octet,
        };
        if let Some(label) = labels.last_mut() {
            label.push(octet);
        }
    }
    let is_full = labels.len() > 1 && labels.last().is_some_and(Vec::is_empty);
    if is_full {
        labels.pop();
    }
    if labels.iter().any(Vec::is_empty) {
        let message = format!("`{}` has nothing between two dots", token.text);
        return Err(Fault::new(&token.span, message, "a domain name has no empty labels"));
    }
    Ok((labels, is_full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, base: &Base) -> Result<String, String> {
        let token = Token { text, is_quoted: false, span: 0..text.len() };
        super::read(&token, base).map(|name| name.to_string()).map_err(|fault| fault.message)
    }

    #[test]
    fn names_are_completed_as_a_zone_file_does_or_as_the_configuration_does() {
        let zone = WireName::from_labels([&b"lab"[..], b"voip"]).unwrap();
        let (origin, zone) = (Base::Origin(zone.clone()), Base::Zone(zone));
        for (text, in_file, in_table) in [
            ("@", "lab.voip.", "lab.voip."),
            (".", ".", "."),
            ("a", "a.lab.voip.", "a.lab.voip."),
            ("a.", "a.", "a."),
            ("a.b", "a.b.lab.voip.", "a.b."),
            ("a.b.", "a.b.", "a.b."),
            ("_sip._udp", "_sip._udp.lab.voip.", "_sip._udp.lab.voip."),
            ("a\\.b", "a\\.b.lab.voip.", "a\\.b.lab.voip."),
            ("A\\032b", "A\\032b.lab.voip.", "A\\032b.lab.voip."),
            ("\\@", "\\@.lab.voip.", "\\@.lab.voip."),
            ("*", "*.lab.voip.", "*.lab.voip."),
        ] {
            assert_eq!(read(text, &origin).as_deref(), Ok(in_file), "{text}");
            assert_eq!(read(text, &zone).as_deref(), Ok(in_table), "{text}");
        }
        for text in ["a..b", "..", ".a", "", "é", "a\\300", &"x".repeat(64), &"x.".repeat(128)] {
            assert!(read(text, &origin).is_err(), "{text}");
        }
    }
}
