// SPDX-License-Identifier: GPL-2.0

//! Which pages belong to one tree alone.

use super::{
    span,
    Node,
    Shared,
    Tree,
    SLOTS, //
};
impl Tree {
    /// The number of pages in the `leaves` leaves from the page `start` on that nobody else has,
    /// and the index after these leaves; [`None`] at the end of the tree.
    ///
    /// Skips what clones share. The memory of such a page is freed with the tree. A page of a
    /// folio of which others have another page counts as theirs, too.
    pub(in crate::sized_buffer) fn owned_from(
        &self,
        start: u64,
        leaves: usize,
    ) -> (u64, Option<u64>) {
        let mut count = Count {
            start,
            leaves,
            pages: 0,
        };
        let next = count.add(self.root.as_ref(), self.level, 0);
        (count.pages, next)
    }
}

struct Count {
    start: u64,
    leaves: usize,
    pages: u64,
}

impl Count {
    /// Counts below `link`, at this `level`, whose first page is `first`. Returns the index at
    /// which it had to stop.
    fn add(&mut self, link: Option<&Shared<Node>>, level: u32, first: u64) -> Option<u64> {
        let end = first.saturating_add(span(level + 1));
        let node = link.filter(|node| end > self.start && node.is_sole())?;
        match &**node {
            Node::Leaf(leaf) => {
                let Some(left) = self.leaves.checked_sub(1) else {
                    return Some(first);
                };
                self.leaves = left;
                let owned = (0..SLOTS).filter(|&slot| leaf.is_owned(slot));
                self.pages += owned.count() as u64;
                None
            }
            Node::Interior(node) => (0..SLOTS).find_map(|slot| {
                let first = first + slot as u64 * span(level);
                self.add(node.children.get(slot), level.saturating_sub(1), first)
            }),
        }
    }
}
