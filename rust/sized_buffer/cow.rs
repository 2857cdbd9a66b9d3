// SPDX-License-Identifier: GPL-2.0

//! Copy on write: who may write to a page in place, and how everybody else gets a page to write to.
//!
//! # Rules
//!
//! - A node is changed only by its single owner: [`own`] copies a node that clones share.
//! - A page is written in place only through a slot that is marked as *exclusive*, in a leaf with a
//!   single owner. The mark says that nobody knows the page but this slot, mappings of this
//!   buffer's stream, and whoever reached it through those. All of these are to see later writes.
//! - The mark is set for a new page, and when every reference to a page's folio is that of a slot
//!   of this leaf ([`Leaf::may_write`]): then there is no mapping either, as each has a reference.
//! - The mark is cleared when the page becomes known to others: [`Leaf::lend`], and another owner
//!   of the leaf ([`share`]), be it for good or for a moment. Whoever has the leaf alone afterwards
//!   need not be who set the mark, and mappings of the one are not to show what the other writes.
//! - Another owner of an interior node is another owner of all leaves below, which are too many to
//!   be cleared at once. So the node notes it, and the note goes down with the next change
//!   ([`Interior::pass_on`]).
//! - A page without the mark is replaced by a copy ([`Leaf::copy_to_own`]). Whoever had the old
//!   page keeps it as it is.
//! - A hole that is mapped has a page, a shadow, under the same rules. A write makes it the slot's
//!   page ([`Leaf::promote`]), so the mappings show what is written.
//!
//! Counts alone do not decide. The references of mappings and the number of mappings cannot be read
//! together, so a page that its own stream has mapped would always look shared.
//!
//! # Concurrency
//!
//! Several tasks can read a node and lend its pages at once: each owner of a node has a lock of its
//! own, and readers of one stream share that stream's lock. So marks are cleared, and notes made,
//! atomically. Marks are set, and notes passed on, by the single owner of a node, who has the
//! stream for itself (`&mut`). It has seen the other owners go with an acquire
//! ([`Shared::get_mut`]), and readers of its own stream with the lock; and with them what they
//! cleared and noted.

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
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The base-2 logarithm of the most pages that are allocated at once: 64 KiB.
///
/// Measured with 64 MiB written in calls of 1 MiB: runs of 4 pages are half as fast again as single
/// ones, runs of 16 twice as fast, longer ones no faster; freeing goes the same way.
const MAX_ORDER: u32 = 4;

// Such a run has to fit into a leaf.
const _: () = assert!(MAX_ORDER <= SLOT_BITS);

/// Makes another owner of a node, and so of all that is below it.
pub(super) fn share(node: &Shared<Node>) -> Result<Shared<Node>, AllocError> {
    let other = node.try_clone()?;
    node.note_shared();
    Ok(other)
}

/// Makes the node in `link` the caller's own: a copy if others share it, an empty one of this
/// `level` if there is none.
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

impl Node {
    /// A copy that refers to the same nodes or pages.
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

    /// Notes that there is, or was, another owner of the node: no page below is exclusive.
    fn note_shared(&self) {
        match self {
            Self::Interior(node) => node.shared.store(true, Relaxed),
            Self::Leaf(leaf) => leaf.exclusive.store(0, Relaxed),
        }
    }
}

impl Interior {
    /// Passes the note that there was another owner on to the children. The caller is the node's
    /// only owner.
    pub(super) fn pass_on(&mut self) {
        if self.shared.load(Relaxed) {
            self.shared.store(false, Relaxed);
            let children = self.children.iter().flatten();
            children.for_each(|child| child.note_shared());
        }
    }
}

impl Leaf {
    /// A copy that refers to the same pages, which then are exclusive to neither.
    pub(super) fn try_clone(&self) -> Result<Self, AllocError> {
        self.exclusive.store(0, Relaxed);
        Ok(Self {
            pages: self.pages.try_clone(PageRef::try_clone)?,
            exclusive: Atomic::new(0),
            shadows: self.shadows,
            usage: self.usage,
        })
    }

    /// Whether the page in `slot` is marked as exclusive.
    pub(super) fn is_marked(&self, slot: usize) -> bool {
        self.exclusive.load(Relaxed) & Self::bit(slot) != 0
    }

    /// Marks the page in `slot` as exclusive if `exclusive`. The caller is the leaf's only owner.
    pub(super) fn mark_if(&self, slot: usize, exclusive: bool) {
        if exclusive {
            let marks = self.exclusive.load(Relaxed);
            self.exclusive.store(marks | Self::bit(slot), Relaxed);
        }
    }

