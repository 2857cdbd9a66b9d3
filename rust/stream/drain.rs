// SPDX-License-Identifier: GPL-2.0

//! Draining: freeing what every read-only handle has consumed.
//!
//! The file is long because all rules, and what follows them, stand together.
//!
//! # Rules
//!
//! 1. A stream is drained while it has the property DRAIN and is not sealed.
//! 2. Read-only handles are its readers. Each has an entry with the position up to which it has
//!    consumed the bytes. The least of these, and of the length, is [`Draining::position`]. The
//!    bytes before it are gone for every handle, for good.
//! 3. GET and SKIP move the position themselves. They consume what they return.
//! 4. `read` and `splice` at the handle's own position return bytes that are *pending*. The driver
//!    cannot tell `read` from `pread`, nor see the bytes that `sendfile` gives back. A later
//!    position among the pending bytes says that those before it were consumed. The position is
//!    checked when the call returns to user space ([`Member::confirm_on_return`]), and by the next
//!    call on the handle.
//! 5. A call that waits for data at the handle's own position has consumed the bytes before: the
//!    writer may wait for this room.
//! 6. io_uring splits a request on a regular file, and moves the position at its end. If the next
//!    part lies beyond the bytes that the limit allows to be written, the pending bytes are
//!    consumed. A `pread` at such a place is `ENOBUFS`.
//! 7. `lseek` consumes nothing. The position is checked before it moves.
//!
//! # Position and memory
//!
//! [`Draining::position`] moves at once. The pages are removed after that, and freed without a
//! lock. Removing pages copies the nodes that a clone shares. If there is no memory for the copies,
//! the next drain or write tries again. So the position never depends on free memory.
//!
//! While readers go on, whole runs of pages are removed ([`Inner::due`]): to remove one costs as much
//! as to remove a page. The last runs are kept for the next writes ([`SizedBuffer::recycle`]). Nobody can
//! see what is left before the position: mappings and figures have it removed.
//!
//! # Locks
//!
//! [`Draining`] is a part of `inner`, and so changes under its write side. [`Books`] have a lock of
//! their own, because a reader changes them under the read side. If all readers have consumed more
//! than is drained, a reader takes the write side to drain. See [`locks`](super::locks).
//!
//! [`Books`] and [`Own`] have files of their own.

mod books;
mod own;

pub(super) use self::books::{
    Books,
    NewReader, //
    Reader,
};
pub(crate) use self::own::Own;

use self::own::file_position;
use super::{
    locks::{
        Change,
        View, //
    },
    Inner,
    Member,
    Property,
    Stream,
    PAGE_BYTES,
    SLICE, //
};
use crate::{
    sized_buffer::{
        Removed,
        SizedBuffer,
        Spare, //
    },
    sys::{
        inode::InodeRef,
        page::Run,
        sched::is_user_task,
        task_work::{
            self,
            Memory,
            OnReturn, //
        },
    },
};
use kernel::{
    current,
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Full,
            Relaxed, //
        },
        Arc, //
    },
};

/// The largest number of calls on one handle that are checked at their return. Other calls are
/// checked when the handle is used again.
const MAX_CHECKS: i32 = 16;

/// The most bytes that a stream keeps of what was drained: what a pipe may hold by default
/// (`pipe_max_size` in `fs/pipe.c`). A stream with a limit keeps less than that.
///
/// A reader and a writer on one processor take turns: each moves all that the limit allows.
const MOST_SPARE: u64 = 1 << 20;

/// The drained part of a stream.
pub(super) struct Draining {
    position: u64,
    /// Pages before this position have been removed. At most `position`.
    freed: u64,
    /// The number of entries in the books.
    readers: usize,
}

impl Draining {
    /// The state of a new stream: no drained bytes and no readers.
    pub(super) fn new() -> Self {
        Self {
            position: 0,
            freed: 0,
            readers: 0,
        }
    }

    /// The state of a clone: the same drained bytes and no readers.
    pub(super) fn of_clone(&self) -> Self {
        Self {
            readers: 0,
            ..*self
        }
    }

