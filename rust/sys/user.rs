// SPDX-License-Identifier: GPL-2.0

//! Users, and a table of them.
//!
//! C headers: [`include/linux/cred.h`](srctree/include/linux/cred.h),
//! [`include/linux/capability.h`](srctree/include/linux/capability.h)

use super::bindings;
use core::cell::UnsafeCell;

/// The number of the user that the current task acts for with files (`fsuid`), in the initial user
/// namespace.
pub(crate) fn current_user() -> u32 {
    // SAFETY: Reads the current task's own credentials.
    unsafe { bindings::qemufile_current_user() }
}

/// Whether the current task may go beyond limits on resources: `CAP_SYS_RESOURCE` in the initial
/// user namespace.
pub(crate) fn current_is_unlimited() -> bool {
    // SAFETY: Reads the current task's own credentials.
    unsafe { bindings::qemufile_current_is_unlimited() }
}

/// A value in a static, which one task uses at a time.
///
/// All values of this kind share one lock, which nothing else is locked under.
pub(crate) struct UserTable<T>(UnsafeCell<T>);

// SAFETY: `with` gives the value to one task at a time.
unsafe impl<T: Send> Sync for UserTable<T> {}

impl<T> UserTable<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Waits until no other task uses a value, and calls `f` with this one. `f` must not do so
    /// again: it would wait for itself.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: The mutex is initialised at compile time; module code runs where it may sleep.
        unsafe { bindings::qemufile_lock_users() };
        // SAFETY: The mutex is held, here and nowhere else, while the reference lives. A second call
        // from within `f` would not get past the lock.
        let result = f(unsafe { &mut *self.0.get() });
        // SAFETY: Locked above.
        unsafe { bindings::qemufile_unlock_users() };
        result
    }
}
