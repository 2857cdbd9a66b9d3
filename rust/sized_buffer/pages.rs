// SPDX-License-Identifier: GPL-2.0

//! Whole pages: reserved, lent and adopted.

use super::{
    tree::{
        Found,
        LeafMut,
        Tree, //
    },
    SizedBuffer,
    MAX_LEN,
    PAGE_BYTES, //
};
use crate::sys::{
    alloc::GFP_STREAM,
    page::{
        PageRef,
        PAGE_SIZE, //
    }, //
};
use core::ops::Range;
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

impl SizedBuffer {
    /// Allocates pages for the `len` bytes at `pos`. A later write there finds its memory, unless a
    /// clone shares it by then. The length stays.
    ///
    /// The twin of `qsb_grow`. Fails with [`ENOMEM`], or with [`EFBIG`] beyond [`MAX_LEN`]. The
    /// buffer is then unchanged.
    pub fn reserve(&mut self, pos: u64, len: u64) -> Result {
        let mut filled = Filled::new();
        let reserved = self.fill(pos, len, &mut filled);
        if reserved.is_err() {
            filled.runs().for_each(|run| self.take_back(run));
        }
        reserved
    }

    /// As [`Self::reserve`], for a caller that undoes a failure itself: the pages that were added
    /// are noted in `filled`, also if it fails.
    pub fn fill(&mut self, pos: u64, len: u64, filled: &mut Filled) -> Result {
        let end = pos.checked_add(len).filter(|end| *end <= MAX_LEN);
        let end = end.ok_or(EFBIG)?;
        if len == 0 {
            return Ok(());
        }
        // What is reserved stays, unlike what is ahead of writes.
        self.try_remove_ahead()?;
        let pages = pos / PAGE_BYTES..end.div_ceil(PAGE_BYTES);
        Ok(self.tree.fill(pages, filled)?)
    }

    /// Makes the bytes of `run` holes again where they are still zeros. `run` is one of
    /// [`Filled::runs`], and no mapping may write to it.
    ///
    /// A page stays if it has been written meanwhile, if others may still write to it, or if a
    /// clone shares its leaf and memory is short.
    pub fn take_back(&mut self, run: Range<u64>) {
        for index in run.start / PAGE_BYTES..run.end / PAGE_BYTES {
            if self.tree.get(index).is_some_and(PageRef::is_zero) {
                let stores = self.stores;
                let _ = self.tree.change(index, |mut leaf, slot| {
                    if !stores || !leaf.is_busy(slot) {
                        leaf.remove(slot);
                    }
                });
            }
        }
    }

    /// Lends the page of the byte at `pos`, before or after the end; [`None`] in a hole.
    ///
    /// The page's bytes do not change while the reference lives: a later write to the buffer copies
    /// the page first. Fails with [`ENOMEM`] if the page has too many references.
    pub fn lend(&self, pos: u64) -> Result<Option<PageRef>> {
        match self.tree.find(pos / PAGE_BYTES) {
            Found::Leaf(leaf, slot) => Ok(leaf.lend(slot)?),
            Found::Nothing { .. } => Ok(None),
        }
    }

    /// The page of [`Self::page_to_map`], if it exists already.
    pub fn mapped_page(&self, pos: u64) -> Option<&PageRef> {
        self.tree.page_or_shadow(pos / PAGE_BYTES)
    }

    /// The page of the byte at `pos`, for a mapping. The mapping shows later writes.
    ///
    /// A hole gets a page of zeros and stays a hole. The page is memory of the task that maps it,
    /// and shows a later write to the hole. Fails with [`ENOMEM`].
    pub fn page_to_map(&mut self, pos: u64) -> Result<&PageRef> {
        let index = pos / PAGE_BYTES;
        if self.tree.page_or_shadow(index).is_none() {
            let page = PageRef::alloc_run(0)?.next().ok_or(ENOMEM)?;
            page.zero(0, PAGE_SIZE);
            self.tree
                .change(index, |mut leaf, slot| leaf.put_shadow(slot, page))?;
        }
        self.tree.page_or_shadow(index).ok_or(ENOMEM)
    }

