// SPDX-License-Identifier: GPL-2.0

//! A sparse, growing, cloneable run of bytes: the store behind a migration stream.
//!
//! [`SizedBuffer`] is the twin of QEMU's `QEMUSizedBuffer` (`qsb_*`). Its bytes are in pages below
//! a radix tree ([`tree`]) of 64-slot nodes ([`node`]):
//!
//! - growing moves nothing: a taller tree gets a new root above the old one;
//! - a lookup takes O(log64 n) steps;
//! - holes take no memory, before, between or after the data;
//! - a clone shares the root, and so all pages, until one side writes (copy on write).
//!
//! # Invariants
//!
//! - Every byte at or after [`SizedBuffer::len`] is zero or has no page. So growing only changes
//!   the length, and never shows old bytes. The exception are bytes of the last page, while
//!   mappings may write to it: they are cleared when the buffer grows ([`stores`]).
//! - A page that was lent ([`SizedBuffer::lend`]), or that a clone shares, keeps its bytes for
//!   good. The rules are in [`cow`].
//! - A change of many pages takes O(log n) time. The memory that it removes from the buffer is
//!   returned as [`Removed`].
//!
//! # Units
//!
//! Positions and lengths are in bytes: `u64` in the buffer, `usize` in the caller's memory. The
//! largest length is [`MAX_LEN`].

mod ahead;
mod cow;
mod fresh;
mod node;
mod pages;
mod partial;
mod read;
mod sharing;
mod spare;
mod sparse;
mod stale;
mod stores;
mod tree;
mod write;

pub use self::{
    fresh::Fresh,
    pages::Filled,
    sharing::Difference,
    spare::Spare, //
};
pub use crate::sys::copy::{
    Progress,
    Sink,
    Source, //
};

use self::tree::Tree;
use crate::sys::page::PAGE_SIZE;
use core::ops::Range;
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    }, //
};

/// The largest length of a buffer, in bytes: the largest file offset.
pub const MAX_LEN: u64 = i64::MAX as u64;

/// [`PAGE_SIZE`] in the type of positions.
const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// A sparse run of bytes in pages, cheap to grow and to clone.
///
/// Dropping is the twin of `qsb_free`. It needs a stack bounded by the height of the tree, and
/// reschedules after each leaf.
pub struct SizedBuffer {
    tree: Tree,
    /// Grows under a shared reference, too: [`Self::extend_to`].
    len: Atomic<u64>,
    /// Where the pages end that were put after the end, ahead of writes: see [`ahead`]. 0 if there are
    /// none.
    ahead: u64,
    /// Whether a mapping, or somebody who reached a page through one, may write to exclusive pages:
    /// see [`stores`].
    stores: bool,
}

impl SizedBuffer {
    /// Makes an empty buffer without memory.
    ///
    /// The twin of `qsb_create(NULL, 0)`.
    pub const fn new() -> Self {
        Self {
            tree: Tree::new(),
            len: Atomic::new(0),
            ahead: 0,
            stores: false,
        }
    }

    /// Makes an empty buffer with memory for its first `capacity` bytes.
    ///
    /// The twin of `qsb_create(NULL, len)`. Errors are those of [`Self::reserve`].
    #[cfg(CONFIG_KUNIT = "y")]
    pub fn with_capacity(capacity: u64) -> Result<Self> {
        let mut buffer = Self::new();
        buffer.reserve(0, capacity)?;
        Ok(buffer)
    }

    /// Makes a buffer that holds a copy of `bytes`.
    ///
    /// The twin of `qsb_create(buffer, len)`. Fails with [`ENOMEM`] if there is no memory for all
    /// of them.
    #[cfg(CONFIG_KUNIT = "y")]
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        let mut buffer = Self::new();
        buffer.write_from(0, &mut &*bytes).end?;
        Ok(buffer)
    }

    /// The length in bytes: the position after the last byte. Holes count.
    ///
    /// The twin of `qsb_get_length`.
    pub fn len(&self) -> u64 {
        // Pairs with the release in `set_end()`: whoever sees the length sees the bytes before it.
        self.len.load(Acquire)
    }

    /// Makes `len` the length.
    fn set_end(&self, len: u64) {
        self.len.store(len, Release);
    }

    /// Whether the length is 0. The buffer may still have reserved memory.
    #[cfg(CONFIG_KUNIT = "y")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory held for content, in bytes: a multiple of the page size. Pages that a clone
    /// shares count in both.
    pub fn allocated(&self) -> u64 {
        self.tree.usage().pages.saturating_mul(PAGE_BYTES)
    }

    /// As [`Self::allocated`], plus the pages that mappings of holes show.
    pub fn held(&self) -> u64 {
        let usage = self.tree.usage();
        usage
            .pages
            .saturating_add(usage.shadows)
            .saturating_mul(PAGE_BYTES)
    }

    /// The number of memory chunks of the content. Adjacent pages of one folio are one chunk.
    pub fn chunks(&self) -> u64 {
        self.tree.usage().chunks
    }

    /// The range of bytes to unmap because of changes since the last call, in whole pages. Empty if
    /// there is none.
    pub fn take_stale(&mut self) -> Range<u64> {
        self.tree.stale.take()
    }
}

/// Memory that a change removed from a buffer.
///
/// Dropping it frees the memory, in time proportional to its size. Drop it without a lock.
#[must_use]
pub struct Removed(#[allow(dead_code, reason = "held to be dropped")] Tree);

impl Default for SizedBuffer {
    fn default() -> Self {
        Self::new()
    }
}

#[kunit_tests(qemufile_sized_buffer)]
mod tests {
    use super::*;

    #[test]
    fn a_new_buffer_holds_nothing() -> Result {
        let buffer = SizedBuffer::default();
        assert!(buffer.is_empty());
        assert_eq!(
            (buffer.len(), buffer.allocated(), buffer.chunks()),
            (0, 0, 0)
        );
        let buffer = SizedBuffer::with_capacity(0)?;
        assert_eq!((buffer.len(), buffer.allocated()), (0, 0));
        Ok(())
    }

    #[test]
    fn a_clone_has_the_same_length_and_bytes() -> Result {
        let mut buffer = SizedBuffer::from_slice(b"migration")?;
        let clone = buffer.try_clone()?;
        drop(buffer);
        assert_eq!(
            (clone.len(), clone.allocated(), clone.chunks()),
            (9, PAGE_BYTES, 1)
        );
        let mut bytes = [0; 9];
        assert_eq!(clone.read_at(0, &mut bytes), 9);
        assert_eq!(&bytes, b"migration");
        Ok(())
    }
}
