// SPDX-License-Identifier: GPL-2.0

//! A file system of the module's regular files: mounted by users, and by the module itself for
//! files without names.
//!
//! Its shape is that of `fs/ramfs/inode.c`: the dentry cache is the directory tree, and libfs does
//! the rest.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h)

mod context;
mod dir;
mod internal;
mod node;
mod open;
mod owner;
mod super_block;

pub(crate) use self::{
    context::{
        Log,
        Parameter,
        Value, //
    },
    internal::{
        Internal,
        Mounted, //
    },
    open::{
        is_for_mapping,
        node_of,
        Mount,
        O_FOR_MAPPING, //
    },
    owner::{
        Kgid,
        Kuid,
        Owner, //
    },
    super_block::Registration,
};

use super::{
    compat::this_module,
    file_operations::FileOperations,
    mmap::Fault, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    ffi::c_int,
    prelude::*,
    seq_file::SeqFile,
    types::{
        ForeignOwnable,
        Opaque, //
    },
};

/// Memory and inodes of a mount, for `statfs(2)`.
pub(crate) struct Figures {
    /// Blocks of the size of a page, all and free.
    pub(crate) blocks: u64,
    pub(crate) free_blocks: u64,
    /// Inodes, all and free.
    pub(crate) inodes: u64,
    pub(crate) free_inodes: u64,
}

/// What a file system defines.
pub(crate) trait FileSystem: Sized + 'static {
    /// The name that `mount -t` takes.
    const NAME: &'static CStr;

    /// `f_type` of `statfs(2)`.
    const MAGIC: u32;

    /// What the inode of a regular file owns.
    type Node: ForeignOwnable + Send + Sync;

    /// The operations of open regular files.
    type File: FileOperations;

    /// A regular file's length and the memory that it takes, both in bytes.
    fn size(node: <Self::Node as ForeignOwnable>::Borrowed<'_>) -> (i64, u64);

    /// Gives a regular file another length, in bytes, for `truncate(2)`.
    fn set_size(node: <Self::Node as ForeignOwnable>::Borrowed<'_>, size: i64) -> Result;

    /// Handles a page fault. `ENOMEM` if there is no memory; any other error is a
    /// `SIGBUS`.
    fn fault(node: <Self::Node as ForeignOwnable>::Borrowed<'_>, fault: &Fault<'_>) -> Result;

    /// Notes another shared mapping that may be written to, or made writable: a part or a copy of
    /// one that was noted before.
    fn mapping_added(node: <Self::Node as ForeignOwnable>::Borrowed<'_>);

    /// Notes that such a mapping is gone.
    fn mapping_removed(node: <Self::Node as ForeignOwnable>::Borrowed<'_>);

    /// The options that `mount -o` takes.
    const PARAMETERS: &'static [Parameter];

    /// The options of one mount or remount.
    type Options: Default + Send + 'static;

    /// Notes an option. Reports an invalid value in `log`: `EINVAL`.
    fn set_option(
        options: &mut Self::Options,
        log: &Log<'_>,
        option: u8,
        value: Value<'_>,
    ) -> Result;

    /// What a mounted superblock owns.
    type Bounds: Send + Sync + 'static;

    /// Makes the bounds of a new superblock. Its root directory is one inode.
    fn mount(options: &Self::Options) -> Result<KBox<Self::Bounds>>;

    /// Applies the options of a remount. `EINVAL` for a change that is not possible.
    fn remount(bounds: &Self::Bounds, options: &Self::Options, log: &Log<'_>) -> Result;

    /// The root directory's permissions and owner.
    fn root(bounds: &Self::Bounds) -> (u16, Owner);

    /// Shows the options, each after a comma, in `/proc/mounts`.
    fn show_options(bounds: &Self::Bounds, seq: &SeqFile);

    /// The figures of `statfs(2)`.
    fn statfs(bounds: &Self::Bounds) -> Figures;

    /// Takes an inode. `ENOSPC` at the limit.
    fn take_inode(bounds: &Self::Bounds) -> Result;

    /// Gives an inode back.
    fn give_inode(bounds: &Self::Bounds);

    /// Makes what a new regular file owns, and its inode number.
    fn create(bounds: &Self::Bounds) -> Result<(u64, Self::Node)>;

    /// The inode number of a new directory or symbolic link.
    fn number() -> u64;
}

/// A file system type. It has to be a `static`.
pub(crate) struct FileSystemType<T: FileSystem> {
    raw: Opaque<bindings::file_system_type>,
    _fs: PhantomData<fn() -> T>,
}

// SAFETY: The VFS locks what it changes in the struct.
unsafe impl<T: FileSystem> Sync for FileSystemType<T> {}

impl<T: FileSystem> FileSystemType<T> {
    const fn new(
        init: unsafe extern "C" fn(*mut bindings::fs_context) -> c_int,
        kill: unsafe extern "C" fn(*mut bindings::super_block),
        parameters: &'static [Parameter],
    ) -> Self {
        Self {
            raw: Opaque::new(bindings::file_system_type {
                name: kernel::str::as_char_ptr_in_const_context(T::NAME),
                owner: this_module(),
                // `mmap` opens a file under `mmap_lock`. A permission event of fanotify would wait
                // for user space there.
                fs_flags: bindings::FS_DISALLOW_NOTIFY_PERM as c_int,
                init_fs_context: Some(init),
                // An array of `fs_parameter_spec`, which `kernel::bindings` does not define.
                parameters: parameters.as_ptr().cast(),
                kill_sb: Some(kill),
                ..pin_init::zeroed()
            }),
            _fs: PhantomData,
        }
    }

    fn as_ptr(&self) -> *mut bindings::file_system_type {
        self.raw.get()
    }
}
