//! The options of one lease against the guide's table.

use std::net::Ipv4Addr;

use offhook_model::registry;

use super::{Expected, Must, Requirement, Steps, Want, table};
use crate::value::{host_of, is_vlan, prefix_of};
use crate::{Acknowledged, Family, LookupFailure, Options, Record, Subject};

pub(super) fn check(
    steps: &mut Steps,
    family: &Family,
    lease: &Acknowledged,
    recovery: bool,
    expected: &Expected,
    record: &Record,
) {
    let options = lease.options();
    for Requirement { codes, want, level } in table(family.kind, lease.link, recovery) {
        let Some(&first) = codes.first() else { continue };
        let code = codes.iter().copied().find(|&code| options.contains(code)).unwrap_or(first);
        let (subject, name, result) = match want {
            Want::Given => {
                // A server may leave out standard options that the phone did not ask for.
                let asked = codes.iter().any(|code| lease.stage.requests.contains(code));
                if !asked && !options.contains(code) && !is_provisioning(code) {
                    continue;
                }
                let result = value(code, family, lease, expected, record);
                (Subject::Given(code), title(code), result)
            }
            Want::Withheld => {
                let result = match options.get(code) {
                    None => Ok("not given".to_owned()),
                    Some(_) => Err(format!("given: {}", options.display(code))),
                };
                (Subject::Withheld(code), format!("no {}", title(code)), result)
            }
        };
        steps.push(subject, name, *level, result);
    }
    if options.contains(4) && options.contains(42) {
        let both = Err("both were given".to_owned());
        steps.push(Subject::Withheld(4), "option 4 or 42, never both", Must, both);
    }
}

/// Options a phone family gets whether or not it asks.
fn is_provisioning(code: u8) -> bool {
    matches!(code, 66 | 67 | 132 | 160)
}

fn title(code: u8) -> String {
    let name = registry::by_code(code).map_or("unknown", |option| option.name);
    format!("option {code} ({name})")
}

/// The value of an option that is to be there, or what is wrong with it.
fn value(
    code: u8,
    family: &Family,
    lease: &Acknowledged,
    expected: &Expected,
    record: &Record,
) -> Result<String, String> {
    let options = lease.options();
    if !options.contains(code) {
        return Err("not given".to_owned());
    }
    let shown = options.display(code);
    let subnet = expected.subnet(lease.link);
    match code {
        1 => {
            let prefix = prefix_of(options).ok_or(format!("{shown} is no subnet mask"))?;
            same(prefix, subnet.map(|subnet| subnet.network.prefix()), shown)
        }
        2 => {
            let offset = options.u32(2).ok_or(format!("{shown} is not 32 bits"))?.cast_signed();
            same(offset, expected.time_offset, format!("{offset} s"))
        }
        3 => {
            let routers = addresses(options, code)?;
            same(routers, subnet.map(|subnet| vec![subnet.router]), shown)
        }
        4 | 42 => same(addresses(options, code)?, expected.time_servers.clone(), shown),
        6 => {
            let servers = addresses(options, code)?;
            let silent = |server: &&Ipv4Addr| {
                let mut asked = record.lookups.iter().filter(|lookup| lookup.server == **server);
                asked.clone().next().is_some()
                    && asked.all(|lookup| lookup.result == Err(LookupFailure::Silence))
            };
            if let Some(server) = servers.iter().find(silent) {
                return Err(format!("{server} does not answer"));
            }
            same(servers, expected.dns.clone(), shown)
        }
        15 => same(text(options, code)?, expected.zone.as_deref(), shown),
        66 => same(text(options, code)?, expected.tftp.as_deref(), shown),
        67 => {
            let file = text(options, code)?.to_ascii_lowercase();
            same(file.as_str(), family.firmware, shown)
        }
        132 => {
            let bytes = options.get(code).unwrap_or_default();
            if !is_vlan(bytes) {
                return Err(format!("{shown}: not the decimal digits of a VLAN"));
            }
            let vlan = expected.vlan.map(|vlan| vlan.to_string());
            same(text(options, code)?, vlan.as_deref(), shown)
        }
        160 => {
            let url = text(options, code)?;
            if host_of(url).is_empty() {
                return Err(format!("{shown}: no host"));
            }
            same(url, expected.url.as_deref(), shown)
        }
        _ => Ok(shown),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(
    value: T,
    expected: Option<T>,
    shown: String,
) -> Result<String, String> {
    match expected {
        Some(expected) if value != expected => Err(format!("{shown} instead of {expected:?}")),
        _ => Ok(shown),
    }
}

fn addresses(options: &Options, code: u8) -> Result<Vec<Ipv4Addr>, String> {
    options
        .addresses(code)
        .ok_or_else(|| format!("{} is no list of addresses", options.display(code)))
}

/// Text that is there, and that ends where it should.
fn text(options: &Options, code: u8) -> Result<&str, String> {
    match options.text(code) {
        None | Some("") => Err(format!("{} is no text", options.display(code))),
        Some(text) if text.ends_with('\0') => Err(format!("{text:?} ends in NUL")),
        Some(text) => Ok(text),
    }
}
