// SPDX-License-Identifier: GPL-2.0

//! Stand-in for the driver's reference-counted pointer.

use super::fault;
use kernel::alloc::AllocError;
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
    pub fn new(value: T) -> Result<Self, AllocError> {
        fault::check(0)?;
        fault::count_nodes(1);
        Ok(Self(Arc::new(Counted(value))))
    }

    /// Whether both point at one value.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the value has no other owner at the moment.
    pub fn is_sole(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// The value, to be changed, if no other pointer to it exists.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        Arc::get_mut(&mut self.0).map(|counted| &mut counted.0)
    }

    /// Makes another owner of the value.
    pub fn try_clone(&self) -> Result<Self, AllocError> {
        Ok(Self(self.0.clone()))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0 .0
    }
}
