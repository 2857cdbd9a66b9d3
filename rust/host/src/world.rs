// SPDX-License-Identifier: GPL-2.0

//! Buffers and their models, side by side, under any sequence of operations.
//!
//! An operation is applied to both; what it returns and leaves must be the same. With an
//! allocation made to fail, it must be the same or nothing, but for a write that says how far it
//! came.
//!
//! The file is long because each operation has its twin on the model here.

use crate::{
    model::Model,
    sized_buffer::{Fresh, Progress, Sink, SizedBuffer, Source, Spare, MAX_LEN},
    step::{Failure, Op, Size, Step},
    sys::{
        fault,
        page::{PageRef, PAGE_SIZE},
    },
};
use kernel::prelude::*;

const PAGE_BYTES: u64 = PAGE_SIZE as u64;
const LEAF_BYTES: u64 = 64 * PAGE_BYTES;

/// The most buffers there are at a time.
const MOST_BUFFERS: usize = 4;

/// The most pages that are lent out at a time.
const MOST_LENT: usize = 8;

/// The most pages that were pinned through a mapping at a time.
const MOST_PINNED: usize = 8;

/// A page that somebody has reached through a mapping of a buffer, and keeps.
struct Pin {
    page: PageRef,
    /// The number of the buffer, whose writes show in the page.
    owner: u64,
    bytes: Vec<u8>,
}

#[derive(Default)]
pub struct World {
    buffers: Vec<(SizedBuffer, Model)>,
    /// A number for each buffer, which no other has had.
    numbers: Vec<u64>,
    next_number: u64,
    pinned: Vec<Pin>,
    /// Pages lent out, and what they held then.
    lent: Vec<(PageRef, Vec<u8>)>,
}

impl World {
    /// A world of one empty buffer.
    pub fn new() -> Self {
        fault::reset();
        let mut world = Self::default();
        world.add(Default::default());
        world
    }

    fn add(&mut self, buffer: (SizedBuffer, Model)) {
        self.buffers.push(buffer);
        self.numbers.push(self.next_number);
        self.next_number += 1;
    }

    /// Does what `step` says, and returns whether an allocation was made to fail.
    pub fn apply(&mut self, step: &Step) -> bool {
        let at = usize::from(step.buffer) % self.buffers.len();
        match step.op {
            Op::Clone if self.buffers.len() < MOST_BUFFERS => {
                let (buffer, model) = &mut self.buffers[at];
                let copy = (buffer.try_clone().expect("a clone"), model.clone());
                self.add(copy);
            }
            Op::Clone => (),
            Op::Drop => {
                self.buffers.swap_remove(at);
                self.numbers.swap_remove(at);
                if self.buffers.is_empty() {
                    self.add(Default::default());
                }
            }
            Op::GiveBack if self.lent.is_empty() => (),
            Op::GiveBack => self.check_lent(usize::from(step.buffer) % self.lent.len()),
            Op::Pin(place) => self.pin(at, place.pos()),
            Op::Unpin if self.pinned.is_empty() => (),
            Op::Unpin => {
                let at = usize::from(step.buffer) % self.pinned.len();
                self.pinned.swap_remove(at);
            }
            _ => {
                let failed = self.change(at, step);
                self.check_pinned(self.numbers[at]);
                return failed;
            }
        }
        false
    }

    /// Pins the page that a mapping of the buffer number `at` shows at `pos`.
    fn pin(&mut self, at: usize, pos: u64) {
        if self.pinned.len() < MOST_PINNED {
            let pos = pos.min(MAX_LEN - 1);
            let page = self.buffers[at].0.page_to_map(pos);
            self.pinned.extend(page.ok().map(|page| Pin {
                page: page.try_clone().expect("a reference"),
                owner: self.numbers[at],
                bytes: content(page),
            }));
        }
    }

    /// Checks that a change of the buffer `changed` shows in no page that was pinned through a
    /// mapping of another.
    fn check_pinned(&mut self, changed: u64) {
        for pin in &mut self.pinned {
            if pin.owner == changed {
                pin.bytes = content(&pin.page);
            } else {
                assert!(content(&pin.page) == pin.bytes, "a write shows elsewhere");
            }
        }
    }

