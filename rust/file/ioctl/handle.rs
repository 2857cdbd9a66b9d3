// SPDX-License-Identifier: GPL-2.0

//! Calls on a handle.

use super::{
    must_be_zero,
    Argument, //
};
use crate::{
    handle::{
        Handle,
        RateSetting, //
    },
    sys::{
        abi::*,
        file::FileExt, //
    },
};
use kernel::{
    fs::File,
    prelude::*, //
};

/// `QEMUFILE_IOC_GET_INFO`
pub(super) fn get_info(handle: &Handle, file: &File, arg: &Argument) -> Result {
    let info = handle.stream().info();
    let access = handle.access();
    let rate = handle.rate();
    let word = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let bit = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
    arg.put(&qemufile_info {
        length: info.len,
        allocated: info.allocated,
        chunks: info.chunks,
        drained: info.drained,
        limit: info.limit.unwrap_or(0),
        position: u64::try_from(file.position())?,
        readers: word(info.readers),
        writers: word(info.writers),
        mode: bit(access.read, QEMUFILE_MODE_READ) | bit(access.write, QEMUFILE_MODE_WRITE),
        stream_flags: info.properties.into(),
        xfer: rate.xfer,
        rate_limit: rate.limit.bytes,
        error: errno(handle.error()),
        ..Default::default()
    })
}

/// The error number of a result, negative, or 0.
fn errno(result: Result) -> i32 {
    result.map_or_else(|err| err.to_errno(), |()| 0)
}

/// `QEMUFILE_IOC_GET_ERROR`: `qemu_file_get_error`
pub(super) fn get_error(handle: &Handle, arg: &Argument) -> Result {
    arg.put(&qemufile_error {
        error: errno(handle.error()),
        flags: 0,
    })
}

/// `QEMUFILE_IOC_SET_ERROR`: `qemu_file_set_error`; 0 clears the error. `EINVAL` for a number that
/// no system call returns to user space.
pub(super) fn set_error(handle: &Handle, arg: &Argument) -> Result {
    // `ERESTARTSYS` and above, in `include/linux/errno.h`, are internal to the kernel.
    const MIN: i32 = 1 - kernel::bindings::ERESTARTSYS as i32;
    let qemufile_error { error, flags } = arg.get()?;
    must_be_zero(&[flags])?;
    match error {
        0 => handle.clear_error(),
        MIN..=-1 => handle.latch(Error::from_errno(error)),
        _ => return Err(EINVAL),
    }
    Ok(())
}

/// `QEMUFILE_IOC_RATE_LIMIT`: `qemu_file_set_rate_limit`, `qemu_file_get_rate_limit` and the like.
pub(super) fn rate_limit(handle: &Handle, arg: &Argument) -> Result {
    let mut rate: qemufile_rate = arg.get()?;
    must_be_zero(&[rate.reserved])?;
    let known = match rate.op {
        QEMUFILE_RATE_SET => QEMUFILE_RATE_KEEP,
        _ => 0,
    };
    must_be_zero(&[rate.flags & !known])?;
    match rate.op {
        QEMUFILE_RATE_GET => (),
        QEMUFILE_RATE_SET => handle.set_rate(RateSetting {
            bytes: rate.limit,
            kept: rate.flags & QEMUFILE_RATE_KEEP != 0,
        }),
        QEMUFILE_RATE_RESET => handle.reset_rate(),
        _ => return Err(EINVAL),
    }
    let now = handle.rate();
    rate.limit = now.limit.bytes;
    rate.xfer = now.xfer;
    rate.flags = if now.limit.kept {
        QEMUFILE_RATE_KEEP
    } else {
        0
    };
    rate.exceeded = now.exceeded.into();
    arg.put(&rate)
}
