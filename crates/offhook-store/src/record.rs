//! The bytes of a lease on disk, format version 1.
//!
//! The key is the address. The value, integers in network byte order:
//!
//! | field     | bytes                                                               |
//! |-----------|---------------------------------------------------------------------|
//! | state     | 1: 0 bound, 1 released, 2 declined                                  |
//! | since     | 8: milliseconds since the Unix epoch                                |
//! | expires   | 8: the same                                                         |
//! | client    | 0 then *text* (option 61), or 1 then *hardware*                     |
//! | hardware  | *hardware*                                                          |
//! | scope     | *text*, UTF-8                                                       |
//! | class     | 0 (none), or 1 then *text*, UTF-8                                   |
//! | host name | 0 (none), or 1 then *text*                                          |
//! | checksum  | 4: CRC-32 of the four bytes of the address and everything above     |
//!
//! *hardware* is htype (1), length (1, at most 16) and that many bytes. *text* is a length and that many
//! bytes; the length is a LEB128 number in its shortest form.

use std::net::Ipv4Addr;

use offhook_model::{ClientId, HardwareAddress, Lease, LeaseState, Time};

/// Bytes of the checksum at the end.
const CHECKSUM: usize = 4;

/// Appends the record of `lease` to `to`, which must be empty.
pub(crate) fn encode(lease: &Lease, to: &mut Vec<u8>) {
    to.push(match lease.state {
        LeaseState::Bound => 0,
        LeaseState::Released => 1,
        LeaseState::Declined => 2,
    });
    to.extend(lease.since.as_millis().to_be_bytes());
    to.extend(lease.expires.as_millis().to_be_bytes());
    match &lease.client {
        ClientId::Option61(bytes) => {
            to.push(0);
            put_text(bytes, to);
        }
        ClientId::Hardware(hardware) => {
            to.push(1);
            put_hardware(hardware, to);
        }
    }
    put_hardware(&lease.hardware, to);
    put_text(lease.scope.as_bytes(), to);
    put_optional(lease.class.as_deref().map(str::as_bytes), to);
    put_optional(lease.host_name.as_deref(), to);
    to.extend(crc(lease.address, to).to_be_bytes());
}

fn put_hardware(hardware: &HardwareAddress, to: &mut Vec<u8>) {
    to.push(hardware.htype());
    // At most 16, by construction.
    to.push(hardware.bytes().len() as u8);
    to.extend(hardware.bytes());
}

fn put_optional(text: Option<&[u8]>, to: &mut Vec<u8>) {
    to.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_text(text, to);
    }
}

