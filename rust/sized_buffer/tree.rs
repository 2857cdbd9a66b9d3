// SPDX-License-Identifier: GPL-2.0

//! A radix tree of pages by index.
//!
//! The tree is persistent. A clone shares the root. A change of a leaf first makes every node on
//! the path to it the tree's own ([`cow`](super::cow)). Each node counts the memory below it, and
//! no node is empty. Recursion is as deep as the tree is high: at most nine levels.

mod compare;
mod exchange;
mod find;
mod owned;

pub(super) use self::{
    compare::Search,
    find::Found, //
};

use super::{
    cow::{
        alloc_run_at,
        order_at,
        own,
        share, //
    },
    node::{
        Leaf,
        Node,
        Usage,
        SLOTS,
        SLOT_BITS, //
    },
    spare::Spare,
    stale::Stale, //
};
use crate::sys::{
    page::{
        PageRef,
        Run, //
    },
    sched::cond_resched,
    shared::Shared, //
};
use core::ops::{
    Deref,
    Range, //
};
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// Pages by index.
pub(super) struct Tree {
    root: Option<Shared<Node>>,
    /// The root's level: 0 for a leaf, and 0 without a root.
    level: u32,
    /// The mappings that changes have made stale.
    pub(super) stale: Stale,
    /// Pages for the next writes.
    pub(super) spare: Spare,
}

/// Mutable access to a leaf.
pub(super) struct LeafMut<'a> {
    leaf: &'a mut Leaf,
    /// The page index of slot 0.
    first: u64,
    stale: &'a mut Stale,
    pub(super) spare: &'a mut Spare,
}

impl Deref for LeafMut<'_> {
    type Target = Leaf;

    fn deref(&self) -> &Leaf {
        self.leaf
    }
}

impl LeafMut<'_> {
    /// Puts `page` into `slot`. Others know the page.
    pub(super) fn put(&mut self, slot: usize, page: PageRef) {
        let old = self.leaf.replace(slot, Some(page));
        self.stale.left(self.first + slot as u64, old);
    }

    /// Marks the page in `slot` as exclusive. Nobody else may know it but mappings of this buffer's
    /// stream, and those who reached it through these.
    pub(super) fn keep(&mut self, slot: usize) {
        self.leaf.mark_if(slot, true);
    }

    /// Empties `slot`.
    pub(super) fn remove(&mut self, slot: usize) {
        let old = self.leaf.replace(slot, None);
        self.stale.left(self.first + slot as u64, old);
    }

    /// [`Leaf::promote`]
    pub(super) fn promote(&mut self, slot: usize) -> bool {
        self.leaf.promote(slot)
    }

    /// Reverses [`Self::promote`] if nothing was written.
    pub(super) fn demote(&mut self, slot: usize) {
        self.leaf.set_shadow(slot, true);
    }

    /// Puts `page`, a new page of zeros, into `slot` as a shadow. The slot stays a hole.
    pub(super) fn put_shadow(&mut self, slot: usize, page: PageRef) {
        self.put_new(slot, page);
        self.demote(slot);
    }

    /// Puts `page`, a new page, into `slot`.
    pub(super) fn put_new(&mut self, slot: usize, page: PageRef) {
        let mut page = Some(page);
        self.put_all_new(slot..slot + 1, |_, _| page.take());
    }

    /// Puts a new page into each of `slots`. `page` is asked for it, and sees the leaf with the slot as
    /// it was.
    pub(super) fn put_all_new(
        &mut self,
        slots: Range<usize>,
        page: impl FnMut(&Leaf, usize) -> Option<PageRef>,
    ) {
        let Self {
            leaf, first, stale, ..
        } = self;
        leaf.replace_all_with_new(slots, page, |slot, old| {
            stale.left(*first + slot as u64, old);
        });
    }

    /// Empties `slots`, and hands out what each of them held. The caller notes the mappings.
    pub(super) fn take_all(&mut self, slots: Range<usize>, mut out: impl FnMut(Option<PageRef>)) {
        self.leaf
            .replace_all(slots, |_, _| None, |_, page| out(page));
    }

    /// A run of pages for `slot` and the slots after it, up to `pages`. They replace none that may be
    /// written in place. They are not cleared.
    pub(super) fn alloc_run(&mut self, slot: usize, pages: usize) -> Result<Run, AllocError> {
        let free = self.free_slots(slot, pages);
        match self.spare.take(order_at(slot, free)) {
            Some(run) => Ok(run),
            None => alloc_run_at(slot, free),
        }
    }

    /// Makes the page in `slot` writable in place. A page that may not be written is replaced by a
    /// copy, and a hole by zeros.
    pub(super) fn own_page(&mut self, slot: usize) -> Result<(), AllocError> {
        if self.promote(slot) {
            return Ok(());
        }
        if let Some(copy) = self.copy_to_own(slot)? {
            self.put_new(slot, copy);
        }
        Ok(())
    }
}

