//! The guide's tables as data, and a boot held against them.

mod dns;
mod options;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::{
    Acknowledged, Family, Fingerprint, Kind, Level, Link, MessageKind, Mode, Outcome, Phone,
    Record, Renewal, Report, Step, Subject,
};

/// Whether the guide wants an option or forbids it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// It is to be there, with the right value.
    Given,
    /// It is not to be there.
    Withheld,
}

/// One cell of the guide's option table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The option; where there are several codes, any one of them.
    pub codes: &'static [u8],
    /// Whether it is to be there.
    pub want: Want,
    /// How much the guide insists.
    pub level: Level,
}

const fn given(codes: &'static [u8], level: Level) -> Requirement {
    Requirement { codes, want: Want::Given, level }
}

const fn withheld(codes: &'static [u8]) -> Requirement {
    Requirement { codes, want: Want::Withheld, level: Level::Must }
}

use Level::{May, Must, Should};

const STATION_VOICE: &[Requirement] = &[
    given(&[1], Must),
    given(&[6], Must),
    given(&[3], Should),
    given(&[15], Should),
    given(&[160], Should),
    given(&[66], Should),
    given(&[67], Should),
    given(&[2], May),
    given(&[42, 4], May),
    withheld(&[132]),
];

const STATION_NATIVE: &[Requirement] = &[
    given(&[1], Must),
    given(&[6], Must),
    given(&[132], Must),
    given(&[3], Should),
    given(&[15], Should),
    given(&[160], Should),
    given(&[66], Should),
    given(&[67], Should),
    given(&[2], May),
    given(&[42, 4], May),
];

/// In recovery mode the phone has nothing else to go by.
const STATION_RECOVERY: &[Requirement] = &[
    given(&[1], Must),
    given(&[6], Must),
    given(&[66], Must),
    given(&[67], Must),
    given(&[132], Must),
    given(&[3], Should),
    given(&[15], Should),
    given(&[160], Should),
    given(&[2], May),
    given(&[42, 4], May),
];

const POLYCOM: &[Requirement] = &[
    given(&[1], Must),
    given(&[6], Must),
    given(&[3], Should),
    given(&[15], Should),
    given(&[160], Should),
    given(&[2], May),
    given(&[42, 4], May),
    withheld(&[66]),
    withheld(&[67]),
    withheld(&[132]),
];

const SOFT_PHONE: &[Requirement] =
    &[given(&[160], Must), given(&[6], Should), withheld(&[66]), withheld(&[67]), withheld(&[132])];

const PC: &[Requirement] = &[
    given(&[1], Must),
    given(&[6], Must),
    given(&[3], Should),
    given(&[15], Should),
    withheld(&[66]),
    withheld(&[67]),
    withheld(&[132]),
    withheld(&[160]),
];

/// What the guide asks for, for this kind of phone on this link. `recovery`: the phone came up in recovery mode.
pub fn table(kind: Kind, link: Link, recovery: bool) -> &'static [Requirement] {
    match (kind, link) {
        (Kind::Station, Link::Voice) => STATION_VOICE,
        (Kind::Station, Link::Native) if recovery => STATION_RECOVERY,
        (Kind::Station, Link::Native) => STATION_NATIVE,
        (Kind::Polycom, _) => POLYCOM,
        (Kind::SoftPhone, _) => SOFT_PHONE,
        (Kind::Pc, _) => PC,
    }
}

/// A subnet phones get addresses in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Option 1, and where addresses lie.
    pub network: Ipv4Network,
    /// Option 3.
    pub router: Ipv4Addr,
}

