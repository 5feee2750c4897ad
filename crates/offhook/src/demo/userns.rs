//! Leaving the host's network: a network namespace of our own, within a user namespace when not root.

use std::fs;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

use super::error::{Context, Error};

/// How the process got a network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    /// As root, or with the capabilities of it.
    Root,
    /// As an ordinary user: root of a user namespace only.
    User,
}

/// Moves the process into a new network namespace. Must be called while it has one thread only: the kernel lets
/// no other process enter a user namespace.
///
/// # Errors
/// The kernel or the container forbids it; the hint names the setting that does.
pub(super) fn enter() -> Result<Isolation, Error> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => return Ok(Isolation::Root),
        Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno).context("make a network namespace"),
    }
    let (uid, gid) = (getuid(), getgid());
    // One call for both: the network namespace then belongs to the user namespace.
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(forbidden)?;
    // In this order: without `deny` an ordinary user may not write gid_map (user_namespaces(7)).
    let written = write("setgroups", "deny")
        .and_then(|()| write("uid_map", &format!("0 {uid} 1\n")))
        .and_then(|()| write("gid_map", &format!("0 {gid} 1\n")));
    written.map_err(|_| forbidden(Errno::EPERM))?;
    Ok(Isolation::User)
}

fn write(file: &str, text: &str) -> std::io::Result<()> {
    fs::write(format!("/proc/self/{file}"), text)
}

fn forbidden(errno: Errno) -> Error {
    let setting = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let message =
        format!("cannot make a user namespace, which the demo needs without root: {errno}");
    Error::new(message).hint(remedy(
        setting("/proc/sys/user/max_user_namespaces").as_deref(),
        setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref(),
        setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref(),
    ))
}

/// The settings that forbid it, as they are; none where the kernel does not have them.
fn remedy(most: Option<&str>, clone: Option<&str>, apparmor: Option<&str>) -> String {
    let setting = match (most, clone, apparmor) {
        (Some("0"), ..) => "user.max_user_namespaces=15000",
        (_, Some("0"), _) => "kernel.unprivileged_userns_clone=1",
        (_, _, Some("1")) => "kernel.apparmor_restrict_unprivileged_userns=0",
        _ => {
            return "run `offhook demo` as root; in a container it needs CAP_SYS_ADMIN and CAP_NET_ADMIN \
                    as well (`docker run --privileged`)"
                .to_owned();
        }
    };
    format!("run `sysctl -w {setting}` as root first, or run `offhook demo` as root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_names_the_setting_that_forbids_it() {
        assert!(remedy(Some("0"), Some("1"), None).contains("max_user_namespaces=15000"));
        assert!(remedy(Some("9"), Some("0"), Some("1")).contains("unprivileged_userns_clone=1"));
        assert!(remedy(Some("9"), None, Some("1")).contains("apparmor_restrict"));
        assert!(remedy(Some("9"), Some("1"), Some("0")).contains("as root; in a container"));
        assert!(remedy(None, None, None).contains("as root; in a container"));
    }
}
