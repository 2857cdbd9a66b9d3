// SPDX-License-Identifier: GPL-2.0

//! Reference-counted values that their only owner can change.
//!
//! The kernel's [`Arc`] has no `get_mut()`, which a copy-on-write structure needs.
//!
//! [`Arc`]: kernel::sync::Arc

use super::alloc::GFP_STREAM;
use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Relaxed, //
        },
        Refcount, //
    },
};

/// The most owners of a value that [`Shared::try_clone`] adds to: far below the 2^31 at which
/// `refcount_t` saturates, and leaks.
const MAX_OWNERS: i32 = 1 << 28;

struct Counted<T> {
    refs: Refcount,
    value: T,
}

/// A pointer to a value that it shares with its clones.
///
/// # Invariants
///
/// `ptr` comes from [`KBox::leak`], and each `Shared` owns one count of `refs`.
pub(crate) struct Shared<T> {
    ptr: NonNull<Counted<T>>,
}

// SAFETY: Sending a `Shared<T>` gives another thread `&T`, and `&mut T` or `T` when it is the last
// owner: both are what `Send` and `Sync` of `T` allow.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: A `&Shared<T>` gives `&T`, and by `try_clone` a `Shared<T>`, for which see above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Moves `value` into memory that clones of the pointer share.
    pub(crate) fn new(value: T) -> Result<Self, AllocError> {
        let counted = Counted {
            refs: Refcount::new(1),
            value,
        };
        let counted = KBox::new(counted, GFP_STREAM)?;
        // INVARIANT: The pointer is fresh from `KBox::leak` and its count of one is ours.
        Ok(Self {
            ptr: NonNull::from(KBox::leak(counted)),
        })
    }

    /// Makes another owner of the value. Fails at [`MAX_OWNERS`].
    pub(crate) fn try_clone(&self) -> Result<Self, AllocError> {
        let refs = &self.counted().refs;
        if refs.as_atomic().load(Relaxed) >= MAX_OWNERS {
            return Err(AllocError);
        }
        refs.inc();
        // INVARIANT: The count just added is the clone's.
        Ok(Self { ptr: self.ptr })
    }

    /// Whether both point at one value.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.ptr == other.ptr
    }

    /// Whether the value has no other owner at the moment.
    pub(crate) fn is_sole(&self) -> bool {
        self.counted().refs.as_atomic().load(Relaxed) == 1
    }

    /// A mutable reference to the value, if this is its only owner.
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        // `Acquire` pairs with the release of another owner's `dec_and_test`: what that owner
        // read of the value was read before it is changed here.
        if self.counted().refs.as_atomic().load(Acquire) != 1 {
            return None;
        }
        // SAFETY: By the type invariant `ptr` is valid. The only count is ours and `&mut self`
        // keeps it from being cloned, so nobody else reaches the value.
        Some(unsafe { &mut self.ptr.as_mut().value })
    }

    fn counted(&self) -> &Counted<T> {
        // SAFETY: By the type invariant `ptr` is valid for as long as we own a count.
        unsafe { self.ptr.as_ref() }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if self.counted().refs.dec_and_test() {
            // SAFETY: By the type invariant the pointer comes from `KBox::leak`, and the last count
            // was ours: nobody else uses it.
            drop(unsafe { KBox::from_raw(self.ptr.as_ptr()) });
        }
    }
}

#[kunit_tests(qemufile_sys_shared)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_bounded() -> Result {
        let one = Shared::new(7)?;
        one.counted().refs.set(MAX_OWNERS);
        let refused = one.try_clone().is_err();
        one.counted().refs.set(1);
        assert!(refused);
        assert!(one.try_clone().is_ok());
        Ok(())
    }
}
