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

mod vtable;

pub(crate) use self::vtable::state_of;
pub(super) use self::vtable::Vtable;
use super::{
    bindings as helpers,
    compat::EOPNOTSUPP,
    file::Whence,
    poll::{
        Events,
        PollTable, //
    },
    splice::{
        Pipe,
        SpliceTarget, //
    },
};
use core::ops::Range;
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    ffi::c_int,
    fs::{
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

/// What `posix_fadvise(2)` advises.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// The bytes will not be needed soon: `POSIX_FADV_DONTNEED`.
    DontNeed,
    /// Any other valid advice.
    Other,
}

/// What `fallocate(2)` is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocate {
    /// Allocate memory, and grow the file unless `keep_size`.
    Reserve { keep_size: bool },
    /// Make a hole: `FALLOC_FL_PUNCH_HOLE`.
    Punch,
    /// Make zeros, and grow the file unless `keep_size`: `FALLOC_FL_ZERO_RANGE`.
    Zero { keep_size: bool },
}

impl Allocate {
    /// `EOPNOTSUPP` for any other mode.
    fn from_raw(mode: c_int) -> Result<Self> {
        let mode = u32::try_from(mode)?;
        let keep_size = mode & helpers::FALLOC_FL_KEEP_SIZE != 0;
        match mode & !helpers::FALLOC_FL_KEEP_SIZE {
            0 => Ok(Self::Reserve { keep_size }),
            helpers::FALLOC_FL_PUNCH_HOLE if keep_size => Ok(Self::Punch),
            helpers::FALLOC_FL_ZERO_RANGE => Ok(Self::Zero { keep_size }),
            _ => Err(EOPNOTSUPP),
        }
    }
}

/// The ranges of `FICLONE`, `FICLONERANGE` and `copy_file_range(2)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remap {
    /// Offset in the source, in bytes.
    pub(crate) from: u64,
    /// Offset in the target, in bytes.
    pub(crate) to: u64,
    /// How many bytes; 0 is all to the end of the source.
    pub(crate) len: u64,
}

/// The operations of an open file.
#[vtable]
pub(crate) trait FileOperations: Sized {
    /// What the file's `private_data` owns.
    type Ptr: ForeignOwnable + Send + Sync;

    /// Makes the state of a file that is being opened.
    ///
    /// The file gets what every seekable file of this driver has: a position that the VFS locks
    /// (`FMODE_ATOMIC_POS`), `RWF_NOWAIT`, `RWF_ATOMIC`, and `O_DIRECT`, which has no effect.
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
    fn read_iter(_kiocb: Kiocb<'_, Self::Ptr>, _dst: &mut IovIterDest<'_>) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes at the kiocb's position and moves it.
    fn write_iter(_kiocb: Kiocb<'_, Self::Ptr>, _src: &mut IovIterSource<'_>) -> Result<usize> {
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

    /// Registers the file's wait queues with `table`, and returns the current events.
    fn poll(
        _this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _table: &PollTable<'_>,
    ) -> Events {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Executes `cmd`. `arg` is an address in user memory, also for 32-bit callers.
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

    /// Moves up to `len` bytes from `pos` on to `pipe`, and advances `pos`.
    ///
    /// `nonblocking` is `SPLICE_F_NONBLOCK`.
    fn splice_read(
        _this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _pos: &mut i64,
        _pipe: &mut Pipe<'_>,
        _len: usize,
        _nonblocking: bool,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The receiver of a pipe's bytes, in the order of their positions.
    type Target<'a>: SpliceTarget;

    /// Begins a `->splice_write`.
    fn splice_write<'a>(
        this: <Self::Ptr as ForeignOwnable>::Borrowed<'a>,
        file: &'a File,
    ) -> Self::Target<'a>;

    /// Sets up a mapping of the file.
    fn mmap(
        _this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _vma: &VmaNew,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Begins or ends `O_ASYNC`; `fd` and `on` are for [`AsyncFile::set`].
    ///
    /// [`AsyncFile::set`]: super::fasync::AsyncFile::set
    fn fasync(
        _this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _fd: c_int,
        _on: c_int,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `posix_fadvise(2)`; `advice` is one of `POSIX_FADV_*`.
    fn fadvise(
        _this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _range: Range<i64>,
        _advice: Advice,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `fallocate(2)` for `range`, which is not empty. The VFS calls it only for regular files.
    fn fallocate(
        _this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _mode: Allocate,
        _range: Range<u64>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `FICLONE`, `FICLONERANGE` and `copy_file_range(2)` from `source` to `file`. Returns how many
    /// bytes.
    ///
    /// The VFS calls it only for two regular files of one file system.
    fn remap(
        _this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _source: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _what: Remap,
    ) -> Result<u64> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Adds lines to `/proc/PID/fdinfo/FD`.
    fn show_fdinfo(_this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>, _seq: &SeqFile) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `fsync(2)`: makes writes durable, and reports what failed.
    fn fsync(_this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>, _file: &File) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}
