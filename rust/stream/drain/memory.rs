// SPDX-License-Identifier: GPL-2.0

//! The memory before the drained position.
//!
//! Pages are taken out under the write side, and freed without a lock. Taking them out copies the nodes
//! that a clone shares. If there is no memory for the copies, the next drain or write tries again.
//!
//! While readers go on, whole runs of pages are removed ([`Inner::due`]): to remove one costs as much
//! as to remove a page. The last runs are kept for the next writes ([`SizedBuffer::recycle`]). Nobody can
//! see what is left before the position: mappings and figures have it removed.

use super::{
    super::{
        locks::View,
        Inner,
        Stream,
        PAGE_BYTES, //
    },
    Draining,
};
use crate::{
    sized_buffer::{
        Removed,
        SizedBuffer,
        Spare, //
    },
    sys::{
        inode::InodeRef,
        page::Run, //
    },
};
use kernel::prelude::*;

/// The most bytes that a stream keeps of what was drained: what a pipe may hold by default
/// (`pipe_max_size` in `fs/pipe.c`). A stream with a limit keeps less than that.
///
/// A reader and a writer on one processor take turns: each moves all that the limit allows.
const MOST_SPARE: u64 = 1 << 20;

impl Draining {
    /// Whether whole pages of drained bytes are left.
    fn has_pages(&self) -> bool {
        self.freed < first_of_page(self.position())
    }

    /// Whether more than a run of drained bytes is left.
    fn has_much(&self) -> bool {
        self.position().saturating_sub(self.freed) > SizedBuffer::RUN_BYTES
    }

    /// Records that there may be memory before [`Self::position`] again, from `start` on.
    fn put_behind(&mut self, start: u64) {
        self.freed = self.freed.min(first_of_page(start));
    }

    /// Removes the memory before `end`. If that is the end of a run, the last runs are recycled: up to
    /// `most` bytes are kept. If there is no memory to copy shared nodes (see above), the next call
    /// removes the rest.
    fn free(&mut self, buffer: &mut SizedBuffer, end: u64, most: u64) -> Option<Removed> {
        const RUN: u64 = SizedBuffer::RUN_BYTES;
        if end <= self.freed {
            return None;
        }
        let runs = match end % RUN {
            0 => self
                .freed
                .next_multiple_of(RUN)
                .max(end.saturating_sub(most / RUN * RUN)),
            _ => end,
        };
        let removed = buffer.punch(self.freed..runs).ok()?;
        self.freed = runs;
        while self.freed < end && buffer.recycle(self.freed..self.freed + RUN, most).is_ok() {
            self.freed += RUN;
        }
        Some(removed)
    }
}

fn first_of_page(pos: u64) -> u64 {
    pos - pos % PAGE_BYTES
}

impl Inner {
    /// The position before which drained memory is to be removed: at the end of a run. At once, if it
    /// counts for somebody, if it is mapped, if it is much for the stream's limit, or if nobody reads
    /// or writes on.
    pub(super) fn due(&self) -> u64 {
        let is_mapped = || self.inode.as_ref().is_some_and(InodeRef::is_mapped);
        let is_much = self
            .max_len
            .is_some_and(|most| most < 4 * SizedBuffer::RUN_BYTES);
        let waits = self.recycles() && !is_much && !is_mapped();
        let whole = if waits {
            SizedBuffer::RUN_BYTES
        } else {
            PAGE_BYTES
        };
        let position = self.draining.position();
        position - position % whole
    }

    /// Whether there is memory before [`Self::due`].
    pub(in crate::stream) fn has_due(&self) -> bool {
        self.draining.has_pages() && self.draining.freed < self.due()
    }

    /// Removes the memory before [`Self::due`]. The caller drops it without the lock.
    pub(in crate::stream) fn free_due(&mut self) -> Option<Removed> {
        let end = self.due();
        self.free_before(end)
    }

    /// Removes all memory before the drained position. The caller drops it without the lock.
    pub(in crate::stream) fn free_drained(&mut self) -> Option<Removed> {
        self.free_before(first_of_page(self.draining.position()))
    }

    fn free_before(&mut self, end: u64) -> Option<Removed> {
        let most = if self.recycles() {
            self.most_spare()
        } else {
            0
        };
        let removed = self.draining.free(&mut self.buffer, end, most);
        self.freed();
        removed
    }

    /// Whether drained memory is kept for the next writes.
    fn recycles(&self) -> bool {
        self.can_drain() && self.writers > 0 && !self.quota.counts()
    }

    /// The most bytes that are kept for the next writes: half of what may be, as the other half may
    /// have been handed over ([`Locks::spare`](super::locks::Locks::spare)).
    fn most_spare(&self) -> u64 {
        self.max_len.unwrap_or(u64::MAX).min(MOST_SPARE) / 2
    }

