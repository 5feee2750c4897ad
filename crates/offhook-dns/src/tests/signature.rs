//! Signed requests: nobody shares a key with us (RFC 8945).

use super::support::*;
use crate::{Transport, Zones};

const NOTAUTH: u16 = 9;
const TSIG: u16 = 250;

/// Algorithm, time signed, fudge, a signature of 16 octets, original id, error, other data.
fn signature() -> Vec<u8> {
    let mut data = wire_name("hmac-sha256");
    data.extend([0, 0, 0x65, 1, 2, 3, 1, 44, 0, 16]);
    data.extend([0x6d; 16]);
    data.extend([0xab, 0xcd, 0, 0, 0, 0]);
    data
}

fn signed(query: Query, data: &[u8]) -> Query {
    let mut record = wire_name("a.key");
    record.extend(TSIG.to_be_bytes());
    record.extend([0, 255, 0, 0, 0, 0]);
    record.extend((data.len() as u16).to_be_bytes());
    record.extend(data);
    let mut query = query;
    query.additionals.push(record);
    query
}

#[test]
fn a_signature_is_answered_with_one_that_says_the_key_is_unknown() {
    for query in
        [Query::new("vm40ic1.lab.voip", A), Query::new("lab.voip", 252), Query::new("x.example", A)]
    {
        for opt in [false, true] {
            let query = if opt { query.clone().opt(1232, 0, b"") } else { query.clone() };
            let reply = signed(query, &signature()).ask_lab();
            assert_eq!((reply.rcode, reply.answers.len(), reply.aa()), (NOTAUTH, 0, false));
            assert_eq!(reply.opt.len(), usize::from(opt));
            let tsig = &reply.additionals[0];
            assert_eq!(
                (tsig.owner.as_str(), tsig.rtype, tsig.class, tsig.ttl),
                ("a.key.", TSIG, 255, 0)
            );
            let mut expected = wire_name("hmac-sha256");
            expected.extend([0, 0, 0x65, 1, 2, 3, 1, 44, 0, 0, 0xab, 0xcd, 0, 17, 0, 0]);
            let hex: String = expected.iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(tsig.data, hex);
        }
    }
    let update = signed(Query::new("lab.voip", SOA).flags(0).opcode(5), &signature()).ask_lab();
    assert_eq!(update.rcode, NOTAUTH);
}

#[test]
fn a_signature_that_is_none_or_not_the_last_record_is_formerr() {
    let query = || Query::new("vm40ic1.lab.voip", A);
    assert_eq!(signed(query(), b"").ask_lab().rcode, FORMERR);
    assert_eq!(signed(query(), &signature()[..30]).ask_lab().rcode, FORMERR);
    assert_eq!(signed(query(), &[signature(), vec![0]].concat()).ask_lab().rcode, FORMERR);
    let before_opt = signed(query(), &signature()).opt(1232, 0, b"").ask_lab();
    assert_eq!(before_opt.rcode, FORMERR);
    let twice = signed(signed(query(), &signature()), &signature()).ask_lab();
    assert_eq!(twice.rcode, FORMERR);
    let mut as_answer = signed(query(), &signature()).bytes();
    as_answer.swap(7, 11);
    let zones = Zones::from_site(&lab(), 1);
    assert_eq!(reply(&zones, &as_answer, Transport::Udp, 0).rcode, FORMERR);
}
