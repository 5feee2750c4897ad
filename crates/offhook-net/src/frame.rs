//! Ethernet frames that carry IPv4 and UDP: built for clients that have no address yet and for everybody on a link, read
//! for simulated phones.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::{fmt, io};

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    EtherType, Ethernet2Header, Ethernet2Slice, IpDscp, IpNumber, Ipv4Header, Ipv4HeaderSlice,
    Ipv4Slice, UdpHeader, UdpSlice,
};
use offhook_model::Mac;

/// Hops a reply may take; it never takes any.
const TIME_TO_LIVE: u8 = 64;

/// A UDP datagram with everything that its frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpFrame<'a> {
    /// The sender's hardware address.
    pub source_mac: Mac,
    /// The receiver's hardware address.
    pub destination_mac: Mac,
    /// The sender's address and port.
    pub source: SocketAddrV4,
    /// The receiver's address and port.
    pub destination: SocketAddrV4,
    /// What is in it; at most 65,507 bytes.
    pub payload: &'a [u8],
}

/// A received [`UdpFrame`].
pub type Frame<'a> = UdpFrame<'a>;

/// A payload that does not fit into a UDP datagram; holds its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError(pub usize);

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes do not fit into a UDP datagram", self.0)
    }
}

impl std::error::Error for FrameError {}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl<'a> UdpFrame<'a> {
    /// Appends the frame to `to`: Ethernet II, IPv4, UDP, both checksums filled in.
    ///
    /// # Errors
    /// The payload does not fit into a datagram; `to` is as before.
    pub fn write(&self, to: &mut Vec<u8>) -> Result<(), FrameError> {
        self.write_marked(IpDscp::ZERO, to)
    }

    /// [`Self::write`] with a DSCP.
    pub(crate) fn write_marked(&self, dscp: IpDscp, to: &mut Vec<u8>) -> Result<(), FrameError> {
        let too_long = FrameError(self.payload.len());
        let ethernet = Ethernet2Header {
            source: self.source_mac.0,
            destination: self.destination_mac.0,
            ether_type: EtherType::IPV4,
        };
        let udp_len = u16::try_from(self.payload.len() + UdpHeader::LEN).map_err(|_| too_long)?;
        let mut ip = Ipv4Header::new(
            udp_len,
            TIME_TO_LIVE,
            IpNumber::UDP,
            self.source.ip().octets(),
            self.destination.ip().octets(),
        )
        .map_err(|_| too_long)?;
        ip.dscp = dscp;
        ip.header_checksum = ip.calc_header_checksum();
        let udp = UdpHeader::with_ipv4_checksum(
            self.source.port(),
            self.destination.port(),
            &ip,
            self.payload,
        )
        .map_err(|_| too_long)?;
        to.extend_from_slice(&ethernet.to_bytes());
        to.extend_from_slice(&ip.to_bytes());
        to.extend_from_slice(&udp.to_bytes());
        to.extend_from_slice(self.payload);
        Ok(())
    }

    /// Reads a frame; none when it is not an unfragmented IPv4 UDP datagram, whole, with lengths that agree and
    /// checksums that hold, as the kernel hands none to a UDP socket either. Padding after the datagram is dropped. A
    /// UDP checksum may be missing, or half done: on veth and in virtual machines the sender's kernel leaves the rest
    /// to hardware that is not there.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let ethernet = Ethernet2Slice::from_slice_without_fcs(bytes).ok()?;
        if ethernet.ether_type() != EtherType::IPV4 {
            return None;
        }
        let ip = Ipv4Slice::from_slice(ethernet.payload_slice()).ok()?;
        if ip.payload_ip_number() != IpNumber::UDP || ip.is_payload_fragmented() {
            return None;
        }
        let udp = UdpSlice::from_slice(ip.payload().payload).ok()?;
        let header = ip.header();
        let has_length = usize::from(udp.length()) == udp.slice().len();
        if !has_length || sum([header.slice()]) != ALL_ONES || !is_intact(&header, &udp) {
            return None;
        }
        Some(Self {
            source_mac: Mac(ethernet.source()),
            destination_mac: Mac(ethernet.destination()),
            source: SocketAddrV4::new(Ipv4Addr::from(header.source()), udp.source_port()),
            destination: SocketAddrV4::new(
                Ipv4Addr::from(header.destination()),
                udp.destination_port(),
            ),
            payload: udp.payload(),
        })
    }
}

