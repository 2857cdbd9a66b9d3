// SPDX-License-Identifier: GPL-2.0

//! Waiting for one event, with a wait that can be killed.
//!
//! The kernel crate's `Completion` has only a wait that cannot be ended, for an event that comes once.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A `struct completion`: a count of events that nobody has waited for yet.
#[pin_data]
pub(crate) struct Completion {
    #[pin]
    raw: Opaque<bindings::completion>,
}

// SAFETY: A completion may be used, and freed, by any thread.
unsafe impl Send for Completion {}
// SAFETY: All functions below may be called on several threads at once.
unsafe impl Sync for Completion {}

impl Completion {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is valid for writes and pinned.
            raw <- Opaque::ffi_init(|slot| unsafe { bindings::init_completion(slot) }),
        })
    }

    /// Tells of an event: one task that waits, or the next one, goes on. Does not sleep.
    pub(crate) fn complete(&self) {
        // SAFETY: The completion is initialised.
        unsafe { bindings::complete(self.raw.get()) };
    }

    /// Waits for an event. `EINTR` if the task is killed while it waits.
    pub(crate) fn wait_killable(&self) -> Result {
        // SAFETY: The completion is initialised.
        let waited = unsafe { bindings::wait_for_completion_killable(self.raw.get()) };
        // The same error as that of `down_write_killable()`.
        to_result(waited).map_err(|_| EINTR)
    }

    /// Takes an event if there is one. Does not sleep.
    pub(crate) fn try_wait(&self) -> bool {
        // SAFETY: The completion is initialised.
        unsafe { bindings::try_wait_for_completion(self.raw.get()) }
    }
}
