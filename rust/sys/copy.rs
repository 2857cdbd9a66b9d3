// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of a write come from, and where those of a read go.
//!
//! Both traits move bytes to and from pages, not slices: a page's content is never borrowed, as
//! user space may have it mapped and change it at any time.
//!
//! `super::iov` implements them for user memory, this file for slices. Like `super::page`, it is
//! built on the host, too, and has no `unsafe`.

use super::page::PageRef;
use kernel::prelude::*;

/// The bytes that an operation has moved, and why it stopped.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes moved.
    pub bytes: usize,
    /// `Ok` if nothing was left to do.
    pub end: Result,
}

impl Progress {
    /// Nothing was moved, because of `error`.
    pub fn none(error: Error) -> Self {
        Self {
            bytes: 0,
            end: Err(error),
        }
    }

    /// The result of a system call: the bytes if any were moved, else the error.
    pub fn into_result(self) -> Result<usize> {
        match self.bytes {
            0 => self.end.map(|()| 0),
            bytes => Ok(bytes),
        }
    }
}

/// Gives the bytes of a write, in order.
pub trait Source {
    /// How many bytes are left to give.
    fn remaining(&self) -> usize;

    /// Moves up to `len` bytes to the memory that begins `offset` bytes into `page`.
    ///
    /// The memory may go on past this page, as far as its folio does. Returns how many bytes were
    /// moved: fewer than `len` when the source failed there, as user memory may.
    fn copy_to_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize;
}

/// Takes the bytes of a read, in order.
pub trait Sink {
    /// How many bytes there is room for.
    fn remaining(&self) -> usize;

    /// Takes up to `len` bytes from the memory that begins `offset` bytes into `page`.
    ///
    /// The memory may go on past this page, as far as its folio does. Returns how many bytes were
    /// taken: fewer than `len` when the sink failed there.
    fn copy_from_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize;

    /// Takes up to `len` zero bytes: a hole. Returns how many were taken.
    fn put_zeros(&mut self, len: usize) -> usize;
}

impl Source for &[u8] {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn copy_to_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize {
        let head = self.get(..len).unwrap_or(self);
        let moved = page.write(offset, head);
        *self = self.get(moved..).unwrap_or_default();
        moved
    }
}

impl Sink for &mut [u8] {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn copy_from_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize {
        let room = core::mem::take(self);
        let len = len.min(room.len());
        let head = room.get_mut(..len).unwrap_or_default();
        let taken = page.read(offset, head);
        *self = room.get_mut(taken..).unwrap_or_default();
        taken
    }

    fn put_zeros(&mut self, len: usize) -> usize {
        let room = core::mem::take(self);
        let len = len.min(room.len());
        room.get_mut(..len).unwrap_or_default().fill(0);
        *self = room.get_mut(len..).unwrap_or_default();
        len
    }
}

#[kunit_tests(qemufile_sys_copy)]
mod tests {
    use super::*;
    use crate::sys::page::PAGE_SIZE;

    #[test]
    fn slices_give_and_take_no_more_than_they_have() -> Result {
        let page = PageRef::alloc_run(0)?.next().ok_or(EINVAL)?;
        let mut source = &b"migration"[..];
        assert_eq!(source.copy_to_page(&page, 3, 4), 4);
        assert_eq!(source.remaining(), 5);
        assert_eq!(source.copy_to_page(&page, 7, 100), 5);
        assert_eq!(source.copy_to_page(&page, 12, 1), 0);

        let mut bytes = [0xff; 12];
        let mut sink = &mut bytes[..];
        assert_eq!(sink.copy_from_page(&page, 3, 4), 4);
        assert_eq!(sink.put_zeros(2), 2);
        assert_eq!(sink.remaining(), 6);
        assert_eq!(sink.copy_from_page(&page, 7, 5), 5);
        assert_eq!(sink.put_zeros(2), 1);
        assert_eq!(sink.copy_from_page(&page, 0, 1), 0);
        assert_eq!(&bytes, b"migr\0\0ation\0");
        Ok(())
    }

    #[test]
    fn a_copy_ends_with_the_folio() -> Result {
        let page = PageRef::alloc_run(0)?.next().ok_or(EINVAL)?;
        let mut source = &[1; 8][..];
        assert_eq!(source.copy_to_page(&page, PAGE_SIZE - 3, 8), 3);
        assert_eq!(source.remaining(), 5);
        Ok(())
    }
}
