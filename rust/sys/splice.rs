// SPDX-License-Identifier: GPL-2.0

//! Pages that are moved to and from a pipe.
//!
//! Pages are put into a pipe with the kernel's own [`nosteal_pipe_buf_ops`]. The pipe can drop its
//! reference after the module is unloaded, and nobody can steal the page and write to it.
//!
//! C headers: [`include/linux/splice.h`](srctree/include/linux/splice.h),
//! [`include/linux/pipe_fs_i.h`](srctree/include/linux/pipe_fs_i.h)
//!
//! [`nosteal_pipe_buf_ops`]: srctree/fs/splice.c

use super::{
    bindings as helpers,
    memcontrol,
    page::{
        PageRef,
        PAGE_SIZE, //
    }, //
};
use core::{
    marker::PhantomData,
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    ptr::NonNull, //
};
use kernel::{
    bindings,
    current,
    error::{
        from_result,
        to_result, //
    },
    ffi::c_int,
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

    /// Whether all slots are in use.
    pub(crate) fn is_full(&self) -> bool {
        // SAFETY: The pipe is valid and locked.
        unsafe { helpers::qemufile_pipe_is_full(self.pipe.as_ptr()) }
    }

    /// Calls `f` without the lock, so that others can read from the pipe while `f` waits.
    ///
    /// `->splice_read` may do so: its callers keep no state of the pipe across the call.
    pub(crate) fn unlocked<R>(&mut self, f: impl FnOnce() -> R) -> R {
        // SAFETY: The pipe is valid and locked, and is again when this returns. One that has no
        // file, as `sendfile(2)` uses, has no lock, and both calls do nothing.
        unsafe { helpers::qemufile_pipe_unlock(self.pipe.as_ptr()) };
        let result = f();
        // SAFETY: As above.
        unsafe { helpers::qemufile_pipe_lock(self.pipe.as_ptr()) };
        result
    }

    /// Waits for a free slot. `ERESTARTSYS` on a signal. `EPIPE` and `SIGPIPE` without readers.
    ///
    /// `wait_for_space()` in `fs/splice.c` does the same before `->splice_read` is called.
    pub(crate) fn wait_for_room(&mut self) -> Result {
        let pipe = self.pipe.as_ptr();
        while self.is_full() && self.has_readers() {
            // SAFETY: The pipe is valid. Its lock is not held, and neither is one that its readers
            // need.
            to_result(self.unlocked(|| unsafe { helpers::qemufile_pipe_wait_writable(pipe) }))?;
        }
        if !self.has_readers() {
            // SAFETY: A task may always send itself a signal.
            unsafe { bindings::send_sig(bindings::SIGPIPE as c_int, current!().as_ptr(), 0) };
            return Err(EPIPE);
        }
        Ok(())
    }

    fn has_readers(&self) -> bool {
        // SAFETY: The pipe is valid.
        unsafe { helpers::qemufile_pipe_readers(self.pipe.as_ptr()) != 0 }
    }

    /// Lends out `len` bytes of a page, or of zeros if there is none, from `offset` on.
    ///
    /// Nothing happens if the pipe is full, or if the bytes are not all in the page.
    pub(crate) fn lend(&mut self, page: Option<PageRef>, offset: usize, len: usize) {
        self.push(page.unwrap_or_else(PageRef::zeros), offset, len, &LENT);
    }

    /// Gives away `len` bytes, from `offset` on, of a page that is charged to the caller and has no
    /// other writers.
    ///
    /// Nothing happens if the pipe is full, or if the bytes are not all in the page.
    pub(crate) fn give(&mut self, page: PageRef, offset: usize, len: usize) {
        self.push(page, offset, len, &GIVEN);
    }

    fn push(&mut self, page: PageRef, offset: usize, len: usize, mark: &'static u8) {
        if self.is_full() || offset > PAGE_SIZE || len > PAGE_SIZE - offset {
            return;
        }
        let (Ok(offset), Ok(len)) = (u32::try_from(offset), u32::try_from(len)) else {
            return;
        };
        let buf = helpers::pipe_buffer {
            page: page.into_raw(),
            offset,
            len,
            ops: &raw const helpers::nosteal_pipe_buf_ops,
            flags: 0,
            private: address(mark),
        };
        // SAFETY: The pipe is valid, locked and not full, so the slot at its head is free. The
        // buffer takes over the reference to the page, and its operations drop that.
        unsafe {
            helpers::qemufile_pipe_head_buf(self.pipe.as_ptr()).write(buf);
            helpers::qemufile_pipe_advance_head(self.pipe.as_ptr());
        }
    }
}

