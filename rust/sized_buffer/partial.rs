// SPDX-License-Identifier: GPL-2.0

//! Folios of which only some pages are in use.
//!
//! The pages of a folio are freed together. So a buffer that gives up all but one page of a run would
//! still hold the memory of all, and count one page.

use super::{
    node::Leaf,
    tree::LeafMut,
    SizedBuffer,
    PAGE_BYTES, //
};
use crate::sys::page::{
    PageRef,
    PAGE_SIZE, //
};
use core::ops::Range;
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

impl SizedBuffer {
    /// Moves what is left of the folios at the edges of `range`, which was removed from the buffer and
    /// freed, to pages of their own: at most 15 at an edge. The folios are then free.
    ///
    /// Those stay that others know or that are mapped, all while mappings may write to pages, and all for
    /// which there is no memory.
    pub fn tighten(&mut self, range: Range<u64>) {
        for pos in [range.start.wrapping_sub(1), range.end] {
            let index = pos / PAGE_BYTES;
            let found = self.tree.find_exclusive(index);
            let is_partial = found.is_some_and(|(leaf, slot)| leaf.is_partial(slot));
            if is_partial && !self.stores {
                let _ = self.tree.change(index, |mut leaf, slot| leaf.tighten(slot));
            }
        }
    }
}

impl Leaf {
    /// Whether the leaf has the page in `slot`, and not all pages of its folio; and no others know
    /// these.
    fn is_partial(&self, slot: usize) -> bool {
        let Some(page) = self.get(slot) else {
            return false;
        };
        let folio = page.folio();
        let (pages, held) = (folio.pages(), self.slots_of_folio(slot));
        let count = held.count_ones() as usize;
        1 < pages && count < pages && folio.refs() == count && held & !self.marks() == 0
    }
}

impl LeafMut<'_> {
    /// Replaces the pages of the folio of the page in `slot` by copies.
    fn tighten(&mut self, slot: usize) -> Result<(), AllocError> {
        let mut held = self.slots_of_folio(slot);
        while held != 0 {
            let slot = held.trailing_zeros() as usize;
            held &= held - 1;
            let copy = PageRef::alloc_run(0)?.next().ok_or(AllocError)?;
            if let Some(page) = self.get(slot) {
                copy.copy_from(0, page, PAGE_SIZE);
                self.put_new(slot, copy);
            }
        }
        Ok(())
    }
}

#[kunit_tests(qemufile_sized_buffer_partial)]
mod tests {
    use super::{
        super::write::tests::{
            byte_at,
            PAGES, //
        },
        *, //
    };

    const RUN: u64 = SizedBuffer::RUN_BYTES;

    fn folio_of(buffer: &SizedBuffer, pos: u64) -> usize {
        let page = buffer.mapped_page(pos);
        page.map_or(0, |page| page.folio().pages())
    }

    #[test]
    fn what_is_left_of_a_run_is_moved() -> Result {
        let mut buffer = SizedBuffer::from_slice(&PAGES)?;
        let range = PAGE_BYTES..RUN - 2 * PAGE_BYTES;
        drop(buffer.punch(range.clone())?);
        assert_eq!(folio_of(&buffer, 0), 16);
        buffer.tighten(range);
        for pos in [0, RUN - 2 * PAGE_BYTES, RUN - PAGE_BYTES] {
            assert_eq!(
                (folio_of(&buffer, pos), byte_at(&buffer, pos)),
                (1, Some(7))
            );
            assert!(buffer.is_exclusive(pos));
        }
        assert!(buffer.is_exclusive(RUN));
        assert_eq!(buffer.allocated(), 7 * PAGE_BYTES);
        Ok(())
    }

    #[test]
    fn whole_runs_and_what_others_know_stay() -> Result {
        let mut buffer = SizedBuffer::from_slice(&PAGES)?;
        buffer.tighten(RUN..RUN);
        assert_eq!(folio_of(&buffer, 0), 16);
        let lent = buffer.lend(0)?;
        drop(buffer.punch(PAGE_BYTES..RUN)?);
        buffer.tighten(PAGE_BYTES..RUN);
        assert_eq!(folio_of(&buffer, 0), 16);
        drop(lent);
        // As somebody has it who reached it through a mapping, and must see later writes.
        let mut buffer = SizedBuffer::from_slice(&PAGES)?;
        let pinned = buffer.mapped_page(0).ok_or(EINVAL)?.try_clone()?;
        drop(buffer.punch(PAGE_BYTES..RUN)?);
        buffer.tighten(PAGE_BYTES..RUN);
        assert!(buffer.mapped_page(0).is_some_and(|page| page.is(&pinned)));
        drop(pinned);
        let clone = buffer.try_clone()?;
        drop(buffer.punch(RUN..RUN + PAGE_BYTES)?);
        buffer.tighten(RUN..RUN + PAGE_BYTES);
        assert_eq!(clone.allocated(), 5 * PAGE_BYTES);
        assert_eq!(byte_at(&buffer, RUN + PAGE_BYTES), Some(7));
        Ok(())
    }
}
