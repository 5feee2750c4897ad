//! `offhook leases reserve`: a lease as a `[[phone]]` of the configuration.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use offhook_model::Mac;

use super::append::append;
use super::row::printable;
use super::source::Source;
use super::{Stop, Target};
use crate::control::{Failure, LeaseRecord, State};
use crate::exit;

/// Prints a block for every target, all or none.
pub(super) fn reserve(
    state: &Path,
    targets: &[Target],
    file: Option<&Path>,
) -> Result<ExitCode, Stop> {
    let mut source = Source::open(state)?;
    let mut blocks = Vec::new();
    let mut seen = HashSet::new();
    for target in targets {
        let leases = source.collect(&target.filter())?;
        let (key, lease) = choose(*target, leases)?;
        if !seen.insert(key.clone()) {
            let failure = Failure::new(format!("{key} is named twice: a phone keeps one address"));
            return Err(failure.into());
        }
        blocks.push(block(&key, &lease));
    }
    let text = blocks.join("\n");
    if let Some(file) = file {
        append(file, &text)?;
        let phones = if blocks.len() == 1 { "phone" } else { "phones" };
        eprintln!(
            "appended {} {phones} to {}; `systemctl reload offhook` has the server heed that",
            blocks.len(),
            file.display()
        );
    }
    Ok(exit::printed(&text))
}

/// The lease that is meant: one that is live, else the latest there was.
fn choose(target: Target, leases: Vec<LeaseRecord>) -> Result<(Key, LeaseRecord), Failure> {
    let bound: Vec<_> = leases.iter().filter(|lease| lease.state == State::Bound).collect();
    if let [_, _, ..] = bound.as_slice() {
        let each = |lease: &&LeaseRecord| format!("{} in scope {}", lease.address, lease.scope);
        let list = bound.iter().map(each).collect::<Vec<_>>().join(", ");
        return Err(Failure::new(format!("{target} has {} leases: {list}", bound.len()))
            .hint("name the address that it is to keep"));
    }
    let usable = leases.iter().filter(|lease| lease.state != State::Declined);
    let lease = bound.first().copied().or_else(|| usable.max_by_key(|lease| lease.acknowledged));
    let Some(lease) = lease else {
        let declined = !leases.is_empty();
        return Err(if declined {
            Failure::new(format!("{target} was declined: something else uses the address"))
        } else {
            Failure::new(format!("there is no lease of {target}, and there was none"))
                .hint("`offhook leases --all` lists every address and who had it last")
        });
    };
    let key = Key::of(lease).ok_or_else(|| {
        let LeaseRecord { address, mac, .. } = lease;
        Failure::new(format!("{address} is leased to {mac}, which is no Ethernet address"))
            .hint("a phone of the inventory is known by its MAC address or its client identifier")
    })?;
    Ok((key, lease.clone()))
}

/// What the phone will be known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Mac(Mac),
    /// Option 61, in hex.
    ClientId(String),
}

impl Key {
    /// The client identifier where the phone sends one that is more than its MAC address again: that is what the lease
    /// belongs to (RFC 2131, 4.2). Else the MAC address, which boot loaders that send no identifier have as well.
    fn of(lease: &LeaseRecord) -> Option<Self> {
        let mac = lease.mac.parse::<Mac>().ok();
        let plain = mac.map(|mac| format!("01{}", mac.plain()));
        match &lease.client_id {
            Some(id) if plain.as_ref() != Some(id) => Some(Self::ClientId(id.clone())),
            _ => mac.map(Self::Mac),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::ClientId(id) => write!(f, "the client {id}"),
        }
    }
}

fn block(key: &Key, lease: &LeaseRecord) -> String {
    let LeaseRecord { address, mac, scope, .. } = lease;
    let family = lease.family.as_deref().unwrap_or("of no known family");
    // Escaped, so that it ends with the line.
    let host = lease.host_name.as_deref().map(|name| format!(", host name {}", printable(name)));
    let host = host.unwrap_or_default();
    let (key, mac) = match key {
        Key::Mac(mac) => (format!("mac = \"{mac}\""), String::new()),
        Key::ClientId(id) => (format!("client_id = {{ hex = \"{id}\" }}"), format!(", {mac}")),
    };
    format!("# {family} in scope {scope}{mac}{host}\n[[phone]]\n{key}\naddress = \"{address}\"\n")
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::record;
    use super::*;

    fn phone() -> Target {
        "00:90:8f:12:34:14".parse().unwrap()
    }

    #[test]
    fn a_block_says_what_the_configuration_needs() {
        let block = |lease: LeaseRecord| {
            let (key, lease) = choose(phone(), vec![lease]).unwrap();
            super::block(&key, &lease)
        };
        let by_mac = "# 440HD in scope voice, host name reception\n[[phone]]\nmac = \"00:90:8f:12:34:14\"\n\
             address = \"10.250.1.20\"\n";
        let with = |id: &str| LeaseRecord { client_id: Some(id.to_owned()), ..record(20) };
        assert_eq!(block(record(20)), by_mac);
        assert_eq!(block(with("0100908f123414")), by_mac, "says nothing else than the MAC address");
        assert_eq!(
            block(with("ff01027063")),
            "# 440HD in scope voice, 00:90:8f:12:34:14, host name reception\n[[phone]]\n\
             client_id = { hex = \"ff01027063\" }\naddress = \"10.250.1.20\"\n"
        );
        let odd = LeaseRecord { mac: "32/0011".to_owned(), ..with("ff01") };
        assert!(block(odd).contains("client_id = { hex = \"ff01\" }"));
        let name = LeaseRecord { host_name: Some("x\n[[host]]".to_owned()), ..record(20) };
        assert!(
            block(name).starts_with("# 440HD in scope voice, host name x\\n[[host]]\n[[phone]]\n")
        );
    }

    #[test]
    fn a_live_lease_goes_before_an_earlier_one_and_two_live_ones_are_a_question() {
        let old = LeaseRecord { state: State::Released, acknowledged: u64::MAX, ..record(30) };
        let choice = choose(phone(), vec![old.clone(), record(20)]).unwrap();
        assert_eq!(choice.1.address, record(20).address);
        assert_eq!(choose(phone(), vec![old]).unwrap().1.address, record(30).address);
        let said = choose(phone(), vec![record(20), record(21)]).unwrap_err().to_string();
        assert!(said.contains("10.250.1.20") && said.contains("10.250.1.21"), "{said}");
    }

    #[test]
    fn nothing_and_what_was_declined_cannot_be_reserved() {
        assert!(choose(phone(), Vec::new()).is_err());
        let declined = LeaseRecord { state: State::Declined, ..record(20) };
        assert!(choose(phone(), vec![declined]).unwrap_err().to_string().contains("declined"));
        let token_ring = LeaseRecord { mac: "6/00908f123414".to_owned(), ..record(20) };
        assert!(choose(phone(), vec![token_ring]).is_err());
    }
}
