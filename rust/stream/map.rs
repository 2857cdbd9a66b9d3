// SPDX-License-Identifier: GPL-2.0

//! Mappings of a stream: faults and unmapping.

use super::{
    Inner,
    Property,
    Stream,
    PAGE_BYTES, //
};
use crate::{
    sized_buffer::MAX_LEN,
    sys::{
        mmap::Fault,
        page::{
            PageRef,
            MAX_REFS, //
        },
    }, //
};
use core::ops::Range;
use kernel::prelude::*;

/// How many pages are mapped at a fault, the one that is wanted among them: 64 KiB, as the kernel has
/// it for files (`fault_around_pages` in `mm/memory.c`).
///
/// Measured: see "Faults" in `Documentation/develop/design.rst`.
const AROUND: u64 = 16;

impl Stream {
    /// Maps the current page at the position of a fault.
    ///
    /// `ENXIO` past the end and for drained bytes; `EIO` for a page that has to be made and cannot,
    /// for lack of memory or for the mount's or the user's limit, and for a page with too many
    /// mappings; `ENOMEM` without memory for page tables.
    pub(crate) fn fault(&self, fault: &Fault<'_>) -> Result {
        let pos = fault.page_index().checked_mul(PAGE_BYTES).ok_or(ENXIO)?;
        if fault.is_store() {
            return self.fault_to_store(fault, pos);
        }
        // Most faults find a page, and need only the read side.
        let view = self.read_bytes();
        view.may_map(pos)?;
        if let Some(page) = view.buffer.mapped_page(pos) {
            map(fault, page, false)?;
            view.map_around(fault);
            return Ok(());
        }
        drop(view);
        let mut inner = self.change_bytes();
        inner.may_map(pos)?;
        // Without memory the result is `SIGBUS`: `VM_FAULT_OOM` would retry the fault for ever.
        if inner.buffer.mapped_page(pos).is_none() {
            let is_counted = inner.is_file;
            inner
                .count_page(is_counted, |buffer| buffer.page_to_map(pos).map(drop))
                .or(Err(EIO))?;
        }
        map(fault, inner.buffer.mapped_page(pos).ok_or(EIO)?, false)
    }

    /// Makes the page at `pos` one that the mapping may write to, and maps it.
    ///
    /// The write side excludes all who clone, lend or replace the page: whoever maps it for writing
    /// finds it exclusive, and stays excluded until it is.
    fn fault_to_store(&self, fault: &Fault<'_>, pos: u64) -> Result {
        let mut inner = self.change_bytes();
        inner.may_map(pos)?;
        // Mappings for reading have references, too, and the kernel has one to a page that was mapped.
        // These would look like another holder's.
        let page = inner.buffer.mapped_page(pos);
        let is_mapped = page.is_some_and(|page| page.folio().is_mapped());
        let held = usize::from(page.is_some_and(|page| fault.holds(page)));
        if is_mapped && (!inner.buffer.is_exclusive(pos) || fault.is_tracked()) {
            inner.unmap(pos..pos + PAGE_BYTES, false);
        }
        let is_new = match inner.is_file {
            true => inner.buffer.mapped_page(pos).is_none(),
            false => inner.buffer.next_missing(pos..pos + 1).is_some(),
        };
        inner
            .count_page(is_new, |buffer| buffer.page_to_write(pos, held).map(drop))
            .or(Err(EIO))?;
        inner.publish();
        map(fault, inner.buffer.mapped_page(pos).ok_or(EIO)?, true)
    }

    /// Adds a shared mapping that may be written to.
    ///
    /// `EPERM` if the stream is sealed; `EACCES` if it is append-only or drained.
    pub(crate) fn add_mapping(&self) -> Result {
        let mut inner = self.change_rules();
        if inner.is(Property::Sealed) {
            return Err(EPERM);
        }
        if inner.is(Property::AppendOnly) || inner.is(Property::Drain) {
            return Err(EACCES);
        }
        inner.mappings += 1;
        Ok(())
    }

    /// Adds a part or a copy of a mapping that was added before.
    pub(crate) fn mapping_added(&self) {
        self.change_rules().mappings += 1;
    }

    /// Removes a mapping that was added.
    pub(crate) fn remove_mapping(&self) {
        self.change_rules().mappings -= 1;
    }

    /// Unmaps all pages, ahead of [`Inner::stop_stores`].
    ///
    /// Not even the read side is held: a task that stores takes the write side, and all others
    /// would wait behind it.
    pub(super) fn stop_stores_ahead(&self) {
        if self.inspect().buffer.has_stores() {
            self.unmap_ahead(0..MAX_LEN);
        }
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
fn map(fault: &Fault<'_>, page: &PageRef, writable: bool) -> Result {
    if page.folio().refs() >= MAX_REFS {
        return Err(EIO);
    }
    fault.map(page, writable)
}

impl Inner {
    /// Maps for reading what there is around the page of a fault, as `filemap_map_pages()` does. The
    /// next accesses need no fault then.
    ///
    /// A page is not worth an error: its own fault finds out.
    fn map_around(&self, fault: &Fault<'_>) {
        let first = fault.page_index() / AROUND * AROUND;
        for index in first..first + AROUND {
            let pos = index.saturating_mul(PAGE_BYTES);
            if index == fault.page_index() || self.may_map(pos).is_err() {
                continue;
            }
            if let Some(page) = self.buffer.mapped_page(pos) {
                if page.folio().refs() < MAX_REFS {
                    let _ = fault.map_beside(page, index);
                }
            }
        }
    }

    /// `ENXIO` if the page at `pos` is past the end, or if all of its bytes are drained.
    fn may_map(&self, pos: u64) -> Result {
        let drained = self.draining.position();
        if pos >= self.buffer.len() || pos.saturating_add(PAGE_BYTES) <= drained {
            return Err(ENXIO);
        }
        Ok(())
    }

    /// Removes all mappings, if pages may be mapped for writing: the cut of a clone. Afterwards no
    /// page has a reference of a mapping, so [`SizedBuffer::is_busy`] is exact.
    ///
    /// [`SizedBuffer::is_busy`]: crate::sized_buffer::SizedBuffer::is_busy
    pub(super) fn stop_stores(&self) {
        if self.buffer.has_stores() {
            self.unmap(0..MAX_LEN, false);
        }
    }

    /// Unmaps the pages of `range`. `gone` says that the bytes no longer exist: private copies go
    /// too.
    pub(super) fn unmap(&self, range: Range<u64>, gone: bool) {
        if let Some(inode) = &self.inode {
            inode.unmap(range, gone);
        }
    }
}
