// SPDX-License-Identifier: GPL-2.0

//! Stand-in for `kernel::sync`.

pub mod atomic {
    //! Stand-in for `kernel::sync::atomic`, for the one type that is used.

    use std::sync::atomic::{AtomicU64, Ordering};

    /// The memory ordering of an operation: the tests need no more than this one.
    pub struct Relaxed;

    /// A memory location for atomic operations.
    pub struct Atomic<T: Bits>(T::Cell);

    /// A type that [`Atomic`] can hold.
    pub trait Bits {
        /// The type of the standard library for it.
        type Cell;
    }

    impl Bits for u64 {
        type Cell = AtomicU64;
    }

    impl Atomic<u64> {
        pub const fn new(value: u64) -> Self {
            Self(AtomicU64::new(value))
        }

        pub fn load(&self, _: Relaxed) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        pub fn store(&self, value: u64, _: Relaxed) {
            self.0.store(value, Ordering::Relaxed);
        }

        /// Stores `new` if the value is `old`; else returns what it is.
        pub fn cmpxchg(&self, old: u64, new: u64, _: Relaxed) -> Result<u64, u64> {
            let order = Ordering::Relaxed;
            self.0.compare_exchange(old, new, order, order)
        }
    }
}
