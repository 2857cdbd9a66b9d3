// SPDX-License-Identifier: GPL-2.0

//! The calls of `include/uapi/linux/qemufile.h`.
//!
//! Each call reads one struct from user space, checks it, calls the handle, and writes the struct
//! back where the header says so. Errors common to all:
//!
//! - `EINVAL`: a word that must be zero is not;
//! - `EFAULT`: an address that cannot be read or written;
//! - `ENOTTY`: an unknown number;
//! - `EBADF`: the handle is not open for the access that the call needs.

mod compare;
mod handle;
mod open;
mod stream;
mod typed;

pub(crate) use self::{
    compare::Diff,
    open::Opening, //
};
use crate::{
    handle::Handle,
    sys::abi, //
};
use kernel::{
    fs::File,
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// The struct of a call, in user memory.
struct Argument(UserPtr);

impl Argument {
    fn get<T: FromBytes>(&self) -> Result<T> {
        UserSlice::new(self.0, size_of::<T>()).reader().read()
    }

    fn put<T: AsBytes>(&self, value: &T) -> Result {
        UserSlice::new(self.0, size_of::<T>()).writer().write(value)
    }
}

/// `EINVAL` unless all `words` are zero.
fn must_be_zero(words: &[u32]) -> Result {
    if words.iter().all(|&word| word == 0) {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

/// `EBADF` unless the handle may write.
fn must_write(handle: &Handle) -> Result {
    if handle.access().write {
        Ok(())
    } else {
        Err(EBADF)
    }
}

/// `EBADF` unless the handle may read.
fn must_read(handle: &Handle) -> Result {
    if handle.access().read {
        Ok(())
    } else {
        Err(EBADF)
    }
}

/// What is left to do after a call.
pub(crate) enum Reply {
    /// Nothing: the call returns 0.
    Done,
    /// Make this file; the call returns its descriptor.
    Open(Opening),
    /// Find the handle of another descriptor, for [`Diff::finish`].
    Diff(Diff),
}

/// Executes `cmd`, except for making a file, or for finding another one.
pub(crate) fn dispatch(this: &Handle, file: &File, cmd: u32, arg: usize) -> Result<Reply> {
    let arg = Argument(UserPtr::from_addr(arg));
    match cmd {
        abi::QEMUFILE_IOC_BUFOPEN => return open::bufopen(this, &arg).map(Reply::Open),
        abi::QEMUFILE_IOC_CLONE => return open::clone(this, &arg).map(Reply::Open),
        abi::QEMUFILE_IOC_DIFF => return compare::diff(this, arg).map(Reply::Diff),
        abi::QEMUFILE_IOC_GET_USAGE => compare::get_usage(this, &arg),
        abi::QEMUFILE_IOC_GET_INFO => handle::get_info(this, file, &arg),
        abi::QEMUFILE_IOC_SET_LENGTH => stream::set_length(this, file, &arg),
        abi::QEMUFILE_IOC_GET_EXTENT => stream::get_extent(this, &arg),
        abi::QEMUFILE_IOC_PUNCH => stream::punch(this, &arg),
        abi::QEMUFILE_IOC_SET_LIMIT => stream::set_limit(this, &arg),
        abi::QEMUFILE_IOC_SET_FLAGS => stream::set_flags(this, &arg),
        abi::QEMUFILE_IOC_GET_ERROR => handle::get_error(this, &arg),
        abi::QEMUFILE_IOC_SET_ERROR => handle::set_error(this, &arg),
        abi::QEMUFILE_IOC_RATE_LIMIT => handle::rate_limit(this, &arg),
        abi::QEMUFILE_IOC_PUT => typed::put(this, file, &arg),
        abi::QEMUFILE_IOC_GET => typed::get(this, file, &arg),
        abi::QEMUFILE_IOC_PEEK => typed::peek(this, file, &arg),
        abi::QEMUFILE_IOC_SKIP => typed::skip(this, file, &arg),
        abi::QEMUFILE_IOC_RAM_CONTROL => typed::ram_control(this, &arg),
        abi::QEMUFILE_IOC_SAVE_PAGE => typed::save_page(this, &arg),
        _ => Err(ENOTTY),
    }?;
    Ok(Reply::Done)
}