    /// As [`Inner::free_drained`], after a change during which draining continued. The change may
    /// have added memory before the drained position, from `start` on.
    pub(in crate::stream) fn free_behind(&mut self, start: u64) -> Option<Removed> {
        self.draining.put_behind(start);
        self.free_drained()
    }

    /// Updates mappings and the account. Call it after memory was removed.
    pub(in crate::stream) fn freed(&mut self) {
        let stale = self.buffer.take_stale();
        self.unmap(stale, false);
        self.settle();
    }
}

impl Stream {
    /// To look at figures, without memory before the drained position, which is returned as well. It is
    /// that of the figures: readers that go on may move it already.
    pub(in crate::stream) fn without_drained(&self) -> (View<'_>, u64) {
        let view = self.inspect();
        let position = view.draining.position();
        if view.draining.freed >= first_of_page(position) {
            return (view, position);
        }
        drop(view);
        let mut inner = self.change_bytes();
        if inner.draining.has_much() {
            let removed = inner.free_drained();
            drop(inner);
            drop(removed);
            inner = self.change_bytes();
        }
        // Few pages now, which are freed at once; or there is no memory to remove more.
        drop(inner.free_drained());
        let position = inner.draining.position();
        (inner.into_view(), position)
    }

    /// To write. Memory that was to be removed is removed before: an earlier attempt may have found no
    /// memory to do so.
    pub(in crate::stream) fn without_due(&self) -> View<'_> {
        let view = self.inspect();
        if !view.has_due() {
            return view;
        }
        drop(view);
        let removed = self.change_bytes().free_due();
        drop(removed);
        self.inspect()
    }

    /// Gives up what is kept for the next writes. The caller drops it without the lock.
    pub(in crate::stream) fn remove_spare(&self, inner: &mut Inner) -> [Spare; 2] {
        let handed_over = core::mem::replace(&mut *self.locks.spare(), Spare::new());
        [inner.buffer.remove_spare(), handed_over]
    }

    /// As [`Stream::remove_spare`], if there will be no writes, or nobody who drains them.
    pub(in crate::stream) fn remove_unused_spare(&self, inner: &mut Inner) -> Option<[Spare; 2]> {
        (!inner.recycles()).then(|| self.remove_spare(inner))
    }

    /// A run of pages for a write of `pages` whole pages at `pos`, of what is kept. `has_more` says
    /// whether the buffer has kept some.
    pub(in crate::stream) fn take_spare(
        &self,
        pos: u64,
        pages: usize,
        has_more: bool,
    ) -> Option<Run> {
        let run = self.locks.spare().take_for(pos, pages);
        if run.is_some() || !has_more {
            return run;
        }
        let mut inner = self.change_bytes();
        let mut spare = self.locks.spare();
        inner.buffer.hand_over_spare(&mut spare);
        spare.take_for(pos, pages)
    }
}

#[kunit_tests(qemufile_stream_drain_memory)]
mod tests {
    use super::*;

    #[test]
    fn pages_behind_the_position_are_freed() -> Result {
        let mut draining = Draining::new();
        let mut buffer = SizedBuffer::with_capacity(8 * PAGE_BYTES)?;
        drop(buffer.set_len(8 * PAGE_BYTES)?);
        draining.move_to(4 * PAGE_BYTES + 1);
        let end = 4 * PAGE_BYTES;
        assert!(draining.free(&mut buffer, end, 1 << 20).is_some());
        assert_eq!(buffer.allocated(), 4 * PAGE_BYTES);
        buffer.reserve(PAGE_BYTES, 2 * PAGE_BYTES)?;
        assert!(draining.free(&mut buffer, end, 1 << 20).is_none());
        assert_eq!(buffer.allocated(), 6 * PAGE_BYTES);
        draining.put_behind(PAGE_BYTES + 1);
        drop(draining.free(&mut buffer, end, 1 << 20));
        assert_eq!(buffer.allocated(), 4 * PAGE_BYTES);
        Ok(())
    }

    #[test]
    fn the_last_runs_are_kept() -> Result {
        const RUN: u64 = SizedBuffer::RUN_BYTES;
        for (freed, kept) in [(0, 3), (5 * RUN + PAGE_BYTES, 2)] {
            let mut draining = Draining::new();
            let mut buffer = SizedBuffer::with_capacity(10 * RUN)?;
            draining.move_to(8 * RUN);
            draining.freed = freed;
            drop(draining.free(&mut buffer, 8 * RUN, 4 * RUN - 1));
            assert_eq!(draining.freed, 8 * RUN);
            assert_eq!(buffer.allocated(), 2 * RUN + freed);
            let mut spare = buffer.remove_spare();
            let runs = core::iter::from_fn(|| spare.take_for(0, usize::MAX));
            assert_eq!(
                runs.map(|run| run.len() as u64 * PAGE_BYTES).sum::<u64>(),
                kept * RUN
            );
        }
        Ok(())
    }
}
