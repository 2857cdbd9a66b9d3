// SPDX-License-Identifier: GPL-2.0

//! The rate limit of a file: bytes until the next reset.
//!
//! The limit stops no writer. A writer asks whether it is exceeded, and waits for the next reset if
//! so. QEMU resets ten times a second, with a tenth of the bandwidth as limit.

#[cfg(CONFIG_KUNIT = "y")]
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Bytes written since the last reset, and their limit.
pub struct RateLimit {
    /// `bytes_xfer`
    used: Atomic<u64>,
    /// `xfer_limit`; 0 for none.
    limit: Atomic<u64>,
}

impl RateLimit {
    /// Makes one with no limit.
    pub fn new() -> Self {
        Self {
            used: Atomic::new(0),
            limit: Atomic::new(0),
        }
    }

    /// Counts bytes.
    ///
    /// The twin of `qemu_file_acct_rate_limit`. Stops at the largest number.
    pub fn account(&self, bytes: u64) {
        let used = self.used.fetch_add(bytes, Relaxed);
        if used.checked_add(bytes).is_none() {
            self.used.store(u64::MAX, Relaxed);
        }
    }

    /// Bytes counted since the last reset: `bytes_xfer`. QEMU has no function for it.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Whether the count exceeds the limit, with `more` bytes included.
    ///
    /// The twin of `qemu_file_rate_limit`, which also looks at the latched error.
    pub fn is_exceeded(&self, more: u64) -> bool {
        let limit = self.limit();
        limit > 0 && self.used().saturating_add(more) > limit
    }

    /// The limit in bytes; 0 is none.
    ///
    /// The twin of `qemu_file_get_rate_limit`.
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Sets the limit in bytes; 0 is none.
    ///
    /// The twin of `qemu_file_set_rate_limit`.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    /// Sets the count to 0.
    ///
    /// The twin of `qemu_file_reset_rate_limit`.
    pub fn reset(&self) {
        self.used.store(0, Relaxed);
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(qemufile_qemu_file_rate)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_passed_by_more_bytes_only() {
        let rate = RateLimit::new();
        rate.account(8);
        assert!(!rate.is_exceeded(0));
        rate.set_limit(10);
        assert_eq!((rate.limit(), rate.used()), (10, 8));
        assert!(!rate.is_exceeded(2));
        assert!(rate.is_exceeded(3));
        rate.account(2);
        assert!(!rate.is_exceeded(0));
        rate.account(1);
        assert!(rate.is_exceeded(0));
        rate.reset();
        assert!(!rate.is_exceeded(0));
    }

    #[test]
    fn the_count_stops_at_the_largest_number() {
        let rate = RateLimit::new();
        rate.set_limit(1);
        rate.account(u64::MAX);
        rate.account(2);
        assert_eq!(rate.used(), u64::MAX);
        assert!(rate.is_exceeded(1));
    }
}
