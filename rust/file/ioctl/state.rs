// SPDX-License-Identifier: GPL-2.0

//! The calls that ask for or change what is true of a stream or a handle.

use super::{
    must_be_zero,
    must_write,
    Argument, //
};
use crate::{
    handle::{
        Handle,
        Limit, //
    },
    sized_buffer::MAX_LEN,
    stream::Properties,
    sys::{
        abi::*,
        file::FileExt, //
    },
};
use core::ops::Range;
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
        stream_flags: bit(info.properties.append_only, QEMUFILE_STREAM_APPEND)
            | bit(info.properties.sealed, QEMUFILE_STREAM_SEALED)
            | bit(info.properties.drain, QEMUFILE_STREAM_DRAIN)
            | bit(info.properties.no_share, QEMUFILE_STREAM_NOSHARE),
        xfer: rate.xfer,
        rate_limit: rate.limit.bytes,
        error: errno(handle.error()),
        ..Default::default()
    })
}

/// `QEMUFILE_IOC_SET_LENGTH`: `qsb_set_length`. `EFBIG` past the largest offset or `RLIMIT_FSIZE`.
pub(super) fn set_length(handle: &Handle, file: &File, arg: &Argument) -> Result {
    let mut length: qemufile_length = arg.get()?;
    must_be_zero(&[length.flags, length.reserved])?;
    must_write(handle)?;
    if length.length > MAX_LEN {
        return Err(EFBIG);
    }
    let writer = handle.stream().lock_for_writing()?;
    if length.length > writer.len() {
        file.write_limit(i64::try_from(length.length - 1)?, 1)?;
    }
    length.length = writer.set_len(length.length)?;
    drop(writer);
    arg.put(&length)
}

/// `QEMUFILE_IOC_GET_EXTENT`: `qsb_get_iovec`
pub(super) fn get_extent(handle: &Handle, arg: &Argument) -> Result {
    let mut extent: qemufile_extent = arg.get()?;
    must_be_zero(&[extent.flags])?;
    let found = handle.stream().extent(extent.start);
    extent.length = found.len;
    extent.kind = if found.is_data {
        QEMUFILE_EXTENT_DATA
    } else {
        QEMUFILE_EXTENT_HOLE
    };
    arg.put(&extent)
}

/// `QEMUFILE_IOC_PUNCH`
pub(super) fn punch(handle: &Handle, arg: &Argument) -> Result {
    let range: qemufile_range = arg.get()?;
    must_be_zero(&[range.flags, range.reserved])?;
    must_write(handle)?;
    let range = bytes(range.start, range.length)?;
    handle.stream().lock_for_writing()?.punch(range)
}

/// The bytes of a range: `EINVAL` if there are none, `EFBIG` past the largest offset.
fn bytes(start: u64, len: u64) -> Result<Range<u64>> {
    if len == 0 {
        return Err(EINVAL);
    }
    let end = start.checked_add(len).filter(|&end| end <= MAX_LEN);
    Ok(start..end.ok_or(EFBIG)?)
}

/// `QEMUFILE_IOC_SET_LIMIT`
pub(super) fn set_limit(handle: &Handle, arg: &Argument) -> Result {
    let limit: qemufile_limit = arg.get()?;
    must_be_zero(&[limit.flags, limit.reserved])?;
    must_write(handle)?;
    handle
        .stream()
        .set_limit(Some(limit.limit).filter(|&limit| limit != 0));
    Ok(())
}

/// `QEMUFILE_IOC_SET_FLAGS`
pub(super) fn set_flags(handle: &Handle, arg: &Argument) -> Result {
    const KNOWN: u32 = QEMUFILE_STREAM_APPEND
        | QEMUFILE_STREAM_SEALED
        | QEMUFILE_STREAM_DRAIN
        | QEMUFILE_STREAM_NOSHARE;
    let qemufile_flags { set, flags } = arg.get()?;
    must_be_zero(&[flags, set & !KNOWN])?;
    must_write(handle)?;
    handle.stream().add_properties(Properties {
        append_only: set & QEMUFILE_STREAM_APPEND != 0,
        sealed: set & QEMUFILE_STREAM_SEALED != 0,
        drain: set & QEMUFILE_STREAM_DRAIN != 0,
        no_share: set & QEMUFILE_STREAM_NOSHARE != 0,
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

/// `QEMUFILE_IOC_SET_ERROR`: `qemu_file_set_error`, and 0 to clear it. `EINVAL` for a number that
/// no system call returns to a program.
pub(super) fn set_error(handle: &Handle, arg: &Argument) -> Result {
    // `ERESTARTSYS` and what follows it, in `include/linux/errno.h`, are the kernel's own.
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

/// `QEMUFILE_IOC_RATE_LIMIT`: `qemu_file_set_rate_limit` and its kin.
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
        QEMUFILE_RATE_SET => handle.set_rate(Limit {
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
