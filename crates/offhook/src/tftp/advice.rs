//! What a phone should have asked for, when it asked for what there is not.

use std::net::{IpAddr, Ipv4Addr};

use offhook_model::{Class, Evidence, Mac, PhoneKey, Site};
use offhook_tftp::BootFiles;

use crate::dhcp;

/// Names longer than this resemble nothing.
const LONGEST_NAME: usize = 80;
/// How much alike two names have to be, 0 to 1.
const ALIKE: f64 = 0.6;

/// What is known of phone families and their files.
#[derive(Clone, Debug, Default)]
pub(super) struct Families {
    all: Vec<Family>,
    /// Phones of the inventory whose class is stated.
    phones: Vec<(Mac, usize)>,
    /// Where phones have their configuration from: option 160.
    provisioning: Option<String>,
    leases: Option<dhcp::Handle>,
}

#[derive(Clone, Debug)]
struct Family {
    name: String,
    firmware: Option<String>,
    ouis: Vec<[u8; 3]>,
}

/// What a phone should have asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// What it is, and how that is known.
    family: Option<(String, &'static str)>,
    /// The file it is told of by option 67, or that most resembles what it asked for.
    file: Option<String>,
    /// It asked for its configuration, which comes from there.
    provisioning: Option<String>,
}

impl Families {
    pub(super) fn new(site: &Site, leases: Option<dhcp::Handle>) -> Self {
        let family = |class: &Class| Family {
            name: class.name.clone(),
            firmware: class.firmware.clone(),
            ouis: class
                .evidence
                .iter()
                .filter_map(|evidence| match evidence {
                    Evidence::Oui(oui) => Some(*oui),
                    _ => None,
                })
                .collect(),
        };
        let phone = |phone: &offhook_model::Phone| match (&phone.key, phone.class) {
            (PhoneKey::Mac(mac), Some(class)) => Some((*mac, usize::from(class.0))),
            _ => None,
        };
        Self {
            all: site.classes.iter().map(family).collect(),
            phones: site.phones.iter().filter_map(phone).collect(),
            provisioning: site.switchovers.iter().find_map(offhook_model::Switchover::url),
            leases,
        }
    }

    /// The files that option 67 names.
    pub(super) fn boot_files(&self) -> BootFiles {
        BootFiles::new(
            self.all.iter().filter_map(|family| family.firmware.clone()).map(String::into_bytes),
        )
    }

    /// What `client` should have asked for instead of `name`.
    pub(super) async fn advise(&self, client: IpAddr, name: &[u8]) -> Option<Advice> {
        let leased = match (client.to_canonical(), &self.leases) {
            (IpAddr::V4(address), Some(leases)) => Self::leased(leases, address).await,
            _ => None,
        };
        self.from(leased.as_deref(), name)
    }

    /// The family of who has the lease of this address.
    async fn leased(leases: &dhcp::Handle, address: Ipv4Addr) -> Option<String> {
        let page = leases.leases(vec![address]).await.ok()?;
        let lease = page.leases.into_iter().find(|lease| lease.is_live(page.now))?;
        lease.class.as_deref().map(str::to_owned)
    }

    fn from(&self, leased: Option<&str>, name: &[u8]) -> Option<Advice> {
        let name = name.get(..LONGEST_NAME).unwrap_or(name);
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let file = name.rsplit(['/', '\\']).next().unwrap_or_default();
        let mac = mac_in(file);
        let stem = file.split(['.', ';']).next().unwrap_or_default();
        let is_image = file.contains(".img");
        let leased =
            leased.and_then(|class| self.all.iter().find(|it| it.name.eq_ignore_ascii_case(class)));
        let known = leased
            .map(|family| (family, "by its lease"))
            .or_else(|| Some((self.of_mac(mac?)?, "by its MAC address")))
            .or_else(|| Some((self.named_in(stem)?, "by the name")));
        let near = || {
            let files = self.all.iter().filter_map(|family| family.firmware.as_deref());
            let score = |file: &str, other: &str| {
                strsim::normalized_damerau_levenshtein(file, &other.to_ascii_lowercase())
            };
            let mut scored: Vec<_> = files.map(|other| (score(file, other), other)).collect();
            scored.retain(|(score, _)| *score >= ALIKE);
            scored.sort_by(|a, b| b.0.total_cmp(&a.0));
            scored.first().map(|(_, other)| (*other).to_owned())
        };
        let is_config =
            mac.is_some() || [".cfg", ".ini", ".xml", ".conf"].iter().any(|it| file.ends_with(it));
        let advice = Advice {
            family: known.map(|(family, how)| (family.name.clone(), how)),
            file: match known.and_then(|(family, _)| family.firmware.clone()) {
                _ if is_config && !is_image => None,
                Some(firmware) => Some(firmware),
                None => near(),
            },
            provisioning: self.provisioning.clone().filter(|_| is_config && !is_image),
        };
        let empty = Advice { family: None, file: None, provisioning: None };
        (advice != empty).then_some(advice)
    }

