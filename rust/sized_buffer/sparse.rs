// SPDX-License-Identifier: GPL-2.0

//! Length, holes and reserved memory.

use super::{
    tree::Tree,
    Removed,
    SizedBuffer,
    MAX_LEN,
    PAGE_BYTES, //
};
use core::ops::Range;
use kernel::prelude::*;

impl SizedBuffer {
    /// Sets the length. Returns the memory after the new end.
    ///
    /// The twin of `qsb_set_length`. Growing takes no memory: the new part is a hole. Shrinking
    /// removes the pages after the new end, and clears the rest of the last page, so that growing
    /// again shows zeros.
    ///
    /// Fails with [`EFBIG`] beyond [`MAX_LEN`]. Fails with [`ENOMEM`] if a page or nodes at the new
    /// end are shared and there is no memory for a copy. The buffer is then unchanged.
    pub fn set_len(&mut self, len: u64) -> Result<Removed> {
        if len > MAX_LEN {
            return Err(EFBIG);
        }
        let removed = match len < self.len() {
            true => {
                let removed = self.clear(len..MAX_LEN + 1)?;
                self.ahead = 0;
                removed
            }
            false => {
                self.leave_gap(len);
                self.clear_tail();
                Removed(Tree::new())
            }
        };
        self.set_end(len);
        Ok(removed)
    }

    /// Makes `range` a hole: its bytes read as zeros, and its whole pages are removed. The length
    /// stays.
    ///
    /// The pages of a larger folio are freed together, when the last of them is removed. Fails with
    /// [`ENOMEM`] if a page or nodes at the edges are shared and there is no memory for a copy. The
    /// buffer is then unchanged.
    pub fn punch(&mut self, range: Range<u64>) -> Result<Removed> {
        match range.is_empty() {
            true => Ok(Removed(Tree::new())),
            false => self.clear(range),
        }
    }

    /// Exchanges the bytes in `range` with those of `from`.
    ///
    /// With `grow`, the buffer grows to hold all of `range`. Without, the bytes of `from` after the
    /// end must be zeros. Takes O(log n) time: pages and nodes move, or are shared if `from` shares
    /// them. Bytes before and after `range` stay, also in the first and the last page. Such a page
    /// of `from` must be its own, or have zeros there.
    ///
    /// A page that has other bytes beside `range` is written in place if it is exclusive. Mappings
    /// and devices may store to these bytes meanwhile ([`stores`](super::stores)).
    ///
    /// Fails with [`EFBIG`] beyond [`MAX_LEN`]. Fails with [`ENOMEM`] if nodes at the edges are
    /// shared and there is no memory for a copy. The buffer is then unchanged.
    pub fn take_range(&mut self, range: Range<u64>, from: &mut SizedBuffer, grow: bool) -> Result {
        if range.end > MAX_LEN {
            return Err(EFBIG);
        }
        if range.is_empty() {
            return Ok(());
        }
        // The pages of `from` stay, unlike what is ahead of writes.
        self.try_remove_ahead()?;
        if range.end > self.len() {
            self.clear_tail();
        }
        let pages = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        let is_part = |index: u64| {
            let whole = index * PAGE_BYTES..(index + 1).saturating_mul(PAGE_BYTES);
            range.start > whole.start || range.end < whole.end.min(self.len())
        };
        let stays = |index: u64| is_part(index) && self.tree.find_exclusive(index).is_some();
        let (first, last) = (pages.start, pages.end.saturating_sub(1));
        let (first_stays, last_stays) = (stays(first), stays(last));
        let moved = first + u64::from(first_stays)..pages.end - u64::from(last_stays);
        from.keep_edge(self, first * PAGE_BYTES..range.start);
        from.keep_edge(self, range.end..pages.end * PAGE_BYTES);
        if !moved.is_empty() {
            self.tree.exchange(&moved, &mut from.tree)?;
            self.tree.stale.all(&moved);
        }
        if first_stays {
            self.copy_part(from, first, &range);
        }
        if last_stays && last != first {
            self.copy_part(from, last, &range);
        }
        if grow {
            self.grow_to(range.end);
        }
        Ok(())
    }

    /// Copies the bytes of `range` in the page `index` from `from`, in place.
    fn copy_part(&self, from: &SizedBuffer, index: u64, range: &Range<u64>) {
        let start = range.start.max(index * PAGE_BYTES);
        let end = range.end.min((index + 1).saturating_mul(PAGE_BYTES));
        let (offset, len) = (
            (start % PAGE_BYTES) as usize,
            end.saturating_sub(start) as usize,
        );
        if let Some(page) = self.tree.get(index) {
            match from.tree.get(index) {
                Some(new) => page.copy_from(offset, new, len),
                None => page.zero(offset, len),
            };
        }
    }

