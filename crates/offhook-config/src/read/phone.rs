//! `[[phone]]`.

use std::net::Ipv4Addr;

use offhook_model::PhoneKey;

use crate::Code;
use crate::names::Names;
use crate::options::{Explicit, Level};
use crate::report::{Problem, Span, Spanned};
use crate::tree::{Field, Table, Value};

pub(crate) struct PhoneFacts {
    pub(crate) key: Option<Spanned<PhoneKey>>,
    pub(crate) name: Field<String>,
    pub(crate) class: Field<String>,
    pub(crate) address: Field<Ipv4Addr>,
    pub(crate) options: Vec<Explicit>,
    pub(crate) span: Span,
}

impl PhoneFacts {
    pub(crate) fn read(table: &Table<'_>, names: &Names) -> Self {
        let mac = table.field("mac", Value::mac);
        let host_name = table.field("host_name", host_name);
        if mac.is_absent()
            && host_name.is_absent()
            && !table.is_damaged()
            && !table.has_near("mac")
            && !table.has_near("host_name")
        {
            table.report.push(
                Problem::error(
                    Code::MissingKey,
                    &table.span,
                    "this phone has neither `mac` nor `host_name`",
                )
                .label("has no `mac`")
                .hint("add: mac = \"00:90:8f:12:34:56\""),
            );
        }
        if let (Field::Good(_), Field::Good(name)) = (&mac, &host_name) {
            table.report.push(
                Problem::error(
                    Code::BadChoice,
                    &name.span,
                    "a phone is known by `mac` or by `host_name`, not both",
                )
                .label("one of the two is enough")
                .hint("leave out `host_name`; to name the phone in logs, write name = \"…\""),
            );
        }
        let key = match (mac, host_name) {
            (Field::Good(mac), _) => Some(Spanned::new(PhoneKey::Mac(mac.value), mac.span)),
            (_, Field::Good(name)) => Some(Spanned::new(PhoneKey::HostName(name.value), name.span)),
            _ => None,
        };
        let facts = Self {
            key,
            name: table.field("name", Value::text),
            class: table.field("class", Value::text),
            address: table.field("address", Value::address),
            options: super::options(table, "[[phone]] options", Level::Phones, names),
            span: table.span.clone(),
        };
        table.finish();
        facts
    }
}

/// The first label of a computer's name, lower case: what option 12 holds.
fn host_name(value: &Value<'_>) -> Option<String> {
    let name = value.domain()?;
    name.labels().next().map(str::to_owned)
}
