// SPDX-License-Identifier: GPL-2.0

//! Which errors stay: the one list, for typed calls and for plain ones.

use kernel::prelude::*;

/// The call can be made again as it is.
const AGAIN: [Error; 3] = [EAGAIN, EINTR, ERESTARTSYS];

/// The call was wrong from the start, so no bytes are missing that were to be there.
const WRONG: [Error; 4] = [EPERM, EINVAL, ENXIO, ENOBUFS];

/// Whether `error`, which has ended a call after it moved `done` bytes, is latched: it has cost bytes
/// that the caller meant to be there.
///
/// A fault at the first byte is a wrong address, and costs nothing.
pub fn is_latched(error: Error, done: usize) -> bool {
    !AGAIN.contains(&error) && !WRONG.contains(&error) && (error != EFAULT || done > 0)
}

#[kunit_tests(qemufile_qemu_file_latch)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_bytes_stays() {
        assert!([EIO, ENOMEM, ENOSPC, EFBIG]
            .iter()
            .all(|error| is_latched(*error, 0)));
        assert!(is_latched(EFAULT, 1));
        assert!(!is_latched(EFAULT, 0));
        assert!(!AGAIN.iter().any(|error| is_latched(*error, 1)));
        assert!(!WRONG.iter().any(|error| is_latched(*error, 1)));
    }
}
