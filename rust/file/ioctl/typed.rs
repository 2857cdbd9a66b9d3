// SPDX-License-Identifier: GPL-2.0

//! Calls on typed values.

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
    sys::{
        abi::*,
        file::MAX_RW_COUNT, //
    },
};
use core::mem::offset_of;
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
    fn of(vector: &qemufile_vector) -> Result<Self> {
        let start = usize::try_from(vector.records).map_err(|_| EFAULT)?;
        Ok(Self {
            start: UserPtr::from_addr(start),
        })
    }

    fn at(&self, index: u32) -> Argument {
        let offset = (index as usize).wrapping_mul(size_of::<qemufile_record>());
        Argument(self.start.wrapping_byte_add(offset))
    }

    /// Reports how many bytes of a record's buffer were moved.
    fn set_length(&self, index: u32, done: usize) {
        let Argument(record) = self.at(index);
        let length = record.wrapping_byte_add(offset_of!(qemufile_record, length));
        // An error here changes nothing: the call fails already.
        let _ = Argument(length).put(&(done as u64));
    }
}

/// The vector of a call. `EINVAL` or `E2BIG` if it is malformed.
fn vector(arg: &Argument) -> Result<qemufile_vector> {
    let mut vector: qemufile_vector = arg.get()?;
    must_be_zero(&[vector.flags, vector.reserved])?;
    if vector.count > QEMUFILE_MAX_RECORDS {
        return Err(E2BIG);
    }
    vector.done = 0;
    Ok(vector)
}

/// The result of a call on a vector. A signal restarts the call only if no record is done.
fn restart_if(nothing_done: bool, end: Result) -> Result {
    end.map_err(|err| match err {
        err if err == ERESTARTSYS && !nothing_done => EINTR,
        err => err,
    })
}

