//! Records as the model has them, as the wire library has them.

use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, Restrict};
use offhook_model::{Record, WireName};

/// The name; none when it is none, which no [`WireName`] is.
pub(crate) fn name_of(name: &WireName) -> Option<Name> {
    Name::read(&mut BinDecoder::new(name.as_wire())).ok()
}

/// The data of a record; none when it is not what its type says.
///
/// Only types that something is looked for in, or that are compressed in messages (RFC 3597 section 4), are taken
/// apart; all others stay the octets they are.
pub(crate) fn rdata_of(record: &Record) -> Option<RData> {
    let rtype = RecordType::from(record.rtype);
    let is_read = matches!(
        rtype,
        RecordType::A
            | RecordType::AAAA
            | RecordType::CNAME
            | RecordType::MX
            | RecordType::NAPTR
            | RecordType::NS
            | RecordType::PTR
            | RecordType::SOA
            | RecordType::SRV
    );
    if !is_read {
        // The library has its own idea of nothing.
        let octets = match record.data.is_empty() {
            true => NULL::new(),
            false => NULL::with(record.data.to_vec()),
        };
        return Some(RData::Unknown { code: rtype, rdata: octets });
    }
    let mut decoder = BinDecoder::new(&record.data);
    let length = Restrict::new(u16::try_from(record.data.len()).ok()?);
    let data = RData::read(&mut decoder, rtype, length).ok()?;
    decoder.is_empty().then_some(data)
}
