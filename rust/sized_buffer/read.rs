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
use kernel::prelude::*;

/// A piece of a buffer's content: bytes that are contiguous in memory, or zeros without memory.
pub struct Chunk<'a> {
    /// The page of the first byte; [`None`] for a hole.
    pub page: Option<&'a PageRef>,
    /// The offset of the first byte in `page`, in bytes.
    pub offset: usize,
    /// The length in bytes, at least one. Data may continue past `page`, within its folio. A long
    /// hole may be several chunks.
    pub len: usize,
}

impl SizedBuffer {
    /// The chunk from `pos` on; [`None`] at the end and beyond.
    ///
    /// The twin of `qsb_get_iovec`. Takes O(log n) time.
    pub fn chunk_at(&self, pos: u64) -> Option<Chunk<'_>> {
        self.chunks_in(pos..self.len()).next()
    }

    /// The chunks of a range of bytes, in order, up to the end of the buffer.
    pub fn chunks_in(&self, range: Range<u64>) -> Chunks<'_> {
        Chunks {
            buffer: self,
            range: range.start..range.end.min(self.len()),
        }
    }

    /// Reads from `pos` on to `sink`, until the sink is full or the buffer ends. Holes read as
    /// zeros.
    ///
    /// Returns the number of bytes that the sink took.
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

    /// Reads from `pos` on into `bytes`. Returns the number of bytes: fewer than requested only at
    /// the end of the buffer.
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

#[kunit_tests(qemufile_sized_buffer_read)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_at_the_end() -> Result {
        let buffer = SizedBuffer::from_slice(b"migration")?;
        let mut bytes = [0xff; 12];
        assert_eq!(buffer.read_at(4, &mut bytes), 5);
        assert_eq!(&bytes[..6], b"ation\xff");
        assert_eq!(buffer.read_at(9, &mut bytes), 0);
        assert_eq!(buffer.read_at(u64::MAX, &mut bytes), 0);
        assert_eq!(buffer.read_at(0, &mut []), 0);
        Ok(())
    }

    #[test]
    fn holes_read_as_zeros() -> Result {
        let mut buffer = SizedBuffer::new();
        buffer.write_at(1 << 40, b"x")?;
        let mut bytes = [0xff; 64];
        assert_eq!(buffer.read_at(0, &mut bytes), 64);
        assert!(bytes.iter().all(|byte| *byte == 0));
        assert_eq!(buffer.read_at((1 << 40) - 63, &mut bytes), 64);
        assert_eq!(&bytes[62..], b"\0x");
        Ok(())
    }

    #[test]
    fn chunks_cover_a_range_without_a_gap() -> Result {
        let mut buffer = SizedBuffer::new();
        buffer.write_at(3 * PAGE_BYTES, b"x")?;
        buffer.write_at(1 << 40, b"y")?;
        let mut len = 0;
        let mut data = 0;
        for chunk in buffer.chunks_in(1..u64::MAX) {
            len += chunk.len as u64;
            data += u64::from(chunk.page.is_some());
        }
        assert_eq!(len, buffer.len() - 1);
        assert_eq!(data, 2);
        Ok(())
    }

    #[test]
    fn a_chunk_begins_where_it_was_asked_for() -> Result {
        let mut buffer = SizedBuffer::from_slice(b"migration")?;
        let chunk = buffer.chunk_at(4).ok_or(EINVAL)?;
        assert_eq!((chunk.offset, chunk.len), (4, 5));
        let mut bytes = [0; 5];
        assert_eq!(
            chunk.page.map(|page| page.read(chunk.offset, &mut bytes)),
            Some(5)
        );
        assert_eq!(&bytes, b"ation");
        assert!(buffer.chunk_at(9).is_none());
        drop(buffer.set_len(1 << 40)?);
        assert!(buffer
            .chunk_at(PAGE_BYTES)
            .is_some_and(|chunk| chunk.page.is_none()));
        Ok(())
    }
}
