// SPDX-License-Identifier: GPL-2.0

//! A list that is usually short.

use kernel::{
    alloc::Flags,
    prelude::*, //
};

/// The memory is charged to the memory cgroup of the task that uses the stream.
const FLAGS: Flags = GFP_KERNEL_ACCOUNT;

/// A list that needs no allocation for up to `N` items.
pub struct Few<T, const N: usize> {
    few: [T; N],
    /// The number of items in `few`; 0 if `many` is in use.
    len: usize,
    many: KVec<T>,
    /// The number of items that `many` is first allocated for.
    expected: usize,
}

impl<T: Copy, const N: usize> Few<T, N> {
    /// Makes an empty list for about `expected` items. `filler` is any item.
    pub const fn new(filler: T, expected: usize) -> Self {
        Self {
            few: [filler; N],
            len: 0,
            many: KVec::new(),
            expected,
        }
    }

    /// The items.
    pub fn as_slice(&self) -> &[T] {
        match self.many.is_empty() {
            true => self.few.get(..self.len).unwrap_or_default(),
            false => &self.many,
        }
    }

    /// The items, mutable.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        match self.many.is_empty() {
            true => self.few.get_mut(..self.len).unwrap_or_default(),
            false => &mut self.many,
        }
    }

    /// Adds copies of `items`. Fails with [`ENOMEM`], and then adds none.
    pub fn extend(&mut self, items: &[T]) -> Result {
        if self.many.is_empty() {
            let end = self.len.saturating_add(items.len());
            if let Some(room) = self.few.get_mut(self.len..end) {
                room.copy_from_slice(items);
                self.len = end;
                return Ok(());
            }
            self.many.reserve(end.max(self.expected), FLAGS)?;
            let few = self.few.get(..self.len).unwrap_or_default();
            self.many.extend_from_slice(few, FLAGS)?;
            self.len = 0;
        }
        Ok(self.many.extend_from_slice(items, FLAGS)?)
    }

    /// Removes the first `count` items, or all if there are fewer.
    pub fn remove_first(&mut self, count: usize) {
        let left = self.as_slice().len().saturating_sub(count);
        if left == 0 {
            return self.clear();
        }
        match self.many.is_empty() {
            true => {
                self.few.copy_within(count..self.len, 0);
                self.len = left;
            }
            false => {
                self.many.copy_within(count.., 0);
                self.many.truncate(left);
            }
        }
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        self.len = 0;
        self.many.clear();
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(qemufile_qemu_file_few)]
mod tests {
    use super::*;

    #[test]
    fn a_list_grows_beyond_the_few() -> Result {
        let mut list = Few::<u8, 4>::new(0, 6);
        assert!(list.as_mut_slice().is_empty());
        list.extend(b"QEM")?;
        list.extend(b"U")?;
        assert_eq!(list.as_slice(), b"QEMU");
        list.extend(b"state")?;
        assert_eq!(list.as_slice(), b"QEMUstate");
        list.extend(b"!")?;
        assert_eq!(list.as_mut_slice().last_mut(), Some(&mut b'!'));
        assert_eq!(list.as_slice().len(), 10);
        list.clear();
        list.extend(b"again")?;
        assert_eq!(list.as_slice(), b"again");
        Ok(())
    }

    #[test]
    fn items_leave_at_the_front() -> Result {
        let mut list = Few::<u8, 4>::new(0, 0);
        list.extend(b"QEM")?;
        list.remove_first(1);
        assert_eq!(list.as_slice(), b"EM");
        list.extend(b"Ulation")?;
        list.remove_first(3);
        assert_eq!(list.as_slice(), b"lation");
        list.remove_first(7);
        assert!(list.as_slice().is_empty());
        Ok(())
    }
}
