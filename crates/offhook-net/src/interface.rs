//! The network interfaces of this host.

use std::io;
use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use offhook_model::Mac;

/// ARP hardware type of Ethernet, which veth, bridge and VLAN interfaces have as well.
const ARPHRD_ETHER: u16 = 1;

/// A network interface, as it was when asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name: `voice0`.
    pub name: String,
    /// Its index. An interface that was deleted and made again has the same name and another index.
    pub index: u32,
    /// Its hardware address; none for an interface that is not Ethernet, such as `lo`.
    pub mac: Option<Mac>,
    /// Its IPv4 addresses, each with its prefix length.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Whether it is administratively up. The link may be without carrier all the same.
    pub up: bool,
}

impl Interface {
    /// The interface with this name.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], naming it, when there is none; or why the kernel could not be asked.
    pub fn named(name: &str) -> io::Result<Self> {
        interfaces()?.into_iter().find(|interface| interface.name == name).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no interface `{name}`"))
        })
    }

    /// Whether one of its addresses is this one.
    pub fn has_address(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|(own, _)| *own == address)
    }

    /// Whether the name still stands for this very interface: not when it is gone, or was made anew. A UDP
    /// socket bound to a deleted interface reports no error; it only never receives again.
    pub fn is_current(&self) -> bool {
        nix::net::if_::if_nametoindex(self.name.as_str()).is_ok_and(|index| index == self.index)
    }
}

/// Every network interface, in the kernel's order.
///
/// # Errors
/// The kernel could not be asked.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut all: Vec<Interface> = Vec::new();
    // The kernel lists every link before the first address, so an address always finds its interface.
    for entry in getifaddrs()? {
        // A labelled address (`eth0:1`) belongs to the interface in front of the colon.
        let name = entry.interface_name.split(':').next().unwrap_or_default();
        let Some(address) = entry.address else { continue };
        if let Some(link) = address.as_link_addr() {
            let ethernet = link.hatype() == ARPHRD_ETHER && link.halen() == 6;
            all.push(Interface {
                name: entry.interface_name.clone(),
                index: u32::try_from(link.ifindex()).unwrap_or_default(),
                mac: link.addr().filter(|_| ethernet).map(Mac),
                addresses: Vec::new(),
                up: entry.flags.contains(InterfaceFlags::IFF_UP),
            });
        } else if let Some(own) = address.as_sockaddr_in()
            && let Some(interface) = all.iter_mut().find(|interface| interface.name == name)
        {
            let mask = entry
                .netmask
                .and_then(|mask| mask.as_sockaddr_in().map(|mask| mask.ip()))
                .unwrap_or(Ipv4Addr::BROADCAST);
            interface.addresses.push((own.ip(), mask.to_bits().count_ones() as u8));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_there_with_its_address_and_no_mac() {
        let lo = Interface::named("lo").unwrap();
        assert!(lo.up && lo.index > 0 && lo.mac.is_none());
        assert!(lo.addresses.contains(&(Ipv4Addr::LOCALHOST, 8)), "{lo:?}");
        assert!(lo.has_address(Ipv4Addr::LOCALHOST) && lo.is_current());
        assert!(!Interface { index: lo.index + 1000, ..lo }.is_current());
    }

    #[test]
    fn an_interface_that_does_not_exist_is_named_in_the_error() {
        let error = Interface::named("nosuch0").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("nosuch0"));
    }
}
