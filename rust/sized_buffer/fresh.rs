// SPDX-License-Identifier: GPL-2.0

//! Writing beside others: in place without a change of the tree, and to new pages that are put into
//! the tree afterwards.
//!
//! [`SizedBuffer::write_from`] has the buffer for itself for as long as it copies. The two ways here
//! do not. [`SizedBuffer::overwrite`] only reads the tree: the pages that it writes to are exclusive
//! to the buffer ([`cow`](super::cow)), and stay so while a lock of the caller keeps others from
//! changing the buffer. [`Fresh`] is made without the buffer, and [`SizedBuffer::put_fresh`] copies
//! no bytes.

use super::{
    cow::{
        alloc_run_at,
        alloc_zeros_at, //
    },
    node::SLOTS,
    tree::{
        Found,
        LeafMut, //
    },
    Progress,
    SizedBuffer,
    Source,
    MAX_LEN,
    PAGE_BYTES, //
};
use crate::sys::page::{
    PageRef,
    Run,
    PAGE_SIZE, //
};
use core::iter::once;
use kernel::prelude::*;

/// New pages with the bytes of a write, for a position at the start of a page.
pub struct Fresh {
    pos: u64,
    first: PageRef,
    rest: Run,
    bytes: usize,
    /// Whether the pages after the bytes are zeros, for [`ahead`](super::ahead).
    has_more: bool,
}

impl Fresh {
    /// Copies bytes of `source` to new pages for the position `pos`: as many as one run of up to
    /// `pages` pages holds. The run is `spare`, of [`Spare::take_for`](super::Spare::take_for), or a new one.
    ///
    /// If the source has less than `pages` whole pages, the rest of the run is put after the bytes:
    /// see [`ahead`](super::ahead).
    ///
    /// Also returns [`EFAULT`] if the source failed before the end of the run. Fails with
    /// [`ENOMEM`], and with [`EFAULT`] if the source gave nothing.
    pub fn new<S: Source + ?Sized>(
        pos: u64,
        source: &mut S,
        spare: Option<Run>,
        pages: usize,
    ) -> Result<(Self, Result)> {
        let slot = (pos / PAGE_BYTES) as usize % SLOTS;
        let wants_more = pages > source.remaining() / PAGE_SIZE;
        let is_used = spare.is_some();
        let mut rest = match spare {
            Some(run) => run,
            None if wants_more => alloc_zeros_at(slot, pages)?,
            None => alloc_run_at(slot, pages)?,
        };
        let room = rest.len() * PAGE_SIZE;
        let asked = source.remaining().min(room);
        let first = rest.next().ok_or(ENOMEM)?;
        let bytes = source.copy_to_page(&first, 0, asked);
        if bytes == 0 {
            return Err(EFAULT);
        }
        // A source that failed may have left some bytes after those that count.
        let has_more = wants_more && bytes == asked;
        if has_more && is_used {
            let used = bytes.next_multiple_of(PAGE_SIZE);
            first.zero(used, room - used);
        }
        let fresh = Self {
            pos,
            first,
            rest,
            bytes,
            has_more,
        };
        Ok((fresh, if bytes < asked { Err(EFAULT) } else { Ok(()) }))
    }
}

impl SizedBuffer {
    /// Writes bytes of `source` at `pos` in place: up to `end`, or to the first page that is not
    /// exclusive to the buffer. Bytes after the end of the buffer become a part of it by
    /// [`Self::extend_to`].
    ///
    /// Others may read the buffer meanwhile, and may write other bytes. [`EFAULT`] if the source
    /// failed; what went before counts.
    pub fn overwrite<S: Source + ?Sized>(&self, pos: u64, end: u64, source: &mut S) -> Progress {
        let (mut bytes, end) = (0, end.min(MAX_LEN));
        loop {
            let at = pos.saturating_add(bytes as u64);
            let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            let wanted = source.remaining().min(left);
            let found = match wanted {
                0 => None,
                _ => self.tree.find_exclusive(at / PAGE_BYTES),
            };
            let Some((leaf, slot)) = found else {
                return Progress { bytes, end: Ok(()) };
            };
            let head = (at % PAGE_BYTES) as usize;
            let chunk = leaf.chunk_from(slot, (head + wanted).div_ceil(PAGE_SIZE));
            let asked = wanted.min(leaf.marked_from(slot, chunk) * PAGE_SIZE - head);
            let page = leaf.get(slot);
            let moved = page.map_or(0, |page| source.copy_to_page(page, head, asked));
            bytes += moved;
            if moved < asked {
                self.clear_failed(at + moved as u64..at + asked as u64);
                let end = Err(EFAULT);
                return Progress { bytes, end };
            }
        }
    }

