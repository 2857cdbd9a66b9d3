// SPDX-License-Identifier: GPL-2.0

//! `struct file_operations` as a trait.
//!
//! [`MiscDevice`] covers a few of the operations; this covers every one that the driver has, for
//! files of any kind. A method that an implementation leaves out is a null pointer in the table,
//! and the VFS answers as its own documentation says.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! [`MiscDevice`]: kernel::miscdevice::MiscDevice

use super::{
    bindings as helpers,
    file::Whence,
    poll::{
        Events,
        PollTable, //
    },
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::VTABLE_DEFAULT_ERROR,
    ffi::{
        c_int,
        c_long,
        c_uint,
        c_ulong,
        c_void, //
    },
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    module::this_module,
    prelude::*,
    types::ForeignOwnable, //
};

/// What can be done with an open file.
#[vtable]
pub(crate) trait FileOperations: Sized {
    /// What the file's `private_data` owns.
    type Ptr: ForeignOwnable + Send + Sync;

    /// Makes the state of a file that is being opened.
    ///
    /// The file gets what every seekable file of this driver has: a position that the VFS locks
    /// (`FMODE_ATOMIC_POS`), `RWF_NOWAIT`, `RWF_ATOMIC`, and an `O_DIRECT` that means nothing.
    fn open(file: &File) -> Result<Self::Ptr>;

    /// The last reference to the file is gone.
    fn release(this: Self::Ptr, _file: &File) {
        drop(this);
    }

    /// A descriptor of the file is being closed; an error becomes the result of `close(2)`.
    fn flush(_this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>, _file: &File) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads at the kiocb's position and moves it.
    fn read_iter(
        _kiocb: Kiocb<'_, Self::Ptr>,
        _dst: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes at the kiocb's position and moves it.
    fn write_iter(
        _kiocb: Kiocb<'_, Self::Ptr>,
        _src: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Moves the file's position and returns the new one.
    fn llseek(
        _this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _offset: i64,
        _whence: Whence,
    ) -> Result<i64> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Registers with `table` what can change the answer, and gives the answer.
    fn poll(
        _this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _table: &PollTable<'_>,
    ) -> Events {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Does what `cmd` says; `arg` is an address in user memory, of 32-bit callers, too.
    ///
    /// The numbers are the same for both, and so are the layouts of what `arg` points at.
    fn ioctl(
        _this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _cmd: u32,
        _arg: usize,
    ) -> Result<u32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes what was written last; reports what could not be.
    fn fsync(_this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>, _file: &File) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

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
    pub(super) unsafe fn init_file(file: *mut bindings::file, ptr: T::Ptr) {
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
        owner: this_module::<T::OwnerModule>().as_ptr(),
        open: Some(Self::open),
        release: Some(Self::release),
        flush: if T::HAS_FLUSH { Some(Self::flush) } else { None },
        read_iter: if T::HAS_READ_ITER { Some(Self::read_iter) } else { None },
        write_iter: if T::HAS_WRITE_ITER { Some(Self::write_iter) } else { None },
        llseek: if T::HAS_LLSEEK { Some(Self::llseek) } else { None },
        poll: if T::HAS_POLL { Some(Self::poll) } else { None },
        unlocked_ioctl: if T::HAS_IOCTL { Some(Self::ioctl) } else { None },
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: if T::HAS_IOCTL { bindings::compat_ptr_ioctl } else { None },
        fsync: if T::HAS_FSYNC { Some(Self::fsync) } else { None },
        ..pin_init::zeroed()
    };

    /// The table, for a `struct file` or whatever makes them.
    pub(super) const fn build() -> &'static bindings::file_operations {
        &Self::TABLE
    }
}