    fn change(&mut self, at: usize, step: &Step) -> bool {
        let other = match step.op {
            Op::TakeShared(_, _, other) => {
                let others = self.buffers.len();
                let (buffer, model) = &mut self.buffers[usize::from(other) % others];
                Some((buffer.try_clone().expect("a clone"), model.clone()))
            }
            _ => None,
        };
        let (buffer, model) = &mut self.buffers[at];
        let mut one = One {
            buffer,
            model,
            other,
            lent: &mut self.lent,
            failure: step.failure,
        };
        let failed = one.apply(&step.op);
        assert_eq!(buffer.len(), model.len);
        let ahead = pages_ahead(buffer, model);
        assert_eq!(buffer.allocated(), model.allocated() + ahead);
        let pages = buffer.allocated() / PAGE_BYTES;
        assert!(buffer.chunks() <= pages);
        assert_eq!(buffer.chunks() == 0, pages == 0);
        failed
    }

    /// Takes back the page lent out as number `at`, which must be as it was.
    fn check_lent(&mut self, at: usize) {
        let (page, bytes) = self.lent.swap_remove(at);
        assert!(content(&page) == bytes, "a page changed while it was lent");
    }

    /// Checks every byte of every buffer, and of every page lent out.
    pub fn check(&mut self) {
        while !self.lent.is_empty() {
            self.check_lent(0);
        }
        for (buffer, model) in &mut self.buffers {
            buffer.remove_ahead();
            assert_eq!(buffer.allocated(), model.allocated());
            let mut chunks = 0;
            for start in model.pages().filter(|start| *start < model.len) {
                let mut bytes = vec![1; PAGE_SIZE];
                let len = buffer.read_at(start, &mut bytes);
                assert!(bytes[..len] == model.read(start, PAGE_SIZE));
            }
            for pos in model.pages() {
                let page = buffer.lend(pos).expect("a reference").expect("a page");
                assert!(Some(&content(&page)) == model.get_page(pos));
                let before = pos
                    .checked_sub(PAGE_BYTES)
                    .filter(|_| pos % LEAF_BYTES != 0);
                let before = before.and_then(|before| buffer.lend(before).expect("a reference"));
                chunks += u64::from(!before.as_ref().is_some_and(|before| {
                    let folio = page.folio();
                    folio.index() > 0 && folio.is_at(folio.index() - 1, before)
                }));
            }
            assert_eq!(buffer.chunks(), chunks);
        }
    }
}

/// The bytes of pages that were put after the end ahead of writes. They are zeros.
fn pages_ahead(buffer: &SizedBuffer, model: &Model) -> u64 {
    let first = buffer.len().next_multiple_of(PAGE_BYTES);
    let places = (0..16).map_while(|page| first.checked_add(page * PAGE_BYTES));
    let ahead = places.filter(|pos| {
        let is_there = buffer.next_missing(*pos..*pos + 1).is_none();
        is_there
            && model.get_page(*pos).is_none()
            && content(buffer.mapped_page(*pos).expect("a page")) == [0; PAGE_SIZE]
    });
    ahead.count() as u64 * PAGE_BYTES
}

/// All bytes of a page.
fn content(page: &PageRef) -> Vec<u8> {
    let mut bytes = vec![0; PAGE_SIZE];
    assert_eq!(page.read(0, &mut bytes), PAGE_SIZE);
    bytes
}

/// The bytes that `seed` makes: never 0, and with a long period.
pub fn pattern(seed: u8, len: usize) -> Vec<u8> {
    let byte = |i: usize| (i + usize::from(seed) * 7) % 251 + 1;
    (0..len).map(|i| byte(i) as u8).collect()
}

/// A source or a sink that fails after `good` bytes.
struct Faulty<T> {
    inner: T,
    good: usize,
}

impl Source for Faulty<&[u8]> {
    fn remaining(&self) -> usize {
        self.inner.remaining()
    }

    fn copy_to_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize {
        let moved = self.inner.copy_to_page(page, offset, len.min(self.good));
        self.good -= moved;
        moved
    }
}

impl Sink for Faulty<&mut [u8]> {
    fn remaining(&self) -> usize {
        self.inner.remaining()
    }

    fn copy_from_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize {
        let taken = self.inner.copy_from_page(page, offset, len.min(self.good));
        self.good -= taken;
        taken
    }

    fn put_zeros(&mut self, len: usize) -> usize {
        let taken = self.inner.put_zeros(len.min(self.good));
        self.good -= taken;
        taken
    }
}

