// SPDX-License-Identifier: GPL-2.0

//! The scheduler.
//!
//! C header: [`include/linux/sched.h`](srctree/include/linux/sched.h)

use super::bindings as helpers;
use kernel::{
    bindings,
    current, //
};

/// Yields the processor if the scheduler needs it: for long loops.
///
/// May sleep.
pub(crate) fn cond_resched() {
    // SAFETY: `cond_resched` may be called from any context that may sleep, which is the case for
    // all code of this module: it runs in system calls, holding sleeping locks at most.
    unsafe { helpers::qemufile_cond_resched() };
}

/// Whether the current task is being killed.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: Reads flags of the current task.
    unsafe { helpers::qemufile_fatal_signal_pending() }
}

/// Whether the current task is a user task in its own system call, not a kernel thread or a worker
/// of io_uring.
pub(crate) fn is_user_task() -> bool {
    // SAFETY: The task is valid, and these flags of the current task do not change.
    let flags = unsafe { (*current!().as_ptr()).flags };
    flags & (bindings::PF_KTHREAD | bindings::PF_USER_WORKER | bindings::PF_IO_WORKER) == 0
}
