// SPDX-License-Identifier: GPL-2.0

//! The scheduler.
//!
//! C header: [`include/linux/sched.h`](srctree/include/linux/sched.h)

use super::bindings;

/// Lets others run if they have been waiting for the processor: for loops that can be long.
///
/// May sleep.
pub(crate) fn cond_resched() {
    // SAFETY: `cond_resched` may be called from any context that may sleep, which is the case for
    // all code of this module: it runs in system calls, holding sleeping locks at most.
    unsafe { bindings::qemufile_cond_resched() };
}

/// Whether the current task is being killed, so that it is no use to go on.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: Reads flags of the current task.
    unsafe { bindings::qemufile_fatal_signal_pending() }
}
