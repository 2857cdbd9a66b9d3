// SPDX-License-Identifier: GPL-2.0

//! The calls that make a new descriptor.

use super::Argument;
use crate::{
    handle::Handle,
    stream::{
        Access,
        Stream, //
    },
    stream_file::StreamFile,
    sys::abi::{
        qemufile_open,
        QEMUFILE_MODE_READ,
        QEMUFILE_MODE_WRITE,
        QEMUFILE_OPEN_APPEND,
        QEMUFILE_OPEN_NONBLOCK, //
    },
};
use kernel::{
    fs::file::{
        flags::{
            O_APPEND,
            O_CLOEXEC,
            O_NONBLOCK, //
        },
        FileDescriptorReservation, //
    },
    prelude::*,
    sync::Arc, //
};

/// What a new handle shall be open for, and its `open(2)` flags.
///
/// `EINVAL` for a mode or flags that are not in the header, `EACCES` for more access than the
/// handle has that is asked.
fn wanted(handle: &Handle, arg: &Argument) -> Result<(Access, u32)> {
    let qemufile_open { mode, flags } = arg.get()?;
    if mode == 0
        || mode & !(QEMUFILE_MODE_READ | QEMUFILE_MODE_WRITE) != 0
        || flags & !(QEMUFILE_OPEN_NONBLOCK | QEMUFILE_OPEN_APPEND) != 0
    {
        return Err(EINVAL);
    }
    let access = Access {
        read: mode & QEMUFILE_MODE_READ != 0,
        write: mode & QEMUFILE_MODE_WRITE != 0,
    };
    if !access.is_within(handle.access()) {
        return Err(EACCES);
    }
    let mut open_flags = 0;
    if flags & QEMUFILE_OPEN_NONBLOCK != 0 {
        open_flags |= O_NONBLOCK;
    }
    if flags & QEMUFILE_OPEN_APPEND != 0 {
        open_flags |= O_APPEND;
    }
    Ok((access, open_flags))
}

fn install(stream: Arc<Stream>, access: Access, flags: u32) -> Result<u32> {
    let descriptor = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
    let number = descriptor.reserved_fd();
    descriptor.fd_install(StreamFile::open(stream, access, flags)?);
    Ok(number)
}

/// `QEMUFILE_IOC_BUFOPEN`: `qemu_bufopen(mode, qemu_buf_get(f))`.
pub(super) fn bufopen(handle: &Handle, arg: &Argument) -> Result<u32> {
    let (access, flags) = wanted(handle, arg)?;
    install(handle.stream().clone(), access, flags)
}

/// `QEMUFILE_IOC_CLONE`: `qsb_clone`, and a handle on the result.
pub(super) fn clone(handle: &Handle, arg: &Argument) -> Result<u32> {
    let (access, flags) = wanted(handle, arg)?;
    install(handle.stream().try_clone()?, access, flags)
}
