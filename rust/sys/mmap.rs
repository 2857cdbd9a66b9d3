// SPDX-License-Identifier: GPL-2.0

//! Mappings of a file whose pages are inserted by page faults.
//!
//! The pages are ordinary ones that belong to no page cache, so a mapping is a `VM_MIXEDMAP` one
//! that gets each page with `vm_insert_page()`.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use super::page::PageRef;
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::to_result,
    fs::File,
    mm::virt::VmaNew,
    page::PAGE_MASK,
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

    /// Maps `page` for reading. Succeeds also if another thread has mapped a page there meanwhile.
    pub(crate) fn map(&self, page: &PageRef) -> Result {
        // SAFETY: The fault is valid, and its mapping may hold ordinary pages (`make_mixed`). It
        // takes a reference to the page of its own.
        let inserted = to_result(unsafe {
            let fault = &(*self.fault).__bindgen_anon_1;
            bindings::vm_insert_page(fault.vma, fault.address & PAGE_MASK, page.as_ptr())
        });
        match inserted {
            Err(err) if err == EBUSY => Ok(()),
            other => other,
        }
    }
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
