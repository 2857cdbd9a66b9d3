// SPDX-License-Identifier: GPL-2.0

//! The memory between a file and a backend that wants to be called seldom.
//!
//! While a file is written, it holds what is to be flushed: bytes that were copied into it, and
//! references to bytes that stay where they are. While a file is read, it holds what was read
//! ahead.

use super::IO_BUF_SIZE;
use core::ops::Range;
use kernel::{
    alloc::Flags,
    prelude::*, //
};

/// The most pieces that wait to be flushed: `MAX_IOV_SIZE`.
pub(super) const MAX_PIECES: usize = 64;

/// Staging memory is kept on behalf of whoever uses the stream.
const STAGING_FLAGS: Flags = GFP_KERNEL_ACCOUNT;

/// Bytes that wait to be flushed.
enum Piece<'a> {
    /// A range of the staging buffer.
    Staged(Range<usize>),
    /// A range of a block of memory that stays where it is.
    Borrowed(&'a [u8], Range<usize>),
}

impl Piece<'_> {
    fn range(&mut self) -> &mut Range<usize> {
        match self {
            Piece::Staged(range) | Piece::Borrowed(_, range) => range,
        }
    }
}

/// Bytes on their way to or from a backend.
pub(super) struct Staging<'a> {
    /// The staging buffer: of [`IO_BUF_SIZE`] bytes once it is used.
    buf: KVec<u8>,
    /// What is staged in `buf`: to be flushed, or not yet read.
    staged: Range<usize>,
    pieces: KVec<Piece<'a>>,
}

impl<'a> Staging<'a> {
    pub(super) const fn new() -> Self {
        Self {
            buf: KVec::new(),
            staged: 0..0,
            pieces: KVec::new(),
        }
    }

    /// Sees to it that there is the memory.
    pub(super) fn prepare(&mut self) -> Result {
        self.buf.resize(IO_BUF_SIZE, 0, STAGING_FLAGS)?;
        let more = MAX_PIECES - self.pieces.len();
        Ok(self.pieces.reserve(more, STAGING_FLAGS)?)
    }

    /// Forgets all bytes.
    pub(super) fn discard(&mut self) {
        self.staged = 0..0;
        self.pieces.clear();
    }

    /// Whether bytes wait to be flushed.
    pub(super) fn is_dirty(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Whether a piece, and `len` bytes in the staging buffer, can be added before a flush.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.pieces.len() < MAX_PIECES && IO_BUF_SIZE - self.staged.end >= len
    }

    /// Copies from `bytes` what there is room for, and returns how much that was.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<usize> {
        let start = self.staged.end;
        let room = self.buf.get_mut(start..).unwrap_or_default();
        let len = copy(bytes, room);
        self.add_piece(Piece::Staged(start..start + len))?;
        self.staged.end += len;
        Ok(len)
    }

    /// Adds a range of a block that stays where it is; it must lie in the block.
    pub(super) fn add_borrowed(&mut self, block: &'a [u8], range: Range<usize>) -> Result {
        self.add_piece(Piece::Borrowed(block, range))
    }

    /// Adds a piece, to the last one if it goes on where that one ends.
    fn add_piece(&mut self, mut piece: Piece<'a>) -> Result {
        let range = piece.range().clone();
        if range.start == range.end {
            return Ok(());
        }
        if let Some(last) = self.pieces.last_mut() {
            let same = match (&*last, &piece) {
                (Piece::Staged(_), Piece::Staged(_)) => true,
                (Piece::Borrowed(block, _), Piece::Borrowed(other, _)) => {
                    core::ptr::eq(*block, *other)
                }
                _ => false,
            };
            if same && last.range().end == range.start {
                last.range().end = range.end;
                return Ok(());
            }
        }
        Ok(self.pieces.push(piece, STAGING_FLAGS)?)
    }

    /// The pieces to be flushed, in order; empty ones make the number up.
    pub(super) fn iov(&self) -> ([&[u8]; MAX_PIECES], usize) {
        let mut iov: [&[u8]; MAX_PIECES] = [&[]; MAX_PIECES];
        for (slice, piece) in iov.iter_mut().zip(&*self.pieces) {
            let bytes = match piece {
                Piece::Staged(range) => self.buf.get(range.clone()),
                Piece::Borrowed(block, range) => block.get(range.clone()),
            };
            *slice = bytes.unwrap_or_default();
        }
        (iov, self.pieces.len().min(MAX_PIECES))
    }

    /// The number of bytes to be flushed.
    pub(super) fn to_flush(&self) -> usize {
        let len = |piece: &Piece<'_>| match piece {
            Piece::Staged(range) | Piece::Borrowed(_, range) => range.len(),
        };
        self.pieces.iter().map(len).sum()
    }

    /// Takes `len` bytes that were flushed out of the pieces.
    pub(super) fn flushed(&mut self, mut len: usize) {
        self.pieces.retain(|piece| {
            let range = piece.range();
            let gone = len.min(range.len());
            range.start += gone;
            len -= gone;
            range.start < range.end
        });
        if self.pieces.is_empty() {
            self.discard();
        }
    }

    /// What was read ahead.
    pub(super) fn unread(&self) -> &[u8] {
        match self.is_dirty() {
            true => &[],
            false => self.buf.get(self.staged.clone()).unwrap_or_default(),
        }
    }

    /// Forgets what was read ahead.
    pub(super) fn drop_unread(&mut self) {
        if !self.is_dirty() {
            self.staged = 0..0;
        }
    }

    /// Room to read ahead into, behind what is unread.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.staged.start > 0 {
            self.buf.copy_within(self.staged.clone(), 0);
            self.staged = 0..self.staged.len();
        }
        self.buf.get_mut(self.staged.end..).unwrap_or_default()
    }

    /// Adds `len` bytes of [`Self::room`] to what is unread.
    pub(super) fn filled(&mut self, len: usize) {
        self.staged.end = self.staged.end.saturating_add(len).min(self.buf.len());
    }

    /// Takes up to `len` bytes out of what is unread, and returns how many.
    pub(super) fn consume(&mut self, len: usize) -> usize {
        let len = len.min(self.unread().len());
        self.staged.start += len;
        len
    }
}

