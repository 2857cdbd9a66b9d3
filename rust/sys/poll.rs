// SPDX-License-Identifier: GPL-2.0

//! Being polled.
//!
//! The `kernel` crate's [`PollCondVar`] wakes with no event mask, so that an edge-triggered epoll
//! reports an edge for whatever happened. [`PollQueue`] says which events a wake-up is about, as
//! `fs/pipe.c` does.
//!
//! C headers: [`include/linux/poll.h`](srctree/include/linux/poll.h),
//! [`include/linux/wait.h`](srctree/include/linux/wait.h)
//!
//! [`PollCondVar`]: kernel::sync::poll::PollCondVar

use super::bindings as helpers;
use core::{
    marker::PhantomData,
    ops::BitOr, //
};
use kernel::{
    bindings,
    fs::File,
    prelude::*,
    sync::{
        Arc,
        LockClassKey, //
    },
    types::Opaque, //
};

/// A set of `EPOLL*` events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Events(bindings::__poll_t);

impl Events {
    pub(crate) const NONE: Self = Self(0);
    /// There is something to read, or a read would end at once.
    pub(crate) const IN: Self = Self(helpers::QEMUFILE_EPOLLIN | helpers::QEMUFILE_EPOLLRDNORM);
    /// A write would not wait.
    pub(crate) const OUT: Self = Self(helpers::QEMUFILE_EPOLLOUT | helpers::QEMUFILE_EPOLLWRNORM);
    /// An error is latched.
    pub(crate) const ERR: Self = Self(helpers::QEMUFILE_EPOLLERR);
    /// All is read, and nobody can write any more.
    pub(crate) const HUP: Self = Self(helpers::QEMUFILE_EPOLLHUP);
    /// Nobody can write any more.
    pub(crate) const RDHUP: Self = Self(helpers::QEMUFILE_EPOLLRDHUP);

    /// These events if `condition` holds, none otherwise.
    pub(crate) fn when(self, condition: bool) -> Self {
        if condition {
            self
        } else {
            Self::NONE
        }
    }

    /// These events but for `others`.
    pub(crate) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(super) fn as_raw(self) -> bindings::__poll_t {
        self.0
    }
}

impl BitOr for Events {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The kernel's `poll_table`: who asks, and whether they want to be woken.
///
/// # Invariants
///
/// `table` is null or valid for `'a`.
pub(crate) struct PollTable<'a> {
    table: *mut bindings::poll_table,
    _lifetime: PhantomData<&'a bindings::poll_table>,
}

impl PollTable<'_> {
    /// # Safety
    ///
    /// `table` must be null or valid for the lifetime of the result.
    pub(super) unsafe fn from_raw(table: *mut bindings::poll_table) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            table,
            _lifetime: PhantomData,
        }
    }
}

/// Those who poll a file and wait for a change.
///
/// A waiter's entry is removed no later than when its file is released (`eventpoll_release()` in
/// `__fput()`, before `->release`), so a queue in an object that every open file keeps alive is
/// empty when that object goes, as pipes rely on, too. Should it not be, the waiters are told, and
/// waited for.
#[pin_data(PinnedDrop)]
pub(crate) struct PollQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: A wait queue has a lock of its own.
unsafe impl Send for PollQueue {}
// SAFETY: A wait queue has a lock of its own.
unsafe impl Sync for PollQueue {}

impl PollQueue {
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and pinned, `name` and `key` are static.
                unsafe {
                    helpers::qemufile_init_waitqueue_head(
                        slot,
                        kernel::str::as_char_ptr_in_const_context(name),
                        key.as_ptr(),
                    )
                };
            }),
        })
    }

    /// Has whoever polls `file` woken by this queue.
    ///
    /// If `file` does not keep the queue's owner alive, that owner waits for an RCU grace period
    /// when it goes.
    pub(crate) fn register(&self, file: &File, table: &PollTable<'_>) {
        // SAFETY: `file` is valid, the table is null or valid by its type's invariant, and no entry
        // outlives the queue: see `drop`.
        unsafe { helpers::qemufile_poll_wait(file.as_ptr(), self.head.get(), table.table) };
    }

    /// Wakes those who wait for any of `events`.
    pub(crate) fn wake(&self, events: Events) {
        // SAFETY: The queue is initialised.
        unsafe { helpers::qemufile_wake_up_poll(self.head.get(), events.as_raw()) };
    }
}

#[pinned_drop]
impl PinnedDrop for PollQueue {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The queue is initialised. Afterwards there is no entry, and nobody who still
        // looks at the queue because there was one.
        unsafe { helpers::qemufile_clear_waitqueue(self.head.get()) };
    }
}

/// A [`PollQueue`] that is also woken whenever another one is, its leader.
///
/// For what is told to some of those whom the leader's changes are told to. That a file registers
/// with both queues is not for all who poll: aio refuses it (`aio_poll_queue_proc()`).
#[pin_data(PinnedDrop)]
pub(crate) struct Follower {
    #[pin]
    queue: PollQueue,
    /// Stands for `queue` among those who wait in `leader`, while anybody waits in `queue`.
    #[pin]
    entry: Opaque<bindings::wait_queue_entry>,
    leader: Arc<PollQueue>,
}

// SAFETY: Whether `entry` is in the leader's queue changes under that queue's lock.
unsafe impl Send for Follower {}
// SAFETY: As above.
unsafe impl Sync for Follower {}

impl Follower {
    pub(crate) fn new(
        leader: Arc<PollQueue>,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(&this in Self {
            queue <- PollQueue::new(name, key),
            entry <- Opaque::ffi_init(move |slot| {
                // SAFETY: `slot` is valid for writes. Both it and `queue` are pinned, and go
                // together, when the entry is in no queue any more.
                unsafe {
                    let head = &raw const (*this.as_ptr()).queue.head;
                    helpers::qemufile_init_follower(slot, Opaque::cast_into(head));
                }
            }),
            leader,
        })
    }

    /// Has whoever polls `file` woken by this queue and by its leader.
    pub(crate) fn register(&self, file: &File, table: &PollTable<'_>) {
        // SAFETY: The table is null or valid by its type's invariant.
        if !unsafe { helpers::qemufile_poll_waits(table.table) } {
            return;
        }
        self.queue.register(file, table);
        // In this order: an entry whose queue is empty is taken out of the leader's.
        // SAFETY: Both are initialised, and the entry is never in another queue.
        unsafe { helpers::qemufile_follow(self.leader.head.get(), self.entry.get()) };
    }

    /// Wakes those who wait in this queue for any of `events`.
    pub(crate) fn wake(&self, events: Events) {
        self.queue.wake(events);
    }
}

#[pinned_drop]
impl PinnedDrop for Follower {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: As in `register`. Afterwards nobody looks at the entry: a leader is woken under
        // its queue's lock.
        unsafe { helpers::qemufile_unfollow(self.leader.head.get(), self.entry.get()) };
    }
}

/// An initialiser for a [`PollQueue`] with a lock class of its own.
macro_rules! new_poll_queue {
    ($name:literal) => {
        $crate::sys::poll::PollQueue::new(
            kernel::optional_name!($name),
            kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_poll_queue;

/// An initialiser for a [`Follower`] with a lock class of its own, other than its leader's.
macro_rules! new_follower {
    ($leader:expr, $name:literal) => {
        $crate::sys::poll::Follower::new(
            $leader,
            kernel::optional_name!($name),
            kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_follower;
