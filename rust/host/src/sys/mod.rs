// SPDX-License-Identifier: GPL-2.0

//! Stand-in for the driver's `sys`: the same items, made of the standard library, with accounts
//! kept and faults injected.

pub use kernel::fault;

#[path = "../../../sys/copy.rs"]
pub mod copy;
pub mod page;
pub mod shared;

pub mod alloc {
    //! Stand-in for the flags of allocations.

    pub use kernel::alloc::flags::GFP_KERNEL_ACCOUNT as GFP_STREAM;
}

pub mod sched {
    //! Stand-in for the scheduler.

    /// Lets other tasks run.
    pub fn cond_resched() {}
}