/// Copies as many bytes as both slices have room for, and returns how many.
pub(super) fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let len = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    len
}

#[kunit_tests(qemufile_qemu_file_staging)]
mod tests {
    use super::*;

    fn prepared<'a>() -> Result<Staging<'a>> {
        let mut staging = Staging::new();
        staging.prepare()?;
        Ok(staging)
    }

    #[test]
    fn neighbours_become_one_piece() -> Result {
        let block = [7; 100];
        let other = [7; 100];
        let mut staging = prepared()?;
        staging.add(b"QE")?;
        staging.add(b"MU")?;
        assert_eq!(staging.pieces.len(), 1);
        staging.add_borrowed(&block, 10..20)?;
        staging.add_borrowed(&block, 20..30)?;
        assert_eq!(staging.pieces.len(), 2);
        staging.add_borrowed(&block, 31..32)?;
        staging.add_borrowed(&other, 32..33)?;
        staging.add(b"!")?;
        assert_eq!(staging.pieces.len(), 5);
        staging.add_borrowed(&other, 0..0)?;
        staging.add(b"")?;
        assert_eq!(staging.pieces.len(), 5);
        let (iov, count) = staging.iov();
        assert_eq!(count, 5);
        assert_eq!(
            (iov[0], iov[1].len(), iov[4]),
            (&b"QEMU"[..], 20, &b"!"[..])
        );
        Ok(())
    }

    #[test]
    fn what_was_flushed_is_taken_out() -> Result {
        let block = [7; 10];
        let mut staging = prepared()?;
        staging.add(b"QEMU")?;
        staging.add_borrowed(&block, 0..10)?;
        assert_eq!(staging.to_flush(), 14);
        staging.flushed(3);
        assert_eq!(staging.to_flush(), 11);
        assert_eq!(staging.iov().0[0], b"U");
        staging.flushed(5);
        assert_eq!(staging.iov().0[0].len(), 6);
        assert!(staging.is_dirty());
        // The buffer's room comes back with the last byte only.
        assert!(!staging.has_room(IO_BUF_SIZE));
        staging.flushed(6);
        assert!(!staging.is_dirty());
        assert!(staging.has_room(IO_BUF_SIZE));
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_left() -> Result {
        let mut staging = prepared()?;
        assert_eq!(staging.add(&[1; IO_BUF_SIZE - 3])?, IO_BUF_SIZE - 3);
        assert!(staging.has_room(3));
        assert!(!staging.has_room(4));
        assert_eq!(staging.add(b"QEMU")?, 3);
        assert_eq!(staging.add(b"U")?, 0);
        Ok(())
    }

    #[test]
    fn what_was_read_ahead_is_consumed() -> Result {
        let mut staging = prepared()?;
        assert_eq!(staging.room().len(), IO_BUF_SIZE);
        copy(b"migration", staging.room());
        staging.filled(9);
        assert_eq!(staging.consume(5), 5);
        assert_eq!(staging.unread(), b"tion");
        assert_eq!(staging.room().len(), IO_BUF_SIZE - 4);
        assert_eq!(staging.unread(), b"tion");
        assert_eq!(staging.consume(9), 4);
        copy(b"ram", staging.room());
        staging.filled(3);
        staging.drop_unread();
        assert_eq!(staging.unread(), b"");
        Ok(())
    }
}
