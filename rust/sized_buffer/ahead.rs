// SPDX-License-Identifier: GPL-2.0

//! Writing at the end without a change of the tree.
//!
//! A program that appends short records would change the tree for each page. So a write at the end of
//! a long buffer puts a run of pages there, of which it uses the first ([`Fresh`](super::Fresh)). The next
//! writes fill the others in place ([`SizedBuffer::overwrite`]), and move the end over the bytes
//! ([`SizedBuffer::extend_to`]): both need a shared reference only. XFS does the like for blocks of a
//! disk (`xfs_iomap_prealloc_size()`).
//!
//! The pages ahead are zeros, as all bytes after the end are. They are removed when nobody is about to
//! write on, and before a clone: it would share them, and the next write would copy zeros.

use super::{
    node::SLOTS,
    tree::LeafMut,
    SizedBuffer,
    PAGE_BYTES, //
};
use crate::sys::page::PageRef;
use core::ops::Range;
use kernel::prelude::*;

impl SizedBuffer {
    /// Makes the bytes before `end`, which have been written by [`Self::overwrite`] from the end of the
    /// buffer on, a part of it.
    ///
    /// The caller makes sure that nobody else moves the end at the same time.
    pub fn extend_to(&self, end: u64) {
        if end > self.len() {
            self.set_end(end);
        }
    }

    /// Clears what a write in place may have left of bytes that it failed to get: those of `rest` that
    /// are in the first page of it, and after the end.
    pub(super) fn clear_failed(&self, rest: Range<u64>) {
        let page_end = (rest.start / PAGE_BYTES + 1).saturating_mul(PAGE_BYTES);
        let unused = rest.start.max(self.len())..rest.end.min(page_end);
        if !unused.is_empty() {
            self.zero(unused);
        }
    }

    /// Removes what is ahead before a change that begins after the end, at `pos`: no write will use it.
    pub(super) fn leave_gap(&mut self, pos: u64) {
        if self.ahead > 0 && pos > self.len() {
            self.remove_ahead();
        }
    }

    /// Removes the pages that were put ahead of writes, no more than a run, and frees them. Returns
    /// whether there were any. If there is no memory to copy shared nodes, they stay.
    pub fn remove_ahead(&mut self) -> bool {
        self.try_remove_ahead().unwrap_or(false)
    }

    /// As [`Self::remove_ahead`]. Fails with [`ENOMEM`].
    pub(super) fn try_remove_ahead(&mut self) -> Result<bool> {
        let unused = self.len().next_multiple_of(PAGE_BYTES)..self.ahead;
        let is_there = !unused.is_empty();
        if is_there {
            drop(self.punch(unused.clone())?);
            self.tighten(unused);
        }
        self.ahead = 0;
        Ok(is_there)
    }
}

impl LeafMut<'_> {
    /// Puts `pages`, which are new and zeros, into the slots from `slot` on that are empty. Returns how
    /// many; the others are left.
    pub(super) fn put_ahead(
        &mut self,
        slot: usize,
        pages: &mut impl Iterator<Item = PageRef>,
    ) -> usize {
        let empty = (slot..SLOTS).take_while(|&slot| self.pages.get(slot).is_none());
        let count = empty.take(pages.size_hint().0).count();
        self.put_all_new(slot..slot + count, |_, _| pages.next());
        count
    }
}

#[kunit_tests(qemufile_sized_buffer_ahead)]
mod tests {
    use super::{
        super::{
            fresh::Fresh,
            write::tests::{
                byte_at,
                PAGES, //
            },
            Progress,
            Source, //
        },
        *,
    };
    use crate::sys::page::PAGE_SIZE;

    const RUN: usize = 16;

    /// A buffer whose end is at `len` in a run of pages.
    fn with_ahead(len: usize) -> Result<SizedBuffer> {
        let mut buffer = SizedBuffer::new();
        let (fresh, _) = Fresh::new(0, &mut &PAGES[..len], None, RUN)?;
        assert_eq!(buffer.put_fresh(fresh).bytes, len);
        Ok(buffer)
    }

    /// Writes at the end as a stream does.
    fn append<S: Source + ?Sized>(buffer: &SizedBuffer, source: &mut S) -> Progress {
        let progress = buffer.overwrite(buffer.len(), u64::MAX, source);
        buffer.extend_to(buffer.len() + progress.bytes as u64);
        progress
    }

    #[test]
    fn writes_fill_what_is_ahead() -> Result {
        let buffer = with_ahead(PAGE_SIZE + 5)?;
        assert_eq!(buffer.len(), PAGE_BYTES + 5);
        assert_eq!(buffer.allocated(), RUN as u64 * PAGE_BYTES);
        assert_eq!(byte_at(&buffer, PAGE_BYTES + 5), None);
        let progress = append(&buffer, &mut &[8; 3 * PAGE_SIZE][..]);
        assert_eq!((progress.bytes, progress.end), (3 * PAGE_SIZE, Ok(())));
        assert_eq!(byte_at(&buffer, PAGE_BYTES + 4), Some(7));
        assert_eq!(byte_at(&buffer, PAGE_BYTES + 5), Some(8));
        assert_eq!(byte_at(&buffer, 4 * PAGE_BYTES + 4), Some(8));
        assert_eq!(byte_at(&buffer, 4 * PAGE_BYTES + 5), None);
        // The run ends.
        assert_eq!(append(&buffer, &mut &PAGES[..]).bytes, 12 * PAGE_SIZE - 5);
        assert_eq!(append(&buffer, &mut &PAGES[..]).bytes, 0);
        Ok(())
    }

