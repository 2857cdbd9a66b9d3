// SPDX-License-Identifier: GPL-2.0

//! Tasks that wait for a stream to change.

use super::locks::View;
use kernel::{
    new_condvar,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        CondVar,
        CondVarTimeoutResult, //
    },
    time::Jiffies, //
};

/// A [`CondVar`] that is cheap to notify while no task waits.
#[pin_data]
pub(super) struct Waiters {
    #[pin]
    changed: CondVar,
    /// The number of waiting tasks. It is incremented under the read side, and the wait releases
    /// the read side. So a task that makes a change under the write side, and reads this counter
    /// after, misses no waiter: see [`locks`](super::locks).
    asleep: Atomic<i32>,
}

impl Waiters {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            changed <- new_condvar!("qemufile::changed"),
            asleep: Atomic::new(0),
        })
    }

    /// Releases the read side and sleeps until woken. Returns whether a signal is pending.
    pub(super) fn wait(&self, view: &mut View<'_>) -> bool {
        self.asleep.fetch_add(1, Relaxed);
        let interrupted = view.wait(&self.changed);
        self.asleep.fetch_sub(1, Relaxed);
        interrupted
    }

    /// As [`Waiters::wait`], for at most `time`.
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
