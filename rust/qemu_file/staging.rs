// SPDX-License-Identifier: GPL-2.0

//! What was put and not yet flushed: bytes that were copied, and blocks that stay where they are.

use super::{
    few::Few,
    Block,
    IO_BUF_SIZE, //
};
use core::slice;
use kernel::prelude::*;

/// The most pieces that wait to be flushed: `MAX_IOV_SIZE`.
const MAX_PIECES: usize = 64;

/// The bytes of the longest value.
const MAX_VALUE: usize = 8;

#[derive(Clone, Copy)]
enum Entry<B> {
    /// A range of the staging buffer.
    Staged {
        start: usize,
        end: usize,
    },
    Block(B),
}

impl<B: Block> Entry<B> {
    fn len(&self) -> usize {
        match self {
            Self::Staged { start, end } => end - start,
            Self::Block(block) => block.len(),
        }
    }

    fn advance(&mut self, len: usize) {
        match self {
            Self::Staged { start, .. } => *start += len,
            Self::Block(block) => block.advance(len),
        }
    }
}

/// A run of bytes to be flushed.
pub enum Piece<'s, B> {
    /// Bytes that were copied.
    Bytes(&'s [u8]),
    /// Bytes that stay where they are.
    Block(&'s B),
}

/// All bytes to be flushed, in order, in at most 64 pieces.
pub struct Pieces<'s, B> {
    buf: &'s [u8],
    entries: slice::Iter<'s, Entry<B>>,
}

impl<B: Block> Pieces<'_, B> {
    /// How many bytes there are in all.
    pub fn bytes(&self) -> usize {
        self.entries.as_slice().iter().map(Entry::len).sum()
    }
}

impl<'s, B> Iterator for Pieces<'s, B> {
    type Item = Piece<'s, B>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.entries.next()? {
            Entry::Staged { start, end } => {
                Piece::Bytes(self.buf.get(*start..*end).unwrap_or_default())
            }
            Entry::Block(block) => Piece::Block(block),
        })
    }
}

/// Bytes on their way to a backend. A header needs no allocation.
pub(crate) struct Staging<B> {
    buf: Few<u8, 64>,
    entries: Few<Entry<B>, 8>,
}

impl<B: Block> Staging<B> {
    /// `expected` is how many values and blocks may be added before a flush.
    pub(super) const fn new(expected: usize) -> Self {
        let bytes = expected.saturating_mul(MAX_VALUE);
        let (bytes, entries) = (
            if bytes < IO_BUF_SIZE {
                bytes
            } else {
                IO_BUF_SIZE
            },
            if expected < MAX_PIECES {
                expected
            } else {
                MAX_PIECES
            },
        );
        Self {
            buf: Few::new(0, bytes),
            entries: Few::new(Entry::Staged { start: 0, end: 0 }, entries),
        }
    }

    /// Forgets all bytes.
    pub(super) fn discard(&mut self) {
        self.buf.clear();
        self.entries.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.as_slice().is_empty()
    }

    /// Whether an entry, and `len` bytes in the staging buffer, can be added before a flush.
    pub(super) fn has_room(&self, len: usize) -> bool {
        let staged = self.buf.as_slice().len();
        self.entries.as_slice().len() < MAX_PIECES && staged.saturating_add(len) <= IO_BUF_SIZE
    }

    /// Copies `bytes`, which become a part of the last entry if that was copied, too.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result {
        let begin = self.buf.as_slice().len();
        self.buf.extend(bytes)?;
        let after = begin + bytes.len();
        match self.entries.as_mut_slice().last_mut() {
            Some(Entry::Staged { end, .. }) => *end = after,
            _ => self.entries.extend(&[Entry::Staged {
                start: begin,
                end: after,
            }])?,
        }
        Ok(())
    }

    /// Adds a block that stays where it is, to the last one if it goes on where that one ends.
    pub(super) fn add_block(&mut self, block: B) -> Result {
        if let Some(Entry::Block(last)) = self.entries.as_mut_slice().last_mut() {
            if last.extend(&block) {
                return Ok(());
            }
        }
        self.entries.extend(&[Entry::Block(block)])
    }

    /// What is to be flushed.
    pub(super) fn pieces(&self) -> Pieces<'_, B> {
        Pieces {
            buf: self.buf.as_slice(),
            entries: self.entries.as_slice().iter(),
        }
    }

    /// The number of bytes to be flushed.
    pub(crate) fn bytes(&self) -> usize {
        self.pieces().bytes()
    }

    /// Takes away the first `len` bytes, which were flushed.
    pub(super) fn flushed(&mut self, mut len: usize) {
        let mut gone = 0;
        for entry in self.entries.as_slice() {
            if entry.len() > len {
                break;
            }
            len -= entry.len();
            gone += 1;
        }
        self.entries.remove_first(gone);
        if let Some(first) = self.entries.as_mut_slice().first_mut() {
            first.advance(len);
        }
        if self.is_empty() {
            self.discard();
        }
    }
}