    /// The position before which bytes are gone for every reader and writer.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether there are readers.
    pub(super) fn has_readers(&self) -> bool {
        self.readers != 0
    }

    /// Whether whole pages of drained bytes are left.
    fn has_pages(&self) -> bool {
        self.freed < first_of_page(self.position)
    }

    /// Whether more than a run of drained bytes is left.
    fn has_much(&self) -> bool {
        self.position.saturating_sub(self.freed) > SizedBuffer::RUN_BYTES
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
    /// Whether bytes that readers consume are freed.
    pub(super) fn is_drained(&self) -> bool {
        self.is(Property::Drain) && !self.is(Property::Sealed)
    }

    /// Whether a write at the limit waits for readers to make room.
    pub(super) fn can_drain(&self) -> bool {
        self.is_drained() && self.draining.has_readers()
    }

    /// The new drained position, if all readers have consumed more than is drained.
    fn drains_to(&self, books: &Books) -> Option<u64> {
        let consumed = books.consumed().filter(|_| self.is_drained())?;
        Some(consumed.min(self.buffer.len())).filter(|to| *to > self.draining.position)
    }

    /// Whether [`Stream::drain`] has something to drain or to remove.
    fn is_due(&self, books: &Books) -> bool {
        self.drains_to(books).is_some() || (self.is_drained() && self.has_due())
    }

    /// The position before which drained memory is to be removed: at the end of a run. At once, if it
    /// counts for somebody, if it is mapped, if it is much for the stream's limit, or if nobody reads
    /// or writes on.
    fn due(&self) -> u64 {
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
        self.draining.position - self.draining.position % whole
    }

    /// Whether there is memory before [`Self::due`].
    pub(super) fn has_due(&self) -> bool {
        self.draining.has_pages() && self.draining.freed < self.due()
    }

    /// Removes the memory before [`Self::due`]. The caller drops it without the lock.
    pub(super) fn free_due(&mut self) -> Option<Removed> {
        let end = self.due();
        self.free_before(end)
    }

    /// Removes all memory before the drained position. The caller drops it without the lock.
    pub(super) fn free_drained(&mut self) -> Option<Removed> {
        self.free_before(first_of_page(self.draining.position))
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
    pub(super) fn free_behind(&mut self, start: u64) -> Option<Removed> {
        self.draining.put_behind(start);
        self.free_drained()
    }

    /// Updates mappings and the account. Call it after memory was removed.
    fn freed(&mut self) {
        let stale = self.buffer.take_stale();
        self.unmap(stale, false);
        self.settle();
    }

    /// Whether the byte at `pos` cannot be written before a reader at `own` moves on.
    pub(super) fn is_out_of_reach(&self, member: &Member, own: u64, pos: u64) -> bool {
        let (Some(reader), Some(limit)) = (member.reader(), self.max_len) else {
            return false;
        };
        let consumed = own.max(reader.consumed.load(Relaxed));
        let first = consumed.max(self.draining.position);
        self.is_drained() && pos >= first.saturating_add(limit)
    }
}

/// Updates of the books by readers. Each returns whether the caller has to drop the view and call
/// [`Stream::drain`].
impl View<'_> {
    /// As [`Books::confirm`].
    pub(super) fn confirm(&self, member: &Member, own: u64) -> bool {
        member
            .reader()
            .is_some_and(|reader| self.confirm_reader(reader, own))
    }

    fn confirm_reader(&self, reader: &Reader, own: u64) -> bool {
        let mut books = self.books();
        books.confirm(reader, own);
        self.is_due(&books)
    }

    /// As [`Books::consume`].
    pub(super) fn consume(&self, member: &Member, to: u64) -> bool {
        let Some(reader) = member.reader() else {
            return false;
        };
        let mut books = self.books();
        books.consume(reader, to);
        self.is_due(&books)
    }

    /// As [`Books::consume_pending`]: `None` if there is no such request.
    pub(super) fn consume_pending(&self, member: &Member, own: u64, to: u64) -> Option<bool> {
        let mut books = self.books();
        let goes_on = books.consume_pending(member.reader()?, own, to);
        goes_on.then(|| self.is_due(&books))
    }

    /// As [`Books::note_read`], but returns whether to check the position when the call returns.
    pub(super) fn note_read(&self, member: &Member, own: u64, pos: u64, end: u64) -> bool {
        let Some(reader) = member.reader() else {
            return false;
        };
        self.books().note_read(reader, own, pos, end) && self.is_drained()
    }

    /// As [`Books::continues`], with the same result.
    pub(super) fn continues(&self, member: &Member, pos: u64) -> bool {
        let reader = member.reader();
        reader.is_some_and(|reader| self.books().continues(reader, pos))
    }
}

impl Change<'_> {
    /// Adds a reader. The drained bytes count as consumed by it.
    pub(super) fn enter(&mut self, new: NewReader) -> Arc<Reader> {
        self.draining.readers += 1;
        self.books().enter(new, self.draining.position)
    }

