// SPDX-License-Identifier: GPL-2.0

//! A lock of ranges of a stream: changes of ranges that do not overlap are made at once.
//!
//! The kernel has no range lock that modules can use. This one is a table of the locked ranges, under
//! a spinlock, and a reader-writer semaphore for whoever has to wait:
//!
//! - A task that wants a range enters it in the table.
//! - A task that wants all positions takes the write side, closes the table, and waits until that is
//!   empty. It opens the table before it releases the write side.
//! - A task that finds the table closed takes the read side, which waits for the other one in the
//!   order of the semaphore, and enters its range under it.
//! - A range that overlaps another one, or finds the table full, is locked as all positions are.
//!
//! So a range costs no access to the semaphore, which all writers would share. All waits can be
//! killed. New ranges do not keep a task out that wants all positions, as the table is closed to
//! them; nor do such tasks keep a range out, as the semaphore is fair.
//!
//! lockdep is told of a range as of a read side ([`NotedRead`]).

use crate::sys::{
    completion::Completion,
    rwsem::{
        new_rw_semaphore,
        NotedRead,
        RwSemaphore,
        WriteGuard, //
    },
};
use core::ops::Range;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};

/// The most ranges that are locked at once. More writers take turns. The table is part of each
/// stream, and is searched by each write.
const MAX_RANGES: usize = 16;

/// A writer is alone if this many ranges in a row have found the table empty, its own the last. Of two
/// writers in a loop each often finds it so, while the other one is between two calls.
const ALONE: u32 = 16;

/// A lock of ranges of positions.
#[pin_data]
pub(super) struct RangeLock {
    #[pin]
    all: RwSemaphore<()>,
    #[pin]
    table: SpinLock<Table>,
    /// The closed table has become empty. Completed under the table's lock.
    #[pin]
    emptied: Completion,
}

/// What a task has locked, until this is dropped.
pub(super) struct RangeGuard<'a>(Held<'a>);

/// What is held.
enum Held<'a> {
    All(#[allow(dead_code, reason = "held to be dropped")] Closed<'a>),
    Range(Entered<'a>),
}

/// A closed table. Fields are dropped after `drop`, so the table is opened before the write side is
/// released.
struct Closed<'a> {
    lock: &'a RangeLock,
    _all: WriteGuard<'a, ()>,
}

/// A range in the table.
struct Entered<'a> {
    lock: &'a RangeLock,
    entry: usize,
    is_only: bool,
    _noted: NotedRead<'a>,
}

/// Why a range is not in the table.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// The table is closed.
    Closed,
    /// The range overlaps another one, or the table is full.
    Conflict,
}

impl RangeLock {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            all <- new_rw_semaphore!((), "qemufile::writing"),
            table <- new_spinlock!(Table::new(), "qemufile::ranges"),
            emptied <- Completion::new(),
        })
    }

    /// Locks all positions. `EINTR` if the task is killed while it waits.
    pub(super) fn lock(&self) -> Result<RangeGuard<'_>> {
        let all = self.all.write_killable()?;
        let is_empty = self.table.lock().close();
        // From here on the table is opened again, whatever happens.
        let closed = Closed {
            lock: self,
            _all: all,
        };
        if !is_empty {
            self.emptied.wait_killable()?;
        }
        Ok(RangeGuard(Held::All(closed)))
    }

    /// As [`RangeLock::lock`], if that needs no waiting.
    pub(super) fn try_lock(&self) -> Option<RangeGuard<'_>> {
        let all = self.all.try_write()?;
        if !self.table.lock().close_if_empty() {
            return None;
        }
        Some(RangeGuard(Held::All(Closed {
            lock: self,
            _all: all,
        })))
    }

    /// Locks `range`, or more. `EINTR` if the task is killed while it waits.
    pub(super) fn lock_range(&self, range: Range<u64>) -> Result<RangeGuard<'_>> {
        let mut entered = self.table.lock().enter(&range);
        if let Err(Refused::Closed) = entered {
            let opened = self.all.read_killable()?;
            entered = self.table.lock().enter(&range);
            drop(opened);
        }
        match entered {
            Ok(entry) => Ok(self.entered(entry)),
            Err(_) => self.lock(),
        }
    }

    /// As [`RangeLock::lock_range`], if that needs no waiting.
    pub(super) fn try_lock_range(&self, range: Range<u64>) -> Option<RangeGuard<'_>> {
        let entry = self.table.lock().enter(&range).ok()?;
        Some(self.entered(entry))
    }

    fn entered(&self, (entry, is_only): (usize, bool)) -> RangeGuard<'_> {
        RangeGuard(Held::Range(Entered {
            lock: self,
            entry,
            is_only,
            _noted: self.all.note_read(),
        }))
    }
}

