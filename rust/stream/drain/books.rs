// SPDX-License-Identifier: GPL-2.0

//! How far each reader of a stream has come.
//!
//! The rules are in [`drain`](super). The books have a lock of their own, below `inner`: see
//! [`locks`](super::super::locks).

use super::Confirm;
use crate::sys::{
    alloc::GFP_STREAM,
    task_work::Memory, //
};
use kernel::{
    current, new_spinlock,
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
        Arc,
        SpinLock, //
    },
};

/// The number of the next reader.
static NEXT_READER: Atomic<i64> = Atomic::new(0);

/// The key of a reader's entry: the slowest reader is the least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// All bytes before this position have been consumed.
    consumed: u64,
    number: u64,
}

/// Bytes up to `to` that were returned while the position was `from`. Where the position is found
/// later says how many of them were consumed.
#[derive(Clone, Copy)]
struct Pending {
    from: u64,
    to: u64,
}

impl Pending {
    fn nothing(own: u64) -> Self {
        Self { from: own, to: own }
    }
}

/// A handle that only reads, as its [`Member`](super::Member) knows it.
#[pin_data]
pub(crate) struct Reader {
    number: u64,
    /// [`Place::consumed`]; changes under the lock of the books.
    pub(super) consumed: Atomic<u64>,
    /// The task whose call is checked when it returns, or 0.
    pub(super) caller: Atomic<i32>,
    /// Calls that are checked when they return.
    pub(super) checks: Atomic<i32>,
    /// Memory for the next check, from the last one.
    #[pin]
    memory: SpinLock<Option<Memory<Confirm>>>,
}

impl Reader {
    fn place(&self) -> Place {
        Place {
            consumed: self.consumed.load(Relaxed),
            number: self.number,
        }
    }

    /// Memory for a check. `ENOMEM`.
    pub(super) fn take_memory(&self) -> Result<Memory<Confirm>> {
        let kept = self.memory.lock().take();
        kept.map_or_else(Memory::new, Ok)
    }

    /// Keeps memory for the next check.
    pub(super) fn keep_memory(&self, memory: Memory<Confirm>) {
        let other = self.memory.lock().replace(memory);
        drop(other);
    }
}

/// A new reader, with all the memory that it will ever need.
pub(in crate::stream) struct NewReader {
    reader: Arc<Reader>,
    node: RBTreeNodeReservation<Place, Pending>,
}

impl NewReader {
    /// `ENOMEM` if there is no memory for the entry.
    pub(in crate::stream) fn new() -> Result<Self> {
        let reader = pin_init!(Reader {
            number: NEXT_READER.fetch_add(1, Relaxed) as u64,
            consumed: Atomic::new(0),
            caller: Atomic::new(0),
            checks: Atomic::new(0),
            memory <- new_spinlock!(None, "qemufile::check"),
        });
        Ok(Self {
            reader: Arc::pin_init(reader, GFP_STREAM)?,
            node: RBTreeNodeReservation::new(GFP_STREAM)?,
        })
    }
}

/// An entry for each reader.
pub(in crate::stream) struct Books {
    /// The slowest first. An update reuses the node, so it needs no memory.
    readers: RBTree<Place, Pending>,
}

impl Books {
    pub(in crate::stream) fn new() -> Self {
        Self {
            readers: RBTree::new(),
        }
    }

    /// Adds a reader that has consumed what lies before `consumed`.
    pub(super) fn enter(&mut self, new: NewReader, consumed: u64) -> Arc<Reader> {
        let NewReader { reader, node } = new;
        reader.consumed.store(consumed, Relaxed);
        // The number is new, so no entry has this key.
        let _ = self
            .readers
            .insert(node.into_node(reader.place(), Pending::nothing(consumed)));
        reader
    }

    /// Removes a reader.
    pub(super) fn leave(&mut self, reader: &Reader) {
        let _ = self.readers.remove(&reader.place());
    }

    /// The position before which all readers have consumed everything; `None` without readers.
    pub(super) fn consumed(&self) -> Option<u64> {
        let slowest = self.readers.cursor_front()?;
        Some(slowest.current().0.consumed)
    }

    fn pending(&mut self, reader: &Reader) -> Option<&mut Pending> {
        self.readers.get_mut(&reader.place())
    }

    /// The reader's position is `to`, and it has consumed all bytes before.
    pub(super) fn consume(&mut self, reader: &Reader, to: u64) {
        self.update(reader, to, Pending::nothing(to));
    }

