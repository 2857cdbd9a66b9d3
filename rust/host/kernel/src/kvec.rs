// SPDX-License-Identifier: GPL-2.0

//! Stand-in for `kernel::alloc::KVec`.

use crate::{
    alloc::{AllocError, Flags},
    fault,
};
use std::ops::{Deref, DerefMut};

/// A vector that allocates when it is told to, and may fail.
#[derive(Default)]
pub struct KVec<T>(Vec<T>);

impl<T> KVec<T> {
    /// Makes an empty vector, which holds no memory.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Makes room for `additional` more elements.
    pub fn reserve(&mut self, additional: usize, _flags: Flags) -> Result<(), AllocError> {
        if self.0.capacity() - self.0.len() < additional {
            fault::check(0)?;
            self.0.reserve_exact(additional);
        }
        Ok(())
    }

    /// Adds an element.
    pub fn push(&mut self, value: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        self.0.push(value);
        Ok(())
    }

    /// Removes the last element.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes all but the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Removes the elements that `keep` does not want.
    pub fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.0.retain_mut(keep);
    }
}

impl<T: Clone> KVec<T> {
    /// Adds copies of all of `other`.
    pub fn extend_from_slice(&mut self, other: &[T], flags: Flags) -> Result<(), AllocError> {
        self.reserve(other.len(), flags)?;
        self.0.extend_from_slice(other);
        Ok(())
    }

    /// Sets the number of elements; new ones are copies of `value`.
    pub fn resize(&mut self, len: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(len.saturating_sub(self.0.len()), flags)?;
        self.0.resize(len, value);
        Ok(())
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}
