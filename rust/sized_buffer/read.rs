// SPDX-License-Identifier: GPL-2.0

//! Reading: the chunks of a range, and their bytes.

use super::{
    tree::Found,
    Sink,
    SizedBuffer,
    PAGE_BYTES, //
};
use crate::sys::page::{
    PageRef,
    PAGE_SIZE, //
};
use core::ops::Range;

/// A piece of a buffer's content.
pub enum Chunk<'a> {
    /// Bytes that follow one another in memory.
    Data {
        /// The page that has the first byte.
        page: &'a PageRef,
        /// Where in `page` the first byte is, in bytes.
        offset: usize,
        /// How many bytes there are, not 0. They may go on past `page`, within its folio.
        len: usize,
    },
    /// Zeros that take no memory.
    Hole {
        /// How many bytes, not 0. A long hole may come as several.
        len: u64,
    },
}

impl Chunk<'_> {
    /// The length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Chunk::Data { len, .. } => *len as u64,
            Chunk::Hole { len } => *len,
        }
    }

    /// The chunk up to `most` bytes, which must not be 0.
    fn up_to(self, most: u64) -> Self {
        match self {
            Chunk::Data { page, offset, len } => Chunk::Data {
                page,
                offset,
                len: usize::try_from(most).map_or(len, |most| most.min(len)),
            },
            Chunk::Hole { len } => Chunk::Hole { len: len.min(most) },
        }
    }
}

impl SizedBuffer {
    /// What holds the byte at `pos`, from that byte on; [`None`] at the end and beyond.
    ///
    /// The twin of `qsb_get_iovec`. O(log n).
    pub fn chunk_at(&self, pos: u64) -> Option<Chunk<'_>> {
        let left = self.len.checked_sub(pos).filter(|left| *left > 0)?;
        let index = pos / PAGE_BYTES;
        let offset = (pos % PAGE_BYTES) as usize;
        let hole = |until: u64| Chunk::Hole {
            len: until.saturating_mul(PAGE_BYTES) - pos,
        };
        let chunk = match self.tree.find(index) {
            Found::Nothing { until } => hole(until),
            Found::Leaf(leaf, slot) => match leaf.get(slot) {
                Some(page) => Chunk::Data {
                    page,
                    offset,
                    len: leaf.chunk_from(slot) * PAGE_SIZE - offset,
                },
                None => hole(index + leaf.hole_from(slot) as u64),
            },
        };
        Some(chunk.up_to(left))
    }

    /// The chunks of a range of bytes, in order, up to the end of the buffer.
    pub fn chunks_in(&self, range: Range<u64>) -> Chunks<'_> {
        Chunks {
            buffer: self,
            range,
        }
    }

    /// Reads to `sink` from `pos` on, until the sink takes no more or the buffer ends. Holes read
    /// as zeros.
    ///
    /// Returns how many bytes the sink took.
    pub fn read_to<S: Sink + ?Sized>(&self, pos: u64, sink: &mut S) -> usize {
        let mut done = 0;
        while let Some(at) = pos.checked_add(done as u64) {
            let room = sink.remaining();
            let Some(chunk) = self.chunk_at(at).filter(|_| room > 0) else {
                break;
            };
            let (taken, offered) = match chunk {
                Chunk::Data { page, offset, len } => {
                    let len = len.min(room);
                    (sink.copy_from_page(page, offset, len), len)
                }
                Chunk::Hole { len } => {
                    let len = usize::try_from(len).map_or(room, |len| len.min(room));
                    (sink.put_zeros(len), len)
                }
            };
            done += taken;
            if taken < offered {
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
        let left = self.range.end.checked_sub(self.range.start)?;
        let chunk = self
            .buffer
            .chunk_at(self.range.start)
            .filter(|_| left > 0)?;
        let chunk = chunk.up_to(left);
        self.range.start += chunk.size();
        Some(chunk)
    }
}
