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
    /// How many wait. It grows under the read side, which is given up to wait. So a task that
    /// changes something under the write side, and looks here after, misses nobody: see
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

    /// Gives up the read side until woken. Returns whether a signal is pending.
    pub(super) fn wait(&self, view: &mut View<'_>) -> bool {
        self.asleep.fetch_add(1, Relaxed);
        let interrupted = view.wait(&self.changed);
        self.asleep.fetch_sub(1, Relaxed);
        interrupted
    }

    /// As [`Waiters::wait`], for some time at the most.
    pub(super) fn wait_for(&self, view: &mut View<'_>, time: Jiffies) -> bool {
        self.asleep.fetch_add(1, Relaxed);
        let result = view.wait_for(&self.changed, time);
        self.asleep.fetch_sub(1, Relaxed);
        matches!(result, CondVarTimeoutResult::Signal { .. })
    }

    /// Wakes all. To be called without the lock, after what they wait for was changed under the
    /// write side.
    pub(super) fn notify(&self) {
        if self.asleep.load(Relaxed) != 0 {
            self.changed.notify_all();
        }
    }
}
