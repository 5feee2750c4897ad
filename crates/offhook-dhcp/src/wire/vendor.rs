//! Data that a vendor, or a relay, framed in a way of its own: options 60, 77, 82, 124 and 125.
//!
//! All of it comes from the network: where a length is wrong, what was read before it counts, and what is left of
//! the piece it belongs to.

use super::trim_nuls;

/// The enterprise number that Polycom's binary option 60 begins with. What follows (a length byte, TLVs) is not looked
/// at: a phone whose TLVs were cut or damaged on the way is still that phone.
pub(crate) fn enterprise(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|number| u32::from_be_bytes(*number))
}

/// The sub-fields of Polycom's binary option 60, after the enterprise number and a length byte that is not trusted.
pub(crate) fn polycom_fields(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    sub_options(bytes.get(5..).unwrap_or_default())
}

/// Sub-options: code, length, value. The last is clipped where its length runs past the end.
pub(crate) fn sub_options(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (code, rest) = bytes.split_first()?;
        let (len, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        bytes = rest;
        Some((*code, value))
    })
}

/// The blocks of options 124 and 125 (RFC 3925): an enterprise number, a length, data. The last is clipped where its
/// length runs past the end.
pub(crate) fn enterprise_blocks(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (number, rest) = bytes.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first().unwrap_or((&0, rest));
        let (data, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        bytes = rest;
        Some((u32::from_be_bytes(*number), data))
    })
}

/// What option 77 may mean, likeliest first: all of it as raw text, all but a wrong length byte, then the instances of
/// RFC 3004.
pub(crate) fn user_classes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Some count the NUL at the end of an instance and do not send it, or the other way round.
    let miscounted = bytes.split_first().filter(|(len, _)| **len < b' ').map(|(_, text)| text);
    let trimmed = trim_nuls(bytes);
    let again = (trimmed.len() != bytes.len()).then(|| instances(trimmed));
    [Some(bytes), miscounted]
        .into_iter()
        .flatten()
        .chain(instances(bytes))
        .chain(again.into_iter().flatten())
}

/// Pieces with a length byte each, as in options 77 (RFC 3004) and 124 (RFC 3925): up to the first whose length is wrong; one that lacks only its last byte is still told.
pub(crate) fn instances(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first()?;
        let len = usize::from(*len);
        if len == rest.len() + 1 && len > 1 {
            bytes = &[];
            return Some(rest);
        }
        let (instance, rest) = rest.split_at_checked(len)?;
        bytes = rest;
        Some(instance)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_several_enterprises_are_told_apart_and_damage_costs_only_what_follows() {
        let blocks = |bytes| enterprise_blocks(bytes).collect::<Vec<_>>();
        assert_eq!(
            blocks(b"\x00\x00\x36\x3d\x02ab\x00\x00\x04\x1b\x00\x00\x00\x36\x3d\x01c"),
            [(13885, &b"ab"[..]), (1051, &b""[..]), (13885, &b"c"[..])]
        );
        assert_eq!(blocks(b"\x00\x00\x36\x3d\x09ab"), [(13885, &b"ab"[..])]);
        assert_eq!(blocks(b"\x00\x00\x36\x3d"), [(13885, &b""[..])]);
        assert_eq!(blocks(b"\x00\x00\x36"), []);
    }

    #[test]
    fn sub_options_are_read_up_to_the_damage() {
        let read = |bytes| sub_options(bytes).collect::<Vec<_>>();
        assert_eq!(
            read(b"\x01\x01a\x02\x00\x03\x09bc"),
            [(1, &b"a"[..]), (2, &b""[..]), (3, &b"bc"[..])]
        );
        assert_eq!(read(b"\x01"), []);
    }
}
