// SPDX-License-Identifier: GPL-2.0

//! Memory that a stream keeps on behalf of a caller.
//!
//! The kernel crate's [`Flags`] have no `__GFP_RETRY_MAYFAIL`. Without it the page allocator and
//! the memory controller call the OOM killer (`mem_cgroup_oom()` in `mm/memcontrol.c`) where a
//! stream promises `ENOMEM`.
//!
//! C header: [`include/linux/slab.h`](srctree/include/linux/slab.h)

use super::bindings as helpers;
use core::{
    alloc::Layout,
    ptr::NonNull, //
};
use kernel::{
    alloc::{
        AllocError,
        Allocator,
        Flags,
        NumaNode, //
    },
    bindings,
    ffi::c_void,
    prelude::*, //
};

/// `kmalloc()` that is charged to the caller's memory cgroup, reclaims, and fails rather than have
/// the OOM killer choose a victim.
///
/// The flags of a call are not looked at: these are always the right ones.
pub(crate) struct MayFail;

// SAFETY: All three guarantees are those of `krealloc_node_align()`, which every call ends in, and
// which the kernel crate's `Kmalloc` relies on for the same.
unsafe impl Allocator for MayFail {
    const MIN_ALIGN: usize = bindings::ARCH_KMALLOC_MINALIGN;

    unsafe fn realloc(
        ptr: Option<NonNull<u8>>,
        layout: Layout,
        old_layout: Layout,
        _flags: Flags,
        nid: NumaNode,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let _ = nid;
        let old: *const c_void = match ptr {
            Some(ptr) if old_layout.size() != 0 => ptr.as_ptr().cast(),
            _ => core::ptr::null(),
        };
        // `kmalloc()` aligns an object to its size if that is a multiple of the alignment.
        let size = layout.pad_to_align().size();
        // SAFETY: `old` is null or an allocation of this function, by the caller's promise.
        let new = unsafe {
            bindings::krealloc_node_align(
                old,
                size,
                layout.align(),
                helpers::QEMUFILE_GFP_NODE,
                bindings::NUMA_NO_NODE,
            )
        };
        let new = if size == 0 {
            // The C function has freed `old`, if there was one.
            NonNull::new(core::ptr::without_provenance_mut(layout.align()))
        } else {
            NonNull::new(new.cast())
        };
        Ok(NonNull::slice_from_raw_parts(new.ok_or(AllocError)?, size))
    }
}
