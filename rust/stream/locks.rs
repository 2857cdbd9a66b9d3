// SPDX-License-Identifier: GPL-2.0

//! The locks of a stream: their order, and the entrances to what they protect.
//!
//! # Lock order
//!
//! Locks are taken from the top of this list to the bottom. Those of one number are never held
//! together.
//!
//! 1. `file->f_pos_lock`: the VFS holds it over `read`, `write` and `lseek` of one file, and a
//!    typed call takes it. `inode->i_rwsem`: the VFS holds it over `truncate`. `pipe->mutex`: held
//!    over `splice`; a splice that waits for bytes drops it ([`Pipe::unlocked`]).
//! 2. `Locks::writing`: one change of a position at a time, from the first byte of the change to
//!    the last, as `i_rwsem` is for writes to an ordinary file. It is a lock of ranges
//!    ([`ranges`](super::ranges)): a write locks the bytes that it writes, and any other change
//!    locks all positions. Memory of the caller may be faulted in under it. A task that waits for
//!    it can be killed. lockdep knows it as the semaphore of those who wait.
//! 3. `mm->mmap_lock`: held during a page fault, also on a mapping of the stream itself.
//! 4. `Locks::inner`: the bytes and the counts; a reader-writer lock. No page fault happens under
//!    it: memory of the caller is copied with page faults disabled, and faulted in after the lock
//!    is dropped. Nothing holds either side for a time that grows with the size of a call.
//!    Except a clone, or a seal, of memory in use: it looks at each page that was not shared before
//!    (`SizedBuffer::is_busy`), and at the page tables of its mappings once more.
//! 5. Under `inner`, and not together: `Locks::books`, how far readers have come; `Rate::state` of
//!    a handle; `i_mmap_rwsem` of the inode, and the page table locks below it (pages are mapped,
//!    and taken out of mappings).
//! 6. The locks of the wait queues, of the table of users ([`quota`](super::quota)), of the table
//!    of locked ranges, of the pages for the next writes, and of the memory that a reader keeps for
//!    its checks.
//!
//! `inner` of two streams is held together only to compare them, the read side of both, in the order
//! of their addresses. A clone or a reflink takes a snapshot of the source first. Memory that a change takes out is freed, and waiters are woken, after `inner`
//! is dropped.
//!
//! # Entrances
//!
//! `inner` is private to this file. An entrance says what the caller is going to do:
//!
//! | entrance | side | for |
//! | --- | --- | --- |
//! | [`Stream::inspect`] | read | figures: length, runs of data, who has the stream open; waiting for a change of these |
//! | [`Stream::inspect_both`] | read | what two streams share |
//! | [`Stream::read_bytes`] | read | bytes that are copied or mapped; bytes that are written in place, also at the end; the readers' books, and the drained position |
//! | [`Stream::change_bytes`] | write | bytes, length, memory, and what is paid for it; pages that are lent |
//! | [`Stream::share_pages`] | write | a clone, for another stream or for a way back |
//! | [`Stream::change_rules`] | write | limit, properties, rate |
//! | [`Stream::change_members`] | write | handles that come and go, with their inode |
//!
//! Bytes are written under the read side where the page is there and exclusive to the buffer
//! ([`SizedBuffer::overwrite`]). What makes a page known to others (a clone, a page that is lent)
//! takes the write side, so the page stays exclusive.
//!
//! The two ends of a live stream move under the read side, too. Whoever moves one of them has a lock
//! of its own for it: the writer has locked the bytes at the end ([`append`](super::append)), and the
//! drained position moves under the lock of the books. So whoever has the write side finds both at
//! rest. Whoever has the read side must expect that each of them goes up.
//!
//! A reader that has to change more drops the read side, takes the write side, and decides anew what
//! is to be done: there is no upgrade, as two readers would wait for each other.
//!
//! # No wake-up is missed
//!
//! A task that waits looks at the stream and joins the wait queue under the read side, in one
//! piece. What it waits for changes under the write side: limit, properties, members, the rate
//! ([`Stream::change_for_sleepers`]), and mostly the length. The changer wakes after it has dropped
//! the write side. The two sides exclude each other, so there are two cases. The change comes first:
//! the task sees it, and does not sleep. Or the task comes first: it is in the queue when the changer
//! looks there, also for the changer's view of memory, as `up_read` releases what `down_write`
//! acquires. That several tasks wait under the read side at once makes no difference, because they
//! change nothing that another waits for.
//!
//! The length and the drained position may change under the read side. So a task that waits for these
//! first counts itself ([`Waiters::enter`]), and then looks; the changer changes, and then looks at the
//! count ([`Waiters::has_any`]). Both have a full barrier in between, so at least one sees the other. If
//! the changer sees a task, it takes the write side, and drops it, before it wakes: the task has then
//! seen the change, or is in the queue. Tasks that poll are in their queue before they look
//! (`poll_wait()`), so for these the barrier in [`PollQueue::wake`] is enough.
//!
//! A handle goes when its file is released. The task that drops the last reference to a file
//! releases it when it returns to user space (`fput()`). A task must therefore not wait for a
//! handle whose last reference it has dropped in the same call. The module drops none in a call
//! that waits. The kernel may, as for pipes: `__fget_files_rcu()` takes a reference to a wrong file,
//! and drops it, if the descriptor's number is closed and used again meanwhile. A signal ends such
//! a wait, as the task returns to user space for it.
//!
//! [`Waiters::enter`]: super::wait::Waiters::enter
//! [`Waiters::has_any`]: super::wait::Waiters::has_any
//! [`PollQueue::wake`]: crate::sys::poll::PollQueue::wake

