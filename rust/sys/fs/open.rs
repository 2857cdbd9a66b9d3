// SPDX-License-Identifier: GPL-2.0

//! Open regular files that the module makes itself, without `open(2)`.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    internal,
    node::{
        self,
        Description,
        Regular, //
    },
    super_block::bounds,
    FileSystem, //
};
use crate::sys::{
    bindings as helpers,
    file::FileExt,
    inode::InodeRef,
    mmap::make_mixed, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_int,
    fs::{
        file::flags::{
            O_DIRECTORY,
            O_NONBLOCK,
            O_RDWR,
            O_WRONLY, //
        },
        File, //
    },
    mm::virt::VmaNew,
    prelude::*,
    sync::aref::ARef,
    types::ForeignOwnable, //
};

/// The part of the flags of `open(2)` that says what a file is opened for.
const O_ACCMODE: u32 = O_WRONLY | O_RDWR;

/// The flags of a file that a mapping is by, beside `O_RDONLY` or `O_RDWR`.
///
/// It is open for reading: the kernel reads from a mapping's file, and warns if it may not
/// (`__kernel_read()`, for the build ID that `PROCMAP_QUERY` asks for). It must not wait there. If
/// the mapping may be written to, the file is open for writing, too. So the mount cannot be made
/// read-only meanwhile.
pub(crate) const O_FOR_MAPPING: u32 = O_NONBLOCK | helpers::QEMUFILE_O_FOR_MAPPING;

/// The mode of a new nameless file. Its owner may change it.
const NEW_MODE: u16 = 0o600;

/// A mount: where new files are made.
///
/// # Invariants
///
/// `mount` is valid for `'a`, and of the file system `T`. `file`, if there, was opened on it.
pub(crate) struct Mount<'a, T: FileSystem> {
    mount: NonNull<bindings::vfsmount>,
    file: Option<&'a File>,
    _fs: PhantomData<fn() -> T>,
}

impl<'a, T: FileSystem> Mount<'a, T> {
    /// # Safety
    ///
    /// The mount must be valid for `'a`, of the file system `T`, and the one of `file`.
    pub(super) unsafe fn new(mount: NonNull<bindings::vfsmount>, file: Option<&'a File>) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            mount,
            file,
            _fs: PhantomData,
        }
    }

    /// The mount that `file` was opened on: `ENXIO` if that is no regular file of `T`.
    pub(crate) fn of(file: &'a File) -> Result<Self> {
        inode_of::<T>(file)?;
        // SAFETY: A file has a path, and keeps its mount, which is of its inode's superblock.
        unsafe {
            let mount = (*file.as_ptr()).__bindgen_anon_1.f_path.mnt;
            Ok(Self::new(NonNull::new_unchecked(mount), Some(file)))
        }
    }

    /// Opens the file with the given inode number. `flags` are those of `open(2)`. If that is the
    /// file that the mount was taken from, it is opened again by its path.
    ///
    /// Without such an inode, makes one that owns `node`. Otherwise `node` must equal the inode's.
    /// A new file on a mount by users is nameless, and `linkat(2)` can give it a name.
    ///
    /// `ENOMEM`, `ENFILE`; `EROFS`, `ENOSPC`, `EACCES` from the mount; errors of the open.
    pub(crate) fn open(&self, number: u64, node: T::Node, flags: u32) -> Result<ARef<File>> {
        if let Some(file) = self.file.filter(|file| self.is_named(file, number)) {
            // SAFETY: A file has a path.
            return unsafe {
                dentry_open(&raw const (*file.as_ptr()).__bindgen_anon_1.f_path, flags)
            };
        }
        let inode = self.inode(number, node)?;
        // SAFETY: The inode is valid, and one of this mount's superblock.
        unsafe {
            let dentry = node::nameless_dentry(inode.as_ptr())?;
            if self.is_internal() {
                // `OPEN_FMODE()` of the kernel.
                internal::grant(dentry, flags.wrapping_add(1) & O_ACCMODE);
            }
            let path = bindings::path {
                mnt: self.mount.as_ptr(),
                dentry,
            };
            let file = dentry_open(&path, flags);
            bindings::dput(dentry);
            file
        }
    }

    /// Makes `vma` a mapping of the pages of `file`.
    ///
    /// `ENXIO` if the file is not one of this file system.
    pub(crate) fn map(&self, vma: &VmaNew, file: &File) -> Result {
        inode_of::<T>(file)?;
        // SAFETY: The file is one of ours.
        unsafe { make_mixed(vma, file, &Regular::<T>::MAPPING) };
        Ok(())
    }

    /// Whether this is the module's own mount.
    pub(crate) fn is_internal(&self) -> bool {
        // SAFETY: The mount is valid.
        unsafe { internal::is_internal((*self.mount.as_ptr()).mnt_sb) }
    }

    /// Whether `file` has this inode number, and a path on a mount by users.
    fn is_named(&self, file: &File, number: u64) -> bool {
        // SAFETY: A file has an inode.
        !self.is_internal() && unsafe { (*(*file.as_ptr()).f_inode).i_ino == number }
    }

    /// Whether a new file may come of the mount's file: one that is open for writing, or one in a
    /// directory in which the task can make files. `EACCES` otherwise: a reader must not use up
    /// what the mount has.
    fn may_create(&self) -> Result {
        let Some(file) = self.file.filter(|file| !file.is_writable()) else {
            return Ok(());
        };
        // SAFETY: A file has a dentry, which has a parent; the reference to that is dropped.
        to_result(unsafe {
            let parent = bindings::dget_parent((*file.as_ptr()).__bindgen_anon_1.f_path.dentry);
            let permission = bindings::inode_permission(
                &raw mut bindings::nop_mnt_idmap,
                (*parent).d_inode,
                (bindings::MAY_WRITE | bindings::MAY_EXEC) as c_int,
            );
            bindings::dput(parent);
            permission
        })
    }

    fn inode(&self, number: u64, node: T::Node) -> Result<InodeRef> {
        // SAFETY: The mount is valid.
        let sb = unsafe { (*self.mount.as_ptr()).mnt_sb };
        if self.is_internal() {
            // SAFETY: The superblock is the internal one.
            return unsafe { internal::inode::<T>(sb, number, node) };
        }
        self.may_create()?;
        // SAFETY: The mount is valid, and of the file system `T`.
        unsafe {
            to_result(bindings::mnt_want_write(self.mount.as_ptr()))?;
            let inode = new_linkable::<T>(sb, number, node);
            bindings::mnt_drop_write(self.mount.as_ptr());
            inode
        }
    }
}