/// The address of `LENT` or `GIVEN` marks a pipe buffer that [`Pipe::lend`] or [`Pipe::give`] has
/// made. `tee(2)` copies the mark with the buffer.
static LENT: u8 = 0;
static GIVEN: u8 = 0;

fn address(mark: &'static u8) -> usize {
    core::ptr::from_ref(mark).addr()
}

/// Where the page of a [`PipeBuf`] comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// [`Pipe::lend`]
    Lent,
    /// [`Pipe::give`]
    Given,
    /// `write(2)` to the pipe: `anon_pipe_write()` has allocated the page and filled it.
    Written,
    /// Any other source.
    Other,
}

/// A buffer of a locked pipe, and how many of its bytes are to be moved.
pub(crate) struct PipeBuf<'a> {
    buf: &'a helpers::pipe_buffer,
    len: usize,
}

impl PipeBuf<'_> {
    /// The count of bytes to move.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether the bytes to be moved are one whole page.
    pub(crate) fn is_whole_page(&self) -> bool {
        let bytes = usize::try_from(self.buf.len).unwrap_or(usize::MAX);
        self.len == PAGE_SIZE && bytes == PAGE_SIZE && self.buf.offset == 0
    }

    /// Whether the page is the kernel's page of zeros.
    pub(crate) fn is_zeros(&self) -> bool {
        // SAFETY: The buffer holds a reference to its page.
        unsafe { helpers::qemufile_is_zero_page(self.buf.page) }
    }

    /// Where the page comes from.
    pub(crate) fn origin(&self) -> Origin {
        let buf = self.buf;
        if core::ptr::eq(buf.ops, &raw const helpers::nosteal_pipe_buf_ops) {
            return match buf.private {
                mark if mark == address(&LENT) => Origin::Lent,
                mark if mark == address(&GIVEN) => Origin::Given,
                _ => Origin::Other,
            };
        }
        // Only anon_pipe_write() sets one of these flags.
        let flags = helpers::PIPE_BUF_FLAG_CAN_MERGE | helpers::PIPE_BUF_FLAG_PACKET;
        // SAFETY: The operations of a buffer are valid while it is in a pipe.
        if buf.flags & flags != 0 && unsafe { (*buf.ops).try_steal.is_some() } {
            return Origin::Written;
        }
        Origin::Other
    }

    /// Whether the pipe has the only reference to the page.
    pub(crate) fn is_only_reference(&self) -> bool {
        // SAFETY: The buffer holds a reference to its page, and so to the folio.
        unsafe { helpers::qemufile_folio_refs(self.raw_folio()) == 1 }
    }

    /// Whether the page is charged to the memory cgroup that a new page of the current task would
    /// be charged to.
    pub(crate) fn is_charged_to_current(&self) -> bool {
        // SAFETY: The buffer holds a reference to its page, and so to the folio.
        unsafe { memcontrol::is_charged_to_current(self.raw_folio()) }
    }

    /// Takes another reference to the page. The pipe drops its own when the bytes have moved.
    pub(crate) fn page(&self) -> PageRef {
        // SAFETY: The buffer holds a reference to its page, so there can be one more, which is the
        // result's. A page in a buffer is not null.
        unsafe {
            helpers::qemufile_get_page(self.buf.page);
            PageRef::from_raw(NonNull::new_unchecked(self.buf.page))
        }
    }

    /// Calls `f` with the bytes to be moved.
    pub(crate) fn with_source<R>(&self, f: impl FnOnce(&mut IovIterSource<'_>) -> R) -> R {
        let bvec = bindings::bio_vec {
            bv_page: self.buf.page,
            // At most `buf.len`, which has this type.
            bv_len: self.len as u32,
            bv_offset: self.buf.offset,
        };
        let mut iter = MaybeUninit::<bindings::iov_iter>::uninit();
        // SAFETY: `iov_iter_bvec()` sets all of `iter`. It refers to `bvec`, which outlives it.
        unsafe {
            bindings::iov_iter_bvec(iter.as_mut_ptr(), bindings::ITER_SOURCE, &bvec, 1, self.len);
        }
        // SAFETY: `iter` is a valid source until this returns, and nobody else uses it.
        f(unsafe { IovIterSource::from_raw(iter.as_mut_ptr()) })
    }

    fn raw_folio(&self) -> *mut bindings::folio {
        // SAFETY: The buffer holds a reference to its page.
        unsafe { helpers::qemufile_page_folio(self.buf.page) }
    }
}

