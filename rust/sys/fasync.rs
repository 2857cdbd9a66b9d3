// SPDX-License-Identifier: GPL-2.0

//! `SIGIO` to whoever asked for it with `O_ASYNC`.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::bindings as helpers;
use core::cell::UnsafeCell;
use kernel::{
    bindings,
    error::to_result,
    ffi::c_int,
    fs::File,
    prelude::*, //
};

/// What has become possible, as `si_band` tells it.
#[derive(Clone, Copy)]
pub(crate) enum Band {
    /// There is something to read.
    In,
    /// There is room to write.
    Out,
}

/// The files whose owners want a signal.
///
/// The VFS takes a file off the list before it is released (`__fput()`), so a list in an object
/// that every open file keeps alive is empty when that object is freed.
pub(crate) struct AsyncQueue(UnsafeCell<*mut bindings::fasync_struct>);

// SAFETY: The kernel locks the list.
unsafe impl Send for AsyncQueue {}
// SAFETY: The kernel locks the list.
unsafe impl Sync for AsyncQueue {}

impl AsyncQueue {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(core::ptr::null_mut()))
    }

    /// Puts `file` on the list or takes it off, as `->fasync` is told. `ENOMEM`.
    pub(crate) fn set(&self, fd: c_int, file: &File, on: c_int) -> Result {
        // SAFETY: The file and the list are valid.
        let ret = unsafe { bindings::fasync_helper(fd, file.as_ptr(), on, self.0.get()) };
        to_result(ret.min(0))
    }

    /// Sends the signal. May be called from any context.
    pub(crate) fn signal(&self, band: Band) {
        let band = match band {
            Band::In => bindings::POLL_IN,
            Band::Out => bindings::POLL_OUT,
        };
        // SAFETY: The list is valid, the kernel locks it.
        unsafe { bindings::kill_fasync(self.0.get(), bindings::SIGIO as c_int, band as c_int) };
    }
}

impl Drop for AsyncQueue {
    fn drop(&mut self) {
        // SAFETY: The list is valid; what is on it is there with a file that is open.
        unsafe { helpers::qemufile_fasync_clear(self.0.get()) };
    }
}