    /// Removes a reader.
    pub(super) fn leave(&mut self, reader: &Reader) {
        self.draining.readers -= 1;
        self.books().leave(reader);
    }

    /// Moves the drained position to the position that all readers have consumed. Returns whether
    /// it moved. The caller then has to call [`Stream::finish_drain`].
    pub(super) fn drain(&mut self) -> bool {
        let to = self.drains_to(&self.books());
        match to {
            Some(to) => self.draining.position = to,
            // An earlier attempt may have failed for lack of memory.
            None if self.is_drained() => drop(self.free_due()),
            None => (),
        }
        to.is_some()
    }
}

impl Stream {
    /// To look at figures. Memory left before the drained position is removed before, in one piece with
    /// the view: a reader that goes on leaves more.
    pub(super) fn without_drained(&self) -> View<'_> {
        let view = self.inspect();
        if !view.draining.has_pages() {
            return view;
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
        inner.into_view()
    }

    /// To write. Memory that was to be removed is removed before: an earlier attempt may have found no
    /// memory to do so.
    pub(super) fn without_due(&self) -> View<'_> {
        let view = self.inspect();
        if !view.has_due() {
            return view;
        }
        drop(view);
        let removed = self.change_bytes().free_due();
        drop(removed);
        self.inspect()
    }

    /// Drains the bytes that all readers have consumed.
    pub(super) fn drain(&self) {
        self.drain_by(self.change_bytes());
    }

    /// As [`Stream::drain`], but fails with `EAGAIN` instead of waiting for a lock. The books keep
    /// their state, so the next call drains.
    pub(super) fn try_drain(&self) -> Result {
        self.drain_by(self.try_change_bytes()?);
        Ok(())
    }

    fn drain_by(&self, mut inner: Change<'_>) {
        if inner.drain() {
            self.finish_drain(inner);
        }
    }

    /// Gives up what is kept for the next writes. The caller drops it without the lock.
    pub(super) fn remove_spare(&self, inner: &mut Inner) -> [Spare; 2] {
        let handed_over = core::mem::replace(&mut *self.locks.spare(), Spare::new());
        [inner.buffer.remove_spare(), handed_over]
    }

    /// As [`Stream::remove_spare`], if there will be no writes, or nobody who drains them.
    pub(super) fn remove_unused_spare(&self, inner: &mut Inner) -> Option<[Spare; 2]> {
        (!inner.recycles()).then(|| self.remove_spare(inner))
    }

    /// A run of pages for a write of `pages` whole pages at `pos`, of what is kept. `has_more` says
    /// whether the buffer has kept some.
    pub(super) fn take_spare(&self, pos: u64, pages: usize, has_more: bool) -> Option<Run> {
        let run = self.locks.spare().take_for(pos, pages);
        if run.is_some() || !has_more {
            return run;
        }
        let mut inner = self.change_bytes();
        let mut spare = self.locks.spare();
        inner.buffer.hand_over_spare(&mut spare);
        spare.take_for(pos, pages)
    }

    /// Frees drained bytes, and wakes writers that wait for room.
    pub(super) fn finish_drain<'a>(&'a self, mut inner: Change<'a>) {
        if !inner.has_due() {
            drop(inner);
            return self.notify_writers();
        }
        let range = inner.draining.freed..inner.due();
        if range.end.saturating_sub(range.start) <= SLICE as u64 {
            inner.unmap(range, false);
        } else {
            // No fault maps drained pages, so unmapping does not need the lock.
            drop(inner);
            self.unmap_ahead(range);
            inner = self.change_bytes();
        }
        let removed = inner.free_due();
        drop(inner);
        self.notify_writers();
        drop(removed);
    }

    /// Checks the position of a handle, and records the pending bytes that it has consumed.
    pub(crate) fn confirm(&self, member: &Member, file: &File) {
        if let Some(reader) = member.reader() {
            self.confirm_reader(reader, file);
        }
    }

    fn confirm_reader(&self, reader: &Reader, file: &File) {
        let due = self
            .read_bytes()
            .confirm_reader(reader, file_position(file));
        if due {
            self.drain();
        }
    }

    /// Records that a handle at position `pos` has consumed the bytes before `pos`.
    pub(crate) fn consume(&self, member: &Member, pos: u64) {
        let due = self.read_bytes().consume(member, pos);
        if due {
            self.drain();
        }
    }

    /// Records that `lseek` has moved a handle to `pos`. A seek alone consumes nothing: the caller
    /// may only want to know the length.
    pub(crate) fn note_seek(&self, member: &Member, pos: u64) {
        if let Some(reader) = member.reader() {
            self.read_bytes().books().note_seek(reader, pos);
        }
    }
}