    /// Makes `page` the content of the buffer at `pos`, one page long, without a copy. Others may
    /// know the page. The buffer grows as needed.
    ///
    /// Fails with [`EINVAL`] if `pos` is not at the start of a page, with [`EFBIG`] if the page
    /// would end beyond [`MAX_LEN`], and with [`ENOMEM`]. The buffer is then unchanged.
    pub fn replace_page(&mut self, pos: u64, page: PageRef) -> Result {
        if pos % PAGE_BYTES != 0 {
            return Err(EINVAL);
        }
        let end = pos.checked_add(PAGE_BYTES).filter(|end| *end <= MAX_LEN);
        let end = end.ok_or(EFBIG)?;
        self.leave_gap(pos);
        self.tree
            .change(pos / PAGE_BYTES, |mut leaf, slot| leaf.put(slot, page))?;
        self.grow_to(end);
        Ok(())
    }
}

impl Tree {
    /// The page or the shadow at the page index `index`.
    fn page_or_shadow(&self, index: u64) -> Option<&PageRef> {
        match self.find(index) {
            Found::Leaf(leaf, slot) => leaf.pages.get(slot),
            Found::Nothing { .. } => None,
        }
    }

    /// Fills the holes of `range` with pages of zeros, and notes them in `filled`.
    fn fill(&mut self, range: Range<u64>, filled: &mut Filled) -> Result<(), AllocError> {
        let mut next = range.start;
        while let Some(index) = self.find_next(next..range.end, false) {
            filled.make_room()?;
            let pages = self.change(index, |mut leaf, slot| {
                let hole = leaf.hole_from(slot);
                let wanted = usize::try_from(range.end - index).map_or(hole, |left| left.min(hole));
                leaf.fill(slot, wanted)
            })??;
            next = index + pages as u64;
            filled.note(index..next)?;
        }
        Ok(())
    }
}

/// The pages that [`SizedBuffer::fill`] has added, as runs of page indices.
pub struct Filled(KVec<Range<u64>>);

impl Filled {
    /// No pages.
    pub const fn new() -> Self {
        Self(KVec::new())
    }

    /// The runs, in bytes, each at most `MAX_RUN` pages long.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + use<'_> {
        self.0.iter().flat_map(|run| {
            run.clone().step_by(Self::MAX_RUN).map(|start| {
                let end = run.end.min(start.saturating_add(Self::MAX_RUN as u64));
                start * PAGE_BYTES..end * PAGE_BYTES
            })
        })
    }

    /// The most pages of a run. Few enough to be removed in one hold of a lock.
    const MAX_RUN: usize = 256;

    /// Makes room for one more run.
    fn make_room(&mut self) -> Result<(), AllocError> {
        self.0.reserve(1, GFP_STREAM)
    }

    /// Notes a run. Runs come in order. Does not fail after [`Self::make_room`].
    fn note(&mut self, run: Range<u64>) -> Result<(), AllocError> {
        match self.0.last_mut().filter(|last| last.end == run.start) {
            Some(last) => last.end = run.end,
            None => self.0.push(run, GFP_STREAM)?,
        }
        Ok(())
    }
}

impl LeafMut<'_> {
    /// Puts a chunk of zeros of at most `pages` pages at `slot`. Returns its number of pages.
    fn fill(&mut self, slot: usize, pages: usize) -> Result<usize, AllocError> {
        if self.promote(slot) {
            return Ok(1);
        }
        let mut run = self.alloc_run(slot, pages)?;
        let count = run.len();
        self.put_all_new(slot..slot + count, |_, _| {
            let page = run.next()?;
            page.zero(0, PAGE_SIZE);
            Some(page)
        });
        Ok(count)
    }
}

