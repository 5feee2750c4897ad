//! What the server goes by: one configuration, as a whole, until another takes its place.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use offhook_model::{ImageDigests, Site, Tftp};
use offhook_tftp::{Limits, Rollover};
use tracing::{debug, info};

use super::access::Access;
use super::advice::Families;
use super::upstream::Upstream;
use crate::dhcp;

/// As many open files as are ever useful here; each transfer has two sockets.
const OPEN_FILES: u64 = 131_072;

/// What is in force now. Every request goes by what is when it comes, to its end.
pub(super) type Current = Arc<ArcSwap<Settings>>;

/// What the server serves, and what it allows itself and others.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The directory that is served. It is looked up anew for every request: it may come later, or be replaced.
    pub(super) root: PathBuf,
    /// What is granted to one transfer.
    pub(super) limits: Limits,
    /// Transfers at a time; a request beyond is answered `busy`.
    pub(super) transfers: usize,
    /// Transfers at a time for one client address. Many phones may be behind one.
    pub(super) transfers_per_client: usize,
    /// Whether blocks are to fit the packets of the path, so that none is sent in fragments.
    pub(super) whole_packets: bool,
    /// The differentiated services code point of every reply.
    pub(super) dscp: u8,
    /// Who is answered.
    pub(super) access: Access,
    /// What phones there are, and what they are told of.
    pub(super) families: Families,
    /// What images are to be.
    pub(super) images: ImageDigests,
    /// Where files come from that are not in the root.
    pub(super) upstream: Option<Arc<Upstream>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            root: PathBuf::from("."),
            limits: Limits::default(),
            transfers: 16_384,
            transfers_per_client: 8192,
            whole_packets: true,
            dscp: 0,
            access: Access::default(),
            families: Families::default(),
            images: ImageDigests::default(),
            upstream: None,
        }
    }
}

impl Settings {
    /// As a configuration has it, but for the provisioning server.
    pub(super) fn new(site: &Site, tftp: &Tftp, leases: Option<dhcp::Handle>) -> Self {
        let stated = &tftp.limits;
        let whole = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let limits = Limits {
            block_size: stated.block_size,
            window: stated.window,
            rollover: if stated.rollover == 1 { Rollover::ToOne } else { Rollover::ToZero },
            timeout: stated.timeout,
            retries: stated.retries,
            give_up: stated.give_up,
            ..Limits::default()
        };
        Self {
            root: tftp.root.clone(),
            limits,
            transfers: whole(stated.transfers),
            transfers_per_client: whole(stated.transfers_per_client),
            whole_packets: !stated.fragment,
            dscp: stated.dscp,
            access: Access::new(site, stated),
            families: Families::new(site, leases),
            images: tftp.images.clone(),
            upstream: None,
        }
    }

    /// Takes no more transfers, of two files each, than leave a quarter of the files that the process may have open to
    /// everything else: the leases, DNS, and the very answers of those that are refused. Says so, unless it was so
    /// `before`.
    pub(super) fn leave_files(&mut self, before: Option<&Self>) {
        let files = allow_open_files();
        let most = (files / 8 * 3).max(1);
        if self.transfers <= most {
            return;
        }
        let stated = std::mem::replace(&mut self.transfers, most);
        if before.is_none_or(|before| before.transfers != most) {
            info!(most, files, stated, "fewer TFTP transfers at a time, for want of open files");
        }
    }

    /// Whether the same files are to be what they were to be before.
    pub(super) fn has_images_of(&self, other: &Self) -> bool {
        self.root == other.root && self.images == other.images
    }
}

/// A thousand phones need more than the 1,024 files a process may have open by default; how many more is the
/// administrator's to say by the hard limit. Returns how many it may have open now.
fn allow_open_files() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    let wanted = OPEN_FILES.min(hard).max(soft);
    let granted = match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(error) => {
            debug!(%error, soft, "cannot raise the limit of open files");
            soft
        }
    };
    usize::try_from(granted).unwrap_or(usize::MAX)
}
