//! Every phone family of the guide's tables, as data: what each says of itself on the wire.
//!
//! Option lists and vendor classes marked *seen* in `PHONES.md`'s sources are used byte for byte; the order of
//! the AudioCodes list and the `Polycom-VVX410` text are assumed there, and so here.

use offhook_model::Mac;

/// Which column of the guide's option table a family belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Interaction SIP Station I and II, AudioCodes, Genesys: 66, 67 and 160, and 132 in the native scope.
    Station,
    /// Polycom and Poly: 160, never 66, 67 or 132.
    Polycom,
    /// SIP soft phone on a Windows PC: 160 is the only one it needs.
    SoftPhone,
    /// No phone at all, for contrast: no provisioning option.
    Pc,
}

/// How option 77 carries the user class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserClass {
    /// The text alone.
    Raw(&'static str),
    /// With a length byte before it, as RFC 3004 has it.
    Prefixed(&'static str),
}

/// How a family names itself in option 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostName {
    /// `<model>-<mac>`.
    ModelMac,
    /// `Polycom_<mac>`.
    PolycomMac,
    /// `DESKTOP-<last three bytes>`.
    Desktop,
}

/// What the software that runs DHCP at one stage of the boot says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stage {
    /// Option 60.
    pub vendor_class: &'static [u8],
    /// Option 55.
    pub requests: &'static [u8],
}

/// A phone family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name, as the guide's vendor-class table has it where it does.
    pub name: &'static str,
    /// The phones it stands for.
    pub label: &'static str,
    /// Its column in the guide's option table.
    pub kind: Kind,
    /// The first three bytes of its hardware addresses.
    pub oui: [u8; 3],
    /// The stages of a normal boot, one DHCP exchange each: Polycom runs two.
    pub stages: &'static [Stage],
    /// What the boot loader says in recovery mode, for families that have one.
    pub recovery: Option<Stage>,
    /// Option 77.
    pub user_class: Option<UserClass>,
    /// Option 12.
    pub host_name: HostName,
    /// Whether option 61 is sent, as 01 and the hardware address.
    pub client_id: bool,
    /// Whether the broadcast flag is set.
    pub broadcast: bool,
    /// How long further OFFERs are waited for after the first, in milliseconds.
    pub offer_wait: u64,
    /// The firmware file the guide's table gives this vendor class.
    pub firmware: Option<&'static str>,
}

impl Family {
    /// The `n`th hardware address of this family; only the low 24 bits of `n` count.
    pub fn mac(&self, n: u32) -> Mac {
        let [a, b, c] = self.oui;
        let [_, d, e, f] = n.to_be_bytes();
        Mac([a, b, c, d, e, f])
    }

    /// Option 12 of the phone with this hardware address.
    pub fn host_name(&self, mac: Mac) -> String {
        match self.host_name {
            HostName::ModelMac => format!("{}-{}", self.name.to_ascii_lowercase(), mac.plain()),
            HostName::PolycomMac => format!("Polycom_{}", mac.plain()),
            HostName::Desktop => {
                format!("DESKTOP-{}", mac.plain().get(6..).unwrap_or_default().to_uppercase())
            }
        }
    }
}

/// The family with this name, letter case ignored.
pub fn by_name(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name.eq_ignore_ascii_case(name))
}

const STATION: &[u8] = &[1, 3, 6, 15, 42, 2, 66, 67, 160];
const STATION_RECOVERY: &[u8] = &[1, 3, 6, 15, 42, 2, 66, 67, 160, 43, 132];
const SOUNDPOINT_430: &[u8] = &[1, 28, 66, 3, 4, 42, 2, 6, 15];
const SOUNDPOINT_450: &[u8] = &[1, 28, 160, 66, 3, 4, 42, 2, 6, 15];
const SOUNDSTATION_6000: &[u8] = &[1, 3, 15, 160, 66, 3, 4, 54, 42, 2, 6, 15];
const POLYCOM: &[u8] = &[1, 28, 160, 66, 43, 3, 4, 42, 2, 6, 15];
const POLYCOM_VLAN: &[u8] = &[1, 28, 3, 160, 66, 4, 42, 2, 6, 15, 128, 144, 157, 191];
const POLY_STUDIO: &[u8] = &[1, 33, 3, 6, 15, 28, 42, 51, 58, 59, 66, 160];
const WINDOWS: &[u8] = &[1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252];
const SOFT_PHONE: &[u8] = &[160, 6, 15];

