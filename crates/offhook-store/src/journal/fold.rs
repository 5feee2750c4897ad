//! Bringing a journal file into the database: beside the commits, in bounded steps.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redb::Database;

use super::block::Assembler;
use super::{Frozen, each_change};
use crate::error::Fault;
use crate::guard::guarded;
use crate::room::Room;
use crate::tables;

/// Most blocks of a step, which is a transaction: 16 MiB.
pub(crate) const STEP: usize = 16 << 8;

/// Brings the next part of a file into the database, so many blocks and what is left of their last batch; true when
/// that was the last. What is in it already is left as it is, so a step that failed can be taken again.
///
/// A transaction needs pages for all it changes, and gives back as many afterwards: the smaller, the less room.
pub(crate) fn step(db: &Database, frozen: &mut Frozen, blocks: usize) -> Result<bool, Fault> {
    let folded = tables::folded(db)?;
    let (mut assembler, mut bytes, mut changes) = (Assembler::default(), Vec::new(), Vec::new());
    let (mut last, mut done, mut sound) = (None, 0, true);
    let take = |block: &[u8]| {
        let Some(batch) = assembler.push(block) else { return true };
        sound &= match last {
            Some(last) => batch.sequence == last + 1,
            None => batch.sequence <= folded + 1,
        };
        last = Some(batch.sequence);
        done = batch.first + batch.blocks;
        if sound && batch.sequence > folded {
            let read = each_change(&batch.payload, |address, record| {
                let start = bytes.len();
                bytes.extend(record.unwrap_or_default());
                changes.push((address, start, record.map(<[u8]>::len)));
                Some(())
            });
            sound = read.is_some();
        }
        sound && done < blocks
    };
    frozen.reader.blocks(frozen.at, frozen.end, take).map_err(Fault::Io)?;
    let Some(last) = last.filter(|_| sound) else {
        return Err(Fault::Damaged("its journal is not what was written to it".to_owned()));
    };
    // In the order of the table, so that no page is written twice; of each address the last, for the sort is a
    // stable one.
    changes.sort_by_key(|(address, ..)| *address);
    let latest = changes.chunk_by(|(one, ..), (other, ..)| one == other).filter_map(<[_]>::last);
    let latest = latest.map(|(address, start, length)| {
        let record = length.and_then(|length| bytes.get(*start..)?.get(..length));
        (*address, record)
    });
    tables::fold(db, latest, last.max(folded))?;
    frozen.at += done;
    Ok(frozen.at >= frozen.end)
}

/// Opens the database again after a failure.
pub(crate) type Reopen = Box<dyn Fn() -> Result<Database, Fault> + Send>;

/// The thread that folds.
pub(crate) struct Folder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    work: Option<Frozen>,
    leases: u64,
    failure: Option<Failure>,
    stop: bool,
    /// How often a part of the work was done.
    #[cfg(test)]
    steps: u64,
}

/// Why it did not get on.
#[derive(Clone, Debug)]
struct Failure {
    what: String,
    is_full: bool,
}

/// Tells whether the journal is being brought into the database.
#[derive(Clone, Debug)]
pub struct Health(Arc<Shared>);

impl Health {
    /// What keeps it from that, for the administrator; tried again all the time. Until then the journal is not used
    /// again from its beginning, and once it has no room left nothing more is committed.
    pub fn trouble(&self) -> Option<String> {
        self.0.lock().failure.as_ref().map(|failure| failure.what.clone())
    }

    /// How often a part of what there was to do was done.
    #[cfg(test)]
    pub(crate) fn steps(&self) -> u64 {
        self.0.lock().steps
    }
}

impl Folder {
    /// Starts the thread, which owns the database from now on. After a failure it tries again when it has rested,
    /// and there is room if that was what it lacked.
    pub(crate) fn spawn(
        db: Database,
        work: Option<Frozen>,
        rest: Duration,
        room: Arc<dyn Room>,
        reopen: Reopen,
    ) -> Result<Self, Fault> {
        let state = State {
            work,
            leases: tables::count(&db)?,
            failure: None,
            stop: false,
            #[cfg(test)]
            steps: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let thread = {
            let shared = Arc::clone(&shared);
            let builder = thread::Builder::new().name("fold".to_owned());
            builder.spawn(move || run(&shared, db, rest, &*room, &reopen)).map_err(Fault::Io)?
        };
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whether everything given to it is in the database; and about how many leases that holds.
    pub(crate) fn status(&self) -> (bool, u64) {
        let state = self.shared.lock();
        (state.work.is_none(), state.leases)
    }

    /// Folds a file. Whatever was given before must be folded.
    pub(crate) fn fold(&self, work: Frozen) {
        self.shared.lock().work = Some(work);
        self.shared.changed.notify_all();
    }

    /// Waits until everything is folded.
    ///
    /// # Errors
    /// It cannot be at present.
    pub(crate) fn wait(&self) -> Result<(), Fault> {
        let waiting = |state: &mut State| state.work.is_some() && state.failure.is_none();
        let state = self.shared.changed.wait_while(self.shared.lock(), waiting);
        match &state.unwrap_or_else(PoisonError::into_inner).failure {
            Some(Failure { what, is_full: true }) => {
                Err(Fault::Io(io::Error::new(io::ErrorKind::StorageFull, what.clone())))
            }
            Some(failure) => Err(Fault::Engine(failure.what.clone())),
            None => Ok(()),
        }
    }

    /// Whether it did not get on when it was last tried.
    pub(crate) fn is_failing(&self) -> bool {
        self.shared.lock().failure.is_some()
    }

    pub(crate) fn health(&self) -> Health {
        Health(Arc::clone(&self.shared))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It does not panic; what redb does is caught.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next work; none when it is time to stop.
    fn next(&self) -> Option<Frozen> {
        let idle = |state: &mut State| state.work.is_none() && !state.stop;
        let state = self.changed.wait_while(self.lock(), idle);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.work.clone().filter(|_| !state.stop)
    }

    /// Waits for so long; true when it is time to stop.
    fn rest(&self, time: Duration) -> bool {
        let resting = |state: &mut State| !state.stop;
        let rested = self.changed.wait_timeout_while(self.lock(), time, resting);
        rested.unwrap_or_else(PoisonError::into_inner).0.stop
    }
}

fn run(shared: &Shared, db: Database, rest: Duration, room: &dyn Room, reopen: &Reopen) {
    let (mut db, mut blocks) = (Some(db), STEP);
    while let Some(mut work) = shared.next() {
        let result = guarded(|| {
            let open = match db.take() {
                Some(open) => open,
                None => reopen()?,
            };
            let done = step(&open, &mut work, blocks)?;
            let leases = tables::count(&open)?;
            // After a failure it was dropped above, with whatever state it was in.
            db = Some(open);
            Ok((done, leases))
        });
        if matches!(result, Ok((true, _))) {
            room.restore();
        }
        let mut state = shared.lock();
        match result {
            Ok((done, leases)) => {
                blocks = (blocks * 2).min(STEP);
                state.leases = leases;
                state.failure = None;
                #[cfg(test)]
                {
                    state.steps += 1;
                }
                state.work = (!done).then_some(work);
                shared.changed.notify_all();
            }
            Err(fault) => {
                let is_full = fault.is_full();
                blocks = if is_full { (blocks / 8).max(1) } else { blocks };
                state.failure = Some(Failure { what: fault.to_string(), is_full });
                shared.changed.notify_all();
                drop(state);
                while !shared.rest(rest) && is_full && !room.is_left() {}
            }
        }
    }
}
