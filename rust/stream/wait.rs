// SPDX-License-Identifier: GPL-2.0

//! Tasks that wait for a stream to change.

use super::locks::Locked;
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

/// A [`CondVar`] that costs next to nothing while nobody waits.
#[pin_data]
pub(super) struct Waiters {
    #[pin]
    changed: CondVar,
    /// How many wait. It grows under the lock that is given up to wait, so whoever changes
    /// something under that lock, and looks here after, misses nobody.
    asleep: Atomic<i32>,
}

impl Waiters {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            changed <- new_condvar!("qemufile::changed"),
            asleep: Atomic::new(0),
        })
    }

    /// Gives up the lock until woken. Returns whether a signal is pending.
    pub(super) fn wait(&self, inner: &mut Locked<'_>) -> bool {
        self.asleep.fetch_add(1, Relaxed);
        let interrupted = self.changed.wait_interruptible(inner);
        self.asleep.fetch_sub(1, Relaxed);
        interrupted
    }

    /// As [`Waiters::wait`], for some time at the most.
    pub(super) fn wait_for(&self, inner: &mut Locked<'_>, time: Jiffies) -> bool {
        self.asleep.fetch_add(1, Relaxed);
        let result = self.changed.wait_interruptible_timeout(inner, time);
        self.asleep.fetch_sub(1, Relaxed);
        matches!(result, CondVarTimeoutResult::Signal { .. })
    }

    /// Wakes all. To be called without the lock, after what they wait for was changed under it.
    pub(super) fn notify(&self) {
        if self.asleep.load(Relaxed) != 0 {
            self.changed.notify_all();
        }
    }
}
