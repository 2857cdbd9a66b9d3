// SPDX-License-Identifier: GPL-2.0

//! Errors.

use std::io;

/// An error number: QEMU latches one, and so does a [`QemuFile`](crate::QemuFile).
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", io::Error::from_raw_os_error(self.raw_os_error()))]
pub struct Error(pub(crate) kernel::error::Error);

/// A result with an [`Error`].
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

impl Error {
    /// The stream ends inside a value, or the backend failed without a number.
    pub const IO: Self = Self(kernel::error::code::EIO);
    /// The file is not open for this.
    pub const BAD_ACCESS: Self = Self(kernel::error::code::EBADF);
    /// An argument is wrong.
    pub const INVALID: Self = Self(kernel::error::code::EINVAL);
    /// The call would wait. It can be repeated.
    pub const AGAIN: Self = Self(kernel::error::code::EAGAIN);

    /// The error of an `errno`: [`Error::INVALID`] if it is none.
    pub fn from_raw_os_error(errno: i32) -> Self {
        Self(kernel::error::Error::from_errno(errno.saturating_neg()))
    }

    /// Its `errno`, a positive number.
    pub fn raw_os_error(self) -> i32 {
        -self.0.to_errno()
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<kernel::error::Error> for Error {
    fn from(error: kernel::error::Error) -> Self {
        Self(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match (error.raw_os_error(), error.kind()) {
            (Some(errno), _) => Self::from_raw_os_error(errno),
            (None, io::ErrorKind::WouldBlock) => Self::AGAIN,
            (None, io::ErrorKind::InvalidInput) => Self::INVALID,
            (None, io::ErrorKind::BrokenPipe) => Self(kernel::error::code::EPIPE),
            _ => Self::IO,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::from_raw_os_error(error.raw_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_an_errno() {
        let error = Error::from(io::Error::from_raw_os_error(28));
        assert_eq!(error.raw_os_error(), 28);
        assert_eq!(error.to_string(), io::Error::from(error).to_string());
        assert_eq!(format!("{error:?}"), "ENOSPC");
        assert_eq!(Error::from_raw_os_error(0), Error::INVALID);
        assert_eq!(Error::from(io::Error::other("no number")), Error::IO);
        assert_eq!(
            Error::from(io::Error::from(io::ErrorKind::WouldBlock)),
            Error::AGAIN
        );
        assert_eq!(
            Error::from(io::Error::from(io::ErrorKind::InvalidInput)),
            Error::INVALID
        );
        assert_eq!(
            Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).raw_os_error(),
            32
        );
    }
}
