// SPDX-License-Identifier: GPL-2.0

//! Detection of stalled copies to or from the caller's memory.

use kernel::prelude::*;

/// The largest number of consecutive copies that may move nothing after a fault-in.
const MAX_STALLS: u32 = 8;

/// The rule for a loop that copies with page faults disabled and faults memory in between copies.
/// The call ends if copy and fault-in together make no progress.
///
/// A successful fault-in does not guarantee that the next copy makes progress. The copy may need
/// more bytes at once than are mapped: `clear_user()` of arm64 does nothing for fewer than 8 bytes
/// before a fault. So the next copy tries one byte, as `generic_perform_write()` shortens its
/// chunks. Or the memory cannot be accessed this way at all: a shadow stack, a wrong MTE tag.
pub(super) struct Stall(u32);

impl Stall {
    pub(super) const fn new() -> Self {
        Self(0)
    }

    /// The number of the `most` bytes that the next copy may try.
    pub(super) fn limit(&self, most: usize) -> usize {
        if self.0 == 0 {
            most
        } else {
            most.min(1)
        }
    }

    /// Records that a copy moved `bytes` and then stopped. `EFAULT` after more than [`MAX_STALLS`]
    /// consecutive copies of 0 bytes.
    pub(super) fn note(&mut self, bytes: usize) -> Result {
        self.0 = if bytes > 0 { 0 } else { self.0 + 1 };
        if self.0 > MAX_STALLS {
            Err(EFAULT)
        } else {
            Ok(())
        }
    }
}

#[kunit_tests(qemufile_stream_stall)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_gets_nothing_ends() {
        let mut stall = Stall::new();
        let tries = (0..1000).take_while(|_| stall.note(0).is_ok()).count();
        assert_eq!(tries, MAX_STALLS as usize);
    }

    #[test]
    fn a_copy_that_gets_nothing_tries_one_byte() -> Result {
        let mut stall = Stall::new();
        assert_eq!(stall.limit(100), 100);
        stall.note(0)?;
        assert_eq!((stall.limit(100), stall.limit(0)), (1, 0));
        stall.note(1)?;
        assert_eq!(stall.limit(100), 100);
        Ok(())
    }

    #[test]
    fn a_copy_that_gets_something_goes_on() -> Result {
        let mut stall = Stall::new();
        for bytes in [0, 1].iter().cycle().take(1000) {
            stall.note(*bytes)?;
        }
        Ok(())
    }
}