impl Tree {
    pub(super) const fn new() -> Self {
        Self {
            root: None,
            level: 0,
            stale: Stale::new(),
            spare: Spare::new(),
        }
    }

    /// Another tree with the same pages. Takes O(1) time and memory.
    pub(super) fn try_clone(&self) -> Result<Self, AllocError> {
        Ok(Self {
            root: self.root.as_ref().map(share).transpose()?,
            level: self.level,
            stale: Stale::new(),
            spare: Spare::new(),
        })
    }

    pub(super) fn usage(&self) -> Usage {
        Usage::of(&self.root)
    }

    /// Changes the leaf of the page `index` with `change`. The second argument of `change` is the
    /// page's slot in the leaf. Missing nodes on the path are created. A leaf without pages is
    /// removed afterwards.
    ///
    /// If memory is short, the tree is unchanged.
    pub(super) fn change<R>(
        &mut self,
        index: u64,
        change: impl FnOnce(LeafMut<'_>, usize) -> R,
    ) -> Result<R, AllocError> {
        let Self {
            root,
            level,
            stale,
            spare,
        } = self;
        let result = grow(root, level, index).and_then(|()| {
            descend(root, *level, index, |leaf| {
                let first = index & !LEAF_MASK;
                let leaf = LeafMut {
                    leaf,
                    first,
                    stale,
                    spare,
                };
                change(leaf, slot(index, 0))
            })
        });
        self.lower();
        result
    }

    /// Calls `f` with the index of each page that somebody may still store to, although no mapping
    /// can: see [`Leaf::is_busy`].
    ///
    /// Skips what clones share. So the time is proportional to what has changed since the last
    /// clone, or to all nodes if that is gone.
    pub(super) fn each_busy(
        &mut self,
        mut f: impl FnMut(u64) -> Result<(), AllocError>,
    ) -> Result<(), AllocError> {
        each_busy(&mut self.root, self.level, 0, &mut f)
    }

    /// Drops an empty root, and each root whose only child is the first.
    fn lower(&mut self) {
        if self.usage() == Usage::NONE {
            self.root = None;
            self.level = 0;
        }
        while let Some(Node::Interior(node)) = self.root.as_deref() {
            if node.children.iter().skip(1).flatten().next().is_some() {
                return;
            }
            let Some(first) = self.take_first() else {
                return;
            };
            self.root = Some(first);
            self.level = self.level.saturating_sub(1);
        }
    }

    /// The first child of the root. It is taken out, or shared if clones share the root.
    fn take_first(&mut self) -> Option<Shared<Node>> {
        let root = self.root.as_mut()?;
        if let Some(Node::Interior(node)) = root.get_mut() {
            node.pass_on();
            return node.children.entry(0).take();
        }
        match &**root {
            Node::Interior(node) => share(node.children.get(0)?).ok(),
            Node::Leaf(_) => None,
        }
    }
}

/// Adds roots above `root` until the tree has a slot for the page `index`.
fn grow(root: &mut Option<Shared<Node>>, level: &mut u32, index: u64) -> Result<(), AllocError> {
    while index >= span(*level + 1) {
        if root.is_some() {
            let mut above = None;
            if let Node::Interior(node) = own(&mut above, *level + 1)? {
                node.change_child(0, |child| *child = root.take());
            }
            *root = above;
        }
        *level += 1;
    }
    Ok(())
}

/// [`Tree::change`] below `link`, a node of this `level`.
fn descend<R>(
    link: &mut Option<Shared<Node>>,
    level: u32,
    index: u64,
    change: impl FnOnce(&mut Leaf) -> R,
) -> Result<R, AllocError> {
    match own(link, level)? {
        Node::Leaf(leaf) => Ok(change(leaf)),
        Node::Interior(node) => node.change_child(slot(index, level), |child| {
            descend(child, level.saturating_sub(1), index, change)
        }),
    }
}

/// [`Tree::each_busy`] below `link`, a node of this `level` whose first page is `first`.
fn each_busy(
    link: &mut Option<Shared<Node>>,
    level: u32,
    first: u64,
    f: &mut impl FnMut(u64) -> Result<(), AllocError>,
) -> Result<(), AllocError> {
    match link.as_mut().and_then(Shared::get_mut) {
        None => Ok(()),
        Some(Node::Leaf(leaf)) => {
            cond_resched();
            let mut busy = leaf.busy_slots();
            while busy != 0 {
                f(first + u64::from(busy.trailing_zeros()))?;
                busy &= busy - 1;
            }
            Ok(())
        }
        Some(Node::Interior(node)) => {
            node.pass_on();
            (0..SLOTS).try_for_each(|slot| {
                let first = first + slot as u64 * span(level);
                each_busy(node.children.entry(slot), level.saturating_sub(1), first, f)
            })
        }
    }
}

/// The slots with pages of `range`, in a node of this `level` whose first page is `first`. `range`
/// overlaps the node.
fn slots(range: &Range<u64>, level: u32, first: u64) -> Range<usize> {
    let last = first + (span(level + 1) - 1);
    let start = slot(range.start.clamp(first, last), level);
    start..slot((range.end - 1).clamp(first, last), level) + 1
}

/// The bits of a page index that select the slot in its leaf.
const LEAF_MASK: u64 = span(1) - 1;

/// The number of pages below one slot of a node of this `level`.
const fn span(level: u32) -> u64 {
    1 << (SLOT_BITS * level)
}

/// The slot on the path to the page `index`, in a node of this `level`.
const fn slot(index: u64, level: u32) -> usize {
    (index >> (SLOT_BITS * level)) as usize % SLOTS
}

#[kunit_tests(qemufile_sized_buffer_tree)]
mod tests {
    use super::*;

