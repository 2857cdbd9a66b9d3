// SPDX-License-Identifier: GPL-2.0

//! Mappings of a stream: faults, and pages that are taken out again.

use super::{
    Inner,
    Stream,
    PAGE_BYTES, //
};
use crate::sys::{
    mmap::Fault,
    page::MAX_REFS, //
};
use core::ops::Range;
use kernel::prelude::*;

impl Stream {
    /// Maps the page of a fault: what is there now, for as long as it stays there.
    ///
    /// `ENXIO` past the end, and where the bytes have been drained; `EIO` for a hole that gets no
    /// memory, and for a page that is mapped too often; `ENOMEM` without memory for page tables.
    pub(crate) fn fault(&self, fault: &Fault<'_>) -> Result {
        let pos = fault.page_index().checked_mul(PAGE_BYTES).ok_or(ENXIO)?;
        // The lock keeps the page in its place until it is mapped; a change after that finds the
        // mapping, and takes it away.
        let mut inner = self.read_bytes();
        if pos >= inner.buffer.len() || pos.saturating_add(PAGE_BYTES) <= inner.draining.position()
        {
            return Err(ENXIO);
        }
        // Without memory it is a `SIGBUS`: `VM_FAULT_OOM` would have the fault tried for ever.
        match inner.buffer.page_to_map(pos).or(Err(EIO))? {
            page if page.folio().refs() >= MAX_REFS => Err(EIO),
            page => fault.map(page),
        }
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

impl Inner {
    /// Takes the pages of `range` out of all mappings. `gone` says that they are no more: private
    /// copies go, too.
    pub(super) fn unmap(&self, range: Range<u64>, gone: bool) {
        if let Some(inode) = &self.inode {
            inode.unmap(range, gone);
        }
    }
}
