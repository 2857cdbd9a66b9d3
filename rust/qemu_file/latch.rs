// SPDX-License-Identifier: GPL-2.0

//! The latched error of a file, and the list of errors that are latched.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
};

#[cfg(linux_7_2)]
use crate::sys::compat::ENOBUFS;

/// The call can be repeated unchanged.
const AGAIN: [Error; 3] = [EAGAIN, EINTR, ERESTARTSYS];

/// The call was invalid. No bytes are lost.
const WRONG: [Error; 4] = [EPERM, EINVAL, ENXIO, ENOBUFS];

/// Whether `error` is latched, after a call that moved `done` bytes. An error is latched if it
/// loses bytes of the stream.
///
/// A fault at the first byte is a wrong address, and loses no bytes.
pub fn is_latched(error: Error, done: usize) -> bool {
    !AGAIN.contains(&error) && !WRONG.contains(&error) && (error != EFAULT || done > 0)
}

/// The first error of a file: `last_error` of a `QEMUFile`.
///
/// A single word holds the error and whether it was reported. So an error that is cleared as soon
/// as it is latched is never reported.
pub struct LastError {
    /// A negative error number; a positive one after [`Self::tell`] has reported it; or 0.
    errno: Atomic<i32>,
}

impl LastError {
    /// Makes one with no error.
    pub fn new() -> Self {
        Self {
            errno: Atomic::new(0),
        }
    }

    /// Latches `error` if none is latched. Returns whether it was the first.
    ///
    /// The twin of `qemu_file_set_error`.
    pub fn set(&self, error: Error) -> bool {
        self.errno.cmpxchg(0, error.to_errno(), Full).is_ok()
    }

    /// Clears the latched error.
    pub fn clear(&self) {
        self.errno.store(0, Relaxed);
    }

    /// The latched error, or [`Ok`].
    ///
    /// The twin of `qemu_file_get_error`.
    pub fn get(&self) -> Result {
        to_result(self.errno.load(Relaxed))
    }

    /// The latched error on the first call; after that [`Ok`].
    pub fn tell(&self) -> Result {
        let errno = self.errno.load(Relaxed);
        // A task that changes the word first has reported or cleared the error.
        if errno < 0 && self.errno.cmpxchg(errno, -errno, Full).is_ok() {
            return to_result(errno);
        }
        Ok(())
    }
}

fn to_result(errno: i32) -> Result {
    match errno {
        0 => Ok(()),
        errno => Err(Error::from_errno(-errno.abs())),
    }
}

#[cfg(CONFIG_KUNIT = "y")]
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

    #[test]
    fn the_first_error_stays_until_it_is_cleared() {
        let last_error = LastError::new();
        assert_eq!(last_error.get(), Ok(()));
        assert!(last_error.set(EIO));
        assert!(!last_error.set(ENOMEM));
        assert_eq!(last_error.get(), Err(EIO));
        last_error.clear();
        assert_eq!(last_error.get(), Ok(()));
        assert!(last_error.set(ENOMEM));
    }

    #[test]
    fn an_error_is_told_once() {
        let last_error = LastError::new();
        assert_eq!(last_error.tell(), Ok(()));
        last_error.set(EIO);
        assert_eq!(last_error.tell(), Err(EIO));
        assert_eq!(last_error.tell(), Ok(()));
        assert_eq!(last_error.get(), Err(EIO));
        assert!(!last_error.set(ENOMEM));
    }
}
