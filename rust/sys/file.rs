// SPDX-License-Identifier: GPL-2.0

//! Open files, and single reads and writes on them: additions to the `kernel` crate's [`File`] and
//! [`Kiocb`].
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::bindings as helpers;
use kernel::{
    bindings,
    error::to_result,
    fs::{
        file::flags::O_NONBLOCK,
        File,
        Kiocb, //
    },
    prelude::*,
    types::ForeignOwnable, //
};

/// The largest offset of a file, in bytes: `MAX_LFS_FILESIZE` of a 64-bit kernel.
pub(crate) const MAX_FILE_SIZE: i64 = i64::MAX;

/// The most bytes that one call moves.
pub(crate) const MAX_RW_COUNT: usize = helpers::QEMUFILE_MAX_RW_COUNT;

/// Where `lseek` counts from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whence {
    /// `SEEK_SET`, `SEEK_CUR` and `SEEK_END`, which [`FileExt::seek`] knows.
    Position(i32),
    /// `SEEK_DATA`
    Data,
    /// `SEEK_HOLE`
    Hole,
}

impl Whence {
    /// `EINVAL` for any other number.
    pub(super) fn from_raw(whence: i32) -> Result<Self> {
        match u32::try_from(whence)? {
            bindings::SEEK_SET | bindings::SEEK_CUR | bindings::SEEK_END => {
                Ok(Self::Position(whence))
            }
            bindings::SEEK_DATA => Ok(Self::Data),
            bindings::SEEK_HOLE => Ok(Self::Hole),
            _ => Err(EINVAL),
        }
    }
}

/// More of `struct file`.
pub(crate) trait FileExt {
    /// Whether it was opened for reading.
    fn is_readable(&self) -> bool;

    /// Whether it was opened for writing.
    fn is_writable(&self) -> bool;

    /// The file's position, in bytes. Another task may change it at any time.
    fn position(&self) -> i64;

    /// Sets the position of a file that is not in use by others yet.
    fn start_at(&self, position: i64);

    /// Moves the position as `generic_file_llseek()` does in a file of `len` bytes, and returns
    /// the new one.
    ///
    /// `EINVAL` if it would be negative or would overflow.
    fn seek(&self, offset: i64, whence: Whence, len: i64) -> Result<i64>;

    /// Notes that the file was read: `file_accessed()`.
    fn accessed(&self);

    /// How many of `count` bytes at `position` the process may write: `generic_write_checks()`
    /// without the checks of the inode.
    ///
    /// `EFBIG` if none: past `RLIMIT_FSIZE` (`SIGXFSZ` is sent, too) or the largest offset.
    fn write_limit(&self, position: i64, count: usize) -> Result<usize>;
}

impl FileExt for File {
    fn is_readable(&self) -> bool {
        // SAFETY: `f_mode`'s access bits do not change while the file is open.
        unsafe { (*self.as_ptr()).f_mode & helpers::QEMUFILE_FMODE_READ != 0 }
    }

    fn is_writable(&self) -> bool {
        // SAFETY: As above.
        unsafe { (*self.as_ptr()).f_mode & helpers::QEMUFILE_FMODE_WRITE != 0 }
    }

    fn position(&self) -> i64 {
        // SAFETY: The field is valid; a volatile read of an aligned `loff_t` is C's READ_ONCE().
        unsafe { core::ptr::addr_of!((*self.as_ptr()).f_pos).read_volatile() }
    }

    fn start_at(&self, position: i64) {
        // SAFETY: The field is valid. If another task sets it at the same time, one of the two
        // positions stays.
        unsafe { core::ptr::addr_of_mut!((*self.as_ptr()).f_pos).write_volatile(position) };
    }

    fn seek(&self, offset: i64, whence: Whence, len: i64) -> Result<i64> {
        // SAFETY: The file is valid.
        let pos = unsafe {
            match whence {
                Whence::Position(whence) => bindings::generic_file_llseek_size(
                    self.as_ptr(),
                    offset,
                    whence,
                    MAX_FILE_SIZE,
                    len,
                ),
                // The caller has found the data or the hole.
                Whence::Data | Whence::Hole => {
                    bindings::vfs_setpos(self.as_ptr(), offset, MAX_FILE_SIZE)
                }
            }
        };
        match i32::try_from(pos) {
            Ok(errno) if errno < 0 => Err(Error::from_errno(errno)),
            _ => Ok(pos),
        }
    }

    fn accessed(&self) {
        // SAFETY: The file is valid and has an inode.
        unsafe { helpers::qemufile_file_accessed(self.as_ptr()) };
    }

