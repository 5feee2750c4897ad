//! The answer to option 81 (RFC 4702): what a client is called, and who tells DNS.
//!
//! The zone takes no updates but our own: in it every name is ours to write, unless the client wants none written.

use offhook_model::{DomainName, Site};

use crate::wire::Request;
use crate::wire::fqdn::{ClientName, Flags};

/// The longest name, as text.
const LONGEST: usize = 253;

/// The payload of option 81 for a client that sent one. `fallback` is the first label of a client that leaves the
/// choice to us.
pub(crate) fn answer(
    site: &Site,
    request: &Request<'_>,
    fallback: Option<&str>,
) -> Option<Vec<u8>> {
    let asked = request.fqdn()?;
    let name = full_name(&asked, &site.zone, fallback);
    let writes = !asked.flags.contains(Flags::NO_UPDATE) && is_ours_to_write(&name, site);
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
    let mut labels: Vec<String> = asked.labels.iter().filter_map(|label| clean(label)).collect();
    if labels.is_empty() {
        labels.extend(fallback.and_then(|label| clean(label.as_bytes())));
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

/// What can be a label of a host name: other bytes become hyphens, none of them at an end.
fn clean(label: &[u8]) -> Option<String> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let text: String =
        label.iter().map(|byte| if allowed(byte) { char::from(*byte) } else { '-' }).collect();
    let text = text.trim_matches('-');
    let text = text.get(..63).unwrap_or(text).trim_end_matches('-');
    (!text.is_empty()).then(|| text.to_owned())
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

/// Below our zone, and not the name of a server.
fn is_ours_to_write(labels: &[String], site: &Site) -> bool {
    let name = labels.join(".");
    let hosts = site.hosts.iter().map(|host| &host.name);
    let pairs = site.switchovers.iter().map(|pair| &pair.name);
    is_within(labels, &site.zone)
        && !hosts.chain(pairs).any(|taken| taken.as_str().eq_ignore_ascii_case(&name))
}
