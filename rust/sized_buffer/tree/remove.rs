// SPDX-License-Identifier: GPL-2.0

//! Taking pages out of the tree.

use super::{
    super::node::{
        LeafMut,
        Node,
        Usage, //
    },
    own,
    slot,
    span,
    Tree, //
};
use crate::sys::{
    sched::cond_resched,
    shared::Shared, //
};
use core::ops::Range;
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

impl Tree {
    /// Makes the nodes on the way to the page `index`, as far as there are any, this tree's own.
    fn unshare(&mut self, index: u64) -> Result<(), AllocError> {
        if index >= span(self.level + 1) {
            return Ok(());
        }
        let mut level = self.level;
        let mut link = &mut self.root;
        while link.is_some() {
            let Node::Interior(children) = own(link, level)? else {
                break;
            };
            link = children.entry(slot(index, level));
            level = level.saturating_sub(1);
        }
        Ok(())
    }

    /// Makes sure that [`Self::remove`] will not fail for this `range`.
    pub(in crate::sized_buffer) fn prepare_remove(
        &mut self,
        range: &Range<u64>,
    ) -> Result<(), AllocError> {
        if range.start < range.end {
            self.unshare(range.start)?;
            self.unshare(range.end - 1)?;
        }
        Ok(())
    }

    /// Takes out the pages in `range`, and the nodes that are empty then.
    ///
    /// Nodes at the edges of `range` must be this tree's own ([`Self::prepare_remove`]): what is
    /// below one that is not stays.
    pub(in crate::sized_buffer) fn remove(&mut self, range: Range<u64>) {
        if range.start < span(self.level + 1) {
            remove(&mut self.root, self.level, 0, &range, &mut self.usage);
        }
        self.lower();
    }

    /// Takes out the empty nodes on the way to the page `index`.
    pub(in crate::sized_buffer) fn prune(&mut self, index: u64) {
        self.remove(index..index);
    }

    /// Drops roots that have nothing but a first child.
    fn lower(&mut self) {
        while let Some(Node::Interior(children)) = self.root.as_deref() {
            let (Some(first), None) = (children.get(0), children.iter().skip(1).flatten().next())
            else {
                return;
            };
            self.root = Some(first.clone());
            self.level = self.level.saturating_sub(1);
        }
        if self.root.is_none() {
            self.level = 0;
        }
    }
}

/// [`Tree::remove`] below `link`, whose node has this `level` and the page `first` as its first.
fn remove(
    link: &mut Option<Shared<Node>>,
    level: u32,
    first: u64,
    range: &Range<u64>,
    usage: &mut Usage,
) {
    let Some(shared) = link else { return };
    if range.start <= first && range.end.saturating_sub(first) >= span(level + 1) {
        uncount(shared, usage);
        *link = None;
        return;
    }
    let Some(node) = shared.get_mut() else { return };
    let in_node = |index: u64| index.clamp(first, first + (span(level + 1) - 1));
    // An empty range has one slot to look into as well: where it is.
    let last = in_node(range.end.saturating_sub(1).max(range.start));
    let slots = slot(in_node(range.start), level)..=slot(last, level);
    match node {
        Node::Leaf(leaf) => {
            let mut leaf = LeafMut { leaf, usage };
            for slot in slots.filter(|_| !range.is_empty()) {
                leaf.replace(slot, None);
            }
        }
        Node::Interior(children) => {
            for slot in slots {
                let first = first + slot as u64 * span(level);
                remove(children.entry(slot), level - 1, first, range, usage);
            }
        }
    }
    if node.is_empty() {
        *link = None;
    }
}

/// Takes what is below `node` out of `usage`.
fn uncount(node: &Node, usage: &mut Usage) {
    match node {
        Node::Leaf(leaf) => {
            *usage -= leaf.usage();
            cond_resched();
        }
        Node::Interior(children) => children
            .iter()
            .flatten()
            .for_each(|child| uncount(child, usage)),
    }
}

#[kunit_tests(qemufile_sized_buffer_remove)]
mod tests {
    use super::{
        super::tests::put,
        *, //
    };

    #[test]
    fn taking_out_leaves_no_nodes_behind() -> Result {
        let mut tree = Tree::new();
        for index in [5, 70, 1 << 30] {
            put(&mut tree, index)?;
        }
        tree.prepare_remove(&(71..u64::MAX))?;
        tree.remove(71..u64::MAX);
        assert_eq!((tree.level, tree.usage().pages), (1, 2));
        tree.remove(6..71);
        assert_eq!((tree.level, tree.usage().pages), (0, 1));
        tree.remove(0..6);
        assert!(tree.root.is_none());
        assert_eq!(tree.usage().pages, 0);
        tree.remove(0..u64::MAX);
        Ok(())
    }

    #[test]
    fn pruning_takes_out_what_is_empty_only() -> Result {
        let mut tree = Tree::new();
        put(&mut tree, 1)?;
        tree.leaf_mut(1 << 30)?;
        tree.prune(1);
        assert!(tree.level > 0);
        tree.prune(1 << 30);
        assert_eq!(tree.level, 0);
        assert!(tree.get(1).is_some());
        Ok(())
    }
}
