// SPDX-License-Identifier: GPL-2.0

//! Writing. Pages are allocated or copied as needed.

use super::{
    node::SLOTS,
    tree::LeafMut,
    Progress,
    SizedBuffer,
    Source,
    MAX_LEN,
    PAGE_BYTES, //
};
use crate::sys::page::{
    PageRef,
    PAGE_SIZE, //
};
use core::{
    iter::once,
    ops::Range, //
};
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// The bytes below one leaf.
const LEAF_SIZE: usize = SLOTS * PAGE_SIZE;

impl SizedBuffer {
    /// Writes all bytes of `source` at `pos`.
    ///
    /// The twin of `qsb_write_at`. A hole before `pos` stays a hole; the buffer grows as needed.
    ///
    /// Returns the number of bytes written, and the reason for the end:
    ///
    /// - `Ok`: the source is empty;
    /// - [`EFAULT`]: the source failed;
    /// - [`ENOMEM`]: there is no memory for more bytes;
    /// - [`EFBIG`]: more bytes would be beyond [`MAX_LEN`](super::MAX_LEN).
    ///
    /// Bytes after those written are unchanged.
    pub fn write_from<S: Source + ?Sized>(&mut self, pos: u64, source: &mut S) -> Progress {
        let mut bytes = 0;
        loop {
            let wanted = source.remaining();
            if wanted == 0 {
                return Progress { bytes, end: Ok(()) };
            }
            let progress = match pos.checked_add(bytes as u64).filter(|at| *at < MAX_LEN) {
                Some(at) => self.write_leaf(at, wanted, source),
                None => Progress::none(EFBIG),
            };
            bytes += progress.bytes;
            if let Err(err) = progress.end {
                let end = Err(err);
                return Progress { bytes, end };
            }
        }
    }

    /// Writes `bytes` at `pos`, as [`Self::write_from`] does.
    ///
    /// Returns the number of bytes written, or the error if it is 0.
    #[cfg(CONFIG_KUNIT = "y")]
    pub fn write_at(&mut self, pos: u64, mut bytes: &[u8]) -> Result<usize> {
        self.write_from(pos, &mut bytes).into_result()
    }

    /// Writes up to `wanted` bytes at `at`, up to the end of the leaf.
    fn write_leaf<S: Source + ?Sized>(
        &mut self,
        at: u64,
        wanted: usize,
        source: &mut S,
    ) -> Progress {
        let room = usize::try_from(MAX_LEN - at).unwrap_or(usize::MAX);
        self.leave_gap(at);
        if at.saturating_add(wanted as u64) > self.len() {
            self.clear_tail();
        }
        let index = at / PAGE_BYTES;
        let written = self.tree.change(index, |mut leaf, slot| {
            let start = slot * PAGE_SIZE + (at % PAGE_BYTES) as usize;
            let end = start.saturating_add(wanted.min(room)).min(LEAF_SIZE);
            leaf.write(start..end, source)
        });
        let progress = written.unwrap_or(Progress::none(ENOMEM));
        if progress.bytes > 0 {
            self.set_end(self.len().max(at + progress.bytes as u64));
        }
        progress
    }
}

impl LeafMut<'_> {
    /// Writes to the bytes in `range` of the leaf. Returns the number of bytes written and the
    /// reason for the end.
    fn write<S: Source + ?Sized>(&mut self, range: Range<usize>, source: &mut S) -> Progress {
        let mut next = range.start;
        let end = loop {
            if next == range.end {
                break Ok(());
            }
            match self.write_chunk(next, range.end - next, source) {
                Ok((moved, asked)) => {
                    next += moved;
                    if moved < asked {
                        break Err(EFAULT);
                    }
                }
                Err(AllocError) => break Err(ENOMEM),
            }
        };
        let bytes = next - range.start;
        Progress { bytes, end }
    }

    /// Writes up to `wanted` bytes at `offset` in the leaf, to one chunk.
    ///
    /// Returns the number of bytes moved, and the number requested from the source.
    fn write_chunk<S: Source + ?Sized>(
        &mut self,
        offset: usize,
        wanted: usize,
        source: &mut S,
    ) -> Result<(usize, usize), AllocError> {
        let slot = offset / PAGE_SIZE;
        let head = offset % PAGE_SIZE;
        let promoted = self.promote(slot);
        let own = self.own_chunk_from(slot, (head + wanted).div_ceil(PAGE_SIZE));
        let (moved, asked) = match self.get(slot) {
            Some(page) if own > 0 => {
                let asked = wanted.min(own * PAGE_SIZE - head);
                (source.copy_to_page(page, head, asked), asked)
            }
            _ => self.write_fresh(slot, head, wanted, source)?,
        };
        if promoted && moved == 0 {
            self.demote(slot);
        }
        Ok((moved, asked))
    }

    /// [`Self::write_chunk`] to new memory: for a hole or a shared page.
    fn write_fresh<S: Source + ?Sized>(
        &mut self,
        slot: usize,
        head: usize,
        wanted: usize,
        source: &mut S,
    ) -> Result<(usize, usize), AllocError> {
        let whole_pages = if head == 0 { wanted / PAGE_SIZE } else { 0 };
        let mut run = self.alloc_run(slot, whole_pages)?;
        let asked = wanted.min(run.len() * PAGE_SIZE - head);
        let first = run.next().ok_or(AllocError)?;
        let moved = source.copy_to_page(&first, head, asked);
        if moved == 0 {
            return Ok((0, asked));
        }

        self.fill_gap(&first, slot, 0, head);
        self.put_filled(slot, Iterator::chain(once(first), run), head + moved);
        Ok((moved, asked))
    }
}

