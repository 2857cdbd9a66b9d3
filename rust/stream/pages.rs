// SPDX-License-Identifier: GPL-2.0

//! Whole pages of a stream: lent to pipes, taken from them, shared with other streams, mapped.

use super::{
    Seat,
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
        mmap::Fault,
        page::{
            PageRef,
            PAGE_SIZE, //
        },
        splice::Pipe, //
    },
};
use kernel::prelude::*;

impl Stream {
    /// Lends up to `len` bytes from `pos` on to `pipe`, while it has room. Returns how many.
    ///
    /// `there` says that `pos` is the handle's own position.
    ///
    /// Waits as [`Stream::copy_out`] does, with the same errors, and `EPIPE` if nobody is left to
    /// read from the pipe then.
    pub(crate) fn lend(
        &self,
        seat: &Seat,
        pos: u64,
        there: bool,
        pipe: &mut Pipe<'_>,
        len: usize,
        nonblocking: bool,
    ) -> Result<usize> {
        // Before waiting: the writer may be waiting for just that.
        if there {
            self.pass(seat, pos, 0);
        } else {
            self.kept(seat, pos);
        }
        let mut done = 0;
        {
            let inner = loop {
                match self.wait_for_data(seat.access, pos, true) {
                    // Whoever is to write what is waited for may have to read from the pipe first.
                    Err(err) if err == EAGAIN && !nonblocking => {
                        pipe.unlocked(|| self.wait_for_data(seat.access, pos, false).map(drop))?;
                        pipe.wait_for_room()?;
                    }
                    Ok(Some(inner)) => break inner,
                    other => return other.map(|_| 0),
                }
            };
            while done < len && !pipe.is_full() {
                let here = pos.saturating_add(done as u64);
                let left = inner.buffer.len().saturating_sub(here);
                let offset = (here % PAGE_BYTES) as usize;
                let part = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(len - done)
                    .min(PAGE_SIZE - offset);
                if part == 0 {
                    break;
                }
                pipe.lend(inner.buffer.lend(here), offset, part);
                done += part;
            }
        }
        self.lent(seat, pos, done as u64);
        Ok(done)
    }

    /// Maps the page of a fault: what is there now, for as long as it stays there.
    ///
    /// `ENXIO` past the end, and where the bytes have been drained; `ENOMEM`.
    pub(crate) fn fault(&self, fault: &Fault<'_>) -> Result {
        let pos = fault.page_index().checked_mul(PAGE_BYTES).ok_or(ENXIO)?;
        // The lock keeps the page in its place until it is mapped; a change after that finds the
        // mapping, and takes it away.
        let inner = self.inner.lock();
        if pos >= inner.buffer.len() || pos.saturating_add(PAGE_BYTES) <= inner.drained {
            return Err(ENXIO);
        }
        fault.map(inner.buffer.lend(pos).as_ref())
    }

    /// A copy of the stream's bytes, which shares their pages, and where those begin that have not
    /// been drained.
    pub(crate) fn snapshot(&self) -> (SizedBuffer, u64) {
        let inner = self.inner.lock();
        (inner.buffer.clone(), inner.drained)
    }
}

impl Writer<'_> {
    /// Makes `page` the stream's content at `pos`.
    ///
    /// `EINVAL` if `pos` is not at the start of a page; `ENOMEM`, `EFBIG`.
    pub(crate) fn adopt(&self, pos: u64, page: PageRef) -> Result {
        {
            let mut inner = self.stream.inner.lock();
            inner.buffer.replace_page(pos, page)?;
            inner.publish();
            inner.unmap(pos..pos.saturating_add(PAGE_BYTES), false);
        }
        self.stream.notify_readers();
        Ok(())
    }

    /// Makes `len` bytes of the stream, from `to` on, those of `source` from `from` on, by sharing
    /// their pages.
    ///
    /// `EINVAL` if positions are not at the start of pages, or if the end is inside a page and not
    /// the end of both; `ENOMEM`, after which the stream is as it was.
    pub(crate) fn share(&self, to: u64, source: &SizedBuffer, from: u64, len: u64) -> Result {
        let end = from.checked_add(len).filter(|&end| end <= source.len());
        let end = end.ok_or(EINVAL)?;
        let to_end = to
            .checked_add(len)
            .filter(|&end| end <= MAX_LEN)
            .ok_or(EFBIG)?;
        if to % PAGE_BYTES != 0 || from % PAGE_BYTES != 0 {
            return Err(EINVAL);
        }
        {
            let mut inner = self.stream.inner.lock();
            let is_end = end == source.len() && to_end >= inner.buffer.len();
            if end % PAGE_BYTES != 0 && !is_end {
                return Err(EINVAL);
            }
            let before = inner.buffer.clone();
            if let Err(err) = share_pages(&mut inner.buffer, to, source, from..end) {
                inner.buffer = before;
                return Err(err);
            }
            inner.publish();
            inner.unmap(to..to_end, false);
        }
        self.stream.notify_readers();
        Ok(())
    }
}

/// Replaces the bytes from `to` on with those of `range` of `source`.
fn share_pages(
    buffer: &mut SizedBuffer,
    to: u64,
    source: &SizedBuffer,
    range: core::ops::Range<u64>,
) -> Result {
    let to_end = to + (range.end - range.start);
    let end = to_end.max(buffer.len());
    buffer.punch(to..to_end)?;
    let mut next = range.start;
    while let Some(pos) = source.next_data(next).filter(|&pos| pos < range.end) {
        if let Some(page) = source.lend(pos) {
            buffer.replace_page(to + (pos - range.start), page)?;
        }
        next = pos + PAGE_BYTES;
    }
    // The last page may reach past the end of the bytes.
    buffer.set_len(end).map(|_| ())
}
