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
            Self::Leaf(leaf) => leaf.usage,
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
pub(super) struct Leaf {
    pub(super) pages: Slots<PageRef>,
    /// One bit a slot: see [`cow`](super::cow).
    pub(super) exclusive: Atomic<u64>,
    /// One bit a slot: its page is a shadow.
    pub(super) shadows: u64,
    pub(super) usage: Usage,
}

impl Leaf {
    pub(super) const fn new() -> Self {
        Self {
            pages: Slots::new(),
            exclusive: Atomic::new(0),
            shadows: 0,
            usage: Usage::NONE,
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

    /// The bit of `slot` in a word of one bit a slot.
    pub(super) fn bit(slot: usize) -> u64 {
        1 << (slot % SLOTS)
    }

    /// Whether `slot` holds the first page of a chunk: it has a page that does not follow the page
    /// before it.
    fn begins_chunk(&self, slot: usize) -> bool {
        let before = slot.checked_sub(1).and_then(|before| self.get(before));
        self.get(slot)
            .is_some_and(|page| !before.is_some_and(|before| follows(before, page)))
    }

    /// The number of slots of one chunk from `slot` on, up to `most`; 0 without a page.
    pub(super) fn chunk_from(&self, slot: usize, most: usize) -> usize {
        let goes_on =
            |at: &usize| self.get(*at).is_some() && (*at == slot || !self.begins_chunk(*at));
        (slot..SLOTS).take(most).take_while(goes_on).count()
    }

    /// The number of slots without a page from `slot` on.
    pub(super) fn hole_from(&self, slot: usize) -> usize {
        self.find(slot, true).unwrap_or(SLOTS) - slot
    }

    /// The first slot at or after `slot` with a page, or without one if `holds_page` is false.
    pub(super) fn find(&self, slot: usize, holds_page: bool) -> Option<usize> {
        (slot..SLOTS).find(|&slot| self.get(slot).is_some() == holds_page)
    }

    /// Puts `page` into `slot`, not marked as exclusive. Returns the previous page.
    pub(super) fn replace(&mut self, slot: usize, page: Option<PageRef>) -> Option<PageRef> {
        self.unmark(slot);
        self.recount(slot, |leaf| {
            leaf.shadows &= !Self::bit(slot);
            core::mem::replace(leaf.pages.entry(slot), page)
        })
    }

    /// Sets whether the page in `slot` is a shadow.
    pub(super) fn set_shadow(&mut self, slot: usize, is_shadow: bool) {
        self.recount(slot, |leaf| match is_shadow {
            true => leaf.shadows |= Self::bit(slot),
            false => leaf.shadows &= !Self::bit(slot),
        });
    }

    /// Changes `slot` with `change`, and updates the usage.
    fn recount<R>(&mut self, slot: usize, change: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.usage_at(slot);
        let result = change(self);
        self.usage += self.usage_at(slot);
        self.usage -= before;
        result
    }

    /// The usage that a change of `slot` affects: its page, and chunks that begin at it or right
    /// after it.
    fn usage_at(&self, slot: usize) -> Usage {
        let begins = |slot| u64::from(self.begins_chunk(slot));
        Usage {
            pages: u64::from(self.get(slot).is_some()),
            chunks: begins(slot) + begins(slot + 1),
            shadows: u64::from(self.is_shadow(slot)),
        }
    }

    /// Exchanges the content and the state of `slots` with the same slots of `other`.
    pub(super) fn exchange(&mut self, slots: Range<usize>, other: &mut Self) {
        for slot in slots {
            let ours = self.take(slot);
            let theirs = other.take(slot);
            self.put(slot, theirs);
            other.put(slot, ours);
        }
    }

    /// Empties `slot`. Returns its page, whether it is exclusive, and whether it is a shadow.
    fn take(&mut self, slot: usize) -> (Option<PageRef>, bool, bool) {
        let state = (self.is_marked(slot), self.is_shadow(slot));
        (self.replace(slot, None), state.0, state.1)
    }

    /// Reverses [`Self::take`].
    fn put(&mut self, slot: usize, (page, is_marked, is_shadow): (Option<PageRef>, bool, bool)) {
        self.replace(slot, page);
        self.mark_if(slot, is_marked);
        self.set_shadow(slot, is_shadow);
    }
}

impl Drop for Leaf {
    /// Reschedules if needed: a buffer of a terabyte has four million leaves to free.
    fn drop(&mut self) {
        cond_resched();
    }
}

/// Whether the memory of `next` begins where that of `page` ends.
fn follows(page: &PageRef, next: &PageRef) -> bool {
    let folio = next.folio();
    folio
        .index()
        .checked_sub(1)
        .is_some_and(|before| folio.is_at(before, page))
}

#[kunit_tests(qemufile_sized_buffer_node)]
pub(super) mod tests {
    use super::*;

    impl Leaf {
        /// Counts the memory that the leaf holds.
        fn count(&self) -> Usage {
            let mut usage = Usage::NONE;
            for slot in 0..SLOTS {
                usage.pages += u64::from(self.get(slot).is_some());
                usage.chunks += u64::from(self.begins_chunk(slot));
                usage.shadows += u64::from(self.is_shadow(slot));
            }
            usage
        }
    }

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
        assert_eq!((leaf.usage.pages, leaf.usage.chunks), (4, 1));
        Ok(())
    }

    #[test]
    fn pages_of_their_own_are_chunks_of_their_own() -> Result {
        let mut leaf = leaf_of(PageRef::alloc_run(0)?, 62);
        leaf.replace(63, PageRef::alloc_run(0)?.next());
        assert_eq!(leaf.chunk_from(62, SLOTS), 1);
        assert_eq!((leaf.usage.pages, leaf.usage.chunks), (2, 2));
        Ok(())
    }

    #[test]
    fn figures_follow_every_change() -> Result {
        let mut leaf = leaf_of(PageRef::alloc_run(2)?, 0);
        let page = leaf.replace(1, None);
        assert_eq!((leaf.usage.pages, leaf.usage.chunks), (3, 2));
        leaf.replace(1, page);
        assert_eq!((leaf.usage.pages, leaf.usage.chunks), (4, 1));
        leaf.replace(3, PageRef::alloc_run(0)?.next());
        assert_eq!((leaf.usage.pages, leaf.usage.chunks), (4, 2));
        assert!(leaf.usage == leaf.count());
        Ok(())
    }

    #[test]
    fn an_exchange_takes_the_marks_along() -> Result {
        let mut ours = leaf_of(PageRef::alloc_run(2)?, 0);
        let mut theirs = leaf_of(PageRef::alloc_run(0)?, 1);
        assert!(ours.may_write(1));
        ours.exchange(1..3, &mut theirs);
        assert_eq!((ours.usage.pages, theirs.usage.pages), (3, 2));
        assert!(ours.is_marked(0) && !ours.is_marked(1));
        assert!(theirs.is_marked(1) && theirs.is_marked(2));
        assert!(ours.usage == ours.count() && theirs.usage == theirs.count());
        Ok(())
    }
}
