// SPDX-License-Identifier: GPL-2.0

//! The tree that finds a page by its index.
//!
//! The tree is persistent: a clone shares the root, and whoever changes a leaf first makes every
//! node on the way to it its own. Recursion goes no deeper than the tree is high, which is at most
//! nine levels.

mod remove;

use super::node::{
    Leaf,
    LeafMut,
    Node,
    Slots,
    Usage,
    SLOTS,
    SLOT_BITS, //
};
use crate::sys::{
    page::PageRef,
    sched::cond_resched,
    shared::Shared, //
};
use core::ops::Range;
use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    prelude::*, //
};

/// Nodes are kept on behalf of whoever writes to the stream.
const NODE_FLAGS: Flags = GFP_KERNEL_ACCOUNT;

/// Pages by index.
#[derive(Clone)]
pub(super) struct Tree {
    root: Option<Shared<Node>>,
    /// The root's level: 0 for a leaf, and 0 without a root.
    level: u32,
    usage: Usage,
}

/// What the tree has at a page index.
pub(super) enum Found<'a> {
    /// A leaf; the page, if there is one, is in this slot of it.
    Leaf(&'a Leaf, usize),
    /// Nothing, and nothing after it before the index `until`.
    Nothing { until: u64 },
}

impl Tree {
    pub(super) const fn new() -> Self {
        Self {
            root: None,
            level: 0,
            usage: Usage::NONE,
        }
    }

    pub(super) const fn usage(&self) -> Usage {
        self.usage
    }

    /// Looks up the page `index`.
    pub(super) fn find(&self, index: u64) -> Found<'_> {
        let mut level = self.level;
        let mut link = self.root.as_ref();
        if index >= span(level + 1) {
            return Found::Nothing { until: u64::MAX };
        }
        while let Some(node) = link {
            match &**node {
                Node::Leaf(leaf) => return Found::Leaf(leaf, slot(index, 0)),
                Node::Interior(children) => {
                    link = children.get(slot(index, level));
                    level = level.saturating_sub(1);
                }
            }
        }
        let until = (index | (span(level + 1) - 1)) + 1;
        Found::Nothing { until }
    }

    /// The page `index`.
    pub(super) fn get(&self, index: u64) -> Option<&PageRef> {
        match self.find(index) {
            Found::Leaf(leaf, slot) => leaf.get(slot),
            Found::Nothing { .. } => None,
        }
    }

    /// The first index in `range` that has a page, or that has none.
    pub(super) fn find_next(&self, range: Range<u64>, has_page: bool) -> Option<u64> {
        let mut index = range.start;
        while index < range.end {
            match self.find(index) {
                Found::Leaf(leaf, slot) => {
                    let leaf_start = index & !LEAF_MASK;
                    if let Some(slot) = leaf.find(slot, has_page) {
                        return Some(leaf_start | slot as u64).filter(|at| *at < range.end);
                    }
                    index = leaf_start + span(1);
                }
                Found::Nothing { .. } if !has_page => return Some(index),
                Found::Nothing { until } => index = until,
            }
            cond_resched();
        }
        None
    }

    /// The leaf for the page `index`, to be changed, and that page's slot in it. Makes what is
    /// missing of the way to it.
    ///
    /// Without memory the tree holds the pages it held, but may have got empty nodes: see
    /// [`Self::prune`].
    pub(super) fn leaf_mut(&mut self, index: u64) -> Result<(LeafMut<'_>, usize), AllocError> {
        self.grow(index)?;
        let mut level = self.level;
        let mut link = &mut self.root;
        loop {
            match own(link, level)? {
                Node::Leaf(leaf) => {
                    let usage = &mut self.usage;
                    return Ok((LeafMut { leaf, usage }, slot(index, 0)));
                }
                Node::Interior(children) => link = children.entry(slot(index, level)),
            }
            level = level.saturating_sub(1);
        }
    }

    /// Puts new roots over the root until there is a place for the page `index`.
    fn grow(&mut self, index: u64) -> Result<(), AllocError> {
        while index >= span(self.level + 1) {
            if let Some(old) = &self.root {
                let mut children = Slots::new();
                *children.entry(0) = Some(old.clone());
                self.root = Some(Shared::new(Node::Interior(children), NODE_FLAGS)?);
            }
            self.level += 1;
        }
        Ok(())
    }
}

/// Makes the node in `link` the caller's own: a copy if others share it, an empty one of this
/// `level` if there is none.
fn own(link: &mut Option<Shared<Node>>, level: u32) -> Result<&mut Node, AllocError> {
    let fresh = match link {
        None => Some(Node::new(level)),
        Some(node) => match node.get_mut() {
            None => Some(Node::clone(node)),
            Some(_) => None,
        },
    };
    if let Some(node) = fresh {
        *link = Some(Shared::new(node, NODE_FLAGS)?);
    }
    link.as_mut().and_then(Shared::get_mut).ok_or(AllocError)
}

/// The bits of a page index that are the slot in its leaf.
const LEAF_MASK: u64 = span(1) - 1;

/// The number of pages below one slot of a node of this `level`.
const fn span(level: u32) -> u64 {
    1 << (SLOT_BITS * level)
}

/// The slot of a node of this `level` on the way to the page `index`.
const fn slot(index: u64, level: u32) -> usize {
    (index >> (SLOT_BITS * level)) as usize % SLOTS
}

#[kunit_tests(qemufile_sized_buffer_tree)]
mod tests {
    use super::*;

    /// The largest page index of a buffer of the greatest length.
    const LAST: u64 = super::super::MAX_LEN / super::super::PAGE_BYTES;

    pub(super) fn put(tree: &mut Tree, index: u64) -> Result {
        let page = PageRef::alloc_run(0)?.next();
        let (mut leaf, slot) = tree.leaf_mut(index)?;
        leaf.replace(slot, page);
        Ok(())
    }

    #[test]
    fn finds_what_was_put_and_nothing_else() -> Result {
        let mut tree = Tree::new();
        let there = [0, 1, 63, 64, 4095, 4096, 1 << 20, 1 << 40, LAST];
        for index in there {
            put(&mut tree, index)?;
        }
        for index in there {
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
    fn finds_the_next_page_and_the_next_hole() -> Result {
        let mut tree = Tree::new();
        assert_eq!(tree.find_next(0..LAST, true), None);
        assert_eq!(tree.find_next(7..LAST, false), Some(7));
        for index in 60..70 {
            put(&mut tree, index)?;
        }
        put(&mut tree, 1 << 30)?;
        assert_eq!(tree.find_next(0..LAST, true), Some(60));
        assert_eq!(tree.find_next(63..LAST, true), Some(63));
        assert_eq!(tree.find_next(70..LAST, true), Some(1 << 30));
        assert_eq!(tree.find_next(70..1 << 30, true), None);
        assert_eq!(tree.find_next(60..LAST, false), Some(70));
        assert_eq!(tree.find_next(60..70, false), None);
        Ok(())
    }

    #[test]
    fn a_clone_shares_until_one_side_changes() -> Result {
        let mut tree = Tree::new();
        put(&mut tree, 3)?;
        put(&mut tree, 3 << 20)?;
        let clone = tree.clone();
        tree.remove(0..4);
        assert!(tree.get(3).is_some());
        tree.prepare_remove(&(0..4))?;
        tree.remove(0..4);
        assert!(tree.get(3).is_none());
        assert!(clone.get(3).is_some());
        assert_eq!((tree.usage().pages, clone.usage().pages), (1, 2));
        Ok(())
    }
}
