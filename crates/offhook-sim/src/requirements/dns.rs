//! DNS answers against what the guide asks of a voice zone.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::{Expected, Must, Should, Steps};
use crate::{Answer, Lookup, Record, RecordData, Subject};

/// Phones keep "there is none" for as long as they are told: a longer time delays recovery.
const MAX_NEGATIVE_TTL: u32 = 60;

pub(super) fn check(steps: &mut Steps, record: &Record, expected: &Expected) {
    for lookup in &record.lookups {
        let (level, result) = match lookup.kind {
            "SRV" => (Should, answered(lookup).and_then(|answer| srv(lookup, answer, expected))),
            "PTR" => (Should, answered(lookup).and_then(|answer| ptr(lookup, answer, record))),
            "NAPTR" => (Must, answered(lookup).and_then(naptr)),
            _ => (Must, answered(lookup).and_then(|answer| a(lookup, answer, expected))),
        };
        let Lookup { purpose, kind, name, .. } = lookup;
        steps.push(Subject::Dns, format!("{purpose}: {kind} {name}"), level, result);
    }
}

fn answered(lookup: &Lookup) -> Result<&Answer, String> {
    match &lookup.result {
        Err(failure) => Err(failure.to_string()),
        Ok(answer) if !answer.ok => Err(answer.code.clone()),
        Ok(answer) if answer.truncated => Err("truncated".to_owned()),
        Ok(answer) => Ok(answer),
    }
}

fn a(lookup: &Lookup, answer: &Answer, expected: &Expected) -> Result<String, String> {
    let addresses: BTreeSet<Ipv4Addr> = answer
        .answers
        .iter()
        .filter_map(|data| if let RecordData::A(address) = data { Some(*address) } else { None })
        .collect();
    let shown = list(&addresses);
    if addresses.is_empty() {
        return Err("no address".to_owned());
    }
    if let Some(servers) = &expected.servers
        && lookup.purpose.starts_with("provisioning")
    {
        let all: BTreeSet<_> = servers.iter().map(|(_, address)| *address).collect();
        if all != addresses {
            return Err(format!("{shown} instead of {}", list(&all)));
        }
    }
    Ok(shown)
}

fn srv(lookup: &Lookup, answer: &Answer, expected: &Expected) -> Result<String, String> {
    let mut found = BTreeSet::new();
    for data in &answer.answers {
        let RecordData::Srv { port, target, .. } = data else { continue };
        if !answer.additional.iter().any(|(name, _)| name == target) {
            return Err(format!("no address of {target} in the additional section"));
        }
        found.insert(format!("{target}:{port}"));
    }
    let shown = list(&found);
    if found.is_empty() {
        return Err("no SRV record".to_owned());
    }
    let service = lookup.name.split('.').take(2).collect::<Vec<_>>().join(".");
    if let (Some(servers), Some([udp, tcp, tls])) = (&expected.servers, expected.sip_ports) {
        let port = match service.as_str() {
            "_sip._udp" => udp,
            "_sip._tcp" => tcp,
            _ => tls,
        };
        let all: BTreeSet<_> = servers.iter().map(|(name, _)| format!("{name}:{port}")).collect();
        if all != found {
            return Err(format!("{shown} instead of {}", list(&all)));
        }
        for (name, address) in &answer.additional {
            if !servers.contains(&(name.clone(), *address)) {
                return Err(format!("{name} is {address} in the additional section"));
            }
        }
    }
    Ok(shown)
}

/// The name of a server's address is the one the SRV answer gave it, and no other: provisioning names have no PTR.
fn ptr(lookup: &Lookup, answer: &Answer, record: &Record) -> Result<String, String> {
    let names: BTreeSet<&str> = answer
        .answers
        .iter()
        .filter_map(
            |data| if let RecordData::Ptr(name) = data { Some(name.as_str()) } else { None },
        )
        .collect();
    let address = crate::resolver::address_of(&lookup.name);
    let known: BTreeSet<&str> = record
        .lookups
        .iter()
        .filter_map(|lookup| lookup.result.as_ref().ok())
        .flat_map(|answer| &answer.additional)
        .filter(|(_, a)| Some(*a) == address)
        .map(|(name, _)| name.as_str())
        .collect();
    let shown = list(&names);
    if names.is_empty() {
        Err("no name".to_owned())
    } else if names != known {
        Err(format!("{shown} instead of {}", list(&known)))
    } else {
        Ok(shown)
    }
}

/// RFC 3263: asked for before SRV, so "there is none" must be said, and said at once.
fn naptr(answer: &Answer) -> Result<String, String> {
    match (answer.answers.len(), answer.negative_ttl) {
        (0, None) => Err("no records, and no SOA to say so".to_owned()),
        (0, Some(ttl)) if ttl > MAX_NEGATIVE_TTL => {
            Err(format!("no records, to be remembered for {ttl} s: more than 60 s"))
        }
        (0, Some(ttl)) => Ok(format!("none, for {ttl} s")),
        (records, _) => Ok(format!("{records} records")),
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
