// SPDX-License-Identifier: GPL-2.0

//! Pages that a buffer has no use for just now, and that its next writes take.
//!
//! A stream that is read while it is written frees as many pages as it needs. To allocate one costs
//! a search, zeros and a charge to the memory cgroup.

use super::{
    cow::{
        order_at,
        MAX_ORDER, //
    },
    node::SLOTS,
    tree::LeafMut,
    SizedBuffer,
    PAGE_BYTES, //
};
use crate::sys::{
    alloc::GFP_STREAM,
    page::{
        PageRef,
        Run, //
    }, //
};
use core::ops::Range;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The pages of a run that is recycled.
const RUN: usize = 1 << MAX_ORDER;

/// The most pages that all buffers keep together: 4 MiB, with pages of 4 KiB. Nothing reclaims them, so
/// many idle streams must not keep more than a few busy ones have a use for.
const MOST_OF_ALL: u64 = 64 * RUN as u64;

/// The pages that all buffers keep.
static KEPT: Atomic<u64> = Atomic::new(0);

/// Runs of pages that nobody else knows. They still have their bytes.
pub struct Spare {
    runs: KVec<Run>,
    /// The sum over the runs.
    pages: usize,
}

impl Spare {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            runs: KVec::new(),
            pages: 0,
        }
    }

    /// A run of just `1 << order` pages. If the next run has not as many, it is given up: those that
    /// write now have no use for it.
    pub(super) fn take(&mut self, order: u32) -> Option<Run> {
        let run = self.runs.pop()?;
        self.count_out(run.len());
        Some(run).filter(|run| run.len() == 1 << order)
    }

    /// A run of pages for a write of `pages` whole pages at `pos`. What does not fit is given up.
    pub fn take_for(&mut self, pos: u64, pages: usize) -> Option<Run> {
        let slot = (pos / PAGE_BYTES) as usize % SLOTS;
        self.take(order_at(slot, pages))
    }

    /// Keeps those of `pages` that nobody else knows, up to `most` in all. The others are dropped,
    /// and so are all if there is no memory for the list.
    fn keep(&mut self, mut pages: &mut [Option<PageRef>], most: usize) {
        while let Some(first) = pages.first() {
            let folio = first.as_ref().map_or(1, |page| page.folio().pages());
            let (part, rest) = pages.split_at_mut(folio.min(pages.len()));
            pages = rest;
            if !self.count_in(part.len(), most) {
                return;
            }
            let is_kept = Run::of(part).is_some_and(|run| self.runs.push(run, GFP_STREAM).is_ok());
            if !is_kept {
                self.count_out(part.len());
            }
        }
    }

    /// Counts `pages` more, unless that is more than `most`, or than all may keep. Returns whether it
    /// did.
    fn count_in(&mut self, pages: usize, most: usize) -> bool {
        if self.pages + pages > most {
            return false;
        }
        let count = pages as u64;
        if KEPT.fetch_add(count, Relaxed) + count > MOST_OF_ALL {
            KEPT.fetch_sub(count, Relaxed);
            return false;
        }
        self.pages += pages;
        true
    }

    /// Reverses [`Self::count_in`].
    fn count_out(&mut self, pages: usize) {
        self.pages -= pages;
        KEPT.fetch_sub(pages as u64, Relaxed);
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.pages as u64, Relaxed);
    }
}

impl SizedBuffer {
    /// The length, in bytes, of a range that [`Self::recycle`] may be told of, which also is aligned
    /// to it.
    pub const RUN_BYTES: u64 = RUN as u64 * PAGE_BYTES;

    /// Makes `range` a hole, as [`Self::punch`] does. The memory is kept for the next writes, unless
    /// others know it: up to `most` bytes in all.
    ///
    /// `range` is as long as [`Self::RUN_BYTES`], and aligned to that: so few pages are freed at once.
    /// Fails with [`ENOMEM`]. The buffer is then unchanged.
    pub fn recycle(&mut self, range: Range<u64>, most: u64) -> Result {
        let pages = range.start / PAGE_BYTES..range.end / PAGE_BYTES;
        if self.tree.find_exclusive(pages.start).is_none() {
            return self.punch(range).map(drop);
        }
        let most = usize::try_from(most / PAGE_BYTES).unwrap_or(usize::MAX);
        self.tree
            .change(pages.start, |mut leaf, slot| leaf.recycle(slot, most))?;
        self.tree.stale.all(&pages);
        Ok(())
    }

    /// Whether [`Self::recycle`] has kept anything.
    pub fn has_spare(&self) -> bool {
        self.tree.spare.pages > 0
    }

    /// Hands what [`Self::recycle`] has kept over to `to`, if there is nothing left: for writes that do
    /// not have the buffer for themselves ([`Fresh`](super::Fresh)).
    pub fn hand_over_spare(&mut self, to: &mut Spare) {
        if to.pages == 0 {
            core::mem::swap(to, &mut self.tree.spare);
        }
    }

    /// Gives up what [`Self::recycle`] has kept.
    pub fn remove_spare(&mut self) -> Spare {
        core::mem::replace(&mut self.tree.spare, Spare::new())
    }
}

impl LeafMut<'_> {
    /// Empties the slots of a run from `slot` on, and keeps their pages, up to `most` in all.
    fn recycle(&mut self, slot: usize, most: usize) {
        let mut pages = [const { None }; RUN];
        let mut places = pages.iter_mut();
        self.take_all(slot..(slot + RUN).min(SLOTS), |page| {
            if let Some(place) = places.next() {
                *place = page;
            }
        });
        self.spare.keep(&mut pages, most);
    }
}

