// SPDX-License-Identifier: GPL-2.0

//! Calls that make a new descriptor. They say which file; `file/` makes it.

use super::Argument;
use crate::{
    handle::Handle,
    stream::{
        Access,
        Stream, //
    },
    sys::abi::{
        qemufile_open,
        QEMUFILE_MODE_READ,
        QEMUFILE_MODE_WRITE,
        QEMUFILE_OPEN_APPEND,
        QEMUFILE_OPEN_NONBLOCK, //
    },
};
use kernel::{
    fs::file::flags::{
        O_APPEND,
        O_NONBLOCK, //
    },
    prelude::*,
    sync::Arc, //
};

/// The file that a call requests.
pub(crate) struct Opening {
    /// The stream of the new handle.
    pub(crate) stream: Arc<Stream>,
    pub(crate) access: Access,
    /// Flags of `open(2)`, without the access mode.
    pub(crate) flags: u32,
}

/// The access of a new handle, and its `open(2)` flags.
///
/// `EINVAL` for an unknown mode or flag, `EACCES` if the request exceeds the access of `handle`.
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

/// `QEMUFILE_IOC_BUFOPEN`: `qemu_bufopen(mode, qemu_buf_get(f))`.
pub(super) fn bufopen(handle: &Handle, arg: &Argument) -> Result<Opening> {
    let (access, flags) = wanted(handle, arg)?;
    Ok(Opening {
        stream: handle.stream().clone(),
        access,
        flags,
    })
}

/// `QEMUFILE_IOC_CLONE`: `qsb_clone`, and a handle on the result. `EPERM` if the handle only reads
/// and the stream is `QEMUFILE_STREAM_NOSHARE`.
pub(super) fn clone(handle: &Handle, arg: &Argument) -> Result<Opening> {
    let (access, flags) = wanted(handle, arg)?;
    Ok(Opening {
        stream: handle.stream().try_clone(handle.access())?,
        access,
        flags,
    })
}
