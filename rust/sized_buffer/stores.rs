// SPDX-License-Identifier: GPL-2.0

//! Stores: writes to pages of a buffer that do not go through the buffer.
//!
//! A writable mapping stores to pages, and so does a device that was given an address in it
//! (`O_DIRECT`). The buffer learns of the first store to a page ([`SizedBuffer::page_to_write`]),
//! and of nothing after that, until its user has removed the mappings.
//!
//! # The cut
//!
//! A clone is a cut through all stores: it has those before it, and none after. The buffer's user
//! removes all mappings, under the lock that page faults take. Then no task can store, and each
//! task that tries waits in its page fault. The clone shares all pages. The next store to a page
//! faults and copies it ([`cow`](super::cow)).
//!
//! A device can still store to pages that it was given before. Such a page has a reference that no
//! slot owns. The clone gets a copy of it, as after `fork(2)`, and the page stays exclusive to this
//! buffer, so that the rest of the data arrives where it is expected.

use super::{
    SizedBuffer,
    PAGE_BYTES, //
};
use crate::sys::{
    alloc::GFP_STREAM,
    page::{
        PageRef,
        PAGE_SIZE, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::Atomic, //
};

impl SizedBuffer {
    /// Whether there may be stores that the buffer does not learn of.
    pub const fn has_stores(&self) -> bool {
        self.stores
    }

    /// Whether the page of the byte at `pos` is exclusive to this buffer.
    pub fn is_exclusive(&self, pos: u64) -> bool {
        self.tree.find_exclusive(pos / PAGE_BYTES).is_some()
    }

    /// The page of the byte at `pos`, for a mapping that writes to it. Others who hold the page keep
    /// it as it is: the buffer gets a copy. A hole gets a page of zeros. `held` references to the
    /// page are the caller's own, and no reason for a copy.
    ///
    /// Fails with [`ENOMEM`].
    pub fn page_to_write(&mut self, pos: u64, held: usize) -> Result<&PageRef> {
        let index = pos / PAGE_BYTES;
        self.tree.change(index, |mut leaf, slot| {
            // Marks it, so it is owned already.
            leaf.may_write_held(slot, held);
            leaf.own_page(slot)
        })??;
        self.stores = true;
        self.tree.get(index).ok_or(ENOMEM)
    }

    /// Makes another buffer with the same bytes. The two share them until one is written to.
    ///
    /// The twin of `qsb_clone`. Takes O(1) time and no memory, for any length, if there were no
    /// stores since the last clone; otherwise time proportional to the nodes that the buffer does
    /// not share, and memory for the pages that others are still storing to. Unlike in QEMU, the
    /// clone has the length of the source.
    ///
    /// No mapping may write to the buffer. Fails with [`ENOMEM`], also beyond 2^28 clones.
    pub fn try_clone(&mut self) -> Result<Self> {
        // The clone would share it, and each of the two would copy zeros.
        self.try_remove_ahead()?;
        self.clear_tail();
        let mut busy = KVec::new();
        if self.stores {
            self.tree.each_busy(|index| busy.push(index, GFP_STREAM))?;
        }
        let cloned = self.clone_but(&busy);
        // Nobody else knows these pages now, so the nodes on the way to them are not shared, and
        // this allocates nothing.
        for &index in busy.iter() {
            self.tree.change(index, |mut leaf, slot| leaf.keep(slot))?;
        }
        self.stores = !busy.is_empty();
        cloned
    }

    /// A clone with copies of the pages at the indices `copied`.
    fn clone_but(&self, copied: &[u64]) -> Result<Self> {
        let mut clone = Self {
            tree: self.tree.try_clone()?,
            len: Atomic::new(self.len()),
            ahead: 0,
            stores: false,
        };
        for &index in copied {
            let tree = &mut clone.tree;
            tree.change(index, |mut leaf, slot| leaf.own_page(slot))??;
        }
        if !copied.is_empty() {
            // A device may have stored after the end since `clear_tail()`.
            clone.zero_tail();
        }
        Ok(clone)
    }

    /// Whether somebody may still store to a page, although no mapping can.
    pub fn is_busy(&mut self) -> Result<bool> {
        let mut busy = false;
        if self.stores {
            self.tree.each_busy(|_| {
                busy = true;
                Ok(())
            })?;
        }
        Ok(busy)
    }

    /// The page of the byte at `pos`, for a holder that must not see later changes: a reference, as
    /// from [`Self::lend`], or a copy if others may still store to the page. [`None`] in a hole.
    ///
    /// No mapping may write to the page. Fails with [`ENOMEM`].
    pub fn lend_settled(&self, pos: u64) -> Result<Option<PageRef>> {
        let index = pos / PAGE_BYTES;
        let Some((leaf, slot)) = self.tree.find_exclusive(index) else {
            return self.lend(pos);
        };
        let (is_last, used) = (
            index == self.len() / PAGE_BYTES,
            (self.len() % PAGE_BYTES) as usize,
        );
        if self.stores && leaf.is_busy(slot) {
            let copy = PageRef::alloc_run(0)?.next().ok_or(ENOMEM)?;
            if let Some(page) = leaf.get(slot) {
                copy.copy_from(0, page, PAGE_SIZE);
            }
            // A page that others get has zeros after the end.
            if is_last {
                copy.zero(used, PAGE_SIZE - used);
            }
            return Ok(Some(copy));
        }
        if is_last {
            self.clear_tail();
        }
        Ok(leaf.lend(slot)?)
    }

    /// Sets the length to `len`, if it is greater.
    pub(super) fn grow_to(&mut self, len: u64) {
        if len > self.len() {
            self.clear_tail();
            self.set_end(len);
        }
    }

    /// Zeroes the bytes of the last page after the end, where mappings have written.
    ///
    /// A page that is not exclusive has zeros there: the bytes are cleared before it is shared.
    pub(super) fn clear_tail(&self) {
        if self.stores {
            self.zero_tail();
        }
    }

    /// Zeroes the bytes of the last page after the end, if the page is exclusive.
    fn zero_tail(&self) {
        let used = (self.len() % PAGE_BYTES) as usize;
        if used == 0 {
            return;
        }
        if let Some((leaf, slot)) = self.tree.find_exclusive(self.len() / PAGE_BYTES) {
            if let Some(page) = leaf.get(slot) {
                page.zero(used, PAGE_SIZE - used);
            }
        }
    }
}

#[kunit_tests(qemufile_sized_buffer_stores)]
mod tests {
    use super::*;

    /// The first byte of the page at `pos`.
    fn byte_at(buffer: &SizedBuffer, pos: u64) -> Option<u8> {
        let mut byte = [0xff];
        (buffer.read_at(pos, &mut byte) == 1).then_some(byte[0])
    }

    #[test]
    fn a_store_fills_a_hole_and_copies_what_is_shared() -> Result {
        let mut buffer = SizedBuffer::from_slice(b"migration")?;
        drop(buffer.set_len(100 * PAGE_BYTES)?);
        assert!(!buffer.has_stores());
        buffer.page_to_write(70 * PAGE_BYTES, 0)?.write(0, b"x");
        assert!(buffer.has_stores() && buffer.is_exclusive(70 * PAGE_BYTES));
        assert_eq!(buffer.allocated(), 2 * PAGE_BYTES);
        let clone = buffer.try_clone()?;
        assert!(!buffer.has_stores() && !buffer.is_exclusive(70 * PAGE_BYTES));
        buffer.page_to_write(70 * PAGE_BYTES, 0)?.write(0, b"y");
        buffer.page_to_write(0, 0)?.write(0, b"M");
        assert_eq!(byte_at(&clone, 70 * PAGE_BYTES), Some(b'x'));
        assert_eq!(byte_at(&clone, 0), Some(b'm'));
        assert_eq!(byte_at(&buffer, 70 * PAGE_BYTES), Some(b'y'));
        assert_eq!(byte_at(&buffer, 0), Some(b'M'));
        Ok(())
    }

    #[test]
    fn the_callers_own_reference_is_no_reason_for_a_copy() -> Result {
        for others in 0..2 {
            let mut buffer = SizedBuffer::from_slice(b"migration")?;
            drop(buffer.try_clone()?);
            let own = buffer.page_to_map(0)?.try_clone()?;
            let other = (others > 0).then(|| own.try_clone()).transpose()?;
            let stays = buffer.page_to_write(0, 1)?.is(&own);
            assert_eq!(stays, other.is_none());
        }
        Ok(())
    }

    #[test]
    fn a_page_that_a_device_has_is_copied_for_the_clone() -> Result {
        let mut buffer = SizedBuffer::new();
        drop(buffer.set_len(200 * PAGE_BYTES)?);
        buffer.page_to_write(0, 0)?.write(0, b"a");
        let device = buffer.page_to_write(130 * PAGE_BYTES, 0)?.try_clone()?;
        device.write(0, b"a");
        assert!(buffer.is_busy()?);
        let clone = buffer.try_clone()?;
        assert!(buffer.has_stores() && buffer.is_exclusive(130 * PAGE_BYTES));
        assert!(!buffer.is_exclusive(0));
        device.write(0, b"b");
        assert_eq!(byte_at(&clone, 130 * PAGE_BYTES), Some(b'a'));
        assert_eq!(byte_at(&buffer, 130 * PAGE_BYTES), Some(b'b'));
        buffer.write_at(130 * PAGE_BYTES + 1, b"c")?;
        device.write(0, b"d");
        assert_eq!(byte_at(&buffer, 130 * PAGE_BYTES), Some(b'd'));
        drop(device);
        assert!(!buffer.is_busy()?);
        let clone = buffer.try_clone()?;
        assert!(!buffer.has_stores());
        assert_eq!(byte_at(&clone, 130 * PAGE_BYTES), Some(b'd'));
        Ok(())
    }

    #[test]
    fn a_run_that_a_device_has_a_page_of_is_copied_for_the_clone() -> Result {
        let mut buffer = SizedBuffer::new();
        let mut bytes = KVec::new();
        bytes.resize(32 * PAGE_SIZE, b'a', GFP_STREAM)?;
        buffer.write_at(0, &bytes)?;
        let device = buffer.page_to_write(3 * PAGE_BYTES, 0)?.try_clone()?;
        buffer.page_to_write(40 * PAGE_BYTES, 0)?.write(0, b"a");
        let clone = buffer.try_clone()?;
        device.write(0, b"b");
        assert_eq!(byte_at(&buffer, 3 * PAGE_BYTES), Some(b'b'));
        assert_eq!(byte_at(&clone, 3 * PAGE_BYTES), Some(b'a'));
        // The other pages of the run, and of no other.
        assert!(buffer.is_exclusive(0) && !buffer.is_exclusive(40 * PAGE_BYTES));
        assert!(!buffer.is_exclusive(31 * PAGE_BYTES));
        drop(device);
        assert!(buffer.has_stores() && !buffer.is_busy()?);
        Ok(())
    }

    #[test]
    fn bytes_after_the_end_do_not_come_back() -> Result {
        let mut buffer = SizedBuffer::from_slice(b"migration")?;
        let store = |buffer: &mut SizedBuffer| -> Result {
            let page = buffer.page_to_write(0, 0)?;
            page.write(9, &[7; 100]);
            Ok(())
        };
        store(&mut buffer)?;
        let mut clone = buffer.try_clone()?;
        drop(clone.set_len(20)?);
        assert_eq!(byte_at(&clone, 10), Some(0));
        store(&mut buffer)?;
        drop(buffer.set_len(20)?);
        assert_eq!(byte_at(&buffer, 10), Some(0));
        buffer.page_to_write(0, 0)?.write(20, &[7; 100]);
        buffer.write_at(30, b"x")?;
        assert_eq!(byte_at(&buffer, 25), Some(0));
        buffer.page_to_write(0, 0)?.write(31, &[7; 100]);
        let lent = buffer.lend_settled(0)?.ok_or(EINVAL)?;
        let mut byte = [0xff];
        assert_eq!((lent.read(40, &mut byte), byte), (1, [0]));
        assert!(!buffer.is_exclusive(0));
        Ok(())
    }

    #[test]
    fn stores_of_a_device_beside_a_range_that_is_taken_are_kept() -> Result {
        let mut buffer = SizedBuffer::new();
        drop(buffer.set_len(4 * PAGE_BYTES)?);
        let first = buffer.page_to_write(0, 0)?.try_clone()?;
        let last = buffer.page_to_write(2 * PAGE_BYTES, 0)?.try_clone()?;
        let mut zeros = SizedBuffer::new();
        let range = 10..2 * PAGE_BYTES + 10;
        zeros.reserve(range.start, range.end - range.start)?;
        first.write(9, b"aa");
        buffer.take_range(range, &mut zeros, true)?;
        first.write(8, b"b");
        last.write(10, b"c");
        for (pos, byte) in [(8, b'b'), (9, b'a'), (10, 0), (2 * PAGE_BYTES + 10, b'c')] {
            assert_eq!(byte_at(&buffer, pos), Some(byte));
        }
        assert_eq!(
            (buffer.len(), buffer.allocated()),
            (4 * PAGE_BYTES, 3 * PAGE_BYTES)
        );
        let mut small = SizedBuffer::new();
        small.write_at(20, b"small")?;
        buffer.take_range(20..25, &mut small, true)?;
        first.write(25, b"d");
        assert_eq!(
            (byte_at(&buffer, 24), byte_at(&buffer, 25)),
            (Some(b'l'), Some(b'd'))
        );
        Ok(())
    }

    #[test]
    fn all_pages_of_a_folio_are_lent_without_a_copy() -> Result {
        let buffer = SizedBuffer::from_slice(&[7; 16 * PAGE_SIZE])?;
        assert!(buffer.chunks() < 16);
        let mut lent = KVec::new();
        for pos in (0..16).map(|page| page * PAGE_BYTES) {
            let page = buffer.lend_settled(pos)?.ok_or(EINVAL)?;
            assert!(buffer.mapped_page(pos).is_some_and(|own| own.is(&page)));
            lent.push(page, GFP_STREAM)?;
        }
        Ok(())
    }

    #[test]
    fn what_a_device_has_is_lent_as_a_copy() -> Result {
        let mut buffer = SizedBuffer::from_slice(b"migration")?;
        let device = buffer.page_to_write(0, 0)?.try_clone()?;
        let lent = buffer.lend_settled(0)?.ok_or(EINVAL)?;
        device.write(0, b"M");
        let mut byte = [0xff];
        assert_eq!((lent.read(0, &mut byte), byte), (1, *b"m"));
        assert_eq!(byte_at(&buffer, 0), Some(b'M'));
        assert!(buffer.lend_settled(PAGE_BYTES)?.is_none());
        Ok(())
    }
}
