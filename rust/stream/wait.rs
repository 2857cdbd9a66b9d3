// SPDX-License-Identifier: GPL-2.0

//! Tasks that wait for a stream to change.

use super::locks::View;
use crate::sys::compat::smp_mb;
use kernel::{
    new_condvar,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        CondVar,
        CondVarTimeoutResult, //
    },
    time::Jiffies, //
};

/// A task that waits, or is about to: see [`Waiters::enter`].
pub(super) struct Waiting<'a>(&'a Waiters);

impl Waiting<'_> {
    /// Releases the read side and sleeps until woken. Returns whether a signal is pending.
    pub(super) fn wait(&self, view: &mut View<'_>) -> bool {
        view.wait(&self.0.changed)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.asleep.fetch_sub(1, Relaxed);
    }
}

/// A [`CondVar`] that is cheap to notify while no task waits.
#[pin_data]
pub(super) struct Waiters {
    #[pin]
    changed: CondVar,
    /// The number of waiting tasks. It is incremented before the wait releases the read side. So a task
    /// that makes a change under the write side, and reads this counter after, misses no waiter: see
    /// [`locks`](super::locks).
    asleep: Atomic<i32>,
}

impl Waiters {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            changed <- new_condvar!("qemufile::changed"),
            asleep: Atomic::new(0),
        })
    }

    /// Counts a task as waiting, which looks once more before it calls [`Waiting::wait`].
    ///
    /// For what changes under the read side: either the task sees the change, or the changer sees the
    /// task ([`Waiters::has_any`]).
    pub(super) fn enter(&self) -> Waiting<'_> {
        self.asleep.fetch_add(1, Full);
        Waiting(self)
    }

    /// Whether a task waits, or is about to. Call it after a change under the read side.
    pub(super) fn has_any(&self) -> bool {
        // Pairs with the full barrier of `enter()`.
        smp_mb();
        self.asleep.load(Relaxed) != 0
    }

    /// As [`Waiting::wait`], for at most `time`, without a look before: what the task waits for changes
    /// under the write side only.
    pub(super) fn wait_for(&self, view: &mut View<'_>, time: Jiffies) -> bool {
        self.asleep.fetch_add(1, Relaxed);
        let result = view.wait_for(&self.changed, time);
        self.asleep.fetch_sub(1, Relaxed);
        matches!(result, CondVarTimeoutResult::Signal { .. })
    }

    /// Wakes all waiters. Call it without the lock, after a change under the write side.
    pub(super) fn notify(&self) {
        if self.asleep.load(Relaxed) != 0 {
            self.changed.notify_all();
        }
    }
}
