// SPDX-License-Identifier: GPL-2.0

//! Exchanging a range of pages with another tree.
//!
//! Every replacement or removal of many pages is an exchange with another tree: a tree built for
//! it, a clone of another buffer's tree, or an empty tree. An exchange moves whole subtrees, so it
//! takes O(log n) time for any length. The other tree then holds the old pages. Its drop frees
//! them, without a lock.

use super::{
    own,
    slots,
    span,
    Node,
    Shared,
    Tree,
    Usage,
    SLOTS, //
};
use core::ops::Range;
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

type Link = Option<Shared<Node>>;

/// For ranges of at least this many pages, an empty tree gets nodes to hold the pages at the edges.
/// Fewer pages are freed at once, in less than a millisecond.
const WORTH_A_NODE: u64 = (SLOTS * SLOTS) as u64;

impl Tree {
    /// Exchanges the pages in `range` with those of `other`.
    ///
    /// If memory is short, both trees are unchanged. Where `other` has no node, pages at the edges
    /// of `range` are freed at once, unless the range is long and there is memory for a node.
    pub(in crate::sized_buffer) fn exchange(
        &mut self,
        range: &Range<u64>,
        other: &mut Tree,
    ) -> Result<(), AllocError> {
        let result = self.try_exchange(range, other);
        self.lower();
        other.lower();
        result
    }

    fn try_exchange(&mut self, range: &Range<u64>, other: &mut Tree) -> Result<(), AllocError> {
        let level = self.level.max(other.level);
        self.raise(level)?;
        other.raise(level)?;
        let range = range.start..range.end.min(span(level + 1));
        if range.is_empty() {
            return Ok(());
        }
        let prepared = prepare(&mut self.root, &mut other.root, level, 0, &range);
        if prepared.is_ok() {
            exchange(&mut self.root, &mut other.root, level, 0, &range);
        } else {
            prune(&mut self.root, level, &range);
            prune(&mut other.root, level, &range);
        }
        prepared
    }

    /// Raises the tree to `level`.
    fn raise(&mut self, level: u32) -> Result<(), AllocError> {
        match level.checked_sub(1) {
            Some(below) => super::grow(&mut self.root, &mut self.level, span(below + 1)),
            None => Ok(()),
        }
    }
}

/// Whether `range` contains all pages of a node of this `level` whose first page is `first`.
fn covers(range: &Range<u64>, level: u32, first: u64) -> bool {
    range.start <= first && range.end.saturating_sub(first) >= span(level + 1)
}

/// The slots of [`slots`] that `range` covers only in part: the first, the last, both or none.
fn edges(
    range: &Range<u64>,
    level: u32,
    first: u64,
) -> impl Iterator<Item = (usize, u64)> + use<'_> {
    let slots = slots(range, level, first);
    let last = Some(slots.end - 1).filter(|last| *last != slots.start);
    // Called by its path, because `pin_init` has a `chain` as well.
    Iterator::chain(core::iter::once(slots.start), last)
        .map(move |slot| (slot, first + slot as u64 * span(level)))
        .filter(move |(_, first)| level > 0 && !covers(range, level - 1, *first))
}

/// Makes the nodes at the edges of `range` the trees' own. [`exchange`] then cannot fail.
///
/// Where `other` has no node, it gets an empty one if the range is long enough ([`WORTH_A_NODE`])
/// and there is memory.
fn prepare(
    link: &mut Link,
    other: &mut Link,
    level: u32,
    first: u64,
    range: &Range<u64>,
) -> Result<(), AllocError> {
    if covers(range, level, first) || (link.is_none() && other.is_none()) {
        return Ok(());
    }
    let node = own(link, level)?;
    let mut none = None;
    let other = match other.is_some() {
        true => Some(own(other, level)?),
        false if range.end - range.start < WORTH_A_NODE => None,
        false => own(other, level).ok(),
    };
    let Node::Interior(node) = node else {
        return Ok(());
    };
    let mut other = match other {
        Some(Node::Interior(other)) => Some(other),
        _ => None,
    };
    for (slot, first) in edges(range, level, first) {
        let theirs = match &mut other {
            Some(other) => other.children.entry(slot),
            None => &mut none,
        };
        prepare(node.children.entry(slot), theirs, level - 1, first, range)?;
    }
    Ok(())
}