const AUDIOCODES_OUI: [u8; 3] = [0x00, 0x90, 0x8f];
const POLYCOM_OUI: [u8; 3] = [0x00, 0x04, 0xf2];

/// Option 60 of a SoundPoint IP 601, the sample of the UC Software administrator's guide: enterprise 13885, a
/// length byte, then company, part, part number, application and boot ROM as TLVs.
const SOUNDPOINT_601: &[u8] = b"\x00\x00\x36\x3d\x6f\
    \x01\x07Polycom\
    \x02\x15SoundPointIP-SPIP_601\
    \x03\x102345-11605-001,2\
    \x04\x1cSIP/Tip.XXXX/08-Jun-07 10:44\
    \x05\x1dBR/3.1.0.XXXX/28-Apr-05 13:30";

/// Every family, in the order of the guide's table.
pub const FAMILIES: &[Family] = &[
    Family {
        // The Interaction SIP Station I is the one of the table with an OUI of its own.
        oui: [0x00, 0x26, 0xfd],
        broadcast: true,
        ..station(
            "SIP100",
            "Interaction SIP Station I",
            "sip100.img",
            &[Stage { vendor_class: b"SIP100", requests: STATION }],
            UserClass::Raw("SIP100"),
        )
    },
    Family {
        broadcast: true,
        ..station(
            "SIP200",
            "Interaction SIP Station II",
            "sip200.img",
            &[Stage { vendor_class: b"SIP200", requests: STATION }],
            UserClass::Prefixed("SIP200"),
        )
    },
    station(
        "405",
        "AudioCodes 405, Genesys 405",
        "405.img",
        &[Stage { vendor_class: b"405", requests: STATION }],
        UserClass::Raw("405"),
    ),
    station(
        "405HD",
        "AudioCodes 405HD, Genesys 405HD",
        "405hd.img",
        &[Stage { vendor_class: b"405HD", requests: STATION }],
        UserClass::Prefixed("405HD"),
    ),
    station(
        "420HD",
        "AudioCodes 420HD, Genesys 420HD",
        "420hd.img",
        &[Stage { vendor_class: b"420HD", requests: STATION }],
        UserClass::Raw("420HD"),
    ),
    station(
        "430HD",
        "AudioCodes 430HD, Genesys 430HD",
        "430hd.img",
        &[Stage { vendor_class: b"430HD", requests: STATION }],
        UserClass::Prefixed("430HD"),
    ),
    station(
        "440HD",
        "AudioCodes 440HD, Genesys 440HD",
        "440hd.img",
        &[Stage { vendor_class: b"440HD", requests: STATION }],
        UserClass::Raw("440HD"),
    ),
    // The updater and the application ask for different things: the first list has no 160.
    polycom(
        "SoundPoint",
        "Polycom SoundPoint IP, binary option 60",
        &[
            Stage { vendor_class: SOUNDPOINT_601, requests: SOUNDPOINT_430 },
            Stage { vendor_class: SOUNDPOINT_601, requests: SOUNDPOINT_450 },
        ],
    ),
    polycom(
        "SoundStation",
        "Polycom SoundStation 6000, option 55 with duplicates",
        &[
            Stage { vendor_class: SOUNDPOINT_601, requests: SOUNDSTATION_6000 },
            Stage { vendor_class: SOUNDPOINT_601, requests: SOUNDSTATION_6000 },
        ],
    ),
    polycom(
        "VVX",
        "Polycom VVX 410, ASCII option 60",
        &[
            Stage { vendor_class: b"Polycom-VVX410", requests: POLYCOM_VLAN },
            Stage { vendor_class: b"Polycom-VVX410", requests: POLYCOM },
        ],
    ),
    Family {
        oui: [0x64, 0x16, 0x7f],
        ..polycom(
            "EdgeE",
            "Poly Edge E350, ASCII option 60",
            &[
                Stage { vendor_class: b"Poly-EdgeE350", requests: POLY_STUDIO },
                Stage { vendor_class: b"Poly-EdgeE350", requests: POLY_STUDIO },
            ],
        )
    },
    Family {
        name: "SoftPhone",
        label: "SIP Soft Phone on Windows",
        kind: Kind::SoftPhone,
        stages: &[Stage { vendor_class: b"MSFT 5.0", requests: SOFT_PHONE }],
        ..PC
    },
    PC,
];

