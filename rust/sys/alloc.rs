// SPDX-License-Identifier: GPL-2.0

//! Memory that a stream keeps on behalf of a caller.
//!
//! C header: [`include/linux/gfp_types.h`](srctree/include/linux/gfp_types.h)

use super::bindings as helpers;
use kernel::alloc::Flags;

/// Charged to the caller's memory cgroup. Reclaims, and fails instead of calling the OOM killer.
///
/// The kernel crate has no `__GFP_RETRY_MAYFAIL`. Without it the page allocator and the memory
/// controller (`try_charge_memcg()` in `mm/memcontrol.c`) call the OOM killer where a stream
/// promises `ENOMEM`.
// SAFETY: `Flags` is a struct with one field, a `u32` of `__GFP_` bits, any of which it may have.
// It is as large as that, which `transmute` checks, so the field is all of it.
pub(crate) const GFP_STREAM: Flags =
    unsafe { core::mem::transmute::<u32, Flags>(helpers::QEMUFILE_GFP_STREAM) };
