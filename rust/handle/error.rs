// SPDX-License-Identifier: GPL-2.0

//! The error that stays.

use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
};

/// The first error that cost the stream bytes: `last_error` of a `QEMUFile`.
pub(super) struct LatchedError {
    /// A negative error number, or 0.
    errno: Atomic<i32>,
    /// What `fsync` has not told yet.
    untold: Atomic<i32>,
}

impl LatchedError {
    pub(super) fn new() -> Self {
        Self {
            errno: Atomic::new(0),
            untold: Atomic::new(0),
        }
    }

    /// Latches `err` if none is latched, and says whether it was the first.
    pub(super) fn set(&self, err: Error) -> bool {
        let first = self.errno.cmpxchg(0, err.to_errno(), Full).is_ok();
        if first {
            self.untold.store(err.to_errno(), Relaxed);
        }
        first
    }

    /// Forgets the latched error.
    pub(super) fn clear(&self) {
        self.errno.store(0, Relaxed);
        self.untold.store(0, Relaxed);
    }

    /// The latched error.
    pub(super) fn get(&self) -> Result {
        to_result(self.errno.load(Relaxed))
    }

    /// The latched error, the first time; after that nothing.
    pub(super) fn tell(&self) -> Result {
        to_result(self.untold.xchg(0, Full))
    }
}
