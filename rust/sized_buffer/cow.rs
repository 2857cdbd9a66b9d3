// SPDX-License-Identifier: GPL-2.0

//! Copy on write: when a page may be written in place, and how a writer gets a copy otherwise.
//!
//! The file is long because all decisions, and tests of them, stand together.
//!
//! # Rules
//!
//! - Only the single owner of a node changes it. [`own`] copies a node that clones share.
//! - A page is written in place only through a slot that is marked as *exclusive*, in a leaf with a
//!   single owner. The mark says that the page is known only to this slot, to mappings of this
//!   buffer's stream, and to holders that reached it through such a mapping. All of these must see
//!   later writes.
//! - The mark is set for a new page. It is also set if every reference to the page's folio belongs
//!   to a slot of this leaf ([`Leaf::may_write`]). The page is not mapped then, because a mapping
//!   holds a reference.
//! - The mark is cleared when the page becomes known to others: by [`Leaf::lend`], and when the
//!   leaf gets another owner ([`share`]), even for a moment. The last owner of the leaf need not be
//!   the one that set the mark. Mappings of one owner must not show writes of the other.
//! - Another owner of an interior node is another owner of all leaves below it. These are too many
//!   to clear at once. The node records the fact, and the next change passes it on to the children
//!   ([`Interior::pass_on`]).
//! - The buffer's user lends and shares pages under the write side of a lock. So a page stays
//!   exclusive while the read side is held, and a write in place needs no exclusive access to the
//!   tree ([`fresh`](super::fresh)).
//! - A page without the mark is replaced by a copy ([`Leaf::copy_to_own`]). Other holders of the
//!   old page keep it unchanged.
//! - A mapping may write to a page only while the page is marked. The buffer's user removes all
//!   mappings before a clone clears the marks (`stream::locks`), and those of one page before the
//!   page is lent ([`stores`](super::stores)).
//! - A mapped hole has a page, called a shadow. The same rules apply to it. A write makes the
//!   shadow the slot's page ([`Leaf::promote`]), so the mappings show the write.
//!
//! Reference counts alone are not enough. The folio's references and its mappings cannot be read
//! together, so a page that its own stream maps would always look shared.
//!
//! # Concurrency
//!
//! Several tasks can read a node and lend its pages at once: each owner of a node has its own lock.
//! So marks are cleared, and new owners
//! recorded, atomically. Only the single owner of a node sets marks and passes records on. It has
//! exclusive access to the stream (`&mut`). An acquire ([`Shared::get_mut`]) orders it after the
//! other owners have gone. The lock orders it after the readers of its own stream. So it sees all
//! that these have cleared and recorded.

use super::node::{
    Interior,
    Leaf,
    Node,
    SLOTS,
    SLOT_BITS, //
};
use crate::sys::{
    page::{
        PageRef,
        Run,
        PAGE_SIZE, //
    },
    shared::Shared, //
};
use core::ops::Range;
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The base-2 logarithm of the largest number of pages that are allocated at once: 64 KiB.
///
/// Measured with 64 MiB written in calls of 1 MiB: runs of 4 pages are 1.5 times as fast as single
/// pages, runs of 16 pages twice as fast, and longer runs no faster. The same holds for freeing.
pub(super) const MAX_ORDER: u32 = 4;

// A run has to fit into a leaf.
const _: () = assert!(MAX_ORDER <= SLOT_BITS);

/// Adds an owner to a node, and so to all nodes below it.
pub(super) fn share(node: &Shared<Node>) -> Result<Shared<Node>, AllocError> {
    let other = node.try_clone()?;
    node.note_shared();
    Ok(other)
}

/// Makes the node in `link` the caller's own. A shared node is copied. A missing node is created,
/// empty, with this `level`.
pub(super) fn own(link: &mut Option<Shared<Node>>, level: u32) -> Result<&mut Node, AllocError> {
    let fresh = match link {
        None => Some(Node::new(level)),
        Some(node) => match node.get_mut() {
            None => Some(node.try_clone_node()?),
            Some(_) => None,
        },
    };
    if let Some(node) = fresh {
        *link = Some(Shared::new(node)?);
    }
    let node = link.as_mut().and_then(Shared::get_mut).ok_or(AllocError)?;
    if let Node::Interior(node) = node {
        node.pass_on();
    }
    Ok(node)
}

/// The base-2 logarithm of the number of pages of a run for `slot` and the slots after it: of up to
/// `pages` pages, but of at least one. It ends in the leaf, and is aligned to its length.
pub(super) fn order_at(slot: usize, pages: usize) -> u32 {
    let most = pages.min(1 << MAX_ORDER);
    most.checked_ilog2().unwrap_or(0).min(slot.trailing_zeros())
}