    #[test]
    fn what_is_ahead_is_zeros() -> Result {
        let mut buffer = SizedBuffer::from_slice(&PAGES)?;
        buffer.recycle(0..SizedBuffer::RUN_BYTES, u64::MAX)?;
        drop(buffer.set_len(0)?);
        let mut spare = buffer.remove_spare();
        let run = spare.take_for(0, RUN).ok_or(EINVAL)?;
        let (fresh, _) = Fresh::new(0, &mut &[1; 9][..], Some(run), RUN)?;
        buffer.put_fresh(fresh);
        append(&buffer, &mut &PAGES[..PAGE_SIZE]);
        drop(buffer.set_len(20 * PAGE_BYTES)?);
        assert_eq!(byte_at(&buffer, PAGE_BYTES + 8), Some(7));
        assert!((PAGE_BYTES + 9..20 * PAGE_BYTES).all(|pos| byte_at(&buffer, pos) == Some(0)));
        Ok(())
    }

    #[test]
    fn what_is_ahead_can_be_removed() -> Result {
        let mut buffer = with_ahead(PAGE_SIZE + 5)?;
        assert!(buffer.remove_ahead());
        assert_eq!(
            (buffer.len(), buffer.allocated()),
            (PAGE_BYTES + 5, 2 * PAGE_BYTES)
        );
        assert!(!buffer.remove_ahead());
        // All of it has been used.
        let mut buffer = with_ahead(PAGE_SIZE)?;
        append(&buffer, &mut &PAGES[..]);
        assert!(!buffer.remove_ahead());
        assert_eq!(buffer.len(), RUN as u64 * PAGE_BYTES);
        Ok(())
    }

    #[test]
    fn what_was_asked_for_stays() -> Result {
        let mut buffer = with_ahead(5)?;
        buffer.reserve(8 * PAGE_BYTES, PAGE_BYTES)?;
        assert!(!buffer.remove_ahead());
        assert_eq!(buffer.allocated(), 2 * PAGE_BYTES);
        // Also after the end was moved down, which removes it all.
        let mut buffer = with_ahead(5)?;
        drop(buffer.set_len(3)?);
        assert_eq!(buffer.allocated(), PAGE_BYTES);
        buffer.reserve(0, 4 * PAGE_BYTES)?;
        assert!(!buffer.remove_ahead());
        Ok(())
    }

    #[test]
    fn a_clone_has_nothing_ahead() -> Result {
        let mut buffer = with_ahead(5)?;
        let mut clone = buffer.try_clone()?;
        assert_eq!(
            (buffer.allocated(), clone.allocated()),
            (PAGE_BYTES, PAGE_BYTES)
        );
        assert_eq!(append(&buffer, &mut &PAGES[..]).bytes, 0);
        assert_eq!(append(&clone, &mut &PAGES[..]).bytes, 0);
        buffer.write_at(5, &[1])?;
        clone.write_at(5, &[2])?;
        assert_eq!(
            (byte_at(&buffer, 5), byte_at(&clone, 5)),
            (Some(1), Some(2))
        );
        Ok(())
    }

    /// A source that writes more than it says, as a copy from memory that faults may.
    struct Untidy<'a>(&'a [u8], usize);

    impl Source for Untidy<'_> {
        fn remaining(&self) -> usize {
            self.0.len()
        }

        fn copy_to_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize {
            let good = self.1.min(len);
            self.0.copy_to_page(page, offset, (good + 40).min(len));
            self.1 -= good;
            good
        }
    }

    #[test]
    fn a_source_that_fails_leaves_zeros_after_the_end() -> Result {
        for good in [0, 9, PAGE_SIZE - 5, PAGE_SIZE + 1] {
            let mut buffer = with_ahead(5)?;
            let progress = append(&buffer, &mut Untidy(&PAGES, good));
            assert_eq!((progress.bytes, progress.end), (good, Err(EFAULT)));
            let end = 5 + good as u64;
            assert_eq!(buffer.len(), end);
            drop(buffer.set_len(RUN as u64 * PAGE_BYTES)?);
            assert!((end..buffer.len()).all(|pos| byte_at(&buffer, pos) == Some(0)));
        }
        // New pages are not put ahead then.
        let (fresh, end) = Fresh::new(
            0,
            &mut Untidy(&PAGES[..4 * PAGE_SIZE], PAGE_SIZE),
            None,
            RUN,
        )?;
        let mut buffer = SizedBuffer::new();
        buffer.put_fresh(fresh);
        assert_eq!((end, buffer.allocated()), (Err(EFAULT), PAGE_BYTES));
        Ok(())
    }
}