const PC: Family = Family {
    name: "PC",
    label: "Windows PC that is no phone",
    kind: Kind::Pc,
    oui: [0x00, 0x14, 0x22],
    stages: &[Stage { vendor_class: b"MSFT 5.0", requests: WINDOWS }],
    recovery: None,
    user_class: None,
    host_name: HostName::Desktop,
    client_id: true,
    broadcast: false,
    offer_wait: 0,
    firmware: None,
};

const fn station(
    name: &'static str,
    label: &'static str,
    firmware: &'static str,
    stages: &'static [Stage; 1],
    user_class: UserClass,
) -> Family {
    let [Stage { vendor_class, .. }] = *stages;
    Family {
        name,
        label,
        kind: Kind::Station,
        oui: AUDIOCODES_OUI,
        stages,
        recovery: Some(Stage { vendor_class, requests: STATION_RECOVERY }),
        user_class: Some(user_class),
        host_name: HostName::ModelMac,
        client_id: false,
        broadcast: false,
        offer_wait: 0,
        firmware: Some(firmware),
    }
}

const fn polycom(name: &'static str, label: &'static str, stages: &'static [Stage; 2]) -> Family {
    Family {
        name,
        label,
        kind: Kind::Polycom,
        oui: POLYCOM_OUI,
        stages,
        recovery: None,
        user_class: None,
        host_name: HostName::PolycomMac,
        client_id: false,
        broadcast: false,
        // It waits for further OFFERs; how long is not known.
        offer_wait: 200,
        firmware: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_binary_vendor_class_is_the_sample_of_the_guide() {
        assert_eq!(SOUNDPOINT_601.len(), 116);
        let (head, mut rest) = SOUNDPOINT_601.split_at(5);
        assert_eq!(head, [0x00, 0x00, 0x36, 0x3d, 0x6f]);
        assert_eq!(rest.len(), 0x6f);
        let mut types = Vec::new();
        while let [kind, length, tail @ ..] = rest {
            types.push(*kind);
            rest = &tail[usize::from(*length)..];
        }
        assert_eq!(types, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn every_row_of_the_vendor_class_table_is_there_with_its_file() {
        let rows: Vec<_> =
            FAMILIES.iter().filter_map(|family| Some((family.name, family.firmware?))).collect();
        let table = [
            ("SIP100", "sip100.img"),
            ("SIP200", "sip200.img"),
            ("405", "405.img"),
            ("405HD", "405hd.img"),
            ("420HD", "420hd.img"),
            ("430HD", "430hd.img"),
            ("440HD", "440hd.img"),
        ];
        assert_eq!(rows, table);
        let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len());
    }

    #[test]
    fn phones_name_themselves_as_their_makers_do() {
        let name =
            |family: &str, mac: &str| by_name(family).unwrap().host_name(mac.parse().unwrap());
        assert_eq!(name("440HD", "00:90:8f:12:34:56"), "440hd-00908f123456");
        assert_eq!(name("edgee", "64:16:7f:97:e4:f6"), "Polycom_64167f97e4f6");
        assert_eq!(by_name("440HD").unwrap().mac(0x0001_0203).to_string(), "00:90:8f:01:02:03");
    }
}
