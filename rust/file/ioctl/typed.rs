// SPDX-License-Identifier: GPL-2.0

//! The calls on typed values.

use super::{
    must_be_zero,
    must_read,
    must_write,
    Argument, //
};
use crate::{
    handle::{
        Handle,
        Typed, //
    },
    qemu_file::SavePage,
    sys::{
        abi::*,
        file::MAX_RW_COUNT, //
    },
};
use kernel::{
    fs::File,
    prelude::*,
    uaccess::UserPtr, //
};

/// The records of a vector, in user memory.
struct Records {
    start: UserPtr,
}

impl Records {
    fn at(&self, index: u32) -> Argument {
        let offset = (index as usize).wrapping_mul(size_of::<qemufile_record>());
        Argument(self.start.wrapping_byte_add(offset))
    }
}

/// How many bytes an integer of this type has in the stream.
///
/// `EINVAL` for a type that is none of the header's, and for a length with an integer.
fn width(record: &qemufile_record) -> Result<usize> {
    must_be_zero(&[record.flags])?;
    if record.length != 0 {
        return Err(EINVAL);
    }
    match record.type_ {
        QEMUFILE_BYTE => Ok(1),
        QEMUFILE_BE16 => Ok(2),
        QEMUFILE_BE32 => Ok(4),
        QEMUFILE_BE64 => Ok(8),
        _ => Err(EINVAL),
    }
}

