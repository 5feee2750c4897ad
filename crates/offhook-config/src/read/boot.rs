//! Header fields for boot loaders: the same keys in `[[scope]]` and `[[class]]`.

use std::net::Ipv4Addr;

use offhook_model::BootFields;

use crate::Code;
use crate::names::Names;
use crate::tree::{Table, Value};

/// The fields are 64 and 128 bytes, and end in a NUL.
const LONGEST_NAME: usize = 63;
const LONGEST_FILE: usize = 127;

pub(crate) fn read(table: &Table<'_>, names: &Names) -> BootFields {
    table.expect(&["next_server", "server_name", "boot_file"]);
    BootFields {
        next_server: table.field("next_server", |value| server(value, names)).into_value(),
        server_name: table.field("server_name", |v| short(v, LONGEST_NAME)).into_value(),
        boot_file: table.field("boot_file", |v| short(v, LONGEST_FILE)).into_value(),
    }
}

/// Each field that is not stated is the other's.
pub(crate) fn or(own: BootFields, base: BootFields) -> BootFields {
    BootFields {
        next_server: own.next_server.or(base.next_server),
        server_name: own.server_name.or(base.server_name),
        boot_file: own.boot_file.or(base.boot_file),
    }
}

fn server(value: &Value<'_>, names: &Names) -> Option<Ipv4Addr> {
    match names.resolve(value, Code::UnknownHost, "host")?.as_slice() {
        [one] => Some(*one),
        _ => {
            value.bad(
                Code::BadAddress,
                "this is one address",
                "write an address, or a name that has one",
            );
            None
        }
    }
}

fn short(value: &Value<'_>, longest: usize) -> Option<String> {
    let text = value.text()?;
    if text.len() > longest {
        value.bad(
            Code::OptionTooLong,
            format!("this is {} bytes, and the field has room for {longest}", text.len()),
            "shorten it, or send an option instead",
        );
        return None;
    }
    Some(text)
}
