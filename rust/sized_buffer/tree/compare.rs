// SPDX-License-Identifier: GPL-2.0

//! Where two trees differ.
//!
//! Trees that were one share the nodes that neither has changed since. Shared nodes are skipped,
//! whatever is below them, so the time is proportional to the number of changed nodes.

use super::{
    slots,
    span,
    Leaf,
    Node,
    Shared,
    Tree, //
};
use core::ops::Range;
use kernel::prelude::*;

/// The result of a search.
pub(in crate::sized_buffer) enum Search {
    Found(u64),
    /// Not before the end of the range.
    Nothing,
    /// Not before this index. The search has taken its share of time.
    Unfinished(u64),
}

/// A place in a tree: a node, or no node.
#[derive(Clone, Copy)]
struct At<'a> {
    node: Option<&'a Shared<Node>>,
    /// The level of `node`.
    level: u32,
}

impl<'a> At<'a> {
    fn root(tree: &'a Tree) -> Self {
        Self {
            node: tree.root.as_ref(),
            level: tree.level,
        }
    }

    /// What is below `slot`, seen from `level`. The root of a lower tree is below slot 0 of every
    /// level above it.
    fn below(self, level: u32, slot: usize) -> Self {
        if level > self.level {
            let node = self.node.filter(|_| slot == 0);
            return Self { node, ..self };
        }
        let node = match self.node.map(|node| &**node) {
            Some(Node::Interior(node)) => node.children.get(slot),
            _ => None,
        };
        let level = level.saturating_sub(1);
        Self { node, level }
    }

    fn pages(self) -> u64 {
        self.node.map_or(0, |node| node.usage().pages)
    }

    fn leaf(self) -> Option<&'a Leaf> {
        match &**self.node? {
            Node::Leaf(leaf) => Some(leaf),
            Node::Interior(_) => None,
        }
    }

    fn is(self, other: Self) -> bool {
        match (self.node, other.node) {
            (Some(one), Some(other)) => one.is(other),
            _ => false,
        }
    }
}

/// A search for the first page that `differs`, or that does not.
struct Comparison {
    differs: bool,
    /// Leaves that may still be looked at.
    leaves: usize,
}

impl Tree {
    /// The first index in `range` at which the two trees have different pages, or the same page
    /// if `differs` is false. Two holes are the same. Looks at `leaves` leaves at most.
    pub(in crate::sized_buffer) fn compare(
        &self,
        other: &Tree,
        range: Range<u64>,
        differs: bool,
        leaves: usize,
    ) -> Search {
        let level = self.level.max(other.level);
        let beyond = span(level + 1);
        let inside = range.start..range.end.min(beyond);
        let mut comparison = Comparison { differs, leaves };
        let found = match inside.is_empty() {
            true => Search::Nothing,
            false => comparison.find(At::root(self), At::root(other), level, 0, &inside),
        };
        match found {
            // Both have holes beyond.
            Search::Nothing if !differs && range.end > beyond => {
                Search::Found(range.start.max(beyond))
            }
            found => found,
        }
    }
}

impl Comparison {
    /// [`Tree::compare`] below `one` and `other`, at this `level`, whose first page is `first`.
    /// `range` overlaps what is below.
    fn find(
        &mut self,
        one: At<'_>,
        other: At<'_>,
        level: u32,
        first: u64,
        range: &Range<u64>,
    ) -> Search {
        let start = range.start.max(first);
        // Places of the same node, or without pages, are the same. If one is full and the other
        // empty, they differ throughout.
        let (pages, others) = (one.pages(), other.pages());
        let all = match (pages, others) {
            (0, 0) => Some(false),
            (0, pages) | (pages, 0) if pages == span(level + 1) => Some(true),
            _ => one.is(other).then_some(false),
        };
        match all {
            Some(differ) if differ == self.differs => return Search::Found(start),
            Some(_) => return Search::Nothing,
            None => (),
        }
        let mut slots = slots(range, level, first);
        if level == 0 {
            let Some(left) = self.leaves.checked_sub(1) else {
                return Search::Unfinished(start);
            };
            self.leaves = left;
            let (one, other) = (one.leaf(), other.leaf());
            let differ = |slot| {
                let one = one.and_then(|leaf| leaf.get(slot));
                let other = other.and_then(|leaf| leaf.get(slot));
                match (one, other) {
                    (None, None) => false,
                    (Some(one), Some(other)) => !one.is(other),
                    _ => true,
                }
            };
            return match slots.find(|&slot| differ(slot) == self.differs) {
                Some(slot) => Search::Found(first + slot as u64),
                None => Search::Nothing,
            };
        }
        for slot in slots {
            let first = first + slot as u64 * span(level);
            let (one, other) = (one.below(level, slot), other.below(level, slot));
            match self.find(one, other, level - 1, first, range) {
                Search::Nothing => (),
                found => return found,
            }
        }
        Search::Nothing
    }
}

#[kunit_tests(qemufile_sized_buffer_compare)]
mod tests {
    use super::{
        super::tests::put,
        *, //
    };

    fn differences(one: &Tree, other: &Tree, leaves: usize) -> Result<KVec<Range<u64>>> {
        let mut found = KVec::new();
        let next = |mut start: u64, differs| loop {
            match one.compare(other, start..1 << 40, differs, leaves) {
                Search::Found(index) => return Some(index),
                Search::Nothing => return None,
                Search::Unfinished(index) => start = index,
            }
        };
        let mut at = 0;
        while let Some(start) = next(at, true) {
            let end = next(start, false).ok_or(EINVAL)?;
            found.push(start..end, GFP_KERNEL)?;
            at = end;
        }
        Ok(found)
    }

    #[test]
    fn clones_differ_where_they_were_changed() -> Result {
        let mut one = Tree::new();
        for index in [0, 5, 63, 64, 70, 5000, 1 << 30] {
            put(&mut one, index)?;
        }
        let mut other = one.try_clone()?;
        assert!(differences(&one, &other, 9)?.is_empty());
        for index in [5, 6, 63, 64, 1 << 25] {
            put(&mut other, index)?;
        }
        let expected = [5..7, 63..65, 1 << 25..(1 << 25) + 1];
        assert!(*differences(&one, &other, 9)? == expected);
        assert!(*differences(&other, &one, 1)? == expected);
        Ok(())
    }

    #[test]
    fn trees_of_different_heights_are_compared() -> Result {
        let (mut low, mut high) = (Tree::new(), Tree::new());
        put(&mut low, 3)?;
        for index in 64..128 {
            put(&mut high, index)?;
        }
        put(&mut high, 1 << 30)?;
        let expected = [3..4, 64..128, 1 << 30..(1 << 30) + 1];
        assert!(*differences(&low, &high, 9)? == expected);
        assert!(*differences(&high, &low, 9)? == expected);
        assert!(*differences(&Tree::new(), &low, 9)? == [3..4]);
        assert!(differences(&Tree::new(), &Tree::new(), 9)?.is_empty());
        Ok(())
    }
}