/// The width of an integer in the stream, in bytes.
///
/// `EINVAL` for an unknown type, or for an integer with a length.
fn width(record: &qemufile_record) -> Result<u32> {
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

/// Calls `each` for the records of a vector, until one fails. Always reports `done`.
fn for_each_record(
    handle: &Handle,
    file: &File,
    arg: &Argument,
    each: impl Fn(&mut Typed<'_>, &Argument, qemufile_record, &mut u64) -> Result,
) -> Result {
    let mut vector = vector(arg)?;
    let records = Records::of(&vector)?;
    let mut offset = vector.offset;
    let (moved, end) = handle.typed(file, 0, |typed| {
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
    restart_if(!moved && vector.done == 0, end)
}

/// `EINVAL` unless the vector's offset is 0.
fn no_offset(offset: u64) -> Result {
    if offset == 0 {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

/// The result of a record of bytes. Writes a short count to the record's `length`.
///
/// `length` then holds the count done. A restart would read it as the request, so the call is not
/// restarted.
fn told(place: &Argument, mut record: qemufile_record, done: usize, end: Result) -> Result {
    match end {
        Ok(()) => return Ok(()),
        Err(err) if err == ERESTARTSYS && done == 0 => return Err(err),
        Err(_) => (),
    }
    record.length = done as u64;
    // An error here changes nothing: the call fails already.
    let _ = place.put(&record);
    end.map_err(|err| if err == ERESTARTSYS { EINTR } else { err })
}

/// The length of a record of bytes. `EINVAL` if it exceeds what one call can move.
fn length(record: &qemufile_record) -> Result<usize> {
    must_be_zero(&[record.flags])?;
    let len = usize::try_from(record.length)?;
    if len > MAX_RW_COUNT {
        return Err(EINVAL);
    }
    Ok(len)
}

/// `QEMUFILE_IOC_PUT`: `qemu_put_byte` to `qemu_put_be64`, and `qemu_put_buffer`.
///
/// The records are gathered and written together.
pub(super) fn put(handle: &Handle, file: &File, arg: &Argument) -> Result {
    must_write(handle)?;
    let mut vector = vector(arg)?;
    let records = Records::of(&vector)?;
    let expected = vector.count as usize;
    let (moved, end) = handle.typed(file, expected, |typed| {
        let start = typed.position();
        let mut next = 0;
        let mut is_buffer = false;
        let put = loop {
            if next == vector.count {
                break Ok(());
            }
            let result = records.at(next).get().and_then(|record: qemufile_record| {
                no_offset(vector.offset)?;
                if record.type_ == QEMUFILE_BUFFER {
                    let len = length(&record)?;
                    is_buffer = true;
                    return typed.put_user(record.value, len);
                }
                put_integer(typed, &record)
            });
            if let Err(err) = result {
                break Err(err);
            }
            next += 1;
            is_buffer = false;
        };
        // Records before a malformed one are written. An error of theirs comes first.
        let end = typed.fflush().and(put);
        let so_far = typed.put_so_far();
        vector.done = so_far.done;
        let moved = typed.position() != start;
        let cut = match so_far.cut {
            None if is_buffer && so_far.done == next => Some(0),
            cut => cut,
        };
        if let (Err(err), Some(cut)) = (end, cut) {
            if err != ERESTARTSYS || moved {
                records.set_length(vector.done, cut);
            }
        }
        (moved, end)
    })?;
    arg.put(&vector)?;
    restart_if(!moved && vector.done == 0, end)
}

/// Puts the integer of a record. `EINVAL` if it does not fit the type.
fn put_integer(typed: &mut Typed<'_>, record: &qemufile_record) -> Result {
    let width = width(record)?;
    match record.type_ {
        QEMUFILE_BYTE => typed.put_byte(u8::try_from(record.value)?),
        QEMUFILE_BE16 => typed.put_be16(u16::try_from(record.value)?),
        QEMUFILE_BE32 => typed.put_be32(u32::try_from(record.value)?),
        _ => typed.put_be64(record.value),
    }?;
    typed.note_value(width)
}

/// Stores the integer at `offset` bytes after the position in a record. Returns its width.
fn peek_integer(
    typed: &mut Typed<'_>,
    place: &Argument,
    mut record: qemufile_record,
    offset: u64,
) -> Result<u64> {
    let width = width(&record)?;
    record.value = match record.type_ {
        QEMUFILE_BYTE => u8::from_be_bytes(typed.peek_value(offset)?).into(),
        QEMUFILE_BE16 => u16::from_be_bytes(typed.peek_value(offset)?).into(),
        QEMUFILE_BE32 => u32::from_be_bytes(typed.peek_value(offset)?).into(),
        _ => u64::from_be_bytes(typed.peek_value(offset)?),
    };
    place.put(&record)?;
    Ok(width.into())
}

/// `QEMUFILE_IOC_GET`: `qemu_get_byte` to `qemu_get_be64`, and `qemu_get_buffer`.
///
/// The position moves past a value after it was copied to the caller.
pub(super) fn get(handle: &Handle, file: &File, arg: &Argument) -> Result {
    must_read(handle)?;
    for_each_record(handle, file, arg, |typed, place, record, offset| {
        no_offset(*offset)?;
        if record.type_ == QEMUFILE_BUFFER {
            let progress = typed.get_user(record.value, length(&record)?);
            return told(place, record, progress.bytes, progress.end);
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
            let progress = typed.peek_user(record.value, length(&record)?, *offset);
            let done = progress.bytes;
            told(place, record, done, progress.end)?;
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
    skip.length = handle.typed(file, 0, |typed| typed.skip(skip.length))??;
    arg.put(&skip)
}

/// `QEMUFILE_IOC_RAM_CONTROL`: `ram_control_before_iterate` and the other hooks, for a backend
/// without hooks.
pub(super) fn ram_control(handle: &Handle, arg: &Argument) -> Result {
    let control: qemufile_ram_control = arg.get()?;
    must_be_zero(&[control.flags])?;
    match control.op {
        QEMUFILE_RAM_BEFORE_ITERATE | QEMUFILE_RAM_AFTER_ITERATE => {
            must_write(handle)?;
            handle.error()
        }
        QEMUFILE_RAM_LOAD_HOOK => {
            must_read(handle)?;
            handle.latch(EINVAL);
            handle.error()
        }
        _ => Err(EINVAL),
    }
}

/// `QEMUFILE_IOC_SAVE_PAGE`: `ram_control_save_page`, for a backend without hooks.
pub(super) fn save_page(handle: &Handle, arg: &Argument) -> Result {
    let mut page: qemufile_save_page = arg.get()?;
    must_be_zero(&[page.flags])?;
    must_write(handle)?;
    handle.error()?;
    (page.result, page.bytes_sent) = (QEMUFILE_SAVE_PAGE_NOT_SUPP, 0);
    arg.put(&page)
}
