//! Option 81 as clients send it (RFC 4702), in either of its encodings.

use super::trim_nuls;

/// The flags of option 81.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    /// S: the server updates the A record.
    pub(crate) const SERVER_UPDATES: Self = Self(0x01);
    /// O: the server does otherwise than the client wished.
    pub(crate) const OVERRIDE: Self = Self(0x02);
    /// E: the name is in the wire format of DNS; ASCII otherwise.
    pub(crate) const ENCODED: Self = Self(0x04);
    /// N: no updates at all.
    pub(crate) const NO_UPDATE: Self = Self(0x08);

    /// Whether the flag is set.
    pub(crate) const fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    /// With the flag set.
    pub(crate) const fn with(self, flag: Self) -> Self {
        Self(self.0 | flag.0)
    }

    /// With all others cleared.
    pub(crate) const fn only(self, flag: Self) -> Self {
        Self(self.0 & flag.0)
    }
}

/// What a client says of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientName<'a> {
    /// As sent.
    pub(crate) flags: Flags,
    /// Leftmost first, none empty; none at all from a client that leaves its name to us.
    pub(crate) labels: Vec<&'a [u8]>,
    /// Whether it is a full name. ASCII with a dot in it is: Windows ends its full names with none.
    pub(crate) is_full: bool,
    /// Whether it is ASCII that ends with a dot.
    pub(crate) is_dotted: bool,
}

impl<'a> ClientName<'a> {
    /// Reads the payload; `None` when it is too short to have flags and result codes. A name that is damaged ends
    /// before the damage, and is not full.
    pub(crate) fn read(payload: &'a [u8]) -> Option<Self> {
        let ([flags, ..], name) = payload.split_first_chunk::<3>()?;
        let flags = Flags(*flags);
        if flags.contains(Flags::ENCODED) {
            let (labels, is_full) = encoded_labels(name);
            return Some(Self { flags, labels, is_full, is_dotted: false });
        }
        let name = trim_nuls(name);
        let is_dotted = name.ends_with(b".");
        let labels: Vec<_> =
            name.split(|byte| *byte == b'.').filter(|label| !label.is_empty()).collect();
        Some(Self { flags, is_full: is_dotted || labels.len() > 1, labels, is_dotted })
    }
}

/// Labels of the wire format, and whether the root ends them.
fn encoded_labels(mut name: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut labels = Vec::new();
    while let Some((len, rest)) = name.split_first() {
        if *len == 0 {
            return (labels, true);
        }
        // Compression is not allowed here, and there is nothing to point to.
        let Some((label, rest)) = rest.split_at_checked(usize::from(*len)).filter(|_| *len < 64)
        else {
            break;
        };
        labels.push(label);
        name = rest;
    }
    (labels, false)
}
