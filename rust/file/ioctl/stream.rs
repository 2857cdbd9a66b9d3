// SPDX-License-Identifier: GPL-2.0

//! Calls on a stream.

use super::{
    must_be_zero,
    must_write,
    Argument, //
};
use crate::{
    handle::Handle,
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

/// The bytes of a range. `EINVAL` for an empty one, `EFBIG` past the largest offset.
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
    let qemufile_flags { set, flags } = arg.get()?;
    must_be_zero(&[flags])?;
    let add = Properties::from_bits(set)?;
    must_write(handle)?;
    handle.stream().add_properties(add)
}