use super::{
    drain::Books,
    ranges::RangeLock,
    Inner,
    Stream, //
};
use crate::{
    sized_buffer::Spare,
    sys::rwsem::{
        new_rw_semaphore,
        ReadGuard,
        RwSemaphore,
        WriteGuard, //
    },
};
use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        CondVar,
        CondVarTimeoutResult,
        SpinLock,
        SpinLockGuard, //
    },
    time::Jiffies, //
};

/// The locks of a stream.
#[pin_data]
pub(super) struct Locks {
    #[pin]
    writing: RangeLock,
    #[pin]
    inner: RwSemaphore<Inner>,
    #[pin]
    books: SpinLock<Books>,
    #[pin]
    spare: SpinLock<Spare>,
}

impl Locks {
    pub(super) fn new(inner: Inner) -> impl PinInit<Self> {
        pin_init!(Self {
            writing <- RangeLock::new(),
            inner <- new_rw_semaphore!(inner, "qemufile::inner"),
            books <- new_spinlock!(Books::new(), "qemufile::books"),
            spare <- new_spinlock!(Spare::new(), "qemufile::spare"),
        })
    }

    /// Pages for writes that do not have `inner`.
    pub(super) fn spare(&self) -> SpinLockGuard<'_, Spare> {
        self.spare.lock()
    }

    /// The lock of those who change bytes or the length.
    pub(super) fn writing(&self) -> &RangeLock {
        &self.writing
    }
}

/// A stream that others may look at, too, and nobody changes.
pub(super) struct View<'a> {
    stream: &'a Stream,
    inner: ReadGuard<'a, Inner>,
}

impl<'a> View<'a> {
    /// How far readers have come.
    pub(super) fn books(&self) -> SpinLockGuard<'a, Books> {
        self.stream.locks.books.lock()
    }

    /// Gives up the read side until `condvar` is notified. Returns whether a signal is pending.
    pub(super) fn wait(&mut self, condvar: &CondVar) -> bool {
        self.inner.wait_interruptible(condvar)
    }

    /// As [`View::wait`], for some time at the most.
    pub(super) fn wait_for(&mut self, condvar: &CondVar, time: Jiffies) -> CondVarTimeoutResult {
        self.inner.wait_interruptible_timeout(condvar, time)
    }
}

impl Deref for View<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

/// A stream that this task changes, and nobody else looks at.
pub(super) struct Change<'a> {
    stream: &'a Stream,
    inner: WriteGuard<'a, Inner>,
}

impl<'a> Change<'a> {
    /// How far readers have come.
    pub(super) fn books(&self) -> SpinLockGuard<'a, Books> {
        self.stream.locks.books.lock()
    }

    /// Ends the change, and goes on to look at the stream: no other change comes between.
    pub(super) fn into_view(self) -> View<'a> {
        View {
            stream: self.stream,
            inner: self.inner.downgrade(),
        }
    }
}

impl Deref for Change<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Stream {
    /// To look at figures, and to wait for a change of these.
    pub(super) fn inspect(&self) -> View<'_> {
        self.view()
    }

    /// To compare figures of two streams. They must not be the same one.
    ///
    /// The stream with the lower address comes first. Only read sides are taken together, and whoever
    /// has a write side waits for no other stream.
    pub(super) fn inspect_both<'a>(&'a self, other: &'a Stream) -> (View<'a>, View<'a>) {
        let address = |stream: &Stream| core::ptr::from_ref(stream).addr();
        if address(self) < address(other) {
            let one = self.view();
            (one, other.view_below())
        } else {
            let second = other.view();
            (self.view_below(), second)
        }
    }

    /// To copy or map bytes, to write them in place, and to move the ends of a live stream.
    pub(super) fn read_bytes(&self) -> View<'_> {
        self.view()
    }

    /// As [`Stream::read_bytes`], or `EAGAIN` if that would wait.
    pub(super) fn try_read_bytes(&self) -> Result<View<'_>> {
        let inner = self.locks.inner.try_read().ok_or(EAGAIN)?;
        Ok(View {
            stream: self,
            inner,
        })
    }

    /// To change bytes, length or memory.
    pub(super) fn change_bytes(&self) -> Change<'_> {
        self.change()
    }

    /// As [`Stream::change_bytes`], or `EAGAIN` if that would wait.
    pub(super) fn try_change_bytes(&self) -> Result<Change<'_>> {
        let inner = self.locks.inner.try_write().ok_or(EAGAIN)?;
        Ok(Change {
            stream: self,
            inner,
        })
    }

    /// To make a clone of the buffer.
    ///
    /// A clone clears marks that a write in place relies on ([`cow`](crate::sized_buffer)), so no
    /// page is mapped for writing then. Page faults wait.
    pub(super) fn share_pages(&self) -> Change<'_> {
        self.stop_stores_ahead();
        let inner = self.change();
        inner.stop_stores();
        inner
    }

    /// To change what may be done.
    pub(super) fn change_rules(&self) -> Change<'_> {
        self.change()
    }

    /// To change who has the stream open.
    pub(super) fn change_members(&self) -> Change<'_> {
        self.change()
    }

    fn view(&self) -> View<'_> {
        View {
            stream: self,
            inner: self.locks.inner.read(),
        }
    }

    /// As [`Stream::view`], with the view of another stream held.
    fn view_below(&self) -> View<'_> {
        View {
            stream: self,
            inner: self.locks.inner.read_nested(),
        }
    }

    fn change(&self) -> Change<'_> {
        Change {
            stream: self,
            inner: self.locks.inner.write(),
        }
    }
}