impl LeafMut<'_> {
    /// Puts new pages, the first `bytes` of which are filled, at `slot`. The rest of the last one gets
    /// what is there now. The pages after it are dropped.
    pub(super) fn put_filled(
        &mut self,
        slot: usize,
        mut pages: impl Iterator<Item = PageRef>,
        bytes: usize,
    ) {
        let slots = slot..slot + bytes.div_ceil(PAGE_SIZE);
        let mut left = bytes;
        self.put_all_new(slots, |leaf, slot| {
            let page = pages.next()?;
            let used = left.min(PAGE_SIZE);
            left -= used;
            leaf.fill_gap(&page, slot, used, PAGE_SIZE - used);
            Some(page)
        });
    }
}

#[kunit_tests(qemufile_sized_buffer_write)]
pub(super) mod tests {
    use super::*;

    pub(in crate::sized_buffer) const PAGES: [u8; 20 * PAGE_SIZE] = [7; 20 * PAGE_SIZE];

    pub(in crate::sized_buffer) fn byte_at(buffer: &SizedBuffer, pos: u64) -> Option<u8> {
        let mut byte = [0xff];
        (buffer.read_at(pos, &mut byte) == 1).then_some(byte[0])
    }

    #[test]
    fn writing_nothing_does_nothing() -> Result {
        let mut buffer = SizedBuffer::new();
        assert_eq!(buffer.write_at(5, &[])?, 0);
        assert_eq!(buffer.write_at(u64::MAX, &[])?, 0);
        assert_eq!((buffer.len(), buffer.allocated()), (0, 0));
        Ok(())
    }

    #[test]
    fn a_long_write_takes_long_chunks() -> Result {
        let mut buffer = SizedBuffer::new();
        buffer.write_at(0, &PAGES)?;
        assert_eq!(buffer.allocated(), PAGES.len() as u64);
        assert!(buffer.chunks() < 20);
        buffer.write_at(PAGE_BYTES - 1, &[1, 2])?;
        assert_eq!(buffer.allocated(), PAGES.len() as u64);
        Ok(())
    }

    #[test]
    fn what_a_write_leaves_of_a_page_is_zero() -> Result {
        let mut buffer = SizedBuffer::new();
        buffer.write_at(PAGE_BYTES + 10, &[1])?;
        drop(buffer.set_len(4 * PAGE_BYTES)?);
        let zero = |pos| byte_at(&buffer, pos) == Some(0);
        assert!((PAGE_BYTES..PAGE_BYTES + 10).all(zero));
        assert!((PAGE_BYTES + 11..2 * PAGE_BYTES).all(zero));
        assert_eq!(byte_at(&buffer, PAGE_BYTES + 10), Some(1));
        Ok(())
    }

    #[test]
    fn a_write_leaves_a_clone_as_it_was() -> Result {
        let mut buffer = SizedBuffer::from_slice(&PAGES)?;
        let clone = buffer.try_clone()?;
        buffer.write_at(PAGE_BYTES - 1, &[1, 2])?;
        assert_eq!(byte_at(&clone, PAGE_BYTES - 1), Some(7));
        assert_eq!(byte_at(&clone, PAGE_BYTES), Some(7));
        assert_eq!(byte_at(&buffer, PAGE_BYTES - 2), Some(7));
        assert_eq!(byte_at(&buffer, PAGE_BYTES - 1), Some(1));
        assert_eq!(byte_at(&buffer, PAGE_BYTES), Some(2));
        assert_eq!(byte_at(&buffer, PAGE_BYTES + 1), Some(7));
        Ok(())
    }

    #[test]
    fn a_write_past_the_largest_length_stops_there() -> Result {
        let mut buffer = SizedBuffer::new();
        let mut source = &[1, 2, 3][..];
        let progress = buffer.write_from(MAX_LEN - 2, &mut source);
        assert_eq!((progress.bytes, progress.end), (2, Err(EFBIG)));
        assert_eq!(source.len(), 1);
        assert_eq!(buffer.len(), MAX_LEN);
        assert_eq!(buffer.write_at(MAX_LEN, &[1]), Err(EFBIG));
        assert_eq!(buffer.write_at(u64::MAX, &[1]), Err(EFBIG));
        Ok(())
    }

    /// A source that fails after some bytes.
    pub(in crate::sized_buffer) struct Half<'a>(
        pub(in crate::sized_buffer) &'a [u8],
        pub(in crate::sized_buffer) usize,
    );

    impl Source for Half<'_> {
        fn remaining(&self) -> usize {
            self.0.remaining()
        }

        fn copy_to_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize {
            let moved = self.0.copy_to_page(page, offset, len.min(self.1));
            self.1 -= moved;
            moved
        }
    }

    #[test]
    fn a_source_that_fails_leaves_what_it_gave() -> Result {
        let mut buffer = SizedBuffer::new();
        let good = 2 * PAGE_SIZE + 5;
        let progress = buffer.write_from(0, &mut Half(&PAGES, good));
        assert_eq!((progress.bytes, progress.end), (good, Err(EFAULT)));
        assert_eq!(buffer.len(), good as u64);
        assert_eq!(buffer.allocated(), 3 * PAGE_BYTES);
        drop(buffer.set_len(4 * PAGE_BYTES)?);
        assert_eq!(byte_at(&buffer, good as u64), Some(0));

        let progress = buffer.write_from(1 << 40, &mut Half(&PAGES, 0));
        assert_eq!((progress.bytes, progress.end), (0, Err(EFAULT)));
        assert_eq!(buffer.len(), 4 * PAGE_BYTES);
        Ok(())
    }
}
