// SPDX-License-Identifier: GPL-2.0

//! A sparse, growing, cloneable run of bytes: the store behind a migration stream.
//!
//! [`SizedBuffer`] is the twin of QEMU's `QEMUSizedBuffer` (`qsb_*`). Its bytes are held in pages
//! that hang from a radix tree ([`tree`]) of 64-slot nodes ([`node`]), so that
//!
//! - growing moves nothing: a taller tree gets a new root above the old one;
//! - a lookup takes O(log64 n) steps;
//! - holes cost nothing, be they before, between or behind the data;
//! - a clone shares the root, and with it everything, until either side writes (copy on write).
//!
//! # Invariants
//!
//! - Every byte at or after [`SizedBuffer::len`] is zero, or has no page. Growing therefore needs
//!   only a new length, and never shows what was there before.
//! - A page that was lent ([`SizedBuffer::lend`]) or that a clone shares keeps its bytes for good:
//!   [`cow`] has the rules.
//! - A change of many pages takes O(log n) time. The memory that it takes out of the buffer comes
//!   back as [`Removed`].
//!
//! # Units
//!
//! Positions and lengths are in bytes, `u64` where they are the buffer's and `usize` where they
//! are those of memory that the caller holds. The largest length is [`MAX_LEN`].

mod cow;
mod node;
mod pages;
mod read;
mod sparse;
mod stale;
mod tree;
mod write;

pub use crate::sys::copy::{
    Progress,
    Sink,
    Source, //
};

use self::tree::Tree;
use crate::sys::page::PAGE_SIZE;
use core::ops::Range;
use kernel::prelude::*;

/// The largest length of a buffer, in bytes: the largest file offset.
pub const MAX_LEN: u64 = i64::MAX as u64;

/// [`PAGE_SIZE`] in the type of positions.
const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// A sparse run of bytes in pages, cheap to grow and to clone.
///
/// Dropping is the twin of `qsb_free`: the stack it needs is bounded by the height of the tree,
/// and it lets others run after each leaf.
pub struct SizedBuffer {
    tree: Tree,
    len: u64,
}

impl SizedBuffer {
    /// Makes an empty buffer, which holds no memory.
    ///
    /// The twin of `qsb_create(NULL, 0)`.
    pub const fn new() -> Self {
        Self {
            tree: Tree::new(),
            len: 0,
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
    /// The twin of `qsb_create(buffer, len)`. Fails with [`ENOMEM`] without memory for them all.
    #[cfg(CONFIG_KUNIT = "y")]
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        let mut buffer = Self::new();
        buffer.write_from(0, &mut &*bytes).end?;
        Ok(buffer)
    }

    /// Makes another buffer with the same bytes, which the two share until one is written to.
    ///
    /// The twin of `qsb_clone`. It takes O(1) time and no memory, whatever the length. Unlike
    /// there, the clone's length is the source's length. Fails with [`ENOMEM`] if there are more
    /// than 2^28 clones.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self {
            tree: self.tree.try_clone()?,
            len: self.len,
        })
    }

    /// The length in bytes: the position after the last byte. Holes count.
    ///
    /// The twin of `qsb_get_length`.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the length is 0. There may be reserved memory all the same.
    #[cfg(CONFIG_KUNIT = "y")]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The memory held for content, in bytes: a multiple of the page size. Pages that a clone
    /// shares count in both.
    pub fn allocated(&self) -> u64 {
        self.tree.usage().pages.saturating_mul(PAGE_BYTES)
    }

    /// As [`Self::allocated`], with the pages that mappings of holes show.
    pub fn held(&self) -> u64 {
        let usage = self.tree.usage();
        usage
            .pages
            .saturating_add(usage.shadows)
            .saturating_mul(PAGE_BYTES)
    }

    /// The number of chunks of memory that hold the content: pages that follow one another in one
    /// folio are one chunk.
    pub fn chunks(&self) -> u64 {
        self.tree.usage().chunks
    }

    /// The bytes, by whole pages, whose mappings have to be undone, because of changes since the
    /// last call. Empty if there are none.
    pub fn take_stale(&mut self) -> Range<u64> {
        self.tree.stale.take()
    }
}

/// Memory that a change has taken out of a buffer.
///
/// Dropping it frees the memory, which takes time in proportion: drop it when no lock is held.
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
        let buffer = SizedBuffer::from_slice(b"migration")?;
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
