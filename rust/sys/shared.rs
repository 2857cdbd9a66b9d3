// SPDX-License-Identifier: GPL-2.0

//! Reference-counted values that can be changed while they have one owner.
//!
//! The kernel's [`Arc`] has no way to a `&mut T`; a copy-on-write structure needs one.
//!
//! [`Arc`]: kernel::sync::Arc

use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    prelude::*,
    sync::{
        atomic::Acquire,
        Refcount, //
    },
};

struct Counted<T> {
    refs: Refcount,
    value: T,
}

/// A pointer to a value that it shares with its clones.
///
/// # Invariants
///
/// `ptr` comes from [`KBox::into_raw`], and each `Shared` owns one count of `refs`.
pub(crate) struct Shared<T> {
    ptr: NonNull<Counted<T>>,
}

// SAFETY: Sending a `Shared<T>` gives another thread `&T`, and `&mut T` or `T` when it is the last
// owner: both are what `Send` and `Sync` of `T` allow.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: A `&Shared<T>` gives `&T`, and by `clone` a `Shared<T>`, for which see above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Moves `value` into memory that clones of the pointer share.
    pub(crate) fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        let counted = KBox::new(
            Counted {
                refs: Refcount::new(1),
                value,
            },
            flags,
        )?;
        // INVARIANT: The pointer is fresh from `KBox::into_raw` and its count of one is ours.
        Ok(Self {
            ptr: NonNull::from(KBox::leak(counted)),
        })
    }

    /// The value to change, if no clone of this pointer exists.
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

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        self.counted().refs.inc();
        // INVARIANT: The count just added is the clone's.
        Self { ptr: self.ptr }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if self.counted().refs.dec_and_test() {
            // SAFETY: By the type invariant the pointer comes from `KBox`, and the last count was
            // ours: nobody else uses it.
            drop(unsafe { KBox::from_raw(self.ptr.as_ptr()) });
        }
    }
}