#[kunit_tests(qemufile_sized_buffer_pages)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_set_aside() -> Result {
        let mut buffer = SizedBuffer::with_capacity(100 * PAGE_BYTES)?;
        assert_eq!((buffer.len(), buffer.allocated()), (0, 100 * PAGE_BYTES));
        buffer.write_at(50 * PAGE_BYTES, b"x")?;
        assert_eq!(buffer.allocated(), 100 * PAGE_BYTES);
        let mut byte = [0xff];
        assert_eq!((buffer.read_at(17, &mut byte), byte), (1, [0]));
        buffer.reserve(3, 0)?;
        assert_eq!(buffer.reserve(1, MAX_LEN), Err(EFBIG));
        assert_eq!(buffer.reserve(u64::MAX, 2), Err(EFBIG));
        Ok(())
    }

    #[test]
    fn a_lent_page_keeps_its_bytes() -> Result {
        let mut buffer = SizedBuffer::from_slice(b"migration")?;
        let page = buffer.lend(3)?.ok_or(EINVAL)?;
        buffer.write_at(0, b"M")?;
        drop(buffer.set_len(1)?);
        let mut bytes = [0; 9];
        page.read(0, &mut bytes);
        assert_eq!(&bytes, b"migration");
        assert!(buffer.lend(PAGE_BYTES)?.is_none());
        Ok(())
    }

    #[test]
    fn a_page_is_taken_in_without_a_copy() -> Result {
        let page = PageRef::alloc_run(0)?.next().ok_or(EINVAL)?;
        page.zero(0, PAGE_SIZE);
        page.write(0, b"spliced");
        let mut buffer = SizedBuffer::new();
        buffer.replace_page(2 * PAGE_BYTES, page)?;
        assert_eq!(
            (buffer.len(), buffer.allocated()),
            (3 * PAGE_BYTES, PAGE_BYTES)
        );
        let mut bytes = [0; 7];
        buffer.read_at(2 * PAGE_BYTES, &mut bytes);
        assert_eq!(&bytes, b"spliced");

        let page = buffer.lend(2 * PAGE_BYTES)?.ok_or(EINVAL)?;
        assert_eq!(buffer.replace_page(1, page.try_clone()?), Err(EINVAL));
        let last = MAX_LEN / PAGE_BYTES * PAGE_BYTES;
        assert_eq!(buffer.replace_page(last, page), Err(EFBIG));
        Ok(())
    }

    #[test]
    fn a_hole_that_is_mapped_stays_a_hole() -> Result {
        let mut buffer = SizedBuffer::new();
        drop(buffer.set_len(100 * PAGE_BYTES)?);
        let mapped = buffer.page_to_map(70 * PAGE_BYTES)?.try_clone()?;
        assert_eq!((buffer.allocated(), buffer.next_data(0)), (0, None));
        // Its only other reference is that of a mapping: the page is written in place.
        buffer.write_at(70 * PAGE_BYTES + 5, b"x")?;
        let mut bytes = [0xff; 6];
        assert_eq!(mapped.read(0, &mut bytes), 6);
        assert_eq!(&bytes, b"\0\0\0\0\0x");
        assert_eq!(buffer.allocated(), PAGE_BYTES);
        buffer.page_to_map(0)?;
        buffer.reserve(0, 3 * PAGE_BYTES)?;
        assert_eq!(buffer.allocated(), 4 * PAGE_BYTES);
        Ok(())
    }

    #[test]
    fn what_a_clone_may_have_is_not_written_through_a_mapping() -> Result {
        let mut buffer = SizedBuffer::from_slice(b"migration")?;
        let clone = buffer.try_clone()?;
        let mapped = buffer.page_to_map(0)?.try_clone()?;
        drop(clone);
        buffer.write_at(0, b"M")?;
        let mut byte = [0];
        assert_eq!((mapped.read(0, &mut byte), byte), (1, *b"m"));
        Ok(())
    }
}