/// What is known of the site, to hold values against. What is not known is only checked for presence and form:
/// [`Expected::default`] knows nothing and suits any site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Option 15.
    pub zone: Option<String>,
    /// The voice VLAN's subnet.
    pub voice: Option<Subnet>,
    /// The native VLAN's subnet.
    pub native: Option<Subnet>,
    /// Option 132 in the native VLAN.
    pub vlan: Option<u16>,
    /// Option 6.
    pub dns: Option<Vec<Ipv4Addr>>,
    /// Option 4 or 42.
    pub time_servers: Option<Vec<Ipv4Addr>>,
    /// Option 2, seconds east of UTC.
    pub time_offset: Option<i32>,
    /// Option 66.
    pub tftp: Option<String>,
    /// Option 160.
    pub url: Option<String>,
    /// The switchover pair: full name and address of each.
    pub servers: Option<Vec<(String, Ipv4Addr)>>,
    /// Ports of `_sip._udp`, `_sip._tcp` and `_sips._tcp`.
    pub sip_ports: Option<[u16; 3]>,
    /// Firmware by file name in lower case.
    pub images: BTreeMap<String, Fingerprint>,
}

impl Expected {
    fn subnet(&self, link: Link) -> Option<&Subnet> {
        match link {
            Link::Voice => self.voice.as_ref(),
            Link::Native => self.native.as_ref(),
        }
    }
}

/// Holds what a phone was given against the guide's table and what is known of the site.
pub fn check(phone: &Phone, expected: &Expected) -> Report {
    let (family, record) = (phone.family(), phone.record());
    let recovery = phone.mode() == Mode::Recovery && family.recovery.is_some();
    let mut steps = Steps::default();
    for (index, lease) in record.leases.iter().enumerate() {
        steps.lease = Some(index);
        check_lease(&mut steps, family, lease, expected);
        options::check(&mut steps, family, lease, recovery, expected, record);
    }
    steps.lease = None;
    dns::check(&mut steps, record, expected);
    if recovery {
        check_firmware(&mut steps, record, expected);
    }
    if let (Some(renewal), Some(lease)) = (record.renewal, record.leases.last()) {
        check_renewal(&mut steps, renewal, lease);
    }
    let ended = record
        .failure
        .as_ref()
        .map_or(Ok("complete".to_owned()), |failure| Err(failure.to_string()));
    steps.push(Subject::Boot, "boot sequence", Must, ended);
    Report { steps: steps.steps }
}

/// Steps in the making.
#[derive(Debug, Default)]
struct Steps {
    lease: Option<usize>,
    steps: Vec<Step>,
}

impl Steps {
    /// Adds a step that passed with a value, or failed for a reason.
    fn push(
        &mut self,
        subject: Subject,
        name: impl Into<String>,
        level: Level,
        result: Result<String, String>,
    ) {
        let (outcome, detail) = match result {
            Ok(detail) => (Outcome::Pass, detail),
            Err(detail) => (Outcome::Fail, detail),
        };
        let lease = self.lease;
        self.steps.push(Step { lease, subject, name: name.into(), level, outcome, detail });
    }
}

fn check_lease(steps: &mut Steps, family: &Family, lease: &Acknowledged, expected: &Expected) {
    let reply = &lease.reply;
    let options = &reply.options;
    let mut push = |name, level, result| steps.push(Subject::Lease, name, level, result);
    if lease.inform {
        let unleased = reply.yiaddr.is_unspecified();
        push("no address in answer to INFORM", Must, hold(unleased, reply.yiaddr));
        let time = options.display(51);
        push("no lease time in answer to INFORM", Must, hold(!options.contains(51), time));
    } else {
        let address = reply.yiaddr;
        let inside = expected.subnet(lease.link).is_none_or(|Subnet { network, router }| {
            network.contains(address) && address != *router && address != network.network()
        });
        push("address of the subnet", Must, hold(inside, address));
        let seconds = options.u32(51);
        push(
            "lease time",
            Must,
            seconds
                .filter(|&seconds| seconds > 0)
                .map(|seconds| format!("{seconds} s"))
                .ok_or(format!("option 51 is {}", options.display(51))),
        );
    }
    let server = options.address(54).map(|server| server.to_string());
    push("server identifier", Must, server.ok_or("no option 54".to_owned()));
    push("at least 300 bytes", Should, hold(reply.length >= 300, reply.length));
    if family.kind == Kind::Station {
        let file = String::from_utf8_lossy(&reply.file);
        let repeats = options.get(67) == Some(&reply.file)
            && options.text(66).is_some_and(|server| server == reply.siaddr.to_string());
        push(
            "`siaddr` and `file` repeat 66 and 67 for boot loaders",
            Should,
            hold(repeats, format_args!("{} {file}", reply.siaddr)),
        );
    }
}

