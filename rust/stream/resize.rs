// SPDX-License-Identifier: GPL-2.0

//! Changes of a stream's length, holes and reserved memory.

use super::{
    Inner,
    Property,
    Writer,
    PAGE_BYTES,
    SLICE, //
};
use crate::{
    sized_buffer::{
        Filled,
        SizedBuffer,
        MAX_LEN, //
    },
    sys::sched::fatal_signal_pending, //
};
use core::ops::Range;
use kernel::prelude::*;

impl Writer<'_> {
    /// Sets the stream's length. Returns the new length.
    ///
    /// `EPERM` if the stream is sealed, or if it is append-only and would shrink; `ENOSPC` beyond
    /// the limit; `ENXIO` for a length before the drained position; `EFBIG`, `ENOMEM`.
    pub(crate) fn set_len(&self, len: u64) -> Result<u64> {
        // The range is empty if the stream grows.
        self.stream
            .unmap_ahead(len.next_multiple_of(PAGE_BYTES)..self.len());
        let removed = {
            let mut inner = self.stream.change_bytes();
            let shrinks = len < inner.buffer.len();
            if inner.is(Property::Sealed) || (inner.is(Property::AppendOnly) && shrinks) {
                return Err(EPERM);
            }
            if len < inner.draining.position() {
                return Err(ENXIO);
            }
            if !shrinks && inner.ceiling().is_some_and(|ceiling| len > ceiling) {
                return Err(ENOSPC);
            }
            let before = inner.buffer.len();
            let removed = inner.buffer.set_len(len)?;
            self.publish(&mut inner);
            if shrinks {
                // Private copies of pages after the end go as well.
                inner.unmap(len.next_multiple_of(PAGE_BYTES)..before, true);
            }
            removed
        };
        drop(removed);
        self.tighten(len.next_multiple_of(PAGE_BYTES)..MAX_LEN);
        self.stream.notify_all();
        Ok(len)
    }

    /// [`SizedBuffer::tighten`], when what was removed has been freed. All positions are locked.
    fn tighten(&self, range: Range<u64>) {
        let mut inner = self.stream.change_bytes();
        inner.buffer.tighten(range);
        self.publish(&mut inner);
    }

    /// Makes a part of the stream a hole.
    ///
    /// `EPERM` if the stream is sealed or append-only; `ENOMEM`.
    pub(crate) fn punch(&self, range: Range<u64>) -> Result {
        self.stream.unmap_ahead(range.clone());
        let mut inner = self.stream.change_bytes();
        if inner.is(Property::Sealed) || inner.is(Property::AppendOnly) {
            return Err(EPERM);
        }
        // The last page has zeros after the end, so all of it can be removed. Reserved pages may
        // follow it.
        let last = inner.buffer.len().next_multiple_of(PAGE_BYTES);
        let end = if range.end < inner.buffer.len() {
            range.end
        } else {
            range.end.max(last)
        };
        let range = range.start.min(end)..end;
        let removed = inner.buffer.punch(range.clone())?;
        self.publish(&mut inner);
        drop(inner);
        drop(removed);
        self.tighten(range);
        Ok(())
    }

    /// Zeroes a part of the stream and reserves memory for it. Without `keep_size`, the stream
    /// grows to the end of the part.
    ///
    /// `EPERM` if the stream is sealed or append-only; `ENOSPC` beyond the limit; `ENXIO` for a
    /// part that has been drained; `ENOMEM`; `EINTR` if the task is being killed. The stream is
    /// then unchanged.
    pub(crate) fn zero(&self, range: Range<u64>, keep_size: bool) -> Result {
        {
            let inner = self.stream.inspect();
            if inner.is(Property::AppendOnly) {
                return Err(EPERM);
            }
            inner.may_reserve(&range)?;
        }
        self.pay_for(&range)?;
        let mut zeros = SizedBuffer::new();
        in_slices(&range, |start, len| zeros.reserve(start, len))?;
        self.take_over(range, &mut zeros, !keep_size)?;
        self.stream.notify_readers();
        Ok(())
    }

    /// Reserves memory for a part of the stream. Without `keep_size`, the stream grows to the end
    /// of the part.
    ///
    /// Fails as [`Writer::zero`] does, but an append-only stream is allowed.
    pub(crate) fn reserve(&self, range: Range<u64>, keep_size: bool) -> Result {
        self.stream.inspect().may_reserve(&range)?;
        self.pay_for(&range)?;
        let mut filled = Filled::new();
        let reserved = in_slices(&range, |start, len| {
            let mut inner = self.stream.change_bytes();
            // Bytes that readers have drained meanwhile need no memory.
            let end = start + len;
            let start = start.max(inner.draining.position().min(end));
            inner.buffer.fill(start, end - start, &mut filled)?;
            self.publish(&mut inner);
            Ok(())
        });
        if reserved.is_err() {
            for run in filled.runs() {
                let mut inner = self.stream.change_bytes();
                inner.unmap(run.clone(), false);
                inner.buffer.take_back(run);
                self.publish(&mut inner);
            }
        }
        let removed = {
            let mut inner = self.stream.change_bytes();
            let grows = reserved.is_ok() && !keep_size && range.end > inner.buffer.len();
            if grows {
                drop(inner.buffer.set_len(range.end)?);
            }
            let removed = inner.free_behind(range.start);
            self.publish(&mut inner);
            removed
        };
        drop(removed);
        self.stream.notify_readers();
        reserved
    }
}

/// Calls `each` with the start and the length of each slice of `range`. No lock is held between the
/// calls. `EINTR` if the task is being killed.
fn in_slices(range: &Range<u64>, mut each: impl FnMut(u64, u64) -> Result) -> Result {
    let mut next = range.start;
    while next < range.end {
        let len = (range.end - next).min(SLICE as u64);
        each(next, len)?;
        next += len;
        if fatal_signal_pending() {
            return Err(EINTR);
        }
    }
    Ok(())
}

impl Inner {
    /// Whether the stream may get memory for `range` and grow to its end. The errors are those of
    /// [`Writer::reserve`].
    fn may_reserve(&self, range: &Range<u64>) -> Result {
        if self.is(Property::Sealed) {
            return Err(EPERM);
        }
        if range.start < self.draining.position() {
            return Err(ENXIO);
        }
        match self.ceiling() {
            Some(ceiling) if range.end > ceiling => Err(ENOSPC),
            _ => Ok(()),
        }
    }
}
