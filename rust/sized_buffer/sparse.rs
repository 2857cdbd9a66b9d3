// SPDX-License-Identifier: GPL-2.0

//! What is there and what is not: length, holes, and memory set aside.

use super::{
    SizedBuffer,
    MAX_LEN,
    PAGE_BYTES, //
};
use core::ops::Range;
use kernel::prelude::*;

impl SizedBuffer {
    /// Sets the length, and returns it.
    ///
    /// The twin of `qsb_set_length`. Growing takes no memory: what is new is a hole. Shrinking
    /// frees the pages behind the new end, and clears the rest of the last page, so that growing
    /// again shows zeros.
    ///
    /// Fails with [`EFBIG`] beyond [`MAX_LEN`], and with [`ENOMEM`] if a page or nodes at the new
    /// end are shared and there is no memory for a copy. The buffer is then as it was.
    pub fn set_len(&mut self, len: u64) -> Result<u64> {
        if len > MAX_LEN {
            return Err(EFBIG);
        }
        if len < self.len {
            self.clear(len..MAX_LEN + 1)?;
        }
        self.len = len;
        Ok(len)
    }

    /// Makes a hole of the bytes in `range`: they read as zeros, and whole pages are freed, those of
    /// a larger folio when the last of them is. The length stays.
    ///
    /// Fails with [`ENOMEM`] if a page or nodes at the edges are shared and there is no memory for
    /// a copy. The buffer is then as it was.
    pub fn punch(&mut self, range: Range<u64>) -> Result {
        if range.is_empty() {
            return Ok(());
        }
        self.clear(range)
    }

    /// Frees the whole pages in `range`, and zeroes the parts of pages at its edges.
    ///
    /// All that may fail comes before anything that shows.
    fn clear(&mut self, range: Range<u64>) -> Result {
        let whole = range.start.div_ceil(PAGE_BYTES)..range.end / PAGE_BYTES;
        // Where the first and the last page begin to be cleared, and where that ends.
        let head = range.start..range.end.min(whole.start.saturating_mul(PAGE_BYTES));
        let tail = range.start.max(whole.end * PAGE_BYTES)..range.end;
        self.own_page_of(&head)?;
        self.own_page_of(&tail)?;
        self.tree.prepare_remove(&whole)?;

        self.zero(head);
        self.zero(tail);
        self.tree.remove(whole);
        Ok(())
    }

    /// Makes the page, if there is one, that has the bytes in `part` this buffer's own.
    fn own_page_of(&mut self, part: &Range<u64>) -> Result {
        let index = part.start / PAGE_BYTES;
        if !part.is_empty() && self.tree.get(index).is_some() {
            self.tree.own_page(index)?;
        }
        Ok(())
    }

    /// Zeroes the bytes in `part` of a page, if there is one, that is this buffer's own.
    fn zero(&self, part: Range<u64>) {
        if let Some(page) = self.tree.get(part.start / PAGE_BYTES) {
            let len = part.end.saturating_sub(part.start);
            page.zero((part.start % PAGE_BYTES) as usize, len as usize);
        }
    }

    /// The first position at or after `pos` that is in a page: `SEEK_DATA`.
    ///
    /// [`None`] (for `ENXIO`) if there is none before the end.
    pub fn next_data(&self, pos: u64) -> Option<u64> {
        self.next(pos, true)
    }

    /// The first position at or after `pos` that is in a hole, or the end: `SEEK_HOLE`.
    ///
    /// [`None`] (for `ENXIO`) if `pos` is not before the end.
    pub fn next_hole(&self, pos: u64) -> Option<u64> {
        let end = Some(self.len).filter(|end| pos < *end)?;
        self.next(pos, false).or(Some(end))
    }

    fn next(&self, pos: u64, data: bool) -> Option<u64> {
        let pages = pos / PAGE_BYTES..self.len.div_ceil(PAGE_BYTES);
        let found = self.tree.find_next(pages, data)?;
        Some(pos.max(found * PAGE_BYTES)).filter(|found| *found < self.len)
    }
}

#[kunit_tests(qemufile_sized_buffer_sparse)]
mod tests {
    use super::*;

    /// Three pages of data, a hole of two, and a page of data.
    fn holey() -> Result<SizedBuffer> {
        let mut buffer = SizedBuffer::new();
        for page in [0, 1, 2, 5] {
            buffer.write_at(page * PAGE_BYTES, b"x")?;
        }
        buffer.set_len(6 * PAGE_BYTES)?;
        Ok(buffer)
    }

    #[test]
    fn growing_is_sparse() -> Result {
        let mut buffer = SizedBuffer::new();
        assert_eq!(buffer.set_len(MAX_LEN)?, MAX_LEN);
        assert_eq!(buffer.allocated(), 0);
        assert_eq!(buffer.set_len(MAX_LEN + 1), Err(EFBIG));
        assert_eq!(buffer.len(), MAX_LEN);
        Ok(())
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() -> Result {
        let mut buffer = SizedBuffer::from_slice(b"migration")?;
        let clone = buffer.clone();
        buffer.set_len(3)?;
        buffer.set_len(9)?;
        let mut bytes = [0xff; 9];
        buffer.read_at(0, &mut bytes);
        assert_eq!(&bytes, b"mig\0\0\0\0\0\0");
        clone.read_at(0, &mut bytes);
        assert_eq!(&bytes, b"migration");
        buffer.set_len(0)?;
        assert_eq!(buffer.allocated(), 0);
        Ok(())
    }

    #[test]
    fn a_hole_frees_whole_pages_and_clears_parts() -> Result {
        let mut buffer = holey()?;
        buffer.punch(1..2 * PAGE_BYTES + 1)?;
        assert_eq!(buffer.allocated(), 3 * PAGE_BYTES);
        let mut byte = [0xff];
        assert_eq!((buffer.read_at(0, &mut byte), byte), (1, *b"x"));
        assert_eq!((buffer.read_at(2 * PAGE_BYTES, &mut byte), byte), (1, [0]));
        assert_eq!(buffer.len(), 6 * PAGE_BYTES);
        buffer.punch(0..0)?;
        buffer.punch(5..u64::MAX)?;
        assert_eq!(buffer.allocated(), PAGE_BYTES);
        Ok(())
    }

    #[test]
    fn data_and_holes_are_found() -> Result {
        let buffer = holey()?;
        assert_eq!(buffer.next_data(0), Some(0));
        assert_eq!(buffer.next_data(7), Some(7));
        assert_eq!(buffer.next_hole(7), Some(3 * PAGE_BYTES));
        assert_eq!(
            buffer.next_hole(3 * PAGE_BYTES + 1),
            Some(3 * PAGE_BYTES + 1)
        );
        assert_eq!(buffer.next_data(3 * PAGE_BYTES + 1), Some(5 * PAGE_BYTES));
        assert_eq!(buffer.next_hole(5 * PAGE_BYTES), Some(6 * PAGE_BYTES));
        assert_eq!(buffer.next_data(6 * PAGE_BYTES), None);
        assert_eq!(buffer.next_hole(6 * PAGE_BYTES), None);
        assert_eq!(SizedBuffer::new().next_hole(0), None);
        Ok(())
    }

    #[test]
    fn memory_behind_the_end_is_no_data() -> Result {
        let mut buffer = SizedBuffer::with_capacity(4 * PAGE_BYTES)?;
        assert_eq!(buffer.next_data(0), None);
        buffer.set_len(1)?;
        assert_eq!(buffer.next_data(0), Some(0));
        assert_eq!(buffer.next_hole(0), Some(1));
        Ok(())
    }
}