    /// Clears the mark of `slot`.
    pub(super) fn unmark(&self, slot: usize) {
        let mut marks = self.exclusive.load(Relaxed);
        while marks & Self::bit(slot) != 0 {
            match self
                .exclusive
                .cmpxchg(marks, marks & !Self::bit(slot), Relaxed)
            {
                Ok(_) => return,
                Err(now) => marks = now,
            }
        }
    }

    /// Whether the page in `slot` may be written in place. The caller is the leaf's only owner.
    pub(super) fn may_write(&self, slot: usize) -> bool {
        if self.is_marked(slot) {
            return true;
        }
        let Some(page) = self.pages.get(slot) else {
            return false;
        };
        let folio = page.folio();
        let (index, pages) = (folio.index(), folio.pages());
        // The slots that hold the pages of the folio, each in its natural place. A page that is
        // in the leaf twice, or elsewhere, counts as shared, which is the safe side.
        let slots = || {
            (0..pages).filter_map(|of_folio| {
                let at = (slot + of_folio).checked_sub(index)?;
                let found = self.pages.get(at)?;
                folio.is_at(of_folio, found).then_some(at)
            })
        };
        // References can go at any time, and come only from whoever can reach the page.
        if slots().count() != folio.refs() {
            return false;
        }
        slots().for_each(|at| self.mark_if(at, true));
        true
    }

    /// The number of slots from `slot` on, up to `most`, that hold one chunk and may all be written
    /// in place.
    pub(super) fn own_chunk_from(&self, slot: usize, most: usize) -> usize {
        let chunk = self.chunk_from(slot, most);
        let own = (slot..slot + chunk).take_while(|&slot| self.may_write(slot));
        own.count()
    }

    /// Takes a reference to the page in `slot`, whose bytes then do not change any more while the
    /// reference lives.
    pub(super) fn lend(&self, slot: usize) -> Result<Option<PageRef>, AllocError> {
        let Some(page) = self.get(slot) else {
            return Ok(None);
        };
        self.unmark(slot);
        page.try_clone().map(Some)
    }

    /// Puts a page that was allocated for this leaf into `slot`, and returns what was there.
    pub(super) fn replace_with_new(&mut self, slot: usize, page: PageRef) -> Option<PageRef> {
        let old = self.replace(slot, Some(page));
        self.mark_if(slot, true);
        old
    }

    /// Makes the shadow in `slot`, if it is one that may be written in place, the slot's page.
    pub(super) fn promote(&mut self, slot: usize) -> bool {
        let promoted = self.is_shadow(slot) && self.may_write(slot);
        if promoted {
            self.set_shadow(slot, false);
        }
        promoted
    }

    /// Allocates memory for at most `pages` pages at `slot`, and for one at least.
    ///
    /// The run is as long as there is, is aligned to its length, and will replace nothing that
    /// could be written in place.
    pub(super) fn alloc_run(&self, slot: usize, pages: usize) -> Result<Run, AllocError> {
        let most = pages.min(1 << MAX_ORDER);
        let slots = (slot..SLOTS).take(most);
        let free = slots.take_while(|&slot| !self.may_write(slot)).count();
        let order = free.checked_ilog2().unwrap_or(0).min(slot.trailing_zeros());
        (1..=order)
            .rev()
            .find_map(|order| PageRef::alloc_run(order).ok())
            .map_or_else(|| PageRef::alloc_run(0), Ok)
    }

    /// Fills what a write leaves of a new page with what `slot` holds there.
    pub(super) fn fill_gap(&self, page: &PageRef, slot: usize, offset: usize, len: usize) {
        if len > 0 {
            match self.get(slot) {
                Some(old) => page.copy_from(offset, old, len),
                None => page.zero(offset, len),
            };
        }
    }

    /// A copy of the page in `slot` to put in its place, unless it may be written in place itself.
    pub(super) fn copy_to_own(&self, slot: usize) -> Result<Option<PageRef>, AllocError> {
        if self.may_write(slot) {
            return Ok(None);
        }
        let page = self.alloc_run(slot, 1)?.next().ok_or(AllocError)?;
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
        leaf.replace_with_new(4, page);
        leaf.set_shadow(4, true);
        assert!(leaf.get(4).is_none() && leaf.find(4, true).is_none());
        assert_eq!((leaf.usage.pages, leaf.usage.shadows), (1, 1));
        assert!(leaf.lend(4)?.is_none());
        let copy = leaf.try_clone()?;
        assert!(copy.is_shadow(4) && !leaf.promote(4));
        drop(copy);
        assert!(leaf.promote(4) && leaf.get(4).is_some());
        assert_eq!((leaf.usage.pages, leaf.usage.shadows), (2, 0));
        Ok(())
    }
}