/// Writes `bytes` as a stream does beside other writes, from a source that fails after `good`.
fn write_beside(buffer: &mut SizedBuffer, pos: u64, bytes: &[u8], good: usize) -> Progress {
    let mut done = 0;
    let end = loop {
        let (here, left) = (pos.saturating_add(done as u64), bytes.len() - done);
        let part = |most: usize| Faulty {
            inner: &bytes[done..done + most.min(left)],
            good: good - done,
        };
        if left == 0 {
            break Ok(());
        }
        let mut progress = Progress {
            bytes: 0,
            end: Ok(()),
        };
        if here <= buffer.len() {
            progress = buffer.overwrite(here, u64::MAX, &mut part(left));
            buffer.extend_to(here + progress.bytes as u64);
        }
        if progress.bytes == 0 && progress.end.is_ok() {
            // At the end, more pages than are needed.
            let is_append = here == buffer.len();
            let most = if is_append { 16 } else { left / PAGE_SIZE };
            let fresh = buffer.fresh_pages(here, most);
            progress = if fresh == 0 {
                let to_page = PAGE_SIZE - (here % PAGE_BYTES) as usize;
                buffer.write_from(here, &mut part(to_page))
            } else {
                let mut spare = Spare::new();
                buffer.hand_over_spare(&mut spare);
                let spare = spare.take_for(here, fresh);
                match Fresh::new(here, &mut part(fresh * PAGE_SIZE), spare, fresh) {
                    Ok((fresh, end)) => {
                        let put = buffer.put_fresh(fresh);
                        Progress {
                            bytes: put.bytes,
                            end: put.end.and(end),
                        }
                    }
                    Err(err) => Progress::none(err),
                }
            };
        }
        done += progress.bytes;
        if progress.end.is_err() {
            break progress.end;
        }
    };
    Progress { bytes: done, end }
}

/// One buffer, its model, and how allocation fails.
struct One<'a> {
    buffer: &'a mut SizedBuffer,
    model: &'a mut Model,
    /// A clone of another buffer, for an operation that wants one.
    other: Option<(SizedBuffer, Model)>,
    lent: &'a mut Vec<(PageRef, Vec<u8>)>,
    failure: Failure,
}

