// SPDX-License-Identifier: GPL-2.0

//! Sharing of pages: clones, reflinks, and pages lent to pipes and taken from them.

use super::{
    Access,
    Inner,
    Member,
    Own,
    Patience,
    Property,
    Stream,
    Writer,
    PAGE_BYTES, //
};
use crate::{
    sized_buffer::{
        SizedBuffer,
        MAX_LEN, //
    },
    sys::{
        page::{
            PageRef,
            PAGE_SIZE, //
        },
        sched::fatal_signal_pending,
        splice::Pipe, //
    },
};
use core::ops::Range;
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Stream {
    /// Makes another stream with the same bytes, for a handle with this access. The two streams
    /// share the bytes until one is written to.
    ///
    /// The clone has the limit and the home of this stream. It keeps the properties about sharing,
    /// because the pages are the same, and about the end of the stream. Takes O(1) time and memory.
    /// `ENOMEM` if there is no memory; `EPERM` if the handle may not share pages.
    pub(crate) fn try_clone(&self, access: Access) -> Result<Arc<Self>> {
        let (buffer, draining, limit, properties, _removed) = {
            let mut inner = self.share_pages();
            inner.may_share(access)?;
            let removed = inner.free_drained();
            let draining = inner.draining.of_clone();
            let kept = Property::NoShare | Property::Follow;
            let properties = inner.properties & kept;
            (
                inner.buffer.try_clone()?,
                draining,
                inner.max_len,
                properties,
                removed,
            )
        };
        Self::with(self.home.clone(), buffer, draining, limit, properties)
    }

    /// A copy of the stream's bytes, for a handle with this access, and the drained position. The
    /// copy shares the pages.
    ///
    /// `EPERM` if the handle may not share pages.
    pub(crate) fn snapshot(&self, access: Access) -> Result<(SizedBuffer, u64)> {
        // Dropped after the lock.
        let _removed;
        let mut inner = self.share_pages();
        inner.may_share(access)?;
        _removed = inner.free_drained();
        Ok((inner.buffer.try_clone()?, inner.draining.position()))
    }

    /// Lends up to `len` bytes from `pos` on to `pipe`, while it has room. Copies them if the
    /// handle may not share pages. Returns the number of bytes.
    ///
    /// Also returns whether to check the handle's position when the call returns. Waits, and fails,
    /// as [`Stream::copy_out`] does; also fails with `EPIPE` if the pipe has no reader left after
    /// the wait.
    pub(crate) fn lend(
        &self,
        member: &Member,
        pos: u64,
        own: Own,
        pipe: &mut Pipe<'_>,
        len: usize,
        nonblocking: bool,
    ) -> Result<(usize, bool)> {
        let (done, view) = loop {
            let view = match self.wait_for_data(member, pos, own, Patience::Locks) {
                // The writer of these bytes may have to read from the pipe first.
                Err(err) if err == EAGAIN && !nonblocking => {
                    pipe.unlocked(|| {
                        self.wait_for_data(member, pos, own, Patience::Bytes)
                            .map(drop)
                    })?;
                    pipe.wait_for_room()?;
                    continue;
                }
                Ok(Some(view)) => view,
                Ok(None) => return Ok((0, false)),
                Err(err) => return Err(err),
            };
            let may_share = view.may_share(member.access).is_ok();
            drop(view);
            if !may_share {
                let done = self.give(pos, pipe, len)?;
                break (done, self.read_bytes());
            }
            // A page that is written in place must not be lent meanwhile.
            let inner = self.change_bytes();
            let is_there = inner.draining.position() <= pos && pos < inner.buffer.len();
            if is_there && inner.may_share(member.access).is_ok() {
                let done = inner.lend_pages(pos, pipe, len)?;
                break (done, inner.into_view());
            }
        };
        let end = pos.saturating_add(done as u64);
        let look = done > 0 && view.note_read(member, own.position(pos), pos, end);
        Ok((done, look))
    }
}

