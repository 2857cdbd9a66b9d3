// SPDX-License-Identifier: GPL-2.0

//! The nodes of the tree.
//!
//! A node has 64 slots: those of a [`Leaf`] hold pages, those of an interior node hold nodes. A
//! folio that is longer than a page takes one slot a page, each with a reference of its own.

use crate::sys::{
    page::PageRef,
    sched::cond_resched,
    shared::Shared, //
};
use core::ops::{
    AddAssign,
    Deref,
    SubAssign, //
};
use kernel::prelude::*;

/// The base-2 logarithm of [`SLOTS`].
pub(super) const SLOT_BITS: u32 = 6;

/// The number of slots in a node.
pub(super) const SLOTS: usize = 1 << SLOT_BITS;

/// The slots of a node.
#[derive(Clone)]
pub(super) struct Slots<T>([Option<T>; SLOTS]);

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self([const { None }; SLOTS])
    }

    /// What `slot` holds; nothing if there is no such slot.
    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        self.0.get(slot)?.as_ref()
    }

    /// The slot to be changed; `slot` counts modulo [`SLOTS`], which keeps it in bounds.
    pub(super) fn entry(&mut self, slot: usize) -> &mut Option<T> {
        &mut self.0[slot % SLOTS]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&T>> {
        self.0.iter().map(Option::as_ref)
    }
}

/// A node of the tree.
#[derive(Clone)]
pub(super) enum Node {
    Interior(Slots<Shared<Node>>),
    Leaf(Leaf),
}

impl Node {
    /// Makes an empty node for `level`, which is 0 for a leaf.
    pub(super) const fn new(level: u32) -> Self {
        match level {
            0 => Self::Leaf(Leaf(Slots::new())),
            _ => Self::Interior(Slots::new()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Interior(children) => children.is_empty(),
            Self::Leaf(leaf) => leaf.0.is_empty(),
        }
    }
}

/// How much memory there is below some point of the tree.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    /// Slots that hold a page.
    pub(super) pages: u64,
    /// Runs of slots that hold pages which follow one another in one folio.
    pub(super) chunks: u64,
}

impl Usage {
    pub(super) const NONE: Self = Self {
        pages: 0,
        chunks: 0,
    };
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.pages += more.pages;
        self.chunks += more.chunks;
    }
}

impl SubAssign for Usage {
    fn sub_assign(&mut self, less: Self) {
        self.pages -= less.pages;
        self.chunks -= less.chunks;
    }
}

/// A node whose slots hold pages.
#[derive(Clone)]
pub(super) struct Leaf(Slots<PageRef>);

impl Leaf {
    /// The page in `slot`.
    pub(super) fn get(&self, slot: usize) -> Option<&PageRef> {
        self.0.get(slot)
    }

    /// Whether the page in `slot` begins a chunk: there is one, and it does not follow the one
    /// before it.
    fn begins_chunk(&self, slot: usize) -> bool {
        let before = slot.checked_sub(1).and_then(|before| self.get(before));
        self.get(slot)
            .is_some_and(|page| !before.is_some_and(|before| follows(before, page)))
    }

    /// The memory that the leaf holds.
    pub(super) fn usage(&self) -> Usage {
        let mut usage = Usage::NONE;
        for slot in 0..SLOTS {
            usage.pages += u64::from(self.get(slot).is_some());
            usage.chunks += u64::from(self.begins_chunk(slot));
        }
        usage
    }

    /// The number of slots from `slot` on that hold one chunk, counted up to `most`; 0 if there is
    /// no page.
    pub(super) fn chunk_from(&self, slot: usize, most: usize) -> usize {
        let goes_on =
            |at: &usize| self.get(*at).is_some() && (*at == slot || !self.begins_chunk(*at));
        (slot..SLOTS).take(most).take_while(goes_on).count()
    }

    /// The number of slots from `slot` on that hold no page.
    pub(super) fn hole_from(&self, slot: usize) -> usize {
        self.find(slot, true).unwrap_or(SLOTS) - slot
    }

    /// The first slot at or after `slot` that holds a page, or that holds none.
    pub(super) fn find(&self, slot: usize, holds_page: bool) -> Option<usize> {
        (slot..SLOTS).find(|&slot| self.get(slot).is_some() == holds_page)
    }

