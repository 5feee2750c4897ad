//! The first step of a TLS handshake (RFC 8446 section 4.1.2): whoever answers a ClientHello has TLS running. The
//! certificate is not looked at, and no key is ever agreed on.

use rand::Rng;

use super::{Failure, Progress};

/// Content types of records.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// Handshake types.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// A ClientHello.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    request: Vec<u8>,
}

impl Hello {
    pub(super) fn new(name: &str, rng: &mut impl Rng) -> Self {
        let mut body = vec![3, 3];
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        body.extend(random);
        // A session of 32 octets, for what stands between that expects one (RFC 8446, appendix D.4).
        rng.fill_bytes(&mut random);
        body.push(32);
        body.extend(random);
        // What TLS 1.3 and 1.2 servers have in common with old phones: AES-GCM, then CBC with RSA.
        body.extend(words(&[
            0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0x009c, 0x009d, 0xc013, 0xc014,
            0x002f, 0x0035,
        ]));
        // No compression.
        body.extend([1, 0]);
        body.extend(long(&extensions(name)));
        let mut hello = vec![CLIENT_HELLO, 0];
        hello.extend(long(&body));
        let mut request = vec![HANDSHAKE, 3, 1];
        request.extend(long(&hello));
        Self { request }
    }

    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Takes all that has come.
    pub(super) fn stream(&self, received: &[u8]) -> Progress {
        match *received {
            // A ServerHello, or a request for another hello; or a server that has TLS, but not with us.
            [HANDSHAKE, 3, _, _, _, SERVER_HELLO, ..] | [ALERT, 3, _, _, _, _, _, ..] => {
                Progress::Alive
            }
            [] | [HANDSHAKE | ALERT] => Progress::Wait,
            [HANDSHAKE | ALERT, 3] | [HANDSHAKE | ALERT, 3, _] => Progress::Wait,
            [HANDSHAKE, 3, _, _, _] | [HANDSHAKE | ALERT, 3, _, _] => Progress::Wait,
            [ALERT, 3, _, _, _] | [ALERT, 3, _, _, _, _] => Progress::Wait,
            _ => Progress::Dead(Failure::Nonsense),
        }
    }
}

fn extensions(name: &str) -> Vec<u8> {
    let mut server_name = vec![0];
    server_name.extend(long(name.as_bytes()));
    let mut all = Vec::new();
    for (code, data) in [
        (0_u16, long(&server_name)),
        // Groups, point formats: x25519, P-256, P-384; uncompressed.
        (10, words(&[0x001d, 0x0017, 0x0018])),
        (11, vec![1, 0]),
        // Signatures: ECDSA, RSA-PSS and RSA, with SHA-256 to SHA-512 and SHA-1.
        (13, words(&[0x0403, 0x0503, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0201])),
        // Versions: 1.3, 1.2, 1.1, 1.0.
        (43, vec![8, 3, 4, 3, 3, 3, 2, 3, 1]),
        // No key share yet: a 1.3 server asks for one, which is answer enough.
        (51, vec![0, 0]),
    ] {
        all.extend(code.to_be_bytes());
        all.extend(long(&data));
    }
    all
}

/// 16-bit values with their length in octets before them.
fn words(values: &[u16]) -> Vec<u8> {
    long(&values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<_>>())
}

/// Octets with their 16-bit length before them.
fn long(octets: &[u8]) -> Vec<u8> {
    // Nothing here comes near 64 KiB.
    let length = octets.len() as u16;
    length.to_be_bytes().into_iter().chain(octets.iter().copied()).collect()
}
