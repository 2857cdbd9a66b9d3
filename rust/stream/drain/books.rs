// SPDX-License-Identifier: GPL-2.0

//! How far each reader of a stream has come.
//!
//! The rules are in [`drain`](super). The books have a lock of their own, below `inner`: see
//! [`locks`](super::super::locks).

use crate::sys::alloc::GFP_STREAM;
use kernel::{
    current,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

/// The number of the next reader.
static NEXT_READER: Atomic<i64> = Atomic::new(0);

/// A reader's place in [`Books`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// All before this position has been passed.
    passed: u64,
    reader: u64,
}

/// What a reader was given when its position was `from`: bytes up to `to`.
#[derive(Clone, Copy)]
struct Lent {
    from: u64,
    to: u64,
}

impl Lent {
    fn nothing(own: u64) -> Self {
        Self { from: own, to: own }
    }
}

/// What a reader knows of its entry.
pub(crate) struct Mark {
    reader: u64,
    /// [`Place::passed`]; changes under the lock of the books.
    pub(super) passed: Atomic<u64>,
    /// The task whose call is looked at when it returns, or 0.
    pub(super) caller: Atomic<i32>,
    /// Calls that are looked at when they return.
    pub(super) looks: Atomic<i32>,
}

impl Mark {
    fn place(&self) -> Place {
        Place {
            passed: self.passed.load(Relaxed),
            reader: self.reader,
        }
    }
}

/// A new reader, with all the memory that it will ever need.
pub(in crate::stream) struct NewReader {
    mark: Arc<Mark>,
    node: RBTreeNodeReservation<Place, Lent>,
}

impl NewReader {
    /// `ENOMEM` if there is no memory for the entry.
    pub(in crate::stream) fn new() -> Result<Self> {
        let mark = Mark {
            reader: NEXT_READER.fetch_add(1, Relaxed) as u64,
            passed: Atomic::new(0),
            caller: Atomic::new(0),
            looks: Atomic::new(0),
        };
        Ok(Self {
            mark: Arc::new(mark, GFP_STREAM)?,
            node: RBTreeNodeReservation::new(GFP_STREAM)?,
        })
    }
}

/// Where the readers are.
pub(in crate::stream) struct Books {
    /// The slowest first. An update reuses the node, so it needs no memory.
    readers: RBTree<Place, Lent>,
}

impl Books {
    pub(in crate::stream) fn new() -> Self {
        Self {
            readers: RBTree::new(),
        }
    }

    /// Enters a reader, who has passed what lies before `passed`.
    pub(super) fn enter(&mut self, new: NewReader, passed: u64) -> Arc<Mark> {
        let NewReader { mark, node } = new;
        mark.passed.store(passed, Relaxed);
        // The number is new, so there is no such entry yet.
        let _ = self
            .readers
            .insert(node.into_node(mark.place(), Lent::nothing(passed)));
        mark
    }

    /// Takes out a reader that goes.
    pub(super) fn leave(&mut self, mark: &Mark) {
        let _ = self.readers.remove(&mark.place());
    }

    /// What all readers have passed; none without readers.
    pub(super) fn passed(&self) -> Option<u64> {
        let slowest = self.readers.cursor_front()?;
        Some(slowest.current().0.passed)
    }

    fn lent(&mut self, mark: &Mark) -> Option<&mut Lent> {
        self.readers.get_mut(&mark.place())
    }

    /// A reader whose position is `to` has passed what lies before.
    pub(super) fn pass(&mut self, mark: &Mark, to: u64) {
        self.update(mark, to, Lent::nothing(to));
    }

    fn update(&mut self, mark: &Mark, passed: u64, lent: Lent) {
        let Some(node) = self.readers.remove_node(&mark.place()) else {
            return;
        };
        mark.passed.store(passed, Relaxed);
        let node = node.into_reservation().into_node(mark.place(), lent);
        let _ = self.readers.insert(node);
    }

