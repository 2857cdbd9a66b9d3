// SPDX-License-Identifier: GPL-2.0

//! Mappings of a file whose pages are found when they are touched.
//!
//! The pages are ordinary ones that belong to no page cache, so a mapping is a `VM_MIXEDMAP` one
//! that gets each page with `vm_insert_page()`.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use super::{
    bindings as helpers,
    page::PageRef, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::to_result,
    fs::File,
    prelude::*, //
};

/// A place in a mapping that was touched and has no page.
///
/// # Invariants
///
/// `fault` is valid for `'a`, and in a mapping made by [`NewMapping::make_mixed`].
pub(crate) struct Fault<'a> {
    fault: *mut bindings::vm_fault,
    _lifetime: PhantomData<&'a mut bindings::vm_fault>,
}

impl Fault<'_> {
    /// The file's page that is wanted, by its number.
    pub(crate) fn page_index(&self) -> u64 {
        // SAFETY: Valid by the type invariant.
        unsafe { helpers::qemufile_fault_pgoff(self.fault) }
    }

    /// Maps `page` for reading.
    pub(crate) fn map(&self, page: &PageRef) -> Result {
        // SAFETY: The fault is valid; the mapping takes a reference to the page of its own.
        to_result(unsafe { helpers::qemufile_fault_insert(self.fault, page.as_ptr()) })
    }
}

impl<'a> Fault<'a> {
    /// # Safety
    ///
    /// `fault` must be valid for the lifetime of the result, and in a mapping that `make_mixed`
    /// has set up.
    pub(super) unsafe fn from_raw(fault: *mut bindings::vm_fault) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            fault,
            _lifetime: PhantomData,
        }
    }
}

/// What a fault handler returns: out of memory, or whatever else the matter is as a `SIGBUS`.
pub(super) fn fault_result(result: Result) -> bindings::vm_fault_t {
    match result {
        Ok(()) => bindings::vm_fault_reason_VM_FAULT_NOPAGE,
        Err(err) if err == ENOMEM => bindings::vm_fault_reason_VM_FAULT_OOM,
        Err(_) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
    }
}

/// A mapping that is being made.
///
/// # Invariants
///
/// `vma` is valid for `'a` and is being set up.
pub(crate) struct NewMapping<'a> {
    vma: *mut bindings::vm_area_struct,
    _lifetime: PhantomData<&'a mut bindings::vm_area_struct>,
}

impl NewMapping<'_> {
    /// # Safety
    ///
    /// `vma` must be valid, and being set up, for the lifetime of the result.
    pub(super) unsafe fn from_raw(vma: *mut bindings::vm_area_struct) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            vma,
            _lifetime: PhantomData,
        }
    }

    /// Makes it a mapping of pages that `operations` find in `file`.
    ///
    /// `EACCES` for a shared mapping that may be written, `EPERM` for one of code.
    ///
    /// # Safety
    ///
    /// `operations` must fit `file`.
    pub(super) unsafe fn make_mixed(
        &self,
        file: &File,
        operations: &'static bindings::vm_operations_struct,
    ) -> Result {
        // SAFETY: The area is being set up, so all may be set; it takes a reference to the file.
        unsafe {
            to_result(helpers::qemufile_vma_make_mixed(self.vma, operations))?;
            bindings::vma_set_file(self.vma, file.as_ptr());
        }
        Ok(())
    }
}
