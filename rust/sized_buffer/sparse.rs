// SPDX-License-Identifier: GPL-2.0

//! What is there and what is not: length, holes, and memory set aside.

use super::{
    SizedBuffer,
    MAX_LEN,
    PAGE_BYTES, //
};
use crate::sys::page::PageRef;
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

    /// Makes a hole of the bytes in `range`: they read as zeros, and whole pages are freed. The
    /// length stays.
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
        let head_page = self.own_page_of(&head)?;
        let tail_page = self.own_page_of(&tail)?;
        self.tree.prepare_remove(&whole)?;

        for (part, page) in [(head, head_page), (tail, tail_page)] {
            if let Some(page) = page {
                let offset = (part.start % PAGE_BYTES) as usize;
                page.zero(offset, (part.end - part.start) as usize);
            }
        }
        self.tree.remove(whole);
        Ok(())
    }

    /// Makes the page, if there is one, that has the bytes in `part` this buffer's own.
    fn own_page_of(&mut self, part: &Range<u64>) -> Result<Option<PageRef>> {
        let index = part.start / PAGE_BYTES;
        if part.is_empty() || self.tree.get(index).is_none() {
            return Ok(None);
        }
        Ok(Some(self.tree.own_page(index)?))
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