/// Allocates a run for `slot` and the slots after it: of [`order_at`], or as long as memory allows.
pub(super) fn alloc_run_at(slot: usize, pages: usize) -> Result<Run, AllocError> {
    alloc_at(slot, pages, PageRef::alloc_run)
}

/// As [`alloc_run_at`], of zeros.
pub(super) fn alloc_zeros_at(slot: usize, pages: usize) -> Result<Run, AllocError> {
    alloc_at(slot, pages, PageRef::alloc_zeros)
}

fn alloc_at(
    slot: usize,
    pages: usize,
    alloc: impl Fn(u32) -> Result<Run, AllocError>,
) -> Result<Run, AllocError> {
    (1..=order_at(slot, pages))
        .rev()
        .find_map(|order| alloc(order).ok())
        .map_or_else(|| alloc(0), Ok)
}

impl Node {
    /// A copy with references to the same nodes or pages.
    fn try_clone_node(&self) -> Result<Self, AllocError> {
        Ok(match self {
            Self::Interior(node) => Self::Interior(Interior {
                children: node.children.try_clone(share)?,
                shared: Atomic::new(false),
                usage: node.usage,
            }),
            Self::Leaf(leaf) => Self::Leaf(leaf.try_clone()?),
        })
    }

    /// Records that the node has, or had, another owner: no page below is exclusive.
    fn note_shared(&self) {
        match self {
            Self::Interior(node) => node.shared.store(true, Relaxed),
            Self::Leaf(leaf) => leaf.set_marks(0),
        }
    }
}

impl Interior {
    /// Passes the record of another owner on to the children. The caller is the node's only owner.
    pub(super) fn pass_on(&mut self) {
        if self.shared.load(Relaxed) {
            self.shared.store(false, Relaxed);
            let children = self.children.iter().flatten();
            children.for_each(|child| child.note_shared());
        }
    }
}

impl Leaf {
    /// A copy with references to the same pages. The pages are then exclusive to neither leaf.
    pub(super) fn try_clone(&self) -> Result<Self, AllocError> {
        self.set_marks(0);
        Ok(self.with_pages(self.pages.try_clone(PageRef::try_clone)?))
    }

    /// Whether the page in `slot` is marked as exclusive.
    pub(super) fn is_marked(&self, slot: usize) -> bool {
        self.marks() & Self::bit(slot) != 0
    }

    /// The number of slots from `slot` on, up to `most`, whose pages are marked as exclusive.
    pub(super) fn marked_from(&self, slot: usize, most: usize) -> usize {
        (Self::first(!self.marks(), slot) - slot).min(most)
    }

    /// The slots whose pages are marked as exclusive, one bit a slot.
    pub(super) fn marks(&self) -> u64 {
        self.exclusive.load(Relaxed)
    }

    /// Marks just the pages in these slots as exclusive. The caller is the leaf's only owner.
    pub(super) fn set_marks(&self, marks: u64) {
        self.exclusive.store(marks, Relaxed);
    }

    /// Marks the page in `slot` as exclusive if `exclusive`. The caller is the leaf's only owner.
    pub(super) fn mark_if(&self, slot: usize, exclusive: bool) {
        if exclusive {
            self.set_marks(self.marks() | Self::bit(slot));
        }
    }

    /// Clears the marks of `slots`, one bit a slot.
    pub(super) fn unmark(&self, slots: u64) {
        let mut marks = self.marks();
        while marks & slots != 0 {
            match self.exclusive.cmpxchg(marks, marks & !slots, Relaxed) {
                Ok(_) => return,
                Err(now) => marks = now,
            }
        }
    }

    /// Whether the page in `slot` may be written in place. The caller is the leaf's only owner.
    pub(super) fn may_write(&self, slot: usize) -> bool {
        self.may_write_held(slot, 0)
    }

    /// As [`Self::may_write`], for a caller that knows of `held` references to the page beside the
    /// slots': they are its own.
    pub(super) fn may_write_held(&self, slot: usize, held: usize) -> bool {
        if self.is_marked(slot) {
            return true;
        }
        if !self.is_only_here(slot, held) {
            return false;
        }
        self.set_marks(self.marks() | self.slots_of_folio(slot));
        true
    }

    /// The slots that hold the pages of the folio of the page in `slot`, each page at its natural
    /// position; one bit a slot, none without a page.
    ///
    /// A page that is in the leaf twice, or at another position, is left out. It then counts as
    /// shared, which is safe.
    pub(super) fn slots_of_folio(&self, slot: usize) -> u64 {
        let Some(page) = self.pages.get(slot) else {
            return 0;
        };
        let folio = page.folio();
        let pages = folio.pages();
        if pages == 1 {
            return Self::bit(slot);
        }
        let index = folio.index();
        let holds = |of_folio: &usize| {
            let at = (slot + of_folio).checked_sub(index);
            let found = at.and_then(|at| self.pages.get(at));
            found.is_some_and(|found| folio.is_at(*of_folio, found))
        };
        (0..pages).filter(holds).fold(0, |slots, of_folio| {
            slots | Self::bit(slot + of_folio - index)
        })
    }

