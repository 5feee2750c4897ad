//! The guide's sample site on disk, and what phones are to get there.
//!
//! The expectations are the guide's own numbers, written down once more: they must not follow from the
//! configuration, or a mistake in deriving them would go unnoticed.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use offhook_sim::requirements::{Expected, Subnet};
use offhook_sim::{FAMILIES, Fingerprint};

use super::error::{Context, Error};

const LAB: &str = include_str!("../../../../config/lab.toml");

/// The files of the sample site.
#[derive(Debug)]
pub(super) struct Files {
    /// `lab.toml`.
    pub(super) config: PathBuf,
    /// Where the servers keep their leases.
    pub(super) state: PathBuf,
    /// Where the servers' log goes.
    pub(super) log: PathBuf,
}

impl Files {
    /// Where everything is, in this directory.
    pub(super) fn within(directory: &Path) -> Self {
        Self {
            config: directory.join("lab.toml"),
            state: directory.join("state"),
            log: directory.join("server.log"),
        }
    }

    /// Writes the configuration and made-up firmware. Returns what phones are to get.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub(super) fn write(&self) -> Result<Expected, Error> {
        let root = self.config.with_file_name("firmware");
        fs::create_dir_all(&self.state).context("write the sample site")?;
        fs::create_dir_all(&root).context("write the sample site")?;
        fs::write(&self.config, LAB).context("write the sample site")?;
        let mut expected = expected()?;
        let names = FAMILIES.iter().filter_map(|family| family.firmware);
        for (n, name) in names.enumerate() {
            let image = image(n);
            fs::write(root.join(name), &image).context("write the sample site")?;
            expected.images.insert(name.to_owned(), Fingerprint::of(&image));
        }
        Ok(expected)
    }
}

/// Made-up firmware, always the same for the same number. The first two end on the border of a block: of 512
/// bytes, and of 1468, which the phones ask for.
fn image(n: usize) -> Vec<u8> {
    let length = match n {
        0 => 512 * 400,
        1 => 1468 * 100,
        _ => 100_003 + 29_989 * n,
    };
    let mut state = n as u32 + 1;
    let mut next = || {
        // xorshift32: bytes that no damage leaves as they are.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

fn expected() -> Result<Expected, Error> {
    let subnet = |network: &str, router: [u8; 4]| {
        let network = network.parse().map_err(|_| Error::new(format!("no network: {network}")))?;
        Ok::<_, Error>(Some(Subnet { network, router: router.into() }))
    };
    Ok(Expected {
        zone: Some("lab.voip".to_owned()),
        voice: subnet("10.250.1.0/24", [10, 250, 1, 1])?,
        native: subnet("10.0.0.0/24", [10, 0, 0, 1])?,
        vlan: Some(100),
        dns: Some(vec![Ipv4Addr::new(10, 250, 1, 5)]),
        time_servers: Some(vec![Ipv4Addr::new(10, 250, 1, 6)]),
        time_offset: Some(-18_000),
        tftp: Some("10.0.0.11".to_owned()),
        url: Some("http://provision.lab.voip:8088".to_owned()),
        servers: Some(vec![
            ("vm40ic1.lab.voip".to_owned(), Ipv4Addr::new(10, 250, 1, 151)),
            ("vm40ic2.lab.voip".to_owned(), Ipv4Addr::new(10, 250, 1, 152)),
        ]),
        sip_ports: Some([8060, 8060, 8061]),
        images: Default::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_of_the_sizes_that_matter_and_always_the_same() {
        let lengths: Vec<_> = (0..7).map(|n| image(n).len()).collect();
        assert_eq!(lengths[0] % 512, 0);
        assert_eq!(lengths[1] % 1468, 0);
        assert!(lengths.iter().all(|length| (100_000..300_000).contains(length)), "{lengths:?}");
        assert_eq!(image(3), image(3));
        assert_ne!(image(3)[..100], image(4)[..100]);
    }
}
