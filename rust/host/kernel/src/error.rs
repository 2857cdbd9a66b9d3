// SPDX-License-Identifier: GPL-2.0

//! Stand-in for `kernel::error`.

use crate::alloc::AllocError;

/// Generic integer kernel error: a negative `errno`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(i32);

impl Error {
    /// Creates an error from a negative `errno`; [`code::EINVAL`] if it is none.
    pub fn from_errno(errno: i32) -> Self {
        match errno {
            -4095..=-1 => Self(errno),
            _ => code::EINVAL,
        }
    }

    /// Returns the negative `errno`.
    pub fn to_errno(self) -> i32 {
        self.0
    }
}

/// A [`Result`](core::result::Result) with an [`Error`].
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        code::ENOMEM
    }
}

impl From<core::num::TryFromIntError> for Error {
    fn from(_: core::num::TryFromIntError) -> Self {
        code::EINVAL
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal,)*) => {
        pub mod code {
            //! Error codes, by the numbers of x86.

            use super::Error;

            $(pub const $name: Error = Error(-$number);)*
        }

        impl core::fmt::Debug for Error {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match *self {
                    $(code::$name => f.write_str(stringify!($name)),)*
                    Error(errno) => write!(f, "Error({errno})"),
                }
            }
        }
    };
}

codes! {
    EPERM = 1,
    EINTR = 4,
    EIO = 5,
    ENXIO = 6,
    EBADF = 9,
    EAGAIN = 11,
    ENOMEM = 12,
    EFAULT = 14,
    EINVAL = 22,
    EFBIG = 27,
    ENOSPC = 28,
    ESPIPE = 29,
    EPIPE = 32,
    EOVERFLOW = 75,
    EOPNOTSUPP = 95,
    ENOBUFS = 105,
    ERESTARTSYS = 512,
    ENOTSUPP = 524,
}