/// [`Tree::exchange`] below two links, to nodes of this `level` whose first page is `first`.
fn exchange(link: &mut Link, other: &mut Link, level: u32, first: u64, range: &Range<u64>) {
    if covers(range, level, first) {
        core::mem::swap(link, other);
        return;
    }
    let Some(node) = link.as_mut().and_then(Shared::get_mut) else {
        return;
    };
    let theirs = other.as_mut().and_then(Shared::get_mut);
    match (node, theirs) {
        (Node::Leaf(leaf), Some(Node::Leaf(theirs))) => {
            leaf.exchange(&slots(range, 0, first), theirs);
        }
        (Node::Leaf(leaf), _) => {
            leaf.replace_all(slots(range, 0, first), |_, _| None, |_, page| drop(page));
        }
        (Node::Interior(node), theirs) => {
            let mut theirs = match theirs {
                Some(Node::Interior(theirs)) => Some(theirs),
                _ => None,
            };
            for slot in slots(range, level, first) {
                let first = first + slot as u64 * span(level);
                let below = |child: &mut Link, theirs: &mut Link| {
                    exchange(child, theirs, level - 1, first, range);
                };
                node.change_child(slot, |child| match &mut theirs {
                    Some(theirs) => theirs.change_child(slot, |theirs| below(child, theirs)),
                    None => below(child, &mut None),
                });
            }
        }
    }
}

/// Removes the empty nodes that [`prepare`] left at the edges of `range`.
fn prune(link: &mut Link, level: u32, range: &Range<u64>) {
    fn below(link: &mut Link, level: u32, first: u64, range: &Range<u64>) {
        if let Some(Node::Interior(node)) = link.as_mut().and_then(Shared::get_mut) {
            for (slot, first) in edges(range, level, first) {
                node.change_child(slot, |child| below(child, level - 1, first, range));
            }
        }
    }
    below(link, level, 0, range);
    if Usage::of(link) == Usage::NONE {
        *link = None;
    }
}

#[kunit_tests(qemufile_sized_buffer_exchange)]
mod tests {
    use super::{
        super::tests::{
            put,
            share_leaf, //
        },
        *, //
    };

    fn tree_of(pages: &[u64]) -> Result<Tree> {
        let mut tree = Tree::new();
        for index in pages {
            put(&mut tree, *index)?;
        }
        Ok(tree)
    }

    #[test]
    fn taking_out_leaves_no_nodes_behind() -> Result {
        let mut tree = tree_of(&[5, 70, 1 << 30])?;
        let mut out = Tree::new();
        tree.exchange(&(71..u64::MAX), &mut out)?;
        assert_eq!((tree.level, tree.usage().pages), (1, 2));
        assert!(out.get(1 << 30).is_some());
        tree.exchange(&(6..71), &mut Tree::new())?;
        assert_eq!((tree.level, tree.usage().pages), (0, 1));
        tree.exchange(&(0..6), &mut Tree::new())?;
        assert!(tree.root.is_none());
        tree.exchange(&(0..u64::MAX), &mut Tree::new())?;
        assert_eq!(tree.usage().pages, 0);
        Ok(())
    }

    #[test]
    fn pages_go_both_ways() -> Result {
        let mut ours = tree_of(&[0, 63, 64, 5000])?;
        let mut theirs = tree_of(&[1, 64, 65, 4096, 1 << 30])?;
        ours.exchange(&(63..5000), &mut theirs)?;
        let has = |tree: &Tree, pages: &[u64]| {
            let count = pages.len() as u64;
            tree.usage().pages == count && pages.iter().all(|index| tree.get(*index).is_some())
        };
        assert!(has(&ours, &[0, 64, 65, 4096, 5000]));
        assert!(has(&theirs, &[1, 63, 64, 1 << 30]));
        Ok(())
    }

    #[test]
    fn a_range_of_a_clone_is_shared() -> Result {
        let source = tree_of(&[0, 64, 130])?;
        let mut tree = tree_of(&[1, 65])?;
        tree.exchange(&(64..131), &mut source.try_clone()?)?;
        assert_eq!((tree.usage().pages, source.usage().pages), (3, 3));
        assert!(share_leaf(&tree, &source, 64));
        assert!(tree.get(1).is_some() && tree.get(65).is_none());
        Ok(())
    }
}
