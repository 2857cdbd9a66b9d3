// SPDX-License-Identifier: GPL-2.0

//! `SIGIO` for files with `O_ASYNC`.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use core::cell::UnsafeCell;
use kernel::{
    bindings,
    error::to_result,
    ffi::c_int,
    fs::File,
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// The event of a signal, its `si_band`.
#[derive(Clone, Copy)]
pub(crate) enum Band {
    /// There is something to read.
    In,
    /// There is room to write.
    Out,
}

/// A list of the files whose owners get a signal.
///
/// [`AsyncFile`] puts a file on it. The VFS takes a file off the list before it is released
/// (`__fput()`), so a list in an object that every open file keeps alive is empty when that object
/// is freed.
pub(crate) struct AsyncQueue(UnsafeCell<*mut bindings::fasync_struct>);

// SAFETY: The kernel locks the list.
unsafe impl Send for AsyncQueue {}
// SAFETY: The kernel locks the list.
unsafe impl Sync for AsyncQueue {}

impl AsyncQueue {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(core::ptr::null_mut()))
    }

    /// Puts `file` on the list or takes it off. Returns whether that changed anything. `ENOMEM`.
    fn set(&self, fd: c_int, file: &File, on: c_int) -> Result<bool> {
        // SAFETY: The file and the list are valid.
        let ret = unsafe { bindings::fasync_helper(fd, file.as_ptr(), on, self.0.get()) };
        to_result(ret.min(0))?;
        Ok(ret > 0)
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
        let list = self.0.get_mut();
        // SAFETY: The list is valid, and nobody else has it. An entry's file is open: the VFS takes
        // a file off the list before it frees it. So each call finds the file and takes it off.
        unsafe {
            while let Some(entry) = list.as_ref() {
                bindings::fasync_helper(-1, entry.fa_file, 0, list);
            }
        }
    }
}

/// Keeps an open file on all lists of a set, or on none.
///
/// `FASYNC` is one flag for all lists. Each `fasync_helper()` sets or clears it, and `__fput()`
/// calls `->fasync` only if it is set. If two calls for one file interleaved, the file could be on
/// a list with the flag clear, and the list would keep a pointer to a freed file. One lock of the
/// file therefore covers a change of all lists, as the pipe's lock does in `pipe_fasync()`.
#[pin_data]
pub(crate) struct AsyncFile {
    #[pin]
    changing: Mutex<()>,
}

impl AsyncFile {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            changing <- new_mutex!((), "AsyncFile::changing"),
        })
    }

    /// Puts `file` on all `lists` or takes it off them, as `->fasync` requests. Each call for a
    /// file has to pass the same lists.
    ///
    /// `ENOMEM`; the lists are then as they were.
    pub(crate) fn set<const N: usize>(
        &self,
        lists: [Option<&AsyncQueue>; N],
        fd: c_int,
        file: &File,
        on: c_int,
    ) -> Result {
        let _changing = self.changing.lock();
        let mut is_new = false;
        for (index, list) in lists.iter().enumerate() {
            let Some(list) = list else {
                continue;
            };
            match list.set(fd, file, on) {
                Ok(changed) => is_new |= changed,
                Err(err) => {
                    // This call put the file on all lists before `index`, or it was on all before.
                    if is_new {
                        for list in lists.iter().take(index).flatten() {
                            // Removal needs no memory and does not fail.
                            let _ = list.set(-1, file, 0);
                        }
                    }
                    return Err(err);
                }
            }
        }
        Ok(())
    }
}