impl Inner {
    /// Lends up to `len` bytes from `pos` on to `pipe`, while it has room. Returns the number of
    /// bytes. `ENOMEM`.
    fn lend_pages(&self, pos: u64, pipe: &mut Pipe<'_>, len: usize) -> Result<usize> {
        let mut done = 0;
        while done < len && !pipe.is_full() {
            let here = pos.saturating_add(done as u64);
            let (offset, part) = self.part_of_page(here, len - done);
            if part == 0 {
                break;
            }
            match self.lend_page(here) {
                Ok(page) => pipe.lend(page, offset, part),
                Err(_) if done > 0 => break,
                Err(err) => return Err(err),
            }
            done += part;
        }
        Ok(done)
    }

    /// The page of the byte at `pos`, for a pipe. Its bytes do not change any more.
    fn lend_page(&self, pos: u64) -> Result<Option<PageRef>> {
        // Page faults that would map it for writing wait for the caller's lock.
        if self.buffer.has_stores() && self.buffer.is_exclusive(pos) {
            let page = pos - pos % PAGE_BYTES;
            self.unmap(page..page + PAGE_BYTES, false);
        }
        self.buffer.lend_settled(pos)
    }

    /// The offset in its page of the byte at `pos`, and the number of bytes from there to the end
    /// of the page or of the stream, at most `most`.
    pub(super) fn part_of_page(&self, pos: u64, most: usize) -> (usize, usize) {
        let left = self.buffer.len().saturating_sub(pos);
        let offset = (pos % PAGE_BYTES) as usize;
        let part = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(most)
            .min(PAGE_SIZE - offset);
        (offset, part)
    }
}

impl Writer<'_> {
    /// Makes `page` the stream's content at `pos`.
    ///
    /// `EINVAL` if `pos` is not at the start of a page; `ENXIO` if `pos` has been drained
    /// meanwhile; `ENOMEM`, `EFBIG`.
    pub(crate) fn adopt(&self, pos: u64, page: PageRef) -> Result {
        {
            let mut inner = self.stream.change_bytes();
            if pos < inner.draining.position() {
                return Err(ENXIO);
            }
            inner.buffer.replace_page(pos, page)?;
            self.publish(&mut inner);
        }
        self.stream.notify_readers();
        Ok(())
    }

    /// Replaces `len` bytes of the stream at `to` with those of `source` at `from`, by sharing
    /// pages.
    ///
    /// Takes O(log n) time if `to` and `from` are equal. `EINVAL` if a position is not at the start
    /// of a page, or if the end is inside a page and is not the end of both; `ENXIO` for bytes that
    /// have been drained; `ENOMEM`; `EINTR` if the task is being killed. The stream is then
    /// unchanged.
    pub(crate) fn share(&self, to: u64, source: SizedBuffer, from: u64, len: u64) -> Result {
        let end = from.checked_add(len).filter(|&end| end <= source.len());
        let end = end.ok_or(EINVAL)?;
        let to_end = to
            .checked_add(len)
            .filter(|&end| end <= MAX_LEN)
            .ok_or(EFBIG)?;
        if to % PAGE_BYTES != 0 || from % PAGE_BYTES != 0 {
            return Err(EINVAL);
        }
        self.pay_at_most(to, len, source.allocated())?;
        // The length does not change while this is the only writer.
        let is_end = end == source.len() && to_end >= self.len();
        if end % PAGE_BYTES != 0 && !is_end {
            return Err(EINVAL);
        }
        let mut shared = match to == from {
            true => source,
            false => shifted(&source, from..end, to)?,
        };
        self.take_over(to..to_end, &mut shared, true)?;
        self.stream.notify_readers();
        Ok(())
    }
}

/// A buffer that shares the pages of `range` of `source`. They begin at `to`.
fn shifted(source: &SizedBuffer, range: Range<u64>, to: u64) -> Result<SizedBuffer> {
    let mut shifted = SizedBuffer::new();
    let mut next = range.start;
    while let Some(pos) = source.next_data(next).filter(|&pos| pos < range.end) {
        if let Some(page) = source.lend(pos)? {
            shifted.replace_page(to + (pos - range.start), page)?;
        }
        next = pos + PAGE_BYTES;
        if fatal_signal_pending() {
            return Err(EINTR);
        }
    }
    Ok(shifted)
}