    /// Whether every reference to the folio of the page in `slot`, but for `held` ones of the
    /// caller, belongs to a slot of this leaf.
    ///
    /// References can go at any time. New ones come only from a holder of the page.
    fn is_only_here(&self, slot: usize, held: usize) -> bool {
        self.pages.get(slot).is_some_and(|page| {
            // The answer for most of the pages that mappings have filled, in one step.
            page.has_refs(1 + held) || self.count_of_folio(slot) + held == page.folio().refs()
        })
    }

    /// The number of [`Self::slots_of_folio`].
    fn count_of_folio(&self, slot: usize) -> usize {
        self.slots_of_folio(slot).count_ones() as usize
    }

    /// Whether only this leaf has the page in `slot`. Mappings are its stream's own, or are of a
    /// clone that has another page by now and is about to be unmapped.
    pub(super) fn is_owned(&self, slot: usize) -> bool {
        self.get(slot).is_some_and(|page| {
            let folio = page.folio();
            let others = folio.refs().saturating_sub(folio.mappings());
            self.is_marked(slot) || self.count_of_folio(slot) == others
        })
    }

    /// Whether somebody may still write to the page in `slot`, although no mapping can: it is
    /// exclusive, and has a reference that is no slot's. `O_DIRECT` reads in progress have one
    /// (`pin_user_pages()`).
    ///
    /// True also if another page of its folio is known to others.
    pub(super) fn is_busy(&self, slot: usize) -> bool {
        self.is_marked(slot) && !self.is_only_here(slot, 0)
    }

    /// The slots with a page for which [`Self::is_busy`] is true, one bit a slot. Asks each folio
    /// once.
    pub(super) fn busy_slots(&self) -> u64 {
        let (mut unknown, mut busy) = (self.marks() & !self.shadows, 0);
        while unknown != 0 {
            let slot = unknown.trailing_zeros() as usize;
            let mut slots = Self::bit(slot);
            let is_sole = |page: &PageRef| page.has_refs(1);
            if !self.get(slot).is_some_and(is_sole) {
                slots |= self.slots_of_folio(slot);
                if self.is_busy(slot) {
                    busy |= unknown & slots;
                }
            }
            unknown &= !slots;
        }
        busy
    }

    /// The number of slots from `slot` on, up to `most`, that hold one chunk and may all be written
    /// in place.
    pub(super) fn own_chunk_from(&self, slot: usize, most: usize) -> usize {
        let chunk = self.chunk_from(slot, most);
        match self.marked_from(slot, chunk) {
            marked if marked == chunk => chunk,
            marked => {
                let rest = (slot + marked..slot + chunk).take_while(|&slot| self.may_write(slot));
                marked + rest.count()
            }
        }
    }

    /// Takes a reference to the page in `slot`. The page's bytes do not change while the reference
    /// lives.
    pub(super) fn lend(&self, slot: usize) -> Result<Option<PageRef>, AllocError> {
        let Some(page) = self.get(slot) else {
            return Ok(None);
        };
        self.unmark(Self::bit(slot));
        page.try_clone().map(Some)
    }

    /// As [`Leaf::replace_all`], with pages that were allocated for this leaf.
    pub(super) fn replace_all_with_new(
        &mut self,
        slots: Range<usize>,
        mut page: impl FnMut(&Self, usize) -> Option<PageRef>,
        old: impl FnMut(usize, Option<PageRef>),
    ) {
        let mut filled = 0;
        self.replace_all(
            slots,
            |leaf, slot| {
                let page = page(leaf, slot);
                filled |= page.as_ref().map_or(0, |_| Self::bit(slot));
                page
            },
            old,
        );
        self.set_marks(self.marks() | filled);
    }

    /// Makes the shadow in `slot` the slot's page, if it may be written in place. Returns whether
    /// it did.
    pub(super) fn promote(&mut self, slot: usize) -> bool {
        let promoted = self.is_shadow(slot) && self.may_write(slot);
        if promoted {
            self.set_shadow(slot, false);
        }
        promoted
    }

    /// How many of the slots from `slot` on, up to `most`, hold no page that may be written in place.
    pub(super) fn free_slots(&self, slot: usize, most: usize) -> usize {
        let slots = (slot..SLOTS).take(most.min(1 << MAX_ORDER));
        slots.take_while(|&slot| !self.may_write(slot)).count()
    }