    /// How many of the `most` whole pages from `pos` on a write would put new pages in the place of.
    /// 0 if `pos` is not at the start of a page.
    ///
    /// A guess: it may change with the next change of the buffer, or of a clone.
    pub fn fresh_pages(&self, pos: u64, most: usize) -> usize {
        if pos % PAGE_BYTES != 0 {
            return 0;
        }
        let left = usize::try_from(MAX_LEN.saturating_sub(pos) / PAGE_BYTES).unwrap_or(usize::MAX);
        let (found, owners) = self.tree.find_with_owners(pos / PAGE_BYTES);
        let most = most.min(left);
        match found {
            Found::Leaf(leaf, slot) => (slot..SLOTS)
                .take(most)
                .take_while(|&slot| owners.others || leaf.needs_new_page(slot, owners.recorded))
                .count(),
            Found::Nothing { .. } => most.min(SLOTS),
        }
    }

    /// Puts new pages into the buffer, which grows as needed. The bytes after those of the write stay
    /// as they are. Where a page has become exclusive to the buffer meanwhile, it gets the bytes.
    ///
    /// Returns the number of bytes; [`ENOMEM`] if there were none.
    pub fn put_fresh(&mut self, fresh: Fresh) -> Progress {
        let Fresh {
            pos,
            first,
            rest,
            bytes,
            has_more,
        } = fresh;
        let end = pos.saturating_add(bytes as u64);
        self.leave_gap(pos);
        if end > self.len() {
            self.clear_tail();
        }
        let has_more = has_more && end >= self.len();
        let mut pages = Iterator::chain(once(first), rest);
        let put = self.tree.change(pos / PAGE_BYTES, |mut leaf, slot| {
            leaf.put_fresh(slot, &mut pages, bytes);
            match has_more {
                true => leaf.put_ahead(slot + bytes.div_ceil(PAGE_SIZE), &mut pages),
                false => 0,
            }
        });
        let Ok(more) = put else {
            return Progress::none(ENOMEM);
        };
        if more > 0 {
            let ahead = end.next_multiple_of(PAGE_BYTES) + more as u64 * PAGE_BYTES;
            self.ahead = self.ahead.max(ahead);
        }
        self.set_end(self.len().max(end));
        Progress { bytes, end: Ok(()) }
    }
}

impl LeafMut<'_> {
    /// Makes the first `bytes` bytes from `slot` on those of `pages`, which are new.
    fn put_fresh(&mut self, slot: usize, mut pages: impl Iterator<Item = PageRef>, bytes: usize) {
        let count = bytes.div_ceil(PAGE_SIZE);
        if !(slot..slot + count).any(|slot| self.may_write(slot)) {
            return self.put_filled(slot, pages, bytes);
        }
        for i in 0..count {
            let Some(page) = pages.next() else {
                return;
            };
            let used = (bytes - i * PAGE_SIZE).min(PAGE_SIZE);
            self.put_fresh_page(slot + i, page, used);
        }
    }

    /// Makes the first `used` bytes of the page in `slot` those of `page`, which is new.
    fn put_fresh_page(&mut self, slot: usize, page: PageRef, used: usize) {
        if self.promote(slot) || self.may_write(slot) {
            if let Some(old) = self.get(slot) {
                old.copy_from(0, &page, used);
                return;
            }
        }
        self.put_filled(slot, once(page), used);
    }
}

#[kunit_tests(qemufile_sized_buffer_fresh)]
mod tests {
    use super::{
        super::write::tests::{
            byte_at,
            Half,
            PAGES, //
        },
        *, //
    };

    #[test]
    fn only_exclusive_bytes_before_the_end_are_overwritten() -> Result {
        let mut buffer = SizedBuffer::from_slice(&PAGES)?;
        drop(buffer.set_len(19 * PAGE_BYTES + 5)?);
        let mut source = &[1; 10 * PAGE_SIZE][..];
        let progress = buffer.overwrite(10 * PAGE_BYTES + 1, buffer.len(), &mut source);
        assert_eq!(progress.bytes, 9 * PAGE_SIZE + 4);
        assert_eq!((progress.end, source.len()), (Ok(()), PAGE_SIZE - 4));
        assert_eq!(byte_at(&buffer, 10 * PAGE_BYTES), Some(7));
        assert_eq!(byte_at(&buffer, 10 * PAGE_BYTES + 1), Some(1));
        assert_eq!(byte_at(&buffer, 19 * PAGE_BYTES + 4), Some(1));
        assert_eq!(byte_at(&buffer, 19 * PAGE_BYTES + 5), None);

        let lent = buffer.lend(3 * PAGE_BYTES)?;
        assert_eq!(
            buffer.overwrite(0, buffer.len(), &mut &PAGES[..]).bytes,
            3 * PAGE_SIZE
        );
        drop(lent);
        let clone = buffer.try_clone()?;
        assert_eq!(buffer.overwrite(0, buffer.len(), &mut &PAGES[..]).bytes, 0);
        drop(clone);
        // The record of the clone is passed on by the next change.
        assert_eq!(buffer.overwrite(0, buffer.len(), &mut &PAGES[..]).bytes, 0);
        buffer.write_at(0, &[2])?;
        assert!(buffer.overwrite(0, buffer.len(), &mut &PAGES[..]).bytes > 0);
        Ok(())
    }