/// Makes a nameless regular file. `ENOSPC` at the limit of inodes, `ENOMEM`.
///
/// # Safety
///
/// `sb` must be a superblock of a mount of `T` by users.
unsafe fn new_linkable<T: FileSystem>(
    sb: *mut bindings::super_block,
    number: u64,
    node: T::Node,
) -> Result<InodeRef> {
    // SAFETY: By the caller's promise; nobody else has the inode.
    unsafe {
        let bounds = bounds::<T>(sb);
        let root = (*(*sb).s_root).d_inode;
        T::take_inode(bounds)?;
        let description = Description {
            number,
            mode: node::regular_mode(NEW_MODE),
            idmap: &raw mut bindings::nop_mnt_idmap,
            parent: None,
        };
        let inode = match node::new(sb, &description) {
            Ok(inode) => inode,
            Err(err) => {
                T::give_inode(bounds);
                return Err(err);
            }
        };
        node::make_regular::<T>(&inode, &Regular::<T>::TABLE, node);
        node::secure(&inode, root, core::ptr::null())?;
        node::make_linkable(&inode);
        Ok(inode)
    }
}

/// # Safety
///
/// `path` must be valid.
unsafe fn dentry_open(path: *const bindings::path, flags: u32) -> Result<ARef<File>> {
    // SAFETY: By the caller's promise. The reference to the file is ours.
    unsafe {
        let file = from_err_ptr(bindings::dentry_open(
            path,
            c_int::try_from(flags)?,
            helpers::qemufile_current_cred(),
        ))?;
        Ok(ARef::from_raw(NonNull::new_unchecked(file.cast())))
    }
}

/// The inode of `file` if that is a regular one of the file system `T`: `ENXIO` otherwise.
fn inode_of<T: FileSystem>(file: &File) -> Result<*mut bindings::inode> {
    // SAFETY: A file has an inode, which has a superblock. Only regular files own something.
    unsafe {
        let inode = (*file.as_ptr()).f_inode;
        if (*(*inode).i_sb).s_magic == T::MAGIC as usize && !(*inode).i_private.is_null() {
            Ok(inode)
        } else {
            Err(ENXIO)
        }
    }
}

/// The node of the inode of `file`, which is being opened.
///
/// `EACCES` if a nameless file is opened through `/proc/PID/fd/N` for more access than `N` has,
/// `ENXIO` if `file` is not a regular file of `T`, `ENOMEM`.
pub(crate) fn node_of<T: FileSystem>(
    file: &File,
) -> Result<<T::Node as ForeignOwnable>::Borrowed<'_>> {
    let inode = inode_of::<T>(file)?;
    // SAFETY: The file is being opened, and one of the file system `T`.
    unsafe {
        if internal::is_internal((*inode).i_sb) {
            internal::claim(file.as_ptr())?;
        }
        Ok(T::Node::borrow((*inode).i_private))
    }
}

/// Whether `file`, which is being opened, is to be one that a mapping is by.
pub(crate) fn is_for_mapping(file: &File) -> bool {
    file.flags() & (helpers::QEMUFILE_O_FOR_MAPPING | O_DIRECTORY)
        == helpers::QEMUFILE_O_FOR_MAPPING
}
