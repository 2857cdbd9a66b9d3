// SPDX-License-Identifier: GPL-2.0

//! When a copy to or from the caller's memory gives up.

use kernel::prelude::*;

/// How often a copy may get nothing of memory that was just faulted in.
const MAX_STALLS: u32 = 8;

/// The rule for a loop that copies with page faults disabled, and faults memory in between: a copy
/// and a fault-in that together make no progress end the call.
///
/// That fault-in says that memory is there does not mean that a copy gets some of it. The copy may
/// want more at once than is there: `clear_user()` of arm64 does nothing for fewer than 8 bytes
/// before a fault. So one byte is tried next, as `generic_perform_write()` shortens its chunks. Or
/// the memory cannot be accessed this way at all: a shadow stack, a wrong MTE tag.
pub(super) struct Stall(u32);

impl Stall {
    pub(super) const fn new() -> Self {
        Self(0)
    }

    /// How many of `most` bytes the next copy may try.
    pub(super) fn limit(&self, most: usize) -> usize {
        if self.0 == 0 {
            most
        } else {
            most.min(1)
        }
    }

    /// Notes that a copy moved `bytes`, and none of those that it tried after. `EFAULT` if that has
    /// been too often none at all.
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