    #[test]
    fn a_hole_is_not_overwritten_and_neither_is_what_a_mapping_shows_of_it() -> Result {
        let mut buffer = SizedBuffer::new();
        drop(buffer.set_len(4 * PAGE_BYTES)?);
        buffer.page_to_map(PAGE_BYTES)?;
        for page in 0..2 {
            let progress = buffer.overwrite(page * PAGE_BYTES, buffer.len(), &mut &PAGES[..]);
            assert_eq!((progress.bytes, progress.end), (0, Ok(())));
        }
        assert_eq!(buffer.fresh_pages(0, 4), 1);
        assert_eq!(buffer.fresh_pages(PAGE_BYTES, 4), 0);
        Ok(())
    }

    #[test]
    fn new_pages_are_wanted_for_holes_and_for_what_is_shared() -> Result {
        let mut buffer = SizedBuffer::from_slice(&PAGES)?;
        assert_eq!(buffer.fresh_pages(0, 20), 0);
        assert_eq!(buffer.fresh_pages(20 * PAGE_BYTES, 100), SLOTS - 20);
        assert_eq!(buffer.fresh_pages(20 * PAGE_BYTES + 1, 100), 0);
        assert_eq!(buffer.fresh_pages(1 << 40, 5), 5);
        assert_eq!(buffer.fresh_pages(MAX_LEN / PAGE_BYTES * PAGE_BYTES, 1), 0);
        let lent = buffer.lend(0)?;
        assert_eq!(buffer.fresh_pages(0, 20), 1);
        drop(lent);
        let clone = buffer.try_clone()?;
        assert_eq!(buffer.fresh_pages(0, 20), 20);
        drop(clone);
        assert_eq!(buffer.fresh_pages(0, 20), 0);
        Ok(())
    }

    #[test]
    fn new_pages_leave_a_clone_and_later_bytes_as_they_were() -> Result {
        let mut buffer = SizedBuffer::from_slice(&PAGES)?;
        let clone = buffer.try_clone()?;
        let mut half = Half(&[1; 4 * PAGE_SIZE], PAGE_SIZE + 9);
        let (fresh, end) = Fresh::new(0, &mut half, None, 4)?;
        assert_eq!(end, Err(EFAULT));
        assert_eq!(buffer.put_fresh(fresh).bytes, PAGE_SIZE + 9);
        assert_eq!(byte_at(&buffer, PAGE_BYTES + 8), Some(1));
        assert_eq!(byte_at(&buffer, PAGE_BYTES + 9), Some(7));
        assert_eq!(byte_at(&clone, 0), Some(7));
        assert!(Fresh::new(0, &mut Half(&PAGES, 0), None, 20).is_err());
        Ok(())
    }

    #[test]
    fn a_page_that_came_meanwhile_gets_the_bytes() -> Result {
        let mut buffer = SizedBuffer::new();
        drop(buffer.set_len(2 * PAGE_BYTES)?);
        let (fresh, _) = Fresh::new(0, &mut &PAGES[..2 * PAGE_SIZE], None, 2)?;
        let stored = buffer.page_to_write(0, 0)?.try_clone()?;
        let shown = buffer.page_to_map(PAGE_BYTES)?.try_clone()?;
        assert_eq!(buffer.put_fresh(fresh).bytes, 2 * PAGE_SIZE);
        for page in [stored, shown] {
            let mut byte = [0];
            assert_eq!((page.read(PAGE_SIZE - 1, &mut byte), byte), (1, [7]));
        }
        assert_eq!(buffer.allocated(), 2 * PAGE_BYTES);
        Ok(())
    }

    #[test]
    fn new_pages_at_the_end_make_the_buffer_longer() -> Result {
        let mut buffer = SizedBuffer::from_slice(b"migration")?;
        let (fresh, end) = Fresh::new(16 * PAGE_BYTES, &mut &PAGES[..], None, 20)?;
        assert_eq!(end, Ok(()));
        let bytes = buffer.put_fresh(fresh).bytes as u64;
        assert_eq!(buffer.len(), 16 * PAGE_BYTES + bytes);
        assert_eq!(byte_at(&buffer, PAGE_BYTES), Some(0));
        assert_eq!(byte_at(&buffer, buffer.len() - 1), Some(7));
        Ok(())
    }
}