impl Member {
    /// Schedules a check of the handle's position, that of `file`, for the return of the current
    /// call to user space.
    ///
    /// A kernel thread never returns to user space, and memory may be short. In these cases the
    /// next call on the handle checks the position.
    pub(crate) fn confirm_on_return(&self, file: &File) {
        let Some(reader) = self.reader() else {
            return;
        };
        let caller = current!().pid();
        if reader.caller.load(Relaxed) == caller || reader.checks.load(Relaxed) >= MAX_CHECKS {
            return;
        }
        reader.checks.fetch_add(1, Relaxed);
        let confirm = Confirm {
            stream: self.stream().clone(),
            reader: reader.clone(),
            caller,
        };
        let memory = reader.take_memory();
        let queued =
            memory.and_then(|memory| task_work::on_return(memory, ARef::from(file), confirm));
        match queued {
            // An io_uring worker makes several calls before it runs queued work.
            Ok(()) if is_user_task() => reader.caller.store(caller, Relaxed),
            Ok(()) => (),
            Err(_) => drop(reader.checks.fetch_sub(1, Relaxed)),
        }
    }
}

/// A check of a reader's position, after the call of the task `caller`.
pub(super) struct Confirm {
    stream: Arc<Stream>,
    reader: Arc<Reader>,
    caller: i32,
}

impl OnReturn for Confirm {
    fn returned(self, file: &File, memory: Memory<Self>) {
        let Self {
            stream,
            reader,
            caller,
        } = self;
        reader.checks.fetch_sub(1, Relaxed);
        let _ = reader.caller.cmpxchg(caller, 0, Full);
        reader.keep_memory(memory);
        stream.confirm_reader(&reader, file);
    }
}

#[kunit_tests(qemufile_stream_drain)]
mod tests {
    use super::*;

    #[test]
    fn pages_behind_the_position_are_freed() -> Result {
        let mut draining = Draining::new();
        let mut buffer = SizedBuffer::with_capacity(8 * PAGE_BYTES)?;
        drop(buffer.set_len(8 * PAGE_BYTES)?);
        draining.position = 4 * PAGE_BYTES + 1;
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
            (draining.position, draining.freed) = (8 * RUN, freed);
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
