//! A lease as it is printed.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::control::LeaseRecord;

/// A lease for programs: what JSON and CSV have, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    address: String,
    mac: String,
    client_id: Option<String>,
    scope: String,
    family: Option<String>,
    host_name: Option<String>,
    dns_name: Option<String>,
    state: &'static str,
    /// ISO 8601, UTC.
    acknowledged: String,
    /// Likewise.
    expires: String,
    /// 0 when it is over.
    remaining_seconds: u64,
}

impl Row {
    pub(super) fn new(lease: LeaseRecord, now: u64) -> Self {
        Self {
            address: lease.address.to_string(),
            acknowledged: utc(lease.acknowledged),
            expires: utc(lease.expires),
            remaining_seconds: lease.expires.saturating_sub(now) / 1000,
            state: lease.state.as_str(),
            mac: lease.mac,
            client_id: lease.client_id,
            scope: lease.scope,
            family: lease.family,
            host_name: lease.host_name,
            dns_name: lease.dns_name,
        }
    }

    /// The same with nothing a spreadsheet would take for a formula, and on one line: clients choose their names.
    pub(super) fn for_spreadsheet(mut self) -> Self {
        let name = self.host_name.as_deref().map(printable);
        self.host_name = name.map(|name| match name.chars().next() {
            Some(first @ ('=' | '+' | '-' | '@')) => {
                format!("\\x{:02x}{}", u32::from(first), name.get(1..).unwrap_or_default())
            }
            _ => name,
        });
        self
    }
}

/// Text that moves no cursor and ends no line: what is not to be seen is escaped.
pub(super) fn printable(text: &str) -> String {
    let char = |c: char| match c {
        '\\' | '"' | '\'' => c.to_string(),
        _ => c.escape_debug().to_string(),
    };
    text.chars().map(char).collect()
}

/// The names of [`Row`]'s fields.
pub(super) const COLUMNS: [&str; 11] = [
    "address",
    "mac",
    "client_id",
    "scope",
    "family",
    "host_name",
    "dns_name",
    "state",
    "acknowledged",
    "expires",
    "remaining_seconds",
];

/// What the table has.
pub(super) const TITLES: [&str; 11] = [
    "address",
    "MAC",
    "client id",
    "scope",
    "family",
    "host name",
    "DNS name",
    "state",
    "acknowledged",
    "expires",
    "remaining",
];

/// A lease for people; times are of `zone`.
pub(super) fn cells(lease: LeaseRecord, now: u64, zone: &TimeZone) -> [String; 11] {
    // Most clients with an identifier make it of their MAC address, which says nothing new.
    let plain = format!("01{}", lease.mac.replace(':', ""));
    let client_id = lease.client_id.filter(|id| *id != plain);
    let left = lease.expires.saturating_sub(now) / 1000;
    let remaining = if left > 0 { duration(left) } else { String::new() };
    [
        lease.address.to_string(),
        lease.mac,
        client_id.unwrap_or_default(),
        lease.scope,
        lease.family.unwrap_or_default(),
        lease.host_name.as_deref().map(printable).unwrap_or_default(),
        lease.dns_name.unwrap_or_default(),
        lease.state.as_str().to_owned(),
        local(lease.acknowledged, zone),
        local(lease.expires, zone),
        remaining,
    ]
}

/// Whole seconds, as nobody needs more.
fn timestamp(millis: u64) -> Timestamp {
    let seconds = i64::try_from(millis / 1000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

fn utc(millis: u64) -> String {
    timestamp(millis).to_string()
}

fn local(millis: u64, zone: &TimeZone) -> String {
    timestamp(millis).to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The two largest units: `7h 59m`.
pub(crate) fn duration(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::control::State;

    /// 2026-11-20T22:00:00Z.
    pub(in crate::leases) const NOW: u64 = 1_795_212_000_000;

    pub(in crate::leases) fn record(last: u8) -> LeaseRecord {
        LeaseRecord {
            address: Ipv4Addr::new(10, 250, 1, last),
            mac: format!("00:90:8f:12:34:{last:02x}"),
            client_id: None,
            scope: "voice".to_owned(),
            family: Some("440HD".to_owned()),
            host_name: Some("reception".to_owned()),
            dns_name: Some("reception.lab.voip".to_owned()),
            state: State::Bound,
            acknowledged: NOW - 60_500,
            expires: NOW + 8 * 3_600_000 - 60_500,
        }
    }

    #[test]
    fn times_are_utc_for_programs_and_local_for_people() {
        let row = Row::new(record(20), NOW);
        assert_eq!(row.acknowledged, "2026-11-20T21:58:59Z");
        assert_eq!(row.expires, "2026-11-21T05:58:59Z");
        assert_eq!(row.remaining_seconds, 8 * 3600 - 61);
        let cells = cells(record(20), NOW, &TimeZone::fixed(jiff::tz::offset(-5)));
        assert_eq!(cells[8], "2026-11-20 16:58:59");
        assert_eq!(cells[9], "2026-11-21 00:58:59");
        assert_eq!(cells[10], "7h 58m");
    }

    #[test]
    fn a_client_identifier_that_is_the_mac_address_is_left_out_of_the_table() {
        let id = |id: &str| {
            let lease = LeaseRecord { client_id: Some(id.to_owned()), ..record(0x20) };
            cells(lease, NOW, &TimeZone::UTC)[2].clone()
        };
        assert_eq!(id("0100908f123420"), "");
        assert_eq!(id("0000908f123420"), "0000908f123420");
    }

    #[test]
    fn what_is_over_has_nothing_left() {
        let over = LeaseRecord { expires: NOW - 1, state: State::Expired, ..record(20) };
        assert_eq!(cells(over.clone(), NOW, &TimeZone::UTC)[10], "");
        assert_eq!(Row::new(over, NOW).remaining_seconds, 0);
    }

    #[test]
    fn a_host_name_is_no_formula_in_a_spreadsheet() {
        let row = |name: &str| {
            let lease = LeaseRecord { host_name: Some(name.to_owned()), ..record(20) };
            Row::new(lease, NOW).for_spreadsheet().host_name.unwrap()
        };
        assert_eq!(row("=cmd|'/c calc'!A1"), "\\x3dcmd|'/c calc'!A1");
        assert_eq!(row("@x"), "\\x40x");
        assert_eq!(row("reception-1"), "reception-1");
    }

    #[test]
    fn a_host_name_is_escaped_only_where_it_could_do_harm() {
        let named = |name: &str| LeaseRecord { host_name: Some(name.to_owned()), ..record(20) };
        for name in ["café", "c:\\fax \"2\"", "it's", "電話"] {
            assert_eq!(cells(named(name), NOW, &TimeZone::UTC)[5], name);
            let row = Row::new(named(name), NOW);
            assert_eq!(row.host_name.as_deref(), Some(name));
            assert_eq!(row.for_spreadsheet().host_name.as_deref(), Some(name));
        }
        let odd = "a\u{1b}[2J\nb\u{202e}c";
        let escaped = "a\\u{1b}[2J\\nb\\u{202e}c";
        assert_eq!(cells(named(odd), NOW, &TimeZone::UTC)[5], escaped);
        let row = Row::new(named(odd), NOW).for_spreadsheet();
        assert_eq!(row.host_name.as_deref(), Some(escaped));
        assert_eq!(Row::new(named(odd), NOW).host_name.as_deref(), Some(odd), "JSON escapes it");
    }

    #[test]
    fn durations_have_their_two_largest_units() {
        let cases = [(0, "0s"), (59, "59s"), (61, "1m 1s"), (28_799, "7h 59m"), (90_000, "1d 1h")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
