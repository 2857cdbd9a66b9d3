// SPDX-License-Identifier: GPL-2.0

//! Finding a page, the next page, and the next hole.

use super::{
    slot,
    slots,
    span,
    Leaf,
    Node,
    PageRef,
    Shared,
    Tree,
    Usage, //
};
use core::ops::Range;
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

/// The content of the tree at a page index.
pub(in crate::sized_buffer) enum Found<'a> {
    /// A leaf, and the slot of the page in it. The slot may be empty.
    Leaf(&'a Leaf, usize),
    /// No leaf, and none after it before the index `until`.
    Nothing { until: u64 },
}

/// The owners of the nodes on the way to a page.
pub(in crate::sized_buffer) struct Owners {
    /// Whether a node has another owner at the moment.
    pub(in crate::sized_buffer) others: bool,
    /// Whether an interior node has a record of another owner.
    pub(in crate::sized_buffer) recorded: bool,
}

impl Tree {
    /// Looks up the page `index`.
    pub(in crate::sized_buffer) fn find(&self, index: u64) -> Found<'_> {
        let mut level = self.level;
        let mut link = self.root.as_ref();
        if index >= span(level + 1) {
            return Found::Nothing { until: u64::MAX };
        }
        while let Some(node) = link {
            match &**node {
                Node::Leaf(leaf) => return Found::Leaf(leaf, slot(index, 0)),
                Node::Interior(node) => {
                    link = node.children.get(slot(index, level));
                    level = level.saturating_sub(1);
                }
            }
        }
        let until = (index | (span(level + 1) - 1)) + 1;
        Found::Nothing { until }
    }

    /// As [`Self::find`]. Also returns who else owns, or has owned, the nodes on the way.
    pub(in crate::sized_buffer) fn find_with_owners(&self, index: u64) -> (Found<'_>, Owners) {
        let mut owners = Owners {
            others: false,
            recorded: false,
        };
        let mut level = self.level;
        let mut link = self.root.as_ref().filter(|_| index < span(level + 1));
        while let Some(node) = link {
            owners.others |= !node.is_sole();
            match &**node {
                Node::Leaf(leaf) => return (Found::Leaf(leaf, slot(index, 0)), owners),
                Node::Interior(node) => {
                    owners.recorded |= node.shared.load(Relaxed);
                    link = node.children.get(slot(index, level));
                    level = level.saturating_sub(1);
                }
            }
        }
        (self.find(index), owners)
    }

    /// The leaf and the slot of the page `index`, if the page is exclusive: it is marked, and no
    /// node on the way to it has a record of another owner that is still to be passed on.
    ///
    /// Every other owner of a node is recorded, in interior nodes, or has cleared the marks, in
    /// leaves.
    pub(in crate::sized_buffer) fn find_exclusive(&self, index: u64) -> Option<(&Leaf, usize)> {
        let mut level = self.level;
        let mut link = self.root.as_ref().filter(|_| index < span(level + 1));
        while let Some(Node::Interior(node)) = link.map(|node| &**node) {
            link = node
                .children
                .get(slot(index, level))
                .filter(|_| !node.shared.load(Relaxed));
            level = level.saturating_sub(1);
        }
        match &**link? {
            Node::Leaf(leaf) => Some((leaf, slot(index, 0))),
            Node::Interior(_) => None,
        }
        .filter(|(leaf, slot)| leaf.get(*slot).is_some() && leaf.is_marked(*slot))
    }

    /// The page `index`.
    pub(in crate::sized_buffer) fn get(&self, index: u64) -> Option<&PageRef> {
        match self.find(index) {
            Found::Leaf(leaf, slot) => leaf.get(slot),
            Found::Nothing { .. } => None,
        }
    }

    /// The first index in `range` with a page, or without one. Takes O(log n) time.
    pub(in crate::sized_buffer) fn find_next(
        &self,
        range: Range<u64>,
        has_page: bool,
    ) -> Option<u64> {
        self.find_next_of(range, has_page, false)
    }

    /// As [`Self::find_next`]. A shadow counts as a page if `shadows`.
    pub(in crate::sized_buffer) fn find_next_of(
        &self,
        range: Range<u64>,
        has_page: bool,
        shadows: bool,
    ) -> Option<u64> {
        let beyond = span(self.level + 1);
        let inside = range.start..range.end.min(beyond);
        let found = match inside.is_empty() {
            true => None,
            false => {
                let wanted = Wanted { has_page, shadows };
                find_next(self.root.as_ref(), self.level, 0, &inside, wanted)
            }
        };
        // The tree has nothing beyond its span.
        let outside = Some(range.start.max(beyond)).filter(|_| !has_page);
        found.or(outside).filter(|index| *index < range.end)
    }
}

/// What [`find_next`] looks for.
#[derive(Clone, Copy)]
struct Wanted {
    /// A page, or none.
    has_page: bool,
    /// Whether a shadow counts as a page.
    shadows: bool,
}

impl Wanted {
    /// The number of pages in `usage`.
    fn count(self, usage: Usage) -> u64 {
        match self.shadows {
            true => usage.pages.saturating_add(usage.shadows),
            false => usage.pages,
        }
    }
}

/// [`Tree::find_next_of`] below `link`, a node of this `level` whose first page is `first`. `range`
/// overlaps the node.
fn find_next(
    link: Option<&Shared<Node>>,
    level: u32,
    first: u64,
    range: &Range<u64>,
    wanted: Wanted,
) -> Option<u64> {
    let Some(node) = link else {
        return Some(range.start.max(first)).filter(|_| !wanted.has_page);
    };
    // A subtree without a match is skipped, whatever its size.
    let pages = wanted.count(node.usage());
    if pages == if wanted.has_page { 0 } else { span(level + 1) } {
        return None;
    }
    let mut slots = slots(range, level, first);
    match &**node {
        Node::Leaf(leaf) => leaf
            .find(slots.start, wanted.has_page, wanted.shadows)
            .filter(|slot| *slot < slots.end)
            .map(|slot| first + slot as u64),
        Node::Interior(node) => slots.find_map(|slot| {
            let first = first + slot as u64 * span(level);
            find_next(node.children.get(slot), level - 1, first, range, wanted)
        }),
    }
}

#[kunit_tests(qemufile_sized_buffer_tree_find)]
mod tests {
    use super::{
        super::tests::{
            put,
            LAST, //
        },
        *, //
    };

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
}
