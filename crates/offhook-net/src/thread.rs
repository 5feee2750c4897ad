//! How threads share the processor.
#![expect(unsafe_code, reason = "setpriority, which no library of ours wraps")]

use std::io;

use nix::errno::Errno;
use nix::libc;

/// Lets every other thread of this machine go before the calling one, by as much as `nice` (7) puts it: from 1, hardly,
/// to 19, whenever one of them has something to do. Threads that the caller starts afterwards inherit it.
///
/// # Errors
/// Whatever `setpriority` says; the thread goes on as before.
pub fn give_way(nice: u8) -> io::Result<()> {
    // SAFETY: takes numbers only. On Linux this is about the calling thread and no other.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, libc::c_int::from(nice)) };
    Errno::result(done).map(drop).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_gives_way() {
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // After the name, which may hold anything: state, then 15 numbers, then the priority.
            let fields = stat.rsplit_once(") ").unwrap().1.to_owned();
            fields.split(' ').nth(16).unwrap().parse::<i32>().unwrap()
        };
        let before = nice();
        let after = std::thread::spawn(move || {
            give_way(7).unwrap();
            nice()
        });
        assert_eq!(after.join().unwrap(), 7);
        assert_eq!(nice(), before);
    }
}
