// SPDX-License-Identifier: GPL-2.0

//! Mappings of a stream: faults, and pages that are taken out again.

use super::{
    Inner,
    Stream,
    PAGE_BYTES, //
};
use crate::sys::{
    mmap::Fault,
    page::{
        PageRef,
        MAX_REFS, //
    },
};
use core::ops::Range;
use kernel::prelude::*;

impl Stream {
    /// Maps the page of a fault: what is there now, for as long as it stays there.
    ///
    /// `ENXIO` past the end, and where the bytes have been drained; `EIO` for a hole that gets no
    /// memory, or would exceed the mount's, and for a page that is mapped too often; `ENOMEM` without memory for page tables.
    pub(crate) fn fault(&self, fault: &Fault<'_>) -> Result {
        let pos = fault.page_index().checked_mul(PAGE_BYTES).ok_or(ENXIO)?;
        // Most faults find a page, and only read.
        let view = self.read_bytes();
        view.may_map(pos)?;
        if let Some(page) = view.buffer.mapped_page(pos) {
            return map(fault, page);
        }
        drop(view);
        let mut inner = self.change_bytes();
        inner.may_map(pos)?;
        // Without memory it is a `SIGBUS`: `VM_FAULT_OOM` would have the fault tried for ever.
        if inner.buffer.mapped_page(pos).is_none() {
            inner
                .count_mapped_hole(|buffer| buffer.page_to_map(pos).map(drop))
                .or(Err(EIO))?;
        }
        map(fault, inner.buffer.mapped_page(pos).ok_or(EIO)?)
    }

    /// Takes the pages of `range` out of all mappings, before a change will do so.
    ///
    /// That takes time in proportion to what is mapped, so it is done without the lock. The change
    /// then finds only what was touched meanwhile.
    pub(super) fn unmap_ahead(&self, range: Range<u64>) {
        let inode = self.inspect().inode.clone();
        if let Some(inode) = inode {
            inode.unmap(range, false);
        }
    }
}

/// Maps `page` while a lock keeps it in its place: a change after that finds the mapping, and takes
/// it away.
fn map(fault: &Fault<'_>, page: &PageRef) -> Result {
    if page.folio().refs() >= MAX_REFS {
        return Err(EIO);
    }
    fault.map(page)
}

impl Inner {
    /// `ENXIO` if there is no byte in the page at `pos`, or none that is not drained.
    fn may_map(&self, pos: u64) -> Result {
        let drained = self.draining.position();
        if pos >= self.buffer.len() || pos.saturating_add(PAGE_BYTES) <= drained {
            return Err(ENXIO);
        }
        Ok(())
    }

    /// Takes the pages of `range` out of all mappings. `gone` says that they are no more: private
    /// copies go, too.
    pub(super) fn unmap(&self, range: Range<u64>, gone: bool) {
        if let Some(inode) = &self.inode {
            inode.unmap(range, gone);
        }
    }
}
