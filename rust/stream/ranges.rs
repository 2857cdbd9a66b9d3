// SPDX-License-Identifier: GPL-2.0

//! A lock of ranges of a stream: changes of ranges that do not overlap are made at once.
//!
//! The kernel has no range lock that modules can use. This one is a reader-writer semaphore and a
//! table. A task that wants a range takes the read side and enters the range in the table. A task
//! that wants all positions takes the write side: it waits until no range is locked, in the order
//! of the semaphore, and can be killed. A range that overlaps another one, or finds the table full,
//! is locked as all positions are. So there is one place to wait at, and no other rule of fairness.

use crate::sys::rwsem::{
    new_rw_semaphore,
    ReadGuard,
    RwSemaphore,
    WriteGuard, //
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

/// A lock of ranges of positions.
#[pin_data]
pub(super) struct RangeLock {
    #[pin]
    all: RwSemaphore<()>,
    #[pin]
    ranges: SpinLock<Table>,
}

/// What a task has locked, until this is dropped.
pub(super) struct RangeGuard<'a>(Held<'a>);

/// What is held.
enum Held<'a> {
    All(#[allow(dead_code, reason = "held to be dropped")] WriteGuard<'a, ()>),
    Range(Entered<'a>),
}

/// A range in the table. Fields are dropped after `drop`, so the range leaves the table before the
/// read side is released.
struct Entered<'a> {
    lock: &'a RangeLock,
    entry: usize,
    is_only: bool,
    _all: ReadGuard<'a, ()>,
}

impl RangeLock {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            all <- new_rw_semaphore!((), "qemufile::writing"),
            ranges <- new_spinlock!(Table::new(), "qemufile::ranges"),
        })
    }

    /// Locks all positions. `EINTR` if the task is killed while it waits.
    pub(super) fn lock(&self) -> Result<RangeGuard<'_>> {
        Ok(RangeGuard(Held::All(self.all.write_killable()?)))
    }

    /// As [`RangeLock::lock`], if that needs no waiting.
    pub(super) fn try_lock(&self) -> Option<RangeGuard<'_>> {
        Some(RangeGuard(Held::All(self.all.try_write()?)))
    }

    /// Locks `range`, or more. `EINTR` if the task is killed while it waits.
    pub(super) fn lock_range(&self, range: Range<u64>) -> Result<RangeGuard<'_>> {
        match self.enter(self.all.read_killable()?, range) {
            Some(guard) => Ok(guard),
            None => self.lock(),
        }
    }

    /// As [`RangeLock::lock_range`], if that needs no waiting.
    pub(super) fn try_lock_range(&self, range: Range<u64>) -> Option<RangeGuard<'_>> {
        self.enter(self.all.try_read()?, range)
    }

    fn enter<'a>(&'a self, all: ReadGuard<'a, ()>, range: Range<u64>) -> Option<RangeGuard<'a>> {
        let (entry, is_only) = self.ranges.lock().enter(range)?;
        Some(RangeGuard(Held::Range(Entered {
            lock: self,
            entry,
            is_only,
            _all: all,
        })))
    }
}

impl RangeGuard<'_> {
    /// Whether all positions are locked.
    pub(super) fn is_all(&self) -> bool {
        matches!(self.0, Held::All(_))
    }

    /// Whether nobody else had locked anything when this was locked.
    pub(super) fn is_only(&self) -> bool {
        match &self.0 {
            Held::All(_) => true,
            Held::Range(entered) => entered.is_only,
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.lock.ranges.lock().leave(self.entry);
    }
}

/// The ranges that are locked.
struct Table {
    /// The bits of the entries in use.
    used: u32,
    entries: [(u64, u64); MAX_RANGES],
}

impl Table {
    const fn new() -> Self {
        Self {
            used: 0,
            entries: [(0, 0); MAX_RANGES],
        }
    }

    /// Enters `range`. Returns its entry, and whether it is the only one; `None` if it overlaps
    /// another one, or if the table is full.
    fn enter(&mut self, range: Range<u64>) -> Option<(usize, bool)> {
        let is_only = self.used == 0;
        let mut left = self.used;
        while left != 0 {
            let (start, end) = self.entries.get(left.trailing_zeros() as usize)?;
            if range.start < *end && *start < range.end {
                return None;
            }
            left &= left - 1;
        }
        let free = self.used.trailing_ones() as usize;
        *self.entries.get_mut(free)? = (range.start, range.end);
        self.used |= 1 << free;
        Some((free, is_only))
    }

    /// Removes an entry.
    fn leave(&mut self, entry: usize) {
        self.used &= !(1 << entry);
    }
}

#[kunit_tests(qemufile_stream_ranges)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_exclude_each_other() {
        let mut table = Table::new();
        assert_eq!(table.enter(10..20), Some((0, true)));
        assert_eq!(table.enter(20..30), Some((1, false)));
        for range in [0..11, 19..20, 12..13, 0..100, 29..40] {
            assert_eq!(table.enter(range), None);
        }
        assert_eq!(table.enter(0..10), Some((2, false)));
        table.leave(0);
        assert_eq!(table.enter(12..19), Some((0, false)));
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let mut table = Table::new();
        for entry in 0..MAX_RANGES {
            let start = entry as u64;
            assert_eq!(table.enter(start..start + 1), Some((entry, entry == 0)));
        }
        assert_eq!(table.enter(100..101), None);
        table.leave(7);
        assert_eq!(table.enter(100..101), Some((7, false)));
    }
}
