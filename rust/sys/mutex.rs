// SPDX-License-Identifier: GPL-2.0

//! A mutex whose wait a fatal signal ends.
//!
//! The kernel crate's `Mutex` waits in `mutex_lock()`, which no signal ends.
//!
//! C header: [`include/linux/mutex.h`](srctree/include/linux/mutex.h)

use super::bindings as helpers;
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::LockClassKey,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

/// A `struct mutex` that holds no data.
#[pin_data]
pub(crate) struct KillableMutex {
    #[pin]
    raw: Opaque<bindings::mutex>,
}

// SAFETY: A mutex may be used, and freed, by any thread.
unsafe impl Send for KillableMutex {}
// SAFETY: As above.
unsafe impl Sync for KillableMutex {}

/// Holds a [`KillableMutex`] until it is dropped.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct KillableGuard<'a> {
    mutex: &'a KillableMutex,
    // The task that locks a mutex has to unlock it.
    _not_send: PhantomData<NotThreadSafe>,
}

impl KillableMutex {
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::ffi_init(|slot| {
                let name = kernel::str::as_char_ptr_in_const_context(name);
                // SAFETY: `slot` is valid for writes and pinned, `name` and `key` are static.
                unsafe { bindings::__mutex_init(slot, name, key.as_ptr()) };
            }),
        })
    }

    /// Locks the mutex. `EINTR` if the task is killed while it waits.
    pub(crate) fn lock(&self) -> Result<KillableGuard<'_>> {
        // SAFETY: The mutex is initialised.
        to_result(unsafe { helpers::qemufile_mutex_lock_killable(self.raw.get()) })?;
        Ok(self.guard())
    }

    /// Locks the mutex if it is free.
    pub(crate) fn try_lock(&self) -> Option<KillableGuard<'_>> {
        // SAFETY: The mutex is initialised.
        let taken = unsafe { bindings::mutex_trylock(self.raw.get()) };
        (taken != 0).then(|| self.guard())
    }

    fn guard(&self) -> KillableGuard<'_> {
        KillableGuard {
            mutex: self,
            _not_send: PhantomData,
        }
    }
}

impl Drop for KillableGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: This task has locked the mutex: a guard exists only where that is so.
        unsafe { bindings::mutex_unlock(self.mutex.raw.get()) };
    }
}

/// An initialiser for a [`KillableMutex`] with a lock class of its own.
macro_rules! new_killable_mutex {
    ($name:literal) => {
        $crate::sys::mutex::KillableMutex::new(
            kernel::optional_name!($name),
            kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_killable_mutex;
