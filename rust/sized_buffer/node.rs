// SPDX-License-Identifier: GPL-2.0

//! The nodes of the tree.
//!
//! A node has 64 slots. The slots of a [`Leaf`] hold pages; those of an interior node hold nodes. A
//! folio of several pages takes one slot a page, each with its own reference.

use crate::sys::{
    page::PageRef,
    sched::cond_resched,
    shared::Shared, //
};
use core::ops::{
    AddAssign,
    Range,
    SubAssign, //
};
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::atomic::Atomic, //
};

/// The base-2 logarithm of [`SLOTS`].
pub(super) const SLOT_BITS: u32 = 6;

/// The number of slots in a node.
pub(super) const SLOTS: usize = 1 << SLOT_BITS;

/// The slots of a node.
pub(super) struct Slots<T>([Option<T>; SLOTS]);

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self([const { None }; SLOTS])
    }

    /// The content of `slot`; [`None`] if it is empty or does not exist.
    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        self.0.get(slot)?.as_ref()
    }

    /// Mutable access to a slot. `slot` counts modulo [`SLOTS`], which keeps it in bounds.
    pub(super) fn entry(&mut self, slot: usize) -> &mut Option<T> {
        &mut self.0[slot % SLOTS]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&T>> {
        self.0.iter().map(Option::as_ref)
    }

    /// A copy. `clone` makes each of its values.
    pub(super) fn try_clone(
        &self,
        clone: impl Fn(&T) -> Result<T, AllocError>,
    ) -> Result<Self, AllocError> {
        let mut copy = Self::new();
        for (to, from) in copy.0.iter_mut().zip(&self.0) {
            if let Some(value) = from {
                *to = Some(clone(value)?);
            }
        }
        Ok(copy)
    }
}

/// A node of the tree.
pub(super) enum Node {
    Interior(Interior),
    Leaf(Leaf),
}

impl Node {
    /// Makes an empty node for `level`, which is 0 for a leaf.
    pub(super) const fn new(level: u32) -> Self {
        match level {
            0 => Self::Leaf(Leaf::new()),
            _ => Self::Interior(Interior {
                children: Slots::new(),
                shared: Atomic::new(false),
                usage: Usage::NONE,
            }),
        }
    }

    /// The memory below the node.
    pub(super) fn usage(&self) -> Usage {
        match self {
            Self::Interior(node) => node.usage,
            Self::Leaf(leaf) => leaf.usage(),
        }
    }
}

/// The amount of memory below a point of the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Slots that hold a page.
    pub(super) pages: u64,
    /// Runs of slots with adjacent pages of one folio.
    pub(super) chunks: u64,
    /// Holes with a page for mappings to show.
    pub(super) shadows: u64,
}

impl Usage {
    pub(super) const NONE: Self = Self {
        pages: 0,
        chunks: 0,
        shadows: 0,
    };

    /// The memory below `link`.
    pub(super) fn of(link: &Option<Shared<Node>>) -> Self {
        link.as_ref().map_or(Self::NONE, |node| node.usage())
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.pages += more.pages;
        self.chunks += more.chunks;
        self.shadows += more.shadows;
    }
}

impl SubAssign for Usage {
    fn sub_assign(&mut self, less: Self) {
        self.pages -= less.pages;
        self.chunks -= less.chunks;
        self.shadows -= less.shadows;
    }
}

/// A node whose slots hold nodes.
pub(super) struct Interior {
    pub(super) children: Slots<Shared<Node>>,
    /// Whether the node had another owner that is not yet recorded in the children: see
    /// [`cow`](super::cow).
    pub(super) shared: Atomic<bool>,
    /// The sum over the children.
    pub(super) usage: Usage,
}

impl Interior {
    /// Changes a child with `change`. A child without pages is removed afterwards.
    pub(super) fn change_child<R>(
        &mut self,
        slot: usize,
        change: impl FnOnce(&mut Option<Shared<Node>>) -> R,
    ) -> R {
        let child = self.children.entry(slot);
        let before = Usage::of(child);
        let result = change(child);
        let after = Usage::of(child);
        if after == Usage::NONE {
            *child = None;
        }
        self.usage += after;
        self.usage -= before;
        result
    }
}

/// A node whose slots hold pages.
///
/// A slot is a hole if it is empty or holds a *shadow*. A shadow is a page of zeros for mappings to
/// show. With it the hole can be filled without a search for mappings.
///
/// A word has one bit a slot.
pub(super) struct Leaf {
    pub(super) pages: Slots<PageRef>,
    /// The page is exclusive: see [`cow`](super::cow).
    pub(super) exclusive: Atomic<u64>,
    /// The page is a shadow.
    pub(super) shadows: u64,
    /// There is a page that is no shadow.
    data: u64,
    /// Of `data`, those whose page does not follow the page of the slot before, in one folio: the first
    /// of a chunk.
    begins: u64,
}