impl RangeGuard<'_> {
    /// Whether all positions are locked.
    pub(super) fn is_all(&self) -> bool {
        matches!(self.0, Held::All(_))
    }

    /// Whether nobody else writes: see [`ALONE`].
    pub(super) fn is_only(&self) -> bool {
        match &self.0 {
            Held::All(_) => true,
            Held::Range(entered) => entered.is_only,
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut table = self.lock.table.lock();
        if table.leave(self.entry) {
            self.lock.emptied.complete();
        }
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let mut table = self.lock.table.lock();
        table.open();
        // A task that is killed has not waited to the end.
        self.lock.emptied.try_wait();
    }
}

/// The ranges that are locked.
struct Table {
    /// Whether a task has all positions, or waits until the ranges are gone.
    is_closed: bool,
    /// How many ranges have entered an empty table, one after the other; up to [`ALONE`].
    alone: u32,
    /// The bits of the entries in use.
    used: u32,
    entries: [(u64, u64); MAX_RANGES],
}

impl Table {
    const fn new() -> Self {
        Self {
            is_closed: false,
            alone: ALONE,
            used: 0,
            entries: [(0, 0); MAX_RANGES],
        }
    }

    /// Enters `range`. Returns its entry, and whether the writer is alone.
    fn enter(&mut self, range: &Range<u64>) -> Result<(usize, bool), Refused> {
        if self.is_closed {
            return Err(Refused::Closed);
        }
        let mut left = self.used;
        while left != 0 {
            let taken = self.entries.get(left.trailing_zeros() as usize);
            let (start, end) = taken.ok_or(Refused::Conflict)?;
            if range.start < *end && *start < range.end {
                return Err(Refused::Conflict);
            }
            left &= left - 1;
        }
        let free = self.used.trailing_ones() as usize;
        *self.entries.get_mut(free).ok_or(Refused::Conflict)? = (range.start, range.end);
        self.alone = match self.used {
            0 => (self.alone + 1).min(ALONE),
            _ => 0,
        };
        self.used |= 1 << free;
        Ok((free, self.alone == ALONE))
    }

    /// Removes an entry. Returns whether a closed table has become empty.
    fn leave(&mut self, entry: usize) -> bool {
        self.used &= !(1 << entry);
        self.is_closed && self.used == 0
    }

    /// Lets no range in until [`Self::open`]. Returns whether the table is empty.
    fn close(&mut self) -> bool {
        self.is_closed = true;
        self.used == 0
    }

    /// As [`Self::close`], if the table is empty.
    fn close_if_empty(&mut self) -> bool {
        self.is_closed = self.used == 0;
        self.is_closed
    }

    fn open(&mut self) {
        self.is_closed = false;
    }
}

#[kunit_tests(qemufile_stream_ranges)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_exclude_each_other() {
        let mut table = Table::new();
        assert_eq!(table.enter(&(10..20)), Ok((0, true)));
        assert_eq!(table.enter(&(20..30)), Ok((1, false)));
        for range in [0..11, 19..20, 12..13, 0..100, 29..40] {
            assert_eq!(table.enter(&range), Err(Refused::Conflict));
        }
        assert_eq!(table.enter(&(0..10)), Ok((2, false)));
        table.leave(0);
        assert_eq!(table.enter(&(12..19)), Ok((0, false)));
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let mut table = Table::new();
        for entry in 0..MAX_RANGES {
            let start = entry as u64;
            assert_eq!(table.enter(&(start..start + 1)), Ok((entry, entry == 0)));
        }
        assert_eq!(table.enter(&(100..101)), Err(Refused::Conflict));
        table.leave(7);
        assert_eq!(table.enter(&(100..101)), Ok((7, false)));
    }

    #[test]
    fn a_closed_table_empties() {
        let mut table = Table::new();
        assert_eq!(table.enter(&(0..1)), Ok((0, true)));
        assert_eq!(table.enter(&(1..2)), Ok((1, false)));
        assert!(!table.close_if_empty());
        assert_eq!(table.enter(&(2..3)), Ok((2, false)));
        assert!(!table.close());
        assert_eq!(table.enter(&(3..4)), Err(Refused::Closed));
        assert!(!table.leave(0) && !table.leave(2));
        assert!(table.leave(1));
        table.open();
        assert_eq!(table.enter(&(0..9)), Ok((0, false)));
        assert!(!table.leave(0));
        assert!(table.close_if_empty());
    }

    #[test]
    fn a_writer_between_two_calls_of_another_is_not_alone() {
        let mut table = Table::new();
        assert_eq!(table.enter(&(0..1)), Ok((0, true)));
        assert_eq!(table.enter(&(1..2)), Ok((1, false)));
        table.leave(0);
        table.leave(1);
        for calls in 1..=ALONE {
            assert_eq!(table.enter(&(0..1)), Ok((0, calls == ALONE)));
            table.leave(0);
        }
    }
}
