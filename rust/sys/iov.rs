// SPDX-License-Identifier: GPL-2.0

//! The two ends of a copy between a stream's pages and whoever called.
//!
//! Both refuse page faults while they copy, so that they can be used under locks that a fault
//! handler takes; the caller lets go of its locks, has the missing pages faulted in, and goes on.
//! The scheme is that of `generic_perform_write()` in `mm/filemap.c`.
//!
//! C headers: [`include/linux/uio.h`](srctree/include/linux/uio.h),
//! [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use super::{
    bindings as helpers,
    page::PageRef, //
};
use crate::sized_buffer::{
    Sink,
    Source, //
};
use core::mem::MaybeUninit;
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

/// Where a write's bytes come from, at most `limit` of them at a time.
pub(crate) struct SourceIter<'a, 'data> {
    iov: &'a mut IovIterSource<'data>,
    limit: usize,
}

impl<'a, 'data> SourceIter<'a, 'data> {
    pub(crate) fn new(iov: &'a mut IovIterSource<'data>) -> Self {
        Self { iov, limit: 0 }
    }

    /// How many bytes there are in all.
    pub(crate) fn len(&self) -> usize {
        self.iov.len()
    }

    /// Lets the next copies take up to `limit` bytes.
    pub(crate) fn limit(&mut self, limit: usize) -> &mut Self {
        self.limit = limit;
        self
    }

    /// Brings in the pages of the next `len` bytes. Sleeps.
    ///
    /// Returns how many of them can be copied now. None is the caller's `EFAULT`.
    pub(crate) fn fault_in(&mut self, len: usize) -> usize {
        let len = len.min(self.len());
        // SAFETY: The iterator is valid by the invariant of `IovIterSource`.
        let missing = unsafe { bindings::fault_in_iov_iter_readable(self.iov.as_raw(), len) };
        len.saturating_sub(missing)
    }
}

impl Source for SourceIter<'_, '_> {
    fn remaining(&self) -> usize {
        self.len().min(self.limit)
    }

    fn copy_to_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize {
        let (folio, start, len) = page.span(offset, len.min(self.remaining()));
        // SAFETY: The range lies inside the folio by the guarantee of `span`, and the iterator is
        // valid by the invariant of `IovIterSource`.
        let done =
            unsafe { bindings::copy_folio_from_iter_atomic(folio, start, len, self.iov.as_raw()) };
        self.limit -= done.min(self.limit);
        done
    }
}

/// Where a read's bytes go, at most `limit` of them at a time.
pub(crate) struct DestIter<'a, 'data> {
    iov: &'a mut IovIterDest<'data>,
    limit: usize,
}

impl<'a, 'data> DestIter<'a, 'data> {
    pub(crate) fn new(iov: &'a mut IovIterDest<'data>) -> Self {
        Self { iov, limit: 0 }
    }

    /// How many bytes there is room for in all.
    pub(crate) fn len(&self) -> usize {
        self.iov.len()
    }

    /// Lets the next copies fill up to `limit` bytes.
    pub(crate) fn limit(&mut self, limit: usize) -> &mut Self {
        self.limit = limit;
        self
    }

    /// Brings in the pages of the next `len` bytes of room. Sleeps.
    ///
    /// Returns how many of them can be copied now. None is the caller's `EFAULT`.
    pub(crate) fn fault_in(&mut self, len: usize) -> usize {
        let len = len.min(self.len());
        // SAFETY: The iterator is valid by the invariant of `IovIterDest`.
        let missing = unsafe { bindings::fault_in_iov_iter_writeable(self.iov.as_raw(), len) };
        len.saturating_sub(missing)
    }
}

impl Sink for DestIter<'_, '_> {
    fn remaining(&self) -> usize {
        self.len().min(self.limit)
    }

    fn copy_from_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize {
        let (folio, start, len) = page.span(offset, len.min(self.remaining()));
        // SAFETY: As in `SourceIter::copy_to_page`.
        let done = unsafe {
            helpers::qemufile_copy_folio_to_iter_atomic(folio, start, len, self.iov.as_raw())
        };
        self.limit -= done.min(self.limit);
        done
    }

    fn put_zeros(&mut self, len: usize) -> usize {
        let len = len.min(self.remaining());
        // SAFETY: The iterator is valid by the invariant of `IovIterDest`.
        let done = unsafe { helpers::qemufile_iov_iter_zero_atomic(len, self.iov.as_raw()) };
        self.limit -= done.min(self.limit);
        done
    }
}

/// Makes an iterator over user memory, for reading from it or writing to it.
///
/// `EFAULT` if the range is not in the user's part of the address space.
fn user_iter(
    direction: u32,
    address: u64,
    len: usize,
    iter: &mut MaybeUninit<bindings::iov_iter>,
) -> Result {
    let address = usize::try_from(address).map_err(|_| EFAULT)?;
    let direction = c_int::try_from(direction)?;
    // SAFETY: `iter` can be written; what the address leads to is checked now and when it is used.
    to_result(unsafe {
        bindings::import_ubuf(direction, address as *mut c_void, len, iter.as_mut_ptr())
    })
}

/// Calls `f` with the `len` bytes of user memory at `address` as a source.
///
/// `EFAULT` if the range is not in the user's part of the address space.
pub(crate) fn with_user_source<R>(
    address: u64,
    len: usize,
    f: impl FnOnce(&mut IovIterSource<'_>) -> Result<R>,
) -> Result<R> {
    let mut iter = MaybeUninit::uninit();
    user_iter(bindings::ITER_SOURCE, address, len, &mut iter)?;
    // SAFETY: The iterator is initialised, and ours until `f` returns.
    f(unsafe { IovIterSource::from_raw(iter.as_mut_ptr()) })
}

/// Calls `f` with the `len` bytes of user memory at `address` as a destination.
///
/// `EFAULT` if the range is not in the user's part of the address space.
pub(crate) fn with_user_dest<R>(
    address: u64,
    len: usize,
    f: impl FnOnce(&mut IovIterDest<'_>) -> Result<R>,
) -> Result<R> {
    let mut iter = MaybeUninit::uninit();
    user_iter(bindings::ITER_DEST, address, len, &mut iter)?;
    // SAFETY: The iterator is initialised, and ours until `f` returns.
    f(unsafe { IovIterDest::from_raw(iter.as_mut_ptr()) })
}

/// Calls `f` with bytes of the kernel's as a source.
pub(crate) fn with_slice_source<R>(bytes: &[u8], f: impl FnOnce(&mut IovIterSource<'_>) -> R) -> R {
    let vec = bindings::kvec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut iter = MaybeUninit::uninit();
    // SAFETY: The vector and the bytes outlive the iterator, and a source is not written to.
    let src = unsafe {
        bindings::iov_iter_kvec(
            iter.as_mut_ptr(),
            bindings::ITER_SOURCE,
            &vec,
            1,
            bytes.len(),
        );
        IovIterSource::from_raw(iter.as_mut_ptr())
    };
    f(src)
}
