//! SIGHUP: the configuration is read again. All of it is taken over, or nothing.

use std::path::Path;
use std::sync::Arc;

use offhook_config::{Loaded, offset_at};
use offhook_model::{Dns, Site, Tftp};
use tracing::{error, info};

use crate::clock::wall;
use crate::{dhcp, dns, tftp};

/// Reads `file` and has it served. What is served afterwards: the new site, or the one from before when the file has
/// an error or says something that takes a restart.
pub(crate) async fn reload(
    file: &Path,
    before: Arc<Site>,
    dhcp: &dhcp::Handle,
    dns: &dns::Reload,
    tftp: Option<&tftp::Running>,
) -> Arc<Site> {
    let path = file.to_owned();
    let Ok(loaded) = tokio::task::spawn_blocking(move || offhook_config::load(&path)).await else {
        error!("reading the configuration failed: the one from before stays in force");
        return before;
    };
    let Loaded { site, diagnostics } = loaded;
    diagnostics.iter().for_each(crate::run::log_diagnostic);
    let Some(site) = site.map(Arc::new) else {
        error!(file = %file.display(), "the configuration has errors: the one from before stays in force");
        return before;
    };
    let mut fixed = takes_a_restart(&before, &site);
    fixed.extend(dns.takes_a_restart(&site));
    if !fixed.is_empty() {
        refuse(&fixed.join(", "));
        return before;
    }
    // Whatever may fail comes first; what is prepared changes nothing yet.
    let files = match tftp {
        Some(tftp) => match tftp.prepare(&site).await {
            Ok(prepared) => prepared.map(|prepared| (tftp, prepared)),
            Err(reason) => {
                error!(
                    reason,
                    "the new configuration cannot be used: the one from before stays in force"
                );
                return before;
            }
        },
        None => None,
    };
    let Some(names) = dns.prepare(&site).await else {
        error!("preparing the configuration failed: the one from before stays in force");
        return before;
    };
    match dhcp.reload(Arc::clone(&site)).await {
        Ok(Ok(())) => {
            dns.commit(names).await;
            if let Some((tftp, prepared)) = files {
                tftp.commit(prepared).await;
            }
            let (scopes, phones) = (site.scopes.len(), site.phones.len());
            info!(site = %site.name, scopes, phones, "configuration taken over");
            site
        }
        Ok(Err(reasons)) => {
            refuse(&reasons.join("; "));
            before
        }
        Err(dhcp::NoAnswer) => {
            error!("the DHCP server does not answer: nobody knows which configuration is in force");
            before
        }
    }
}

/// The offset from UTC that is in force where the site is.
pub(crate) fn offset(site: &Site) -> Option<i32> {
    offset_at(site.time_zone.as_deref()?, wall())
}

/// Has the offset in force sent to those who get that one: daylight saving has begun or ended, or the clock was set.
/// What is served afterwards.
pub(crate) async fn follow_offset(
    before: Arc<Site>,
    seconds: i32,
    dhcp: &dhcp::Handle,
) -> Arc<Site> {
    let mut site = Site::clone(&before);
    if !site.follow_offset(seconds) {
        return before;
    }
    let site = Arc::new(site);
    match dhcp.reload(Arc::clone(&site)).await {
        Ok(Ok(())) => {
            info!(
                seconds,
                "the offset of the time zone has changed: option 2 has the new one where it follows it"
            );
            site
        }
        Ok(Err(_)) | Err(dhcp::NoAnswer) => {
            error!(
                seconds,
                "the offset of the time zone has changed, and option 2 could not be: restart offhook"
            );
            before
        }
    }
}

fn refuse(changed: &str) {
    error!(
        changed,
        hint = "restart offhook: its leases are on disk, and phones do not notice",
        "the new configuration takes a restart: the one from before stays in force"
    );
}