    /// The largest page index of a buffer of the greatest length.
    pub(super) const LAST: u64 = super::super::MAX_LEN / super::super::PAGE_BYTES;

    /// Whether both trees have the page `index` in the same leaf.
    pub(super) fn share_leaf(one: &Tree, other: &Tree, index: u64) -> bool {
        match (one.get(index), other.get(index)) {
            (Some(one), Some(other)) => core::ptr::eq(one, other),
            _ => false,
        }
    }

    pub(super) fn put(tree: &mut Tree, index: u64) -> Result {
        let page = PageRef::alloc_run(0)?.next().ok_or(EINVAL)?;
        Ok(tree.change(index, |mut leaf, slot| leaf.put_new(slot, page))?)
    }

    #[test]
    fn finds_what_was_put_and_nothing_else() -> Result {
        let mut tree = Tree::new();
        let present = [0, 1, 63, 64, 4095, 4096, 1 << 20, 1 << 40, LAST];
        for index in present {
            put(&mut tree, index)?;
        }
        for index in present {
            assert!(tree.get(index).is_some());
        }
        for index in [
            2,
            62,
            65,
            4094,
            4097,
            (1 << 20) - 1,
            (1 << 40) + 1,
            LAST - 1,
        ] {
            assert!(tree.get(index).is_none());
        }
        assert_eq!(tree.usage().pages, 9);
        Ok(())
    }

    #[test]
    fn growing_moves_nothing() -> Result {
        let mut tree = Tree::new();
        put(&mut tree, 0)?;
        let before = core::ptr::from_ref(tree.get(0).ok_or(EINVAL)?);
        put(&mut tree, LAST)?;
        let after = core::ptr::from_ref(tree.get(0).ok_or(EINVAL)?);
        assert!(core::ptr::eq(before, after));
        Ok(())
    }

    #[test]
    fn a_clone_shares_until_one_side_changes() -> Result {
        let mut tree = Tree::new();
        put(&mut tree, 3)?;
        put(&mut tree, 3 << 20)?;
        let clone = tree.try_clone()?;
        assert!(share_leaf(&tree, &clone, 3) && share_leaf(&tree, &clone, 3 << 20));
        put(&mut tree, 4)?;
        assert!(clone.get(4).is_none());
        assert!(!share_leaf(&tree, &clone, 3) && share_leaf(&tree, &clone, 3 << 20));
        assert_eq!((tree.usage().pages, clone.usage().pages), (3, 2));
        Ok(())
    }

    #[test]
    fn a_change_of_nothing_leaves_nothing_behind() -> Result {
        let mut tree = Tree::new();
        put(&mut tree, 1)?;
        tree.change(1 << 30, |_, _| ())?;
        assert_eq!(tree.level, 0);
        assert!(tree.get(1).is_some());
        tree.change(1 << 40, |_, _| ())?;
        assert_eq!(tree.usage().pages, 1);
        Ok(())
    }
}