    /// Whether a write of the whole page in `slot` puts a new page there: there is none, or others
    /// have it. The leaf has no other owner. `recorded`: it had one, so no page is exclusive.
    pub(super) fn needs_new_page(&self, slot: usize, recorded: bool) -> bool {
        let is_own = !recorded && self.is_marked(slot);
        self.pages.get(slot).is_none() || !(is_own || self.is_only_here(slot, 0))
    }

    /// Fills `len` bytes of a new page, from `offset` on, with the content of `slot`: the part that
    /// a write leaves out.
    pub(super) fn fill_gap(&self, page: &PageRef, slot: usize, offset: usize, len: usize) {
        if len > 0 {
            match self.get(slot) {
                Some(old) => page.copy_from(offset, old, len),
                None => page.zero(offset, len),
            };
        }
    }

    /// A copy of the page in `slot` to replace it; [`None`] if the page may be written in place.
    pub(super) fn copy_to_own(&self, slot: usize) -> Result<Option<PageRef>, AllocError> {
        if self.may_write(slot) {
            return Ok(None);
        }
        let page = PageRef::alloc_run(0)?.next().ok_or(AllocError)?;
        self.fill_gap(&page, slot, 0, PAGE_SIZE);
        Ok(Some(page))
    }
}

#[kunit_tests(qemufile_sized_buffer_cow)]
mod tests {
    use super::{
        super::node::tests::leaf_of,
        *, //
    };

    #[test]
    fn a_folio_is_private_until_somebody_has_a_page_of_it() -> Result {
        let leaf = leaf_of(PageRef::alloc_run(2)?, 8);
        assert!(!leaf.may_write(7));
        let page = leaf.get(9).ok_or(EINVAL)?.try_clone()?;
        assert!(!(8..12).any(|slot| leaf.may_write(slot)));
        drop(page);
        assert!((8..12).all(|slot| leaf.may_write(slot)));
        Ok(())
    }

    #[test]
    fn a_lent_page_is_not_written_and_its_neighbours_are() -> Result {
        let leaf = leaf_of(PageRef::alloc_run(2)?, 8);
        assert!(leaf.may_write(8));
        let lent = leaf.lend(9)?;
        assert!(leaf.may_write(8) && !leaf.may_write(9) && leaf.may_write(10));
        assert_eq!(leaf.own_chunk_from(8, SLOTS), 1);
        drop(lent);
        assert!(leaf.may_write(9));
        assert_eq!(leaf.own_chunk_from(8, SLOTS), 4);
        Ok(())
    }

    #[test]
    fn a_copy_of_a_leaf_makes_its_pages_shared() -> Result {
        let leaf = leaf_of(PageRef::alloc_run(2)?, 8);
        assert!(leaf.may_write(8));
        let copy = leaf.try_clone()?;
        assert!(!leaf.may_write(8) && !copy.may_write(8));
        drop(copy);
        assert!(leaf.may_write(8));
        Ok(())
    }

    #[test]
    fn a_page_in_two_slots_is_not_private() -> Result {
        let mut leaf = leaf_of(PageRef::alloc_run(1)?, 0);
        let twice = leaf.lend(1)?;
        leaf.replace(2, twice);
        assert!(!(0..3).any(|slot| leaf.may_write(slot)));
        Ok(())
    }

    #[test]
    fn a_page_in_the_place_of_another_is_not_private() -> Result {
        let mut leaf = leaf_of(PageRef::alloc_run(2)?, 0);
        let twice = leaf.lend(1)?;
        leaf.replace(2, twice);
        assert!(!(0..4).any(|slot| leaf.may_write(slot)));
        Ok(())
    }

    #[test]
    fn a_shadow_is_a_hole_until_it_is_written() -> Result {
        let mut leaf = leaf_of(PageRef::alloc_run(0)?, 3);
        let page = PageRef::alloc_run(0)?.next().ok_or(EINVAL)?;
        let mut page = Some(page);
        leaf.replace_all_with_new(4..5, |_, _| page.take(), |_, _| ());
        leaf.set_shadow(4, true);
        assert!(leaf.get(4).is_none() && leaf.find(4, true, false).is_none());
        assert_eq!((leaf.usage().pages, leaf.usage().shadows), (1, 1));
        assert!(leaf.lend(4)?.is_none());
        let copy = leaf.try_clone()?;
        assert!(copy.is_shadow(4) && !leaf.promote(4));
        drop(copy);
        assert!(leaf.promote(4) && leaf.get(4).is_some());
        assert_eq!((leaf.usage().pages, leaf.usage().shadows), (2, 0));
        Ok(())
    }
}