    fn write_limit(&self, position: i64, count: usize) -> Result<usize> {
        let mut allowed = i64::try_from(count)?;
        // SAFETY: The file is valid and has an inode, `allowed` can be written.
        to_result(unsafe {
            bindings::generic_write_check_limits(self.as_ptr(), position, &mut allowed)
        })?;
        Ok(usize::try_from(allowed)?)
    }
}

/// The position of an open file, locked against other calls.
///
/// The VFS takes the same lock for `read(2)`, `write(2)` and `lseek(2)`, but not for `ioctl(2)`.
pub(crate) struct PositionGuard<'a> {
    file: &'a File,
}

impl<'a> PositionGuard<'a> {
    /// Waits until no other call uses the file's position.
    ///
    /// `ERESTARTSYS` when a signal comes, `EINVAL` for a file whose position has no lock.
    pub(crate) fn lock(file: &'a File) -> Result<Self> {
        // SAFETY: The file is valid, and this bit does not change while it is open.
        let mode = unsafe { (*file.as_ptr()).f_mode };
        // Without the bit, something else may be in the lock's place, which is in a union.
        if mode & helpers::QEMUFILE_FMODE_ATOMIC_POS == 0 {
            return Err(EINVAL);
        }
        let lock = Self::raw_lock(file);
        // SAFETY: The lock is initialised, as the mode says, and the file keeps it.
        match unsafe { helpers::qemufile_mutex_lock_interruptible(lock) } {
            0 => Ok(Self { file }),
            err if err == EINTR.to_errno() => Err(ERESTARTSYS),
            err => Err(Error::from_errno(err)),
        }
    }

    fn raw_lock(file: &File) -> *mut bindings::mutex {
        // SAFETY: The file is valid; this only finds the place of the lock.
        unsafe { &raw mut (*file.as_ptr()).__bindgen_anon_2.f_pos_lock }
    }

    /// The position, in bytes.
    pub(crate) fn get(&self) -> i64 {
        self.file.position()
    }

    /// Moves the position, to a byte of the file.
    pub(crate) fn set(&mut self, position: i64) {
        self.file.start_at(position);
    }
}

impl Drop for PositionGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: Locked in `lock`.
        unsafe { bindings::mutex_unlock(Self::raw_lock(self.file)) };
    }
}

/// More of `struct kiocb`.
pub(crate) trait KiocbExt {
    /// The open file.
    fn open_file(&self) -> &File;

    /// `IO_APPEND`: `O_APPEND` or `RWF_APPEND`.
    fn is_append(&self) -> bool;

    /// `IO_NDELAY`: `O_NONBLOCK` or `RWF_NOWAIT`; do not wait for data or room.
    fn is_nonblocking(&self) -> bool;

    /// `RWF_NOWAIT`: do not wait for a lock either.
    fn is_nowait(&self) -> bool;

    /// `IO_UNIT`: `RWF_ATOMIC`, all or nothing.
    fn is_atomic(&self) -> bool;

    /// Whether it is an asynchronous request of io_uring or aio: `!is_sync_kiocb()`.
    fn is_queued(&self) -> bool;
}

fn has_flag<T: ForeignOwnable>(kiocb: &Kiocb<'_, T>, flag: i32) -> bool {
    // SAFETY: The kiocb is valid and its flags do not change during the call.
    unsafe { (*kiocb.as_raw()).ki_flags & flag != 0 }
}

impl<T: ForeignOwnable> KiocbExt for Kiocb<'_, T> {
    fn open_file(&self) -> &File {
        // SAFETY: The kiocb holds a reference to its file, and this thread is in no other
        // fdget_pos section of it.
        unsafe { File::from_raw_file((*self.as_raw()).ki_filp) }
    }

    fn is_append(&self) -> bool {
        has_flag(self, helpers::QEMUFILE_IOCB_APPEND)
    }

    fn is_nonblocking(&self) -> bool {
        self.is_nowait() || self.open_file().flags() & O_NONBLOCK != 0
    }

    fn is_nowait(&self) -> bool {
        has_flag(self, helpers::QEMUFILE_IOCB_NOWAIT)
    }

    fn is_atomic(&self) -> bool {
        has_flag(self, helpers::QEMUFILE_IOCB_ATOMIC)
    }

    fn is_queued(&self) -> bool {
        // SAFETY: The kiocb is valid and this field does not change during the call.
        unsafe { (*self.as_raw()).ki_complete.is_some() }
    }
}
