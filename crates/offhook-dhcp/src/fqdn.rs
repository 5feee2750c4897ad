//! The answer to option 81 (RFC 4702): what a client is called, and who tells DNS.
//!
//! The zone takes no updates but our own: in it every name is ours to write, unless the client wants none written.

use offhook_model::{DomainName, clean_label, host_label, model_label};

use crate::core::Setup;
use crate::wire::Request;
use crate::wire::fqdn::{ClientName, Flags};

/// The longest name, as text.
const LONGEST: usize = 253;

/// The payload of option 81 for a client that sent one. One that leaves its name to us is called what the guide calls
/// phones: model and hardware address.
pub(crate) fn answer(setup: &Setup, request: &Request<'_>, class: Option<&str>) -> Option<Vec<u8>> {
    let site = &setup.site;
    let asked = request.fqdn()?;
    let hardware = request.header.hardware;
    let own = model_label(class, hardware);
    let name = full_name(&asked, &site.zone, own.as_deref());
    let is_own = asked.labels.is_empty();
    let is_allowed = site.dns.names.leases && (is_own || site.dns.names.hosts);
    let writes = is_allowed
        && !asked.flags.contains(Flags::NO_UPDATE)
        && label_in(&name, &site.zone).is_some_and(|label| {
            host_label(label.as_bytes()).is_some() && !setup.is_taken(label, hardware)
        });
    let server = Flags::SERVER_UPDATES;
    let mut flags = asked.flags.only(Flags::ENCODED);
    if writes {
        flags = flags.with(server);
    } else {
        flags = flags.with(Flags::NO_UPDATE);
    }
    if writes != asked.flags.contains(server) {
        flags = flags.with(Flags::OVERRIDE);
    }
    // The result codes are deprecated: 255.
    let mut payload = vec![flags.0, 255, 255];
    if flags.contains(Flags::ENCODED) {
        for label in &name {
            payload.push(label.len() as u8);
            payload.extend_from_slice(label.as_bytes());
        }
        if !name.is_empty() {
            payload.push(0);
        }
    } else {
        payload.extend_from_slice(name.join(".").as_bytes());
        if asked.is_dotted && !name.is_empty() {
            payload.push(b'.');
        }
    }
    Some(payload)
}

/// The labels of the client's full name; none when nobody knows one.
fn full_name(asked: &ClientName<'_>, zone: &DomainName, fallback: Option<&str>) -> Vec<String> {
    let mut labels: Vec<String> =
        asked.labels.iter().filter_map(|label| clean_label(label)).collect();
    if labels.is_empty() {
        labels.extend(fallback.map(str::to_owned));
    }
    let is_complete = asked.is_full && !asked.labels.is_empty();
    if !labels.is_empty() && !is_complete && !is_within(&labels, zone) {
        labels.extend(zone.labels().map(str::to_owned));
    }
    if labels.join(".").len() > LONGEST {
        labels.truncate(1);
        labels.extend(zone.labels().map(str::to_owned));
    }
    labels
}

fn is_within(labels: &[String], zone: &DomainName) -> bool {
    let depth = zone.labels().count();
    let Some(from) = labels.len().checked_sub(depth).filter(|from| *from > 0) else { return false };
    labels
        .iter()
        .skip(from)
        .zip(zone.labels())
        .all(|(label, zone)| label.eq_ignore_ascii_case(zone))
}

/// The first label of a name right below the zone: deeper names are not ours to write.
fn label_in<'a>(labels: &'a [String], zone: &DomainName) -> Option<&'a str> {
    let first = labels.first().filter(|_| is_within(labels, zone))?;
    (labels.len() == zone.labels().count() + 1).then_some(first)
}

/// What a lease is called by its client: the name of option 81 if that is one right below the zone, or, without that
/// option, option 12 (RFC 4702, section 3). None for a client that wants its name in no DNS.
pub(crate) fn own_name<'a>(zone: &DomainName, request: &'a Request<'_>) -> Option<&'a [u8]> {
    let Some(asked) = request.fqdn() else { return request.host_name() };
    let name = full_name(&asked, zone, None);
    let is_ours = !asked.flags.contains(Flags::NO_UPDATE) && label_in(&name, zone).is_some();
    let first = asked.labels.iter().find(|label| clean_label(label).is_some());
    first.copied().filter(|_| is_ours)
}