    /// Copies the bytes in `part`, a part of a page, from `other`, up to the end of that. Does
    /// nothing if this buffer has no page there.
    fn keep_edge(&self, other: &SizedBuffer, part: Range<u64>) {
        let part = part.start..part.end.min(other.len());
        let index = part.start / PAGE_BYTES;
        if part.is_empty() {
            return;
        }
        if let (Some(new), Some(old)) = (self.tree.get(index), other.tree.get(index)) {
            let len = part.end - part.start;
            new.copy_from((part.start % PAGE_BYTES) as usize, old, len as usize);
        }
    }

    /// Removes the whole pages of `range`, and zeroes the partial pages at its edges.
    ///
    /// Every step that can fail comes before the first visible change.
    fn clear(&mut self, range: Range<u64>) -> Result<Removed> {
        let whole = range.start.div_ceil(PAGE_BYTES)..range.end / PAGE_BYTES;
        // The parts of the first and of the last page to clear.
        let head = range.start..range.end.min(whole.start.saturating_mul(PAGE_BYTES));
        let tail = range.start.max(whole.end * PAGE_BYTES)..range.end;
        self.own_page_of(&head)?;
        self.own_page_of(&tail)?;
        let mut removed = Tree::new();
        if !whole.is_empty() {
            self.tree.exchange(&whole, &mut removed)?;
            self.tree.stale.all(&whole);
        }
        self.zero(head);
        self.zero(tail);
        Ok(Removed(removed))
    }

    /// Makes the page of the bytes in `part`, if it exists, this buffer's own.
    fn own_page_of(&mut self, part: &Range<u64>) -> Result {
        let index = part.start / PAGE_BYTES;
        if !part.is_empty() && self.tree.get(index).is_some() {
            self.tree
                .change(index, |mut leaf, slot| leaf.own_page(slot))??;
        }
        Ok(())
    }

    /// Zeroes the bytes in `part` of a page, if it exists. The page is this buffer's own.
    pub(super) fn zero(&self, part: Range<u64>) {
        if let Some(page) = self.tree.get(part.start / PAGE_BYTES) {
            let len = part.end.saturating_sub(part.start);
            page.zero((part.start % PAGE_BYTES) as usize, len as usize);
        }
    }

    /// The first position at or after `pos` in a page: `SEEK_DATA`.
    ///
    /// [`None`] (for `ENXIO`) if there is no page before the end.
    pub fn next_data(&self, pos: u64) -> Option<u64> {
        self.next(pos, true)
    }

    /// The first position at or after `pos` in a hole, or the end: `SEEK_HOLE`.
    ///
    /// [`None`] (for `ENXIO`) if `pos` is not before the end.
    pub fn next_hole(&self, pos: u64) -> Option<u64> {
        let end = Some(self.len()).filter(|end| pos < *end)?;
        self.next(pos, false).or(Some(end))
    }

    /// The first run of missing pages in `range`, in bytes, before or after the end. The pages at
    /// the edges of `range` count as whole.
    pub fn next_missing(&self, range: Range<u64>) -> Option<Range<u64>> {
        self.missing(range, false)
    }

    /// As [`Self::next_missing`], but the pages that mappings of holes show are not missing: a
    /// write takes these, or a copy in their place.
    pub fn next_unheld(&self, range: Range<u64>) -> Option<Range<u64>> {
        self.missing(range, true)
    }

    fn missing(&self, range: Range<u64>, shadows: bool) -> Option<Range<u64>> {
        let end = range.end.div_ceil(PAGE_BYTES);
        let find = |pages, has_page| self.tree.find_next_of(pages, has_page, shadows);
        let start = find(range.start / PAGE_BYTES..end, false)?;
        let end = find(start..end, true).unwrap_or(end);
        Some(start * PAGE_BYTES..end.saturating_mul(PAGE_BYTES))
    }

    fn next(&self, pos: u64, data: bool) -> Option<u64> {
        let pages = pos / PAGE_BYTES..self.len().div_ceil(PAGE_BYTES);
        let found = self.tree.find_next(pages, data)?;
        Some(pos.max(found * PAGE_BYTES)).filter(|found| *found < self.len())
    }
}

#[kunit_tests(qemufile_sized_buffer_sparse)]
mod tests {
    use super::*;
    use crate::sys::page::PAGE_SIZE;

    /// Three pages of data, a hole of two, and a page of data.
    fn holey() -> Result<SizedBuffer> {
        let mut buffer = SizedBuffer::new();
        for page in [0, 1, 2, 5] {
            buffer.write_at(page * PAGE_BYTES, b"x")?;
        }
        drop(buffer.set_len(6 * PAGE_BYTES)?);
        Ok(buffer)
    }

