// SPDX-License-Identifier: GPL-2.0

//! How much may be put in one go.
//!
//! The limit stops nobody: whoever puts asks, and waits with more until the next reset. QEMU resets
//! ten times a second, with a tenth of the bandwidth as limit.

use super::{
    Ops,
    QemuFile, //
};
use kernel::prelude::*;

/// Bytes put since the last reset, and how many there should be at the most.
#[derive(Clone, Copy)]
pub(super) struct RateLimit {
    /// `bytes_xfer`
    used: u64,
    /// `xfer_limit`; 0 for none.
    limit: u64,
}

impl RateLimit {
    pub(super) const fn new() -> Self {
        Self { used: 0, limit: 0 }
    }

    pub(super) fn count(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
    }
}

impl<O: Ops> QemuFile<'_, O> {
    /// Whether nothing more should be put before the next reset: the limit is passed, or an error
    /// is latched.
    ///
    /// The twin of `qemu_file_rate_limit`.
    pub fn rate_limit(&self) -> bool {
        let RateLimit { used, limit } = self.rate;
        self.get_error().is_err() || (limit > 0 && used > limit)
    }

    /// The limit in bytes; 0 is none.
    ///
    /// The twin of `qemu_file_get_rate_limit`.
    pub fn get_rate_limit(&self) -> u64 {
        self.rate.limit
    }

    /// Sets the limit, in bytes until the next reset; 0 is none.
    ///
    /// The twin of `qemu_file_set_rate_limit`.
    pub fn set_rate_limit(&mut self, limit: u64) {
        self.rate.limit = limit;
    }

    /// Begins to count anew.
    ///
    /// The twin of `qemu_file_reset_rate_limit`.
    pub fn reset_rate_limit(&mut self) {
        self.rate.used = 0;
    }

    /// The bytes put since the last reset: `bytes_xfer`, which QEMU has no function for.
    pub fn bytes_xfer(&self) -> u64 {
        self.rate.used
    }

    /// Counts bytes that were put by other ways.
    ///
    /// The twin of `qemu_file_acct_rate_limit`, which came after `bytes_xfer` had got a new name.
    pub fn acct_rate_limit(&mut self, bytes: u64) {
        self.rate.count(bytes);
    }
}

#[kunit_tests(qemufile_qemu_file_rate)]
mod tests {
    use super::{
        super::buf::bufopen,
        *, //
    };
    use crate::sized_buffer::SizedBuffer;

    #[test]
    fn the_limit_is_passed_by_more_bytes_only() -> Result {
        let mut file = bufopen(b"w", SizedBuffer::new())?;
        file.put_be64(1)?;
        assert!(!file.rate_limit());
        file.set_rate_limit(10);
        assert_eq!((file.get_rate_limit(), file.bytes_xfer()), (10, 8));
        file.put_be16(2)?;
        assert!(!file.rate_limit());
        file.put_byte(3)?;
        assert!(file.rate_limit());
        file.reset_rate_limit();
        assert!(!file.rate_limit());
        file.acct_rate_limit(u64::MAX);
        file.acct_rate_limit(1);
        assert_eq!(file.bytes_xfer(), u64::MAX);
        assert!(file.rate_limit());
        Ok(())
    }

    #[test]
    fn an_error_is_as_good_as_the_limit() -> Result {
        let mut file = bufopen(b"w", SizedBuffer::new())?;
        file.set_error(EIO);
        assert!(file.rate_limit());
        Ok(())
    }
}