    fn update(&mut self, reader: &Reader, consumed: u64, pending: Pending) {
        let Some(node) = self.readers.remove_node(&reader.place()) else {
            return;
        };
        reader.consumed.store(consumed, Relaxed);
        let node = node.into_reservation().into_node(reader.place(), pending);
        let _ = self.readers.insert(node);
    }

    /// A request whose pending bytes end at `to` goes on at `to`: it has consumed them. Returns
    /// whether the reader has such a request.
    pub(super) fn consume_pending(&mut self, reader: &Reader, own: u64, to: u64) -> bool {
        match self.pending(reader) {
            Some(&mut pending)
                if pending.from == own
                    && pending.to == to
                    && reader.consumed.load(Relaxed) < to =>
            {
                self.update(reader, to, pending);
                true
            }
            _ => false,
        }
    }

    /// The reader's position is found to be `own`. If that is among the pending bytes, those before
    /// it were consumed.
    pub(super) fn confirm(&mut self, reader: &Reader, own: u64) {
        if let Some(&mut Pending { from, to }) = self.pending(reader) {
            if from < own && own <= to {
                self.consume(reader, own);
            }
        }
    }

    /// Bytes from `pos` to `end` were returned while the reader's position was `own`. Returns
    /// whether a later position can tell that they were consumed.
    pub(super) fn note_read(&mut self, reader: &Reader, own: u64, pos: u64, end: u64) -> bool {
        let Some(pending) = self.pending(reader) else {
            return false;
        };
        // `sendfile` reads in rounds, and moves the position when it returns.
        if pending.from == own && (own..=pending.to).contains(&pos) {
            pending.to = pending.to.max(end);
        } else if own == pos {
            *pending = Pending { from: own, to: end };
        } else {
            return false;
        }
        true
    }

    /// `lseek` has moved the reader to `pos`.
    pub(super) fn note_seek(&mut self, reader: &Reader, pos: u64) {
        if pos < reader.consumed.load(Relaxed) {
            self.consume(reader, pos);
        } else if let Some(pending) = self.pending(reader) {
            *pending = Pending::nothing(pos);
        }
    }

    /// Whether `pos` is where an earlier round of this very call has ended: only `sendfile` and its
    /// kin go on there. They return what they have rather than wait with it.
    pub(super) fn continues(&mut self, reader: &Reader, pos: u64) -> bool {
        reader.caller.load(Relaxed) == current!().pid()
            && self
                .pending(reader)
                .is_some_and(|pending| pending.from < pos && pending.to == pos)
    }
}

#[kunit_tests(qemufile_stream_drain_books)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_reader_counts() -> Result {
        let mut books = Books::new();
        assert_eq!(books.consumed(), None);
        let first = books.enter(NewReader::new()?, 0);
        let second = books.enter(NewReader::new()?, 0);
        books.consume(&first, 10);
        assert_eq!(books.consumed(), Some(0));
        books.consume(&second, 20);
        assert_eq!(books.consumed(), Some(10));
        books.leave(&first);
        assert_eq!(books.consumed(), Some(20));
        books.leave(&second);
        assert_eq!(books.consumed(), None);
        Ok(())
    }

    #[test]
    fn returned_bytes_count_when_the_position_follows() -> Result {
        let mut books = Books::new();
        let reader = books.enter(NewReader::new()?, 0);
        assert!(books.note_read(&reader, 0, 0, 10));
        // `pread`: the position stays.
        books.confirm(&reader, 0);
        assert_eq!(books.consumed(), Some(0));
        // Elsewhere.
        assert!(!books.note_read(&reader, 0, 11, 20));
        books.confirm(&reader, 20);
        assert_eq!(books.consumed(), Some(0));
        // `sendfile`: it goes on, and gives back a part.
        assert!(books.note_read(&reader, 0, 10, 20));
        books.confirm(&reader, 15);
        assert_eq!(books.consumed(), Some(15));
        books.confirm(&reader, 20);
        assert_eq!(books.consumed(), Some(15));
        Ok(())
    }

    #[test]
    fn a_seek_consumes_nothing() -> Result {
        let mut books = Books::new();
        let reader = books.enter(NewReader::new()?, 0);
        books.note_read(&reader, 0, 0, 10);
        books.note_seek(&reader, 10);
        books.confirm(&reader, 10);
        assert_eq!(books.consumed(), Some(0));
        books.note_read(&reader, 10, 10, 30);
        books.confirm(&reader, 30);
        assert_eq!(books.consumed(), Some(30));
        books.note_seek(&reader, 20);
        assert_eq!(books.consumed(), Some(20));
        Ok(())
    }
}
