// SPDX-License-Identifier: GPL-2.0

//! A lock that many tasks hold to read, or one task to write.
//!
//! The kernel crate has no reader-writer lock, and its [`Lock`] gives each holder a `&mut T`. So
//! [`RwSemaphore`] has guards of its own. A reader can sleep on a [`CondVar`], which gives up the
//! read side and takes it again.
//!
//! Fairness is the semaphore's: a writer that has waited for a few milliseconds stops new readers
//! (`RWSEM_FLAG_HANDOFF`), so readers that come and go do not keep it out.
//!
//! C header: [`include/linux/rwsem.h`](srctree/include/linux/rwsem.h)
//!
//! [`Lock`]: kernel::sync::lock::Lock

use super::bindings as helpers;
#[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
use core::marker::PhantomData;
use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop,
    ops::{
        Deref,
        DerefMut, //
    },
};
use kernel::{
    bindings,
    error::to_result,
    ffi::c_char,
    prelude::*,
    sync::{
        lock::{
            Backend,
            Guard,
            Lock, //
        },
        CondVar,
        CondVarTimeoutResult,
        LockClassKey, //
    },
    time::Jiffies,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

/// How often a reader tries before it sleeps: some ten microseconds.
const SPINS: u32 = 400;

/// A `struct rw_semaphore`, and what it protects.
#[pin_data]
pub(crate) struct RwSemaphore<T> {
    #[pin]
    raw: Opaque<bindings::rw_semaphore>,
    data: UnsafeCell<T>,
}

// SAFETY: A semaphore may be used, and freed, by any thread. The data goes with it.
unsafe impl<T: Send> Send for RwSemaphore<T> {}
// SAFETY: Readers on several threads share the data, which `T: Sync` allows. A writer has a `&mut
// T` on its own thread, which `T: Send` allows.
unsafe impl<T: Send + Sync> Sync for RwSemaphore<T> {}

/// The read side, held until this is dropped.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct ReadGuard<'a, T> {
    semaphore: &'a RwSemaphore<T>,
    // lockdep wants the task that takes the lock to release it.
    _not_send: NotThreadSafe,
}

/// The write side, held until this is dropped.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct WriteGuard<'a, T> {
    semaphore: &'a RwSemaphore<T>,
    // As for `ReadGuard`.
    _not_send: NotThreadSafe,
}

/// A lock of another kind that lockdep takes for the read side: see [`RwSemaphore::note_read`].
#[must_use = "lockdep takes it for released when this is dropped"]
pub(crate) struct NotedRead<'a> {
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    raw: &'a Opaque<bindings::rw_semaphore>,
    #[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
    _semaphore: PhantomData<&'a ()>,
    // As for `ReadGuard`.
    _not_send: NotThreadSafe,
}

impl<T> RwSemaphore<T> {
    pub(crate) fn new(
        data: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::ffi_init(|slot| {
                let name = kernel::str::as_char_ptr_in_const_context(name);
                // SAFETY: `slot` is valid for writes and pinned, `name` and `key` are static.
                unsafe { bindings::__init_rwsem(slot, name, key.as_ptr()) };
            }),
            data: UnsafeCell::new(data),
        })
    }

    /// Waits until nobody writes.
    ///
    /// A writer is often done within microseconds, and a sleep costs more than that. `down_read()`
    /// does not spin, unlike `down_write()` and `mutex_lock()`, because it does not know how long
    /// writers are. So a reader tries a few times before it sleeps. It takes nothing from a writer
    /// that waits: `down_read_trylock()` fails then.
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        for _ in 0..SPINS {
            if let Some(guard) = self.try_read() {
                return guard;
            }
            core::hint::spin_loop();
        }
        // SAFETY: The semaphore is initialised.
        unsafe { bindings::down_read(self.raw.get()) };
        self.read_guard()
    }

    /// As [`Self::read`], without trying first. `EINTR` if the task is killed while it waits.
    pub(crate) fn read_killable(&self) -> Result<ReadGuard<'_, T>> {
        // SAFETY: The semaphore is initialised.
        to_result(unsafe { bindings::down_read_killable(self.raw.get()) })?;
        Ok(self.read_guard())
    }

    /// As [`Self::read`], while the read side of another semaphore of this class is held. The caller
    /// has an order for the two.
    pub(crate) fn read_nested(&self) -> ReadGuard<'_, T> {
        // SAFETY: The semaphore is initialised.
        unsafe { helpers::qemufile_down_read_nested(self.raw.get()) };
        self.read_guard()
    }

    /// Takes the read side if that needs no waiting.
    pub(crate) fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        // SAFETY: The semaphore is initialised.
        let taken = unsafe { bindings::down_read_trylock(self.raw.get()) };
        (taken != 0).then(|| self.read_guard())
    }

    /// Waits until nobody reads or writes.
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        // SAFETY: The semaphore is initialised.
        unsafe { bindings::down_write(self.raw.get()) };
        self.write_guard()
    }

    /// As [`Self::write`]. `EINTR` if the task is killed while it waits.
    pub(crate) fn write_killable(&self) -> Result<WriteGuard<'_, T>> {
        // SAFETY: The semaphore is initialised.
        to_result(unsafe { bindings::down_write_killable(self.raw.get()) })?;
        Ok(self.write_guard())
    }

    /// Takes the write side if that needs no waiting.
    pub(crate) fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        // SAFETY: The semaphore is initialised.
        let taken = unsafe { bindings::down_write_trylock(self.raw.get()) };
        (taken != 0).then(|| self.write_guard())
    }

    /// Tells lockdep that this task has something that excludes the write side as the read side does,
    /// until the result is dropped. The semaphore stays as it is.
    pub(crate) fn note_read(&self) -> NotedRead<'_> {
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        // SAFETY: The semaphore is initialised.
        unsafe {
            helpers::qemufile_note_read(self.raw.get());
        }
        NotedRead {
            #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
            raw: &self.raw,
            #[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
            _semaphore: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// To be called when this task has just taken the read side.
    fn read_guard(&self) -> ReadGuard<'_, T> {
        ReadGuard {
            semaphore: self,
            _not_send: NotThreadSafe,
        }
    }

    /// To be called when this task has just taken the write side.
    fn write_guard(&self) -> WriteGuard<'_, T> {
        WriteGuard {
            semaphore: self,
            _not_send: NotThreadSafe,
        }
    }
}

