// SPDX-License-Identifier: GPL-2.0

//! The locks of a stream: their order, and the entrances to what they protect.
//!
//! # Lock order
//!
//! Locks are taken from the top of this list to the bottom. Those of one number are never held
//! together.
//!
//! 1. `file->f_pos_lock`: the VFS holds it over `read`, `write` and `lseek` of one file, and a typed
//!    call takes it. `inode->i_rwsem`: the VFS holds it over `truncate`. `pipe->mutex`: held over
//!    `splice`; a splice that waits for bytes drops it ([`Pipe::unlocked`]).
//! 2. `Locks::writing`: one change at a time, from its first byte to the last, as `i_rwsem` is for
//!    writes to an ordinary file. Memory of the caller may be faulted in under it. A task that waits
//!    for it can be killed.
//! 3. `mm->mmap_lock`: held during a page fault, also on a mapping of the stream itself.
//! 4. `Locks::inner`: the bytes and the counts. No page fault happens under it: memory of the caller
//!    is copied with page faults disabled, and faulted in after the lock is dropped. Nothing holds it
//!    for a time that grows with the size of a call.
//! 5. Under `inner`, and not together: `Rate::state` of a handle; `i_mmap_rwsem` of the inode, and
//!    the page table locks below it (pages are mapped, and taken out of mappings).
//! 6. The locks of the wait queues, and of the table of users ([`quota`](super::quota)).
//!
//! `inner` of two streams is never held at the same time: a clone or a reflink takes a snapshot of
//! the source first. Memory that a change takes out is freed, and waiters are woken, after `inner`
//! is dropped.
//!
//! # Entrances
//!
//! `inner` is private to this file. An entrance says what the caller is going to do:
//!
//! | entrance | for |
//! | --- | --- |
//! | [`Stream::inspect`] | figures: length, runs of data, who has the stream open; waiting for a change of these |
//! | [`Stream::read_bytes`] | bytes that are copied, lent or mapped; the readers' books |
//! | [`Stream::change_bytes`] | bytes, length, memory, and what is paid for it |
//! | [`Stream::share_pages`] | a clone, for another stream or for a way back |
//! | [`Stream::change_rules`] | limit, properties, rate |
//! | [`Stream::change_members`] | handles that come and go, with their inode |
//!
//! [`Pipe::unlocked`]: crate::sys::splice::Pipe::unlocked

use super::{
    Inner,
    Stream, //
};
use crate::sys::mutex::{
    new_killable_mutex,
    KillableGuard,
    KillableMutex, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Mutex, //
    },
};

/// The locks of a stream.
#[pin_data]
pub(super) struct Locks {
    #[pin]
    writing: KillableMutex,
    #[pin]
    inner: Mutex<Inner>,
}

impl Locks {
    pub(super) fn new(inner: Inner) -> impl PinInit<Self> {
        pin_init!(Self {
            writing <- new_killable_mutex!("qemufile::writing"),
            inner <- new_mutex!(inner, "qemufile::inner"),
        })
    }

    /// Waits until no other change is being made. `EINTR` if the task is being killed.
    pub(super) fn writing(&self) -> Result<KillableGuard<'_>> {
        self.writing.lock()
    }

    /// As [`Locks::writing`], or `EAGAIN` if that would wait.
    pub(super) fn try_writing(&self) -> Result<KillableGuard<'_>> {
        self.writing.try_lock().ok_or(EAGAIN)
    }
}

/// A stream whose `inner` is locked.
pub(super) type Locked<'a> = Guard<'a, Inner, MutexBackend>;

impl Stream {
    /// To look at figures, and to wait for a change of these.
    pub(super) fn inspect(&self) -> Locked<'_> {
        self.locks.inner.lock()
    }

    /// To copy, lend or map bytes, and to note how far readers have come.
    pub(super) fn read_bytes(&self) -> Locked<'_> {
        self.locks.inner.lock()
    }

    /// To change bytes, length or memory.
    pub(super) fn change_bytes(&self) -> Locked<'_> {
        self.locks.inner.lock()
    }

    /// To make a clone of the buffer.
    pub(super) fn share_pages(&self) -> Locked<'_> {
        self.locks.inner.lock()
    }

    /// To change what may be done.
    pub(super) fn change_rules(&self) -> Locked<'_> {
        self.locks.inner.lock()
    }

    /// To change who has the stream open.
    pub(super) fn change_members(&self) -> Locked<'_> {
        self.locks.inner.lock()
    }
}
