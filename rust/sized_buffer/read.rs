// SPDX-License-Identifier: GPL-2.0

//! Reading: the chunks of a range, and their bytes.

use super::{
    node::SLOTS,
    tree::Found,
    Sink,
    SizedBuffer,
    PAGE_BYTES, //
};
use crate::sys::page::PageRef;
use core::ops::Range;

/// A piece of a buffer's content: bytes that follow one another in memory, or zeros that have none.
pub struct Chunk<'a> {
    /// The page that has the first byte; [`None`] for a hole.
    pub page: Option<&'a PageRef>,
    /// Where in `page` the first byte is, in bytes.
    pub offset: usize,
    /// How many bytes there are, at least one. Those of data may go on past `page`, within its
    /// folio. A long hole may come as several chunks.
    pub len: usize,
}

impl SizedBuffer {
    /// What holds the byte at `pos`, from that byte on; [`None`] at the end and beyond.
    ///
    /// The twin of `qsb_get_iovec`. O(log n).
    pub fn chunk_at(&self, pos: u64) -> Option<Chunk<'_>> {
        self.chunks_in(pos..self.len).next()
    }

    /// The chunks of a range of bytes, in order, up to the end of the buffer.
    pub fn chunks_in(&self, range: Range<u64>) -> Chunks<'_> {
        Chunks {
            buffer: self,
            range: range.start..range.end.min(self.len),
        }
    }

    /// Reads to `sink` from `pos` on, until the sink takes no more or the buffer ends. Holes read
    /// as zeros.
    ///
    /// Returns how many bytes the sink took.
    pub fn read_to<S: Sink + ?Sized>(&self, pos: u64, sink: &mut S) -> usize {
        let end = pos.saturating_add(sink.remaining() as u64);
        let mut done = 0;
        for Chunk { page, offset, len } in self.chunks_in(pos..end) {
            let taken = match page {
                Some(page) => sink.copy_from_page(page, offset, len),
                None => sink.put_zeros(len),
            };
            done += taken;
            if taken < len {
                break;
            }
        }
        done
    }

    /// Reads into `bytes` from `pos` on, and returns how many bytes there were: fewer than asked
    /// for only at the end of the buffer.
    ///
    /// The twin of `qsb_get_buffer`.
    pub fn read_at(&self, pos: u64, mut bytes: &mut [u8]) -> usize {
        self.read_to(pos, &mut bytes)
    }
}

/// An iterator over the chunks of a range: see [`SizedBuffer::chunks_in`].
pub struct Chunks<'a> {
    buffer: &'a SizedBuffer,
    range: Range<u64>,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        if self.range.is_empty() {
            return None;
        }
        let pos = self.range.start;
        let index = pos / PAGE_BYTES;
        let (page, pages) = match self.buffer.tree.find(index) {
            Found::Nothing { until } => (None, until - index),
            Found::Leaf(leaf, slot) => match leaf.get(slot) {
                None => (None, leaf.hole_from(slot) as u64),
                Some(page) => {
                    let wanted = self.range.end.div_ceil(PAGE_BYTES) - index;
                    let wanted = usize::try_from(wanted).unwrap_or(SLOTS);
                    (Some(page), leaf.chunk_from(slot, wanted) as u64)
                }
            },
        };
        let end = index.saturating_add(pages).saturating_mul(PAGE_BYTES);
        let len = end.min(self.range.end) - pos;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.range.start += len as u64;
        Some(Chunk {
            page,
            offset: (pos % PAGE_BYTES) as usize,
            len,
        })
    }
}
