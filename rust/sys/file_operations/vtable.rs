// SPDX-License-Identifier: GPL-2.0

//! The C side of [`FileOperations`]: a shim an operation.
//!
//! The file is long because the table is: one shim and one entry for each operation, all alike.

use super::{
    Advice,
    Allocate,
    FileOperations,
    Remap, //
};
use crate::sys::{
    bindings as helpers,
    compat::{
        this_module,
        EOPNOTSUPP, //
    },
    file::Whence,
    poll::PollTable,
    splice::{
        self,
        Pipe, //
    },
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::from_result,
    ffi::{
        c_int,
        c_long,
        c_uint,
        c_ulong,
        c_void, //
    },
    fs::{
        file::LocalFile,
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile,
    types::ForeignOwnable, //
};

/// The table of an implementation.
pub(crate) struct Vtable<T: FileOperations>(PhantomData<T>);

/// The state of an open file, as its operations see it.
///
/// # Safety
///
/// `file` must be valid for `'a`, opened through [`Vtable<T>`] and not yet released.
unsafe fn state<'a, T: FileOperations>(
    file: *mut bindings::file,
) -> <T::Ptr as ForeignOwnable>::Borrowed<'a> {
    // SAFETY: `open` put it there, and only `release` takes it away.
    unsafe { <T::Ptr as ForeignOwnable>::borrow((*file).private_data) }
}

/// The state of an open file, if its operations are those of `T`.
pub(crate) fn state_of<T: FileOperations>(
    file: &LocalFile,
) -> Option<<T::Ptr as ForeignOwnable>::Borrowed<'_>> {
    // SAFETY: The reference keeps the file open. Its table says what has opened it.
    unsafe {
        let is_ours = core::ptr::eq((*file.as_ptr()).f_op, Vtable::<T>::build());
        is_ours.then(|| state::<T>(file.as_ptr()))
    }
}

/// A C return value: the negative error number, or zero.
fn status(result: Result) -> c_int {
    result.map_or_else(|err| err.to_errno(), |()| 0)
}

/// A C return value: the negative error number, or the count of bytes.
fn count(result: Result<usize>) -> isize {
    match result {
        // A count is at most MAX_RW_COUNT.
        Ok(bytes) => isize::try_from(bytes).unwrap_or(isize::MAX),
        Err(err) => err.to_errno() as isize,
    }
}

