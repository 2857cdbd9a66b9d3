// SPDX-License-Identifier: GPL-2.0

//! What a backend can do.

use super::Pieces;
use kernel::prelude::*;

/// A block of memory that is read where it is, when the file is flushed.
pub trait Block: Copy {
    /// Its length in bytes.
    fn len(&self) -> usize;

    /// Takes away its first `len` bytes.
    fn advance(&mut self, len: usize);

    /// Adds `next` if that begins where this block ends. Returns whether it does.
    fn extend(&mut self, next: &Self) -> bool;
}

/// The backend of a [`QemuFile`](super::QemuFile): the twin of `QEMUFileOps` and its `opaque`.
pub trait Ops {
    /// The memory that [`put_buffer_async`](super::QemuFile::put_buffer_async) takes.
    type Block: Block;

    /// The latched error, or [`Ok`].
    fn get_error(&self) -> Result;

    /// Latches an error, unless there is one.
    fn set_error(&mut self, error: Error);

    /// Takes the bytes of all pieces for position `pos`. Returns how many, and why no more. Fewer
    /// without an error is a short write.
    fn writev_buffer(&mut self, pieces: Pieces<'_, Self::Block>, pos: u64) -> (usize, Result);

    /// Gives bytes from position `pos` on, and returns how many: 0 at the end only. Waits if there
    /// are none yet, or returns [`EAGAIN`].
    fn get_buffer(&mut self, buf: &mut [u8], pos: u64) -> Result<usize>;

    /// How many of the `size` bytes from position `pos` on exist: 0 at the end only. Waits as
    /// [`Self::get_buffer`] does.
    fn skip_buffer(&mut self, size: u64, pos: u64) -> Result<u64>;

    /// The file has been read up to position `pos`.
    fn passed(&mut self, pos: u64);
}
