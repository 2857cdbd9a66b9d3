// SPDX-License-Identifier: GPL-2.0

//! User memory as the source or target of a copy to or from a stream's pages.
//!
//! Copies run with page faults disabled, so they are possible under locks that a fault handler
//! takes. After a short copy the caller releases its locks, faults the missing pages in, and
//! retries, as `generic_perform_write()` in `mm/filemap.c` does.
//!
//! C headers: [`include/linux/uio.h`](srctree/include/linux/uio.h),
//! [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use super::{
    bindings as helpers,
    copy::{
        Sink,
        Source, //
    },
    page::PageRef, //
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

/// A range of user memory, inside the user's part of the address space.
#[derive(Clone, Copy)]
pub(crate) struct UserRange {
    address: u64,
    len: usize,
}

impl UserRange {
    /// `EFAULT` if the range is not in the user's part of the address space.
    pub(crate) fn new(address: u64, len: usize) -> Result<Self> {
        with_user_source(address, len, |src| {
            Ok(Self {
                address,
                len: src.len(),
            })
        })
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds `next` if that begins where this range ends. Returns whether it does.
    pub(crate) fn extend(&mut self, next: &Self) -> bool {
        let adjacent = self.address.checked_add(self.len as u64) == Some(next.address);
        match self.len.checked_add(next.len) {
            Some(len) if adjacent => {
                self.len = len;
                true
            }
            _ => false,
        }
    }

    /// Takes away its first `len` bytes.
    pub(crate) fn advance(&mut self, len: usize) {
        let len = len.min(self.len);
        self.address += len as u64;
        self.len -= len;
    }
}

/// A part of a gathered write.
pub(crate) enum Part<'data> {
    Bytes(&'data [u8]),
    User(UserRange),
}

impl Part<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::User(range) => range.len(),
        }
    }
}

/// The parts of a gathered write, in order.
struct Parts<'a, 'data> {
    current: Part<'data>,
    rest: &'a mut dyn Iterator<Item = Part<'data>>,
    /// Bytes of all of them.
    len: usize,
}

impl<'data> Parts<'_, 'data> {
    /// The part of the next byte.
    fn current(&mut self) -> Option<&mut Part<'data>> {
        while self.current.len() == 0 {
            self.current = self.rest.next()?;
        }
        Some(&mut self.current)
    }

    /// As [`SourceIter::fault_in`], but within one part.
    fn fault_in(&mut self, len: usize) -> usize {
        match self.current() {
            Some(Part::Bytes(bytes)) => len.min(bytes.len()),
            Some(Part::User(range)) => {
                let len = len.min(range.len);
                with_user_source(range.address, len, |src| Ok(fault_in_readable(src, len)))
                    .unwrap_or(0)
            }
            None => 0,
        }
    }

    fn copy_to_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize {
        let mut done = 0;
        while done < len {
            let at = offset + done;
            let (copied, asked) = match self.current() {
                Some(Part::Bytes(bytes)) => {
                    let head = bytes.get(..len - done).unwrap_or(bytes);
                    let copied = page.write(at, head);
                    let asked = head.len();
                    *bytes = bytes.get(copied..).unwrap_or_default();
                    (copied, asked)
                }
                Some(Part::User(range)) => {
                    let asked = range.len.min(len - done);
                    let copied = with_user_source(range.address, asked, |src| {
                        Ok(copy_to_page(src, page, at, asked))
                    });
                    let copied = copied.unwrap_or(0);
                    range.advance(copied);
                    (copied, asked)
                }
                None => break,
            };
            done += copied;
            if copied < asked {
                break;
            }
        }
        self.len -= done.min(self.len);
        done
    }
}

/// Brings in the pages of the next `len` bytes, and returns how many of them can be copied now.
fn fault_in_readable(src: &mut IovIterSource<'_>, len: usize) -> usize {
    // SAFETY: The iterator is valid by the invariant of `IovIterSource`.
    let missing = unsafe { bindings::fault_in_iov_iter_readable(src.as_raw(), len) };
    len.saturating_sub(missing)
}

/// Copies up to `len` bytes to what is `offset` bytes after the start of `page`, without faults.
fn copy_to_page(src: &mut IovIterSource<'_>, page: &PageRef, offset: usize, len: usize) -> usize {
    let (folio, start, len) = page.span(offset, len);
    // SAFETY: The range lies inside the folio by the guarantee of `span`, and the iterator is valid
    // by the invariant of `IovIterSource`.
    unsafe { helpers::qemufile_copy_folio_from_iter_atomic(folio, start, len, src.as_raw()) }
}

enum From<'a, 'data> {
    Iov(&'a mut IovIterSource<'data>),
    Parts(Parts<'a, 'data>),
}

/// Where a write's bytes come from, at most `limit` of them at a time.
pub(crate) struct SourceIter<'a, 'data> {
    from: From<'a, 'data>,
    limit: usize,
}

impl<'a, 'data> SourceIter<'a, 'data> {
    pub(crate) fn new(iov: &'a mut IovIterSource<'data>) -> Self {
        Self {
            from: From::Iov(iov),
            limit: 0,
        }
    }

    /// The bytes of all `parts`, `len` in all, one after the other.
    ///
    /// A `struct iov_iter` is of user memory or of the kernel's; this may be of both.
    pub(crate) fn gather(parts: &'a mut dyn Iterator<Item = Part<'data>>, len: usize) -> Self {
        let parts = Parts {
            current: Part::Bytes(&[]),
            rest: parts,
            len,
        };
        Self {
            from: From::Parts(parts),
            limit: 0,
        }
    }

    /// How many bytes there are in all.
    pub(crate) fn len(&self) -> usize {
        match &self.from {
            From::Iov(iov) => iov.len(),
            From::Parts(parts) => parts.len,
        }
    }

    /// Lets the next copies take up to `limit` bytes.
    pub(crate) fn limit(&mut self, limit: usize) -> &mut Self {
        self.limit = limit;
        self
    }

    /// Brings in the pages of the next bytes, `len` at the most. Sleeps.
    ///
    /// Returns how many of them can be copied now. None is the caller's `EFAULT`.
    pub(crate) fn fault_in(&mut self, len: usize) -> usize {
        let len = len.min(self.len());
        match &mut self.from {
            From::Iov(iov) => fault_in_readable(iov, len),
            From::Parts(parts) => parts.fault_in(len),
        }
    }
}

impl Source for SourceIter<'_, '_> {
    fn remaining(&self) -> usize {
        self.len().min(self.limit)
    }

    fn copy_to_page(&mut self, page: &PageRef, offset: usize, len: usize) -> usize {
        let len = len.min(self.remaining());
        let done = match &mut self.from {
            From::Iov(iov) => copy_to_page(iov, page, offset, len),
            From::Parts(parts) => parts.copy_to_page(page, offset, len),
        };
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
