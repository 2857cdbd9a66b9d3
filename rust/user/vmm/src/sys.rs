// SPDX-License-Identifier: GPL-2.0

//! The one call that needs `unsafe`.

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{GuestMemory, GuestMemoryMmap, GuestMemoryRegion};

/// Gives a virtual machine its memory. The memory has to outlive the virtual machine.
pub(crate) fn set_memory(vm: &VmFd, memory: &GuestMemoryMmap) -> super::Result<()> {
    for (slot, region) in (0..).zip(memory.iter()) {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: memory.get_host_address(region.start_addr())? as u64,
        };
        // SAFETY: the region is mapped as long as `memory` is, which the caller drops after the
        // virtual machine. Only this process's guest and volatile accesses of `vm-memory` use it.
        unsafe { vm.set_user_memory_region(region) }?;
    }
    Ok(())
}
