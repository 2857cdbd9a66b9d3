// SPDX-License-Identifier: GPL-2.0

//! Draining: freeing what every reader of a stream has passed.
//!
//! # Rules
//!
//! 1. A stream is drained while it has the property DRAIN and is not sealed.
//! 2. Handles that cannot write are its readers. A reader's entry says which position it has
//!    passed. The least of these, and of the length, is [`Draining::position`]: bytes before it are
//!    gone for everybody, for good.
//! 3. GET and SKIP move the position themselves, so what they hand over is passed.
//! 4. What `read` or `splice` gives at the handle's own position is *lent*, as the driver cannot
//!    tell `read` from `pread`, nor what `sendfile` gives back. It is passed up to where the
//!    position is found later, if that is within what was lent. Looked at are the position at the
//!    return to user space of the same call ([`Seat::look_on_return`]) and that at the next call.
//! 5. Waiting for data at the handle's own position passes what lies before: the writer may wait for
//!    just that.
//! 6. A request of io_uring for a regular file is made in parts, with the position moved at the end.
//!    Where its next part lies beyond what the limit lets anybody write, what it was lent is passed.
//!    A `pread` there is `ENOBUFS`.
//! 7. `lseek` passes nothing: what was lent before it is settled before the position moves.
//!
//! # Books and memory
//!
//! [`Draining::position`] moves at once. The pages are taken out after that, and freed when the lock
//! is not held. Where nodes are shared with a clone that takes memory, and if there is none, the next
//! drain or write tries again. So the position never depends on whether memory was there.
//!
//! # Locks
//!
//! [`Draining`] is a part of `inner`, and so changes under its write side. [`Books`] have a lock of
//! their own, because a reader changes them under the read side. A reader that finds that all have
//! passed more than is drained takes the write side to drain. See [`locks`](super::locks).
//!
//! [`Books`] and [`Own`] have files of their own.

mod books;
mod own;

pub(super) use self::books::{
    Books,
    Mark,
    NewReader, //
};
pub(crate) use self::own::Own;

