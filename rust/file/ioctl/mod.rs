// SPDX-License-Identifier: GPL-2.0

//! The calls of `include/uapi/linux/qemufile.h`.
//!
//! Each takes one struct from user space, checks it, does something with the handle, and gives the
//! struct back where the header says so. A word that must be zero and is not is `EINVAL`; an
//! address that cannot be read or written, `EFAULT`; a number that is none of ours, `ENOTTY`; a
//! call that needs to write, or to read, on a handle that was not opened for it, `EBADF`.

mod open;
mod state;
mod typed;

pub(crate) use self::open::Opening;
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

/// What a call leaves to be done.
pub(crate) enum Reply {
    /// Nothing: it is done, and returns 0.
    Done,
    /// To make a file; the call returns its descriptor.
    Open(Opening),
}

/// Does what `cmd` says, but for making a file.
pub(crate) fn dispatch(handle: &Handle, file: &File, cmd: u32, arg: usize) -> Result<Reply> {
    let arg = Argument(UserPtr::from_addr(arg));
    match cmd {
        abi::QEMUFILE_IOC_BUFOPEN => return open::bufopen(handle, &arg).map(Reply::Open),
        abi::QEMUFILE_IOC_CLONE => return open::clone(handle, &arg).map(Reply::Open),
        abi::QEMUFILE_IOC_GET_INFO => state::get_info(handle, file, &arg),
        abi::QEMUFILE_IOC_SET_LENGTH => state::set_length(handle, file, &arg),
        abi::QEMUFILE_IOC_GET_EXTENT => state::get_extent(handle, &arg),
        abi::QEMUFILE_IOC_PUNCH => state::punch(handle, &arg),
        abi::QEMUFILE_IOC_SET_LIMIT => state::set_limit(handle, &arg),
        abi::QEMUFILE_IOC_SET_FLAGS => state::set_flags(handle, &arg),
        abi::QEMUFILE_IOC_GET_ERROR => state::get_error(handle, &arg),
        abi::QEMUFILE_IOC_SET_ERROR => state::set_error(handle, &arg),
        abi::QEMUFILE_IOC_RATE_LIMIT => state::rate_limit(handle, &arg),
        abi::QEMUFILE_IOC_PUT => typed::put(handle, file, &arg),
        abi::QEMUFILE_IOC_GET => typed::get(handle, file, &arg),
        abi::QEMUFILE_IOC_PEEK => typed::peek(handle, file, &arg),
        abi::QEMUFILE_IOC_SKIP => typed::skip(handle, file, &arg),
        abi::QEMUFILE_IOC_RAM_CONTROL => typed::ram_control(handle, file, &arg),
        abi::QEMUFILE_IOC_SAVE_PAGE => typed::save_page(handle, file, &arg),
        _ => Err(ENOTTY),
    }?;
    Ok(Reply::Done)
}
