// SPDX-License-Identifier: GPL-2.0

//! Pages that go into a pipe and come out of one.
//!
//! A page is lent to a pipe with [`nosteal_pipe_buf_ops`], which are the kernel's own: the pipe
//! drops its reference when the page is read, whether or not the module is still there, and nobody
//! can take the page over meanwhile and write to it.
//!
//! C headers: [`include/linux/splice.h`](srctree/include/linux/splice.h),
//! [`include/linux/pipe_fs_i.h`](srctree/include/linux/pipe_fs_i.h)
//!
//! [`nosteal_pipe_buf_ops`]: srctree/fs/splice.c

use super::{
    bindings as helpers,
    page::PageRef, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ffi::c_void,
    iov::IovIterSource,
    prelude::*, //
};

/// A pipe that the caller of `->splice_read` has locked.
///
/// # Invariants
///
/// `pipe` is valid and locked for `'a`.
pub(crate) struct Pipe<'a> {
    pipe: NonNull<bindings::pipe_inode_info>,
    _lifetime: PhantomData<&'a mut bindings::pipe_inode_info>,
}

impl Pipe<'_> {
    /// # Safety
    ///
    /// `pipe` must be valid and locked for the lifetime of the result.
    pub(super) unsafe fn from_raw(pipe: NonNull<bindings::pipe_inode_info>) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            pipe,
            _lifetime: PhantomData,
        }
    }

    /// Whether there is no slot left.
    pub(crate) fn is_full(&self) -> bool {
        // SAFETY: The pipe is valid and locked.
        unsafe { helpers::qemufile_pipe_is_full(self.pipe.as_ptr()) }
    }

    /// Calls `f` without the lock, so that others can read from the pipe while `f` waits.
    ///
    /// `->splice_read` may do so: its callers look at the pipe before and after, not across it.
    pub(crate) fn unlocked<R>(&mut self, f: impl FnOnce() -> R) -> R {
        // SAFETY: The pipe is valid and locked, and is again when this returns. One that has no
        // file, as `sendfile(2)` uses, has no lock, and both calls do nothing.
        unsafe { helpers::qemufile_pipe_unlock(self.pipe.as_ptr()) };
        let result = f();
        // SAFETY: As above.
        unsafe { helpers::qemufile_pipe_lock(self.pipe.as_ptr()) };
        result
    }

    /// Waits until there is a slot. `ERESTARTSYS` when a signal comes; `EPIPE`, and `SIGPIPE`, when
    /// there is nobody any more who could read.
    pub(crate) fn wait_for_room(&mut self) -> Result {
        // SAFETY: The pipe is valid and locked, and is again when this returns.
        to_result(unsafe { helpers::qemufile_pipe_wait_writable(self.pipe.as_ptr()) })
    }

    /// Lends out `len` bytes of a page, or of zeros if there is none, from `offset` on.
    ///
    /// Nothing happens if the pipe is full, or if the bytes are not all in the page.
    pub(crate) fn lend(&mut self, page: Option<PageRef>, offset: usize, len: usize) {
        let raw = match page {
            Some(page) => page.into_raw(),
            None => core::ptr::null_mut(),
        };
        // SAFETY: The pipe is valid and locked; it takes over the reference to the page, or drops
        // it if there is no room.
        unsafe { helpers::qemufile_pipe_lend(self.pipe.as_ptr(), raw, offset, len) };
    }

    /// Gives away `len` bytes, from `offset` on, of a page that nobody writes to any more and that
    /// the caller pays for.
    ///
    /// Nothing happens if the pipe is full, or if the bytes are not all in the page.
    pub(crate) fn give(&mut self, page: PageRef, offset: usize, len: usize) {
        // SAFETY: As for `lend`.
        unsafe { helpers::qemufile_pipe_give(self.pipe.as_ptr(), page.into_raw(), offset, len) };
    }
}

/// Where the bytes of a pipe go.
pub(crate) trait SpliceTarget {
    /// Makes `page` the target's content at `pos`, if it can. Returns whether it did.
    fn adopt(&mut self, pos: i64, page: PageRef) -> bool;

    /// Copies bytes to `pos`. Returns how many: at least one, or an error.
    fn copy(&mut self, pos: i64, src: &mut IovIterSource<'_>) -> Result<usize>;
}

/// # Safety
///
/// `target` must be the one that `splice_write` was called with; the caller gives a reference to
/// `page` away.
unsafe extern "C" fn adopt<T: SpliceTarget>(
    target: *mut c_void,
    pos: i64,
    page: *mut bindings::page,
) -> bool {
    // SAFETY: By the caller's promise; a page is not null.
    let (target, page) = unsafe {
        (
            &mut *target.cast::<T>(),
            PageRef::from_raw(NonNull::new_unchecked(page)),
        )
    };
    target.adopt(pos, page)
}

/// # Safety
///
/// `target` must be the one that `splice_write` was called with, and `from` a valid source.
unsafe extern "C" fn copy<T: SpliceTarget>(
    target: *mut c_void,
    pos: i64,
    from: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: By the caller's promise.
    let (target, src) = unsafe { (&mut *target.cast::<T>(), IovIterSource::from_raw(from)) };
    from_result(|| Ok(isize::try_from(target.copy(pos, src)?)?))
}

/// Moves up to `len` bytes from `pipe` to `target`, from `pos` on, and moves `pos`.
///
/// # Safety
///
/// `pipe` must be valid and not locked by the caller.
pub(super) unsafe fn splice_write<T: SpliceTarget>(
    pipe: *mut bindings::pipe_inode_info,
    pos: &mut i64,
    len: usize,
    flags: u32,
    target: &mut T,
) -> Result<usize> {
    let data: *mut c_void = core::ptr::from_mut(target).cast();
    // SAFETY: The pipe is valid by the caller's promise, and `data` is what the functions expect.
    let done = unsafe {
        helpers::qemufile_splice_write(
            pipe,
            pos,
            len,
            flags,
            data,
            Some(adopt::<T>),
            Some(copy::<T>),
        )
    };
    match usize::try_from(done) {
        Ok(done) => Ok(done),
        Err(_) => Err(Error::from_errno(i32::try_from(done)?)),
    }
}

impl PageRef {
    /// Gives the reference to C.
    fn into_raw(self) -> *mut bindings::page {
        ManuallyDrop::new(self).as_ptr()
    }
}