    #[test]
    fn growing_is_sparse() -> Result {
        let mut buffer = SizedBuffer::new();
        drop(buffer.set_len(MAX_LEN)?);
        assert_eq!((buffer.len(), buffer.allocated()), (MAX_LEN, 0));
        assert_eq!(buffer.set_len(MAX_LEN + 1).err(), Some(EFBIG));
        assert_eq!(buffer.len(), MAX_LEN);
        Ok(())
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() -> Result {
        let mut buffer = SizedBuffer::from_slice(b"migration")?;
        let clone = buffer.try_clone()?;
        drop(buffer.set_len(3)?);
        drop(buffer.set_len(9)?);
        let mut bytes = [0xff; 9];
        buffer.read_at(0, &mut bytes);
        assert_eq!(&bytes, b"mig\0\0\0\0\0\0");
        clone.read_at(0, &mut bytes);
        assert_eq!(&bytes, b"migration");
        drop(buffer.set_len(0)?);
        assert_eq!(buffer.allocated(), 0);
        Ok(())
    }

    #[test]
    fn a_hole_frees_whole_pages_and_clears_parts() -> Result {
        let mut buffer = holey()?;
        drop(buffer.punch(1..2 * PAGE_BYTES + 1)?);
        assert_eq!(buffer.allocated(), 3 * PAGE_BYTES);
        let mut byte = [0xff];
        assert_eq!((buffer.read_at(0, &mut byte), byte), (1, *b"x"));
        assert_eq!((buffer.read_at(2 * PAGE_BYTES, &mut byte), byte), (1, [0]));
        assert_eq!(buffer.len(), 6 * PAGE_BYTES);
        drop(buffer.punch(0..0)?);
        drop(buffer.punch(5..u64::MAX)?);
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
    fn missing_pages_are_found() -> Result {
        let mut buffer = holey()?;
        assert_eq!(buffer.next_missing(0..3 * PAGE_BYTES), None);
        let hole = 3 * PAGE_BYTES..5 * PAGE_BYTES;
        assert_eq!(buffer.next_missing(0..6 * PAGE_BYTES), Some(hole.clone()));
        assert_eq!(
            buffer.next_missing(hole.start + 5..hole.start + 6),
            Some(hole.start..hole.start + PAGE_BYTES)
        );
        // The page of a hole is held, and missing.
        buffer.page_to_map(3 * PAGE_BYTES)?;
        assert_eq!(buffer.next_missing(0..6 * PAGE_BYTES), Some(hole.clone()));
        let rest = 4 * PAGE_BYTES..hole.end;
        assert_eq!(buffer.next_unheld(0..6 * PAGE_BYTES), Some(rest));
        assert_eq!(buffer.next_unheld(0..4 * PAGE_BYTES), None);
        // After the end, too.
        drop(buffer.set_len(1)?);
        buffer.reserve(PAGE_BYTES, PAGE_BYTES)?;
        assert_eq!(buffer.next_missing(0..2 * PAGE_BYTES), None);
        assert_eq!(
            buffer.next_missing(0..3 * PAGE_BYTES),
            Some(2 * PAGE_BYTES..3 * PAGE_BYTES)
        );
        Ok(())
    }

    #[test]
    fn memory_behind_the_end_is_no_data() -> Result {
        let mut buffer = SizedBuffer::with_capacity(4 * PAGE_BYTES)?;
        assert_eq!(buffer.next_data(0), None);
        drop(buffer.set_len(1)?);
        assert_eq!(buffer.next_data(0), Some(0));
        assert_eq!(buffer.next_hole(0), Some(1));
        Ok(())
    }

    #[test]
    fn a_range_is_taken_from_another_buffer() -> Result {
        static ONES: [u8; 3 * PAGE_SIZE] = [1; 3 * PAGE_SIZE];
        static TWOS: [u8; PAGE_SIZE + 2] = [2; PAGE_SIZE + 2];
        let mut buffer = SizedBuffer::from_slice(&ONES)?;
        let mut built = SizedBuffer::new();
        built.write_at(PAGE_BYTES - 1, &TWOS)?;
        let range = PAGE_BYTES - 1..2 * PAGE_BYTES + 1;
        buffer.take_range(range, &mut built, true)?;
        let mut bytes = [0; 4];
        for (pos, expected) in [
            (0, [1, 1, 1, 1]),
            (PAGE_BYTES - 3, [1, 1, 2, 2]),
            (2 * PAGE_BYTES - 1, [2, 2, 1, 1]),
            (3 * PAGE_BYTES - 4, [1, 1, 1, 1]),
        ] {
            buffer.read_at(pos, &mut bytes);
            assert_eq!(bytes, expected);
        }
        assert_eq!(built.allocated(), 3 * PAGE_BYTES);
        Ok(())
    }

    #[test]
    fn what_has_left_its_place_is_told() -> Result {
        let mut buffer = holey()?;
        assert!(buffer.take_stale().is_empty());
        drop(buffer.punch(5..2 * PAGE_BYTES + 1)?);
        assert_eq!(buffer.take_stale(), PAGE_BYTES..2 * PAGE_BYTES);
        assert!(buffer.take_stale().is_empty());
        Ok(())
    }
}
