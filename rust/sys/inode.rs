// SPDX-License-Identifier: GPL-2.0

//! References to inodes, and updates of the VFS's fields of one.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/mm.h`](srctree/include/linux/mm.h)

use super::{
    bindings as helpers,
    page::PAGE_SIZE, //
};
use core::{
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    fs::File, //
};

/// A counted reference to an inode.
///
/// # Invariants
///
/// Owns a reference to a valid inode.
pub(crate) struct InodeRef(NonNull<bindings::inode>);

// SAFETY: Inodes are referenced from, and freed on, any thread.
unsafe impl Send for InodeRef {}
// SAFETY: As above.
unsafe impl Sync for InodeRef {}

impl InodeRef {
    /// # Safety
    ///
    /// The caller must own a reference to the inode, which is the result's from then on.
    pub(super) unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Self {
        // INVARIANT: By the caller's promise.
        Self(inode)
    }

    /// Another reference to a valid inode.
    ///
    /// # Safety
    ///
    /// A reference must be held during this call.
    pub(super) unsafe fn of_raw(inode: *mut bindings::inode) -> Self {
        // SAFETY: By the caller's promise.
        unsafe {
            bindings::ihold(inode);
            // INVARIANT: The reference just taken.
            Self(NonNull::new_unchecked(inode))
        }
    }

    /// Gives up the reference without dropping it.
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        core::mem::ManuallyDrop::new(self).as_ptr()
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::inode {
        self.0.as_ptr()
    }

    /// The inode of an open file.
    pub(crate) fn of(file: &File) -> Self {
        // SAFETY: An open file has an inode, and keeps it.
        unsafe { Self::of_raw((*file.as_ptr()).f_inode) }
    }

    /// Sets the times of modification and change to now.
    pub(crate) fn changed(&self) {
        // SAFETY: The inode is valid.
        unsafe { helpers::qemufile_inode_changed(self.0.as_ptr()) };
    }

    /// Sets `i_size`. Calls must not overlap.
    pub(crate) fn set_size(&self, size: i64) {
        // SAFETY: The inode is valid.
        unsafe { helpers::qemufile_i_size_write(self.0.as_ptr(), size) };
    }

    /// Whether the file is mapped.
    pub(crate) fn is_mapped(&self) -> bool {
        // SAFETY: The inode is valid, and so is its mapping.
        unsafe { helpers::qemufile_mapping_mapped((*self.as_ptr()).i_mapping) }
    }

    /// Removes the pages of the bytes in `range` from all mappings of the file. The next access to
    /// one faults.
    ///
    /// `gone`: the bytes were truncated, so private copies of the pages are removed, too.
    pub(crate) fn unmap(&self, range: Range<u64>, gone: bool) {
        if range.is_empty() {
            return;
        }
        let first = range.start / PAGE_SIZE as u64;
        let pages = range.end.div_ceil(PAGE_SIZE as u64) - first;
        // The numbers of pages of a file fit: a 64-bit kernel's `pgoff_t` has 64 bits.
        let (first, pages) = (first as usize, pages as usize);
        // SAFETY: The inode is valid, and so is its mapping.
        unsafe {
            let mapping = (*self.as_ptr()).i_mapping;
            if helpers::qemufile_mapping_mapped(mapping) {
                bindings::unmap_mapping_pages(mapping, first, pages, gone);
            }
        }
    }
}

impl Clone for InodeRef {
    fn clone(&self) -> Self {
        // SAFETY: The inode is valid, and we own a reference.
        unsafe { bindings::ihold(self.0.as_ptr()) };
        // INVARIANT: The reference just taken.
        Self(self.0)
    }
}

impl Drop for InodeRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own a reference.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}
