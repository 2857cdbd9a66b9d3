// SPDX-License-Identifier: GPL-2.0

//! Mappings of a stream: faults and unmapping.

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
    /// Maps the current page at the position of a fault.
    ///
    /// `ENXIO` past the end and for drained bytes; `EIO` for a hole without memory for a page, or
    /// beyond the mount's limit, and for a page with too many mappings; `ENOMEM` without memory for
    /// page tables.
    pub(crate) fn fault(&self, fault: &Fault<'_>) -> Result {
        let pos = fault.page_index().checked_mul(PAGE_BYTES).ok_or(ENXIO)?;
        // Most faults find a page, and need only the read side.
        let view = self.read_bytes();
        view.may_map(pos)?;
        if let Some(page) = view.buffer.mapped_page(pos) {
            return map(fault, page);
        }
        drop(view);
        let mut inner = self.change_bytes();
        inner.may_map(pos)?;
        // Without memory the result is `SIGBUS`: `VM_FAULT_OOM` would retry the fault for ever.
        if inner.buffer.mapped_page(pos).is_none() {
            inner
                .count_mapped_hole(|buffer| buffer.page_to_map(pos).map(drop))
                .or(Err(EIO))?;
        }
        map(fault, inner.buffer.mapped_page(pos).ok_or(EIO)?)
    }

    /// Unmaps the pages of `range`, ahead of a change that unmaps them.
    ///
    /// Unmapping takes time proportional to the mapped pages, so it is done without the lock. The
    /// change then finds only pages that were touched meanwhile.
    pub(super) fn unmap_ahead(&self, range: Range<u64>) {
        let inode = self.inspect().inode.clone();
        if let Some(inode) = inode {
            inode.unmap(range, false);
        }
    }
}

/// Maps `page`. The caller's lock keeps the page in place, so a later change finds the mapping and
/// removes it.
fn map(fault: &Fault<'_>, page: &PageRef) -> Result {
    if page.folio().refs() >= MAX_REFS {
        return Err(EIO);
    }
    fault.map(page)
}

impl Inner {
    /// `ENXIO` if the page at `pos` is past the end, or if all of its bytes are drained.
    fn may_map(&self, pos: u64) -> Result {
        let drained = self.draining.position();
        if pos >= self.buffer.len() || pos.saturating_add(PAGE_BYTES) <= drained {
            return Err(ENXIO);
        }
        Ok(())
    }

    /// Unmaps the pages of `range`. `gone` says that the bytes no longer exist: private copies go
    /// too.
    pub(super) fn unmap(&self, range: Range<u64>, gone: bool) {
        if let Some(inode) = &self.inode {
            inode.unmap(range, gone);
        }
    }
}
