// SPDX-License-Identifier: GPL-2.0

//! Memory cgroups: which one a folio is charged to.
//!
//! C header: [`include/linux/memcontrol.h`](srctree/include/linux/memcontrol.h)

#[cfg(CONFIG_MEMCG)]
use super::bindings as helpers;
use kernel::bindings;
#[cfg(CONFIG_MEMCG)]
use kernel::{
    current,
    sync::rcu, //
};

/// Whether a folio is charged to the memory cgroup that a new page of the current task would be
/// charged to. Pages of the root cgroup are charged to nobody.
///
/// # Safety
///
/// The caller must own a reference to `folio`.
#[cfg(CONFIG_MEMCG)]
pub(super) unsafe fn is_charged_to_current(folio: *mut bindings::folio) -> bool {
    // SAFETY: Reads a static key.
    if !unsafe { helpers::qemufile_memcg_kmem_online() } {
        return true;
    }
    let _rcu = rcu::read_lock();
    // SAFETY: The folio is valid by the caller's promise, and the RCU read lock is held, as both
    // functions require. The cgroups are compared, not used.
    unsafe {
        let mut charged = helpers::qemufile_folio_memcg(folio);
        if charged.is_null() {
            charged = bindings::root_mem_cgroup;
        }
        let current = bindings::mem_cgroup_from_task(current!().as_ptr());
        core::ptr::eq(charged, current)
    }
}

/// Without memory cgroups, pages are charged to nobody.
///
/// # Safety
///
/// As above, so that callers are the same; `folio` is not used.
#[cfg(not(CONFIG_MEMCG))]
pub(super) unsafe fn is_charged_to_current(_folio: *mut bindings::folio) -> bool {
    true
}
