//! Group commit: while one batch is being written the next one gathers.

use std::collections::VecDeque;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use offhook_model::LeaseWrite;

use crate::{CommitError, Store};

/// Most submissions that wait for the disk. More are refused: the core is far ahead of the disk then.
const QUEUE: usize = 65_536;

/// Most submissions of one batch, so that the first of them does not wait for a very long last one.
const BATCH: usize = 1024;

/// After how long without submissions the store is told so.
const QUIET: Duration = Duration::from_secs(1);

/// A thread that commits what is submitted to it, as many at a time as have gathered.
///
/// A ticket stands for whatever waits for its writes: the replies to send, the events to tell. Dropping the
/// writer commits what is queued, as [`Writer::close`] does.
pub struct Writer<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<()>>,
}

/// Tickets whose writes went to disk together, in the order in which they were submitted.
#[derive(Debug)]
pub struct Batch<T> {
    /// What was handed to [`Writer::submit`].
    pub tickets: Vec<T>,
    /// Their writes, in the same order.
    pub writes: Vec<LeaseWrite>,
    /// Whether the writes of all of them are on disk; if not, nothing of it may be acknowledged.
    pub result: Result<(), Arc<CommitError>>,
}

/// Why a submission was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many wait already as may.
    Full,
    /// The writer's thread is gone: its `done` panicked.
    Gone,
}

/// A submission that was not taken, given back.
#[derive(Debug)]
pub struct SubmitError<T> {
    /// Why.
    pub reason: Refused,
    /// The ticket.
    pub ticket: T,
}

impl<T> fmt::Display for SubmitError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            Refused::Full => "too many leases wait for the disk",
            Refused::Gone => "the lease writer is gone",
        })
    }
}

impl<T: fmt::Debug> std::error::Error for SubmitError<T> {}

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
    capacity: usize,
}

struct Queue<T> {
    waiting: VecDeque<(Vec<LeaseWrite>, T)>,
    /// A batch is under way.
    busy: bool,
    closing: bool,
    gone: bool,
}

impl<T: Send + 'static> Writer<T> {
    /// Starts the thread. `done` is called on it with every batch, in order, and holds up the next commit for
    /// as long as it takes: hand the tickets on, and no more.
    ///
    /// A commit that fails does not end it: later batches are tried again, as [`Store::commit`] says, so it
    /// recovers by itself once there is room on the disk.
    pub fn spawn(store: Store, done: impl FnMut(Batch<T>) + Send + 'static) -> Self {
        Self::with_capacity(store, QUEUE, done)
    }

    fn with_capacity(
        store: Store,
        capacity: usize,
        done: impl FnMut(Batch<T>) + Send + 'static,
    ) -> Self {
        let queue = Queue { waiting: VecDeque::new(), busy: false, closing: false, gone: false };
        let shared =
            Arc::new(Shared { queue: Mutex::new(queue), changed: Condvar::new(), capacity });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || run(&shared, store, done))
        };
        Self { shared, thread: Some(thread) }
    }

    /// Queues `writes` for the next batch, all of them for the same one. Never waits for the disk.
    ///
    /// # Errors
    /// The queue is full, or the thread is gone. The writes are dropped, the ticket is given back.
    pub fn submit(&self, writes: Vec<LeaseWrite>, ticket: T) -> Result<(), SubmitError<T>> {
        let mut queue = self.shared.lock();
        let reason = match () {
            () if queue.gone => Refused::Gone,
            () if queue.waiting.len() >= self.shared.capacity => Refused::Full,
            () => {
                queue.waiting.push_back((writes, ticket));
                drop(queue);
                self.shared.changed.notify_one();
                return Ok(());
            }
        };
        Err(SubmitError { reason, ticket })
    }

    /// How many submissions wait to be committed, those of the batch under way not counted.
    pub fn backlog(&self) -> usize {
        self.shared.lock().waiting.len()
    }

    /// Whether there is nothing to commit at present.
    pub fn is_idle(&self) -> bool {
        let queue = self.shared.lock();
        queue.waiting.is_empty() && !queue.busy
    }

    /// Commits everything queued, closes the store and ends the thread.
    ///
    /// # Panics
    /// `done` panicked.
    pub fn close(mut self) {
        if let Some(Err(payload)) = self.finish() {
            resume_unwind(payload);
        }
    }

    fn finish(&mut self) -> Option<thread::Result<()>> {
        self.shared.lock().closing = true;
        self.shared.changed.notify_one();
        self.thread.take().map(JoinHandle::join)
    }
}

impl<T: Send + 'static> Drop for Writer<T> {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

impl<T: Send + 'static> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("backlog", &self.backlog()).finish_non_exhaustive()
    }
}

impl<T> Shared<T> {
    /// The queue is never left half changed, so a panic elsewhere does not matter to it.
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch; none once the writer is closed and the queue empty. `quiet` is called when there is none for a
    /// while.
    fn next(&self, quiet: impl FnOnce()) -> Option<(Vec<LeaseWrite>, Vec<T>)> {
        let idle = |queue: &mut Queue<T>| queue.waiting.is_empty() && !queue.closing;
        let mut queue = self.lock();
        queue.busy = false;
        let waited = self.changed.wait_timeout_while(queue, QUIET, idle);
        let (mut queue, time) = waited.unwrap_or_else(PoisonError::into_inner);
        if time.timed_out() {
            drop(queue);
            quiet();
            let waited = self.changed.wait_while(self.lock(), idle);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let count = queue.waiting.len().min(BATCH);
        let batch: Vec<_> = queue.waiting.drain(..count).collect();
        queue.busy = true;
        drop(queue);
        let mut writes = Vec::with_capacity(count);
        let mut tickets = Vec::with_capacity(count);
        for (some, ticket) in batch {
            writes.extend(some);
            tickets.push(ticket);
        }
        (!tickets.is_empty()).then_some((writes, tickets))
    }
}

fn run<T>(shared: &Shared<T>, mut store: Store, mut done: impl FnMut(Batch<T>)) {
    /// However the thread ends, submissions learn of it, and what is queued is not kept for ever.
    struct Gone<'a, T>(&'a Shared<T>);
    impl<T> Drop for Gone<'_, T> {
        fn drop(&mut self) {
            let mut queue = self.0.lock();
            queue.gone = true;
            let left = std::mem::take(&mut queue.waiting);
            drop(queue);
            drop(left);
        }
    }
    let _gone = Gone(shared);
    while let Some((writes, tickets)) = shared.next(|| store.settle()) {
        let result = store.commit(&writes).map_err(Arc::new);
        done(Batch { tickets, writes, result });
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
