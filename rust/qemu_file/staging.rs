// SPDX-License-Identifier: GPL-2.0

//! Bytes that are put and not yet flushed: copied bytes, and blocks that stay in place.

use super::{
    few::Few,
    Block,
    IO_BUF_SIZE, //
};
use core::slice;
use kernel::prelude::*;

/// The largest number of staged pieces: `MAX_IOV_SIZE`.
const MAX_PIECES: usize = 64;

/// The length of the longest value, in bytes.
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
    /// Copied bytes.
    Bytes(&'s [u8]),
    /// Bytes that stay in place.
    Block(&'s B),
}

/// All bytes to be flushed, in order, in at most 64 pieces.
pub struct Pieces<'s, B> {
    buf: &'s [u8],
    entries: slice::Iter<'s, Entry<B>>,
}

impl<B: Block> Pieces<'_, B> {
    /// The total number of bytes.
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

/// Bytes staged for a backend. A header needs no allocation.
pub(crate) struct Staging<B> {
    buf: Few<u8, 64>,
    entries: Few<Entry<B>, 8>,
}

impl<B: Block> Staging<B> {
    /// `expected` is the expected number of values and blocks between two flushes.
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

    /// Drops all bytes.
    pub(super) fn discard(&mut self) {
        self.buf.clear();
        self.entries.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.as_slice().is_empty()
    }

    /// Whether there is room for another entry, and for `len` bytes in the staging buffer.
    pub(super) fn has_room(&self, len: usize) -> bool {
        let staged = self.buf.as_slice().len();
        self.entries.as_slice().len() < MAX_PIECES && staged.saturating_add(len) <= IO_BUF_SIZE
    }

    /// Copies `bytes`. They join the last entry if that was copied too.
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

    /// Adds a block that stays in place. It joins the last block if the two are adjacent.
    pub(super) fn add_block(&mut self, block: B) -> Result {
        if let Some(Entry::Block(last)) = self.entries.as_mut_slice().last_mut() {
            if last.extend(&block) {
                return Ok(());
            }
        }
        self.entries.extend(&[Entry::Block(block)])
    }

    /// The pieces to be flushed.
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

    /// Removes the first `len` bytes, after they were flushed.
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