/// The receiver of a pipe's bytes.
pub(crate) trait SpliceTarget {
    /// Takes bytes of `buf`, for `pos`. Returns the count, at least one, or an error.
    fn take(&mut self, pos: i64, buf: &PipeBuf<'_>) -> Result<usize>;
}

/// A `splice_actor` of `__splice_from_pipe()`.
///
/// # Safety
///
/// `desc` must be the one that `splice_write` has made for a target of type `T`, and `buf` a buffer
/// of the pipe, which is locked.
unsafe extern "C" fn actor<T: SpliceTarget>(
    _pipe: *mut bindings::pipe_inode_info,
    buf: *mut helpers::pipe_buffer,
    desc: *mut helpers::splice_desc,
) -> c_int {
    // SAFETY: By the caller's promise. Nobody else changes a buffer of a locked pipe.
    let (target, pos, buf) = unsafe {
        (
            &mut *(*desc).u.data.cast::<T>(),
            (*desc).pos,
            PipeBuf {
                buf: &*buf,
                len: (*desc).len as usize,
            },
        )
    };
    from_result(|| Ok(c_int::try_from(target.take(pos, &buf)?)?))
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
    // SAFETY: All zeros is a valid `struct splice_desc`.
    let mut desc: helpers::splice_desc = unsafe { core::mem::zeroed() };
    desc.total_len = len;
    desc.flags = flags;
    desc.pos = *pos;
    desc.u.data = core::ptr::from_mut(target).cast();
    // SAFETY: The pipe is valid by the caller's promise, and locked for the call. `desc` is what
    // `actor` expects.
    let done = unsafe {
        helpers::qemufile_pipe_lock(pipe);
        let done = helpers::__splice_from_pipe(pipe, &mut desc, Some(actor::<T>));
        helpers::qemufile_pipe_unlock(pipe);
        done
    };
    *pos = desc.pos;
    match usize::try_from(done) {
        Ok(done) => Ok(done),
        Err(_) => Err(Error::from_errno(i32::try_from(done)?)),
    }
}

impl PageRef {
    /// The kernel's page of zeros.
    fn zeros() -> Self {
        // SAFETY: The page of zeros is never freed. The reference just taken is the result's.
        unsafe {
            let page = helpers::qemufile_zero_page();
            helpers::qemufile_get_page(page);
            Self::from_raw(NonNull::new_unchecked(page))
        }
    }

    /// Gives the reference to C.
    fn into_raw(self) -> *mut bindings::page {
        ManuallyDrop::new(self).as_ptr()
    }
}
