// SPDX-License-Identifier: GPL-2.0

//! Whole pages: set aside, handed out, and taken in.

use super::{
    node::LeafMut,
    tree::{
        Found,
        Tree, //
    },
    SizedBuffer,
    MAX_LEN,
    PAGE_BYTES, //
};
use crate::sys::page::{
    PageRef,
    PAGE_SIZE, //
};
use core::ops::Range;
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

impl SizedBuffer {
    /// Sees to it that there are pages for the `len` bytes at `pos`, so that a later write there
    /// finds its memory unless a clone shares it by then. The length stays.
    ///
    /// The twin of `qsb_grow`. Fails with [`ENOMEM`], or [`EFBIG`] beyond [`MAX_LEN`]; the buffer
    /// is then as it was.
    pub fn reserve(&mut self, pos: u64, len: u64) -> Result {
        let end = pos.checked_add(len).filter(|end| *end <= MAX_LEN);
        let end = end.ok_or(EFBIG)?;
        if len == 0 {
            return Ok(());
        }
        let before = self.tree.clone();
        let filled = self.tree.fill(pos / PAGE_BYTES..end.div_ceil(PAGE_BYTES));
        if filled.is_err() {
            self.tree = before;
        }
        Ok(filled?)
    }

    /// Lends out the page that holds the byte at `pos`, be that before the end or after; [`None`]
    /// in a hole.
    ///
    /// The page's bytes do not change while the reference lives: a later write to the buffer
    /// copies the page first.
    pub fn lend(&self, pos: u64) -> Option<PageRef> {
        self.tree.get(pos / PAGE_BYTES).cloned()
    }

    /// Returns the page that holds the byte at `pos`, for somebody who will write to it.
    ///
    /// The page is this buffer's alone, but for the reference returned, and it is made, of zeros,
    /// if there was none. The length stays. Fails with [`ENOMEM`], or [`EFBIG`] from [`MAX_LEN`]
    /// on.
    pub fn page_for_write(&mut self, pos: u64) -> Result<PageRef> {
        if pos >= MAX_LEN {
            return Err(EFBIG);
        }
        let index = pos / PAGE_BYTES;
        let page = self.tree.own_page(index);
        if page.is_err() {
            self.tree.prune(index);
        }
        Ok(page?)
    }

    /// Makes `page` the content of the buffer from `pos` to a page further, without a copy. The
    /// buffer grows as needed.
    ///
    /// Fails with [`EINVAL`] if `pos` is not at the start of a page, [`EFBIG`] if the page would
    /// reach beyond [`MAX_LEN`], and [`ENOMEM`]; the buffer is then as it was.
    pub fn replace_page(&mut self, pos: u64, page: PageRef) -> Result {
        if pos % PAGE_BYTES != 0 {
            return Err(EINVAL);
        }
        let end = pos.checked_add(PAGE_BYTES).filter(|end| *end <= MAX_LEN);
        let end = end.ok_or(EFBIG)?;
        let index = pos / PAGE_BYTES;
        match self.tree.leaf_mut(index) {
            Ok((mut leaf, slot)) => {
                leaf.replace(slot, Some(page));
                self.len = self.len.max(end);
                Ok(())
            }
            Err(AllocError) => {
                self.tree.prune(index);
                Err(ENOMEM)
            }
        }
    }
}

impl Tree {
    /// The page `index`.
    pub(super) fn get(&self, index: u64) -> Option<&PageRef> {
        match self.find(index) {
            Found::Leaf(leaf, slot) => leaf.get(slot),
            Found::Nothing { .. } => None,
        }
    }

    /// Makes the page `index` this tree's own, if need be a new one of zeros, and returns it.
    pub(super) fn own_page(&mut self, index: u64) -> Result<PageRef, AllocError> {
        let (mut leaf, slot) = self.leaf_mut(index)?;
        leaf.own_page(slot)
    }

    /// Puts pages of zeros where `range` has none.
    fn fill(&mut self, range: Range<u64>) -> Result<(), AllocError> {
        let mut next = range.start;
        while let Some(index) = self.find_next(next..range.end, false) {
            let (mut leaf, slot) = self.leaf_mut(index)?;
            let hole = leaf.leaf.hole_from(slot);
            let wanted = usize::try_from(range.end - index).map_or(hole, |left| left.min(hole));
            let filled = leaf.fill(slot, wanted)?;
            next = index + filled as u64;
        }
        Ok(())
    }
}

impl LeafMut<'_> {
    /// Makes the page in `slot` this leaf's own, if need be a new one of zeros, and returns it.
    fn own_page(&mut self, slot: usize) -> Result<PageRef, AllocError> {
        if let Some(page) = self.leaf.get(slot).filter(|_| self.leaf.is_private(slot)) {
            return Ok(page.clone());
        }
        let page = PageRef::alloc_run(0)?.next().ok_or(AllocError)?;
        self.fill_gap(&page, slot, 0, PAGE_SIZE);
        self.replace(slot, Some(page.clone()));
        Ok(page)
    }

    /// Puts a chunk of zeros of at most `pages` pages at `slot`, and returns how many it has.
    fn fill(&mut self, slot: usize, pages: usize) -> Result<usize, AllocError> {
        let run = self.alloc_run(slot, pages)?;
        let count = run.len();
        for (i, page) in run.enumerate() {
            page.zero(0, PAGE_SIZE);
            self.replace(slot + i, Some(page));
        }
        Ok(count)
    }
}