use self::own::file_position;
use super::{
    locks::{
        Change,
        View, //
    },
    Inner,
    Property,
    Seat,
    Stream,
    PAGE_BYTES,
    SLICE, //
};
use crate::{
    sized_buffer::{
        Removed,
        SizedBuffer, //
    },
    sys::{
        sched::is_user_task,
        task_work, //
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

/// The most calls on one handle that are looked at when they return. The others are looked at when
/// the handle is used again.
const MAX_LOOKS: i32 = 16;

/// What has been drained.
pub(super) struct Draining {
    position: u64,
    /// Pages before this position have been freed. At most `position`.
    freed: u64,
    /// How many entries the books have.
    readers: usize,
}

impl Draining {
    /// Nothing is drained, and nobody reads.
    pub(super) fn new() -> Self {
        Self {
            position: 0,
            freed: 0,
            readers: 0,
        }
    }

    /// For a clone: the same bytes are gone, and nobody reads.
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

    /// Whether there are whole pages of drained bytes.
    fn has_pages(&self) -> bool {
        self.freed < first_of_page(self.position)
    }

    /// There may be memory behind [`Self::position`] again, from `start` on.
    fn put_behind(&mut self, start: u64) {
        self.freed = self.freed.min(first_of_page(start));
    }

    /// Takes out the memory of bytes that are gone, if there is any. If there is no memory for that
    /// (see above), it is left to the next time.
    fn free(&mut self, buffer: &mut SizedBuffer) -> Option<Removed> {
        if !self.has_pages() {
            return None;
        }
        let end = first_of_page(self.position);
        let removed = buffer.punch(self.freed..end).ok()?;
        self.freed = end;
        Some(removed)
    }
}

fn first_of_page(pos: u64) -> u64 {
    pos - pos % PAGE_BYTES
}

impl Inner {
    /// Whether what readers pass is freed.
    pub(super) fn is_drained(&self) -> bool {
        self.is(Property::Drain) && !self.is(Property::Sealed)
    }

    /// Whether a write at the limit is to wait, as there are readers to make room.
    pub(super) fn can_drain(&self) -> bool {
        self.is_drained() && self.draining.has_readers()
    }

    /// Where draining is to move to, if it is behind what all readers have passed.
    fn drains_to(&self, books: &Books) -> Option<u64> {
        let passed = books.passed().filter(|_| self.is_drained())?;
        Some(passed.min(self.buffer.len())).filter(|to| *to > self.draining.position)
    }

    /// Whether there is something to drain, or to free: [`Stream::drain`] is to be called then.
    fn is_due(&self, books: &Books) -> bool {
        self.drains_to(books).is_some() || (self.is_drained() && self.draining.has_pages())
    }

    /// Takes out the memory of what was drained, if there is some left: to be dropped when the lock
    /// is not held.
    pub(super) fn free_drained(&mut self) -> Option<Removed> {
        let removed = self.draining.free(&mut self.buffer);
        self.freed();
        removed
    }

    /// As [`Inner::free_drained`], after a change that may have put memory behind what is drained,
    /// from `start` on: where draining may have gone on since the change began.
    pub(super) fn free_behind(&mut self, start: u64) -> Option<Removed> {
        self.draining.put_behind(start);
        self.free_drained()
    }

    /// Memory may have been freed: no mapping is to show it, and nobody pays for it.
    fn freed(&mut self) {
        let stale = self.buffer.take_stale();
        self.unmap(stale, false);
        self.settle();
    }

    /// Whether the byte at `pos` cannot be written before a reader at `own` has moved on.
    pub(super) fn is_out_of_reach(&self, seat: &Seat, own: u64, pos: u64) -> bool {
        let (Some(mark), Some(limit)) = (seat.mark(), self.limit) else {
            return false;
        };
        let passed = own.max(mark.passed.load(Relaxed));
        let first = passed.max(self.draining.position);
        self.is_drained() && pos >= first.saturating_add(limit)
    }
}

/// What readers do to the books. Each returns whether [`Stream::drain`] is to be called, once the
/// view is dropped.
impl View<'_> {
    /// As [`Books::look`].
    pub(super) fn look(&self, seat: &Seat, own: u64) -> bool {
        seat.mark().is_some_and(|mark| self.look_at(mark, own))
    }

    fn look_at(&self, mark: &Mark, own: u64) -> bool {
        let mut books = self.books();
        books.look(mark, own);
        self.is_due(&books)
    }

    /// As [`Books::pass`].
    pub(super) fn pass(&self, seat: &Seat, to: u64) -> bool {
        let Some(mark) = seat.mark() else {
            return false;
        };
        let mut books = self.books();
        books.pass(mark, to);
        self.is_due(&books)
    }

    /// As [`Books::pass_lent`]: `None` if there is no such request.
    pub(super) fn pass_lent(&self, seat: &Seat, own: u64, to: u64) -> Option<bool> {
        let mut books = self.books();
        let lent = books.pass_lent(seat.mark()?, own, to);
        lent.then(|| self.is_due(&books))
    }

    /// As [`Books::lend`], but returns whether to look at the position when the call returns.
    pub(super) fn lend(&self, seat: &Seat, own: u64, pos: u64, end: u64) -> bool {
        let Some(mark) = seat.mark() else {
            return false;
        };
        self.books().lend(mark, own, pos, end) && self.is_drained()
    }

    /// As [`Books::goes_on`], which it returns.
    pub(super) fn goes_on(&self, seat: &Seat, pos: u64) -> bool {
        let mark = seat.mark();
        mark.is_some_and(|mark| self.books().goes_on(mark, pos))
    }
}

impl Change<'_> {
    /// Enters a reader. It has passed what is drained.
    pub(super) fn enter(&mut self, new: NewReader) -> Arc<Mark> {
        self.draining.readers += 1;
        self.books().enter(new, self.draining.position)
    }

    /// Takes out a reader that goes.
    pub(super) fn leave(&mut self, mark: &Mark) {
        self.draining.readers -= 1;
        self.books().leave(mark);
    }

    /// Moves draining to what all readers have passed. Returns whether it moved:
    /// [`Stream::finish_drain`] is to be called then.
    pub(super) fn drain(&mut self) -> bool {
        let to = self.drains_to(&self.books());
        match to {
            Some(to) => self.draining.position = to,
            // There may have been no memory for it before.
            None if self.is_drained() => drop(self.free_drained()),
            None => (),
        }
        to.is_some()
    }
}

