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
    sync::LockClassKey,
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