impl Leaf {
    pub(super) const fn new() -> Self {
        Self {
            pages: Slots::new(),
            exclusive: Atomic::new(0),
            shadows: 0,
            data: 0,
            begins: 0,
        }
    }

    /// A leaf with other references to the same pages. None is exclusive.
    pub(super) fn with_pages(&self, pages: Slots<PageRef>) -> Self {
        Self {
            pages,
            exclusive: Atomic::new(0),
            ..*self
        }
    }

    /// The memory that the leaf holds.
    pub(super) fn usage(&self) -> Usage {
        let count = |slots: u64| u64::from(slots.count_ones());
        Usage {
            pages: count(self.data),
            chunks: count(self.begins),
            shadows: count(self.shadows),
        }
    }

    /// The page in `slot`; [`None`] for a hole.
    pub(super) fn get(&self, slot: usize) -> Option<&PageRef> {
        self.pages.get(slot).filter(|_| !self.is_shadow(slot))
    }

    /// Whether `slot` holds a shadow.
    pub(super) fn is_shadow(&self, slot: usize) -> bool {
        self.shadows & Self::bit(slot) != 0
    }

    /// The bit of `slot` in a word.
    pub(super) fn bit(slot: usize) -> u64 {
        1 << (slot % SLOTS)
    }

    /// The bits of `slots` in a word.
    pub(super) fn bits(slots: &Range<usize>) -> u64 {
        Self::below(slots.end) & !Self::below(slots.start)
    }

    /// The bits of the slots before `slot` in a word.
    fn below(slot: usize) -> u64 {
        let bit = u32::try_from(slot).ok().and_then(|n| 1_u64.checked_shl(n));
        bit.map_or(u64::MAX, |bit| bit - 1)
    }

    /// The first slot of `word` at or after `slot`, or [`SLOTS`].
    pub(super) fn first(word: u64, slot: usize) -> usize {
        (word & !Self::below(slot)).trailing_zeros() as usize
    }

    /// The number of slots of one chunk from `slot` on, up to `most`; 0 without a page.
    pub(super) fn chunk_from(&self, slot: usize, most: usize) -> usize {
        if self.data & Self::bit(slot) == 0 {
            return 0;
        }
        (Self::first(self.begins | !self.data, slot + 1) - slot).min(most)
    }

    /// The number of slots without a page from `slot` on.
    pub(super) fn hole_from(&self, slot: usize) -> usize {
        Self::first(self.data, slot) - slot
    }

    /// The first slot at or after `slot` with a page, or without one if `holds_page` is false. A shadow
    /// counts as a page if `shadows`.
    pub(super) fn find(&self, slot: usize, holds_page: bool, shadows: bool) -> Option<usize> {
        let held = self.data | if shadows { self.shadows } else { 0 };
        let word = if holds_page { held } else { !held };
        Some(Self::first(word, slot)).filter(|found| *found < SLOTS)
    }

    /// Puts `page` into `slot`, not marked as exclusive. Returns the previous page.
    pub(super) fn replace(&mut self, slot: usize, page: Option<PageRef>) -> Option<PageRef> {
        let (mut page, mut old) = (page, None);
        let slots = slot..slot + 1;
        self.replace_all(slots, |_, _| page.take(), |_, replaced| old = replaced);
        old
    }

    /// Puts a page, or none, into each of `slots`, not marked as exclusive. `page` is asked for it, and
    /// sees the leaf with the slot as it was; `old` gets the slot's previous page.
    pub(super) fn replace_all(
        &mut self,
        slots: Range<usize>,
        mut page: impl FnMut(&Self, usize) -> Option<PageRef>,
        mut old: impl FnMut(usize, Option<PageRef>),
    ) {
        self.unmark(Self::bits(&slots));
        for slot in slots.clone() {
            let page = page(self, slot);
            self.shadows &= !Self::bit(slot);
            old(slot, core::mem::replace(self.pages.entry(slot), page));
        }
        self.note(&slots);
    }

    /// Sets whether the page in `slot` is a shadow.
    pub(super) fn set_shadow(&mut self, slot: usize, is_shadow: bool) {
        match is_shadow {
            true => self.shadows |= Self::bit(slot),
            false => self.shadows &= !Self::bit(slot),
        }
        self.note(&(slot..slot + 1));
    }

