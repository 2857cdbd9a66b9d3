// SPDX-License-Identifier: GPL-2.0

//! Changing a stream other than by writing to it.

use super::{
    Access,
    Inner,
    Properties,
    Property,
    Stream,
    Writer,
    PAGE_BYTES,
    SLICE, //
};
use crate::{
    sized_buffer::SizedBuffer,
    sys::sched::fatal_signal_pending, //
};
use core::ops::Range;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A run of bytes that are all data, or all a hole.
pub(crate) struct Extent {
    /// In bytes; 0 at the end of the stream and past it.
    pub(crate) len: u64,
    pub(crate) is_data: bool,
}

impl Stream {
    /// Makes another stream with the same bytes, which the two share until one is written to, for
    /// a handle with this access.
    ///
    /// It has the limit of this one; of its properties only that which is about sharing, as the
    /// pages are the same. Takes O(1) time and memory: `ENOMEM` if there is none. `EPERM` if the
    /// handle may not share pages.
    pub(crate) fn try_clone(&self, access: Access) -> Result<Arc<Self>> {
        let (buffer, draining, limit, properties) = {
            let inner = self.inner.lock();
            inner.may_share(access)?;
            let draining = inner.draining.of_clone();
            let properties = inner.properties & Property::NoShare;
            (inner.buffer.try_clone()?, draining, inner.limit, properties)
        };
        Self::with(buffer, draining, limit, properties)
    }

    /// The run of data, or of nothing, from `pos` on.
    pub(crate) fn extent(&self, pos: u64) -> Extent {
        let inner = self.inner.lock();
        let end = inner.buffer.len();
        let is_data = inner.buffer.next_data(pos) == Some(pos);
        let next = if is_data {
            inner.buffer.next_hole(pos)
        } else {
            inner.buffer.next_data(pos)
        };
        Extent {
            len: next.unwrap_or(end).saturating_sub(pos),
            is_data,
        }
    }

    /// Sets the most bytes that the stream may hold. If it holds more, it keeps them.
    pub(crate) fn set_limit(&self, limit: Option<u64>) {
        self.inner.lock().limit = limit;
        self.notify_all();
    }

    /// Adds to the stream's properties, when no change is being made: none that was begun before
    /// goes on after.
    ///
    /// Errors are those of [`Properties::with`], and `EINTR` if the task is being killed. Nothing is
    /// added then.
    pub(crate) fn add_properties(&self, add: Properties) -> Result {
        let writer = self.lock_for_writing()?;
        {
            let mut inner = self.inner.lock();
            inner.properties = inner.properties.with(add)?;
            if inner.drain() {
                self.finish_drain(inner);
            }
        }
        drop(writer);
        self.notify_all();
        Ok(())
    }
}

impl Writer<'_> {
    /// Sets the stream's length, and returns what it is then.
    ///
    /// `EPERM` if the stream is sealed, or only appended to and would shrink; `ENOSPC` beyond the
    /// limit; `ENXIO` for a length that has been drained; `EFBIG`, `ENOMEM`.
    pub(crate) fn set_len(&self, len: u64) -> Result<u64> {
        // None if the stream grows.
        self.stream
            .unmap_ahead(len.next_multiple_of(PAGE_BYTES)..self.len());
        let removed = {
            let mut inner = self.stream.inner.lock();
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
            inner.publish();
            if shrinks {
                // Private copies of pages behind the end go as well.
                inner.unmap(len.next_multiple_of(PAGE_BYTES)..before, true);
            }
            removed
        };
        drop(removed);
        self.stream.notify_all();
        Ok(len)
    }

    /// Makes a hole of a part of the stream.
    ///
    /// `EPERM` if the stream is sealed or only appended to; `ENOMEM`.
    pub(crate) fn punch(&self, range: Range<u64>) -> Result {
        self.stream.unmap_ahead(range.clone());
        let mut inner = self.stream.inner.lock();
        if inner.is(Property::Sealed) || inner.is(Property::AppendOnly) {
            return Err(EPERM);
        }
        // What the last page has after the end is zeros already, so all of it can go.
        let last = inner.buffer.len().next_multiple_of(PAGE_BYTES);
        let end = if range.end < inner.buffer.len() {
            range.end
        } else {
            last
        };
        let removed = inner.buffer.punch(range.start.min(end)..end)?;
        inner.publish();
        drop(inner);
        drop(removed);
        Ok(())
    }

    /// Makes zeros of a part of the stream, with memory set aside for them, and makes the stream
    /// long enough to have it unless `keep_size`.
    ///
    /// `EPERM` if the stream is sealed or only appended to; `ENOSPC` beyond the limit; `ENXIO` for a
    /// part that has been drained; `ENOMEM`; `EINTR` if the task is being killed. The stream is then
    /// as it was.
    pub(crate) fn zero(&self, range: Range<u64>, keep_size: bool) -> Result {
        {
            let inner = self.stream.inner.lock();
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

    /// Sets memory aside for a part of the stream, and makes the stream at least that long unless
    /// `keep_size`.
    ///
    /// Errors are those of [`Writer::zero`], but a stream that is only appended to may be reserved.
    pub(crate) fn reserve(&self, range: Range<u64>, keep_size: bool) -> Result {
        let before = {
            let inner = self.stream.inner.lock();
            inner.may_reserve(&range)?;
            inner.buffer.try_clone()?
        };
        self.pay_for(&range)?;
        let reserved = in_slices(&range, |start, len| {
            let mut inner = self.stream.inner.lock();
            // What readers have drained meanwhile needs no memory.
            let end = start + len;
            let start = start.max(inner.draining.position().min(end));
            inner.buffer.reserve(start, end - start)?;
            inner.publish();
            Ok(())
        });
        if reserved.is_err() {
            self.stream.unmap_ahead(range.clone());
        }
        let removed = {
            let mut inner = self.stream.inner.lock();
            let removed = if reserved.is_err() {
                // Nothing else has changed meanwhile but for what was drained.
                let reserved = inner.buffer.take_back(range, before);
                (Some(reserved), inner.free_behind(0))
            } else {
                if !keep_size && range.end > inner.buffer.len() {
                    drop(inner.buffer.set_len(range.end)?);
                }
                (None, inner.free_behind(range.start))
            };
            inner.publish();
            removed
        };
        drop(removed);
        self.stream.notify_readers();
        reserved
    }
}

/// Calls `each` for slices of `range`, told where each begins and how long it is, without a lock
/// between. `EINTR` if the task is being killed.
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
    /// Whether the stream may get memory for `range`, and be as long as that: the errors are those
    /// of [`Writer::reserve`].
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