#[kunit_tests(qemufile_sized_buffer_spare)]
mod tests {
    use super::{
        super::write::tests::{
            byte_at,
            PAGES, //
        },
        *, //
    };
    use crate::{
        sized_buffer::Fresh,
        sys::page::PAGE_SIZE, //
    };

    const BYTES: u64 = SizedBuffer::RUN_BYTES;

    fn kept(buffer: &SizedBuffer) -> usize {
        let spare = &buffer.tree.spare;
        assert_eq!(spare.pages, spare.runs.iter().map(Run::len).sum());
        spare.pages
    }

    /// A buffer of a run of single pages.
    fn of_pages() -> Result<SizedBuffer> {
        let mut buffer = SizedBuffer::new();
        for page in PAGES.chunks(PAGE_SIZE).take(RUN) {
            buffer.write_at(buffer.len(), page)?;
        }
        Ok(buffer)
    }

    #[test]
    fn a_write_takes_what_was_kept_and_shows_nothing_of_it() -> Result {
        let mut buffer = of_pages()?;
        buffer.recycle(0..BYTES, u64::MAX)?;
        assert_eq!((buffer.allocated(), kept(&buffer)), (0, RUN));
        assert_eq!(byte_at(&buffer, 9), Some(0));
        buffer.write_at(3 * PAGE_BYTES + 10, &[1])?;
        assert_eq!((buffer.allocated(), kept(&buffer)), (PAGE_BYTES, RUN - 1));
        let zero = |pos: u64| byte_at(&buffer, 3 * PAGE_BYTES + pos) == Some(0);
        assert!((0..10).all(zero) && (11..PAGE_BYTES).all(zero));
        buffer.reserve(5 * PAGE_BYTES, PAGE_BYTES)?;
        assert_eq!(
            (byte_at(&buffer, 5 * PAGE_BYTES), kept(&buffer)),
            (Some(0), RUN - 2)
        );
        drop(buffer.remove_spare());
        assert_eq!(kept(&buffer), 0);
        Ok(())
    }

    #[test]
    fn a_folio_is_kept_as_one() -> Result {
        let mut buffer = SizedBuffer::from_slice(&PAGES)?;
        buffer.recycle(0..BYTES, u64::MAX)?;
        let mut spare = Spare::new();
        buffer.hand_over_spare(&mut spare);
        let run = spare.take_for(BYTES, 100).ok_or(EINVAL)?;
        assert_eq!((run.len(), kept(&buffer)), (RUN, 0));
        let (fresh, _) = Fresh::new(2 * BYTES, &mut &PAGES[..BYTES as usize], Some(run), RUN)?;
        assert_eq!(buffer.put_fresh(fresh).bytes, BYTES as usize);
        assert_eq!(byte_at(&buffer, 3 * BYTES - 1), Some(7));
        assert!(buffer.is_exclusive(2 * BYTES) && buffer.is_exclusive(3 * BYTES - 1));
        Ok(())
    }

    #[test]
    fn what_others_know_is_not_kept() -> Result {
        let mut buffer = of_pages()?;
        let lent = buffer.lend(2 * PAGE_BYTES)?.ok_or(EINVAL)?;
        let mapped = buffer.page_to_write(3 * PAGE_BYTES, 0)?.try_clone()?;
        buffer.recycle(0..BYTES, u64::MAX)?;
        assert_eq!(kept(&buffer), RUN - 2);
        for page in [lent, mapped] {
            let mut byte = [0];
            assert_eq!((page.read(0, &mut byte), byte), (1, [7]));
        }
        let mut buffer = of_pages()?;
        let clone = buffer.try_clone()?;
        buffer.recycle(0..BYTES, u64::MAX)?;
        assert_eq!((kept(&buffer), clone.allocated()), (0, BYTES));
        buffer.write_at(0, &[1])?;
        assert_eq!(byte_at(&clone, 0), Some(7));
        Ok(())
    }

    #[test]
    fn no_more_is_kept_than_is_allowed() -> Result {
        let mut buffer = of_pages()?;
        buffer.recycle(0..BYTES, 5 * PAGE_BYTES + 1)?;
        assert_eq!(kept(&buffer), 5);
        let mut buffer = SizedBuffer::from_slice(&PAGES)?;
        buffer.recycle(0..BYTES, BYTES - 1)?;
        assert_eq!(kept(&buffer), 0);
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_given_up() -> Result {
        let mut buffer = of_pages()?;
        buffer.recycle(0..BYTES, u64::MAX)?;
        buffer.write_at(BYTES, &PAGES[..BYTES as usize])?;
        assert_eq!(kept(&buffer), RUN - 1);
        let mut spare = Spare::new();
        buffer.hand_over_spare(&mut spare);
        assert!(!buffer.has_spare() && spare.take_for(0, RUN).is_none());
        assert!(spare.take_for(0, 1).is_some());
        assert_eq!(spare.pages, RUN - 3);
        // Not while there is some.
        buffer.write_at(0, &PAGES[..BYTES as usize])?;
        buffer.recycle(0..BYTES, u64::MAX)?;
        buffer.hand_over_spare(&mut spare);
        assert_eq!((kept(&buffer), spare.pages), (RUN, RUN - 3));
        Ok(())
    }

    #[test]
    fn a_hole_has_nothing_to_keep() -> Result {
        let mut buffer = SizedBuffer::new();
        drop(buffer.set_len(4 * BYTES)?);
        buffer.recycle(BYTES..2 * BYTES, u64::MAX)?;
        assert_eq!((buffer.allocated(), kept(&buffer)), (0, 0));
        Ok(())
    }
}