impl<T: FileOperations> Vtable<T> {
    /// # Safety
    ///
    /// `file` is being opened through this table, on `inode`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: Both are valid and being opened.
        let ret = unsafe { bindings::generic_file_open(inode, file) };
        if ret != 0 {
            return ret;
        }
        // SAFETY: The file is valid; nobody else has it yet.
        match T::open(unsafe { File::from_raw_file(file) }) {
            Ok(ptr) => {
                // SAFETY: During `open` the fields of the file are ours to set.
                unsafe { Self::init_file(file, ptr) };
                0
            }
            Err(err) => err.to_errno(),
        }
    }

    /// Gives a new file its state.
    ///
    /// # Safety
    ///
    /// Nobody else may be using `file`, and its operations must be this table.
    pub(in crate::sys) unsafe fn init_file(file: *mut bindings::file, ptr: T::Ptr) {
        // SAFETY: By the caller's promise.
        unsafe {
            (*file).private_data = ptr.into_foreign();
            (*file).f_mode |= helpers::QEMUFILE_FMODE_SEEKABLE
                | helpers::QEMUFILE_FMODE_ATOMIC_POS
                | helpers::QEMUFILE_FMODE_NOWAIT
                | helpers::QEMUFILE_FMODE_CAN_ODIRECT
                | helpers::QEMUFILE_FMODE_CAN_ATOMIC_WRITE;
        }
    }

    /// # Safety
    ///
    /// `file` was opened through this table and is being released.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` put the pointer there, and this is the last operation on the file.
        let ptr = unsafe { T::Ptr::from_foreign((*file).private_data) };
        // SAFETY: The file is valid during this call.
        T::release(ptr, unsafe { File::from_raw_file(file) });
        0
    }

    /// # Safety
    ///
    /// `file` is open through this table.
    unsafe extern "C" fn flush(file: *mut bindings::file, _id: *mut c_void) -> c_int {
        // SAFETY: By the caller's promise, as for all of these.
        let (this, file) = unsafe { (state::<T>(file), File::from_raw_file(file)) };
        status(T::flush(this, file))
    }

    /// # Safety
    ///
    /// `kiocb` is of a file that is open through this table; `iter` is a destination.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: By the caller's promise.
        let (kiocb, dst) = unsafe { (Kiocb::from_raw(kiocb), IovIterDest::from_raw(iter)) };
        count(T::read_iter(kiocb, dst))
    }

    /// # Safety
    ///
    /// `kiocb` is of a file that is open through this table; `iter` is a source.
    unsafe extern "C" fn write_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: By the caller's promise.
        let (kiocb, src) = unsafe { (Kiocb::from_raw(kiocb), IovIterSource::from_raw(iter)) };
        count(T::write_iter(kiocb, src))
    }

    /// # Safety
    ///
    /// `file` is open through this table.
    unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: c_int) -> i64 {
        // SAFETY: By the caller's promise.
        let (this, file) = unsafe { (state::<T>(file), File::from_raw_file(file)) };
        Whence::from_raw(whence)
            .and_then(|whence| T::llseek(this, file, offset, whence))
            .unwrap_or_else(|err| err.to_errno().into())
    }

    /// # Safety
    ///
    /// `file` is open through this table; `table` is null or valid.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table,
    ) -> bindings::__poll_t {
        // SAFETY: By the caller's promise.
        let (this, file, table) = unsafe {
            (
                state::<T>(file),
                File::from_raw_file(file),
                PollTable::from_raw(table),
            )
        };
        T::poll(this, file, &table).as_raw()
    }

    /// # Safety
    ///
    /// `file` is open through this table.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: By the caller's promise.
        let (this, file) = unsafe { (state::<T>(file), File::from_raw_file(file)) };
        // A descriptor number fits in an int.
        count(T::ioctl(this, file, cmd, arg).and_then(|value| Ok(usize::try_from(value)?)))
    }

    /// # Safety
    ///
    /// `file` is open through this table; `pos` can be written, `pipe` is locked.
    unsafe extern "C" fn splice_read(
        file: *mut bindings::file,
        pos: *mut i64,
        pipe: *mut bindings::pipe_inode_info,
        len: usize,
        flags: c_uint,
    ) -> isize {
        // SAFETY: By the caller's promise.
        let (this, file, pos, mut pipe) = unsafe {
            (
                state::<T>(file),
                File::from_raw_file(file),
                &mut *pos,
                Pipe::from_raw(NonNull::new_unchecked(pipe)),
            )
        };
        let nonblocking = flags & helpers::SPLICE_F_NONBLOCK != 0;
        count(T::splice_read(this, file, pos, &mut pipe, len, nonblocking))
    }

    /// # Safety
    ///
    /// `file` is open through this table; `pos` can be written, `pipe` is valid and not locked.
    unsafe extern "C" fn splice_write(
        pipe: *mut bindings::pipe_inode_info,
        file: *mut bindings::file,
        pos: *mut i64,
        len: usize,
        flags: c_uint,
    ) -> isize {
        // SAFETY: By the caller's promise.
        let (this, file, pos) = unsafe { (state::<T>(file), File::from_raw_file(file), &mut *pos) };
        let mut target = T::splice_write(this, file);
        // SAFETY: By the caller's promise.
        count(unsafe { splice::splice_write(pipe, pos, len, flags, &mut target) })
    }

    /// # Safety
    ///
    /// `file` is open through this table; `vma` is a new mapping of it that is being set up.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        let (this, file, vma) = unsafe {
            (
                state::<T>(file),
                File::from_raw_file(file),
                VmaNew::from_raw(vma),
            )
        };
        status(T::mmap(this, file, vma))
    }

    /// # Safety
    ///
    /// `file` is open through this table.
    unsafe extern "C" fn fasync(fd: c_int, file: *mut bindings::file, on: c_int) -> c_int {
        // SAFETY: By the caller's promise.
        let (this, file) = unsafe { (state::<T>(file), File::from_raw_file(file)) };
        status(T::fasync(this, file, fd, on))
    }

    /// # Safety
    ///
    /// `file` is open through this table.
    unsafe extern "C" fn fadvise(
        file: *mut bindings::file,
        start: i64,
        len: i64,
        advice: c_int,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        let this = unsafe { state::<T>(file) };
        from_result(|| {
            let advice = match u32::try_from(advice)? {
                helpers::POSIX_FADV_DONTNEED => Advice::DontNeed,
                helpers::POSIX_FADV_NORMAL..=helpers::POSIX_FADV_NOREUSE => Advice::Other,
                _ => return Err(EINVAL),
            };
            // A length of 0 is all there is from `start` on.
            let end = match len {
                0 => i64::MAX,
                1.. => start.saturating_add(len),
                _ => return Err(EINVAL),
            };
            T::fadvise(this, start..end, advice)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `file` is open through this table.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: c_int,
        start: i64,
        len: i64,
    ) -> c_long {
        // SAFETY: By the caller's promise.
        let (this, file) = unsafe { (state::<T>(file), File::from_raw_file(file)) };
        from_result(|| {
            let end = start.checked_add(len).ok_or(EFBIG)?;
            let range = u64::try_from(start)?..u64::try_from(end)?;
            T::fallocate(this, file, Allocate::from_raw(mode)?, range)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `file` is open through this table, and so is `source`, as the VFS takes the operation from
    /// the source and both are of one file system.
    unsafe extern "C" fn remap_file_range(
        source: *mut bindings::file,
        from: i64,
        file: *mut bindings::file,
        to: i64,
        len: i64,
        flags: c_uint,
    ) -> i64 {
        // SAFETY: By the caller's promise.
        let (this, source, file) = unsafe {
            (
                state::<T>(file),
                state::<T>(source),
                File::from_raw_file(file),
            )
        };
        from_result(|| {
            // Nothing is compared, so nothing is deduplicated.
            if flags & !bindings::REMAP_FILE_ADVISORY != 0 {
                return Err(EOPNOTSUPP);
            }
            let what = Remap {
                from: u64::try_from(from)?,
                to: u64::try_from(to)?,
                len: u64::try_from(len)?,
            };
            let done = T::remap(this, file, source, what)?;
            Ok(i64::try_from(done)?)
        })
    }

    /// # Safety
    ///
    /// `file` is open through this table, `seq` can be written to.
    unsafe extern "C" fn show_fdinfo(seq: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: By the caller's promise.
        let (this, seq) = unsafe { (state::<T>(file), SeqFile::from_raw(seq)) };
        T::show_fdinfo(this, seq);
    }

    /// # Safety
    ///
    /// `file` is open through this table.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        _start: i64,
        _end: i64,
        _datasync: c_int,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        let (this, file) = unsafe { (state::<T>(file), File::from_raw_file(file)) };
        status(T::fsync(this, file))
    }

    const TABLE: bindings::file_operations = bindings::file_operations {
        fop_flags: helpers::QEMUFILE_FOP_FLAGS,
        owner: this_module(),
        open: Some(Self::open),
        release: Some(Self::release),
        flush: if T::HAS_FLUSH {
            Some(Self::flush)
        } else {
            None
        },
        read_iter: if T::HAS_READ_ITER {
            Some(Self::read_iter)
        } else {
            None
        },
        write_iter: if T::HAS_WRITE_ITER {
            Some(Self::write_iter)
        } else {
            None
        },
        llseek: if T::HAS_LLSEEK {
            Some(Self::llseek)
        } else {
            None
        },
        poll: if T::HAS_POLL { Some(Self::poll) } else { None },
        unlocked_ioctl: if T::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: if T::HAS_IOCTL {
            bindings::compat_ptr_ioctl
        } else {
            None
        },
        splice_read: if T::HAS_SPLICE_READ {
            Some(Self::splice_read)
        } else {
            None
        },
        splice_write: if T::HAS_SPLICE_WRITE {
            Some(Self::splice_write)
        } else {
            None
        },
        mmap: if T::HAS_MMAP { Some(Self::mmap) } else { None },
        fasync: if T::HAS_FASYNC {
            Some(Self::fasync)
        } else {
            None
        },
        fadvise: if T::HAS_FADVISE {
            Some(Self::fadvise)
        } else {
            None
        },
        fallocate: if T::HAS_FALLOCATE {
            Some(Self::fallocate)
        } else {
            None
        },
        remap_file_range: if T::HAS_REMAP {
            Some(Self::remap_file_range)
        } else {
            None
        },
        show_fdinfo: if T::HAS_SHOW_FDINFO {
            Some(Self::show_fdinfo)
        } else {
            None
        },
        fsync: if T::HAS_FSYNC {
            Some(Self::fsync)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// The table, for a `struct file` or whatever makes them.
    pub(in crate::sys) const fn build() -> &'static bindings::file_operations {
        &Self::TABLE
    }
}