    /// A request that was lent all up to `to` goes on there. Returns whether there is one.
    pub(super) fn pass_lent(&mut self, mark: &Mark, own: u64, to: u64) -> bool {
        match self.lent(mark) {
            Some(&mut lent)
                if lent.from == own && lent.to == to && mark.passed.load(Relaxed) < to =>
            {
                self.update(mark, to, lent);
                true
            }
            _ => false,
        }
    }

    /// A reader's position is `own`: if that is within what was lent, it has kept the bytes before.
    pub(super) fn look(&mut self, mark: &Mark, own: u64) {
        if let Some(&mut Lent { from, to }) = self.lent(mark) {
            if from < own && own <= to {
                self.pass(mark, own);
            }
        }
    }

    /// A reader whose position is `own` was lent what is between `pos` and `end`. Returns whether
    /// the position may tell later that it has passed it.
    pub(super) fn lend(&mut self, mark: &Mark, own: u64, pos: u64, end: u64) -> bool {
        let Some(lent) = self.lent(mark) else {
            return false;
        };
        // `sendfile` goes on where the bytes before ended, and moves the position when it is done.
        if lent.from == own && (own..=lent.to).contains(&pos) {
            lent.to = lent.to.max(end);
        } else if own == pos {
            *lent = Lent { from: own, to: end };
        } else {
            return false;
        }
        true
    }

    /// A reader was moved to `pos` by `lseek`.
    pub(super) fn moved(&mut self, mark: &Mark, pos: u64) {
        if pos < mark.passed.load(Relaxed) {
            self.pass(mark, pos);
        } else if let Some(lent) = self.lent(mark) {
            *lent = Lent::nothing(pos);
        }
    }

    /// Whether `pos` is where this very call has ended one lap, as only `sendfile` and its kin ask:
    /// they return what they have, rather than wait with it.
    pub(super) fn goes_on(&mut self, mark: &Mark, pos: u64) -> bool {
        mark.caller.load(Relaxed) == current!().pid()
            && self
                .lent(mark)
                .is_some_and(|lent| lent.from < pos && lent.to == pos)
    }
}

#[kunit_tests(qemufile_stream_drain_books)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_reader_counts() -> Result {
        let mut books = Books::new();
        assert_eq!(books.passed(), None);
        let first = books.enter(NewReader::new()?, 0);
        let second = books.enter(NewReader::new()?, 0);
        books.pass(&first, 10);
        assert_eq!(books.passed(), Some(0));
        books.pass(&second, 20);
        assert_eq!(books.passed(), Some(10));
        books.leave(&first);
        assert_eq!(books.passed(), Some(20));
        books.leave(&second);
        assert_eq!(books.passed(), None);
        Ok(())
    }

    #[test]
    fn what_is_lent_counts_when_the_position_follows() -> Result {
        let mut books = Books::new();
        let reader = books.enter(NewReader::new()?, 0);
        assert!(books.lend(&reader, 0, 0, 10));
        // `pread`: the position stays.
        books.look(&reader, 0);
        assert_eq!(books.passed(), Some(0));
        // Elsewhere.
        assert!(!books.lend(&reader, 0, 11, 20));
        books.look(&reader, 20);
        assert_eq!(books.passed(), Some(0));
        // `sendfile`: it goes on, and gives back a part.
        assert!(books.lend(&reader, 0, 10, 20));
        books.look(&reader, 15);
        assert_eq!(books.passed(), Some(15));
        books.look(&reader, 20);
        assert_eq!(books.passed(), Some(15));
        Ok(())
    }

    #[test]
    fn a_seek_passes_nothing() -> Result {
        let mut books = Books::new();
        let reader = books.enter(NewReader::new()?, 0);
        books.lend(&reader, 0, 0, 10);
        books.moved(&reader, 10);
        books.look(&reader, 10);
        assert_eq!(books.passed(), Some(0));
        books.lend(&reader, 10, 10, 30);
        books.look(&reader, 30);
        assert_eq!(books.passed(), Some(30));
        books.moved(&reader, 20);
        assert_eq!(books.passed(), Some(20));
        Ok(())
    }
}
