//! The names a client has in the voice zone: labels that follow from its lease.

use std::fmt;

use crate::{HardwareAddress, Lease};

/// The longest label (RFC 1035, section 2.3.4).
const LONGEST: usize = 63;

/// The model of a client that is of no class.
const NO_MODEL: &str = "client";

/// Names that programs look for by themselves: whoever had one would be asked for proxies, tunnels or itself.
const NOBODYS: [&str; 3] = ["isatap", "localhost", "wpad"];

/// What can be a label of a host name (RFC 1123, section 2.1): runs of other bytes become a hyphen, none of them at
/// an end, and what is longer than a label is cut. An underscore is none of these letters but stays: Polycom's own
/// host names have one. `None` when nothing is left.
pub fn clean_label(name: &[u8]) -> Option<String> {
    let mut label = String::with_capacity(name.len().min(LONGEST));
    for byte in name {
        let allowed = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match allowed {
            true => label.push(char::from(*byte)),
            false if label.ends_with('-') => {}
            false => label.push('-'),
        }
        // What is trimmed from the front does not count.
        if label.len() == 1 && label.starts_with(['-', '_']) {
            label.clear();
        }
        if label.len() == LONGEST {
            break;
        }
    }
    label.truncate(label.trim_end_matches(['-', '_']).len());
    (!label.is_empty()).then_some(label)
}

/// [`clean_label`], unless it is a name that no client may have in the zone.
pub fn host_label(name: &[u8]) -> Option<String> {
    let is_nobodys = |label: &String| NOBODYS.iter().any(|name| label.eq_ignore_ascii_case(name));
    clean_label(name).filter(|label| !is_nobodys(label))
}

/// `<model>-<mac>`, lower case, as the guide calls phones: `440hd-001122334455`. The model is the name of the class,
/// or `client`. `None` for a client without a hardware address.
pub fn model_label(class: Option<&str>, hardware: HardwareAddress) -> Option<String> {
    let bytes = hardware.bytes();
    if bytes.is_empty() {
        return None;
    }
    let model = class.and_then(|class| clean_label(class.as_bytes()));
    let mut label = model.map_or(NO_MODEL.to_owned(), |model| model.replace('_', "-"));
    label.make_ascii_lowercase();
    let room = LONGEST - 1 - 2 * bytes.len();
    label.truncate(room);
    label.truncate(label.trim_end_matches('-').len());
    label.push('-');
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0x0f] {
            label.extend(char::from_digit(nibble.into(), 16));
        }
    }
    Some(label)
}

/// What DNS knows of who has which name in the zone.
pub trait ZoneNames: fmt::Debug + Send + Sync {
    /// Whether the configuration or another client has the name of a label.
    fn is_taken(&self, label: &str, client: HardwareAddress) -> bool;
}

impl Lease {
    /// [`model_label`] of its holder.
    pub fn model_label(&self) -> Option<String> {
        model_label(self.class.as_deref(), self.hardware)
    }

    /// What its holder calls itself, as a label in lower case: of a name with dots the first one.
    pub fn host_label(&self) -> Option<String> {
        let name = self.host_name.as_deref()?;
        let label = host_label(name.split(|byte| *byte == b'.').next()?)?;
        Some(label.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mac;

    #[test]
    fn host_names_are_cleaned() {
        let long = "x".repeat(70);
        for (name, label) in [
            ("pc-7", Some("pc-7")),
            ("PC 7!", Some("PC-7")),
            ("Empfang Büro", Some("Empfang-B-ro")),
            ("Polycom_64167f97e4f6", Some("Polycom_64167f97e4f6")),
            ("_sip", Some("sip")),
            ("-_-a-_-", Some("a")),
            ("a ! b", Some("a-b")),
            ("a--b", Some("a--b")),
            ("\0\x01\x7f", None),
            ("", None),
            ("---", None),
            ("WPAD", None),
            ("localhost", None),
            ("wpad2", Some("wpad2")),
            (&long, Some(&long[..63])),
        ] {
            assert_eq!(host_label(name.as_bytes()).as_deref(), label, "{name:?}");
        }
        let dashed = [&[b'x'; 62][..], b"--y"].concat();
        assert_eq!(host_label(&dashed).unwrap().len(), 62);
    }

    #[test]
    fn a_client_is_called_by_model_and_address() {
        let mac = HardwareAddress::from(Mac([0, 0x11, 0x22, 0x33, 0x44, 0x55]));
        for (class, label) in [
            (Some("440HD"), "440hd-001122334455"),
            (Some("Door phones_2"), "door-phones-2-001122334455"),
            (Some("***"), "client-001122334455"),
            (None, "client-001122334455"),
        ] {
            assert_eq!(model_label(class, mac).as_deref(), Some(label));
        }
        let class = "c".repeat(80);
        assert_eq!(model_label(Some(&class), mac).unwrap().len(), 63);
        let long = HardwareAddress::new(32, &[0xab; 16]);
        assert_eq!(model_label(None, long).unwrap(), format!("client-{}", "ab".repeat(16)));
        assert_eq!(model_label(None, HardwareAddress::new(0, &[])), None);
    }
}