impl One<'_> {
    fn apply(&mut self, op: &Op) -> bool {
        match *op {
            Op::Write(place, size, seed, good) => self.write(place.pos(), size, seed, good, false),
            Op::AtomicWrite(place, size, seed, good) => {
                self.write(place.pos(), size, seed, good, true)
            }
            Op::WriteBeside(place, size, seed, good) => {
                self.write_beside(place.pos(), size, seed, good)
            }
            Op::Append(size, seed) => self.write(self.model.len, size, seed, None, false),
            Op::WriteAt(place, size, seed) => self.write_at(place.pos(), size, seed),
            Op::Read(place, size, good) => self.read(place.pos(), size, good),
            Op::SetLen(place) => self.set_len(place.pos()),
            Op::Resize(by) => self.set_len(self.model.len.saturating_add_signed(by.into())),
            Op::Punch(from, to) => self.punch(from.pos(), to.pos()),
            Op::PunchNear(place, size) => {
                self.punch(place.pos(), place.pos() + size.bytes() as u64)
            }
            Op::Recycle(place) => self.recycle(place.pos()),
            Op::Reserve(place, size) => self.reserve(place.pos(), size.bytes() as u64),
            Op::Next(place) => self.next(place.pos()),
            Op::Lend(place) => self.lend(place.pos()),
            Op::Map(place) => self.map(place.pos()),
            Op::TakeWrite(place, size, seed) => self.take_write(place.pos(), size, seed),
            Op::TakeShared(place, size, _) => self.take_shared(place.pos(), size),
            Op::ReplacePage(place, lent, seed) => self.replace_page(place.pos(), lent, seed),
            Op::Chunks(place, size) => self.chunks(place.pos(), size),
            Op::Clone | Op::Drop | Op::GiveBack | Op::Pin(_) | Op::Unpin => false,
        }
    }

    /// Runs `op` with allocation failing, and returns what it did and whether one failed.
    fn failing<T>(&mut self, op: impl FnOnce(&mut SizedBuffer) -> T) -> (T, bool) {
        match self.failure {
            Failure::Never => (),
            Failure::After(n) => fault::fail_after(n.into()),
            Failure::Once(n) => fault::fail_once(n.into()),
            Failure::Order(n) => fault::limit_order(n.into()),
        }
        let outcome = op(self.buffer);
        (outcome, fault::reset())
    }

    /// Checks the outcome of an operation that is done or not, and does the same to the model.
    fn settle<T: PartialEq + core::fmt::Debug>(
        &mut self,
        (outcome, failed): (Result<T>, bool),
        expected: Result<T>,
        done: impl FnOnce(&mut Model),
    ) -> bool {
        match outcome {
            Err(ENOMEM) if failed => (),
            outcome => {
                assert_eq!(outcome, expected);
                if outcome.is_ok() {
                    done(self.model);
                }
            }
        }
        failed
    }

    /// Checks how far a write of `len` bytes came, from a source that fails after `good`.
    fn check_written(&self, pos: u64, len: usize, good: usize, failed: bool, progress: &Progress) {
        let (done, outcome) = (progress.bytes, progress.end);
        let room = self.model.room(pos, len);
        match outcome {
            Err(ENOMEM) if failed => assert!(done <= room.min(good)),
            _ => {
                assert_eq!(done, room.min(good));
                let expected = match () {
                    () if good < room => Err(EFAULT),
                    () if room < len => Err(EFBIG),
                    () => Ok(()),
                };
                assert_eq!(outcome, expected);
            }
        }
    }

    fn write_beside(&mut self, pos: u64, size: Size, seed: u8, good: Option<Size>) -> bool {
        let bytes = pattern(seed, size.bytes());
        let good = good.map_or(usize::MAX, Size::bytes);
        let (progress, failed) = self.failing(|buffer| write_beside(buffer, pos, &bytes, good));
        self.check_written(pos, bytes.len(), good, failed, &progress);
        self.model.write(pos, &bytes[..progress.bytes]);
        failed
    }

    fn write(&mut self, pos: u64, size: Size, seed: u8, good: Option<Size>, atomic: bool) -> bool {
        let bytes = pattern(seed, size.bytes());
        let good = good.map_or(usize::MAX, Size::bytes);
        let before = atomic.then(|| self.buffer.try_clone().expect("a clone"));
        let (progress, failed) = self.failing(|buffer| {
            let inner = &bytes[..];
            buffer.write_from(pos, &mut Faulty { inner, good })
        });
        let (done, outcome) = (progress.bytes, progress.end);
        self.check_written(pos, bytes.len(), good, failed, &progress);
        match before {
            Some(before) if outcome.is_err() => *self.buffer = before,
            _ => self.model.write(pos, &bytes[..done]),
        }
        failed
    }

    fn write_at(&mut self, pos: u64, size: Size, seed: u8) -> bool {
        let bytes = pattern(seed, size.bytes());
        let (outcome, failed) = self.failing(|buffer| buffer.write_at(pos, &bytes));
        let room = self.model.room(pos, bytes.len());
        let done = match outcome {
            Err(ENOMEM) if failed => 0,
            Err(error) => {
                assert_eq!((error, room), (EFBIG, 0));
                0
            }
            Ok(done) => {
                assert!(done == room || failed && done < room);
                done
            }
        };
        self.model.write(pos, &bytes[..done]);
        failed
    }

    fn read(&mut self, pos: u64, size: Size, good: Option<Size>) -> bool {
        let good = good.map_or(usize::MAX, Size::bytes);
        let mut bytes = vec![1; size.bytes()];
        let inner = &mut bytes[..];
        let done = self.buffer.read_to(pos, &mut Faulty { inner, good });
        let mut expected = self.model.read(pos, bytes.len());
        expected.truncate(good);
        assert_eq!(done, expected.len());
        expected.resize(bytes.len(), 1);
        assert!(bytes == expected);
        false
    }

    fn set_len(&mut self, len: u64) -> bool {
        let outcome = self.failing(|buffer| buffer.set_len(len).map(drop));
        let expected = if len <= MAX_LEN { Ok(()) } else { Err(EFBIG) };
        self.settle(outcome, expected, |model| model.set_len(len))
    }

    fn punch(&mut self, from: u64, to: u64) -> bool {
        let outcome = self.failing(|buffer| {
            drop(buffer.punch(from..to)?);
            buffer.tighten(from..to);
            Ok(())
        });
        self.settle(outcome, Ok(()), |model| model.punch(from..to))
    }

    fn recycle(&mut self, pos: u64) -> bool {
        let start = pos / SizedBuffer::RUN_BYTES * SizedBuffer::RUN_BYTES;
        let run = start..start + SizedBuffer::RUN_BYTES;
        let most = pos % 64 * PAGE_BYTES;
        let outcome = self.failing(|buffer| buffer.recycle(run.clone(), most));
        self.settle(outcome, Ok(()), |model| model.punch(run))
    }

    fn reserve(&mut self, pos: u64, len: u64) -> bool {
        let outcome = self.failing(|buffer| buffer.reserve(pos, len));
        let expected = if pos + len <= MAX_LEN {
            Ok(())
        } else {
            Err(EFBIG)
        };
        self.settle(outcome, expected, |model| model.reserve(pos, len))
    }

    fn next(&mut self, pos: u64) -> bool {
        assert_eq!(self.buffer.next_data(pos), self.model.next_data(pos));
        assert_eq!(self.buffer.next_hole(pos), self.model.next_hole(pos));
        false
    }

    fn lend(&mut self, pos: u64) -> bool {
        let mut page = self.buffer.lend(pos).expect("a reference");
        if pos >= self.model.len && self.model.get_page(pos).is_none() {
            // What is ahead of writes goes, and is not for others.
            page = page.filter(|page| content(page) != [0; PAGE_SIZE]);
        }
        assert!(page.as_ref().map(content).as_ref() == self.model.get_page(pos));
        if let Some(page) = page.filter(|_| self.lent.len() < MOST_LENT) {
            let bytes = content(&page);
            self.lent.push((page, bytes));
        }
        false
    }

    /// What is mapped is what is there, and nothing else shows it.
    fn map(&mut self, pos: u64) -> bool {
        let pos = pos.min(MAX_LEN - 1);
        let (bytes, failed) = self.failing(|buffer| buffer.page_to_map(pos).map(content));
        match bytes {
            Ok(bytes) => {
                let zeros = vec![0; PAGE_SIZE];
                assert!(bytes == *self.model.get_page(pos).unwrap_or(&zeros));
            }
            Err(error) => assert!(failed && error == ENOMEM),
        }
        failed
    }

    fn take_write(&mut self, pos: u64, size: Size, seed: u8) -> bool {
        let bytes = pattern(seed, size.bytes().min(self.model.room(pos, size.bytes())));
        if bytes.is_empty() {
            return false;
        }
        let range = pos..pos + bytes.len() as u64;
        let outcome = self.failing(|buffer| {
            let mut built = SizedBuffer::new();
            built.write_from(pos, &mut &bytes[..]).end?;
            buffer.take_range(range, &mut built, true)
        });
        self.settle(outcome, Ok(()), |model| model.write(pos, &bytes))
    }

    /// Takes a range of whole pages, or up to the end of both.
    fn take_shared(&mut self, pos: u64, size: Size) -> bool {
        let (mut other, other_model) = self.other.take().expect("another buffer");
        let start = pos / PAGE_BYTES * PAGE_BYTES;
        let mut end = start + size.bytes() as u64 / PAGE_BYTES * PAGE_BYTES;
        if end >= other_model.len && other_model.len >= self.model.len {
            end = other_model.len;
        }
        if start >= end || end > other_model.len.min(MAX_LEN) {
            return false;
        }
        let outcome = self.failing(|buffer| buffer.take_range(start..end, &mut other, true));
        self.settle(outcome, Ok(()), |model| {
            model.take(start..end, &other_model)
        })
    }

    fn replace_page(&mut self, pos: u64, lent: bool, seed: u8) -> bool {
        let pos = if seed % 8 == 0 {
            pos
        } else {
            pos / PAGE_BYTES * PAGE_BYTES
        };
        let page = match self.lent.last() {
            Some((page, _)) if lent => page.try_clone().expect("a reference"),
            _ => {
                let mut run = PageRef::alloc_run(u32::from(seed) % 3).expect("a page");
                let page = run.nth(usize::from(seed) % run.len()).expect("a page");
                page.write(0, &pattern(seed, PAGE_SIZE));
                page
            }
        };
        let bytes = content(&page);
        let outcome = self.failing(|buffer| buffer.replace_page(pos, page));
        let expected = match () {
            () if pos % PAGE_BYTES != 0 => Err(EINVAL),
            () if pos + PAGE_BYTES > MAX_LEN => Err(EFBIG),
            () => Ok(()),
        };
        self.settle(outcome, expected, |model| model.write(pos, &bytes))
    }

    fn chunks(&mut self, pos: u64, size: Size) -> bool {
        let end = pos + size.bytes() as u64;
        let mut at = pos;
        for chunk in self.buffer.chunks_in(pos..end) {
            assert_ne!(chunk.len, 0);
            let end = at + chunk.len as u64;
            match chunk.page {
                Some(page) => {
                    let mut bytes = vec![0; chunk.len];
                    assert_eq!(page.read(chunk.offset, &mut bytes), chunk.len);
                    assert!(bytes == self.model.read(at, chunk.len));
                }
                None => assert!(self.model.next_data(at).is_none_or(|next| next >= end)),
            }
            at = end;
        }
        assert_eq!(at, end.min(self.model.len).max(pos));
        false
    }
}