impl Stream {
    /// Drains what all readers have passed, if that is still to be done.
    pub(super) fn drain(&self) {
        self.drain_by(self.change_bytes());
    }

    /// As [`Stream::drain`], or `EAGAIN` if that would wait for a lock. The books stay as they are, so
    /// the next look at them finds that it is still to be done.
    pub(super) fn try_drain(&self) -> Result {
        self.drain_by(self.try_change_bytes()?);
        Ok(())
    }

    fn drain_by(&self, mut inner: Change<'_>) {
        if inner.drain() {
            self.finish_drain(inner);
        }
    }

    /// Frees what was drained, and tells the writers that there is room.
    pub(super) fn finish_drain<'a>(&'a self, mut inner: Change<'a>) {
        let range = inner.draining.freed..first_of_page(inner.draining.position);
        if range.end.saturating_sub(range.start) <= SLICE as u64 {
            inner.unmap(range, false);
        } else {
            // No fault maps what is drained, so this need not hold up the others.
            drop(inner);
            self.unmap_ahead(range);
            inner = self.change_bytes();
        }
        let removed = inner.free_drained();
        drop(inner);
        self.notify_writers();
        drop(removed);
    }

    /// Looks where the handle's position is, and notes what it has kept of what it was lent.
    pub(crate) fn look(&self, seat: &Seat, file: &File) {
        if let Some(mark) = seat.mark() {
            self.look_at(mark, file);
        }
    }

    fn look_at(&self, mark: &Mark, file: &File) {
        let due = self.read_bytes().look_at(mark, file_position(file));
        if due {
            self.drain();
        }
    }

    /// Notes that a handle has passed what lies before `pos`, its position.
    pub(crate) fn pass(&self, seat: &Seat, pos: u64) {
        let due = self.read_bytes().pass(seat, pos);
        if due {
            self.drain();
        }
    }

    /// Notes that `lseek` has moved a handle to `pos`. What it is moved past counts when it reads
    /// there, as it may only want to know where the end is.
    pub(crate) fn moved(&self, seat: &Seat, pos: u64) {
        if let Some(mark) = seat.mark() {
            self.read_bytes().books().moved(mark, pos);
        }
    }
}

impl Seat {
    /// Looks at the position of `file`, the handle's, when the call that is being made returns to
    /// user space.
    ///
    /// A kernel thread never does, and there may be no memory: the next call on the handle looks
    /// then.
    pub(crate) fn look_on_return(&self, file: &File) {
        let Some(mark) = self.mark() else {
            return;
        };
        let caller = current!().pid();
        if mark.caller.load(Relaxed) == caller || mark.looks.load(Relaxed) >= MAX_LOOKS {
            return;
        }
        mark.looks.fetch_add(1, Relaxed);
        let (stream, mark_then) = (self.stream().clone(), mark.clone());
        let queued = task_work::on_return(ARef::from(file), move |file| {
            let mark = mark_then;
            mark.looks.fetch_sub(1, Relaxed);
            let _ = mark.caller.cmpxchg(caller, 0, Full);
            stream.look_at(&mark, file);
        });
        match queued {
            // A worker of io_uring makes one call after the other before it runs what is queued.
            Ok(()) if is_user_task() => mark.caller.store(caller, Relaxed),
            Ok(()) => (),
            Err(_) => drop(mark.looks.fetch_sub(1, Relaxed)),
        }
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
        assert!(draining.free(&mut buffer).is_some());
        assert_eq!(buffer.allocated(), 4 * PAGE_BYTES);
        buffer.reserve(PAGE_BYTES, 2 * PAGE_BYTES)?;
        assert!(draining.free(&mut buffer).is_none());
        assert_eq!(buffer.allocated(), 6 * PAGE_BYTES);
        draining.put_behind(PAGE_BYTES + 1);
        drop(draining.free(&mut buffer));
        assert_eq!(buffer.allocated(), 4 * PAGE_BYTES);
        Ok(())
    }
}