    fn of_mac(&self, mac: Mac) -> Option<&Family> {
        let listed = self.phones.iter().find(|(known, _)| *known == mac);
        let listed = listed.and_then(|(_, class)| self.all.get(*class));
        listed.or_else(|| self.all.iter().find(|family| family.ouis.contains(&mac.oui())))
    }

    /// The family whose name, or whose file's, the name of the file begins with: the longest of them, as 405HD begins
    /// with 405 as well.
    fn named_in(&self, stem: &str) -> Option<&Family> {
        let length = |family: &Family| {
            let firmware = family.firmware.as_deref().and_then(|file| file.split('.').next());
            let of = |name: &str| match stem.starts_with(&name.to_ascii_lowercase()) {
                true => name.len(),
                false => 0,
            };
            of(&family.name).max(firmware.map_or(0, of))
        };
        self.all.iter().filter(|family| length(family) > 2).max_by_key(|family| length(family))
    }
}

impl Advice {
    /// The file it should have asked for, if any.
    pub(super) fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The family, for the log.
    pub(super) fn family(&self) -> &str {
        self.family.as_ref().map_or("", |(family, _)| family)
    }

    /// For people; `there` says whether the file is in the root.
    pub(super) fn hint(&self, asked: &[u8], there: bool) -> String {
        let who = match &self.family {
            Some((family, how)) => format!("a phone of family {family}, {how}"),
            None => "a phone of unknown family".to_owned(),
        };
        let what = match (&self.file, &self.provisioning) {
            (_, Some(url)) => format!("phones have their configuration from {url}, not by TFTP"),
            (Some(file), _) if !there && file.as_bytes().eq_ignore_ascii_case(asked) => {
                "put that file into the root".to_owned()
            }
            (Some(file), _) if there => format!("it should have asked for {file}, which is there"),
            (Some(file), _) => {
                format!("it should have asked for {file}, which is not there either")
            }
            (None, None) => "option 67 names no file for it".to_owned(),
        };
        format!("{who}: {what}")
    }
}

/// The hardware address that a name is made of: `00908f123456.cfg`, `00-90-8f-12-34-56`.
fn mac_in(file: &str) -> Option<Mac> {
    let digits: String = file.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let start = digits.get(..12)?;
    let ends = digits.chars().nth(12).is_none_or(|next| !next.is_ascii_alphanumeric());
    (ends && start.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| start.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> Families {
        let family = |name: &str, firmware: Option<&str>, oui: Option<[u8; 3]>| Family {
            name: name.to_owned(),
            firmware: firmware.map(str::to_owned),
            ouis: oui.into_iter().collect(),
        };
        Families {
            all: vec![
                family("405", Some("405.img"), None),
                family("405HD", Some("405hd.img"), None),
                family("440HD", Some("440hd.img"), None),
                family("AudioCodes", None, Some([0, 0x90, 0x8f])),
            ],
            phones: vec![("00:90:8f:00:00:01".parse().unwrap(), 2)],
            provisioning: Some("http://provision.lab.voip:8088".to_owned()),
            leases: None,
        }
    }

    fn hint(leased: Option<&str>, name: &str) -> String {
        let advice = families().from(leased, name.as_bytes());
        advice.map_or_else(|| "nothing".to_owned(), |advice| advice.hint(name.as_bytes(), true))
    }

    #[test]
    fn the_log_says_what_a_phone_should_have_asked_for() {
        for (leased, name, told) in [
            (
                None,
                "405HD_2.2.12.img",
                "a phone of family 405HD, by the name: it should have asked for 405hd.img, which is there",
            ),
            (
                None,
                "/boot/405_x.img",
                "a phone of family 405, by the name: it should have asked for 405.img, which is there",
            ),
            (
                Some("440hd"),
                "firmware.bin",
                "a phone of family 440HD, by its lease: it should have asked for 440hd.img, which is there",
            ),
            (
                None,
                "44hd.img",
                "a phone of unknown family: it should have asked for 440hd.img, which is there",
            ),
            (
                None,
                "00908f000001.img",
                "a phone of family 440HD, by its MAC address: it should have asked for 440hd.img, which is there",
            ),
            (
                None,
                "00-90-8F-12-34-56.cfg",
                "a phone of family AudioCodes, by its MAC address: phones have their configuration from http://provision.lab.voip:8088, not by TFTP",
            ),
            (None, "pxelinux.0", "nothing"),
        ] {
            assert_eq!(hint(leased, name), told, "{name}");
        }
    }
}
