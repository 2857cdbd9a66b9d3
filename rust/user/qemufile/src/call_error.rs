// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Errors of the ioctls.

use crate::Ioctl;
use rustix::io::Errno;
use std::io;

/// Why an ioctl failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// `ENOTTY`: the descriptor is not one of a stream, or the module is too old for the call.
    #[error("this is not a stream, or the module is too old")]
    NotAStream,
    /// `EBADF`: the handle is not open for reading, or not for writing.
    #[error("the handle is not open for this")]
    NotOpenForThis,
    /// `EACCES`: the request exceeds the access of the handle.
    #[error("this is more access than the handle has")]
    TooMuchAccess,
    /// `EPERM`: a property of the stream forbids it, such as a seal.
    #[error("a property of the stream forbids it, such as a seal")]
    Forbidden,
    /// `ENOSPC`: the limit of the stream, of its user, or of its mount.
    #[error("the stream, its user or its mount is at a limit")]
    NoSpace,
    /// `ENOMEM`: there is no memory, or none in the memory cgroup.
    #[error("there is no memory")]
    NoMemory,
    /// `EFBIG`: after the largest offset, or after `RLIMIT_FSIZE`.
    #[error("the range ends after the largest offset")]
    TooLarge,
    /// `ENXIO`: the bytes there were drained.
    #[error("the bytes there were drained")]
    Drained,
    /// `ENOBUFS`: the writer cannot get there before this reader moves on.
    #[error("the place is out of reach before this handle moves on")]
    OutOfReach,
    /// `EAGAIN`: the call would wait.
    #[error("the call would wait")]
    WouldBlock,
    /// `EINTR`: a signal came.
    #[error("a signal came")]
    Interrupted,
    /// `EIO`: the stream ends inside a value.
    #[error("the stream ends before the value")]
    EndOfStream,
    /// `EBUSY`: for example a mapping is in the way.
    #[error("the stream is in use")]
    Busy,
    /// `EINVAL` or `E2BIG`: an argument is wrong.
    #[error("an argument is wrong")]
    Invalid,
    /// Another error number.
    #[error("error {0}")]
    Other(i32),
}

/// An ioctl that failed: the call and its error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {}", self.reason())]
pub struct CallError {
    call: Ioctl,
    errno: Errno,
}

impl CallError {
    pub(crate) fn new(call: Ioctl, errno: Errno) -> Self {
        Self { call, errno }
    }

    /// The call.
    pub fn call(&self) -> Ioctl {
        self.call
    }

    /// The error number, a positive one.
    pub fn raw_os_error(&self) -> i32 {
        self.errno.raw_os_error()
    }

    /// What the error number means for these calls.
    pub fn reason(&self) -> Reason {
        match self.errno {
            Errno::NOTTY => Reason::NotAStream,
            Errno::BADF => Reason::NotOpenForThis,
            Errno::ACCESS => Reason::TooMuchAccess,
            Errno::PERM => Reason::Forbidden,
            Errno::NOSPC => Reason::NoSpace,
            Errno::NOMEM => Reason::NoMemory,
            Errno::FBIG => Reason::TooLarge,
            Errno::NXIO => Reason::Drained,
            Errno::NOBUFS => Reason::OutOfReach,
            Errno::AGAIN => Reason::WouldBlock,
            Errno::INTR => Reason::Interrupted,
            Errno::IO => Reason::EndOfStream,
            Errno::BUSY => Reason::Busy,
            Errno::INVAL | Errno::TOOBIG => Reason::Invalid,
            errno => Reason::Other(errno.raw_os_error()),
        }
    }
}

impl From<CallError> for io::Error {
    fn from(error: CallError) -> Self {
        error.errno.into()
    }
}

/// A typed call that failed, and what it had done until then. Complete records remain complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source}, after {records} records and {bytes} bytes of the next")]
pub struct TypedError {
    /// The number of complete records.
    pub records: usize,
    /// The number of bytes moved of the record after them, if it is one of bytes.
    pub bytes: u64,
    /// The call, and why it failed.
    pub source: CallError,
}

impl From<TypedError> for io::Error {
    fn from(error: TypedError) -> Self {
        error.source.into()
    }
}