    /// Updates the words after a change of the pages in `slots`.
    fn note(&mut self, slots: &Range<usize>) {
        let (mut data, mut begins) = (0, 0);
        let mut before = slots.start.checked_sub(1).and_then(|slot| self.get(slot));
        // A chunk may begin right after them, too.
        for slot in slots.start..=slots.end {
            let page = self.get(slot);
            if let Some(page) = page {
                data |= Self::bit(slot);
                if !before.is_some_and(|before| before.precedes(page)) {
                    begins |= Self::bit(slot);
                }
            }
            before = page;
        }
        let changed = Self::bits(&(slots.start..slots.end + 1));
        self.data = self.data & !changed | data;
        self.begins = self.begins & !changed | begins;
    }

    /// Exchanges the content and the state of `slots` with the same slots of `other`.
    pub(super) fn exchange(&mut self, slots: &Range<usize>, other: &mut Self) {
        for slot in slots.clone() {
            core::mem::swap(self.pages.entry(slot), other.pages.entry(slot));
        }
        let bits = Self::bits(slots);
        let differ = (self.shadows ^ other.shadows) & bits;
        self.shadows ^= differ;
        other.shadows ^= differ;
        let (ours, theirs) = (self.marks(), other.marks());
        let differ = (ours ^ theirs) & bits;
        self.set_marks(ours ^ differ);
        other.set_marks(theirs ^ differ);
        self.note(slots);
        other.note(slots);
    }
}

impl Drop for Leaf {
    /// Reschedules if needed: a buffer of a terabyte has four million leaves to free.
    fn drop(&mut self) {
        cond_resched();
    }
}

#[kunit_tests(qemufile_sized_buffer_node)]
pub(super) mod tests {
    use super::*;

    pub(in crate::sized_buffer) fn leaf_of(
        pages: impl Iterator<Item = PageRef>,
        first: usize,
    ) -> Leaf {
        let mut leaf = Leaf::new();
        for (i, page) in pages.enumerate() {
            leaf.replace(first + i, Some(page));
        }
        leaf
    }

    #[test]
    fn a_slot_takes_a_pointer() {
        assert_eq!(size_of::<Option<PageRef>>(), size_of::<usize>());
        assert_eq!(size_of::<Option<Shared<Node>>>(), size_of::<usize>());
    }

    #[test]
    fn a_folio_is_one_chunk() -> Result {
        let leaf = leaf_of(PageRef::alloc_run(2)?, 4);
        assert_eq!(leaf.chunk_from(4, SLOTS), 4);
        assert_eq!(leaf.chunk_from(6, SLOTS), 2);
        assert_eq!(leaf.chunk_from(4, 3), 3);
        assert_eq!(leaf.chunk_from(3, SLOTS), 0);
        assert_eq!(leaf.hole_from(0), 4);
        assert_eq!(leaf.hole_from(8), SLOTS - 8);
        assert_eq!((leaf.usage().pages, leaf.usage().chunks), (4, 1));
        Ok(())
    }

    #[test]
    fn pages_of_their_own_are_chunks_of_their_own() -> Result {
        let mut leaf = leaf_of(PageRef::alloc_run(0)?, 62);
        leaf.replace(63, PageRef::alloc_run(0)?.next());
        assert_eq!(leaf.chunk_from(62, SLOTS), 1);
        assert_eq!((leaf.usage().pages, leaf.usage().chunks), (2, 2));
        Ok(())
    }

    #[test]
    fn figures_follow_every_change() -> Result {
        let mut leaf = leaf_of(PageRef::alloc_run(2)?, 0);
        let page = leaf.replace(1, None);
        assert_eq!((leaf.usage().pages, leaf.usage().chunks), (3, 2));
        leaf.replace(1, page);
        assert_eq!((leaf.usage().pages, leaf.usage().chunks), (4, 1));
        leaf.replace(3, PageRef::alloc_run(0)?.next());
        assert_eq!((leaf.usage().pages, leaf.usage().chunks), (4, 2));
        leaf.set_shadow(2, true);
        assert!(
            leaf.usage()
                == Usage {
                    pages: 3,
                    chunks: 2,
                    shadows: 1
                }
        );
        assert_eq!(
            (leaf.find(2, false, false), leaf.find(2, false, true)),
            (Some(2), Some(4))
        );
        Ok(())
    }

    #[test]
    fn an_exchange_takes_the_marks_along() -> Result {
        let mut ours = leaf_of(PageRef::alloc_run(2)?, 0);
        let mut theirs = leaf_of(PageRef::alloc_run(0)?, 1);
        assert!(ours.may_write(1));
        ours.exchange(&(1..3), &mut theirs);
        assert_eq!((ours.usage().pages, theirs.usage().pages), (3, 2));
        assert!(ours.is_marked(0) && !ours.is_marked(1));
        assert!(theirs.is_marked(1) && theirs.is_marked(2));
        assert_eq!((ours.usage().chunks, theirs.usage().chunks), (3, 1));
        Ok(())
    }
}
