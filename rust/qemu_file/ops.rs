// SPDX-License-Identifier: GPL-2.0

//! The operations of a backend.

use super::Pieces;
use kernel::prelude::*;

/// A block of memory that is read in place when the file is flushed.
pub trait Block: Copy {
    /// Its length in bytes.
    fn len(&self) -> usize;

    /// Removes its first `len` bytes.
    fn advance(&mut self, len: usize);

    /// Appends `next` if it begins at the end of this block. Returns whether it does.
    fn extend(&mut self, next: &Self) -> bool;
}

/// The backend of a [`QemuFile`](super::QemuFile): the twin of `QEMUFileOps` and its `opaque`.
pub trait Ops {
    /// The blocks of [`put_buffer_async`](super::QemuFile::put_buffer_async).
    type Block: Block;

    /// The latched error, or [`Ok`].
    fn get_error(&self) -> Result;

    /// Latches an error if none is latched.
    fn set_error(&mut self, error: Error);

    /// Writes the bytes of all pieces at position `pos`. Returns the number of bytes and the reason
    /// for the end. Fewer bytes without an error are a short write.
    fn writev_buffer(&mut self, pieces: Pieces<'_, Self::Block>, pos: u64) -> (usize, Result);

    /// Reads bytes from position `pos` on. Returns the number of bytes: 0 at the end only. If there
    /// are none yet, waits or returns [`EAGAIN`].
    fn get_buffer(&mut self, buf: &mut [u8], pos: u64) -> Result<usize>;

    /// The number of the `size` bytes from position `pos` on that exist: 0 at the end only. Waits
    /// as [`Self::get_buffer`] does.
    fn skip_buffer(&mut self, size: u64, pos: u64) -> Result<u64>;

    /// Tells the backend that the file has been read up to position `pos`.
    fn passed(&mut self, pos: u64);
}
