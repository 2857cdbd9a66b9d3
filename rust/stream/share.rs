// SPDX-License-Identifier: GPL-2.0

//! Pages that a stream shares with others: clones, reflinks, pages lent to pipes and taken from
//! them.

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
    /// Makes another stream with the same bytes, which the two share until one is written to, for
    /// a handle with this access.
    ///
    /// It has the limit and the home of this one; of its properties those about sharing, as the
    /// pages are the same, and about its end. Takes O(1) time and memory: `ENOMEM` if there is
    /// none. `EPERM` if the handle may not share pages.
    pub(crate) fn try_clone(&self, access: Access) -> Result<Arc<Self>> {
        let (buffer, draining, limit, properties) = {
            let inner = self.share_pages();
            inner.may_share(access)?;
            let draining = inner.draining.of_clone();
            let kept = Property::NoShare | Property::Follow;
            let properties = inner.properties & kept;
            (
                inner.buffer.try_clone()?,
                draining,
                inner.max_len,
                properties,
            )
        };
        Self::with(self.home.clone(), buffer, draining, limit, properties)
    }

    /// A copy of the stream's bytes, which shares their pages, for a handle with this access; and
    /// where those begin that have not been drained.
    ///
    /// `EPERM` if the handle may not share pages.
    pub(crate) fn snapshot(&self, access: Access) -> Result<(SizedBuffer, u64)> {
        let inner = self.share_pages();
        inner.may_share(access)?;
        Ok((inner.buffer.try_clone()?, inner.draining.position()))
    }

    /// Lends up to `len` bytes from `pos` on to `pipe`, while it has room, or copies them if the
    /// handle may not share pages. Returns how many.
    ///
    /// Also returns whether to look at the handle's position when the call returns, and waits, as
    /// [`Stream::copy_out`] does, with the same errors, and `EPIPE` if nobody is left to read from
    /// the pipe then.
    pub(crate) fn lend(
        &self,
        member: &Member,
        pos: u64,
        own: Own,
        pipe: &mut Pipe<'_>,
        len: usize,
        nonblocking: bool,
    ) -> Result<(usize, bool)> {
        let mut done = 0;
        let mut inner = loop {
            match self.wait_for_data(member, pos, own, Patience::Locks) {
                // The task that will write these bytes may have to read from the pipe first.
                Err(err) if err == EAGAIN && !nonblocking => {
                    pipe.unlocked(|| {
                        self.wait_for_data(member, pos, own, Patience::Bytes)
                            .map(drop)
                    })?;
                    pipe.wait_for_room()?;
                }
                Ok(Some(inner)) => break inner,
                Ok(None) => return Ok((0, false)),
                Err(err) => return Err(err),
            }
        };
        if inner.may_share(member.access).is_err() {
            drop(inner);
            done = self.give(pos, pipe, len)?;
            inner = self.read_bytes();
        }
        while done < len && !pipe.is_full() && inner.may_share(member.access).is_ok() {
            let here = pos.saturating_add(done as u64);
            let (offset, part) = inner.part_of_page(here, len - done);
            if part == 0 {
                break;
            }
            match inner.buffer.lend(here) {
                Ok(page) => pipe.lend(page, offset, part),
                Err(_) if done > 0 => break,
                Err(err) => return Err(err),
            }
            done += part;
        }
        let end = pos.saturating_add(done as u64);
        let look = done > 0 && inner.note_read(member, own.position(pos), pos, end);
        Ok((done, look))
    }
}

impl Inner {
    /// Where in its page the byte at `pos` is, and how many bytes there are from there on, in the
    /// page and before the end: up to `most`.
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
    /// `EINVAL` if `pos` is not at the start of a page; `ENXIO` if it has been drained meanwhile;
    /// `ENOMEM`, `EFBIG`.
    pub(crate) fn adopt(&self, pos: u64, page: PageRef) -> Result {
        {
            let mut inner = self.stream.change_bytes();
            if pos < inner.draining.position() {
                return Err(ENXIO);
            }
            inner.buffer.replace_page(pos, page)?;
            inner.publish();
        }
        self.stream.notify_readers();
        Ok(())
    }

    /// Makes `len` bytes of the stream, from `to` on, those of `source` from `from` on, by sharing
    /// their pages.
    ///
    /// Takes O(log n) time if `to` and `from` are the same position. `EINVAL` if positions are not
    /// at the start of pages, or if the end is inside a page and not the end of both; `ENXIO` for
    /// what has been drained; `ENOMEM`; `EINTR` if the task is being killed. The stream is then as
    /// it was.
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
        // The length stays as it is while this is the only writer.
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

/// A buffer that shares the pages of `range` of `source`, from `to` on.
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
