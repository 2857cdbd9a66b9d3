// SPDX-License-Identifier: GPL-2.0

//! Wait queues for `poll(2)`.
//!
//! The `kernel` crate's [`PollCondVar`] wakes with no event mask, so that an edge-triggered epoll
//! reports an edge for whatever happened. [`PollQueue`] says which events a wake-up is about, as
//! `fs/pipe.c` does.
//!
//! C headers: [`include/linux/poll.h`](srctree/include/linux/poll.h),
//! [`include/linux/wait.h`](srctree/include/linux/wait.h)
//!
//! [`PollCondVar`]: kernel::sync::poll::PollCondVar

use super::{
    bindings as helpers,
    compat::smp_mb, //
};
use core::{
    marker::PhantomData,
    ops::BitOr, //
};
use kernel::{
    bindings,
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
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

/// The kernel's `poll_table`: the poller, and whether it wants to be woken.
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

    /// Whether the caller wants to be woken: the condition in `poll_wait()`.
    fn waits(&self) -> bool {
        // SAFETY: The table is null or valid by the type invariant.
        unsafe { self.table.as_ref() }.is_some_and(|table| table._qproc.is_some())
    }
}

/// The wait queue of a file's pollers.
///
/// A waiter's entry is removed no later than when its file is released (`eventpoll_release()` in
/// `__fput()`, before `->release`), so a queue in an object that every open file keeps alive is
/// empty when that object goes, as pipes rely on, too. If not, `drop` removes
/// the waiters and waits for them.
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
                    bindings::__init_waitqueue_head(
                        slot,
                        kernel::str::as_char_ptr_in_const_context(name),
                        key.as_ptr(),
                    )
                };
            }),
        })
    }

    /// Registers a poller of `file` with this queue.
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
        if self.has_sleeper() {
            // SAFETY: The queue is initialised.
            unsafe { helpers::qemufile_wake_up_poll(self.head.get(), events.as_raw()) };
        }
    }

    /// Whether anybody waits. Whoever begins to wait after this returned false sees what the caller
    /// changed before: `wq_has_sleeper()` has a barrier that pairs with the one in `poll_wait()`.
    fn has_sleeper(&self) -> bool {
        // SAFETY: The queue is initialised.
        unsafe { helpers::qemufile_wq_has_sleeper(self.head.get()) }
    }

    /// Calls `f` with the queue locked, and interrupts off.
    fn locked<R>(&self, f: impl FnOnce(*mut bindings::wait_queue_head) -> R) -> R {
        let head = self.head.get();
        // SAFETY: The queue is initialised, and pinned until it is dropped, so its lock can be
        // pointed at.
        unsafe {
            let lock = &raw mut (*head).lock;
            let flags = helpers::qemufile_spin_lock_irqsave(lock);
            let result = f(head);
            helpers::qemufile_spin_unlock_irqrestore(lock, flags);
            result
        }
    }
}

#[pinned_drop]
impl PinnedDrop for PollQueue {
    fn drop(self: Pin<&mut Self>) {
        // The usual case: nobody polls a file that keeps the queue's owner alive.
        if !self.has_sleeper() {
            return;
        }
        // SAFETY: The queue is initialised. `__wake_up_pollfree()` has all waiters remove their
        // entries. A waiter that is just removing its own looks at the queue in an RCU read-side
        // critical section (`ep_remove_wait_queue()`), which `synchronize_rcu()` waits for.
        unsafe {
            bindings::__wake_up_pollfree(self.head.get());
            bindings::synchronize_rcu();
        }
    }
}

/// A [`PollQueue`] that is also woken whenever another one is, its leader.
///
/// For events of only some of the leader's waiters. Registering a file with both queues does not
/// work for all pollers: aio allows one queue only (`aio_poll_queue_proc()`).
#[pin_data(PinnedDrop)]
pub(crate) struct Follower {
    #[pin]
    queue: PollQueue,
    /// The entry of `queue` in `leader`, while `queue` has waiters.
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
            entry <- Opaque::ffi_init(move |slot: *mut bindings::wait_queue_entry| {
                // SAFETY: `slot` is valid for writes. Both it and `queue` are pinned, and go
                // together, when the entry is in no queue any more: what `wake_follower` requires.
                unsafe {
                    let head = &raw const (*this.as_ptr()).queue.head;
                    helpers::qemufile_init_waitqueue_func_entry(slot, Some(wake_follower));
                    (*slot).private = Opaque::cast_into(head).cast();
                    bindings::INIT_LIST_HEAD(&raw mut (*slot).entry);
                }
            }),
            leader,
        })
    }

    /// Registers a poller of `file` with this queue, and through it with the leader.
    pub(crate) fn register(&self, file: &File, table: &PollTable<'_>) {
        if !table.waits() {
            return;
        }
        self.queue.register(file, table);
        // In this order: `wake_follower` takes an entry whose queue is empty out of the leader's.
        self.leader.locked(|leader| {
            let entry = self.entry.get();
            // SAFETY: Both are initialised, and the leader is locked. The entry is in no queue or
            // in this one, where it stays at most until `drop`.
            unsafe {
                if helpers::qemufile_list_empty(&raw const (*entry).entry) {
                    helpers::qemufile_add_wait_queue_locked(leader, entry);
                }
            }
        });
        // As in `poll_wait()`: pairs with the barrier of the leader's `has_sleeper`.
        smp_mb();
    }

    /// Wakes those who wait in this queue for any of `events`.
    pub(crate) fn wake(&self, events: Events) {
        self.queue.wake(events);
    }
}

#[pinned_drop]
impl PinnedDrop for Follower {
    fn drop(self: Pin<&mut Self>) {
        self.leader.locked(|_leader| {
            // SAFETY: The entry is initialised, and in no queue or in the leader's, which is
            // locked. Afterwards nobody looks at it: a leader calls `wake_follower` under its
            // queue's lock.
            unsafe { helpers::qemufile_list_del_init(&raw mut (*self.entry.get()).entry) };
        });
    }
}

/// The `wait_queue_func_t` of a [`Follower`]: wakes its queue when the leader is woken.
///
/// Takes the entry out of the leader's queue if nobody waits in the follower's;
/// [`Follower::register`] puts it back.
///
/// # Safety
///
/// `entry` must be that of a live [`Follower`], in its leader's queue, which is locked.
unsafe extern "C" fn wake_follower(
    entry: *mut bindings::wait_queue_entry,
    mode: c_uint,
    _flags: c_int,
    key: *mut c_void,
) -> c_int {
    // SAFETY: By the caller's promise `private` is the follower's queue, which is initialised and
    // lives as long as the entry. The leader's lock, under which `entry` changes lists, is held.
    unsafe {
        let follower = (*entry).private.cast::<bindings::wait_queue_head>();
        // No barrier here: `PollQueue::wake` of the leader has had it.
        if helpers::qemufile_waitqueue_active(follower) {
            bindings::__wake_up(follower, mode, 1, key);
        } else {
            helpers::qemufile_list_del_init(&raw mut (*entry).entry);
        }
    }
    0
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