/// Goes through the records of a vector and has `each` do them, until one cannot be done.
///
/// The number of those that were done is told in any case. A signal restarts the call only if
/// nothing was done.
fn for_each_record(
    handle: &Handle,
    file: &File,
    arg: &Argument,
    each: impl Fn(&mut Typed<'_>, &Argument, qemufile_record, &mut u64) -> Result,
) -> Result {
    let mut vector: qemufile_vector = arg.get()?;
    must_be_zero(&[vector.flags, vector.reserved])?;
    if vector.count > QEMUFILE_MAX_RECORDS {
        return Err(E2BIG);
    }
    let records = Records {
        start: UserPtr::from_addr(usize::try_from(vector.records).map_err(|_| EFAULT)?),
    };
    let mut offset = vector.offset;
    vector.done = 0;
    let (moved, end) = handle.typed(file, |typed| {
        let start = typed.position();
        let end = loop {
            if vector.done == vector.count {
                break Ok(());
            }
            let place = records.at(vector.done);
            let result = place
                .get()
                .and_then(|record| each(typed, &place, record, &mut offset));
            if let Err(err) = result {
                break Err(err);
            }
            vector.done += 1;
        };
        (typed.position() != start, end)
    })?;
    arg.put(&vector)?;
    match end {
        Err(err) if err == ERESTARTSYS && (moved || vector.done > 0) => Err(EINTR),
        end => end,
    }
}

/// `EINVAL` unless the vector's offset is 0.
fn no_offset(offset: u64) -> Result {
    if offset == 0 {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

/// The result of a record of bytes; if they are not all there, tells how many are.
///
/// What was told is what a restarted call would begin with, so that call is not restarted.
fn told(place: &Argument, mut record: qemufile_record, done: usize, end: Result) -> Result {
    match end {
        Ok(()) => return Ok(()),
        Err(err) if err == ERESTARTSYS && done == 0 => return Err(err),
        Err(_) => (),
    }
    record.length = done as u64;
    // The call fails in any case.
    let _ = place.put(&record);
    end.map_err(|err| if err == ERESTARTSYS { EINTR } else { err })
}

/// The length of a record of bytes. `EINVAL` if it is more than one call can move.
fn length(record: &qemufile_record) -> Result<usize> {
    must_be_zero(&[record.flags])?;
    let len = usize::try_from(record.length)?;
    if len > MAX_RW_COUNT {
        return Err(EINVAL);
    }
    Ok(len)
}

/// `QEMUFILE_IOC_PUT`: `qemu_put_byte` to `qemu_put_be64`, and `qemu_put_buffer`.
pub(super) fn put(handle: &Handle, file: &File, arg: &Argument) -> Result {
    must_write(handle)?;
    for_each_record(handle, file, arg, |typed, place, record, offset| {
        no_offset(*offset)?;
        if record.type_ == QEMUFILE_BUFFER {
            let (done, end) = typed.put_user(record.value, length(&record)?);
            return told(place, record, done, end);
        }
        width(&record)?;
        match record.type_ {
            QEMUFILE_BYTE => typed.put_byte(u8::try_from(record.value)?),
            QEMUFILE_BE16 => typed.put_be16(u16::try_from(record.value)?),
            QEMUFILE_BE32 => typed.put_be32(u32::try_from(record.value)?),
            _ => typed.put_be64(record.value),
        }
    })
}

/// Gives a record the integer that is `offset` bytes after the position.
fn peek_integer(
    typed: &mut Typed<'_>,
    place: &Argument,
    mut record: qemufile_record,
    offset: u64,
) -> Result<u64> {
    let width = width(&record)?;
    let mut bytes = [0; 8];
    let (_, value) = bytes.split_at_mut_checked(8 - width).ok_or(EINVAL)?;
    let offset = usize::try_from(offset)?;
    loop {
        let there = typed.peek_buffer(value, offset)?;
        if there == width {
            break;
        }
        // Tells why there is no more, or waits until there is.
        typed.peek_byte(offset.saturating_add(there))?;
    }
    record.value = u64::from_be_bytes(bytes);
    place.put(&record)?;
    Ok(width as u64)
}

/// `QEMUFILE_IOC_GET`: `qemu_get_byte` to `qemu_get_be64`, and `qemu_get_buffer`.
///
/// The position moves past a value when the caller has it.
pub(super) fn get(handle: &Handle, file: &File, arg: &Argument) -> Result {
    must_read(handle)?;
    for_each_record(handle, file, arg, |typed, place, record, offset| {
        no_offset(*offset)?;
        if record.type_ == QEMUFILE_BUFFER {
            let (done, end) = typed.get_user(record.value, length(&record)?);
            return told(place, record, done, end);
        }
        let width = peek_integer(typed, place, record, 0)?;
        typed.update_position(width);
        Ok(())
    })
}

/// `QEMUFILE_IOC_PEEK`: `qemu_peek_byte` and `qemu_peek_buffer`, and the same for integers.
pub(super) fn peek(handle: &Handle, file: &File, arg: &Argument) -> Result {
    must_read(handle)?;
    for_each_record(handle, file, arg, |typed, place, record, offset| {
        let width = if record.type_ == QEMUFILE_BUFFER {
            let (done, end) = typed.peek_user(record.value, length(&record)?, *offset);
            told(place, record, done, end)?;
            done as u64
        } else {
            peek_integer(typed, place, record, *offset)?
        };
        *offset = offset.checked_add(width).ok_or(EINVAL)?;
        Ok(())
    })
}

/// `QEMUFILE_IOC_SKIP`: `qemu_file_skip`
pub(super) fn skip(handle: &Handle, file: &File, arg: &Argument) -> Result {
    let mut skip: qemufile_skip = arg.get()?;
    must_be_zero(&[skip.flags, skip.reserved])?;
    must_read(handle)?;
    skip.length = handle.typed(file, |typed| typed.skip(skip.length))??;
    arg.put(&skip)
}

/// `QEMUFILE_IOC_RAM_CONTROL`: `ram_control_before_iterate` and its kin.
pub(super) fn ram_control(handle: &Handle, file: &File, arg: &Argument) -> Result {
    let qemufile_ram_control {
        hook_flags,
        op,
        flags,
    } = arg.get()?;
    must_be_zero(&[flags])?;
    match op {
        QEMUFILE_RAM_BEFORE_ITERATE => {
            must_write(handle)?;
            handle.typed(file, |typed| typed.ram_control_before_iterate(hook_flags))?
        }
        QEMUFILE_RAM_AFTER_ITERATE => {
            must_write(handle)?;
            handle.typed(file, |typed| typed.ram_control_after_iterate(hook_flags))?
        }
        QEMUFILE_RAM_LOAD_HOOK => {
            must_read(handle)?;
            handle.typed(file, |typed| typed.ram_control_load_hook(hook_flags))?
        }
        _ => Err(EINVAL),
    }
}

/// `QEMUFILE_IOC_SAVE_PAGE`: `ram_control_save_page`
pub(super) fn save_page(handle: &Handle, file: &File, arg: &Argument) -> Result {
    let mut page: qemufile_save_page = arg.get()?;
    must_be_zero(&[page.flags])?;
    must_write(handle)?;
    let saved = handle.typed(file, |typed| {
        typed.ram_control_save_page(page.block_offset, page.offset, page.size)
    })??;
    (page.result, page.bytes_sent) = match saved {
        SavePage::NotSupported => (QEMUFILE_SAVE_PAGE_NOT_SUPP, 0),
        SavePage::Delayed => (QEMUFILE_SAVE_PAGE_DELAYED, 0),
        SavePage::Sent(bytes) => (0, bytes),
    };
    arg.put(&page)
}
