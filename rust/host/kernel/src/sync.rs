// SPDX-License-Identifier: GPL-2.0

//! Stand-in for `kernel::sync`.

pub mod atomic {
    //! Stand-in for `kernel::sync::atomic`.

    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// The memory ordering of an operation: the tests need no more than this one.
    pub struct Relaxed;

    /// A memory location for atomic operations.
    pub struct Atomic<T>(Mutex<T>);

    impl<T: Copy + PartialEq> Atomic<T> {
        pub const fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub fn load(&self, _: Relaxed) -> T {
            *self.lock()
        }

        pub fn store(&self, value: T, _: Relaxed) {
            *self.lock() = value;
        }

        /// Stores `new` if the value is `old`; else returns what it is.
        pub fn cmpxchg(&self, old: T, new: T, _: Relaxed) -> Result<T, T> {
            let mut value = self.lock();
            if *value != old {
                return Err(*value);
            }
            *value = new;
            Ok(old)
        }
    }
}
