//! The wiring of a small office, in three namespaces.
//!
//! ```text
//!   appliance                     office                          phone
//!   voice0  10.250.1.5/24 ─────── voice bridge  10.250.1.1 ────── voice
//!                                    │ router
//!   native0 10.0.0.11/24  ─────── native bridge 10.0.0.1   ────── native
//! ```
//!
//! Each VLAN is a bridge of its own rather than an 802.1Q tag: not every kernel has the module, and the servers
//! see no difference.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;

use offhook_sim::Link;

use super::error::{Context, Error};
use super::namespace::Namespace;

/// The namespaces, wired up.
#[derive(Debug)]
pub(super) struct Office {
    /// Where the servers run.
    pub(super) appliance: Namespace,
    /// The switches, and the router between the VLANs.
    pub(super) switch: Namespace,
    /// Where the phone in hand is plugged in: one interface for each VLAN, named as [`interface`] says.
    pub(super) phone: Namespace,
}

struct Vlan {
    link: Link,
    bridge: &'static str,
    router: Ipv4Addr,
    /// Name and address of the appliance's interface in `config/lab.toml`.
    served: (&'static str, Ipv4Addr),
}

const VLANS: [Vlan; 2] = [
    Vlan {
        link: Link::Voice,
        bridge: "br-voice",
        router: Ipv4Addr::new(10, 250, 1, 1),
        served: ("voice0", Ipv4Addr::new(10, 250, 1, 5)),
    },
    Vlan {
        link: Link::Native,
        bridge: "br-native",
        router: Ipv4Addr::new(10, 0, 0, 1),
        served: ("native0", Ipv4Addr::new(10, 0, 0, 11)),
    },
];

/// The phone's interface on a link.
pub(super) fn interface(link: Link) -> &'static str {
    match link {
        Link::Native => "native",
        Link::Voice => "voice",
    }
}

impl Office {
    /// Wires everything up. The calling thread's namespace becomes the switch.
    ///
    /// # Errors
    /// The kernel lacks something, or refuses it.
    pub(super) fn build() -> Result<Self, Error> {
        let switch = Namespace::current("office")?;
        let appliance = Namespace::new("appliance")?;
        let phone = Namespace::new("phone")?;
        let office = Self { appliance, switch, phone };
        for vlan in &VLANS {
            office.wire(vlan)?;
        }
        office.switch.run(|net| {
            net.up("lo")?;
            trust_every_path()?;
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("route between the VLANs")
        })?;
        office.appliance.run(|net| {
            net.up("lo")?;
            for Vlan { served: (name, address), .. } in &VLANS {
                net.up(name)?;
                net.add_address(name, *address, 24)?;
            }
            trust_every_path()
        })?;
        office.phone.run(|net| {
            net.up("lo")?;
            for vlan in &VLANS {
                net.up(interface(vlan.link))?;
            }
            trust_every_path()
        })?;
        Ok(office)
    }

    fn wire(
        &self,
        &Vlan { link, bridge, router, served: (served, _) }: &Vlan,
    ) -> Result<(), Error> {
        let wires = [
            (format!("{link}-a"), &self.appliance, served),
            (format!("{link}-p"), &self.phone, interface(link)),
        ];
        self.switch.run(move |net| {
            net.add_bridge(bridge)?;
            net.add_address(bridge, router, 24)
        })?;
        for (near, namespace, name) in wires {
            let file = namespace.file().context("share a namespace")?;
            self.switch.run(move |net| {
                // Made here under a name of its own, because the far ends' names may be the same.
                let far = format!("{near}-far");
                net.add_wire(&near, &far)?;
                net.plug(&near, bridge)?;
                net.hand_over(&far, file.as_fd(), name)
            })?;
        }
        Ok(())
    }
}

/// The TFTP server is reached through the router and answers straight, which a strict reverse-path filter would
/// drop; new namespaces inherit the host's.
fn trust_every_path() -> Result<(), Error> {
    let all = Path::new("/proc/sys/net/ipv4/conf");
    for interface in fs::read_dir(all).context("read the network settings")? {
        let filter = interface.context("read the network settings")?.path().join("rp_filter");
        if fs::read_to_string(&filter).is_ok_and(|value| value.trim() != "0") {
            fs::write(&filter, "0").context("switch the reverse-path filter off")?;
        }
    }
    Ok(())
}