#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
impl Drop for NotedRead<'_> {
    fn drop(&mut self) {
        // SAFETY: The semaphore is initialised, and `note_read` was called by this task.
        unsafe { helpers::qemufile_unnote_read(self.raw.get()) };
    }
}

impl<T> ReadGuard<'_, T> {
    /// As [`CondVar::wait_interruptible`]: gives up the read side until `condvar` is notified.
    /// Returns whether a signal is pending.
    pub(crate) fn wait_interruptible(&mut self, condvar: &CondVar) -> bool {
        self.lend_to(|guard| condvar.wait_interruptible(guard))
    }

    /// As [`CondVar::wait_interruptible_timeout`].
    pub(crate) fn wait_interruptible_timeout(
        &mut self,
        condvar: &CondVar,
        time: Jiffies,
    ) -> CondVarTimeoutResult {
        self.lend_to(|guard| condvar.wait_interruptible_timeout(guard, time))
    }

    /// Calls `f` with this guard in the form that a [`CondVar`] wants.
    ///
    /// The exclusive borrow makes sure that nobody uses the data while `f` gives up the lock.
    fn lend_to<R>(&mut self, f: impl FnOnce(&mut Guard<'_, (), ReadSide>) -> R) -> R {
        // SAFETY: The semaphore is initialised, and stays valid while it is borrowed.
        let lock = unsafe { Lock::from_raw(self.semaphore.raw.get()) };
        // SAFETY: This task holds the read side, which is what `ReadSide` is about.
        let mut guard = unsafe { Guard::new(lock, ()) };
        let result = f(&mut guard);
        // The read side is held again, and remains with `self`.
        core::mem::forget(guard);
        result
    }
}

impl<'a, T> WriteGuard<'a, T> {
    /// Changes the write side into the read side. No writer comes between.
    pub(crate) fn downgrade(self) -> ReadGuard<'a, T> {
        let semaphore = ManuallyDrop::new(self).semaphore;
        // SAFETY: This task holds the write side, which no guard releases any more.
        unsafe { bindings::downgrade_write(semaphore.raw.get()) };
        semaphore.read_guard()
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The read side is held, so nobody has a `&mut T`.
        unsafe { &*self.semaphore.data.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: This task holds the read side: a guard exists only where that is so.
        unsafe { bindings::up_read(self.semaphore.raw.get()) };
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The write side is held, so nobody else reaches the data.
        unsafe { &*self.semaphore.data.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As above, and `&mut self` excludes other references by this guard.
        unsafe { &mut *self.semaphore.data.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: This task holds the write side: a guard exists only where that is so.
        unsafe { bindings::up_write(self.semaphore.raw.get()) };
    }
}

/// The read side as a backend, for [`CondVar`], which is generic over backends.
struct ReadSide;

// SAFETY: Several tasks can own the read side at once. It is used with data of type `()` alone, of
// which all accesses are trivially exclusive. `relock` is that of the trait, which calls `lock`.
unsafe impl Backend for ReadSide {
    type State = bindings::rw_semaphore;
    type GuardState = ();

    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut bindings::lock_class_key) {
        // SAFETY: By the caller's promise.
        unsafe { bindings::__init_rwsem(ptr, name, key) };
    }

    unsafe fn lock(ptr: *mut Self::State) {
        // SAFETY: By the caller's promise.
        unsafe { bindings::down_read(ptr) };
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<()> {
        // SAFETY: By the caller's promise.
        let taken = unsafe { bindings::down_read_trylock(ptr) };
        (taken != 0).then_some(())
    }

    unsafe fn unlock(ptr: *mut Self::State, (): &()) {
        // SAFETY: By the caller's promise.
        unsafe { bindings::up_read(ptr) };
    }

    /// Nothing to assert: [`ReadGuard`] proves that the lock is held.
    unsafe fn assert_is_held(_ptr: *mut Self::State) {}
}

/// An initialiser for a [`RwSemaphore`] with a lock class of its own.
macro_rules! new_rw_semaphore {
    ($data:expr, $name:literal) => {
        $crate::sys::rwsem::RwSemaphore::new(
            $data,
            kernel::optional_name!($name),
            kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_rw_semaphore;
