// SPDX-License-Identifier: GPL-2.0

//! Short writes at the end of a stream, which change only its length.
//!
//! Memory is put at the end ahead of them, a run of pages at a time ([`beside`](super::beside)). They fill
//! it under the read side, and move the end there. So a reader of a live stream, which copies under the
//! read side, too, does not wait for each record, nor does the writer.

use super::{
    locks::View,
    write::FEW,
    Inner,
    Stream,
    SLICE, //
};
use crate::{
    sized_buffer::{
        Progress,
        SizedBuffer, //
    },
    sys::{
        copy::Source,
        iov::SourceIter,
        page::PAGE_SIZE, //
    },
};

/// The pages of a run that is put at the end of a stream, ahead of short writes there.
pub(super) const RUN: usize = SizedBuffer::RUN_BYTES as usize / PAGE_SIZE;

/// Streams of this length and more get memory ahead of short writes: a sixteenth more at the most.
const APPEND_FROM: u64 = 16 * SizedBuffer::RUN_BYTES;

impl View<'_> {
    /// Whether a write of `bytes` bytes at `pos` is one of many short ones at the end.
    ///
    /// What is put there ahead of them is memory that nobody asked for. So it is little for the length,
    /// and there is none if it counts for somebody, or if it is much for the stream's limit.
    pub(super) fn is_short_append(&self, pos: u64, bytes: usize) -> bool {
        let is_much = |most| most < APPEND_FROM;
        pos == self.buffer.len()
            && pos >= APPEND_FROM
            && bytes <= FEW
            && !self.quota.counts()
            && !self.max_len.is_some_and(is_much)
    }

    /// How many of `wanted` bytes at `pos` to try to write in place: up to a slice, and to the stream's
    /// limit.
    pub(super) fn most_in_place(&self, pos: u64, wanted: usize) -> usize {
        let most = match self.buffer.len().checked_sub(pos) {
            None => 0,
            Some(left) if wanted as u64 <= left => wanted,
            Some(_) => self.room(pos, wanted, false).bytes,
        };
        most.min(SLICE)
    }

    /// Writes bytes of `src` at `pos` in place, also after the end of the stream if they begin there or
    /// before. Returns their number, the reason for the end, and whether the stream has grown.
    ///
    /// The caller has locked the bytes for writing. So nobody else moves the end from where these
    /// begin: others who write are after it, and all other changes need the write side.
    pub(super) fn write_in_place(
        &self,
        pos: u64,
        src: &mut SourceIter<'_, '_>,
    ) -> (Progress, bool) {
        let len = self.buffer.len();
        if pos > len {
            let nothing = Progress {
                bytes: 0,
                end: Ok(()),
            };
            return (nothing, false);
        }
        let wanted = pos.saturating_add(src.remaining() as u64);
        let progress = self.buffer.overwrite(pos, wanted, src);
        let end = pos.saturating_add(progress.bytes as u64);
        let grows = end > len;
        if grows {
            // The next one to move the end begins where this one has moved it to. So `i_size` first.
            self.tell_len(end);
            self.buffer.extend_to(end);
        }
        (progress, grows)
    }
}

impl Inner {
    /// Removes memory that was put at the end ahead of writes: no more than a run.
    pub(super) fn remove_ahead(&mut self) {
        if self.buffer.remove_ahead() {
            self.freed();
        }
    }
}

impl Stream {
    /// As [`Stream::notify_readers`], after bytes were added under the read side.
    pub(super) fn notify_grown(&self) {
        if self.more.has_any() {
            // A task that has looked before is asleep when this gets the write side.
            drop(self.change_bytes());
        }
        self.notify_readers();
    }
}