fn put_text(text: &[u8], to: &mut Vec<u8>) {
    let mut length = text.len();
    while length > 0x7f {
        to.push(length as u8 | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
    to.extend(text);
}

fn crc(address: Ipv4Addr, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&address.octets());
    hasher.update(record);
    hasher.finalize()
}

/// The checksum a record ends with, whether it is right or not; 0 for one too short to have any.
pub(crate) fn checksum(record: &[u8]) -> u32 {
    record.last_chunk::<CHECKSUM>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Reads the record of `address`; none unless it is exactly what [`encode`] writes.
pub(crate) fn decode(address: Ipv4Addr, record: &[u8]) -> Option<Lease> {
    let (body, stored) = record.split_last_chunk::<CHECKSUM>()?;
    if crc(address, body) != u32::from_be_bytes(*stored) {
        return None;
    }
    let mut body = Reader(body);
    let state = match body.byte()? {
        0 => LeaseState::Bound,
        1 => LeaseState::Released,
        2 => LeaseState::Declined,
        _ => return None,
    };
    let (since, expires) = (body.time()?, body.time()?);
    let client = match body.byte()? {
        0 => ClientId::Option61(body.text()?.into()),
        1 => ClientId::Hardware(body.hardware()?),
        _ => return None,
    };
    let hardware = body.hardware()?;
    let scope = body.utf8()?;
    let class = if body.flag()? { Some(body.utf8()?) } else { None };
    let host_name = if body.flag()? { Some(body.text()?.into()) } else { None };
    body.0.is_empty().then_some(Lease {
        address,
        client,
        hardware,
        state,
        since,
        expires,
        scope,
        class,
        host_name,
    })
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }

    fn time(&mut self) -> Option<Time> {
        let (millis, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(Time::from_millis(u64::from_be_bytes(*millis)))
    }

    fn hardware(&mut self) -> Option<HardwareAddress> {
        let htype = self.byte()?;
        let length = self.byte().filter(|length| *length <= 16)?;
        Some(HardwareAddress::new(htype, self.bytes(length.into())?))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let mut length = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = usize::from(byte & 0x7f);
            // Neither more bits than a length has nor more bytes than it needs.
            if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                return None;
            }
            length |= bits << shift;
            if byte & 0x80 == 0 {
                return self.bytes(length);
            }
        }
        None
    }

    fn utf8(&mut self) -> Option<Box<str>> {
        Some(std::str::from_utf8(self.text()?).ok()?.into())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A lease like those of the sample site.
    pub(crate) fn lease(n: u32) -> Lease {
        let [a, b, c, d] = n.to_be_bytes();
        let hardware = HardwareAddress::new(1, &[0, 0x90, a, b, c, d]);
        Lease {
            address: Ipv4Addr::from(0x0a00_0000 + n),
            client: ClientId::Hardware(hardware),
            hardware,
            state: LeaseState::Bound,
            since: Time::from_secs(1_700_000_000),
            expires: Time::from_secs(1_700_028_800),
            scope: "voice".into(),
            class: Some("440HD".into()),
            host_name: Some(b"AC_phone".as_slice().into()),
        }
    }

    pub(crate) fn encoded(lease: &Lease) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(lease, &mut bytes);
        bytes
    }

    #[test]
    fn a_lease_is_these_bytes() {
        let lease = Lease {
            since: Time::from_millis(0x0102),
            expires: Time::from_millis(0x0304),
            class: None,
            ..lease(100)
        };
        let expected = [
            &[0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4][..],
            &[1, 1, 6, 0, 0x90, 0, 0, 0, 100],
            &[1, 6, 0, 0x90, 0, 0, 0, 100],
            b"\x05voice",
            &[0],
            b"\x01\x08AC_phone",
        ]
        .concat();
        let bytes = encoded(&lease);
        assert_eq!(bytes[..bytes.len() - 4], expected);
        let summed = [&[10, 0, 0, 100][..], &expected].concat();
        assert_eq!(checksum(&bytes), crc32fast::hash(&summed));
    }

    #[test]
    fn a_record_under_another_address_or_with_any_bit_flipped_is_no_lease() {
        let lease = lease(7);
        let bytes = encoded(&lease);
        assert_eq!(decode(lease.address, &bytes), Some(lease.clone()));
        assert_eq!(decode(Ipv4Addr::new(10, 0, 0, 8), &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(lease.address, &other), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(lease.address, &bytes[..length]), None, "cut to {length}");
        }
    }

    fn hardware() -> impl Strategy<Value = HardwareAddress> {
        (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..=16))
            .prop_map(|(htype, bytes)| HardwareAddress::new(htype, &bytes))
    }

    prop_compose! {
        pub(crate) fn any_lease()(
            address: u32,
            client in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300)
                    .prop_map(|bytes| ClientId::Option61(bytes.into())),
                hardware().prop_map(ClientId::Hardware),
            ],
            hardware in hardware(),
            state in prop_oneof![
                Just(LeaseState::Bound),
                Just(LeaseState::Released),
                Just(LeaseState::Declined),
            ],
            times: (u64, u64),
            scope: String,
            class: Option<String>,
            host_name: Option<Vec<u8>>,
        ) -> Lease {
            Lease {
                address: address.into(),
                client,
                hardware,
                state,
                since: Time::from_millis(times.0),
                expires: Time::from_millis(times.1),
                scope: scope.into(),
                class: class.map(Into::into),
                host_name: host_name.map(Into::into),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(lease in any_lease()) {
            prop_assert_eq!(decode(lease.address, &encoded(&lease)), Some(lease));
        }

        /// With a right checksum, so that the fields are what is refused.
        #[test]
        fn bytes_decode_only_if_they_are_what_their_lease_encodes_to(
            mut bytes in proptest::collection::vec(0_u8..4, 17..60),
            address: u32,
        ) {
            let address = Ipv4Addr::from(address);
            bytes.extend(crc(address, &bytes).to_be_bytes());
            if let Some(lease) = decode(address, &bytes) {
                prop_assert_eq!(encoded(&lease), bytes);
            }
        }
    }
}
