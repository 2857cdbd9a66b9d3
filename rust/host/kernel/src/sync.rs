// SPDX-License-Identifier: GPL-2.0

//! Stand-in for `kernel::sync`.

pub mod atomic {
    //! Stand-in for `kernel::sync::atomic`.

    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// A memory ordering of an operation: all of them are the strictest.
    pub trait Ordering {}

    /// No ordering.
    pub struct Relaxed;

    /// The ordering of a load.
    pub struct Acquire;

    /// The ordering of a store.
    pub struct Release;

    /// The ordering of both sides.
    pub struct Full;

    impl Ordering for Relaxed {}

    impl Ordering for Acquire {}

    impl Ordering for Release {}

    impl Ordering for Full {}

    /// A memory location for atomic operations.
    pub struct Atomic<T>(Mutex<T>);

    impl<T: Copy + PartialEq> Atomic<T> {
        pub const fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub fn load(&self, _: impl Ordering) -> T {
            *self.lock()
        }

        pub fn store(&self, value: T, _: impl Ordering) {
            *self.lock() = value;
        }

        /// Stores `new` if the value is `old`; else returns what it is.
        pub fn cmpxchg(&self, old: T, new: T, _: impl Ordering) -> Result<T, T> {
            let mut value = self.lock();
            if *value != old {
                return Err(*value);
            }
            *value = new;
            Ok(old)
        }
    }

    impl Atomic<u64> {
        /// Adds `more`, around the largest number, and returns what the value was.
        pub fn fetch_add(&self, more: u64, _: impl Ordering) -> u64 {
            let mut value = self.lock();
            let old = *value;
            *value = old.wrapping_add(more);
            old
        }

        /// Subtracts, and returns the value before.
        pub fn fetch_sub(&self, less: u64, _: impl Ordering) -> u64 {
            let mut value = self.lock();
            let old = *value;
            *value = old.wrapping_sub(less);
            old
        }
    }
}
