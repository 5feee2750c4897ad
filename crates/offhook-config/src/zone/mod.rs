//! Records that the file states itself: `[[record]]`, and zone files in master-file format (RFC 1035 section 5).
//!
//! Our own reader, not the wire library's: that one does not say where a mistake is.

mod file;
mod name;
mod rdata;
mod rtype;
mod table;
mod token;

use offhook_model::{Record, WireName};

use crate::Code;
use crate::report::{Problem, Span};

pub(crate) use file::read as read_files;
pub(crate) use rdata::target;
pub(crate) use rtype::name_of_type;
pub(crate) use table::{read as read_tables, reverse};

/// A record and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct RecordFacts {
    pub(crate) record: Record,
    /// Which file it stands in: a zone file by its number, or the configuration itself.
    pub(crate) file: Option<usize>,
    /// The place of its data in that file.
    pub(crate) span: Span,
    /// The place of its name.
    pub(crate) owner_span: Span,
}

/// What is wrong with a piece of text, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) hint: String,
}

impl Fault {
    pub(super) fn new(span: &Span, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code: Code::BadRecord,
            span: span.clone(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub(super) fn of(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// As a diagnostic about `span`, which is what the fault's own one is in the file.
    pub(super) fn problem(self, span: &Span) -> Problem {
        let label = match self.code {
            Code::UnknownRecordType => "not a record type",
            Code::RecordOutsideZone => "another zone",
            Code::ZoneFileSyntax => "not as a zone file has it",
            Code::ZoneFileUnreadable => "cannot be read",
            _ => "not as a record has it",
        };
        Problem::error(self.code, span, self.message).label(label).hint(self.hint)
    }
}

/// How names without a dot at their end are completed.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// As in a zone file: with the origin, always.
    Origin(WireName),
    /// As everywhere in the configuration: a single label with the zone, and what has a dot in it is full; but
    /// what ends in a label with an underscore is never full.
    Zone(WireName),
}

/// TYPE numbers that something depends on.
pub(crate) mod types {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const MX: u16 = 15;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const DNAME: u16 = 39;
    pub(crate) const DS: u16 = 43;
}