/// What two configurations say differently that DNS and TFTP go by and do not change while they run.
pub(crate) fn takes_a_restart(one: &Site, other: &Site) -> Vec<&'static str> {
    // Whatever is added to a site, it is decided here whether it can be changed.
    let Site {
        name: _,
        zone,
        time_zone: _,
        dhcp: _,
        dns,
        tftp,
        hosts: _,
        switchovers: _,
        proxies: _,
        records: _,
        scopes: _,
        classes: _,
        phones: _,
        options: _,
    } = one;
    let Dns {
        listen,
        forward: _,
        ttl: _,
        negative_ttl: _,
        cache: _,
        names: _,
        access: _,
        naptr: _,
    } = dns;
    let listens_alike = |(one, other): (&Tftp, &Tftp)| one.listen == other.listen;
    let parts = [
        ("the name of the zone", *zone == other.zone),
        ("listen in [dns]", *listen == other.dns.listen),
        ("[tftp] where there was none", tftp.is_some() || other.tftp.is_none()),
        ("[tftp] that is no more", tftp.is_none() || other.tftp.is_some()),
        ("listen in [tftp]", tftp.as_ref().zip(other.tftp.as_ref()).is_none_or(listens_alike)),
    ];
    parts.into_iter().filter(|(_, is_same)| !is_same).map(|(part, _)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(text: &str) -> Site {
        struct NoFiles;
        impl offhook_config::Files for NoFiles {
            fn list(&self, _: &Path) -> Option<Vec<String>> {
                None
            }
        }
        let now = offhook_model::Time::from_secs(1_783_000_000);
        offhook_config::parse("lab.toml", Path::new(""), text, now, &NoFiles).site.unwrap()
    }

    const LAB: &str = include_str!("../../../config/lab.toml");

    #[test]
    fn what_only_dhcp_goes_by_takes_no_restart_wherever_it_stands() {
        let moved = format!("\n\n{}\n[[phone]]\nmac = \"00:90:8f:12:34:56\"\n", LAB)
            .replace("lease = \"8h\"", "lease = \"9h\"\nreserved_share = 0");
        assert_ne!(site(&moved), site(LAB));
        assert_eq!(takes_a_restart(&site(LAB), &site(&moved)), [""; 0]);
    }

    #[test]
    fn what_tftp_goes_by_takes_none_but_for_its_socket() {
        let root = "root = \"firmware\"";
        let sum = "0".repeat(64);
        for keys in [
            "root = \"images\"".to_owned(),
            format!(
                "{root}\nallow = \"10.0.0.0/8\"\ntransfers = 7\nblock_size = 512\nfragment = true"
            ),
            format!(
                "{root}\nupstream = \"http://provision.lab.voip:8088\"\ncache_size = \"2 MiB\""
            ),
            format!("{root}\nimages = {{ \"440hd.img\" = \"{sum}\" }}"),
        ] {
            let other = LAB.replace(root, &keys);
            assert_ne!(site(&other).tftp, site(LAB).tftp, "{keys}");
            assert_eq!(takes_a_restart(&site(LAB), &site(&other)), [""; 0], "{keys}");
        }
        let table =
            format!("[tftp]\nlisten = \"10.0.0.11\"                     # option 66\n{root}");
        let without = LAB.replace(&table, "");
        assert!(site(&without).tftp.is_none());
        let elsewhere = LAB.replace(&table, &table.replace("10.0.0.11", "10.0.0.12"));
        for (one, other, part) in [
            (LAB, &*without, "[tftp] that is no more"),
            (&without, LAB, "[tftp] where there was none"),
            (LAB, &elsewhere, "listen in [tftp]"),
        ] {
            assert_eq!(takes_a_restart(&site(one), &site(other)), [part]);
        }
    }

    #[test]
    fn what_dns_goes_by_takes_none_but_for_its_sockets_and_the_name_of_the_zone() {
        for (from, to) in [
            ("10.250.1.152", "10.250.1.153"),
            ("port = 8088", "port = 8089"),
            ("forward = {", "ttl = 60\nforward = {"),
            ("subnet = \"10.0.0.0/24\"", "subnet = \"10.0.0.0/23\""),
        ] {
            let other = site(&LAB.replace(from, to));
            assert_ne!(other, site(LAB), "{from}");
            assert_eq!(takes_a_restart(&site(LAB), &other), [""; 0], "{from}");
        }
        for (from, to, part) in [
            ("zone = \"lab.voip\"", "zone = \"lab.example\"", "the name of the zone"),
            ("listen = [\"10.250.1.5\"]", "listen = [\"10.250.1.6\"]", "listen in [dns]"),
        ] {
            let other = site(&LAB.replace(from, to));
            assert_eq!(takes_a_restart(&site(LAB), &other), [part], "{from}");
        }
    }
}
