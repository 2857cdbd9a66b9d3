// SPDX-License-Identifier: GPL-2.0

//! Users, and a table of them.
//!
//! C headers: [`include/linux/cred.h`](srctree/include/linux/cred.h),
//! [`include/linux/capability.h`](srctree/include/linux/capability.h)

use super::bindings as helpers;
use core::cell::UnsafeCell;
use kernel::{
    bindings,
    ffi::c_int,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        global_lock, //
    },
};

/// The `fsuid` of the current task, in the initial user namespace.
pub(crate) fn current_user() -> u32 {
    // SAFETY: Reads the current task's own credentials; the namespace is static.
    unsafe {
        bindings::from_kuid(
            &raw mut bindings::init_user_ns,
            helpers::qemufile_current_fsuid(),
        )
    }
}

/// Whether the current task has `CAP_SYS_RESOURCE` in the initial user namespace, and so may exceed
/// limits on resources. The check is not audited.
pub(crate) fn current_is_unlimited() -> bool {
    // SAFETY: Reads the current task's own credentials; the namespace is static.
    unsafe {
        bindings::ns_capable_noaudit(
            &raw mut bindings::init_user_ns,
            bindings::CAP_SYS_RESOURCE as c_int,
        )
    }
}

global_lock! {
    // SAFETY: `UserTable::with` is the only user. It locks only when `LOCK_STATE` is `READY`, which
    // `init` stores after it has initialised the lock.
    unsafe(uninit) static LOCK: Mutex<()> = ();
}

/// How far `LOCK` is initialised: `NEW`, `STARTED`, `READY`.
static LOCK_STATE: Atomic<i32> = Atomic::new(NEW);
const NEW: i32 = 0;
const STARTED: i32 = 1;
const READY: i32 = 2;

/// Makes all [`UserTable`]s usable, when the module is loaded. Further calls do nothing.
pub(crate) fn init() {
    if LOCK_STATE.cmpxchg(NEW, STARTED, Relaxed).is_ok() {
        // SAFETY: Called once: the state is never `NEW` again.
        unsafe { LOCK.init() };
        LOCK_STATE.store(READY, Release);
    }
}

/// A static value under a lock.
///
/// All tables share the lock. No other lock is taken under it.
pub(crate) struct UserTable<T>(UnsafeCell<T>);

// SAFETY: `with` gives the value to one task at a time.
unsafe impl<T: Send> Sync for UserTable<T> {}

impl<T> UserTable<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Calls `f` with the value, under the lock. `f` must not call `with`: that would deadlock.
    ///
    /// `ENODEV` before [`init`].
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R> {
        // Pairs with the `Release` of `init`.
        if LOCK_STATE.load(Acquire) != READY {
            return Err(ENODEV);
        }
        let _guard = LOCK.lock();
        // SAFETY: The lock is held, here and nowhere else, while the reference lives. A second call
        // from within `f` does not get past the lock.
        Ok(f(unsafe { &mut *self.0.get() }))
    }
}