fn check_firmware(steps: &mut Steps, record: &Record, expected: &Expected) {
    let result = match &record.firmware {
        None => Err("not reached".to_owned()),
        Some(fetched) => match &fetched.result {
            Err(failure) => Err(format!("{}: {failure}", fetched.file)),
            Ok(came) => match expected.images.get(&fetched.file.to_ascii_lowercase()) {
                Some(image) if image != came => {
                    Err(format!("{}: {came} instead of {image}", fetched.file))
                }
                _ => Ok(format!("{}: {} bytes", fetched.file, came.length())),
            },
        },
    };
    steps.push(Subject::Tftp, "firmware by TFTP, byte for byte", Must, result);
}

fn check_renewal(steps: &mut Steps, renewal: Renewal, lease: &Acknowledged) {
    let result = match renewal {
        Renewal::Answered(MessageKind::Ack, address) if address == lease.address => {
            Ok(address.to_string())
        }
        Renewal::Answered(MessageKind::Ack, address) => {
            Err(format!("{address} instead of {}", lease.address))
        }
        Renewal::Answered(..) => Err("refused (NAK)".to_owned()),
        Renewal::Silence => Err("no answer".to_owned()),
    };
    steps.push(Subject::Lease, "renewed by unicast", Must, result);
}

/// A detail that is fine, or wrong, as it stands.
fn hold(fine: bool, detail: impl std::fmt::Display) -> Result<String, String> {
    let detail = detail.to_string();
    if fine { Ok(detail) } else { Err(detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(kind: Kind, link: Link, recovery: bool, code: u8) -> Option<(Want, Level)> {
        let requirement =
            table(kind, link, recovery).iter().find(|row| row.codes.contains(&code))?;
        Some((requirement.want, requirement.level))
    }

    #[test]
    fn the_table_is_the_guides() {
        use Kind::{Pc, Polycom, SoftPhone, Station};
        use Link::{Native, Voice};
        use Want::{Given, Withheld};
        for (kind, link, recovery, code, want) in [
            (Station, Voice, false, 1, Some((Given, Must))),
            (Station, Voice, false, 6, Some((Given, Must))),
            (Station, Voice, false, 66, Some((Given, Should))),
            (Station, Voice, false, 67, Some((Given, Should))),
            (Station, Voice, false, 160, Some((Given, Should))),
            (Station, Voice, true, 132, Some((Withheld, Must))),
            (Station, Voice, false, 42, Some((Given, May))),
            (Station, Voice, false, 4, Some((Given, May))),
            (Station, Native, false, 132, Some((Given, Must))),
            (Station, Native, true, 132, Some((Given, Must))),
            (Station, Native, true, 66, Some((Given, Must))),
            (Polycom, Voice, false, 160, Some((Given, Should))),
            (Polycom, Voice, false, 66, Some((Withheld, Must))),
            (Polycom, Native, false, 67, Some((Withheld, Must))),
            (Polycom, Native, false, 132, Some((Withheld, Must))),
            (SoftPhone, Native, false, 160, Some((Given, Must))),
            (SoftPhone, Native, false, 3, None),
            (SoftPhone, Native, false, 132, Some((Withheld, Must))),
            (Pc, Native, false, 160, Some((Withheld, Must))),
            (Pc, Voice, false, 66, Some((Withheld, Must))),
        ] {
            assert_eq!(wants(kind, link, recovery, code), want, "{kind:?} {link} {code}");
        }
    }

    #[test]
    fn no_table_has_an_option_twice() {
        for kind in [Kind::Station, Kind::Polycom, Kind::SoftPhone, Kind::Pc] {
            for (link, recovery) in
                [(Link::Voice, false), (Link::Native, false), (Link::Native, true)]
            {
                let mut codes: Vec<_> =
                    table(kind, link, recovery).iter().flat_map(|row| row.codes).collect();
                let length = codes.len();
                codes.sort();
                codes.dedup();
                assert_eq!(codes.len(), length, "{kind:?} {link}");
            }
        }
    }
}