    /// Whether the page in `slot` is nobody's but this leaf's, and so may be written in place.
    ///
    /// That is so if every reference to its folio is one of a page of the folio that is in its
    /// place relative to this one. The caller must be the only holder of the leaf. A page that is
    /// in the leaf twice, or out of its folio's order, counts as shared, which is the safe side.
    pub(super) fn is_private(&self, slot: usize) -> bool {
        let Some(page) = self.get(slot) else {
            return false;
        };
        let folio = page.folio();
        let (index, pages) = (folio.index(), folio.pages());
        let ours = (0..pages).filter(|of_folio| {
            let at = (slot + of_folio).checked_sub(index);
            at.and_then(|at| self.get(at))
                .is_some_and(|there| folio.is_at(*of_folio, there))
        });
        ours.count() == folio.refs()
    }
}

impl Drop for Leaf {
    /// Lets others run: a buffer of a terabyte has four million leaves to free.
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

/// A leaf to be changed, with the figures that must change with it.
pub(super) struct LeafMut<'a> {
    pub(super) leaf: &'a mut Leaf,
    pub(super) usage: &'a mut Usage,
}

impl Deref for LeafMut<'_> {
    type Target = Leaf;

    fn deref(&self) -> &Leaf {
        self.leaf
    }
}

impl LeafMut<'_> {
    /// Puts `page` into `slot` and returns what was there.
    pub(super) fn replace(&mut self, slot: usize, page: Option<PageRef>) -> Option<PageRef> {
        let before = self.usage_at(slot);
        let old = core::mem::replace(self.leaf.0.entry(slot), page);
        *self.usage += self.usage_at(slot);
        *self.usage -= before;
        old
    }

    /// What a change of `slot` can change: its page, and the chunks that begin there or right
    /// after it.
    fn usage_at(&self, slot: usize) -> Usage {
        let begins = |slot| u64::from(self.begins_chunk(slot));
        Usage {
            pages: u64::from(self.get(slot).is_some()),
            chunks: begins(slot) + begins(slot + 1),
        }
    }
}

#[kunit_tests(qemufile_sized_buffer_node)]
mod tests {
    use super::*;

    fn leaf_of(pages: impl Iterator<Item = PageRef>, first: usize) -> Leaf {
        let mut leaf = Leaf(Slots::new());
        for (i, page) in pages.enumerate() {
            *leaf.0.entry(first + i) = Some(page);
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
        *leaf.0.entry(63) = PageRef::alloc_run(0)?.next();
        assert_eq!(leaf.chunk_from(62, SLOTS), 1);
        assert_eq!((leaf.usage().pages, leaf.usage().chunks), (2, 2));
        Ok(())
    }

    #[test]
    fn a_folio_is_private_until_somebody_has_a_page_of_it() -> Result {
        let leaf = leaf_of(PageRef::alloc_run(2)?, 8);
        assert!((8..12).all(|slot| leaf.is_private(slot)));
        assert!(!leaf.is_private(7));
        let lent = leaf.get(9).cloned();
        assert!(!(8..12).any(|slot| leaf.is_private(slot)));
        drop(lent);
        assert!(leaf.is_private(8));
        let clone = leaf.clone();
        assert!(!leaf.is_private(8));
        drop(clone);
        assert!(leaf.is_private(8));
        Ok(())
    }

    #[test]
    fn a_page_in_two_slots_is_not_private() -> Result {
        let mut leaf = leaf_of(PageRef::alloc_run(1)?, 0);
        let twice = leaf.get(1).cloned();
        *leaf.0.entry(2) = twice;
        assert!(!(0..3).any(|slot| leaf.is_private(slot)));
        Ok(())
    }

    #[test]
    fn a_page_in_the_place_of_another_is_not_private() -> Result {
        let mut leaf = leaf_of(PageRef::alloc_run(2)?, 0);
        let twice = leaf.get(1).cloned();
        *leaf.0.entry(2) = twice;
        assert!(!(0..4).any(|slot| leaf.is_private(slot)));
        Ok(())
    }

    #[test]
    fn figures_follow_every_change() -> Result {
        let mut leaf = leaf_of(PageRef::alloc_run(2)?, 0);
        let mut usage = leaf.usage();
        let mut change = LeafMut {
            leaf: &mut leaf,
            usage: &mut usage,
        };
        let page = change.replace(1, None);
        assert_eq!((change.usage.pages, change.usage.chunks), (3, 2));
        change.replace(1, page);
        assert_eq!((change.usage.pages, change.usage.chunks), (4, 1));
        change.replace(3, PageRef::alloc_run(0)?.next());
        assert_eq!((change.usage.pages, change.usage.chunks), (4, 2));
        Ok(())
    }
}
