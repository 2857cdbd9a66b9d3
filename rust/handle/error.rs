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
///
/// One word, so that an error that is cleared just when it is latched is not told all the same.
pub(super) struct LatchedError {
    /// A negative error number, a positive one if `fsync` has told it, or 0.
    errno: Atomic<i32>,
}

impl LatchedError {
    pub(super) fn new() -> Self {
        Self {
            errno: Atomic::new(0),
        }
    }

    /// Latches `err` if none is latched, and says whether it was the first.
    pub(super) fn set(&self, err: Error) -> bool {
        self.errno.cmpxchg(0, err.to_errno(), Full).is_ok()
    }

    /// Forgets the latched error.
    pub(super) fn clear(&self) {
        self.errno.store(0, Relaxed);
    }

    /// The latched error.
    pub(super) fn get(&self) -> Result {
        to_result(-self.errno.load(Relaxed).abs())
    }

    /// The latched error, the first time; after that nothing.
    pub(super) fn tell(&self) -> Result {
        let errno = self.errno.load(Relaxed);
        // Whoever changes it first has told it, or has cleared it.
        if errno < 0 && self.errno.cmpxchg(errno, -errno, Full).is_ok() {
            return to_result(errno);
        }
        Ok(())
    }
}
