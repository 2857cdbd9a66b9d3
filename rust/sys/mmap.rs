// SPDX-License-Identifier: GPL-2.0

//! Mappings of a file whose pages are inserted by page faults.
//!
//! The pages are ordinary ones that belong to no page cache, so a mapping is a `VM_MIXEDMAP` one
//! that gets each page with `vmf_insert_page_mkwrite()`.
//!
//! A page of a shared mapping is first mapped for reading, unless the fault is a store. The table
//! of operations has `page_mkwrite`, so `vma_wants_writenotify()` keeps it so, and the first store
//! to the page faults again. `page_mkwrite` inserts the page as a fault does. It must not return 0:
//! `do_page_mkwrite()` would look for a `folio->mapping`, which these pages do not have, and retry
//! for ever. `FOLL_LONGTERM` pins for writing are refused for such a mapping
//! (`writable_file_mapping_allowed()` in `mm/gup.c`).
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use super::{
    bindings as helpers,
    page::{
        PageRef,
        PAGE_SIZE, //
    }, //
};
use core::{
    marker::PhantomData,
    ops::Range, //
};
use kernel::{
    bindings,
    error::to_result,
    fs::File,
    mm::virt::VmaNew,
    prelude::*, //
};

/// A page fault: an access to an address of a mapping without a page.
///
/// # Invariants
///
/// `fault` is valid for `'a`, and in a mapping made by [`make_mixed`].
pub(crate) struct Fault<'a> {
    fault: *mut bindings::vm_fault,
    _lifetime: PhantomData<&'a mut bindings::vm_fault>,
}

impl Fault<'_> {
    /// The index of the page in the file.
    pub(crate) fn page_index(&self) -> u64 {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.fault).__bindgen_anon_1.pgoff as u64 }
    }

    /// Whether this is a store to a shared mapping. A store to a private one asks for the page to
    /// copy.
    pub(crate) fn is_store(&self) -> bool {
        // SAFETY: Valid by the type invariant, and so is the area, which the fault's lock keeps.
        unsafe {
            let is_write = (*self.fault).flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0;
            is_write && is_shared((*self.fault).__bindgen_anon_1.vma)
        }
    }

    /// Whether the page has to be unmapped before it is mapped for writing.
    ///
    /// The kernel has mapped it for reading, and tracks the stores to it (soft-dirty,
    /// `/proc/PID/clear_refs`). `vmf_insert_page_mkwrite()` would make the entry writable without
    /// a mark that the page is dirty.
    pub(crate) fn is_tracked(&self) -> bool {
        // SAFETY: Valid by the type invariant.
        unsafe { helpers::qemufile_fault_is_tracked(self.fault) }
    }

    /// Whether the kernel holds a reference to `page` for the fault: a store to a page that was
    /// mapped for reading (`wp_page_shared()` in `mm/memory.c`).
    pub(crate) fn holds(&self, page: &PageRef) -> bool {
        // SAFETY: Valid by the type invariant. `do_wp_page()` has set the page of such a fault.
        unsafe {
            let is_mkwrite = (*self.fault).flags & bindings::fault_flag_FAULT_FLAG_MKWRITE != 0;
            is_mkwrite && core::ptr::eq((*self.fault).page, page.as_ptr())
        }
    }

    /// The indices of the pages of the file that the mapping has.
    pub(crate) fn mapped_range(&self) -> Range<u64> {
        // SAFETY: Valid by the type invariant, and so is the area, which the fault's lock keeps.
        unsafe {
            let vma = (*self.fault).__bindgen_anon_1.vma;
            let area = &(*vma).__bindgen_anon_1.__bindgen_anon_1;
            let first = (*vma).vm_pgoff as u64;
            first..first + ((area.vm_end - area.vm_start) / PAGE_SIZE) as u64
        }
    }

    /// Maps `page`, the one with the number `index` of the file, for reading. Nothing is done if
    /// there is something mapped already.
    ///
    /// `EFAULT` if it is not in the mapping; `ENOMEM` if there is no memory for page tables.
    pub(crate) fn map_beside(&self, page: &PageRef, index: u64) -> Result {
        let range = self.mapped_range();
        if !range.contains(&index) {
            return Err(EFAULT);
        }
        let offset = usize::try_from(index - range.start)? * PAGE_SIZE;
        // SAFETY: The fault is valid, and its mapping may hold ordinary pages (`make_mixed`), so the
        // area is not changed. It takes a reference to the page of its own. The address is in it.
        let result = unsafe {
            let vma = (*self.fault).__bindgen_anon_1.vma;
            let start = (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_start;
            bindings::vm_insert_page(vma, start + offset, page.as_ptr())
        };
        match to_result(result) {
            Err(err) if err != EBUSY => Err(err),
            _ => Ok(()),
        }
    }

    /// Maps `page`, for writing too if `writable`. Succeeds also if another thread has mapped the
    /// same page meanwhile. No other page may be mapped there.
    ///
    /// `ENOMEM` if there is no memory for page tables.
    pub(crate) fn map(&self, page: &PageRef, writable: bool) -> Result {
        // SAFETY: The fault is valid, and its mapping may hold ordinary pages (`make_mixed`). It
        // takes a reference to the page of its own.
        let inserted =
            unsafe { bindings::vmf_insert_page_mkwrite(self.fault, page.as_ptr(), writable) };
        match inserted {
            bindings::vm_fault_reason_VM_FAULT_NOPAGE => Ok(()),
            bindings::vm_fault_reason_VM_FAULT_OOM => Err(ENOMEM),
            _ => Err(EFAULT),
        }
    }
}

/// Whether `vma` is a shared mapping of a file that is open for writing. Its protection may forbid
/// writing now, and be changed.
///
/// # Safety
///
/// `vma` must be valid.
pub(super) unsafe fn is_shared(vma: *const bindings::vm_area_struct) -> bool {
    const SHARED: usize = bindings::VM_SHARED | bindings::VM_MAYWRITE;
    // SAFETY: By the caller's promise. The kernel clears `VM_SHARED` if the file is not writable.
    unsafe { (*vma).__bindgen_anon_2.vm_flags & SHARED == SHARED }
}

impl<'a> Fault<'a> {
    /// # Safety
    ///
    /// `fault` must be valid for the lifetime of the result, and in a mapping that [`make_mixed`]
    /// has set up.
    pub(super) unsafe fn from_raw(fault: *mut bindings::vm_fault) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            fault,
            _lifetime: PhantomData,
        }
    }
}

/// The result of a fault handler: `ENOMEM` is out of memory, any other error a `SIGBUS`.
pub(super) fn fault_result(result: Result) -> bindings::vm_fault_t {
    match result {
        Ok(()) => bindings::vm_fault_reason_VM_FAULT_NOPAGE,
        Err(err) if err == ENOMEM => bindings::vm_fault_reason_VM_FAULT_OOM,
        Err(_) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
    }
}

/// Makes `vma` a mapping of `file`, whose pages `operations` insert.
///
/// # Safety
///
/// `operations` must fit `file`.
pub(super) unsafe fn make_mixed(
    vma: &VmaNew,
    file: &File,
    operations: &'static bindings::vm_operations_struct,
) {
    vma.set_mixedmap();
    // SAFETY: The area is being set up, so all may be set; it takes a reference to the file.
    unsafe {
        (*vma.as_ptr()).vm_ops = operations;
        bindings::vma_set_file(vma.as_ptr(), file.as_ptr());
    }
}
