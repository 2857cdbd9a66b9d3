// SPDX-License-Identifier: GPL-2.0

//! What a buffer shares with others: where two buffers differ, and whose the memory is.

use super::{
    tree::Search,
    SizedBuffer,
    PAGE_BYTES, //
};
use core::ops::Range;
use kernel::prelude::*;

/// The leaves that are looked at in one call: some hundred microseconds.
const LEAVES: usize = 256;

/// The next difference of two buffers.
pub enum Difference {
    /// The buffers share no page in this range of bytes. The next range may differ as well.
    Range(Range<u64>),
    /// They do not differ from here on.
    None,
    /// They do not differ before this position. The rest is for another call.
    Unknown(u64),
}

impl SizedBuffer {
    /// The first range at or after `pos` in which the two buffers do not share their pages. Two
    /// holes do not differ, and neither do a hole and the end.
    ///
    /// A call takes bounded time. Without anything changed since the two were one, or cloned from
    /// one, nothing is looked at.
    pub fn next_difference(&self, other: &Self, pos: u64) -> Difference {
        let end = self.len().max(other.len());
        let pages = pos / PAGE_BYTES..end.div_ceil(PAGE_BYTES);
        let bytes = |index: u64| index.saturating_mul(PAGE_BYTES).clamp(pos, end.max(pos));
        let start = match self.tree.compare(&other.tree, pages.clone(), true, LEAVES) {
            Search::Found(index) => index,
            Search::Nothing => return Difference::None,
            Search::Unfinished(index) => return Difference::Unknown(bytes(index)),
        };
        let after = self
            .tree
            .compare(&other.tree, start..pages.end, false, LEAVES);
        let after = match after {
            Search::Found(index) | Search::Unfinished(index) => index,
            Search::Nothing => pages.end,
        };
        match bytes(start)..bytes(after) {
            // Pages after the end.
            range if range.is_empty() => Difference::None,
            range => Difference::Range(range),
        }
    }

    /// The memory from `pos` on that only this buffer has, in bytes, and where to go on;
    /// [`None`] at the end. A call takes bounded time.
    ///
    /// See [`Self::allocated`] for all memory. The difference is what others have as well: clones,
    /// and pipes that pages were lent to.
    pub fn owned_from(&self, pos: u64) -> (u64, Option<u64>) {
        let (pages, next) = self.tree.owned_from(pos / PAGE_BYTES, LEAVES);
        let next = next.map(|index| index.saturating_mul(PAGE_BYTES));
        (pages.saturating_mul(PAGE_BYTES), next)
    }
}

#[kunit_tests(qemufile_sized_buffer_sharing)]
mod tests {
    use super::*;

    fn owned(buffer: &SizedBuffer) -> u64 {
        let (mut sum, mut next) = (0, Some(0));
        while let Some(pos) = next {
            let (bytes, after) = buffer.owned_from(pos);
            sum += bytes;
            next = after;
        }
        sum
    }

    #[test]
    fn clones_own_what_they_have_written() -> Result {
        let mut buffer = SizedBuffer::new();
        for page in 0..300 {
            buffer.write_at(page * PAGE_BYTES, b"x")?;
        }
        assert_eq!(owned(&buffer), 300 * PAGE_BYTES);
        let mut clone = buffer.try_clone()?;
        assert_eq!((owned(&buffer), owned(&clone)), (0, 0));
        clone.write_at(100 * PAGE_BYTES, b"y")?;
        clone.write_at(400 * PAGE_BYTES, b"y")?;
        assert_eq!(
            (owned(&buffer), owned(&clone)),
            (PAGE_BYTES, 2 * PAGE_BYTES)
        );
        let lent = clone.lend(400 * PAGE_BYTES)?;
        assert_eq!(owned(&clone), PAGE_BYTES);
        drop(lent);
        drop(buffer);
        assert_eq!(owned(&clone), 301 * PAGE_BYTES);
        Ok(())
    }

    #[test]
    fn differences_are_ranges_of_bytes() -> Result {
        let mut one = SizedBuffer::from_slice(&[1; 30])?;
        let other = one.try_clone()?;
        let range =
            |one: &SizedBuffer, other: &SizedBuffer, pos| match one.next_difference(other, pos) {
                Difference::Range(range) => Some(range),
                _ => None,
            };
        assert_eq!(range(&one, &other, 0), None);
        one.write_at(10, b"x")?;
        assert_eq!(range(&one, &other, 0), Some(0..30));
        assert_eq!(range(&other, &one, 7), Some(7..30));
        assert_eq!(range(&one, &other, 30), None);
        drop(one.set_len(10 * PAGE_BYTES)?);
        assert_eq!(range(&one, &other, 0), Some(0..PAGE_BYTES));
        assert_eq!(range(&one, &other, PAGE_BYTES), None);
        one.write_at(9 * PAGE_BYTES, b"x")?;
        assert_eq!(
            range(&other, &one, PAGE_BYTES),
            Some(9 * PAGE_BYTES..10 * PAGE_BYTES)
        );
        Ok(())
    }
}
