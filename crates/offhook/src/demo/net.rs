//! Interfaces, addresses and routes of one namespace, by routing netlink.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use offhook_model::Mac;
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth,
    RouteMessageBuilder,
};
use tokio::runtime::{Builder, Runtime};

use super::error::{Context, Error};

/// A netlink socket in the namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Net {
    runtime: Runtime,
    handle: Handle,
}

impl Net {
    pub(super) fn open() -> Result<Self, Error> {
        let runtime =
            Builder::new_current_thread().enable_io().build().context("start a runtime")?;
        let entered = runtime.enter();
        let (connection, handle, _) =
            rtnetlink::new_connection().context("open a netlink socket")?;
        runtime.spawn(connection);
        drop(entered);
        Ok(Self { runtime, handle })
    }

    /// A bridge, up.
    pub(super) fn add_bridge(&self, name: &str) -> Result<(), Error> {
        let bridge = LinkBridge::new(name).up().build();
        self.runtime
            .block_on(self.handle.link().add(bridge).execute())
            .context(format_args!("make the bridge `{name}`"))
    }

    /// Two interfaces that are the ends of one wire, both down.
    pub(super) fn add_wire(&self, one: &str, other: &str) -> Result<(), Error> {
        self.runtime
            .block_on(self.handle.link().add(LinkVeth::new(one, other).build()).execute())
            .context(format_args!("make the wire from `{one}` to `{other}`"))
    }

    /// Plugs an interface into a bridge and switches it on.
    pub(super) fn plug(&self, name: &str, bridge: &str) -> Result<(), Error> {
        let controller = index(bridge)?;
        self.set(name, "plug in", |link| link.controller(controller).up())
    }

    /// Moves an interface into another namespace, under a new name.
    pub(super) fn hand_over(&self, name: &str, to: BorrowedFd<'_>, new: &str) -> Result<(), Error> {
        self.set(name, "move", |link| link.setns_by_fd(to.as_raw_fd()).name(new))
    }

    /// Switches an interface on.
    pub(super) fn up(&self, name: &str) -> Result<(), Error> {
        self.set(name, "switch on", LinkMessageBuilder::up)
    }

    /// Gives an interface another hardware address.
    pub(super) fn set_mac(&self, name: &str, mac: Mac) -> Result<(), Error> {
        self.set(name, "set the hardware address of", |link| link.address(mac.0.to_vec()))
    }

    /// Gives an interface an address.
    pub(super) fn add_address(
        &self,
        name: &str,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), Error> {
        let request = self.handle.address().add(index(name)?, address.into(), prefix);
        self.runtime
            .block_on(request.execute())
            .context(format_args!("give `{name}` the address {address}/{prefix}"))
    }

    /// Takes an address from an interface, and the routes with it when it is the last.
    pub(super) fn remove_address(
        &self,
        name: &str,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), Error> {
        let message = AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index(name)?)
            .address(address, prefix)
            .build();
        self.runtime
            .block_on(self.handle.address().del(message).execute())
            .context(format_args!("take the address {address}/{prefix} from `{name}`"))
    }

    /// The default route.
    pub(super) fn add_default_route(&self, router: Ipv4Addr) -> Result<(), Error> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(router).build();
        self.runtime
            .block_on(self.handle.route().add(route).execute())
            .context(format_args!("route by {router}"))
    }

    fn set(
        &self,
        name: &str,
        doing: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), Error> {
        let message = change(LinkUnspec::new_with_index(index(name)?)).build();
        self.runtime
            .block_on(self.handle.link().set(message).execute())
            .context(format_args!("{doing} the interface `{name}`"))
    }
}

fn index(name: &str) -> Result<u32, Error> {
    let interface = offhook_net::Interface::named(name).context("use an interface")?;
    Ok(interface.index)
}
