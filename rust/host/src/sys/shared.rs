// SPDX-License-Identifier: GPL-2.0

//! Stand-in for the driver's reference-counted pointer.

use super::fault;
use kernel::alloc::{AllocError, Flags};
use std::{ops::Deref, sync::Arc};

/// A value with a counter, so that leaks are seen.
struct Counted<T>(T);

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        fault::count_nodes(-1);
    }
}

/// A reference-counted pointer.
pub struct Shared<T>(Arc<Counted<T>>);

impl<T> Shared<T> {
    /// Allocates a place for `value`.
    pub fn new(value: T, _flags: Flags) -> Result<Self, AllocError> {
        fault::check(0)?;
        fault::count_nodes(1);
        Ok(Self(Arc::new(Counted(value))))
    }

    /// The value, to be changed, if no other pointer to it exists.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        Arc::get_mut(&mut self.0).map(|counted| &mut counted.0)
    }

    /// Whether both point to the same value.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0 .0
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
