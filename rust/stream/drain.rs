// SPDX-License-Identifier: GPL-2.0

//! Draining: freeing what every read-only handle has consumed.
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
//! [`Draining::position`] moves at once. The pages are removed after that: see [`memory`]. So the
//! position never depends on free memory.
//!
//! # Locks
//!
//! [`Books`] have a lock of their own, because a reader changes them under the read side of `inner`.
//! The position moves under that lock, so a reader moves it without the write side. It takes that to
//! remove memory, once a run of pages, and if a writer waits for room. See [`locks`](super::locks).

mod books;
mod memory;
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
    SLICE, //
};
use crate::sys::{
    sched::is_user_task,
    task_work::{
        self,
        Memory,
        OnReturn, //
    }, //
};
use kernel::{
    current,
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
};

/// The largest number of calls on one handle that are checked at their return. Other calls are
/// checked when the handle is used again.
const MAX_CHECKS: i32 = 16;

/// The drained part of a stream.
pub(super) struct Draining {
    /// Moves under the lock of the books, and either side of `inner`.
    position: Atomic<u64>,
    /// Pages before this position have been removed. At most `position`.
    freed: u64,
    /// The number of entries in the books.
    readers: usize,
}

impl Draining {
    /// The state of a new stream: no drained bytes and no readers.
    pub(super) fn new() -> Self {
        Self {
            position: Atomic::new(0),
            freed: 0,
            readers: 0,
        }
    }

    /// The state of a clone: the same drained bytes and no readers.
    pub(super) fn of_clone(&self) -> Self {
        Self {
            position: Atomic::new(self.position()),
            freed: self.freed,
            readers: 0,
        }
    }

    /// The position before which bytes are gone for every reader and writer. Under the read side it
    /// may move on at any time.
    pub(super) fn position(&self) -> u64 {
        self.position.load(Relaxed)
    }

    fn move_to(&self, position: u64) {
        self.position.store(position, Relaxed);
    }

    /// Whether there are readers.
    pub(super) fn has_readers(&self) -> bool {
        self.readers != 0
    }
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
        Some(consumed.min(self.buffer.len())).filter(|to| *to > self.draining.position())
    }

    /// Whether [`Stream::drain`] has something to drain or to remove.
    fn is_due(&self, books: &Books) -> bool {
        self.drains_to(books).is_some() || (self.is_drained() && self.has_due())
    }

    /// Whether the byte at `pos` cannot be written before a reader at `own` moves on.
    pub(super) fn is_out_of_reach(&self, member: &Member, own: u64, pos: u64) -> bool {
        let (Some(reader), Some(limit)) = (member.reader(), self.max_len) else {
            return false;
        };
        let consumed = own.max(reader.consumed.load(Relaxed));
        let first = consumed.max(self.draining.position());
        self.is_drained() && pos >= first.saturating_add(limit)
    }
}

/// Updates of the books by readers. Each returns whether the caller has to call [`Stream::drain_from`].
impl View<'_> {
    /// As [`Change::drain`].
    fn drain(&self) -> bool {
        let books = self.books();
        let to = self.drains_to(&books);
        if let Some(to) = to {
            self.draining.move_to(to);
        }
        to.is_some()
    }

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
        self.books().enter(new, self.draining.position())
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
            Some(to) => self.draining.move_to(to),
            // An earlier attempt may have failed for lack of memory.
            None if self.is_drained() => drop(self.free_due()),
            None => (),
        }
        to.is_some()
    }
}

impl Stream {
    /// Drains the bytes that all readers have consumed. Returns the view if that was all: most calls
    /// remove no memory, and nobody waits for room.
    pub(super) fn drain_from<'a>(&'a self, view: View<'a>) -> Option<View<'a>> {
        let moved = view.drain();
        if view.has_due() || (moved && self.room.has_any()) {
            drop(view);
            // A task that has looked for room before is asleep when this gets the write side.
            self.finish_drain(self.change_bytes());
            return None;
        }
        if moved {
            self.notify_writers();
        }
        Some(view)
    }

    /// As [`Stream::drain_from`], but fails with `EAGAIN` instead of waiting for a lock. The books keep
    /// their state, so the next call drains.
    pub(super) fn try_drain(&self) -> Result {
        let mut inner = self.try_change_bytes()?;
        if inner.drain() {
            self.finish_drain(inner);
        }
        Ok(())
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
        let view = self.read_bytes();
        if view.confirm_reader(reader, file_position(file)) {
            drop(self.drain_from(view));
        }
    }

    /// Records that a handle at position `pos` has consumed the bytes before `pos`.
    pub(crate) fn consume(&self, member: &Member, pos: u64) {
        let view = self.read_bytes();
        if view.consume(member, pos) {
            drop(self.drain_from(view));
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