/// What the words of anything with its checksum come to (RFC 1071).
const ALL_ONES: u16 = u16::MAX;

/// The one's complement sum of the words of several parts, of which all but the last are of even length.
fn sum<const N: usize>(parts: [&[u8]; N]) -> u16 {
    !parts
        .into_iter()
        .fold(Sum16BitWords::new(), Sum16BitWords::add_slice)
        .ones_complement()
        .to_be()
}

/// Whether the UDP checksum of a datagram holds, is not there, or is that of the pseudo header alone.
fn is_intact(ip: &Ipv4HeaderSlice<'_>, udp: &UdpSlice<'_>) -> bool {
    let [high, low] = udp.length().to_be_bytes();
    let (source, destination) = (ip.source(), ip.destination());
    let rest = [0, IpNumber::UDP.0, high, low];
    udp.checksum() == 0
        || sum([&source, &destination, &rest, udp.slice()]) == ALL_ONES
        || sum([&source, &destination, &rest]) == udp.checksum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(payload: &[u8]) -> UdpFrame<'_> {
        UdpFrame {
            source_mac: Mac([0x02, 0, 0, 0, 0, 0x01]),
            destination_mac: Mac([0x00, 0x90, 0x8f, 0x12, 0x34, 0x56]),
            source: "10.250.1.5:67".parse().unwrap(),
            destination: "10.250.1.100:68".parse().unwrap(),
            payload,
        }
    }

    /// RFC 1071: the one's complement sum of everything, checksum included, is all ones.
    fn sums_to_all_ones<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut sum = 0_u32;
        for word in parts.into_iter().flat_map(|part| part.chunks(2)) {
            sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum == 0xffff
    }

    #[test]
    fn a_frame_is_these_bytes() {
        let mut bytes = Vec::new();
        frame(b"DHCP!").write_marked(IpDscp::try_new(46).unwrap(), &mut bytes).unwrap();
        // RFC 1071 by another program: the header's words sum to 0xde47, the datagram's to 0xc1a7.
        let expected = [
            &[0x00, 0x90, 0x8f, 0x12, 0x34, 0x56, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x00][..],
            &[0x45, 0xb8, 0, 33, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 250, 1, 5, 10, 250, 1, 100],
            &[0, 67, 0, 68, 0, 13, 0, 0],
            b"DHCP!",
        ]
        .concat();
        assert_eq!(bytes.len(), expected.len());
        for (place, (got, want)) in bytes.iter().zip(&expected).enumerate() {
            // All but the two checksums.
            if ![24, 25, 40, 41].contains(&place) {
                assert_eq!(got, want, "byte {place}");
            }
        }
        assert_eq!(bytes[24..26], [0x21, 0xb8], "IPv4 header checksum");
        assert_eq!(bytes[40..42], [0x3e, 0x58], "UDP checksum");
    }

    #[test]
    fn both_checksums_hold_for_even_and_odd_lengths() {
        for length in [0, 1, 2, 299, 300, 1472] {
            let payload: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            let mut bytes = Vec::new();
            frame(&payload).write(&mut bytes).unwrap();
            assert!(sums_to_all_ones([&bytes[14..34]]), "IPv4, {length}");
            let udp = &bytes[34..];
            let pseudo = [&bytes[26..34], &[0, 17], &(udp.len() as u16).to_be_bytes()].concat();
            assert!(sums_to_all_ones([&pseudo[..], udp]), "UDP, {length}");
            assert_ne!(bytes[40..42], [0, 0], "zero would mean no checksum");
        }
    }

    #[test]
    fn ethernet_padding_is_not_payload() {
        let mut bytes = Vec::new();
        frame(b"abc").write(&mut bytes).unwrap();
        bytes.resize(60, 0);
        assert_eq!(UdpFrame::parse(&bytes), Some(frame(b"abc")));
    }

    #[test]
    fn what_is_not_a_whole_udp_datagram_is_no_frame() {
        let mut bytes = Vec::new();
        frame(b"abc").write(&mut bytes).unwrap();
        for length in 0..bytes.len() {
            assert_eq!(UdpFrame::parse(&bytes[..length]), None, "cut to {length}");
        }
        for (place, value) in [(13, 0x06), (23, 6), (20, 0x20)] {
            let mut other = bytes.clone();
            other[place] = value;
            assert_eq!(UdpFrame::parse(&other), None, "ARP, TCP, a first fragment: byte {place}");
        }
    }

    #[test]
    fn what_was_damaged_on_the_way_is_no_frame() {
        for payload in [&b"DHCP"[..], b"DHCP!"] {
            let mut bytes = Vec::new();
            frame(payload).write(&mut bytes).unwrap();
            for bit in 14 * 8..bytes.len() * 8 {
                let mut other = bytes.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(UdpFrame::parse(&other), None, "bit {bit}");
            }
            // A length of nothing is none.
            let mut other = bytes.clone();
            other[38..42].fill(0);
            assert_eq!(UdpFrame::parse(&other), None);
        }
    }

    #[test]
    fn a_udp_checksum_may_be_missing_or_half_done() {
        let mut bytes = Vec::new();
        frame(b"DHCP!").write(&mut bytes).unwrap();
        // By another program: 10.250.1.5, 10.250.1.100, 17 and 13 come to 0x187b.
        for checksum in [[0, 0], [0x18, 0x7b]] {
            bytes[40..42].copy_from_slice(&checksum);
            assert_eq!(UdpFrame::parse(&bytes), Some(frame(b"DHCP!")), "{checksum:x?}");
        }
        for checksum in [[0, 1], [0x18, 0x7a], [0xe7, 0x84], [0xff, 0xff]] {
            bytes[40..42].copy_from_slice(&checksum);
            assert_eq!(UdpFrame::parse(&bytes), None, "{checksum:x?}");
        }
    }

    #[test]
    fn a_payload_too_long_for_udp_is_refused_and_leaves_nothing_behind() {
        let mut bytes = Vec::new();
        for length in [65_508, 65_528, 1 << 20] {
            let result = frame(&vec![0; length]).write(&mut bytes);
            assert_eq!((result, bytes.len()), (Err(FrameError(length)), 0));
        }
        frame(&[0; 65_507]).write(&mut bytes).unwrap();
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            macs: ([u8; 6], [u8; 6]),
            ips: (u32, u32),
            ports: (u16, u16),
            dscp in 0_u8..64,
            payload in proptest::collection::vec(any::<u8>(), 0..1500),
        ) {
            let frame = UdpFrame {
                source_mac: Mac(macs.0),
                destination_mac: Mac(macs.1),
                source: SocketAddrV4::new(ips.0.into(), ports.0),
                destination: SocketAddrV4::new(ips.1.into(), ports.1),
                payload: &payload,
            };
            let mut bytes = Vec::new();
            frame.write_marked(IpDscp::try_new(dscp).unwrap(), &mut bytes).unwrap();
            prop_assert_eq!(UdpFrame::parse(&bytes), Some(frame));
            prop_assert_eq!(bytes[15] >> 2, dscp);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            ipv4: bool,
        ) {
            if ipv4 && bytes.len() > 24 {
                bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
                bytes[23] = 17;
            }
            let _ = UdpFrame::parse(&bytes);
        }
    }
}
